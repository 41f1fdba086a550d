# SPDX-License-Identifier: MIT
"""What an operator does on the page at /dashboard/, in a real browser on a real cluster with keys: sign in and out, cancel,
load, unload and drain, try a role map and apply it, look at the history. test_dashboard.py has what everybody sees."""
import json
import re

import pytest

from browser_rig import browser, violations
from cluster_rig import call
from dashboard_rig import SHOWN, TOO_WIDE, go, looked_at, needs_engine, open_page, page_of, screens, talking, url_of
from rig import SLOW, wait_for

pytestmark = needs_engine


class Keyed:
    """A cluster whose gateway has keys: an admin's and a reader's."""

    def __init__(self, c):
        self.c = c
        self.admin = self.make("anna", admin=True)
        self.reader = self.make("ben")

    def make(self, name, **more):
        fields = {"Authorization": f"Bearer {self.admin}"} if hasattr(self, "admin") else {}
        status, _, body = call(self.c.port, "POST", "/api/v1/keys", {"name": name, **more}, fields)
        assert status == 201, body
        return json.loads(body)["key"]

    def ask(self, method, path, body=None, **fields):
        status, _, answer = call(self.c.port, method, path, body, {"Authorization": f"Bearer {self.admin}", **fields})
        return status, json.loads(answer) if answer else None

    def get(self, path):
        status, body = self.ask("GET", path)
        assert status == 200, body
        return body

    def host(self, role, node):
        return next((h for h in self.get("/api/v1/hosts")["hosts"] if (h["role"], h["node"]) == (role, node)), None)

    def talk(self, closing, mode="talk"):
        return talking(self.c, closing, f"k/{self.admin}/{mode}")


@pytest.fixture(name="keyed", scope="module")
def keyed_fixture(tmp_path_factory):
    with looked_at(tmp_path_factory.mktemp("keyed")) as c:
        yield Keyed(c)


@pytest.fixture(name="chromium", scope="module")
def chromium_fixture():
    with browser() as b:
        yield b


def sign_in(page, key):
    page.wait_for_selector("#key")
    page.keyboard.press("Tab")
    page.locator("#key").focus()
    page.keyboard.type(key)
    page.keyboard.press("Enter")
    page.wait_for_selector(SHOWN["mesh"])


@pytest.fixture(name="page")
def page_fixture(keyed, chromium):
    """Signed in as the admin."""
    with page_of(chromium, url_of(keyed.c)) as p:
        sign_in(p, keyed.admin)
        yield p
        assert p.complaints == []


def told(page):
    """What the page says at its foot; it says it once."""
    text = page.locator("#toast.shown")
    text.wait_for()
    return text.inner_text()


# ---- sessions ----


def test_a_key_becomes_a_session_that_no_script_can_read(keyed, chromium):
    with page_of(chromium, url_of(keyed.c)) as p:
        p.wait_for_selector("#key")
        assert p.locator("article").count() == 0 and p.locator("#link.link-key").count() == 1
        assert violations(p) == []
        p.fill("#key", "rm-" + "x" * 48)
        p.keyboard.press("Enter")
        p.wait_for_selector(".keys [role=alert]")
        assert p.input_value("#key") == ""
        sign_in(p, keyed.admin)
        assert "anna" in p.locator(".who").inner_text() and "admin" in p.locator(".who").inner_text()
        assert p.evaluate("document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)") == "{}{}"
        assert keyed.admin not in p.content() and not any(keyed.admin in u for u in p.asked)
        cookie = p.context.cookies()[0]
        assert cookie["name"] == "rolemesh_session" and cookie["httpOnly"] and cookie["sameSite"] == "Strict"
        p.reload()
        p.wait_for_selector(SHOWN["mesh"])  # still signed in
        p.locator("#sign-out").click()
        p.wait_for_selector("#key")
        assert p.locator("article").count() == 0
        assert p.complaints == []


def test_a_reader_reads_and_acts_not(keyed, chromium, closing):
    keyed.talk(closing)
    with page_of(chromium, url_of(keyed.c)) as p:
        sign_in(p, keyed.reader)
        p.wait_for_selector("#flight tbody tr")
        assert p.locator("button.more, button.danger").count() == 0 and "reads" in p.locator(".who").inner_text()
        go(p, "plan")
        assert p.locator("#map-text").count() == 0
        refused = p.evaluate("fetch('/api/v1/map?dry_run=1', {method: 'POST', headers: {'X-Rolemesh-Action': '1', 'Content-Type': 'application/yaml'}, body: 'version: 1'}).then((r) => r.status)")
        assert refused == 403
        assert p.complaints == []


