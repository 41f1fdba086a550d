/* SPDX-License-Identifier: MIT */
/* proto/http/reply.c - one request as its handler sees it, and the answer: head, chunks, end. The
 * head is composed at http_reply_start and sealed (Connection, blank line) when it leaves, so that
 * it goes out in one write with the first body bytes. See server.h. */
#include "proto/http/conn.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/json_write.h"

static const char allow_all[] = "GET, HEAD, POST, PUT, DELETE, OPTIONS";

struct conn *conn_of(struct http_req *q)
{
    return (struct conn *)((char *)q - offsetof(struct conn, req));
}

static const struct conn *conn_of_const(const struct http_req *q)
{
    return (const struct conn *)((const char *)q - offsetof(struct conn, req));
}

void reply_reset(struct http_req *q)
{
    static const struct http_head no_head = {.minor = 1};

    *q = (struct http_req){.head = &no_head, .length = -1};
}

/* ---- the request ---- */

void http_req_accept(struct http_req *q, const struct http_req_ops *ops, void *arg)
{
    assert(q->active && !q->accepted && ops->on_done != NULL);
    q->ops = ops;
    q->arg = arg;
    q->accepted = true;
}

void *http_req_arg(const struct http_req *q)
{
    return q->arg;
}

const struct http_head *http_req_head(const struct http_req *q)
{
    return q->head;
}

uint64_t http_req_start_us(const struct http_req *q)
{
    return q->start_us;
}

/* The address is asked for once, and only by those who want it. */
static void peer_read(struct conn *c)
{
    struct sockaddr_storage a;
    char host[46] = "?";
    int n = sizeof(a), port;

    if (!c->is_tcp) {
        memcpy(c->peer, "unix", 5);
        return;
    }
    if (uv_tcp_getpeername(&c->h.tcp, (struct sockaddr *)&a, &n) < 0) {
        memcpy(c->peer, "?", 2);
        return;
    }
    if (a.ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&a;

        uv_ip6_name(six, host, sizeof(host));
        port = ntohs(six->sin6_port);
        snprintf(c->peer, sizeof(c->peer), "[%s]:%d", host, port);
        return;
    }
    uv_ip4_name((const struct sockaddr_in *)&a, host, sizeof(host));
    port = ntohs(((const struct sockaddr_in *)&a)->sin_port);
    snprintf(c->peer, sizeof(c->peer), "%s:%d", host, port);
}

void http_req_wipe(struct http_req *q, struct rm_slice part)
{
    volatile char *p = (volatile char *)(uintptr_t)part.p; /* the head lies in the parser's arena */

    (void)q;
    for (size_t i = 0; i < part.n; i++)
        p[i] = '*';
}

const char *http_req_peer(const struct http_req *q)
{
    const struct conn *c = conn_of_const(q);

    if (c->peer[0] == '\0')
        peer_read((struct conn *)c);
    return c->peer;
}

void http_req_set_body_limit(struct http_req *q, uint64_t bytes)
{
    http_parser_set_body_limit(conn_of(q)->parser, bytes);
}

void http_req_pause(struct http_req *q)
{
    q->paused = true;
}

void http_req_resume(struct http_req *q)
{
    struct conn *c = conn_of(q);

    if (!q->paused)
        return;
    q->paused = false;
    c->rate_at_ms = rm_now_ms();
    c->rate_bytes = 0;
    conn_due(c);
}

/* ---- the head ---- */

static int put_slice(struct rm_buf *b, struct rm_slice s)
{
    return rm_buf_put(b, s.p, s.n);
}

/* Fields that only the server writes. */
static bool field_is_ours(struct rm_slice name)
{
    return rm_slice_ieq(name, "Content-Length") || rm_slice_ieq(name, "Transfer-Encoding") ||
           rm_slice_ieq(name, "Connection") || rm_slice_ieq(name, "Keep-Alive") ||
           rm_slice_ieq(name, "Date");
}

