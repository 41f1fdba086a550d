# SPDX-License-Identifier: MIT
"""rolemesh top on a real terminal (tmux), over a real cluster: what moves, keys, and what is left behind."""
import contextlib
import http.client
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from cluster_rig import cluster
from rig import BIN, SLOW, alive, chat_of, free_port, have_programs, text_of, wait_for
from tmux_rig import Terminal

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

MODELS = {
    "talk": {"script": "round and round it goes", "loop": 1, "layers": 1, "heads": 2, "ctx": 32768},
    "ask": {"script": "Ask says hello."},
}
ROLES = {
    "talk": "modes: [talk], model: talk, context: 32Ki, slots: 2, nodes: [speed]",
    "ask": "modes: [ask], model: ask, context: 2Ki, slots: 2, nodes: [reasoning]",
}


@pytest.fixture(name="two", scope="module")
def two_fixture(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("two"), ["speed", "reasoning"], MODELS, ROLES) as c:
        yield c


@pytest.fixture(name="terminal")
def terminal_fixture(closing):
    def make(*args, **more):
        t = Terminal(*args, **more)
        closing.callback(t.close)
        return t

    return make


@contextlib.contextmanager
def streaming(c, mode="talk"):
    """A stream that is read all the time, as an editor does, until the block ends."""
    s = c.stream(mode)
    assert s.status == 200
    got = []
    first = threading.Event()

    def read():
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for event in s.events():
                got.append(event)
                if text_of([event]):
                    first.set()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert first.wait(20 * SLOW)
        yield s
    finally:
        with contextlib.suppress(OSError):
            s.connection.sock.shutdown(2)
        thread.join()
        s.close()


def start(t, c, more=""):
    t.type(f"{BIN}/rolemesh top --gateway http://127.0.0.1:{c.port} {more}")
    t.wait("rolemesh top")
    t.wait("? help")


def column(lines, head, row, title):
    """The figure under a title, in the row that begins with a name, of the table with that head; None: none yet."""
    top = next((i for i, line in enumerate(lines) if line.startswith(head)), None)
    if top is None:
        return None
    titles = [(m.group().rstrip("^v"), m.start(), m.end()) for m in re.finditer(r"\S+", lines[top])]
    line = next((l for l in lines[top + 1:] if l.startswith(row)), None)
    begin, end = next(((b, e) for name, b, e in titles if name == title), (None, None))
    if line is None or begin is None:
        return None
    for m in re.finditer(r"\S+", line):
        if m.start() < end and m.end() > begin:
            return m.group()
    return None


def number(text):
    return float(re.sub(r"[^0-9.].*", "", text) or 0) if text and text != "-" else 0


def test_live_figures_while_a_stream_runs(two, terminal):
    t = terminal()
    start(t, two)
    assert all(len(line) <= 80 for line in t.screen())
    t.wait("both nodes", lambda s: column(s, "NODE", "speed", "STATE") == "up" and column(s, "NODE", "reasoning", "STATE") == "up")
    t.wait("no request in flight")
    with streaming(two):
        t.wait("tokens/s of the request", lambda s: number(column(s, "REQUEST", "~", "TOK/S")) > 0)
        t.wait("tokens/s of the node", lambda s: number(column(s, "NODE", "speed", "OUT/S")) > 0)
        t.wait("a busy slot", lambda s: column(s, "NODE", "speed", "SLOTS") == "1/2")
        t.wait("a running request of the role", lambda s: column(s, "ROLE", "talk", "RUN") == "1")
        assert column(t.screen(), "NODE", "reasoning", "OUT/S") in ("0", "-")
    t.wait("no request in flight")
    t.wait("a node at rest", lambda s: column(s, "NODE", "speed", "SLOTS") == "0/2")


def first_column(lines, head, n):
    top = next(i for i, line in enumerate(lines) if line.startswith(head))
    return [line.split()[0] for line in lines[top + 1:top + 1 + n]]


