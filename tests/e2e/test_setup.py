# SPDX-License-Identifier: MIT
"""deploy/setup, deploy/demo and tests/run: what they say and how they exit when asked wrongly, and that a run of
set-up after a finished one changes nothing. Nothing here needs the network."""

import os
import pathlib
import re
import subprocess
import time

import pytest

from rig import TOP


def run(tmp_path, *argv, **env):
    """Runs one of our commands with a cache of its own; returns the finished process."""
    full = {**os.environ, "ROLEMESH_CACHE": str(tmp_path / "cache"), **env}
    return subprocess.run(
        [str(TOP / argv[0]), *argv[1:]], env=full, text=True, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "argv, says",
    [
        (["deploy/setup", "--frob"], "unknown option --frob"),
        (["deploy/setup", "--llama"], "--llama needs a value"),
        (["deploy/setup", "--llama", "metal"], "expected cpu, vulkan, cuda, system or none"),
        (["deploy/setup", "--prefix", "/tmp/a b"], "blanks"),
        (["deploy/demo", "--frob"], "unknown option --frob"),
        (["deploy/demo", "--check", "--stop"], "exclude each other"),
        (["deploy/demo", "--port-base", "80"], "expected a number from 1024"),
        (["deploy/demo", "--model", "chat=x.gguf"], "expected ROLE=FILE.gguf"),
        (["deploy/demo", "--model", "ask=missing.gguf"], "cannot read missing.gguf"),
        (["tests/run", "--preset", "fast"], "expected release, debug, asan or tsan"),
        (["tests/run", "twice"], "unknown option twice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_arguments_say_so_in_one_line(tmp_path, argv, says):
    done = run(tmp_path, *argv)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("command", ["deploy/setup", "deploy/demo", "tests/run"])
def test_help(tmp_path, command):
    done = run(tmp_path, command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: {command} ")
    assert done.stderr == ""


def test_second_run_does_nothing(tmp_path):
    first = run(tmp_path, "deploy/setup", "--llama", "none")
    assert first.returncode == 0, first.stderr
    stamp = tmp_path / "cache" / "setup.stamp"
    made, text = stamp.stat().st_mtime_ns, stamp.read_text()
    start = time.monotonic()
    second = run(tmp_path, "deploy/setup")
    assert second.returncode == 0
    assert "nothing to do (llama.cpp: none)" in second.stderr
    assert time.monotonic() - start < 2
    assert (stamp.stat().st_mtime_ns, stamp.read_text()) == (made, text)
    assert "-DROLEMESH_LLAMA=OFF" in text


def test_setup_knows_every_library_of_the_build():
    """A library that CMake requires is one that set-up looks for; a machine with everything would not show it."""
    required = re.findall(r"pkg_check_modules\(\w+ REQUIRED IMPORTED_TARGET ([\w.-]+)", (TOP / "CMakeLists.txt").read_text())
    wanted = re.search(r"pkg-config --exists ('libuv.*) \|\|", (TOP / "deploy/setup").read_text())[1]
    assert required
    assert [name for name in required if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", wanted)] == []


def test_the_demo_needs_no_test_library(tmp_path):
    """Without cmocka, as on a machine where set-up ran without --with-tests, the build configures all the same."""
    found = subprocess.run(["pkg-config", "--variable", "pc_path", "pkg-config"], text=True, capture_output=True, check=True)
    packages = tmp_path / "packages"
    packages.mkdir()
    for folder in found.stdout.strip().split(":"):
        for package in pathlib.Path(folder).glob("*.pc"):
            if package.stem != "cmocka" and not (packages / package.name).exists():
                (packages / package.name).symlink_to(package)
    done = subprocess.run(
        ["cmake", "-S", str(TOP), "-B", str(tmp_path / "build"), "-G", "Ninja"],
        env={**os.environ, "PKG_CONFIG_LIBDIR": str(packages)},
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert "no cmocka" in done.stdout
    assert done.returncode == 0, done.stderr


def test_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = run(tmp_path, "deploy/setup", ROLEMESH_CACHE=str(tmp_path / "file" / "cache"))
    assert done.returncode == 2
    assert "set ROLEMESH_CACHE" in done.stderr


def programs(tmp_path, **scripts):
    """A folder of shell scripts that stand before the system's commands of those names."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name.replace("_", "-")).write_text("#!/bin/sh\n" + text)
        (folder / name.replace("_", "-")).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_without_rights_the_one_command_is_printed(tmp_path):
    path = programs(tmp_path, dpkg_query="exit 0\n", id="echo 1000\n", sudo="exit 1\n")
    done = run(tmp_path, "deploy/setup", "--llama", "none", PATH=path)
    assert done.returncode == 2
    assert done.stdout.startswith("sudo sh -c 'apt-get update && apt-get install -y ")
    assert " libuv1-dev " in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_package_that_was_changed_is_not_unpacked(tmp_path):
    pack = 'for name; do :; done\necho changed > package-1.tgz\n'
    done = run(tmp_path, "deploy/setup", "--llama", "cpu", PATH=programs(tmp_path, npm=pack))
    assert done.returncode == 1
    assert "is not what deploy/llama.lock names" in done.stderr
    assert not list((tmp_path / "cache").glob("llama*"))


def test_no_network(tmp_path):
    path = programs(tmp_path, npm="echo unreachable >&2\nexit 1\n")
    done = run(tmp_path, "deploy/setup", "--llama", "cpu", PATH=path)
    assert done.returncode == 1
    assert "could not fetch @node-llama-cpp/" in done.stderr
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["setup.lock"]
