/* SPDX-License-Identifier: MIT */
/* proto/http/server_test.c - requests and replies: framing, pipelining, 100-continue, bodies,
 * back-pressure, clients that leave. Deadlines and life are in server_life_test.c. */
#include "proto/http/server_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define GET_A "GET /a HTTP/1.1\r\nHost: gw\r\n\r\n"

static struct rig rig;
static struct peer peer;

/* What a handler of these tests saw, and the request it keeps to answer later. */
static struct seen {
    struct http_req *q;
    int requests, ends, writables, answer; /* answer: a status that on_gone replies with */
    struct rm_buf body;
    struct rm_buf targets;
} seen;

static int setup(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof(seen));
    rm_buf_init(&seen.body, 64 * 1024 * 1024);
    rm_buf_init(&seen.targets, 65536);
    return 0;
}

static void open_both(const struct http_server_conf *conf,
                      void (*on_request)(struct rig *, struct http_req *))
{
    rig_open(&rig, conf, false);
    rig.on_request = on_request;
    peer_open(&peer, &rig);
}

static int teardown(void **state)
{
    (void)state;
    peer_close(&peer);
    rig_close(&rig);
    rm_buf_clear(&seen.body);
    rm_buf_clear(&seen.targets);
    return 0;
}

static void keep_on_body(struct http_req *q, const char *bytes, size_t n)
{
    (void)q;
    rm_buf_put(&seen.body, bytes, n);
}

static void keep_on_end(struct http_req *q)
{
    (void)q;
    seen.ends++;
}

static void keep_on_writable(struct http_req *q)
{
    (void)q;
    seen.writables++;
}

static void keep_on_gone(struct http_req *q, int why)
{
    rig_count_gone(q, why);
    if (seen.answer != 0)
        assert_int_equal(http_reply_full(q, seen.answer, NULL, 0, "text/plain", RM_LIT("mine")), 0);
    else if (why == RM_ERR_GONE || why == UV_ECONNRESET)
        assert_int_equal(http_reply_full(q, 200, NULL, 0, NULL, RM_LIT("")), RM_ERR_GONE);
}

static void keep_on_done(struct http_req *q)
{
    rig_count_done(q);
    seen.q = NULL;
}

static const struct http_req_ops keep_ops = {
    .on_body = keep_on_body,
    .on_end = keep_on_end,
    .on_writable = keep_on_writable,
    .on_gone = keep_on_gone,
    .on_done = keep_on_done,
};

/* Takes the request and answers when the test says. */
static void keep(struct rig *r, struct http_req *q)
{
    http_req_accept(q, &keep_ops, r);
    seen.q = q;
    seen.requests++;
    rm_buf_put(&seen.targets, http_req_head(q)->target.p, http_req_head(q)->target.n);
}

static void answer(const char *text)
{
    assert_int_equal(http_reply_full(seen.q, 200, NULL, 0, "text/plain", rm_slice_of(text)), 0);
}

static bool raw_has(const char *text)
{
    return peer.raw.data != NULL && strstr(peer.raw.data, text) != NULL;
}

static void wait_ends(int n)
{
    rig_until(&rig, (peer_read(&peer), peer.ends >= n));
}

static void wait_eof(void)
{
    rig_until(&rig, (peer_read(&peer), peer.eof || peer.reset));
    assert_true(peer.eof);
}

/* ---- framing of replies ---- */

static void a_whole_answer(void **state)
{
    (void)state;
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, "\r\nGET /a HTTP/1.1\r\nHost: gw\r\n\r\n");
    rig_until(&rig, seen.q != NULL);
    assert_true(strncmp(http_req_peer(seen.q), "127.0.0.1:", 10) == 0);
    assert_true(http_req_start_us(seen.q) > 0);
    assert_false(http_reply_started(seen.q));
    answer("hello");
    assert_int_equal(rig.done, 0); /* never inside the call that asked */
    wait_ends(1);
    assert_true(raw_has("HTTP/1.1 200 OK\r\nDate: "));
    assert_true(raw_has("\r\nContent-Length: 5\r\n"));
    assert_true(raw_has("\r\nConnection: keep-alive\r\nKeep-Alive: timeout=120\r\n\r\nhello"));
    rig_until(&rig, rig.done == 1);
    assert_int_equal(rig.gone, 0);
}

