/* SPDX-License-Identifier: MIT */
/* A call has at most one connection and a connection at most one call; a connection without a call
 * is kept in the pool. Whatever ends a call early closes its connection, and the last callbacks
 * come from that handle's close callback (or from the idle handle `soon` when there was none), so
 * they never run inside the caller's own call.
 *
 *   call:        RESOLVE -> CONNECT -> ANSWER -> BODY -> over
 *   connection:  connecting -> with a call <-> kept -> closing
 *
 * Deadlines are timestamps that one repeating timer per client looks at; nothing is armed per
 * chunk. The request side of a call is in client_send.c. */
#include "proto/http/client_impl.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    READ_BYTES = 64 * 1024,
    TICK_MIN_MS = 5,
    TICK_MAX_MS = 250,
    ADDRS_FRESH_MS = 10 * 1000,     /* a resolved name is used this long without asking again */
    ADDRS_GOOD_MS = 60 * 60 * 1000, /* and this long when asking fails */
    LAST_WORDS_MS = 1000,           /* for an answer, after the request could not be written */
    WRITE_STALL_MS = 60 * 1000,     /* the kernel takes no byte of the request for this long */
    TRIM_MS = 1000,
    USER_TIMEOUT_MS =
        75 * 1000 /* above the server side's 60 s, or a slow reader would cost its upstream */
};

const struct http_client_conf http_client_conf_default = {
    .limits = HTTP_LIMITS(UINT64_MAX),
    .connect_ms = 2000,
    .head_ms = 0,
    .idle_ms = 0,
    .keep_ms = 30000,
    .keep_max = 64,
    .host = NULL,
};

/* ---- lists ---- */

static void link_init(struct hc_link *l)
{
    l->prev = l->next = l;
}

static void link_add(struct hc_link *list, struct hc_link *l)
{
    l->next = list->next;
    l->prev = list;
    list->next->prev = l;
    list->next = l;
}

static void link_del(struct hc_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    link_init(l);
}

static bool link_empty(const struct hc_link *l)
{
    return l->next == l;
}

/* ---- one read buffer for every connection of this thread: bytes never stay in it ---- */

static _Thread_local struct {
    char *bytes;
    unsigned users;
} read_buf;

static int read_buf_ref(void)
{
    if (read_buf.bytes == NULL && (read_buf.bytes = malloc(READ_BYTES)) == NULL)
        return UV_ENOMEM;
    read_buf.users++;
    return 0;
}

static void read_buf_unref(void)
{
    if (--read_buf.users == 0) {
        free(read_buf.bytes);
        read_buf.bytes = NULL;
    }
}

/* ---- the client's own handles ---- */

static void client_on_closed(uv_handle_t *h)
{
    struct http_client *c = h->data;

    if (--c->open_handles > 0)
        return;
    read_buf_unref();
    free(c->host);
    free(c);
}

/* Frees when nothing is left that could call back. */
static void client_try_finish(struct http_client *c)
{
    if (!c->closing || c->finishing || c->resolving || c->n_conns > 0 || !link_empty(&c->calls))
        return;
    c->finishing = true;
    uv_close((uv_handle_t *)&c->timer, client_on_closed);
    uv_close((uv_handle_t *)&c->soon, client_on_closed);
}

/* ---- the end of a call ---- */

static void call_free(struct http_call *k)
{
    hc_send_clear(k);
    link_del(&k->link);
    link_del(&k->soon);
    free(k);
}

/* The last callbacks. k is freed. */
static void call_done(struct http_call *k)
{
    struct http_client *c = k->client;

    if (k->err < 0 && !k->aborted && !k->ended && k->ops->on_fail != NULL)
        k->ops->on_fail(k, k->err);
    k->ops->on_done(k);
    call_free(k);
    client_try_finish(c);
}

static void client_on_soon(uv_idle_t *h)
{
    struct http_client *c = h->data;
    struct hc_link due = {&due, &due};

    uv_idle_stop(h);
    while (!link_empty(&c->done)) { /* those that callbacks add wait for the next turn */
        struct hc_link *l = c->done.prev;

        link_del(l);
        link_add(&due, l);
    }
    while (!link_empty(&due)) {
        struct http_call *k = HC_OF(due.prev, struct http_call, soon);

        link_del(&k->soon);
        call_done(k);
    }
}

