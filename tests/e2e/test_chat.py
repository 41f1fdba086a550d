# SPDX-License-Identifier: MIT
"""rolemesh chat: one prompt of a script, and a conversation on a real terminal (tmux)."""
import os
import re
import signal
import subprocess
import sys

import pytest

from cluster_rig import cluster
from rig import BIN, SLOW, free_port, have_programs, wait_for
from test_waiting import Gateway
from tmux_rig import Terminal

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

ASK = "Ask says hello, and goes on for a while: " + " ".join(f"word{i}" for i in range(60)) + "."
# What a terminal would act on: a colour, a title, a clear screen, C1, a turned direction.
ODD = r"red \x1b[31m title \x1b]0;owned\x07 clear \x1b[2J bell \x07 back \x08 c1 \xc2\x9b31m turn \xe2\x80\xae end"
MODELS = {
    "ask": {"script": ASK},
    "odd": {"script": ODD},
    "talk": {"script": "round and round it goes", "loop": 1, "layers": 1, "heads": 2, "ctx": 32768},
}
ROLES = {
    "ask": "modes: [ask], model: ask, context: 2Ki, slots: 2",
    "odd": "modes: [odd], model: odd, context: 2Ki, slots: 1",
    "talk": "modes: [talk], model: talk, context: 32Ki, slots: 1",
}
FIGURES = re.compile(r"\[(\d+) tokens, ([\d.]+) tokens/s, first after ([\d.]+) s; prompt (\d+) tokens")


@pytest.fixture(name="one", scope="module")
def one_fixture(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("one"), ["speed"], MODELS, ROLES) as c:
        yield c


@pytest.fixture(name="terminal")
def terminal_fixture(closing):
    t = Terminal(160, 60)
    closing.callback(t.close)
    return t


def chat(port, *args, stdin=None, env=None):
    return subprocess.run([BIN / "rolemesh", "chat", "--gateway", f"http://127.0.0.1:{port}", *args], input=stdin if stdin is not None else "",
                          capture_output=True, text=True, timeout=60 * SLOW, check=False, env={**os.environ, **(env or {})})


def test_one_prompt(one):
    for done in (chat(one.port, "ask", "hello"), chat(one.port, "ask", "hello", "there"), chat(one.port, "ask", stdin="hello\n")):
        assert done.returncode == 0 and done.stdout == ASK + "\n"
        assert FIGURES.match(done.stderr), done.stderr
        tokens, per_s, first, prompt = FIGURES.match(done.stderr).groups()
        assert int(tokens) > 1 and float(per_s) > 0 and float(first) >= 0 and int(prompt) > 0
    done = chat(one.port, "ask", "-q", "hello", stdin="not this")
    assert (done.returncode, done.stdout, done.stderr) == (0, ASK + "\n", "")


def test_options_reach_the_role(one):
    done = chat(one.port, "ask", "hello", "--max-tokens", "1")
    assert done.returncode == 0 and "cut at the bound on tokens" in done.stderr and done.stdout.strip() != ASK
    more = int(FIGURES.match(chat(one.port, "ask", "hello", "--system", "You are brief " * 20).stderr).group(4))
    assert more > int(FIGURES.match(chat(one.port, "ask", "hello").stderr).group(4)) + 20


def test_nothing_that_a_terminal_acts_on(one):
    done = chat(one.port, "odd", "hello")
    assert done.returncode == 0
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.stdout)
    assert done.stdout == "red ?[31m title ?]0;owned? clear ?[2J bell ? back ? c1 ?31m turn ? end\n"


@pytest.mark.parametrize("args,stdin,code,says", [
    (["nobody", "hello"], None, 2, "nobody"),
    (["ask"], "", 2, "the prompt is empty"),
    (["ask"], "\n\n", 2, "the prompt is empty"),
    ([], None, 2, "which role, or mode?"),
    (["ask", "x", "--temperature", "hot"], None, 2, "--temperature takes a number from 0 to 5, not 'hot'"),
    (["ask", "x", "--max-tokens", "0"], None, 2, "--max-tokens"),
])
def test_bad_input(one, args, stdin, code, says):
    done = chat(one.port, *args, stdin=stdin)
    assert done.returncode == code and done.stdout == ""
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_nobody_there():
    done = chat(free_port(), "ask", "hello")
    assert done.returncode == 1 and "connection refused; start rolemesh-gateway" in done.stderr and done.stderr.count("\n") == 1


