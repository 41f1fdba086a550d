# SPDX-License-Identifier: MIT
"""What operators do to hosts and nodes over the API, with real workers and real engines: load, unload, drain, undrain,
evict, drains of nodes, reload; what clients see of it; that it outlives the gateway; and who may."""
import json
import os
import subprocess

import pytest

from cluster_rig import call, cluster
from rig import SLOW, have_programs, program, wait_for

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

ENDLESS = {"embd": 128, "script": "on| and", "loop": 1, "ctx": 65536}
ASK = "modes: [ask], model: m, context: 32Ki, slots: 2"
CODE = "modes: [code], model: m, context: 8Ki, slots: 1, residency: on-demand"


@pytest.fixture(name="one")
def one_fixture(tmp_path):
    """Everything on one node."""
    with cluster(tmp_path, {"speed": None}, {"m": ENDLESS}, {"ask": ASK, "code": CODE + ", idle_unload: 1s"}, wait=False) as c:
        c.wait_ready("ask")
        yield c


@pytest.fixture(name="two")
def two_fixture(tmp_path):
    """One role that may stand on either node, and one that stands on both."""
    with cluster(tmp_path, {"speed": None, "reasoning": None}, {"m": ENDLESS}, {"ask": ASK, "both": ASK.replace("ask", "both") + ", replicas: 2"}) as c:
        wait_for("both hosts", lambda: c.role("both")["hosts_ready"] == 2)
        yield c


def do(c, path, status=202, **fields):
    """An order; the answer's text."""
    got, _, body = call(c.port, "POST", f"/api/v1/{path}", headers=fields)
    body = json.loads(body)
    assert got == status, body
    if status == 202:
        assert set(body) == {"action", "role", "node", "text"}
        return body["text"]
    return body["detail"]


def host(c, role, node):
    return next((h for h in c.get("/api/v1/hosts")["hosts"] if (h["role"], h["node"]) == (role, node)), None)


def nodes_of(c, role):
    """Where it is ready."""
    return {h["node"] for h in c.get("/api/v1/hosts")["hosts"] if h["role"] == role and h["usable"]}


def asked_of(c, n, mode):
    """The nodes that n requests one after the other were answered by."""
    for _ in range(n):
        c.answer(mode, max_tokens=2)
    return [r["node"] for r in c.get("/api/v1/requests?limit=500")["requests"] if r["state"] == "done" and r["mode"] == mode][:n]


# ---- drain ----


def test_a_drain_cuts_nothing_and_new_requests_go_elsewhere(two):
    stream = two.stream("both", max_tokens=30000)
    events = stream.events()
    next(events)
    node = wait_for("the host in use", lambda: next((h["node"] for h in two.get("/api/v1/hosts")["hosts"] if h["role"] == "both" and h["in_flight"]), None))
    text = do(two, f"hosts/both/{node}/drain")
    assert "1 request runs there" in text and "stays loaded" in text
    h = host(two, "both", node)
    assert h["wanted"] == "drained" and h["closed"] and not h["usable"] and h["in_flight"] == 1 and h["state"] in ("ready", "busy")
    assert set(asked_of(two, 6, "both")) == {"speed", "reasoning"} - {node}
    assert all("error" not in next(events) for _ in range(200))  # the stream goes on
    assert "was not drained" in do(two, f"hosts/ask/{next(iter(nodes_of(two, 'ask')))}/undrain")
    assert "takes requests again" in do(two, f"hosts/both/{node}/undrain")
    h = host(two, "both", node)
    assert h["wanted"] is None and not h["closed"] and h["usable"]
    assert all("error" not in next(events) for _ in range(50))
    stream.close()
    found = [e for e in two.get("/api/v1/events")["events"] if e["kind"].startswith("operator.")]
    assert [(e["kind"], e["subject"]) for e in found][::2] == [("operator.undrain", f"both@{node}"), ("operator.drain", f"both@{node}")]
    assert all("by an operator on this machine" in e["text"] for e in found)
    do(two, f"hosts/both/{node}/drain")
    wait_for("the drain is not forgotten", lambda: [(a["kind"], a["subject"], a["next"]) for a in two.get("/api/v1/status")["alarms"]] ==
             [("host.drained", f"both@{node}", f"when that is over: rolemesh undrain both {node}")])


