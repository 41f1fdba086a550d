# SPDX-License-Identifier: MIT
"""A gateway with its workers on loopback: real programs, real inference on models made on the spot.
Waits for conditions with a deadline, never for a time; ends its own processes by id. Programs come from ROLEMESH_BIN."""
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

from core_rig import UnixConnection

TOP = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ROLEMESH_BIN", TOP / "build" / "release" / "bin"))
SLOW = 6 if os.environ.get("ROLEMESH_PRESET") in ("asan", "tsan") else 1


def have_programs():
    return all((BIN / name).exists() for name in ("rolemesh-gateway", "rolemesh-worker", "rolemesh-core", "mkmodel"))


def wait_for(what, condition, seconds=20.0, pause=0.02):
    """Returns condition()'s first true value; fails after `seconds`."""
    end = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited too long: {what}"
        time.sleep(pause)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def make_model(path, arch="llama", **options):
    args = [f"{key}={value}" for key, value in options.items()]
    subprocess.run([BIN / "mkmodel", arch, path, *args], check=True, stdout=subprocess.DEVNULL)
    return path


def call(port, method, path, body=None, headers=None, timeout=60):
    """One request; returns (status, headers, bytes)."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout * SLOW)) as c:
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        send = {"Content-Type": "application/json"} if body is not None else {}
        c.request(method, path, body, {**send, **(headers or {})})
        r = c.getresponse()
        return r.status, r.headers, r.read()


class Stream:
    """One streamed chat, read event by event."""

    def __init__(self, port, mode, text="hi", timeout=60, **more):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout * SLOW)
        body = {"stream": True, "messages": [{"role": "user", "content": text}], **more}
        self.connection.request("POST", f"/{mode}/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def events(self):
        """Objects, then "[DONE]"; then, if the body was cut, "cut"."""
        try:
            for line in self.response:
                if line.startswith(b"data: "):
                    data = line[6:].rstrip(b"\n").decode()
                    yield data if data == "[DONE]" else json.loads(data)
        except (http.client.IncompleteRead, ConnectionError):
            yield "cut"

    def close(self):
        """Closes the socket at once."""
        self.response.close()
        self.connection.close()


def text_of(events):
    return "".join(c["delta"].get("content") or "" for e in events if isinstance(e, dict) for c in e.get("choices", []))


class Process:
    def __init__(self, name, args, folder):
        self.log_path = folder / f"{name}-{time.monotonic_ns()}.log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def stop(self, number=signal.SIGTERM, seconds=20):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise


class Cluster:
    """nodes: {name: None}; models: {name: mkmodel options, or a path that need not exist};
    roles: {name: text of the role's keys in the map}."""

    def __init__(self, folder, nodes, models, roles, gateway=""):
        self.folder = pathlib.Path(folder)
        self.models = self.folder / "models"
        self.models.mkdir(exist_ok=True)
        self.ports = {name: free_port() for name in nodes}
        self.port = free_port()
        self.paths = {}
        for name, options in models.items():
            self.paths[name] = self.models / f"{name}.gguf"
            if isinstance(options, dict):
                options = dict(options)
                make_model(self.paths[name], options.pop("arch", "llama"), **options)
        self.roles, self.gateway_keys = dict(roles), gateway
        self.map = self.folder / "role-map.yaml"
        self.workers, self.gateway = {}, None
        self.write_map()

    def map_text(self):
        lines = ["version: 1", f'gateway: {{ listen: ["127.0.0.1:{self.port}"]{", " + self.gateway_keys if self.gateway_keys else ""} }}', "nodes:"]
        lines += [f'  {n}: {{ address: "127.0.0.1:{p}", reserve: 100MiB }}' for n, p in self.ports.items()]
        lines += ["models:"] + [f'  {n}: {{ source: "{p}" }}' for n, p in self.paths.items()]
        lines += ["roles:"] + [f"  {n}: {{ {keys} }}" for n, keys in self.roles.items()]
        return "\n".join(lines) + "\n"

    def write_map(self, text=None):
        self.map.write_text(text or self.map_text())

    def start_worker(self, node):
        state = self.folder / f"state-{node}"
        state.mkdir(exist_ok=True)
        self.workers[node] = Process(f"worker-{node}", [BIN / "rolemesh-worker", "--node", node, "--listen", f"127.0.0.1:{self.ports[node]}",
                                                        "--models-dir", self.models, "--state-dir", state], self.folder)

    def start_gateway(self):
        self.gateway = Process("gateway", [BIN / "rolemesh-gateway", "--role-map", self.map], self.folder)

    def start(self, wait=True):
        for node in self.ports:
            self.start_worker(node)
        self.start_gateway()
        if wait:
            self.wait_ready(*self.roles)
        return self

    def stop(self):
        for p in [self.gateway, *self.workers.values()]:
            if p is not None and p.process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    p.stop(signal.SIGTERM)

    def get(self, path):
        try:
            status, _, body = call(self.port, "GET", path, timeout=5)
            return json.loads(body) if status == 200 else None
        except OSError:
            return None

    def role(self, name):
        found = [r for r in (self.get("/api/v1/roles") or {"roles": []})["roles"] if r["name"] == name]
        return found[0] if found else None

    def host(self, role):
        r = self.role(role)
        return r["hosts"][0] if r and r["hosts"] else None

    def node(self, name):
        return next((n for n in (self.get("/api/v1/nodes") or {"nodes": []})["nodes"] if n["name"] == name), None)

    def node_state(self, name):
        status, _, body = call(self.ports[name], "GET", "/node/v1/state", timeout=5)
        assert status == 200
        return json.loads(body)

    def engine_counts(self, node, role):
        """What the core of a role says itself, on its socket: the states of worker and gateway come later."""
        pid = next(h["pid"] for h in self.node_state(node)["hosts"] if h["role"] == role)
        for path in (self.folder / f"state-{node}").rglob("*.sock"):
            with contextlib.closing(UnixConnection(path, 10 * SLOW)) as c:
                c.request("GET", "/core/state")
                state = json.loads(c.getresponse().read())
            if state["pid"] == pid:
                return state
        raise AssertionError(f"no socket of {role} on {node}")

    def is_ready(self, role):
        r = self.role(role)
        return bool(r and r["hosts_ready"] > 0)

    def wait_ready(self, *roles, seconds=30):
        for role in roles:
            wait_for(f"{role} ready", lambda role=role: self.is_ready(role), seconds)

    def chat(self, mode, text="hi", **more):
        return call(self.port, "POST", f"/{mode}/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **more})

    def answer(self, mode, text="hi", **more):
        status, _, body = self.chat(mode, text, **more)
        assert status == 200, body
        return json.loads(body)

    def stream(self, mode, text="hi", **more):
        return Stream(self.port, mode, text, **more)


@contextlib.contextmanager
def cluster(folder, nodes, models, roles, gateway="", wait=True):
    c = Cluster(folder, nodes, models, roles, gateway)
    try:
        yield c.start(wait)
    except BaseException:
        for p in [c.gateway, *c.workers.values()]:
            if p is not None:
                print(f"--- {p.log_path.name}\n{p.log()[-4000:]}")
        raise
    finally:
        c.stop()
