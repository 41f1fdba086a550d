# SPDX-License-Identifier: MIT
"""`rolemesh forecast` as people call it, and what it says held against what a host then really uses. That its bytes are
those libllama allocates, to the byte and for every architecture, shows worker/core/real_memory_test.c."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from rig import TOP, make_model, program, wait_for
from worker_rig import Worker

PARTS = ("weights", "kv", "compute", "output", "process", "checkpoints")
SANITIZED = os.environ.get("ROLEMESH_PRESET") in ("asan", "tsan")


def rolemesh(*args, command=None):
    argv = [str(a) for a in (command or program("rolemesh"), "forecast", *args)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300)


def forecast_of(*args, command=None):
    done = rolemesh("--json", *args, command=command)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("forecast") / "small.gguf", "gemma3", embd=128, ctx=24000)


# ---- a file of this machine ----


def test_a_file(model):
    program("rolemesh-core")
    said = forecast_of(model, "--slots", 3)
    (node,) = said["nodes"]
    rows = node["forecasts"]
    assert (said["slots"], said["kv"], node["error"], node["note"]) == (3, "f16", "", "")
    assert [row["context"] for row in rows] == [4096, 8192, 16384, 24000]
    for row in rows:
        assert row["known"] and not row["estimated"] and row["slots"] == 3
        assert row["total"] == sum(row[part] for part in PARTS)
        assert row["model_bytes"] == model.stat().st_size
    assert rows[0]["kv"] < rows[1]["kv"] and len({row["weights"] for row in rows}) == 1
    assert node["largest_context"] == 24000 and 0 < node["room"] <= node["budget"]
    table = rolemesh(model, "--slots", 3).stdout
    assert f"{model}, 3 slots, KV f16\n" in table
    assert [line.split()[0] for line in table.splitlines() if " MiB " in line] == ["4Ki", "8Ki", "16Ki", "24000"]
    assert "largest context 24000 tokens, the model's own\n" in table


def test_contexts_and_kv_types_that_are_asked_for(model):
    program("rolemesh-core")
    (f16,) = forecast_of(model, "--context", "2Ki,300")["nodes"]
    (q8,) = forecast_of(model, "--context", "300,2048", "--kv", "q8_0")["nodes"]
    assert [row["context"] for row in f16["forecasts"]] == [300, 2048]
    for a, b in zip(f16["forecasts"], q8["forecasts"]):
        assert a["kv"] * 34 == b["kv"] * 64 and a["weights"] == b["weights"]


def test_without_a_core(model, tmp_path):
    program("rolemesh-core")
    lone = shutil.copy(program("rolemesh"), tmp_path / "rolemesh")
    (exact,) = forecast_of(model)["nodes"]
    (node,) = forecast_of(model, command=lone)["nodes"]
    assert "there is no rolemesh-core beside this command" in node["note"]
    for row, whole in zip(node["forecasts"], exact["forecasts"]):
        assert row["estimated"] and row["compute"] == row["process"] == 0
        assert (row["weights"], row["kv"]) == (whole["weights"], whole["kv"])
    assert "no rolemesh-core beside this command" in rolemesh(model, command=lone).stdout


def test_a_core_that_dies(model, tmp_path):
    lone = shutil.copy(program("rolemesh"), tmp_path / "rolemesh")
    core = tmp_path / "rolemesh-core"
    for script, word in (("kill -ABRT $$", "died of signal 6"), ("exit 5", "ended with code 5")):
        core.write_text(f"#!/bin/sh\n{script}\n")
        core.chmod(0o755)
        (node,) = forecast_of(model, command=lone)["nodes"]
        assert word in node["note"] and all(row["estimated"] for row in node["forecasts"])
    core.write_text("#!/bin/sh\necho '{}'\necho no JSON\n")
    done = rolemesh(model, command=lone)
    assert done.returncode == 1 and "rolemesh-core is of another version" in done.stderr


def test_bad_files_and_numbers_are_one_line_each(model, tmp_path):
    whole = model.read_bytes()
    (tmp_path / "half.gguf").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.gguf").write_text("this is not a model\n" * 10)
    (tmp_path / "shard-00001-of-00002.gguf").write_bytes(whole)
    (tmp_path / "none").mkdir()
    cases = [
        ("half.gguf", [], f"the file ends at {len(whole) // 2}"),
        ("text.gguf", [], "offset 0: this is not a GGUF file"),
        ("shard-00001-of-00002.gguf", [], "the file's name says 2 parts"),
        ("shard-00002-of-00002.gguf", [], "not the first part of the model"),
        ("none", [], "not a regular file"),
        ("gone.gguf", [], "no such file"),
    ]
    for name, more, text in cases:
        done = rolemesh(tmp_path / name, *more)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert done.stderr.startswith(f"rolemesh forecast: {tmp_path / name}: ") and text in done.stderr
        assert done.stderr.count("\n") == 1
    beyond = rolemesh(model, "--context", "4Ki,32Ki")
    assert beyond.returncode == 2 and beyond.stdout == ""
    assert beyond.stderr == (
        f"rolemesh forecast: {model}: --context 32768: the model was trained for 24000 tokens\n"
    )


# ---- nodes ----


def role_map(path, nodes, models, roles=""):
    lines = ["version: 1", 'gateway: { listen: ["127.0.0.1:0"] }', "nodes:"]
    lines += [f'  {name}: {{ address: "{address}" }}' for name, address in nodes.items()]
    lines += ["models:"] + [f'  {name}: {{ source: "{source}" }}' for name, source in models.items()]
    lines += ["roles:", *(roles or [f"  r{i}: {{ modes: [m{i}], model: {name} }}" for i, name in enumerate(models)])]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_model_of_a_role_map(model, tmp_path):
    program("rolemesh-core")
    with Worker(tmp_path) as worker:
        worker.add_model("code", model)
        (worker.models / "bad.gguf").write_bytes(model.read_bytes()[:5000])
        address = "%s:%d" % worker.address
        file = role_map(
            tmp_path / "map.yaml",
            {"speed": address, "gone": "127.0.0.1:1"},
            {"coder": worker.models / "code.gguf", "bad": worker.models / "bad.gguf"},
            [
                "  code: { modes: [code], model: coder, slots: 3, kv: q8_0 }",
                "  other: { modes: [other], model: bad }",
            ],
        )
        said = rolemesh("coder", "--role-map", file, "--json")
        assert said.returncode == 1  # one node does not answer, and is told
        assert said.stderr == "rolemesh forecast: node gone: connection refused\n"
        answer = json.loads(said.stdout)
        assert (answer["slots"], answer["kv"]) == (3, "q8_0")  # as its role says
        speed, gone = answer["nodes"]
        assert (speed["node"], gone["node"], gone["forecasts"]) == ("speed", "gone", [])
        (here,) = forecast_of(model, "--slots", 3, "--kv", "q8_0")["nodes"]
        for row, same in zip(speed["forecasts"], here["forecasts"]):
            for part in ("weights", "kv", "compute", "output", "checkpoints", "context", "model_bytes"):
                assert row[part] == same[part], part
        memory = worker.state()["memory"]
        assert (speed["budget"], speed["room"]) == (memory["budget"], memory["budget"] - memory["committed"])

        table = rolemesh("coder", "--role-map", file, "--node", "speed")
        assert table.returncode == 0 and f"speed, {address}:" in table.stdout
        worker.add_model("short", make_model(tmp_path / "short.gguf", ctx=1000))
        short = forecast_of(worker.models / "short.gguf", "--node", address)
        assert [row["context"] for row in short["nodes"][0]["forecasts"]] == [1000]
        lone = forecast_of(worker.models / "code.gguf", "--node", address, "--context", 512)
        assert lone["nodes"][0]["node"] == "speed" and lone["nodes"][0]["forecasts"][0]["context"] == 512

        for args, text in (
            (("bad", "--role-map", file, "--node", "speed"), "bad.gguf"),
            (("coder", "--role-map", file, "--node", "speed", "--context", "1Mi"), "for 24000"),
            (("coder", "--role-map", file, "--node", "speed", "--context", "4Ki,1Mi"), "for 24000"),
            ((worker.models / "none.gguf", "--node", address), "no such file"),
            (("coder", "--role-map", file, "--node", "nobody"), "no node is called 'nobody'"),
        ):
            done = rolemesh(*args)
            assert done.returncode in (1, 2) and text in done.stderr and done.stderr.count("\n") == 1
            assert done.returncode == (1 if "nobody" in text else 2)


def test_the_largest_context_fits_and_the_next_does_not(tmp_path):
    """Room is made so that some 10,000 tokens fit. What the command reckons from the costs of one answer is held
    against exact forecasts on both sides of the border."""
    program("rolemesh-core")
    path = make_model(tmp_path / "m.gguf", "llama", embd=128, layers=8, ctx=131072)
    (node,) = forecast_of(path, "--context", "10000", "--slots", 2)["nodes"]
    room = node["forecasts"][0]["total"]
    total = int(next(x.split()[1] for x in open("/proc/meminfo") if x.startswith("MemTotal:"))) * 1024
    with Worker(tmp_path, "--reserve", f"{(total - room) // 1024}KiB") as worker:
        worker.add_model("m", path)
        memory = worker.state()["memory"]
        if memory["total"] != total:
            pytest.skip("a limit other than the machine's memory holds here")
        address, file = "%s:%d" % worker.address, worker.models / "m.gguf"
        (there,) = forecast_of(file, "--node", address, "--slots", 2)["nodes"]
        assert there["room"] == memory["budget"]
        largest = there["largest_context"]
        assert largest % 256 == 0 and abs(largest - 10000) < 2048  # the process is measured anew each time
        around = f"{largest},{largest + 1024}"
        (exact,) = forecast_of(file, "--node", address, "--slots", 2, "--context", around)["nodes"]
        fits, next_one = (row["total"] for row in exact["forecasts"])
        slack = 1 << 20
        assert fits <= there["room"] + slack and next_one > there["room"] - slack


# ---- measured ----

# At least 100 MB each: dense and expert weights, repacked ones, windows and recurrent state with what is kept of them.
LARGE = {
    "llama-f16": ("llama", dict(type="f16", embd=512, ff=2048, layers=12, heads=8, kvheads=4)),
    "llama-q4": ("llama", dict(type="q4_0", embd=1024, ff=3072, layers=12, heads=16, kvheads=4)),
    "qwen3moe-q8": ("qwen3moe", dict(type="q8_0", embd=512, ff=1024, layers=6, heads=8, headdim=64)),
    "gemma3-q8": ("gemma3", dict(type="q8_0", embd=768, ff=2304, layers=12, heads=8, kvheads=4, headdim=96, swa=256)),
    "qwen35-f16": ("qwen35", dict(type="f16", embd=512, ff=1536, layers=12, heads=8, kvheads=2)),
}
CONTEXT, SLOTS, STEPS = 512, 2, 12


def large_model(name):
    """Made once and kept beside the other things that tests install; the name holds what it is made from."""
    arch, options = LARGE[name]
    options = {"vocab": 32000, **options}
    sources = sorted((TOP / "tests" / "support" / "mkmodel").glob("*.[ch]"))
    made_from = hashlib.sha256(repr((arch, sorted(options.items()))).encode())
    for source in sources:
        made_from.update(source.read_bytes())
    cache = pathlib.Path(os.environ.get("ROLEMESH_CACHE", pathlib.Path.home() / ".cache" / "rolemesh")) / "models"
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{name}-{made_from.hexdigest()[:16]}.gguf"
    if not path.exists():
        for old in cache.glob(f"{name}-*.gguf"):
            old.unlink()
        new = path.with_suffix(f".{os.getpid()}.new")
        make_model(new, arch, **options)
        new.rename(path)
    assert path.stat().st_size >= 100_000_000
    return path


def put_beneath(model, path):
    try:
        os.link(model, path)
    except OSError:  # another file system
        shutil.copy(model, path)


def held_by(pid):
    """Bytes of a process: what it holds now, and the most it has held."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        now = {line.split()[0][:-1]: int(line.split()[1]) * 1024 for line in list(f)[1:]}
    with open(f"/proc/{pid}/status") as f:
        peak = next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))
    return now["Rss"], now["Pss"], peak