def test_keys_sort_filter_and_drill_down(two, terminal):
    t = terminal(100, 30)
    start(t, two)
    t.wait("by name", lambda s: first_column(s, "NODE", 2) == ["reasoning", "speed"])
    t.keys("r")
    t.wait("turned round", lambda s: first_column(s, "NODE", 2) == ["speed", "reasoning"])
    t.keys("s")
    t.wait("STATE^")
    t.keys("S", "/")
    t.keys("-l", "spee")
    t.wait("/spee_")
    t.keys("Enter")
    t.wait("filtered", lambda s: not any(line.startswith("reasoning") for line in s))
    t.keys("Enter")
    t.wait("node speed")
    t.wait("talk@speed")
    t.keys("Escape")
    t.wait("Esc ends it")
    t.keys("Escape", "Tab")
    t.wait("reasoning")
    t.keys("Enter")
    t.wait("role ask")
    t.wait("ask@reasoning")
    t.keys("Escape", "?")
    t.wait("cancel the request (asks first)")
    t.keys("?")
    t.wait("NODE")


def test_cancel_asks_first(two, terminal):
    t = terminal()
    start(t, two)
    with streaming(two) as s:
        t.wait("the request", lambda l: column(l, "REQUEST", "~", "STATE") == "running")
        t.keys("3", "Enter")
        t.wait("why (w asks again)")
        t.wait("speed:")
        t.keys("Escape", "c")
        t.wait("? y/n")
        t.keys("n")
        t.wait("not cancelled")
        assert two.get("/api/v1/status")["requests"] == 1
        t.keys("c")
        t.wait("? y/n")
        t.keys("y")
        t.wait("cancelled: ")
        t.wait("no request in flight")
        wait_for("the stream's end", lambda: two.get("/api/v1/status")["requests"] == 0)
        assert s is not None


def test_quit_restores_the_terminal(two, terminal, tmp_path):
    t = terminal()
    t.type(f"stty -g >{tmp_path}/before; echo this was here")
    t.wait("this was here")
    start(t, two)
    assert "this was here" not in t.text()
    t.keys("q")
    t.wait("shell> ", lambda s: "in flight" not in "\n".join(s) and any("this was here" in line for line in s))
    t.type(f"stty -g >{tmp_path}/after; echo code $?")
    t.wait("code 0")
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()
    t.type(f"{sys.executable} -c 'import os; print(\"blocking\", os.get_blocking(0))'")
    t.wait("blocking True")  # the shell's stdin is as it was
    assert t.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}").split() == ["0", "1"]


def test_stop_and_go_on(two, terminal):
    """Ctrl-Z gives the terminal back, fg takes it again."""
    t = terminal()
    start(t, two)
    t.keys("C-z")
    t.wait("Stopped")
    assert t.tmux("display-message", "-p", "#{alternate_on}").strip() == "0"
    assert "NDELAY" not in t.text()
    t.type("fg")
    t.wait("NODE")
    t.keys("q")
    t.wait("shell> ", lambda s: not any(line.startswith("NODE") for line in s))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_restores_it_too(two, terminal, number):
    t = terminal()
    start(t, two)
    shell = int(t.tmux("display-message", "-p", "#{pane_pid}"))
    pid = int(subprocess.run(["ps", "-o", "pid=", "--ppid", str(shell)], check=True, capture_output=True, text=True).stdout.split()[0])
    os.kill(pid, number)
    wait_for("its end", lambda: not alive(pid))
    t.wait("shell> ", lambda s: not any(line.startswith("NODE") for line in s))
    assert t.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}").split() == ["0", "1"]


def test_sizes(two, terminal):
    t = terminal()
    start(t, two)
    for width, height in ((40, 20), (24, 10), (120, 40), (30, 5), (8, 3), (80, 24)):
        t.resize(width, height)
        wanted = "too sma" if width < 10 else "rolemesh top"[:width - 1]
        t.wait(wanted, lambda s: len(s) == height and any(wanted in line for line in s) and all(len(line) <= width for line in s))
    t.wait("? help")


def test_colours_only_where_wanted(two, terminal):
    t = terminal()
    start(t, two)
    t.wait("up", lambda s: column(s, "NODE", "speed", "STATE") == "up")
    assert "\x1b[32m" in t.raw()
    t.keys("q")
    t.wait("shell> ", lambda s: not any(line.startswith("NODE") for line in s))
    t.type("export NO_COLOR=1; clear")
    start(t, two)
    t.wait("up", lambda s: column(s, "NODE", "speed", "STATE") == "up")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", t.raw())


