# SPDX-License-Identifier: MIT
"""The page at /dashboard/: how it is served, and in a real browser what it shows of a real cluster, how it takes deaths
and restarts, what a hostile name does to it, and that everybody can use it."""
import contextlib
import gzip
import json
import re
import socket
import threading

import pytest

from browser_rig import browser, page_of, violations
from cluster_rig import call, cluster
from rig import SLOW, have_programs, wait_for

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

MODELS = {
    "ask": {"script": "Ask says hello."},
    "code": {"script": "int main(void) { return 0; }"},
    "talk": {"script": "round and round it goes", "loop": 1, "layers": 1, "heads": 2, "ctx": 32768},
}
ROLES = {
    "ask": "modes: [ask], model: ask, context: 2Ki, slots: 2, nodes: [speed]",
    "code": "modes: [code, debug], model: code, context: 2Ki, slots: 4, nodes: [speed]",
    "talk": "modes: [talk], model: talk, context: 32Ki, slots: 3, nodes: [reasoning]",
}


@pytest.fixture(name="pair", scope="module")
def pair_fixture(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("pair"), ["speed", "reasoning"], MODELS, ROLES) as c:
        if call(c.port, "GET", "/dashboard/")[0] == 404:
            pytest.skip("this build has no dashboard: made without Node or its packages")
        yield c


@pytest.fixture(name="chromium", scope="module")
def chromium_fixture():
    with browser() as b:
        yield b


def url_of(c):
    return f"http://127.0.0.1:{c.port}/dashboard/"


@pytest.fixture(name="page")
def page_fixture(pair, chromium):
    with page_of(chromium, url_of(pair)) as p:
        p.wait_for_selector("article[data-node=reasoning]:not(.stale)")
        yield p
        assert p.complaints == []


def more_figures(page, n=3):
    """Waits until the page has drawn n more snapshots."""
    drawn = "Number(document.getElementById('main').dataset.snapshots)"
    before = page.evaluate(drawn)
    wait_for("more figures", lambda: page.evaluate(drawn) >= before + n, 15)


def talking(c, closing):
    """A stream that lasts until the test ends; the connection is read so that it does not stall."""
    stream = c.stream("talk", "go")
    reader = threading.Thread(target=lambda: [None for _ in stream.events()], daemon=True)

    def end():
        with contextlib.suppress(OSError):  # ended before
            stream.connection.sock.shutdown(socket.SHUT_RDWR)
        reader.join(10 * SLOW)

    reader.start()
    closing.callback(end)
    return end


# ---- how it is served ----


def assets_of(c):
    return re.findall(r'(?:src|href)="(/dashboard/assets/[^"]+)"', call(c.port, "GET", "/dashboard/")[2].decode())


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


def test_all_of_it_is_small(pair):
    paths = ["/dashboard/", *assets_of(pair)]
    assert len(paths) >= 3
    assert sum(len(call(pair.port, "GET", p, headers={"Accept-Encoding": "gzip"})[2]) for p in paths) < 150 * 1024


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


def bar_of(page, node):
    """[kind, name, bytes] of a node's memory bar, and its marks, in one look."""
    return page.evaluate(
        """(node) => {
          const bar = document.querySelector(`article[data-node="${node}"] .bar`);
          const number = (el) => Number(el?.dataset.bytes);
          return {width: bar.getBoundingClientRect().width,
                  parts: [...bar.querySelectorAll('.part')].map((p) => ({kind: p.dataset.kind, name: p.dataset.name, bytes: number(p), width: p.getBoundingClientRect().width})),
                  budget: number(bar.querySelector('.mark-budget')), committed: number(bar.querySelector('.mark-forecast'))};
        }""",
        node,
    )


def test_the_bars_are_the_workers_own_numbers(pair, page):
    def agree(node):
        bar, state = bar_of(page, node), pair.node_state(node)
        memory = state["memory"]
        whole = min(memory["limit"] or memory["total"], memory["total"])
        hosts = {p["name"]: p["bytes"] for p in bar["parts"] if p["kind"] == "host"}
        assert sum(p["bytes"] for p in bar["parts"]) == whole  # nothing is lost, nothing is counted twice
        for p in bar["parts"]:  # drawn as wide as it says, but for the hair that shows the smallest
            assert abs(p["width"] - bar["width"] * p["bytes"] / whole) < 2 + len(bar["parts"]) * 2
        return (hosts == {h["role"]: h["rss_bytes"] for h in state["hosts"]} and bar["budget"] == memory["budget"] and bar["committed"] == memory["committed"]
                and next(p["bytes"] for p in bar["parts"] if p["kind"] == "reserve") == memory["reserve"])

    for node in ("speed", "reasoning"):
        wait_for(f"the bar of {node} to be what the worker says", lambda node=node: agree(node), 15)


def test_a_stream_is_seen_and_its_end_is(pair, page, closing):
    row = page.locator("#requests tr:not(.done)", has=page.get_by_text("talk", exact=True))
    assert row.count() == 0
    end = talking(pair, closing)
    row.wait_for()
    page.locator("article[data-node=reasoning] .slots[aria-label='1 of 3 slots busy']").wait_for()
    wait_for("tokens a second", lambda: page.locator("article[data-node=reasoning] .spark .n").nth(1).inner_text() != "0", 10)
    end()
    row.wait_for(state="detached")
    page.locator("#requests tr.done", has=page.get_by_text("talk", exact=True)).first.wait_for()


