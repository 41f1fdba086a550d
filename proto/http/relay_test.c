/* SPDX-License-Identifier: MIT */
/* The relay between a real server and real peers: a probe calls the server, whose handler relays
 * from an upstream that behaves as the test needs. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/http/big_body.h"
#include "proto/http/relay.h"
#include "tests/support/peer/peer.h"

enum { HELD_MAX = 256 * 1024 + 64 /* chunk lines */, MANY = 200 };

/* ---- the daemon under test: a server, a client, a relay per request ---- */

struct rig {
    uv_loop_t loop;
    struct http_server *server;
    struct http_client *up;   /* to the upstream */
    struct http_client *down; /* the probes' way to the server */
    uv_prepare_t watch;
    char dir[64];
    const struct relay_ops *ops;
    bool stream_up;    /* the request body is streamed through */
    bool abort_itself; /* the handler aborts the relay at once */
    int finished, finish_err, gone, done, closed;
    bool finish_got_bytes;
    size_t held_max; /* most bytes the server held at any time */
};

struct job {
    struct rig *rig;
    struct http_req *q;
    struct relay *relay;
};

static void job_on_finish(struct relay *r, int err)
{
    struct job *j = relay_arg(r);

    j->relay = NULL;
    j->rig->finished++;
    j->rig->finish_err = err;
    j->rig->finish_got_bytes = relay_got_bytes(r);
    if (err == 0)
        http_reply_end(j->q);
    else if (!http_reply_started(j->q))
        http_reply_full(j->q, rm_err_status(err) >= 502 ? rm_err_status(err) : 502, NULL, 0,
                        "text/plain", rm_slice_of(rm_strerror(err)));
    else
        http_reply_cut(j->q);
}

static const struct relay_ops plain_ops = {.on_finish = job_on_finish};

static void job_on_body(struct http_req *q, const char *bytes, size_t n)
{
    struct job *j = http_req_arg(q);

    if (j->relay != NULL && j->rig->stream_up)
        assert_int_equal(relay_send(j->relay, bytes, n), 0);
}

static void job_on_end(struct http_req *q)
{
    struct job *j = http_req_arg(q);

    if (j->relay != NULL && j->rig->stream_up)
        relay_send_end(j->relay);
}

static void job_on_writable(struct http_req *q)
{
    struct job *j = http_req_arg(q);

    if (j->relay != NULL)
        relay_on_writable(j->relay);
}

static void job_on_gone(struct http_req *q, int why)
{
    struct job *j = http_req_arg(q);

    (void)why;
    j->rig->gone++;
    relay_abort(j->relay);
    j->relay = NULL;
}

static void job_on_done(struct http_req *q)
{
    struct job *j = http_req_arg(q);

    j->rig->done++;
    free(j);
}

static const struct http_req_ops job_ops = {.on_body = job_on_body,
                                            .on_end = job_on_end,
                                            .on_writable = job_on_writable,
                                            .on_gone = job_on_gone,
                                            .on_done = job_on_done};

static void rig_on_request(void *arg, struct http_req *q)
{
    struct rig *rig = arg;
    struct job *j = calloc(1, sizeof(*j));
    const struct http_head *h = http_req_head(q);
    char method[16];
    struct http_call_spec spec = {.method = method, .target = h->target};

    assert_non_null(j);
    *j = (struct job){.rig = rig, .q = q};
    snprintf(method, sizeof(method), "%.*s", (int)h->method_text.n, h->method_text.p);
    if (rig->stream_up)
        spec.stream_length = h->framing == HTTP_BODY_LENGTH ? (int64_t)h->content_length : -1;
    http_req_accept(q, &job_ops, j);
    assert_int_equal(relay_start(rig->up, &spec, q, rig->ops, j, &j->relay), 0);
    if (!rig->abort_itself)
        return;
    relay_abort(j->relay);
    j->relay = NULL;
    http_reply_full(q, 503, NULL, 0, "text/plain", RM_LIT("no"));
}

