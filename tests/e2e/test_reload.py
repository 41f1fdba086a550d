# SPDX-License-Identifier: MIT
"""What becomes of hosts and streams when another role map is taken over: what it does not name is not touched, what it
changes is replaced, and what cannot be is refused while the running plan stays. test_map.py has how a map gets in."""
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time

import pytest

from cluster_rig import Cluster, Stream, by_rename, call, revision_of
from rig import SLOW, have_programs, program, wait_for

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

ASK = "Ask says hello from the tiny model."
ROLES = {"ask": "modes: [ask], model: ask, context: 1Ki, slots: 1"}
YAML = {"Content-Type": "application/yaml"}


# ---- streams across edits ----


class Told(threading.Thread):
    """A streamed chat that is read as it comes, by a thread of its own."""

    def __init__(self, port, mode, text, tokens):
        super().__init__(daemon=True)
        self.stream = Stream(port, mode, text, max_tokens=tokens, stream_options={"include_usage": True})
        assert self.stream.status == 200
        self.pieces, self.finish, self.tokens, self.wrong, self.done, self.leaving = [], None, None, None, False, False
        self.start()

    def run(self):
        try:
            for event in self.stream.events():
                self.take(event)
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as e:
            if not self.leaving:
                self.wrong = repr(e)

    def take(self, event):
        if event == "[DONE]":
            self.done = True
        elif event == "cut" or "error" in event:
            self.wrong = self.wrong or (None if self.leaving else event)
        else:
            for choice in event["choices"]:
                self.pieces.append(choice["delta"].get("content") or "")
                self.finish = choice["finish_reason"] or self.finish
            self.tokens = (event.get("usage") or {}).get("completion_tokens", self.tokens)

    def open(self):
        """Still on its way, and nothing went wrong so far."""
        assert self.wrong is None, self.wrong
        return not self.done

    def whole(self):
        """Waits for its end; the text, how it ended, tokens."""
        self.join(60 * SLOW)
        assert self.done and self.wrong is None, (self.wrong, len(self.pieces))
        return "".join(self.pieces), self.finish, self.tokens

    def leave(self):
        """Goes away as a client does; what came so far."""
        self.leaving = True
        with contextlib.suppress(OSError, AttributeError):
            self.stream.connection.sock.shutdown(socket.SHUT_RDWR)
        self.join(20 * SLOW)
        self.stream.connection.close()
        assert self.wrong is None, self.wrong
        return "".join(self.pieces)