static void chunks_as_they_are_written(void **state)
{
    const struct rm_slice two[] = {RM_LIT("data: "), RM_LIT("x\n\n")};
    const struct http_out_field type = {"Content-Type", RM_LIT("text/event-stream")};

    (void)state;
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    assert_int_equal(http_reply_start(seen.q, 200, &type, 1, -1), 0);
    assert_int_equal(http_reply_start(seen.q, 200, NULL, 0, -1), UV_EINVAL);
    assert_int_equal(http_reply_flush(seen.q), 0);
    rig_until(&rig, (peer_read(&peer), peer.heads == 1));
    assert_int_equal(http_reply_write(seen.q, two, 2), 0);
    rig_until(&rig, (peer_read(&peer), peer.body.len == 9));
    assert_true(raw_has("\r\n\r\n9\r\ndata: x\n\n\r\n"));
    assert_int_equal(peer.ends, 0);
    http_reply_end(seen.q);
    wait_ends(1);
    assert_true(raw_has("\r\n\r\n9\r\ndata: x\n\n\r\n0\r\n\r\n"));
}

static void many_pieces_are_one_chunk(void **state)
{
    struct rm_slice pieces[200];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(pieces); i++)
        pieces[i] = RM_LIT("ab");
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    assert_int_equal(http_reply_start(seen.q, 200, NULL, 0, -1), 0);
    assert_int_equal(http_reply_write(seen.q, pieces, RM_COUNT(pieces)), 0);
    http_reply_end(seen.q);
    wait_ends(1);
    assert_true(raw_has("\r\n\r\n190\r\nabab"));
    assert_int_equal(peer.body.len, 400);
}

static void chunk_sizes_of_every_length(void **state)
{
    static const size_t sizes[] = {1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 65535, 65536};
    static char bytes[65536];
    size_t total = 0;

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    assert_int_equal(http_reply_start(seen.q, 200, NULL, 0, -1), 0);
    for (size_t i = 0; i < RM_COUNT(sizes); i++) {
        const struct rm_slice s = {bytes, sizes[i]};
        char text[32];

        assert_int_equal(http_reply_write(seen.q, &s, 1), 0);
        total += sizes[i];
        snprintf(text, sizeof(text), "\r\n%zx\r\nx", sizes[i]);
        rig_until(&rig, (peer_read(&peer), peer.body.len == total));
        assert_true(raw_has(text));
    }
    http_reply_end(seen.q);
    wait_ends(1);
}

