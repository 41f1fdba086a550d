/* SPDX-License-Identifier: MIT */
/* The watch stream: every watcher gets whole states, at once on a change (changes within a few
 * milliseconds together) and a second after the last one. A watcher that does not read is cut. */
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/http/sse.h"
#include "worker/worker.h"

enum { WATCHERS_MAX = 64, QUEUED_MAX = 256 * 1024, GATHER_MS = 10, QUIET_MS = 1000 };

struct watcher {
    struct watch *owner; /* NULL: the worker closes */
    struct watcher *next, **link;
    struct http_req *q;
};

struct watch {
    struct worker *w;
    uv_timer_t next; /* when the next state is due */
    bool soon;       /* because of a change */
    struct watcher *first;
    unsigned n;
    uint64_t sent_ms;
};

static void watcher_unlink(struct watcher *x)
{
    if (x->owner == NULL)
        return;
    *x->link = x->next;
    if (x->next != NULL)
        x->next->link = x->link;
    x->owner->n--;
    x->owner = NULL;
}

/* The frame with the state as it is. */
static int watch_frame(struct watch *v, struct rm_buf *frame)
{
    struct rm_buf state;
    int r;

    rm_buf_init(&state, WORKER_STATE_MAX);
    rm_buf_init(frame, WORKER_STATE_MAX + 64);
    if ((r = worker_encode_state(v->w, &state)) == 0)
        r = sse_put(frame, "state", (struct rm_slice){state.data, state.len});
    rm_buf_clear(&state);
    return r;
}

static void watcher_send(struct watcher *x, const struct rm_buf *frame)
{
    struct rm_slice piece = {frame->data, frame->len};
    struct http_req *q = x->q;

    size_t queued = http_reply_queued(q);

    /* One big state alone may be over the mark: it is not the reader's fault. */
    if ((queued == 0 || queued + frame->len <= QUEUED_MAX) && http_reply_write(q, &piece, 1) >= 0)
        return;
    rm_warn("watch", "a watcher does not read: cut", RM_S("peer", http_req_peer(q)));
    watcher_unlink(x);
    http_reply_cut(q);
}

static void watch_on_next(uv_timer_t *t);

static void watch_send(struct watch *v)
{
    struct watcher *x, *next;
    struct rm_buf frame;

    v->sent_ms = rm_now_ms();
    v->soon = false;
    if (v->first == NULL)
        return;
    uv_timer_start(&v->next, watch_on_next, QUIET_MS, 0);
    if (watch_frame(v, &frame) == 0)
        for (x = v->first; x != NULL; x = next) {
            next = x->next;
            watcher_send(x, &frame);
        }
    rm_buf_clear(&frame);
}

static void watch_on_next(uv_timer_t *t)
{
    watch_send(t->data);
}

void watch_changed(struct watch *v)
{
    if (v == NULL || v->soon)
        return;
    v->soon = true;
    uv_timer_start(&v->next, watch_on_next, rm_now_ms() - v->sent_ms >= GATHER_MS ? 0 : GATHER_MS,
                   0);
}

/* ---- one watcher ---- */

static void watcher_on_gone(struct http_req *q, int why)
{
    (void)why;
    watcher_unlink(http_req_arg(q));
}

static void watcher_on_done(struct http_req *q)
{
    struct watcher *x = http_req_arg(q);

    watcher_unlink(x);
    free(x);
}

static void refused_on_done(struct http_req *q)
{
    (void)q;
}

static const struct http_req_ops watcher_ops = {.on_gone = watcher_on_gone,
                                                .on_done = watcher_on_done};
static const struct http_req_ops refused_ops = {.on_done = refused_on_done};

void watch_add(struct watch *v, struct http_req *q)
{
    static const struct http_out_field fields[] = {
        {"Content-Type", {"text/event-stream", 17}},
        {"Cache-Control", {"no-store", 8}},
    };
    struct watcher *x = v != NULL && v->n < WATCHERS_MAX ? calloc(1, sizeof(*x)) : NULL;
    struct rm_buf frame;

    http_req_set_body_limit(q, WORKER_BODY_MAX);
    if (x == NULL) {
        http_req_accept(q, &refused_ops, NULL);
        api_reply_error(q, RM_ERR_OVERLOAD, 0, 5, "too many watchers");
        return;
    }
    x->owner = v;
    x->q = q;
    x->link = &v->first;
    if ((x->next = v->first) != NULL)
        x->next->link = &x->next;
    v->first = x;
    v->n++;
    http_req_accept(q, &watcher_ops, x);
    if (http_reply_start(q, 200, fields, RM_COUNT(fields), -1) < 0)
        return;
    if (watch_frame(v, &frame) == 0)
        watcher_send(x, &frame);
    rm_buf_clear(&frame);
    if (!uv_is_active((uv_handle_t *)&v->next))
        uv_timer_start(&v->next, watch_on_next, QUIET_MS, 0);
}

/* ---- all ---- */

int watch_new(struct worker *w, struct watch **out)
{
    struct watch *v = calloc(1, sizeof(*v));

    *out = v;
    if (v == NULL)
        return UV_ENOMEM;
    v->w = w;
    uv_timer_init(w->loop, &v->next);
    v->next.data = v;
    return 0;
}

static void watch_on_closed(uv_handle_t *h)
{
    free(h->data);
}

void watch_close(struct watch *v)
{
    if (v == NULL)
        return;
    watch_send(v); /* the last words: draining, nothing hosted */
    while (v->first != NULL) {
        struct watcher *x = v->first;

        watcher_unlink(x);
        http_reply_end(x->q);
    }
    uv_close((uv_handle_t *)&v->next, watch_on_closed);
}