static void rig_on_prepare(uv_prepare_t *h)
{
    struct rig *rig = h->data;
    struct http_server_stats stats;

    http_server_stats(rig->server, &stats);
    if (stats.queued_bytes > rig->held_max)
        rig->held_max = stats.queued_bytes;
}

static void rig_open(struct rig *rig, bool is_unix, const char *upstream)
{
    struct http_server_conf conf = http_server_conf_default;
    struct http_address a, bound;
    char text[HTTP_ADDRESS_TEXT] = "127.0.0.1:0";

    memset(rig, 0, sizeof(*rig));
    rig->ops = &plain_ops;
    uv_loop_init(&rig->loop);
    conf.on_request = rig_on_request;
    conf.arg = rig;
    conf.limits.body_bytes = UINT64_MAX;
    if (is_unix) {
        strcpy(rig->dir, "/tmp/rm-relay-XXXXXX");
        assert_non_null(mkdtemp(rig->dir));
        snprintf(text, sizeof(text), "unix:%s/s", rig->dir);
    }
    assert_int_equal(http_address_parse(text, &a), 0);
    assert_int_equal(http_server_new(&rig->loop, &conf, &rig->server), 0);
    assert_int_equal(http_server_listen(rig->server, &a, &bound), 0);
    http_address_text(&bound, text);
    rig->down = probe_client(&rig->loop, text, NULL);
    rig->up = probe_client(&rig->loop, upstream, NULL);
    uv_prepare_init(&rig->loop, &rig->watch);
    rig->watch.data = rig;
    uv_prepare_start(&rig->watch, rig_on_prepare);
}

static void rig_on_closed(void *arg)
{
    ((struct rig *)arg)->closed++;
}

static void rig_close(struct rig *rig)
{
    http_client_close(rig->down);
    http_client_close(rig->up);
    uv_close((uv_handle_t *)&rig->watch, NULL);
    http_server_close(rig->server, rig_on_closed, rig);
    assert_true(loop_until(&rig->loop, &rig->closed, 1, 5000));
    loop_done(&rig->loop);
    if (rig->dir[0] != '\0') {
        char path[80];

        snprintf(path, sizeof(path), "%s/s", rig->dir);
        unlink(path);
        rmdir(rig->dir);
    }
}

/* ---- upstreams ---- */

struct up {
    const char *answer;
    atomic_int gone;
    atomic_ullong gone_ms;
    atomic_llong body;
    atomic_ullong hash;
};

/* Says answer; then the peer's end of the connection stays, and is watched. */
static void up_watch(void *arg, int fd, int index)
{
    struct up *up = arg;

    (void)index;
    if (peer_read_request(fd, NULL, 0, NULL) < 0 || !peer_says(fd, up->answer))
        return;
    if (peer_wait_gone(fd, 5000)) {
        atomic_store(&up->gone_ms, peer_now_ms());
        atomic_fetch_add(&up->gone, 1);
    }
}

/* Says answer and dies. */
static void up_dies(void *arg, int fd, int index)
{
    struct up *up = arg;

    (void)index;
    if (peer_read_request(fd, NULL, 0, NULL) >= 0)
        peer_says(fd, up->answer);
}

/* Answers every request, with the number of body bytes it had. */
static void up_count(void *arg, int fd, int index)
{
    struct up *up = arg;
    char answer[128], body[32];
    int64_t n;
    uint64_t hash;

    (void)index;
    while ((n = peer_read_request(fd, NULL, 0, &hash)) >= 0) {
        up->body = n;
        up->hash = hash;
        snprintf(body, sizeof(body), "%lld", (long long)n);
        snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
        if (!peer_says(fd, answer))
            return;
    }
}

/* ---- plain relays ---- */

