# SPDX-License-Identifier: MIT
"""The figures of nodes, hosts and roles: what the API tells is what the workers measured, and what a client saw. Real programs on
models made on the spot, slow enough to be watched."""
import json
import os
import pathlib
import signal
import threading
import time

import jsonschema
import pytest
import yaml

from cluster_rig import call, cluster
from rig import SLOW, TOP, have_programs, text_of, wait_for
from worker_rig import Engine, Watch, Worker

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing to measure")

SPEC = yaml.safe_load((TOP / "proto" / "openapi.yaml").read_text())
MODELS = {"talk": {"script": "round and round it goes", "loop": 1, "layers": 1, "heads": 2, "ctx": 32768}}
ROLES = {"talk": "modes: [talk, chatter], model: talk, context: 8Ki, slots: 3, nodes: [speed]"}
MIB = 1 << 20
PARTS = ("weights_bytes", "kv_bytes", "compute_bytes", "other_bytes")


def check(name, data):
    jsonschema.validate(data, {"$ref": f"#/components/schemas/{name}", "components": SPEC["components"]})
    return data


@pytest.fixture(name="one", scope="module")
def one_fixture(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("figures"), ["speed"], MODELS, ROLES) as c:
        yield c


def both(one):
    """The worker's own state and the gateway's node, of the same moment: nothing that is compared moved between two looks."""
    def look():
        before = one.node_state("speed")
        node = check("Node", one.get("/api/v1/nodes/speed"))
        after = check("NodeState", one.node_state("speed"))
        same = [[(h["role"], h["forecast_bytes"], h["measured_bytes"], h["kv_used"], h["slots"], h["generated_tokens"]) for h in s["hosts"]] + [s["memory"]["others"]] for s in (before, after)]
        told = [(h["role"], h["forecast_bytes"], h["measured_bytes"], h["kv_used"], h["slots"], h["generated_tokens"]) for h in node["hosts"]] + [node["memory"]["others"]]
        return (before, node) if same[0] == same[1] == told else None
    return wait_for("worker and gateway say the same", look)


def test_the_bars_are_the_workers_own_numbers(one):
    wait_for("the engine is measured", lambda: one.host("talk")["measured_bytes"] > 0)
    state, node = both(one)
    assert node["memory"] == {**state["memory"], **{k: node["memory"][k] for k in ("available", "pressure", "swap_used")}}  # those move all the time
    mine, told = state["hosts"][0], node["hosts"][0]
    for name in (*PARTS, "kv_used_bytes", "measured_bytes", "forecast_bytes", "kv_used", "kv_total", "slots", "read_tokens", "slots_total"):
        assert told[name] == mine[name], name
    assert sum(told[p] for p in PARTS) == told["forecast_bytes"] == node["memory"]["committed"] > 0
    assert told["weights_bytes"] > 0 and told["kv_bytes"] > 0 and told["compute_bytes"] > 0
    assert 0 <= told["kv_used_bytes"] <= told["kv_bytes"]


def test_parts_are_those_of_the_forecast(one):
    desired = {"role": "talk", "model": "talk", "source": str(one.paths["talk"]), "context": 8192, "slots": 3}
    status, _, body = call(one.ports["speed"], "POST", "/node/v1/forecast", desired)
    forecast = json.loads(body)
    host = one.node_state("speed")["hosts"][0]
    assert status == 200 and forecast["known"]
    assert (host["weights_bytes"], host["kv_bytes"]) == (forecast["weights"], forecast["kv"])
    assert host["compute_bytes"] + host["other_bytes"] == host["forecast_bytes"] - forecast["weights"] - forecast["kv"]


# ---- one worker ----


@pytest.fixture(name="worker")
def worker_fixture(tmp_path):
    with Worker(tmp_path) as w:
        yield w


def resident(pid):
    """Bytes by kind, of /proc/PID/status."""
    lines = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssShmem", "RssFile")}


def test_what_others_use_holds_nothing_of_ours(worker, make_model):
    """In one reading of the memory: what is in use, less what others have, is what the engine's process holds and the kernel cannot
    drop. Its weights, which are mapped, are in neither: they are part of what is available."""
    host = worker.host_ready("code", make_model("middling", embd=640, layers=4, script="Hello.", ctx=65536), context=16384)
    worker.chat("code", "word " * 2000, max_tokens=3)
    wait_for("its weights are mapped", lambda: resident(host["pid"])["RssFile"] > 50 * MIB)

    def ours():
        pages = resident(host["pid"])
        memory = worker.state()["memory"]
        used = memory["total"] - memory["vram_counted"] - memory["available"]
        seen.append((used, memory["others"], pages))
        return abs(used - memory["others"] - pages["RssAnon"] - pages["RssShmem"]) < 2 * MIB and pages
    seen = []
    pages = wait_for("the reading knows the engine's pages", ours)
    state = worker.state()
    memory, host = state["memory"], state["hosts"][0]
    assert pages["RssAnon"] > host["kv_used_bytes"] > 0
    assert host["weights_bytes"] > 50 * MIB and sum(host[p] for p in PARTS) == memory["committed"]


