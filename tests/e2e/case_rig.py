# SPDX-License-Identifier: MIT
"""Reads the case files of tests/data (notation: tests/support/cases/cases.h) and plays their payloads over raw sockets; reads
answers as bytes, so that nothing a library would forgive goes unseen."""
import dataclasses
import itertools
import pathlib
import re
import select
import socket
import struct
import time

from rig import SLOW

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
SMALL = 4096  # larger payloads are not played byte by byte
REQUEST_MACROS = {
    "$P": "POST /v1/chat/completions HTTP/1.1¶Host: gw¶Authorization: Bearer K¶",
    "$G": "GET /v1/models HTTP/1.1¶Host: gw¶Authorization: Bearer K¶",
    "$S": "GET /smuggled HTTP/1.1¶Host: gw¶¶",
    "$J": '{"model":"ask","stream":true,"messages":[{"role":"user","content":"hello"}]}',
}
RESPONSE_MACROS = {
    "$R": "HTTP/1.1 200 OK¶Content-Type: application/json¶",
    "$X": "HTTP/1.1 200 EVIL¶Content-Length: 4¶¶evil",
    "$E": "HTTP/1.1 200 OK¶Content-Type: text/event-stream¶Transfer-Encoding: chunked¶¶",
}


# ---- the notation ----


@dataclasses.dataclass
class Row:
    id: str
    what: str
    payload: str
    columns: list  # what comes after the payload


def load(name):
    rows = []
    for line in (DATA / name).read_text().splitlines():
        if line and not line.startswith("#"):
            cells = [cell.strip() for cell in line.split(" | ")]
            rows.append(Row(*cells[:3], cells[3:]))
    return rows


@dataclasses.dataclass
class Variant:
    choice: tuple  # per group of alternatives: which was taken, from 0
    steps: list  # bytes, or ("pause", ms), ("half-close",), ("reset",)

    @property
    def size(self):
        return sum(len(s) for s in self.steps if isinstance(s, bytes))


def _bytes(text):
    """Text without signs but ¶ and escapes."""
    names = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}
    out, at = b"", 0
    for m in re.finditer(r"¶|\\x([0-9a-fA-F]{2})|\\([nrt\\])", text):
        out += text[at : m.start()].encode()
        out += b"\r\n" if m[0] == "¶" else bytes([int(m[1], 16)]) if m[1] else names[m[2]]
        at = m.end()
    return out + text[at:].encode()


def _repeated(text):
    """text as bytes, ⟦n*x⟧ written out; they may nest."""
    out = b""
    while "⟦" in text:
        before, rest = text.split("⟦", 1)
        depth = end = 1
        for end, c in enumerate(rest):
            depth += (c == "⟦") - (c == "⟧")
            if depth == 0:
                break
        count, inner = rest[:end].split("*", 1)
        out += _bytes(before) + int(count) * _repeated(inner)
        text = rest[end + 1 :]
    return out + _bytes(text)


def _with_body(text, chunked):
    if "{{" not in text:
        return _repeated(text)
    before, rest = text.split("{{", 1)
    body, after = rest.rsplit("}}", 1)
    body = _repeated(body)
    if chunked:
        framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        framed = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    return _repeated(before) + framed + _repeated(after)


