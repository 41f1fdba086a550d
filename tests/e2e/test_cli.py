# SPDX-License-Identifier: MIT
"""The command `rolemesh` against a running cluster: what --json prints has the form of proto/openapi.yaml, tables tell what the
API tells, a terminal gets colours and its own width and a pipe does not, --watch and events -f go on until they are ended."""
import contextlib
import http.server
import json
import re
import signal
import subprocess
import threading

import pytest
from cli_rig import Echo, check, environment, one_line, rolemesh, terminal, words_of
from cluster_rig import Cluster, call, cluster
from fake_worker import FakeWorker
from rig import SLOW, program, wait_for


@pytest.fixture(name="pair", scope="module")
def pair_fixture(tmp_path_factory):
    """Two machines with real workers, and a few requests that are over."""
    roles = {"ask": "modes: [ask], model: m, context: 1Ki, slots: 2, nodes: [speed]", "code": "modes: [code, debug], model: m, context: 1Ki, slots: 1, nodes: [reasoning]"}
    with cluster(tmp_path_factory.mktemp("cli"), {"speed": None, "reasoning": None}, {"m": {}}, roles) as c:
        for _ in range(3):
            c.answer("ask", "Say something.", max_tokens=4)
        c.answer("debug", "Say more.", max_tokens=99999, stop=["e"])
        wait_for("the history has them", lambda: sum(u["requests"] for u in c.get("/api/v1/usage")["usage"]) == 4)
        yield c


def said(c, *args, code=0, **env):
    done = rolemesh(*args, gateway=c.port, **env)
    assert done.returncode == code, (args, done.stdout, done.stderr)
    return done.stdout


def rows_of(text):
    """[{title: cell}] of a table; cells are parted by two blanks at least, and none of them is empty."""
    titles = re.split(r"\s{2,}", text.splitlines()[0].strip())
    return [dict(zip(titles, re.split(r"\s{2,}", line.strip()))) for line in text.splitlines()[1:] if line]


def newest(c):
    return c.get("/api/v1/requests?limit=1")["requests"][0]["id"]


# ---- as JSON ----


@pytest.mark.parametrize("args,schema", [
    (["status"], "Overview"), (["nodes"], "Nodes"), (["nodes", "speed"], "Node"), (["nodes", "--health", "up"], "Nodes"), (["roles"], "Roles"), (["roles", "code"], "Role"),
    (["models"], "MapModels"), (["models", "--node", "speed"], "MapModels"), (["ps"], "Requests"), (["ps", "--all"], "Requests"), (["events"], "Events"), (["events", "-n", "1"], "Events"), (["usage"], "Usage"),
    (["usage", "--by", "node", "--per", "hour", "--since", "1h"], "Usage"),
])
def test_json_has_the_documented_form(pair, args, schema):
    check(schema, json.loads(said(pair, *args, "--json")))
    if schema != "Events":
        check(schema, json.loads(said(pair, *args, "-o", "json")))


def test_why_as_json(pair):
    why = check("Why", json.loads(said(pair, "why", newest(pair), "--json")))
    assert why["request"]["role"] == "code" and len(why["decisions"]) == 1 and "a token bound was lowered to the context" in why["rewrites"]


def test_plan_as_json(pair):
    check("Plan", json.loads(said(pair, "plan", "--role-map", pair.map, "--json")))


# ---- as tables ----


def test_status_is_one_screen(pair):
    text = said(pair, "status")
    state = pair.get("/api/v1/status")
    assert text.splitlines()[0] == f"gateway  http://127.0.0.1:{pair.port}  ready"
    assert f"map {state['revision'][:12]}" in text and "alarms   none" in text
    nodes, roles = text.split("\n\n")[1:]
    assert [(n["NODE"], n["HEALTH"], n["HOSTS"]) for n in rows_of(nodes)] == [("speed", "up", "ask ready"), ("reasoning", "up", "code ready")]
    assert [(r["ROLE"], r["READY"], r["ON"]) for r in rows_of(roles)] == [("ask", "1/1", "speed ready"), ("code", "1/1", "reasoning ready")]