def test_parts_are_nothing_without_an_engine(worker, make_model):
    worker.host_ready("code", make_model("tiny", embd=128, script="Hello."))
    wait_for("its forecast has come", lambda: worker.host("code")["weights_bytes"] > 0)
    (worker.models / "code.gguf").write_bytes(b"GGUF")
    os.kill(worker.host("code")["pid"], signal.SIGKILL)
    host = worker.wait_state("code", "failed")
    assert [host[p] for p in (*PARTS, "kv_used_bytes", "measured_bytes", "eta_ms")] == [0] * 7 and host["slots"] == []
    assert worker.state()["memory"]["committed"] == 0


def test_a_load_tells_when_it_will_be_over(worker, make_model):
    """The first one of a model cannot; the next one goes by the ledger from its begin."""
    model = make_model("tiny", embd=128, script="Hello.")
    with Watch(worker) as watch:
        worker.host_ready("code", model)
        wait_for("it is measured", lambda: worker.host("code")["measured_bytes"] > 0)
        row = worker.call("GET", "/node/v1/ledger").json()["rows"][0]
        first = len(watch.seen)
        os.kill(worker.host("code")["pid"], signal.SIGKILL)
        wait_for("another engine is ready", lambda: (h := worker.host("code"))["state"] == "ready" and h["restarts"] == 1)
        loads = [h for _, s in watch.seen[first:] for h in s["hosts"] if h["pid"] > 0 and h["state"] in ("loading", "warming")]
        assert loads and 0 < loads[0]["eta_ms"] <= max(row["warm_ms"], row["cold_ms"])
    assert worker.host("code")["eta_ms"] == 0


def test_slots_and_tokens_of_an_attached_engine(worker):
    with Engine() as engine:
        worker.host_ready("code", url=engine.url, slots=2)
        wait_for("idle", lambda: worker.host("code")["slots"] == ["idle"] * 2)
        with worker.streaming("code", text="for ever") as response:
            response.read1(1)
            before = wait_for("it answers", lambda: (h := worker.host("code"))["slots"] == ["decode", "idle"] and h)
            wait_for("tokens are counted as they pass", lambda: worker.host("code")["generated_tokens"] > before["generated_tokens"] + 50)
        after = wait_for("idle again", lambda: (h := worker.host("code"))["slots"] == ["idle"] * 2 and h)
        assert after["generated_tokens"] > before["generated_tokens"] + 50  # nothing is taken back at the end
        assert worker.chat("code").status == 200
        wait_for("what was read", lambda: worker.host("code")["read_tokens"] == 7)


# ---- a gateway with it ----


def test_slots_show_what_they_do(one):
    wait_for("all idle", lambda: one.host("talk")["slots"] == ["idle"] * 3)
    long = "word " * 3000
    seen = set()
    streams = [one.stream("talk", f"{i} {long}", max_tokens=3000) for i in range(2)]
    try:
        def look():
            host = check("Host", one.host("talk"))
            assert len(host["slots"]) == 3 and set(host["slots"]) <= {"idle", "prefill", "decode"}
            seen.update(host["slots"])
            return host["slots"].count("decode") == 2 and host
        host = wait_for("two slots decode", look, 30)
        assert host["slots_busy"] == 2 and host["kv_used_bytes"] > 0
    finally:
        for s in streams:
            s.close()
    wait_for("all idle again", lambda: one.host("talk")["slots"] == ["idle"] * 3)


