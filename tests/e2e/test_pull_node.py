# SPDX-License-Identifier: MIT
"""Models that come onto a node by its worker: pulls that are wished for, followed, killed, gone on with and cancelled; files
for other nodes; copies between two real workers. The web server is the tests' own (pull_rig.py)."""
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess

import pytest

from pull_rig import PIECE, RangeServer, content, noted
from rig import SLOW, UnixConnection, alive, ask, make_model as write_model, program, wait_for
from worker_rig import Worker, bare_gguf

CANARY = "canary-51c2"
LOSS = 4 * 1024 * 1024  # of each connection that is killed: sent, not yet noted


@pytest.fixture
def server():
    with RangeServer() as s:
        yield s


@pytest.fixture
def worker(tmp_path):
    (tmp_path / "w").mkdir()
    with Worker(tmp_path / "w") as w:
        yield w


def sha(data):
    return hashlib.sha256(data).hexdigest()


def wish(w, source, status=201, **more):
    answer = w.call("POST", "/node/v1/pulls", {"source": source, **more})
    assert answer.status == status, answer.body
    return answer.json()["pulls"][0]


def pull_of(w, pull_id):
    answer = w.call("GET", "/node/v1/pulls")
    assert answer.status == 200
    return next((p for p in answer.json()["pulls"] if p["id"] == pull_id), None)


def wait_pull(w, pull_id, *states, seconds=60):
    """The pull once it is in one of the states; one that is over in another state fails at once."""

    def there():
        p = pull_of(w, pull_id)
        assert p["state"] in states or p["state"] not in ("done", "failed", "cancelled"), p
        return p if p["state"] in states else None

    return wait_for(f"{pull_id} is {states}", there, seconds, 0.02)


