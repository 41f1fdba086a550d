# SPDX-License-Identifier: MIT
"""Gateway, workers and inference cores together, seen from an editor: answers, deaths, reloads, drains, bad input."""
import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from cluster_rig import Cluster, call, cluster
from rig import BIN, SLOW, TOP, free_port, have_programs, make_model, text_of, wait_for

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

ASK = "Ask says hello from the tiny model."
CODE = "int main(void) { return 0; }"
PLAN = "First measure, then decide."
MODELS = {"ask": {"script": ASK}, "code": {"script": CODE}, "plan": {"script": PLAN}}
ROLES = {
    "ask": "modes: [ask], model: ask, context: 2Ki, slots: 2, nodes: [speed]",
    "code": "modes: [code, debug], model: code, context: 2Ki, slots: 2, nodes: [speed]",
    "architect": "modes: [architect], model: plan, context: 2Ki, slots: 1, nodes: [reasoning]",
}
# Says the same words for ever: streams that last until they are ended.
ENDLESS = {"talk": {"script": "round and round it goes", "loop": 1, "layers": 1, "heads": 2, "ctx": 32768}}
TALK = {"talk": "modes: [talk], model: talk, context: 32Ki, slots: 2, nodes: [speed]"}


@pytest.fixture(name="three", scope="module")
def three_fixture(tmp_path_factory):
    """The cluster of the demo, for tests that leave it as it was."""
    with cluster(tmp_path_factory.mktemp("three"), ["speed", "reasoning"], MODELS, ROLES) as c:
        yield c


def first_token(stream, events):
    """Reads until a piece of text has come; returns what was read."""
    seen = []
    for event in stream:
        seen.append(event)
        if text_of([event]):
            return seen
    raise AssertionError(f"no text: {seen} {events}")


@pytest.mark.parametrize("mode,text,node", [("ask", ASK, "speed"), ("code", CODE, "speed"), ("debug", CODE, "speed"), ("architect", PLAN, "reasoning")])
def test_each_mode_answers_from_its_own_model(three, mode, text, node):
    status, headers, body = three.chat(mode)
    answer = json.loads(body)
    assert status == 200 and answer["choices"][0]["message"]["content"] == text
    assert headers["x-rolemesh-node"] == node
    assert headers["x-request-id"] == headers["request-id"]
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    events = list(three.stream(mode).events())
    assert events[-1] == "[DONE]" and text_of(events) == text
    assert [e["choices"][0]["finish_reason"] for e in events[:-1] if e["choices"]][-1] == "stop"


