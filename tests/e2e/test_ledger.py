# SPDX-License-Identifier: MIT
"""What a worker measures of its engines, what it keeps over restarts, and what becomes of its history file when things
go wrong: the real core on small models, the kernel's own figures read beside the worker."""
import contextlib
import csv
import io
import json
import os
import pathlib
import re
import sqlite3
import subprocess
import threading

import pytest
from cluster_rig import Cluster
from rig import SLOW, free_port, program, wait_for
from worker_rig import ANSWER, SCRIPT, Worker, text_in

MIB = 1 << 20


@pytest.fixture
def middling(make_model):
    """Some 100 MB that never end their answer: large enough for the weights to be most of the process."""
    return make_model("middling", embd=640, layers=4, script=SCRIPT, loop=1, ctx=65536)


@pytest.fixture
def tiny(make_model):
    return make_model("tiny", embd=128, script=SCRIPT)


@pytest.fixture
def worker(tmp_path):
    with Worker(tmp_path) as w:
        yield w


def ledger(worker, query=""):
    answer = worker.call("GET", f"/node/v1/ledger{query}")
    assert answer.status == 200, answer.body
    return answer.json()


def total(b):
    return b["system"] + b["vram"] + b["gtt"]


def row_of(worker, model, **key):
    """The one row of a model (and whatever else its key shall have), or None."""
    rows = [r for r in ledger(worker)["rows"] if r["model"] == model]
    rows = [r for r in rows if all(r["key"][k] == v for k, v in key.items())]
    assert len(rows) <= 1, rows
    return rows[0] if rows else None


def wait_row(worker, model, part="loaded", **key):
    """The row once that part of it is measured."""

    def there():
        r = row_of(worker, model, **key)
        return r if r and total(r[part]) > 0 else None

    return wait_for(f"{part} of {model} is measured", there, 30)


