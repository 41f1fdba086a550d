# SPDX-License-Identifier: MIT
"""A page of the gateway in Debian's Chromium, driven by Playwright. Where one of them is missing the tests that need it
are skipped, and say what is missing."""
import contextlib
import json
import os
import pathlib
import shutil

import pytest

from rig import SLOW

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def need_browser():
    """Skips the test where there is no browser to be had."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    pytest.importorskip("playwright.sync_api", reason="no playwright here: deploy/setup --with-tests installs it")


@contextlib.contextmanager
def browser():
    """A Chromium that ends with the block."""
    need_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        args = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox refuses root
        b = p.chromium.launch(executable_path=CHROMIUM, args=args)
        try:
            yield b
        finally:
            b.close()


@contextlib.contextmanager
def page_of(b, url, width=1280, height=900, scheme="light", motion="reduce", block=None):
    """A page with its own storage. What the browser complains about is in page.complaints: errors of scripts, what the
    page's policy refused, dialogs."""
    context = b.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion=motion)
    page = context.new_page()
    page.set_default_timeout(15000 * SLOW)
    page.complaints, page.asked = [], []
    page.on("pageerror", lambda e: page.complaints.append(f"error: {e}"))
    page.on("console", lambda m: page.complaints.append(f"console: {m.text}") if m.type == "error" and "Content Security Policy" in m.text else None)
    page.on("dialog", lambda d: (page.complaints.append(f"dialog: {d.message}"), d.dismiss()))
    page.on("request", lambda r: page.asked.append(r.url))
    if block:
        block(page)
    try:
        page.goto(url)
        yield page
    finally:
        context.close()


def axe_source():
    """axe-core as text; the test is skipped where npm could not fetch it."""
    for folder in os.environ.get("NODE_PATH", "").split(":"):
        path = pathlib.Path(folder) / "axe-core" / "axe.min.js"
        if folder and path.exists():
            return path.read_text()
    return pytest.skip("no axe-core here: deploy/setup --with-tests installs it")


def violations(page):
    """What axe-core finds, one line each. It is run by the debugger, which the page's policy does not bind."""
    page.evaluate(axe_source())
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations.map((v) => [v.id, v.help, v.nodes.map((n) => n.html).slice(0, 3)])")
    return [json.dumps(v) for v in found]
