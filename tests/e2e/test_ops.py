# SPDX-License-Identifier: MIT
"""The ops API as a tool sees it: every answer has the form that proto/openapi.yaml says, lists page and filter, mistakes are told
as RFC 9457 says it. The worker is scripted: nothing here needs a model."""
import contextlib
import http.client
import json
import signal
import socket
import sqlite3
import time

import jsonschema
import pytest
import yaml

from cluster_rig import Cluster, call
from fake_worker import HEAD_SSE, FakeWorker, stream
from rig import TOP, text_of, wait_for

SPEC = yaml.safe_load((TOP / "proto" / "openapi.yaml").read_text())


def check(name, data):
    jsonschema.validate(data, {"$ref": f"#/components/schemas/{name}", "components": SPEC["components"]})
    return data


class Ops(Cluster):
    """A gateway and scripted workers."""

    def __init__(self, folder, names=("speed", "reasoning")):
        self.fakes = {name: FakeWorker(name) for name in names}
        roles = {role: f"modes: [{role}], model: m, context: 2Ki, slots: 2, nodes: [{names[i % len(names)]}]"
                 for i, role in enumerate(("ask", "code", "plan"))}
        super().__init__(folder, names, {"m": folder / "m.gguf"}, roles)
        self.ports = {name: f.port for name, f in self.fakes.items()}
        self.write_map()

    def start(self):
        self.start_gateway()
        self.wait_ready(*self.roles)
        return self

    def ask(self, method, path, headers=None, body=None):
        status, fields, data = call(self.port, method, path, body, headers, timeout=20)
        kind = fields["Content-Type"]
        if status >= 400 and path.startswith("/api/v1"):
            assert kind == "application/problem+json" and json.loads(data)["status"] == status
        return status, json.loads(data) if "json" in kind else data

    def stop(self):
        super().stop()
        for f in self.fakes.values():
            f.close()


@pytest.fixture(name="ops", scope="module")
def ops_fixture(tmp_path_factory):
    with contextlib.closing(contextlib.ExitStack()) as stack:
        c = Ops(tmp_path_factory.mktemp("ops"))
        stack.callback(c.stop)
        yield c.start()


@pytest.mark.parametrize("path,schema", [
    ("/api/v1/status", "Status"), ("/api/v1/nodes", "Nodes"), ("/api/v1/nodes/speed", "Node"), ("/api/v1/roles", "Roles"),
    ("/api/v1/roles/ask", "Role"), ("/api/v1/hosts", "Hosts"), ("/api/v1/map", "MapState"), ("/api/v1/requests", "Requests"), ("/api/v1/queue", "Queue"), ("/api/v1/events", "Events"), ("/healthz", "Alive"), ("/readyz", "Readiness"),
])
def test_answers_have_the_documented_form(ops, path, schema):
    status, answer = ops.ask("GET", path)
    assert status == 200
    check(schema, answer)
    assert call(ops.port, "HEAD", path)[2] == b""


def test_a_rebound_name_reads_nothing(ops):
    """A web page whose name was made to point here is on the same machine, and of no foreign origin to its browser."""
    for path in ("/api/v1/status", "/api/v1/requests", "/api/v1/events", "/metrics"):
        status, _, body = call(ops.port, "GET", path, headers={"Host": f"evil.example:{ops.port}"})
        assert status == 421 and b"no web page can read it" in body
        assert call(ops.port, "GET", path, headers={"Host": f"localhost:{ops.port}"})[0] == 200
    assert call(ops.port, "GET", "/healthz", headers={"Host": "evil.example"})[0] == 200


def test_lists_page_without_losing_or_repeating(ops):
    for path, name in (("nodes", "nodes"), ("roles", "roles"), ("hosts", "hosts")):
        whole = ops.ask("GET", f"/api/v1/{path}")[1]
        seen, cursor = [], None
        while True:
            page = ops.ask("GET", f"/api/v1/{path}?limit=1" + (f"&cursor={cursor}" if cursor else ""))[1]
            assert len(page[name]) == 1
            seen += page[name]
            cursor = page["next"]
            if cursor is None:
                break
        key = (lambda i: (i["role"], i["node"])) if name == "hosts" else (lambda i: i["name"])
        assert [key(i) for i in seen] == [key(i) for i in whole[name]] and whole["next"] is None


