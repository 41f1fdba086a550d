# SPDX-License-Identifier: MIT
"""What every whole-program test may use: where the programs are, processes that are ended by their pid, waiting for a
condition with a deadline, models made on the spot, one HTTP request, the events of a stream. The rigs of one program
(core_rig, worker_rig, cluster_rig, fake_worker, case_rig) stand on it; conftest.py has the fixtures."""
import contextlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ROLEMESH_BIN", TOP / "build" / "release" / "bin"))
# Sanitizers make everything slower: deadlines are stretched, what a test asserts is not.
SLOW = 6 if os.environ.get("ROLEMESH_PRESET") in ("asan", "tsan") else 1


# ---- programs ----


def have_programs():
    """False where the build was made without llama.cpp. A build without the worker is none: program() says so."""
    return not (BIN / "rolemesh-worker").exists() or all((BIN / name).exists() for name in ("rolemesh-core", "mkmodel"))


def program(name):
    """A program of the build; the test fails when it is missing, and is skipped with a reason only where the build
    was made without llama.cpp and the program needs it."""
    path = BIN / name
    if path.exists():
        return path
    if name in ("rolemesh-core", "mkmodel") and not have_programs():
        pytest.skip(f"this build has no {name}: made without llama.cpp")
    pytest.fail(f"no {name} in {BIN}: build first, or set ROLEMESH_BIN")


def make_model(path, arch="llama", **options):
    """Writes a generated GGUF; the options are mkmodel's."""
    argv = [program("mkmodel"), arch, path, *(f"{key}={value}" for key, value in options.items())]
    subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.DEVNULL)
    return path


def wait_for(what, condition, seconds=20.0, pause=0.005):
    """Returns condition()'s first true value; fails after `seconds`."""
    end = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited too long: {what}"
        time.sleep(pause)


def alive(pid):
    """True while the process runs: a zombie or a stranger's pid that cannot be asked does not count."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class Process:
    """One program with its output in a file. Ended by its pid, first politely."""

    def __init__(self, argv, log, **popen):
        self.log_path = pathlib.Path(log)
        with self.log_path.open("ab") as out:
            self.popen = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, **popen
            )

    @property
    def pid(self):
        return self.popen.pid

    @property
    def running(self):
        return self.popen.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def signal(self, number):
        if self.running:
            self.popen.send_signal(number)

    def wait(self, seconds=15):
        """Its exit code; fails when it does not end."""
        return self.popen.wait(seconds * SLOW)

    def stop(self, seconds=20):
        """SIGTERM, also to one that a test stopped; its exit code. One that ignores it is killed, and the test fails."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"ignored SIGTERM:\n{self.log()[-4000:]}") from None

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.wait()


# ---- the net ----


def _ports():
    """Ports below those that the kernel gives to connections: none of these takes one that a program is about to listen on."""
    lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = range(min(10100, lowest // 2), lowest)  # browsers refuse 10080 and some below
    at = random.randrange(len(ports))  # runs side by side begin elsewhere
    while True:
        at = (at + 1) % len(ports)
        yield ports[at]


_next_port = _ports()


def free_port():
    """For programs that have to know their port before they start; all others bind port 0. The same port comes again only after
    thousands of others."""
    for port in _next_port:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    """A whole answer."""

    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json()["error"]


def ask(connection, method, path, body=None, headers=None):
    """One request over a connection that ends with it. body: text, bytes, or what becomes JSON."""
    with contextlib.closing(connection):
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, data, {**kind, **(headers or {})})
        return Answer(connection.getresponse())


def chat_of(text, **more):
    """The body of a chat of one message."""
    return {"messages": [{"role": "user", "content": text}], **more}


def event_of(line):
    """The data of one line of a stream: an object, or the text [DONE]; None where the line has none."""
    if not line.startswith(b"data: "):
        return None
    data = line[6:].rstrip(b"\n").decode()
    return data if data == "[DONE]" else json.loads(data)


def text_of(events):
    """The text of a streamed chat."""
    found = [c for e in events if isinstance(e, dict) for c in e.get("choices", [])]
    return "".join(c["delta"].get("content") or "" for c in found)
