# SPDX-License-Identifier: MIT
"""A scripted worker that speaks the node protocol: it stands in for rolemesh-worker only where a fault must come at an exact place.
Every role it is asked to host is ready at once, or after load_s seconds; what a request gets is a script: a function that is handed the connection."""
import hashlib
import json
import re
import socket
import struct
import threading
import time

HEAD_SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def part(text, model="fake", **choice):
    delta = {"content": text} if text is not None else {}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": None, **choice}]}


def stream(*texts, usage=True):
    """The events of a good stream."""
    events = [part("")] + [part(t) for t in texts] + [part(None, finish_reason="stop")]
    if usage:
        events.append({**part(None), "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(texts), "total_tokens": 7 + len(texts)}})
    return events


class Connection:
    """One request and the socket it came on."""

    def __init__(self, sock, method, path, body, head=b""):
        self.sock, self.method, self.path, self.raw, self.head = sock, method, path, body, head
        self.body = json.loads(body) if body else None

    def send(self, data):
        self.sock.sendall(data)

    def chunk(self, data):
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, data):
        self.chunk(b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n")

    def json(self, status, obj, *fields):
        data = json.dumps(obj).encode()
        head = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(data)}", *fields]
        self.send("\r\n".join(head).encode() + b"\r\n\r\n" + data)

    def good(self, *texts):
        """A good answer of either kind."""
        if self.body.get("stream"):
            self.send(HEAD_SSE)
            for e in stream(*texts, usage=bool((self.body.get("stream_options") or {}).get("include_usage"))):
                self.event(e)
            self.event(b"[DONE]")
            self.send(b"0\r\n\r\n")
        else:
            self.json(200, {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "fake",
                            "choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(texts)}, "finish_reason": "stop"}],
                            "usage": {"prompt_tokens": 7, "completion_tokens": len(texts), "total_tokens": 7 + len(texts)}})

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionError

    def wait_gone(self, seconds):
        """How long until the other side closed; None: it did not."""
        start = time.monotonic()
        self.sock.settimeout(seconds)
        try:
            return time.monotonic() - start if not self.sock.recv(1) else None
        except TimeoutError:
            return None
        except OSError:
            return time.monotonic() - start


class FakeWorker:
    def __init__(self, name):
        self.name, self.hosts, self.requests = name, {}, []
        self.load_s, self.asked_at = 0, {}
        self.script = lambda c: c.good("hello", " world")
        self.seq, self.closing = 0, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        if self.closing:
            return
        self.closing = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def loaded(self, role):
        done = min(1, (time.monotonic() - self.asked_at[role]) / self.load_s) if self.load_s else 1
        return {"state": "ready" if done == 1 else "loading", "progress": done}

    def state(self):
        self.seq += 1
        hosts = [{**self.loaded(role), "role": role, "model": d["model"], "engine": "attach", "revision": revision, "residency": d["residency"], "lane": d["lane"], "swap": d["swap"],
                  "context": d["context"], "slots_total": 8} for role, (d, revision) in self.hosts.items()]
        return {"node": self.name, "boot_id": f"boot-{self.name}", "version": "0.1.0", "seq": self.seq, "hosts": hosts}

    def _accept(self):
        while not self.closing:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        held = b""
        try:
            while not self.closing:
                while b"\r\n\r\n" not in held:
                    data = sock.recv(65536)
                    if not data:
                        return
                    held += data
                head, held = held.split(b"\r\n\r\n", 1)
                length = int((re.search(rb"(?i)content-length: (\d+)", head) or [0, 0])[1])
                while len(held) < length:
                    data = sock.recv(65536)
                    if not data:
                        return
                    held += data
                body, held = held[:length], held[length:]
                method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
                self._answer(Connection(sock, method, path, body, head))
        except (ConnectionError, OSError):
            pass
        finally:
            sock.close()

    def _answer(self, c):
        if c.path == "/node/v1/watch":
            c.send(HEAD_SSE)
            while not self.closing:
                c.chunk(b"event: state\ndata: " + json.dumps(self.state()).encode() + b"\n\n")
                time.sleep(0.2)
            return
        role = c.path.rsplit("/", 1)[-1]
        if c.path.startswith("/node/v1/hosts/") and c.method == "PUT":
            same = re.sub(rb'"(epoch|queue_max|drain_ms)":\d+', rb'"\1":0', c.raw)
            same = re.sub(rb'"residency":"[a-z-]+","lane":"[a-z]+","swap":[a-z]+', b'"residency":"resident","lane":"interactive","swap":false', same)
            self.asked_at.setdefault(role, time.monotonic())
            self.hosts[role] = (c.body, hashlib.blake2b(same, digest_size=16).hexdigest())
            c.json(200, self.state())
        elif c.path.startswith("/node/v1/hosts/"):
            self.hosts.pop(role, None)
            self.asked_at.pop(role, None)
            c.json(200, self.state())
        elif c.path == "/node/v1/forecast":
            c.json(200, {"known": False})
        elif c.path.startswith("/node/v1/run/"):
            self.requests.append(c)
            self.script(c)
        else:
            c.json(200, self.state())
