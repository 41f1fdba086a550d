# SPDX-License-Identifier: MIT
"""How another role map gets into a running gateway, and what is said of it: by signal, by an edit of the watched file, by
POST /api/v1/map and `rolemesh apply`. What is refused changes nothing. test_reload.py has what becomes of hosts."""
import contextlib
import http.client
import json
import os
import pathlib
import pty
import signal
import socket
import stat
import subprocess
import time

import pytest

from cluster_rig import Cluster, by_rename, call, revision_of
from rig import SLOW, TOP, have_programs, program, wait_for

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

ASK = "Ask says hello from the tiny model."
ROLES = {"ask": "modes: [ask], model: ask, context: 1Ki, slots: 1"}
YAML = {"Content-Type": "application/yaml"}


class Bare(Cluster):
    """A gateway whose nodes nobody runs: enough for everything that is about the map alone."""

    def __init__(self, folder, gateway="", roles=None):
        super().__init__(folder, ["speed"], {"ask": folder / "ask.gguf"}, roles or ROLES, gateway)
        self.start_gateway()
        wait_for("the gateway listens", lambda: self.get("/api/v1/map"))

    def state(self):
        return self.get("/api/v1/map")

    def post(self, text, query="", headers=None, port=None):
        status, _, body = call(port or self.port, "POST", f"/api/v1/map{query}", text, {**YAML, **(headers or {})})
        return status, json.loads(body)

    def apply(self, *args, stdin=subprocess.DEVNULL):
        argv = [program("rolemesh"), "apply", "--gateway", f"http://127.0.0.1:{self.port}", *args]
        return subprocess.run([str(a) for a in argv], stdin=stdin, capture_output=True, text=True, timeout=60 * SLOW)

    def with_roles(self, **changes):
        """The map's text with other roles: name=keys, or None to leave it out."""
        before = dict(self.roles)
        try:
            for name, keys in changes.items():
                self.roles.pop(name, None)
                if keys is not None:
                    self.roles[name] = keys
            return self.map_text()
        finally:
            self.roles = before


@pytest.fixture(name="bare")
def bare_fixture(tmp_path):
    with contextlib.ExitStack() as stack:
        def make(**more):
            c = Bare(tmp_path, **more)
            stack.callback(c.stop)
            return c

        yield make


# ---- what runs ----


def test_the_gateway_says_which_map_runs(bare):
    c = bare()
    state = c.state()
    assert state["path"] == str(c.map) and state["revision"] == revision_of(c.map.read_bytes())
    assert (state["nodes"], state["models"], state["roles"], state["watch"]) == (1, 1, 1, False)
    assert state["last_reload"]["by"] == "start" and state["last_reload"]["outcome"] == "applied"
    c.map.write_text(c.map_text().replace("context: 1Ki", "contxt: 1Ki"))
    c.gateway.signal(signal.SIGHUP)
    wait_for("refused", lambda: c.state()["failures"] == 1)
    after = c.state()
    assert after["revision"] == state["revision"] and after["roles"] == 1
    assert after["last_reload"]["outcome"] == "refused" and after["last_reload"]["revision"] == revision_of(c.map.read_bytes())
    (mistake,) = after["last_reload"]["mistakes"]
    assert mistake["line"] == 8 and "contxt" in mistake["what"] and "context" in mistake["hint"]
    c.map.unlink()
    c.gateway.signal(signal.SIGHUP)
    wait_for("refused again", lambda: c.state()["failures"] == 2)
    assert "cannot be opened" in c.state()["last_reload"]["mistakes"][0]["what"]
    c.write_map()
    c.gateway.signal(signal.SIGHUP)
    wait_for("taken", lambda: c.state()["last_reload"]["outcome"] == "applied")
    assert c.state()["revision"] == state["revision"]


# ---- gateway.watch ----


def in_place(path, text):
    path.write_text(text)


def by_vim(path, text):
    """The old file becomes a backup, then a new one is written: for a moment there is none."""
    os.replace(path, path.with_name("backup~"))
    path.write_text(text)


@pytest.mark.parametrize("edit", [in_place, by_rename, by_vim])
def test_a_watched_map_is_taken_over_however_it_is_edited(bare, edit):
    c = bare(gateway="watch: true")
    for n in (2, 3):
        text = c.with_roles(ask=ROLES["ask"].replace("slots: 1", f"slots: {n}"))
        edit(c.map, text)
        wait_for("taken over", lambda text=text: c.state()["revision"] == revision_of(text))
        assert c.state()["last_reload"]["by"] == "watch"
        assert c.role("ask")["slots"] == n
    assert c.state()["failures"] == 0  # also not for the moment without a file


