# SPDX-License-Identifier: MIT
"""A web server of the tests' own for pulls: ranges, ETags, a pace, failures, and what was asked of it."""
import contextlib
import http.server
import random
import re
import socket
import struct
import threading
import time

PIECE = 8 * 1024 * 1024
HEAD = struct.Struct("=8s32sQII")  # of NAME.part.map; then one u32 per piece


class Served:
    """Files by path, and what was asked of them. Slowed down to `rate` bytes a second per connection."""

    def __init__(self):
        self.files, self.etags = {}, {}
        self.ranges, self.tokens, self.asked = True, [], []
        self.rate, self.fail_next, self.status = None, 0, None
        self.sent, self.lock = 0, threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def plain(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        s = self.server.served
        s.tokens.append(self.headers.get("Authorization"))
        with s.lock:
            failing = s.fail_next > 0
            s.fail_next -= failing
        if failing:
            return self.plain(503)
        if s.status:
            return self.plain(s.status)
        path = self.path.partition("?")[0]
        data = s.files.get(path)
        if data is None:
            return self.plain(404)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first, last = (int(wanted[1]), min(int(wanted[2]), len(data) - 1)) if wanted and s.ranges else (0, len(data) - 1)
        with s.lock:
            s.asked.append((path, first, last))
        self.send_response(206 if wanted and s.ranges else 200)
        if wanted and s.ranges:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("ETag", f'"{s.etags.get(path, "1")}"')
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        with contextlib.suppress(OSError):
            for at in range(first, last + 1, 64 * 1024):
                part = data[at : min(at + 64 * 1024, last + 1)]
                self.wfile.write(part)
                with s.lock:
                    s.sent += len(part)
                if s.rate:
                    time.sleep(len(part) / s.rate)


class RangeServer(http.server.ThreadingHTTPServer):
    """Started when it is entered; `served` says what it has, `url` where it is."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.served = Served()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        super().server_bind()

    def handle_error(self, request, client_address):
        pass

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return super().__enter__()

    def __exit__(self, *exc):
        self.shutdown()
        return super().__exit__(*exc)


def noted(path):
    """Bytes that the map says are there, by piece; none while there is no map."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    if len(raw) < HEAD.size or raw[:8] != b"rmparts1":
        return []
    n = HEAD.unpack_from(raw)[4]
    return list(struct.unpack_from(f"={n}I", raw, HEAD.size))


def content(n, seed=1):
    return random.Random(seed).randbytes(n)
