/* SPDX-License-Identifier: MIT */
/* proto/http/conn.c - the life of one server connection. The picture is in conn.h.
 *
 * Callbacks note what happened and end with conn_settle(), which alone finishes requests and closes
 * the connection; a call from a handler outside our callbacks puts the connection on the server's
 * due list instead, so that nothing calls back inside the call that asked. */
#include "proto/http/conn.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

static void no_op(struct http_req *q)
{
    (void)q;
}

/* For requests that the server answers itself. */
static const struct http_req_ops self_ops = {.on_done = no_op};

/* ---- states ---- */

void conn_to(struct conn *c, enum conn_state state)
{
    static const char *const names[] = {"idle", "head",   "body",   "reply",
                                        "skip", "linger", "closing"};
    const struct http_server_conf *conf = &c->server->conf;

    rm_debug("http", "connection", RM_S("from", names[c->state]), RM_S("to", names[state]));
    c->state = state;
    c->since_ms = rm_now_ms();
    c->trimmed = false;
    c->deadline_ms = state == HC_IDLE     ? c->since_ms + conf->idle_ms
                     : state == HC_HEAD   ? c->since_ms + conf->head_ms
                     : state == HC_SKIP   ? c->since_ms + CONN_SKIP_MS
                     : state == HC_LINGER ? c->since_ms + CONN_LINGER_MS
                                          : 0;
    if (state == HC_BODY) {
        c->rate_at_ms = c->since_ms;
        c->rate_bytes = 0;
    }
}

bool conn_reads(const struct conn *c)
{
    if (c->deaf || c->broken != 0)
        return false;
    return c->state == HC_IDLE || c->state == HC_HEAD || c->state == HC_SKIP ||
           (c->state == HC_BODY && !c->req.paused);
}

void conn_due(struct conn *c)
{
    struct http_server *s = c->server;

    if (c->busy > 0 || c->due || c->state == HC_CLOSING)
        return;
    c->due = true;
    c->due_prev = NULL;
    c->due_next = s->due;
    if (s->due != NULL)
        s->due->due_prev = c;
    s->due = c;
    server_wake(s);
}

static void conn_undue(struct conn *c)
{
    if (!c->due)
        return;
    c->due = false;
    if (c->due_prev != NULL)
        c->due_prev->due_next = c->due_next;
    else
        c->server->due = c->due_next;
    if (c->due_next != NULL)
        c->due_next->due_prev = c->due_prev;
}

void conn_break(struct conn *c, int why)
{
    if (c->broken == 0)
        c->broken = why;
    conn_due(c);
}

/* ---- what the parser says ---- */

/* A request that the server answers before any handler sees it. 0: none of those. */
static int own_answer(const struct http_head *h)
{
    if (h->minor == 1 && !h->expect_continue && http_head_find(h, "Expect") != NULL)
        return RM_ERR_EXPECT;
    if (h->method == HTTP_POST && h->framing == HTTP_BODY_NONE &&
        http_head_find(h, "Content-Length") == NULL)
        return RM_ERR_HTTP_LENGTH;
    return 0;
}

static void answer_options(struct http_req *q)
{
    const struct http_out_field allow = {"Allow", RM_LIT("GET, HEAD, POST, PUT, DELETE, OPTIONS")};

    http_req_accept(q, &self_ops, NULL);
    http_reply_full(q, 204, &allow, 1, NULL, (struct rm_slice){NULL, 0});
}

static int conn_on_head(void *arg, const struct http_head *h)
{
    struct conn *c = arg;
    struct http_req *q = &c->req;
    struct http_server *s = c->server;
    int err = own_answer(h);

    q->head = h;
    q->active = true;
    c->skipped = 0;
    q->continue_done = !h->expect_continue;
    s->stats.requests++;
    s->stats.active++;
    conn_to(c, HC_BODY);
    if (err != 0) {
        http_req_accept(q, &self_ops, NULL);
        reply_error(q, err);
    } else if (rm_slice_eq(h->target, "*")) {
        answer_options(q);
    } else {
        s->conf.on_request(s->conf.arg, q);
        if (!q->accepted) {
            http_req_accept(q, &self_ops, NULL);
            reply_error(q, RM_ERR_INTERNAL);
        }
    }
    return c->broken != 0 ? RM_ERR_CANCELLED : q->paused ? RM_WAIT : 0;
}

