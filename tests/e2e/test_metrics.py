# SPDX-License-Identifier: MIT
"""/metrics of gateway and worker as collectors read them: valid OpenMetrics and valid text format, every family that operators need, names
that would break a line, figures that are right. The engine is scripted: nothing here needs a model."""
import contextlib
import json
import re
import sqlite3

import pytest

from cluster_rig import call
from fake_worker import HEAD_SSE, FakeWorker, stream
from metrics_rig import OPENMETRICS, Scrape, promtool
from rig import chat_of, wait_for
from test_ops import Ops
from worker_rig import Engine, Worker

# What an operator is promised, by the words of the issue that asked for it.
GATEWAY = {
    "requests": "rolemesh_requests", "errors by class": "rolemesh_request_errors", "queue time": "rolemesh_queue_seconds",
    "time to first token": "gen_ai_server_time_to_first_token_seconds", "between tokens": "gen_ai_server_time_per_output_token_seconds",
    "duration": "gen_ai_server_request_duration_seconds", "tokens of a request": "gen_ai_client_token_usage", "tokens": "rolemesh_tokens",
    "slots": "rolemesh_host_slots", "busy slots": "rolemesh_host_slots_busy", "KV": "rolemesh_host_kv_tokens", "memory": "rolemesh_node_memory_bytes",
    "forecast": "rolemesh_host_forecast_bytes", "loads": "rolemesh_host_loads", "failed loads": "rolemesh_host_load_failures", "evictions": "rolemesh_evictions",
    "restarts": "rolemesh_host_restarts", "loop lag": "rolemesh_loop_lag_seconds", "clients' sockets": "rolemesh_connections", "descriptors": "process_open_fds",
    "nodes": "rolemesh_node_up", "memory by part": "rolemesh_host_memory_bytes", "forecast error": "rolemesh_host_forecast_measured_ratio", "path": "rolemesh_node_path",
    "round trip": "rolemesh_node_rtt_seconds", "sockets to workers": "rolemesh_node_connections", "CPU": "rolemesh_node_cpu_ratio", "what slots do": "rolemesh_host_slots_doing", "alarms": "rolemesh_alarms", "history": "rolemesh_history_usable",
}
WORKER = {
    "node": "rolemesh_node", "memory": "rolemesh_node_memory_bytes", "slots": "rolemesh_host_slots", "KV": "rolemesh_host_kv_tokens", "restarts": "rolemesh_host_restarts",
    "forecast error": "rolemesh_forecast_ratio", "loads": "rolemesh_load_seconds", "loop lag": "rolemesh_loop_lag_seconds", "sockets": "rolemesh_connections",
    "descriptors": "process_open_fds", "guard": "rolemesh_node_guard_steps", "tokens": "rolemesh_host_generated_tokens", "state": "rolemesh_host_state",
    "memory by part": "rolemesh_host_memory_bytes", "what slots do": "rolemesh_host_slots_doing", "CPU": "rolemesh_node_cpu_ratio",
}


@pytest.fixture(name="ops", scope="module")
def ops_fixture(tmp_path_factory):
    c = Ops(tmp_path_factory.mktemp("metrics"))
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(c.stop)
        c.start()
        c.answer("ask")
        list(c.stream("ask", stream_options={"include_usage": True}).events())
        assert call(c.port, "POST", "/v1/chat/completions", {"model": "nobody", "messages": [{"role": "user", "content": "x"}]})[0] == 404
        assert call(c.port, "POST", "/nowhere/v1/chat/completions", {"messages": []})[0] == 404
        wait_for("all are over", lambda: not c.get("/api/v1/requests?state=running")["requests"])
        yield c


@pytest.fixture(name="worker", scope="module")
def worker_fixture(tmp_path_factory):
    with Engine() as engine, Worker(tmp_path_factory.mktemp("worker")) as worker:
        worker.host_ready("ask", url=engine.url)
        yield worker


