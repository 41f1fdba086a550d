/* SPDX-License-Identifier: MIT */
/* proto/http/server_life_test.c - deadlines (with a clock that the test sets), drain and close, too
 * many connections, too few descriptors, Unix sockets. Requests and replies are in server_test.c.
 */
#include "proto/http/server_test.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/clock.h"

#define GET_A "GET /v1/models HTTP/1.1\r\nHost: gw\r\n\r\n"

static struct rig rig;
static struct peer peer;
static struct http_req *kept;
static struct http_server_stats stats;

/* The test's clock: the system's plus a jump. */
static uint64_t jump_ms;

static uint64_t jumped_clock(void *arg)
{
    (void)arg;
    return (rig_real_ms() + jump_ms) * 1000;
}

static int setup(void **state)
{
    (void)state;
    jump_ms = 0;
    kept = NULL;
    rm_clock_set(jumped_clock, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    peer_close(&peer);
    rig_close(&rig);
    rm_clock_set(NULL, NULL);
    return 0;
}

static void forget(struct http_req *q)
{
    rig_count_done(q);
    kept = NULL;
}

static const struct http_req_ops keep_ops = {.on_gone = rig_count_gone, .on_done = forget};

static void keep(struct rig *r, struct http_req *q)
{
    http_req_accept(q, &keep_ops, r);
    kept = q;
}

static void wait_eof(void)
{
    rig_until(&rig, (peer_read(&peer), peer.eof || peer.reset));
    assert_true(peer.eof);
}

static void wait_kept(void)
{
    rig_until(&rig, kept != NULL);
}

/* Some turns, so that a sweep of the deadlines has certainly run. */
static void let_sweep(void)
{
    const uint64_t end = rig_real_ms() + 300;

    while (rig_real_ms() < end)
        rig_turn(&rig);
    for (int i = 0; i < 3; i++) /* however late the machine woke us, the timer is due now */
        rig_turn(&rig);
}

/* ---- deadlines ---- */

static void a_slow_head_gets_408(void **state)
{
    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    peer_open(&peer, &rig);
    peer_sends(&peer, &rig, "GET /v1/models HTTP/1.1\r\nHost: ");
    rig_until(&rig, (http_server_stats(rig.server, &stats), stats.connections == 1));
    let_sweep();
    jump_ms = 9000;
    peer_sends(&peer, &rig, "g"); /* a byte does not buy time */
    let_sweep();
    peer_read(&peer);
    assert_false(peer.eof);
    jump_ms = 10001;
    wait_eof();
    assert_int_equal(peer.status[0], 408);
    assert_true(peer.close && peer.ends == 1);
}

static void an_idle_connection_goes_silently(void **state)
{
    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    peer_open(&peer, &rig);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, (peer_read(&peer), peer.ends == 1));
    jump_ms = 60000;
    let_sweep();
    peer_sends(&peer, &rig, GET_A); /* after its buffers were given back */
    rig_until(&rig, (peer_read(&peer), peer.ends == 2));
    jump_ms += 120001;
    wait_eof();
    assert_int_equal(peer.ends, 2);
}

static void a_trickling_body_gets_408(void **state)
{
    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    rig.on_request = keep;
    peer_open(&peer, &rig);
    peer_sends(&peer, &rig, "POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 100000\r\n\r\n");
    wait_kept();
    for (int i = 0; i < 11 * 1024; i++) /* enough for the first window */
        peer_sends(&peer, &rig, "x");
    let_sweep();
    jump_ms = 10001;
    let_sweep();
    assert_int_equal(rig.gone, 0);
    peer_sends(&peer, &rig, "xxx");
    let_sweep();
    jump_ms = 20100;
    wait_eof();
    assert_int_equal(peer.status[0], 408);
    assert_int_equal(rig.gone, 1);
    assert_int_equal(rig.gone_why, RM_ERR_HTTP_TIMEOUT);
    rig_until(&rig, rig.done == 1);
}

