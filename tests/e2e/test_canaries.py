# SPDX-License-Identifier: MIT
"""Keys, prompts and answers that nobody could mistake for something else go through a whole cluster: real gateway, workers and
engines, streams that end well, are left, break with their engine, are refused. Afterwards none of them stands in a log, a file of a
state directory, a metric, an answer of an API, the page, or the command line or environment of a process."""
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess

import pytest

from browser_rig import browser, page_of
from cluster_rig import Cluster, call
from rig import TOP, alive, chat_of, program, wait_for

PROMPT, ANSWER = "canary prompt 7f3a91c2 walks", "canary answer 5d2e88b1 sings and sings and goes on for a while so that it can be cut"
WORDS = ("7f3a91c2", "5d2e88b1")


class Watched(Cluster):
    """A cluster with keys; remembers every process that it had."""

    def __init__(self, folder):
        models = {"talker": {"embd": 128, "script": ANSWER, "loop": 1}}
        roles = {role: f"modes: [{role}], model: talker, context: 512, slots: 2, nodes: [{node}]" for role, node in (("ask", "speed"), ("code", "reasoning"))}
        super().__init__(folder, ("speed", "reasoning"), models, roles)
        (self.folder / "state-gateway").mkdir(mode=0o700)
        self.boss = self.make_key("boss", "--admin")
        self.seen = {}

    def make_key(self, name, *options):
        argv = [program("rolemesh"), "keys", "create", name, *options, "--state-dir", self.folder / "state-gateway"]
        return subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True).stdout.strip()

    def get(self, path):
        try:
            status, _, body = call(self.port, "GET", path, headers={"x-api-key": self.boss}, timeout=5)
            return json.loads(body) if status == 200 else None
        except OSError:
            return None

    def look(self):
        """Keeps what the processes of this cluster show of themselves to others."""
        for p in [self.gateway, *self.workers.values()]:
            family = [p.pid, *children(p.pid)]
            for pid in family:
                for name in ("cmdline", "environ", "comm"):
                    try:
                        self.seen[pid, name] = pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
                    except OSError:
                        pass  # it has just ended


def children(pid):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


def routes(policy):
    text = (TOP / "gateway" / "ops" / "routes.c").read_text()
    return [path for path, p in re.findall(r'\{HTTP_GET,\s+"([^"]+)",\s*OPS_(\w+),', text) if p in policy]


def talk(c, key, mode, text, form, stream=False, cut=False):
    """One chat with the key carried in that form; returns the status."""
    fields = {"Content-Type": "application/json"}
    path = f"/{mode}/v1/chat/completions"
    if form == "path":
        path = f"/k/{key}{path}"
    else:
        fields[form] = f"Bearer {key}" if form == "Authorization" else key
    connection = http.client.HTTPConnection("127.0.0.1", c.port, timeout=60)
    connection.request("POST", path, json.dumps(chat_of(text, stream=stream, max_tokens=60)), fields)
    response = connection.getresponse()
    body = response.read(200) if cut else response.read()
    connection.close()
    return response.status, body


