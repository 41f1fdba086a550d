# SPDX-License-Identifier: MIT
"""The ops API as a tool sees it: every answer has the form that proto/openapi.yaml says, lists page and filter, mistakes are told
as RFC 9457 says it. The worker is scripted: nothing here needs a model."""
import contextlib
import json

import jsonschema
import pytest
import yaml

from cluster_rig import Cluster, call
from fake_worker import FakeWorker
from rig import TOP, wait_for

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
    ("/api/v1/roles/ask", "Role"), ("/api/v1/hosts", "Hosts"), ("/api/v1/map", "MapState"), ("/healthz", "Alive"), ("/readyz", "Readiness"),
])
def test_answers_have_the_documented_form(ops, path, schema):
    status, answer = ops.ask("GET", path)
    assert status == 200
    check(schema, answer)
    assert call(ops.port, "HEAD", path)[2] == b""


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
    ("GET", "/api/v1/nodes?cursor=nobody", 400, "invalid_value", "begin again"),
    ("GET", "/api/v1/nodes?x=1", 400, "invalid_value", "no parameter 'x' here; there are: limit, cursor, health"),
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
