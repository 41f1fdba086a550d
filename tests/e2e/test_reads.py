# SPDX-License-Identifier: MIT
"""What the ops API tells of models, plans, decisions, the ledger and the past: with real workers, and every answer held against
its schema in proto/openapi.yaml."""
import concurrent.futures
import json

import jsonschema
import pytest
import yaml

from cluster_rig import Cluster, call, cluster
from rig import TOP, have_programs

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
