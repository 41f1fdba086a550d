/* SPDX-License-Identifier: MIT */
/* gateway/ops/watch.c - looks at the gateway several times a second: the witness makes events of
 * what changed, the ring keeps them, the feed tells those who listen. And the handlers of
 * /api/v1/events. Loop thread. */
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "gateway/ops/events.h"
#include "gateway/ops/feed.h"
#include "gateway/ops/history.h"
#include "gateway/ops/ops_impl.h"
#include "gateway/ops/read.h"
#include "gateway/ops/witness.h"
#include "proto/base/clock.h"
#include "proto/base/om.h"
#include "proto/base/log.h"

enum { WATCH_MS = 250, FACTS = 5 };

struct ops_watch {
    struct ops *ops;
    const struct ops_sources *sources;
    uv_timer_t timer, tell; /* tell: after a look, in the loop's next turn */
    unsigned open_handles;
    struct events events;
    struct witness *witness;
    struct feed *feed;
    struct rm_buf fact[FACTS]; /* kept for their memory */
    uint64_t n_events;
    int64_t sample_ms; /* the next look that the history keeps */
    bool failed;       /* said so */
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

static void watch_on_event(void *arg, const struct event *e)
{
    struct ops_watch *w = arg;

    int64_t now = rm_wall_ms();
    uint64_t id = events_add(&w->events, e, now);

    if (id == 0)
        return;
    w->n_events++;
    if (ops_history(w->ops) != NULL)
        history_add_event(ops_history(w->ops), id, now, events_get(&w->events, id));
}

static void watch_look(struct ops_watch *w)
{
    const struct ops_sources *s = w->sources;
    int (*const source[FACTS])(void *arg, struct rm_buf *out) = {s->nodes, s->shortfalls, s->status,
                                                                 s->map, s->pulls};
    struct rm_slice text[FACTS];

    for (size_t i = 0; i < FACTS; i++) {
        w->fact[i].len = 0;
        if (source[i](s->arg, &w->fact[i]) < 0) {
            if (!w->failed)
                rm_error("ops", "events stand still: what is known is too much to be looked at");
            w->failed = true;
            return;
        }
        text[i] = (struct rm_slice){w->fact[i].data, w->fact[i].len};
    }
    w->failed = false;
    witness_look(w->witness, &(struct witness_facts){text[0], text[1], text[2], text[3], text[4]},
                 rm_now_ms(), rm_wall_ms());
}

/* Once a minute what is known of nodes goes to the history, for charts. */
static void watch_sample(struct ops_watch *w)
{
    int64_t now = rm_wall_ms();
    struct sample *samples;

    if (ops_history(w->ops) == NULL || w->failed)
        return;
    if (w->sample_ms - now > 2 * SAMPLES_EVERY_MS)
        w->sample_ms = now; /* the clock was set back */
    if (now < w->sample_ms)
        return;
    w->sample_ms = samples_next(now, now);
    if ((samples = calloc(SAMPLES_MAX, sizeof *samples)) == NULL)
        return;
    history_add_samples(
        ops_history(w->ops), samples,
        samples_read((struct rm_slice){w->fact[0].data, w->fact[0].len}, samples, SAMPLES_MAX),
        now);
    free(samples);
}

static void watch_on_tell(uv_timer_t *timer)
{
    struct ops_watch *w = timer->data;

    feed_tick(w->feed, rm_now_ms());
}

/* The look and the snapshot of a large cluster take milliseconds each: requests may come between.
 */
static void watch_on_timer(uv_timer_t *timer)
{
    struct ops_watch *w = timer->data;

    watch_look(w);
    watch_sample(w);
    uv_timer_start(&w->tell, watch_on_tell, 1, 0); /* 0 might be this very turn */
}

/* Exactly the bodies of the GETs. */
static int watch_snapshot(void *arg, struct rm_buf *out)
{
    static const struct {
        const char *before, *path;
    } parts[] = {{"{\"status\":", "/api/v1/status"},
                 {",\"nodes\":", "/api/v1/nodes"},
                 {",\"roles\":", "/api/v1/roles"},
                 {",\"requests\":", "/api/v1/requests"}};
    struct ops_watch *w = arg;
    int r = 0;

    for (size_t i = 0; r == 0 && i < RM_COUNT(parts); i++) {
        r = rm_buf_puts(out, parts[i].before);
        if (r == 0)
            r = ops_write_body(w->ops, parts[i].path, out);
    }
    return r == 0 ? rm_buf_puts(out, "}") : r;
}

static int watch_recall(void *arg, uint64_t after, uint64_t before, recall_events_fn *on_answer,
                        void *answer_arg)
{
    struct ops_watch *w = arg;

    return recall_events(ops_history(w->ops), after, before, on_answer, answer_arg);
}

/* ---- life ---- */

static void watch_free(struct ops_watch *w)
{
    feed_free(w->feed);
    witness_free(w->witness);
    events_clear(&w->events);
    for (size_t i = 0; i < FACTS; i++)
        rm_buf_clear(&w->fact[i]);
    free(w);
}

int ops_watch_new(uv_loop_t *loop, struct ops *o, const struct ops_sources *sources,
                  struct ops_watch **out)
{
    struct ops_watch *w = calloc(1, sizeof *w);
    struct feed_conf feed;
    int r;