def pull_pids(w):
    """Of the processes that the worker runs for pulls."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            argv = (path / "cmdline").read_bytes().split(b"\0")
            if parent == w.process.pid and argv[0].endswith(b"rolemesh-pull"):
                found.append(int(path.name))
    return found


def nothing_is_fetched_twice(asked, before):
    """Ranges asked for after a break begin where the notes ended."""
    for _, first, last in asked:
        piece = first // PIECE
        assert last < (piece + 1) * PIECE
        assert first >= piece * PIECE + (before[piece] if before else 0)


# ---- pulls ----


def test_a_pull_is_followed_to_its_end(server, worker):
    data = content(20 * 1024 * 1024 + 77)
    server.served.files["/m.gguf"], server.served.rate = data, 8e6
    p = wish(worker, f"{server.url}/m.gguf", sha256=sha(data))
    assert p["file"] == "m.gguf" and p["source"] == f"{server.url}/m.gguf" and p["ended"] == 0
    seen = wait_for("progress", lambda: next((q for q in [pull_of(worker, p["id"])] if q["bytes"] > 1e6 and q["rate"] > 0), None), 30)
    assert seen["state"] == "running" and seen["total"] == len(data) and 0 < seen["bytes"] < len(data) and seen["eta_ms"] > 0, seen
    assert any(q["id"] == p["id"] for q in worker.state()["pulls"])
    server.served.rate = None
    done = wait_pull(worker, p["id"], "done")
    assert done["bytes"] == done["total"] == len(data) and done["files"] == done["files_done"] == 1 and done["ended"] > 0, done
    assert done["fetched"] == len(data) and done["tries"] == 1 and done["rate"] == 0
    assert (worker.models / "m.gguf").read_bytes() == data
    assert sorted(f.name for f in worker.models.iterdir()) == ["m.gguf"]
    assert [m["path"] for m in worker.call("GET", "/node/v1/models").json()["models"]] == ["m.gguf"]


def test_all_parts_of_a_url(server, worker):
    parts = {f"m-{i:05}-of-00003.gguf": content(50_000 + i, i) for i in (1, 2, 3)}
    server.served.files.update({f"/d/{name}": data for name, data in parts.items()})
    done = wait_pull(worker, wish(worker, f"{server.url}/d/m-00001-of-00003.gguf?sig=1")["id"], "done")
    assert done["files"] == done["files_done"] == 3 and done["fetched"] == sum(map(len, parts.values())) and done["text"] == "", done
    assert {f.name: f.read_bytes() for f in worker.models.iterdir()} == parts


def test_killed_rolemesh_pull_goes_on_by_itself(server, worker):
    data = content(40 * 1024 * 1024 + 12345)
    server.served.files["/m.gguf"], server.served.rate = data, 20e6 / SLOW
    seed = int(os.environ.get("ROLEMESH_SEED", random.randrange(1 << 30)))
    points = sorted(random.Random(seed).sample(range(PIECE // 4, len(data) - PIECE), 3))
    part_map = worker.models / "m.gguf.part.map"
    p = wish(worker, f"{server.url}/m.gguf", sha256=sha(data))
    for point in points:
        wait_for(f"{point} bytes, seed {seed}", lambda: sum(noted(part_map)) >= point and pull_pids(worker), 60)
        for pid in pull_pids(worker):
            os.kill(pid, signal.SIGKILL)
        told = wait_for("it waits", lambda: next((q for q in [pull_of(worker, p["id"])] if q["state"] == "queued"), None), 20)
        assert "ended by signal 9; " not in told["text"] and "signal 9" in told["text"] and "goes on in" in told["text"], told
        before = noted(part_map)
        server.served.asked.clear()
        wait_for("it goes on", lambda: len(server.served.asked) > 1, 30)
        nothing_is_fetched_twice(server.served.asked[1:], before)  # after the probe
    server.served.rate = None
    done = wait_pull(worker, p["id"], "done")
    assert done["tries"] == len(points) + 1, (seed, done)
    assert sha((worker.models / "m.gguf").read_bytes()) == sha(data), seed
    assert server.served.sent <= len(data) + len(points) * 4 * LOSS, seed


def test_a_killed_worker_goes_on_after_its_restart(server, worker):
    data = content(40 * 1024 * 1024)
    server.served.files["/m.gguf"], server.served.rate = data, 8e6 / SLOW
    part_map = worker.models / "m.gguf.part.map"
    p = wish(worker, f"{server.url}/m.gguf?token={CANARY}", sha256=sha(data))
    wait_for("a part", lambda: sum(noted(part_map)) > 4e6, 60)
    pids = pull_pids(worker)
    worker.process.kill()
    assert len(pids) == 1
    wait_for("the child is gone with its worker", lambda: not alive(pids[0]))
    assert not (worker.models / "m.gguf").exists()
    before = noted(part_map)
    server.served.asked.clear()
    worker.start()
    assert pull_of(worker, p["id"])["state"] in ("queued", "running")
    wait_for("it goes on", lambda: len(server.served.asked) > 1, 30)
    nothing_is_fetched_twice(server.served.asked[1:], before)
    server.served.rate = None
    done = wait_pull(worker, p["id"], "done")
    assert sha((worker.models / "m.gguf").read_bytes()) == sha(data) and done["tries"] == 2, done
    assert server.served.sent <= len(data) + 4 * LOSS
    worker.process.stop()
    worker.start()  # what is over is still shown
    assert pull_of(worker, p["id"])["state"] == "done"


def test_sigterm_ends_the_children_and_keeps_their_parts(server, worker):
    data = content(20 * 1024 * 1024)
    server.served.files["/m.gguf"], server.served.rate = data, 4e6 / SLOW
    p = wish(worker, f"{server.url}/m.gguf")
    wait_for("a part", lambda: sum(noted(worker.models / "m.gguf.part.map")) > 1e6, 60)
    pids = pull_pids(worker)
    assert worker.process.stop() == 0 and len(pids) == 1 and not alive(pids[0])
    assert (worker.models / "m.gguf.part").exists() and not (worker.models / "m.gguf").exists()
    server.served.rate = None
    worker.start()
    wait_pull(worker, p["id"], "done")
    assert (worker.models / "m.gguf").read_bytes() == data


def test_cancelled_and_wished_for_again(server, worker):
    data = content(24 * 1024 * 1024)
    server.served.files["/m.gguf"], server.served.rate = data, 4e6 / SLOW
    p = wish(worker, f"{server.url}/m.gguf")
    wait_for("a part", lambda: sum(noted(worker.models / "m.gguf.part.map")) > 1e6, 60)
    pids = pull_pids(worker)
    answer = worker.call("DELETE", f"/node/v1/pulls/{p['id']}")
    assert answer.status == 200 and answer.json()["pulls"][0]["state"] == "cancelled"
    wait_for("its process is gone", lambda: not any(alive(pid) for pid in pids))
    assert worker.call("DELETE", f"/node/v1/pulls/{p['id']}").status == 409
    assert worker.call("DELETE", "/node/v1/pulls/p-0000000000000000").status == 404
    before = noted(worker.models / "m.gguf.part.map")
    assert sum(before) > 1e6
    server.served.rate = None
    server.served.asked.clear()
    again = wish(worker, f"{server.url}/m.gguf")
    assert again["id"] != p["id"]
    done = wait_pull(worker, again["id"], "done")
    nothing_is_fetched_twice(server.served.asked[1:], before)
    assert done["fetched"] <= len(data) - sum(before) + 4 * LOSS and (worker.models / "m.gguf").read_bytes() == data
    assert pull_of(worker, p["id"])["state"] == "cancelled"


def test_one_for_a_file(server, worker):
    server.served.files.update({"/m.gguf": content(8 * 1024 * 1024), "/other/m.gguf": content(100)})
    server.served.rate = 1e6
    p = wish(worker, f"{server.url}/m.gguf")
    assert wish(worker, f"{server.url}/m.gguf", 200)["id"] == p["id"]  # the same wish: the same pull
    answer = worker.call("POST", "/node/v1/pulls", {"source": f"{server.url}/other/m.gguf"})
    assert answer.status == 409 and "fetches that file from elsewhere" in answer.error["message"], answer.body
    assert worker.call("DELETE", f"/node/v1/pulls/{p['id']}").status == 200


def test_two_at_a_time(server, worker):
    server.served.rate = 2e6
    ids = []
    for i in range(4):
        server.served.files[f"/m{i}.gguf"] = content(6 * 1024 * 1024, i)
        ids.append(wish(worker, f"{server.url}/m{i}.gguf")["id"])
    wait_for("two run", lambda: len(pull_pids(worker)) == 2)
    states = [pull_of(worker, i)["state"] for i in ids]
    assert states[2:] == ["queued", "queued"], states
    server.served.rate = None
    for i in ids:
        wait_pull(worker, i, "done")
    assert sorted(f.name for f in worker.models.iterdir()) == [f"m{i}.gguf" for i in range(4)]


def test_what_cannot_work_fails_with_its_reason(server, worker):
    server.served.files["/m.gguf"] = content(1000)
    (worker.models / "there.gguf").write_bytes(b"mine")
    server.served.files["/there.gguf"] = content(1000)
    for source, more, words in [
        ("/gone.gguf", {}, "404"),
        ("/m.gguf", {"sha256": "0" * 64}, "checksum is wrong"),
        ("/there.gguf", {}, "something else is there"),
    ]:
        p = wish(worker, server.url + source, **more)
        failed = wait_pull(worker, p["id"], "failed")
        assert words in failed["text"] and failed["ended"] > 0, failed
    assert (worker.models / "there.gguf").read_bytes() == b"mine" and not (worker.models / "m.gguf").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root")
def test_no_room_on_the_disk(server, tmp_path):
    models = tmp_path / "w" / "models"
    models.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", models], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("may not mount a file system here")
    try:
        data = content(3 * 1024 * 1024)
        server.served.files["/m.gguf"] = data
        with Worker(tmp_path / "w") as w:
            failed = wait_pull(w, wish(w, f"{server.url}/m.gguf")["id"], "failed")
            assert "no room" in failed["text"] and "nothing was lost" in failed["text"], failed
            assert server.served.sent <= 2  # the probe
            subprocess.run(["mount", "-o", "remount,size=1500m", models], check=True)
            wait_pull(w, wish(w, f"{server.url}/m.gguf")["id"], "done")
            assert (w.models / "m.gguf").read_bytes() == data
    finally:
        subprocess.run(["umount", "-l", models], check=True)


# ---- what a wish may be ----


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"])
def test_a_web_page_cannot_start_one(server, worker, kind):
    server.served.files["/m.gguf"] = content(10)
    body = json.dumps({"source": f"{server.url}/m.gguf"}).encode()
    connection = worker.connect()
    with contextlib.closing(connection):
        connection.request("POST", "/node/v1/pulls", body, {"Content-Type": kind} if kind else {})
        assert connection.getresponse().status == 415
    assert worker.call("GET", "/node/v1/pulls").json() == {"pulls": []} and not server.served.asked


@pytest.mark.parametrize("fields", [{"Origin": "http://rebound.test:1"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-origin"}])
@pytest.mark.parametrize("method, path", [("POST", "/node/v1/pulls"), ("DELETE", "/node/v1/pulls/p-0"), ("PUT", "/node/v1/hosts/code"),
                                          ("DELETE", "/node/v1/hosts/code"), ("POST", "/node/v1/forecast"), ("POST", "/node/v1/run/code/v1/completions")])
def test_a_page_under_a_name_of_its_own_is_refused(server, worker, method, path, fields):
    """DNS rebinding: the page's own name stands for this machine, so it may send any type and method; but its Origin is there."""
    server.served.files["/m.gguf"] = content(10)
    body = {"source": f"{server.url}/m.gguf"}
    answer = worker.call(method, path, body, {"Content-Type": "application/json", "Host": "rebound.test:1", **fields})
    assert answer.status == 403 and answer.json()["error"]["code"] == "permission_denied"
    assert worker.call("GET", "/node/v1/pulls", headers=fields).json() == {"pulls": []} and not server.served.asked