static void http_1_0_gets_no_chunks(void **state)
{
    const struct rm_slice hello = RM_LIT("hello");

    (void)state;
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    rig_until(&rig, seen.q != NULL);
    answer("kept");
    wait_ends(1);
    assert_true(raw_has("Connection: keep-alive\r\n"));
    rig_until(&rig, rig.done == 1);
    peer_sends(&peer, &rig, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    rig_until(&rig, seen.q != NULL);
    assert_int_equal(http_reply_start(seen.q, 200, NULL, 0, -1), 0);
    assert_int_equal(http_reply_write(seen.q, &hello, 1), 0);
    http_reply_end(seen.q);
    wait_eof();
    assert_true(raw_has("Connection: close\r\n\r\nhello"));
    assert_false(raw_has("chunked"));
}

static void a_head_request_gets_no_body(void **state)
{
    (void)state;
    open_both(&http_server_conf_default, keep);
    http_parser_set_head_answer(peer.parser, true);
    peer_sends(&peer, &rig, "HEAD /a HTTP/1.1\r\nHost: gw\r\n\r\n");
    rig_until(&rig, seen.q != NULL);
    answer("hello");
    wait_ends(1);
    assert_true(raw_has("Content-Length: 5\r\n"));
    assert_false(raw_has("hello"));
    rig_until(&rig, rig.done == 1);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    answer("again");
    wait_ends(2);
}

static void hostile_reply_fields_are_refused(void **state)
{
    const struct http_out_field bad[] = {{"X-A", RM_LIT("a\r\nSet-Cookie: x")},
                                         {"X\n", RM_LIT("a")},
                                         {"X-B", RM_LIT("a\0b")},
                                         {"", RM_LIT("a")}};
    const struct http_out_field ours = {"content-length", RM_LIT("999")};

    (void)state;
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    for (size_t i = 0; i < RM_COUNT(bad); i++)
        assert_int_equal(http_reply_start(seen.q, 200, &bad[i], 1, 0), UV_EINVAL);
    assert_false(http_reply_started(seen.q));
    assert_int_equal(http_reply_full(seen.q, 200, &ours, 1, "a/b", RM_LIT("ok")), 0);
    wait_ends(1);
    assert_false(raw_has("999"));
}

static void a_big_answer_in_one_call(void **state)
{
    const size_t n = 4 * 1024 * 1024;
    char *big = malloc(n);

    (void)state;
    assert_non_null(big);
    memset(big, 'b', n);
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    assert_int_equal(http_reply_full(seen.q, 200, NULL, 0, "a/b", (struct rm_slice){big, n}), 0);
    free(big);
    wait_ends(1);
    assert_int_equal(peer.body.len, n);
    rig_until(&rig, rig.done == 1);
}

static void close_after_closes(void **state)
{
    (void)state;
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    http_reply_close_after(seen.q);
    answer("bye");
    wait_eof();
    assert_true(peer.close && peer.ends == 1);
}

/* ---- one after the other ---- */

static void pipelined_requests_wait_their_turn(void **state)
{
    (void)state;
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig,
               "POST /1 HTTP/1.1\r\nHost: gw\r\nContent-Length: 3\r\n\r\nabc"
               "GET /2 HTTP/1.1\r\nHost: gw\r\n\r\n"
               "POST /3 HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0"
               "\r\n\r\n");
    for (int i = 1; i <= 3; i++) {
        char text[16];

        rig_until(&rig, seen.q != NULL && seen.ends == i);
        for (int turn = 0; turn < 20; turn++)
            rig_turn(&rig);
        assert_int_equal(seen.requests, i);
        snprintf(text, sizeof(text), "r%d", i);
        answer(text);
        wait_ends(i);
        rig_until(&rig, rig.done == i);
    }
    assert_string_equal(seen.targets.data, "/1/2/3");
    assert_string_equal(seen.body.data, "abcde");
    assert_string_equal(peer.body.data, "r1r2r3");
}

static void a_client_that_floods_is_not_read(void **state)
{
    static char flood[64 * (sizeof(GET_A) - 1)];
    size_t sent = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(flood); i += sizeof(GET_A) - 1)
        memcpy(flood + i, GET_A, sizeof(GET_A) - 1);
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    for (int quiet = 0; quiet < 200;) {
        ssize_t n = send(peer.fd, flood, sizeof(flood), MSG_NOSIGNAL);

        sent += n > 0 ? (size_t)n : 0;
        quiet = n > 0 ? 0 : quiet + 1;
        rig_turn(&rig);
        assert_true(sent < 64 * 1024 * 1024); /* the kernel's buffers are full long before */
    }
    assert_int_equal(seen.requests, 1);
    peer_reset(&peer); /* and yet its going is seen */
    rig_until(&rig, rig.done == 1);
    assert_int_equal(rig.gone, 1);
}

/* ---- bodies ---- */

static void pause_first(struct rig *r, struct http_req *q)
{
    keep(r, q);
    http_req_pause(q);
}