@pytest.mark.parametrize("query,names", [
    ("hosts?role=ask", ["ask@speed"]), ("hosts?node=reasoning", ["code@reasoning"]), ("hosts?state=ready", ["ask@speed", "plan@speed", "code@reasoning"]),
    ("hosts?state=failed", []), ("hosts?role=ask&node=reasoning", []), ("roles?mode=code", ["code"]), ("roles?model=m", ["ask", "code", "plan"]),
    ("roles?lane=batch", []), ("nodes?health=up", ["speed", "reasoning"]), ("nodes?health=down", []),
])
def test_lists_filter(ops, query, names):
    wait_for("both nodes are up", lambda: all(n["health"] == "up" for n in ops.ask("GET", "/api/v1/nodes")[1]["nodes"]))
    answer = ops.ask("GET", f"/api/v1/{query}")[1]
    found = [i.get("name") or f'{i["role"]}@{i["node"]}' for i in answer[query.split("?")[0]]]
    assert sorted(found) == sorted(names)


@pytest.mark.parametrize("method,path,status,code,words", [
    ("GET", "/api/v1/nodes/nobody", 404, "not_found", "no node 'nobody'"),
    ("GET", "/api/v1/roles/a%2Fb", 404, "not_found", "no role 'a/b'"),
    ("GET", "/api/v1/nodes/%00", 404, "not_found", "damaged"),
    ("GET", "/api/v1/nothing", 404, "not_found", "no such path in the ops API"),
    ("GET", "/api/v1/nodes/", 404, "not_found", "no such path"),
    ("GET", "/api/v1/nodes?limit=0", 400, "invalid_value", "limit: '0' is not a number from 1 to 500"),
    ("GET", "/api/v1/nodes?limit=1&limit=2", 400, "invalid_value", "given twice"),
    ("GET", "/api/v1/nodes?cursor=nobody", 409, "wrong_state", "begin again"),
    ("GET", "/api/v1/nodes?x=1", 400, "invalid_value", "no parameter 'x' here; there are: limit, cursor, health"),
    ("GET", "/api/v1/requests/req_nobody", 404, "not_found", "no request 'req_nobody'"),
    ("DELETE", "/api/v1/requests/req_nobody", 404, "not_found", "no request 'req_nobody'"),
    ("GET", "/api/v1/requests?since=yesterday", 400, "invalid_value", "since: 'yesterday' is not a time"),
    ("GET", "/api/v1/requests?cursor=abc", 409, "wrong_state", "begin again"),
    ("GET", "/api/v1/events?live=maybe", 400, "invalid_value", "live: 'maybe' is none of 0|1"),
    ("POST", "/api/v1/nodes", 405, "method_not_allowed", ""),
    ("PUT", "/api/v1/map", 405, "method_not_allowed", ""),
])
def test_mistakes_are_told(ops, method, path, status, code, words):
    got, answer = ops.ask(method, path, body="" if method != "GET" else None)
    assert got == status and answer["code"] == code and words in answer["detail"]
    check("Problem", answer)


def test_an_answer_that_is_refused_names_the_methods(ops):
    status, fields, _ = call(ops.port, "DELETE", "/api/v1/map")
    assert status == 405 and fields["Allow"] == "GET, HEAD, POST"


# ---- requests ----


def held(c):
    """Answers with two words, then nothing until its client has gone."""
    c.send(HEAD_SSE)
    for e in stream("one", " two")[:3]:
        c.event(e)
    c.left = c.wait_gone(30)


def requests_of(ops, query=""):
    return check("Requests", ops.ask("GET", f"/api/v1/requests{query}")[1])["requests"]