class Edits:
    """Random role maps, each one edit away from the one before. The roles in KEEP, their models and nodes are never
    named by an edit; everything else may be there, change or go."""

    KEEP = {
        "talk": "modes: [talk], model: talk, context: 32Ki, slots: 2, threads: 1, nodes: [speed]",
        "tell": "modes: [tell], model: tell, context: 4Ki, slots: 2, threads: 1, nodes: [reasoning]",
    }

    def __init__(self, c, random):
        self.c, self.random = c, random
        self.roles = {"other": {"model": "small", "context": "1Ki", "slots": 1}}
        self.models = {"small": "small"}
        self.nodes = {"spare": {}}
        self.gateway = {"watch": "true"}
        self.told = []

    def text(self):
        """The map as it is now."""
        def flow(keys):
            return "{ " + ", ".join(f"{k}: {v}" for k, v in keys.items()) + " }"

        lines = ["version: 1", "gateway: " + flow({"listen": f'["127.0.0.1:{self.c.port}"]', **self.gateway}), "nodes:"]
        for name in ("speed", "reasoning", *self.nodes):
            port = self.c.ports.get(name, 1)
            lines.append(f"  {name}: " + flow({"address": f'"127.0.0.1:{port}"', "reserve": "100MiB", **self.nodes.get(name, {})}))
        lines.append("models:")
        for name, file in {"talk": "talk", "tell": "tell", **self.models}.items():
            lines.append(f"  {name}: " + flow({"source": f'"{self.c.paths[file]}"'}))
        lines.append("roles:")
        roles = [f"  {n}: {{ {keys} }}" for n, keys in self.KEEP.items()] + [f"  {n}: {flow(k)}" for n, k in self.roles.items()]
        self.random.shuffle(roles)
        return "\n".join(lines + roles) + "\n"

    # each returns what it did, or None where it does not apply

    def add_role(self):
        name = f"r{self.random.randrange(6)}"
        if name in self.roles or len(self.roles) > 4:
            return None
        self.roles[name] = {"model": self.random.choice(sorted(self.models)), "context": self.random.choice(["512", "1Ki"]), "slots": 1}
        return f"+ role {name}"

    def remove_role(self):
        if not self.roles:
            return None
        name = self.random.choice(sorted(self.roles))
        del self.roles[name]
        for role in self.roles.values():
            if role.get("fallback") == f"[{name}]":
                del role["fallback"]
        return f"- role {name}"

    def change_role(self):
        if not self.roles:
            return None
        name, r = self.random.choice(sorted(self.roles)), self.random
        key, value = r.choice([
            ("context", r.choice(["256", "512", "1Ki", "2Ki"])), ("slots", r.randint(1, 3)), ("kv", r.choice(["f16", "q8_0"])),
            ("lane", r.choice(["autocomplete", "interactive", "batch"])), ("modes", f"[{name}, {name}-too]"), ("queue_max", r.randint(1, 9)),
            ("residency", r.choice(["pinned", "resident", "on-demand"])), ("replicas", r.randint(1, 2)), ("batch", r.choice([64, 128])),
            ("nodes", r.choice(["[speed]", "[reasoning]", "[speed, reasoning]"])), ("deny", r.choice(["[speed]", "[reasoning]"])),
            ("fallback", r.choice(["[talk]", "[tell]"])), ("idle_unload", f"{r.randint(1, 9)}m"), ("model", r.choice(sorted(self.models))),
        ])
        for other in {"nodes": ["deny", "replicas"], "deny": ["nodes", "replicas"], "replicas": ["nodes", "deny"]}.get(key, []):
            self.roles[name].pop(other, None)  # two replicas need two nodes
        self.roles[name][key] = value
        return f"~ role {name} {key}: {value}"

    def change_node(self):
        name, r = self.random.choice(["spare", "ghost"]), self.random
        if name not in self.nodes:
            self.nodes[name] = {}
            return f"+ node {name}"
        if r.random() < 0.5:
            del self.nodes[name]
            return f"- node {name}"
        self.nodes[name]["reserve"] = f"{r.randint(100, 900)}MiB"
        return f"~ node {name}"

    def change_model(self):
        name, r = self.random.choice(["m1", "m2"]), self.random
        if name not in self.models:
            self.models[name] = r.choice(["small", "other"])
            return f"+ model {name}"
        if any(role["model"] == name for role in self.roles.values()) or r.random() < 0.5:
            self.models[name] = "other" if self.models[name] == "small" else "small"
            return f"~ model {name}"
        del self.models[name]
        return f"- model {name}"

    def change_gateway(self):
        key, value = self.random.choice([("keepalive", f"{self.random.randint(1, 20)}s"), ("queue_max", self.random.randint(8, 99)),
                                         ("cors_origins", '["http://localhost:3000"]'), ("drain_deadline", "20s")])
        self.gateway[key] = value
        return f"~ gateway {key}: {value}"

    def edit(self):
        """One edit: what it was, and the map's text."""
        kinds = [self.add_role, self.remove_role, self.change_role, self.change_role, self.change_node, self.change_model, self.change_gateway]
        while (what := self.random.choice(kinds)()) is None:
            pass
        return what, self.text()

    def break_it(self, text):
        """What it was, and a text that is no map."""
        lines = text.splitlines(keepends=True)
        return self.random.choice([
            ("cut off", text[:self.random.randrange(20, len(text) - 20)] + "\n  broken: ["),
            ("size", text.replace("reserve: 100MiB", "reserve: plenty", 1)),
            ("key", text.replace("context:", "contxt:", 1)),
            ("node", text.replace("nodes: [speed]", "nodes: [sped]", 1)),
            ("model", text.replace("model: talk", "model: tlak", 1)),
            ("twice", "".join(lines) + lines[-1]),
            ("empty", ""),
            ("bytes", text + "\0"),
        ])