static void a_paused_body_may_take_its_time(void **state)
{
    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    rig.on_request = keep;
    peer_open(&peer, &rig);
    peer_sends(&peer, &rig, "POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 4\r\n\r\n");
    wait_kept();
    http_req_pause(kept);
    for (int i = 0; i < 4; i++) {
        jump_ms += 15000;
        let_sweep();
    }
    assert_int_equal(rig.gone, 0);
    http_req_resume(kept);
    peer_sends(&peer, &rig, "body");
    http_reply_full(kept, 200, NULL, 0, NULL, RM_LIT(""));
    rig_until(&rig, (peer_read(&peer), peer.ends == 1));
}

static void a_reader_that_stalls_is_gone(void **state)
{
    static char piece[64 * 1024];
    const struct rm_slice s = {piece, sizeof(piece)};
    int r = 0;

    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    rig.on_request = keep;
    peer_open(&peer, &rig);
    peer_sends(&peer, &rig, GET_A);
    wait_kept();
    assert_int_equal(http_reply_start(kept, 200, NULL, 0, -1), 0);
    while (r == 0)
        r = http_reply_write(kept, &s, 1);
    assert_int_equal(r, RM_WAIT);
    let_sweep();
    jump_ms = 59000;
    let_sweep();
    assert_int_equal(rig.gone, 0);
    jump_ms = 60500;
    rig_until(&rig, rig.done == 1);
    assert_int_equal(rig.gone, 1);
    assert_int_equal(rig.gone_why, RM_ERR_GONE);
    http_server_stats(rig.server, &stats);
    assert_int_equal(stats.queued_bytes, 0);
}

/* ---- drain and close ---- */

static void drain_lets_replies_finish(void **state)
{
    struct http_address a;
    struct peer idle, late;
    const struct rm_slice hello = RM_LIT("hello");

    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    rig.on_request = keep;
    peer_open(&peer, &rig);
    peer_open(&idle, &rig);
    peer_open(&late, &rig);
    peer_sends(&peer, &rig, GET_A);
    wait_kept();
    assert_int_equal(http_reply_start(kept, 200, NULL, 0, -1), 0);
    peer_sends(&late, &rig, "GET /v1/models HTTP/1.1\r\n");
    rig_until(&rig, (http_server_stats(rig.server, &stats), stats.connections == 3));
    let_sweep();
    http_server_drain(rig.server);
    rig_until(&rig, (peer_read(&idle), idle.eof));
    assert_int_equal(http_reply_write(kept, &hello, 1), 0);
    http_reply_end(kept);
    wait_eof();
    assert_true(peer.close && peer.ends == 1);
    rig.on_request = NULL;
    peer_sends(&late, &rig, "Host: gw\r\n\r\n"); /* begun before: still answered */
    rig_until(&rig, (peer_read(&late), late.eof));
    assert_true(late.ends == 1 && late.close);
    peer_close(&idle);
    peer_close(&late);
    a = rig.address;
    assert_int_equal(http_server_listen(rig.server, &a, NULL), 0); /* the port is free again */
}

static void refuse(struct rig *r, struct http_req *q)
{
    http_req_accept(q, &keep_ops, r);
    http_reply_full(q, 401, NULL, 0, NULL, RM_LIT(""));
}

static void drain_waits_for_no_unwanted_body(void **state)
{
    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    rig.on_request = refuse;
    peer_open(&peer, &rig);
    peer_sends(&peer, &rig, "POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 6\r\n\r\nabc");
    rig_until(&rig, (peer_read(&peer), peer.ends == 1));
    rig_until(&rig, rig.done == 1);
    http_server_drain(rig.server);
    peer_sends(&peer, &rig, "def");
    wait_eof();
    assert_int_equal(peer.ends, 1);
}

static void close_tells_every_handler(void **state)
{
    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    rig.on_request = keep;
    peer_open(&peer, &rig);
    peer_sends(&peer, &rig, GET_A);
    wait_kept();
    rig_close(&rig);
    assert_int_equal(rig.gone, 1);
    assert_int_equal(rig.gone_why, UV_ECANCELED);
    assert_int_equal(rig.done, 1);
    rig_open(&rig, &http_server_conf_default, false); /* for the teardown */
}

