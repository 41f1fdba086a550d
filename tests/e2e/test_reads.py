# SPDX-License-Identifier: MIT
"""What the ops API tells of models, plans, decisions, the ledger and the past: with real workers, and every answer held against
its schema in proto/openapi.yaml."""
import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import sqlite3
import subprocess
import time
import urllib.parse

import jsonschema
import pytest
import yaml

from cluster_rig import Cluster, call, cluster
from rig import TOP, free_port, have_programs, program, wait_for

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

SPEC = yaml.safe_load((TOP / "proto" / "openapi.yaml").read_text())
MODELS = {"ask": {"script": "Ask says hello."}, "code": {"script": "int main(void) { return 0; }"}}
ROLES = {
    "ask": "modes: [ask], model: ask, context: 2Ki, slots: 2, nodes: [speed]",
    "code": "modes: [code], model: code, context: 2Ki, slots: 2, nodes: [reasoning]",
    "late": "modes: [late], model: ask, context: 1Ki, slots: 1, residency: on-demand, lane: batch",
}


def check(name, data):
    jsonschema.validate(data, {"$ref": f"#/components/schemas/{name}", "components": SPEC["components"]})
    return data


@pytest.fixture(name="two", scope="module")
def two_fixture(tmp_path_factory):
    """Two nodes; tests leave it as it was."""
    with cluster(tmp_path_factory.mktemp("two"), ["speed", "reasoning"], MODELS, ROLES, wait=False) as c:
        c.wait_ready("ask", "code")
        yield c


def ask(c, path, schema=None, method="GET", body=None, headers=None):
    """The answer's JSON; with a schema it must be a 200 of that form, else its status comes with it."""
    status, fields, data = call(c.port, method, f"/api/v1/{path}", body, headers)
    told = json.loads(data)
    if schema is None:
        assert status < 400 or fields["Content-Type"] == "application/problem+json"
        return status, told
    assert status == 200, told
    return check(schema, told)


def offer(c, text, headers=None, path="plan"):
    return ask(c, path, method="POST", body=text, headers={"Content-Type": "application/yaml", **(headers or {})})


# ---- plan ----


def hosts_of(plan):
    return {(h["role"], n["node"]): h["action"] for n in plan["nodes"] for h in n["hosts"]}


def test_the_plan_that_is_kept(two):
    told = ask(two, "plan", "Plans")
    current = told["current"]
    assert hosts_of(current) == {("ask", "speed"): "keep", ("code", "reasoning"): "keep"}
    assert current["fits"] and current["exact"] and told["proposed"] is None
    assert all(count == 0 for count in current["counts"].values()) and current["counts"] == current["bounds"]
    for n in current["nodes"]:
        memory = two.node_state(n["node"])["memory"]
        assert n["total"] == memory["total"] and n["usable"] and n["silent"] is None
        assert n["used"] == sum(h["bytes"] for h in n["hosts"]) > 0
        assert n["used"] + n["free"] + n["reserve"] == n["total"]
    assert call(two.port, "HEAD", "/api/v1/plan")[2] == b""
    assert ask(two, "plan?x=1")[0] == 400


def test_many_who_ask_at_once_get_the_same_plan(two):
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda _: ask(two, "plan", "Plans"), range(48)))
    assert all(hosts_of(t["current"]) == hosts_of(told[0]["current"]) for t in told)


def test_an_edited_map_is_planned_and_nothing_is_done(two):
    before = two.get("/api/v1/map")
    text = two.map_text().replace("model: code, context: 2Ki", "model: code, context: 4Ki")
    text += "  more: { modes: [more], model: code, context: 1Ki, slots: 1, nodes: [speed] }\n"
    status, told = offer(two, text)
    check("PlanTrial", told)
    assert status == 200 and told["unknown"] == [] and told["revision"] == before["revision"] != told["offered_revision"]
    assert hosts_of(told["plan"]) == {("ask", "speed"): "keep", ("code", "reasoning"): "keep", ("more", "speed"): "load"}
    changes = {c["name"]: c for c in told["diff"]}
    assert (changes["code"]["how"], changes["code"]["keys"], changes["more"]["how"]) == ("changed", ["context"], "added")
    assert changes["code"]["hosts"] == [{"role": "code", "node": "reasoning", "fate": "replaced"}]
    bytes_of = lambda plan, role: next(h["kv"] for n in plan["nodes"] for h in n["hosts"] if h["role"] == role)
    current = ask(two, "plan", "Plans")["current"]
    assert bytes_of(told["plan"], "code") == 2 * bytes_of(current, "code")  # asked of the worker: twice the context
    assert two.get("/api/v1/map") == before and {r["name"] for r in two.get("/api/v1/roles")["roles"]} == set(ROLES)
    dry = offer(two, text, path="map?dry_run=1")[1]
    assert dry["changes"] == told["diff"] and dry["offered_revision"] == told["offered_revision"]


