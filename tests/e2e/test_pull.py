# SPDX-License-Identifier: MIT
"""rolemesh-pull against a web server of the test's own: ranges, kills, changes, wrong sums, no room, a hub."""
import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from pull_rig import PIECE, Handler, RangeServer, content, noted
from rig import SLOW, program, wait_for


@pytest.fixture
def server():
    with RangeServer() as s:
        yield s


def start(server, source, directory, *options, env=None):
    argv = [program("rolemesh-pull"), "--dir", directory, "--keep-free", "0", *options, source]
    return subprocess.Popen(
        [str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )


def pull(server, source, directory, *options, env=None):
    p = start(server, source, directory, *options, env=env)
    out, err = p.communicate(timeout=60 * SLOW)
    return p.returncode, out, err


def test_killed_at_ten_random_points_and_gone_on_with(server, tmp_path):
    data = content(40 * 1024 * 1024 + 12345)
    server.served.files["/m.gguf"] = data
    server.served.rate = 40e6 / SLOW
    sha = hashlib.sha256(data).hexdigest()
    seed = int(os.environ.get("ROLEMESH_SEED", random.randrange(1 << 30)))
    points = sorted(random.Random(seed).sample(range(1, len(data) - PIECE), 10))
    part_map = tmp_path / "m.gguf.part.map"
    for point in points:
        before = noted(part_map)
        server.served.asked.clear()
        p = start(server, f"{server.url}/m.gguf", tmp_path, "--sha256", sha)
        wait_for(f"{point} bytes, seed {seed}", lambda: sum(noted(part_map)) >= point or p.poll() is not None, 60)
        p.send_signal(signal.SIGKILL)
        p.communicate()
        assert sum(noted(part_map)) >= point and not (tmp_path / "m.gguf").exists(), seed
        for _, first, last in server.served.asked[1:]:  # after the probe: nothing that was noted is asked for again
            piece = first // PIECE
            assert first >= piece * PIECE + (before[piece] if before else 0) and last < (piece + 1) * PIECE, seed
    server.served.rate = None
    code, out, err = pull(server, f"{server.url}/m.gguf", tmp_path, "--sha256", sha)
    assert code == 0 and "SHA-256 checked" in out, (seed, out, err)
    assert hashlib.sha256((tmp_path / "m.gguf").read_bytes()).hexdigest() == sha, seed
    assert sorted(f.name for f in tmp_path.iterdir()) == ["m.gguf"]
    # What a kill lost on its way (sent, not yet noted) is less than a chunk for each connection.
    assert server.served.sent <= len(data) + len(points) * 4 * 1024 * 1024, (seed, server.served.sent)


def test_the_same_file_is_not_fetched_twice(server, tmp_path):
    server.served.files["/m.gguf"] = content(100_000)
    assert pull(server, f"{server.url}/m.gguf", tmp_path)[0] == 0
    server.served.asked.clear()
    code, out, _ = pull(server, f"{server.url}/m.gguf", tmp_path)
    assert code == 0 and "there already" in out and len(server.served.asked) == 1  # the probe


def test_another_file_of_that_name_is_left_alone(server, tmp_path):
    server.served.files["/m.gguf"] = content(100_000)
    (tmp_path / "m.gguf").write_bytes(b"mine")
    code, _, err = pull(server, f"{server.url}/m.gguf", tmp_path)
    assert code == 2 and "something else is there (4 bytes" in err and (tmp_path / "m.gguf").read_bytes() == b"mine"


def test_a_wrong_sum_leaves_nothing(server, tmp_path):
    server.served.files["/m.gguf"] = content(100_000)
    code, _, err = pull(server, f"{server.url}/m.gguf", tmp_path, "--sha256", "0" * 64)
    assert code == 2 and "checksum is wrong" in err and list(tmp_path.iterdir()) == []


def test_a_source_that_changes_is_begun_anew(server, tmp_path):
    old, new = content(56 * 1024 * 1024, 1), content(56 * 1024 * 1024, 2)  # more than four connections have asked for at once
    server.served.files["/m.gguf"], server.served.rate = old, 16e6
    p = start(server, f"{server.url}/m.gguf", tmp_path)
    wait_for("a begin", lambda: sum(noted(tmp_path / "m.gguf.part.map")) > 1024 * 1024, 60)
    server.served.files["/m.gguf"], server.served.etags["/m.gguf"], server.served.rate = new, "2", None
    out, err = p.communicate(timeout=60 * SLOW)
    assert p.returncode == 0, (out, err)
    assert (tmp_path / "m.gguf").read_bytes() == new


def test_a_server_without_ranges(server, tmp_path):
    data = content(20 * 1024 * 1024 + 7)
    server.served.files["/m.gguf"], server.served.ranges = data, False
    code, out, err = pull(server, f"{server.url}/m.gguf", tmp_path)
    assert code == 0 and (tmp_path / "m.gguf").read_bytes() == data, (out, err)


def test_a_server_that_fails_for_a_while(server, tmp_path):
    data = content(300_000)
    server.served.files["/m.gguf"], server.served.fail_next = data, 3
    code, out, err = pull(server, f"{server.url}/m.gguf", tmp_path)
    assert code == 0 and (tmp_path / "m.gguf").read_bytes() == data, (out, err)


@pytest.mark.parametrize("status, words", [(404, "404; is the name right?"), (403, "accept its terms"), (401, "HF_TOKEN")])
def test_a_refusal_is_told_at_once(server, tmp_path, status, words):
    server.served.status = status
    code, _, err = pull(server, f"{server.url}/m.gguf", tmp_path)
    assert code == 2 and words in err and err.count("\n") == 1 and len(server.served.tokens) == 1, err


def test_nobody_there(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # bound, not listening: refused
        p = start(None, f"http://127.0.0.1:{s.getsockname()[1]}/m.gguf", tmp_path)
        p.send_signal(signal.SIGTERM)
        out, err = p.communicate(timeout=60 * SLOW)
    assert p.returncode in (1, -signal.SIGTERM) and list(tmp_path.iterdir()) == [], (out, err)


def test_two_at_once(server, tmp_path):
    server.served.files["/m.gguf"], server.served.rate = content(20 * 1024 * 1024), 2e6
    first = start(server, f"{server.url}/m.gguf", tmp_path)
    wait_for("a begin", lambda: sum(noted(tmp_path / "m.gguf.part.map")) > 0)
    code, _, err = pull(server, f"{server.url}/m.gguf", tmp_path)
    assert code == 1 and "another rolemesh-pull" in err, err
    first.send_signal(signal.SIGTERM)
    _, err = first.communicate(timeout=20 * SLOW)
    assert first.returncode == 1 and "the same command goes on" in err, err


def test_no_room_is_told_before_anything_is_fetched(server, tmp_path):
    server.served.files["/m.gguf"] = content(100_000)
    free = shutil.disk_usage(tmp_path).free
    code, _, err = pull(server, f"{server.url}/m.gguf", tmp_path, "--keep-free", free * 2)
    assert code == 3 and "no room: 100000 bytes are to come" in err and err.count("\n") == 1, err
    assert [(f, a, b) for f, a, b in server.served.asked if b > 0] == [] and not (tmp_path / "m.gguf").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root")
def test_a_full_disk_loses_nothing(server, tmp_path):
    data = content(24 * 1024 * 1024)
    server.served.files["/m.gguf"], server.served.rate = data, 8e6
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", small], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("may not mount a file system here")
    try:
        (small / "hog").write_bytes(b"x" * 12 * 1024 * 1024)
        code, _, err = pull(server, f"{server.url}/m.gguf", small)
        assert code == 3 and "no room" in err and not (small / "m.gguf").exists(), err
        (small / "hog").unlink()
        code, out, err = pull(server, f"{server.url}/m.gguf", small)
        assert code == 0 and (small / "m.gguf").read_bytes() == data, (out, err)
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def hub_list(server, repo, files):
    listed = []
    for name, data in files.items():
        server.served.files[f"/{repo}/resolve/main/{name}"] = data
        sha = hashlib.sha256(data).hexdigest()
        listed.append({"type": "file", "path": name, "size": 130, "lfs": {"oid": sha, "size": len(data)}})
    server.served.files[f"/api/models/{repo}/tree/main"] = json.dumps(listed).encode()


def test_all_parts_of_a_hubs_model(server, tmp_path):
    parts = {f"m-Q8_0-0000{i}-of-00003.gguf": content(50_000 + i, i) for i in (1, 2, 3)}
    hub_list(server, "org/repo", {**parts, "m-Q4_K_M.gguf": content(9)})
    env = {"HF_ENDPOINT": server.url, "HF_TOKEN": "hf_canary"}
    code, out, err = pull(server, "hf:org/repo:Q8_0", tmp_path, "--json", env=env)
    assert code == 0, (out, err)
    for name, data in parts.items():
        assert (tmp_path / "org" / "repo" / name).read_bytes() == data
    ends = [json.loads(line) for line in out.splitlines() if '"done"' in line]
    assert [e["file"] for e in ends] == [f"org/repo/{name}" for name in sorted(parts)]
    assert set(server.served.tokens) == {"Bearer hf_canary"} and "hf_canary" not in out + err
    assert not (tmp_path / "org" / "repo" / "m-Q4_K_M.gguf").exists()


def test_a_quantisation_that_is_not_there(server, tmp_path):
    hub_list(server, "org/repo", {"m-Q4_K_M.gguf": b"x"})
    code, _, err = pull(server, "hf:org/repo:Q8_0", tmp_path, env={"HF_ENDPOINT": server.url})
    assert code == 2 and "there are: m-Q4_K_M" in err and err.count("\n") == 1


def test_a_token_does_not_follow_a_redirect_elsewhere(server, tmp_path):
    """The hub sends its readers to another host, which must not see the token."""
    hub_list(server, "org/repo", {"m-Q8_0.gguf": content(1000)})
    seen = []

    class Hub(Handler):
        def do_GET(self):
            seen.append(self.headers.get("Authorization"))
            if "/api/" in self.path:
                return self.plain(200, server.served.files[self.path.partition("?")[0]])
            self.send_response(302)
            self.send_header("Location", server.url.replace("127.0.0.1", "localhost") + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        env = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_TOKEN": "hf_canary"}
        code, out, err = pull(server, "hf:org/repo:Q8_0", tmp_path, env=env)
        hub.shutdown()
    assert code == 0, (out, err)
    assert set(seen) == {"Bearer hf_canary"} and set(server.served.tokens) == {None}


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "SOURCE is missing"),
        (["a", "b"], "one SOURCE"),
        (["-j", "0", "x"], "--connections"),
        (["--sha256", "xyz", "x"], "--sha256"),
        (["--keep-free", "1GB", "x"], "--keep-free"),
        (["models/m.gguf"], "expected hf:ORG/REPO:QUANT or a URL"),
    ],
)
def test_wrong_use_is_one_line(arguments, words):
    done = subprocess.run([program("rolemesh-pull"), *arguments], capture_output=True, text=True, timeout=20 * SLOW)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
