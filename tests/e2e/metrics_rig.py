# SPDX-License-Identifier: MIT
"""What a collector sees: a scrape in either form, read by the strict reader of prometheus_client, and Prometheus' own checker. Where
one of them is missing the tests that need it are skipped, and say what is missing."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from rig import SLOW, TOP

CACHE = pathlib.Path(os.environ.get("ROLEMESH_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "rolemesh")
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def promtool(*argv, text=None):
    """Runs it; returns the finished process."""
    found = CACHE / "promtool" / "promtool"
    path = found if found.exists() else shutil.which("promtool")
    if path is None:
        pytest.skip("no promtool here: deploy/setup --with-tests fetches it")
    return subprocess.run([str(path), *map(str, argv)], input=text, text=True, capture_output=True, timeout=60 * SLOW, check=False)


class Scrape:
    """One answer of /metrics: families by name, and samples as {(name, ((label, value), ...)): value}."""

    def __init__(self, port, accept=None, headers=None):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30 * SLOW)) as c:
            c.request("GET", "/metrics", headers={**({"Accept": accept} if accept else {}), **(headers or {})})
            answer = c.getresponse()
            self.status, self.type, self.text = answer.status, answer.headers["Content-Type"], answer.read().decode()
        assert self.status == 200, self.text
        self._families = None

    @property
    def families(self):
        parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="no prometheus_client here: deploy/setup --with-tests installs it")
        if self._families is None:
            found = list(parser.text_string_to_metric_families(self.text))
            self._families = {f.name: f for f in found}
            assert len(found) == len(self._families), "a family comes twice"
        return self._families

    @property
    def samples(self):
        found = [((s.name, tuple(sorted(s.labels.items()))), s.value) for f in self.families.values() for s in f.samples]
        assert len(found) == len(dict(found)), "a series comes twice"
        return dict(found)

    def value(self, name, **labels):
        """The sample with exactly these labels; None: there is none."""
        return self.samples.get((name, tuple(sorted(labels.items()))))

    def sum(self, name, **labels):
        """Of all samples of that name that have these labels among theirs."""
        return sum(v for (n, have), v in self.samples.items() if n == name and set(labels.items()) <= set(have))

    def names(self):
        return {name for name, _ in self.samples}


WORDS = re.compile(r"\b(?:rolemesh|gen_ai|process)_[a-z0-9_]+")


def metrics_in(expression):
    """Names of metrics in a query: what stands in braces, quotes or behind by() and on() are labels."""
    bare = re.sub(r'\{[^}]*\}|"[^"]*"', " ", expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    return set(WORDS.findall(bare))


def board():
    return json.loads((TOP / "deploy/grafana/rolemesh.json").read_text())