def test_a_map_that_cannot_fit_is_told_with_ways_out(two):
    text = two.map_text().replace("reserve: 100MiB", f"reserve: {two.node_state('speed')['memory']['total'] - (1 << 20)}B")
    status, told = offer(two, text)
    plan = check("PlanTrial", told)["plan"]
    assert status == 200 and not plan["fits"] and plan["conflict"]["missing"] > 0
    assert {line["role"] for line in plan["lacks"]} >= {"ask", "code"}


def test_an_offered_map_with_a_node_that_nobody_knows(two):
    text = two.map_text().replace("nodes:\n", 'nodes:\n  far: { address: "127.0.0.1:1" }\n', 1)
    text += "  away: { modes: [away], model: ask, context: 1Ki, slots: 1, nodes: [far] }\n"
    told = check("PlanTrial", offer(two, text)[1])
    far = next(n for n in told["plan"]["nodes"] if n["node"] == "far")
    assert not far["usable"] and "not in the role map that runs" in far["silent"]
    assert {"role": "away", "node": "far"} in told["unknown"] and not told["plan"]["fits"]


@pytest.mark.parametrize("body,headers,status,code", [
    ("version: 1\nroels: {}\n", {}, 422, "invalid_map"),
    ("", {}, 422, "invalid_map"),
    ("\x00\x01", {}, 422, "invalid_map"),
    ("version: 1\n", {"Content-Type": "application/json"}, 415, None),
    ("version: 1\n", {"Content-Encoding": "gzip"}, 415, None),
    ("version: 1\n", {"Origin": "http://evil.example"}, 403, None),
    ("#" * ((1 << 20) + 1), {}, 413, None),
])
def test_mistakes_in_an_offered_map(two, body, headers, status, code):
    got, told = offer(two, body, headers)
    assert got == status and (code is None or told["code"] == code)
    check("MapRefusal" if status == 422 else "Problem", told)
    if "roels" in body:
        assert "did you mean" in told["text"] and told["mistakes"][1]["line"] == 2


def test_a_silent_worker_is_told_in_the_plan(tmp_path):
    c = Cluster(tmp_path, ["speed", "reasoning"], MODELS, ROLES)
    try:
        c.start_worker("speed")
        c.start_gateway()
        c.wait_ready("ask")
        current = ask(c, "plan", "Plans")["current"]
        silent = next(n for n in current["nodes"] if n["node"] == "reasoning")
        assert not silent["usable"] and silent["silent"] == "its worker has not answered yet" and silent["total"] == 0
        assert not current["fits"] and {"role": "code", "what": "host", "bytes": 0} in current["lacks"]
        told = check("PlanTrial", offer(c, c.map_text())[1])
        assert told["unknown"] == [{"role": "code", "node": "reasoning"}, {"role": "late", "node": "reasoning"}] and told["diff"] == []
    finally:
        c.stop()


# ---- history ----

REQUESTS = ["requests", "errors", "tokens_in", "tokens_cached", "tokens_out", "ttft_ms", "queue_ms", "duration_ms"]
SAMPLED = ["memory_used", "memory_committed", "memory_budget", "slots_busy", "cpu_percent", "gpu_percent"]


def chart(c, query):
    told = ask(c, f"history?{query}", "History")
    times = [[t for t, _ in s["points"]] for s in told["series"]]
    assert all(t == times[0] for t in times)
    for t in times[:1]:
        assert len(t) == {"1h": 60, "24h": 288, "30d": 360}[told["range"]] and t == list(range(t[0], t[-1] + 1, told["step_s"]))
        assert t[0] % told["step_s"] == 0 and -1 <= time.time() - t[-1] < told["step_s"] + 2
    return told


