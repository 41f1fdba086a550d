# SPDX-License-Identifier: MIT
"""Living with the plan: on-demand roles come with their first request, take turns in a room that is too small for all of them, and
go when idle; pinned and resident ones keep their engines throughout; what leaves the map is drained and given up. Real workers and
cores; a node's budget is set by its reserve, in units of what one model was forecast with."""
import concurrent.futures
import json
import re
import signal
import threading
import time

import pytest

from cluster_rig import Cluster, call
from rig import SLOW, have_programs, text_of, wait_for

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

SAYS = {name: f"This is {name}." for name in ("one", "two", "pin", "stay")}
MODELS = {name: {"script": text} for name, text in SAYS.items()}
KEYS = "modes: [{0}], model: {0}, context: 2Ki, slots: 2"
PIN = {"pin": KEYS.format("pin") + ", residency: pinned", "stay": KEYS.format("stay")}
TURN_S = 2  # HOSTING_TURN_MIN_MS: these loads take less


def on_demand(name, more=""):
    return KEYS.format(name) + ", residency: on-demand" + more


class Living(Cluster):
    """A cluster whose nodes have room for so many hosts of the tiny models: rooms {node: number}."""

    def __init__(self, folder, rooms, roles, models=None, gateway=""):
        self.rooms, self.reserves = rooms, {}
        super().__init__(folder, list(rooms), models or MODELS, roles, gateway)

    def forecast(self, node, role="one"):
        asked = {"role": role, "model": role, "source": str(self.paths[role]), "context": 2048, "slots": 2}
        status, _, body = call(self.ports[node], "POST", "/node/v1/forecast", asked)
        answer = json.loads(body)
        assert status == 200 and answer["known"], answer
        return answer["total"]

    def map_text(self):
        text = super().map_text()
        for node, reserve in self.reserves.items():
            text = re.sub(rf"(  {node}: .*reserve: )100MiB", rf"\g<1>{reserve // 1024}KiB", text)
        return text

    def start(self, wait=True):
        for node in self.ports:
            self.start_worker(node)
        for node, rooms in self.rooms.items():
            wait_for(f"worker {node}", lambda node=node: self.answers(node))
            total = self.node_state(node)["memory"]["total"]
            self.reserves[node] = total - int(rooms * self.forecast(node))
        self.write_map()
        self.start_gateway()
        if wait:
            self.wait_ready(*[r for r, keys in self.roles.items() if "on-demand" not in keys])
            wait_for("the gateway is ready", lambda: self.ready())
        return self

    def reload(self):
        before = self.gateway.log().count('"role map reloaded"')
        self.write_map()
        self.gateway.signal(signal.SIGHUP)
        wait_for("the reload", lambda: self.gateway.log().count('"role map reloaded"') > before)

    def answers(self, node):
        try:
            return call(self.ports[node], "GET", "/healthz", timeout=2)[0] == 200
        except OSError:
            return False

    def ready(self):
        try:
            return call(self.port, "GET", "/readyz", timeout=2)[0] == 200
        except OSError:
            return False

    def hosts(self, node):
        return {h["role"]: h for h in self.node_state(node)["hosts"]}

    def pids(self, *roles):
        return {h["role"]: h["pid"] for node in self.ports for h in self.node_state(node)["hosts"] if h["role"] in roles}

    def loads(self, role):
        return len(re.findall(rf'"host asked for" role={role} ', self.gateway.log()))




@pytest.fixture(name="living")
def living_fixture(tmp_path):
    opened = []

    def make(rooms, roles, **more):
        c = Living(tmp_path, rooms, roles, **more)
        opened.append(c)
        return c.start()

    yield make
    for c in opened:
        c.stop()


def says(answer, role):
    return answer["choices"][0]["message"]["content"] == SAYS[role]


def test_the_first_request_loads_an_on_demand_role(living):
    c = living({"a": 4.5}, {**PIN, "one": on_demand("one")})
    assert set(c.hosts("a")) == {"pin", "stay"}
    before = c.pids("pin", "stay")
    assert says(c.answer("one"), "one")
    assert c.is_ready("one") and c.loads("one") == 1
    assert says(c.answer("one"), "one") and c.loads("one") == 1
    assert c.pids("pin", "stay") == before