static void a_paused_body_waits(void **state)
{
    (void)state;
    open_both(&http_server_conf_default, pause_first);
    peer_sends(&peer, &rig,
               "POST /a HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n"
               "1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
    rig_until(&rig, seen.q != NULL);
    for (int i = 0; i < 20; i++)
        rig_turn(&rig);
    assert_int_equal(seen.body.len, 0);
    http_req_resume(seen.q);
    assert_int_equal(seen.body.len, 0); /* never inside the call that asked */
    rig_until(&rig, seen.ends == 1);
    assert_string_equal(seen.body.data, "ab");
    answer("ok");
    wait_ends(1);
}

static void continue_is_sent_when_the_body_is_wanted(void **state)
{
    (void)state;
    open_both(&http_server_conf_default, pause_first);
    peer_sends(&peer, &rig,
               "POST /a HTTP/1.1\r\nHost: gw\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    rig_until(&rig, seen.q != NULL);
    for (int i = 0; i < 20; i++)
        rig_turn(&rig);
    peer_read(&peer);
    assert_int_equal(peer.raw.len, 0);
    http_req_resume(seen.q);
    rig_until(&rig, (peer_read(&peer), raw_has("HTTP/1.1 100 Continue\r\n\r\n")));
    peer_sends(&peer, &rig, "ok");
    rig_until(&rig, seen.ends == 1);
    answer("done");
    wait_ends(1);
    assert_int_equal(peer.status[0], 200);
}

static void an_unknown_expectation_is_refused(void **state)
{
    (void)state;
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig,
               "POST /a HTTP/1.1\r\nHost: gw\r\nExpect: tea\r\nContent-Length: 0\r\n\r\n");
    wait_ends(1);
    assert_int_equal(peer.status[0], 417);
    assert_int_equal(seen.requests, 0);
}

static void limit_ten(struct rig *r, struct http_req *q)
{
    keep(r, q);
    http_req_set_body_limit(q, 10);
}

static const struct limit_row {
    const char *name, *request;
    int answer, status, body;
} limit_rows[] = {
    {"body as long as allowed",
     "POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 10\r\n\r\n0123456789", 0, 0, 10},
    {"length over the limit", "POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 11\r\n\r\n", 0, 413,
     0},
    {"chunks over the limit",
     "POST /a HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n3\r\n", 0,
     413, 8},
    {"the handler answers itself",
     "POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 11\r\n\r\n0123456789x", 422, 422, 0},
    {"a damaged chunk",
     "POST /a HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 0, 400, 1},
};

static void limit_test(void **state)
{
    const struct limit_row *row = *state;

    setup(NULL);
    open_both(&http_server_conf_default, limit_ten);
    seen.answer = row->answer;
    peer_sends(&peer, &rig, row->request);
    if (row->status == 0) {
        rig_until(&rig, seen.ends == 1);
        answer("ok");
        wait_ends(1);
        assert_int_equal(rig.gone, 0);
    } else {
        wait_eof();
        assert_int_equal(peer.ends, 1);
        assert_int_equal(peer.status[0], row->status);
        assert_true(peer.close);
        assert_int_equal(rig.gone, 1);
        rig_until(&rig, rig.done == 1);
    }
    assert_int_equal(seen.body.len, row->body);
    teardown(NULL);
}

static void refuse_at_once(struct rig *r, struct http_req *q)
{
    keep(r, q);
    http_reply_full(q, 401, NULL, 0, NULL, RM_LIT(""));
}

static void a_short_unwanted_body_keeps_the_connection(void **state)
{
    (void)state;
    open_both(&http_server_conf_default, refuse_at_once);
    peer_sends(&peer, &rig, "POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 6\r\n\r\nabc");
    wait_ends(1);
    assert_false(peer.close);
    rig_until(&rig, rig.done == 1); /* done although the body is not */
    peer_sends(&peer, &rig, "def" GET_A);
    wait_ends(2);
    assert_string_equal(seen.targets.data, "/a/a");
    assert_int_equal(seen.body.len, 0);
}

static void a_long_unwanted_body_ends_it(void **state)
{
    (void)state;
    open_both(&http_server_conf_default, refuse_at_once);
    peer_sends(&peer, &rig, "POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 9000000\r\n\r\nabc");
    wait_eof();
    assert_int_equal(peer.status[0], 401);
    assert_true(peer.close);
}

static void an_endless_unwanted_body_ends_it(void **state)
{
    char chunk[4096 + 8];

    (void)state;
    memset(chunk, 'x', sizeof(chunk));
    memcpy(chunk, "1000\r\n", 6);
    memcpy(chunk + 6 + 4096, "\r\n", 2);
    open_both(&http_server_conf_default, refuse_at_once);
    peer_sends(&peer, &rig, "POST /a HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n");
    wait_ends(1);
    rig_until(&rig, !peer_send(&peer, &rig, chunk, 6 + 4096 + 2));
    assert_int_equal(peer.ends, 1);
}

/* ---- back-pressure ---- */

static void a_slow_reader_is_waited_for(void **state)
{
    enum { PIECE = 16 * 1024, TOTAL = 16 * 1024 * 1024 };
    struct http_server_conf conf = http_server_conf_default;
    struct http_server_stats stats;
    char *piece = malloc(PIECE);
    struct rm_slice s = {piece, PIECE};
    uint64_t most = 0;
    size_t sent = 0;
    int waits = 0, r = 0;

    (void)state;
    assert_non_null(piece);
    conf.queue_bytes = 64 * 1024;
    open_both(&conf, keep);
    peer.read_max = 65536;
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    assert_int_equal(http_reply_start(seen.q, 200, NULL, 0, TOTAL), 0);
    while (sent < TOTAL) {
        memset(piece, 'a' + (int)(sent / PIECE % 26), PIECE);
        r = http_reply_write(seen.q, &s, 1);
        assert_true(r == 0 || r == RM_WAIT);
        sent += PIECE;
        http_server_stats(rig.server, &stats);
        most = stats.queued_bytes > most ? stats.queued_bytes : most;
        if (r == RM_WAIT) {
            const int before = seen.writables;

            waits++;
            rig_until(&rig, (peer_read(&peer), seen.writables > before));
        }
    }
    http_reply_end(seen.q);
    wait_ends(1);
    assert_true(waits > 10);
    assert_true(most > 64 * 1024 && most <= 64 * 1024 + PIECE);
    assert_int_equal(peer.body.len, TOTAL);
    for (size_t i = 0; i < TOTAL; i += PIECE / 2)
        assert_int_equal(peer.body.data[i], 'a' + (int)(i / PIECE % 26));
    rig_until(&rig, rig.done == 1);
    http_server_stats(rig.server, &stats);
    assert_int_equal(stats.queued_bytes, 0);
    free(piece);
}

static void who_ignores_the_wait_is_stopped(void **state)
{
    static char piece[32 * 1024];
    const struct rm_slice s = {piece, sizeof(piece)};
    struct http_server_conf conf = http_server_conf_default;
    int r = 0;

    (void)state;
    conf.queue_bytes = 64 * 1024;
    open_both(&conf, keep);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    assert_int_equal(http_reply_start(seen.q, 200, NULL, 0, -1), 0);
    for (int i = 0; i < 4000 && r >= 0; i++)
        r = http_reply_write(seen.q, &s, 1);
    assert_int_equal(r, RM_ERR_TOO_BIG);
    assert_true(http_reply_queued(seen.q) <= 2 * 64 * 1024);
}

/* ---- ends that nobody wished for ---- */

static void cut_leaves_no_last_chunk(void **state)
{
    const struct rm_slice hello = RM_LIT("data: {\"error\":{}}\n\n");

    (void)state;
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    assert_int_equal(http_reply_start(seen.q, 200, NULL, 0, -1), 0);
    assert_int_equal(http_reply_write(seen.q, &hello, 1), 0);
    http_reply_cut(seen.q);
    wait_eof();
    assert_int_equal(peer.body.len, hello.n);
    assert_int_equal(peer.ends, 0);
    assert_int_equal(peer.err, RM_ERR_HTTP_SYNTAX);
    rig_until(&rig, rig.done == 1);
    assert_int_equal(rig.gone, 0);
}

static void a_reply_shorter_than_its_length_is_cut(void **state)
{
    const struct rm_slice hello = RM_LIT("hello");

    (void)state;
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    assert_int_equal(http_reply_start(seen.q, 200, NULL, 0, 6), 0);
    assert_int_equal(http_reply_write(seen.q, &hello, 1), 0);
    assert_int_equal(http_reply_write(seen.q, &hello, 1), UV_EINVAL); /* and no longer */
    http_reply_end(seen.q);
    wait_eof();
    assert_int_equal(peer.ends, 0);
    assert_int_equal(peer.body.len, 5);
}

enum leave { LEAVE_CLOSE, LEAVE_HALF, LEAVE_RESET };

static const struct leave_row {
    const char *name, *request;
    enum leave how;
    bool started;
} leave_rows[] = {
    {"client closes before the reply", GET_A, LEAVE_CLOSE, false},
    {"client closes mid-reply", GET_A, LEAVE_CLOSE, true},
    {"client half-closes mid-reply", GET_A, LEAVE_HALF, true},
    {"client resets mid-reply", GET_A, LEAVE_RESET, true},
    {"client closes in its body", "POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 9\r\n\r\nabc",
     LEAVE_CLOSE, false},
    {"client resets in its body", "POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 9\r\n\r\nabc",
     LEAVE_RESET, false},
};

static void leave_test(void **state)
{
    const struct leave_row *row = *state;
    const struct rm_slice hello = RM_LIT("hello");
    struct http_server_stats stats;
    uint64_t t;

    setup(NULL);
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, row->request);
    rig_until(&rig, seen.q != NULL);
    if (row->started) {
        assert_int_equal(http_reply_start(seen.q, 200, NULL, 0, -1), 0);
        assert_int_equal(http_reply_write(seen.q, &hello, 1), 0);
        rig_until(&rig, (peer_read(&peer), peer.body.len == 5));
    }
    if (row->how == LEAVE_RESET)
        peer_reset(&peer);
    else
        shutdown(peer.fd, row->how == LEAVE_HALF ? SHUT_WR : SHUT_RDWR);
    t = rig_real_ms();
    rig_until(&rig, rig.done == 1);
    assert_true(rig_real_ms() - t < 1000);
    assert_int_equal(rig.gone, 1);
    assert_true(rig.gone_why < 0);
    http_server_stats(rig.server, &stats);
    assert_int_equal(stats.client_aborts, 1);
    assert_int_equal(stats.active, 0);
    rig_until(&rig, (http_server_stats(rig.server, &stats), stats.connections == 0));
    teardown(NULL);
}

/* The handler's writes meet the reset before the loop reads it. */
static void writes_after_a_reset_are_refused(void **state)
{
    const struct rm_slice hello = RM_LIT("hello");
    int r = 0;

    (void)state;
    open_both(&http_server_conf_default, keep);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, seen.q != NULL);
    assert_int_equal(http_reply_start(seen.q, 200, NULL, 0, -1), 0);
    peer_reset(&peer);
    for (int i = 0; i < 10 && r == 0; i++)
        r = http_reply_write(seen.q, &hello, 1);
    assert_int_equal(r, RM_ERR_GONE);
    assert_int_equal(rig.gone, 0); /* never inside the call that asked */
    rig_until(&rig, rig.done == 1);
    assert_int_equal(rig.gone, 1);
}