    *out = NULL;
    if (w == NULL)
        return UV_ENOMEM;
    w->ops = o;
    w->sources = sources;
    w->sample_ms = samples_next(rm_wall_ms(), 0);
    events_init(&w->events, rm_wall_ms());
    for (size_t i = 0; i < FACTS; i++)
        rm_buf_init(&w->fact[i], OPS_ANSWER_MAX);
    feed = (struct feed_conf){.events = &w->events,
                              .snapshot = watch_snapshot,
                              .recall = ops_history(o) != NULL ? watch_recall : NULL,
                              .arg = w};
    if ((r = witness_new(watch_on_event, w, &w->witness)) < 0 ||
        (r = feed_new(&feed, &w->feed)) < 0) {
        watch_free(w);
        return r;
    }
    uv_timer_init(loop, &w->timer); /* never fails */
    uv_timer_init(loop, &w->tell);
    w->open_handles = 2;
    w->timer.data = w->tell.data = w;
    watch_on_event(w, &(struct event){EVENT_INFO, "gateway.started", "gateway",
                                      "the gateway was started: version " RM_VERSION, NULL});
    uv_timer_start(&w->timer, watch_on_timer, WATCH_MS, WATCH_MS);
    *out = w;
    return 0;
}

void ops_watch_drain(struct ops_watch *w)
{
    watch_look(w); /* that it stops is an event as well */
    feed_tell(w->feed, rm_now_ms());
    feed_end(w->feed, "the gateway is stopping");
}

static void watch_on_closed(uv_handle_t *handle)
{
    struct ops_watch *w = handle->data;
    void (*on_closed)(void *arg) = w->on_closed;
    void *arg = w->on_closed_arg;

    if (--w->open_handles > 0)
        return;
    watch_free(w);
    on_closed(arg);
}

void ops_watch_close(struct ops_watch *w, void (*on_closed)(void *arg), void *arg)
{
    w->on_closed = on_closed;
    w->on_closed_arg = arg;
    uv_close((uv_handle_t *)&w->timer, watch_on_closed);
    uv_close((uv_handle_t *)&w->tell, watch_on_closed);
}

int ops_watch_write_alarms(const struct ops_watch *w, struct rm_buf *out)
{
    return witness_write_alarms(w->witness, out);
}

void ops_watch_write_metrics(const struct ops_watch *w, struct rm_om *om)
{
    struct feed_stats s;

    feed_stats(w->feed, &s);
    rm_om_family(om, "rolemesh_events", RM_OM_COUNTER, "",
                 "What happened, as /api/v1/events tells.");
    rm_om_u64(om, w->n_events);
    rm_om_family(om, "rolemesh_event_listeners", RM_OM_GAUGE, "", "Who follows the events now.");
    rm_om_u64(om, s.listeners);
    rm_om_family(om, "rolemesh_event_listeners_dropped", RM_OM_COUNTER, "",
                 "Listeners let go because they read too slowly.");
    rm_om_u64(om, s.dropped);
    witness_write_metrics(w->witness, om);
}

void ops_watch_tell(struct ops_watch *w, const struct event *e)
{
    watch_on_event(w, e);
    feed_tell(w->feed, rm_now_ms());
}

/* ---- handlers ---- */

static int source_events(void *arg, struct rm_buf *out)
{
    return events_write(&((struct ops_watch *)arg)->events, out);
}

static bool wants_stream(const struct http_head *head)
{
    struct rm_slice accept = http_head_value(head, "Accept");

    return accept.n > 0 && memmem(accept.p, accept.n, "text/event-stream", 17) != NULL &&
           head->method == HTTP_GET;
}

int ops_get_events(struct ops_call *c, int *status)
{
    struct list_page page = {.name = "events", .key = {"id"}, .by_number = true, .time = "at"};
    int r;

    (void)status;
    if (wants_stream(http_req_head(c->q))) {
        snprintf(c->query.why, sizeof c->query.why, "%d listeners are there already", FEED_MAX);
        return RM_ERR_OVERLOAD;
    }
    r = rm_buf_puts(&c->out, "{");
    if (r == 0)
        r = ops_write_page(c, &page, source_events, ops_watch_of(c->ops));
    return r == 0 ? rm_buf_puts(&c->out, "}\n") : r;
}

static uint64_t last_id(const struct http_head *head)
{
    struct rm_slice value = http_head_value(head, "Last-Event-ID");
    uint64_t id = 0;

    if (value.n == 0 || value.n > 18)
        return 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return 0;
        id = id * 10 + (uint64_t)(value.p[i] - '0');
    }
    return id;
}

/* A list that goes back behind the ring. */
static bool list_events(struct ops_call *c)
{
    struct rm_buf ring;
    bool taken;

    rm_buf_init(&ring, OPS_ANSWER_MAX);
    taken = source_events(ops_watch_of(c->ops), &ring) == 0 &&
            ops_recall_events(c, (struct rm_slice){ring.data, ring.len});
    rm_buf_clear(&ring);
    return taken;
}

bool ops_follow_events(struct ops_call *c)
{
    const struct http_head *head = http_req_head(c->q);
    const char *live = query_get(&c->query, "live");

    if (!wants_stream(head))
        return list_events(c);
    return feed_add(ops_watch_of(c->ops)->feed, c->q, live != NULL && strcmp(live, "1") == 0,
                    last_id(head), rm_now_ms()) == 0;
}
