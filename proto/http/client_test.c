/* SPDX-License-Identifier: MIT */
/* The client against peers that behave as each test needs, over TCP and Unix sockets. What it makes
 * of damaged answers is in client_cases_test.c, large
 * bodies are in client_body_test.c. */
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

#include "proto/http/client_probe.h"
#include "tests/support/peer/peer.h"

#define OK_HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

/* ---- peers ---- */

static void serve_hi(void *arg, int fd, int index)
{
    (void)arg;
    (void)index;
    while (peer_read_request(fd, NULL, 0, NULL) >= 0 && peer_says(fd, OK_HI))
        ;
}

/* Says arg, then closes. */
static void serve_once(void *arg, int fd, int index)
{
    (void)index;
    if (peer_read_request(fd, NULL, 0, NULL) >= 0 && peer_says(fd, arg))
        shutdown(fd, SHUT_WR);
    peer_hold(fd);
}

/* Says arg and stays. */
static void serve_stay(void *arg, int fd, int index)
{
    (void)index;
    if (peer_read_request(fd, NULL, 0, NULL) >= 0 && peer_says(fd, arg))
        peer_hold(fd);
}

static void serve_silent(void *arg, int fd, int index)
{
    (void)arg;
    (void)index;
    peer_hold(fd);
}

/* ---- plain calls ---- */

/* The last request, as the peer read it. */
static struct {
    pthread_mutex_t lock;
    char head[4096];
    uint64_t hash;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void serve_head_seen(void *arg, int fd, int index)
{
    char head[sizeof(seen.head)];
    uint64_t hash;

    (void)arg;
    (void)index;
    while (peer_read_request(fd, head, sizeof(head), &hash) >= 0) {
        pthread_mutex_lock(&seen.lock);
        memcpy(seen.head, head, sizeof(head));
        seen.hash = hash;
        pthread_mutex_unlock(&seen.lock);
        if (!peer_says(fd, OK_HI))
            return;
    }
}

static void assert_seen(const char *head, const char *body)
{
    pthread_mutex_lock(&seen.lock);
    assert_string_equal(seen.head, head);
    assert_true(seen.hash == peer_hash(PEER_HASH, body, strlen(body)));
    pthread_mutex_unlock(&seen.lock);
}

static void test_request_bytes(void **state)
{
    struct http_out_field fields[] = {
        {"X-One", RM_LIT("1")},           {"Host", RM_LIT("evil")},
        {"content-length", RM_LIT("99")}, {"Transfer-Encoding", RM_LIT("chunked")},
        {"connection", RM_LIT("close")},  {"X-Two", RM_LIT("a\tb \xc3\xa9")}};
    struct rm_slice body[] = {RM_LIT("abc"), {NULL, 0}, RM_LIT("def")};
    struct http_call_spec spec = {.method = "POST",
                                  .target = RM_LIT("/a?b=c"),
                                  .fields = fields,
                                  .n_fields = RM_COUNT(fields),
                                  .body = body,
                                  .n_body = RM_COUNT(body)};
    struct http_client_conf conf = http_client_conf_default;

    (void)state;
    for (int is_unix = 0; is_unix < 2; is_unix++) {
        struct peer *peer = peer_open(is_unix, serve_head_seen, NULL);
        struct probe p = {0};
        struct http_client *c;
        uv_loop_t loop;
        char want[512];

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), &conf);
        assert_int_equal(probe_start(&p, c, &spec), 0);
        assert_true(probe_finish(&p, &loop));
        snprintf(want, sizeof(want),
                 "POST /a?b=c HTTP/1.1\r\nHost: %s\r\nX-One: 1\r\nX-Two: a\tb \xc3\xa9\r\n"
                 "Content-Length: 6\r\n\r\n",
                 is_unix ? "localhost" : peer_address(peer));
        assert_seen(want, "abcdef");
        assert_int_equal(p.status, 200);
        assert_string_equal(p.body, "hi");
        assert_int_equal(p.count[AT_END], 1);
        assert_true(p.was_sent && p.got_bytes);
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

static void note_kept(struct probe *p, enum probe_at at)
{
    if (at == AT_HEAD)
        *(bool *)p->arg = http_call_was_kept(p->call);
}

static void test_peer_and_kept_connections(void **state)
{
    (void)state;
    for (int is_unix = 0; is_unix < 2; is_unix++) {
        struct peer *peer = peer_open(is_unix, serve_head_seen, NULL);
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), NULL);
        assert_null(http_client_peer(c));
        for (int i = 0; i < 3; i++) {
            bool kept = i == 0;
            struct probe p = {.hook = note_kept, .arg = &kept};

            assert_int_equal(probe_get(&p, c), 0);
            assert_true(probe_finish(&p, &loop));
            assert_int_equal(kept, i > 0);
            assert_int_equal(http_client_peer(c)->sa_family, is_unix ? AF_UNIX : AF_INET);
        }
        if (!is_unix) {
            const struct sockaddr_in *four = (const void *)http_client_peer(c);

            assert_int_equal(ntohl(four->sin_addr.s_addr), INADDR_LOOPBACK);
        }
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

static void test_no_length_without_body(void **state)
{
    struct http_client_conf conf = http_client_conf_default;
    struct peer *peer = peer_open(true, serve_head_seen, NULL);
    static const struct {
        const char *method, *head;
    } rows[] = {
        {"GET", "GET / HTTP/1.1\r\nHost: engine\r\n\r\n"},
        {"DELETE", "DELETE / HTTP/1.1\r\nHost: engine\r\n\r\n"},
        {"POST", "POST / HTTP/1.1\r\nHost: engine\r\nContent-Length: 0\r\n\r\n"},
    };
    struct http_client *c;
    uv_loop_t loop;

    (void)state;
    uv_loop_init(&loop);
    conf.host = "engine";
    c = probe_client(&loop, peer_address(peer), &conf);
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        struct http_call_spec spec = {.method = rows[i].method, .target = RM_LIT("/")};
        struct probe p = {0};

        assert_int_equal(probe_start(&p, c, &spec), 0);
        assert_true(probe_finish(&p, &loop));
        assert_seen(rows[i].head, "");
    }
    assert_int_equal(peer_accepted(peer), 1);
    http_client_close(c);
    loop_done(&loop);
    peer_close(peer);
}