def test_requests_for_a_drained_only_host_are_told_why(one):
    stream = one.stream("ask", max_tokens=20000)
    events = stream.events()
    next(events)
    do(one, "hosts/ask/speed/drain")
    status, fields, body = one.chat("ask", timeout=20)
    assert status == 503 and int(fields["Retry-After"]) >= 1
    assert "an operator drains ask on speed" in json.loads(body)["error"]["message"]
    assert "an operator drains ask on speed" in one.role("ask")["reason"]
    assert all("error" not in next(events) for _ in range(100))
    do(one, "hosts/ask/speed/undrain")
    one.wait_ready("ask")
    assert one.answer("ask", max_tokens=2)
    stream.close()
    assert "not hosted" in do(one, "hosts/code/speed/drain", 409)


def test_a_drained_host_on_demand_stays_loaded(one):
    one.answer("code", max_tokens=2)
    do(one, "hosts/code/speed/drain")
    began = one.node("speed")["uptime_ms"]
    wait_for("more than idle_unload", lambda: one.node("speed")["uptime_ms"] - began > 3000)
    assert host(one, "code", "speed")["state"] == "ready"
    assert one.chat("code")[0] == 503
    do(one, "hosts/code/speed/undrain")
    wait_for("it goes when it is idle again", lambda: host(one, "code", "speed") is None)


def test_a_fallback_answers_for_a_drained_role(tmp_path):
    roles = {"ask": ASK + ", fallback: [spare]", "spare": ASK.replace("ask", "spare")}
    with cluster(tmp_path, {"speed": None}, {"m": ENDLESS}, roles) as c:
        do(c, "hosts/ask/speed/drain")
        assert c.answer("ask", max_tokens=2)
        assert [(r["role"], r["served"]) for r in c.get("/api/v1/requests")["requests"]] == [("ask", "spare")]


def test_who_waits_for_a_node_that_is_away_is_told_of_the_drain(tmp_path):
    """The other node may come back: the request waits as long as its role's queue lets it."""
    with cluster(tmp_path, {"speed": None, "reasoning": None}, {"m": ENDLESS}, {"ask": ASK + ", queue_deadline: 3s"}) as c:
        at = next(iter(nodes_of(c, "ask")))
        other = ({"speed", "reasoning"} - {at}).pop()
        c.workers[other].kill()
        wait_for("the other node is down", lambda: c.node(other)["health"] == "down")
        do(c, f"hosts/ask/{at}/drain")
        status, _, body = c.chat("ask", timeout=30)
        assert status in (503, 504) and f"an operator drains ask on {at}" in json.loads(body)["error"]["message"], body


# ---- unload, load, evict ----


def test_unload_moves_and_load_brings_back(two):
    first = next(iter(nodes_of(two, "ask")))
    other = ({"speed", "reasoning"} - {first}).pop()
    assert "stays off until it is loaded there" in do(two, f"hosts/ask/{first}/unload")
    wait_for("it has moved", lambda: nodes_of(two, "ask") == {other} and host(two, "ask", first) is None)
    assert two.node(first)["unloaded"] == ["ask"] and two.node(other)["unloaded"] == []
    assert asked_of(two, 2, "ask") == [other] * 2
    assert "kept there" in do(two, f"hosts/ask/{first}/load")
    wait_for("it is back", lambda: nodes_of(two, "ask") == {first} and host(two, "ask", other) is None)
    assert host(two, "ask", first)["wanted"] == "loaded" and two.node(first)["unloaded"] == []
    assert "was unloaded" not in do(two, f"hosts/ask/{other}/unload")  # nothing stands there: kept off
    assert "load it" in do(two, f"hosts/ask/{other}/undrain", 409)
    assert "may be again" in do(two, f"hosts/ask/{other}/evict")
    assert "not hosted" in do(two, f"hosts/ask/{other}/evict", 409)