def test_lists_tell_what_the_api_tells(pair):
    wide = rows_of(said(pair, "nodes", "-o", "wide"))
    assert [n["ADDRESS"] for n in wide] == [f"127.0.0.1:{pair.ports[name]}" for name in ("speed", "reasoning")]
    assert {n["VERSION"] for n in wide} == {pair.node("speed")["version"]}
    plain = rows_of(said(pair, "nodes"))
    assert "ADDRESS" not in plain[0] and all(" of " in n["MEMORY"] for n in plain)
    assert rows_of(said(pair, "nodes", "--health", "down")) == []
    one = said(pair, "roles", "code", "-o", "wide").split("\n\n")
    assert rows_of(one[0])[0]["MODES"] == "code, debug" and rows_of(one[1])[0]["HOST"] == "code@reasoning"
    host = pair.host("code")
    assert rows_of(one[1])[0]["SLOTS"] == f"{host['slots_busy']}/{host['slots_total']}" and rows_of(one[1])[0]["CONTEXT"] == str(host["context"])
    models = rows_of(said(pair, "models"))
    assert [(m["MODEL"], m["NODE"]) for m in models] == [("m", "speed"), ("m", "reasoning")] and models[0]["ROLES"] == "ask, code"
    assert rows_of(said(pair, "usage"))[0]["REQUESTS"] == "3" and {u["NAME"]: u["REQUESTS"] for u in rows_of(said(pair, "usage", "--by", "node"))} == {"speed": "3", "reasoning": "1"}


def test_requests_and_why(pair):
    done = rows_of(said(pair, "ps", "--all", "-o", "wide"))
    assert [(r["ROLE"], r["NODE"], r["MODE"], r["STATE"]) for r in done] == [("code", "reasoning", "debug", "ok")] + 3 * [("ask", "speed", "ask", "ok")]
    assert len(rows_of(said(pair, "ps", "-a", "-n", "2"))) == 2 and len(rows_of(said(pair, "ps", "--role", "ask", "-a"))) == 3
    assert rows_of(said(pair, "ps", "--outcome", "failed")) == [] and rows_of(said(pair, "ps", "-a", "--since", "2100-01-01")) == []
    text = said(pair, "why", newest(pair))
    request = pair.get(f"/api/v1/requests/{newest(pair)}")
    for words in (f"request   {request['id']}", "who       nobody was asked for a key", "asked     role code, mode debug, as chat", "outcome   ok, HTTP 200, on reasoning",
                  f"tokens    prompt {request['prompt_tokens']}, of these from a cache {request['cached_tokens']}, answer {request['completion_tokens']}", "a token bound was lowered to the context"):
        assert words in text
    assert re.search(r"^->\s+reasoning\s+\S+", text, re.M) and "decision 1" in text and "decision 2" not in text
    assert "no request 'req_x'" in one_line(rolemesh("why", "req_x", gateway=pair.port), 1)


def test_a_running_stream_is_listed_and_cancelled(pair):
    s = pair.stream("ask", "Go on.", max_tokens=900)
    events = s.events()
    next(events)
    one = wait_for("it is listed", lambda: next(iter(rows_of(said(pair, "ps"))), None))
    assert (one["ROLE"], one["NODE"], one["STATE"]) == ("ask", "speed", "running")
    assert one["REQUEST"] in words_of("bash", "cancel", "req_", gateway=pair.port)
    assert said(pair, "cancel", one["REQUEST"]) == f"{one['REQUEST']} of ask is cancelled\n"
    assert any(isinstance(e, dict) and e.get("error", {}).get("code") == "cancelled" for e in events)
    wait_for("it is over", lambda: rows_of(said(pair, "ps")) == [])


def test_orders_and_reload(pair):
    """More of them in test_actions.py."""
    assert check("Order", json.loads(said(pair, "drain", "code", "--json"))) == {**json.loads(said(pair, "drain", "code", "reasoning", "--json"))}
    assert rows_of(said(pair, "nodes", "reasoning").split("\n\n")[1])[0]["STATE"] == "ready, drained"
    assert rows_of(said(pair, "nodes", "reasoning", "-o", "wide").split("\n\n")[1])[0]["WANTED"] == "drained"
    assert said(pair, "undrain", "code").endswith("\n")
    said(pair, "unload", "code", "reasoning")
    wait_for("it is gone", lambda: not pair.role("code")["hosts"])
    assert {n["NODE"]: n["KEPT OFF"] for n in rows_of(said(pair, "nodes", "-o", "wide"))} == {"speed": "-", "reasoning": "code"}
    assert "has no host" in one_line(rolemesh("evict", "code", gateway=pair.port), 1)
    assert "no role is called 'ask-not'" in one_line(rolemesh("load", "ask-not", gateway=pair.port), 1)
    said(pair, "load", "code")  # where it was unloaded
    pair.wait_ready("code")
    assert "no change" in said(pair, "reload") and f"reloaded: revision {pair.get('/api/v1/status')['revision']}" in said(pair, "reload")
    check("MapAnswer", json.loads(said(pair, "reload", "--json")))
    good = pair.map.read_text()
    pair.map.write_text(good.replace("context: 1Ki", "context: none"))
    try:
        done = rolemesh("reload", gateway=pair.port)
        assert done.returncode == 2 and done.stdout == "" and "role-map.yaml:" in done.stderr and "context" in done.stderr
        assert rolemesh("reload", "--json", gateway=pair.port).returncode == 2
    finally:
        pair.map.write_text(good)
    said(pair, "reload")


