# SPDX-License-Identifier: MIT
"""`rolemesh plan` asking real workers: what they have, what the core forecasts, what stands, and everything that can be wrong
with it, each in one line. The answer as JSON is checked against its schema."""
import json
import subprocess

import jsonschema
import pytest
import yaml
from rig import SLOW, TOP, free_port, program
from worker_rig import SCRIPT, Worker


@pytest.fixture
def worker(tmp_path):
    with Worker(tmp_path) as w:
        yield w


def write_map(tmp_path, nodes, roles, models, reserve="64MiB"):
    doc = {
        "version": 1,
        "nodes": {name: {"address": f"{host}:{port}", "reserve": reserve} for name, (host, port) in nodes.items()},
        "models": {name: {"source": str(source)} for name, source in models.items()},
        "roles": roles,
    }
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump(doc, sort_keys=False))
    return path


def plan(*args):
    argv = [str(program("rolemesh")), "plan", *map(str, args)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120 * SLOW, check=False)


def checked(text):
    spec = yaml.safe_load((TOP / "proto" / "openapi.yaml").read_text())
    said = json.loads(text)
    jsonschema.validate(said, {"$ref": "#/components/schemas/Plan", "components": spec["components"]})
    return said


def node_of(said, name):
    return next(n for n in said["nodes"] if n["node"] == name)


def test_asks_the_workers_of_the_map(worker, make_model, tmp_path):
    worker.add_model("code", make_model("tiny", embd=128, script=SCRIPT))
    worker.add_model("gone", make_model("tiny", embd=128, script=SCRIPT))
    models = {"code": worker.models / "code.gguf", "absent": worker.models / "absent.gguf"}
    roles = {
        "code": {"model": "code", "context": 1024, "slots": 2},
        "ask": {"model": "code", "context": 2048, "slots": 1},
        "lost": {"model": "absent", "context": 1024, "residency": "on-demand"},
    }
    here = write_map(tmp_path, {"speed": worker.address, "away": ("127.0.0.1", free_port())}, roles, models)
    worker.host_ready("gone")  # by an older map
    worker.host_ready("code")
    done = plan("--role-map", here)
    assert done.returncode == 0, done
    assert "node 'away' at 127.0.0.1:" in done.stderr and done.stderr.count("\n") == 1
    assert "away: not planned with:" in done.stdout and "fits; no plan is better" in done.stdout
    assert "keep  code" in done.stdout and "stands there" in done.stdout
    assert "load  ask" in done.stdout and "stop  gone" in done.stdout
    assert "not   lost" in done.stdout and "absent.gguf" in done.stdout

    said = checked(plan("--json", "--role-map", here).stdout)
    assert said["fits"] and said["exact"]
    speed = node_of(said, "speed")
    hosts = {h["role"]: h for h in speed["hosts"]}
    assert {r: h["action"] for r, h in hosts.items()} == {"code": "keep", "ask": "load"}
    assert speed["not_in_map"] == ["gone"] and [b["role"] for b in speed["cannot_host"]] == ["lost"]
    forecast = worker.call("POST", "/node/v1/forecast", worker.desired("code", batch=512)).json()
    assert hosts["code"]["bytes"] == forecast["total"] and hosts["code"]["kv"] == forecast["kv"] > 0
    assert speed["used"] == sum(h["bytes"] for h in hosts.values())
    assert speed["used"] + speed["free"] + speed["reserve"] == speed["total"] == worker.state()["memory"]["total"]
    assert node_of(said, "away")["silent"] and not node_of(said, "away")["usable"]
    assert said["counts"]["headroom"] == 1 and {"role": "lost", "what": "headroom", "bytes": 0} in said["lacks"]


def test_a_map_that_cannot_fit(worker, make_model, tmp_path):
    worker.add_model("code", make_model("tiny", embd=128, script=SCRIPT, ctx=1 << 20))
    total = worker.state()["memory"]["total"]
    reserve = f"{total // 2 >> 20}MiB"  # what others use, and how that changes, lies within it
    kv = worker.call("POST", "/node/v1/forecast", worker.desired("code", context=4096, slots=1)).json()["kv"] // 4096
    context = 1 << 20
    slots = next(s for s in range(1, 65) if context * s * kv > total or s == 64)
    if context * slots * kv <= total:
        pytest.skip("this machine is larger than the largest cache of the test's model")
    roles = {"code": {"model": "code", "context": context, "slots": slots}}
    here = write_map(tmp_path, {"speed": worker.address}, roles, {"code": worker.models / "code.gguf"}, reserve)
    done = plan("--json", "--role-map", here)
    assert done.returncode == 1 and done.stderr == "", done
    said = checked(done.stdout)
    missing = said["conflict"]["missing"]
    assert not said["fits"] and said["conflict"]["roles"] == ["code"] and missing > 0
    assert said["lacks"][0]["bytes"] == node_of(said, "speed")["total"] - node_of(said, "speed")["reserve"] + missing
    assert said["ways_out"], said
    # Each way out that was named really works.
    for way in said["ways_out"]:
        changed = {"code": {**roles["code"], way["key"]: way["value"]}}
        here = write_map(tmp_path, {"speed": worker.address}, changed, {"code": worker.models / "code.gguf"}, reserve)
        assert plan("--role-map", here).returncode == 0, way


def test_more_context_than_the_model_has(worker, make_model, tmp_path):
    worker.add_model("code", make_model("short", embd=128, script=SCRIPT, ctx=2048))
    roles = {"code": {"model": "code", "context": 4096, "slots": 1}}
    here = write_map(tmp_path, {"speed": worker.address}, roles, {"code": worker.models / "code.gguf"})
    done = plan("--role-map", here)
    line = next(x for x in done.stdout.splitlines() if x.startswith("  not   code"))
    assert done.returncode == 1 and "code.gguf" in line and "4096" in line and "2048" in line


def test_nobody_answers(tmp_path):
    nodes = {"a": ("127.0.0.1", free_port()), "b": ("127.0.0.1", free_port())}
    here = write_map(tmp_path, nodes, {"ask": {"model": "m"}}, {"m": "/m.gguf"})
    done = plan("--role-map", here)
    assert done.returncode == 1 and done.stdout == ""
    assert [x.split(" at ")[0] for x in done.stderr.splitlines()[:2]] == [f"rolemesh plan: node '{n}'" for n in "ab"]
    assert "describe the machines with --nodes FILE" in done.stderr


def test_a_worker_of_another_name(worker, tmp_path):
    here = write_map(tmp_path, {"fast": worker.address}, {"ask": {"model": "m"}}, {"m": "/m.gguf"})
    done = plan("--role-map", here)
    assert done.returncode == 1 and "node 'fast'" in done.stderr and "calls itself 'speed'" in done.stderr


def test_described_nodes_have_the_same_schema():
    for name, code in (("overcommit-480b", 0), ("too-large-480b", 1), ("two-machines", 0)):
        done = plan("--json", "--role-map", TOP / f"configs/plans/{name}.yaml", "--nodes", TOP / f"configs/plans/{name}.nodes.yaml")
        assert done.returncode == code, done
        said = checked(done.stdout)
        assert said["fits"] == (code == 0) and said["exact"]
        if name.startswith("overcommit"):
            assert node_of(said, "box")["swap"] == 31754181632 and said["counts"]["swap_gib"] == 30
