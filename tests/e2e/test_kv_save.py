# SPDX-License-Identifier: MIT
"""What an evicted host had read: kept on the disk, taken back by the next engine, and gone when nobody will want it."""
import contextlib
import json
import os
import stat
import time

import pytest
from cluster_rig import Cluster, call
from core_rig import Core
from rig import SLOW, chat_of, program, wait_for
from test_short_memory import MIB, Hog, grouped
from worker_rig import ANSWER, SCRIPT, Worker, text_in

HASH = "0123456789abcdef" * 4
PROMPT = "The quick brown fox jumps over the lazy dog; nobody knows why. " * 50  # more than 2,000 tokens
SHORT = PROMPT[:700]  # where the length does not matter
BIG = {"embd": 512, "layers": 8, "kvheads": 1, "ctx": 8192, "script": SCRIPT}
FLAGS = {"context": 6144, "kv": "q8_0"}  # few bytes per token: the disk is the faster one even on a busy machine


@pytest.fixture
def big(make_model):
    """Slow enough to read a prompt with that a disk is faster by far, and small per token; answers ANSWER."""
    return make_model("big", **BIG)


@pytest.fixture
def worker(tmp_path):
    with Worker(tmp_path) as w:
        yield w


def cached(answer):
    """(tokens of the prompt, of them from a cache) of a right answer."""
    assert answer.status == 200, answer.body
    assert text_in(answer) == ANSWER
    usage = answer.json()["usage"]
    return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


def files(worker):
    return sorted((worker.state_dir / "kv").iterdir())


def evict(worker, role="code", query="?save=1"):
    answer = worker.delete(role, query)
    assert answer.status == 200, answer.body
    worker.wait_state(role, None)


def test_an_evicted_host_comes_back_warm(worker, big):
    worker.host_ready("code", big, **FLAGS)
    n, from_cache = cached(worker.chat("code", PROMPT))
    assert n > 2000 and from_cache < 100
    evict(worker)
    [kept] = files(worker)
    assert kept.name.startswith("code-") and kept.suffix == ".kv"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    host = worker.host_ready("code", **FLAGS)
    assert files(worker) == [], "it is read once"
    assert host["kv_used"] >= n
    again, from_cache = cached(worker.chat("code", PROMPT + "And then?"))
    assert again > n
    assert from_cache > n - 20  # all of it but the tokens that end a message
    log = worker.process.log()
    assert "KV state saved" in log and "KV state restored" in log and PROMPT[:20] not in log


def test_another_model_under_the_name_makes_no_use_of_it(worker, big, make_model):
    worker.host_ready("code", big, **FLAGS)
    n, _ = cached(worker.chat("code", SHORT))
    evict(worker)
    assert len(files(worker)) == 1
    worker.add_model("code", make_model("other", **BIG, seed=9))
    worker.host_ready("code", **FLAGS)
    assert files(worker) == []
    again, from_cache = cached(worker.chat("code", SHORT))
    assert again == n and from_cache < 100
    assert 'is not used, and removed" role=code why="the model is another one now"' in worker.process.log()


def test_it_goes_with_the_role_and_with_other_flags(worker, big):
    worker.host_ready("code", big, **FLAGS)
    cached(worker.chat("code", SHORT))
    evict(worker)
    assert len(files(worker)) == 1
    assert worker.delete("code", "?save=1").status == 404  # away already, and still wanted
    assert len(files(worker)) == 1
    assert worker.delete("code").status == 404  # away already, and for good
    wait_for("the file is gone", lambda: files(worker) == [])
    worker.host_ready("code", **FLAGS)
    cached(worker.chat("code", SHORT))
    evict(worker)
    worker.host_ready("code", **FLAGS, slots=1)  # of another shape
    wait_for("the file is gone", lambda: files(worker) == [])
    assert cached(worker.chat("code", SHORT))[1] < 100
    evict(worker, query="")
    assert files(worker) == []


def test_a_role_that_goes_for_good_while_it_is_saved(worker, big):
    worker.host_ready("code", big, **FLAGS)
    cached(worker.chat("code", SHORT))
    worker.delete("code", "?save=1")
    worker.delete("code")
    worker.wait_state("code", None)
    wait_for("nothing is left", lambda: files(worker) == [])


def test_the_drain_bounds_it(worker, big, make_model):
    worker.host_ready("code", make_model("endless", embd=128, script=SCRIPT, loop=1, ctx=65536), context=32768, drain_ms=700)
    with worker.streaming("code", SHORT) as response:
        response.read1(100)
        begun = time.monotonic()
        evict(worker)
        assert time.monotonic() - begun < 4 * SLOW
    assert files(worker) == []  # all the time went to the stream