def expand(payload, macros, chunked=False):
    """Every combination of the payload's alternatives."""
    for _ in range(2):
        for name, text in macros.items():
            payload = payload.replace(name, text)
    parts = re.split("«(.*?)»", payload)  # odd ones are groups
    groups = [p.split("¦") for p in parts[1::2]]
    variants = []
    for choice in itertools.product(*(range(len(g)) for g in groups)):
        text = "".join(p if i % 2 == 0 else groups[i // 2][choice[i // 2]] for i, p in enumerate(parts))
        steps = []
        for piece in re.split(r"(⏸\d+|⏹|✂)", text):
            if piece.startswith("⏸"):
                steps.append(("pause", int(piece[1:])))
            elif piece:
                steps.append({"⏹": ("half-close",), "✂": ("reset",)}.get(piece) or _with_body(piece, chunked))
        variants.append(Variant(choice, steps))
    return variants


# ---- how a payload is cut; each gives the next piece's length ----


def whole(left, _random):
    return left


def one_byte(_left, _random):
    return 1


def at_random(left, random):
    return min(left, random.choice((random.randint(1, 40), random.randint(1, max(left, 1)))))


# ---- answers ----


@dataclasses.dataclass
class Answer:
    status: int
    fields: list  # (name in small letters, value)
    body: bytes
    complete: bool

    def field(self, name):
        return next((v for n, v in self.fields if n == name), None)

    @property
    def closes(self):
        return "close" in (self.field("connection") or "").lower()


def _unchunked(rest):
    """(body, bytes after it, complete)"""
    body = b""
    while m := re.match(rb"([0-9A-Fa-f]+)\r\n", rest):
        size, start = int(m[1], 16), m.end()
        if size == 0:
            return body, rest[start + 2 :], rest[start : start + 2] == b"\r\n"
        body += rest[start : start + size]
        if len(rest) < start + size + 2:
            return body, b"", False
        assert rest[start + size : start + size + 2] == b"\r\n", "our own chunk is damaged"
        rest = rest[start + size + 2 :]
    assert re.fullmatch(rb"[0-9A-Fa-f]*\r?", rest), f"our own chunk line is damaged: {rest[:40]!r}"
    return body, b"", False


def answers_in(data, head_only=False):
    """All answers in data, interim ones too. Fails when there is anything else."""
    found = []
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        m = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0])
        assert m or not end, f"not an answer: {data[:200]!r}"
        if not end:
            break
        fields = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines[1:])]
        answer = Answer(int(m[1]), fields, b"", True)
        if answer.status < 200 or answer.status == 204 or head_only:
            data = rest
        elif (answer.field("transfer-encoding") or "").lower() == "chunked":
            answer.body, data, answer.complete = _unchunked(rest)
        elif answer.field("content-length") is not None:
            n = int(answer.field("content-length"))
            answer.body, data, answer.complete = rest[:n], rest[n:], len(rest) >= n
        else:
            answer.body, data = rest, b""
        found.append(answer)
    return found


class Raw:
    """A client that sends exactly what it is told."""

    def __init__(self, port, timeout=20, receive_buffer=0):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout * SLOW)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data, self.eof, self.reset = b"", False, False

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def send(self, data, cut=whole, random=None):
        """False when the other side has closed."""
        at = 0
        try:
            while at < len(data):
                n = cut(len(data) - at, random)
                self.sock.sendall(data[at : at + n])
                at += n
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def abort(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def play(self, variant, cut=whole, random=None):
        for step in variant.steps:
            if isinstance(step, bytes):
                if not self.send(step, cut, random):
                    return
            elif step[0] == "pause":
                self.read_for(step[1] / 1000)
            elif step[0] == "half-close":
                self.sock.shutdown(socket.SHUT_WR)
            else:
                self.abort()
                return

    def read(self, seconds):
        """One read; False when there was none in time, or no more will come."""
        if self.eof or not select.select([self.sock], [], [], max(seconds, 0))[0]:
            return False
        try:
            piece = self.sock.recv(1 << 18)
        except ConnectionResetError:
            self.reset, piece = True, b""
        self.data += piece
        self.eof = not piece
        return bool(piece)

    def read_for(self, seconds):
        end = time.monotonic() + seconds
        while self.read(end - time.monotonic()):
            pass

    def read_until(self, condition, seconds=10):
        """Reads until condition() or the end of the connection; fails after `seconds`."""
        end = time.monotonic() + seconds * SLOW
        while not condition() and not self.eof:
            self.read(end - time.monotonic())
            assert time.monotonic() < end or condition() or self.eof, f"waited too long; so far: {self.data[-2000:]!r}"

    def read_to_end(self, seconds=10):
        self.read_until(lambda: False, seconds)
        return self.data

    def final_answers(self, head_only=False):
        return [a for a in answers_in(self.data, head_only) if a.status >= 200]

    def read_answers(self, n, seconds=10):
        """Until n whole answers are there."""
        self.read_until(lambda: sum(a.complete for a in self.final_answers()) >= n, seconds)
        return self.final_answers()
