# SPDX-License-Identifier: MIT
"""Every case of tests/data/responses.txt through the real gateway: once with a worker of ours in between whose attached engine
says the bytes, once said by a scripted worker itself. What an editor gets, that not a byte of an answer nobody asked for reaches
anybody, that the connection is never used again, and that the next request is served."""
import concurrent.futures
import contextlib
import json
import queue
import re
import socket
import struct
import threading
import time

import pytest

import case_rig
from case_rig import Raw, answers_in, expand, load
from cluster_rig import Cluster, call
from fake_worker import FakeWorker
from rig import SLOW, have_programs, wait_for

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: cluster_rig makes no models")

ROWS = load("responses.txt")
LANES = 12
GOOD_TEXT = "the answer that was asked for"
GOOD_BODY = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "fake", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": GOOD_TEXT}, "finish_reason": "stop"}]}).encode()
GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(GOOD_BODY), GOOD_BODY)
MODEL_LIST = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n{"object":"list","data":[]}'


class Peer:
    """What answers chats: plays a variant while one is set, else gives the good answer. For any side that listens."""

    def __init__(self):
        self.variant, self.keep_open, self.chats, self.after = None, False, 0, []

    def set(self, variant, keep_open=False):
        self.variant, self.keep_open, self.chats, self.after = variant, keep_open, 0, []

    def answer(self, sock):
        """False when the connection is over. What comes on it after a played variant is kept in `after`."""
        self.chats += 1
        variant, after = self.variant, self.after
        if variant is None:
            sock.sendall(GOOD)
            return True
        try:
            for step in variant.steps:
                if isinstance(step, bytes):
                    sock.sendall(step)
                else:
                    time.sleep(0.1)  # part of the case: what was said is read before the reset
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.close()
                    after.append(b"")
                    return False
            if not self.keep_open:
                sock.shutdown(socket.SHUT_WR)
            sock.settimeout(5 * SLOW)
            after.append(sock.recv(65536))
        except TimeoutError:
            after.append(b"(never closed)")
        except OSError:  # reset by the other side: nothing came
            after.append(b"")
        return False


class Engine:
    """An engine that already runs: lists its models, and lets its peer answer chats."""

    def __init__(self, peer, port=0):
        self.peer = peer
        self.listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        held, open_ = b"", True
        with sock:
            try:
                while open_:
                    while b"\r\n\r\n" not in held:
                        if not (data := sock.recv(65536)):
                            return
                        held += data
                    head, _, held = held.partition(b"\r\n\r\n")
                    length = int((re.search(rb"(?i)content-length: (\d+)", head) or [0, 0])[1])
                    while len(held) < length:
                        if not (data := sock.recv(65536)):
                            return
                        held += data
                    held = held[length:]
                    if head.startswith(b"GET "):
                        sock.sendall(MODEL_LIST)
                    else:
                        open_ = self.peer.answer(sock)
            except OSError:
                pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Lane:
    """A role with a peer of its own: after a failure its host is held back for half a second, so that many are played side by side."""

    def __init__(self, role):
        self.role, self.peer = role, Peer()


class Way:
    """A gateway and LANES roles; `queue` hands out those that nobody plays on."""

    def __init__(self, folder, nodes, url_of):
        self.lanes = {name: Lane(name) for name in (f"ask{i}" for i in range(LANES))}
        roles = {n: f'modes: [{n}], model: fake, context: 4Ki, slots: 8, replicas: {len(nodes)}, engine: {{ kind: attach, url: "{url_of(lane)}" }}'
                 for n, lane in self.lanes.items()}
        self.cluster = Cluster(folder, nodes, {}, roles, "queue_deadline: 10s")
        self.cluster.paths["fake"] = "attach:fake"
        self.port = self.cluster.port
        self.queue = queue.SimpleQueue()
        for lane in self.lanes.values():
            self.queue.put(lane)

    @contextlib.contextmanager
    def lane(self):
        lane = self.queue.get()
        try:
            yield lane
        finally:
            self.queue.put(lane)

    def close(self):
        self.cluster.stop()
        for process in (self.cluster.gateway, *self.cluster.workers.values()):
            assert "AddressSanitizer" not in process.log() and "runtime error" not in process.log(), process.log()