static bool clean(struct rm_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= '\r' && (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0'))
            return false;
    return true;
}

static int put_field(struct rm_buf *b, struct rm_slice name, struct rm_slice value)
{
    int r;

    if (name.n == 0 || !clean(name) || !clean(value))
        return UV_EINVAL;
    if ((r = rm_buf_reserve(b, name.n + value.n + 4)) < 0 || (r = put_slice(b, name)) < 0 ||
        (r = rm_buf_put(b, ": ", 2)) < 0 || (r = put_slice(b, value)) < 0)
        return r;
    return rm_buf_put(b, "\r\n", 2);
}

static int put_framing(struct http_req *q, struct rm_buf *b, int status)
{
    struct conn *c = conn_of(q);
    int r = 0;

    q->no_body = q->head->method == HTTP_HEAD || status == 204 || status == 304;
    if (q->length >= 0) {
        if (status == 204 || status == 304)
            return 0;
        if ((r = rm_buf_put(b, "Content-Length: ", 16)) < 0 ||
            (r = rm_buf_put_u64(b, (uint64_t)q->length)) < 0)
            return r;
        return rm_buf_put(b, "\r\n", 2);
    }
    if (q->no_body)
        return 0;
    if (q->head->minor == 0) {
        c->close = true; /* the end of the connection ends the body */
        return 0;
    }
    q->chunked = true;
    return rm_buf_puts(b, "Transfer-Encoding: chunked\r\n");
}

static int compose(struct http_req *q, struct rm_buf *b, int status,
                   const struct http_out_field *fields, size_t n)
{
    int r;

    if ((r = rm_buf_put(b, "HTTP/1.1 ", 9)) < 0 || (r = rm_buf_put_u64(b, (uint64_t)status)) < 0 ||
        (r = rm_buf_put(b, " ", 1)) < 0 || (r = rm_buf_puts(b, http_reason(status))) < 0 ||
        (r = rm_buf_put(b, "\r\n", 2)) < 0 ||
        (r = rm_buf_puts(b, server_date(conn_of(q)->server))) < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        const struct rm_slice name = rm_slice_of(fields[i].name);

        if (!field_is_ours(name) && (r = put_field(b, name, fields[i].value)) < 0)
            return r;
    }
    return put_framing(q, b, status);
}

int http_reply_start(struct http_req *q, int status, const struct http_out_field *fields,
                     size_t n_fields, int64_t length)
{
    struct conn *c = conn_of(q);
    int r;

    if (!q->active || c->broken != 0 || (q->gone && !q->may_answer))
        return RM_ERR_GONE;
    if (q->started || status < 200 || status > 599)
        return UV_EINVAL;
    q->length = length;
    c->head.len = 0;
    r = compose(q, &c->head, status, fields, n_fields);
    if (r < 0) {
        c->head.len = 0;
        q->chunked = false;
        return r;
    }
    q->started = true;
    return 0;
}

/* An unread body: reading on is worth it only when its end is near and its sender does not wait. */
static bool body_is_near(const struct http_req *q)
{
    if (q->body_done)
        return true;
    if (q->head->expect_continue && !q->continue_done)
        return false;
    return q->head->framing != HTTP_BODY_LENGTH ||
           q->head->content_length - q->body_seen <= CONN_SKIP_BYTES;
}

/* The last lines of the head; from here on it cannot change. */
static int seal(struct http_req *q)
{
    struct conn *c = conn_of(q);

    if (!q->head->keep_alive || c->deaf || c->server->draining || !body_is_near(q))
        c->close = true;
    q->committed = true;
    return rm_buf_puts(&c->head, c->close ? "Connection: close\r\n\r\n" : c->server->keep_alive);
}

/* ---- the body ---- */

/* "1f\r\n"; returns its bytes. */
static unsigned chunk_size(char *out, size_t n)
{
    unsigned digits = 1;

    while (digits < 16 && n >> (4 * digits) != 0)
        digits++;
    for (unsigned i = digits; i-- > 0; n >>= 4)
        out[i] = "0123456789abcdef"[n & 15];
    out[digits] = '\r';
    out[digits + 1] = '\n';
    return digits + 2;
}

/* Sends the head if it is still here, then pieces as one chunk. */
static int send_pieces(struct http_req *q, const struct rm_slice *pieces, size_t n, size_t total,
                       bool last)
{
    struct conn *c = conn_of(q);
    uv_buf_t bufs[CONN_PIECES + 3];
    unsigned k = 0;
    char size[24];

    if (!q->committed) {
        if (seal(q) < 0) {
            conn_break(c, UV_ENOMEM);
            return RM_ERR_GONE;
        }
        bufs[k++] = uv_buf_init(c->head.data, (unsigned)c->head.len);
    }
    if (q->chunked && total > 0)
        bufs[k++] = uv_buf_init(size, chunk_size(size, total));
    for (size_t i = 0; i < n && total > 0; i++)
        if (pieces[i].n > 0)
            bufs[k++] = uv_buf_init((char *)pieces[i].p, (unsigned)pieces[i].n);
    if (q->chunked && (total > 0 || last))
        bufs[k++] = total == 0 ? uv_buf_init((char *)"0\r\n\r\n", 5)
                    : last     ? uv_buf_init((char *)"\r\n0\r\n\r\n", 7)
                               : uv_buf_init((char *)"\r\n", 2);
    if (k > 0)
        conn_send(c, bufs, k);
    c->head.len = 0;
    return c->broken != 0 ? RM_ERR_GONE : 0;
}

/* More slices than one writev takes here: joined first. */
static int send_joined(struct http_req *q, const struct rm_slice *pieces, size_t n, size_t total)
{
    struct rm_buf all;
    struct rm_slice one;
    int r = 0;

    rm_buf_init(&all, total);
    for (size_t i = 0; i < n && r == 0; i++)
        r = put_slice(&all, pieces[i]);
    one = (struct rm_slice){all.data, all.len};
    if (r == 0)
        r = send_pieces(q, &one, 1, total, false);
    rm_buf_clear(&all);
    return r;
}

static int reply_ready(const struct http_req *q)
{
    const struct conn *c = conn_of_const(q);

    if (!q->active || c->broken != 0 || (q->gone && !q->may_answer))
        return RM_ERR_GONE;
    return q->started && !q->ended ? 0 : UV_EINVAL;
}

int http_reply_write(struct http_req *q, const struct rm_slice *pieces, size_t n_pieces)
{
    struct conn *c = conn_of(q);
    const size_t queue = c->server->conf.queue_bytes;
    size_t total = 0;
    int r = reply_ready(q);

    for (size_t i = 0; i < n_pieces; i++)
        total += pieces[i].n;
    if (r < 0 || total == 0)
        return r;
    if (q->length >= 0 && total > (uint64_t)q->length - q->written)
        return UV_EINVAL;
    if (conn_queued(c) + total > queue * 2)
        return RM_ERR_TOO_BIG;
    q->written += total;
    if (q->no_body)
        r = send_pieces(q, NULL, 0, 0, false);
    else if (n_pieces > CONN_PIECES)
        r = send_joined(q, pieces, n_pieces, total);
    else
        r = send_pieces(q, pieces, n_pieces, total, false);
    if (r < 0)
        return r;
    q->want_writable = conn_queued(c) > queue;
    return q->want_writable ? RM_WAIT : 0;
}

int http_reply_flush(struct http_req *q)
{
    int r = reply_ready(q);

    return r < 0 || q->committed ? r : send_pieces(q, NULL, 0, 0, false);
}

static void reply_ended(struct http_req *q)
{
    q->ended = true;
    q->want_writable = false;
    conn_due(conn_of(q));
}

void http_reply_end(struct http_req *q)
{
    if (reply_ready(q) < 0)
        return;
    if (q->length >= 0 && !q->no_body && q->written < (uint64_t)q->length) {
        http_reply_cut(q); /* shorter than promised: only a broken connection says so */
        return;
    }
    send_pieces(q, NULL, 0, 0, true);
    reply_ended(q);
}

void http_reply_cut(struct http_req *q)
{
    struct conn *c = conn_of(q);

    if (!q->active || q->ended)
        return;
    c->close = true;
    if (!q->started || !q->committed)
        conn_break(c, UV_ECANCELED);
    q->started = true;
    reply_ended(q);
}

void http_reply_close_after(struct http_req *q)
{
    conn_of(q)->close = true;
}

size_t http_reply_queued(const struct http_req *q)
{
    return conn_queued(conn_of_const(q));
}

bool http_reply_started(const struct http_req *q)
{
    return q->started;
}

int http_reply_full(struct http_req *q, int status, const struct http_out_field *fields,
                    size_t n_fields, const char *type, struct rm_slice body)
{
    struct conn *c = conn_of(q);
    int r;

    if (type == NULL)
        body.n = 0;
    r = http_reply_start(q, status, fields, n_fields, (int64_t)body.n);
    if (r == 0 && type != NULL)
        r = put_field(&c->head, RM_LIT("Content-Type"), rm_slice_of(type));
    if (r < 0)
        return r;
    q->written = body.n;
    r = send_pieces(q, &body, 1, q->no_body ? 0 : body.n, true);
    if (r == 0)
        reply_ended(q);
    return r;
}

/* ---- the server's own answers ---- */

static void default_body(int err, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);
    const int status = rm_err_status(err);

    rm_jw_obj(&w, NULL);
    rm_jw_obj(&w, "error");
    rm_jw_str(&w, "message", rm_strerror(err));
    rm_jw_str(&w, "type", status < 500 ? "invalid_request_error" : "server_error");
    rm_jw_str(&w, "code", rm_err_code(err));
    rm_jw_end(&w);
    rm_jw_end(&w);
}

void reply_error(struct http_req *q, int err)
{
    const struct http_server_conf *conf = &conn_of(q)->server->conf;
    const bool read = q->head->n_fields > 0 || q->head->method_text.n > 0;
    const struct http_out_field fields[] = {{"Allow", RM_LIT(allow_all)},
                                            {"Retry-After", RM_LIT("1")}};
    const int status = rm_err_status(err);
    struct rm_buf body;

    rm_buf_init(&body, CONN_READ_BYTES);
    if (conf->error_body != NULL)
        conf->error_body(conf->arg, err, read ? q->head : NULL, &body);
    else
        default_body(err, &body);
    http_reply_full(q, status, fields + (status == 503), status == 405 || status == 503,
                    "application/json", (struct rm_slice){body.data, body.len});
    rm_buf_clear(&body);
}