def take_over(c, how, text, good):
    """Brings a text in, one of three ways; waits until the gateway has taken or refused it."""
    before = c.get("/api/v1/map")
    failures = before["failures"]
    if how == "apply":
        offered = c.folder / "offered.yaml"
        offered.write_text(text)
        argv = [program("rolemesh"), "apply", "--yes", "--gateway", f"http://127.0.0.1:{c.port}", offered]
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=60 * SLOW)
        assert done.returncode == (0 if good else 2), (done.stdout, done.stderr)
        return
    by_rename(c.map, text)
    if how == "signal":
        c.gateway.signal(signal.SIGHUP)
    if good:
        wait_for("taken over", lambda: c.get("/api/v1/map")["revision"] == revision_of(text))
    else:
        wait_for("refused", lambda: c.get("/api/v1/map")["failures"] > failures)
        assert c.get("/api/v1/map")["revision"] == before["revision"]


N_EDITS, LONG, SHORT = 100, 30000, 300
WORDS = {mode: " ".join(f"{mode[:2]}{i}" for i in range(200)) for mode in Edits.KEEP}  # so that no loss falls on a repetition


def words_of(mode, n):
    """What the model of a mode says for ever, from its beginning: n tokens, one a word."""
    words = [f"{' ' if i else ''}{word}" for i, word in enumerate(WORDS[mode].split())]
    return "".join(words[i % len(words)] for i in range(n))


@pytest.mark.slow
def test_streams_do_not_notice_a_hundred_edits_that_do_not_name_their_role(tmp_path):
    """Two streams are open from before the first edit until after the last one; of the other role one stream after the
    other begins before an edit and ends after it. An undisturbed run says what all of them must be, byte by byte."""
    seed = int(os.environ.get("ROLEMESH_SEED") or random.SystemRandom().randrange(2**32))
    print(f"ROLEMESH_SEED={seed}")
    models = {mode: {"script": words, "loop": 1, "layers": 1, "heads": 2, "ctx": 32768} for mode, words in WORDS.items()}
    models |= {"small": {"script": ASK}, "other": {"script": "Something else.", "layers": 3}}
    c = Cluster(tmp_path, ["speed", "reasoning", "spare"], models, Edits.KEEP)
    edits = Edits(c, random.Random(seed))
    ran = edits.text()
    c.write_map(ran)
    streams = []
    try:
        c.start(wait=False)
        c.wait_ready("talk", "tell", "other")
        undisturbed = {mode: Told(c.port, mode, "hi", SHORT).whole() for mode in WORDS}
        for mode in WORDS:
            assert undisturbed[mode] == (words_of(mode, SHORT), "length", SHORT)
        pids = {mode: c.host(mode)["pid"] for mode in WORDS}

        streams = [Told(c.port, "talk", "hi", LONG) for _ in range(2)]
        short, shorts = None, 0
        for n in range(N_EDITS):
            if short is None:
                short = Told(c.port, "tell", "hi", SHORT)
                streams.append(short)
            how = edits.random.choice(["signal", "watch", "apply"])
            if good := edits.random.random() > 0.2:
                what, text = edits.edit()
            else:
                what, text = edits.break_it(ran)
            print(f"{n}: {how}: {what}{'' if good else ' (bad)'}")
            take_over(c, how, text, good)
            if good:
                ran = text
            elif how != "apply":
                by_rename(c.map, ran)  # the operator puts it back; apply would not write over an edit nobody loaded
                c.gateway.signal(signal.SIGHUP)
                wait_for("put back", lambda: c.get("/api/v1/map")["last_reload"]["outcome"] == "applied")
            if good and edits.random.random() < 0.2:  # let some of it come to pass: the other edits come amid loads and drains
                end = time.monotonic() + 3
                while time.monotonic() < end and not all(c.is_ready(role) for role in edits.roles):
                    time.sleep(0.02)
            if not short.open() or n == N_EDITS - 1:
                assert short.whole() == undisturbed["tell"]
                short, shorts = None, shorts + 1
        print(f"{shorts} streams began and ended meanwhile; the long ones have {[len(s.pieces) for s in streams[:2]]} words")
        for s in streams[:2]:
            if s.open():
                wait_for("it goes on", lambda s=s, n=len(s.pieces): len(s.pieces) > n or not s.open())
                got = s.leave()
            else:  # a machine that is faster than a hundred edits
                got, finish, tokens = s.whole()
                assert (finish, tokens) == ("length", LONG)
            n_words = got.count("ta")
            assert n_words > SHORT and got == words_of("talk", n_words)
        for mode, node in (("talk", "speed"), ("tell", "reasoning")):
            host = next(h for h in c.node_state(node)["hosts"] if h["role"] == mode)
            assert host["pid"] == pids[mode] and host["restarts"] == 0, host
    except BaseException:
        for p in [c.gateway, *c.workers.values()]:
            if p is not None:
                print(f"--- {p.log_path.name}\n{p.log()[-3000:]}")
        raise
    finally:
        for s in streams:
            s.leaving = True
            s.leave()
        c.stop()