def known(series):
    return [v for _, v in series["points"] if v is not None]


def test_every_metric_has_its_chart(two):
    assert SPEC["components"]["schemas"]["Metric"]["enum"] == REQUESTS + SAMPLED
    for metric in REQUESTS + SAMPLED:
        for span in ("1h", "24h", "30d"):
            told = chart(two, f"metric={metric}&range={span}")
            assert told["metric"] == metric and told["range"] == span


def test_what_was_asked_is_in_the_charts(two):
    before = sum(known(chart(two, "metric=requests&role=ask")["series"][0]))
    answers = [two.answer("ask", f"chart {i}") for i in range(5)]
    two.chat("ask", "x", max_tokens="many")
    tokens = sum(a["usage"]["prompt_tokens"] for a in answers)
    # A request is in the charts as soon as it is over; its client may hear of it a moment earlier.
    wait_for("all are counted", lambda: sum(known(chart(two, "metric=requests&role=ask")["series"][0])) >= before + 5)
    for span in ("1h", "24h", "30d"):
        assert sum(known(chart(two, f"metric=tokens_in&node=speed&range={span}")["series"][0])) >= tokens
    p50, p95 = chart(two, "metric=ttft_ms&role=ask")["series"]
    assert (p50["stat"], p95["stat"]) == ("p50", "p95") and p50["role"] == "ask" and p50["node"] is None
    assert len(known(p50)) == len(known(p95)) >= 1 and all(a <= b for a, b in zip(known(p50), known(p95)))
    by = {s["role"]: sum(known(s)) for s in chart(two, "metric=requests&by=role")["series"]}
    assert by["ask"] >= 5
    rows = {u["name"]: u["requests"] for u in ask(two, "usage", "Usage")["usage"]}
    assert {name: int(n) for name, n in by.items()} == rows


def test_nodes_are_looked_at(two):
    for metric in ("memory_used", "memory_budget", "slots_busy", "cpu_percent"):
        wait_for("the first look", lambda m=metric: [s["node"] for s in chart(two, f"metric={m}")["series"] if known(s)] == ["reasoning", "speed"])
    memory = two.node_state("speed")["memory"]
    used = known(chart(two, "metric=memory_used&node=speed")["series"][0])
    budget = known(chart(two, "metric=memory_budget&node=speed")["series"][0])
    assert 0 < used[-1] < memory["total"] and budget[-1] == memory["budget"]
    slots = chart(two, "metric=slots_busy&role=ask")["series"]
    assert [(s["node"], s["role"], s["stat"]) for s in slots] == [("speed", "ask", "mean")]
    assert not known(chart(two, "metric=cpu_percent&role=ask&node=speed")["series"][0])  # it is of nodes
    assert [s["node"] for s in chart(two, "metric=cpu_percent&by=role")["series"]] == ["reasoning", "speed"]


@pytest.mark.parametrize("query,words", [
    ("", "metric: say which"), ("metric=colour", "metric: 'colour'"), ("metric=requests&range=2h", "range: '2h'"),
    ("metric=requests&by=key", "by: 'key'"),
    ("metric=requests&node=", "node: a name is needed"), ("metric=requests&since=1", "no parameter 'since'"),
])
def test_mistakes_of_who_wants_a_chart(two, query, words):
    status, told = ask(two, f"history?{query}")
    assert status == 400 and words in told["detail"]


def test_names_that_nobody_has_and_hostile_ones_are_only_names(two):
    name = "';drop table request;--\"<script>"
    told = chart(two, "metric=requests&node=" + urllib.parse.quote(name))
    assert [s["node"] for s in told["series"]] == [name] and sum(known(told["series"][0])) == 0


