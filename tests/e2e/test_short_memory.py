# SPDX-License-Identifier: MIT
"""A worker whose memory runs out, in a real memory group (cgroup v1) with a limit: who is refused, who has to go and in which order, what the
kernel kills, and what the state and the log say of it. Needs a machine on which groups may be made; skips elsewhere."""
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import pytest
from cluster_rig import Cluster
from rig import SLOW, have_programs, wait_for
from worker_rig import ANSWER, SCRIPT, Worker, read_stream, text_in

pytestmark = [
    pytest.mark.skipif(SLOW > 1, reason="a sanitizer's own memory is over the limits"),
    pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that takes memory"),
]

MIB = 1 << 20


class Group:
    """A memory group with a limit."""

    def __init__(self, mib, name="group"):
        self.dir = pathlib.Path(f"/sys/fs/cgroup/memory/rolemesh-test-{os.getpid()}-{name}-{mib}")
        try:
            self.dir.mkdir()
            (self.dir / "memory.limit_in_bytes").write_text(str(mib * MIB))
        except OSError as e:
            pytest.skip(f"no memory group can be made here: {e}")

    def close(self):
        wait_for("the group is empty", lambda: not (self.dir / "tasks").read_text())
        self.dir.rmdir()

    def take(self, pid):
        """Puts a process, and what it starts from then on, into the group."""
        (self.dir / "cgroup.procs").write_text(str(pid))

    def left(self):
        """Bytes the group may still take, file pages that can be dropped among them."""
        stat = dict(line.split() for line in (self.dir / "memory.stat").read_text().splitlines())
        used = int((self.dir / "memory.usage_in_bytes").read_text())
        droppable = int(stat["total_active_file"]) + int(stat["total_inactive_file"])
        return int((self.dir / "memory.limit_in_bytes").read_text()) - used + droppable

    def kills(self):
        return int(re.search(r"oom_kill (\d+)", (self.dir / "memory.oom_control").read_text())[1])


HOG = "import sys\nheld = []\nfor line in sys.stdin:\n    held.append(b'x' * int(line))\n    print(flush=True)\n"


