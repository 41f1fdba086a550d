# SPDX-License-Identifier: MIT
"""The real gateway before scripted workers: faults that must come at an exact place, seen raw and through the official openai SDK."""
import gzip
import json
import random
import re
import socket
import time

import pytest

from fake_worker import HEAD_SSE, FakeWorker, part
from rig import Process, program, wait_for

MESSAGES = [{"role": "user", "content": "hi"}]
ROLE_MAP = """
version: 1
gateway: {{ listen: ["127.0.0.1:0"], log_level: info, keepalive: 300ms, queue_deadline: 5s, cors_origins: ["http://page.example"] }}
nodes:
  n1: {{ address: "{0}" }}
  n2: {{ address: "{1}" }}
models:
  m: {{ source: "attach:fake" }}
roles:
  ask: {{ modes: [ask, debug], model: m, context: 4Ki, slots: 8, replicas: 2, engine: {{ kind: attach, url: "http://127.0.0.1:9" }} }}
"""

class Gateway:
    def __init__(self, tmp_path):
        self.workers = [FakeWorker("n1"), FakeWorker("n2")]
        role_map, addr = tmp_path / "map.yaml", tmp_path / "addr"
        role_map.write_text(ROLE_MAP.format(*(w.address for w in self.workers)))
        argv = [program("rolemesh-gateway"), "--role-map", role_map, "--addr-file", addr]
        self.process = Process(argv, tmp_path / "gateway.log")
        wait_for("the gateway's address", lambda: addr.exists() and addr.read_text().endswith("\n"))
        self.port = int(addr.read_text().split()[0].rsplit(":", 1)[1])
        self.base = f"http://127.0.0.1:{self.port}"
        wait_for("two ready hosts", lambda: b'"hosts_ready":2' in self.get("/api/v1/roles"))

    def script(self, *scripts):
        """What the first, second, ... request gets, whichever worker it goes to; the last script stays."""
        left = list(scripts)

        def run(c):
            (left.pop(0) if len(left) > 1 else left[0])(c)

        for w in self.workers:
            w.script = run
            w.requests.clear()

    @property
    def requests(self):
        return [r for w in self.workers for r in w.requests]

    def send(self, text):
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        sock.sendall(text if isinstance(text, bytes) else text.encode())
        return sock

    def talk(self, text):
        with self.send(text) as sock:
            data = b""
            while piece := sock.recv(65536):
                data += piece
        return data

    def get(self, path):
        return self.talk(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    def post_text(self, body, path="/ask/v1/chat/completions", fields=""):
        data = body if isinstance(body, str) else json.dumps(body)
        return f"POST {path} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nContent-Type: application/json\r\n{fields}Content-Length: {len(data)}\r\n\r\n{data}"

    def post(self, body, **more):
        return self.talk(self.post_text(body, **more))

    def metric(self, name):
        found = re.search(rf"^{re.escape(name)} (\S+)$".encode(), self.get("/metrics"), re.M)
        return float(found[1]) if found else None

    def close(self):
        assert self.process.stop() == 0
        for w in self.workers:
            w.close()
        assert "hi" not in re.findall(r'"content"[^,]*', self.process.log()), "a prompt in the log"


@pytest.fixture(scope="module")
def gw(tmp_path_factory):
    g = Gateway(tmp_path_factory.mktemp("front"))
    yield g
    g.close()


@pytest.fixture
def client(gw):
    openai = pytest.importorskip("openai", reason="the openai SDK is not installed")
    return openai.OpenAI(base_url=f"{gw.base}/ask/v1", api_key="any", max_retries=0)


def decoded(answer):
    """(body, whole): a chunked body, and whether it had its last chunk."""
    rest, out = answer.split(b"\r\n\r\n", 1)[1], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if size == b"0":
            return out, rest == b"\r\n"
        out, rest = out + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return out, False


# ---- the SDK on good answers ----


@pytest.mark.parametrize("base", ["/ask", "/ask/", "/ask/v1", "/ask/v1/", "/v1", "/ask/v1/v1", "//ask//v1", "/debug"])
@pytest.mark.parametrize("stream", [False, True])
def test_every_base_url(gw, client, base, stream):
    gw.script(lambda c: c.good("hello", " world"))
    there = client.with_options(base_url=gw.base + base)
    asked = "ask" if base == "/v1" else "claude-haiku"
    if stream:
        chunks = list(there.chat.completions.create(model=asked, messages=MESSAGES, stream=True))
        text = "".join(c.choices[0].delta.content or "" for c in chunks)
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert {c.model for c in chunks} == {asked}
        assert all(c.usage is None for c in chunks)
    else:
        answer = there.chat.completions.create(model=asked, messages=MESSAGES)
        text = answer.choices[0].message.content
        assert answer.model == asked and answer.usage.total_tokens == 9
    assert text == "hello world"
    (request,) = gw.requests
    assert request.path == "/node/v1/run/ask/v1/chat/completions"
    assert request.body["model"] == "fake"


def test_usage_only_when_asked(gw, client):
    gw.script(lambda c: c.good("a"))
    chunks = list(client.chat.completions.create(model="ask", messages=MESSAGES, stream=True, stream_options={"include_usage": True}))
    assert [c.usage is not None for c in chunks].count(True) == 1
    assert chunks[-1].choices == [] and chunks[-1].usage.prompt_tokens == 7


def test_stream_helper_and_last_frame(gw, client):
    gw.script(lambda c: c.good("a", "b"))
    with client.chat.completions.stream(model="ask", messages=MESSAGES) as s:
        assert s.get_final_completion().choices[0].message.content == "ab"
    body, whole = decoded(gw.post({"messages": MESSAGES, "stream": True}))
    assert whole and body.endswith(b"data: [DONE]\n\n") and body.count(b"[DONE]") == 1


def test_models(gw, client):
    assert [m.id for m in client.models.list()] == ["ask", "debug", "m"]
    assert client.models.retrieve("debug").id == "debug"
    assert [m.id for m in client.with_options(base_url=f"{gw.base}/v1").models.list()] == ["ask", "debug"]


# ---- errors before an answer ----


def answer_error(status, error, *fields):
    return lambda c: c.json(status, {"error": error}, *fields)


def test_error_classes(gw, client):
    openai = pytest.importorskip("openai")
    bare = client.with_options(base_url=f"{gw.base}/v1")
    with pytest.raises(openai.NotFoundError) as e:
        bare.chat.completions.create(model="nope", messages=MESSAGES)
    assert e.value.code == "model_not_found" and e.value.request_id.startswith("req_") and "debug" in str(e.value)
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model="ask", messages=[])
    assert e.value.param == "messages"
    with pytest.raises(openai.NotFoundError):
        client.with_options(base_url=f"{gw.base}/api/v1").chat.completions.create(model="ask", messages=MESSAGES)
    with pytest.raises(openai.InternalServerError) as e:
        client.responses.create(model="ask", input="x")
    assert e.value.status_code == 501 and e.value.code == "not_supported"
    gw.script(answer_error(400, {"code": 400, "type": "exceed_context_size_error", "message": "x", "n_prompt_tokens": 5000, "n_ctx": 4096}))
    with pytest.raises(openai.BadRequestError) as e:
        client.chat.completions.create(model="ask", messages=MESSAGES, stream=True)
    assert e.value.code == "context_length_exceeded" and "4096" in str(e.value) and "5000" in str(e.value)
    assert len(gw.requests) == 1