static void test_answers(void **state)
{
    static const struct {
        const char *method, *answer, *body;
        int status;
    } rows[] = {
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: b\r\nX-A: c\r\n\r\nabc", "abc", 200},
        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc",
         200},
        {"GET", "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", "{}", 404},
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", 200},
        {"GET", "HTTP/1.1 204 No Content\r\n\r\n", "", 204},
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "", 200},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows) * 2; i++) {
        struct up up = {.answer = rows[i / 2].answer};
        struct peer *peer = peer_open(i % 2, up_watch, &up);
        struct http_call_spec spec = {.method = rows[i / 2].method, .target = RM_LIT("/x")};
        struct probe p = {0};
        struct rig rig;

        rig_open(&rig, i % 2, peer_address(peer));
        assert_int_equal(probe_start(&p, rig.down, &spec), 0);
        assert_true(probe_finish(&p, &rig.loop));
        assert_int_equal(p.count[AT_END], 1);
        assert_int_equal(p.status, rows[i / 2].status);
        assert_string_equal(p.body, rows[i / 2].body);
        assert_int_equal(rig.finished, 1);
        assert_int_equal(rig.finish_err, 0);
        rig_close(&rig);
        peer_close(peer);
    }
}

/* End-to-end fields pass, those of this hop do not. */
static int fields_seen;
static const char *const fields_answer =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Mine: 1\r\nConnection: X-Hop\r\n"
    "X-Hop: 2\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n";

static void fields_on_head(struct http_call *k, const struct http_head *head)
{
    (void)k;
    fields_seen++;
    assert_true(rm_slice_eq(http_head_value(head, "content-type"), "text/event-stream"));
    assert_true(rm_slice_eq(http_head_value(head, "x-mine"), "1"));
    assert_null(http_head_find(head, "x-hop"));
    assert_null(http_head_find(head, "upgrade"));
    assert_false(http_head_has_token(head, "connection", "x-hop"));
    assert_true(rm_slice_eq(http_head_value(head, "content-length"), "0"));
}

static void fields_on_done(struct http_call *k)
{
    *(int *)http_call_arg(k) = 1;
}

static void test_fields(void **state)
{
    static const struct http_call_ops ops = {.on_head = fields_on_head, .on_done = fields_on_done};
    struct up up = {.answer = fields_answer};
    struct peer *peer = peer_open(true, up_watch, &up);
    struct http_call *call;
    struct rig rig;
    int done = 0;

    (void)state;
    rig_open(&rig, true, peer_address(peer));
    assert_int_equal(
        http_call_start(rig.down, &(struct http_call_spec){.method = "GET", .target = RM_LIT("/")},
                        &ops, &done, &call),
        0);
    assert_true(loop_until(&rig.loop, &done, 1, 5000));
    assert_int_equal(fields_seen, 1);
    rig_close(&rig);
    peer_close(peer);
}