def test_a_gap_is_null_and_the_past_outlives_the_gateway(tmp_path):
    c = Cluster(tmp_path, ["speed"], {}, {})
    c.paths, c.roles = {"ask": tmp_path / "none.gguf"}, {"ask": "modes: [ask], model: ask, context: 1Ki, slots: 1"}
    c.write_map()
    try:
        c.start_gateway()
        wait_for("it answers", lambda: c.get("/api/v1/status"))
        assert c.gateway.stop() == 0
        minute = int(time.time()) // 60 * 60
        with contextlib.closing(sqlite3.connect(tmp_path / "state-gateway" / "history.db")) as db, db:
            for ago in (50, 49, 10):
                db.execute("INSERT INTO sample(at_ms, node, role) VALUES(?, '', '')", ((minute - ago * 60 + 30) * 1000,))
            db.execute("INSERT INTO sample(at_ms, node, role, cpu_percent) VALUES(?, 'speed', '', 37.5)", ((minute - 49 * 60 + 30) * 1000,))
            columns = [r[1] for r in db.execute("PRAGMA table_info(request)")]
            row = {**dict.fromkeys(columns, 0), "id": "old", "key": "", "role": "ask", "served": "ask", "mode": "ask", "node": "speed", "dialect": "chat",
                   "status": 200, "outcome": "ok", "error": "", "why": "[]", "ttft_ms": 42, "at_ms": (minute - 49 * 60 + 7) * 1000}
            db.execute(f"INSERT INTO request VALUES({','.join('?' * len(columns))})", [row[n] for n in columns])
        c.start_gateway()
        wait_for("it answers", lambda: c.get("/api/v1/status"))
        points = dict(chart(c, "metric=requests")["series"][0]["points"])
        late = int(time.time()) // 60 * 60 - minute  # another minute may have begun
        assert (points[minute - 50 * 60], points[minute - 49 * 60], points[minute - 10 * 60]) == (0, 1, 0)
        assert points[minute + late] == 0 and all(points[minute - ago * 60] is None for ago in range(11, 49))
        assert known(chart(c, "metric=ttft_ms&role=ask")["series"][1]) == [42]
        assert known(chart(c, "metric=cpu_percent&node=speed")["series"][0]) == [37.5]
    finally:
        c.stop()


def test_without_a_history_it_is_said(tmp_path):
    c = Cluster(tmp_path, ["speed"], {}, {})
    c.paths, c.roles = {"ask": tmp_path / "none.gguf"}, {"ask": "modes: [ask], model: ask, context: 1Ki, slots: 1"}
    c.write_map()
    (tmp_path / "state-gateway").write_text("a file stands in the way")
    try:
        c.start_gateway()
        wait_for("it answers", lambda: c.get("/api/v1/status"))
        status, told = ask(c, "history?metric=requests")
        assert status == 503 and "no state directory" in told["detail"]
    finally:
        c.stop()


# ---- models ----

HOSTILE = ['"quoted".gguf', "a\nline.gguf", "\x1b[2Jscreen.gguf", "<img src=x onerror=alert(1)>.gguf", "‮txt.fugg‬.gguf", "\\back\\slash.gguf", "{\"json\":1}.gguf",
           "'; DROP TABLE request; --.gguf", "x" * 250 + ".gguf", "tab\there.gguf", "%00%2e%2e.gguf", "$(reboot).gguf", "\x7f\x01.gguf"]


def pages(c, path, name, schema, query=""):
    """All elements, page by page."""
    seen, cursor = [], None
    while True:
        told = ask(c, f"{path}?{query}" + (f"&cursor={urllib.parse.quote(cursor)}" if cursor else ""), schema)
        seen += told[name]
        cursor = told["next"]
        if cursor is None:
            return seen


