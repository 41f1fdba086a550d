# SPDX-License-Identifier: MIT
"""One chat with a gateway, for deploy/demo: waits for the mode to answer, then streams and measures.

usage: demo_chat.py BASE_URL MODE WAIT_SECONDS PROMPT

Prints one line of JSON: node, model, text, first_ms (request sent to first text), tokens, tps (tokens per second: the
engine's own figure, else from the stream) and cached (prompt tokens that came from a cache).
Exit: 0 an answer came to its end, 1 it did not; then the reason is on standard error.
"""

import contextlib
import http.client
import json
import sys
import time
import urllib.parse


def post(base, mode, body, timeout):
    """Sends a chat request; returns the connection and the answer's head. Raises RuntimeError on a refusal."""
    url = urllib.parse.urlsplit(base)
    conn = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)
    conn.request(
        "POST",
        f"/{mode}/v1/chat/completions",
        json.dumps({"model": mode, **body}),
        {"Content-Type": "application/json"},
    )
    answer = conn.getresponse()
    if answer.status != 200:
        text = answer.read(4096).decode("utf-8", "replace")
        try:
            text = json.loads(text)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            pass
        raise RuntimeError(f"{answer.status} {text}")
    return conn, answer


def wait_ready(base, mode, seconds):
    """A request of one token: the gateway holds it until a host of the role is ready, or says why there is none."""
    end = time.monotonic() + seconds
    while True:
        try:
            left = max(1.0, end - time.monotonic())
            body = {"messages": [{"role": "user", "content": "Are you there?"}], "max_tokens": 1}
            conn, answer = post(base, mode, body, left)
            with contextlib.closing(conn):
                message = json.loads(answer.read())
            if "choices" in message:
                return
            raise RuntimeError(message.get("error", {}).get("message", "no answer in the answer"))
        except (OSError, RuntimeError, ValueError) as error:
            if time.monotonic() + 0.3 > end:
                raise RuntimeError(f"{mode} did not get ready in {seconds:.0f} s: {error}") from error
            time.sleep(0.2)


def model_of(base, mode):
    """The name in the role map of the model that serves this mode."""
    url = urllib.parse.urlsplit(base)
    with contextlib.closing(http.client.HTTPConnection(url.hostname, url.port, timeout=10)) as conn:
        conn.request("GET", "/api/v1/roles")
        roles = json.loads(conn.getresponse().read())["roles"]
    return next((role["model"] for role in roles if mode in role["modes"]), "?")


def events(answer):
    """The JSON of each `data:` line up to [DONE]; a stream that just stops raises."""
    for line in answer:
        line = line.strip()
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        chunk = json.loads(data)
        if "error" in chunk:
            raise RuntimeError(chunk["error"].get("message", "error event"))
        yield chunk
    raise RuntimeError("the stream stopped without [DONE]")


def stream(base, mode, prompt, timeout):
    """One streamed chat, measured."""
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 256,
        "temperature": 0,
    }
    sent = time.monotonic()
    conn, answer = post(base, mode, body, timeout)
    text, first, last, usage, timings = "", None, sent, {}, {}
    with contextlib.closing(conn):
        for chunk in events(answer):
            usage = chunk.get("usage") or usage
            timings = chunk.get("timings") or timings
            for choice in chunk.get("choices") or []:
                piece = (choice.get("delta") or {}).get("content")
                if piece:
                    last = time.monotonic()
                    first = first or last
                    text += piece
    if first is None:
        raise RuntimeError("the answer was empty")
    tokens = usage.get("completion_tokens") or timings.get("predicted_n") or 0
    rate = timings.get("predicted_per_second") or (tokens / (last - first) if last > first else 0)
    return {
        "node": answer.getheader("x-rolemesh-node") or "?",
        "model": model_of(base, mode),
        "text": text,
        "first_ms": round((first - sent) * 1000, 1),
        "tokens": tokens,
        "tps": round(rate, 1),
        "cached": (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
    }


def main():
    base, mode, seconds, prompt = sys.argv[1:]
    try:
        wait_ready(base, mode, float(seconds))
        print(json.dumps(stream(base, mode, prompt, 120)))
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        print(f"{mode}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
