# SPDX-License-Identifier: MIT
"""Pulls and copies by way of the gateway: the ops API, the command, events, and roles that begin to load when their model has come."""
import contextlib
import http.server
import json
import os
import pty
import re
import signal
import subprocess
import threading
import time

import pytest

from cluster_rig import Cluster, call
from pull_rig import RangeServer, content, noted
from rig import SLOW, make_model as write_model, program, wait_for

CANARY = "canary-77aa"


@pytest.fixture
def server():
    with RangeServer() as s:
        yield s


class Apart(Cluster):
    """Two nodes, each with a models directory of its own. The map's models: `code` at a path of node b, `hub` of a hub."""

    def __init__(self, folder, server):
        self.dirs = {name: folder / f"models-{name}" for name in "ab"}
        self.server = server
        for path in self.dirs.values():
            path.mkdir()
        super().__init__(folder, ("a", "b"), {"code": self.dirs["b"] / "code.gguf"}, {"code": "modes: [code], model: code, context: 512, slots: 1, nodes: [b]"})
        self.paths["code"] = self.dirs["b"] / "code.gguf"
        self.write_map(self.map_text().replace("roles:", '  hub: { source: "hf:org/repo:Q8_0" }\n  there: { source: "attach:x" }\nroles:', 1))

    def start_worker(self, node, models=None):
        with_hub = {"HF_ENDPOINT": self.server.url}
        os.environ.update(with_hub)
        try:
            super().start_worker(node, self.dirs[node])
        finally:
            for name in with_hub:
                del os.environ[name]

    def post(self, body, status=201):
        got, _, text = call(self.port, "POST", "/api/v1/pulls", body)
        assert got == status, text
        return json.loads(text)

    def pulls(self, query=""):
        return self.get(f"/api/v1/pulls{query}")["pulls"]

    def pull(self, pull_id):
        return next((p for p in self.pulls() if p["id"] == pull_id), None)

    def wait_pull(self, pull_id, state, seconds=60):
        def there():
            p = self.pull(pull_id)
            assert p is None or p["state"] in (state, "queued", "running", "verifying"), p
            return p if p and p["state"] == state else None

        return wait_for(f"{pull_id} is {state}", there, seconds, 0.05)

    def events(self, kind):
        return [e for e in self.get("/api/v1/events?limit=500")["events"] if e["kind"] == kind]

    def rolemesh(self, *args, **more):
        argv = [program("rolemesh"), *args, "--gateway", f"http://127.0.0.1:{self.port}"]
        return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=90 * SLOW, **more)


@pytest.fixture
def apart(tmp_path, server):
    c = Apart(tmp_path, server)
    try:
        c.start(wait=False)
        wait_for("both nodes are up", lambda: all((c.node(n) or {}).get("health") == "up" for n in "ab"))
        yield c
    except BaseException:
        for p in [c.gateway, *c.workers.values()]:
            print(f"--- {p.log_path.name}\n{p.log()[-3000:]}")
        raise
    finally:
        c.stop()


def test_a_pull_by_the_gateway(server, apart):
    server.served.files["/m.gguf"], server.served.rate = content(8 * 1024 * 1024), 4e6
    url = server.url.replace("//", f"//u:{CANARY}@") + f"/m.gguf?{CANARY}"
    p = apart.post({"node": "a", "source": url})
    assert p["node"] == "a" and p["source"] == f"{server.url}/m.gguf" and p["ended"] is None and p["total"] is None
    assert apart.post({"node": "a", "source": url}, 200)["id"] == p["id"]
    seen = wait_for("progress", lambda: next((q for q in apart.pulls("?node=a&state=running") if q["bytes"] > 0), None), 30)
    assert seen["total"] == 8 * 1024 * 1024 and apart.pulls("?node=b") == []
    done = apart.wait_pull(p["id"], "done")
    assert done["ended"] and done["eta_ms"] is None and done["bytes"] == done["total"]
    wait_for("its event", lambda: apart.events("pull.done"))
    assert [e["subject"] for e in apart.events("pull.begun") + apart.events("pull.done")] == ["a", "a"]
    status, _, text = call(apart.port, "DELETE", f"/api/v1/pulls/a/{p['id']}")
    assert status == 409, text
    told = json.dumps(apart.pulls()) + json.dumps(apart.get("/api/v1/events")) + apart.gateway.log() + apart.workers["a"].log()
    assert CANARY not in told


def test_a_pull_that_fails_and_one_that_is_cancelled(server, apart):
    failed = apart.post({"node": "b", "source": f"{server.url}/gone.gguf"})
    assert "404" in apart.wait_pull(failed["id"], "failed")["text"]
    wait_for("its event", lambda: any("404" in e["text"] for e in apart.events("pull.failed")))
    server.served.files["/m.gguf"], server.served.rate = content(20 * 1024 * 1024), 1e6
    p = apart.post({"node": "b", "source": f"{server.url}/m.gguf"})
    status, _, text = call(apart.port, "DELETE", f"/api/v1/pulls/b/{p['id']}")
    assert status == 200 and json.loads(text)["state"] == "cancelled", text
    wait_for("its event", lambda: apart.events("pull.cancelled"))