/* The head of a stream is not held back until its first event. */
static void test_head_leaves_at_once(void **state)
{
    struct up up = {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"};
    struct peer *peer = peer_open(false, up_watch, &up);
    struct probe p = {0};
    struct rig rig;

    (void)state;
    rig_open(&rig, false, peer_address(peer));
    assert_int_equal(probe_get(&p, rig.down), 0);
    assert_true(loop_until(&rig.loop, &p.count[AT_HEAD], 1, 5000));
    assert_int_equal(rig.finished, 0);
    http_call_abort(p.call);
    assert_true(loop_until(&rig.loop, &rig.gone, 1, 5000));
    rig_close(&rig);
    peer_close(peer);
}

/* What one read of the upstream brought leaves as one chunk, in one write. */
static void test_one_write_per_read(void **state)
{
    struct up up = {.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "3\r\nabc\r\n3\r\ndef\r\n3\r\nghi\r\n0\r\n\r\n"};
    struct peer *peer = peer_open(true, up_watch, &up);
    struct probe p = {0};
    struct rig rig;

    (void)state;
    rig_open(&rig, true, peer_address(peer));
    assert_int_equal(probe_get(&p, rig.down), 0);
    assert_true(probe_finish(&p, &rig.loop));
    assert_string_equal(p.body, "abcdefghi");
    assert_int_equal(p.count[AT_BODY], 1); /* a chunk is one call of on_body */
    rig_close(&rig);
    peer_close(peer);
}

/* ---- back-pressure ---- */

/* Reads for a while, then rests: the reader of a slow line. */
static void hook_slow(struct probe *p, enum probe_at at)
{
    uint64_t *next = p->arg;

    if (at == AT_BATCH && p->bytes >= *next) {
        *next = p->bytes + 1024 * 1024;
        http_call_pause(p->call);
    }
}

static void test_slow_reader(void **state)
{
    uint64_t want = big_hash();

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct big big = {.chunked = i >= 2};
        struct peer *peer = peer_open(i % 2, big_serve, &big);
        uint64_t next = 0;
        struct probe p = {.hook = hook_slow, .arg = &next};
        struct rig rig;
        int rests = 0;

        rig_open(&rig, i % 2, peer_address(peer));
        assert_int_equal(probe_get(&p, rig.down), 0);
        assert_true(loop_until(&rig.loop, &p.count[AT_HEAD], 1, 5000));
        while (rig.held_max < HELD_MAX / 2 && rests++ < 1000)
            loop_for(&rig.loop, 10); /* the reader rests until everything before it is full */
        loop_for(&rig.loop, 50);
        assert_true(atomic_load(&big.sent) < BIG); /* the upstream was stopped too */
        while (p.count[AT_DONE] == 0 && rests++ < 2000) {
            http_call_resume(p.call);
            loop_for(&rig.loop, 5);
        }
        assert_int_equal(p.count[AT_END], 1);
        assert_true(p.bytes == BIG);
        assert_true(p.hash == want);
        assert_true(rig.held_max >= HELD_MAX / 2);
        assert_true(rig.held_max <= HELD_MAX);
        assert_int_equal(rig.finish_err, 0);
        rig_close(&rig);
        peer_close(peer);
    }
}

static void test_upload(void **state)
{
    uint64_t want = big_hash();

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct up up = {0};
        struct peer *peer = peer_open(i % 2, up_count, &up);
        struct big_feeder f = {.left = BIG, .seed = BIG_SEED};
        struct probe p = {.hook = big_hook_feed, .arg = &f}, after = {0};
        struct http_call_spec spec = {
            .method = "POST", .target = RM_LIT("/"), .stream_length = i < 2 ? -1 : BIG};
        struct rig rig;

        rig_open(&rig, i % 2, peer_address(peer));
        rig.stream_up = true;
        assert_int_equal(probe_start(&p, rig.down, &spec), 0);
        big_feed(&p);
        assert_true(probe_finish(&p, &rig.loop));
        assert_string_equal(p.body, "16777216");
        assert_int_equal(up.body, BIG);
        assert_true(up.hash == want);
        assert_int_equal(probe_post(&after, rig.down, RM_LIT("abc")), 0);
        assert_true(probe_finish(&after, &rig.loop));
        assert_string_equal(after.body, "3");
        assert_int_equal(peer_accepted(peer), 1);
        rig_close(&rig);
        peer_close(peer);
    }
}

/* ---- ends ---- */

static void test_upstream_dies(void **state)
{
    static const struct {
        const char *answer;
        int status; /* 0: the client's connection is cut */
        bool got_bytes;
    } rows[] = {
        {"", 502, false},
        {"HTTP/1.1 20", 502, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhel", 0, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 0, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", 0, true},
        {"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n", 502, true},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows) * 2; i++) {
        struct up up = {.answer = rows[i / 2].answer};
        struct peer *peer = peer_open(i % 2, up_dies, &up);
        struct probe p = {0};
        struct rig rig;

        rig_open(&rig, i % 2, peer_address(peer));
        assert_int_equal(probe_get(&p, rig.down), 0);
        assert_true(probe_finish(&p, &rig.loop));
        assert_int_equal(rig.finished, 1);
        assert_true(rig.finish_err < 0);
        assert_int_equal(rig.finish_got_bytes, rows[i / 2].got_bytes);
        assert_int_equal(p.count[AT_END], rows[i / 2].status != 0);
        if (rows[i / 2].status != 0)
            assert_int_equal(p.status, rows[i / 2].status);
        else /* what was good has arrived, and then the break was seen */
            assert_true(strncmp(p.body, "hel", 3) == 0 && p.count[AT_FAIL] == 1);
        rig_close(&rig);
        peer_close(peer);
    }
}