void hc_call_over(struct http_call *k, int err)
{
    if (k->over)
        return;
    k->over = true;
    k->err = err;
    if (k->conn != NULL) {
        hc_conn_close(k->conn);
        return;
    }
    link_add(&k->client->done, &k->soon);
    uv_idle_start(&k->client->soon, client_on_soon);
}

/* ---- connections ---- */

static void conn_on_closed(uv_handle_t *h)
{
    struct hc_conn *n = h->data;
    struct http_client *c = n->client;
    struct http_call *k = n->call;

    if (k != NULL) { /* the head that the call was given lives in the parser */
        k->conn = NULL;
        call_done(k);
    }
    http_parser_free(n->parser);
    free(n);
    c->n_conns--;
    client_try_finish(c);
}

void hc_conn_close(struct hc_conn *n)
{
    if (n->closing)
        return;
    n->closing = true;
    if (n->kept) {
        n->kept = false;
        n->client->n_kept--;
    }
    link_del(&n->link);
    uv_close(&n->h.handle, conn_on_closed);
}

/* Takes the call away from its connection and closes that. */
static void call_drop_conn(struct http_call *k)
{
    struct hc_conn *n = k->conn;

    n->call = NULL;
    k->conn = NULL;
    hc_conn_close(n);
}

static void conn_on_read(uv_stream_t *st, ssize_t nread, const uv_buf_t *buf);

static void conn_on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out)
{
    (void)h;
    (void)hint;
    *out = uv_buf_init(read_buf.bytes, READ_BYTES);
}

static int conn_read(struct hc_conn *n)
{
    int r;

    if (n->reading)
        return 0;
    r = uv_read_start(&n->h.stream, conn_on_alloc, conn_on_read);
    n->reading = r == 0;
    return r;
}

/* ---- responses ---- */

static int call_on_head(void *arg, const struct http_head *head)
{
    struct hc_conn *n = arg;
    struct http_call *k = n->call;

    k->state = HC_BODY;
    k->batch = true;
    k->reusable = head->keep_alive && head->framing != HTTP_BODY_EOF;
    if (k->ops->on_head != NULL)
        k->ops->on_head(k, head);
    return n->closing ? UV_ECANCELED : 0;
}

static int call_on_body(void *arg, const char *bytes, size_t n_bytes)
{
    struct hc_conn *n = arg;
    struct http_call *k = n->call;

    k->batch = true;
    if (k->ops->on_body != NULL)
        k->ops->on_body(k, bytes, n_bytes);
    return n->closing ? UV_ECANCELED : 0;
}

static int call_on_end(void *arg)
{
    struct hc_conn *n = arg;

    n->call->whole = true;
    return 0;
}

static const struct http_parser_ops conn_parser_ops = {call_on_head, call_on_body, call_on_end};

static void conn_keep(struct hc_conn *n)
{
    struct http_client *c = n->client;

    n->call = NULL;
    if (c->conf.keep_max == 0 || c->conf.keep_ms == 0) {
        hc_conn_close(n);
        return;
    }
    if (c->n_kept >= c->conf.keep_max)
        hc_conn_close(HC_OF(c->kept.prev, struct hc_conn, link));
    n->kept = n->reused = true;
    n->since_ms = uv_now(c->loop);
    link_add(&c->kept, &n->link);
    c->n_kept++;
}

/* All of the response is there. clean: not a byte came after it. */
static void call_ended(struct http_call *k, bool clean)
{
    struct hc_conn *n = k->conn;
    bool keep = clean && k->reusable && k->sent && !k->client->closing;

    k->ended = true;
    if (k->ops->on_end != NULL)
        k->ops->on_end(k);
    if (n->closing)
        return;
    if (!keep || conn_read(n) < 0) {
        hc_call_over(k, 0);
        return;
    }
    k->over = true;
    k->conn = NULL;
    conn_keep(n);
    call_done(k);
}