static int conn_on_body(void *arg, const char *bytes, size_t n)
{
    struct conn *c = arg;
    struct http_req *q = &c->req;

    c->rate_bytes += n;
    if (c->state == HC_SKIP || q->ended) {
        c->skipped += n;
        return c->skipped > CONN_SKIP_BYTES ? RM_ERR_CANCELLED : 0;
    }
    q->continue_done = true; /* the client did not wait for it */
    q->body_seen += n;
    if (q->ops->on_body != NULL)
        q->ops->on_body(q, bytes, n);
    return c->broken != 0 ? RM_ERR_CANCELLED : q->paused ? RM_WAIT : 0;
}

static int conn_on_end(void *arg)
{
    struct conn *c = arg;
    struct http_req *q = &c->req;

    if (c->state == HC_SKIP) {
        conn_to(c, HC_IDLE);
        return 0;
    }
    q->body_done = true;
    q->continue_done = true;
    conn_to(c, HC_REPLY);
    if (!q->ended && !q->gone && q->ops->on_end != NULL)
        q->ops->on_end(q);
    return 0;
}

static const struct http_parser_ops conn_parser_ops = {conn_on_head, conn_on_body, conn_on_end};

/* ---- ends ---- */

/* Tells the handler once. */
static void tell_gone(struct conn *c, int why)
{
    struct http_req *q = &c->req;

    if (!q->active || q->ended || q->gone)
        return;
    q->gone = true;
    if (q->ops->on_gone != NULL)
        q->ops->on_gone(q, why);
}

/* The body's framing is damaged or over a limit: the handler may answer, else we do. */
static void refuse_body(struct conn *c, int err)
{
    struct http_req *q = &c->req;

    if (q->ended)
        return; /* answered already: it closes after that */
    q->may_answer = !q->started;
    tell_gone(c, err);
    if (q->may_answer && !q->started)
        reply_error(q, err);
    q->may_answer = false;
    if (!q->ended)
        http_reply_cut(q);
}

/* No request to answer to: one is made up. */
static void refuse_head(struct conn *c, int err)
{
    struct http_req *q = &c->req;

    reply_reset(q);
    q->active = q->body_done = true;
    c->server->stats.active++;
    conn_to(c, HC_REPLY);
    http_req_accept(q, &self_ops, NULL);
    reply_error(q, err);
}

void conn_refuse(struct conn *c, int err)
{
    if (c->deaf || c->broken != 0 || c->state == HC_CLOSING || c->state == HC_LINGER)
        return;
    c->deaf = c->close = true;
    c->busy++;
    rm_debug("http", "refused", RM_S("peer", http_req_peer(&c->req)), RM_E("why", err));
    if (err != RM_ERR_CANCELLED && err != RM_ERR_OVERLOAD)
        c->server->stats.bad_requests++;
    if (c->req.active)
        refuse_body(c, err);
    else if (c->state == HC_SKIP)
        conn_to(c, HC_LINGER);
    else
        refuse_head(c, err);
    c->busy--;
}

void conn_eof(struct conn *c, int why)
{
    const struct http_req *q = &c->req;

    c->eof = c->deaf = true;
    if (c->state == HC_HEAD || (q->active && !q->ended))
        c->server->stats.client_aborts++;
    if (why == UV_EOF && q->active && q->ended)
        return; /* it has sent all it wanted; what is left of the answer goes out */
    conn_break(c, why == UV_EOF ? RM_ERR_GONE : why);
}

static void conn_on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    struct http_req *q = &c->req;

    if (q->active) {
        q->active = false;
        c->server->stats.active--;
        q->ops->on_done(q);
    }
    conn_undue(c);
    c->writing = false;
    conn_out_free(c);
    rm_buf_clear(&c->in);
    http_parser_free(c->parser);
    server_conn_closed(c);
    free(c);
}

void conn_close(struct conn *c)
{
    if (c->state == HC_CLOSING)
        return;
    conn_to(c, HC_CLOSING);
    conn_undue(c);
    uv_close(&c->h.handle, conn_on_closed);
}

static void conn_drop_input(struct conn *c)
{
    c->in_at = 0;
    rm_buf_clear(&c->in);
}

static void conn_on_shut(uv_shutdown_t *shut, int status)
{
    (void)shut;
    (void)status; /* the deadline ends it whatever comes */
}

/* Everything is sent: closes our side and reads on for a moment, so that the peer's kernel does not
 * throw the answer away because of unread input (RFC 9112 section 9.6). */
