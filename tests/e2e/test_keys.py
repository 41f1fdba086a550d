# SPDX-License-Identifier: MIT
"""API keys before a running gateway: the matrix route x method x sender, where keys may never be seen, limits through the
official client, and the command. The gateway is real, its workers are scripted."""
import http.client
import itertools
import json
import os
import pathlib
import re
import subprocess
import time

import pytest

from fake_worker import HEAD_SSE, FakeWorker, part
from rig import SLOW, TOP, Process, ask, chat_of, program, wait_for

ROLE_MAP = """
version: 1
gateway: {{ listen: ["{listen}"{more}], log_level: debug, queue_deadline: 5s }}
nodes:
  n1: {{ address: "{worker}" }}
models:
  m: {{ source: "attach:fake" }}
roles:
  ask: {{ modes: [ask], model: m, context: 4Ki, slots: 8, engine: {{ kind: attach, url: "http://127.0.0.1:9" }} }}
  code: {{ modes: [code], model: m, context: 4Ki, slots: 8, lane: batch, engine: {{ kind: attach, url: "http://127.0.0.1:9" }} }}
"""
PROMPT = "canary-prompt-7f3a91c2"


class Keyed:
    """A gateway, its state directory and the command on both."""

    def __init__(self, folder):
        self.folder, self.state, self.worker = folder, folder / "state", FakeWorker("n1")
        self.map, self.addr = folder / "map.yaml", folder / "addr"
        self.process, self.port = None, 0
        self.map.write_text(ROLE_MAP.format(listen="127.0.0.1:0", more="", worker=self.worker.address))

    def start(self):
        self.addr.unlink(missing_ok=True)
        argv = [program("rolemesh-gateway"), "--role-map", self.map, "--state-dir", self.state, "--addr-file", self.addr]
        self.process = Process(argv, self.folder / "gateway.log")
        wait_for("the gateway's address", lambda: self.addr.exists() and self.addr.read_text().endswith("\n"))
        self.port = int(self.addr.read_text().split()[0].rsplit(":", 1)[1])
        return self

    def wait_hosts(self, key):
        fields = {"Authorization": f"Bearer {key}"}
        wait_for("ready hosts", lambda: self.ask("GET", "/api/v1/roles", fields=fields).body.count(b'"hosts_ready":1') == 2)

    def stop(self):
        self.worker.close()
        if self.process is not None and self.process.running:
            assert self.process.stop() == 0

    def ask(self, method, path, body=None, fields=None):
        return ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30 * SLOW), method, path, body, fields)

    def keys(self, *args, code=0, **more):
        where = [] if "--gateway" in args else ["--state-dir", self.state]
        done = subprocess.run([str(a) for a in (program("rolemesh"), "keys", *args, *where)], capture_output=True, text=True,
                              timeout=30 * SLOW, **more)
        assert done.returncode == code, done.stderr
        return done

    def make(self, name, *args):
        text = self.keys("create", name, *args).stdout
        assert re.fullmatch(r"rm-[A-Za-z0-9_-]{48}\n", text)
        return text.strip()

    def takes(self, key):
        """Waits until the gateway has noticed the key."""
        wait_for("the gateway knows the key", lambda: self.ask("GET", "/v1/models", fields={"api-key": key}).status == 200)


@pytest.fixture
def keyed(tmp_path):
    k = Keyed(tmp_path)
    try:
        yield k
    finally:
        k.stop()


# ---- the matrix ----

SENDERS = ["none", "wrong", "mistyped", "expired", "revoked", "wrong role", "user", "admin"]
BAD = SENDERS[:5]
FORMS = ["authorization", "x-api-key", "api-key", "path"]


def row(default, **more):
    """The status of each sender: `default` for a sequence of groups, then single ones."""
    bad, other, user, admin = default
    return {**{s: bad for s in BAD}, "wrong role": other, "user": user, "admin": admin, **more}