class ThroughWorker(Way):
    """gateway, rolemesh-worker, attached engines"""

    def __init__(self, folder):
        self.engines = []
        super().__init__(folder, ["n1"], self._url)
        self.cluster.write_map()
        self.cluster.start()

    def _url(self, lane):
        self.engines.append(Engine(lane.peer))
        return f"http://127.0.0.1:{self.engines[-1].port}"

    def close(self):
        super().close()
        for engine in self.engines:
            engine.close()


class Direct(Way):
    """gateway, two scripted workers: a retry goes to the other one"""

    def __init__(self, folder):
        super().__init__(folder, ["n1", "n2"], lambda _: "http://127.0.0.1:9")
        self.workers = [FakeWorker("n1"), FakeWorker("n2")]
        for w in self.workers:
            w.script = self._script
            self.cluster.ports[w.name] = w.port
        self.cluster.write_map()
        self.cluster.start_gateway()
        wait_for("every host", lambda: all((self.cluster.role(n) or {"hosts_ready": 0})["hosts_ready"] == 2 for n in self.lanes))

    def _script(self, connection):
        if not self.lanes[connection.path.split("/")[4]].peer.answer(connection.sock):
            raise ConnectionError

    def close(self):
        super().close()
        for w in self.workers:
            w.close()


@pytest.fixture(name="way", scope="module", params=[ThroughWorker, Direct], ids=["worker", "direct"])
def way_fixture(request, tmp_path_factory):
    w = request.param(tmp_path_factory.mktemp("responses"))
    yield w
    w.close()


# ---- what an editor sees ----


def ask(way, lane, stream):
    """(raw answer, seconds)"""
    body = json.dumps({"stream": stream, "messages": [{"role": "user", "content": "hi"}]}).encode()
    start = time.monotonic()
    with Raw(way.port) as raw:
        raw.send(b"POST /%s/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nContent-Type: application/json\r\n"
                 b"Content-Length: %d\r\n\r\n%s" % (lane.role.encode(), len(body), body))
        raw.read_to_end(15)
        assert not raw.reset
        return raw.data, time.monotonic() - start


def is_502(answer):
    error = json.loads(answer.body)["error"]
    assert answer.status == 502 and answer.field("content-type") == "application/json" and answer.complete
    assert error["type"].startswith("upstream_") and error["code"] and error["message"]


def is_stream_error(answer):
    """One error event, no end mark, no last chunk."""
    assert answer.status == 200 and not answer.complete
    events = [e for e in answer.body.split(b"\n\n") if e.startswith(b"data: ")]
    assert len(events) == 1 and json.loads(events[0][6:])["error"]["message"]
    assert b"[DONE]" not in answer.body


def is_error_passed_on(answer):
    is_stream_error(answer)
    assert b'{"error":{"message":"x"}}' in answer.body


def is_ended(answer):
    """The end mark, once; what the worker said after it is nobody's."""
    assert answer.status == 200 and answer.complete and answer.body == b"data: [DONE]\n\n"


def is_passed(answer):
    assert answer.status == 200 and answer.complete and isinstance(json.loads(answer.body), dict)
    assert int(answer.field("retry-after") or 0) <= 300


def outcome_of(row, variant, stream):
    first = variant.choice[0] if variant.choice else 0
    if stream:
        if row.id == "R23" or (row.id == "R31" and first == 3):
            return is_stream_error
        if row.id == "R25":
            return [is_error_passed_on, is_ended][first]
    elif row.id == "R29" or (row.id == "R19" and first == 0):
        return is_passed
    return is_502


