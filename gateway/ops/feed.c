/* SPDX-License-Identifier: MIT */
#include "gateway/ops/feed.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/base/log.h"

enum { SNAPSHOT_MAX = 4 * 1024 * 1024, FRAME_MAX = 32 * 1024, STEP = 64 * 1024, PIECES = 2 };

struct listener {
    struct feed *feed;
    struct http_req *q;
    bool live, ended;
    bool asking;         /* the history is: nothing is sent before it has answered */
    bool gone;           /* its request is over: only the answer is awaited */
    uint64_t seen;       /* id of the last event it was sent */
    uint64_t blocked_ms; /* since when its queue is full; 0: it is not */
    uint64_t written_ms;
    uint64_t snapshot; /* number of the last one it was sent */
    TAILQ_ENTRY(listener) link;
};

struct feed {
    struct feed_conf conf;
    TAILQ_HEAD(, listener) all;
    uint32_t n, n_live;
    uint64_t told; /* id of the newest event that was given out */
    struct rm_buf body, frame[PIECES];
    uint8_t current; /* which frame holds the newest snapshot */
    uint64_t number; /* of it; 0: none yet */
    uint64_t made_ms;
    uint64_t dropped;
};

int feed_new(const struct feed_conf *conf, struct feed **out)
{
    struct feed *f = calloc(1, sizeof *f);

    *out = f;
    if (f == NULL)
        return UV_ENOMEM;
    f->conf = *conf;
    TAILQ_INIT(&f->all);
    rm_buf_init(&f->body, SNAPSHOT_MAX);
    for (int i = 0; i < PIECES; i++)
        rm_buf_init(&f->frame[i], SNAPSHOT_MAX);
    f->told = conf->events->next - 1;
    return 0;
}

void feed_free(struct feed *f)
{
    struct listener *l;

    if (f == NULL)
        return;
    while ((l = TAILQ_FIRST(&f->all)) != NULL) {
        TAILQ_REMOVE(&f->all, l, link);
        free(l);
    }
    rm_buf_clear(&f->body);
    for (int i = 0; i < PIECES; i++)
        rm_buf_clear(&f->frame[i]);
    free(f);
}

/* ---- towards one listener ---- */

static void put(struct listener *l, struct rm_slice bytes, uint64_t now_ms)
{
    l->written_ms = now_ms;
    while (bytes.n > 0 && !l->ended) { /* in steps: one write of it all could be over the bound */
        struct rm_slice step = {bytes.p, bytes.n < STEP ? bytes.n : STEP};
        int r = http_reply_write(l->q, &step, 1);

        if (r == RM_WAIT && l->blocked_ms == 0)
            l->blocked_ms = now_ms;
        if (r < 0) { /* half a frame helps nobody */
            l->ended = true;
            http_reply_cut(l->q);
        }
        bytes = (struct rm_slice){bytes.p + step.n, bytes.n - step.n};
    }
}

static void end(struct listener *l, const char *reason, uint64_t now_ms)
{
    struct rm_buf out;

    if (l->ended)
        return;
    rm_buf_init(&out, FRAME_MAX);
    rm_buf_puts(&out, "event: end\ndata: {\"reason\":");
    rm_json_quote(&out, rm_slice_of(reason));
    rm_buf_puts(&out, "}\n\n");
    put(l, (struct rm_slice){out.data, out.len}, now_ms);
    rm_buf_clear(&out);
    if (!l->ended)
        http_reply_end(l->q);
    l->ended = true;
}

static void put_event(struct listener *l, uint64_t id, uint64_t now_ms)
{
    const char *json = events_get(l->feed->conf.events, id);
    struct rm_buf out;

    rm_buf_init(&out, FRAME_MAX);
    if (json != NULL &&
        rm_buf_printf(&out, "id: %" PRIu64 "\nevent: event\ndata: %s\n\n", id, json) == 0)
        put(l, (struct rm_slice){out.data, out.len}, now_ms);
    rm_buf_clear(&out);
    l->seen = id;
}

static void catch_up(struct listener *l, uint64_t now_ms);

/* The rest of what the ring does not hold is not to be had. */
static void skip_older(struct listener *l, uint64_t now_ms)
{
    put(l, RM_LIT(": older events are not kept\n\n"), now_ms);
    if (l->seen + 1 < l->feed->conf.events->first)
        l->seen = l->feed->conf.events->first - 1;
}

static void listener_on_recall(void *arg, int err, const struct recall_events *e,
                               struct rm_slice frames)
{
    struct listener *l = arg;
    uint64_t now_ms = rm_now_ms();

    l->asking = false;
    if (l->gone) {
        free(l);
        return;
    }
    if (l->ended)
        return;
    if (err < 0) {
        skip_older(l, now_ms);
    } else {
        if (e->cut)
            put(l, RM_LIT(": older events are not kept\n\n"), now_ms);
        put(l, frames, now_ms);
        l->seen = e->more ? e->last : e->before - 1;
    }
    if (l->blocked_ms == 0)
        catch_up(l, now_ms);
}

/* Asks the history for what lies between l->seen and the ring. Returns 0, RM_ERR_OVERLOAD (too many
 * ask: later) or why it cannot be asked. */
static int ask_history(struct listener *l)
{
    const struct feed_conf *c = &l->feed->conf;
    int r = c->recall != NULL ? 0 : RM_ERR_NOT_FOUND;

    l->asking = true;
    if (r == 0)
        r = c->recall(c->arg, l->seen, c->events->first, listener_on_recall, l);
    if (r < 0)
        l->asking = false;
    return r;
}

static bool is_behind_the_ring(const struct listener *l)
{
    return l->seen + 1 < l->feed->conf.events->first;
}

