# SPDX-License-Identifier: MIT
"""The page at /dashboard/: how it is served, and in a real browser what it shows of a real cluster, how it takes deaths
and restarts, what a hostile name does to it, and that everybody can use it. What an operator does with it is in
test_dashboard_acts.py."""
import gzip
import json
import os
import pathlib
import re
import select
import socket
import time

import pytest

from browser_rig import browser, page_of, violations
from cluster_rig import call
from dashboard_rig import ROLES, SHOWN, TOO_WIDE, VIEWS, WATCH_SHIFTS, bar_of, go, looked_at, more_figures, needs_engine, open_page, screens, talking, url_of
from rig import SLOW, chat_of, wait_for

pytestmark = needs_engine


@pytest.fixture(name="pair", scope="module")
def pair_fixture(tmp_path_factory):
    with looked_at(tmp_path_factory.mktemp("pair")) as c:
        yield c


@pytest.fixture(name="chromium", scope="module")
def chromium_fixture():
    with browser() as b:
        yield b


@pytest.fixture(name="page")
def page_fixture(pair, chromium):
    with open_page(chromium, pair) as p:
        yield p


# ---- how it is served ----


def assets_of(c):
    """Every file of the page: those that the page names, and those that its scripts load later."""
    found = re.findall(r'(?:src|href)="/dashboard/(assets/[^"]+)"', call(c.port, "GET", "/dashboard/")[2].decode())
    for path in found:  # grows
        text = call(c.port, "GET", f"/dashboard/{path}")[2].decode() if path.endswith(".js") else ""
        found += [p for p in re.findall(r'assets/[\w.-]+\.(?:js|css)', text) + [f"assets/{name}" for name in re.findall(r'"\./([\w.-]+\.(?:js|css))"', text)] if p not in found]
    return [f"/dashboard/{p}" for p in found]