def system_bytes(pid):
    """The kernel's own word on a process."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return found["Pss"] + found["SwapPss"]


def restart(worker):
    assert worker.process.stop() == 0
    worker.start()


def forecast(worker, role, **changes):
    answer = worker.call("POST", "/node/v1/forecast", worker.desired(role, **changes))
    assert answer.status == 200, answer.body
    return answer.json()


def fill_a_slot(worker, role, text="hi"):
    """An answer as long as the context."""
    answer = worker.chat(role, text)
    assert answer.status == 200
    assert answer.json()["choices"][0]["finish_reason"] == "length"


# ---- measuring ----


def test_the_first_load_writes_a_row_and_the_next_start_says_measured(worker, middling):
    worker.add_model("code", middling)
    said = forecast(worker, "code", context=256, slots=2)
    assert said["known"] and not said["measured"] and said["load_ms"] == 0
    host = worker.host_ready("code", context=256, slots=2)
    row = wait_row(worker, "code")
    assert row["key"]["model_hash"] == host["model_hash"]
    assert (row["key"]["context"], row["key"]["slots"], row["key"]["kv"]) == (256, 2, "f16")
    assert re.fullmatch(r"\d+\.\d+\.\d+/\S+", row["key"]["build"])
    assert row["loads"] == 1 and (row["cold_ms"] > 0) != (row["warm_ms"] > 0)
    wait_for("the prediction is in the row", lambda: row_of(worker, "code")["predicted"] == said["total"])

    # What the kernel says at the same moment; nothing runs on the engine, so it does not move.
    now = system_bytes(host["pid"])
    assert abs(row["loaded"]["system"] - now) <= now * 0.02 + 2 * MIB
    assert now > 50 * MIB  # the model was large enough for the comparison to mean something

    fill_a_slot(worker, "code")
    row = wait_row(worker, "code", "full")
    now = system_bytes(host["pid"])
    assert abs(row["full"]["system"] - now) <= now * 0.02 + 2 * MIB
    assert total(row["peak"]) >= max(total(row["full"]), total(row["loaded"]))
    assert row["measured"] and max(row["predicted"], total(row["peak"])) >= row["expected"] >= total(row["peak"])
    assert 0 < row["batch_most"] < row["batch"] == 512 and 0 < row["compute"] < row["predicted"]
    wait_for("it counts as taken", lambda: worker.host("code")["forecast_bytes"] == row["expected"])
    assert worker.state()["memory"]["committed"] == row["expected"]

    restart(worker)
    again = row_of(worker, "code")
    assert {**again, "id": 0} == {**row, "id": 0, "speed": again["speed"], "last_s": again["last_s"]}
    assert sum(s["decode_tokens"] for s in again["speed"]) > 100  # told at the engine's end at the latest
    said = forecast(worker, "code", context=256, slots=2)
    assert said["measured"] and said["total"] == again["expected"]
    assert said["load_ms"] == (again["cold_ms"] or again["warm_ms"])
    parts = said["weights"] + said["kv"] + said["compute"] + said["other"]  # `other` is measured anew each time
    assert abs(parts - again["predicted"]) < again["predicted"] * 0.01
    other = forecast(worker, "code", context=512, slots=2)
    assert not other["measured"] and other["load_ms"] == said["load_ms"]  # the same file
    worker.host_ready("code", context=256, slots=2)
    wait_for("a second load", lambda: row_of(worker, "code")["loads"] == 2)
    wait_for("it counts", lambda: worker.host("code")["forecast_bytes"] == row_of(worker, "code")["expected"])


def test_a_changed_file_and_other_flags_have_rows_of_their_own(worker, tiny, make_model):
    worker.host_ready("code", tiny)
    first = wait_row(worker, "code")
    worker.put("code", kv="q8_0")
    q8 = wait_row(worker, "code", kv="q8_0")
    assert q8["id"] > first["id"] and q8["key"]["model_hash"] == first["key"]["model_hash"]
    assert worker.delete("code").status == 200
    worker.wait_state("code", None)
    worker.host_ready("code", make_model("other", embd=128, script="Another| answer|."))
    new = wait_for("a third row", lambda: next((r for r in ledger(worker)["rows"] if r["id"] > q8["id"]), None))
    assert new["key"]["model_hash"] not in (first["key"]["model_hash"], "")
    assert not forecast(worker, "code", slots=3)["measured"]


def on_a_disk(path):
    """False for a file system in memory: its files are always in the page cache."""
    mounts = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    best = max((m for m in mounts if str(path).startswith(m[1])), key=lambda m: len(m[1]))
    return best[2] not in ("tmpfs", "ramfs")


def test_cold_and_warm_loads_are_told_apart(worker, middling):
    worker.add_model("code", middling)
    path = worker.models / "code.gguf"
    if not on_a_disk(path.resolve()):
        pytest.skip("the temporary directory is in memory: nothing there is ever cold")
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    worker.host_ready("code")
    row = wait_row(worker, "code")
    assert row["cold_ms"] > 0 and row["warm_ms"] == 0
    worker.delete("code")
    worker.wait_state("code", None)
    worker.host_ready("code")
    row = wait_for("a warm load", lambda: (r := row_of(worker, "code")) and r["warm_ms"] and r)
    assert row["loads"] == 2 and row["cold_ms"] > 0
    assert forecast(worker, "code")["load_ms"] == row["cold_ms"]


def test_two_engines_on_one_file_count_it_whole(worker, middling):
    """The kernel halves mapped pages between them; each alone would need them all."""
    worker.add_model("code", middling)
    source = str(worker.models / "code.gguf")
    a = worker.host_ready("code")
    alone = total(wait_row(worker, "code")["loaded"])
    b = worker.host_ready("ask", source=source, slots=1)
    both = total(wait_row(worker, "ask")["loaded"])
    assert a["pid"] != b["pid"]
    assert both > 0.8 * alone  # half of the weights less would be 0.6; a sanitizer adds to both


# ---- the file ----


def test_killed_amid_writes_the_file_stays_readable(worker, tiny):
    worker.add_model("code", tiny)
    for context in (64, 128, 256):
        worker.host_ready("code", context=context)
        wait_row(worker, "code", context=context)
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            with contextlib.suppress(OSError, ValueError):
                worker.chat("code")

    asking = threading.Thread(target=ask)
    asking.start()
    worker.put("code", context=512)  # a load, and so a write, is under way
    wait_for("the engine starts", lambda: worker.host("code")["context"] == 512)
    worker.process.kill()
    stop.set()
    asking.join(30)
    with contextlib.closing(sqlite3.connect(worker.state_dir / "ledger.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        contexts = {c for (c,) in db.execute("SELECT context FROM ledger")}
    assert {64, 128, 256} <= contexts
    worker.start()
    assert {64, 128, 256} <= {r["key"]["context"] for r in ledger(worker)["rows"]}
    assert ledger(worker)["usable"] and "damaged" not in worker.process.log()


def test_a_damaged_file_does_not_stop_the_worker(worker, tiny):
    worker.host_ready("code", tiny)
    wait_row(worker, "code")
    assert worker.process.stop() == 0
    db = worker.state_dir / "ledger.db"
    db.write_bytes(b"nothing that SQLite would know" * 300)
    worker.start()
    assert ledger(worker)["usable"] and ledger(worker)["rows"] == []
    assert worker.process.log().count("the history file is damaged") == 1
    assert (worker.state_dir / "ledger.db.damaged").read_bytes().startswith(b"nothing that SQLite")
    worker.host_ready("code")
    assert text_in(worker.chat("code")) == ANSWER
    wait_row(worker, "code")


def test_without_a_file_everything_else_works(tmp_path, tiny):
    (tmp_path / "state" / "ledger.db").mkdir(parents=True)  # no place for one, for root as well
    with Worker(tmp_path) as worker:
        assert worker.process.log().count("history cannot be kept") == 1
        worker.host_ready("code", tiny)
        assert text_in(worker.chat("code")) == ANSWER
        row = wait_row(worker, "code")  # in memory
        assert row["loads"] == 1 and not ledger(worker)["usable"]
        wait_for("the loss is counted", lambda: ledger(worker)["lost"] > 0)
        assert worker.process.log().count("history cannot be kept") == 1


# ---- what people and collectors see ----


def ledger_command(*args):
    argv = [str(program("rolemesh")), "ledger", *map(str, args)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30 * SLOW, check=False)


def role_map(tmp_path, nodes):
    path = tmp_path / "map.yaml"
    lines = [f'  {name}: {{ address: "{host}:{port}" }}' for name, (host, port) in nodes.items()]
    rest = ["models:", '  m: { source: "/m.gguf" }']
    rest += ["roles:", "  ask: { modes: [ask], model: m, context: 1Ki, slots: 1 }"]
    path.write_text("\n".join(["version: 1", "nodes:", *lines, *rest, ""]))
    return path


def test_command_and_metrics(worker, middling, tmp_path):
    here = role_map(tmp_path, {"speed": worker.address})
    done = ledger_command("--role-map", here)
    assert done.returncode == 0 and "NODE speed: nothing measured yet" in done.stdout, done
    worker.add_model("code", middling)
    worker.host_ready("code", context=256, slots=1, batch=32)
    fill_a_slot(worker, "code", "a prompt that does not fit into one batch of the thirty-two tokens")
    row = wait_row(worker, "code", "full")
    wait_for("the prediction is in the row", lambda: row_of(worker, "code")["predicted"])
    row = row_of(worker, "code")
    assert (row["batch"], row["batch_most"]) == (32, 32)
    assert row["all_full"] and row["expected"] == total(row["peak"])  # its only slot
    done = ledger_command("--role-map", here, "--node", "speed")
    assert done.returncode == 0, done
    line = next(x for x in done.stdout.splitlines() if x.startswith("code "))
    error = row["predicted"] / total(row["peak"]) - 1
    assert f"{error * 100:+.1f}%" in line and f"{total(row['peak']) / MIB:.1f} MiB*" in line
    assert "tokens/s at 0:" in done.stdout or row["speed"][0]["decode_tokens"] == 0
    assert "forecast errors over 1 row:" in done.stdout
    rows = list(csv.DictReader(io.StringIO(ledger_command("--role-map", here, "-o", "csv").stdout)))
    assert len(rows) == 1 and rows[0]["NODE"] and rows[0]["ERROR"] == f"{error * 100:+.1f}%" and rows[0]["MEASURED"] == "yes"
    said = json.loads(ledger_command("--role-map", here, "--json").stdout)
    assert said["nodes"][0]["rows"][0]["peak"] == row["peak"] and said["errors"]["count"] == 1
    assert abs(said["errors"]["worst"] - abs(error)) < 1e-6

    answer = worker.call("GET", "/metrics")
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("application/openmetrics-text")
    text = answer.body.decode()
    assert text.endswith("# EOF\n")
    assert 'rolemesh_host_state{role="code",state="ready"} 1\n' in text
    assert "rolemesh_forecast_ratio_gcount 1\n" in text and "rolemesh_ledger_usable 1\n" in text
    counted = re.findall(r'rolemesh_load_seconds_count\{kind="\w+"\} (\d+)', text)
    assert sorted(counted) == ["0", "1"]


def test_a_node_that_does_not_answer_hides_no_other(worker, tiny, tmp_path):
    worker.host_ready("code", tiny)
    wait_row(worker, "code")
    both = role_map(tmp_path, {"gone": ("127.0.0.1", free_port()), "speed": worker.address})
    done = ledger_command("--role-map", both)
    assert done.returncode == 1
    assert "node 'gone'" in done.stderr and "refused" in done.stderr
    assert "NODE speed\n" in done.stdout and "\ncode " in done.stdout


def test_behind_a_gateway(tmp_path):
    """The gateway asks the workers."""
    model = {"m": {"embd": 128, "script": SCRIPT}}
    cluster = Cluster(tmp_path, ["a", "b"], model, {"ask": "modes: [ask], model: m, context: 512, slots: 1"}).start()
    try:
        url = f"http://127.0.0.1:{cluster.port}"

        def told():
            s = json.loads(ledger_command("--gateway", url, "--json").stdout)
            return s if any(n["rows"] for n in s["nodes"]) else None

        said = wait_for("the ledger has a row", told)
        assert [n["node"] for n in said["nodes"]] == ["a", "b"]
        row = next(r for n in said["nodes"] for r in n["rows"])
        assert row["model"] == "m" and row["key"]["context"] == 512 and row["loads"] == 1
        done = ledger_command("--gateway", url)
        assert done.returncode == 0 and "NODE a" in done.stdout and "NODE b" in done.stdout
        cluster.workers["b"].stop()
        done = wait_for("b is silent", lambda: (lambda d: d if d.returncode == 1 else None)(ledger_command("--gateway", url)))
        assert "node 'b': " in done.stderr and "NODE a" in done.stdout and "NODE b" not in done.stdout
        done = ledger_command("--gateway", url, "--node", "c")
        assert done.returncode == 1 and "no node is called 'c'" in done.stderr
    finally:
        cluster.stop()


# ---- the endpoint ----


def test_pages_and_refusals(worker, tiny):
    worker.add_model("code", tiny)
    contexts = [64, 128, 192]
    for context in contexts:
        worker.host_ready("code", context=context)
        wait_row(worker, "code", context=context)
    first = ledger(worker, "?limit=2")
    assert [r["key"]["context"] for r in first["rows"]] == contexts[:2] and first["next"] == first["rows"][-1]["id"]
    last = ledger(worker, f"?limit=2&after={first['next']}")
    assert [r["key"]["context"] for r in last["rows"]] == contexts[2:] and last["next"] == 0
    assert first["node"] == "speed" and first["errors"]["count"] == 0
    bad = ["limit=0", "limit=101", "limit=", "after=x", "after=1&after=2", "limit=1&&", "other=1", f"after=1{0:016}"]
    for query in bad:
        answer = worker.call("GET", f"/node/v1/ledger?{query}")
        assert (answer.status, answer.error["code"]) == (400, "invalid_value"), query
    assert worker.call("POST", "/node/v1/ledger", "{}").status == 405