# ---- at a terminal, at a pipe ----


def test_colours_are_for_terminals(pair):
    assert "\033" not in said(pair, "status")
    with terminal("status", gateway=pair.port) as t:
        assert t.end() == 0 and "\033[32mup\033[0m" in t.text and "\033[32mready\033[0m" in t.text
    for args, env in ((["--no-color"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})):
        with terminal("status", *args, gateway=pair.port, **env) as t:
            assert t.end() == 0 and "\033" not in t.text and "ready" in t.text
    with terminal("status", gateway=pair.port, NO_COLOR="") as t:  # no-color.org: empty is not set
        assert t.end() == 0 and "\033[32m" in t.text


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_tables_fit_the_terminal(pair, columns):
    for args in (["nodes"], ["roles", "-o", "wide"], ["ps", "-a"], ["usage"]):
        text = said(pair, *args, COLUMNS=str(columns))
        assert max(map(len, text.splitlines())) <= columns, (args, text)
    with terminal("ps", "--all", gateway=pair.port, columns=columns) as t:
        assert t.end() == 0
        assert max(len(re.sub("\033\\[[0-9;]*m", "", line)) for line in t.text.splitlines()) <= columns


def test_watch_draws_again_and_ends(pair):
    with terminal("nodes", "--watch=0.1", gateway=pair.port, lines=8) as t:
        t.until(r"(?s)(\033\[H.*){4}")
        t.write("\x03")
        assert t.end() == 0 and t.text.endswith("\033[?25h")
        frames = t.text.split("\033[H")[1:]
        assert all("speed" in f and f.count("\n") < 8 for f in frames[:-1]) and "every 0.1 s: rolemesh nodes" in frames[0]
    argv = [program("rolemesh"), "status", "--watch=0.1", "--json"]
    with subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, text=True, env=environment(pair.port)) as p:
        for _ in range(3):
            check("Overview", json.loads(p.stdout.readline()))
        p.send_signal(signal.SIGINT)
        assert p.wait(20 * SLOW) == 0


def test_json_at_a_terminal_is_ascii():
    """What escapes a pipe's JSON needs not, a terminal's does: C1 controls and marks of direction."""
    e = Echo()
    try:
        e.text = "a\x9b31m\u202eb"
        with terminal("nodes", "speed", "--json", gateway=e.port) as t:
            assert t.end() == 0 and t.text.isascii() and json.loads(t.text)["name"] == e.text
        with terminal("nodes", "speed", "--json", "--watch", gateway=e.port, lines=60) as t:
            t.until("last_error")
            assert t.text.isascii()
        assert json.loads(rolemesh("nodes", "speed", "--json", gateway=e.port).stdout)["name"] == e.text
    finally:
        e.close()


# ---- what happens ----


class Fake(Cluster):
    """A gateway and a scripted worker."""

    def __init__(self, folder):
        self.fake = FakeWorker("speed")
        super().__init__(folder, ["speed"], {"m": folder / "m.gguf"}, {"ask": "modes: [ask], model: m, context: 2Ki, slots: 2"})
        self.ports = {"speed": self.fake.port}
        self.write_map()

    def stop(self):
        super().stop()
        self.fake.close()


@pytest.fixture(name="lone")
def lone_fixture(tmp_path):
    c = Fake(tmp_path)
    try:
        c.start_gateway()
        c.wait_ready("ask")
        yield c
    finally:
        c.stop()


@contextlib.contextmanager
def followed(c, out):
    """`rolemesh events -f --json`, ended in any case."""
    argv = [str(program("rolemesh")), "events", "-f", "--json"]
    p = subprocess.Popen(argv, stdout=out, stderr=subprocess.PIPE, text=True, env=environment(c.port))
    try:
        yield p
    finally:
        p.kill()
        p.wait()