def test_the_only_host_is_unloaded(one):
    stream = one.stream("ask", max_tokens=3000)
    events = stream.events()
    next(events)
    assert "1 request runs there" in do(one, "hosts/ask/speed/unload")
    status, _, body = one.chat("ask", timeout=20)
    assert status == 503 and "an operator has unloaded ask from speed" in json.loads(body)["error"]["message"]
    assert list(events)[-1] == "[DONE]"  # not cut
    wait_for("it is gone", lambda: host(one, "ask", "speed") is None)
    assert one.get("/api/v1/roles/ask")["hosts_ready"] == 0
    do(one, "hosts/ask/speed/load")
    one.wait_ready("ask")
    assert one.answer("ask", max_tokens=2) and host(one, "ask", "speed")["wanted"] == "loaded"


def test_load_of_an_on_demand_role(one):
    assert host(one, "code", "speed") is None
    do(one, "hosts/code/speed/load")
    one.wait_ready("code")
    began = one.node("speed")["uptime_ms"]
    wait_for("more than idle_unload", lambda: one.node("speed")["uptime_ms"] - began > 3000)
    h = host(one, "code", "speed")
    assert h["state"] == "ready" and h["wanted"] == "loaded"
    assert "stands on speed" in do(one, "hosts/code/speed/load")
    assert "then the plan decides" in do(one, "hosts/code/speed/evict")
    wait_for("it is gone", lambda: host(one, "code", "speed") is None)
    assert one.answer("code", max_tokens=2)  # a request may load it again
    assert host(one, "code", "speed")["wanted"] is None


def test_evicting_a_resident_host_loads_it_afresh(one):
    pid = host(one, "ask", "speed")["pid"]
    do(one, "hosts/ask/speed/evict")
    wait_for("another engine", lambda: (h := host(one, "ask", "speed")) and h["usable"] and h["pid"] != pid)
    assert one.answer("ask", max_tokens=2)


# ---- nodes ----


def test_a_drained_node_gives_its_hosts_away(two):
    first = next(iter(nodes_of(two, "ask")))
    other = ({"speed", "reasoning"} - {first}).pop()
    stream = two.stream("ask", max_tokens=3000)
    events = stream.events()
    next(events)
    text = do(two, f"nodes/{first}/drain")
    assert first in text and two.node(first)["drained"] and not two.node(first)["draining"] and not two.node(other)["drained"]
    assert asked_of(two, 3, "ask") == [other] * 3  # they wait for the load there
    assert list(events)[-1] == "[DONE]"
    wait_for("all have moved", lambda: two.node(first)["hosts"] == [] and nodes_of(two, "ask") == nodes_of(two, "both") == {other})
    assert f"{first} is drained" in do(two, f"hosts/both/{first}/load", 409)
    plan = two.get("/api/v1/plan")
    assert all(n["hosts"] == [] for p in plan.values() if p for n in p["nodes"] if n["node"] == first)  # nobody proposes it
    do(two, f"nodes/{first}/undrain")
    wait_for("the second host is back", lambda: nodes_of(two, "both") == {"speed", "reasoning"})
    assert not two.node(first)["drained"] and "was not drained" in do(two, f"nodes/{first}/undrain")


def test_the_only_node_is_drained(one):
    do(one, "nodes/speed/drain")
    status, _, body = one.chat("ask", timeout=20)
    assert status == 503 and "an operator drains the node speed" in json.loads(body)["error"]["message"]
    assert host(one, "ask", "speed")["state"] == "ready"  # there is no other place: it stays loaded
    assert [s["reason"] for s in one.get("/api/v1/roles")["shortfalls"] if s["role"] == "ask"] == ["an operator keeps it off a node, and there is no room elsewhere"]
    assert one.chat("code")[0] == 503
    assert "undrain the node" in do(one, "hosts/ask/speed/undrain", 409)
    do(one, "nodes/speed/undrain")
    one.wait_ready("ask")
    assert one.answer("ask", max_tokens=2) and one.answer("code", max_tokens=2)


