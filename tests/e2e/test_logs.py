# SPDX-License-Identifier: MIT
"""The last log lines of workers, engines and the gateway: kept in memory, paged, filtered, followed, and never with what
was said or a key in them."""
import json

import pytest

from cluster_rig import call, cluster
from rig import have_programs

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

CANARY = "canaryprompt7261"
MODELS = {"ask": {"script": "canaryanswer9182 is what it says."}}
ROLES = {"ask": "modes: [ask], model: ask, context: 2Ki, slots: 2"}


@pytest.fixture(name="two", scope="module")
def two_fixture(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("logs"), ["speed", "reasoning"], MODELS, ROLES) as c:
        c.answer("ask", CANARY)
        yield c


def worker_logs(c, node, query=""):
    status, _, body = call(c.ports[node], "GET", f"/node/v1/logs{query}")
    assert status == 200, body
    return json.loads(body)


def host_node(c):
    return c.host("ask")["node"]


def test_lines_of_a_worker_and_its_engine(two):
    node = host_node(two)
    page = worker_logs(two, node, "?limit=500")
    assert page["node"] == node
    ids = [line["id"] for line in page["lines"]]
    assert ids == sorted(ids, reverse=True) and len(set(ids)) == len(ids)
    own = [line for line in page["lines"] if line["engine"] == ""]
    assert any(line["area"] == "worker" and "listening" in line["text"] for line in own)
    engine = [line for line in page["lines"] if line["engine"] == "ask"]
    assert engine
    everything = json.dumps(page)
    assert CANARY not in everything and "canaryanswer9182" not in everything


def test_pages_of_a_worker(two):
    node = host_node(two)
    whole = worker_logs(two, node, "?limit=500")["lines"]
    got, before = [], ""
    while True:
        page = worker_logs(two, node, f"?limit=3{before}")
        assert len(page["lines"]) <= 3
        got += page["lines"]
        if page["next"] == 0:
            break
        before = f"&before={page['next']}"
    ids = {line["id"] for line in whole}
    assert [line for line in got if line["id"] in ids] == whole
    newest = whole[0]["id"]
    assert all(line["id"] > newest for line in worker_logs(two, node, f"?after={newest}")["lines"])
    assert all(line["engine"] == "ask" for line in worker_logs(two, node, "?engine=ask")["lines"])
    assert all(line["engine"] == "" for line in worker_logs(two, node, "?engine=")["lines"])
    assert all(line["level"] in ("warn", "error") for line in worker_logs(two, node, "?level=warn")["lines"])


@pytest.mark.parametrize("query", ["?limit=0", "?limit=501", "?limit=x", "?level=loud", "?engine=a%20b", "?after=-1", "?what=1", "?limit=1&limit=2", "?limit=1&"])
def test_mistakes_of_who_asks_a_worker(two, query):
    status, _, body = call(two.ports["speed"], "GET", f"/node/v1/logs{query}")
    assert status == 400 and "expected after=ID" in json.loads(body)["error"]["message"]


def gateway_logs(c, query=""):
    status, _, body = call(c.port, "GET", f"/api/v1/logs{query}")
    assert status == 200, body
    return json.loads(body)


def test_the_gateway_tells_its_own_lines_and_those_of_nodes(two):
    own = gateway_logs(two, "?limit=500")["logs"]
    assert own and all(line["node"] is None and line["engine"] is None for line in own)
    assert any("started" in line["text"] and line["area"] == "gateway" for line in own)
    node = host_node(two)
    whole = gateway_logs(two, f"?node={node}&limit=500")["logs"]
    theirs = worker_logs(two, node, "?limit=500")["lines"]
    assert {line["id"] for line in whole} <= {line["id"] for line in theirs}
    assert any(line["engine"] == "ask" for line in whole) and all(line["node"] == node for line in whole)
    everything = json.dumps(own + whole)
    assert CANARY not in everything and "canaryanswer9182" not in everything


def test_pages_of_the_gateway(two):
    for query in ("?limit=2", f"?node={host_node(two)}&limit=2"):
        first = gateway_logs(two, query)
        assert len(first["logs"]) == 2 and first["next"] is not None
        second = gateway_logs(two, f"{query}&cursor={first['next']}")
        assert second["logs"][0]["id"] < first["logs"][-1]["id"]
        after = gateway_logs(two, f"{query}&after={second['logs'][0]['id']}")
        assert all(line["id"] > second["logs"][0]["id"] for line in after["logs"])


@pytest.mark.parametrize("query,status,says", [
    ("?node=nobody", 404, "no node 'nobody'"),
    ("?level=loud", 400, "level: 'loud' is none of"),
    ("?limit=0", 400, "limit"),
    ("?after=x", 400, "after"),
    ("?cursor=x", 400, "cursor"),
    ("?engine=a%20b", 400, "engine: that is no name of a role"),
])
def test_mistakes_of_who_asks_the_gateway(two, query, status, says):
    got, _, body = call(two.port, "GET", f"/api/v1/logs{query}")
    assert got == status and says in json.loads(body)["detail"]


def test_only_operators_read_logs(two):
    """Without keys: who is on this machine, and no web page."""
    status, _, _ = call(two.port, "GET", "/api/v1/logs", headers={"Origin": "http://elsewhere.example"})
    assert status == 403


def test_a_node_that_is_away(tmp_path):
    with cluster(tmp_path, ["speed"], MODELS, ROLES) as c:
        c.workers["speed"].kill()
        status, _, body = call(c.port, "GET", "/api/v1/logs?node=speed")
        assert status == 502 and "does not answer" in json.loads(body)["detail"]