@pytest.mark.parametrize("query", ["?save=2", "?save=", "?save", "?save=1&", "?save=1&save=1", "?epoch=1&epoch=1", "?x=1", "?&"])
def test_a_query_that_is_none(worker, query):
    assert worker.delete("code", query).status == 400


@pytest.mark.parametrize("query, status", [("?epoch=5&save=1", 404), ("?save=0&epoch=5", 404), ("?save=1&epoch=4", 409)])
def test_epoch_and_save_in_one_query(worker, query, status):
    worker.delete("code", "?epoch=5")
    assert worker.delete("code", query).status == status


def test_a_worker_that_keeps_none(tmp_path, big):
    with Worker(tmp_path, "--kv-save", "0") as worker:
        worker.host_ready("code", big, **FLAGS)
        cached(worker.chat("code", SHORT))
        evict(worker)
        assert files(worker) == []
        worker.host_ready("code", **FLAGS)
        assert cached(worker.chat("code", SHORT))[1] < 100


def test_what_an_older_worker_left(worker):
    rev = "0" * 32
    kv = worker.state_dir / "kv"
    worker.process.stop(15)
    for name, age in ((f"ask-{rev}.kv", 0), (f"code-{rev}.kv", 90000), (f"ask-{rev}.kv.tmp", 0), ("mine.txt", 90000)):
        (kv / name).write_text("x")
        os.utime(kv / name, (time.time() - age, time.time() - age))
    worker.start()
    assert [f.name for f in files(worker)] == [f"ask-{rev}.kv", "mine.txt"]


def test_a_full_disk(tmp_path, big):
    """A limit on the size of files stands for it: the core may write none of that size."""
    core = tmp_path / "core"
    core.write_text(f'#!/bin/sh\nulimit -f 64\nexec {program("rolemesh-core")} "$@"\n')
    core.chmod(0o755)
    with Worker(tmp_path, core=core) as worker:
        worker.host_ready("code", big, **FLAGS)
        cached(worker.chat("code", SHORT))
        evict(worker)
        assert files(worker) == []
        assert "KV state not saved" in worker.process.log()
        worker.host_ready("code", **FLAGS)
        assert cached(worker.chat("code", SHORT))[1] < 100


@pytest.mark.slow
def test_killed_while_it_is_saved(tmp_path, worker, big):
    """The engine dies at one moment or another of its save: nothing half is left, and the next one serves."""
    for wait in (0, 0.005, 0.02, 0.05):
        host = worker.host_ready("code", big, **FLAGS)
        cached(worker.chat("code", SHORT))
        worker.delete("code", "?save=1")
        deadline = time.monotonic() + 5 * SLOW
        while not files(worker) and worker.host("code") and time.monotonic() < deadline:
            pass
        time.sleep(wait)  # where in the save it is hit is left to chance
        with contextlib.suppress(ProcessLookupError):
            os.kill(host["pid"], 9)
        worker.wait_state("code", None)
        wait_for("no half file", lambda: not any(f.suffix == ".tmp" for f in files(worker)))


@pytest.mark.skipif(SLOW > 1, reason="a sanitizer's own memory is over the limit")
def test_a_host_that_had_to_go_for_memory_comes_back_warm(tmp_path, big):
    with grouped(tmp_path, 400) as (worker, group):
        worker.host_ready("code", big, residency="on-demand", **FLAGS)
        n, _ = cached(worker.chat("code", SHORT))
        with contextlib.closing(Hog(group)) as hog:
            hog.leave(15)  # the line is at 25 MiB
            wait_for("it is gone", lambda: (h := worker.host("code"))["state"] == "failed" and h["pid"] == 0, 40)
            assert worker.host("code")["last_error"]["cause"] == "memory"
            assert len(files(worker)) == 1
        worker.wait_state("code", "ready", seconds=60)
        assert cached(worker.chat("code", SHORT))[1] > n - 20
        assert group.kills() == 0