# ---- over restarts ----


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_wishes_outlive_the_gateway(two, how):
    first = next(iter(nodes_of(two, "ask")))
    other = ({"speed", "reasoning"} - {first}).pop()
    do(two, f"hosts/ask/{first}/load")
    do(two, f"hosts/both/{other}/drain")
    kept = two.folder / "state-gateway" / "wishes.json"
    wait_for("they are kept", lambda: kept.exists() and len(json.loads(kept.read_text())["hosts"]) == 2)
    assert kept.stat().st_mode & 0o777 == 0o600
    getattr(two.gateway, how)()
    two.start_gateway()
    two.wait_ready("ask", "both")
    assert host(two, "ask", first)["wanted"] == "loaded"
    h = wait_for("the host", lambda: host(two, "both", other))
    assert h["wanted"] == "drained" and h["closed"]
    assert set(asked_of(two, 5, "both")) == {first}
    do(two, f"hosts/both/{other}/undrain")
    do(two, f"nodes/{other}/drain")
    wait_for("they are kept", lambda: len(json.loads(kept.read_text())["hosts"]) == 1 and json.loads(kept.read_text())["nodes"])
    two.gateway.stop()
    two.start_gateway()
    wait_for("the node is drained", lambda: (n := two.node(other)) and n["drained"])
    wait_for("and empty", lambda: two.node(other)["seen"] and two.node(other)["hosts"] == [])


def test_damaged_wishes_are_set_aside(one):
    one.gateway.stop()
    kept = one.folder / "state-gateway" / "wishes.json"
    for text in ("{", '{"version":2,"hosts":[],"nodes":[]}', '{"version":1,"hosts":[{"role":"ask","node":"speed","wanted":"gone"}],"nodes":[]}', "x" * (2 << 20)):
        kept.write_text(text)
        one.start_gateway()
        one.wait_ready("ask")
        assert "the file is damaged, and set aside" in one.gateway.log()
        aside = kept.with_name("wishes.json.damaged")
        assert not kept.exists() and aside.read_text() == text and one.answer("ask", max_tokens=2)
        assert one.gateway.stop() == 0
    kept.write_text('{"version":1,"hosts":[{"role":"gone","node":"speed","wanted":"unloaded"}],"nodes":[{"node":"speed"}]}')
    one.start_gateway()
    wait_for("the wish for what is there holds", lambda: (n := one.node("speed")) and n["drained"])
    assert "a wish ends" in one.gateway.log() or "wish ends with what the role map said before" in one.gateway.log()
    wait_for("the other is dropped", lambda: json.loads(kept.read_text())["hosts"] == [])


def test_wishes_that_cannot_be_kept_hold_all_the_same(one):
    one.gateway.stop()
    kept = one.folder / "state-gateway" / "wishes.json"
    kept.unlink(missing_ok=True)
    kept.mkdir()  # no file can take its place
    one.start_gateway()
    one.wait_ready("ask")
    assert "what operators wanted cannot be read" in one.gateway.log()
    do(one, "hosts/ask/speed/drain")
    wait_for("it is told", lambda: "operators' wishes cannot be kept" in one.gateway.log())
    assert host(one, "ask", "speed")["wanted"] == "drained" and one.chat("ask")[0] == 503
    kept.rmdir()
    wait_for("they are kept again", lambda: kept.is_file() and json.loads(kept.read_text())["hosts"][0]["wanted"] == "drained")
    wait_for("that is told", lambda: "are kept again" in one.gateway.log())  # the file is there before the loop hears of it
    assert one.gateway.log().count("operators' wishes cannot be kept") == 1


# ---- mistakes, and who may ----


def test_what_cannot_be_done_is_told(tmp_path):
    pinned = ASK.replace("ask", "fixed") + ", residency: pinned"
    roles = {"ask": ASK + ", nodes: [speed]", "fixed": pinned, "big": ASK.replace("ask", "big").replace("slots: 2", "slots: 64").replace("32Ki", "64Ki") + ", residency: on-demand"}
    models = {"m": {**ENDLESS, "embd": 1024, "heads": 8, "layers": 24, "ff": 64}}
    with cluster(tmp_path, {"speed": None, "reasoning": None}, models, roles, wait=False) as c:
        c.wait_ready("ask", "fixed")
        for path in ("hosts/nobody/speed/load", "hosts/ask/nobody/drain", "nodes/nobody/drain", "hosts/x%00/speed/load"):
            assert do(c, path, 404)
        do(c, "hosts/ask/speed/nonsense", 404)
        at = next(iter(nodes_of(c, "fixed")))
        assert "pinned" in do(c, f"hosts/fixed/{at}/unload", 409) and "pinned" in do(c, f"hosts/fixed/{at}/evict", 409)
        assert "the role map does not let" in do(c, "hosts/ask/reasoning/load", 409)
        text = wait_for("the forecast", lambda: (t := json.loads(call(c.port, "POST", "/api/v1/hosts/big/speed/load")[2])).get("detail"))
        assert "no room: big needs" in text and "bytes" in text and "GiB" in text
        c.workers["reasoning"].stop()
        wait_for("the node is known to be gone", lambda: c.node("reasoning")["health"] != "up")
        assert "does not answer" in do(c, "hosts/fixed/reasoning/load", 409) or at == "reasoning"
        status, fields, _ = call(c.port, "GET", "/api/v1/hosts/ask/speed/load")
        assert status == 405 and fields["Allow"] == "POST"