OPEN = row((200, 200, 200, 200))
# Editors' endpoints: method, path, body, and what each sender gets. The user may use the role ask; "wrong role" may use code.
EDITORS = [
    ("GET", "/", None, OPEN),
    ("HEAD", "/", None, OPEN),
    ("GET", "/api/hello", None, OPEN),
    ("OPTIONS", "/ask/v1/chat/completions", None, row((204, 204, 204, 204))),
    ("GET", "/api/v1/chat/completions", None, row((404, 404, 404, 404))),
    ("GET", "/ask", None, row((401, 403, 200, 200))),
    ("GET", "/v1/models", None, row((401, 200, 200, 200))),
    ("HEAD", "/v1/models", None, row((401, 200, 200, 200))),
    ("GET", "/ask/v1/models", None, row((401, 403, 200, 200))),
    ("GET", "/v1/models/ask", None, row((401, 403, 200, 200))),
    ("GET", "/nobody/v1/models", None, row((401, 404, 404, 404))),
    ("GET", "/v1/nonsense", None, row((401, 404, 404, 404))),
    ("DELETE", "/ask/v1/models", None, row((401, 405, 405, 405))),
    ("GET", "/ask/v1/chat/completions", None, row((401, 405, 405, 405))),
    ("POST", "/ask/v1/chat/completions", chat_of("hi"), row((401, 403, 200, 200))),
    ("POST", "/ask/v1/completions", {"prompt": "hi"}, row((401, 403, 200, 200))),
    ("POST", "/v1/chat/completions", chat_of("hi", model="ask"), row((401, 403, 200, 200))),
    ("POST", "/v1/completions", {"prompt": "hi", "model": "ask"}, row((401, 403, 200, 200))),
    *(("POST", f"/ask{path}", {}, row((401, 403, 501, 501)))
      for path in ("/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings", "/v1/rerank", "/infill", "/tokenize",
                   "/completion", "/detokenize", "/apply-template", "/api/chat", "/api/generate", "/api/embed", "/api/show")),
    *(("GET", f"/ask{path}", None, row((401, 403, 501, 501))) for path in ("/api/tags", "/api/ps", "/api/version", "/props", "/slots")),
]


def ops_routes():
    """The table of the ops API as it is in the source: method, path, policy."""
    text = (TOP / "gateway" / "ops" / "routes.c").read_text()
    rows = re.findall(r'\{HTTP_(\w+),\s+"([^"]+)",\s*OPS_(\w+),', text)
    assert len(rows) >= 15
    return rows


def ops_expected(policy):
    """None: whatever the handler says, as long as it is no refusal."""
    if policy in ("OPEN", "SCRAPE"):  # the test's own peer is the loopback
        return row((None, None, None, None))
    return row((401, None, None, None)) if policy == "USER" else row((401, 403, 403, None))


def sender_keys(k):
    keys = {"none": None, "wrong": "rm-" + "A" * 48, "user": k.make("user", "--roles", "ask"), "wrong role": k.make("other", "--roles", "code"),
            "admin": k.make("boss", "--admin"), "revoked": k.make("revoked"), "expired": k.make("expired", "--expires", "1s")}
    keys["mistyped"] = keys["user"][:20] + ("A" if keys["user"][20] != "A" else "B") + keys["user"][21:]
    k.keys("revoke", "revoked")
    listed = lambda: {e["name"]: e["state"] for e in json.loads(k.keys("list", "--json").stdout)}
    wait_for("a key expires", lambda: listed()["expired"] == "expired")
    return keys


def carried(form, path, key):
    """Path and fields of a request with the key in that form."""
    if key is None:
        return path, {}
    if form == "path":
        return f"/k/{key}{path}", {}
    return path, {form: f"Bearer {key}" if form == "authorization" else key}


def test_matrix(keyed):
    keys = sender_keys(keyed)
    keyed.start().wait_hosts(keys["admin"])
    wrong, n = [], 0
    for (method, path, body, expected), sender, form in itertools.product(EDITORS, SENDERS, FORMS):
        target, fields = carried(form, path, keys[sender])
        if form == "path" and path.startswith("/api/v1"):
            continue
        a = keyed.ask(method, target, body, fields)
        n += 1
        good = a.status == expected[sender] and (a.status != 401 or "Bearer" in a.headers["WWW-Authenticate"])
        if good and a.status in (401, 403) and method != "HEAD":
            good = a.error["code"] == {401: "invalid_api_key", 403: "permission_denied"}[a.status] and a.error["message"]
        if not good:
            wrong.append((method, path, sender, form, a.status, expected[sender]))
    for (method, path, policy), sender, form in itertools.product(ops_routes(), SENDERS, FORMS[:3]):
        if path == "/api/v1/keys" and method == "POST":
            body = {"name": f"made-{n}"}
        else:
            body = None if method in ("GET", "DELETE") else {}
        target, fields = carried(form, re.sub(r"\{\w+\}", "nobody", path), keys[sender])
        a = keyed.ask(method, target, body, fields)
        n += 1
        expected = ops_expected(policy)[sender]
        if a.status != expected and (expected is not None or a.status in (401, 403)):
            wrong.append((method, path, sender, form, a.status, expected))
    assert not wrong, f"{len(wrong)} of {n}: {wrong[:20]}"
    assert n > 1500