def test_the_gateway_asks_for_it(tmp_path):
    """A role that the map moves to another node is kept where it was; one that leaves the map is not."""
    role = "modes: [code], model: big, context: 4Ki, kv: q8_0, nodes: [{}]"
    cluster = Cluster(tmp_path, {"speed": None, "reasoning": None}, {"big": BIG}, {"code": role.format("speed")})
    kv = tmp_path / "state-speed" / "kv"

    def chat():
        status, _, body = call(cluster.port, "POST", "/code/v1/chat/completions", chat_of(SHORT))
        assert status == 200, body
        return json.loads(body)["usage"]

    def remap(**roles):
        cluster.roles = roles
        cluster.write_map()
        cluster.gateway.signal(1)

    def hosted(node):
        return [h["role"] for h in cluster.node_state(node)["hosts"] if h["state"] in ("ready", "busy", "draining")]

    try:
        cluster.start()
        n = chat()["prompt_tokens"]
        remap(code=role.format("reasoning"))
        wait_for("it has moved", lambda: hosted("speed") == [] and hosted("reasoning") == ["code"], 40)
        assert len(list(kv.iterdir())) == 1
        remap(code=role.format("speed"))
        wait_for("it is back", lambda: hosted("reasoning") == [] and hosted("speed") == ["code"], 40)
        wait_for("the gateway knows", lambda: cluster.is_ready("code"))
        assert chat()["prompt_tokens_details"]["cached_tokens"] > n - 20
        remap(other=role.format("reasoning").replace("code", "other"))
        wait_for("it is gone", lambda: hosted("speed") == [], 40)
        wait_for("nothing is left", lambda: list(kv.iterdir()) == [])
    finally:
        cluster.stop()


# ---- the core alone ----


@contextlib.contextmanager
def core_of(tmp_path, model, **flags):
    core = Core(tmp_path, model, slots=2, kv_file=tmp_path / "code.kv", model_hash=HASH, **FLAGS, **flags)
    try:
        yield core
    finally:
        core.stop()


def test_the_core_says_what_it_kept(tmp_path, big):
    with core_of(tmp_path, big) as core:
        assert core.wait_ready()["restored_tokens"] == 0
        n, _ = cached(core.chat(SHORT))
        for target in ("/core/save", "/core/save?budget_ms=", "/core/save?budget_ms=1x", "/core/save?budget_ms=1234567890"):
            assert core.post(target, {}).status == 400
        assert core.get("/core/save").status == 405
        answer = core.post("/core/save?budget_ms=60000", {}).json()
        assert answer["saved"], answer
        assert answer["tokens"] >= n and answer["sequences"] == 1
        assert answer["bytes"] == (tmp_path / "code.kv").stat().st_size
        assert min(answer["write_bps"], answer["read_bps"], answer["prefill_tps"]) > 0
        assert not core.post("/core/save?budget_ms=0", {}).json()["saved"]  # and the older file is not left
        assert not (tmp_path / "code.kv").exists()
        assert core.post("/core/save?budget_ms=60000", {}).json()["saved"]
    with core_of(tmp_path, big) as core:
        assert core.wait_ready()["restored_tokens"] >= n
        assert core.state()["kv_used"] >= n
        assert cached(core.chat(SHORT))[1] == n - 1


def test_a_core_without_a_file(tmp_path, big):
    core = Core(tmp_path, big, context=1024)
    core.wait_ready()
    assert core.post("/core/save?budget_ms=1000", {}).status == 501
    core.stop()


@pytest.mark.parametrize("spoil", ["cut", "garbage", "empty", "flip", "directory"])
def test_a_bad_file_costs_one_line(tmp_path, big, spoil):
    kept = tmp_path / "code.kv"
    with core_of(tmp_path, big) as core:
        core.wait_ready()
        cached(core.chat(SHORT))
        assert core.post("/core/save?budget_ms=60000", {}).json()["saved"]
    if spoil == "cut":
        os.truncate(kept, kept.stat().st_size - 100)
    elif spoil == "flip":
        with kept.open("r+b") as f:
            f.seek(kept.stat().st_size // 2)
            byte = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([byte[0] ^ 4]))
    elif spoil == "directory":
        kept.unlink()
        kept.mkdir()
    else:
        kept.write_bytes(b"garbage" * 100000 if spoil == "garbage" else b"")
    with core_of(tmp_path, big) as core:
        assert core.wait_ready()["restored_tokens"] == 0
        assert spoil == "directory" or not kept.exists()
        assert core.log().count("KV state") == 1, core.log()
        assert cached(core.chat(SHORT))[1] < 100


@pytest.mark.slow
def test_killed_core_and_its_file(tmp_path, big):
    """SIGKILL while it writes: what has the name is whole, and what has not is never taken."""
    for hit in range(4):
        core = Core(tmp_path, big, slots=2, kv_file=tmp_path / "code.kv", model_hash=HASH, **FLAGS)
        core.wait_ready()
        cached(core.chat(SHORT + str(hit)))
        asking = core.connect()
        asking.request("POST", "/core/save?budget_ms=60000", b"")
        wait_for("it writes", lambda: list(tmp_path.glob("code.kv*")))
        core.kill()
        asking.close()
        for left in tmp_path.glob("code.kv"):
            assert left.stat().st_size > 0
        with core_of(tmp_path, big) as core:
            core.wait_ready()
            cached(core.chat(SHORT + str(hit)))
        for left in tmp_path.glob("code.kv*"):
            left.unlink()