static void conn_linger(struct conn *c)
{
    c->deaf = true;
    conn_drop_input(c);
    conn_to(c, HC_LINGER);
    if (c->eof || uv_shutdown(&c->shut, &c->h.stream, conn_on_shut) < 0)
        conn_close(c);
}

/* The reply is written: what now? */
static void conn_finish(struct conn *c)
{
    struct http_req *q = &c->req;
    const bool whole = q->body_done;

    c->busy++;
    q->active = false;
    c->server->stats.active--;
    q->ops->on_done(q);
    reply_reset(q);
    c->busy--;
    if (c->state == HC_CLOSING || c->broken != 0)
        return;
    if (c->server->draining)
        c->close = true;
    if (c->close || c->eof) {
        if (!c->eof && (!whole || c->deaf || c->in.len > 0))
            conn_linger(c);
        else
            conn_close(c);
        return;
    }
    conn_to(c, whole ? HC_IDLE : HC_SKIP);
}

/* ---- input ---- */

/* The client waits for leave to send its body, and the handler wants it. */
static void send_continue(struct conn *c)
{
    struct http_req *q = &c->req;
    uv_buf_t text = uv_buf_init((char *)"HTTP/1.1 100 Continue\r\n\r\n", 25);

    if (c->state != HC_BODY || q->continue_done || q->paused || q->started || q->gone)
        return;
    q->continue_done = true;
    conn_send(c, &text, 1);
}

/* Parses what may be parsed now; returns the bytes taken. */
static size_t conn_feed(struct conn *c, const char *bytes, size_t n)
{
    size_t at = 0, used;
    int r;

    while (at < n && conn_reads(c)) {
        if (c->state == HC_IDLE && c->req.start_us == 0)
            c->req.start_us = rm_now_us();
        r = http_parser_feed(c->parser, bytes + at, n - at, &used);
        at += used;
        if (r < 0) {
            conn_refuse(c, r);
            return n;
        }
        if (c->state == HC_IDLE && !http_parser_idle(c->parser))
            conn_to(c, HC_HEAD);
        /* A reply that is complete is finished before the next message is read. */
        if (c->req.ended && c->req.body_done)
            break;
    }
    return at;
}

static int conn_hold_input(struct conn *c, const char *bytes, size_t n)
{
    rm_buf_eat(&c->in, c->in_at);
    c->in_at = 0;
    return rm_buf_put(&c->in, bytes, n);
}

static void conn_pump(struct conn *c)
{
    size_t used;

    c->busy++;
    used = conn_feed(c, c->in.data + c->in_at, c->in.len - c->in_at);
    c->busy--;
    c->in_at += used;
    if (c->in_at >= c->in.len)
        conn_drop_input(c);
}

static void conn_on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    struct conn *c = handle->data;
    size_t n = CONN_READ_BYTES;

    (void)hint;
    if (!conn_reads(c) && !c->deaf)
        n = CONN_HELD_BYTES - (c->in.len - c->in_at); /* reading stops before this is 0 */
    *buf = uv_buf_init(c->server->read_buf, (unsigned)n);
}

static void conn_on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    size_t n = nread > 0 ? (size_t)nread : 0, used = 0;

    if (nread == 0 || c->state == HC_CLOSING)
        return;
    c->busy++;
    if (nread < 0)
        conn_eof(c, (int)nread);
    else if (c->in.len == 0 && conn_reads(c))
        used = conn_feed(c, buf->base, n);
    if (!c->deaf && used < n && conn_hold_input(c, buf->base + used, n - used) < 0)
        conn_break(c, UV_ENOMEM);
    c->busy--;
    conn_settle(c);
}

/* Reads while there is use for it, and else a little, to see the peer go. */
static void conn_read_on(struct conn *c)
{
    const bool want =
        !c->eof && (c->deaf || conn_reads(c) || c->in.len - c->in_at < CONN_HELD_BYTES);
    int r;

    if (want == c->reading)
        return;
    c->reading = want;
    if (!want) {
        uv_read_stop(&c->h.stream);
        return;
    }
    r = uv_read_start(&c->h.stream, conn_on_alloc, conn_on_read);
    if (r < 0)
        conn_break(c, r);
}

/* ---- settling ---- */

static bool reply_is_out(const struct conn *c)
{
    return c->req.active && c->req.ended && conn_queued(c) == 0;
}