static void test_client_gone(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", /* mid-stream */
        "", /* before a byte of an answer */
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(answers) * 2; i++) {
        struct up up = {.answer = answers[i / 2]};
        struct peer *peer = peer_open(i % 2, up_watch, &up);
        struct probe p = {0};
        struct rig rig;
        uint64_t left_ms;

        rig_open(&rig, i % 2, peer_address(peer));
        assert_int_equal(probe_get(&p, rig.down), 0);
        if (answers[i / 2][0] != '\0')
            assert_true(loop_until(&rig.loop, &p.count[AT_BODY], 1, 5000));
        else
            for (int ms = 0; ms < 5000 && peer_accepted(peer) == 0; ms++)
                loop_for(&rig.loop, 1);
        loop_for(&rig.loop, 10);
        left_ms = peer_now_ms();
        http_call_abort(p.call);
        for (int ms = 0; ms < 1000 && atomic_load(&up.gone) == 0; ms++)
            loop_for(&rig.loop, 1);
        assert_int_equal(atomic_load(&up.gone), 1);
        assert_true(atomic_load(&up.gone_ms) - left_ms < 100);
        assert_int_equal(rig.gone, 1);
        assert_int_equal(rig.finished, 0); /* after relay_abort nothing is called */
        rig_close(&rig);
        peer_close(peer);
    }
}

static void test_abort_by_owner(void **state)
{
    struct up up = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
    struct peer *peer = peer_open(true, up_watch, &up);
    struct probe p = {0};
    struct rig rig;

    (void)state;
    rig_open(&rig, true, peer_address(peer));
    rig.abort_itself = true;
    assert_int_equal(probe_get(&p, rig.down), 0);
    assert_true(probe_finish(&p, &rig.loop));
    assert_int_equal(p.status, 503);
    assert_int_equal(rig.finished, 0);
    rig_close(&rig);
    peer_close(peer);
    relay_abort(NULL);
}

/* ---- filters ---- */

/* Sends every byte twice; stops at '!' and ends itself at '?'. */
static int filter_twice(struct relay *r, const char *bytes, size_t n)
{
    struct job *j = relay_arg(r);
    int err;

    for (size_t i = 0; i < n; i++) {
        struct rm_slice one = {bytes + i, 1};

        if (bytes[i] == '!') {
            (void)relay_flush(r);
            return RM_ERR_ENGINE;
        }
        if (bytes[i] == '?') {
            relay_abort(r);
            j->relay = NULL;
            http_reply_cut(j->q);
            return 0;
        }
        if ((err = relay_put(r, one)) < 0 || (err = relay_put(r, one)) < 0)
            return err;
    }
    return 0;
}

static int head_hold(struct relay *r, const struct http_head *head)
{
    (void)r;
    (void)head;
    return RM_WAIT;
}

static int head_refuse(struct relay *r, const struct http_head *head)
{
    (void)r;
    return head->status == 200 ? RM_ERR_UPSTREAM_INVALID : 0;
}

static int head_greets(struct relay *r, const struct http_head *head)
{
    int err = relay_copy_head(r, head);

    return err < 0 ? err : relay_put(r, RM_LIT("hello "));
}

