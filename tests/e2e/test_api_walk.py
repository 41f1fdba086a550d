# SPDX-License-Identifier: MIT
"""schemathesis walks proto/openapi.yaml against a running gateway and a running worker: what the file says is answered with what
the file says, what it forbids is refused, nothing fails inside, no method or status is undocumented. All its checks are on; the
seed is fixed, so that a failure can be had again with the command that it prints."""
import json
import os
import subprocess
import sys

import pytest

from cluster_rig import Cluster, call
from rig import SLOW, TOP, program

SPEC = TOP / "proto" / "openapi.yaml"
EXAMPLES = int(os.environ.get("ROLEMESH_WALK_EXAMPLES", "40"))


class Keyed(Cluster):
    """A cluster whose gateway has an admin's key, which all questions are asked with."""

    def __init__(self, folder):
        super().__init__(folder, ("speed", "reasoning"), {"small": {}},
                         {"ask": "modes: [ask], model: small, context: 512, slots: 2, nodes: [speed]",
                          "code": "modes: [code], model: small, context: 512, slots: 2, nodes: [reasoning]"})
        (self.folder / "state-gateway").mkdir(mode=0o700)
        self.key = subprocess.run([program("rolemesh"), "keys", "create", "root", "--admin", "--state-dir", self.folder / "state-gateway"],
                                  capture_output=True, text=True, check=True).stdout.strip()

    def get(self, path):
        try:
            status, _, body = call(self.port, "GET", path, headers={"Authorization": f"Bearer {self.key}"}, timeout=5)
            return json.loads(body) if status == 200 else None
        except OSError:
            return None


@pytest.fixture(name="keyed")
def keyed_fixture(tmp_path):
    c = Keyed(tmp_path)
    try:
        yield c.start()
    finally:
        c.stop()


def walk(folder, port, *options, key=None):
    """Runs schemathesis; returns what it printed when it found something."""
    tool = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    if not os.path.exists(tool):
        pytest.skip("schemathesis is not installed")
    argv = [tool, "--config-file", TOP / "tests" / "schemathesis.toml", "run", SPEC, "--url", f"http://127.0.0.1:{port}", "--checks", "all",
            "--max-examples", str(EXAMPLES), "--seed", "1", "--continue-on-failure", "--no-color", "--request-timeout", str(8 * SLOW), *options]
    if key:
        argv += ["--header", f"Authorization: Bearer {key}"]
    done = subprocess.run([str(a) for a in argv], cwd=folder, capture_output=True, text=True, timeout=500)
    print("\n".join(line[:400] for line in done.stdout.splitlines())[-9000:], done.stderr[-2000:])
    return done.returncode, done.stdout


@pytest.mark.slow
def test_gateway_answers_as_documented(keyed, tmp_path):
    # First what leaves the keys alone; then keys, where the walk sooner or later revokes the one that it asks with.
    rc, _ = walk(tmp_path, keyed.port, "--exclude-path-regex", "^/node/v1/|^/api/v1/keys/", key=keyed.key)
    assert rc == 0
    assert keyed.gateway.running
    assert keyed.get("/api/v1/status")["version"]
    rc, _ = walk(tmp_path, keyed.port, "--include-path-regex", "^/api/v1/keys", key=keyed.key)
    assert rc == 0
    assert keyed.gateway.running


@pytest.mark.slow
def test_worker_answers_as_documented(keyed, tmp_path):
    rc, _ = walk(tmp_path, keyed.ports["speed"], "--include-path-regex", "^/node/v1/")
    assert rc == 0
    assert keyed.workers["speed"].running