def test_a_link_that_is_swapped_is_noticed(tmp_path):
    """As Kubernetes updates a mounted file: map -> ..data/map, ..data -> a folder of its own for each version."""
    c = Cluster(tmp_path, ["speed"], {"ask": tmp_path / "ask.gguf"}, ROLES, "watch: true")
    mount = tmp_path / "mount"
    mount.mkdir()

    def publish(version, text):
        (mount / version).mkdir()
        (mount / version / "map.yaml").write_text(text)
        (mount / "..tmp").symlink_to(version)
        os.replace(mount / "..tmp", mount / "..data")

    first = c.map_text()
    publish("..v1", first)
    c.map = mount / "map.yaml"
    c.map.symlink_to(pathlib.Path("..data") / "map.yaml")
    c.start_gateway()
    try:
        wait_for("started", lambda: c.get("/api/v1/map"))
        for n in range(2, 4):
            text = first.replace("slots: 1", f"slots: {n}")
            publish(f"..v{n}", text)
            wait_for("taken over", lambda text=text: c.get("/api/v1/map")["revision"] == revision_of(text))
    finally:
        c.stop()


def test_a_bad_watched_map_is_told_once_and_changes_nothing(bare):
    c = bare(gateway="watch: true, log_level: debug")
    good = c.map.read_text()
    running = c.state()["revision"]
    bad = good.replace("context: 1Ki", "contxt: 1Ki").replace("slots: 1", "slots: many")
    in_place(c.map, bad)
    wait_for("refused", lambda: c.state()["failures"] == 1)
    for n in (1, 2, 3):  # the same bytes in another file: nothing new to tell
        by_rename(c.map, bad)
        wait_for("seen", lambda n=n: c.gateway.log().count("the same bytes again") >= n)
    log = c.gateway.log()
    lines = [line for line in log.splitlines() if f"{c.map}:8:" in line]
    assert len(lines) == 2, log  # both mistakes, each once
    assert all(": error: " in line for line in lines) and "did you mean 'context'" in log
    assert c.state()["failures"] == 1 and c.state()["revision"] == running
    in_place(c.map, good)  # as it was: taken, and nothing is left to complain about
    wait_for("mended", lambda: c.state()["last_reload"]["outcome"] == "applied")
    assert c.state()["revision"] == running


def test_a_map_is_taken_when_its_writer_is_done(bare):
    """A slow writer: each pause is shorter than the quiet time, the whole takes longer than it."""
    c = bare(gateway="watch: true")
    pauses, wrote = [], time.monotonic()
    text = c.with_roles(ask=ROLES["ask"].replace("slots: 1", "slots: 2"))
    step = len(text) // 12 + 1
    with c.map.open("w") as f:
        for at in range(0, len(text), step):
            f.write(text[at:at + step])
            f.flush()
            pauses.append(time.monotonic() - wrote)
            wrote = time.monotonic()
            time.sleep(0.05)
    wait_for("taken over", lambda: c.state()["revision"] == revision_of(text))
    assert c.role("ask")["slots"] == 2
    if max(pauses) < 0.2:  # a writer that this machine held up longer than the quiet time looked done
        assert c.state()["failures"] == 0


def test_the_watch_is_a_key_like_any_other(bare):
    c = bare()
    text = c.map_text().replace("gateway: {", "gateway: { watch: true,")
    in_place(c.map, text)
    c.gateway.signal(signal.SIGHUP)
    wait_for("it watches", lambda: c.state()["watch"])
    off = text.replace("watch: true", "watch: false")
    by_rename(c.map, off)
    wait_for("it stops", lambda: not c.state()["watch"])
    by_rename(c.map, text)
    c.gateway.signal(signal.SIGHUP)
    wait_for("it watches again", lambda: c.state()["watch"])


# ---- GET /api/v1/map/text ----