def test_models_of_the_map_and_other_files(tmp_path):
    with cluster(tmp_path, ["speed", "reasoning"], {**MODELS, "spare": {"script": "x"}}, ROLES, wait=False) as c:
        c.wait_ready("ask", "code")
        models = c.models
        for name in HOSTILE:
            (models / name).write_bytes(b"GGUF")
        (models / "sub").mkdir()
        (models / "sub" / "deep.gguf").write_bytes(b"12345")
        for part in (1, 2):
            (models / f"split-0000{part}-of-00003.gguf").write_bytes(b"x" * part)
        for part in (1, 2):
            (models / f"whole-0000{part}-of-00002.gguf").write_bytes(b"x" * part)
        with open(bytes(models) + b"/bad\xff\xfe.gguf", "wb") as f:
            f.write(b"1")
        told = wait_for("the files are seen", lambda: next((t for t in [ask(c, "models?limit=500", "MapModels")] if len(t["models"]) == 3 + len(HOSTILE) + 4), None))
        assert told["silent"] == [] and told["next"] is None
        by_source = {m["source"]: m for m in told["models"]}
        assert [m["name"] for m in told["models"]][:3] == ["ask", "code", "spare"] and all(m["name"] is None for m in told["models"][3:])
        ask_model = by_source[str(models / "ask.gguf")]
        assert ask_model["roles"] == ["ask", "late"] and [n["node"] for n in ask_model["nodes"]] == ["speed", "reasoning"]
        here = {n["node"]: n for n in ask_model["nodes"]}
        assert here["speed"]["bytes"] == (models / "ask.gguf").stat().st_size and here["speed"]["complete"]
        assert here["speed"]["model_hash"] == next(h for h in two_hosts(c) if h["role"] == "ask")["model_hash"] and here["reasoning"]["model_hash"] is None
        assert by_source[str(models / "spare.gguf")]["roles"] == []
        for name in HOSTILE:
            assert by_source[str(models / name)]["roles"] == []
        assert str(models / "bad\ufffd\ufffd.gguf") in by_source
        assert by_source[str(models / "sub" / "deep.gguf")]["nodes"][0]["bytes"] == 5
        split = by_source[str(models / "split-00001-of-00003.gguf")]["nodes"][0]
        assert not split["complete"] and split["bytes"] == 3
        assert by_source[str(models / "whole-00001-of-00002.gguf")]["nodes"][0]["complete"]
        assert len({m["id"] for m in told["models"]}) == len(told["models"])
        for limit in (1, 7):
            assert pages(c, "models", "models", "MapModels", f"limit={limit}") == told["models"]
        assert [m["name"] for m in ask(c, "models?role=late", "MapModels")["models"]] == ["ask"]
        assert [m["name"] for m in ask(c, "models?name=code", "MapModels")["models"]] == ["code"]
        assert ask(c, "models?node=nobody", "MapModels")["models"] == [] and ask(c, "models?node=speed&limit=500", "MapModels")["models"] == told["models"]
        status, wrong = ask(c, "models?cursor=0123456789abcdef")
        assert status == 409 and "begin again" in wrong["detail"]
        raw = call(c.port, "GET", "/api/v1/models?limit=500")[2]
        assert raw.count(b"\n") == 1 and b"\x1b" not in raw and b"\x7f\x01" not in raw
        os.kill(c.workers["reasoning"].pid, signal.SIGSTOP)
        try:
            slow = wait_for("the other is told as silent", lambda: next((t for t in [ask(c, "models", "MapModels")] if t["silent"]), None), 30)
            assert [s["node"] for s in slow["silent"]] == ["reasoning"] and [n["node"] for n in slow["models"][0]["nodes"]] == ["speed"]
        finally:
            os.kill(c.workers["reasoning"].pid, signal.SIGCONT)


def two_hosts(c):
    return c.get("/api/v1/hosts")["hosts"]


# ---- ledger ----


def test_the_ledger_of_all_nodes(two):
    told = ask(two, "ledger", "LedgerRows")
    assert {(r["node"], r["model"]) for r in told["ledger"]} >= {("speed", "ask"), ("reasoning", "code")}
    assert [n["node"] for n in told["nodes"]] == ["speed", "reasoning"] and told["silent"] == [] and told["next"] is None
    for node in ("speed", "reasoning"):
        status, _, body = call(two.ports[node], "GET", "/node/v1/ledger")
        own = json.loads(body)
        assert status == 200 and own["rows"] == [r["row"] for r in told["ledger"] if r["node"] == node]
        assert next(n for n in told["nodes"] if n["node"] == node)["errors"] == own["errors"]
    assert pages(two, "ledger", "ledger", "LedgerRows", "limit=1") == told["ledger"]
    assert ask(two, "ledger?node=speed", "LedgerRows")["ledger"] == [r for r in told["ledger"] if r["node"] == "speed"]
    assert ask(two, "ledger?model=code", "LedgerRows")["ledger"] == [r for r in told["ledger"] if r["model"] == "code"]
    assert ask(two, "ledger?node=nobody", "LedgerRows") == {"ledger": [], "next": None, "nodes": [], "silent": []}


@pytest.mark.parametrize("cursor", ["speed", "speed:", "speed:x", "nobody:1", "speed:-1", ":1", "speed:99999999999999999999"])
def test_cursors_of_the_ledger_that_are_none(two, cursor):
    status, told = ask(two, f"ledger?cursor={cursor}")
    assert status == 409 and "begin again" in told["detail"]