def test_a_request_is_told_from_begin_to_end(ops):
    began = requests_of(ops, "?limit=1")
    answer = ops.answer("ask", "Tell me nothing.")
    assert answer["usage"]["prompt_tokens"] == 7
    done = wait_for("the request is over", lambda: next((r for r in requests_of(ops, "?limit=1&state=done") if r not in began), None))
    assert (done["role"], done["served"], done["mode"], done["node"], done["dialect"]) == ("ask", "ask", "ask", "speed", "chat")
    assert (done["prompt_tokens"], done["completion_tokens"], done["status"], done["outcome"], done["error"]) == (7, 2, 200, "ok", None)
    assert done["duration_ms"] <= done["age_ms"] and done["queue_ms"] is not None and done["ttft_ms"] is not None and done["tries"] == 1
    assert done["bytes_in"] == len(json.dumps({"messages": [{"role": "user", "content": "Tell me nothing."}]})) and done["bytes_out"] > 100
    assert ops.ask("GET", f"/api/v1/requests/{done['id']}")[1]["seq"] == done["seq"]
    assert requests_of(ops, "?role=code&state=done") == [r for r in requests_of(ops) if r["role"] == "code"]
    assert requests_of(ops, f"?since={done['at']}")[-1]["id"] == done["id"]
    assert requests_of(ops, f"?until={done['at']}&limit=500") == [r for r in requests_of(ops, "?limit=500") if r["at"] < done["at"]]
    assert "Tell me nothing" not in json.dumps(requests_of(ops))


def test_a_refused_request_keeps_its_error(ops):
    assert call(ops.port, "POST", "/v1/chat/completions", {"model": "nobody", "messages": [{"role": "user", "content": "x"}]})[0] == 404
    one = requests_of(ops, "?limit=1")[0]
    assert (one["role"], one["mode"], one["status"], one["outcome"], one["error"]) == (None, None, 404, "refused", "model_not_found")


def test_a_running_stream_is_cancelled(ops):
    ops.fakes["speed"].script = held
    try:
        s = ops.stream("ask")
        events = s.events()
        first = [next(events) for _ in range(3)]
        assert text_of(first) == "one two"
        one = wait_for("it is told as running", lambda: next(iter(requests_of(ops, "?state=running&role=ask")), None))
        assert one["completion_tokens"] >= 2 and one["outcome"] is None and one["duration_ms"] is None and one["status"] == 200
        far = ops.ask("DELETE", f"/api/v1/requests/{one['id']}", {"Origin": "http://localhost:1"})
        assert far[0] == 403 and "web pages" in far[1]["detail"]
        status, answer = ops.ask("DELETE", f"/api/v1/requests/{one['id']}")
        assert status == 200 and check("Request", answer)["id"] == one["id"]
        rest = list(events)
        assert rest[0]["error"]["code"] == "cancelled" and rest[1:] in ([], ["cut"])  # the last word
        wait_for("the worker lost its client", lambda: getattr(ops.fakes["speed"].requests[-1], "left", None) is not None)
        over = wait_for("it is over", lambda: next((r for r in requests_of(ops, "?state=done&limit=1") if r["id"] == one["id"]), None))
        assert (over["outcome"], over["error"]) == ("broken", "cancelled")
        assert ops.ask("DELETE", f"/api/v1/requests/{one['id']}")[0] == 409
    finally:
        ops.fakes["speed"].script = lambda c: c.good("hello", " world")


def test_a_waiting_request_is_queued_told_and_cancelled(ops):
    ops.fakes["reasoning"].script = held
    try:
        streams = [ops.stream("code") for _ in range(8)]  # every slot that the scripted worker has
        connection = http.client.HTTPConnection("127.0.0.1", ops.port, timeout=60)
        connection.request("POST", "/code/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": "x"}]}), {"Content-Type": "application/json"})
        one = wait_for("it waits", lambda: next(iter(check("Queue", ops.ask("GET", "/api/v1/queue?role=code")[1])["queue"]), None))
        assert one["state"] == "waiting" and one["node"] is None and one["queue_ms"] is None
        assert ops.ask("GET", "/api/v1/queue?role=ask")[1] == {"queue": [], "next": None}
        assert ops.ask("DELETE", f"/api/v1/requests/{one['id']}")[0] == 200
        answer = connection.getresponse()
        assert answer.status == 499 and json.loads(answer.read())["error"]["code"] == "cancelled"
        assert answer.headers["x-should-retry"] == "false"
        for s in streams:
            s.close()
        wait_for("all are over", lambda: not requests_of(ops, "?state=running"))
        assert {r["outcome"] for r in requests_of(ops, "?role=code&node=reasoning")} == {"gone"}
    finally:
        ops.fakes["reasoning"].script = lambda c: c.good("hello", " world")