def test_the_text_is_the_file_as_it_lies_there(bare):
    c = bare()
    ran = c.state()["revision"]
    assert c.get("/api/v1/map/text") == {"path": str(c.map), "revision": ran, "text": c.map.read_text()}
    in_place(c.map, "version: 1 # half an edit \u00e4\n")  # as it lies there, not as it runs
    assert c.get("/api/v1/map/text")["revision"] == revision_of("version: 1 # half an edit \u00e4\n") != ran
    assert c.get("/api/v1/map/text")["text"] == "version: 1 # half an edit \u00e4\n"
    c.map.unlink()
    status, headers, body = call(c.port, "GET", "/api/v1/map/text")
    assert status == 500 and headers["Content-Type"] == "application/problem+json" and "cannot be read" in json.loads(body)["detail"]
    assert c.state()["revision"] == ran  # what runs goes on
    browser = {"Sec-Fetch-Site": "same-origin"}  # without keys the file's text is for this machine's operators, as actions are
    assert call(c.port, "GET", "/api/v1/map/text", headers=browser)[0] == 403


# ---- POST /api/v1/map ----


def test_an_offered_map_is_compared_checked_and_written(bare):
    c = bare()
    os.chmod(c.map, 0o640)
    old = c.state()["revision"]
    text = c.with_roles(ask=ROLES["ask"].replace("slots: 1", "slots: 2"), code=ROLES["ask"].replace("ask]", "code]"))
    status, shown = c.post(text, "?dry_run=1")
    assert status == 200 and shown["dry_run"] and not shown["applied"]
    assert (shown["revision"], shown["file_revision"], shown["offered_revision"]) == (old, old, revision_of(text))
    assert [(x["subject"], x["name"], x["how"], x["keys"], x["effects"]) for x in shown["changes"]] == [
        ("role", "ask", "changed", ["slots"], ["hosts"]), ("role", "code", "added", [], ["plan"])]
    assert c.state()["revision"] == old and c.map.read_text() != text
    status, answer = c.post(text, headers={"If-Match": f'"{old}"'})
    assert status == 200 and answer["applied"] and answer["revision"] == revision_of(text)
    assert c.map.read_text() == text and stat.S_IMODE(c.map.stat().st_mode) == 0o640
    assert [p.name for p in c.folder.iterdir() if p.name.startswith(".role-map")] == []
    assert c.state()["last_reload"]["by"] == "apply" and c.role("ask")["slots"] == 2 and c.role("code")


def test_two_operators_do_not_overwrite_each_other(bare):
    c = bare()
    old = c.state()["revision"]
    one, two = (c.with_roles(ask=ROLES["ask"].replace("slots: 1", f"slots: {n}")) for n in (2, 3))
    assert c.post(one, headers={"If-Match": old})[0] == 200
    status, answer = c.post(two, headers={"If-Match": old})
    assert status == 412 and answer["code"] == "revision_changed" and answer["file_revision"] == revision_of(one)
    assert c.map.read_text() == one and c.state()["revision"] == revision_of(one)
    in_place(c.map, two)  # somebody with an editor, who has not reloaded yet
    status, answer = c.post(one.replace("1Ki", "2Ki"), headers={"If-Match": revision_of(one)})
    assert status == 412 and c.map.read_text() == two
    assert c.post(one, "", {"If-Match": "*"})[0] == 200 and c.map.read_text() == one


def test_a_map_behind_a_link_stays_behind_it(tmp_path):
    c = Cluster(tmp_path, ["speed"], {"ask": tmp_path / "ask.gguf"}, ROLES)
    real = tmp_path / "elsewhere" / "real.yaml"
    real.parent.mkdir()
    os.replace(c.map, real)
    c.map.symlink_to(real)
    c.start_gateway()
    try:
        wait_for("started", lambda: c.get("/api/v1/map"))
        text = c.map_text().replace("slots: 1", "slots: 2")
        status, _, body = call(c.port, "POST", "/api/v1/map", text, {**YAML, "If-Match": "*"})
        assert status == 200, body
        assert c.map.is_symlink() and real.read_text() == text and not real.is_symlink()
    finally:
        c.stop()


def test_what_is_wrong_with_an_offer_is_said_as_check_says_it(bare, tmp_path):
    c = bare()
    bad = c.map_text().replace("context: 1Ki", "contxt: 1Ki").replace('127.0.0.1:', '127.0.0.1;', 1)
    file = tmp_path / "mine.yaml"
    file.write_text(bad)
    checked = subprocess.run([program("rolemesh"), "check", file], capture_output=True, text=True, timeout=20 * SLOW)
    status, answer = c.post(bad, "?dry_run=1", {"X-Rolemesh-File": str(file)})
    assert status == 422 and answer["code"] == "invalid_map"
    assert answer["text"] == checked.stderr and len(answer["mistakes"]) == checked.stderr.count(": error: ")
    applied = c.apply("--yes", file)
    assert applied.returncode == 2 and applied.stderr == checked.stderr
    assert c.map.read_text() == c.map_text() and c.state()["failures"] == 0