def test_a_worker_that_is_not_there_is_told(tmp_path):
    c = Cluster(tmp_path, ["speed", "reasoning"], MODELS, ROLES)
    try:
        c.start_worker("speed")
        c.start_gateway()
        c.wait_ready("ask")
        for path, schema in (("ledger", "LedgerRows"), ("models", "MapModels")):
            assert ask(c, path, schema)["silent"] == [{"node": "reasoning", "why": "its worker does not answer"}]
    finally:
        c.stop()


# ---- decisions ----


def decisions(c, query=""):
    return ask(c, f"decisions?{query}", "Decisions")


def test_decisions_are_told_with_their_requests(two):
    two.answer("ask", "which host?")
    two.answer("code", "which host?")
    newest = decisions(two, "limit=2")
    assert newest["next"] is not None
    requests = {r["id"]: r for r in two.get("/api/v1/requests?limit=500")["requests"]}
    for d, role, node in zip(newest["decisions"], ("code", "ask"), ("reasoning", "speed")):
        assert (d["role"], d["node"]) == (role, node) and requests[d["request"]]["node"] == node
        why = ask(two, f"requests/{d['request']}/why", "Why")["decisions"]
        assert [{"request": d["request"], **w} for w in why] == [d]
    one = newest["decisions"][0]
    assert decisions(two, f"request={one['request']}")["decisions"] == [one]
    assert all(d["node"] == "speed" for d in decisions(two, "node=speed")["decisions"]) and decisions(two, "node=nobody")["decisions"] == []
    assert one not in decisions(two, f"until={one['at']}")["decisions"] and one in decisions(two, f"since={one['at']}&role=code")["decisions"]
    whole = pages(two, "decisions", "decisions", "Decisions", "limit=500")
    assert pages(two, "decisions", "decisions", "Decisions", "limit=1&role=code") == [d for d in whole if d["role"] == "code"]
    keys = [(d["at"], d["request"], d["node"]) for d in whole]
    assert keys == sorted(keys, reverse=True) and len(set(keys)) == len(keys)


@pytest.mark.parametrize("query,words", [("cursor=1", "cursor"), ("cursor=2026-05-04T12:00:00.000Z", "cursor"), ("cursor=2026-05-04T12:00:00.00xZ/a/b", "cursor"),
                                         ("since=now", "since: 'now' is not a time"), ("limit=501", "limit")])
def test_mistakes_of_who_wants_decisions(two, query, words):
    status, told = ask(two, f"decisions?{query}")
    assert status == (409 if query.startswith("cursor") else 400) and words in told["detail"]


def test_a_decision_of_a_running_request_is_there(two):
    two.answer("ask", "first")
    s = two.stream("late", max_tokens=400)
    events = s.events()
    next(events)
    d = wait_for("its host is decided", lambda: next(iter(decisions(two, "role=late&limit=1")["decisions"]), None))
    assert d["candidates"] and any(k["chosen"] for k in d["candidates"])
    s.close()


def test_memory_and_history_are_one_list(two):
    """More than memory holds; then a new gateway, which holds none."""
    before = len(pages(two, "decisions", "decisions", "Decisions", "limit=500"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda i: two.answer("ask", f"{i}", max_tokens=1), range(560)))
    assert len(told) == 560
    wait_for("all are over", lambda: not two.get("/api/v1/requests?state=running")["requests"])
    whole = pages(two, "decisions", "decisions", "Decisions", "limit=500")
    assert len(whole) == before + 560
    assert pages(two, "decisions", "decisions", "Decisions", "limit=99") == whole
    assert two.gateway.stop() == 0
    two.start_gateway()
    two.wait_ready("ask", "code")
    assert pages(two, "decisions", "decisions", "Decisions", "limit=499") == whole


# ---- rolemesh plan --gateway ----


def command(*args):
    return subprocess.run([str(program("rolemesh")), *map(str, args)], capture_output=True, text=True, timeout=120, check=False)