static void test_filters(void **state)
{
    static const struct relay_ops twice = {.filter = filter_twice, .on_finish = job_on_finish},
                                  hold = {.on_head = head_hold, .on_finish = job_on_finish},
                                  refuse = {.on_head = head_refuse, .on_finish = job_on_finish},
                                  greets = {.on_head = head_greets, .on_finish = job_on_finish};
    static const struct {
        const struct relay_ops *ops;
        const char *body; /* the upstream's */
        const char *want; /* the client's */
        int finished, err;
        bool whole;
        int status;
    } rows[] = {
        {&twice, "abc", "aabbcc", 1, 0, true, 200},
        {&twice, "0123456789012345678901234567890123456789",
         "001122334455667788990011223344556677889900112233445566778899001" /* of 80 */, 1, 0, true,
         200},
        {&twice, "ab!c", "aabb", 1, RM_ERR_ENGINE, false, 200},
        {&twice, "ab?c", "", 0, 0, false, 0},
        {&hold, "abc", "", 1, 0, false, 0},
        {&refuse, "abc", "the worker's answer is damaged", 1, RM_ERR_UPSTREAM_INVALID, true, 502},
        {&greets, "abc", "hello abc", 1, 0, true, 200},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        char answer[256];
        struct up up = {.answer = answer};
        struct peer *peer = peer_open(true, up_watch, &up);
        struct probe p = {0};
        struct rig rig;

        snprintf(answer, sizeof(answer),
                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n",
                 strlen(rows[i].body), rows[i].body);
        rig_open(&rig, false, peer_address(peer));
        rig.ops = rows[i].ops;
        assert_int_equal(probe_get(&p, rig.down), 0);
        if (rows[i].ops == &hold) { /* the owner has not started a reply: it ends nothing */
            assert_true(loop_until(&rig.loop, &rig.finished, 1, 5000));
            http_call_abort(p.call);
        }
        assert_true(probe_finish(&p, &rig.loop));
        assert_true(strncmp(p.body, rows[i].want, sizeof(p.body) - 1) == 0);
        assert_int_equal(p.count[AT_END], rows[i].whole);
        assert_int_equal(p.status, rows[i].status);
        assert_int_equal(rig.finished, rows[i].finished);
        assert_int_equal(rig.finish_err, rows[i].err);
        assert_true(loop_until(&rig.loop, &rig.done, 1, 5000));
        rig_close(&rig);
        peer_close(peer);
    }
}

/* ---- many ---- */

enum { MANY_EVENTS = 50 };

static void up_events(void *arg, int fd, int index)
{
    char event[64];

    (void)arg;
    (void)index;
    while (peer_read_request(fd, NULL, 0, NULL) >= 0) {
        if (!peer_says(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
            return;
        for (int i = 0; i < MANY_EVENTS; i++) {
            snprintf(event, sizeof(event), "10\r\ndata: event %02d\n\n\r\n", i);
            if (!peer_says(fd, event))
                return;
            usleep(1000);
        }
        if (!peer_says(fd, "0\r\n\r\n"))
            return;
    }
}

static void test_many(void **state)
{
    static struct probe p[MANY];
    struct rm_buf all;

    (void)state;
    rm_buf_init(&all, 4096);
    for (int i = 0; i < MANY_EVENTS; i++)
        assert_int_equal(rm_buf_printf(&all, "data: event %02d\n\n", i), 0);
    for (int is_unix = 0; is_unix < 2; is_unix++) {
        struct peer *peer = peer_open(is_unix, up_events, NULL);
        struct rig rig;

        memset(p, 0, sizeof(p));
        rig_open(&rig, is_unix, peer_address(peer));
        for (int i = 0; i < MANY; i++)
            assert_int_equal(probe_get(&p[i], rig.down), 0);
        for (int i = 0; i < MANY; i++) {
            assert_true(probe_finish(&p[i], &rig.loop));
            assert_int_equal(p[i].count[AT_END], 1);
            assert_int_equal(p[i].bytes, all.len);
            assert_true(p[i].hash == peer_hash(PEER_HASH, all.data, all.len));
        }
        assert_int_equal(rig.finished, MANY);
        rig_close(&rig);
        peer_close(peer);
    }
    rm_buf_clear(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_head_leaves_at_once),
        cmocka_unit_test(test_one_write_per_read),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_upload),
        cmocka_unit_test(test_upstream_dies),
        cmocka_unit_test(test_client_gone),
        cmocka_unit_test(test_abort_by_owner),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