/* Tells that the bytes of one read are through. False: the call ended meanwhile. */
static bool call_flush_batch(struct http_call *k, struct hc_conn *n)
{
    if (n->closing)
        return false;
    if (k->batch) {
        k->batch = false;
        if (k->ops->on_batch != NULL)
            k->ops->on_batch(k);
    }
    return !n->closing;
}

static void call_on_bytes(struct http_call *k, const char *bytes, size_t n_bytes)
{
    struct hc_conn *n = k->conn;
    size_t used = 0;
    int r;

    if (!k->got_bytes) {
        k->got_bytes = true;
        k->mark_ms = uv_now(k->client->loop);
        hc_send_settle(k); /* it will not be sent a second time */
    }
    r = http_parser_feed(n->parser, bytes, n_bytes, &used);
    if (!call_flush_batch(k, n))
        return;
    if (k->state == HC_BODY) /* a head that only drips has one deadline for all of it */
        k->mark_ms = uv_now(k->client->loop);
    if (r < 0)
        hc_call_over(k, r);
    else if (r == RM_AGAIN)
        call_ended(k, used == n_bytes);
}

/* A kept connection that the peer had closed before it saw the request. */
static bool call_is_stale(const struct http_call *k, int err)
{
    return k->conn->reused && !k->got_bytes && !k->retried && hc_send_again(k) &&
           (err == UV_EOF || err == UV_ECONNRESET || err == UV_EPIPE);
}

static void call_on_read_error(struct http_call *k, int err)
{
    struct hc_conn *n = k->conn;
    int r;

    if (call_is_stale(k, err)) {
        k->retried = true;
        call_drop_conn(k);
        k->sent = false;
        hc_call_connect(k);
        return;
    }
    if (err != UV_EOF || !k->got_bytes) {
        hc_call_over(k, err);
        return;
    }
    r = http_parser_eof(n->parser);
    if (!call_flush_batch(k, n))
        return;
    if (r < 0 || !k->whole)
        hc_call_over(k, r < 0 ? r : RM_ERR_HTTP_SYNTAX);
    else
        call_ended(k, false);
}

static void conn_on_read(uv_stream_t *st, ssize_t nread, const uv_buf_t *buf)
{
    struct hc_conn *n = st->data;

    if (nread == 0 || n->closing)
        return;
    if (n->call == NULL) /* kept: closed by the peer, or bytes that nobody asked for */
        hc_conn_close(n);
    else if (nread < 0)
        call_on_read_error(n->call, (int)nread);
    else
        call_on_bytes(n->call, buf->base, (size_t)nread);
}

/* ---- connecting ---- */

/* Bytes or an end before a request was sent: nothing that comes on it can be an answer of ours. */
static bool conn_is_dirty(const struct hc_conn *n)
{
    uv_os_fd_t fd;
    char byte;

    return uv_fileno(&n->h.handle, &fd) < 0 || recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

static void conn_set_options(struct hc_conn *n)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, HTTP_KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, HTTP_KEEPALIVE_EVERY_S},
        {IPPROTO_TCP, TCP_KEEPCNT, HTTP_KEEPALIVE_PROBES},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
    };
    uv_os_fd_t fd;

    if (n->client->address.is_unix || uv_fileno(&n->h.handle, &fd) < 0)
        return;
    for (size_t i = 0; i < RM_COUNT(options); i++) /* an option that fails costs comfort only */
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

/* The connection is up and the call is on it. */
static void call_on_conn(struct http_call *k)
{
    struct hc_conn *n = k->conn;
    int r;

    k->state = HC_ANSWER;
    k->mark_ms = uv_now(k->client->loop);
    http_parser_set_head_answer(n->parser, k->is_head);
    if (!k->paused && (r = conn_read(n)) < 0) {
        hc_call_over(k, r);
        return;
    }
    hc_send_start(k);
}

static void conn_on_connect(uv_connect_t *req, int status)
{
    struct hc_conn *n = req->handle->data;
    struct http_call *k = n->call;

    if (n->closing)
        return;
    if (status < 0) {
        hc_call_next_address(k, status);
        return;
    }
    conn_set_options(n);
    if (conn_is_dirty(n)) {
        hc_call_over(k, RM_ERR_HTTP_SYNTAX);
        return;
    }
    if (n->client->address.is_unix)
        n->client->peer.ss_family = AF_UNIX;
    else
        n->client->peer = n->client->addrs[k->addr_i];
    call_on_conn(k);
}