@pytest.mark.parametrize("host, status", [("rebound.test:1", 421), ("127.0.0.1.rebound.test", 421), ("a" * 60 + ".rebound.test", 421),
                                          ("127.0.0.1:1", 200), ("localhost:1", 200), ("[::1]:1", 200), ("box", 200)])
@pytest.mark.parametrize("path", ["/node/v1/state", "/node/v1/logs", "/node/v1/files/m.gguf"])
def test_a_page_under_a_name_of_its_own_reads_nothing(worker, path, host, status):
    """Of a worker that listens on the loopback only: a GET has no Origin, but it has the page's name as Host."""
    (worker.models / "m.gguf").write_bytes(content(10))
    assert worker.call("GET", path, headers={"Host": host, "Accept-Encoding": "gzip, deflate"}).status == status


def test_a_gateway_may_come_through_a_tunnel_under_any_name(worker):
    with contextlib.closing(worker.connect()) as connection:
        connection.putrequest("GET", "/node/v1/state", skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", "reasoning.mesh.example.net:7070")
        connection.endheaders()
        assert connection.getresponse().status == 200


@pytest.mark.parametrize(
    "body, words",
    [
        ({}, "source"),
        ({"source": "/etc/passwd"}, "expected hf:ORG/REPO:QUANT"),
        ({"source": "file:///etc/x.gguf"}, "expected hf:ORG/REPO:QUANT"),
        ({"source": "--dir=/"}, "expected hf:ORG/REPO:QUANT"),
        ({"source": "http://h.test/..%2f..%2fx.gguf"}, "must end in the name"),
        ({"source": "http://h.test/.x.gguf"}, "must end in the name"),
        ({"source": "http://h.test/x.sh"}, "must end in the name"),
        ({"source": "hf:org/../x:Q8_0"}, "expected hf:ORG/REPO:QUANT"),
        ({"source": "node:other/../../x.gguf", "from": "h:1"}, "expected node:NAME/FILE"),
        ({"source": "node:other/x.gguf"}, "from: expected"),
        ({"source": "node:other/x.gguf", "from": "h:1/../x"}, "HOST:PORT"),
        ({"source": "http://h.test/x.gguf", "dir": "/etc"}, "no such member"),
        ({"source": "http://h.test/x.gguf", "sha256": "zz"}, "sha256"),
        ({"source": "http://h.test/x.gguf\n"}, "source"),
        ({"source": "http://h.test/" + "x" * 3000 + ".gguf"}, "source"),
        ([], ""),
    ],
)
def test_wishes_that_cannot_be(worker, body, words):
    answer = worker.call("POST", "/node/v1/pulls", body)
    assert answer.status == 400 and words in answer.error["message"], answer.body
    assert worker.call("GET", "/node/v1/pulls").json() == {"pulls": []}


def test_no_models_directory_of_its_own(tmp_path):
    with Worker(tmp_path, "--models-dir", "/") as w:
        answer = w.call("POST", "/node/v1/pulls", {"source": "hf:org/repo:Q8_0"})
        assert answer.status == 409 and "no models directory of its own" in answer.error["message"]


def test_nothing_secret_of_a_url_is_shown(server, worker):
    server.served.files["/m.gguf"], server.served.rate = content(6 * 1024 * 1024), 1e6
    url = server.url.replace("//", f"//user:{CANARY}@") + f"/m.gguf?sig={CANARY}#{CANARY}"
    p = wish(worker, url)
    assert p["source"] == f"{server.url}/m.gguf"
    wait_for("it runs", lambda: pull_pids(worker) and sum(noted(worker.models / "m.gguf.part.map")) > 0, 30)
    for pid in pull_pids(worker):
        assert CANARY.encode() not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    said = [worker.call("GET", path).body for path in ("/node/v1/pulls", "/node/v1/state", "/metrics")]
    for path in worker.state_dir.rglob("*"):  # where it lies, only the worker's user may read it
        if path.is_file() and CANARY.encode() in path.read_bytes():
            assert path.stat().st_mode & 0o077 == 0, path
    assert worker.call("DELETE", f"/node/v1/pulls/{p['id']}").status == 200
    wait_for("its process is gone", lambda: not pull_pids(worker))
    bad = worker.call("POST", "/node/v1/pulls", {"source": f"http://u:{CANARY}@h.test/x.bin?{CANARY}"})
    refused = wait_pull(worker, wish(worker, server.url.replace("//", f"//u:{CANARY}@") + f"/no.gguf?{CANARY}")["id"], "failed")
    said += [bad.body, json.dumps(refused).encode(), worker.process.log().encode()]
    assert bad.status == 400 and not any(CANARY.encode() in text for text in said)
    for path in worker.state_dir.rglob("*"):  # and nowhere once it is over
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


# ---- a role that waits for its file ----


def test_a_role_that_waits_for_its_file_loads(server, tmp_path):
    """The model is put where the role looks for it by a pull, and the host starts without anybody's help."""
    model = write_model(tmp_path / "tiny.gguf")
    server.served.files["/code.gguf"] = model.read_bytes()
    (tmp_path / "w").mkdir()
    with Worker(tmp_path / "w") as w:
        assert w.put("code").status == 200
        failed = w.wait_state("code", "failed")
        assert "no such file" in failed["last_error"]["text"], failed
        wait_pull(w, wish(w, f"{server.url}/code.gguf")["id"], "done")
        w.wait_state("code", "ready", seconds=8)
        assert w.chat("code").status == 200


# ---- files for other nodes ----


def get_file(w, name, headers=None, method="GET"):
    return w.call(method, f"/node/v1/files/{name}", headers=headers)


def test_a_file_in_parts(worker):
    data = content(1_000_003)
    (worker.models / "org").mkdir()
    (worker.models / "org" / "my m.gguf").write_bytes(data)
    whole = get_file(worker, "org/my%20m.gguf")
    assert whole.status == 200 and whole.body == data and whole.headers["Accept-Ranges"] == "bytes"
    tag = whole.headers["ETag"]
    head = get_file(worker, "org/my%20m.gguf", method="HEAD")
    assert head.status == 200 and head.headers["Content-Length"] == str(len(data)) and head.headers["ETag"] == tag and head.body == b""
    for text, first, last in [("0-0", 0, 0), ("5-9", 5, 9), ("1000000-", 1_000_000, 1_000_002), ("-3", 1_000_000, 1_000_002), ("7-99999999", 7, 1_000_002)]:
        part = get_file(worker, "org/my%20m.gguf", {"Range": f"bytes={text}", "If-Range": tag})
        assert part.status == 206 and part.body == data[first : last + 1], text
        assert part.headers["Content-Range"] == f"bytes {first}-{last}/{len(data)}" and part.headers["ETag"] == tag
    beyond = get_file(worker, "org/my%20m.gguf", {"Range": "bytes=1000003-"})
    assert beyond.status == 416 and beyond.headers["Content-Range"] == "bytes */1000003"
    assert get_file(worker, "org/my%20m.gguf", {"Range": "bytes=0-1,5-6"}).status == 200
    assert get_file(worker, "org/my%20m.gguf", {"Range": "bytes=0-1", "If-Range": '"other"'}).body == data
    assert get_file(worker, "org/my%20m.gguf", {"If-None-Match": f'"x", {tag}'}).status == 304
    (worker.models / "org" / "my m.gguf").write_bytes(data)  # another time of change: another version
    assert get_file(worker, "org/my%20m.gguf", {"Range": "bytes=0-1", "If-Range": tag}).status == 200


def test_an_empty_file_and_one_that_shrinks(worker):
    (worker.models / "e.gguf").write_bytes(b"")
    assert get_file(worker, "e.gguf").body == b"" and get_file(worker, "e.gguf", {"Range": "bytes=0-"}).status == 416
    path = worker.models / "m.gguf"
    path.write_bytes(content(30 * 1024 * 1024))
    connection = worker.connect()
    with contextlib.closing(connection):
        connection.request("GET", "/node/v1/files/m.gguf")
        response = connection.getresponse()
        assert len(response.read(1000)) == 1000
        os.truncate(path, 1_000_000)
        with pytest.raises(Exception, match="(?i)incomplete|reset"):  # never as if it were whole
            response.read()
    assert get_file(worker, "m.gguf").status == 200


@pytest.mark.parametrize(
    "name",
    ["", "no.gguf", "../out.gguf", "..%2fout.gguf", "%2e%2e/out.gguf", "a/../../out.gguf", "./in.gguf", "//in.gguf", "/in.gguf",
     "in.gguf/", "in.gguf%00", "in.txt", ".hidden.gguf", "link.gguf", "dir.gguf", "fifo.gguf", "outdir/out.gguf", "in%5c.gguf",
     "in.gguf.part", "..%5cout.gguf", "%zz.gguf", "a" * 600 + ".gguf", "etc/passwd", "in.gguf%0d%0aX-Y:%20z"],
)  # fmt: skip
def test_names_that_lead_nowhere(worker, name):
    outside = worker.tmp / "outside"
    outside.mkdir()
    for path in (outside / "out.gguf", worker.tmp / "out.gguf", worker.models / "in.gguf", worker.models / "in.txt", worker.models / ".hidden.gguf", worker.models / "in.gguf.part"):
        path.write_bytes(b"secret")
    (worker.models / "link.gguf").symlink_to(outside / "out.gguf")
    (worker.models / "outdir").symlink_to(outside)
    (worker.models / "dir.gguf").mkdir()
    os.mkfifo(worker.models / "fifo.gguf")
    answer = get_file(worker, name)
    assert answer.status in (404, 400, 414) and b"secret" not in answer.body, (answer.status, answer.body)
    assert get_file(worker, "in.gguf").body == b"secret"


def test_methods(worker):
    for method, path in [("POST", "/node/v1/files/m.gguf"), ("PUT", "/node/v1/pulls"), ("POST", "/node/v1/pulls/p-1"), ("DELETE", "/node/v1/files/m.gguf")]:
        answer = worker.call(method, path, {})
        assert answer.status == 405 and answer.headers["Allow"], (method, path)


def test_a_reader_that_does_not_read_holds_nobody_up(worker):
    (worker.models / "m.gguf").write_bytes(content(64 * 1024 * 1024))
    before = int(pathlib.Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1]) * 4096
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            connection = worker.connect()
            stack.enter_context(contextlib.closing(connection))
            connection.request("GET", "/node/v1/files/m.gguf")
            assert connection.getresponse().status == 200  # and no byte is read
        for _ in range(20):
            assert worker.call("GET", "/healthz").status == 200
        after = int(pathlib.Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1]) * 4096
        assert after - before < 8 * 2 * 1024 * 1024, after - before  # not 8 files


