# SPDX-License-Identifier: MIT
"""A model file that is another one than it was: between forecast and load, while an engine loads it, under an engine
that has loaded it. A gate in front of the core holds a load at its beginning for as long as a test wants."""
import os
import re
import shutil
import signal
import time

import pytest

from cluster_rig import cluster
from rig import have_programs, make_model, program, wait_for
from worker_rig import Worker, text_in

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: there is nothing that answers")

ONE, TWO = "This is the first file.", "This is the other file."


def gate(tmp):
    """A core that waits at the gate before it loads, if the gate is shut; how it dies may be ordered. Questions for forecasts and devices pass."""
    path = tmp / "core-behind-a-gate"
    path.write_text(f"""#!/bin/sh
case " $* " in *" --forecast "* | *" --devices "*) exec "{program('rolemesh-core')}" "$@" ;; esac
if [ -e "{tmp}/shut" ]; then
    : > "{tmp}/waits"
    while [ -e "{tmp}/shut" ]; do sleep 0.02; done
fi
if [ -e "{tmp}/die" ]; then rm "{tmp}/die"; kill -BUS $$; fi
exec "{program('rolemesh-core')}" "$@"
""")
    path.chmod(0o755)
    return path


@pytest.fixture(name="gated")
def gated_fixture(tmp_path, make_model, closing):
    """A worker behind a gate, whose role `ask` has the file ONE."""
    w = closing.enter_context(Worker(tmp_path, core=gate(tmp_path)))
    w.add_model("ask", make_model("one", script=ONE))
    return w


def swap(worker, role, path):
    """Another file under the same name, as a download that is done does it."""
    target = worker.models / f"{role}.gguf"
    temp = target.with_suffix(".part")
    shutil.copy(path, temp)
    os.replace(temp, target)


def rewrite(worker, role, change):
    """Other bytes of the same number in the same file, with the times that it had."""
    target = worker.models / f"{role}.gguf"
    before = target.stat()
    data = bytearray(target.read_bytes())
    change(data)
    with target.open("r+b") as f:
        f.write(data)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = target.stat()
    assert (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)


def shut(worker):
    (worker.tmp / "shut").touch()


def open_gate(worker):
    (worker.tmp / "waits").unlink(missing_ok=True)
    (worker.tmp / "shut").unlink()


def start_at_the_gate(worker, role="ask", **changes):
    shut(worker)
    assert worker.put(role, **changes).status == 200
    wait_for("the load waits", (worker.tmp / "waits").exists)


def forecast(worker, role, **changes):
    answer = worker.call("POST", "/node/v1/forecast", worker.desired(role, **changes))
    assert answer.status == 200, answer.body
    return answer.json()


# ---- between the forecast and the load ----


def test_a_file_replaced_after_its_forecast_gets_a_new_one_first(gated, make_model):
    planned = forecast(gated, "ask")
    swap(gated, "ask", make_model("larger", script=TWO, ctx=4096, layers=3, embd=128))
    host = gated.host_ready("ask")
    now = forecast(gated, "ask")
    assert now["total"] > planned["total"] and now["model_hash"] != planned["model_hash"]
    assert host["model_hash"] == now["model_hash"]
    predicted, was = (int(n) for n in re.search("forecast ([0-9]+) bytes, was ([0-9]+)", host["notice"]).groups())
    assert was == planned["total"] and abs(predicted - now["total"]) < now["total"] / 4  # now: measured, maybe
    for word in ("replaced", f"it had {planned['model_bytes']} bytes", f"it has {now['model_bytes']} bytes",
                 planned["model_hash"][:8], now["model_hash"][:8]):
        assert word in host["notice"], host["notice"]
    log = gated.process.log()
    replaced, anew, starting = (log.index(w) for w in ("the model file was replaced", "forecast made anew", "host starting"))
    assert replaced < anew < starting, log
    assert text_in(gated.chat("ask")) == TWO


def test_the_same_size_and_time_with_other_content_is_noticed(gated):
    planned = forecast(gated, "ask")

    def other_name(data):
        at = data.index(b"test model")
        data[at:at + 4] = b"TEST"

    rewrite(gated, "ask", other_name)
    host = gated.host_ready("ask")
    now = forecast(gated, "ask")
    assert now["model_hash"] != planned["model_hash"] == re.search("content ([0-9a-f]{8})", host["notice"])[1] + planned["model_hash"][8:]
    assert host["model_hash"] == now["model_hash"] and "forecast made anew" in gated.process.log()