def test_a_key(tmp_path):
    """With keys a gateway wants one; it is taken from the environment or a file, and never shown."""
    with cluster(tmp_path, ["speed"], {"ask": MODELS["ask"]}, {"ask": ROLES["ask"]}) as c:
        key = subprocess.run([BIN / "rolemesh", "keys", "create", "anna", "--state-dir", tmp_path / "state-gateway"],
                             capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / "key").write_text(key)
        c.gateway.signal(signal.SIGHUP)
        wait_for("the key counts", lambda: chat(c.port, "ask", "hello").returncode == 1, pause=0.1)
        done = chat(c.port, "ask", "hello")
        assert "send a key: ROLEMESH_KEY or --key-file" in done.stderr
        assert chat(c.port, "ask", "hello", env={"ROLEMESH_KEY": key}).stdout == ASK + "\n"
        done = chat(c.port, "ask", "hello", "--key-file", tmp_path / "key")
        assert done.stdout == ASK + "\n" and key not in done.stderr


def test_interrupted(one):
    """Ctrl-C ends an answer of a script; what had come is there."""
    process = subprocess.Popen([BIN / "rolemesh", "chat", "--gateway", f"http://127.0.0.1:{one.port}", "talk", "go"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for("the stream", lambda: (one.role("talk") or {}).get("in_flight") == 1)
    assert "round" in process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20 * SLOW)
    assert process.returncode == 1 and "cancelled" in err
    wait_for("the slot", lambda: one.role("talk")["in_flight"] == 0)


def prompts_of(lines):
    return [int(m.group(4)) for line in lines for m in [FIGURES.match(line)] if m]


def begin(t, c, role):
    t.type(f"{BIN}/rolemesh chat {role} --gateway http://127.0.0.1:{c.port}; echo code $?")
    t.wait("/help lists commands")
    t.wait("a prompt", lambda s: ">" in s or any(line.startswith("> ") or line == ">" for line in s))


def test_a_conversation(one, terminal):
    t = terminal
    begin(t, one, "ask")
    t.type("hello")
    t.wait("Ask says hello")
    t.wait("figures", lambda s: len(prompts_of(s)) == 1)
    t.type("and again")
    t.wait("figures", lambda s: len(prompts_of(s)) == 2)
    first, second = prompts_of(t.screen())
    assert second > first + 5  # what was said is sent again
    t.type("/reset")
    t.wait("(forgotten)")
    t.type("hello")
    assert t.wait("figures", lambda s: prompts_of(s)[2:]) == [first]
    t.type("/system speak as a pirate does")
    t.wait("(told)")
    t.type("/reset")
    t.type("hello")
    assert t.wait("figures", lambda s: prompts_of(s)[3:])[0] > first
    t.type("/nonsense")
    t.wait("no such command")
    t.type("/help")
    t.wait("forget what was said")
    t.type("two \\")
    t.wait(".. ", lambda s: any(line.startswith("..") for line in s))
    t.type("lines")
    t.wait("figures", lambda s: len(prompts_of(s)) == 5)
    t.keys("C-d")
    t.wait("code 0")
    t.type(f"clear; {sys.executable} -c 'import os; print(\"blocking\", os.get_blocking(0))'")
    t.wait("blocking True")  # the shell's stdin is as it was


def test_ctrl_c(one, terminal):
    t = terminal
    begin(t, one, "talk")
    t.type("go")
    t.wait("round and round")
    t.keys("C-c")
    t.wait("cancelled")
    wait_for("the slot", lambda: one.role("talk")["in_flight"] == 0)
    t.type("/help")  # it goes on
    t.wait("forget what was said")
    t.keys("C-c")
    t.wait("(Ctrl-C again leaves)")
    t.keys("C-c")
    t.wait("code 0")


def test_a_role_that_is_not_there(one, terminal):
    t = terminal
    begin(t, one, "nobody")
    t.type("hello")
    t.wait("rolemesh chat:")
    t.type("/quit")
    t.wait("code 0")


@pytest.mark.slow
def test_why_it_waits_is_shown(tmp_path, terminal):
    """While a role is loaded (the stream tells after 10 s) a line says so, and gives way to the answer."""
    gateway = Gateway(tmp_path, load_s=14)
    try:
        terminal.type(f"{BIN}/rolemesh chat architect --gateway http://127.0.0.1:{gateway.port}; echo code $?")
        terminal.wait("/help lists commands")
        terminal.type("hello")
        terminal.wait("architect is loading on reasoning")
        terminal.wait("figures", lambda s: any(line.startswith("[") and "first after" in line for line in s))
        assert "is loading on" not in terminal.text()
        terminal.keys("C-d")
        terminal.wait("code 0")
    finally:
        gateway.stop()