FAR = "actions are taken from this machine only"


@pytest.mark.parametrize("headers,query,status,words", [
    ({"Origin": "http://localhost:3000"}, "", 403, "web pages"),
    ({"Origin": "null"}, "", 403, "web pages"),
    ({"Sec-Fetch-Site": "same-origin"}, "", 403, "web pages"),
    ({"X-Forwarded-For": "100.64.0.9"}, "", 403, "proxy"),
    ({"Forwarded": "for=100.64.0.9"}, "", 403, "proxy"),
    ({"Host": "evil.example"}, "", 403, "Host"),
    ({"Host": "localhost.evil.example:8080"}, "", 403, "Host"),
    ({"Host": "127.0.0.1.evil.example"}, "", 403, "Host"),
    ({"Host": "10.0.0.7:8080"}, "", 403, "Host"),
    ({"Content-Type": "text/plain"}, "", 415, "application/yaml"),
    ({"Content-Type": "application/x-www-form-urlencoded"}, "", 415, "application/yaml"),
    ({"Content-Encoding": "gzip"}, "", 415, "Content-Encoding"),
    ({}, "", 428, "If-Match"),
    ({"If-Match": "123"}, "", 400, "If-Match"),
    ({"If-Match": '"' + "x" * 32 + '"'}, "", 400, "If-Match"),
    ({"If-Match": "*"}, "?dry_run=yes", 400, "dry_run"),
])
def test_who_may_not_act_is_told_why(bare, headers, query, status, words):
    c = bare()
    text = c.with_roles(ask=ROLES["ask"].replace("slots: 1", "slots: 2"))
    got, answer = c.post(text, query, {**({} if "If-Match" in headers or status == 428 else {"If-Match": "*"}), **headers})
    assert got == status and words in answer["detail"], answer
    assert c.map.read_text() == c.map_text() and c.state()["reloads"] == 0


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:8080"])
def test_who_is_near_may_act(bare, host):
    c = bare()
    assert c.post(c.map_text(), "?dry_run=1", {"Host": host, "Content-Type": "Application/YAML; charset=utf-8"})[0] == 200


