# SPDX-License-Identifier: MIT
"""rolemesh-core as its worker sees it: ready pipe, OpenAI chat and completions, state, endings."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import pytest
from core_rig import Core, events_of, running_core
from rig import BIN, SLOW, have_programs, make_model, text_of, wait_for

pytestmark = pytest.mark.skipif(not have_programs(), reason="built without llama.cpp: no rolemesh-core")

SCRIPT = "Hello| from| the| tiny| model|."
ANSWER = "Hello from the tiny model."


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("core")


@pytest.fixture(scope="module")
def core(directory):
    """A scripted model that answers ANSWER."""
    model = make_model(directory / "script.gguf", embd=128, script=SCRIPT)
    with running_core(directory, model, context=1024, slots=4) as c:
        yield c


@pytest.fixture(scope="module")
def random_core(directory):
    """Random weights: what it says has no sense, but depends on every token before."""
    model = make_model(directory / "random.gguf", seed=3)
    with running_core(directory, model, context=1024, slots=4) as c:
        yield c


@pytest.fixture(scope="module")
def slow_core(directory):
    """Reading a prompt takes seconds."""
    model = make_model(directory / "slow.gguf", embd=256, heads=8, kvheads=8, layers=8, ff=1024)
    with running_core(directory, model, context=8192, slots=2) as c:
        yield c


LONG = "word " * 1800


# ---- answers ----


def test_whole_answer(core):
    answer = core.chat(model="code").json()
    assert answer["object"] == "chat.completion" and answer["model"] == "code"
    assert answer["id"].startswith("chatcmpl-")
    assert abs(answer["created"] - time.time()) < 60
    assert answer["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "logprobs": None, "finish_reason": "stop"}
    ]
    usage = answer["usage"]
    assert usage["completion_tokens"] == 7  # six pieces and the end of the turn
    assert usage["total_tokens"] == usage["prompt_tokens"] + 7
    assert answer["timings"]["predicted_n"] == 7 and answer["timings"]["predicted_ms"] > 0


def test_stream(core):
    events = core.stream(model="code", stream_options={"include_usage": True})
    assert events.pop() == "[DONE]"
    assert len({(e["id"], e["created"], e["model"], e["object"]) for e in events}) == 1
    assert events[0]["object"] == "chat.completion.chunk" and events[0]["model"] == "code"
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert text_of(events) == ANSWER
    finish, last = events[-2:]
    assert finish["choices"][0]["finish_reason"] == "stop" and finish["choices"][0]["delta"] == {}
    assert all(e["choices"][0]["finish_reason"] is None for e in events[:-2])
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 7
    assert last["timings"]["predicted_n"] == 7
    assert not any("usage" in e for e in events[:-1])


def test_stream_without_usage(core):
    events = core.stream()
    assert events.pop() == "[DONE]"
    assert not any("usage" in e for e in events)
    assert events[-1]["timings"]["predicted_n"] == 7
    assert all(e["choices"] for e in events)


def test_timings_per_token(core):
    events = core.stream(timings_per_token=True)
    counts = [e["timings"]["predicted_n"] for e in events[1:-1] if e["choices"][0]["delta"].get("content")]
    assert counts and counts == sorted(counts)


def test_cached_tokens_on_the_second_time(core):
    text = "a prompt that nobody else sends, " * 20
    first, second = (core.chat(text).json()["usage"] for _ in range(2))
    assert first["prompt_tokens"] == second["prompt_tokens"] > 100
    assert first["prompt_tokens_details"]["cached_tokens"] < 20
    assert second["prompt_tokens_details"]["cached_tokens"] >= second["prompt_tokens"] - 1
    cold = core.chat(text, cache_prompt=False).json()["usage"]
    assert cold["prompt_tokens_details"]["cached_tokens"] == 0


@pytest.mark.parametrize(
    "stop, text",
    [
        ("om the t", "Hello fr"),  # begins and ends inside of tokens
        (" tiny", "Hello from the"),
        (["nowhere", "model"], "Hello from the tiny "),
        (["."], "Hello from the tiny model"),
        ("Hello", ""),
        ("tiny x", ANSWER),  # begins like the text, and then not
    ],
)
def test_stop(core, stop, text):
    answer = core.chat(stop=stop).json()["choices"][0]
    assert answer["message"]["content"] == text and answer["finish_reason"] == "stop"
    assert text_of(core.stream(stop=stop)) == text


def test_max_tokens(core):
    answer = core.chat(max_tokens=2).json()
    assert answer["choices"][0]["message"]["content"] == "Hello from"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2
    assert core.text(max_tokens=6, max_completion_tokens=1) == "Hello"
    assert core.stream(max_tokens=2)[-2]["choices"][0]["finish_reason"] == "length"


def test_characters_are_never_cut(directory):
    # A smiling cat, a euro sign and an e with an accent, a byte or two per token.
    script = r"a\xF0|\x9F\x98|\xBA|b\xE2\x82|\xAC|\xC3|\xA9|."
    model = make_model(directory / "utf8.gguf", embd=128, script=script)
    with running_core(directory, model, context=256) as c:
        want = "a\U0001f63ab\u20ac\u00e9."
        assert c.text() == want
        for limit in range(1, 9):
            cut = c.text(max_tokens=limit)
            assert want.startswith(cut) or "\ufffd" in cut
        for _ in range(10):
            events = c.stream()
            assert text_of(events) == want
            assert not any("\ufffd" in json.dumps(e, ensure_ascii=False) for e in events if e != "[DONE]")


def test_several_choices(core):
    answer = core.chat(n=3).json()
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2]
    assert all(c["message"]["content"] == ANSWER for c in answer["choices"])
    assert answer["usage"]["completion_tokens"] == 21
    assert answer["usage"]["prompt_tokens"] == core.chat().json()["usage"]["prompt_tokens"]


def test_seed(random_core):
    def say(**more):
        return random_core.text("tell", max_tokens=24, temperature=1.5, top_k=0, top_p=1, min_p=0, **more)

    assert say(seed=7) == say(seed=7)
    assert say(seed=7) != say(seed=8)
    assert say(seed=7, cache_prompt=False) == say(seed=7)
    assert len({say() for _ in range(4)}) > 1  # without one, a new one each time
    several = random_core.chat("tell", n=2, seed=7, max_tokens=24, temperature=1.5, top_k=0, top_p=1, min_p=0)
    texts = [c["message"]["content"] for c in several.json()["choices"]]
    assert texts[0] == say(seed=7) and texts[1] == say(seed=8)


def test_logit_bias_forbids_a_token(core):
    # ids of all tokens that start as the answer does
    vocab = core.state()["model"]["vocab"]
    first = [t for t in range(vocab) if core_piece(core, t) == "Hello"]
    assert len(first) == 1
    assert core.text(temperature=0).startswith("Hello")
    assert not core.text(temperature=0, max_tokens=4, logit_bias={first[0]: -100}).startswith("Hello")


def core_piece(core, token):
    return core.post("/detokenize", {"tokens": [token]}).json()["content"]


def test_completions(core):
    prompt = core.post("/apply-template", {"messages": [{"role": "user", "content": "hi"}]}).json()["prompt"]
    answer = core.post("/v1/completions", {"prompt": prompt}).json()
    assert answer["object"] == "text_completion" and answer["id"].startswith("cmpl-")
    assert answer["choices"] == [{"index": 0, "text": ANSWER, "logprobs": None, "finish_reason": "stop"}]
    tokens = core.post("/tokenize", {"content": prompt}).json()["tokens"]
    assert core.post("/v1/completions", {"prompt": tokens}).json()["choices"] == answer["choices"]
    events = core.stream(prompt, path="/v1/completions", stream_options={"include_usage": True})
    assert events.pop() == "[DONE]"
    assert "".join(c["text"] for e in events for c in e["choices"]) == ANSWER
    assert events[-1]["usage"]["prompt_tokens"] == len(tokens) == answer["usage"]["prompt_tokens"]


def test_several_prompts_keep_their_order(random_core):
    prompts = ["alpha", "beta beta", "gamma"]
    ask = {"max_tokens": 8, "temperature": 0}
    alone = [random_core.post("/v1/completions", {"prompt": p, **ask}).json() for p in prompts]
    both = random_core.post("/v1/completions", {"prompt": prompts, **ask}).json()
    assert [c["index"] for c in both["choices"]] == [0, 1, 2]
    assert [c["text"] for c in both["choices"]] == [a["choices"][0]["text"] for a in alone]
    assert both["usage"]["prompt_tokens"] == sum(a["usage"]["prompt_tokens"] for a in alone)
    events = random_core.stream(prompts, path="/v1/completions", **ask)
    for i in range(3):
        parts = [c["text"] for e in events if e != "[DONE]" for c in e["choices"] if c["index"] == i]
        assert "".join(parts) == alone[i]["choices"][0]["text"]


def test_fill_in_the_middle(core):
    answer = core.post("/v1/completions", {"prompt": "int main(", "suffix": ") {}", "max_tokens": 4})
    assert answer.status == 200
    body = "int main(", ") {}"
    tokens = sum(len(core.post("/tokenize", {"content": t}).json()["tokens"]) for t in body)
    assert answer.json()["usage"]["prompt_tokens"] == tokens + 3
    assert core.state()["model"]["fim"] is True


def test_tokenize_and_back(core):
    text = "caf\u00e9 \U0001f600 <|im_end|>"
    tokens = core.post("/tokenize", {"content": text}).json()["tokens"]
    assert core.post("/detokenize", {"tokens": tokens}).json() == {"content": text}


def test_models(core):
    listed = core.get("/v1/models").json()
    assert listed["object"] == "list" and len(listed["data"]) == 1
    model = listed["data"][0]
    assert model["object"] == "model" and model["context_length"] == 1024
    name = model["id"].replace(" ", "%20")
    assert core.get("/v1/models/nobody").status == 404
    assert core.get(f"/v1/models/{name}").status in (200, 404)


def test_alias(directory):
    model = make_model(directory / "alias.gguf", embd=128, script=SCRIPT)
    with running_core(directory, model, context=256, alias="my/model:q8") as c:
        assert c.get("/v1/models").json()["data"][0]["id"] == "my/model:q8"
        assert c.get("/v1/models/my/model:q8").json()["id"] == "my/model:q8"
        assert c.chat().json()["model"] == "my/model:q8"


# ---- refusals ----


def test_over_the_context(core):
    for more in ({}, {"stream": True}):
        answer = core.chat("word " * 2000, **more)
        error = answer.json()["error"]
        assert answer.status == 400 and error["code"] == "context_length_exceeded"
        tokens = int(error["message"].split("resulted in ")[1].split()[0])
        assert tokens > 1024
        assert error["message"] == (
            f"This model's maximum context length is 1024 tokens. However, your messages resulted in {tokens} tokens."
        )


HI = '{"messages":[{"role":"user","content":"hi"}]'


@pytest.mark.parametrize(
    "body, status, code",
    [
        ("", 400, "invalid_json"),
        ("nonsense", 400, "invalid_json"),
        ("[" * 100000, 400, "invalid_json"),
        ('{"a":' * 200 + "1" + "}" * 200, 400, "invalid_json"),
        (HI, 400, "invalid_json"),
        (HI + ',"n":1,"n":2}', 400, "invalid_json"),
        ("{}", 400, "invalid_value"),
        ('{"messages":[]}', 400, "invalid_value"),
        (HI + ',"temperature":"hot"}', 400, "invalid_value"),
        (HI + ',"n":9}', 400, "invalid_value"),
        (HI + ',"n":2,"stream":true}', 400, "invalid_value"),
        (HI + ',"logit_bias":{"123456":1}}', 400, "invalid_value"),
        (HI + ',"response_format":{"type":"json_object"}}', 501, "not_supported"),
        ('{"messages":[' + "{}," * 600000 + "{}]}", 413, "request_too_large"),
    ],
    ids=lambda v: str(v)[:24],
)
def test_refusals(core, body, status, code):
    began = time.monotonic()
    answer = core.post("/v1/chat/completions", body)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert time.monotonic() - began < 2 * SLOW
    assert core.get("/health").status == 200


@pytest.mark.parametrize(
    "method, path, status, allow",
    [
        ("GET", "/", 404, None),
        ("GET", "/v1/chat", 404, None),
        ("POST", "/v1/embeddings", 404, None),
        ("GET", "/v1/chat/completions", 405, "POST"),
        ("DELETE", "/v1/completions", 405, "POST"),
        ("POST", "/core/state", 405, "GET, HEAD"),
    ],
)
def test_paths_and_methods(core, method, path, status, allow):
    answer = core.call(method, path, "{}" if method == "POST" else None)
    assert answer.status == status and answer.headers.get("allow") == allow
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_body_too_large(core):
    with contextlib.closing(core.connect()) as connection:
        connection.putrequest("POST", "/v1/completions")
        connection.putheader("Content-Length", str(5 * 1024 * 1024))
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_full_queue(directory):
    model = make_model(directory / "loop.gguf", embd=128, script=SCRIPT, loop=1)
    with running_core(directory, model, context=4096, slots=1, queue_max=1) as c:
        streams = [c.open_stream(), c.open_stream()]  # each until the context is full: some seconds
        wait_for("a busy slot and a full queue", lambda: (s := c.state())["slots_busy"] == 1 and s["queue"] == 1)
        refused = c.chat(max_tokens=1)
        assert refused.status == 429 and refused.json()["error"]["code"] == "queue_full"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        streams.pop(0).close()
        wait_for("room in the queue", lambda: c.state()["queue"] == 0)
        streams.pop(0).close()
        assert c.text(max_tokens=1) == "Hello"


# ---- clients that go away, or do not read ----


def freed_within(core, connection):
    """Closes a connection whose prompt is being read; the time until no slot is busy."""
    began = time.monotonic()
    connection.sock.close()
    connection.close()
    wait_for("a free slot", lambda: core.state()["slots_busy"] == 0, pause=0.001)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def longest_chunk(slow_core):
    """Seconds of the longest prefill chunk of LONG: what a cancel may have to wait for."""
    gaps, last = [], time.monotonic()
    with contextlib.closing(slow_core.open_stream(LONG, return_progress=True, max_tokens=1)) as c:
        for event in events_of(c.getresponse()):
            if event != "[DONE]" and "prompt_progress" in event:
                gaps.append(time.monotonic() - last)
                last = time.monotonic()
                progress = event["prompt_progress"]
    assert progress["processed"] == progress["total"] > 3600
    assert sum(gaps) > 0.5, "the model is too fast for this test"
    return max(gaps)


@pytest.mark.parametrize("stream", [True, False])
def test_cancel_in_prefill(slow_core, longest_chunk, stream):
    times = []
    for attempt in range(5):
        connection = slow_core.open_stream(f"{attempt} {stream} " + LONG, stream=stream)
        wait_for("prefill", lambda: slow_core.state()["slots_prefill"] == 1)
        times.append(freed_within(slow_core, connection))
    # The middle one: a busy machine may stop any one of them for longer than a chunk.
    assert sorted(times)[2] < max(0.1, longest_chunk), times


def test_cancel_in_the_queue(slow_core):
    running = [slow_core.open_stream(f"{i} " + LONG) for i in range(2)]
    wait_for("both slots busy", lambda: slow_core.state()["slots_busy"] == 2)
    waiting = slow_core.open_stream("3 " + LONG, stream=False)
    wait_for("one in the queue", lambda: slow_core.state()["queue"] == 1)
    waiting.close()
    wait_for("an empty queue", lambda: slow_core.state()["queue"] == 0)
    for c in running:
        c.close()
    wait_for("free slots", lambda: slow_core.state()["slots_busy"] == 0)


def test_cancel_while_a_big_body_is_prepared(core):
    """Reading and tokenizing happens beside the loop, two at once; who goes away is forgotten."""
    messages = [{"role": "user", "content": "some words in many lines\n" * 40000} for _ in range(20)]
    body = json.dumps({"messages": messages}).encode()
    assert len(body) > 20_000_000
    clients = [core.connect() for _ in range(4)]
    for c in clients:
        c.request("POST", "/v1/chat/completions", body)
    assert core.state()["requests"] > 0
    times = []
    for _ in range(20):
        began = time.monotonic()
        assert core.get("/health").status == 200
        times.append(time.monotonic() - began)
    assert sorted(times)[10] < 0.05 * SLOW
    for c in clients[1:]:
        c.close()
    answer = clients[0].getresponse()
    error = json.loads(answer.read())["error"]
    assert answer.status == 400 and error["code"] == "context_length_exceeded"
    assert int(error["message"].split("resulted in ")[1].split()[0]) > 1_000_000
    clients[0].close()
    wait_for("no request is left", lambda: core.state()["requests"] == 0, seconds=60)
    assert core.text() == ANSWER


def test_state_answers_at_once_while_a_prompt_is_read(slow_core):
    connection = slow_core.open_stream("state " + LONG)
    wait_for("prefill", lambda: slow_core.state()["slots_prefill"] == 1)
    times = []
    with contextlib.closing(slow_core.connect()) as c:
        while len(times) < 40:
            began = time.monotonic()
            c.request("GET", "/core/state")
            state = json.loads(c.getresponse().read())
            times.append(time.monotonic() - began)
            if not state["slots_prefill"]:
                break
    connection.close()
    assert len(times) > 5
    assert sorted(times)[len(times) // 2] < 0.005 * SLOW


def test_client_that_does_not_read(directory):
    piece = "x" * 390
    model = make_model(directory / "wide.gguf", embd=128, script="|".join([piece + "a", piece + "b"]), loop=1)
    with running_core(directory, model, context=8192, slots=2) as c:
        deaf = c.open_stream()
        wait_for("a busy slot", lambda: c.state()["slots_busy"] == 1)
        assert c.text(max_tokens=4).startswith("xxx")  # others go on
        # Far less than the 3 MB that this stream would be: it is cancelled when its buffer is full.
        wait_for("the slot is free", lambda: c.state()["slots_busy"] == 0, seconds=30)
        assert c.state()["generated_tokens"] < 6000
        deaf.close()
        wait_for("no request is left", lambda: c.state()["requests"] == 0)


# ---- equality ----


def test_interleaved_streams_equal_solo(random_core):
    prompts = [f"question {i} " * (3 + 5 * i) for i in range(4)]
    ask = {"max_tokens": 40, "temperature": 0}
    solo = [random_core.text(p, cache_prompt=False, **ask) for p in prompts]
    got = [None] * 4

    def run(i):
        got[i] = text_of(random_core.stream(prompts[i], **ask))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == solo


def test_progress(random_core):
    text = "something new to read, " * 30
    events = random_core.stream(text, return_progress=True, max_tokens=2, stream_options={"include_usage": True})
    steps = [e["prompt_progress"] for e in events if "prompt_progress" in e]
    prompt = events[-2]["usage"]["prompt_tokens"]
    assert steps and steps[-1]["processed"] == steps[-1]["total"] == prompt
    assert [s["processed"] for s in steps] == sorted(s["processed"] for s in steps)
    assert all(set(s) == {"total", "cache", "processed", "time_ms"} for s in steps)


def test_many_requests_on_one_connection(core):
    with contextlib.closing(core.connect()) as c:
        for i in range(20):
            body = {"messages": [{"role": "user", "content": "hi"}], "stream": i % 2 == 0}
            c.request("POST", "/v1/chat/completions", json.dumps(body))
            response = c.getresponse()
            if i % 2 == 0:
                assert text_of(list(events_of(response))) == ANSWER
            else:
                assert json.loads(response.read())["choices"][0]["message"]["content"] == ANSWER
    assert core.state()["requests"] == 0


# ---- the process ----


def test_ready_line(directory):
    model = make_model(directory / "ready.gguf", embd=128, script=SCRIPT)
    core = Core(directory, model, context=300, slots=3)
    try:
        ready = core.wait_ready()
        assert ready["ready"] is True and ready["slots"] == 3 and ready["pid"] == core.process.pid
        state = core.state()
        assert ready["context"] == state["context"] >= 300
        assert ready["version"] == state["version"] and ready["llama"] == state["llama"]
        parts = [line["progress"] for line in core.pipe.seen if "progress" in line]
        assert parts == sorted(parts) and all(0 <= p <= 1 for p in parts)
        assert os.getpgid(core.process.pid) == core.process.pid
        proc = pathlib.Path("/proc") / str(core.process.pid)
        limits = (proc / "limits").read_text()
        assert [line.split()[4:6] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]
        assert int((proc / "oom_score_adj").read_text()) == 800  # the kernel takes an engine first
        assert core.stop() == 0
    finally:
        core.kill()


def test_state_counts(directory):
    model = make_model(directory / "counts.gguf", embd=128, script=SCRIPT)
    with running_core(directory, model, context=512, slots=2) as c:
        before = c.state()
        assert (before["prompt_tokens"], before["generated_tokens"], before["jobs_done"]) == (0, 0, 0)
        usage = c.chat().json()["usage"]
        after = c.state()
        assert after["prompt_tokens"] == usage["prompt_tokens"]
        assert after["generated_tokens"] == usage["completion_tokens"]
        assert after["jobs_done"] == 1 and after["jobs_failed"] == 0
        assert after["kv_used"] > 0 and after["kv_total"] >= 1024
        assert after["model"]["arch"] == "llama" and after["model"]["template"] in ("jinja", "builtin")


def test_term_while_it_works(slow_core, directory):
    model = directory / "slow.gguf"
    with running_core(directory, model, context=8192, slots=2) as c:
        connection = c.open_stream(LONG)
        wait_for("prefill", lambda: c.state()["slots_prefill"] == 1)
        began = time.monotonic()
        assert c.stop() == 0
        assert time.monotonic() - began < 1.5 * SLOW
        connection.close()


@pytest.mark.parametrize(
    "content, code, cause",
    [
        (None, 3, "load"),
        (b"", 3, "load"),
        (b"GGUF garbage", 3, "load"),
        (b"x" * 100000, 3, "load"),
    ],
    ids=["missing", "empty", "short", "garbage"],
)
def test_unusable_model_file(directory, content, code, cause):
    path = directory / "bad.gguf"
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    core = Core(directory, path)
    try:
        line = core.pipe.wait("error")
        assert line["cause"] == cause and line["error"]
        assert core.process.wait(10) == code
        assert "cannot go on" in core.log()
    finally:
        core.kill()


def test_truncated_model_file(directory):
    whole = make_model(directory / "whole.gguf", embd=128, script=SCRIPT)
    part = directory / "part.gguf"
    part.write_bytes(whole.read_bytes()[:-50000])
    core = Core(directory, part)
    try:
        assert core.pipe.wait("error")["cause"] == "load"
        assert core.process.wait(10) == 3
    finally:
        core.kill()


@pytest.mark.parametrize(
    "args, word",
    [
        ([], "--model"),
        (["--model", "x.gguf"], "--socket"),
        (["--model", "x.gguf", "--socket", "s", "--slots", "65"], "--slots"),
        (["--model", "x.gguf", "--socket", "s", "--kv", "f8"], "--kv"),
        (["--model", "x.gguf", "--socket", "s" * 200], "--socket"),
        (["--modle", "x.gguf"], "--modle"),
        (["--model", "x.gguf", "--socket", "s", "--ready-fd", "77"], "--ready-fd"),
    ],
)
def test_usage_errors(args, word):
    done = subprocess.run([BIN / "rolemesh-core", *args], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert word in done.stderr and len(done.stderr.splitlines()) == 1


def test_help_and_version():
    for flag, word in (("--help", "--parent-pid"), ("--version", "rolemesh-core")):
        done = subprocess.run([BIN / "rolemesh-core", flag], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and word in done.stdout


def test_forecast(directory):
    model = make_model(directory / "forecast.gguf", embd=128, script=SCRIPT)
    args = [BIN / "rolemesh-core", "--model", model, "--forecast", "--slots", "2", "--context", "1024"]
    done = subprocess.run([*args, "--json"], capture_output=True, text=True, timeout=60, check=True)
    forecast = json.loads(done.stdout)
    assert forecast["context"] == 1024 and forecast["slots"] == 2
    assert forecast["total"] > forecast["weights"] > 0
    table = subprocess.run(args, capture_output=True, text=True, timeout=60, check=True).stdout
    assert str(forecast["weights"]) in table and str(forecast["kv"]) in table
    bad = subprocess.run([*args, "--model", directory / "none.gguf"], capture_output=True, text=True, timeout=60)
    assert bad.returncode == 3


def test_a_forecast_that_wants_too_much_memory_ends(directory):
    """Recurrent state is really allocated by a dry run: 75 MB here, and 64 MiB are allowed."""
    if os.environ.get("ROLEMESH_PRESET") in ("asan", "tsan"):
        pytest.skip("a sanitizer's shadow memory is beyond any limit")
    model = make_model(directory / "fat.gguf", "mamba", embd=1024, layers=8)
    args = [BIN / "rolemesh-core", "--model", model, "--forecast", "--slots", "64"]
    free = subprocess.run([*args, "--json"], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(free.stdout)["kv"] > 64 << 20
    bound = subprocess.run([*args, "--memory-max", str(64 << 20)], capture_output=True, text=True, timeout=60)
    assert bound.returncode == 5 and bound.stdout == ""
    assert "insufficient memory" in bound.stderr


def test_socket_in_use(core, directory):
    second = Core(directory, directory / "script.gguf")
    try:
        second.wait_ready()
        third = subprocess.run(
            [BIN / "rolemesh-core", "--model", directory / "script.gguf", "--socket", second.socket],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert third.returncode == 1 and "in use" in third.stderr
        assert second.text() == ANSWER
        second.process.kill()  # leaves a stale socket file behind
        assert second.socket.exists()
        again = Core(directory, directory / "script.gguf")
        again.kill()
        with running_core(directory, directory / "script.gguf") as c:
            assert c.text() == ANSWER
    finally:
        second.kill()


def test_stale_socket(directory):
    model = make_model(directory / "stale.gguf", embd=128, script=SCRIPT)
    path = directory / "stale.sock"
    for _ in range(2):
        reader, writer = os.pipe()
        core = subprocess.Popen(
            [BIN / "rolemesh-core", "--model", model, "--socket", path, "--ready-fd", str(writer)],
            pass_fds=[writer],
            stderr=subprocess.DEVNULL,
        )
        os.close(writer)
        with open(reader, "rb") as lines:
            assert any(b'"ready"' in line for line in lines)
            core.kill()
            core.wait(10)
        assert path.exists()


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_parent_dies(directory):
    """The core never outlives the process that started it."""
    model = make_model(directory / "orphan.gguf", embd=128, script=SCRIPT)
    reader, writer = os.pipe()
    script = '"$0" --model "$1" --socket "$2" --ready-fd "$3" --parent-pid $$ & wait'
    parent = subprocess.Popen(
        ["/bin/sh", "-c", script, BIN / "rolemesh-core", model, directory / "orphan.sock", str(writer)],
        pass_fds=[writer],
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    with open(reader, "rb") as lines:
        ready = next(json.loads(line) for line in lines if b'"ready"' in line)
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        wait_for("the core is gone", lambda: gone(ready["pid"]), seconds=2)
        assert lines.read() == b""  # end of file: nobody holds the pipe


def test_wrong_parent(directory):
    done = subprocess.run(
        [BIN / "rolemesh-core", "--model", directory / "script.gguf", "--socket", directory / "w.sock", "--parent-pid", "1"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1 and "parent" in done.stderr


def test_prompts_never_reach_the_log(directory):
    model = make_model(directory / "secret.gguf", embd=128, script="s3cret-answer", tmpl="hermes")
    with running_core(directory, model, context=128, slots=1) as c:
        secret = "xyzzy-prompt"
        c.chat(secret)
        c.chat(secret + " word" * 500)
        c.post("/v1/chat/completions", '{"messages":[{"role":"user","content":"' + secret)
        c.post("/v1/chat/completions", '{"messages":[{"role":"' + secret + '","content":"x"}]}')
        tools = [{"type": "function", "function": {"name": secret, "parameters": {"type": secret}}}]
        c.chat(secret, tools=tools, tool_choice=secret)
        c.open_stream(secret).close()
        wait_for("no request is left", lambda: c.state()["requests"] == 0)
        assert c.stop() == 0
        assert "xyzzy" not in c.log() and "s3cret" not in c.log()
