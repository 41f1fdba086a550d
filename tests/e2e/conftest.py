# SPDX-License-Identifier: MIT
"""Fixtures of every whole-program test, and what a sanitizer found in any process of one. The tools are in rig.py."""
import contextlib
import os
import pathlib
import shutil
import tempfile

import pytest

import rig

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
        "TSAN_OPTIONS": f'halt_on_error=1:suppressions="{rig.TOP}/tests/support/tsan.supp"',
    }
    # A gateway that is told no state directory must not find the keys of whoever runs the tests.
    os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="rm-state-")
    for name, default in defaults.items():
        os.environ[name] = f'{os.environ.get(name, default)}:log_path="{REPORTS}/report"'


def pytest_unconfigure():
    shutil.rmtree(os.environ["XDG_STATE_HOME"], ignore_errors=True)
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
            rig.program("mkmodel")  # the test is skipped before a folder is there
            path = directory / f"{len(made)}" / f"{name}.gguf"
            path.parent.mkdir()
            made[key] = rig.make_model(path, arch, **options)
        return made[key]

    return make
