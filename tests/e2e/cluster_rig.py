# SPDX-License-Identifier: MIT
"""A gateway with its workers on loopback: real programs, real inference on models made on the spot.
Waits for conditions with a deadline, never for a time; ends its own processes by id."""
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import time

from rig import SLOW, Process, UnixConnection, ask, chat_of, event_of, free_port, make_model, program, wait_for


def call(port, method, path, body=None, headers=None, timeout=60):
    """One request; returns (status, headers, bytes)."""
    answer = ask(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout * SLOW), method, path, body, headers)
    return answer.status, answer.headers, answer.body


def revision_of(text):
    """What the gateway calls a role map with these bytes."""
    return hashlib.blake2b(text.encode() if isinstance(text, str) else text, digest_size=16).hexdigest()


def by_rename(path, text):
    """Replaces a file as editors do."""
    temp = path.with_name(".edit~")
    temp.write_text(text)
    os.replace(temp, path)


class Stream:
    """One streamed chat, read event by event."""

    def __init__(self, port, mode, text="hi", timeout=60, **more):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout * SLOW)
        body = chat_of(text, **{"stream": True, **more})
        self.connection.request("POST", f"/{mode}/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def events(self):
        """Objects, then "[DONE]"; then, if the body was cut, "cut"."""
        try:
            for line in self.response:
                if (event := event_of(line)) is not None:
                    yield event
        except (http.client.IncompleteRead, ConnectionError):
            yield "cut"

    def close(self):
        """Closes the socket at once."""
        self.response.close()
        self.connection.close()


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

    def run(self, name, argv):
        """A program of this cluster, with a log of its own."""
        return Process(argv, self.folder / f"{name}-{time.monotonic_ns()}.log")

    def start_worker(self, node, models=None):
        state = self.folder / f"state-{node}"
        state.mkdir(exist_ok=True)
        argv = [program("rolemesh-worker"), "--node", node, "--listen", f"127.0.0.1:{self.ports[node]}"]
        self.workers[node] = self.run(f"worker-{node}", [*argv, "--models-dir", models or self.models, "--state-dir", state])

    def start_gateway(self):
        self.gateway = self.run("gateway", [program("rolemesh-gateway"), "--role-map", self.map, "--state-dir", self.folder / "state-gateway"])

    def start(self, wait=True):
        for node in self.ports:
            self.start_worker(node)
        self.start_gateway()
        if wait:
            self.wait_ready(*self.roles)
        return self

    def stop(self):
        with contextlib.ExitStack() as stack:  # all of them, the gateway first
            for p in [*self.workers.values(), self.gateway]:
                if p is not None and p.running:
                    stack.callback(p.stop)

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
            state = ask(UnixConnection(path, 10 * SLOW), "GET", "/core/state").json()
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
        return call(self.port, "POST", f"/{mode}/v1/chat/completions", chat_of(text, **more))

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
