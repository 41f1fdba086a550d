# SPDX-License-Identifier: MIT
"""Starts rolemesh-core on a generated model and talks to it over its Unix socket. Waits for conditions with a
deadline, never for a time. Programs come from ROLEMESH_BIN."""
import contextlib
import http.client
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ROLEMESH_BIN", TOP / "build" / "release" / "bin"))
# Sanitizers make everything slower; what is measured is told apart from what is only waited for.
SLOW = 6 if os.environ.get("ROLEMESH_PRESET") in ("asan", "tsan") else 1


def have_core():
    return (BIN / "rolemesh-core").exists() and (BIN / "mkmodel").exists()


def make_model(path, arch="llama", **options):
    args = [f"{key}={value}" for key, value in options.items()]
    subprocess.run([BIN / "mkmodel", arch, path, *args], check=True, stdout=subprocess.DEVNULL)
    return path


def wait_for(what, condition, seconds=10.0, pause=0.005):
    """Returns condition()'s first true value; fails after `seconds`."""
    end = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited too long: {what}"
        time.sleep(pause)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def events_of(response):
    """The data of each server-sent event as it comes: objects, then the text [DONE]."""
    for line in response:
        line = line.decode("utf-8")
        if line.startswith("data: "):
            data = line[6:].rstrip("\n")
            yield data if data == "[DONE]" else json.loads(data)
        else:
            assert line == "\n", line


class PipeLines:
    """JSON lines of the ready pipe."""

    def __init__(self, fd):
        self.fd, self.held, self.ended, self.seen = fd, b"", False, []

    def read(self, seconds):
        if self.ended or not select.select([self.fd], [], [], seconds)[0]:
            return
        data = os.read(self.fd, 65536)
        self.ended = not data
        self.held += data
        *lines, self.held = self.held.split(b"\n")
        self.seen += [json.loads(line) for line in lines]

    def wait(self, key, seconds=20):
        end = time.monotonic() + seconds * SLOW
        while time.monotonic() < end:
            for line in self.seen:
                if key in line:
                    return line
            if self.ended:
                return None
            self.read(0.1)
        raise AssertionError(f"no {key!r} on the ready pipe: {self.seen}")


class Core:
    """One rolemesh-core. Flags: context=512 becomes --context 512."""

    def __init__(self, directory, model, **flags):
        self.socket = pathlib.Path(directory) / f"core-{id(self):x}.sock"
        self.log_path = self.socket.with_suffix(".log")
        reader, writer = os.pipe()
        args = [BIN / "rolemesh-core", "--model", model, "--socket", self.socket, "--ready-fd", str(writer)]
        for key, value in flags.items():
            args += ["--" + key.replace("_", "-"), str(value)]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(args, pass_fds=[writer], stdin=subprocess.DEVNULL, stderr=log)
        os.close(writer)
        self.pipe = PipeLines(reader)

    def wait_ready(self):
        line = self.pipe.wait("ready")
        assert line, f"ended with {self.process.wait(10)}: {self.log()}"
        return line

    def log(self):
        return self.log_path.read_text(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10 * SLOW)
        if self.pipe.fd is not None:
            os.close(self.pipe.fd)
            self.pipe.fd = None
        return code

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def connect(self, timeout=60):
        return UnixConnection(self.socket, timeout * SLOW)

    def call(self, method, path, body=None, timeout=60):
        with contextlib.closing(self.connect(timeout)) as connection:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body):
        return self.call("POST", path, body)

    def state(self):
        answer = self.get("/core/state")
        assert answer.status == 200
        return answer.json()

    def chat(self, text="hi", **more):
        return self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **more})

    def text(self, text="hi", **more):
        answer = self.chat(text, **more)
        assert answer.status == 200, answer.body
        return answer.json()["choices"][0]["message"]["content"]

    def stream(self, text="hi", path="/v1/chat/completions", **more):
        """All events of a streamed answer."""
        body = {"stream": True, **more}
        if path == "/v1/chat/completions":
            body = {"messages": [{"role": "user", "content": text}], **body}
        else:
            body = {"prompt": text, **body}
        with contextlib.closing(self.connect()) as connection:
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            assert response.status == 200, response.read()
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            return list(events_of(response))

    def open_stream(self, text="hi", **more):
        """Sends a chat request and returns its connection; nothing of the answer is read."""
        connection = self.connect()
        body = {"messages": [{"role": "user", "content": text}], "stream": True, **more}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        return connection


def text_of(events):
    """The text of a streamed chat."""
    return "".join(c["delta"].get("content", "") for e in events if e != "[DONE]" for c in e["choices"])


@contextlib.contextmanager
def running_core(directory, model, **flags):
    core = Core(directory, model, **flags)
    try:
        core.wait_ready()
        yield core
        assert core.stop() == 0, core.log()  # a sanitizer that found something makes another code
    finally:
        core.kill()
