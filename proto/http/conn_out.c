/* SPDX-License-Identifier: MIT */
/* proto/http/conn_out.c - bytes to the kernel: uv_try_write first, and only what it does not take
 * is copied to `out`. While `flying` is being written new bytes gather in `out`; then the two
 * change places. Nothing else may be sent on a connection. */
#include "proto/http/conn.h"

#include <assert.h>

#include "proto/base/clock.h"

size_t conn_queued(const struct conn *c)
{
    return c->out.len + (c->writing ? c->flying.len : 0);
}

void conn_count(struct conn *c)
{
    const size_t now = conn_queued(c);

    c->server->stats.queued_bytes += now;
    c->server->stats.queued_bytes -= c->counted;
    c->counted = now;
}

static void conn_push(struct conn *c);

static void conn_on_written(uv_write_t *w, int status)
{
    struct conn *c = w->data;
    struct http_req *q = &c->req;

    c->writing = false;
    rm_buf_clear(&c->flying);
    conn_count(c);
    if (c->state == HC_CLOSING)
        return;
    c->busy++;
    if (status < 0)
        conn_break(c, status);
    else
        conn_push(c);
    if (q->active && q->want_writable && c->broken == 0 &&
        conn_queued(c) <= c->server->conf.queue_bytes / 4) {
        q->want_writable = false;
        if (!q->ended && !q->gone && q->ops->on_writable != NULL)
            q->ops->on_writable(q);
    }
    c->busy--;
    conn_settle(c);
}

/* Starts writing what waits. */
static void conn_push(struct conn *c)
{
    const struct rm_buf swap = c->flying;
    uv_buf_t buf;
    int r;

    if (c->writing || c->out.len == 0 || c->broken != 0)
        return;
    c->flying = c->out;
    c->out = swap;
    c->out.len = 0;
    buf = uv_buf_init(c->flying.data, (unsigned)c->flying.len);
    c->write.data = c;
    c->writing = true;
    c->stall_at_ms = rm_now_ms();
    c->stall_left = c->flying.len;
    r = uv_write(&c->write, &c->h.stream, &buf, 1, conn_on_written);
    if (r < 0) {
        c->writing = false;
        c->flying.len = 0;
        conn_break(c, r);
    }
    conn_count(c);
}

/* Drops the first n bytes; returns how many buffers are empty now. */
static unsigned bufs_skip(uv_buf_t *bufs, unsigned n_bufs, size_t n)
{
    unsigned i = 0;

    for (; i < n_bufs && n >= bufs[i].len; i++)
        n -= bufs[i].len;
    if (i < n_bufs) {
        bufs[i].base += n;
        bufs[i].len -= n;
    }
    return i;
}

void conn_send(struct conn *c, uv_buf_t *bufs, unsigned n)
{
    unsigned i = 0;

    if (c->broken != 0 || c->state == HC_CLOSING)
        return;
    if (!c->writing && c->out.len == 0) {
        int r = uv_try_write(&c->h.stream, bufs, n);

        if (r < 0 && r != UV_EAGAIN) {
            conn_break(c, r);
            return;
        }
        i = bufs_skip(bufs, n, r > 0 ? (size_t)r : 0);
        if (i == n)
            return;
    }
    for (; i < n; i++)
        if (rm_buf_put(&c->out, bufs[i].base, bufs[i].len) < 0) {
            conn_break(c, UV_ENOMEM);
            return;
        }
    conn_count(c);
    conn_push(c);
}

void conn_out_free(struct conn *c)
{
    assert(!c->writing);
    rm_buf_clear(&c->head);
    rm_buf_clear(&c->out);
    rm_buf_clear(&c->flying);
    conn_count(c);
}
