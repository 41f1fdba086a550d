# SPDX-License-Identifier: MIT
"""The command `rolemesh` as people call it: run to its end, at a pipe or at a terminal, against a gateway or against a
server that answers every route of proto/openapi.yaml with whatever text a test wants in every field."""
import contextlib
import fcntl
import http.server
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import jsonschema
import yaml

from rig import SLOW, TOP, program

SPEC = yaml.safe_load((TOP / "proto" / "openapi.yaml").read_text())


def check(name, data):
    jsonschema.validate(data, {"$ref": f"#/components/schemas/{name}", "components": SPEC["components"]})
    return data


def environment(gateway=None, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("ROLEMESH_") and k not in ("NO_COLOR", "COLUMNS")}
    if gateway is not None:
        env["ROLEMESH_GATEWAY"] = f"http://127.0.0.1:{gateway}" if isinstance(gateway, int) else gateway
    return {**env, **more}


def rolemesh(*args, gateway=None, timeout=60, cwd=None, **env):
    """Runs it to its end, its output at pipes."""
    argv = [str(program("rolemesh")), *map(str, args)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout * SLOW, check=False, cwd=cwd, stdin=subprocess.DEVNULL, env=environment(gateway, **env))


def one_line(done, code):
    """A complaint: one line on stderr, nothing on stdout."""
    assert done.returncode == code, (done.args, done.stdout, done.stderr)
    assert done.stdout == "" and done.stderr.endswith("\n") and done.stderr.count("\n") == 1, (done.args, done.stdout, done.stderr)
    assert done.stderr.isprintable() or done.stderr[:-1].isprintable()
    return done.stderr


# ---- at a terminal ----


class Terminal:
    """A program with a terminal of so many columns and lines; what it wrote is text."""

    def __init__(self, argv, columns=100, lines=30, gateway=None, **env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            os.execve(str(argv[0]), [str(a) for a in argv], environment(gateway, **{"TERM": "xterm-256color", **env}))
        self.text, self.code = "", None

    def read(self, seconds=0.1):
        """Takes what is there. False: the program has closed its end."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if ready:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            self.text += data.decode(errors="replace")
            return bool(data)
        return True

    def until(self, pattern, seconds=20):
        end = time.monotonic() + seconds * SLOW
        while not re.search(pattern, self.text):
            assert time.monotonic() < end and (self.read() or re.search(pattern, self.text)), f"no {pattern!r} in {self.text!r}"
        return self.text

    def write(self, text):
        os.write(self.fd, text.encode())

    def end(self, seconds=20):
        """Its exit code, after all it says."""
        end = time.monotonic() + seconds * SLOW
        while self.code is None:
            self.read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            assert time.monotonic() < end, f"still runs: {self.text!r}"
        while self.read(0):
            if not select.select([self.fd], [], [], 0)[0]:
                break
        return self.code

    def close(self):
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@contextlib.contextmanager
def terminal(*args, **options):
    t = Terminal([program("rolemesh"), *args], **options)
    try:
        yield t
    finally:
        t.close()


# ---- a gateway that says what a test wants ----


def sample(schema, text, depth=0):
    """A value of a schema with `text` in every string that is not one of a list; two of every array."""
    if "$ref" in schema:
        if schema["$ref"].endswith("/Next"):
            return None
        return sample(SPEC["components"]["schemas"][schema["$ref"].rpartition("/")[2]], text, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return next(v for v in schema["enum"] if v is not None)
    if "oneOf" in schema:
        return sample(next(s for s in schema["oneOf"] if s.get("type") != "null"), text, depth + 1)
    kind = schema.get("type", "string")
    kind = next(k for k in kind if k != "null") if isinstance(kind, list) else kind
    if kind == "object":
        return {name: sample(s, text, depth + 1) for name, s in schema.get("properties", {}).items()}
    if kind == "array":
        if "prefixItems" in schema:
            return [sample(s, text, depth + 1) for s in schema["prefixItems"]]
        return [sample(schema.get("items", {}), text, depth + 1) for _ in range(min(2, schema.get("maxItems", 2)))]
    return {"string": text, "integer": max(3, schema.get("minimum", 3)), "number": 0.5, "boolean": True}[kind]


class Echo(http.server.ThreadingHTTPServer):
    """Answers every documented route of the ops API with samples that hold `text`."""

    daemon_threads = True

    def __init__(self):
        self.text, self.asked, self.routes = "plain", [], []
        for path, item in SPEC["paths"].items():
            pattern = re.compile("^" + re.sub(r"\\\{[^/]*\\\}", "[^/]+", re.escape(path)) + "$")
            for method, what in item.items():
                answers = what.get("responses", {}) if method in ("get", "post", "delete") else {}
                for status in ("200", "201", "202"):
                    kind = answers.get(status, {}).get("content", {}).get("application/json")
                    if kind:
                        self.routes.append((method.upper(), pattern, int(status), kind["schema"]))
                        break
        super().__init__(("127.0.0.1", 0), EchoHandler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class EchoHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        self.server.asked.append((self.command, self.path))
        # A path of fixed words comes before one with names in it.
        found = sorted((r for r in self.server.routes if r[0] == self.command and r[1].match(path)), key=lambda r: r[1].pattern.count("[^/]+"))
        if not found:
            return self.say(404, {"type": "about:blank", "title": self.server.text, "status": 404, "detail": self.server.text, "code": self.server.text})
        return self.say(found[0][2], sample(found[0][3], self.server.text))

    do_GET = do_POST = do_DELETE = answer

    def say(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


# ---- the commands, as the command tells them ----


def commands():
    """{name: help text} of every command, those of two words too."""
    found = {}
    for first in words_of("bash", ""):
        found[first] = help_of(first)
        for second in re.findall(r"^  (\w+)", found[first].partition("\nCommands:\n")[2].partition("\n\n")[0], re.M):
            found[f"{first} {second}"] = help_of(f"{first} {second}")
    return found


def help_of(name):
    done = rolemesh(*name.split(), "--help")
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout


def words_of(shell, *words, **options):
    """What the shell is offered for the last word."""
    done = rolemesh("__complete", shell, *words, **options)
    assert done.returncode == 0 and done.stderr == ""
    return [line.partition("\t")[0] for line in done.stdout.splitlines()]


def options_of(text):
    """[(name, what its value is called or None)] of a help text."""
    part = text.partition("\nOptions:\n")[2].partition("\n\n")[0]
    return [(name, value or None) for name, value in re.findall(r"^  (?:-\w,|   ) (--[\w-]+)(?:(?:\[=| )(\S+))?", part, re.M)]