static void ignore(struct rig *r, struct http_req *q)
{
    (void)r;
    (void)q;
}

static void a_request_nobody_accepts_is_answered(void **state)
{
    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    rig.on_request = ignore;
    peer_open(&peer, &rig);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, (peer_read(&peer), peer.ends == 1));
    assert_int_equal(peer.status[0], 500);
}

static void own_words(void *arg, int err, const struct http_head *head, struct rm_buf *out)
{
    (void)arg;
    rm_buf_printf(out, "%s %s", rm_err_name(err), head != NULL ? "head" : "none");
}

static void error_bodies_can_be_the_callers(void **state)
{
    struct http_server_conf conf = http_server_conf_default;

    (void)state;
    conf.error_body = own_words;
    rig_open(&rig, &conf, false);
    peer_open(&peer, &rig);
    peer_sends(&peer, &rig, "POST / HTTP/1.1\r\nHost: gw\r\n\r\nGET\r\n");
    wait_eof();
    assert_int_equal(peer.ends, 2);
    assert_string_equal(peer.body.data, "RM_ERR_HTTP_LENGTH headRM_ERR_HTTP_SYNTAX none");
}

/* ---- too many, too few ---- */

static void over_the_maximum_gets_503(void **state)
{
    struct http_server_conf conf = http_server_conf_default;
    struct peer two, three;

    (void)state;
    conf.max_connections = 2;
    rig_open(&rig, &conf, false);
    peer_open(&peer, &rig);
    peer_open(&two, &rig);
    rig_until(&rig, (http_server_stats(rig.server, &stats), stats.connections == 2));
    peer_open(&three, &rig);
    peer_sends(&three, &rig, GET_A);
    rig_until(&rig, (peer_read(&three), three.eof || three.reset));
    assert_true(three.eof && three.ends == 1 && three.close);
    assert_int_equal(three.status[0], 503);
    assert_non_null(strstr(three.raw.data, "Retry-After: "));
    assert_int_equal(rig.handled, 0);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, (peer_read(&peer), peer.ends == 1));
    peer_close(&two);
    peer_close(&three);
    rig_until(&rig, (http_server_stats(rig.server, &stats), stats.connections == 1));
    peer_open(&two, &rig);
    peer_sends(&two, &rig, GET_A);
    rig_until(&rig, (peer_read(&two), two.ends == 1));
    assert_int_equal(two.status[0], 200);
    peer_close(&two);
}

static void a_burst_of_connections_is_served(void **state)
{
    static struct peer many[200];
    int answered = 0;

    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    peer_open(&peer, &rig);
    for (size_t i = 0; i < RM_COUNT(many); i++) {
        peer_open(&many[i], &rig);
        peer_sends(&many[i], &rig, GET_A);
    }
    for (size_t i = 0; i < RM_COUNT(many); i++) {
        rig_until(&rig, (peer_read(&many[i]), many[i].ends == 1));
        answered += many[i].status[0] == 200;
        peer_close(&many[i]);
    }
    assert_int_equal(answered, RM_COUNT(many));
    http_server_stats(rig.server, &stats);
    assert_true(stats.accepted >= 200);
}

/* The connects end in the kernel's queue before the descriptors run out. */
static void no_descriptors_do_not_spin(void **state)
{
    struct rlimit before, low;
    struct peer many[8];
    uint64_t t;
    int spare;

    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    peer_open(&peer, &rig);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, (peer_read(&peer), peer.ends == 1));
    for (size_t i = 0; i < RM_COUNT(many); i++)
        peer_open(&many[i], &rig);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    spare = dup(0);
    assert_true(spare >= 0);
    close(spare);
    low = before;
    low.rlim_cur = (rlim_t)spare;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    t = rig_real_ms();
    for (size_t i = 0; i < RM_COUNT(many); i++)
        rig_until(&rig, (peer_read(&many[i]), many[i].eof || many[i].reset));
    assert_true(rig_real_ms() - t < 2000);
    peer_sends(&peer, &rig, GET_A); /* who is in is served */
    rig_until(&rig, (peer_read(&peer), peer.ends == 2));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (size_t i = 0; i < RM_COUNT(many); i++)
        peer_close(&many[i]);
    peer_open(&many[0], &rig);
    peer_sends(&many[0], &rig, GET_A);
    rig_until(&rig, (peer_read(&many[0]), many[0].ends == 1));
    peer_close(&many[0]);
}