# ---- sessions ----


def sign_in(k, key, **fields):
    """The answer, and the cookie as a browser would send it."""
    a = k.ask("POST", "/api/v1/session", {"key": key}, fields)
    cookie = a.headers.get("Set-Cookie")
    return a, cookie and cookie.split(";")[0]


def test_matrix_of_cookies(keyed):
    """Route x method x cookie x what CSRF would lack."""
    keys = {"user": keyed.make("user", "--roles", "ask"), "admin": keyed.make("boss", "--admin"), "revoked": keyed.make("gone", "--admin"),
            "expired": keyed.make("brief", "--admin", "--expires", "4s"), "ended": keyed.make("left", "--admin")}
    keyed.start().wait_hosts(keys["admin"])
    signed = {name: sign_in(keyed, key) for name, key in keys.items()}
    for name, (a, cookie) in signed.items():
        assert a.status == 200 and set(a.json()) == {"name", "admin", "expires_s"} and a.json()["admin"] == (name != "user")
        assert re.fullmatch(r"rolemesh_session=[A-Za-z0-9_-]{43}; Max-Age=\d+; Path=/; HttpOnly; SameSite=Strict", a.headers["Set-Cookie"])
        assert 0 < a.json()["expires_s"] <= (4 if name == "expired" else 12 * 3600)
        assert keyed.ask("GET", "/api/v1/status", fields={"Cookie": cookie}).status == 200
    cookies = {name: cookie for name, (_, cookie) in signed.items()}
    cookies.update({"none": "a=b", "wrong": "rolemesh_session=" + "A" * 43, "a key": "rolemesh_session=" + keys["admin"]})
    keyed.keys("revoke", "gone")
    assert keyed.ask("DELETE", "/api/v1/session", fields={"Cookie": cookies["ended"], "X-Rolemesh-Action": "1"}).status == 204
    for name in ("revoked", "expired"):
        wait_for(f"the end of the session: {name}", lambda: keyed.ask("GET", "/api/v1/status", fields={"Cookie": cookies[name]}).status == 401)
    own = f"http://127.0.0.1:{keyed.port}"
    bare = [{}, {"Origin": own}]
    foreign = [{"X-Rolemesh-Action": "1", "Origin": o} for o in ("http://evil.example", "null", own + "0", own[:-1], "http://localhost:1")]
    foreign += [{"X-Rolemesh-Action": "1", "Sec-Fetch-Site": s} for s in ("same-site", "cross-site")] + [{"X-Rolemesh-Action": "0"}]
    good = [{"X-Rolemesh-Action": "1"}, {"X-Rolemesh-Action": "1", "Origin": own, "Sec-Fetch-Site": "same-origin"}]
    wrong, n = [], 0
    for (method, path, policy), (name, cookie) in itertools.product(ops_routes(), cookies.items()):
        for fields in (*bare, *foreign, *good):
            if path == "/api/v1/session":
                continue
            body = None if method in ("GET", "DELETE") else {"name": f"c{n}"} if path == "/api/v1/keys" else {}
            a = keyed.ask(method, re.sub(r"\{\w+\}", "nobody", path), body, {**fields, "Cookie": cookie})
            n += 1
            if policy in ("OPEN", "SCRAPE"):
                expected = 401 if policy == "SCRAPE" and ("Origin" in fields or "Sec-Fetch-Site" in fields) else None  # no cookie outside of /api/v1/
            elif name not in ("user", "admin"):
                expected = 401
            elif policy == "ADMIN":
                expected = None if name == "admin" and (method == "GET" or fields in good) else 403
            else:
                expected = None if method == "GET" or fields in good else 403
            if a.status != expected and (expected is not None or a.status in (401, 403)):
                wrong.append((method, path, name, fields, a.status, expected))
    for (method, path, body, expected), (name, cookie) in itertools.product(EDITORS, cookies.items()):  # the cookie is nothing to them
        a = keyed.ask(method, path, body, {**good[0], "Cookie": cookie})
        n += 1
        if a.status != expected["none"]:
            wrong.append((method, path, name, a.status, expected["none"]))
    assert not wrong, f"{len(wrong)} of {n}: {wrong[:20]}"
    assert n > 2000