void conn_settle(struct conn *c)
{
    if (c->busy > 0)
        return;
    while (c->state != HC_CLOSING && c->broken == 0) {
        if (reply_is_out(c)) {
            conn_finish(c);
            continue;
        }
        if (c->in.len > 0 && conn_reads(c)) {
            conn_pump(c);
            continue;
        }
        break;
    }
    if (c->state == HC_CLOSING)
        return;
    if (c->server->draining && c->state == HC_IDLE && http_parser_idle(c->parser))
        conn_break(c, RM_ERR_DRAINING);
    if (c->broken == 0) {
        c->busy++;
        send_continue(c);
        conn_read_on(c);
        c->busy--;
    }
    if (c->broken != 0) {
        c->busy++;
        tell_gone(c, c->broken);
        c->busy--;
        conn_close(c);
    }
}

/* ---- deadlines ---- */

/* While reading is stopped nobody sees the peer leave: asks the kernel. */
static bool peer_left(const struct conn *c)
{
    struct pollfd p = {.events = POLLRDHUP};

    if (c->reading || c->eof || uv_fileno(&c->h.handle, &p.fd) < 0)
        return false;
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void sweep_body(struct conn *c, uint64_t now_ms)
{
    const uint64_t least = (uint64_t)c->server->conf.body_rate_bytes * (CONN_RATE_MS / 1000);

    if (c->req.paused || now_ms - c->rate_at_ms >= CONN_RATE_MS) {
        if (!c->req.paused && c->rate_bytes < least && !c->deaf)
            conn_refuse(c, RM_ERR_HTTP_TIMEOUT);
        c->rate_at_ms = now_ms;
        c->rate_bytes = 0;
    }
}

/* libuv's queue shrinks as the kernel takes bytes of the write under way. */
static void sweep_stall(struct conn *c, uint64_t now_ms)
{
    const size_t left = uv_stream_get_write_queue_size(&c->h.stream);

    if (!c->writing)
        return;
    if (left != c->stall_left) {
        c->stall_left = left;
        c->stall_at_ms = now_ms;
    } else if (now_ms - c->stall_at_ms >= c->server->conf.write_stall_ms) {
        c->server->stats.client_aborts++;
        conn_break(c, RM_ERR_GONE);
    }
}

static void sweep_trim(struct conn *c, uint64_t now_ms)
{
    if (c->trimmed || now_ms - c->since_ms < CONN_TRIM_MS)
        return;
    c->trimmed = true;
    if (c->state == HC_IDLE) {
        http_parser_trim(c->parser);
        rm_buf_clear(&c->head);
    } else if (c->req.committed) {
        rm_buf_clear(&c->head);
    }
    if (!c->writing && c->out.len == 0)
        rm_buf_clear(&c->out);
}

void conn_sweep(struct conn *c, uint64_t now_ms)
{
    if (c->state == HC_CLOSING)
        return;
    c->busy++;
    if (c->deadline_ms != 0 && now_ms >= c->deadline_ms) {
        if (c->state == HC_HEAD)
            conn_refuse(c, RM_ERR_HTTP_TIMEOUT);
        else
            conn_break(c, RM_ERR_HTTP_TIMEOUT);
    }
    if (c->state == HC_BODY)
        sweep_body(c, now_ms);
    sweep_stall(c, now_ms);
    if (peer_left(c))
        conn_eof(c, UV_EOF);
    sweep_trim(c, now_ms);
    c->busy--;
    conn_settle(c);
}

/* ---- beginnings ---- */

struct conn *conn_new(struct http_server *s, bool is_tcp)
{
    struct conn *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL)
        return NULL;
    c->server = s;
    c->is_tcp = is_tcp;
    reply_reset(&c->req);
    rm_buf_init(&c->in, CONN_READ_BYTES + CONN_HELD_BYTES);
    rm_buf_init(&c->head, CONN_HEAD_BYTES);
    rm_buf_init(&c->out, SIZE_MAX / 2); /* bounded by queue_bytes in reply.c */
    rm_buf_init(&c->flying, SIZE_MAX / 2);
    r = http_parser_new(HTTP_PARSE_REQUEST, &s->conf.limits, &conn_parser_ops, c, &c->parser);
    if (r == 0)
        r = is_tcp ? uv_tcp_init(s->loop, &c->h.tcp) : uv_pipe_init(s->loop, &c->h.pipe, 0);
    if (r < 0) {
        http_parser_free(c->parser);
        free(c);
        return NULL;
    }
    c->h.handle.data = c;
    return c;
}

void conn_open(struct conn *c)
{
    conn_to(c, HC_IDLE);
    conn_settle(c);
}