def test_idle_unload_frees_the_room(living):
    c = living({"a": 3.5}, {**PIN, "one": on_demand("one", ", idle_unload: 1s")})
    before = c.pids("pin", "stay")
    assert says(c.answer("one"), "one")
    wait_for("the idle role to go", lambda: set(c.hosts("a")) == {"pin", "stay"}, 20)
    assert 'why="not used for idle_unload"' in c.gateway.log()
    assert says(c.answer("one"), "one") and c.loads("one") == 2
    assert c.pids("pin", "stay") == before


def test_two_roles_that_do_not_fit_together_take_turns(living):
    c = living({"a": 3.5}, {**PIN, "one": on_demand("one"), "two": on_demand("two")})
    before, began = c.pids("pin", "stay"), time.monotonic()
    for _ in range(3):
        assert says(c.answer("one"), "one") and says(c.answer("two"), "two")
        assert len(set(c.hosts("a")) & {"one", "two"}) <= 2
        assert sum(h["state"] in ("ready", "busy") for r, h in c.hosts("a").items() if r in ("one", "two")) == 1
    assert c.loads("one") + c.loads("two") <= 6
    assert time.monotonic() - began > 4 * TURN_S  # each stays at least as long as another load would take
    assert c.pids("pin", "stay") == before


def test_alternating_requests_are_served_in_batches(living):
    """Two clients that never stop asking, one for each role, in a lane whose requests wait 3 s for others' batches."""
    lane = ", lane: autocomplete"
    c = living({"a": 3.5}, {**PIN, "one": on_demand("one", lane), "two": on_demand("two", lane)})
    before, end = c.pids("pin", "stay"), time.monotonic() + 20 * SLOW
    answered = {"one": 0, "two": 0}

    def ask(role):
        while time.monotonic() < end:
            assert says(c.answer(role, timeout=120), role)
            answered[role] += 1

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for f in [pool.submit(ask, role) for role in answered]:
            f.result()
    loads, seconds = c.loads("one") + c.loads("two"), time.monotonic() - began
    assert loads >= 4, "both had their turns"
    assert loads <= 2 + seconds / TURN_S, f"{loads} loads in {seconds:.0f} s: thrashing"
    assert min(answered.values()) > 10 * loads / 2, answered
    assert c.pids("pin", "stay") == before


def test_a_stream_is_not_cut_by_a_turn(living):
    """A role makes room only when its running stream has ended by itself; who waits for it is told what for."""
    models = {**MODELS, "one": {"script": "round and round it goes", "loop": 1, "layers": 1, "heads": 2}}
    c = living({"a": 1.5}, {"one": on_demand("one", ", lane: autocomplete"), "two": on_demand("two", ", lane: autocomplete")}, models=models)
    stream = c.stream("one", max_tokens=1500)
    events, first = [], threading.Event()

    def read():
        for event in stream.events():
            events.append(event)
            first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert first.wait(30 * SLOW)
    assert says(c.answer("two", timeout=180), "two")
    ended = time.monotonic()
    reader.join(60 * SLOW)
    assert events[-1] == "[DONE]" and events[-2 if events[-2]["choices"] else -3]["choices"][0]["finish_reason"] == "length"
    assert text_of(events).startswith("round and round") and time.monotonic() - ended < 5 * SLOW


def test_what_does_not_fit_is_refused_with_its_number(living):
    c = living({"a": 2.5}, {**PIN, "one": on_demand("one")})
    began = time.monotonic()
    status, _, body = c.chat("one")
    error = json.loads(body)["error"]
    assert status == 503 and error["code"] == "no_host", error
    assert "one" in error["message"] and "GiB more would be needed" in error["message"]
    assert time.monotonic() - began < 10 * SLOW
    shortfalls = c.get("/api/v1/roles")["shortfalls"]
    assert [s["role"] for s in shortfalls] == ["one"] and shortfalls[0]["missing_bytes"] > 0