def test_a_key_that_is_revoked_ends_what_the_page_shows(keyed, chromium):
    key = keyed.make("carl")
    with page_of(chromium, url_of(keyed.c)) as p:
        sign_in(p, key)
        assert keyed.ask("DELETE", "/api/v1/keys/carl")[0] == 200
        p.reload()
        p.wait_for_selector("#key")


# ---- requests ----


def test_cancel_by_keyboard(keyed, page, closing):
    keyed.talk(closing)
    row = page.locator("#flight tbody tr", has=page.get_by_text("talk", exact=True))
    row.wait_for()
    button = row.locator("button.danger")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    dialog.wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Let it run"  # the harmless one has the focus
    assert violations(page) == []
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert row.count() == 1
    button.focus()
    page.keyboard.press("Enter")
    dialog.wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    row.wait_for(state="detached")
    assert "cancelled" in told(page)
    newest = keyed.get("/api/v1/requests?role=talk&limit=1")["requests"][0]
    assert newest["state"] == "done" and newest["outcome"] != "ok"


# ---- hosts and nodes ----


def act_on(page, name, choice, say):
    """By keyboard: opens the dialog of a button, chooses, confirms. Returns what the page said then."""
    page.get_by_role("button", name=name, exact=True).focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog[open]")
    dialog.wait_for()
    labels = dialog.locator(".choice strong").all_inner_texts()
    assert page.evaluate("document.activeElement.type") == "radio"
    for _ in range(labels.index(choice)):
        page.keyboard.press("ArrowDown")
    page.locator(f"dialog button.strong:text-is('{say}')").wait_for()  # the button names what it does
    assert violations(page) == []
    page.screenshot(path=screens() / f"action-{re.sub(r'[^a-z]+', '-', choice.lower()).strip('-')}.png")
    page.keyboard.press("Enter")
    dialog.wait_for(state="detached")
    return told(page)


