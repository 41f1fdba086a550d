# SPDX-License-Identifier: MIT
"""deploy/demo with the real programs: the table and the exit status of --check, the life of a --detach, that nothing
of it stays behind, and the official openai clients against it. Only in the release build, which the demo makes."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

import pytest

from cli_rig import check, rolemesh
from rig import TOP, alive, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.environ.get("ROLEMESH_PRESET", "release") != "release", reason="the demo runs the release build"
    ),
]


def free_base():
    """A port that is free together with the next two, as far as can be told before they are used."""
    for _ in range(50):
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            base = first.getsockname()[1]
            if not 1024 <= base <= 65533:
                continue
            try:
                for port in (base + 1, base + 2):
                    with socket.socket() as other:
                        other.bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    pytest.skip("no three free ports in a row")
    return 0


def demo_in(folder):
    """A function that runs deploy/demo with ports and a folder of its own."""
    base = free_base()
    env = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}

    def demo(*argv):
        return subprocess.run(
            [str(TOP / "deploy/demo"), "--port-base", str(base), *argv],
            env=env,
            text=True,
            capture_output=True,
            timeout=300,
            check=False,
        )

    demo.folder = folder / f"rolemesh-demo-{os.getuid()}-{base}"
    demo.url = f"http://127.0.0.1:{base}"
    return demo


@pytest.fixture(name="demo")
def demo_fixture():
    """A demo that is not started yet; what a test leaves running is ended."""
    with tempfile.TemporaryDirectory(prefix="rm-demo-") as folder:  # tmp_path is too long for sockets
        demo = demo_in(pathlib.Path(folder))
        yield demo
        demo("--stop")


@pytest.fixture(name="running_demo", scope="module")
def running_demo_fixture():
    """One demo in the background for all tests of the clients."""
    with tempfile.TemporaryDirectory(prefix="rm-demo-") as folder:
        demo = demo_in(pathlib.Path(folder))
        done = demo("--detach")
        try:
            assert done.returncode == 0, done.stderr
            yield demo
        finally:
            demo("--stop")


def running(pids):
    """Of these process ids, those that still run."""
    return [pid for pid in pids if alive(pid)]


def test_check_prints_the_table_and_leaves_nothing(demo):
    done = demo("--check")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if "/v1 " in line and line[0] != "I"]
    assert [row[:4] for row in rows] == [
        ["ask", f"{demo.url}/ask/v1", "speed", "tiny-ask"],
        ["code", f"{demo.url}/code/v1", "speed", "tiny-code"],
        ["architect", f"{demo.url}/architect/v1", "reasoning", "tiny-architect"],
    ]
    assert all(float(row[4]) > 0 and float(row[5]) > 0 for row in rows)
    assert f"base URL {demo.url}/code/v1" in done.stdout
    assert not demo.folder.exists()


def test_detach_second_start_stop(demo):
    first = demo("--detach")
    assert first.returncode == 0, first.stderr
    assert demo.url in first.stderr
    pids = [int(line.split()[0]) for line in (demo.folder / "pids").read_text().splitlines()]
    assert running(pids) == pids and len(pids) == 3
    second = demo("--check")
    assert second.returncode == 2
    assert "already runs" in second.stderr
    assert running(pids) == pids
    assert demo("--stop").returncode == 0
    assert running(pids) == []
    assert not demo.folder.exists()


def script_of(mode):
    """What the tiny model of a mode knows: the text in deploy/demo."""
    found = re.search(rf"^    \[{mode}\]='(.*)'$", (TOP / "deploy/demo").read_text(), re.M)
    return found[1].replace("\\n", "\n")


def python_chat(url, mode, how, prompt):
    """One chat with the official Python package."""
    openai = pytest.importorskip("openai", reason="the openai package is not installed (deploy/setup --with-tests)")
    client = openai.OpenAI(base_url=f"{url}/{mode}/v1", api_key="any", max_retries=0, timeout=60)
    body = {"model": mode, "messages": [{"role": "user", "content": prompt}], "max_tokens": 256, "temperature": 0}
    with client:
        if how == "whole":
            answer = client.chat.completions.create(**body)
            choice = answer.choices[0]
            text, finish, usage = choice.message.content, choice.finish_reason, answer.usage
        else:
            text, finish, usage = "", None, None
            for chunk in client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **body):
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    finish = choice.finish_reason or finish
                usage = chunk.usage or usage
    return {"text": text, "finish": finish, "usage": usage.model_dump()}


def npm_chat(url, mode, how, prompt):
    """One chat with the official npm package."""
    node = shutil.which("node")
    modules = os.environ.get("NODE_PATH", "")
    if node is None or not (pathlib.Path(modules) / "openai").is_dir():
        pytest.skip("the openai npm package is not installed (deploy/setup --with-tests)")
    done = subprocess.run(
        [node, str(TOP / "tests/clients/openai_chat.cjs"), f"{url}/{mode}/v1", mode, how, prompt],
        text=True,
        capture_output=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("mode", ["ask", "code", "architect"])
@pytest.mark.parametrize("chat", [python_chat, npm_chat])
def test_official_clients(running_demo, chat, mode, how):
    prompt = f"{chat.__name__} asks {mode} for a {how} answer, with words enough that a prefix is worth keeping."
    first = chat(running_demo.url, mode, how, prompt)
    assert first["text"].rstrip("\n") == script_of(mode).rstrip("\n")
    assert first["finish"] == "stop"
    usage = first["usage"]
    assert usage["prompt_tokens"] > 10
    assert usage["completion_tokens"] > 10
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    again = chat(running_demo.url, mode, how, prompt)
    assert again["text"] == first["text"]
    cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert usage["prompt_tokens"] // 2 < cached < usage["prompt_tokens"]


def test_what_the_command_prints_as_json_is_documented(running_demo):
    """Last in this file: the chats of the tests before are what it tells of."""

    def said(schema, *args):
        done = rolemesh(*args, "--json", gateway=running_demo.url)
        assert done.returncode == 0 and done.stderr == "", (args, done.stdout, done.stderr)
        return check(schema, json.loads(done.stdout))

    assert {r["name"] for r in said("Overview", "status")["roles"]} == {"ask", "code", "architect"}
    assert {n["name"] for n in said("Nodes", "nodes")["nodes"]} == {"speed", "reasoning"}
    assert all(r["hosts_ready"] == 1 for r in said("Roles", "roles")["roles"])
    assert said("Requests", "ps")["requests"] == []
    recent = said("Requests", "ps", "--all")["requests"]
    assert {r["role"] for r in recent if r["outcome"] == "ok"} == {"ask", "code", "architect"}
    assert said("Why", "why", recent[0]["id"])["decisions"][0]["role"] == recent[0]["role"]
    assert "host.ready" in {e["kind"] for e in said("Events", "events")["events"]}
    assert said("Plans", "plan", "--gateway", running_demo.url)["proposed"] is None
    assert {m["name"] for m in said("MapModels", "models")["models"]} >= {"tiny-ask", "tiny-code", "tiny-architect"}
    wait_for("the history has them", lambda: sum(u["requests"] for u in said("Usage", "usage")["usage"]) >= len(recent))
