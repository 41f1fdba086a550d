/* SPDX-License-Identifier: MIT */
/* proto/http/server_rig_test.c - see server_test.h. */
#include "proto/http/server_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

uint64_t rig_real_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- the routes ---- */

static struct rig *rig_of(const struct http_req *q)
{
    return http_req_arg(q);
}

static void route_on_body(struct http_req *q, const char *bytes, size_t n)
{
    (void)bytes;
    rig_of(q)->body += n;
}

static void route_on_end(struct http_req *q)
{
    char text[64];

    if (http_req_head(q)->method != HTTP_POST)
        return;
    snprintf(text, sizeof(text), "{\"body\":%llu}", (unsigned long long)rig_of(q)->body);
    rig_of(q)->handled++;
    http_reply_full(q, 200, NULL, 0, "application/json", rm_slice_of(text));
}

void rig_count_gone(struct http_req *q, int why)
{
    rig_of(q)->gone++;
    rig_of(q)->gone_why = why;
}

void rig_count_done(struct http_req *q)
{
    rig_of(q)->done++;
}

static const struct http_req_ops route_ops = {
    .on_body = route_on_body,
    .on_end = route_on_end,
    .on_gone = rig_count_gone,
    .on_done = rig_count_done,
};

static void route(struct rig *rig, struct http_req *q)
{
    const struct http_head *h = http_req_head(q);
    const bool models = rm_slice_eq(h->path, "/v1/models");
    const bool chat = rm_slice_eq(h->path, "/v1/chat/completions");
    const struct http_out_field allow = {"Allow", models ? RM_LIT("GET") : RM_LIT("POST")};

    http_req_accept(q, &route_ops, rig);
    rig->body = 0;
    rig->smuggled += rm_slice_eq(h->path, "/smuggled");
    if (!models && !chat)
        http_reply_full(q, 404, NULL, 0, "application/json", RM_LIT("{}"));
    else if (h->method != (models ? HTTP_GET : HTTP_POST))
        http_reply_full(q, 405, &allow, 1, "application/json", RM_LIT("{}"));
    else if (chat && !rm_slice_eq(http_head_value(h, "Authorization"), "Bearer K"))
        http_reply_full(q, 401, NULL, 0, "application/json", RM_LIT("{}"));
    else if (models) {
        rig->handled++;
        http_reply_full(q, 200, NULL, 0, "application/json", RM_LIT("{\"data\":[]}"));
    }
}

static void rig_on_request(void *arg, struct http_req *q)
{
    struct rig *rig = arg;

    if (rig->on_request != NULL)
        rig->on_request(rig, q);
    else
        route(rig, q);
}

/* ---- the rig ---- */

void rig_open(struct rig *rig, const struct http_server_conf *conf, bool unix_socket)
{
    struct http_server_conf mine = *conf;
    struct http_address a;
    char text[HTTP_ADDRESS_TEXT] = "127.0.0.1:0";

    memset(rig, 0, sizeof(*rig));
    assert_int_equal(uv_loop_init(&rig->loop), 0);
    mine.on_request = rig_on_request;
    mine.arg = rig;
    assert_int_equal(http_server_new(&rig->loop, &mine, &rig->server), 0);
    if (unix_socket) {
        strcpy(rig->dir, "/tmp/rm-http-XXXXXX");
        assert_non_null(mkdtemp(rig->dir));
        snprintf(text, sizeof(text), "unix:%s/s", rig->dir);
    }
    assert_int_equal(http_address_parse(text, &a), 0);
    assert_int_equal(http_server_listen(rig->server, &a, &rig->address), 0);
}

static void rig_on_closed(void *arg)
{
    ((struct rig *)arg)->closed = true;
}

void rig_close(struct rig *rig)
{
    http_server_close(rig->server, rig_on_closed, rig);
    rig_until(rig, rig->closed);
    uv_run(&rig->loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&rig->loop), 0);
    if (rig->dir[0] != '\0')
        assert_int_equal(rmdir(rig->dir), 0); /* the socket file is gone */
}