# ---- bad input: the running plan stays ----


@pytest.fixture(name="running", scope="module")
def running_fixture(tmp_path_factory):
    """A gateway and a node that hosts `ask`, and files that cannot be hosted."""
    folder = tmp_path_factory.mktemp("running")
    c = Cluster(folder, ["speed"], {"ask": {"script": ASK}, "torn": folder, "shards": folder}, ROLES)
    whole = c.paths["ask"].read_bytes()
    c.paths["torn"].write_bytes(whole[:5000])
    c.paths["shards"] = c.paths["shards"].with_name("shards-00001-of-00002.gguf")
    c.paths["shards"].write_bytes(whole)
    c.write_map()
    try:
        yield c.start()
    finally:
        c.stop()


@pytest.mark.parametrize("change,line", [
    (("reserve: 100MiB", "reserve: plenty"), ":4:{col}: error: reserve: "),
    (("reserve: 100MiB", "reserve: 12"), ":4:{col}: error: reserve: "),
    (("reserve: 100MiB", "reserve: 99999999TiB"), ":4:{col}: error: reserve: "),
    (("context: 1Ki", "context: 1KiB"), ": error: context: "),
    (("context: 1Ki", "context: -1"), ": error: context: "),
    (("slots: 1", "slots: 1, nodes: [sped]"), ": error: there is no node 'sped'; did you mean 'speed'?"),
    (("model: ask", "model: aks"), ": error: there is no model 'aks'; did you mean 'ask'?"),
])
def test_a_map_with_a_mistake_leaves_the_plan_as_it_is(running, change, line):
    c = running
    good = c.map.read_text()
    pid, failures = c.host("ask")["pid"], c.get("/api/v1/map")["failures"]
    bad = good.replace(*change, 1)
    assert bad != good
    c.map.write_text(bad)
    at = bad.splitlines()[3].find("reserve: ") + len("reserve: ") + 1
    told = len(c.gateway.log())
    c.gateway.signal(signal.SIGHUP)
    wait_for("refused", lambda: c.get("/api/v1/map")["failures"] > failures)
    c.map.write_text(good)
    lines = [x for x in c.gateway.log()[told:].splitlines() if ": error: " in x]
    assert len(lines) == 1 and f"{c.map}:" in lines[0] and line.format(col=at) in lines[0], lines
    assert c.answer("ask")["choices"][0]["message"]["content"] == ASK and c.host("ask")["pid"] == pid


@pytest.mark.parametrize("name,role,words", [
    ("context beyond the model's", "model: ask, context: 8Ki", ["ask.gguf", "8192 tokens", "4096"]),
    ("half a file", "model: torn", ["torn.gguf", "offset 49", "exceeds the file"]),
    ("a shard that is missing", "model: shards", ["shards-00001-of-00002.gguf"]),
    ("no such file", "model: gone", ["gone.gguf", "no such file"]),
])
def test_a_role_that_no_node_can_host_says_why_and_leaves_the_others(running, name, role, words):
    c = running
    c.paths.setdefault("gone", c.models / "gone.gguf")
    pid, told = c.host("ask")["pid"], len(c.gateway.log())
    good, new = c.map.read_text(), "".join(x for x in name if x.isalpha())
    c.roles = {**ROLES, new: f"{role}, slots: 1"}
    try:
        c.write_map()
        c.gateway.signal(signal.SIGHUP)
        host = wait_for("it failed", lambda: (h := c.host(new)) and h["state"] == "failed" and h)
        lines = wait_for("it is told", lambda: [x for x in c.gateway.log()[told:].splitlines() if "cannot host a role" in x])
        assert len(lines) == 1 and f"role={new}" in lines[0] and "node=speed" in lines[0], lines
        for word in words:
            assert word in lines[0] and word in host["last_error"]["text"], (name, lines, host["last_error"])
        status, _, body = c.chat(new)
        assert status == 503 and new in json.loads(body)["error"]["message"]
        assert c.answer("ask")["choices"][0]["message"]["content"] == ASK and c.host("ask")["pid"] == pid
    finally:
        c.roles = dict(ROLES)
        c.map.write_text(good)
        c.gateway.signal(signal.SIGHUP)
        wait_for("it is gone", lambda: c.role(new) is None)