def test_the_command_shows_the_gateways_plan(two, tmp_path):
    url = f"http://127.0.0.1:{two.port}"
    done = command("plan", "--gateway", url)
    assert done.returncode == 0 and done.stderr == "", done
    assert "keep  ask" in done.stdout and "keep  code" in done.stdout and done.stdout.endswith("fits; no plan is better\n") and "would be better" not in done.stdout
    done = command("plan", "--gateway", url, "--json")
    assert done.returncode == 0 and hosts_of(check("Plans", json.loads(done.stdout))["current"])[("ask", "speed")] == "keep"

    edited = tmp_path / "edited.yaml"
    edited.write_text(two.map_text().replace("model: code, context: 2Ki", "model: code, context: 4Ki") + "  more: { modes: [more], model: code, context: 1Ki, slots: 1 }\n")
    done = command("plan", "--gateway", url, "--role-map", edited)
    assert done.returncode == 0 and done.stderr == "", done
    assert "~ role code: context" in done.stdout and "+ role more" in done.stdout and "code@reasoning: replaced" in done.stdout and "load  more" in done.stdout
    done = command("plan", "--gateway", url, "--role-map", edited, "--json")
    assert done.returncode == 0 and check("PlanTrial", json.loads(done.stdout))["plan"]["fits"]

    edited.write_text(two.map_text().replace("reserve: 100MiB", f"reserve: {two.node_state('speed')['memory']['total'] - (1 << 20)}B"))
    done = command("plan", "--gateway", url, "--role-map", edited)
    assert done.returncode == 1 and "does not fit" in done.stdout and "no host: ask" in done.stdout and "cannot be hosted together:" in done.stdout

    edited.write_text("version: 1\nroels: {}\n")
    done = command("plan", "--gateway", url, "--role-map", edited)
    assert done.returncode == 2 and done.stdout == "" and f"{edited}:2:1: error: unknown key 'roels'" in done.stderr
    done = command("plan", "--gateway", url, "--role-map", tmp_path / "none.yaml")
    assert done.returncode == 2 and "No such file" in done.stderr and done.stderr.count("\n") == 1


def test_mistakes_of_the_command(two):
    done = command("plan", "--gateway", f"http://127.0.0.1:{two.port}", "--nodes", "machines.yaml")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "say one" in done.stderr
    done = command("plan", "--gateway", "nonsense://x")
    assert done.returncode == 2 and "--gateway is http://HOST:PORT" in done.stderr
    port = free_port()
    done = command("plan", "--gateway", f"http://127.0.0.1:{port}")
    assert done.returncode == 1 and done.stdout == "" and f"127.0.0.1:{port}" in done.stderr and "start rolemesh-gateway" in done.stderr


# ---- who leaves early ----


def begin(c, method, path, body=None):
    """A request whose answer nobody has read yet."""
    connection = http.client.HTTPConnection("127.0.0.1", c.port, timeout=60)
    connection.request(method, path, body, {"Content-Type": "application/yaml"} if body else {})
    return connection


def test_whoever_asks_may_leave_and_the_gateway_may_stop(tmp_path):
    with cluster(tmp_path, ["speed", "reasoning"], MODELS, ROLES, wait=False) as c:
        c.wait_ready("ask", "code")
        edited = c.map_text().replace("model: code, context: 2Ki", "model: code, context: 4Ki")
        paths = [("GET", "/api/v1/plan", None), ("POST", "/api/v1/plan", edited), ("GET", "/api/v1/models", None), ("GET", "/api/v1/ledger", None),
                 ("GET", "/api/v1/decisions", None), ("GET", "/api/v1/history?metric=ttft_ms&range=30d", None)]
        os.kill(c.workers["reasoning"].pid, signal.SIGSTOP)  # it is still taken for alive: its answers are waited for
        try:
            for _ in range(5):
                for method, path, body in paths:
                    begin(c, method, path, body).close()
            assert ask(c, "status", "Status")["version"]
            waiting = [begin(c, method, path, body) for method, path, body in paths for _ in range(2)]
            assert c.gateway.stop() == 0
            for w in waiting:
                try:
                    status = w.getresponse().status
                    assert status in (200, 503)
                except (http.client.HTTPException, ConnectionError):
                    pass
                w.close()
        finally:
            os.kill(c.workers["reasoning"].pid, signal.SIGCONT)
        c.start_gateway()
        c.wait_ready("ask", "code")
        assert hosts_of(ask(c, "plan", "Plans")["current"]) == {("ask", "speed"): "keep", ("code", "reasoning"): "keep"}