/* What it has not seen yet, as far as it takes it. */
static void catch_up(struct listener *l, uint64_t now_ms)
{
    const struct events *e = l->feed->conf.events;
    int r;

    if (l->asking)
        return;
    if (is_behind_the_ring(l)) {
        if ((r = ask_history(l)) == 0 || r == RM_ERR_OVERLOAD)
            return;
        skip_older(l, now_ms);
    }
    while (l->blocked_ms == 0 && l->seen + 1 < e->next)
        put_event(l, l->seen + 1, now_ms);
}

static void put_snapshot(struct listener *l, uint64_t now_ms)
{
    const struct feed *f = l->feed;
    const struct rm_buf *frame = &f->frame[f->current];

    if (!l->live || l->ended || l->blocked_ms != 0 || f->number == 0 || l->snapshot == f->number)
        return;
    l->snapshot = f->number;
    put(l, (struct rm_slice){frame->data, frame->len}, now_ms);
}

/* ---- snapshots ---- */

/* Makes one unless the last is young enough; a new number only when something changed. */
static void make_snapshot(struct feed *f, uint64_t now_ms)
{
    struct rm_buf *old = &f->frame[f->current], *now = &f->frame[!f->current];

    if (f->number > 0 && now_ms - f->made_ms < FEED_SNAPSHOT_MS)
        return;
    f->made_ms = now_ms;
    f->body.len = now->len = 0;
    if (f->conf.snapshot(f->conf.arg, &f->body) < 0 ||
        rm_buf_puts(now, "event: snapshot\ndata: ") < 0 ||
        rm_buf_put(now, f->body.data, f->body.len) < 0 || rm_buf_puts(now, "\n\n") < 0)
        return;
    if (f->number > 0 && now->len == old->len && memcmp(now->data, old->data, now->len) == 0)
        return;
    f->current = !f->current;
    f->number++;
}

/* ---- listeners ---- */

static void listener_on_writable(struct http_req *q)
{
    struct listener *l = http_req_arg(q);

    l->blocked_ms = 0;
    if (!l->ended)
        catch_up(l, rm_now_ms());
}

static void listener_on_gone(struct http_req *q, int why)
{
    struct listener *l = http_req_arg(q);

    (void)why;
    l->ended = true;
}

static void listener_on_done(struct http_req *q)
{
    struct listener *l = http_req_arg(q);

    TAILQ_REMOVE(&l->feed->all, l, link);
    l->feed->n--;
    l->feed->n_live -= l->live;
    l->gone = l->ended = true;
    if (!l->asking)
        free(l);
}

int feed_add(struct feed *f, struct http_req *q, bool live, uint64_t last_id, uint64_t now_ms)
{
    static const struct http_req_ops ops = {.on_writable = listener_on_writable,
                                            .on_gone = listener_on_gone,
                                            .on_done = listener_on_done};
    static const struct http_out_field fields[] = {{"Content-Type", RM_LIT("text/event-stream")},
                                                   {"Cache-Control", RM_LIT("no-store")},
                                                   {"X-Accel-Buffering", RM_LIT("no")}};
    struct listener *l;

    if (f->n >= FEED_MAX)
        return RM_ERR_OVERLOAD;
    if ((l = calloc(1, sizeof *l)) == NULL)
        return UV_ENOMEM;
    *l = (struct listener){.feed = f, .q = q, .live = live};
    /* an id from the future is of another gateway's clock: nothing can be replayed after it */
    l->seen = last_id > 0 && last_id < f->conf.events->next ? last_id : f->conf.events->next - 1;
    TAILQ_INSERT_TAIL(&f->all, l, link);
    f->n++;
    f->n_live += live;
    http_req_accept(q, &ops, l);
    if (http_reply_start(q, 200, fields, RM_COUNT(fields), -1) < 0)
        return 0; /* on_done follows */
    put(l, RM_LIT("retry: 1000\n\n"), now_ms);
    catch_up(l, now_ms);
    if (live) {
        make_snapshot(f, now_ms);
        put_snapshot(l, now_ms);
    }
    return 0;
}

void feed_tell(struct feed *f, uint64_t now_ms)
{
    struct listener *l;

    TAILQ_FOREACH(l, &f->all, link)
    if (!l->ended && l->blocked_ms == 0)
        catch_up(l, now_ms);
    f->told = f->conf.events->next - 1;
}

void feed_tick(struct feed *f, uint64_t now_ms)
{
    struct listener *l;

    if (f->told + 1 < f->conf.events->next)
        feed_tell(f, now_ms);
    if (f->n_live > 0)
        make_snapshot(f, now_ms);
    TAILQ_FOREACH(l, &f->all, link)
    {
        if (l->ended)
            continue;
        put_snapshot(l, now_ms);
        if (l->blocked_ms == 0 && is_behind_the_ring(l))
            catch_up(l, now_ms);
        if (l->blocked_ms != 0 && now_ms - l->blocked_ms >= FEED_SLOW_MS) {
            f->dropped++;
            rm_info("ops", "a listener of events was let go: it reads too slowly",
                    RM_S("peer", http_req_peer(l->q)));
            end(l, "the listener reads too slowly", now_ms);
        } else if (l->blocked_ms == 0 && now_ms - l->written_ms >= FEED_ALIVE_MS) {
            put(l, RM_LIT(":\n\n"), now_ms);
        }
    }
}

void feed_end(struct feed *f, const char *reason)
{
    struct listener *l;

    TAILQ_FOREACH(l, &f->all, link)
    end(l, reason, rm_now_ms());
}

void feed_stats(const struct feed *f, struct feed_stats *out)
{
    *out = (struct feed_stats){.listeners = f->n, .snapshots = f->number, .dropped = f->dropped};
}