def test_every_file_has_its_headers(pair):
    for path in ["/dashboard/", *assets_of(pair)]:
        status, headers, body = call(pair.port, "GET", path)
        assert status == 200 and "Content-Encoding" not in headers
        policy = dict(p.strip().partition(" ")[::2] for p in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'" and "unsafe" not in str(policy)
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Vary"] == "Accept-Encoding"
        assert headers["Cache-Control"] == ("no-cache" if path == "/dashboard/" else "public, max-age=31536000, immutable")
        packed = call(pair.port, "GET", path, headers={"Accept-Encoding": "br, gzip"})
        assert packed[1]["Content-Encoding"] == "gzip" and gzip.decompress(packed[2]) == body
        assert call(pair.port, "GET", path, headers={"If-None-Match": headers["ETag"]})[0::2] == (304, b"")
        status, head, nothing = call(pair.port, "HEAD", path)
        assert status == 200 and nothing == b"" and int(head["Content-Length"]) == len(body)
        assert b"<script>" not in body and b"style=" not in body.split(b"<body>")[0]


def test_all_of_it_is_small(pair, record_property):
    paths = ["/dashboard/", *assets_of(pair)]
    assert len(paths) >= 6 and any("history" in p for p in paths)  # with the charts, which come later
    sizes = {p: len(call(pair.port, "GET", p, headers={"Accept-Encoding": "gzip"})[2]) for p in paths}
    record_property("bytes_gzipped", sum(sizes.values()))
    print(f"the page: {sum(sizes.values())} bytes gzipped: {sizes}")
    assert sum(sizes.values()) < 150 * 1024


def test_the_first_paint_is_soon(pair, chromium, record_property):
    """Within 200 ms is the aim; the assertion leaves room for a machine that does other things. The browser's process for
    this gateway is there already, nothing of the page is cached."""
    times = []
    for _ in range(5):
        with page_of(chromium, f"http://127.0.0.1:{pair.port}/healthz") as p:
            p.goto(url_of(pair))
            paint = "performance.getEntriesByType('paint').find((e) => e.name === 'first-contentful-paint')?.startTime"
            times.append(wait_for("the first paint", lambda p=p: p.evaluate(paint), 10))
    record_property("first_paint_ms", round(min(times)))
    print(f"first contentful paint: {', '.join(f'{t:.0f}' for t in times)} ms")
    assert min(times) < 1000 * SLOW


def test_fifty_pages_cost_little(pair, closing, record_property):
    """Processor time of the gateway while fifty follow its figures; it does not depend on what else the machine does."""

    def ticks():
        fields = pathlib.Path(f"/proc/{pair.gateway.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    followers = []
    for _ in range(50):
        s = socket.create_connection(("127.0.0.1", pair.port))
        closing.callback(s.close)
        s.sendall(b"GET /api/v1/events?live=1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        followers.append(s)
    got = dict.fromkeys(followers, b"")

    def take(until):
        while not until():
            for s in select.select(followers, [], [], 0.1)[0]:
                got[s] += s.recv(1 << 20)

    take(lambda: all(b"event: snapshot" in g for g in got.values()))
    used, begun = ticks(), time.monotonic()
    take(lambda: time.monotonic() - begun > 8)
    share = (ticks() - used) / (time.monotonic() - begun)
    assert all(g.count(b"event: snapshot") >= 4 for g in got.values())
    record_property("percent_of_a_core", round(100 * share, 2))
    print(f"fifty followers: {100 * share:.2f} % of a core")
    assert share < 0.02 * SLOW


def test_what_is_not_ours_goes_with_its_licence(pair):
    status, headers, body = call(pair.port, "GET", "/dashboard/licences.txt")
    assert status == 200 and headers["Content-Type"].startswith("text/plain") and b"uPlot" in body and b"MIT License" in body and b"Copyright" in body


@pytest.mark.parametrize("method,path,status", [
    ("GET", "/dashboard", 308), ("POST", "/dashboard/", 405), ("DELETE", "/dashboard/assets/x.js", 405), ("GET", "/dashboard/nothing", 404),
    ("GET", "/dashboard/../healthz", 404), ("GET", "/dashboard/%2e%2e/etc/passwd", 404), ("GET", "/dashboard/" + "a" * 4000, 404),
])
def test_other_paths_and_methods(pair, method, path, status):
    got, headers, body = call(pair.port, method, path)
    assert got == status and headers["X-Content-Type-Options"] == "nosniff" and len(body) < 200
    assert status != 308 or headers["Location"] == "/dashboard/"
    assert status != 405 or headers["Allow"] == "GET, HEAD"


def test_a_path_that_only_begins_alike_is_none_of_it(pair):
    assert "Content-Security-Policy" not in call(pair.port, "GET", "/dashboards/")[1]


# ---- what it shows ----


def want_bar(state):
    """What the bar of a node has to show, from the worker's own words: {(kind, role): bytes}."""
    memory, want = state["memory"], {}
    for h in state["hosts"]:
        for kind, n in [("weights", h["weights_bytes"]), ("kvused", h["kv_used_bytes"]), ("kvfree", h["kv_bytes"] - h["kv_used_bytes"]), ("compute", h["compute_bytes"]), ("other", h["other_bytes"])]:
            want[(kind, h["role"])] = n
    want[("others", None)] = memory["others"]
    want[("reserve", None)] = max(0, memory["reserve"] - memory["others"])
    want[("free", None)] = memory["total"] - sum(want.values())
    return {k: n for k, n in want.items() if n > 0}


def test_the_bars_are_the_workers_own_numbers(pair, page):
    def agree(node):
        bar, state = bar_of(page, node), pair.node_state(node)
        memory = state["memory"]
        parts = {(p["kind"], p["role"]): p["bytes"] for p in bar["parts"]}
        assert sum(parts.values()) == memory["total"]  # nothing is lost, nothing is counted twice
        for p in bar["parts"]:  # drawn as wide as it says, but for the hair that shows the smallest
            assert abs(p["width"] - bar["width"] * p["bytes"] / memory["total"]) < 2 + len(bar["parts"])
        hosts = {k: n for k, n in parts.items() if k[1]}
        want = want_bar(state)
        if hosts != {k: n for k, n in want.items() if k[1]} or bar["budget"] != memory["budget"] or bar["committed"] != memory["committed"]:
            return False
        assert sum(hosts.values()) == memory["committed"] and memory["committed"] > 0
        # others change from one look to the next: a hundredth of the machine is near enough
        return all(abs(parts.get(k, 0) - want.get(k, 0)) < memory["total"] / 100 for k in [("others", None), ("reserve", None), ("free", None)])

    for node in ("speed", "reasoning"):
        wait_for(f"the bar of {node} to be what the worker says", lambda node=node: agree(node), 15)


def test_every_figure_of_a_node_and_its_hosts(pair, page):
    node = pair.node("reasoning")
    card = page.locator("article[data-node=reasoning]")
    text = card.inner_text()
    assert f"127.0.0.1:{pair.ports['reasoning']}" in text and "loopback" in text and re.search(r"\d ms", text) and "up " in text
    assert [card.locator(".spark .label").nth(i).inner_text() for i in range(4)] == ["CPU", "GPU", "tokens in/s", "tokens out/s"]
    wait_for("the CPU", lambda: re.fullmatch(r"\d+ %", card.locator(".spark .n").first.inner_text()), 15)
    for host in node["hosts"]:
        row = card.locator(".host", has=page.get_by_text(host["role"], exact=True))
        assert row.locator(".takes dd").count() == 5 and row.locator(".dot").count() == host["slots_total"]


def test_a_load_with_its_end_slots_of_each_kind_and_a_queue(pair, chromium):
    """States that pass too quickly on models this small: the gateway's own snapshot with one host changed."""
    body = {name: pair.get(f"/api/v1/{name}") for name in ("status", "nodes", "roles", "requests")}
    host = next(n for n in body["nodes"]["nodes"] if n["name"] == "reasoning")["hosts"][0]
    steps = [({"state": "loading", "progress": 0.42, "eta_ms": 12000, "slots": []}, r"42 %, 12 s left"),
             ({"state": "ready", "queue": 3, "slots_busy": 2, "slots": ["idle", "prefill", "decode"]}, r"3 queued")]
    now = []

    def block(p):
        p.route(re.compile(r"/api/v1/events\?live=1"), lambda r: r.fulfill(status=200, content_type="text/event-stream", body=f"event: snapshot\ndata: {json.dumps(now[0])}\n\n"))

    now.append(body)
    with open_page(chromium, pair, block=block) as p:
        row = p.locator("article[data-node=reasoning] .host").first
        for change, text in steps:
            host.update(change)
            wait_for(text, lambda text=text: re.search(text, row.inner_text()), 15)
        assert row.locator("progress").count() == 0
        assert [row.locator(f".dot-{kind}").count() for kind in ("idle", "prefill", "decode")] == [1, 1, 1]
        assert row.locator(".slots").get_attribute("aria-label") == "2 of 3 slots busy, 1 in prefill, 1 in decode"


def test_the_figures_of_a_role_are_the_gateways(pair, page):
    for _ in range(3):
        assert pair.chat("ask")[0] == 200
    assert call(pair.port, "POST", "/ask/v1/chat/completions", chat_of("x", max_tokens=-5))[0] == 400
    wait_for("the requests to be counted", lambda: pair.role("ask")["requests"] >= 3, 10)
    card = page.locator("article[data-role=ask]")

    def agree():
        role = pair.role("ask")
        seen = dict(zip(card.locator(".figures dt").all_inner_texts(), card.locator(".figures dd").all_inner_texts()))
        times = card.locator(".speeds tbody tr").first.locator("td").all_inner_texts()
        return seen["errors"] == f"{role['errors']} of {role['requests']}" and seen["prefix cache hits"] == f"{round(role['cached_share'] * 100)} %" and re.match(r"[\d.<]+ m?s$", times[0])

    wait_for("the card to say what the gateway says", agree, 15)


def test_a_stream_is_seen_within_a_second_and_so_is_its_end(pair, page, closing):
    row = page.locator("#flight tbody tr", has=page.get_by_text("talk", exact=True))
    assert row.count() == 0
    end = talking(pair, closing)
    row.wait_for(timeout=1000 * SLOW)
    page.locator("article[data-node=reasoning] .slots[aria-label^='1 of 3 slots busy']").wait_for()
    page.locator("article[data-node=reasoning] .host .dot-decode").wait_for()
    wait_for("tokens a second", lambda: page.locator("article[data-node=reasoning] .spark .n").nth(3).inner_text() != "0", 10)
    end()
    row.wait_for(state="detached", timeout=3000 * SLOW)
    go(page, "requests")
    page.locator("#recent tr.done", has=page.get_by_text("talk", exact=True)).first.wait_for()


def test_why_a_request_went_where_it_went(pair, page):
    status, headers, _ = call(pair.port, "POST", "/code/v1/chat/completions", chat_of("why?"))
    assert status == 200
    why = pair.get(f"/api/v1/requests/{headers['x-request-id']}/why")
    go(page, "requests")
    button = page.get_by_role("button", name=f"Why {headers['x-request-id'][:39]}")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    dialog.locator(".decision table").wait_for()
    text = dialog.inner_text()
    assert headers["x-request-id"] in text.replace("\n", "") and why["decisions"][0]["node"] in text
    assert dialog.locator(".decision tbody tr").count() == sum(len(d["candidates"]) for d in why["decisions"])
    chosen = next(c for c in why["decisions"][0]["candidates"] if c["chosen"])
    assert dialog.locator("tr.chosen th").inner_text() == chosen["node"]
    assert all(r in text for r in why["rewrites"])
    assert violations(page) == []
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert page.evaluate("document.activeElement.textContent") == "Why"


def test_without_keys_it_only_reads_and_says_why(pair, page, closing):
    talking(pair, closing)
    page.locator("#flight tbody tr").first.wait_for()
    assert page.locator("button.more, button.danger").count() == 0  # no action is offered
    page.locator("#sign-in").click()
    dialog = page.locator("dialog[open]")
    assert "rolemesh keys create" in dialog.inner_text() and dialog.locator("input").count() == 0
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert page.evaluate("document.activeElement.id") == "sign-in"
    refused = page.evaluate("fetch('/api/v1/reload', {method: 'POST', headers: {'X-Rolemesh-Action': '1'}}).then((r) => r.status)")
    assert refused in (403, 404)


def test_a_killed_worker_is_seen_within_three_seconds_and_so_is_its_return(pair, page):
    pair.workers["reasoning"].kill()
    page.wait_for_selector("article[data-node=reasoning].stale", timeout=3000 * SLOW)
    page.wait_for_selector("article[data-node=reasoning] > .line .badge:text-is('down')")
    assert "is down" in page.locator("#alarms").inner_text()
    assert page.locator("article[data-node=speed].stale").count() == 0
    assert page.locator(".count").inner_text() != "0"
    wait_for("it is said aloud", lambda: "reasoning" in page.locator("#spoken").inner_text(), 5)
    pair.start_worker("reasoning")
    pair.wait_ready("talk")
    page.wait_for_selector("article[data-node=reasoning]:not(.stale) > .line .badge:text-is('up')")


def test_it_survives_a_gateway_that_is_started_again(pair, page):
    page.evaluate("window.stillThere = 1")
    pair.gateway.stop()
    page.wait_for_selector("#link.link-lost")
    page.wait_for_selector("main.old .banner")
    pair.start_gateway()
    page.wait_for_selector("#link.link-live")
    page.wait_for_selector("article[data-node=reasoning]:not(.stale)")
    assert page.evaluate("window.stillThere") == 1 and page.locator(".banner").count() == 0
    pair.wait_ready(*ROLES)


def test_it_asks_nobody_but_its_gateway(pair, page):
    more_figures(page)
    assert len(page.asked) > 2
    assert all(u.startswith(f"http://127.0.0.1:{pair.port}/") for u in page.asked)


# ---- the editors ----

DIALECTS = {"messages": {"messages": []}, "responses": {"input": "x"}, "infill": {"input_prefix": "x"}}


def test_each_editor_has_its_lines_and_is_told_what_is_not_served(pair, page):
    card = page.locator("article[data-role=code]")
    card.locator("summary").click()
    names = card.locator("option").all_inner_texts()
    assert {"Roo Code", "Cline", "Continue", "Cursor", "Claude Code", "Codex", "Zed", "Aider", "llama.vscode", "Open WebUI"} == set(names)
    for name in names:
        card.locator("select").select_option(name)
        card.locator(f"pre[aria-label='Lines for {name}']").wait_for()
        text = card.locator("pre").inner_text()
        assert f"http://127.0.0.1:{pair.port}/code" in text
        note = card.locator(".unserved")
        if note.count():
            path = re.search(r"\(/([a-z]+)\)", note.inner_text())[1]
            base = "/code" if path == "infill" else "/code/v1"
            assert call(pair.port, "POST", f"{base}/{path}", DIALECTS[path])[0] == 501
        else:
            assert pair.chat("code")[0] == 200  # what it says these editors call
    card.locator("select").select_option("Zed")
    card.locator("pre[aria-label='Lines for Zed']").wait_for()
    zed = json.loads(card.locator("pre").inner_text())["language_models"]["openai_compatible"]["rolemesh"]
    assert zed["api_url"] == card.locator(".url code").inner_text() and zed["available_models"][0]["max_tokens"] == 2048
    assert pair.chat(zed["available_models"][0]["name"])[0] == 200


def test_what_is_open_and_focused_stays_while_figures_come(page):
    card = page.locator("article[data-role=ask]")
    card.locator("summary").click()
    card.locator("select").focus()
    more_figures(page)
    assert page.evaluate("document.activeElement.id") == "editor-ask" and card.locator("details").get_attribute("open") is not None


# ---- for everybody ----


@pytest.mark.parametrize("width,height", [pytest.param(360, 740, marks=pytest.mark.slow), (1280, 900), pytest.param(2560, 1440, marks=pytest.mark.slow), pytest.param(3840, 2160, marks=pytest.mark.slow)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_in_every_size_and_colour(pair, chromium, width, height, scheme):
    with open_page(chromium, pair, width=width, height=height, scheme=scheme) as p:
        p.locator("article[data-role=ask] summary").click()
        for view in VIEWS:
            go(p, view)
            assert p.title() == f"{view.capitalize()} · rolemesh"
            assert p.evaluate(TOO_WIDE) == []
            shot = screens() / f"{view}-{width}-{scheme}.png"
            p.evaluate("scrollTo(0, 0)")
            p.screenshot(path=shot, full_page=True)
            assert shot.stat().st_size > 5000
            assert violations(p) == []


def test_by_keyboard_alone(page):
    def walk(until, key="Tab", most=60):
        seen = []
        for _ in range(most):
            page.keyboard.press(key)
            seen.append(page.evaluate("(({tagName, id, dataset, textContent}) => `${tagName} ${id || dataset.for || textContent.slice(0, 16)}`)(document.activeElement)"))
            if seen[-1] == until:
                return seen
        raise AssertionError(f"no {until} among {seen}")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"  # and the view is still the same
    assert page.evaluate("document.getElementById('main').dataset.view") == "mesh"
    walk("SUMMARY In your editor")
    page.keyboard.press("Enter")
    page.wait_for_selector("details[open] select")
    for view in ["requests", "plan", "history", "events"]:  # backwards from what the view before gave the focus to
        walk(f"A {view.capitalize()}", "Shift+Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector(SHOWN[view])
        assert page.evaluate("document.activeElement.id") == "main"
    assert page.locator("nav a[aria-current=page]").inner_text().startswith("Events")


def test_landmarks_names_and_live_regions(page):
    for role in ["banner", "main", "navigation", "contentinfo"]:
        assert page.get_by_role(role).count() == 1, role
    for name in ["Needs a look", "Nodes", "Roles", "In flight"]:
        assert page.get_by_role("region", name=name).count() == 1, name
    assert page.locator("#spoken[aria-live=polite]").count() == 1 and page.locator("#toast[role=status]").count() == 1
    assert page.get_by_role("article").count() == 2 + len(ROLES)
    unnamed = "[...document.querySelectorAll('button, select, input, textarea, svg, [role=img]')].filter((e) => !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim())).length"
    assert page.evaluate(unnamed) == 0


def test_nothing_moves_while_figures_come(pair, chromium, closing, record_property):
    with open_page(chromium, pair, block=lambda p: p.add_init_script(WATCH_SHIFTS)) as p:
        talking(pair, closing)
        p.wait_for_selector("#flight tbody tr")
        more_figures(p, 4)
        moved, movers = p.evaluate("[window.moved, window.movers]")
        record_property("layout_shift", moved)
        print(f"cumulative layout shift: {moved}")
        assert moved == 0, movers


# ---- hostile text ----

HOSTILE = [
    "<script>window.pwned=1</script>", "<img src=x onerror=window.pwned=1>", "\"><svg onload=window.pwned=1>", "'><iframe src=javascript:window.pwned=1>", "javascript:window.pwned=1",
    "</code></pre><script>window.pwned=1</script>", "<b>bold</b>", "&lt;script&gt;", "&#60;script&#62;window.pwned=1", "<!--", "-->", "]]>", "<![CDATA[x]]>", "${window.pwned=1}",
    "{{constructor.constructor('window.pwned=1')()}}", "<a href='javascript:window.pwned=1'>x</a>", "<style>*{display:none}</style>", "<base href=//evil.example/>",
    "<meta http-equiv=refresh content=0>", "<form action=//evil.example><input>", "<math><mtext><script>window.pwned=1</script>", "<template><script>window.pwned=1</script></template>",
    "onmouseover=window.pwned=1", "\" style=\"position:fixed;inset:0\" x=\"", "expression(window.pwned=1)", "url(javascript:window.pwned=1)", "\u202eevil\u202c", "a\u200bb\u00ad", "\ufeffx",
    "line\nbreak\r\nagain", "\u0000nul\u0007bell", "\u001b[31mred\u001b[0m", "\u2028\u2029", "__proto__", "constructor", "x" * 5000, "word " * 1000, "\U0001f4a3" * 40, "e\u0301" * 300,
    "%3Cscript%3E", "../../etc/passwd", "data:text/html,<script>window.pwned=1</script>", "=cmd|'/c calc'!A1", "'; DROP TABLE nodes; --",
]


def poisoned(value, text, keep=()):
    """The same shape with every text replaced; those of keep stay, so that all of the page is drawn."""
    if isinstance(value, dict):
        return {k: v if k in keep else poisoned(v, text, keep) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(v, text, keep) for v in value]
    return text if isinstance(value, str) else value


KEPT = ("health", "state", "residency", "lane", "action", "how", "unit", "stat", "range")
# Bodies with every field that the page shows; {} stands for the text.
HOST_ERROR = {"cause": "load", "code": 1, "text": "x", "log": "x"}
ALARM = {"since": "x", "severity": "error", "kind": "x", "subject": "x", "text": "x", "next": "x"}
REQUEST = {"id": "x", "seq": 1, "at": "x", "state": "running", "key": {"id": "x", "name": "x"}, "role": "x", "served": "x", "mode": "x", "dialect": "x", "node": "x", "tries": 1, "age_ms": 5, "duration_ms": None, "queue_ms": 1,
           "ttft_ms": 2, "prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": 2, "status": 200, "outcome": "x", "error": "x", "bytes_in": 1, "bytes_out": 1}
FACTS = {"slots": 1, "in_flight": 0, "queued": 0, "cached": 1, "prefill_tps": 1, "service_s": 1, "load_s": 0, "rtt_s": 0, "suspect": False}
SECONDS = {"load": 0, "wait": 0, "prefill": 1, "rtt": 0, "penalty": 0, "total": 1}
WHY = {"request": REQUEST, "rewrites": ["x", "x"], "decisions": [{"at": "x", "role": "x", "node": "x", "queue_ms": 1, "prompt": 1, "pass": 1, "cut": True,
       "candidates": [{"node": "x", "chosen": False, "reject": "x", "failing": False, "avoided": False, "facts": FACTS, "seconds": SECONDS}]}]}
PLANNED = {"role": "x", "action": "load", "reason": "x", "weights": 1, "kv": 1, "compute": 1, "other": 1, "bytes": 4, "device": 0, "measured": False, "estimated": False}
PLAN = {"fits": False, "exact": True, "steps": 1, "counts": {}, "bounds": {}, "lacks": [{"role": "x", "what": "x", "bytes": 5}], "conflict": {"roles": ["x", "x"], "smallest": True, "node": "x", "missing": 5, "least": True},
        "ways_out": [{"role": "x", "key": "x", "value": "x"}],
        "nodes": [{"node": "x", "usable": False, "silent": "x", "total": 100, "reserve": 10, "used": 4, "free": 86, "swap": 1, "hosts": [PLANNED, {**PLANNED, "action": "stop"}], "cannot_host": [{"role": "x", "why": "x"}], "not_in_map": ["x"]}]}
TRIAL = {"plan": PLAN, "revision": "x", "offered_revision": "x", "unknown": [{"role": "x", "node": "x"}], "diff": [{"subject": "x", "name": "x", "how": "changed", "keys": ["x"], "effects": ["x"], "hosts": [{"role": "x", "node": "x", "fate": "x"}]}]}
REFUSAL = {"type": "about:blank", "title": "x", "status": 422, "detail": "x", "code": "x", "mistakes": [{"line": 1, "column": 2, "what": "x", "hint": "x"}], "more": 1, "text": "x"}
HISTORY = {"metric": "requests", "unit": "requests", "range": "1h", "step_s": 60, "series": [{"node": "x", "role": "x", "stat": "sum", "points": [[1800000000 + 60 * i, i] for i in range(60)]}]}
STRANGE = "img, iframe, style, base, form[action], math, template, b, [onload], [onerror], [onmouseover], meta[http-equiv], a[href^=javascript], input:not(#key, #map-file, [type=radio])"


class Poison:
    """Answers every question of a page with bodies in which each text is a hostile one."""

    def __init__(self, pair, keep):
        self.keep, self.text, self.refuse = keep, HOSTILE[0], False
        nodes, roles = pair.get("/api/v1/nodes"), pair.get("/api/v1/roles")
        for node in nodes["nodes"]:
            node["last_error"] = "x"
            for host in node["hosts"]:
                host.update(notice="x", state="failed", wanted="x", last_error=HOST_ERROR)
        for role in roles["roles"]:
            role.update(reason="x", loading={"node": "x", "state": "loading", "progress": 0.5, "eta_ms": 1000, "stalled": False})
        status = {**pair.get("/api/v1/status"), "version": "x", "alarms": [ALARM]}
        self.snapshot = {"status": status, "nodes": nodes, "roles": roles, "requests": {"requests": [REQUEST, {**REQUEST, "id": "y", "state": "done"}], "next": None}}
        self.event = {"id": 1, "at": "x", "severity": "error", "kind": "x", "subject": "x", "text": "x", "next": "x"}

    def of(self, body):
        return json.dumps(poisoned(body, self.text, self.keep))

    def stream(self, route):
        event = {**self.event, "id": HOSTILE.index(self.text) + 1}
        body = f"id: 1\nevent: snapshot\ndata: {self.of(self.snapshot)}\n\nid: 2\nevent: event\ndata: {self.of(event)}\n\n"
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    def answer(self, route):
        url, method = route.request.url, route.request.method
        bodies = {"/session": {"name": "x", "admin": True, "keys_exist": True, "expires_s": 60}, "/map/text": {"path": "x", "revision": "x", "text": "x"}, "/plan": TRIAL if method == "POST" else {"current": PLAN, "proposed": PLAN}, "/history": HISTORY, "/why": WHY, "/events": {"events": [], "next": None}}
        body = next((b for end, b in bodies.items() if url.split("?")[0].endswith(end)), None)
        if "live=1" in url:
            self.stream(route)
        elif method != "GET" and (self.refuse or body is None):
            route.fulfill(status=422, content_type="application/problem+json", body=self.of(REFUSAL))
        else:
            route.fulfill(status=200, content_type="application/json", body=self.of(body))

    def block(self, page):
        page.route(re.compile(r"/api/v1/"), self.answer)

    def shown(self):
        """What of the text must be read on the page, as a string in JavaScript."""
        if self.text.startswith("word "):
            return "word word"
        return self.text[:12] if self.text.isprintable() and "\u202e" not in self.text else "\\u"

    def check(self, page, where="main"):
        """Waits until the text is shown as it is; nothing of it was run or became an element, and it fits."""
        shown, found = self.shown(), {}

        def look():
            found.update(page.evaluate(LOOK, [where, shown, STRANGE]))
            return found["shown"]

        wait_for(f"{self.text[:30]!r} shown as it is in {where}", look, 20)
        assert (found["pwned"], found["scripts"], found["strange"]) == (None, 1, 0), self.text[:40]
        assert found["wide"] == [], self.text[:40]


LOOK = """([where, shown, strange]) => ({
    shown: (document.querySelector(where)?.textContent ?? '').includes(shown), pwned: window.pwned ?? null, scripts: document.querySelectorAll('script').length,
    strange: document.querySelectorAll(strange).length, wide: (%s)()})""" % TOO_WIDE


@pytest.mark.parametrize("keep", [(), KEPT], ids=["every field", "words of the protocol kept"])
def test_hostile_text_is_shown_and_never_run(pair, chromium, keep):
    assert len(HOSTILE) >= 40
    poison = Poison(pair, keep)
    with page_of(chromium, url_of(pair), block=poison.block) as p:
        for text in HOSTILE:
            poison.text = text
            poison.check(p)
        assert p.complaints == []
        assert all(u.startswith(f"http://127.0.0.1:{pair.port}/") for u in p.asked)


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS[1:])
def test_hostile_text_in_every_view(pair, chromium, view):
    poison = Poison(pair, KEPT)
    with page_of(chromium, url_of(pair, view), block=poison.block) as p:
        for text in HOSTILE:
            poison.text = text
            p.reload()  # what a view asked for is kept for a while
            poison.check(p)
            if view == "plan":
                p.fill("#map-text", "version: 1\n")
                for refuse, answer in [(True, ".mistakes"), (False, ".try .moves")]:
                    poison.refuse = refuse
                    p.click("#map-try")
                    p.wait_for_selector(answer)
                    poison.check(p, ".try")
        assert p.complaints == []


@pytest.mark.slow
def test_hostile_text_in_every_dialog(pair, chromium):
    poison = Poison(pair, KEPT)
    with page_of(chromium, url_of(pair), block=poison.block) as p:
        for text in HOSTILE:
            poison.text = text
            poison.check(p)
            for opener in ["#flight button:text-is('Why')", "#flight button.danger", "#nodes article .line button.more >> nth=0", "#nodes .host button.more >> nth=0", "#roles button.more >> nth=0"]:
                p.locator(opener).first.click()
                poison.check(p, "dialog[open]")
                if "danger" in opener:  # refused with the same words
                    p.keyboard.press("Tab")
                    p.locator("dialog[open] button.strong").click()
                    p.wait_for_selector("dialog[open] [role=alert]")
                    poison.check(p, "dialog[open] [role=alert]")
                p.keyboard.press("Escape")
                p.wait_for_selector("dialog[open]", state="detached")
        assert p.complaints == []