def test_a_gateway_that_goes_and_comes(tmp_path, terminal):
    """The stream is found again by itself; what was last known stays, and is said to be old."""
    t = terminal()
    with cluster(tmp_path, ["speed"], {"ask": MODELS["ask"]}, {"ask": "modes: [ask], model: ask, context: 2Ki, slots: 2"}) as c:
        start(t, c)
        t.wait("up", lambda s: column(s, "NODE", "speed", "STATE") == "up")
        c.gateway.kill()
        t.wait("trying again")
        assert column(t.screen(), "NODE", "speed", "STATE") == "up"
        t.wait(" old")
        c.start_gateway()
        t.wait("the stream again", lambda s: "trying again" not in "\n".join(s) and column(s, "ROLE", "ask", "STATE") == "ready")
        c.workers["speed"].kill()
        t.wait("the dead node", lambda s: column(s, "NODE", "speed", "STATE") in ("suspect", "down"))
        c.start_worker("speed")
        t.keys("q")
        t.wait("shell> ")


def run(*args, **more):
    return subprocess.run([BIN / "rolemesh", "top", *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20 * SLOW, check=False, **more)


def test_without_a_terminal():
    done = run()
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "it needs a terminal" in done.stderr


def test_nobody_there(terminal):
    t = terminal()
    port = free_port()
    t.type(f"{BIN}/rolemesh top --gateway http://127.0.0.1:{port}; echo code $?")
    t.wait("code 1")
    assert "connection refused; start rolemesh-gateway" in t.text().replace("\n", "")


@pytest.mark.parametrize("term", ["nonsense", "dumb"])
def test_a_terminal_that_cannot_be_drawn_on(two, terminal, term):
    t = terminal(120, 24)
    t.type(f"TERM={term} {BIN}/rolemesh top --gateway http://127.0.0.1:{two.port}; echo code $?")
    t.wait("code 2")
    assert "$TERM names no terminal" in t.text()


def test_with_keys(tmp_path, terminal):
    """Who has no key is told so; who may only look is told so when a request is to be cancelled."""
    with cluster(tmp_path, ["speed"], {"talk": MODELS["talk"]}, {"talk": ROLES["talk"]}) as c:
        def make(name, *more):
            done = subprocess.run([BIN / "rolemesh", "keys", "create", name, *more, "--state-dir", tmp_path / "state-gateway"],
                                  capture_output=True, text=True, check=True)
            return done.stdout.strip()

        user, admin = make("anna"), make("boss", "--admin")
        c.gateway.signal(signal.SIGHUP)
        wait_for("keys count", lambda: c.get("/api/v1/status") is None)
        t = terminal(100, 24)
        t.type(f"{BIN}/rolemesh top --gateway http://127.0.0.1:{c.port}; echo code $?")
        t.wait("code 1")
        assert "wants an API key (401)" in t.text()
        t.type(f"clear; export ROLEMESH_KEY={user}; clear")
        start(t, c)
        s = http.client.HTTPConnection("127.0.0.1", c.port, timeout=60 * SLOW)
        s.request("POST", "/talk/v1/chat/completions", json.dumps(chat_of("hi", stream=True)),
                  {"Content-Type": "application/json", "Authorization": f"Bearer {user}"})
        response = s.getresponse()
        t.wait("the request", lambda l: column(l, "REQUEST", "~", "STATE") == "running" and column(l, "REQUEST", "~", "WHO") == "anna")
        t.keys("3", "c")
        t.wait("? y/n")
        t.keys("y")
        t.wait("not cancelled: refused (403)")
        t.keys("q")
        t.wait("shell> ", lambda l: not any(line.startswith("NODE") for line in l))
        t.type(f"clear; export ROLEMESH_KEY={admin}; clear")
        start(t, c)
        t.keys("3", "c")
        t.wait("? y/n")
        t.keys("y")
        t.wait("cancelled: ")
        response.close()
        s.close()
        assert user not in t.text() and admin not in t.text()


# What a terminal would act on, or what would move its neighbours; as names of nodes, roles, requests and their texts.
HOSTILE = ["\x1b[2J", "\x1b]0;owned\x07", "\x1b[?1049l", "\x1bc", "\x1b[5;5H", "a\nb", "\r\r", "\t\t\t", "\x08\x08", "\x0e\x0f", "\x9b31m", "\x7f", "\u202eabc",
           "\u2067x", "\u05d0\u05d1\u05d2", "\u6a21\u578b" * 20, "e\u0301" * 9, "\U0001f600" * 9, "\u200b\u200d", "\ufeff", "x" * 500, "%s%n", "\uff21" * 30, " ", ""]


def hostile_snapshot():
    memory = {"total": 1 << 34, "available": 1 << 33, "committed": 1 << 30, "reserve": 1 << 30}
    nodes = [{"name": f"{i}{h}", "health": h or "up", "path": h, "memory": memory, "hosts": [{"role": h, "node": h, "notice": h, "state": h}]} for i, h in enumerate(HOSTILE)]
    roles = [{"name": f"{i}{h}", "model": h, "lane": h, "reason": h, "modes": [h], "hosts": []} for i, h in enumerate(HOSTILE)]
    requests = [{"id": f"{i}{h}", "state": "running", "role": h, "served": h, "node": h, "key": {"id": h, "name": h}, "age_ms": i, "completion_tokens": i} for i, h in enumerate(HOSTILE)]
    alarms = [{"severity": "error", "subject": h, "text": h, "next": h} for h in HOSTILE]
    return {"status": {"version": HOSTILE[0], "uptime_ms": 1, "requests": 9, "alarms": alarms},
            "nodes": {"nodes": nodes}, "roles": {"roles": roles}, "requests": {"requests": requests}}


class HostileGateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        stream = self.path.startswith("/api/v1/events")
        body = json.dumps({"request": {}, "decisions": [{"at": h, "node": h, "role": h, "candidates": [{"node": h, "reject": h}]} for h in HOSTILE], "rewrites": HOSTILE})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
        self.send_header("Connection", "close")
        if not stream:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not stream:
            self.wfile.write(body.encode())
            return
        with contextlib.suppress(OSError):
            while True:  # until the listener goes
                self.wfile.write(f"event: snapshot\ndata: {json.dumps(hostile_snapshot())}\n\n".encode())
                for h in HOSTILE:
                    self.wfile.write(f"event: event\ndata: {json.dumps({'id': 1, 'at': h, 'severity': h, 'subject': h, 'text': h})}\n\n".encode())
                self.wfile.flush()
                time.sleep(0.3)

    def log_message(self, *args):
        pass


def test_hostile_names_stay_in_their_places(terminal, closing):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), HostileGateway)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    closing.callback(thread.join)
    closing.callback(server.server_close)
    closing.callback(server.shutdown)
    t = terminal(100, 30)
    title = t.tmux("display-message", "-p", "#{pane_title}")
    t.type(f"{BIN}/rolemesh top --no-color --gateway http://127.0.0.1:{server.server_address[1]}")
    t.wait("? help")

    def whole(lines):
        return len(lines) == 30 and lines[0].startswith("rolemesh top  127.0.0.1:") and lines[1].startswith(f"{len(HOSTILE)} alarms: ") and lines[2].startswith("NODE")

    t.wait("the picture", lambda s: whole(s) and s[29].startswith("? help"))
    for keys in (["G"], ["2"], ["G"], ["3"], ["G"], ["1", "g"]):
        t.keys(*keys)
        t.wait("the picture", lambda s: whole(s) and s[29].startswith("? help"))
    for pane in "123":
        t.keys(pane, "Enter")
        t.wait("the close look", lambda s: len(s) == 30 and s[0].startswith("rolemesh top") and s[29].startswith("Esc back"))
        t.keys("G")
        t.wait("its end", lambda s: s[0].startswith("rolemesh top") and s[29].startswith("Esc back"))
        t.keys("Escape")
    raw = t.raw()
    assert not re.search("[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", raw)
    assert t.tmux("display-message", "-p", "#{pane_title}") == title and "owned" not in title
    t.keys("q")
    t.wait("shell> ", lambda s: not any(line.startswith("NODE") for line in s))