def test_a_file_that_stays_is_not_noticed(gated):
    forecast(gated, "ask")
    os.utime(gated.models / "ask.gguf", ns=(0, (gated.models / "ask.gguf").stat().st_mtime_ns))
    assert gated.host_ready("ask")["notice"] == ""
    os.kill(gated.host("ask")["pid"], signal.SIGKILL)
    wait_for("restarted", lambda: (h := gated.host("ask"))["restarts"] == 1 and h["state"] == "ready")
    assert gated.host("ask")["notice"] == "" and "forecast made anew" not in gated.process.log()


def test_a_larger_file_that_does_not_fit_is_not_started(gated, make_model):
    """The budget is made so that the file that was forecast fits and the one that lies there now does not."""
    total = gated.state()["memory"]["total"]
    planned = forecast(gated, "ask")
    large = make_model("large", script=TWO, layers=8, embd=512, ff=1536, heads=8)
    swap(gated, "ask", large)
    needed = forecast(gated, "ask")["total"]
    swap(gated, "ask", make_model("one", script=ONE))
    assert needed > planned["total"] + (64 << 20)
    room = (needed + planned["total"]) // 2
    gated.process.stop()
    gated.args = ("--reserve", f"{(total - room) // 1024}KiB")
    gated.start()
    assert forecast(gated, "ask")["known"]
    swap(gated, "ask", large)
    assert gated.put("ask").status == 200
    host = gated.wait_state("ask", "failed")
    assert host["last_error"]["cause"] == "memory" and host["retry_ms"] > 0 and host["pid"] == 0
    for word in ("ask.gguf was replaced by a larger file", f"needs {host['forecast_bytes']} bytes", f"budget of {gated.state()['memory']['budget']}"):
        assert word in host["last_error"]["text"], host["last_error"]["text"]
    assert abs(host["forecast_bytes"] - needed) < 1 << 20 and gated.state()["memory"]["committed"] == 0
    wait_for("still refused when tried again", lambda: gated.host("ask")["retry_ms"] > 1500)
    swap(gated, "ask", make_model("one", script=ONE))
    gated.wait_state("ask", "ready")
    assert text_in(gated.chat("ask")) == ONE


# ---- while it is loaded ----


def failed_for_the_file(worker, *words):
    host = worker.wait_state("ask", "failed")
    error = host["last_error"]
    assert error["cause"] == "load", error
    for word in ("ask.gguf changed while role 'ask' loaded it", *words):
        assert word in error["text"], error
    return host


@pytest.mark.parametrize("how", ["rename", "in place"])
def test_a_file_replaced_during_the_load_is_never_served_half(gated, make_model, how):
    """The engine reads it after the look: what it has then may be a mix. It goes, and the new file is loaded whole."""
    size = (gated.models / "ask.gguf").stat().st_size
    start_at_the_gate(gated)
    other = make_model("other", script=TWO, layers=3)
    if how == "rename":
        swap(gated, "ask", other)
    else:
        rewrite_as = other.read_bytes()
        with (gated.models / "ask.gguf").open("r+b") as f:
            f.write(rewrite_as)
            f.truncate()
    open_gate(gated)
    failed_for_the_file(gated, f"it had {size} bytes", f"it has {other.stat().st_size} bytes")
    host = gated.wait_state("ask", "ready")
    assert text_in(gated.chat("ask")) == TWO and host["restarts"] == 1
    assert "replaced" in host["notice"] and host["model_hash"] == forecast(gated, "ask")["model_hash"]
    assert gated.process.log().count("changed while role 'ask' loaded it") == 1


@pytest.mark.parametrize("die", [False, True])
def test_a_file_cut_short_during_the_load_is_a_clear_failure(gated, make_model, die):
    """die: the engine is killed by a bus error, as by a mapped file whose end is gone."""
    size = (gated.models / "ask.gguf").stat().st_size
    start_at_the_gate(gated)
    os.truncate(gated.models / "ask.gguf", 5000)
    if die:
        (gated.tmp / "die").touch()
    open_gate(gated)
    host = failed_for_the_file(gated, f"it had {size} bytes", "offset 4996: the file ends")
    assert host["pid"] == 0 and host["retry_ms"] == 0
    gated.host_ready("good", make_model("good", script=TWO))  # nobody else is disturbed
    swap(gated, "ask", make_model("one", script=ONE))
    gated.wait_state("ask", "ready")
    assert text_in(gated.chat("ask")) == ONE


