# SPDX-License-Identifier: MIT
"""Starts rolemesh-core on a generated model and talks to it over its Unix socket. Waits for conditions with a
deadline, never for a time."""
import contextlib
import json
import os
import pathlib
import select
import time

from rig import SLOW, Process, UnixConnection, ask, chat_of, event_of, program


def events_of(response):
    """The data of each server-sent event as it comes: objects, then the text [DONE]. Nothing else may come."""
    for line in response:
        event = event_of(line)
        if event is None:
            assert line == b"\n", line
        else:
            yield event


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
        reader, writer = os.pipe()
        args = [program("rolemesh-core"), "--model", model, "--socket", self.socket, "--ready-fd", writer]
        for key, value in flags.items():
            args += ["--" + key.replace("_", "-"), value]
        self.process = Process(args, self.socket.with_suffix(".log"), pass_fds=[writer])
        os.close(writer)
        self.pipe = PipeLines(reader)

    def wait_ready(self):
        line = self.pipe.wait("ready")
        assert line, f"ended with {self.process.wait(10)}: {self.log()}"
        return line

    def log(self):
        return self.process.log()

    def stop(self):
        code = self.process.stop(10)
        if self.pipe.fd is not None:
            os.close(self.pipe.fd)
            self.pipe.fd = None
        return code

    def kill(self):
        self.process.kill()

    def connect(self, timeout=60):
        return UnixConnection(self.socket, timeout * SLOW)

    def call(self, method, path, body=None, timeout=60):
        return ask(self.connect(timeout), method, path, body)

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body):
        return self.call("POST", path, body)

    def state(self):
        answer = self.get("/core/state")
        assert answer.status == 200
        return answer.json()

    def chat(self, text="hi", **more):
        return self.post("/v1/chat/completions", chat_of(text, **more))

    def text(self, text="hi", **more):
        answer = self.chat(text, **more)
        assert answer.status == 200, answer.body
        return answer.json()["choices"][0]["message"]["content"]

    def stream(self, text="hi", path="/v1/chat/completions", **more):
        """All events of a streamed answer."""
        body = {"stream": True, **more}
        body = chat_of(text, **body) if path == "/v1/chat/completions" else {"prompt": text, **body}
        with contextlib.closing(self.connect()) as connection:
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            assert response.status == 200, response.read()
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            return list(events_of(response))

    def open_stream(self, text="hi", **more):
        """Sends a chat request and returns its connection; nothing of the answer is read."""
        connection = self.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps(chat_of(text, **{"stream": True, **more})))
        return connection


@contextlib.contextmanager
def running_core(directory, model, **flags):
    core = Core(directory, model, **flags)
    try:
        core.wait_ready()
        yield core
        assert core.stop() == 0, core.log()  # a sanitizer that found something makes another code
    finally:
        core.kill()