def test_the_sum_of_a_file(worker):
    data = content(3 * 1024 * 1024)
    (worker.models / "m.gguf").write_bytes(data)
    want = {"Want-Repr-Digest": "sha-256=1"}
    expected = f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"
    assert get_file(worker, "m.gguf", method="HEAD").headers.get("Repr-Digest") is None
    first = get_file(worker, "m.gguf", want, "HEAD")
    assert first.headers.get("Repr-Digest") == expected or first.headers["Retry-After"] == "1"
    wait_for("the sum", lambda: get_file(worker, "m.gguf", want, "HEAD").headers.get("Repr-Digest") == expected)
    worker.process.stop()
    worker.start()
    assert get_file(worker, "m.gguf").headers["Repr-Digest"] == expected  # kept over a restart
    (worker.models / "m.gguf").write_bytes(data + b"x")
    assert get_file(worker, "m.gguf", method="HEAD").headers.get("Repr-Digest") is None


# ---- copies between two workers ----


@pytest.fixture
def pair(tmp_path):
    """Two workers; the first listens on a Unix socket as well."""
    for name in "ab":
        (tmp_path / name).mkdir()
    socket = tmp_path / "a" / "s"
    with Worker(tmp_path / "a", "--listen", f"unix:{socket}", node="a") as a, Worker(tmp_path / "b", node="b") as b:
        a.socket = socket
        yield a, b


