# SPDX-License-Identifier: MIT
"""What the gateway refuses by size, time and kind, and what it forgives: bodies, slow heads, pipelines, CORS, paths, HEAD,
Expect, and the wait for a role that nobody can serve yet. Real gateway, worker and core."""
import concurrent.futures
import json
import pathlib
import re
import shutil
import subprocess
import threading
import time

import pytest

from case_rig import Raw, answers_in, expand
from cluster_rig import Cluster, call
from rig import SLOW, free_port, have_programs, wait_for
from test_responses import GOOD_TEXT, Engine, Peer

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

WORDS = "Short words from a tiny model."
CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 64}
PAGE = "http://page.example"
JSON_TYPE = "Content-Type: application/json\r\n"
EVENTS = ('HTTP/1.1 200 OK¶Content-Type: text/event-stream¶Transfer-Encoding: chunked¶¶{{data: {"choices":[{"index":0,"delta":{"content":"'
          + GOOD_TEXT + '"},"finish_reason":null}]}\\n\\ndata: [DONE]\\n\\n}}')


class Rig:
    """Role ask answers; late, brief and middle name an engine that is not there. They differ in how long a request may wait."""

    def __init__(self, folder):
        self.peer, self.late_port = Peer(), free_port()
        away = f'model: fake, context: 4Ki, slots: 4, engine: {{ kind: attach, url: "http://127.0.0.1:{self.late_port}" }}'
        roles = {
            "ask": "modes: [ask, debug], model: ask, context: 2Ki, slots: 2",
            "late": f"modes: [late], {away}, queue_deadline: 60s",
            "brief": f"modes: [brief], {away}, queue_deadline: 1s",
            "middle": f"modes: [middle], {away}, queue_deadline: 12s",
        }
        self.cluster = Cluster(folder, ["n1"], {"ask": {"script": WORDS}}, roles, f'keepalive: 1s, cors_origins: ["{PAGE}"]')
        self.cluster.paths["fake"] = "attach:fake"
        self.cluster.write_map()
        self.cluster.start(wait=False)
        self.cluster.wait_ready("ask")
        self.port = self.cluster.port

    def leases(self):
        text = call(self.port, "GET", "/metrics")[2].decode()
        return sum(int(n) for n in re.findall(r"^rolemesh_route_leases_total\{[^}]*\} (\d+)$", text, re.M))

    def talk(self, data, seconds=20, head_only=False):
        with Raw(self.port) as raw:
            raw.send(data)
            raw.read_to_end(seconds)
            assert not raw.reset
            return answers_in(raw.data, head_only)

    def request(self, method, path, body=b"", fields="", head_only=False):
        head = f"{method} {path} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n{fields}"
        if method == "POST":
            head += f"Content-Length: {len(body)}\r\n"
        return self.talk(f"{head}\r\n".encode() + body, head_only=head_only)[-1]

    def chat(self, path="/ask/v1/chat/completions", fields=JSON_TYPE, **more):
        return self.request("POST", path, json.dumps({**CHAT, **more}).encode(), fields)


@pytest.fixture(name="rig", scope="module")
def rig_fixture(tmp_path_factory):
    r = Rig(tmp_path_factory.mktemp("limits"))
    yield r
    r.cluster.stop()


def error_of(answer):
    return json.loads(answer.body)["error"]


def text_in(answer):
    return json.loads(answer.body)["choices"][0]["message"]["content"]


# ---- size and kind ----


def test_65_mib_by_its_length(rig):
    before, start = rig.leases(), time.monotonic()
    (answer,) = rig.talk(f"POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\n{JSON_TYPE}Content-Length: {65 << 20}\r\n\r\n{{".encode())
    took = time.monotonic() - start
    print(f"413 for 65 MiB by length after {took * 1000:.1f} ms, connection ended")
    assert answer.status == 413 and answer.closes and error_of(answer)["message"] and took < 2 * SLOW
    assert rig.leases() == before and text_in(rig.chat()) == WORDS