def test_secrets_are_seen_nowhere(tmp_path):
    c = Watched(tmp_path)
    user = c.make_key("editor", "--roles", "ask,code")
    wrong = user[:20] + ("A" if user[20] != "A" else "B") + user[21:]
    answers = []
    try:
        c.start()
        for form in ("Authorization", "x-api-key", "api-key", "path"):
            for mode in ("ask", "code"):
                status, body = talk(c, user, mode, PROMPT, form)
                assert status == 200 and WORDS[1].encode() in body  # they do go through
            assert talk(c, wrong, "ask", PROMPT, form)[0] == 401
        c.look()
        assert talk(c, user, "ask", PROMPT, "api-key", stream=True)[0] == 200
        talk(c, user, "ask", PROMPT, "api-key", stream=True, cut=True)  # its client leaves
        refused, _ = talk(c, user, "ask", f"{PROMPT} " * 400, "api-key")  # more than the context
        assert refused == 400
        status, _, body = call(c.port, "POST", "/api/v1/session", {"key": user})
        assert status == 200
        answers.append(body)
        for bad in (f"/api/v1/nodes?key={user}", f"/{user}/v1/models", f"/code/k/{user}/v1/models"):
            call(c.port, "GET", bad, headers={"api-key": user})

        # An engine dies in the middle of an answer: its last lines, the worker's and the gateway's words on it are kept.
        stream = http.client.HTTPConnection("127.0.0.1", c.port, timeout=60)
        stream.request("POST", "/code/v1/chat/completions", json.dumps(chat_of(PROMPT, stream=True, max_tokens=400)),
                       {"Content-Type": "application/json", "x-api-key": user})
        stream.getresponse().read(100)
        pid = c.host("code")["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for("the engine gone", lambda: not alive(pid))
        wait_for("told", lambda: (c.host("code") or {}).get("last_error") or (c.host("code") or {}).get("restarts"))
        stream.close()
        c.wait_ready("code")
        c.look()
        status, _, body = call(c.port, "POST", "/api/v1/hosts/ask/speed/evict", headers={"x-api-key": c.boss})
        answers.append(body)
        wait_for("history of it all", lambda: (c.get("/api/v1/usage") or {"usage": []})["usage"], 30)

        ids = [r["id"] for r in c.get("/api/v1/requests")["requests"]]
        assert len(ids) >= 10
        paths = [p for p in routes(("USER", "ADMIN", "SCRAPE", "OPEN")) if "{" not in p]
        paths += [f"/api/v1/requests/{i}{more}" for i in ids[:20] for more in ("", "/why")]
        for path in paths:
            status, fields, body = call(c.port, "GET", path, headers={"x-api-key": c.boss})
            answers += [body, str(fields).encode()]
        for port in c.ports.values():
            for path in ("/metrics", "/node/v1/state", "/node/v1/ledger", "/node/v1/models", "/node/v1/logs", "/node/v1/pulls"):
                answers.append(call(port, "GET", path)[2])
        for shown in (["ps"], ["events"], ["why", ids[0]], ["usage"], ["status"], ["nodes"], ["logs"]):
            done = subprocess.run([program("rolemesh"), *shown, "--gateway", f"http://127.0.0.1:{c.port}"], capture_output=True, timeout=60,
                                  env={**os.environ, "ROLEMESH_KEY": c.boss}, check=False)
            answers += [done.stdout, done.stderr]
        answers += page_texts(c)
        c.look()
    finally:
        c.stop()
    found = [*answers, *c.seen.values()]
    found += [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and "models" not in p.relative_to(tmp_path).parts]
    assert sum(b"editor" in text for text in answers) >= 3  # what should be seen is there
    assert len([pid for pid, name in c.seen if name == "cmdline"]) >= 5  # gateway, workers, engines
    for secret in (user, wrong, c.boss, *WORDS):
        places = [text[max(0, text.find(secret.encode()) - 80):][:200] for text in found if secret.encode() in text]
        assert not places, (secret[:8], places[:3])


def page_texts(c):
    """The page's document and what it asked for, after its user has signed in and looked around; [] where there is no browser."""
    url = f"http://127.0.0.1:{c.port}"
    try:
        with browser() as b, page_of(b, f"{url}/healthz") as page:
            assert page.request.post(f"{url}/api/v1/session", data={"key": c.boss}).ok  # its cookie is the page's as well
            texts = []
            for view in ("", "#requests", "#plan", "#history", "#events"):
                page.goto(f"{url}/dashboard/{view}")
                wait_for("the live stream", lambda: "2/2" in page.inner_text("body"))  # nodes that are up
                if view == "#requests":
                    wait_for("the key's name", lambda: "editor" in page.inner_text("main"))
                texts.append(page.content().encode())
            return [*texts, "\n".join(page.asked).encode(), json.dumps(page.context.storage_state()["origins"]).encode()]
    except pytest.skip.Exception:
        return []