def test_rates_rise_while_streams_run_and_go_back_to_zero(one):
    """Against the engine's own counters, looked at beside it: a client may be slower than its engine."""
    wait_for("nothing runs", lambda: (n := one.node("speed")) and n["tokens_out_per_s"] == 0 and n["tokens_in_per_s"] == 0)
    leave = threading.Event()

    def read():
        i = 0
        while not leave.is_set():
            stream = one.stream("talk", f"{i} " + "count " * 500, max_tokens=6000)
            for _ in stream.events():
                if leave.is_set():
                    break
            stream.close()
            i += 1

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        wait_for("the rate of prompts is told", lambda: one.node("speed")["tokens_in_per_s"] > 0)
        seen = []

        def steady():
            host = one.node_state("speed")["hosts"][0]
            now = time.monotonic()
            seen.append((now, host["generated_tokens"], host["read_tokens"]))
            then = [x for x in seen if x[0] <= now - 5]
            if not then:
                return None
            node, (at, out, read_then) = one.node("speed"), then[-1]
            rates = [(host["generated_tokens"] - out) / (now - at), (host["read_tokens"] - read_then) / (now - at)]
            return all(abs(told - rate) <= 0.3 * rate for told, rate in zip((node["tokens_out_per_s"], node["tokens_in_per_s"]), rates))
        wait_for("the node's rates are the counters' of five seconds", steady, 40, 0.1)
    finally:
        leave.set()
        reader.join(30)
    wait_for("back to 0", lambda: (n := one.node("speed"))["tokens_out_per_s"] == 0 and n["tokens_in_per_s"] == 0, 15)


def test_node_figures(one):
    node = one.node("speed")
    assert node["path"] == "loopback"
    wait_for("a round trip is measured", lambda: one.node("speed")["rtt_ms"] is not None)
    assert 0 < one.node("speed")["rtt_ms"] < 100 * SLOW
    assert wait_for("the CPU is measured", lambda: (n := one.node("speed")) and n["cpu_percent"] is not None and n)["cpu_percent"] <= 100


def test_role_figures_are_what_a_client_measured(tmp_path):
    models = {"talk": {"script": "round and round it goes", "loop": 1, "layers": 1, "heads": 2, "ctx": 32768}}
    with cluster(tmp_path, ["speed"], models, {"talk": "modes: [talk, chatter], model: talk, context: 8Ki, slots: 1, nodes: [speed]", "idle": "modes: [idle], model: talk, context: 1Ki, residency: on-demand"}, wait=False) as c:
        c.wait_ready("talk")
        fresh = check("Role", c.role("talk"))
        assert fresh["urls"] == ["/talk/v1", "/chatter/v1"]
        assert (fresh["requests"], fresh["errors"], fresh["ttft_ms"], fresh["decode_tps"], fresh["cached_share"]) == (0, 0, None, None, None)
        ttft, tps, cached, prompts = [], [], 0, 0
        for i in range(12):
            began = time.monotonic()
            s = c.stream("talk", f"{i} " + "word " * (100 * (i + 1)), max_tokens=200, stream_options={"include_usage": True})
            times = []
            for e in s.events():
                if isinstance(e, dict) and e.get("choices") and text_of([e]):
                    times.append(time.monotonic())
                if isinstance(e, dict) and e.get("usage"):
                    usage = e["usage"]
            ttft.append((times[0] - began) * 1000)
            tps.append((usage["completion_tokens"] - 1) / (times[-1] - times[0]))
            prompts += usage["prompt_tokens"]
            cached += usage["prompt_tokens_details"]["cached_tokens"]
        assert call(c.port, "POST", "/talk/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 90000}]})[0] == 400
        role = wait_for("all are counted", lambda: (r := check("Role", c.role("talk"))) and r["requests"] == 13 and r)
        assert role["errors"] == 1
        ttft.sort(), tps.sort()
        for name, rank in (("p50", 5), ("p95", 11), ("p99", 11)):
            assert abs(role["ttft_ms"][name] - ttft[rank]) <= 0.1 * ttft[rank] + 10 * SLOW, (role["ttft_ms"], ttft)
            assert abs(role["decode_tps"][name] - tps[rank]) <= 0.2 * tps[rank], (role["decode_tps"], tps)
        assert abs(role["cached_share"] - cached / prompts) < 1e-6
        idle = check("Role", c.role("idle"))
        assert idle["requests"] == 0 and idle["cached_share"] is None


def test_a_dead_node_tells_no_stale_figures(tmp_path):
    with cluster(tmp_path, ["speed"], MODELS, ROLES) as c:
        wait_for("it is measured", lambda: (n := c.node("speed"))["rtt_ms"] is not None and n["cpu_percent"] is not None)
        c.workers["speed"].signal(signal.SIGKILL)
        down = wait_for("it is down", lambda: (n := c.node("speed"))["health"] == "down" and n, 30)
        assert (down["rtt_ms"], down["cpu_percent"], down["path"]) == (None, None, "loopback")
        wait_for("no tokens pass", lambda: (n := c.node("speed"))["tokens_in_per_s"] == 0 == n["tokens_out_per_s"], 10)
        check("Node", c.node("speed"))