static void test_refused_specs(void **state)
{
    struct http_out_field crlf = {"X", RM_LIT("a\r\nEvil: 1")}, nul = {"X", {"a\0b", 3}},
                          name = {"X Y", RM_LIT("a")}, empty = {"", RM_LIT("a")};
    struct rm_slice body = RM_LIT("x");
    const struct http_call_spec specs[] = {
        {.method = "GET", .target = RM_LIT("/"), .fields = &crlf, .n_fields = 1},
        {.method = "GET", .target = RM_LIT("/"), .fields = &nul, .n_fields = 1},
        {.method = "GET", .target = RM_LIT("/"), .fields = &name, .n_fields = 1},
        {.method = "GET", .target = RM_LIT("/"), .fields = &empty, .n_fields = 1},
        {.method = "GET", .target = RM_LIT("/a b")},
        {.method = "GET", .target = RM_LIT("/\r\nX: y")},
        {.method = "GET", .target = RM_LIT("")},
        {.method = "GE T", .target = RM_LIT("/")},
        {.method = "POST", .target = RM_LIT("/"), .stream_length = -2},
        {.method = "POST", .target = RM_LIT("/"), .stream_length = 5, .body = &body, .n_body = 1},
    };
    struct http_client *c;
    uv_loop_t loop;

    (void)state;
    uv_loop_init(&loop);
    c = probe_client(&loop, "127.0.0.1:9", NULL);
    for (size_t i = 0; i < RM_COUNT(specs); i++) {
        struct probe p = {0};

        assert_int_equal(probe_start(&p, c, &specs[i]), UV_EINVAL);
        assert_null(p.call);
    }
    http_client_close(c);
    loop_done(&loop);
}