def test_the_same_prompt_again_comes_from_the_cache(three):
    first = three.answer("ask", "a prompt that nobody has sent before")
    again = three.answer("ask", "a prompt that nobody has sent before")
    assert again["usage"]["prompt_tokens"] == first["usage"]["prompt_tokens"]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > first["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert again["choices"][0]["message"]["content"] == ASK


def test_the_model_asked_for_is_echoed(three):
    assert three.answer("ask", model="gpt-99-turbo")["model"] == "gpt-99-turbo"
    status, _, body = call(three.port, "POST", "/v1/chat/completions", {"model": "code", "messages": [{"role": "user", "content": "x"}]})
    assert status == 200 and json.loads(body)["choices"][0]["message"]["content"] == CODE


def test_completions_and_models(three):
    status, _, body = call(three.port, "POST", "/ask/v1/completions", {"prompt": "<|im_start|>assistant\n", "max_tokens": 64})
    assert status == 200 and json.loads(body)["choices"][0]["text"] == ASK
    status, _, body = call(three.port, "GET", "/v1/models")
    ids = [m["id"] for m in json.loads(body)["data"]]
    assert status == 200 and {"ask", "code", "debug", "architect"} <= set(ids)
    assert json.loads(call(three.port, "GET", "/debug/v1/models")[2])["data"][0]["id"] == "debug"
    assert json.loads(call(three.port, "GET", "/v1/models/code")[2])["id"] == "code"


def test_many_at_once_get_their_own_answers(three):
    def one(i):
        mode, text = [("ask", ASK), ("code", CODE), ("architect", PLAN)][i % 3]
        if i % 2:
            return text_of(three.stream(mode, f"request {i}").events()) == text
        return three.answer(mode, f"request {i}")["choices"][0]["message"]["content"] == text

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert all(pool.map(one, range(60)))


@pytest.mark.parametrize("path,body,headers,status,code", [
    ("/nomode/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, {}, 404, None),
    ("/v1/chat/completions", {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}, {}, 404, "model_not_found"),
    ("/ask/v1/chat/completions", "{", {}, 400, "invalid_json"),
    ("/ask/v1/chat/completions", "[" * 100000, {}, 400, "invalid_json"),
    ("/ask/v1/chat/completions", {"messages": []}, {}, 400, None),
    ("/ask/v1/chat/completions", "hello", {"Content-Type": "text/html"}, 415, "unsupported_media_type"),
    ("/ask/v1/chat/completions", {"messages": [{"role": "user", "content": "word " * 4000}]}, {}, 400, "context_length_exceeded"),
])
def test_bad_input_is_refused_with_the_reason(three, path, body, headers, status, code):
    before = three.engine_counts("speed", "ask")["prompt_tokens"]
    got, _, answer = call(three.port, "POST", path, body, headers)
    error = json.loads(answer)["error"]
    assert got == status and error["message"]
    if code:
        assert error["code"] == code
    if "nobody" in str(body) or "nomode" in path:
        assert all(mode in error["message"] for mode in ("ask", "code", "architect"))
    if code == "context_length_exceeded":
        assert "2048" in error["message"]
    assert three.answer("ask")["choices"][0]["message"]["content"] == ASK
    after = three.engine_counts("speed", "ask")["prompt_tokens"]
    assert 0 < after - before < 200  # what was refused was never read by the engine


def test_a_body_over_64_mib_is_refused_at_once(three):
    with socket.create_connection(("127.0.0.1", three.port), 20) as s:
        s.sendall(b"POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (65 << 20))
        assert s.recv(100).startswith(b"HTTP/1.1 413 ")


def test_what_ops_see_is_what_the_schema_says(three):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed (deploy/setup --with-tests)")
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (deploy/setup --with-tests)")
    spec = yaml.safe_load((TOP / "proto" / "openapi.yaml").read_text())

    def check(name, data):
        jsonschema.validate(data, {"$ref": f"#/components/schemas/{name}", "components": spec["components"]})

    check("Nodes", three.get("/api/v1/nodes"))
    check("Roles", three.get("/api/v1/roles"))
    check("NodeState", three.node_state("speed"))
    check("Readiness", three.get("/readyz"))
    status, _, body = call(three.ports["speed"], "GET", "/node/v1/models")
    assert status == 200
    check("Models", json.loads(body))
    check("Error", json.loads(call(three.ports["speed"], "DELETE", "/node/v1/hosts/nobody")[2]))


def test_metrics_can_be_read_line_by_line(three):
    status, headers, body = call(three.port, "GET", "/metrics")
    lines = body.decode().splitlines()
    assert status == 200 and headers["content-type"].startswith("application/openmetrics-text") and lines[-1] == "# EOF"
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    samples = [line for line in lines if not line.startswith("#")]
    assert all(float(line.rsplit(" ", 1)[1]) >= 0 for line in samples)
    assert 'rolemesh_host_ready{role="ask",node="speed"} 1' in samples


def test_a_killed_engine_ends_its_stream_with_an_error_and_comes_back(tmp_path):
    with cluster(tmp_path, ["speed"], ENDLESS, TALK) as c:
        stream = c.stream("talk", max_tokens=30000)
        events = stream.events()
        seen = first_token(events, "before the kill")
        pid = c.host("talk")["pid"]
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        seen += list(events)
        assert time.monotonic() - killed < 1.0 * SLOW
        errors = [e for e in seen if isinstance(e, dict) and "error" in e]
        assert len(errors) == 1 and errors[0]["error"]["message"] and errors[0]["error"]["type"] == "server_error"
        assert "[DONE]" not in seen and seen[-1] in ("cut", errors[0])
        answer = c.answer("talk", max_tokens=5)  # waits for the restart
        assert answer["usage"]["completion_tokens"] == 5
        host = wait_for("ready again", lambda: (h := c.host("talk")) and h["state"] == "ready" and h)
        assert host["pid"] not in (0, pid) and host["restarts"] == 1
        assert host["last_error"]["cause"] == "signal" and host["last_error"]["code"] == signal.SIGKILL


def test_a_request_lost_before_its_first_byte_is_answered_by_another_host(tmp_path):
    roles = {"talk": "modes: [talk], model: talk, context: 2Ki, slots: 4, replicas: 2"}
    with cluster(tmp_path, ["a", "b"], {"talk": {"script": ASK}}, roles) as c:
        wait_for("two hosts", lambda: c.role("talk")["hosts_ready"] == 2)
        pids = {h["node"]: h["pid"] for h in c.role("talk")["hosts"]}
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for round_ in range(6):
                chats = [pool.submit(c.answer, "talk", f"round {round_} request {i}") for i in range(8)]
                victim = ("a", "b")[round_ % 2]
                os.kill(pids[victim], signal.SIGKILL)
                assert all(f.result()["choices"][0]["message"]["content"] == ASK for f in chats)
                wait_for("two hosts again", lambda: c.role("talk")["hosts_ready"] == 2, 40)
                pids = {h["node"]: h["pid"] for h in c.role("talk")["hosts"]}


def test_a_killed_worker_leaves_the_other_roles_alone(tmp_path):
    with cluster(tmp_path, ["speed", "reasoning"], MODELS, ROLES) as c:
        engines = [h["pid"] for role in ("ask", "code") for h in c.role(role)["hosts"]]
        c.workers["speed"].kill()
        assert c.answer("architect")["choices"][0]["message"]["content"] == PLAN
        wait_for("the node is out", lambda: c.node("speed")["health"] == "down", 10)
        wait_for("its engines are gone", lambda: not any(os.path.exists(f"/proc/{p}") for p in engines), 2)
        assert c.answer("architect")["choices"][0]["message"]["content"] == PLAN
        c.start_worker("speed")
        assert c.answer("ask")["choices"][0]["message"]["content"] == ASK  # held until the node is back
        c.wait_ready("ask", "code")


def test_a_frozen_node_is_out_within_ten_seconds_and_back_within_three(tmp_path):
    with cluster(tmp_path, ["speed", "reasoning"], MODELS, ROLES) as c:
        frozen = time.monotonic()
        os.kill(c.workers["speed"].pid, signal.SIGSTOP)
        try:
            wait_for("the node is out", lambda: c.node("speed")["health"] == "down", 15)
            assert time.monotonic() - frozen < 10 * SLOW
            assert c.answer("architect")["choices"][0]["message"]["content"] == PLAN
        finally:
            os.kill(c.workers["speed"].pid, signal.SIGCONT)
        thawed = time.monotonic()
        wait_for("the node is back", lambda: c.node("speed")["health"] == "up", 10)
        assert time.monotonic() - thawed < 3 * SLOW
        assert c.answer("ask")["choices"][0]["message"]["content"] == ASK


def test_a_reload_touches_only_what_changed(tmp_path):
    with cluster(tmp_path, ["speed", "reasoning"], {**MODELS, **ENDLESS}, {**ROLES, **TALK}) as c:
        pids = {r: c.host(r)["pid"] for r in c.roles}
        stream = c.stream("talk", max_tokens=6000)
        events = stream.events()
        seen = first_token(events, "before the reload")
        good = c.map.read_text()
        c.write_map(good.replace("context: 2Ki", "contxt: 2Ki", 1))
        c.gateway.signal(signal.SIGHUP)
        wait_for("the bad map is told", lambda: "was not reloaded" in c.gateway.log())
        assert "did you mean 'context'" in c.gateway.log()
        assert c.answer("ask")["choices"][0]["message"]["content"] == ASK
        c.roles["code"] = ROLES["code"].replace("debug", "review").replace("context: 2Ki", "context: 1Ki")
        c.write_map()
        c.gateway.signal(signal.SIGHUP)
        wait_for("the good map is taken", lambda: "role map reloaded" in c.gateway.log())
        c.roles["architect"] += ", residency: pinned, lane: batch"
        c.write_map()
        c.gateway.signal(signal.SIGHUP)
        wait_for("the worker knows it", lambda: [(h["residency"], h["lane"]) for h in c.node_state("reasoning")["hosts"]] == [("pinned", "batch")])
        wait_for("code is hosted anew", lambda: (h := c.host("code")) and h["state"] == "ready" and h["pid"] != pids["code"])
        assert c.answer("review")["choices"][0]["message"]["content"] == CODE
        assert c.chat("debug")[0] == 404
        seen += list(events)
        assert seen[-1] == "[DONE]" and not any("error" in e for e in seen if isinstance(e, dict))
        assert {r: c.host(r)["pid"] for r in ("ask", "architect", "talk")} == {r: pids[r] for r in ("ask", "architect", "talk")}


def test_a_reload_adds_a_node_and_takes_it_away(tmp_path):
    with cluster(tmp_path, ["speed"], MODELS, {"ask": ROLES["ask"]}) as c:
        before = c.map_text()
        c.ports["reasoning"] = free_port()
        c.start_worker("reasoning")
        c.roles["architect"] = ROLES["architect"]
        c.write_map()
        c.gateway.signal(signal.SIGHUP)
        c.wait_ready("architect")
        assert c.answer("architect")["choices"][0]["message"]["content"] == PLAN
        c.write_map(before)
        c.gateway.signal(signal.SIGHUP)
        wait_for("the node is gone", lambda: c.node("reasoning") is None)
        assert c.chat("architect")[0] == 404
        assert c.answer("ask")["choices"][0]["message"]["content"] == ASK


@pytest.mark.slow
def test_a_model_that_comes_later_to_another_node_is_found(tmp_path):
    """No node can host the role at first: the first one tells why. Later the second one has the file."""
    late = tmp_path / "late" / "ask.gguf"
    late.parent.mkdir()
    c = Cluster(tmp_path, ["empty", "speed"], {"ask": late}, {"ask": "modes: [ask], model: ask, context: 2Ki, slots: 1"})
    c.paths["ask"] = late
    c.write_map()
    try:
        c.start_worker("empty")
        c.start_worker("speed", late.parent)
        c.start_gateway()
        wait_for("the first node tells why", lambda: (h := c.host("ask")) and h["state"] == "failed")
        make_model(late, script=ASK)
        c.wait_ready("ask", seconds=20)
        assert c.answer("ask")["choices"][0]["message"]["content"] == ASK
        wait_for("the first node gave it up", lambda: c.node_state("empty")["hosts"] == [])
    finally:
        c.stop()


def test_sigterm_lets_streams_finish(tmp_path):
    with cluster(tmp_path, ["speed"], ENDLESS, TALK) as c:
        events = c.stream("talk", max_tokens=3000).events()
        seen = first_token(events, "before the drain")
        c.gateway.signal(signal.SIGTERM)
        wait_for("draining", lambda: "draining" in c.gateway.log())
        with pytest.raises(OSError):
            call(c.port, "GET", "/healthz")
        seen += list(events)
        assert seen[-1] == "[DONE]"
        assert c.gateway.wait(10) == 0
        assert c.node_state("speed")["hosts"][0]["state"] == "ready"  # hosts stay
        c.start_gateway()
        pid = c.node_state("speed")["hosts"][0]["pid"]
        c.wait_ready("talk")
        assert c.host("talk")["pid"] == pid  # and the next gateway finds them as they are


def test_a_gone_client_frees_its_slot(tmp_path):
    roles = {"talk": "modes: [talk], model: slow, context: 8Ki, slots: 1, nodes: [speed]"}
    models = {"slow": {"layers": 8, "embd": 512, "ff": 1536, "heads": 8, "ctx": 8192}}
    with cluster(tmp_path, ["speed"], models, roles) as c:
        body = json.dumps({"stream": True, "messages": [{"role": "user", "content": "word " * 1300}], "max_tokens": 4})
        head = f"POST /talk/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        s = socket.create_connection(("127.0.0.1", c.port))
        s.sendall((head + body).encode())
        wait_for("in prefill", lambda: c.node_state("speed")["hosts"][0]["slots_busy"] == 1, 30, 0.005)
        s.close()
        gone = time.monotonic()
        wait_for("the slot is free", lambda: c.node_state("speed")["hosts"][0]["slots_busy"] == 0, 30, 0.005)
        assert time.monotonic() - gone < 1.5 * SLOW  # the worker asks its engine once a second; the core's own test measures closer
        assert c.answer("talk", max_tokens=1)["usage"]["completion_tokens"] == 1


def test_a_missing_or_damaged_model_fails_alone(tmp_path):
    c = Cluster(tmp_path, ["speed"], {"ask": {"script": ASK}, "missing": "none", "damaged": "none"},
                {"ask": ROLES["ask"], "lost": "modes: [lost], model: missing", "torn": "modes: [torn], model: damaged"})
    c.paths["damaged"].write_bytes(b"GGUF" + bytes(100))
    try:
        c.start(wait=False)
        c.wait_ready("ask")
        for role, word in (("lost", "missing.gguf"), ("torn", "damaged.gguf")):
            host = wait_for(f"{role} failed", lambda role=role: (h := c.host(role)) and h["state"] == "failed" and h)
            assert host["last_error"]["text"]
            status, headers, body = c.chat(role)
            assert status == 503 and role in json.loads(body)["error"]["message"], body
            assert word in (host["last_error"]["text"] + json.loads(body)["error"]["message"]), host
        assert c.answer("ask")["choices"][0]["message"]["content"] == ASK
    finally:
        c.stop()


def test_a_newer_gateway_takes_over_placing(tmp_path):
    with cluster(tmp_path, ["speed"], {"ask": {"script": ASK}}, {"ask": ROLES["ask"]}) as c:
        first, old_port, old_map = c.gateway, c.port, c.map
        c.port = free_port()
        c.map = c.folder / "second.yaml"
        c.write_map()
        c.start_gateway()
        try:
            c.wait_ready("ask")
            # the older one changes its map: the worker does not obey it, and it goes on routing
            old_map.write_text(old_map.read_text().replace("context: 2Ki", "context: 1Ki"))
            time_of_pid = c.host("ask")["pid"]
            # the newer one has to have spoken for its epoch to be known
            c.roles["ask"] = ROLES["ask"].replace("slots: 2", "slots: 3")
            c.write_map()
            c.gateway.signal(signal.SIGHUP)
            wait_for("the newer one's host", lambda: (h := c.host("ask")) and h["slots_total"] == 3 and h["state"] == "ready")
            first.signal(signal.SIGHUP)
            wait_for("the older one is told", lambda: "a newer gateway is in charge" in first.log())
            assert c.host("ask")["slots_total"] == 3 and c.host("ask")["pid"] != time_of_pid
            status, _, body = call(old_port, "POST", "/ask/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
            assert status == 200, body
        finally:
            first.stop()


@pytest.mark.parametrize("args,words", [
    ([], "--role-map"),
    (["--role-map", "/nonexistent/map.yaml"], "/nonexistent/map.yaml"),
    (["--nonsense"], "--help"),
    (["--role-map", "x", "--log-level", "loud"], "loud"),
])
def test_the_gateway_says_what_to_mend(args, words):
    done = subprocess.run([BIN / "rolemesh-gateway", *args], capture_output=True, text=True, timeout=20 * SLOW)
    assert done.returncode == 2 and words in done.stderr


def test_a_port_in_use_is_one_line_and_exit_2(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        c = Cluster(tmp_path, ["speed"], {"ask": {"script": ASK}}, {"ask": ROLES["ask"]})
        c.port = c.ports["speed"] = taken.getsockname()[1]
        c.write_map()
        gateway = c.run("gateway", [BIN / "rolemesh-gateway", "--role-map", c.map])
        assert gateway.wait(20) == 2
        assert len(gateway.log().splitlines()) == 1 and "cannot listen" in gateway.log()
        c.start_worker("speed")
        assert c.workers["speed"].wait(20) == 2
        assert len(c.workers["speed"].log().splitlines()) == 1, c.workers["speed"].log()