@pytest.mark.parametrize("status, attempts", [(400, 1), (413, 1), (422, 1), (501, 1), (429, 3), (503, 3), (500, 3)])
def test_sdk_retries_where_it_helps(gw, client, status, attempts):
    """max_retries 2: the SDK comes three times, or once where we said that it is in vain; the gateway tries two hosts each time."""
    openai = pytest.importorskip("openai")
    gw.script(answer_error(status, {"message": "no", "type": "t"}, "Retry-After: 1"))
    with pytest.raises(openai.APIStatusError) as e:
        client.with_options(max_retries=2).chat.completions.create(model="ask", messages=MESSAGES)
    assert e.value.status_code == (502 if status == 500 else status)
    assert len(gw.requests) == (attempts if attempts == 1 else attempts * 2)


# ---- workers that fail ----


def cut_after(n, reset=True):
    def script(c):
        c.send(HEAD_SSE)
        for i in range(n):
            c.event(part(f"t{i} "))
        if reset:
            time.sleep(0.05)
            c.reset()
        raise ConnectionError

    return script


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("n", [1, 5])
def test_lost_mid_stream_is_an_error(gw, client, n, reset):
    openai = pytest.importorskip("openai")
    gw.script(cut_after(n, reset))
    seen = ""
    with pytest.raises(openai.APIError) as e:
        for chunk in client.chat.completions.create(model="ask", messages=MESSAGES, stream=True):
            seen += chunk.choices[0].delta.content
    assert seen == "".join(f"t{i} " for i in range(n)) and e.value.code == "upstream_lost"
    assert len(gw.requests) == 1
    gw.script(lambda c: c.good("next"))
    assert client.chat.completions.create(model="ask", messages=MESSAGES).choices[0].message.content == "next"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "first", [cut_after(0), cut_after(0, reset=False), answer_error(502, {"message": "engine died"}), answer_error(503, {"message": "loading"})],
    ids=["reset after the head", "cut after the head", "502", "503"],
)
def test_lost_before_a_part_goes_elsewhere(gw, client, first, stream):
    gw.script(first, lambda c: c.good("from the second"))
    before = gw.metric("rolemesh_redispatches_total")
    if stream:
        text = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(model="ask", messages=MESSAGES, stream=True))
    else:
        text = client.chat.completions.create(model="ask", messages=MESSAGES).choices[0].message.content
    assert text == "from the second"
    assert sorted(len(w.requests) for w in gw.workers) == [1, 1]
    assert gw.metric("rolemesh_redispatches_total") == before + 1