static int conn_open(struct http_client *c, struct hc_conn **out)
{
    struct hc_conn *n = calloc(1, sizeof(*n));
    int r = UV_ENOMEM;

    *out = NULL;
    if (n == NULL)
        return r;
    r = http_parser_new(HTTP_PARSE_RESPONSE, &c->conf.limits, &conn_parser_ops, n, &n->parser);
    if (r == 0)
        r = c->address.is_unix ? uv_pipe_init(c->loop, &n->h.pipe, 0)
                               : uv_tcp_init(c->loop, &n->h.tcp);
    if (r < 0) {
        http_parser_free(n->parser);
        free(n);
        return r;
    }
    n->client = c;
    n->h.handle.data = n;
    n->since_ms = uv_now(c->loop);
    link_init(&n->link);
    c->n_conns++;
    *out = n;
    return 0;
}

/* Opens a connection to the call's address number addr_i. */
static int call_open(struct http_call *k)
{
    struct http_client *c = k->client;
    struct hc_conn *n;
    int r;

    if ((r = conn_open(c, &n)) < 0)
        return r;
    k->conn = n;
    n->call = k;
    k->state = HC_CONNECT;
    if (c->address.is_unix) {
        uv_pipe_connect(&n->req.connect, &n->h.pipe, c->address.host, conn_on_connect);
        return 0;
    }
    r = uv_tcp_connect(&n->req.connect, &n->h.tcp, (const struct sockaddr *)&c->addrs[k->addr_i],
                       conn_on_connect);
    if (r < 0)
        call_drop_conn(k);
    return r;
}

void hc_call_next_address(struct http_call *k, int err)
{
    do {
        if (k->conn != NULL)
            call_drop_conn(k);
        k->addr_i++;
        if (k->client->address.is_unix || k->addr_i >= k->client->n_addrs) {
            hc_call_over(k, err);
            return;
        }
        err = call_open(k);
    } while (err < 0);
}

static void client_on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct http_client *c = req->data;
    uint64_t now = uv_now(c->loop);
    int r;

    c->resolving = false;
    if (status == 0) {
        c->n_addrs = 0;
        c->addrs_ms = now;
        for (struct addrinfo *a = found; a != NULL && c->n_addrs < HC_ADDRS; a = a->ai_next)
            memcpy(&c->addrs[c->n_addrs++], a->ai_addr, a->ai_addrlen);
        uv_freeaddrinfo(found);
    } else if (c->n_addrs > 0 && now - c->addrs_ms < ADDRS_GOOD_MS) {
        status = 0; /* the last good answer must do */
    }
    for (struct hc_link *l = c->calls.next, *next; l != &c->calls; l = next) {
        struct http_call *k = HC_OF(l, struct http_call, link);

        next = l->next;
        if (k->over || k->state != HC_RESOLVE)
            continue;
        k->addr_i = 0;
        if (status < 0)
            hc_call_over(k, status);
        else if (c->n_addrs == 0)
            hc_call_over(k, UV_EAI_NONAME);
        else if ((r = call_open(k)) < 0)
            hc_call_next_address(k, r);
    }
    client_try_finish(c);
}

static int client_resolve(struct http_client *c)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char port[8];
    int r;

    if (c->resolving)
        return 0;
    snprintf(port, sizeof(port), "%u", (unsigned)c->address.port);
    c->resolve.data = c;
    r = uv_getaddrinfo(c->loop, &c->resolve, client_on_resolved, c->address.host, port, &hints);
    c->resolving = r == 0;
    return r;
}

void hc_call_connect(struct http_call *k)
{
    struct http_client *c = k->client;
    bool known = c->address.is_unix || c->literal ||
                 (c->n_addrs > 0 && uv_now(c->loop) - c->addrs_ms < ADDRS_FRESH_MS);
    int r;

    k->addr_i = 0;
    k->mark_ms = uv_now(c->loop);
    k->state = HC_RESOLVE;
    r = known ? call_open(k) : client_resolve(c);
    if (r < 0 && known)
        hc_call_next_address(k, r);
    else if (r < 0)
        hc_call_over(k, r);
}

