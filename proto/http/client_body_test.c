/* SPDX-License-Identifier: MIT */
/* The client with bodies larger than any buffer: pause and resume, streamed uploads, an answer that
 * comes before the request is through. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/http/big_body.h"
#include "tests/support/peer/peer.h"

#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static void hook_pause_at_head(struct probe *p, enum probe_at at)
{
    if (at == AT_HEAD)
        http_call_pause(p->call);
}

/* ---- large bodies ---- */

/* A paused call reads nothing, so the peer is stopped by the kernel's buffers. */
static void test_pause(void **state)
{
    uint64_t want = big_hash();

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct big big = {.chunked = i >= 2};
        struct peer *peer = peer_open(i % 2, big_serve, &big);
        struct probe p = {.hook = hook_pause_at_head};
        struct http_client *c;
        uint64_t held;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), NULL);
        assert_int_equal(probe_get(&p, c), 0);
        assert_true(loop_until(&loop, &p.count[AT_HEAD], 1, 5000));
        loop_for(&loop, 100);
        held = p.bytes;
        assert_true(held <= 64 * 1024); /* the rest of one read */
        loop_for(&loop, 50);
        assert_true(p.bytes == held);
        assert_true(atomic_load(&big.sent) < BIG);
        http_call_resume(p.call);
        assert_true(probe_finish(&p, &loop));
        assert_int_equal(p.count[AT_END], 1);
        assert_true(p.bytes == BIG);
        assert_true(p.hash == want);
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

/* ---- uploads ---- */

struct sink {
    atomic_ullong hash;
    atomic_llong bytes;
    atomic_int go; /* reads nothing before */
};

static void serve_sink(void *arg, int fd, int index)
{
    struct sink *s = arg;
    uint64_t hash;

    (void)index;
    while (atomic_load(&s->go) == 0)
        usleep(1000);
    for (int64_t n; (n = peer_read_request(fd, NULL, 0, &hash)) >= 0;) {
        if (n > 0) {
            s->bytes = n;
            s->hash = hash;
        }
        if (!peer_says(fd, OK_HI))
            return;
    }
}

static void test_upload(void **state)
{
    uint64_t want = big_hash();

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct sink sink = {0};
        struct peer *peer = peer_open(i % 2, serve_sink, &sink);
        struct big_feeder f = {.left = BIG, .seed = BIG_SEED};
        struct probe p = {.hook = big_hook_feed, .arg = &f}, after = {0};
        struct http_call_spec spec = {
            .method = "PUT", .target = RM_LIT("/"), .stream_length = i < 2 ? -1 : BIG};
        struct http_client *c;
        size_t left;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), NULL);
        assert_int_equal(probe_start(&p, c, &spec), 0);
        big_feed(&p); /* before it is connected */
        assert_int_equal(f.waits, 1);
        loop_for(&loop, 50); /* what the kernel takes goes out; then nothing moves */
        left = f.left;
        assert_true(left > 0);
        loop_for(&loop, 20);
        assert_int_equal(f.left, left);
        atomic_store(&sink.go, 1);
        assert_true(probe_finish(&p, &loop));
        assert_int_equal(p.count[AT_END], 1);
        assert_true(f.waits > 1); /* before it was connected, and when the kernel was full */
        assert_int_equal(sink.bytes, BIG);
        assert_true(sink.hash == want);
        assert_int_equal(probe_get(&after, c), 0); /* the connection is clean */
        assert_true(probe_finish(&after, &loop));
        assert_int_equal(peer_accepted(peer), 1);
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

static void test_upload_misuse(void **state)
{
    struct sink sink = {.go = 1};
    struct peer *peer = peer_open(true, serve_sink, &sink);
    struct http_call_spec spec = {.method = "PUT", .target = RM_LIT("/"), .stream_length = 4};
    static const char big[600 * 1024];
    struct rm_slice two = RM_LIT("ab"), five = RM_LIT("abcde"), all = {big, sizeof(big)};
    struct probe p = {0}, chunked = {0}, none = {0};
    struct http_client *c;
    uv_loop_t loop;

    (void)state;
    uv_loop_init(&loop);
    c = probe_client(&loop, peer_address(peer), NULL);
    assert_int_equal(probe_start(&p, c, &spec), 0);
    assert_int_equal(http_call_write(p.call, &two, 1), 0);
    assert_int_equal(http_call_write(p.call, &five, 1), RM_ERR_TOO_BIG); /* more than promised */
    http_call_end(p.call);                                               /* less than promised */
    assert_true(probe_finish(&p, &loop));
    assert_int_equal(p.err, UV_EINVAL);
    spec.stream_length = -1;
    assert_int_equal(probe_start(&chunked, c, &spec), 0);
    assert_int_equal(http_call_write(chunked.call, &all, 1), RM_ERR_TOO_BIG);
    http_call_end(chunked.call);
    assert_int_equal(http_call_write(chunked.call, &two, 1), UV_EPIPE);
    assert_true(probe_finish(&chunked, &loop));
    assert_int_equal(chunked.count[AT_END], 1);
    assert_int_equal(probe_get(&none, c), 0);
    assert_int_equal(http_call_write(none.call, &two, 1), UV_EPIPE);
    assert_true(probe_finish(&none, &loop));
    http_client_close(c);
    loop_done(&loop);
    peer_close(peer);
}

/* Answers after the head of the request and reads no more of it. */
static void serve_early(void *arg, int fd, int index)
{
    struct pollfd end = {.fd = fd, .events = POLLRDHUP};
    char c, last[4] = "";

    (void)arg;
    (void)index;
    while (memcmp(last, "\r\n\r\n", 4) != 0 && recv(fd, &c, 1, 0) == 1) {
        memmove(last, last + 1, 3);
        last[3] = c;
    }
    peer_says(fd, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    shutdown(fd, SHUT_WR);
    poll(&end, 1, 5000);
}

static void test_early_answer(void **state)
{
    static char body[BIG];

    (void)state;
    for (int is_unix = 0; is_unix < 2; is_unix++) {
        struct peer *peer = peer_open(is_unix, serve_early, NULL);
        struct probe p = {0};
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), NULL);
        assert_int_equal(probe_post(&p, c, (struct rm_slice){body, sizeof(body)}), 0);
        assert_true(probe_finish(&p, &loop));
        assert_int_equal(p.status, 413);
        assert_string_equal(p.body, "big");
        assert_int_equal(p.count[AT_END], 1);
        assert_false(p.was_sent);
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_upload),
        cmocka_unit_test(test_upload_misuse),
        cmocka_unit_test(test_early_answer),
    };

    return cmocka_run_group_tests_name("http_client_body", tests, NULL, NULL);
}