def test_reset_without_a_byte(gw, client):
    """Over a kept connection it may just have been too old: then the same worker is asked once more over a new one."""
    gw.script(lambda c: c.reset(), lambda c: c.good("again"))
    assert client.chat.completions.create(model="ask", messages=MESSAGES).choices[0].message.content == "again"
    assert len(gw.requests) == 2


def test_error_event_of_the_worker(gw, client):
    openai = pytest.importorskip("openai")

    def script(c):
        c.send(HEAD_SSE)
        c.event(part("a"))
        c.event({"error": {"message": "boom", "code": "kaput"}})
        c.event(part("late"))
        c.event(b"[DONE]")
        c.send(b"0\r\n\r\n")

    gw.script(script)
    with pytest.raises(openai.APIError) as e:
        list(client.chat.completions.create(model="ask", messages=MESSAGES, stream=True))
    assert e.value.code == "kaput"
    body, whole = decoded(gw.post({"messages": MESSAGES, "stream": True}))
    assert not whole and b"late" not in body and b"[DONE]" not in body


# ---- waiting ----


@pytest.mark.slow
def test_silence_is_filled(gw, client):
    """11 s of prefill: a first sign of life within 10 s, then one at least every keepalive; the SDK ends well."""

    def script(c):
        time.sleep(11)
        c.good("late")

    gw.script(script)
    with gw.send(gw.post_text({"messages": MESSAGES, "stream": True})) as sock:
        start, data, gaps = time.monotonic(), b"", []
        while piece := sock.recv(65536):
            gaps.append(time.monotonic() - start - sum(gaps))
            data += piece
    body, whole = decoded(data)
    assert whole and body.startswith(b": keepalive\n\n") and b"late" in body
    assert 9 < gaps[0] < 11 and max(gaps[1:]) < 1.5
    assert b": ping" not in body


# ---- the client leaves ----