def own_address():
    """An address of this machine that is not its loopback; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            name = s.getsockname()[0]
        except OSError:
            return None
    return None if name.startswith(("127.", "0.")) else name


def test_a_peer_from_elsewhere_may_look_but_not_act(tmp_path):
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but its loopback")
    c = Cluster(tmp_path, ["speed"], {"ask": tmp_path / "ask.gguf"}, ROLES)
    c.write_map(c.map_text().replace(f'"127.0.0.1:{c.port}"]', f'"{address}:{c.port}"], listen_without_keys: true'))
    c.start_gateway()
    try:
        def ask_it(method, body=None, headers=None):
            connection = http.client.HTTPConnection(address, c.port, timeout=20 * SLOW)
            with contextlib.closing(connection):
                connection.request(method, "/api/v1/map", body, headers or {})
                response = connection.getresponse()
                return response.status, json.loads(response.read())

        def there():
            with contextlib.suppress(OSError):
                return ask_it("GET")

        assert wait_for("the gateway listens", there)[0] == 200
        status, answer = ask_it("POST", c.map.read_text(), {**YAML, "Host": "localhost", "If-Match": "*"})
        assert status == 403 and FAR in answer["detail"]
    finally:
        c.stop()


def test_a_body_that_is_too_long_is_refused(bare):
    c = bare()
    status, answer = c.post("#" * ((1 << 20) + 1), "?dry_run=1")
    assert status == 413 and answer["code"] == "request_too_large"
    with socket.create_connection(("127.0.0.1", c.port), 20 * SLOW) as s:  # without a length
        s.sendall(b"POST /api/v1/map?dry_run=1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(24):
                s.sendall(b"10000\r\n" + b"#" * 65536 + b"\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 413 ")
    assert c.state()["failures"] == 0
    assert call(c.port, "DELETE", "/api/v1/map")[0] == 405


def test_a_map_that_cannot_be_written_is_not_run(bare):
    c = bare()
    text = c.with_roles(ask=ROLES["ask"].replace("slots: 1", "slots: 2"))
    old = c.state()["revision"]
    os.rename(c.map, c.map.with_name("away"))
    status, answer = c.post(text, headers={"If-Match": "*"})
    assert status == 500 and str(c.map) in answer["detail"] and "no such file" in answer["detail"]
    assert c.state()["revision"] == old and c.role("ask")["slots"] == 1 and not c.map.exists()


# ---- rolemesh apply ----


def test_apply_shows_the_difference_and_takes_it_over(bare, tmp_path):
    c = bare()
    mine = tmp_path / "mine.yaml"
    mine.write_text(c.map_text())
    done = c.apply("--yes", mine)
    assert done.returncode == 0 and "no change" in done.stdout and c.state()["reloads"] == 0
    mine.write_text(c.with_roles(ask=ROLES["ask"].replace("slots: 1", "slots: 2"), code=ROLES["ask"].replace("ask]", "code]")))
    done = c.apply("--dry-run", mine)
    assert done.returncode == 0 and "~ role ask: slots\n" in done.stdout and "+ role code\n" in done.stdout
    assert c.state()["reloads"] == 0 and c.map.read_text() != mine.read_text()
    done = c.apply(mine)  # nobody to ask
    assert done.returncode == 2 and "--yes" in done.stderr and c.state()["reloads"] == 0
    done = c.apply("--yes", mine)
    assert done.returncode == 0 and f"applied: revision {revision_of(mine.read_text())}" in done.stdout
    assert c.map.read_text() == mine.read_text() and c.role("code")
    done = c.apply("--json", "--yes", "-", stdin=open(mine, "rb"))
    assert done.returncode == 0 and json.loads(done.stdout)["changes"] == []


@pytest.mark.parametrize("word,code", [("y", 0), ("n", 1), ("", 1)])
def test_apply_asks_on_a_terminal(bare, tmp_path, word, code):
    c = bare()
    mine = tmp_path / "mine.yaml"
    mine.write_text(c.with_roles(ask=ROLES["ask"].replace("slots: 1", "slots: 2")))
    ours, theirs = pty.openpty()
    argv = [program("rolemesh"), "apply", "--gateway", f"http://127.0.0.1:{c.port}", mine]
    p = subprocess.Popen([str(a) for a in argv], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    seen = b""
    while b"[y/N]" not in seen:
        seen += os.read(ours, 4096)
    os.write(ours, word.encode() + b"\n")
    assert p.wait(20 * SLOW) == code
    p.stderr.close()
    os.close(ours)
    assert (c.map.read_text() == mine.read_text()) == (code == 0)


def test_apply_does_not_undo_an_edit_that_nobody_saw(bare, tmp_path):
    c = bare()
    theirs = c.with_roles(ask=ROLES["ask"].replace("slots: 1", "slots: 3"))
    in_place(c.map, theirs)
    mine = tmp_path / "mine.yaml"
    mine.write_text(c.with_roles(ask=ROLES["ask"].replace("slots: 1", "slots: 2")))
    done = c.apply("--yes", mine)
    assert done.returncode == 1 and "would be lost" in done.stderr and c.map.read_text() == theirs


def test_what_ops_see_is_what_the_schema_says(bare):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed (deploy/setup --with-tests)")
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (deploy/setup --with-tests)")
    spec = yaml.safe_load((TOP / "proto" / "openapi.yaml").read_text())

    def check(name, data):
        jsonschema.validate(data, {"$ref": f"#/components/schemas/{name}", "components": spec["components"]})

    c = bare()
    check("MapState", c.state())
    text = c.with_roles(ask=ROLES["ask"].replace("slots: 1", "slots: 2"))
    check("MapAnswer", c.post(text, "?dry_run=1")[1])
    check("MapRefusal", c.post("nonsense", "?dry_run=1")[1])
    check("MapRefusal", c.post(text, "", {"If-Match": "0" * 32})[1])
    check("Problem", c.post(text)[1])
    check("MapAnswer", c.post(text, "", {"If-Match": "*"})[1])
    in_place(c.map, "nonsense")
    c.gateway.signal(signal.SIGHUP)
    wait_for("refused", lambda: c.state()["failures"] == 1)
    check("MapState", c.state())
