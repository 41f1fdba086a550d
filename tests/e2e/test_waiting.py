# SPDX-License-Identifier: MIT
"""What a client sees while its role is being loaded: signs of life with progress and time left, then the answer; and
what the gateway keeps of a client that leaves. Workers are scripted, so that a load takes as long as the test says."""
import concurrent.futures
import http.client
import json
import re
import socket
import time

import pytest

from fake_worker import FakeWorker
from rig import SLOW, TOP, Process, ask, program, wait_for

ROLE_MAP = """
version: 1
gateway: {{ listen: ["127.0.0.1:0"], keepalive: 500ms }}
nodes:
  reasoning: {{ address: "{0}" }}
models:
  m: {{ source: "attach:fake" }}
roles:
  architect: {{ modes: [architect], model: m, context: 4Ki, slots: 8, residency: on-demand, queue_deadline: {1},
    engine: {{ kind: attach, url: "http://127.0.0.1:9" }} }}
"""
CHAT = {"model": "architect", "messages": [{"role": "user", "content": "hi"}]}


class Gateway:
    def __init__(self, folder, load_s, deadline="1m"):
        self.worker = FakeWorker("reasoning")
        self.worker.load_s = load_s
        role_map, addr = folder / "map.yaml", folder / "addr"
        role_map.write_text(ROLE_MAP.format(self.worker.address, deadline))
        self.process = Process([program("rolemesh-gateway"), "--role-map", role_map, "--addr-file", addr], folder / "gateway.log")
        wait_for("the gateway's address", lambda: addr.exists() and addr.read_text().endswith("\n"))
        self.port = int(addr.read_text().split()[0].rsplit(":", 1)[1])
        wait_for("the node", lambda: self.roles() is not None)

    def roles(self):
        try:
            answer = ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5), "GET", "/api/v1/roles")
        except OSError:
            return None
        return answer.json() if answer.status == 200 else None

    def role(self):
        return self.roles()["roles"][0]

    def send(self, body):
        data = json.dumps(body)
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=60 * SLOW)
        sock.sendall((f"POST /architect/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n"
                      f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n{data}").encode())
        return sock

    def stop(self):
        self.process.stop()
        self.worker.close()


@pytest.fixture(name="gateway")
def gateway_fixture(tmp_path):
    opened = []

    def make(**more):
        opened.append(Gateway(tmp_path, **more))
        return opened[-1]

    yield make
    for g in opened:
        g.stop()


def read_all(sock):
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def test_the_official_client_waits_for_a_slow_load(gateway):
    openai = pytest.importorskip("openai", reason="the openai package is not installed (deploy/setup --with-tests)")
    g = gateway(load_s=5)
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{g.port}/architect/v1", api_key="any", max_retries=0, timeout=30 * SLOW)

    def whole():
        return client.chat.completions.create(**CHAT).choices[0].message.content

    def streamed():
        return "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(stream=True, **CHAT) if c.choices)

    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answers = [pool.submit(how) for how in (whole, streamed, whole, streamed)]
        wait_for("four that wait", lambda: g.role()["waiting"] == 4)
        assert not g.worker.requests
        assert [a.result() for a in answers] == ["hello world"] * 4
    assert time.monotonic() - started > 3
    assert g.role()["waiting"] == 0


@pytest.mark.slow
def test_a_stream_hears_how_its_load_goes(gateway):
    """Nothing for 10 s, so that an error can still be a status; then comments, then the answer."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (deploy/setup --with-tests)")
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed (deploy/setup --with-tests)")
    g = gateway(load_s=14)
    with g.send({**CHAT, "stream": True}) as stays, g.send({**CHAT, "stream": True}) as leaves, g.send(CHAT) as whole:
        wait_for("three that wait", lambda: g.role()["waiting"] == 3)
        leaves.close()
        wait_for("the demand of who left is gone", lambda: g.role()["waiting"] == 2, 5)
        wait_for("a time to wait", lambda: (g.role()["loading"] or {}).get("eta_ms"), 20)
        spec = yaml.safe_load((TOP / "proto" / "openapi.yaml").read_text())
        told = g.roles()
        jsonschema.validate(told, {"$ref": "#/components/schemas/Roles", "components": spec["components"]})
        loading = told["roles"][0]["loading"]
        assert loading["node"] == "reasoning" and loading["state"] == "loading" and not loading["stalled"]
        assert 0 < loading["progress"] < 1 and 0 < loading["eta_ms"] < 20000
        assert re.search(r"architect is loading on reasoning, \d+ %, about \d+ s left", told["roles"][0]["reason"])
        assert told["roles"][0]["oldest_ms"] > 0 and told["roles"][0]["hosts_ready"] == 0
        data = read_all(stays).decode()
        answer = read_all(whole).decode()
    head, body = data.split("\r\n\r\n", 1)
    assert head.startswith("HTTP/1.1 200 ") and "x-rolemesh-role: architect" in head
    said = re.findall(r"^: architect is loading on reasoning, (\d+) %, about (\d+) s left\r?$", body, re.M)
    assert len(said) >= 2, body
    assert [int(p) for p, _ in said] == sorted(int(p) for p, _ in said)
    assert all(60 < int(p) <= 100 and int(left) <= 6 for p, left in said), said
    assert body.index(": architect") < body.index("data: ") and body.count("data: [DONE]") == 1
    assert not re.search(r"^: ?ping", body, re.M)
    assert answer.startswith("HTTP/1.1 200 ") and json.loads(answer.split("\r\n\r\n", 1)[1])["choices"][0]["message"]["content"] == "hello world"
    assert len(g.worker.requests) == 2  # nothing was sent for the one that left


def test_loading_is_no_reason_to_be_refused(gateway):
    """The queue's deadline is for busy hosts: while the load gets on, it does not run out."""
    g = gateway(load_s=4, deadline="1s")
    with g.send(CHAT) as sock:
        assert read_all(sock).startswith(b"HTTP/1.1 200 ")


def test_a_node_that_dies_while_it_loads_ends_in_a_503_that_says_so(gateway):
    g = gateway(load_s=3600 * 24, deadline="1s")
    with g.send(CHAT) as sock:
        wait_for("a load that its worker tells of", lambda: g.role()["loading"] and g.role()["hosts"])
        g.worker.close()  # and its watch stream with it
        answer = read_all(sock).decode()
    assert answer.startswith("HTTP/1.1 503 "), answer
    assert 1 <= int(re.search(r"\r\nretry-after: (\d+)\r\n", answer, re.I)[1]) <= 60
    assert json.loads(answer.split("\r\n\r\n", 1)[1])["error"]["message"] == "node reasoning, which hosts architect, does not answer"
