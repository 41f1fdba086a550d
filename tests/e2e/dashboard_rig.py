# SPDX-License-Identifier: MIT
"""What the tests of the dashboard share: a cluster that is worth looking at, the page on it, and looks at what it shows."""
import contextlib
import os
import pathlib
import socket
import threading

import pytest

from browser_rig import page_of
from cluster_rig import Stream, call, cluster
from rig import SLOW, have_programs, wait_for

needs_engine = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

MODELS = {
    "ask": {"script": "Ask says hello."},
    "code": {"script": "int main(void) { return 0; }"},
    "talk": {"script": "round and round it goes", "loop": 1, "layers": 1, "heads": 2, "ctx": 32768},
}
ROLES = {
    "ask": "modes: [ask], model: ask, context: 2Ki, slots: 2, nodes: [speed]",
    "code": "modes: [code, debug], model: code, context: 2Ki, slots: 4",
    "talk": "modes: [talk], model: talk, context: 32Ki, slots: 3, nodes: [reasoning]",
}
VIEWS = ["mesh", "requests", "plan", "history", "events"]
# What each view shows when its figures have come.
SHOWN = {"mesh": "article[data-node=reasoning]:not(.stale)", "requests": "#recent table, #recent .empty", "plan": "#current article", "history": ".chart .plot canvas, .chart .empty", "events": ".events .event"}

# Layout that moved without anybody's doing: added up in window.moved, and what it was in window.movers.
WATCH_SHIFTS = """window.moved = 0, window.movers = [];
    new PerformanceObserver((list) => list.getEntries().filter((e) => !e.hadRecentInput).forEach((e) => {
      window.moved += e.value;
      window.movers.push(...e.sources.map((s) => `${s.node?.nodeName}.${s.node?.className ?? s.node?.parentElement?.className} ${s.node?.textContent?.slice(0, 40)}: ${s.previousRect.x},${s.previousRect.y} ${s.previousRect.width}x${s.previousRect.height} to ${s.currentRect.x},${s.currentRect.y} ${s.currentRect.width}x${s.currentRect.height}`));
    })).observe({type: 'layout-shift', buffered: true})"""
# What sticks out of the window on its right and is not in a box that scrolls or cuts.
TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
    [...document.querySelectorAll('main *, dialog *')].filter((e) => e.getBoundingClientRect().right > innerWidth && !e.closest('.scroll, pre, nav'))
        .map((e) => `${e.tagName}.${e.className} ${e.textContent.slice(0, 60)}`).slice(0, 5)"""


@contextlib.contextmanager
def looked_at(folder):
    """Two nodes, three roles."""
    with cluster(folder, ["speed", "reasoning"], MODELS, ROLES) as c:
        if call(c.port, "GET", "/dashboard/")[0] == 404:
            pytest.skip("this build has no dashboard: made without Node or its packages")
        yield c


def url_of(c, view="mesh"):
    return f"http://127.0.0.1:{c.port}/dashboard/#{view}"


@contextlib.contextmanager
def open_page(chromium, c, view="mesh", **how):
    """The page with its first figures; the browser has complained about nothing when the block ends."""
    with page_of(chromium, url_of(c, view), **how) as p:
        p.wait_for_selector(SHOWN[view])
        yield p
        assert p.complaints == []


def go(page, view):
    page.locator("nav a", has_text=view.capitalize()).click()
    page.wait_for_selector(SHOWN[view])


def more_figures(page, n=3):
    """Waits until the page has drawn n more snapshots."""
    drawn = "Number(document.getElementById('main').dataset.snapshots)"
    before = page.evaluate(drawn)
    wait_for("more figures", lambda: page.evaluate(drawn) >= before + n, 15)


def talking(c, closing, mode="talk"):
    """A stream that lasts until the test ends; the connection is read so that it does not stall."""
    stream = Stream(c.port, mode, "go")
    assert stream.status == 200
    reader = threading.Thread(target=lambda: [None for _ in stream.events()], daemon=True)

    def end():
        with contextlib.suppress(OSError):  # ended before
            stream.connection.sock.shutdown(socket.SHUT_RDWR)
        reader.join(10 * SLOW)

    reader.start()
    closing.callback(end)
    return end


def bar_of(page, node):
    """The parts of a node's memory bar and its marks, in one look."""
    return page.evaluate(
        """(node) => {
          const bar = document.querySelector(`article[data-node="${node}"] .memory .bar`);
          const number = (el) => Number(el?.dataset.bytes || 0);
          return {width: bar.getBoundingClientRect().width,
                  parts: [...bar.querySelectorAll('.part')].map((p) => ({kind: p.dataset.kind, role: p.dataset.role ?? null, bytes: number(p), width: p.getBoundingClientRect().width})),
                  budget: number(bar.querySelector('.mark-budget')), committed: number(bar.querySelector('.mark-forecast'))};
        }""",
        node,
    )


def screens():
    """Where pictures of the page go, for people to look at."""
    folder = pathlib.Path(os.environ.get("ROLEMESH_SCREENS") or pathlib.Path(os.environ.get("ROLEMESH_BIN", ".")).resolve().parent / "tests" / "screens")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