# ---- what the difference says is what happens ----

BASE = {"modes": "[ask]", "model": "ask", "context": "1Ki", "slots": 1, "nodes": "[speed, reasoning]"}
TOUCHED = [
    ({"context": "2Ki"}, "replaced"), ({"slots": 2}, "replaced"), ({"kv": "q8_0"}, "replaced"), ({"batch": 64}, "replaced"),
    ({"threads": 1}, "replaced"), ({"gpu_layers": 0}, "replaced"), ({"model": "same"}, "replaced"), ({"model": "other"}, "replaced"),
    ({"modes": "[ask, question]"}, None), ({"fallback": "[rest]"}, None), ({"queue_max": 3}, None), ({"queue_deadline": "7s"}, None),
    ({"idle_unload": "5m"}, None), ({"lane": "batch"}, None), ({"residency": "pinned"}, "replanned"), ({"overcommit": "swap"}, "replanned"),
    ({"nodes": "[speed]"}, "replanned"), ({"nodes": None, "deny": "[reasoning]"}, "replanned"), ({"replicas": 2}, "replanned"),
]


@pytest.mark.slow
def test_an_edit_touches_the_hosts_that_the_difference_names_and_no_other(tmp_path):
    """Each edit of one role, beside a role that is never named. What is to be replaced is, what stays fits and stays:
    that the gateway has acted on the map is seen by a role that comes with each edit."""
    models = {"ask": {"script": ASK, "embd": 128}, "other": {"script": "Something else."}}
    rest = "modes: [rest], model: other, context: 512, slots: 1, nodes: [speed]"
    c = Cluster(tmp_path, ["speed", "reasoning"], models, {"rest": rest})
    c.paths["same"] = c.paths["ask"]  # another name for the same file

    def text(change, mark):
        keys = {k: v for k, v in {**BASE, **change}.items() if v is not None}
        c.roles = {"ask": ", ".join(f"{k}: {v}" for k, v in keys.items()), "rest": rest,
                   f"mark{mark}": "model: other, context: 512, slots: 1, nodes: [speed]"}
        return c.map_text()

    def post(body, dry_run):
        status, _, answer = call(c.port, "POST", "/api/v1/map" + ("?dry_run=1" if dry_run else ""), body, {**YAML, "If-Match": "*"})
        assert status == 200, answer
        return json.loads(answer)

    def host_of(role):
        """The one that it has; None while there are two, one of them on its way out."""
        hosts = [h for h in c.role(role)["hosts"] if h["state"] != "absent"]
        return hosts[0] if len(hosts) == 1 and hosts[0]["state"] in ("ready", "busy") else None

    c.write_map(text({}, 0))
    try:
        c.start()
        rest_pid = c.host("rest")["pid"]
        for n, (change, fate) in enumerate(TOUCHED, 1):
            before = wait_for("ask stands alone", lambda: host_of("ask"))
            node = before["node"]
            if "nodes" in change or "deny" in change:  # where it stands stays allowed
                change = {k: v.replace("speed", node) if k == "nodes" and v else v for k, v in change.items()}
                if "deny" in change:
                    change["deny"] = f"[{'speed' if node == 'reasoning' else 'reasoning'}]"
            edit = text(change, 2 * n)
            told = {(h["role"], h["fate"]) for x in post(edit, True)["changes"] for h in x["hosts"]}
            assert {f for role, f in told if role == "ask"} == ({fate} if fate else set()), (change, told)
            assert not any(role == "rest" for role, _ in told), told
            post(edit, False)
            c.wait_ready(f"mark{2 * n}")
            if fate == "replaced":
                wait_for(f"{change}: replaced", lambda before=before: (h := host_of("ask")) and h["pid"] != before["pid"])
            else:
                assert before["pid"] in {h["pid"] for h in c.role("ask")["hosts"] if h["state"] in ("ready", "busy")}, change
            assert c.host("rest")["pid"] == rest_pid
            post(text({}, 2 * n + 1), False)  # and back
            c.wait_ready(f"mark{2 * n + 1}")
            if fate == "replaced":
                wait_for(f"{change}: back", lambda: (h := host_of("ask")) and h["slots_total"] == 1 and h["context"] == 1024)
    finally:
        c.stop()