def accepted(text):
    """By promtool, without a complaint: it says on stderr what it would do otherwise."""
    done = promtool("check", "metrics", text=text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_gateway_in_both_forms(ops):
    scrape = Scrape(ops.port)
    assert scrape.type == OPENMETRICS and scrape.text.endswith("\n# EOF\n")
    assert {w: n for w, n in GATEWAY.items() if n not in scrape.families} == {}
    for f in scrape.families.values():
        assert f.documentation and (not f.unit or f.name.endswith(f"_{f.unit}")), f.name
    assert scrape.samples  # and none comes twice
    classic = Scrape(ops.port, "text/plain;version=0.0.4")
    assert classic.type == "text/plain; version=0.0.4; charset=utf-8" and "# EOF" not in classic.text and "# UNIT" not in classic.text
    accepted(classic.text)
    assert Scrape(ops.port, "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1").type == OPENMETRICS


def test_the_worker_in_both_forms(worker):
    scrape = Scrape(worker.address[1])
    assert scrape.type == OPENMETRICS and scrape.text.endswith("\n# EOF\n")
    assert {w: n for w, n in WORKER.items() if n not in scrape.families} == {}
    assert scrape.value("rolemesh_host_state", role="ask", state="ready") == 1
    assert scrape.samples
    accepted(Scrape(worker.address[1], "text/plain").text)


def test_both_forms_tell_the_same(ops):
    """Series that stand still have one value in both."""
    still = ("rolemesh_requests", "gen_ai_", "rolemesh_tokens", "rolemesh_host_slots")
    numbers = lambda text: {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(still)}
    assert numbers(Scrape(ops.port).text) == numbers(Scrape(ops.port, "text/plain").text)


def test_the_figures_are_right(ops):
    scrape = Scrape(ops.port)
    work = {"role": "ask", "gen_ai_operation_name": "chat", "gen_ai_provider_name": "rolemesh"}
    assert scrape.value("rolemesh_requests_total", role="ask", outcome="ok") == 2
    assert scrape.value("rolemesh_requests_total", role="", outcome="refused") == 1
    assert scrape.value("rolemesh_request_errors_total", role="", error_type="model_not_found") == 1
    assert scrape.value("rolemesh_local_refusals_total", error_type="model_not_found") == 1
    assert [scrape.value("rolemesh_tokens_total", role="ask", type=t) for t in ("prompt", "cached", "completion")] == [14, 0, 4]
    for name in ("gen_ai_server_request_duration_seconds", "gen_ai_server_time_to_first_token_seconds"):
        assert scrape.value(f"{name}_count", **work) == scrape.value(f"{name}_bucket", **work, le="+Inf") == 2
    assert scrape.value("gen_ai_client_token_usage_sum", **work, gen_ai_token_type="input") == 14
    assert scrape.value("gen_ai_client_token_usage_bucket", **work, gen_ai_token_type="output", le="4.0") == 2
    assert scrape.value("rolemesh_queue_seconds_count", role="ask") == 2
    assert scrape.sum("rolemesh_host_loads_total") == 0  # the scripted workers' hosts were ready when they were heard of
    assert scrape.value("rolemesh_node_up", node="speed") == 1 and scrape.value("rolemesh_host_ready", role="ask", node="speed") == 1
    assert scrape.value("rolemesh_host_leases_total", role="ask", node="speed") == 2
    assert scrape.value("process_open_fds") > scrape.value("rolemesh_connections") >= 1
    assert scrape.value("rolemesh_loop_lag_seconds_count") > 0
    assert scrape.value("rolemesh_node_path", node="speed", path="loopback") == 1 and scrape.value("rolemesh_node_connections", node="speed") >= 1
    assert scrape.value("rolemesh_alarms", severity="error") == 0
    before = scrape.value("process_cpu_seconds_total")
    assert Scrape(ops.port).value("process_cpu_seconds_total") >= before > 0


def test_the_pace_of_a_stream(tmp_path):
    """A stream of 11 tokens that comes in 0.5 s: 50 ms between two of them."""
    import time

    ops = Ops(tmp_path, names=("speed",))

    def slowly(c):
        c.send(HEAD_SSE)
        events = stream(*(["x"] * 11))
        for i, e in enumerate(events):
            if 1 < i < 12:
                time.sleep(0.05)
            c.event(e)
        c.event(b"[DONE]")
        c.send(b"0\r\n\r\n")

    ops.fakes["speed"].script = slowly
    try:
        ops.start()
        list(ops.stream("ask", stream_options={"include_usage": True}).events())
        name, labels = "gen_ai_server_time_per_output_token_seconds", {"role": "ask", "gen_ai_operation_name": "chat", "gen_ai_provider_name": "rolemesh"}
        wait_for("it is counted", lambda: Scrape(ops.port).value(f"{name}_count", **labels) == 1)
        assert 0.045 < Scrape(ops.port).value(f"{name}_sum", **labels) < 0.2
        assert Scrape(ops.port).value("gen_ai_client_token_usage_sum", **labels, gen_ai_token_type="output") == 11
    finally:
        ops.stop()


def test_codes_of_engines_make_no_labels(tmp_path):
    """An engine may answer with any code: in the metrics it is one of ours, and its text is nowhere."""
    ops = Ops(tmp_path, names=("speed",))
    n = iter(range(1000))
    ops.fakes["speed"].script = lambda c: c.json(400, {"error": {"message": 'evil"}\nrolemesh_evil 1', "code": f'evil{next(n)}"}} 1\n', "type": "x"}})
    try:
        ops.start()
        for _ in range(40):
            assert ops.chat("ask")[0] == 400
        scrape = wait_for("all are counted", lambda: (s := Scrape(ops.port)) and s.sum("rolemesh_requests_total", outcome="refused") == 40 and s)
        assert scrape.value("rolemesh_request_errors_total", role="ask", error_type="invalid_value") == 40
        assert "evil" not in scrape.text
    finally:
        ops.stop()


def test_names_that_would_break_a_line(tmp_path):
    """A worker is asked for roles with hostile names by whoever speaks the node protocol: each is one label, escaped."""
    names = ['a"b', "a\\b", "é€😀", 'x"} 1', "{}", "a b", "#", "\\n", "%s%n", "<script>"]
    with Engine() as engine, Worker(tmp_path) as worker:
        taken = []
        for name in names:
            path = "".join(f"%{b:02X}" for b in name.encode())
            answer = worker.call("PUT", f"/node/v1/hosts/{path}", worker.desired(name, url=engine.url, model="m"))
            if answer.status == 200:
                taken.append(name)
        scrape = Scrape(worker.address[1])
        assert {dict(labels)["role"] for name, labels in scrape.samples if name == "rolemesh_host_slots"} == set(taken)
        accepted(Scrape(worker.address[1], "text/plain").text)