/* ---- deadlines ---- */

/* Why the call must end at `now`, or 0. */
static int call_late(struct http_call *k, uint64_t now)
{
    const struct http_client_conf *conf = &k->client->conf;
    uint64_t waited = now - k->mark_ms;

    switch (k->state) {
    case HC_RESOLVE:
    case HC_CONNECT:
        return waited >= conf->connect_ms ? UV_ETIMEDOUT : 0;
    case HC_ANSWER:
        if (k->send_err < 0)
            return waited >= LAST_WORDS_MS ? k->send_err : 0;
        if (!k->sent && !k->got_bytes)
            return hc_send_stalled(k, now, WRITE_STALL_MS) ? RM_ERR_UPSTREAM_TIMEOUT : 0;
        return k->head_ms > 0 && waited >= k->head_ms ? RM_ERR_UPSTREAM_TIMEOUT : 0;
    default:
        return conf->idle_ms > 0 && !k->paused && waited >= conf->idle_ms ? RM_ERR_UPSTREAM_TIMEOUT
                                                                          : 0;
    }
}

/* Kept connections: the old go, the others give back the memory of their last head. */
static void client_sweep(struct http_client *c, uint64_t now)
{
    for (struct hc_link *l = c->kept.prev, *next; l != &c->kept; l = next) {
        struct hc_conn *n = HC_OF(l, struct hc_conn, link);

        next = l->prev;
        if (now - n->since_ms >= c->conf.keep_ms)
            hc_conn_close(n);
        else if (now - n->since_ms >= TRIM_MS)
            http_parser_trim(n->parser);
    }
}

static void client_on_tick(uv_timer_t *h)
{
    struct http_client *c = h->data;
    uint64_t now = uv_now(c->loop);
    int late;

    for (struct hc_link *l = c->calls.next; l != &c->calls; l = l->next) {
        struct http_call *k = HC_OF(l, struct http_call, link);

        if (k->over)
            continue;
        if (k->state == HC_CONNECT && k->conn != NULL && c->n_addrs > 1 &&
            now - k->conn->since_ms >= c->conf.connect_ms / c->n_addrs)
            hc_call_next_address(k, UV_ETIMEDOUT); /* the other addresses get their share */
        else if ((late = call_late(k, now)) < 0)
            hc_call_over(k, late);
    }
    client_sweep(c, now);
    if (link_empty(&c->calls) && link_empty(&c->kept))
        uv_timer_stop(h);
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return b > 0 && b < a ? b : a;
}

/* A quarter of the shortest deadline. */
static void client_arm(struct http_client *c, uint32_t head_ms)
{
    const struct http_client_conf *conf = &c->conf;
    uint32_t least =
        smaller(smaller(smaller(conf->connect_ms, conf->idle_ms), conf->keep_ms), head_ms);
    uint32_t every = least / 4 < TICK_MIN_MS   ? TICK_MIN_MS
                     : least / 4 > TICK_MAX_MS ? TICK_MAX_MS
                                               : least / 4;

    if (!uv_is_active((uv_handle_t *)&c->timer) || every < uv_timer_get_repeat(&c->timer))
        uv_timer_start(&c->timer, client_on_tick, every, every);
}

/* ---- the contract ---- */

static int client_host(struct http_client *c)
{
    char text[HTTP_ADDRESS_TEXT];

    if (c->conf.host == NULL && !c->address.is_unix)
        http_address_text(&c->address, text);
    c->host = rm_slice_dup(rm_slice_of(c->conf.host != NULL ? c->conf.host
                                       : c->address.is_unix ? "localhost"
                                                            : text));
    c->conf.host = NULL; /* borrowed for the call only */
    return c->host != NULL ? 0 : UV_ENOMEM;
}

static void client_literal(struct http_client *c)
{
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&c->addrs[0];
    struct sockaddr_in *four = (struct sockaddr_in *)&c->addrs[0];

    c->literal = !c->address.is_unix && (uv_ip4_addr(c->address.host, c->address.port, four) == 0 ||
                                         uv_ip6_addr(c->address.host, c->address.port, six) == 0);
    c->n_addrs = c->literal ? 1 : 0;
}