def test_an_engine_that_dies_by_itself_does_not_blame_the_file(gated):
    (gated.tmp / "die").touch()
    assert gated.put("ask").status == 200
    wait_for("it died once", lambda: (h := gated.host("ask"))["last_error"] and h["last_error"]["cause"] == "signal")
    host = gated.wait_state("ask", "ready")
    assert host["restarts"] == 1 and host["last_error"]["code"] == signal.SIGBUS and host["notice"] == ""


def test_a_file_that_goes_on_changing_is_left_alone_until_it_is_still(gated, make_model):
    start_at_the_gate(gated)
    other = make_model("other", script=TWO)
    swap(gated, "ask", other)
    open_gate(gated)
    failed_for_the_file(gated)
    starts = gated.process.log().count("host starting")
    target, begun = gated.models / "ask.gguf", time.monotonic()
    touched, pause = begun, 0
    while touched - begun < 3.5:  # it is looked at once a second
        os.utime(target, ns=(time.time_ns(), time.time_ns()))
        pause, touched = max(pause, time.monotonic() - touched), time.monotonic()
        time.sleep(0.05)
    if pause < 0.8:  # else this machine held the test up, and the file was still for two looks
        assert gated.process.log().count("host starting") == starts
    gated.wait_state("ask", "ready")
    assert text_in(gated.chat("ask")) == TWO


def test_a_wish_that_changes_while_the_file_is_looked_at_is_followed(gated, make_model):
    """The engine is dead, its file is being looked at: another wish, and a removal, come in between."""
    start_at_the_gate(gated)
    os.truncate(gated.models / "ask.gguf", 5000)
    assert gated.put("ask", slots=1).status == 200  # the engine at the gate has to go
    open_gate(gated)
    gated.wait_state("ask", "failed")
    swap(gated, "ask", make_model("one", script=ONE))
    assert gated.wait_state("ask", "ready")["slots_total"] == 1
    assert gated.delete("ask").status == 200
    gated.wait_state("ask", None)


# ---- under an engine that runs ----


def test_a_file_replaced_under_a_running_host_counts_from_the_next_load(gated, make_model):
    before = gated.host_ready("ask")
    swap(gated, "ask", make_model("other", script=TWO))
    assert text_in(gated.chat("ask")) == ONE and gated.host("ask")["pid"] == before["pid"]
    os.kill(before["pid"], signal.SIGKILL)
    host = wait_for("restarted", lambda: (h := gated.host("ask"))["state"] == "ready" and h["restarts"] == 1 and h)
    assert "replaced" in host["notice"] and host["model_hash"] != before["model_hash"]
    assert text_in(gated.chat("ask")) == TWO


def test_hosts_of_one_role_with_different_files_do_not_share_traffic(tmp_path):
    """One of two replicas restarts with another file: drift."""
    roles = {"talk": "modes: [talk], model: talk, context: 1Ki, slots: 2, replicas: 2"}
    with cluster(tmp_path, ["a", "b"], {"talk": {"script": ONE}}, roles) as c:
        wait_for("two hosts", lambda: c.role("talk")["hosts_ready"] == 2)
        other = make_model(tmp_path / "other.gguf", script=TWO)
        os.replace(other, c.paths["talk"])
        pid = next(h["pid"] for h in c.role("talk")["hosts"] if h["node"] == "b")
        os.kill(pid, signal.SIGKILL)
        hosts = wait_for("b is back", lambda: [h for h in c.role("talk")["hosts"] if h["node"] == "b" and h["state"] == "ready" and h["pid"] != pid])
        assert "replaced" in hosts[0]["notice"]
        wait_for("one of them is used", lambda: c.role("talk")["hosts_ready"] == 1)
        texts = {c.answer("talk", f"request {n}")["choices"][0]["message"]["content"] for n in range(8)}
        assert len(texts) == 1