@pytest.mark.parametrize(
    "body, status, words",
    [
        ({"node": "c", "source": "hf:org/repo:Q8_0"}, 404, "no node of that name"),
        ({"source": "hf:org/repo:Q8_0"}, 400, "node"),
        ({"node": "a"}, 400, "source"),
        ({"node": 7, "source": "x"}, 400, "node"),
        ({"node": "a", "source": "code"}, 400, "is a file of the nodes"),
        ({"node": "a", "source": "there"}, 400, "has no file"),
        ({"node": "a", "source": "nonsense"}, 400, "expected hf:ORG/REPO:QUANT"),
        ({"node": "a", "source": "node:a/code"}, 400, "has it already"),
        ({"node": "a", "source": "node:c/code"}, 400, "no node c"),
        ({"node": "a", "source": "node:b"}, 400, "expected node:NAME/FILE"),
        ({"node": "a", "source": "node:b/../x.gguf"}, 400, "expected node:NAME/FILE"),
        ({"node": "a", "source": "node:b/there"}, 400, "has no file"),
        ({"node": "a", "source": "node:b/code", "from": "127.0.0.1:1"}, 400, "from: no such member"),
        ({"node": "a", "source": "http://h.test/m.gguf", "dir": "/"}, 400, "dir: no such member"),
        ({"node": "a", "source": "http://h.test/m.gguf", "sha256": "x"}, 400, "sha256"),
        ({"node": "a", "source": f"http://u:{CANARY}@h.test/m.bin?{CANARY}"}, 400, "http://h.test/m.bin"),
        ([], 400, ""),
    ],
)  # fmt: skip
def test_wishes_that_cannot_be(apart, body, status, words):
    got, headers, text = call(apart.port, "POST", "/api/v1/pulls", body)
    problem = json.loads(text)
    assert got == status and headers["Content-Type"] == "application/problem+json" and words in problem["detail"], text
    assert CANARY not in text.decode() and apart.pulls() == []


def test_odd_requests(apart):
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert call(apart.port, "POST", "/api/v1/pulls", b'{"node":"a","source":"hf:o/r:Q8"}', {"Content-Type": kind})[0] == 415
    for path in ("/api/v1/pulls/a/p-0000000000000000", "/api/v1/pulls/c/p-0000000000000000", "/api/v1/pulls/a/..%2f..%2fhosts", "/api/v1/pulls/a/x"):
        assert call(apart.port, "DELETE", path)[0] == 404, path
    assert call(apart.port, "GET", "/api/v1/pulls?state=lost")[0] == 400
    apart.workers["b"].kill()
    wait_for("b is missed", lambda: apart.node("b")["health"] != "up")
    status, _, text = call(apart.port, "POST", "/api/v1/pulls", {"node": "b", "source": "hf:org/repo:Q8_0"})
    assert status == 502 and b"does not answer" in text, text


def test_an_older_worker(apart):
    """One that knows nothing of pulls: whoever wishes for one is told why."""

    class Older(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            state = {"node": "b", "boot_id": "00000000-0000-4000-8000-000000000000", "version": "0.0.1", "seq": 1, "hosts": []}
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(f"event: state\ndata: {json.dumps(state)}\n\n".encode())
                    self.wfile.flush()
                    time.sleep(0.5)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    apart.workers["b"].kill()
    wait_for("b is missed", lambda: apart.node("b")["health"] != "up")
    with http.server.ThreadingHTTPServer(("127.0.0.1", apart.ports["b"]), Older) as older:
        older.daemon_threads = True
        threading.Thread(target=older.serve_forever, daemon=True).start()
        wait_for("the older one is up", lambda: apart.node("b")["health"] == "up")
        status, _, text = call(apart.port, "POST", "/api/v1/pulls", {"node": "b", "source": "hf:org/repo:Q8_0"})
        assert status == 502 and b"is older: it takes no pulls" in text, text
        assert apart.pulls() == []
        older.shutdown()


def hub_has(server, name, data):
    server.served.files[f"/org/repo/resolve/main/{name}"] = data
    listed = [{"type": "file", "path": name, "size": len(data)}]
    server.served.files["/api/models/org/repo/tree/main"] = json.dumps(listed).encode()


def test_a_model_of_the_map_by_its_name(server, apart):
    """And a role of it that waited serves, without a restart of anything."""
    data = write_model(apart.folder / "tiny.gguf").read_bytes()
    hub_has(server, "m-Q8_0.gguf", data)
    apart.write_map(apart.map.read_text() + "  hubbed: { modes: [hubbed], model: hub, context: 512, slots: 1, nodes: [a] }\n")
    apart.gateway.signal(signal.SIGHUP)
    wait_for("the role is known", lambda: apart.role("hubbed"))
    done = apart.rolemesh("pull", "--node", "a", "hub")
    assert done.returncode == 0 and "org/repo/m-Q8_0.gguf is on node a" in done.stdout, done
    assert (apart.dirs["a"] / "org" / "repo" / "m-Q8_0.gguf").read_bytes() == data
    apart.wait_ready("hubbed", seconds=15)
    assert apart.chat("hubbed")[0] == 200
    here = apart.folder / "here"
    here.mkdir()
    argv = [program("rolemesh"), "pull", "--role-map", apart.map, "--dir", here, "--keep-free", "0", "hub"]
    local = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env={**os.environ, "HF_ENDPOINT": server.url}, timeout=60)
    assert local.returncode == 0 and (here / "org" / "repo" / "m-Q8_0.gguf").exists(), local