def test_why_tells_the_choice(tmp_path):
    ops = Ops(tmp_path)
    ops.roles = {"both": "modes: [both], model: m, context: 2Ki, slots: 2, replicas: 2"}
    ops.write_map()
    try:
        ops.start()
        wait_for("both hosts are ready", lambda: ops.role("both")["hosts_ready"] == 2)
        first = {}

        def once(c):
            if not first:
                first["node"] = c
                c.reset()
            c.good("hello")

        ops.fakes["speed"].script = ops.fakes["reasoning"].script = once
        ops.answer("both", max_tokens=999999)
        one = wait_for("it is over", lambda: next(iter(requests_of(ops, "?state=done&limit=1")), None))
        why = check("Why", ops.ask("GET", f"/api/v1/requests/{one['id']}/why")[1])
        assert why["request"]["tries"] == 2 and len(why["decisions"]) == 2
        before, after = why["decisions"]
        assert len(before["candidates"]) == 2 and {c["node"] for c in before["candidates"]} == {"speed", "reasoning"}
        assert before["pass"] == 0 and before["node"] == min(before["candidates"], key=lambda c: c["seconds"]["total"])["node"]
        assert after["node"] == one["node"] != before["node"]
        lost = next(c for c in after["candidates"] if c["node"] == before["node"])
        assert lost["avoided"] and lost["reject"] == "it has just lost a request" and lost["seconds"] is None
        for d in why["decisions"]:
            assert [c["node"] for c in d["candidates"] if c["chosen"]] == [d["node"]]
        assert "a token bound was lowered to the context" in why["rewrites"]
        assert ops.ask("GET", "/api/v1/requests/req_none/why")[0] == 404
    finally:
        ops.stop()


def test_the_history_outlives_the_gateway(tmp_path):
    ops = Ops(tmp_path, names=("speed",))
    try:
        ops.start()
        for role, n in (("ask", 5), ("code", 2)):
            for _ in range(n):
                ops.answer(role, "a secret that nobody keeps")
        assert call(ops.port, "POST", "/v1/chat/completions", {"model": "nobody", "messages": [{"role": "user", "content": "x"}]})[0] == 404

        def told(query=""):
            return {u["name"]: u for u in check("Usage", ops.ask("GET", f"/api/v1/usage{query}")[1])["usage"]}

        want = {"ask": (5, 0, 35, 10), "code": (2, 0, 14, 4), None: (1, 1, 0, 0)}
        sums = lambda: {name: (u["requests"], u["errors"], u["prompt_tokens"], u["completion_tokens"]) for name, u in told().items()}
        wait_for("all is written", lambda: sums() == want)
        assert ops.gateway.stop() == 0
        ops.start_gateway()
        ops.wait_ready("ask")
        assert sums() == want
        assert told("?by=node")["speed"]["requests"] == 7
        day = told("?per=day")["ask"]
        assert day["at"].endswith("T00:00:00.000Z") and day["requests"] == 5
        assert told("?until=2020-01-01T00:00:00Z") == {} and told("?since=2020-01-01T00:00:00Z")["ask"]["requests"] == 5
        with contextlib.closing(sqlite3.connect(f"file:{ops.folder}/state-gateway/history.db?mode=ro", uri=True)) as db:
            why = [json.loads(w) for (w,) in db.execute("SELECT why FROM request WHERE role = 'ask'")]
            assert len(why) == 5 and all(d["node"] == "speed" for w in why for d in w) and all(len(w) == 1 for w in why)
            kinds = [json.loads(e)["kind"] for (e,) in db.execute("SELECT json FROM event ORDER BY id")]
            assert kinds.count("gateway.started") == 2 and "host.ready" in kinds
            assert "secret" not in "\n".join(db.iterdump())
        assert ops.ask("GET", "/api/v1/usage?by=colour")[0] == 400
    finally:
        ops.stop()