def good_after(way, lane, where):
    lane.peer.set(None)
    data, _ = ask(way, lane, False)
    (answer,) = answers_in(data)
    assert answer.status == 200 and json.loads(answer.body)["choices"][0]["message"]["content"] == GOOD_TEXT, f"{where}: {data!r}"
    assert lane.peer.chats == 1


def tries_of(row, variant):
    """Two hosts at most. Where nothing came on a kept connection it may just have been too old: once more over a new one, each."""
    return 4 if row.id == "R31" and variant.choice == (0,) else 2


def play(way, lane, row, variant, stream):
    where, peer = f"{row.id} {variant.choice} stream={stream}", lane.peer
    peer.set(variant)
    data, took = ask(way, lane, stream)
    try:
        (answer,) = answers_in(data)
        outcome_of(row, variant, stream)(answer)
    except Exception as e:
        raise AssertionError(f"{where}: {data[:1500]!r}") from e
    low = data.lower()
    assert b"evil" not in low and b"<html>" not in low and b"169.254" not in low, f"{where}: {data[:1500]!r}"
    assert answer.field("location") is None
    assert took < 3 * SLOW, f"{where}: took {took:.1f} s"
    assert 1 <= peer.chats <= tries_of(row, variant), f"{where}: sent {peer.chats} times"
    wait_for(f"{where}: the connection's end", lambda: len(peer.after) == peer.chats, 6)
    if outcome_of(row, variant, stream) not in (is_passed, is_ended) or row.id == "R19":  # after a good answer one may be on its way
        assert set(peer.after) == {b""}, f"{where}: used again: {peer.after}"
    good_after(way, lane, where)


def variants_of(row):
    return expand(row.payload, case_rig.RESPONSE_MACROS, chunked=True)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.id)
def test_case(way, row):
    def one(play_of):
        with way.lane() as lane:
            play(way, lane, row, *play_of)

    plays = [(variant, stream) for variant in variants_of(row) for stream in (False, True)]
    assert plays
    with concurrent.futures.ThreadPoolExecutor(LANES) as pool:
        list(pool.map(one, plays))


def test_what_follows_an_answer_is_never_another_ones(way):
    """R19 with a connection that stays open: the answer in excess must not wait there for the next editor."""
    (row,) = [r for r in ROWS if r.id == "R19"]
    for _ in range(5):
        with way.lane() as lane:
            lane.peer.set(variants_of(row)[0], keep_open=True)
            data, _ = ask(way, lane, False)
            after, chats = lane.peer.after, lane.peer.chats
            assert data.endswith(b"\r\n\r\n{}") and b"evil" not in data.lower() and chats == 1
            good_after(way, lane, "R19 kept open")
            wait_for("the connection's end", lambda after=after: after, 6)
            assert after == [b""]


@pytest.mark.parametrize("status", [429, 503])
def test_a_mad_retry_after_is_clamped(way, status):
    text = f"HTTP/1.1 {status} X¶Content-Type: application/json¶Retry-After: 99999999999¶Content-Length: 2¶¶{{}}"
    with way.lane() as lane:
        lane.peer.set(expand(text, {})[0])
        (answer,) = answers_in(ask(way, lane, False)[0])
        assert answer.status == status and 0 < int(answer.field("retry-after")) <= 300
        good_after(way, lane, "Retry-After")


def test_usage_that_cannot_be_true_is_not_counted(way):
    (row,) = [r for r in ROWS if r.id == "R29"]
    for variant in variants_of(row):
        with way.lane() as lane:
            lane.peer.set(variant)
            ask(way, lane, False)
            good_after(way, lane, "R29")
    counts = re.findall(rb"^rolemesh_tokens_total\{[^}]*\} (\S+)$", call(way.port, "GET", "/metrics")[2], re.M)
    assert counts and all(0 <= float(c) < 1000 for c in counts)