def fill_slot(worker, number):
    """A conversation that grows step by step until its slot is full; returns the tokens at its end."""
    unit = "x y z w "

    def ask(units, tokens):
        prompt = f"{chr(97 + number)} " + unit * units
        answer = worker.call(
            "POST", "/node/v1/run/large/v1/completions", {"prompt": prompt, "max_tokens": tokens}, timeout=120
        )
        assert answer.status == 200, answer.body
        return answer.json()["usage"]

    per_unit = ask(10, 1)["prompt_tokens"] / 10
    for step in range(1, STEPS + 1):
        used = ask(int((CONTEXT - 24) / per_unit * step / STEPS), 1 if step < STEPS else CONTEXT)
    return used["total_tokens"]


@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="a sanitizer's shadow memory is in no forecast")
@pytest.mark.parametrize("name", LARGE)
def test_a_loaded_host_uses_what_was_forecast(name, tmp_path):
    """Never more than 3 % above the forecast, at any time; and with full slots the forecast is less than 10 % above
    what is used. A batch of 128 tokens is decoded as a whole on any machine; larger ones are cut to 100 ms, and a
    buffer that is never filled is not held."""
    program("rolemesh-core")
    with Worker(tmp_path) as worker:
        put_beneath(large_model(name), worker.models / "large.gguf")
        wish = worker.desired("large", context=CONTEXT, slots=SLOTS, batch=128)
        forecast = worker.call("POST", "/node/v1/forecast", wish, timeout=60).json()
        assert forecast["known"] and not forecast["estimated"] and not forecast["measured"], forecast
        assert worker.put("large", context=CONTEXT, slots=SLOTS, batch=128).status == 200
        pid = worker.wait_state("large", "ready", seconds=60)["pid"]
        with concurrent.futures.ThreadPoolExecutor(SLOTS) as pool:
            ends = list(pool.map(lambda i: fill_slot(worker, i), range(SLOTS)))
        assert ends == [CONTEXT] * SLOTS
        wait_for("the slots are idle", lambda: worker.host("large")["slots_busy"] == 0)
        rss, pss, peak = held_by(pid)
        total = forecast["total"]
        said = f"forecast {total}, resident {rss}, proportional {pss}, at most {peak}: {total / rss:.4f}"
        print(said)
        assert max(rss, pss, peak) <= total * 1.03, said
        assert total < rss * 1.10, said
