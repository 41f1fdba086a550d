# SPDX-License-Identifier: MIT
"""rolemesh doctor against real clusters: a healthy one, and one thing broken after the other."""
import json
import os
import socket
import subprocess

import pytest

from cluster_rig import cluster
from rig import BIN, SLOW, free_port, have_programs, make_model, wait_for

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

MODELS = {"ask": {"script": "Ask says hello."}}
ROLES = {"ask": "modes: [ask], model: ask, context: 2Ki, slots: 2, nodes: [speed]"}


def doctor(port, *args, env=None):
    argv = [BIN / "rolemesh", "doctor", "--gateway", f"http://127.0.0.1:{port}", *args]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120 * SLOW, check=False, env={**os.environ, **(env or {})})


def checks(port, *args, **more):
    done = doctor(port, "--json", *args, **more)
    body = json.loads(done.stdout)
    failures = [c for c in body["checks"] if c["result"] == "failure"]
    assert done.returncode == (1 if failures else 0) and body["ok"] == (not failures)
    assert all(set(c) == {"check", "subject", "result", "saw", "next"} for c in body["checks"])
    assert all(c["saw"] for c in body["checks"]) and all(c["next"] for c in failures)
    return body["checks"]


def find(found, check, result, says=""):
    return [c for c in found if c["check"] == check and c["result"] == result and says in c["saw"]]


def test_a_cluster_that_is_well(tmp_path):
    with cluster(tmp_path, ["speed"], MODELS, ROLES) as c:
        found = checks(c.port, "--state-dir", tmp_path / "state-gateway")
        assert find(found, "gateway", "ok") and find(found, "node", "ok") and find(found, "role", "ok", "1 of 1")
        assert find(found, "running map", "ok") and find(found, "role map", "ok", "1 nodes, 1 models, 1 roles")
        assert find(found, "model", "ok", "on 1 node") and find(found, "model file", "ok", "whole")
        assert {x["subject"] for x in found if x["check"] == "clock" and x["result"] == "ok"} >= {"gateway", "speed"}
        assert len(find(found, "program", "ok")) == 4
        assert find(found, "state", "ok", "mode 0700") and find(found, "engine", "ok")
        # What the kernel of this machine says is not ours to choose: memory, limits, its clock.
        ours = ("gateway", "node", "role", "host", "model", "model file", "role map", "running map", "alarm", "keys", "program", "state")
        assert not [x for x in found if x["check"] in ours and x["result"] in ("warning", "failure")]
        text = doctor(c.port, "--state-dir", tmp_path / "state-gateway").stdout
        assert "\x1b" not in text and "ok       node speed: version" in text


def test_one_thing_broken_after_the_other(tmp_path):
    with cluster(tmp_path, ["speed"], MODELS, ROLES) as c:
        c.map.write_text(c.map_text() + "nonsense: 1\n")
        found = checks(c.port)
        assert find(found, "role map", "failure", "1 mistake: ") and "nonsense" in find(found, "role map", "failure")[0]["saw"]
        c.write_map()
        (tmp_path / "state-gateway").chmod(0o777)
        assert find(checks(c.port, "--state-dir", tmp_path / "state-gateway"), "state", "failure", "0777")
        model = c.paths["ask"]
        whole = model.read_bytes()
        model.with_suffix(".part").write_bytes(whole[: len(whole) // 2])
        os.replace(model.with_suffix(".part"), model)  # the engine keeps the file that it has open
        assert find(checks(c.port), "model file", "failure")
        model.unlink()
        assert find(checks(c.port), "model file", "failure", "is not here")
        c.workers["speed"].kill()
        wait_for("the node is down", lambda: (c.node("speed") or {}).get("health") == "down")
        found = checks(c.port)
        assert find(found, "node", "failure", "it is down") and find(found, "role", "failure", "no host is ready")
        text = doctor(c.port, "-q").stdout
        assert "do: start rolemesh-worker there" in text and "\nok " not in text


def test_nobody_there(tmp_path):
    port = free_port()
    found = checks(port)
    assert find(found, "gateway", "failure", "connection refused")
    done = doctor(port)
    assert done.returncode == 1 and "do: start rolemesh-gateway" in done.stdout and done.stderr == ""


def test_before_a_first_start(tmp_path):
    """No gateway yet: the map that is to run is judged, its ports and what it would open to others."""
    port = free_port()
    model = make_model(tmp_path / "m.gguf", script="x")
    text = f"""version: 1
gateway: {{ listen: ["127.0.0.1:{port}"] }}
nodes: {{ speed: {{ address: "127.0.0.1:{free_port()}" }} }}
models: {{ m: {{ source: "{model}" }}, gone: {{ source: "{tmp_path}/gone.gguf" }} }}
roles:
  ask: {{ modes: [ask], model: m }}
  far: {{ modes: [far], model: gone }}
"""
    (tmp_path / "map.yaml").write_text(text)
    found = checks(port, "--role-map", tmp_path / "map.yaml")
    assert find(found, "port", "ok", "free") and find(found, "model file", "ok") and find(found, "model file", "failure", "gone.gguf is not here")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        found = checks(free_port(), "--role-map", tmp_path / "map.yaml")
        assert find(found, "port", "failure", "something else has it")
    (tmp_path / "map.yaml").write_text(text.replace(f'"127.0.0.1:{port}"', f'"0.0.0.0:{port}"').replace("] }\nnodes", "], listen_without_keys: true }\nnodes"))
    assert find(checks(free_port(), "--role-map", tmp_path / "map.yaml"), "keys", "warning", "listen_without_keys")
    (tmp_path / "map.yaml").write_text("nothing")
    assert find(checks(free_port(), "--role-map", tmp_path / "map.yaml"), "role map", "failure")


def test_something_else_listens_there(tmp_path):
    """A server that says nothing, and a worker, which is no gateway."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        assert find(checks(s.getsockname()[1]), "gateway", "failure")
    with cluster(tmp_path, ["speed"], MODELS, ROLES) as c:
        assert find(checks(c.ports["speed"]), "gateway", "failure", "no gateway of this kind")


def test_a_key_that_is_missing(tmp_path):
    with cluster(tmp_path, ["speed"], MODELS, ROLES) as c:
        subprocess.run([BIN / "rolemesh", "keys", "create", "anna", "--admin", "--gateway", f"http://127.0.0.1:{c.port}"], check=True, capture_output=True)
        assert find(checks(c.port), "gateway", "failure", "wants an API key (401)")


@pytest.mark.parametrize("args,says", [(["--gateway", "http://"], "--gateway is http://HOST:PORT"), (["x"], "x"), (["--state-dir"], "--state-dir")])
def test_bad_use(args, says):
    done = subprocess.run([BIN / "rolemesh", "doctor", *args], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