def test_65_mib_in_chunks(rig):
    """Nothing says how much will come: refused where the limit is passed."""
    before, sent, piece = rig.leases(), 0, b"x" * (1 << 20)
    with Raw(rig.port) as raw:
        raw.send(f'POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\n{JSON_TYPE}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n'.encode())
        raw.send(b'5\r\n"x":"\r\n')
        while sent < 80 << 20 and raw.send(b"%x\r\n%s\r\n" % (len(piece), piece)):
            sent += len(piece)
        raw.read_to_end(5)
        (answer,) = raw.final_answers()
    assert answer.status == 413 and answer.closes and sent >= 60 << 20, answer.body
    assert rig.leases() == before and text_in(rig.chat()) == WORDS
    status = pathlib.Path(f"/proc/{rig.cluster.gateway.pid}/status").read_text()
    most_mib = int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024
    print(f"gateway's memory at most {most_mib:.0f} MiB")
    assert SLOW > 1 or most_mib < 2 * 64 + 32  # sanitizers have their own
    wait_for("its memory is given back", lambda: b"\nrolemesh_request_body_bytes 0\n" in call(rig.port, "GET", "/metrics")[2], 5)


def test_completions_take_4_mib(rig):
    answer = rig.talk(f"POST /ask/v1/completions HTTP/1.1\r\nHost: gw\r\n{JSON_TYPE}Content-Length: {5 << 20}\r\n\r\n".encode())[-1]
    assert answer.status == 413


@pytest.mark.parametrize("kind", ["text/plain", "text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp"])
def test_wrong_content_type(rig, kind):
    before = rig.leases()
    answer = rig.chat(fields=f"Content-Type: {kind}\r\n")
    assert answer.status == 415 and error_of(answer)["code"] == "unsupported_media_type" and rig.leases() == before


@pytest.mark.parametrize("fields", [JSON_TYPE, "Content-Type: application/json; charset=utf-8\r\n", "Content-Type: APPLICATION/JSON\r\n", "",
                                    "Content-Type: application/vnd.x+json\r\n", "Authorization: Bearer undefined\r\n", "Authorization: \r\n"])
def test_right_content_type(rig, fields):
    assert text_in(rig.chat(fields=fields)) == WORDS


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip"])
def test_coded_body(rig, coding):
    before = rig.leases()
    assert rig.chat(fields=f"{JSON_TYPE}Content-Encoding: {coding}\r\n").status == 415 and rig.leases() == before


# ---- time ----