@pytest.mark.parametrize("stream", [True, False])
def test_a_gone_client_frees_the_worker(gw, stream):
    gone = []
    gw.script(lambda c: gone.append(c.wait_gone(10)))
    with gw.send(gw.post_text({"messages": MESSAGES, "stream": stream})):
        wait_for("the request at a worker", lambda: gw.requests)
        time.sleep(0.2)
        left = time.monotonic()
    wait_for("the worker to see it", lambda: gone, 5)
    assert gone[0] is not None and time.monotonic() - left < 0.5


def test_a_client_that_leaves_mid_stream(gw):
    gone = []

    def script(c):
        c.send(HEAD_SSE)
        c.event(part("a"))
        gone.append(c.wait_gone(10))

    gw.script(script)
    with gw.send(gw.post_text({"messages": MESSAGES, "stream": True})) as sock:
        data = b""
        while b'"a"' not in data:
            data += sock.recv(4096)
        assert gw.metric("rolemesh_requests_active") == 1 and gw.metric("rolemesh_request_body_bytes") == 0
        left = time.monotonic()
    wait_for("the worker to see it", lambda: gone, 5)
    assert gone[0] is not None and time.monotonic() - left < 0.5
    wait_for("no request left", lambda: gw.metric("rolemesh_requests_active") == 0)


# ---- bodies ----


def test_large_prompt_arrives_whole(gw):
    gw.script(lambda c: c.good("ok"))
    text = "x\\n\"é\U0001f600" * 400_000
    body = json.dumps({"id_slot": 3, "messages": [{"role": "user", "content": text}], "num_ctx": 4096}, ensure_ascii=False)
    data = body.encode()
    head = f"POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    assert b" 200 " in gw.talk(head + data).split(b"\r\n")[0]
    (request,) = gw.requests
    assert request.body["messages"][0]["content"] == text
    assert set(request.body) == {"messages", "model"}


def test_chunked_body_and_expect(gw):
    gw.script(lambda c: c.good("ok"))
    body = json.dumps({"messages": MESSAGES}).encode()
    head = b"POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    with gw.send(head) as sock:
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        for i in range(len(body)):
            sock.sendall(b"1\r\n" + body[i : i + 1] + b"\r\n")
        sock.sendall(b"0\r\n\r\n")
        data = b""
        while piece := sock.recv(65536):
            data += piece
    assert data.startswith(b"HTTP/1.1 200 ")
    assert gw.requests[0].body["messages"] == MESSAGES


def gzipped(gw, data):
    head = f"POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: {len(data)}\r\n\r\n"
    answer = gw.talk(head.encode() + data)
    if b"may be identity" in answer:
        pytest.skip("built without zlib")
    return int(answer.split(b" ", 2)[1]), answer


def test_gzip_body(gw):
    gw.script(lambda c: c.good("ok"))
    text = random.Random(1).randbytes(200_000).hex()
    data = gzip.compress(json.dumps({"messages": [{"role": "user", "content": text}]}).encode())
    assert gzipped(gw, data)[0] == 200
    assert gw.requests[0].body["messages"][0]["content"] == text
    assert "Content-Encoding" not in str(gw.requests[0].raw[:20])
    gw.script(lambda c: c.good("ok"))
    for damaged in (data[:-9], data + b"x", b"{}", data[:50] + b"\0" * 50 + data[100:]):
        assert gzipped(gw, damaged)[0] == 400
    status, answer = gzipped(gw, gzip.compress(b" " * 30_000_000))
    assert status == 413 and b"request_too_large" in answer
    assert gw.requests == []


@pytest.mark.parametrize(
    "bad, status",
    [("{}x", 400), ("[" * 100_000, 400), ('{"messages":[],"messages":[]}', 400), ('{"messages":[{"a":"\\ud800"}]}', 400), ("", 400)],
    ids=["rest", "deep", "twice", "surrogate", "empty"],
)
def test_bad_json_is_refused_at_once(gw, bad, status):
    gw.script(lambda c: c.good("ok"))
    start = time.monotonic()
    answer = gw.post(bad)
    took = time.monotonic() - start
    assert int(answer.split(b" ", 2)[1]) == status and b"at byte" in answer and took < 1
    assert gw.requests == []