def test_an_admin_key_is_needed_and_named(one):
    state = one.folder / "state-gateway"

    def make(*args):
        return subprocess.run([program("rolemesh"), "keys", "create", *args, "--state-dir", state], capture_output=True, text=True, timeout=30 * SLOW, check=True).stdout.strip()

    user, boss = make("laptop"), make("boss", "--admin")
    for key, name in ((user, "laptop"), (boss, "boss")):
        wait_for(f"{name}'s key is known", lambda key=key, name=name: json.loads(call(one.port, "GET", "/api/v1/session", headers={"x-api-key": key})[2]).get("name") == name)
    for path in ("hosts/ask/speed/drain", "hosts/ask/speed/load", "hosts/ask/speed/unload", "hosts/ask/speed/evict", "hosts/ask/speed/undrain",
                 "nodes/speed/drain", "nodes/speed/undrain", "reload"):
        assert do(one, path, 401)
        assert "not an admin's" in do(one, path, 403, Authorization=f"Bearer {user}")
    do(one, "hosts/ask/speed/drain", Authorization=f"Bearer {boss}")
    events = json.loads(call(one.port, "GET", "/api/v1/events?kind=operator.drain", headers={"x-api-key": user})[2])["events"]
    assert len(events) == 1 and events[0]["subject"] == "ask@speed" and "(by the key boss)" in events[0]["text"]
    kept = state / "wishes.json"
    wait_for("it is kept", kept.exists)
    assert [(h["role"], h["wanted"], h["by"]) for h in json.loads(kept.read_text())["hosts"]] == [("ask", "drained", "boss")]


# ---- the command ----


def test_the_command_gives_orders(one):
    def run(*args, code=0):
        argv = [program("rolemesh"), *args, "--gateway", f"http://127.0.0.1:{one.port}"]
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=30 * SLOW)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout if code == 0 else done.stderr

    assert "stays loaded" in run("drain", "ask", "speed") and host(one, "ask", "speed")["wanted"] == "drained"
    assert "takes requests again" in run("undrain", "ask")  # its only host
    assert json.loads(run("load", "code", "--json"))["action"] == "load"  # the only node
    one.wait_ready("code")
    assert "then the plan decides" in run("evict", "code", "speed")
    wait_for("it is gone", lambda: host(one, "code", "speed") is None)
    assert "not hosted" in run("drain", "code", "speed", code=1)
    run("drain", "speed")
    assert one.node("speed")["drained"]
    run("undrain", "--node", "speed")
    assert not one.node("speed")["drained"]
    assert "nobody" in run("load", "nobody", "speed", code=1)


# ---- reload ----


def test_reload_answers_like_apply(one):
    def reload():
        status, _, body = call(one.port, "POST", "/api/v1/reload")
        return status, json.loads(body)

    status, body = reload()
    assert status == 200 and body["applied"] and not body["dry_run"] and body["changes"] == [] and body["revision"] == body["file_revision"]
    one.roles["code"] = CODE + ", idle_unload: 5s"
    one.write_map()
    status, body = reload()
    assert status == 200 and body["changes"] and body["revision"] == one.get("/api/v1/map")["revision"]
    assert one.get("/api/v1/map")["last_reload"]["by"] == "api"
    good = one.map.read_text()
    one.map.write_text(good.replace("slots: 2", "slots: none"))
    status, body = reload()
    assert status == 422 and body["code"] == "invalid_map" and len(body["mistakes"]) == 1 and "slots" in body["text"]
    os.unlink(one.map)
    status, body = reload()
    assert status == 422 and "role-map.yaml" in body["text"]
    one.map.write_text(good)
    assert reload()[0] == 200 and one.answer("ask", max_tokens=2)