# ---- events ----


class Feed:
    """A listener of /api/v1/events: (name, id, data) by and by."""

    def __init__(self, port, query="", last=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.connection.request("GET", f"/api/v1/events{query}", headers={"Accept": "text/event-stream", **({"Last-Event-ID": str(last)} if last else {})})
        self.begin()

    @classmethod
    def on(cls, connection):
        """On a connection whose request has been sent."""
        f = cls.__new__(cls)
        f.connection = connection
        f.begin()
        return f

    def begin(self):
        self.response = self.connection.getresponse()
        assert self.response.status == 200 and self.response.headers["Content-Type"] == "text/event-stream"

    def __iter__(self):
        name = number = data = None
        with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
            for line in self.response:
                key, _, value = line.decode().rstrip("\n").partition(": ")
                if key == "event":
                    name = value
                elif key == "id":
                    number = int(value)
                elif key == "data":
                    data = json.loads(value)
                elif not key and data is not None:
                    yield name, number, data
                    name = number = data = None

    def until(self, want):
        """Everything up to the first for which want() is true."""
        seen = []
        for item in self:
            seen.append(item)
            if want(*item):
                return seen
        raise AssertionError(f"the stream ended: {seen}")

    def close(self):
        self.response.close()
        self.connection.close()


def test_what_happens_is_told_listed_and_replayed(tmp_path):
    ops = Ops(tmp_path, names=("speed",))
    try:
        ops.start()
        feed = Feed(ops.port)
        first = wait_for("events are listed", lambda: [e for e in ops.ask("GET", "/api/v1/events?kind=host.ready")[1]["events"] if e["subject"] == "plan@speed"] or None)
        assert check("Events", ops.ask("GET", "/api/v1/events")[1])["events"][-1]["kind"] == "gateway.started"
        ops.fakes["speed"].close()
        seen = feed.until(lambda _, __, e: e["kind"] == "node.down")
        down = seen[-1][2]
        assert check("Event", down)["subject"] == "speed" and down["severity"] == "error" and "curl http://127.0.0.1:" in down["next"]
        ids = [number for _, number, _ in seen]
        assert ids == sorted(set(ids)) and all(number == e["id"] for _, number, e in seen)
        alarms = check("Status", ops.ask("GET", "/api/v1/status")[1])["alarms"]
        assert ("node.down", "speed") in [(a["kind"], a["subject"]) for a in alarms]
        again = Feed(ops.port, last=first[0]["id"])
        replayed = again.until(lambda _, number, __: number >= down["id"])
        assert [e for _, _, e in replayed if e["id"] <= down["id"]] == [e for e in reversed(ops.ask("GET", "/api/v1/events?limit=500")[1]["events"]) if first[0]["id"] < e["id"] <= down["id"]]
        page = ops.ask("GET", "/api/v1/events?limit=1")[1]
        assert ops.ask("GET", f"/api/v1/events?limit=1&cursor={page['next']}")[1]["events"][0]["id"] < page["events"][0]["id"]
        assert {e["severity"] for e in ops.ask("GET", "/api/v1/events?severity=error")[1]["events"]} == {"error"}
        ops.write_map("nonsense")
        ops.gateway.signal(signal.SIGHUP)
        refused = feed.until(lambda _, __, e: e["kind"] == "map.refused")[-1][2]
        assert "rolemesh check" in refused["next"]
        ops.write_map()
        ops.gateway.signal(signal.SIGHUP)
        feed.until(lambda _, __, e: e["kind"] == "map.refused.over")
        ops.gateway.signal(signal.SIGTERM)
        assert feed.until(lambda name, *_: name == "end")[-1][2] == {"reason": "the gateway is stopping"}
    finally:
        ops.stop()


def test_snapshots_are_the_bodies_of_the_gets(ops):
    feed = Feed(ops.port, "?live=1")
    began = time.monotonic()
    snapshots = []
    for name, number, data in feed:
        if name == "snapshot":
            assert number is None
            snapshots.append((time.monotonic() - began, check("Snapshot", data)))
        if len(snapshots) == 3:
            break
    assert snapshots[0][0] < 1 and snapshots[2][0] - snapshots[1][0] > 0.7
    last = snapshots[-1][1]
    for part in ("nodes", "roles", "requests"):
        now = ops.ask("GET", f"/api/v1/{part}")[1]
        assert set(now) == set(last[part]) and [sorted(i) for i in now[part]] == [sorted(i) for i in last[part][part]]
    feed.close()


def test_a_listener_that_does_not_read_disturbs_nobody(ops):
    slow = socket.create_connection(("127.0.0.1", ops.port), 10)
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall(b"GET /api/v1/events?live=1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
    feed = Feed(ops.port, "?live=1")
    feed.until(lambda name, *_: name == "snapshot")
    assert "rolemesh_event_listeners 2" in ops.ask("GET", "/metrics")[1].decode()
    slow.close()
    feed.until(lambda name, *_: name == "snapshot")
    feed.close()
    wait_for("both are gone", lambda: "rolemesh_event_listeners 0" in ops.ask("GET", "/metrics")[1].decode())


class Slow(FakeWorker):
    """Says nothing for a while when it is asked something."""

    def __init__(self, name):
        super().__init__(name)
        self.asked = set()

    def _answer(self, c):
        path = c.path.split("?")[0]
        if path in ("/node/v1/ledger", "/node/v1/models", "/node/v1/logs", "/node/v1/pulls"):
            self.asked.add(path)
            for _ in range(20):
                if self.closing:
                    return
                time.sleep(0.1)
        super()._answer(c)


def send(port, method, path, body=b"", kind="application/yaml"):
    """A request whose answer nobody reads yet."""
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return s


@pytest.mark.parametrize("stay", [True, False], ids=["stays", "goes"])
def test_the_end_comes_amid_questions(tmp_path, stay):
    """What threads of the pool, the history and workers were asked has no gateway to come back to, whether who asked is still there
    or not: an end all the same, and an orderly one."""
    with contextlib.ExitStack() as stack:
        c = Ops(tmp_path)
        stack.callback(c.stop)
        for f in c.fakes.values():
            f.close()
        c.fakes = {name: Slow(name) for name in c.fakes}
        c.ports = {name: f.port for name, f in c.fakes.items()}
        c.write_map()
        c.start()
        text = c.map.read_bytes()
        sockets = [send(c.port, "GET", f"/api/v1/{path}") for path in ("ledger", "models", "logs?node=speed", "logs")]
        wait_for("workers are asked", lambda: all("/node/v1/ledger" in f.asked for f in c.fakes.values()))
        for _ in range(4):
            sockets += [send(c.port, "GET", f"/api/v1/{path}") for path in (
                "plan", "history?metric=requests&range=30d", "usage", "decisions", "requests?limit=500", "events", "map/text", "nodes", "ledger")]
            sockets += [send(c.port, "POST", f"/api/v1/{path}", text) for path in ("plan", "map?dry_run=1", "map", "reload")]
            sockets += [send(c.port, "POST", f"/api/v1/hosts/ask/speed/{word}") for word in ("drain", "undrain")]
            sockets.append(send(c.port, "POST", "/api/v1/keys", b'{"name":"k"}', "application/json"))
        if not stay:
            for s in sockets:
                s.close()
        c.gateway.signal(signal.SIGTERM)
        assert c.gateway.wait(20) == 0, c.gateway.log()
        for s in sockets:
            s.close()
        for bad in ("Sanitizer", "runtime error", "left open"):
            assert bad not in c.gateway.log(), c.gateway.log()
