# SPDX-License-Identifier: MIT
"""deploy/demo with the real programs: the table and the exit status of --check, the life of a --detach, and that
nothing of it stays behind. Only in the release build, which is the one that the demo makes."""

import os
import pathlib
import socket
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]

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


@pytest.fixture(name="demo")
def demo_fixture(tmp_path):
    """A function that runs deploy/demo with ports and a folder of its own, and ends what it left at the end."""
    base = free_base()
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}

    def demo(*argv):
        return subprocess.run(
            [str(TOP / "deploy/demo"), "--port-base", str(base), *argv],
            env=env,
            text=True,
            capture_output=True,
            timeout=300,
            check=False,
        )

    demo.folder = tmp_path / f"rolemesh-demo-{os.getuid()}-{base}"
    demo.url = f"http://127.0.0.1:{base}"
    yield demo
    demo("--stop")


def running(pids):
    """Of these process ids, those that still run; one that nobody has waited for yet does not."""

    def state(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        except OSError:
            return "gone"

    return [pid for pid in pids if state(pid) not in ("Z", "X", "gone")]


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