/* ---- addresses ---- */

static void never(void *arg, struct http_req *q)
{
    (void)arg;
    (void)q;
    fail_msg("nobody calls this server");
}

static void unix_sockets_are_private_and_replaced(void **state)
{
    struct http_address second;
    struct http_server_conf conf = http_server_conf_default;
    struct http_server *other;
    struct sockaddr_un stale = {.sun_family = AF_UNIX};
    struct stat st;
    bool closed = false;
    int fd;

    (void)state;
    rig_open(&rig, &http_server_conf_default, true);
    assert_int_equal(stat(rig.address.host, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    peer_open(&peer, &rig);
    peer_sends(&peer, &rig, GET_A);
    rig_until(&rig, (peer_read(&peer), peer.ends == 1));
    assert_int_equal(peer.status[0], 200);

    assert_int_equal(http_server_listen(rig.server, &rig.address, NULL), UV_EADDRINUSE);
    second = rig.address;
    strcat(second.host, "2");
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(stale.sun_path, second.host);
    assert_int_equal(bind(fd, (struct sockaddr *)&stale, sizeof(stale)), 0);
    close(fd); /* the file stays, nobody listens */
    conf.on_request = never;
    assert_int_equal(http_server_new(&rig.loop, &conf, &other), 0);
    assert_int_equal(http_server_listen(other, &second, NULL), 0);
    http_server_close(other, NULL, NULL);
    rig_until(&rig, (closed = access(second.host, F_OK) < 0, closed));
}

static void a_file_is_not_removed_for_a_socket(void **state)
{
    struct http_address a;
    int fd;

    (void)state;
    rig_open(&rig, &http_server_conf_default, true);
    peer_open(&peer, &rig);
    a = rig.address;
    strcat(a.host, ".txt");
    fd = open(a.host, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(http_server_listen(rig.server, &a, NULL), UV_EADDRINUSE);
    assert_int_equal(unlink(a.host), 0);
}

static void bad_listen_addresses(void **state)
{
    static const struct {
        struct http_address a;
        int err;
    } rows[] = {
        {{.host = "gw.example.net", .port = 1}, UV_EINVAL},
        {{.host = "203.0.113.1", .port = 0}, UV_EADDRNOTAVAIL},
        {{.is_unix = true, .host = "/nonexistent/dir/s"}, UV_EACCES}, /* so says libuv */
    };

    (void)state;
    rig_open(&rig, &http_server_conf_default, false);
    peer_open(&peer, &rig);
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        int r = http_server_listen(rig.server, &rows[i].a, NULL);

        if (r != rows[i].err)
            fail_msg("%s: %s", rows[i].a.host, rm_err_name(r));
    }
    assert_int_equal(http_server_listen(rig.server, &rig.address, NULL), UV_EADDRINUSE);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(a_slow_head_gets_408),
        T(an_idle_connection_goes_silently),
        T(a_trickling_body_gets_408),
        T(a_paused_body_may_take_its_time),
        T(a_reader_that_stalls_is_gone),
        T(drain_lets_replies_finish),
        T(drain_waits_for_no_unwanted_body),
        T(close_tells_every_handler),
        T(a_request_nobody_accepts_is_answered),
        T(error_bodies_can_be_the_callers),
        T(over_the_maximum_gets_503),
        T(a_burst_of_connections_is_served),
        T(no_descriptors_do_not_spin),
        T(unix_sockets_are_private_and_replaced),
        T(a_file_is_not_removed_for_a_socket),
        T(bad_listen_addresses),
    };
#undef T

    return cmocka_run_group_tests(tests, NULL, NULL);
}
