# SPDX-License-Identifier: MIT
"""The last log lines of workers, engines and the gateway: kept in memory, paged, filtered, followed, and never with what
was said or a key in them."""
import json
import signal
import subprocess

import pytest

from cluster_rig import call, cluster
from rig import BIN, SLOW, have_programs, wait_for

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
    ("?cursor=x", 409, "cursor"),
    ("?engine=a%20b", 400, "engine: that is no name of a role"),
])
def test_mistakes_of_who_asks_the_gateway(two, query, status, says):
    got, _, body = call(two.port, "GET", f"/api/v1/logs{query}")
    assert got == status and says in json.loads(body)["detail"]


def test_only_operators_read_logs(two):
    """Without keys: who is on this machine, and no web page."""
    status, _, _ = call(two.port, "GET", "/api/v1/logs", headers={"Origin": "http://elsewhere.example"})
    assert status == 403


def test_no_key_is_ever_in_them(two):
    key = "rm-" + "canarykey5519" * 3 + "abcdefghi"
    headers = {"Authorization": f"Bearer {key}", "x-api-key": key, "api-key": key}
    call(two.port, "GET", "/api/v1/status", headers=headers)
    call(two.port, "POST", f"/k/{key}/ask/v1/chat/completions", {"messages": [{"role": "user", "content": CANARY}]}, headers)
    call(two.port, "POST", "/ask/v1/chat/completions", {"messages": CANARY}, headers)  # refused
    everything = json.dumps([gateway_logs(two, "?limit=500"), *(worker_logs(two, n, "?limit=500") for n in two.ports)])
    assert "canarykey5519" not in everything and CANARY not in everything


def test_a_node_that_is_away(tmp_path):
    with cluster(tmp_path, ["speed"], MODELS, ROLES) as c:
        c.workers["speed"].kill()
        status, _, body = call(c.port, "GET", "/api/v1/logs?node=speed")
        assert status == 502 and "does not answer" in json.loads(body)["detail"]


def rolemesh(c, *args, timeout=30):
    return subprocess.run([BIN / "rolemesh", "logs", "--gateway", f"http://127.0.0.1:{c.port}", *args],
                          capture_output=True, text=True, timeout=timeout * SLOW, check=False)


def lines_of(c, *args):
    done = rolemesh(c, *args, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["logs"]


def test_the_command_puts_all_in_order(two):
    done = rolemesh(two, "-n", "500")
    assert done.returncode == 0 and done.stderr == ""
    for who in ("gateway  ", "speed  ", "reasoning  ", f"{host_node(two)}/ask  "):
        assert who in done.stdout
    body = json.loads(rolemesh(two, "--json", "-n", "500").stdout)
    assert set(body) == {"logs", "next"} and body["next"] is None
    times = [line["at"] for line in body["logs"]]
    assert times == sorted(times, reverse=True)
    few = json.loads(rolemesh(two, "--json", "-n", "3").stdout)["logs"]
    assert len(few) == 3


def test_the_command_of_one(two):
    node = host_node(two)
    assert all(line["node"] is None for line in lines_of(two, "gateway"))
    assert all(line["node"] == node for line in lines_of(two, node))
    for who in ("ask", f"ask@{node}"):
        lines = lines_of(two, who)
        assert lines and all(line["engine"] == "ask" and line["node"] == node for line in lines)
    assert all(line["level"] in ("warn", "error") for line in lines_of(two, "--level", "warn"))


@pytest.mark.parametrize("args,code,says", [
    (["nobody"], 2, "no node is called 'nobody', and no role of that name is hosted"),
    (["ask@"], 2, "is not a node, a role, ROLE@NODE or gateway"),
    (["ask@nobody"], 1, "the role map has no node 'nobody'"),
    (["--level", "loud"], 2, "--level"),
    (["-n", "0"], 2, "--lines"),
])
def test_mistakes_of_the_command(two, args, code, says):
    done = rolemesh(two, *args)
    assert done.returncode == code and done.stdout == "" and says in done.stderr and done.stderr.count("\n") == 1


def test_following(tmp_path):
    """What is written later is shown within seconds, also of a worker that was away meanwhile."""
    with cluster(tmp_path, ["speed"], MODELS, ROLES) as c:
        out = tmp_path / "followed"
        with out.open("w") as file:
            process = subprocess.Popen([BIN / "rolemesh", "logs", "-f", "--gateway", f"http://127.0.0.1:{c.port}"], stdout=file, stderr=file)
        try:
            wait_for("the first lines", lambda: "listening" in out.read_text())
            c.gateway.signal(signal.SIGHUP)
            wait_for("a line of the gateway", lambda: "role map" in out.read_text().partition("listening")[2])
            c.workers["speed"].kill()
            wait_for("the worker is away", lambda: "node speed tells nothing" in out.read_text())
            before = out.read_text().count("listening")
            c.start_worker("speed")
            wait_for("the worker's new lines", lambda: "node speed tells again" in out.read_text() and out.read_text().count("listening") > before)
            process.send_signal(signal.SIGINT)
            assert process.wait(10 * SLOW) == 0
        finally:
            process.kill()
            process.wait()


def test_who_may_not_read_them_is_told_once(tmp_path):
    """With keys logs are for admins; a follower who is none ends, too."""
    with cluster(tmp_path, ["speed"], MODELS, ROLES) as c:
        def make(name, *more):
            argv = [BIN / "rolemesh", "keys", "create", name, *more, "--state-dir", tmp_path / "state-gateway"]
            return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

        user, admin = make("anna"), make("boss", "--admin")
        c.gateway.signal(signal.SIGHUP)
        wait_for("keys count", lambda: c.get("/api/v1/status") is None)
        for key, code, says in (("", 1, "401"), (user, 1, "403")):
            (tmp_path / "key").write_text(key or "rm-none")
            for more in ([], ["-f"]):
                done = rolemesh(c, "--key-file", tmp_path / "key", *more)
                assert done.returncode == code and says in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""
        (tmp_path / "key").write_text(admin)
        done = rolemesh(c, "--key-file", tmp_path / "key")
        assert done.returncode == 0 and "speed  " in done.stdout and admin not in done.stdout and user not in done.stdout