class Hog:
    """A process in the group that holds what it is told to take."""

    def __init__(self, group):
        self.group = group
        self.process = subprocess.Popen([sys.executable, "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        group.take(self.process.pid)

    def leave(self, mib, most=1 << 20):
        """Takes all but so much, if more is left; at most so many MiB at once."""
        size = min(self.group.left() - mib * MIB, most * MIB)
        if size > 0:
            print(size, file=self.process.stdin, flush=True)
            self.process.stdout.readline()

    def leave_until(self, mib, what, condition, small=False, seconds=30):
        """Takes again what others give back meanwhile (the kernel drops pages late), until the condition's first true value. In small
        pieces: what a host gives back just after it was looked at stays free."""
        self.leave(mib, 16 if small else 1 << 20)
        return wait_for(what, lambda: condition() or self.leave(mib, 16), seconds, pause=0.3)

    def close(self):
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def grouped(tmp_path, mib):
    """(worker, group): the worker is in the group, and so are the engines it starts."""
    with contextlib.closing(Group(mib)) as group, Worker(tmp_path) as worker:
        group.take(worker.process.pid)
        wait_for("the limit is seen", lambda: worker.state()["memory"]["limit"] == mib * MIB)
        yield worker, group


@pytest.fixture
def tiny(make_model):
    """A model that answers ANSWER."""
    return make_model("tiny", embd=128, script=SCRIPT)


def test_short_memory_refuses_new_engines(tmp_path, tiny):
    with grouped(tmp_path, 160) as (worker, group):
        first = worker.host_ready("first", tiny, residency="pinned")
        assert text_in(worker.chat("first")) == ANSWER
        memory = worker.state()["memory"]
        assert memory["total"] == memory["limit"] == 160 * MIB and memory["budget"] == 80 * MIB
        assert not memory["refusing"]
        with contextlib.closing(Hog(group)) as hog:
            hog.leave_until(6, "the worker sees it", lambda: worker.state()["memory"]["refusing"])  # the line is at 10 MiB
            worker.add_model("second", tiny)
            worker.put("second")
            host = worker.wait_state("second", "failed")
            assert host["last_error"]["cause"] == "memory" and host["retry_ms"] > 0 and host["pid"] == 0
            assert host["last_error"]["text"].startswith("not started: memory is short: ")
            answer = worker.chat("second")
            assert answer.status == 503 and "memory is short" in answer.error["message"]
            assert text_in(worker.chat("first")) == ANSWER
        worker.wait_state("second", "ready", seconds=40)
        assert not worker.state()["memory"]["refusing"] and worker.host("second")["restarts"] == 0
        assert worker.host("first")["pid"] == first["pid"]
        log = worker.process.log()
        assert "short: no engine is started" in log and "enough again" in log
        assert log.count("cause=memory") == 1  # told once, not with every try


class Seen(threading.Thread):
    """Every state of every host, as often as the worker can be asked."""

    def __init__(self, worker):
        super().__init__(daemon=True)
        self.worker, self.over, self.states = worker, threading.Event(), []
        self.start()

    def run(self):
        while not self.over.wait(0.1):
            self.states.append({h["role"]: h for h in self.worker.state()["hosts"]})

    def leaving_at_once(self):
        return max((sum(h["state"] == "draining" for h in s.values()) for s in self.states), default=0)

    def close(self):
        self.over.set()
        self.join()


def evictions(log):
    """[(what, role, numbers)] of the guard's lines, in order."""
    found = []
    for line in log.splitlines():
        if m := re.search(r"short: a host is (drained|stopped)", line):
            fields = dict(re.findall(r"(\w+)=([^ ]+)", line))
            found.append((m[1], fields["role"], {k: float(fields[k]) for k in ("available", "line", "pressure", "host_bytes")}))
    return found


def test_who_goes_when_memory_runs_out(tmp_path, tiny, make_model):
    """An on-demand host drains, its stream ending whole; then the largest resident one is stopped; the small resident one and the pinned one,
    which is the largest of all, stay and answer. When there is room again, those that went come back."""
    endless = make_model("endless", embd=128, script=SCRIPT, loop=1, ctx=65536)
    thick = make_model("thick", embd=256, layers=4, ctx=32768, script=SCRIPT)  # its KV: 4 KiB a token
    with grouped(tmp_path, 600) as (worker, group), contextlib.ExitStack() as stack:
        pids = {
            "pinned": worker.host_ready("pinned", thick, residency="pinned", context=32768, slots=1)["pid"],
            "large": worker.host_ready("large", thick, context=16384, slots=1)["pid"],
            "small": worker.host_ready("small", tiny)["pid"],
            "talk": worker.host_ready("talk", endless, residency="on-demand", context=32768, drain_ms=120000)["pid"],
        }
        tokens = 4000  # take longer than the guard waits; checked below by its state
        seen = Seen(worker)
        stack.callback(seen.close)
        hog = stack.enter_context(contextlib.closing(Hog(group)))
        line = 600 * MIB // 16
        hog.leave_until(25, "the worker sees it", lambda: worker.state()["memory"]["refusing"])
        with worker.streaming("talk", max_tokens=tokens, stream_options={"include_usage": True}) as response:
            host = hog.leave_until(25, "it drains", lambda: (h := worker.host("talk"))["state"] == "draining" and h)
            assert host["last_error"]["cause"] == "memory" and host["last_error"]["text"].startswith("had to go: memory is short: ")
            assert host["pid"] == pids["talk"] and worker.chat("talk").status == 503
            got, whole = read_stream(response)
        assert whole and got.endswith(b"data: [DONE]\n\n") and b'"finish_reason":"length"' in got
        usage = [json.loads(e[6:])["usage"] for e in got.decode().split("\n\n") if '"usage":{' in e]
        assert usage[-1]["completion_tokens"] == tokens
        wait_for("it is gone", lambda: (h := worker.host("talk"))["state"] == "failed" and h["pid"] == 0)
        assert worker.host("talk")["last_error"]["cause"] == "memory" and worker.host("talk")["retry_ms"] > 0
        assert {r: worker.host(r)["pid"] for r in ("pinned", "large", "small")} == {r: pids[r] for r in ("pinned", "large", "small")}

        hog.leave_until(25, "the largest is stopped", lambda: worker.host("large")["state"] != "ready", small=True)
        wait_for("it is gone", lambda: (h := worker.host("large"))["state"] == "failed" and h["pid"] == 0)
        assert worker.host("large")["last_error"]["cause"] == "memory"
        wait_for("it gave its memory back", lambda: worker.state()["memory"]["available"] > 60 * MIB)
        for role in ("pinned", "small"):
            assert worker.host(role)["pid"] == pids[role] and text_in(worker.chat(role)) == ANSWER

        hog.close()
        for role in ("talk", "large"):
            worker.wait_state(role, "ready", seconds=60)
        assert {r: worker.host(r)["pid"] for r in ("pinned", "small")} == {r: pids[r] for r in ("pinned", "small")}
        assert group.kills() == 0 and seen.leaving_at_once() == 1
        told = evictions(worker.process.log())
        assert [(what, role) for what, role, _ in told] == [("drained", "talk"), ("stopped", "large")]
        for _, _, n in told:
            assert n["available"] < n["line"] == line and n["host_bytes"] > 0
        metrics = worker.call("GET", "/metrics").body.decode()
        assert 'rolemesh_node_guard_steps_total{step="drain"} 1\n' in metrics and 'rolemesh_node_guard_steps_total{step="stop"} 1\n' in metrics
        assert "engine ended" not in worker.process.log()  # none of it was a failure


def test_a_drain_is_cut_short_before_the_kernel_comes(tmp_path, make_model):
    """Nearly nothing is left while a host drains: its requests get seconds, not what the role allows."""
    endless = make_model("endless", embd=128, script=SCRIPT, loop=1, ctx=65536)
    with grouped(tmp_path, 600) as (worker, group):
        worker.host_ready("talk", endless, residency="on-demand", context=32768, drain_ms=600000)
        with contextlib.closing(Hog(group)) as hog, worker.streaming("talk", max_tokens=30000) as response:
            hog.leave_until(6, "it drains", lambda: worker.host("talk")["state"] == "draining")  # a quarter of the line is 9.4 MiB
            begun = time.monotonic()
            _, whole = read_stream(response)
            took = time.monotonic() - begun
            assert not whole and 3 < took < 30, took
            wait_for("it is gone", lambda: (h := worker.host("talk"))["state"] == "failed" and h["pid"] == 0)
        assert group.kills() == 0 and "very short: a host's drain is cut short" in worker.process.log()


def test_the_kernel_kills_an_engine(tmp_path, tiny, make_model):
    """Told as such within a second of the kill; the engine goes before the worker, by its score."""
    big = make_model("big", embd=512, layers=4, ctx=32768)
    with grouped(tmp_path, 160) as (worker, group):
        small = worker.host_ready("small", tiny)
        worker.add_model("big", big)
        before = group.kills()
        worker.put("big", context=32768, slots=4)  # 512 MiB of KV memory, written when it is made
        wait_for("the kernel has killed it", lambda: group.kills() > before, pause=0.002)
        killed = time.monotonic()
        error = wait_for("it is told", lambda: (e := worker.host("big")["last_error"]) and e["cause"] == "oom" and e, pause=0.002)
        took = time.monotonic() - killed
        print(f"cause oom was shown {took * 1000:.0f} ms after the kill")
        assert took < 1 and error["code"] == 9 and "out of memory" in error["text"]
        worker.delete("big")
        assert worker.process.running and worker.host("small")["pid"] == small["pid"]
        assert text_in(worker.chat("small")) == ANSWER


def test_what_had_to_go_is_hosted_elsewhere(tmp_path):
    """The gateway hears why a host went, and places it on the node that has room; the pinned role beside it goes on answering."""
    models = {"ask": {"script": ANSWER, "embd": 128}, "code": {"script": SCRIPT, "embd": 256, "layers": 4, "ctx": 32768}}
    roles = {"ask": "modes: [ask], model: ask, context: 1Ki, slots: 1, residency: pinned, nodes: [speed]",
             "code": "modes: [code], model: code, context: 16Ki, slots: 1"}
    c = Cluster(tmp_path, ["speed", "reasoning"], models, roles)
    with contextlib.closing(Group(500)) as group, contextlib.ExitStack() as stack:
        stack.callback(c.stop)
        c.start_worker("speed")
        group.take(c.workers["speed"].pid)
        c.start_gateway()
        c.wait_ready("ask", "code")
        pids = {r: c.host(r)["pid"] for r in roles}
        c.start_worker("reasoning")
        wait_for("the other node is up", lambda: (n := c.node("reasoning")) and n["health"] == "up")
        hog = stack.enter_context(contextlib.closing(Hog(group)))

        def moved():
            hosts = {h["node"]: h for h in c.role("code")["hosts"]}
            if "reasoning" not in hosts:
                hog.leave(20)  # the line is at 31 MiB
            return "reasoning" in hosts and hosts["reasoning"]["state"] == "ready" and hosts

        hosts = wait_for("code is hosted elsewhere", moved, 60, pause=0.1)
        assert hosts["reasoning"]["pid"] not in pids.values()
        status, headers, body = c.chat("code")
        assert status == 200 and headers["x-rolemesh-node"] == "reasoning", body
        assert c.host("ask")["pid"] == pids["ask"] and c.chat("ask")[1]["x-rolemesh-node"] == "speed"
        assert group.kills() == 0
        assert [(what, role) for what, role, _ in evictions(c.workers["speed"].log())] == [("stopped", "code")]