void rig_turn(struct rig *rig)
{
    const struct timespec nap = {0, 50000};

    if (uv_run(&rig->loop, UV_RUN_NOWAIT) != 0)
        nanosleep(&nap, NULL);
}

/* ---- peers ---- */

static int peer_on_head(void *arg, const struct http_head *h)
{
    struct peer *p = arg;

    if (p->heads < RIG_STATUSES)
        p->status[p->heads++] = h->status;
    p->close = http_head_has_token(h, "Connection", "close");
    return 0;
}

static int peer_on_body(void *arg, const char *bytes, size_t n)
{
    return rm_buf_put(&((struct peer *)arg)->body, bytes, n);
}

static int peer_on_end(void *arg)
{
    ((struct peer *)arg)->ends++;
    return 0;
}

static const struct http_parser_ops peer_ops = {peer_on_head, peer_on_body, peer_on_end};

void peer_open(struct peer *p, const struct rig *rig)
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_un un;
    } a = {.any = {0}};
    const int one = 1;

    memset(p, 0, sizeof(*p));
    rm_buf_init(&p->raw, 64 * 1024 * 1024);
    rm_buf_init(&p->body, 64 * 1024 * 1024);
    assert_int_equal(
        http_parser_new(HTTP_PARSE_RESPONSE, &http_limits_default, &peer_ops, p, &p->parser), 0);
    if (rig->address.is_unix) {
        a.un.sun_family = AF_UNIX;
        strcpy(a.un.sun_path, rig->address.host);
    } else {
        a.four.sin_family = AF_INET;
        a.four.sin_port = htons(rig->address.port);
        a.four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    p->fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(p->fd >= 0);
    assert_int_equal(connect(p->fd, &a.any, rig->address.is_unix ? sizeof(a.un) : sizeof(a.four)),
                     0);
    assert_int_equal(fcntl(p->fd, F_SETFL, O_NONBLOCK), 0);
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

void peer_close(struct peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    http_parser_free(p->parser);
    p->parser = NULL;
    rm_buf_clear(&p->raw);
    rm_buf_clear(&p->body);
}

void peer_reset(struct peer *p)
{
    const struct linger hard = {1, 0};

    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(p->fd);
    p->fd = -1;
}

static void peer_parse(struct peer *p, const char *bytes, size_t n)
{
    size_t at = 0, used;

    while (at < n && p->err == 0) {
        int r = http_parser_feed(p->parser, bytes + at, n - at, &used);

        at += used;
        if (r < 0)
            p->err = r;
    }
}

void peer_read(struct peer *p)
{
    static char buf[65536];
    size_t total = 0;

    while (!p->eof && !p->reset && p->fd >= 0 && (p->read_max == 0 || total < p->read_max)) {
        size_t want = p->read_max > 0 ? p->read_max - total : sizeof(buf);
        ssize_t n = recv(p->fd, buf, want < sizeof(buf) ? want : sizeof(buf), 0);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            p->reset = true;
            return;
        }
        if (n == 0) {
            int r = http_parser_eof(p->parser);

            p->eof = true;
            if (p->err == 0)
                p->err = r;
            return;
        }
        assert_int_equal(rm_buf_put(&p->raw, buf, (size_t)n), 0);
        peer_parse(p, buf, (size_t)n);
        total += (size_t)n;
    }
}

bool peer_send(struct peer *p, struct rig *rig, const char *bytes, size_t n)
{
    const uint64_t end = rig_real_ms() + RIG_WAIT_MS;

    while (n > 0) {
        ssize_t r = send(p->fd, bytes, n, MSG_NOSIGNAL);

        if (r < 0 && errno != EAGAIN)
            return false;
        if (r < 0) {
            rig_turn(rig);
            if (rig_real_ms() > end)
                fail_msg("the server did not read");
            continue;
        }
        bytes += r;
        n -= (size_t)r;
    }
    return true;
}

bool peer_sends(struct peer *p, struct rig *rig, const char *text)
{
    return peer_send(p, rig, text, strlen(text));
}
