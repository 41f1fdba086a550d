# SPDX-License-Identifier: MIT
"""Ten thousand real requests, through a gateway and real workers to attached engines and to a core, that end in every way a request can:
afterwards the API, the metrics, the history read by SQLite, the picture that the page draws from and what the clients themselves saw
say the same numbers."""
import asyncio
import collections
import contextlib
import importlib.util
import json
import random
import sqlite3
import threading

import pytest

from browser_rig import CHROMIUM, browser, page_of
from cluster_rig import Cluster, call
from metrics_rig import Scrape
from rig import SLOW, wait_for
from test_ops import Feed, check

N = 10_000
CLIENTS = 32
PARTS = 2  # of an answer that ends before its engine has counted: the gateway counts what it passed on
JSON = b"Content-Type: application/json\r\n"


# ---- an engine: what becomes of a request is said in its prompt ----


def chunk(delta, **choice):
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None, **choice}]}


def usage(words):
    """words: "...:PROMPT:CACHED:COMPLETION"."""
    prompt, cached, completion = map(int, words.split(":")[1:4])
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, "prompt_tokens_details": {"cached_tokens": cached}}


def frame(data):
    data = b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole(status, body):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" % (status, JSON, len(body), body)


class Engine:
    """Speaks OpenAI chat on a loopback port."""

    def __init__(self):
        self.asked, self.left = collections.Counter(), 0

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:] if ": " in line)
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                if not head.startswith(b"POST"):
                    writer.write(whole(200, {"object": "list", "data": []}))
                    continue
                await self.answer(json.loads(body), reader, writer)
                await writer.drain()
        writer.close()

    async def answer(self, ask, reader, writer):
        words = ask["messages"][0]["content"]
        what = words.split(":")[0]
        self.asked[what] += 1
        if what == "whole":
            writer.write(whole(200, {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage(words),
                                     "choices": [{"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}]}))
        elif what == "refuse":
            writer.write(whole(400, {"error": {"message": "never shown", "type": "x", "code": "made_up_here"}}))
        elif what == "garbage":
            writer.write(whole(200, b"never shown {"))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + frame(chunk({"role": "assistant", "content": ""})) + frame(chunk({"content": "one"})))
            if what == "torn":
                writer.write(frame(b'{"choices": [never shown}'))
            elif what == "leave":
                with contextlib.suppress(ConnectionError):
                    if await asyncio.wait_for(reader.read(1), 60 * SLOW) == b"":
                        self.left += 1
                raise ConnectionError
            else:
                writer.write(frame(chunk({"content": " two"})) + frame(chunk({}, finish_reason="stop")) + frame({**chunk({}), "choices": [], "usage": usage(words)}) + frame(b"[DONE]"))
            writer.write(b"0\r\n\r\n")


# ---- clients ----


class Client:
    def __init__(self, port):
        self.port, self.reader = port, None

    async def send(self, path, body):
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(b"POST %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s" % (path.encode(), JSON, len(body), body))
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        self.fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        return int(head.split(" ", 2)[1])

    def drop(self):
        self.writer.close()
        self.reader = None

    async def rest(self):
        """The body; whether it came to its end."""
        if "content-length" in self.fields:
            body = await self.reader.readexactly(int(self.fields["content-length"]))
            if self.fields.get("connection") == "close":
                self.drop()
            return body, True
        body = b""
        try:
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readline()
            return body, True
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            self.drop()
            return body, False


class Tally:
    """What the clients saw, by role ("": none)."""

    def __init__(self):
        self.outcomes, self.errors, self.tokens, self.modes = (collections.Counter() for _ in range(4))

    def add(self, role, mode, outcome, error=None, tokens=(0, 0, 0)):
        self.outcomes[role, outcome] += 1
        self.modes[mode] += 1
        if error:
            self.errors[role, error] += 1
        for name, n in zip(("prompt", "cached", "completion"), tokens):
            self.tokens[role, name] += n


async def one(client, tally, role, what, rng):
    """One request and what came of it."""
    path, tokens = f"/{role}/v1/chat/completions", (rng.randrange(1, 5000), 0, rng.randrange(1, 300))
    tokens = (tokens[0], rng.randrange(tokens[0] + 1), tokens[2])
    ask = {"messages": [{"role": "user", "content": f"{what}:{':'.join(map(str, tokens))}"}], "stream": what in ("stream", "torn", "leave")}
    if ask["stream"]:
        ask["stream_options"] = {"include_usage": True}
    if what == "talk":
        ask = {"messages": [{"role": "user", "content": "hello " * rng.randrange(1, 20)}], "max_tokens": 4}
    body = json.dumps(ask).encode()
    if what == "nobody":
        path, body = "/v1/chat/completions", json.dumps({**ask, "model": "nobody"}).encode()
    elif what == "json":
        body = b'{"messages": [never shown'
    status = await client.send(path, body)
    if what == "leave":
        await client.reader.readuntil(b"one")
        client.drop()
        return tally.add(role, role, "gone", "client_gone", (0, 0, PARTS))
    answer, is_whole = await client.rest()
    if what == "talk":
        told = json.loads(answer)["usage"]
        assert status == 200 and told["prompt_tokens"] > 0
        return tally.add(role, role, "ok", None, (told["prompt_tokens"], (told.get("prompt_tokens_details") or {}).get("cached_tokens", 0), told["completion_tokens"]))
    expected = {"whole": (200, "ok", None), "stream": (200, "ok", None), "torn": (200, "broken", "upstream_invalid"), "refuse": (400, "refused", "made_up_here"),
                "garbage": (502, "failed", "upstream_invalid"), "nobody": (404, "refused", "model_not_found"), "json": (400, "refused", "invalid_json")}[what]
    assert (status, is_whole) == (expected[0], what != "torn"), (what, status, answer)
    if what == "stream":
        assert answer.endswith(b"data: [DONE]\n\n")
    error = expected[2]
    return tally.add("" if what == "nobody" else role, "" if what == "nobody" else role, expected[1], error, tokens if expected[1] == "ok" else (0, 0, PARTS if what == "torn" else 0))


def jobs(with_core):
    """(role, what) of all requests, in an order that is the same each time."""
    rng = random.Random(4)
    parts = {"whole": 4600, "stream": 3000, "refuse": 300, "garbage": 200, "torn": 200, "leave": 200, "nobody": 200, "json": 300}
    found = [(rng.choice(["ask", "code"]), what) for what, n in parts.items() for _ in range(n)]
    found += [("talk", "talk") if with_core else ("ask", "whole")] * (N - len(found))
    rng.shuffle(found)
    return found


async def ask_all(port, todo, tally):
    queue = list(reversed(todo))

    async def run(number):
        client, rng = Client(port), random.Random(number)
        while queue:
            role, what = queue.pop()
            await asyncio.wait_for(one(client, tally, role, what, rng), 60 * SLOW)

    await asyncio.gather(*(run(i) for i in range(CLIENTS)))


# ---- what each of them says, in one form: {(role, outcome): n}, {(role, error): n}, {(role, kind of token): n} ----


def by_metrics(scrape, told_codes):
    samples = [(name, dict(labels), value) for (name, labels), value in scrape.samples.items() if value]
    return (collections.Counter({(x["role"], x["outcome"]): int(v) for n, x, v in samples if n == "rolemesh_requests_total"}),
            collections.Counter({(x["role"], told_codes.get(x["error_type"], x["error_type"])): int(v) for n, x, v in samples if n == "rolemesh_request_errors_total"}),
            collections.Counter({(x["role"], x["type"]): int(v) for n, x, v in samples if n == "rolemesh_tokens_total"}))


def by_sqlite(db):
    count = lambda sql: collections.Counter({(a, b): n for a, b, n in db.execute(sql)})
    tokens = collections.Counter()
    for kind in ("prompt", "cached", "completion"):
        tokens.update({(role, kind): n for role, n in db.execute(f"SELECT role, sum({kind}) FROM request GROUP BY role")})
    return count("SELECT role, outcome, count(*) FROM request GROUP BY 1, 2"), count("SELECT role, error, count(*) FROM request WHERE error != '' GROUP BY 1, 2"), +tokens


def sums(tally):
    """By role, as the usage tells: requests, errors, tokens."""
    found = {}
    for role in {r for r, _ in tally.outcomes}:
        n = {o: tally.outcomes[role, o] for o in ("ok", "refused", "failed", "broken", "gone")}
        found[role or None] = (sum(n.values()), n["refused"] + n["failed"] + n["broken"], *(tally.tokens[role, t] for t in ("prompt", "cached", "completion")))
    return found


def drawn(c):
    """What the page itself shows as errors, by role, when it has drawn; None where there is no browser or no page."""
    if CHROMIUM is None or importlib.util.find_spec("playwright") is None or call(c.port, "GET", "/dashboard/")[0] != 200:
        return None
    with browser() as b, page_of(b, f"http://127.0.0.1:{c.port}/dashboard/") as p:
        p.wait_for_selector("article[data-role] .figure")
        return p.evaluate("""() => Object.fromEntries([...document.querySelectorAll('article[data-role]')].map((a) =>
            [a.dataset.role, [...a.querySelectorAll('.figure')].find((f) => f.querySelector('dt').textContent === 'errors').querySelector('dd').textContent]))""")


@pytest.fixture(name="engine")
def engine_fixture():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    engine = Engine()
    engine.run = lambda coroutine, seconds=300: asyncio.run_coroutine_threadsafe(coroutine, loop).result(seconds * SLOW)
    engine.run(engine.start())
    yield engine
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)


@pytest.mark.slow
def test_all_say_the_same_after_ten_thousand_requests(tmp_path, engine):
    attached = f'model: fake, context: 8Ki, slots: 64, queue_max: 256, engine: {{ kind: attach, url: "{engine.url}" }}'
    roles = {"ask": f"modes: [ask], {attached}, nodes: [a]", "code": f"modes: [code], {attached}, nodes: [b]", "talk": "modes: [talk], model: tiny, context: 1Ki, slots: 2, nodes: [a]"}
    c = Cluster(tmp_path, ["a", "b"], {"tiny": {"ctx": 1024, "script": "Hello| there|."}}, roles)
    c.paths["fake"] = "attach:fake"
    c.write_map()
    tally, todo = Tally(), jobs(with_core=True)
    try:
        c.start()
        page = Feed(c.port, "?live=1")
        engine.run(ask_all(c.port, todo, tally))
        wait_for("nothing runs any more", lambda: c.get("/api/v1/status")["requests"] == 0)
        told = sums(tally)
        assert sum(n for n, *_ in told.values()) == N and engine.left == 200

        # the API
        fields = ("requests", "errors", "prompt_tokens", "cached_tokens", "completion_tokens")
        use = lambda by: {u["name"]: tuple(u[f] for f in fields) for u in check("Usage", c.get(f"/api/v1/usage?by={by}"))["usage"]}
        assert use("role") == told
        assert {name: u[0] for name, u in use("mode").items()} == {mode or None: n for mode, n in tally.modes.items()}
        nodes = use("node")
        roles_now = {r["name"]: r for r in check("Roles", c.get("/api/v1/roles"))["roles"]}
        for role, r in roles_now.items():
            want = told[role]
            assert (r["requests"], r["errors"]) == want[:2] and r["cached_share"] == pytest.approx(want[3] / want[2], abs=1e-6)

        # the metrics: a code that an engine made up is of a class of ours there
        scrape = Scrape(c.port)
        classes = {(role, {"made_up_here": "invalid_value"}.get(error, error)): n for (role, error), n in tally.errors.items()}
        assert by_metrics(scrape, {}) == (tally.outcomes, classes, +tally.tokens)
        for role in roles_now:
            work = {"role": role, "gen_ai_operation_name": "chat", "gen_ai_provider_name": "rolemesh"}
            assert scrape.value("gen_ai_server_request_duration_seconds_count", **work) == told[role][0]
            assert [scrape.value("gen_ai_client_token_usage_sum", **work, gen_ai_token_type=t) for t in ("input", "output")] == [told[role][2], told[role][4]]
            answered = told[role][0] - sum(tally.outcomes[role, o] for o in ("refused", "failed"))
            first = scrape.value("gen_ai_server_time_to_first_token_seconds_count", **work)
            assert answered <= first <= told[role][0]
        assert scrape.value("rolemesh_history_lost_total") == 0 and scrape.value("rolemesh_requests_active") == 0
        leases = {node: scrape.sum("rolemesh_host_leases_total", node=node) for node in ("a", "b")}
        assert sum(leases.values()) == sum(engine.asked.values()) + told["talk"][0] == N - sum(1 for _, w in todo if w in ("nobody", "json"))
        assert {node: nodes[node][0] for node in leases} == leases and nodes[None][0] == 500

        # the workers' own: what their engines were asked
        wait_for("the core has told its counts", lambda: Scrape(c.ports["a"]).value("rolemesh_host_prompt_tokens_total", role="talk") == told["talk"][2])
        assert Scrape(c.ports["a"]).value("rolemesh_host_generated_tokens_total", role="talk") == told["talk"][4]

        # the page: draws what snapshots say
        want = {role: told[role][:2] for role in roles_now}
        page.until(lambda name, _, data: name == "snapshot" and {r["name"]: (r["requests"], r["errors"]) for r in data["roles"]["roles"]} == want)
        page.close()
        shown = drawn(c)
        assert shown is None or shown == {role: f"{errors:,} of {requests:,}" for role, (requests, errors) in want.items()}

        # the history, read by somebody else
        with contextlib.closing(sqlite3.connect(f"file:{c.folder}/state-gateway/history.db?mode=ro", uri=True)) as db:
            assert by_sqlite(db) == (tally.outcomes, tally.errors, +tally.tokens)
            assert db.execute("SELECT count(DISTINCT id), max(seq), min(seq) FROM request").fetchone() == (N, N, 1)
            assert "never shown" not in "\n".join(str(row) for row in db.execute("SELECT * FROM request WHERE outcome != 'ok'"))

        # and after a restart the history says it still, while counters begin anew
        assert c.gateway.stop() == 0
        c.start_gateway()
        c.wait_ready("ask")
        assert use("role") == told
        assert Scrape(c.port).sum("rolemesh_requests_total") == 0
    finally:
        c.stop()