@pytest.mark.slow
def test_slow_heads_are_ended(rig):
    """A byte every half second, or none after the first: gone within 11 s, while others are served."""

    def drip(first, pause):
        with Raw(rig.port) as raw:
            start = time.monotonic()
            raw.send(first)
            while not raw.eof and time.monotonic() - start < 30:
                raw.read_for(0.5)
                if pause and not raw.eof:
                    raw.send(b"x")
            return time.monotonic() - start, raw.data

    heads = [(b"GET /v1/models HTTP/1.1\r\nHost: gw\r\nX-A: ", True), (b"POST /ask/v1/chat/completions HTTP/1.1\r\n", False), (b"G", True)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        dripping = [pool.submit(drip, *heads[i % 3]) for i in range(6)]
        for _ in range(5):
            assert text_in(rig.chat()) == WORDS
        for future in dripping:
            took, data = future.result()
            assert 5 < took < 11 * SLOW, f"ended after {took:.1f} s"
            assert all(a.status in (400, 408) for a in answers_in(data))


# ---- one connection ----


def test_pipelined_requests_are_answered_in_order(rig):
    body = json.dumps(CHAT).encode()
    chat = f"POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\n{JSON_TYPE}Content-Length: {len(body)}\r\n\r\n".encode() + body
    streamed = json.dumps({**CHAT, "stream": True}).encode()
    stream = f"POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\n{JSON_TYPE}Content-Length: {len(streamed)}\r\n\r\n".encode() + streamed
    models, nothing = (f"GET {p} HTTP/1.1\r\nHost: gw\r\n\r\n".encode() for p in ("/v1/models", "/nothing/at/all"))
    with Raw(rig.port) as raw:
        raw.send(chat + models + stream + nothing + chat + models)
        answers = raw.read_answers(6)
    assert [a.status for a in answers] == [200, 200, 200, 404, 200, 200]
    assert text_in(answers[0]) == text_in(answers[4]) == WORDS
    assert [b'"object":"list"' in a.body for a in answers] == [False, True, False, False, False, True]
    assert answers[2].field("content-type").startswith("text/event-stream") and answers[2].body.endswith(b"data: [DONE]\n\n")


def test_head_is_get_without_the_body(rig):
    for path in ("/", "/ask", "/api/hello", "/v1/models", "/v1/models/ask", "/healthz", "/metrics", "/ask/v1/models", "/nothing/here"):
        head, get = rig.request("HEAD", path, head_only=True), rig.request("GET", path)
        assert head.status == get.status and head.body == b"", path
        assert head.field("content-type") == get.field("content-type"), path
        if path != "/metrics":
            assert head.field("content-length") == str(len(get.body)), path


def test_curl_expects_100(rig, tmp_path):
    """1.5 MB from curl, which waits for 100 up to ten seconds here: it does not have to."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl here")
    (tmp_path / "body").write_text(json.dumps({"unknown": "x" * 1_500_000, **CHAT}))
    done = subprocess.run(
        [curl, "-sv", "--noproxy", "*", "--expect100-timeout", "10", "-H", "Content-Type: application/json", "-H", "Expect: 100-continue", "--data-binary",
         f"@{tmp_path / 'body'}", "-w", "\n%{http_code} %{time_total}", f"http://127.0.0.1:{rig.port}/ask/v1/chat/completions"],
        capture_output=True, timeout=60 * SLOW, check=True)
    body, _, last = done.stdout.decode().rpartition("\n")
    status, seconds = last.split()
    assert status == "200" and json.loads(body)["choices"][0]["message"]["content"] == WORDS
    assert b"< HTTP/1.1 100 Continue" in done.stderr and float(seconds) < 5 * SLOW


# ---- CORS ----


def test_preflight(rig):
    asked = "authorization, x-api-key, anthropic-version, x-stainless-os, content-type"
    for path in ("/ask/v1/chat/completions", "/v1/chat/completions", "/v1/models", "/nomode/v1/chat/completions"):
        answer = rig.request("OPTIONS", path, fields=f"Origin: {PAGE}\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: {asked}\r\n")
        assert answer.status == 204 and answer.field("access-control-allow-origin") == PAGE, path
        assert answer.field("access-control-allow-headers") == asked and "POST" in answer.field("access-control-allow-methods")
        assert answer.field("access-control-allow-private-network") == "true" and int(answer.field("access-control-max-age")) > 0
        assert answer.field("access-control-allow-credentials") is None
        stranger = rig.request("OPTIONS", path, fields="Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n")
        assert stranger.status == 204 and stranger.field("access-control-allow-origin") is None


def test_every_answer_can_be_read_by_the_page(rig):
    origin = f"Origin: {PAGE}\r\n"
    answers = [rig.chat(fields=JSON_TYPE + origin), rig.chat(fields=JSON_TYPE + origin, stream=True), rig.request("GET", "/v1/models", fields=origin),
               rig.request("GET", "/nothing/here", fields=origin), rig.chat(fields=f"Content-Type: text/plain\r\n{origin}"),
               rig.request("POST", "/ask/v1/chat/completions", b"{", JSON_TYPE + origin), rig.chat("/brief/v1/chat/completions", JSON_TYPE + origin)]
    assert [a.status for a in answers] == [200, 200, 200, 404, 415, 400, 503]
    for a in answers:
        assert a.field("access-control-allow-origin") == PAGE and a.field("vary") == "Origin", a
        assert {"x-request-id", "request-id", "retry-after"} <= set(a.field("access-control-expose-headers").split(", "))
    for path in ("/metrics", "/api/v1/nodes", "/api/v1/roles", "/healthz"):
        assert rig.request("GET", path, fields=origin).field("access-control-allow-origin") is None, path


# ---- paths ----


@pytest.mark.parametrize("base", ["/ask/v1", "/ask", "/ask/v1/v1", "//ask//v1", "/ask/v1/", "/debug/v1", "/k/any-key/ask/v1", "/v1", ""])
def test_forgiven_paths(rig, base):
    path = f"{base}/chat/completions"
    more = {} if "ask" in base or "debug" in base else {"model": "ask"}
    for forgiven in (path, path + "/", path + "?beta=true", path + "//?x=%00/../y"):
        answer = rig.chat(forgiven, **more)
        assert answer.status == 200 and text_in(answer) == WORDS, forgiven
        assert answer.field("location") is None
    assert b'"object":"list"' in rig.request("GET", f"{base}/models/").body


@pytest.mark.parametrize("path", ["/ask/v1/chat%2fcompletions", "/%61sk/v1/chat/completions", "/ask/../ask/v1/chat/completions", "/ask/./v1/chat/completions",
                                  "/ask/v1/v1/v1/chat/completions", "/ASK/v1/chat/completions", "/ask/v2/chat/completions", "/api/v1/chat/completions",
                                  "/ask/api/v1/chat/completions", "/ask/v1/chat/completions/x"])
def test_paths_that_are_not_forgiven(rig, path):
    before, answer = rig.leases(), rig.chat(path)
    assert answer.status == 404 and error_of(answer)["message"], path
    if "/api/v1/" in path:
        assert "without /api" in error_of(answer)["message"]
    assert rig.leases() == before


def test_a_backslash_is_no_path(rig):
    answer = rig.chat("/ask\\v1/chat/completions")
    assert answer.status == 400 and answer.closes


# ---- waiting for a role that nobody can serve yet ----


@pytest.mark.parametrize("stream", [False, True])
def test_deadline_tells_the_reason(rig, stream):
    start = time.monotonic()
    answer = rig.chat("/brief/v1/chat/completions", stream=stream)
    took = time.monotonic() - start
    message = error_of(answer)["message"]
    assert answer.status == 503 and int(answer.field("retry-after")) > 0 and 0.9 < took < 4 * SLOW, took
    assert "brief" in message and "n1" in message, message


@pytest.mark.slow
def test_waiting_streams_are_kept_alive(rig):
    """late: silence for the hold time, then comments that say why, then, once the engine is there, the answer. middle: its deadline comes after the
    comments, so that the error is an event and the stream is cut."""

    def wait(role, at_first_byte):
        body = json.dumps({**CHAT, "stream": True}).encode()
        with Raw(rig.port, timeout=60) as raw:
            raw.send(f"POST /{role}/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n{JSON_TYPE}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            start = time.monotonic()
            raw.read_until(lambda: raw.data, 20)
            held = time.monotonic() - start
            raw.read_until(lambda: raw.data.count(b": " + role.encode()) >= 2, 5)
            at_first_byte()
            raw.read_to_end(30)
            (answer,) = raw.final_answers()
            return held, answer

    engines, both = [], threading.Barrier(2)
    rig.peer.set(expand(EVENTS, {}, chunked=True)[0])

    def start_engine():
        """Once the other one has been told that its time is over."""
        both.wait(20 * SLOW)
        engines.append(Engine(rig.peer, rig.late_port))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        late = pool.submit(wait, "late", start_engine)
        held, answer = wait("middle", lambda: None)
        both.wait(20 * SLOW)
        assert 9 < held < 11.5 * SLOW and answer.status == 200 and not answer.complete
        assert answer.body.startswith(b": middle failed on n1 and is started again: ") and b": ping" not in answer.body and b"[DONE]" not in answer.body
        event = answer.body.rsplit(b"data: ", 1)[1]
        assert "middle" in json.loads(event)["error"]["message"]
        held, answer = late.result()
    for e in engines:
        e.close()
    assert 9 < held < 11.5 * SLOW and answer.status == 200 and answer.complete
    assert answer.body.count(b": late failed on n1 ") >= 2 and GOOD_TEXT.encode() in answer.body and answer.body.endswith(b"data: [DONE]\n\n")
