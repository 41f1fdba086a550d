# SPDX-License-Identifier: MIT
"""What the gateway remembers longer than its rings do: a request of 2,000 requests ago and why it went where it went, events before
the ring and before a restart. The worker is scripted: nothing here needs a model."""
import http.client
import json
import sqlite3
import threading

from cluster_rig import call
from metrics_rig import Scrape
from rig import SLOW, chat_of, wait_for
from test_ops import Feed, Ops, check


def many(port, n, threads=4, role="ask"):
    """Asks n times, over some connections."""
    failures = []

    def one(count):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=30 * SLOW)
        for _ in range(count):
            c.request("POST", f"/{role}/v1/chat/completions", json.dumps(chat_of("x")), {"Content-Type": "application/json"})
            answer = c.getresponse()
            answer.read()
            if answer.status != 200:
                failures.append(answer.status)
        c.close()

    all_ = [threading.Thread(target=one, args=(n // threads,)) for _ in range(threads)]
    for t in all_:
        t.start()
    for t in all_:
        t.join()
    assert failures == []


def ask_one(ops, role="ask", **more):
    """A request that is over; its id."""
    status, fields, _ = call(ops.port, "POST", f"/{role}/v1/chat/completions", chat_of("never shown", **more))
    wait_for("it is over", lambda: (ops.get(f"/api/v1/requests/{fields['x-request-id']}") or {}).get("state") == "done")
    return fields["x-request-id"], status


def told(ops, number):
    """A request and its why, without the one member that time changes."""
    request = check("Request", ops.ask("GET", f"/api/v1/requests/{number}")[1])
    why = check("Why", ops.ask("GET", f"/api/v1/requests/{number}/why")[1])
    assert request.pop("age_ms") >= 0 and why["request"].pop("age_ms") >= 0
    assert why["request"] == request
    return request, why


def test_a_request_of_2000_requests_ago_is_told_as_it_was(tmp_path):
    ops = Ops(tmp_path, names=("speed",))
    try:
        ops.start()
        status, key = ops.ask("POST", "/api/v1/keys", {"Content-Type": "application/json"}, json.dumps({"name": 'somebody', "admin": True}))
        assert status == 201
        bearer = {"Authorization": f"Bearer {key['key']}"}
        ops_ask, ops.ask = ops.ask, lambda method, path, headers=None, body=None: ops_ask(method, path, {**bearer, **(headers or {})}, body)
        ops.get = lambda path: (lambda status, answer: answer if status == 200 else None)(*ops.ask("GET", path))

        def post(body):
            status, fields, _ = call(ops.port, "POST", "/ask/v1/chat/completions", body, bearer)
            number = fields["x-request-id"]
            wait_for("it is over", lambda: (ops.get(f"/api/v1/requests/{number}") or {}).get("state") == "done")
            return number

        ids = [post(chat_of("never shown")), post(chat_of("never shown", max_tokens=999999)), post({"messages": "nonsense"})]
        before = {number: told(ops, number) for number in ids}
        assert before[ids[0]][0]["key"] == {"id": key["id"], "name": 'somebody'} and len(before[ids[0]][1]["decisions"]) == 1
        assert before[ids[1]][1]["rewrites"] == ["model: the engine's own name", "a token bound was lowered to the context"]
        assert (before[ids[2]][0]["outcome"], before[ids[2]][0]["queue_ms"], before[ids[2]][1]["decisions"]) == ("refused", None, [])
        assert ops.ask("DELETE", f"/api/v1/keys/{key['id']}")[0] in (200, 204)  # nobody needs a key from here on
        many(ops.port, 2000)
        recent = set()
        cursor = ""
        while cursor is not None:
            page = ops_ask("GET", f"/api/v1/requests?limit=500{cursor and '&cursor=' + cursor}")[1]
            recent |= {r["id"] for r in page["requests"]}
            cursor = page["next"]
        assert not recent & set(ids), "the ring still has them"
        del ops.ask, ops.get
        assert {number: told(ops, number) for number in ids} == before
        assert ops.gateway.stop() == 0
        ops.start_gateway()
        ops.wait_ready("ask")
        assert {number: told(ops, number) for number in ids} == before
        status, problem = ops.ask("GET", f"/api/v1/requests/{ids[0][:-1]}{'0' if ids[0][-1] != '0' else '1'}")
        assert status == 404 and "no such request" in problem["detail"]
        assert ops.ask("DELETE", f"/api/v1/requests/{ids[0]}")[0] == 404
        assert call(ops.port, "HEAD", f"/api/v1/requests/{ids[0]}")[0] == 200
    finally:
        ops.stop()


def test_events_before_a_restart_are_replayed(tmp_path):
    ops = Ops(tmp_path, names=("speed",))
    try:
        ops.start()
        first = wait_for("it has told what it found", lambda: (e := ops.ask("GET", "/api/v1/events?limit=500")[1]["events"]) and len(e) > 3 and e)
        assert ops.gateway.stop() == 0
        ops.start_gateway()
        ops.wait_ready("ask")
        whole = wait_for("the new one has told what it found", lambda: (e := ops.ask("GET", "/api/v1/events?limit=500")[1]["events"]) and sum(x["kind"] == "node.up" for x in e) == 2 and e)
        second = whole[: next(i for i, e in enumerate(whole) if e["kind"] == "gateway.started") + 1]
        assert check("Events", {"events": whole, "next": None}) and whole[-len(first):] == first  # the list goes back behind the start as well
        seen = Feed(ops.port, last=first[-1]["id"]).until(lambda _, number, __: number >= second[0]["id"])
        ids = [number for _, number, _ in seen]
        assert ids == sorted(set(ids)) and all(check("Event", e)["id"] == number for _, number, e in seen)
        # all that was told before, without the first; what happened while it stopped; all that it has told since
        assert [e["id"] for e in reversed(first)][1:] == ids[: len(first) - 1]
        assert [e["id"] for e in reversed(second)] == ids[-len(second):]
        assert "gateway.draining" in {e["kind"] for _, _, e in seen[len(first) - 1 : -len(second)]}
    finally:
        ops.stop()


def test_many_who_come_back_at_once_all_miss_nothing(tmp_path):
    """More listeners than questions that the history takes at one time."""
    ops = Ops(tmp_path, names=("speed",))
    try:
        ops.start()
        first = wait_for("it has told what it found", lambda: (e := ops.ask("GET", "/api/v1/events?limit=500")[1]["events"]) and len(e) > 3 and e)
        assert ops.gateway.stop() == 0
        ops.start_gateway()
        ops.wait_ready("ask")
        want = [e["id"] for e in reversed(first)][1:]
        all_ = [http.client.HTTPConnection("127.0.0.1", ops.port, timeout=30 * SLOW) for _ in range(150)]
        for c in all_:
            c.connect()
        for c in all_:
            c.request("GET", "/api/v1/events", headers={"Accept": "text/event-stream", "Last-Event-ID": str(first[-1]["id"])})
        for c in all_:
            assert [number for _, number, _ in Feed.on(c).until(lambda _, number, __: number >= want[-1])] == want
            c.close()
    finally:
        ops.stop()


def test_lists_of_events_go_back_to_before_the_start(tmp_path):
    ops = Ops(tmp_path, names=("speed",))
    try:
        ops.start()
        assert ops.gateway.stop() == 0
        with sqlite3.connect(tmp_path / "state-gateway" / "history.db") as db:
            old = db.execute("SELECT min(id) FROM event").fetchone()[0] - 10**6
            event = lambda i: {"id": old + i, "at": f"2026-01-0{1 + i // 100}T00:00:00.{i % 100:03}Z", "severity": "warning" if i % 2 else "info", "kind": "made.up", "subject": f"s{i % 5}", "text": "x", "next": None}
            db.executemany("INSERT INTO event VALUES(?,?,?)", [(old + i, 4 * 10**12, json.dumps(event(i), separators=(",", ":"))) for i in range(1, 401)])
        db.close()
        ops.start_gateway()
        ops.wait_ready("ask")
        made = [event(i) for i in range(400, 0, -1)]

        def pages(query):
            found, cursor = [], ""
            while cursor is not None:
                status, page = ops.ask("GET", f"/api/v1/events?{query}{cursor and '&cursor=' + cursor}")
                assert status == 200 and len(check("Events", page)["events"]) <= 500
                found += page["events"]
                cursor = page["next"]
            return found

        assert pages("limit=7&kind=made.up") == pages("limit=500&kind=made.up") == made
        everything = pages("limit=33")
        assert [e["id"] for e in everything] == sorted({e["id"] for e in everything}, reverse=True) and everything[-400:] == made
        assert pages("limit=50&subject=s3&severity=warning") == [e for e in made if e["subject"] == "s3" and e["severity"] == "warning"]
        assert pages("limit=50&since=2026-01-02T00:00:00Z&until=2026-01-03T00:00:00Z") == [e for e in made if "2026-01-02" <= e["at"] < "2026-01-03"]
        assert ops.ask("GET", "/api/v1/events?limit=1")[1]["events"][0]["id"] > old + 400
        for wrong, code in (("cursor=x", 409), ("limit=0", 400), ("since=yesterday", 400), ("live=2", 400)):
            assert ops.ask("GET", f"/api/v1/events?{wrong}")[0] == code
    finally:
        ops.stop()


def test_a_long_history_of_events_is_replayed_in_order(tmp_path):
    """More than one step of it, and with a live listener that also wants snapshots."""
    ops = Ops(tmp_path, names=("speed",))
    try:
        ops.start()
        assert ops.gateway.stop() == 0
        with sqlite3.connect(tmp_path / "state-gateway" / "history.db") as db:
            old = db.execute("SELECT min(id) FROM event").fetchone()[0] - 10**6  # ids are milliseconds, or later: this long ago
            at = db.execute("SELECT max(at_ms) FROM event").fetchone()[0]
            text = "x" * 500
            db.executemany("INSERT INTO event VALUES(?,?,?)", [(old + i, at, json.dumps({"id": old + i, "at": "2026-01-01T00:00:00.000Z", "severity": "info", "kind": "made.up", "subject": "s", "text": text, "next": None})) for i in range(1, 2501)])
        db.close()
        ops.start_gateway()
        ops.wait_ready("ask")
        feed = Feed(ops.port, "?live=1", last=old)
        seen = [(number, e) for name, number, e in feed.until(lambda name, _, e: name == "event" and e["kind"] == "gateway.started") if name == "event" and number <= old + 2500]
        assert [number for number, _ in seen] == list(range(old + 1, old + 2501))
        assert {e["text"] for _, e in seen} == {text}
        feed.close()
    finally:
        ops.stop()


def test_without_a_history_memory_is_all_there_is(tmp_path):
    """The state directory holds a history of a newer version: it is left alone, and nothing else changes."""
    ops = Ops(tmp_path, names=("speed",))
    state = tmp_path / "state-gateway"
    state.mkdir(mode=0o700)
    with sqlite3.connect(state / "history.db") as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    try:
        ops.start()
        number, status = ask_one(ops)
        assert status == 200 and told(ops, number)[0]["id"] == number
        status, problem = ops.ask("GET", f"/api/v1/requests/{number[:-1]}{'0' if number[-1] != '0' else '1'}")
        assert status == 503 and "history cannot be read" in problem["detail"]
        first = ops.ask("GET", "/api/v1/events?limit=500")[1]["events"][-1]["id"]
        feed = Feed(ops.port, last=first - 1000)
        assert next(iter(feed))[1] == first
        feed.close()
    finally:
        ops.stop()


def test_a_damaged_history_is_put_aside(tmp_path):
    ops = Ops(tmp_path, names=("speed",))
    state = tmp_path / "state-gateway"
    state.mkdir(mode=0o700)
    (state / "history.db").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64)
    try:
        ops.start()
        number, status = ask_one(ops)
        assert status == 200 and told(ops, number)[0]["id"] == number
        wait_for("a new file took its place", lambda: ops.ask("GET", "/api/v1/usage")[1].get("usage"))
        assert (state / "history.db.damaged").exists() and Scrape(ops.port).value("rolemesh_history_usable") == 1
        assert Scrape(ops.port).value("rolemesh_history_damaged_total") == 1
        assert ops.gateway.stop() == 0
        ops.start_gateway()
        ops.wait_ready("ask")
        assert told(ops, number)[0]["id"] == number
    finally:
        ops.stop()


def test_a_full_disk_stops_nothing(tmp_path):
    """No file of the gateway may grow over 128 KiB: as a full disk, writing fails, and reading goes on."""
    ops = Ops(tmp_path, names=("speed",))
    run = ops.run
    ops.run = lambda name, argv: run(name, ["/bin/sh", "-c", "trap '' XFSZ; ulimit -f 256; exec \"$@\"", "sh", *argv])
    try:
        ops.start()
        first, _ = ask_one(ops)
        many(ops.port, 1200)
        scrape = wait_for("rows are lost", lambda: (s := Scrape(ops.port)).value("rolemesh_history_lost_total") > 0 and s)
        assert scrape.value("rolemesh_requests_total", role="ask", outcome="ok") == 1201
        last, status = ask_one(ops)
        assert status == 200 and told(ops, last)[0]["id"] == last
        assert ops.ask("GET", f"/api/v1/requests/{first}")[0] in (200, 503) and ops.ask("GET", "/api/v1/events")[0] == 200
        assert "history" in ops.gateway.log()
        assert ops.gateway.stop() == 0
    finally:
        ops.stop()