def test_drain_and_its_end_from_the_page(keyed, page):
    row = page.locator("article[data-node=speed] .host", has=page.get_by_text("ask", exact=True))
    assert act_on(page, "Actions for ask on speed", "Drain", "Drain")
    row.locator(".badge:text-is('drained')").wait_for()
    host = keyed.host("ask", "speed")
    assert host["wanted"] == "drained" and host["closed"]
    assert call(keyed.c.port, "POST", f"/k/{keyed.admin}/ask/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]})[0] == 503
    act_on(page, "Actions for ask on speed", "End the drain", "End the drain")
    row.locator(".badge:text-is('ready')").wait_for()
    assert keyed.host("ask", "speed")["wanted"] is None
    assert call(keyed.c.port, "POST", f"/k/{keyed.admin}/ask/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]})[0] == 200


def test_unload_and_load_from_the_page(keyed, page):
    node = next(h["node"] for h in keyed.get("/api/v1/hosts")["hosts"] if h["role"] == "code")
    other = {"speed": "reasoning", "reasoning": "speed"}[node]
    act_on(page, f"Actions for code on {node}", "Unload", "Unload")
    page.locator(f"article[data-node={node}]", has=page.get_by_text("Kept off this node")).wait_for()
    there = page.locator(f"article[data-node={other}] .host", has=page.get_by_text("code", exact=True))
    there.locator(".badge:text-is('ready')").wait_for(timeout=30000 * SLOW)  # the plan gave it another place
    assert keyed.host("code", node) is None
    act_on(page, f"Actions for node {node}", "Load code here", "Load code here")
    here = page.locator(f"article[data-node={node}] .host", has=page.get_by_text("code", exact=True))
    here.locator(".badge:text-is('ready')").wait_for(timeout=30000 * SLOW)
    assert "kept" in here.inner_text() and keyed.host("code", node)["wanted"] == "loaded"


def test_what_is_refused_is_told_with_its_reason(keyed, page):
    page.get_by_role("button", name="Load ask on a node", exact=True).click()
    page.locator("dialog .choice", has_text="reasoning").click()
    page.locator("dialog button.strong").click()
    alert = page.locator("dialog [role=alert]")
    alert.wait_for()
    status, problem = keyed.ask("POST", "/api/v1/hosts/ask/reasoning/load")
    assert status == 409 and alert.inner_text() == problem["detail"]
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "act-role-ask"


def test_a_node_is_drained_from_the_page(keyed, page):
    act_on(page, "Actions for node speed", "Drain the node", "Drain the node")
    page.locator("article[data-node=speed] > .line .badge:text-is('drained')").wait_for()
    assert next(n for n in keyed.get("/api/v1/nodes")["nodes"] if n["name"] == "speed")["drained"]
    act_on(page, "Actions for node speed", "End the drain", "End the drain")
    page.locator("article[data-node=speed] > .line .badge:text-is('up')").wait_for()
    keyed.ask("POST", "/api/v1/hosts/ask/speed/load")
    wait_for("ask again", lambda: (keyed.host("ask", "speed") or {}).get("usable"), 30)


# ---- the plan ----


def map_with(keyed, **roles):
    text = keyed.c.map.read_text()
    for name, keys in roles.items():
        text = re.sub(rf"(?m)^  {name}: {{ modes.*$", f"  {name}: {{ {keys} }}", text)
    return text


def test_the_plan_is_the_gateways(keyed, page):
    go(page, "plan")
    plan = keyed.get("/api/v1/plan")["current"]
    for node in plan["nodes"]:
        rows = page.locator(f"#current article:has(h3:text-is('{node['node']}')) tbody tr")
        assert sorted(rows.locator("th").all_inner_texts()) == sorted(h["role"] for h in node["hosts"])
    assert violations(page) == []


def test_a_map_is_tried_told_what_is_wrong_and_applied(keyed, page):
    before = keyed.get("/api/v1/map")["revision"]
    go(page, "plan")
    wait_for("the gateway's own file to begin with", lambda: page.input_value("#map-text") == keyed.c.map.read_text(), 10)
    assert str(keyed.c.map) in page.locator(".try").inner_text()
    page.fill("#map-text", "version: 1\nrols: {}\n")
    page.click("#map-try")
    page.wait_for_selector(".mistakes li")
    assert "rols" in page.locator(".mistakes").inner_text() and page.locator("#map-apply").count() == 0
    page.fill("#map-text", map_with(keyed, ask="modes: [ask], model: ask, context: 2Ki, slots: 3, nodes: [speed]"))
    page.click("#map-try")
    page.wait_for_selector("#map-apply")
    change = page.locator(".try .scroll tbody tr")
    assert change.count() == 1 and "ask" in change.inner_text() and "slots" in change.inner_text()
    assert violations(page) == [] and page.evaluate(TOO_WIDE) == []
    page.screenshot(path=screens() / "plan-tried.png", full_page=True)
    assert keyed.get("/api/v1/map")["revision"] == before  # tried only
    page.locator("#map-apply").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.screenshot(path=screens() / "plan-apply.png")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert "applied" in told(page)
    assert keyed.get("/api/v1/map")["revision"] != before
    wait_for("ask with three slots", lambda: (keyed.host("ask", "speed") or {}).get("slots_total") == 3, 30)


def test_the_file_is_read_again(keyed, page):
    go(page, "plan")
    page.click("#map-reload")
    page.locator("dialog button.strong").click()
    assert "says what runs already" in told(page)
    assert keyed.get("/api/v1/map")["last_reload"]["by"] == "api"


def test_a_map_from_a_file(keyed, page, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(keyed.c.map.read_text())
    go(page, "plan")
    page.set_input_files("#map-file", path)
    wait_for("the file in the field", lambda: page.input_value("#map-text") == path.read_text(), 5)
    page.click("#map-try")
    page.get_by_text("The map says the same as the one that runs.").wait_for()


# ---- history ----


def test_the_history_is_drawn_and_read_by_keyboard(keyed, page):
    for _ in range(3):
        assert call(keyed.c.port, "POST", f"/k/{keyed.admin}/ask/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]})[0] == 200

    def counted():
        return sum(p[1] or 0 for s in keyed.get("/api/v1/history?metric=requests&by=role")["series"] if s["role"] == "ask" for p in s["points"])

    wait_for("the requests in the history", lambda: counted() >= 3, 20)
    go(page, "history")
    chart = page.locator(".chart[data-metric=requests]")
    chart.locator(".plot canvas").wait_for()
    assert "ask" in chart.locator("tbody").inner_text()
    plot = chart.locator(".plot")
    plot.focus()
    last = plot.get_attribute("aria-valuenow")
    page.keyboard.press("ArrowLeft")
    wait_for("the time before", lambda: int(plot.get_attribute("aria-valuenow")) == int(last) - 1, 5)
    assert "ask" in plot.get_attribute("aria-valuetext")
    page.keyboard.press("Home")
    wait_for("the first time", lambda: plot.get_attribute("aria-valuenow") == "0", 5)
    page.locator(".segments input[value='24h']").check()
    page.get_by_text("per 5 min").first.wait_for()
    page.locator("#history-of").select_option("role=ask")
    wait_for("only what is known of a role", lambda: page.locator(".chart[data-metric=cpu_percent]").count() == 0, 10)
    assert violations(page) == []