@pytest.mark.parametrize("change,words", [
    ({"context": "8Ki"}, ["8192", "4096"]),
    ({"model": "torn"}, ["torn.gguf"]),
])
def test_a_change_that_cannot_be_hosted_leaves_the_host_that_runs(tmp_path, change, words):
    """The role itself is changed to what no node can host: its old host goes on, and it is said why."""
    c = Cluster(tmp_path, ["speed"], {"ask": {"script": ASK}, "torn": tmp_path}, {})
    c.paths["torn"].write_bytes(c.paths["ask"].read_bytes()[:5000])

    def text(more):
        keys = {"modes": "[ask]", "model": "ask", "context": "1Ki", "slots": 1, **more}
        c.roles = {"ask": ", ".join(f"{k}: {v}" for k, v in keys.items())}
        return c.map_text()

    c.write_map(text({}))
    try:
        c.start()
        pid = c.host("ask")["pid"]
        c.write_map(text(change))
        c.gateway.signal(signal.SIGHUP)
        lines = wait_for("it is told", lambda: [x for x in c.gateway.log().splitlines() if "cannot host a role" in x])
        assert len(lines) == 1 and "role=ask" in lines[0] and "node=speed" in lines[0] and all(w in lines[0] for w in words), lines
        for n in range(5):
            assert c.answer("ask", f"request {n}")["choices"][0]["message"]["content"] == ASK
        state = next(h for h in c.node_state("speed")["hosts"] if h["role"] == "ask")
        assert (state["pid"], state["state"]) == (pid, "ready"), state
        c.write_map(text({"slots": 2}))  # and what can be hosted is
        c.gateway.signal(signal.SIGHUP)
        wait_for("replaced", lambda: (h := c.host("ask")) and h["slots_total"] == 2 and h["state"] == "ready")
        assert c.answer("ask")["choices"][0]["message"]["content"] == ASK
    finally:
        c.stop()


def test_a_map_that_cannot_fit_says_by_how_much_and_leaves_what_runs(tmp_path):
    """A role that is too large for every node, and one change too many: a role that runs is asked to grow over the budget."""
    c = Cluster(tmp_path, ["speed"], {"ask": {"script": ASK}}, ROLES)
    try:
        c.start()
        pid, total = c.host("ask")["pid"], c.node_state("speed")["memory"]["total"]
        tight = c.map_text().replace("reserve: 100MiB", f"reserve: {(total >> 20) - 64}MiB")
        large = "model: ask, context: 4Ki, slots: 64"  # its KV memory alone is 64 MiB
        for text, role in ((tight + f"  big: {{ {large} }}\n", "big"), (tight.replace(ROLES["ask"], f"modes: [ask], {large}"), "ask")):
            c.write_map(text)
            c.gateway.signal(signal.SIGHUP)
            short = wait_for("it is told", lambda role=role: next((s for s in c.get("/api/v1/roles")["shortfalls"] if s["role"] == role and s["missing_bytes"]), None))
            assert 1 << 20 < short["missing_bytes"] < 1 << 30 and short["reason"], short
            assert c.answer("ask")["choices"][0]["message"]["content"] == ASK
            state = next(h for h in c.node_state("speed")["hosts"] if h["role"] == "ask")
            assert (state["pid"], state["state"]) == (pid, "ready"), state
        assert not any(h["role"] == "big" for h in c.node_state("speed")["hosts"])
        c.write_map()
        c.gateway.signal(signal.SIGHUP)
        wait_for("nothing is short", lambda: not c.get("/api/v1/roles")["shortfalls"])
        assert c.host("ask")["pid"] == pid
    finally:
        c.stop()