def at(w):
    return f"{w.address[0]}:{w.address[1]}"


def write_split(directory, n, size):
    directory.mkdir(parents=True, exist_ok=True)
    parts = {f"m-{i:05}-of-{n:05}.gguf": content(size + i, i) for i in range(1, n + 1)}
    for name, data in parts.items():
        (directory / name).write_bytes(data)
    return parts


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_all_parts_are_copied_and_checked(pair, way):
    a, b = pair
    parts = write_split(a.models / "org" / "repo", 3, 9_000_000)
    source = at(a) if way == "tcp" else f"unix:{a.socket}"
    p = wish(b, "node:a/org/repo/m-00001-of-00003.gguf", **{"from": source})
    done = wait_pull(b, p["id"], "done")
    assert done["files"] == done["files_done"] == 3 and done["bytes"] == done["total"] == sum(map(len, parts.values())), done
    for name, data in parts.items():
        assert (b.models / "org" / "repo" / name).read_bytes() == data
    assert (a.state_dir / "sums").read_text().count("\n") == 3  # A said what each must have


def test_by_its_path_there_and_by_its_hubs_name(pair):
    a, b = pair
    (a.models / "org" / "repo").mkdir(parents=True)
    data = content(100_000)
    (a.models / "org" / "repo" / "x-Q8_0.gguf").write_bytes(data)
    for what in (f"{a.models}/org/repo/x-Q8_0.gguf", "hf:org/repo:Q8_0"):
        wait_pull(b, wish(b, f"node:a/{what}", **{"from": at(a)})["id"], "done")
        assert (b.models / "org" / "repo" / "x-Q8_0.gguf").read_bytes() == data
        (b.models / "org" / "repo" / "x-Q8_0.gguf").unlink()
    failed = wait_pull(b, wish(b, "node:a/y.gguf", **{"from": at(a)})["id"], "failed")
    assert "node a has no model y.gguf; it has: org/repo/x-Q8_0.gguf" in failed["text"], failed