/* Answers of every framing; reuse: whether the connection may carry the next call. */
static void test_framings(void **state)
{
    static const struct {
        const char *name, *method, *answer, *body;
        bool reuse;
        int status;
    } rows[] = {
        {"length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true, 200},
        {"chunked", "GET",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
         "abc", true, 200},
        {"trailer", "GET",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n", "a",
         true, 200},
        {"until the end", "GET", "HTTP/1.1 200 OK\r\n\r\nabc", "abc", false, 200},
        {"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\n\r\nabc", "abc", false, 200},
        {"HTTP/1.0 with length", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc",
         false, 200},
        {"close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", "a",
         false, 200},
        {"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true, 200},
        {"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "", true, 204},
        {"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "", true, 304},
        {"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "", true, 200},
        {"HEAD chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", true,
         200},
        {"interim", "GET",
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\n"
         "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
         "a", true, 200},
        {"redirect is not followed", "GET",
         "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "",
         true, 302},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows) * 2; i++) {
        size_t k = i / 2;
        struct http_call_spec spec = {.method = rows[k].method, .target = RM_LIT("/")};
        struct peer *peer = peer_open(i % 2, rows[k].reuse ? serve_stay : serve_once,
                                      (void *)(uintptr_t)rows[k].answer);
        struct probe p = {0}, again = {0};
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), NULL);
        assert_int_equal(probe_start(&p, c, &spec), 0);
        assert_true(probe_finish(&p, &loop));
        if (p.count[AT_END] != 1 || strcmp(p.body, rows[k].body) != 0)
            print_message("%s: %s\n", rows[k].name, rm_strerror(p.err));
        assert_int_equal(p.count[AT_END], 1);
        assert_int_equal(p.status, rows[k].status);
        assert_string_equal(p.body, rows[k].body);
        assert_int_equal(probe_start(&again, c, &spec), 0);
        if (rows[k].reuse)
            loop_for(&loop, 20);
        else
            assert_true(probe_finish(&again, &loop));
        assert_int_equal(peer_accepted(peer), rows[k].reuse ? 1 : 2);
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

/* Nobody asked to switch protocols, and an answer needs a status line of ours. */
static void test_refused_answers(void **state)
{
    static const char *const answers[] = {
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), /* one answer: clang asks */
        "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(answers); i++) {
        struct peer *peer = peer_open(i % 2, serve_stay, (void *)(uintptr_t)answers[i]);
        struct probe p = {0};
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), NULL);
        assert_int_equal(probe_get(&p, c), 0);
        assert_true(probe_finish(&p, &loop));
        if (p.count[AT_FAIL] != 1)
            print_message("taken: %s\n", answers[i]);
        assert_int_equal(p.count[AT_FAIL], 1);
        assert_int_equal(p.count[AT_HEAD], 0);
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

/* ---- the pool ---- */

static void test_pool_limits(void **state)
{
    struct http_client_conf conf = http_client_conf_default;
    struct peer *peer = peer_open(false, serve_hi, NULL);
    struct probe p[6] = {{0}};
    struct http_client *c;
    uv_loop_t loop;

    (void)state;
    uv_loop_init(&loop);
    conf.keep_max = 2;
    conf.keep_ms = 500; /* longer than a loaded machine makes three requests wait */
    c = probe_client(&loop, peer_address(peer), &conf);
    for (int i = 0; i < 4; i++) /* four at once: four connections, two are kept */
        assert_int_equal(probe_get(&p[i], c), 0);
    for (int i = 0; i < 4; i++)
        assert_true(probe_finish(&p[i], &loop));
    assert_int_equal(peer_accepted(peer), 4);
    memset(p, 0, sizeof(p));
    for (int i = 0; i < 3; i++)
        assert_int_equal(probe_get(&p[i], c), 0);
    for (int i = 0; i < 3; i++)
        assert_true(probe_finish(&p[i], &loop));
    assert_int_equal(peer_accepted(peer), 5);
    loop_for(&loop, 600); /* too old now */
    memset(p, 0, sizeof(p));
    assert_int_equal(probe_get(&p[0], c), 0);
    assert_true(probe_finish(&p[0], &loop));
    assert_int_equal(peer_accepted(peer), 6);
    http_client_close(c);
    loop_done(&loop);
    peer_close(peer);
}

/* First connection: answers once, reads the next request and closes without a word. */
static void serve_stale(void *arg, int fd, int index)
{
    int rounds = index < *(int *)arg ? 1 : 100;

    for (int i = 0; i < rounds; i++)
        if (peer_read_request(fd, NULL, 0, NULL) < 0 || !peer_says(fd, OK_HI))
            return;
    peer_read_request(fd, NULL, 0, NULL);
}

static void test_stale_retry(void **state)
{
    static const struct {
        const char *name;
        int stale_conns; /* this many connections die at their second request */
        bool streamed;
        int ends, accepted;
    } rows[] = {
        {"a kept one dies: once more", 1, false, 1, 2},
        {"the new one is good for its first request", 9, false, 1, 2},
        {"a streamed body cannot be sent again", 1, true, 0, 1},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows) * 2; i++) {
        int stale = rows[i / 2].stale_conns;
        struct peer *peer = peer_open(i % 2, serve_stale, &stale);
        struct http_call_spec spec = {.method = "POST", .target = RM_LIT("/"), .stream_length = 3};
        struct probe first = {0}, p = {0};
        struct rm_slice abc = RM_LIT("abc");
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), NULL);
        assert_int_equal(probe_get(&first, c), 0);
        assert_true(probe_finish(&first, &loop));
        if (rows[i / 2].streamed) {
            assert_int_equal(probe_start(&p, c, &spec), 0);
            assert_int_equal(http_call_write(p.call, &abc, 1), 0);
            http_call_end(p.call);
        } else {
            assert_int_equal(probe_post(&p, c, abc), 0);
        }
        assert_true(probe_finish(&p, &loop));
        assert_int_equal(p.count[AT_END], rows[i / 2].ends);
        assert_int_equal(p.count[AT_FAIL], 1 - rows[i / 2].ends);
        assert_int_equal(peer_accepted(peer), rows[i / 2].accepted);
        assert_int_equal(p.got_bytes, rows[i / 2].ends);
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

/* Every connection answers one request and dies at the next; the first one for good. */
static void serve_dies_twice(void *arg, int fd, int index)
{
    (void)arg;
    if (peer_read_request(fd, NULL, 0, NULL) < 0)
        return;
    if (index == 0 && peer_says(fd, OK_HI))
        peer_read_request(fd, NULL, 0, NULL);
}

static void test_one_retry_only(void **state)
{
    struct peer *peer = peer_open(true, serve_dies_twice, NULL);
    struct probe first = {0}, p = {0};
    struct http_client *c;
    uv_loop_t loop;

    (void)state;
    uv_loop_init(&loop);
    c = probe_client(&loop, peer_address(peer), NULL);
    assert_int_equal(probe_get(&first, c), 0);
    assert_true(probe_finish(&first, &loop));
    assert_int_equal(probe_get(&p, c), 0);
    assert_true(probe_finish(&p, &loop));
    assert_int_equal(p.count[AT_FAIL], 1);
    assert_int_equal(p.err, UV_EOF);
    assert_false(p.got_bytes);
    assert_true(p.was_sent);
    assert_int_equal(peer_accepted(peer), 2);
    http_client_close(c);
    loop_done(&loop);
    peer_close(peer);
}

/* An answer that nobody asked for, on a connection that is kept: thrown away with it. */
static void serve_poison(void *arg, int fd, int index)
{
    atomic_int *said = arg;

    if (peer_read_request(fd, NULL, 0, NULL) < 0 || !peer_says(fd, OK_HI))
        return;
    if (index == 0) {
        usleep(20000);
        peer_says(fd, "HTTP/1.1 200 EVIL\r\nContent-Length: 4\r\n\r\nevil");
        atomic_store(said, 1);
    }
    peer_hold(fd);
}

static void test_poison_on_kept(void **state)
{
    (void)state;
    for (int run_loop = 0; run_loop < 2; run_loop++) { /* seen by the loop, or only when taken */
        atomic_int said = 0;
        struct peer *peer = peer_open(run_loop, serve_poison, &said);
        struct probe first = {0}, p = {0};
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), NULL);
        assert_int_equal(probe_get(&first, c), 0);
        assert_true(probe_finish(&first, &loop));
        for (int i = 0; i < 5000 && atomic_load(&said) == 0; i++)
            usleep(1000);
        assert_int_equal(atomic_load(&said), 1);
        if (run_loop)
            loop_for(&loop, 20);
        assert_int_equal(probe_get(&p, c), 0);
        assert_true(probe_finish(&p, &loop));
        assert_string_equal(p.body, "hi");
        assert_int_equal(peer_accepted(peer), 2);
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

/* ---- deadlines and refusals ---- */

static void test_head_deadline(void **state)
{
    static const char *const said[] = {NULL, "HTTP/1.1 200"}; /* silence, and half a head */

    (void)state;
    for (size_t i = 0; i < RM_COUNT(said); i++) {
        struct http_client_conf conf = http_client_conf_default;
        struct peer *peer =
            peer_open(i, said[i] != NULL ? serve_stay : serve_silent, (void *)(uintptr_t)said[i]);
        struct probe p = {0};
        struct http_client *c;
        uint64_t began = peer_now_ms();
        uv_loop_t loop;

        uv_loop_init(&loop);
        conf.head_ms = 80;
        c = probe_client(&loop, peer_address(peer), &conf);
        assert_int_equal(probe_get(&p, c), 0);
        assert_true(probe_finish(&p, &loop));
        assert_int_equal(p.err, RM_ERR_UPSTREAM_TIMEOUT);
        assert_int_equal(p.got_bytes, said[i] != NULL);
        assert_in_range(p.done_ms - began, 75, 1000);
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

static void hook_pause_at_head(struct probe *p, enum probe_at at)
{
    if (at == AT_HEAD)
        http_call_pause(p->call);
}

static void test_idle_deadline(void **state)
{
    (void)state;
    for (int paused = 0; paused < 2; paused++) {
        struct http_client_conf conf = http_client_conf_default;
        struct peer *peer =
            peer_open(paused, serve_stay,
                      (void *)(uintptr_t) "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
        struct probe p = {.hook = paused ? hook_pause_at_head : NULL};
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        conf.idle_ms = 60;
        c = probe_client(&loop, peer_address(peer), &conf);
        assert_int_equal(probe_get(&p, c), 0);
        if (paused) { /* the silence is ours: no deadline until we read again */
            assert_false(loop_until(&loop, &p.count[AT_DONE], 1, 200));
            http_call_resume(p.call);
        }
        assert_true(probe_finish(&p, &loop));
        assert_int_equal(p.err, RM_ERR_UPSTREAM_TIMEOUT);
        assert_string_equal(p.body, "abc");
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

/* A full accept queue: the kernel answers no further SYN. */
static void test_connect_deadline(void **state)
{
    struct http_client_conf conf = http_client_conf_default;
    int fd = socket(AF_INET, SOCK_STREAM, 0), fill[4];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    struct probe p = {0};
    struct http_client *c;
    char address[64];
    uv_loop_t loop;

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    for (size_t i = 0; i < RM_COUNT(fill); i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fill[i], (struct sockaddr *)&a, sizeof(a));
    }
    snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(a.sin_port));
    uv_loop_init(&loop);
    conf.connect_ms = 100;
    c = probe_client(&loop, address, &conf);
    assert_int_equal(probe_get(&p, c), 0);
    assert_true(probe_finish(&p, &loop));
    assert_int_equal(p.err, UV_ETIMEDOUT);
    assert_false(p.was_sent);
    http_client_close(c);
    loop_done(&loop);
    for (size_t i = 0; i < RM_COUNT(fill); i++)
        close(fill[i]);
    close(fd);
}

static void test_nobody_there(void **state)
{
    static const struct {
        const char *address;
        int err;
    } rows[] = {
        {"127.0.0.1:1", UV_ECONNREFUSED},
        {"unix:/tmp/rm-no-such-directory/socket", UV_ENOENT},
        {"localhost:1", UV_ECONNREFUSED},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        struct probe p = {0};
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, rows[i].address, NULL);
        assert_int_equal(probe_get(&p, c), 0);
        assert_true(probe_finish(&p, &loop));
        assert_int_equal(p.err, rows[i].err);
        http_client_close(c);
        loop_done(&loop);
    }
}

static void test_by_name(void **state)
{
    struct peer *peer = peer_open(false, serve_hi, NULL);
    struct probe p[3] = {{0}};
    struct http_client *c;
    char address[64];
    uv_loop_t loop;

    (void)state;
    uv_loop_init(&loop);
    snprintf(address, sizeof(address), "localhost%s", strrchr(peer_address(peer), ':'));
    c = probe_client(&loop, address, NULL);
    for (int i = 0; i < 3; i++) /* one question to the resolver serves all three */
        assert_int_equal(probe_get(&p[i], c), 0);
    for (int i = 0; i < 3; i++) {
        assert_true(probe_finish(&p[i], &loop));
        assert_string_equal(p[i].body, "hi");
    }
    http_client_close(c);
    loop_done(&loop);
    peer_close(peer);
}

/* ---- ending early ---- */

struct gone_watch {
    const char *answer;
    atomic_int gone; /* connections whose other side closed within a second */
};

static void serve_watch_gone(void *arg, int fd, int index)
{
    struct gone_watch *w = arg;

    (void)index;
    if (peer_read_request(fd, NULL, 0, NULL) >= 0)
        peer_says(fd, w->answer);
    if (peer_wait_gone(fd, 1000))
        atomic_fetch_add(&w->gone, 1);
}

static void hook_abort(struct probe *p, enum probe_at at)
{
    if (at == *(enum probe_at *)p->arg)
        http_call_abort(p->call);
}

static void hook_close_client(struct probe *p, enum probe_at at)
{
    if (at == AT_BODY)
        http_client_close(p->arg);
}

static void test_abort_in_callbacks(void **state)
{
    static const struct {
        enum probe_at at;
        const char *answer;
        int head, body, batch, end, fail;
    } rows[] = {
        {AT_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 1, 0, 0, 0, 0},
        {AT_BODY, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 1, 1, 0, 0, 0},
        {AT_BODY, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n", 1, 1,
         0, 0, 0},
        {AT_BATCH, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 1, 1, 1, 0, 0},
        {AT_END, OK_HI, 1, 1, 1, 1, 0},
        {AT_FAIL, "nonsense\r\n\r\n", 0, 0, 0, 0, 1},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows) * 2; i++) {
        struct gone_watch w = {rows[i / 2].answer, 0};
        struct peer *peer = peer_open(i % 2, serve_watch_gone, &w);
        enum probe_at at = rows[i / 2].at;
        struct probe p = {.hook = hook_abort, .arg = &at};
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), NULL);
        assert_int_equal(probe_get(&p, c), 0);
        assert_true(probe_finish(&p, &loop));
        assert_int_equal(p.count[AT_HEAD], rows[i / 2].head);
        assert_int_equal(p.count[AT_BODY], rows[i / 2].body);
        assert_int_equal(p.count[AT_BATCH], rows[i / 2].batch);
        assert_int_equal(p.count[AT_END], rows[i / 2].end);
        assert_int_equal(p.count[AT_FAIL], rows[i / 2].fail);
        for (int ms = 0; ms < 100 && atomic_load(&w.gone) == 0; ms++)
            usleep(1000);
        assert_int_equal(atomic_load(&w.gone), 1);
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

static void test_abort_before_anything(void **state)
{
    static const char *const addresses[] = {"127.0.0.1:1", "localhost:1", "unix:/tmp/rm-none"};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(addresses); i++) {
        struct probe p = {0};
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, addresses[i], NULL);
        assert_int_equal(probe_get(&p, c), 0);
        http_call_abort(p.call);
        assert_int_equal(p.count[AT_DONE], 0);
        http_call_abort(p.call); /* a second time is fine */
        http_call_pause(p.call);
        http_call_resume(p.call);
        assert_true(probe_finish(&p, &loop));
        assert_int_equal(p.count[AT_FAIL], 0);
        http_client_close(c);
        loop_done(&loop);
    }
}

static void test_close_client_in_flight(void **state)
{
    static const char *const half = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";

    (void)state;
    for (int inside = 0; inside < 2; inside++) {
        struct peer *peer = peer_open(inside, serve_stay, (void *)(uintptr_t)half);
        struct probe p = {0}, starting = {0};
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), NULL);
        if (inside) {
            p.hook = hook_close_client;
            p.arg = c;
        }
        assert_int_equal(probe_get(&p, c), 0);
        assert_true(loop_until(&loop, &p.count[AT_BODY], 1, 5000));
        if (!inside) {
            assert_int_equal(probe_get(&starting, c), 0);
            http_client_close(c);
            assert_int_equal(p.count[AT_DONE], 0);
            assert_true(probe_finish(&starting, &loop));
            assert_int_equal(starting.err, UV_ECANCELED);
        }
        assert_true(probe_finish(&p, &loop));
        assert_int_equal(p.err, UV_ECANCELED);
        assert_int_equal(p.count[AT_FAIL], 1);
        loop_done(&loop);
        peer_close(peer);
    }
    http_client_close(NULL);
}

