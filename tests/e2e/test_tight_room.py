# SPDX-License-Identifier: MIT
"""Two workers, each in a real memory group (cgroup v1) whose limit is far below what the map's roles need together: 200 random steps
of asking, of taking roles out of the map and back, of asking several at once. Nobody may be killed for memory, nothing that fits
may be refused, and every request is answered with its model's own words."""
import concurrent.futures
import contextlib
import json
import os
import random
import re
import signal
import threading

import pytest
from cluster_rig import Cluster, call
from rig import SLOW, have_programs, text_of, wait_for
from test_short_memory import MIB, Group

pytestmark = [
    pytest.mark.skipif(SLOW > 1, reason="a sanitizer's own memory is over the limits"),
    pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that takes memory"),
]

STEPS = 200
LIMIT_MIB, RESERVE_MIB = 200, 40
SIZES = {"a": 128, "b": 256, "c": 384, "d": 128, "e": 256, "f": 384, "g": 256, "h": 384}  # embd of each model
MODELS = {name: {"embd": embd, "layers": 4, "script": f"This is {name}."} for name, embd in SIZES.items()}
KEYS = "modes: [{0}], model: {0}, context: 2Ki, slots: 2, queue_deadline: 5m"
PINNED = {"p": KEYS.format("p") + ", residency: pinned"}


def on_demand(name):
    return KEYS.format(name) + f", residency: on-demand, idle_unload: {2 + ord(name) % 3}s"


class Tight(Cluster):
    def map_text(self):
        return super().map_text().replace("reserve: 100MiB", f"reserve: {RESERVE_MIB}MiB")

    def reload(self):
        before = self.gateway.log().count('"role map reloaded"')
        self.write_map()
        self.gateway.signal(signal.SIGHUP)
        wait_for("the reload", lambda: self.gateway.log().count('"role map reloaded"') > before)

    def forecast(self, node, role):
        asked = {"role": role, "model": role, "source": str(self.paths[role]), "context": 2048, "slots": 2}
        status, _, body = call(self.ports[node], "POST", "/node/v1/forecast", asked)
        answer = json.loads(body)
        assert status == 200 and answer["known"], answer
        return answer["total"]

    def said(self, role, stream):
        """What the role's model says; the answer must be whole."""
        if not stream:
            return self.answer(role, max_tokens=64)["choices"][0]["message"]["content"]
        s = self.stream(role, max_tokens=64, timeout=300)
        with contextlib.closing(s):
            assert s.status == 200
            events = list(s.events())
        assert events[-1] == "[DONE]", events
        return text_of(events)


class Watch(threading.Thread):
    """Looks at the workers all the time: what they have promised is never over their budget."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.budget = (LIMIT_MIB - RESERVE_MIB) * MIB
        self.cluster, self.over, self.most, self.ended = cluster, [], {}, threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.05):
            for node in self.cluster.ports:
                with contextlib.suppress(OSError, AssertionError):
                    state = self.cluster.node_state(node)
                    m = state["memory"]
                    self.most[node] = max(self.most.get(node, 0), m["committed"])
                    if m["committed"] > self.budget or m["refusing"]:
                        hosts = [(h["role"], h["state"], h["forecast_bytes"] // MIB) for h in state["hosts"]]
                        self.over.append((node, m["committed"] // MIB, m["refusing"], hosts))

    def close(self):
        self.ended.set()
        self.join()


def test_two_hundred_steps_in_a_room_that_is_too_small(tmp_path):
    seed = int(os.environ.get("ROLEMESH_SEED", random.randrange(1 << 30)))
    dice = random.Random(seed)
    c = Tight(tmp_path, ["one", "two"], {"p": {"script": "This is p."}, **MODELS}, {**PINNED, **{r: on_demand(r) for r in MODELS}})
    asked = []

    def ask(pool, role):
        asked.append((role, pool.submit(c.said, role, dice.random() < 0.5)))

    with contextlib.ExitStack() as stack:
        groups = {n: stack.enter_context(contextlib.closing(Group(LIMIT_MIB, n))) for n in c.ports}
        stack.callback(c.stop)
        for node, group in groups.items():
            c.start_worker(node)
            group.take(c.workers[node].pid)
        c.start_gateway()
        c.wait_ready("p")
        pinned = c.host("p")["pid"]
        budgets = {}
        for node in c.ports:
            wait_for("the gateway knows the limit", lambda node=node: c.node(node)["memory"]["limit"] == LIMIT_MIB * MIB)
            budgets[node] = (LIMIT_MIB - RESERVE_MIB) * MIB  # the map's word counts for the gateway
        needed = sum(c.forecast("one", role) for role in ["p", *MODELS])
        assert needed > sum(budgets.values()), "the room is not too small: the test would prove nothing"
        watch = stack.enter_context(contextlib.closing(Watch(c)))
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(16))
        away = None
        for step in range(STEPS):
            what, roles = dice.random(), [r for r in MODELS if r != away]
            if what < 0.70:
                ask(pool, dice.choice(roles + ["p"]))
            elif what < 0.85:
                for role in dice.sample(roles, 3):
                    ask(pool, role)
            elif away is None:  # unload: nobody waits for it, or its requests would be for a role that is not there
                away = dice.choice(roles)
                for role, f in asked:
                    if role == away:
                        f.result()
                del c.roles[away]
                c.reload()
            else:
                c.roles[away] = on_demand(away)
                away = None
                c.reload()
            while sum(not f.done() for _, f in asked) > 12:  # clients have patience, but not without end
                concurrent.futures.wait([f for _, f in asked if not f.done()], return_when=concurrent.futures.FIRST_COMPLETED)
        wrong = [(role, f.exception() or f.result()) for role, f in asked if f.exception() or f.result() != f"This is {role}."]
        assert wrong == [], (seed, len(asked), wrong[:3])
        kills = {n: g.kills() for n, g in groups.items()}
        assert kills == {"one": 0, "two": 0}, (seed, kills)
        assert watch.over == [], (seed, budgets, watch.over[:3])
        log = "".join(p.log() for p in c.workers.values())
        assert "cause=memory" not in log and "cause=oom" not in log and "memory is short" not in log, seed
        loads = len(re.findall(r'"host asked for"', c.gateway.log()))
        print(f"seed {seed}: {len(asked)} requests, {loads} loads, most committed {watch.most} of {budgets}, the roles need {needed}")
        assert c.host("p")["pid"] == pinned and loads > len(MODELS), (seed, loads)