def test_following_goes_on_over_a_restart(lone, tmp_path):
    out = (tmp_path / "followed").open("w+")
    with followed(lone, out) as p:
        seen = lambda: [check("Event", json.loads(line)) for line in (tmp_path / "followed").read_text().splitlines()]
        wait_for("what happened is told", lambda: any(e["kind"] == "host.ready" for e in seen()))
        assert lone.gateway.stop() == 0
        lone.start_gateway()
        wait_for("the second start is told", lambda: [e["kind"] for e in seen()].count("gateway.started") == 2, 30)
        lone.wait_ready("ask")
        ids = lambda: [e["id"] for e in seen()]
        second = next(e["id"] for e in reversed(seen()) if e["kind"] == "gateway.started")
        listed = lambda: [e["id"] for e in reversed(lone.get("/api/v1/events?limit=500")["events"]) if e["id"] >= second]
        wait_for("nothing of the second life is missing", lambda: [i for i in ids() if i >= second] == listed())
        assert ids() == sorted(set(ids())) and "gateway.draining" in {e["kind"] for e in seen()}
        p.send_signal(signal.SIGINT)
        assert p.wait(20 * SLOW) == 0
        told = p.stderr.read()
        assert "it is tried again" in told and "the gateway is back" in told and told.count("\n") == 2


def test_following_with_a_filter_tells_nothing_old(lone):
    """None of what happened is wanted: only what happens is told."""
    call(lone.port, "POST", "/api/v1/nodes/speed/drain")
    wait_for("it is told", lambda: any(e["kind"] == "operator.drain" for e in lone.get("/api/v1/events")["events"]))
    with terminal("events", "-f", "--json", "--since", "2100-01-01", "--subject", "speed", gateway=lone.port, columns=200) as t:
        wait_for("it listens", lambda: "rolemesh_event_listeners 1" in call(lone.port, "GET", "/metrics")[2].decode())
        call(lone.port, "POST", "/api/v1/nodes/speed/undrain")
        t.until("operator.undrain")
        assert "operator.drain" not in t.text
        t.write("\x03")
        assert t.end() == 0


def test_following_shows_what_happens_and_what_to_do(lone):
    with terminal("events", "-f", "-n", "1", "--subject", "speed", gateway=lone.port, columns=200) as t:
        t.until("speed: ")
        lone.fake.close()
        t.until(r"error.*node\.down.*\r\n\s+do: ")
        t.write("\x03")
        assert t.end() == 0 and "ask@speed" not in re.sub("do: .*", "", t.text)


def test_an_alarm_is_on_the_screen(lone):
    lone.fake.close()
    text = wait_for("it is told", lambda: (lambda x: x if "node" in x and "error" in x else None)(rolemesh("status", gateway=lone.port).stdout))
    assert re.search(r"^error\s+\S+( \S+)?  speed: .*\n\s+do: ", text, re.M)


def test_a_gateway_that_goes_away_while_it_is_watched(lone):
    with terminal("roles", "--watch=0.1", gateway=lone.port) as t:
        t.until("speed ready")
        assert lone.gateway.stop() == 0
        t.until("connection refused; start rolemesh-gateway")
        lone.start_gateway()
        lone.wait_ready("ask")
        t.text = ""
        t.until("speed ready")
        t.write("\x03")
        assert t.end() == 0


def test_keys_are_asked_for_and_taken(lone, tmp_path):
    key = rolemesh("keys", "create", "me", "--admin", "--state-dir", tmp_path / "state-gateway").stdout.strip()
    (tmp_path / "key").write_text(key + "\n")
    wait_for("keys are needed", lambda: call(lone.port, "GET", "/api/v1/status")[0] == 401)
    assert "give a key with --key-file FILE or ROLEMESH_KEY" in one_line(rolemesh("status", gateway=lone.port), 1)
    assert rolemesh("status", "--key-file", tmp_path / "key", gateway=lone.port).returncode == 0
    assert rolemesh("--key-file", tmp_path / "key", "nodes", gateway=lone.port).returncode == 0
    assert rolemesh("ps", gateway=lone.port, ROLEMESH_KEY=key).returncode == 0
    assert words_of("bash", "keys", "revoke", "", gateway=lone.port, ROLEMESH_KEY=key) == ["me"]
    done = rolemesh("keys", "list", "--gateway", f"http://127.0.0.1:{lone.port}", ROLEMESH_KEY=key)
    assert [(k["NAME"], k["STATE"], k["ADMIN"]) for k in rows_of(done.stdout)] == [("me", "live", "yes")] and key not in done.stdout


def test_what_is_no_gateway():
    """Something else listens there."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        said_ = one_line(rolemesh("nodes", gateway=server.server_address[1]), 1)
        assert "answered 501" in said_ and "is this a gateway" in said_
    finally:
        server.shutdown()
        server.server_close()