def test_a_copy_goes_on_when_its_source_comes_back(pair):
    a, b = pair
    data = content(100 * 1024 * 1024)
    (a.models / "m.gguf").write_bytes(data)
    part_map = b.models / "m.gguf.part.map"
    p = wish(b, "node:a/m.gguf", rate=20_000_000, **{"from": at(a)})
    wait_for("a part", lambda: sum(noted(part_map)) > 10e6, 60, 0.001)
    a.process.kill()
    before = sum(noted(part_map))
    assert 0 < before < len(data)
    port = a.address[1]
    a.args = ("--listen", f"unix:{a.socket}", "--listen", f"127.0.0.1:{port}")
    a.start()
    done = wait_pull(b, p["id"], "done", seconds=120)
    assert sha((b.models / "m.gguf").read_bytes()) == sha(data)
    assert done["fetched"] <= len(data) + 4 * LOSS, done


def test_a_source_that_lies_about_its_bytes_is_found_out(pair):
    """The source's file changes after its sum was made, in a way that its stamp does not show."""
    a, b = pair
    path = a.models / "m.gguf"
    path.write_bytes(content(1_000_000))
    want = {"Want-Repr-Digest": "sha-256=1"}
    wait_for("the sum", lambda: get_file(a, "m.gguf", want, "HEAD").headers.get("Repr-Digest"))
    stat = path.stat()
    with path.open("r+b") as f:
        f.write(b"changed")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    failed = wait_pull(b, wish(b, "node:a/m.gguf", **{"from": at(a)})["id"], "failed")
    assert "checksum is wrong" in failed["text"] and list(b.models.iterdir()) == [], failed