def test_who_am_i(keyed):
    keyed.start()
    nobody = {"name": None, "admin": False, "keys_exist": True, "expires_s": None}
    ask_me = lambda **fields: keyed.ask("GET", "/api/v1/session", fields=fields).json()
    assert ask_me() == {**nobody, "admin": True, "keys_exist": False}  # an operator on this machine
    assert ask_me(Origin=f"http://127.0.0.1:{keyed.port}") == {**nobody, "keys_exist": False}  # a page is not
    a, cookie = sign_in(keyed, "rm-" + "A" * 48)
    assert a.status == 401 and cookie is None and "no API key exists yet" in a.json()["detail"] and "Bearer" in a.headers["WWW-Authenticate"]
    boss, user = keyed.make("boss", "--admin"), keyed.make("user")
    wait_for("the gateway knows the keys", lambda: ask_me(Authorization=f"Bearer {user}")["name"] == "user")
    assert ask_me() == nobody
    assert ask_me(Authorization=f"Bearer {user}") == {**nobody, "name": "user"}
    assert ask_me(Authorization="Bearer rm-x") == nobody
    _, cookie = sign_in(keyed, boss)
    me = ask_me(Cookie=cookie)
    assert {**me, "expires_s": None} == {**nobody, "name": "boss", "admin": True} and 11 * 3600 < me["expires_s"] <= 12 * 3600
    fields = {"Cookie": cookie, "x-api-key": user}
    assert keyed.ask("GET", "/api/v1/session", fields=fields).json() == {**nobody, "name": "user"}  # the key that is shown counts
    assert keyed.ask("GET", "/api/v1/keys", fields={**fields, "x-api-key": "rm-x"}).status == 401
    a, second = sign_in(keyed, user, Cookie=cookie, **{"X-Rolemesh-Action": "1"})
    assert a.status == 200 and ask_me(Cookie=second)["name"] == "user" and ask_me(Cookie=cookie) == nobody  # the first has ended
    a = keyed.ask("DELETE", "/api/v1/session", fields={"Cookie": second})
    assert a.status == 403 and ask_me(Cookie=second)["name"] == "user"
    a = keyed.ask("DELETE", "/api/v1/session", fields={"Cookie": second, "X-Rolemesh-Action": "1"})
    assert a.status == 204 and a.body == b"" and "rolemesh_session=; Max-Age=0" in a.headers["Set-Cookie"]
    assert ask_me(Cookie=second) == nobody
    assert keyed.ask("DELETE", "/api/v1/session").status == 204


def test_signing_in_takes_a_key_and_nothing_else(keyed):
    boss = keyed.make("boss", "--admin")
    keyed.start()
    wait_for("the gateway knows the key", lambda: keyed.ask("GET", "/v1/models").status == 401)
    for body, status in (({}, 400), ({"key": 1}, 400), ({"key": boss, "more": 1}, 400), ([], 400), ({"key": ""}, 401), ({"key": boss + "x"}, 401),
                         ({"key": boss + "\0"}, 400), ({"key": "x" * 900}, 401), ({"key": "x" * 1100}, 413), ({"key": boss}, 200)):
        a = keyed.ask("POST", "/api/v1/session", body)
        assert a.status == status, (body, a.status, a.body)
        assert ("Set-Cookie" in a.headers) == (status == 200) and boss.encode() not in a.body
    own = f"127.0.0.1:{keyed.port}"
    for fields, status in (({"Origin": "http://" + own}, 200), ({"Origin": "https://" + own}, 200), ({"Origin": "http://evil.example"}, 403),
                           ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Content-Type": "text/plain"}, 415),
                           ({"Content-Type": "application/x-www-form-urlencoded"}, 415), ({"Content-Encoding": "gzip"}, 415)):
        a, cookie = sign_in(keyed, boss, **fields)
        assert a.status == status, (fields, a.status)
        if status == 200:
            assert a.headers["Set-Cookie"].endswith("; Secure") == fields["Origin"].startswith("https")
    process = keyed.process
    assert process.stop() == 0
    assert boss not in process.log()
    keyed.start()  # and no session outlives its gateway
    a, cookie = sign_in(keyed, boss)
    assert keyed.process.stop() == 0
    keyed.start()
    assert keyed.ask("GET", "/api/v1/status", fields={"Cookie": cookie}).status == 401