/* ---- many ---- */

enum { MANY = 200 };

static void test_many(void **state)
{
    static struct probe p[MANY];

    (void)state;
    for (int is_unix = 0; is_unix < 2; is_unix++) {
        struct peer *peer = peer_open(is_unix, serve_hi, NULL);
        struct http_client *c;
        uv_loop_t loop;

        uv_loop_init(&loop);
        c = probe_client(&loop, peer_address(peer), NULL);
        memset(p, 0, sizeof(p));
        for (int i = 0; i < MANY; i++)
            assert_int_equal(i % 2 ? probe_get(&p[i], c) : probe_post(&p[i], c, RM_LIT("abc")), 0);
        for (int i = 0; i < MANY; i++) {
            assert_true(probe_finish(&p[i], &loop));
            assert_string_equal(p[i].body, "hi");
        }
        http_client_close(c);
        loop_done(&loop);
        peer_close(peer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_bytes),
        cmocka_unit_test(test_peer_and_kept_connections),
        cmocka_unit_test(test_no_length_without_body),
        cmocka_unit_test(test_refused_specs),
        cmocka_unit_test(test_framings),
        cmocka_unit_test(test_refused_answers),
        cmocka_unit_test(test_pool_limits),
        cmocka_unit_test(test_stale_retry),
        cmocka_unit_test(test_one_retry_only),
        cmocka_unit_test(test_poison_on_kept),
        cmocka_unit_test(test_head_deadline),
        cmocka_unit_test(test_idle_deadline),
        cmocka_unit_test(test_connect_deadline),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_by_name),
        cmocka_unit_test(test_abort_in_callbacks),
        cmocka_unit_test(test_abort_before_anything),
        cmocka_unit_test(test_close_client_in_flight),
        cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests_name("http_client", tests, NULL, NULL);
}