def test_a_killed_worker_is_seen_within_three_seconds_and_so_is_its_return(pair, page):
    pair.workers["reasoning"].kill()
    page.wait_for_selector("article[data-node=reasoning].stale", timeout=3000 * SLOW)
    page.wait_for_selector("article[data-node=reasoning] h3 .badge:text-is('down')")
    assert "is down" in page.locator("#alarms").inner_text()
    assert page.locator("article[data-node=speed].stale").count() == 0
    assert violations(page) == []
    wait_for("it is said aloud", lambda: "reasoning" in page.locator("#spoken").inner_text(), 5)
    pair.start_worker("reasoning")
    pair.wait_ready("talk")
    page.wait_for_selector("article[data-node=reasoning]:not(.stale) h3 .badge:text-is('up')")


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
    wait_for("Zed's lines", lambda: '"language_models"' in card.locator("pre").inner_text(), 5)
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


@pytest.mark.parametrize("width,height", [(360, 740), (1280, 900), (2560, 1440), (3840, 2160)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_size_and_colour(pair, chromium, tmp_path, width, height, scheme):
    with page_of(chromium, url_of(pair), width, height, scheme) as p:
        p.wait_for_selector("article[data-node=reasoning]:not(.stale)")
        p.locator("article[data-role=ask] summary").click()
        assert p.evaluate("document.documentElement.scrollWidth") <= width
        shot = tmp_path / f"{width}-{scheme}.png"
        p.screenshot(path=shot, full_page=True)
        assert shot.stat().st_size > 10000
        assert violations(p) == []
        assert p.complaints == []


def test_by_keyboard_alone(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("(({tagName, dataset, textContent}) => tagName + ' ' + (dataset.for || textContent.slice(0, 16)))(document.activeElement)"))
        if "SUMMARY In your editor" in seen:
            break
    assert {"A Nodes", "BUTTON url-ask", "SUMMARY In your editor"} <= seen
    page.keyboard.press("Enter")
    page.wait_for_selector("details[open] select")


def test_nothing_moves_while_figures_come(pair, chromium, closing):
    watch = """new PerformanceObserver((list) => list.getEntries().forEach((e) => (window.moved = (window.moved || 0) + e.value)))
        .observe({type: 'layout-shift', buffered: true})"""
    with page_of(chromium, url_of(pair), block=lambda p: p.add_init_script(watch)) as p:
        p.wait_for_selector("article[data-node=reasoning]:not(.stale)")
        talking(pair, closing)
        p.wait_for_selector("#requests tbody tr")
        more_figures(p, 4)
        assert p.evaluate("window.moved || 0") < 0.01


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


# What sticks out of the window on its right and is not in a box that scrolls or cuts.
TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
    [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth && !e.closest('.scroll, pre'))
        .map((e) => `${e.tagName}.${e.className} ${e.textContent.slice(0, 60)}`).slice(0, 5)"""


def poisoned(value, text, keep=()):
    """The same shape with every text replaced; those of keep stay, so that all of the page is drawn."""
    if isinstance(value, dict):
        return {k: v if k in keep else poisoned(v, text, keep) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(v, text, keep) for v in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("keep", [(), ("health", "state", "residency", "lane")], ids=["every field", "words of the protocol kept"])
def test_hostile_text_is_shown_and_never_run(pair, chromium, keep):
    assert len(HOSTILE) >= 40
    bodies = {name: pair.get(f"/api/v1/{name}") for name in ("nodes", "roles")}
    for node in bodies["nodes"]["nodes"]:
        node["last_error"] = "x"
        for host in node["hosts"]:
            host.update(notice="x", state="failed", last_error={"cause": "load", "code": 1, "text": "x", "log": "x"})
    for role in bodies["roles"]["roles"]:
        role.update(reason="x", loading={"node": "x", "state": "loading", "progress": 0.5, "eta_ms": 1000, "stalled": False})
    bodies["requests"] = {"requests": [{"id": "x", "role": "x", "node": "x", "state": "running", "key": "x", "served": "x", "outcome": "x", "error": "x", "age_ms": 5, "prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": 2}]}
    alarm = {"severity": "error", "kind": "x", "subject": "x", "text": "x", "next": "x"}
    bodies["status"] = {"version": "x", "alarms": [alarm]}
    now = {"text": HOSTILE[0]}

    def events():
        snapshot = json.dumps({name: poisoned(body, now["text"], keep) for name, body in bodies.items()})
        event = json.dumps(poisoned({**alarm, "id": 1, "at": "x"}, now["text"], keep))
        return f"id: 1\nevent: snapshot\ndata: {snapshot}\n\nid: 2\nevent: event\ndata: {event}\n\n"

    def block(p):
        p.route(re.compile(r"/api/v1/events\?live=1"), lambda r: r.fulfill(status=200, content_type="text/event-stream", body=events()))

    with page_of(chromium, url_of(pair), block=block) as p:
        for text in HOSTILE:
            now["text"] = text
            shown = "word word" if text.startswith("word ") else text[:12] if text.isprintable() and "\u202e" not in text else None
            if shown:
                wait_for(f"{text[:30]!r} shown as it is", lambda shown=shown: shown in p.evaluate("document.getElementById('main').textContent"), 20)
            else:
                wait_for(f"{text[:30]!r} written out", lambda: "\\u" in p.evaluate("document.getElementById('main').textContent"), 20)
            assert p.evaluate("window.pwned") is None
            assert p.evaluate("document.querySelectorAll('script').length") == 1
            strange = "img, iframe, style, base, form, input, math, template, b, [onload], [onerror], [onmouseover], meta[http-equiv], a[href^=javascript]"
            assert p.evaluate("(s) => document.querySelectorAll(s).length", strange) == 0
            assert p.evaluate(TOO_WIDE) == [], text[:40]
        assert p.complaints == []
        assert all(u.startswith(f"http://127.0.0.1:{pair.port}/") for u in p.asked)