def test_a_copy_makes_a_role_load(apart, tmp_path):
    """Node b is to host `code` and has not its file. It is copied from a, and the role serves, without a restart of anything."""
    write_model(apart.dirs["a"] / "code.gguf")
    assert not apart.is_ready("code")
    done = apart.rolemesh("copy", "code.gguf", "--from", "a", "--to", "b")
    assert done.returncode == 0 and "code.gguf is on node b" in done.stdout, done
    assert (apart.dirs["b"] / "code.gguf").read_bytes() == (apart.dirs["a"] / "code.gguf").read_bytes()
    apart.wait_ready("code", seconds=15)
    assert apart.chat("code")[0] == 200


def test_the_command_follows_and_leaves_it_running(server, apart):
    server.served.files["/m.gguf"], server.served.rate = content(24 * 1024 * 1024), 0.3e6
    argv = [program("rolemesh"), "pull", "--node", "a", f"{server.url}/m.gguf", "--gateway", f"http://127.0.0.1:{apart.port}"]
    main, end = pty.openpty()
    p = subprocess.Popen([str(a) for a in argv], stdout=end, stderr=end, stdin=end, close_fds=True)
    os.close(end)
    shown = b""
    deadline = time.monotonic() + 40 * SLOW
    while not re.search(rb"running \[#+ +\] +\d+\.\d %  .* of 24\.0 MiB  .*/s", shown):
        assert time.monotonic() < deadline and p.poll() is None, shown
        shown += os.read(main, 4096)
    p.send_signal(signal.SIGINT)
    assert p.wait(20 * SLOW) == 1
    with contextlib.suppress(OSError):
        while part := os.read(main, 4096):
            shown += part
    os.close(main)
    found = re.search(rb"node a goes on with it; .*--cancel (p-[0-9a-f]{16})", shown)
    assert found, shown
    pull_id = found[1].decode()
    assert apart.pull(pull_id)["state"] == "running"
    table = apart.rolemesh("pulls", "--node", "a", env={k: v for k, v in os.environ.items() if k != "COLUMNS"})
    assert pull_id in table.stdout and "running" in table.stdout and table.returncode == 0, table
    listed = json.loads(apart.rolemesh("pulls", "--json").stdout)
    assert [q["id"] for q in listed["pulls"]] == [pull_id]
    cancelled = apart.rolemesh("pull", "--node", "a", "--cancel", pull_id)
    assert cancelled.returncode == 0 and "cancelled" in cancelled.stdout, cancelled
    assert sum(noted(apart.dirs["a"] / "m.gguf.part.map")) > 0


def test_the_commands_ends(server, apart):
    server.served.files["/m.gguf"] = content(1_000_000)
    done = apart.rolemesh("pull", "--node", "a", f"{server.url}/m.gguf", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["state"] == "done", done
    failed = apart.rolemesh("pull", "--node", "a", f"{server.url}/gone.gguf")
    assert failed.returncode == 1 and "failed on node a: gone.gguf: the server says 404" in failed.stderr, failed
    bad = apart.rolemesh("pull", "--node", "a", "nonsense")
    assert bad.returncode == 2 and "expected hf:ORG/REPO:QUANT" in bad.stderr and bad.stderr.count("\n") == 1, bad
    detached = apart.rolemesh("pull", "--node", "a", f"{server.url}/m.gguf", "--detach")
    assert detached.returncode == 0 and re.fullmatch(r"p-[0-9a-f]{16}\n", detached.stdout), detached
    for args in (["copy", "m.gguf", "--from", "a"], ["copy", "--from", "a", "--to", "b"], ["pull", "--node", "a"], ["pull", "--node", "a", "--dir", "/", "x"],
                 ["pull", "--detach", "x"], ["copy", "m.gguf", "--from", "a/b", "--to", "b"]):  # fmt: skip
        wrong = apart.rolemesh(*args)
        assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1, wrong
