# SPDX-License-Identifier: MIT
"""What every whole-program test may use: where the programs are, processes that are ended by their pid, waiting for a
condition with a deadline, models made on the spot. Ports are always 0; programs say where they listen."""
import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ROLEMESH_BIN", TOP / "build" / "release" / "bin"))
# Sanitizers make everything slower: deadlines are stretched, what a test asserts is not.
SLOW = 6 if os.environ.get("ROLEMESH_PRESET") in ("asan", "tsan") else 1

# Where a sanitizer in any process of a test writes what it found; see pytest_configure.
REPORTS = None


def pytest_configure():
    """Every process that a test starts, and every process of theirs, writes what its sanitizer finds into one folder:
    nobody's log has to be searched, and an engine that its worker started again is not overlooked."""
    global REPORTS
    REPORTS = pathlib.Path(os.environ.get("ROLEMESH_REPORTS") or tempfile.mkdtemp(prefix="rm-reports-"))
    REPORTS.mkdir(parents=True, exist_ok=True)
    defaults = {
        "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": f'halt_on_error=1:suppressions="{TOP}/tests/support/tsan.supp"',
    }
    for name, default in defaults.items():
        os.environ[name] = f'{os.environ.get(name, default)}:log_path="{REPORTS}/report"'


def pytest_unconfigure():
    with contextlib.suppress(OSError):  # not empty: kept
        REPORTS.rmdir()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """After a test and the fixtures that end with it: a report that is new fails it."""
    reports = sorted(p for p in REPORTS.glob("report.*") if p.is_file())
    if reports:
        text = "\n".join(p.read_text(errors="replace")[:8000] for p in reports)
        for p in reports:
            p.rename(p.with_name(f"told-{p.name}"))
        pytest.fail(f"a sanitizer reported in {len(reports)} process(es), kept in {REPORTS}:\n{text}", pytrace=False)


def program(name):
    """A program of the build; the test fails when it is missing, and is skipped with a reason only where the build
    was made without llama.cpp and the program needs it."""
    path = BIN / name
    if path.exists():
        return path
    if name in ("rolemesh-core", "mkmodel") and (BIN / "rolemesh-worker").exists():
        pytest.skip(f"this build has no {name}: made without llama.cpp")
    pytest.fail(f"no {name} in {BIN}: build first, or set ROLEMESH_BIN")


def wait_until(what, condition, seconds=15.0, pause=0.005):
    """Returns condition()'s first true value; fails after `seconds`."""
    end = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited too long: {what}"
        time.sleep(pause)


def alive(pid):
    """True while the process runs: a zombie or a stranger's pid that cannot be asked does not count."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class Process:
    """One program with its output in a file. Ended by its pid, first politely."""

    def __init__(self, argv, log, **popen):
        self.log_path = pathlib.Path(log)
        with self.log_path.open("ab") as out:
            self.popen = subprocess.Popen(
                [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out, **popen
            )

    @property
    def pid(self):
        return self.popen.pid

    @property
    def running(self):
        return self.popen.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def signal(self, number):
        if self.running:
            self.popen.send_signal(number)

    def wait(self, seconds=15):
        return self.popen.wait(seconds * SLOW)

    def stop(self, seconds=10):
        self.signal(signal.SIGTERM)
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.wait(seconds)
            raise AssertionError(f"ignored SIGTERM:\n{self.log()[-4000:]}") from None

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.wait()


@pytest.fixture
def closing():
    """An ExitStack that is unwound after the test, whatever happened."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(scope="session")
def make_model(tmp_path_factory):
    """make_model(name, arch="llama", **options) -> path of a generated GGUF; the same request is made once."""
    directory, made = tmp_path_factory.mktemp("models"), {}

    def make(name, arch="llama", **options):
        key = (name, arch, tuple(sorted(options.items())))
        if key not in made:
            generator = program("mkmodel")
            path = directory / f"{len(made)}" / f"{name}.gguf"
            path.parent.mkdir()
            argv = [generator, arch, path, *(f"{k}={v}" for k, v in options.items())]
            subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.DEVNULL)
            made[key] = path
        return made[key]

    return make