int main(void)
{
    static const struct CMUnitTest plain[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(a_whole_answer),
        T(chunks_as_they_are_written),
        T(many_pieces_are_one_chunk),
        T(chunk_sizes_of_every_length),
        T(http_1_0_gets_no_chunks),
        T(a_head_request_gets_no_body),
        T(hostile_reply_fields_are_refused),
        T(a_big_answer_in_one_call),
        T(close_after_closes),
        T(pipelined_requests_wait_their_turn),
        T(a_client_that_floods_is_not_read),
        T(a_paused_body_waits),
        T(continue_is_sent_when_the_body_is_wanted),
        T(an_unknown_expectation_is_refused),
        T(a_short_unwanted_body_keeps_the_connection),
        T(a_long_unwanted_body_ends_it),
        T(an_endless_unwanted_body_ends_it),
        T(a_slow_reader_is_waited_for),
        T(who_ignores_the_wait_is_stopped),
        T(cut_leaves_no_last_chunk),
        T(writes_after_a_reset_are_refused),
        T(a_reply_shorter_than_its_length_is_cut),
#undef T
    };
    struct CMUnitTest tests[64];
    size_t n = 0;

    for (size_t i = 0; i < RM_COUNT(plain); i++)
        tests[n++] = plain[i];
    for (size_t i = 0; i < RM_COUNT(limit_rows); i++)
        tests[n++] =
            (struct CMUnitTest){limit_rows[i].name, limit_test, NULL, NULL, (void *)&limit_rows[i]};
    for (size_t i = 0; i < RM_COUNT(leave_rows); i++)
        tests[n++] =
            (struct CMUnitTest){leave_rows[i].name, leave_test, NULL, NULL, (void *)&leave_rows[i]};
    return _cmocka_run_group_tests("server", tests, n, NULL, NULL);
}