def test_a_resident_role_comes_before_a_turn(living):
    """A role that becomes resident takes the room of an on-demand one, after its requests."""
    c = living({"a": 2.5}, {"pin": PIN["pin"], "one": on_demand("one"), "two": on_demand("two")})
    before = c.pids("pin")
    assert says(c.answer("one"), "one")
    c.roles["two"] = KEYS.format("two")
    c.reload()
    c.wait_ready("two", seconds=30)
    assert set(c.hosts("a")) == {"pin", "two"}
    assert c.chat("one")[0] == 503
    assert c.pids("pin") == before


def test_a_role_that_leaves_the_map_is_given_up(living):
    c = living({"a": 4.5}, dict(PIN))
    before = c.pids("pin")
    del c.roles["stay"]
    c.reload()
    wait_for("the role's host to go", lambda: set(c.hosts("a")) == {"pin"})
    assert c.pids("pin") == before


def test_a_node_that_leaves_the_map_is_given_up(living):
    models = {**MODELS, "one": {"script": "round and round it goes", "loop": 1, "layers": 1, "heads": 2}}
    c = living({"a": 3.5, "b": 3.5}, {"pin": PIN["pin"] + ", nodes: [a]", "one": KEYS.format("one") + ", nodes: [b]"}, models=models)
    stream = c.stream("one", max_tokens=1500)
    events = stream.events()
    next(events)
    c.roles["one"] = KEYS.format("one")
    gone = c.ports.pop("b")
    c.reload()
    rest = list(events)
    assert rest[-1] == "[DONE]", "the stream on the node that left goes on to its end"

    def hosts_of_b():
        return json.loads(call(gone, "GET", "/node/v1/state")[2])["hosts"]

    wait_for("the node's host to be given up", lambda: hosts_of_b() == [])
    wait_for("the node to be let go", lambda: '"node let go" node=b' in c.gateway.log())
    wait_for("the role elsewhere", lambda: "one" in c.hosts("a") and c.is_ready("one"))


def test_a_new_gateway_goes_on_with_what_stands(living):
    """Its clock is behind: the workers' epoch decides, not the clock. The old gateway only routes from then on."""
    c = living({"a": 4.5}, {**PIN, "one": on_demand("one")})
    assert says(c.answer("one"), "one")
    before = c.pids("pin", "stay", "one")
    ahead = c.node_state("a")["epoch"] + 10**9
    status, _, _ = call(c.ports["a"], "DELETE", f"/node/v1/hosts/nobody?epoch={ahead}")
    assert status == 404 and c.node_state("a")["epoch"] == ahead
    c.gateway.stop()
    c.start_gateway()
    wait_for("the gateway", c.ready)
    c.wait_ready("pin", "stay")
    assert says(c.answer("one"), "one")
    assert c.pids("pin", "stay", "one") == before
    c.roles["stay"] = KEYS.format("stay").replace("slots: 2", "slots: 1")
    c.reload()
    wait_for("the changed role's new engine", lambda: c.pids("stay")["stay"] not in (0, before["stay"]) and c.is_ready("stay"))
    assert c.node_state("a")["epoch"] > ahead and c.pids("pin", "one") == {r: before[r] for r in ("pin", "one")}


def test_the_official_client_sees_no_turn(living):
    """Streamed and not, of two roles that take turns: every answer whole, no retry, no timeout."""
    openai = pytest.importorskip("openai", reason="the openai package is not installed (deploy/setup --with-tests)")
    c = living({"a": 1.5}, {name: on_demand(name) for name in ("one", "two")})

    def ask(role, stream):
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{c.port}/{role}/v1", api_key="any", max_retries=0, timeout=60 * SLOW)
        answer = client.chat.completions.create(model=role, messages=[{"role": "user", "content": "hi"}], stream=stream)
        if not stream:
            return answer.choices[0].message.content
        return "".join(e.choices[0].delta.content or "" for e in answer if e.choices)

    asked = [(role, stream) for _ in range(3) for role in ("one", "two") for stream in (False, True)]
    with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda a: ask(*a), asked))
    assert answers == [SAYS[role] for role, _ in asked]
    assert c.loads("one") >= 1 and c.loads("two") >= 1