int http_client_new(uv_loop_t *loop, const struct http_address *a,
                    const struct http_client_conf *conf, struct http_client **out)
{
    struct http_client *c = calloc(1, sizeof(*c));

    *out = NULL;
    if (c == NULL)
        return UV_ENOMEM;
    c->loop = loop;
    c->address = *a;
    c->conf = *conf;
    link_init(&c->calls);
    link_init(&c->kept);
    link_init(&c->done);
    if (client_host(c) < 0 || read_buf_ref() < 0) {
        free(c->host);
        free(c);
        return UV_ENOMEM;
    }
    client_literal(c);
    uv_timer_init(loop, &c->timer); /* these two cannot fail */
    uv_idle_init(loop, &c->soon);
    c->timer.data = c->soon.data = c;
    c->open_handles = 2;
    *out = c;
    return 0;
}

uint32_t http_client_connections(const struct http_client *c)
{
    return c->n_conns;
}

void http_client_close(struct http_client *c)
{
    if (c == NULL || c->closing)
        return;
    c->closing = true;
    while (!link_empty(&c->kept))
        hc_conn_close(HC_OF(c->kept.next, struct hc_conn, link));
    for (struct hc_link *l = c->calls.next; l != &c->calls; l = l->next)
        hc_call_over(HC_OF(l, struct http_call, link), UV_ECANCELED);
    client_try_finish(c);
}

/* The kept connection used last that is still clean, or NULL. */
static struct hc_conn *client_take(struct http_client *c)
{
    while (!link_empty(&c->kept)) {
        struct hc_conn *n = HC_OF(c->kept.next, struct hc_conn, link);

        if (!conn_is_dirty(n)) {
            link_del(&n->link);
            n->kept = false;
            c->n_kept--;
            return n;
        }
        hc_conn_close(n);
    }
    return NULL;
}

int http_call_start(struct http_client *c, const struct http_call_spec *spec,
                    const struct http_call_ops *ops, void *arg, struct http_call **out)
{
    struct http_call *k = calloc(1, sizeof(*k));
    int r;

    *out = NULL;
    if (k == NULL)
        return UV_ENOMEM;
    k->client = c;
    k->ops = ops;
    k->arg = arg;
    k->head_ms = spec->head_ms > 0 ? spec->head_ms : c->conf.head_ms;
    k->is_head = strcmp(spec->method, "HEAD") == 0;
    link_init(&k->link);
    link_init(&k->soon);
    r = c->closing ? UV_ECANCELED : hc_send_init(k, spec);
    if (r < 0) {
        call_free(k);
        return r;
    }
    link_add(&c->calls, &k->link);
    client_arm(c, k->head_ms);
    *out = k;
    k->conn = client_take(c);
    if (k->conn == NULL) {
        hc_call_connect(k);
        return 0;
    }
    k->conn->call = k;
    call_on_conn(k);
    return 0;
}

void *http_call_arg(const struct http_call *k)
{
    return k->arg;
}

void http_call_pause(struct http_call *k)
{
    if (k->over || k->paused)
        return;
    k->paused = true;
    if (k->conn != NULL && k->conn->reading) {
        uv_read_stop(&k->conn->h.stream);
        k->conn->reading = false;
    }
}

void http_call_resume(struct http_call *k)
{
    int r;

    if (k->over || !k->paused)
        return;
    k->paused = false;
    k->mark_ms = uv_now(k->client->loop);
    if (k->conn == NULL || k->state < HC_ANSWER)
        return;
    if ((r = conn_read(k->conn)) < 0)
        hc_call_over(k, r);
}

bool http_call_got_bytes(const struct http_call *k)
{
    return k->got_bytes;
}

bool http_call_was_sent(const struct http_call *k)
{
    return k->sent;
}

void http_call_abort(struct http_call *k)
{
    k->aborted = true;
    hc_call_over(k, UV_ECANCELED);
}

const struct sockaddr *http_client_peer(const struct http_client *c)
{
    return c->peer.ss_family != AF_UNSPEC ? (const struct sockaddr *)&c->peer : NULL;
}

bool http_call_was_kept(const struct http_call *k)
{
    return k->conn != NULL && k->conn->reused;
}