def test_without_the_program_that_fetches(server, tmp_path, monkeypatch):
    """A worker that was put somewhere alone says so, for pulls as for sums, and goes on."""
    alone = tmp_path / "bin"
    alone.mkdir()
    shutil.copy(program("rolemesh-worker"), alone)
    (tmp_path / "w").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setattr("worker_rig.program", lambda name: alone / name)
    with Worker(tmp_path / "w", node="a") as w:
        monkeypatch.undo()
        failed = wait_pull(w, wish(w, f"{server.url}/m.gguf")["id"], "failed")
        assert "rolemesh-pull cannot be run" in failed["text"], failed
        (w.models / "m.gguf").write_bytes(content(1000))
        with Worker(tmp_path / "b", node="b") as b:
            p = wish(b, "node:a/m.gguf", **{"from": at(w)})
            told = wait_for("its word", lambda: next((q for q in [pull_of(b, p["id"])] if q["text"]), None), 60)
            assert "does not say its SHA-256" in told["text"] and not (b.models / "m.gguf").exists(), told
        assert w.call("GET", "/healthz").status == 200 and w.process.log().count("no sum could be made") == 1


def test_over_a_socket_only(pair):
    a, _ = pair
    (a.models / "m.gguf").write_bytes(bare_gguf())
    assert ask(UnixConnection(a.socket), "GET", "/node/v1/files/m.gguf").body == bare_gguf()