def test_models_lists_what_a_key_may_use(keyed):
    keys = {name: keyed.make(name, *more) for name, more in
            {"all": [], "ask": ["--roles", "ask"], "batch": ["--lanes", "batch"], "none": ["--roles", "gone"]}.items()}
    keyed.start()
    seen = {name: {m["id"] for m in keyed.ask("GET", "/v1/models", fields={"x-api-key": key}).json()["data"]} for name, key in keys.items()}
    assert seen == {"all": {"ask", "code"}, "ask": {"ask"}, "batch": {"code"}, "none": set()}
    a = keyed.ask("POST", "/ask/v1/chat/completions", chat_of("hi"), {"x-api-key": keys["batch"]})
    assert a.status == 403 and "lane" in a.error["message"]


# ---- where keys and prompts are never seen ----


def test_keys_and_prompts_are_seen_nowhere(keyed):
    key, boss = keyed.make("canary", "--roles", "ask"), keyed.make("boss", "--admin")
    keyed.start().wait_hosts(boss)
    wrong = key[:20] + ("A" if key[20] != "A" else "B") + key[21:]
    answers = []
    for k, path in itertools.product((key, wrong), ("/ask/v1/chat/completions", "/code/v1/chat/completions", "/v1/nonsense", "/nobody/v1/models", "/ask/v1")):
        for form in FORMS:
            target, fields = carried(form, path, k)
            answers.append(keyed.ask("POST", target, chat_of(PROMPT), fields))
        answers.append(keyed.ask("POST", f"/{k}{path}", chat_of(PROMPT), {"api-key": key}))  # where a mode should stand
        answers.append(keyed.ask("POST", f"/code/k/{k}/v1/chat/completions", chat_of(PROMPT), {"api-key": key}))
    assert 200 in {a.status for a in answers}
    for path in ("/metrics", "/api/v1/keys", *(p for m, p, policy in ops_routes() if m == "GET" and "{" not in p and p != "/api/v1/events")):
        answers.append(keyed.ask("GET", path, fields={"api-key": boss}))
    assert any(b'"canary"' in a.body for a in answers)
    found = [a.body for a in answers] + [str(a.headers).encode() for a in answers]
    found.append(keyed.process.log().encode())
    found += [p.read_bytes() for p in keyed.state.rglob("*") if p.is_file()]
    found += [pathlib.Path(f"/proc/{keyed.process.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    for secret in (key, wrong, boss, PROMPT):
        assert not any(secret.encode() in text for text in found), secret[:8]
    sent = b"".join(r.raw for r in keyed.worker.requests) + "".join(r.path for r in keyed.worker.requests).encode()
    assert PROMPT.encode() in sent and key.encode() not in sent


def test_no_key_goes_to_a_worker(keyed):
    key = keyed.make("user")
    heads = []

    def keep(c):
        heads.append(c.head)
        c.good("hi")

    keyed.worker.script = keep
    keyed.start().wait_hosts(key)
    for form in FORMS:
        target, fields = carried(form, "/ask/v1/chat/completions", key)
        assert keyed.ask("POST", target, chat_of("hi"), {**fields, "Cookie": sign_in(keyed, key)[1]}).status == 200
    assert len(heads) == 4
    for head in heads:
        assert key.encode() not in head and b"authorization" not in head.lower() and b"api-key" not in head.lower()
        assert b"cookie" not in head.lower()


# ---- limits ----


def test_concurrency_counts_what_runs(keyed):
    openai = pytest.importorskip("openai")
    key, boss = keyed.make("limited", "--concurrency", "1"), keyed.make("boss", "--admin")
    keyed.start().wait_hosts(boss)
    held = []

    def hold(c):
        held.append(c)
        if len(held) == 1:  # until the second request has been refused
            wait_for("a refusal", lambda: b"over its limit" in refused(), seconds=20)
        c.good("hello")

    def refused():
        a = keyed.ask("POST", "/ask/v1/chat/completions", chat_of("x"), {"api-key": key})
        return a.body if a.status == 429 and int(a.headers["Retry-After"]) >= 1 else b""

    keyed.worker.script = hold
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{keyed.port}/ask/v1", api_key=key, max_retries=0)
    assert client.chat.completions.create(model="ask", messages=[{"role": "user", "content": "hi"}]).choices[0].message.content == "hello"


def test_official_client_waits_as_it_is_told(keyed):
    openai = pytest.importorskip("openai")
    key, boss = keyed.make("minute", "--requests-per-minute", "30"), keyed.make("boss", "--admin")
    keyed.start().wait_hosts(boss)
    statuses = [keyed.ask("POST", "/ask/v1/chat/completions", chat_of("hi"), {"api-key": key}).status for _ in range(30)]
    assert statuses == [200] * 30  # the whole minute's worth
    wait_for("a refusal", lambda: keyed.ask("POST", "/ask/v1/chat/completions", chat_of("hi"), {"api-key": key}).status == 429, pause=0)
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{keyed.port}/ask/v1", api_key=key, max_retries=5)
    began = time.monotonic()
    answer = client.chat.completions.with_raw_response.create(model="ask", messages=[{"role": "user", "content": "hi"}])
    took = time.monotonic() - began
    assert answer.parse().choices[0].message.content == "hello world"
    assert answer.retries_taken >= 1 and 0.5 < took < 20 * SLOW  # a place comes back every two seconds


def test_tokens_are_counted_when_a_request_is_over(keyed):
    key, boss = keyed.make("frugal", "--tokens-per-day", "9"), keyed.make("boss", "--admin")  # a good answer: 7 + 2
    keyed.start().wait_hosts(key)
    assert keyed.ask("POST", "/ask/v1/chat/completions", chat_of("hi"), {"api-key": key}).status == 200
    a = keyed.ask("POST", "/ask/v1/chat/completions", chat_of("hi"), {"api-key": key})
    assert a.status == 429 and a.error["code"] == "rate_limit_exceeded" and "tokens per day" in a.error["message"]
    assert 0 < int(a.headers["Retry-After"]) <= 24 * 3600
    if int(a.headers["Retry-After"]) > 60:
        assert a.headers["x-should-retry"] == "false"
    assert keyed.ask("GET", "/v1/models", fields={"api-key": key}).status == 200
    day = time.gmtime().tm_yday
    assert keyed.process.stop() == 0
    keyed.start()

    def refused():  # from the history; read after the start
        a = keyed.ask("GET", "/api/v1/keys", fields={"api-key": boss})
        return a.json()["keys"][0]["tokens_today"] + a.json()["keys"][1]["tokens_today"] >= 9 or time.gmtime().tm_yday != day

    wait_for("what was used today", refused)


def test_a_client_that_leaves_has_used_what_it_got(keyed):
    key, boss = keyed.make("hasty", "--tokens-per-day", "1000000"), keyed.make("boss", "--admin")
    keyed.start().wait_hosts(boss)

    def endless(c):
        c.send(HEAD_SSE)
        for i in range(5):
            c.event(part(f"t{i}"))
        assert c.wait_gone(20 * SLOW) is not None

    keyed.worker.script = endless
    connection = http.client.HTTPConnection("127.0.0.1", keyed.port, timeout=30 * SLOW)
    connection.request("POST", "/ask/v1/chat/completions", json.dumps(chat_of("x" * 400, stream=True)), {"api-key": key, "Content-Type": "application/json"})
    response = connection.getresponse()
    seen = b""
    while b"t4" not in seen:
        seen += response.read1()
    response.close()
    connection.close()

    def use():
        return next(e for e in keyed.ask("GET", "/api/v1/keys", fields={"api-key": boss}).json()["keys"] if e["name"] == "hasty")

    wait_for("the request is over", lambda: use()["running"] == 0)
    assert 100 < use()["tokens_today"] < 200  # the prompt by its length, and the parts that came


# ---- life ----


def test_keys_come_and_go_while_the_gateway_runs(keyed):
    keyed.start()
    assert keyed.ask("GET", "/v1/models").status == 200
    key = keyed.make("first")
    wait_for("a key is needed", lambda: keyed.ask("GET", "/v1/models").status == 401)
    keyed.takes(key)
    keyed.keys("rotate", "first", "--grace", "1h")
    assert keyed.ask("GET", "/v1/models", fields={"api-key": key}).status == 200
    keyed.keys("rotate", "first")
    for e in json.loads(keyed.keys("list", "--json").stdout):
        if e["state"] == "live":
            keyed.keys("revoke", e["id"])
    wait_for("open again", lambda: keyed.ask("GET", "/v1/models").status == 200)


def test_a_damaged_list_changes_nothing(keyed):
    key = keyed.make("user")
    keyed.start().takes(key)
    (keyed.state / "keys.json").write_text("{")
    wait_for("the gateway says so", lambda: "the keys could not be read: those before stay" in keyed.process.log())
    assert keyed.ask("GET", "/v1/models", fields={"api-key": key}).status == 200
    assert keyed.ask("GET", "/v1/models").status == 401
    assert keyed.process.stop() == 0
    argv = [program("rolemesh-gateway"), "--role-map", keyed.map, "--state-dir", keyed.state]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=30 * SLOW)
    assert done.returncode == 2 and "keys.json: damaged" in done.stderr and done.stderr.count("\n") == 1


def test_keys_over_the_api(keyed):
    keyed.start()
    url = f"http://127.0.0.1:{keyed.port}"
    boss = keyed.keys("create", "boss", "--admin", "--gateway", url).stdout.strip()  # from this machine, while there is none
    keyed.keys("create", "more", "--gateway", url, code=1)
    environment = {**os.environ, "ROLEMESH_KEY": boss}
    user = keyed.keys("create", "a+b@c", "--roles", "ask", "--gateway", url, env=environment).stdout.strip()
    assert keyed.ask("GET", "/v1/models", fields={"api-key": user}).status == 200
    key_file = keyed.folder / "key"
    key_file.write_text(boss + "\n")
    new = keyed.keys("rotate", "a+b@c", "--key-file", key_file, "--gateway", url).stdout.strip()
    assert [keyed.ask("GET", "/v1/models", fields={"api-key": k}).status for k in (user, new)] == [401, 200]
    keyed.keys("revoke", "a+b@c", "--gateway", url, env=environment)
    assert keyed.ask("GET", "/v1/models", fields={"api-key": new}).status == 401
    listed = json.loads(keyed.keys("list", "--json", "--gateway", url, env=environment).stdout)
    assert sorted((e["name"], e["state"]) for e in listed) == [("a+b@c", "revoked"), ("a+b@c", "revoked"), ("boss", "live")]
    status = subprocess.run([program("rolemesh"), "status", "--gateway", url], env=environment, capture_output=True, text=True, timeout=30 * SLOW)
    assert status.returncode == 0, status.stderr


def test_listening_elsewhere_needs_keys(keyed):
    keyed.map.write_text(ROLE_MAP.format(listen="127.0.0.1:0", more=', "0.0.0.0:0"', worker=keyed.worker.address))
    check = [program("rolemesh-gateway"), "--role-map", keyed.map, "--state-dir", keyed.state]
    for more in ([], ["--check"]):
        done = subprocess.run([str(a) for a in [*check, *more]], capture_output=True, text=True, timeout=30 * SLOW)
        assert done.returncode == 2 and "there are no keys" in done.stderr
    key = keyed.make("user")
    assert subprocess.run([str(a) for a in [*check, "--check"]], capture_output=True, timeout=30 * SLOW).returncode == 0
    keyed.start().takes(key)
    keyed.keys("revoke", "user")
    wait_for("nobody may", lambda: keyed.ask("GET", "/v1/models", fields={"api-key": key}).status == 401)
    a = keyed.ask("GET", "/v1/models")
    assert a.status == 401 and "no API key exists yet" in a.error["message"]
