/* SPDX-License-Identifier: MIT */
/* Engine kind "attach": an OpenAI-over-HTTP server that already runs on this node. It is ready when
 * GET /v1/models (or, where that is unknown, GET /health) answers, asked again every few seconds;
 * being stopped means only that it is not asked any more. What it does is counted from the traffic
 * that passes: speeds are moving averages over the requests relayed here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "worker/engine/engine.h"

enum {
    PROBE_MS = 2000,       /* one answer */
    PROBE_EVERY_MS = 5000, /* once it is ready */
    PROBE_MISSES = 2,      /* in a row, then it is gone */
    KEEP_MS = 2000,        /* unused connections: many servers close after 5 s */
    LOCAL_MAX = 32,
    SAMPLE_TOKENS = 4 /* fewer tokens tell nothing of speed */
};
#define SAMPLE_WEIGHT 0.3

struct attach {
    struct engine e;
    const struct engine_events *ev;
    void *arg;
    uv_timer_t timer; /* `end` in another turn of the loop, or the next probe */
    struct http_client *prober;
    bool ready, ending, asked_health;
    int status; /* of the probe under way; 0: none yet */
    uint32_t misses;
    struct engine_measure m;
    struct node_error why; /* of the end */
    char target[300];
    char url[300];
};

static void attach_probe(struct attach *a);

static void attach_on_end_timer(uv_timer_t *t)
{
    struct attach *a = t->data;

    a->e.ended = true;
    a->ev->on_end(a->arg, &a->why);
}

/* Ends from the loop, once. */
static void attach_end(struct attach *a)
{
    if (a->ending)
        return;
    a->ending = true;
    uv_timer_start(&a->timer, attach_on_end_timer, 0, 0);
}

static void attach_on_timer(uv_timer_t *t)
{
    attach_probe(t->data);
}

/* ---- probes ---- */

static void attach_answered(struct attach *a)
{
    a->misses = 0;
    if (!a->ready) {
        a->ready = true;
        a->ev->on_ready(a->arg);
    }
    if (!a->ending)
        uv_timer_start(&a->timer, attach_on_timer, PROBE_EVERY_MS, 0);
}

/* A server that is busy with our own requests may be slow to answer: only a refused connection
 * counts then. */
static void attach_missed(struct attach *a, int err)
{
    bool refused = err == UV_ECONNREFUSED || err == UV_ENOENT;

    if (a->ready && a->e.running > 0 && !refused)
        a->misses = 0;
    else
        a->misses++;
    if (a->ready && a->misses < PROBE_MISSES) {
        uv_timer_start(&a->timer, attach_on_timer, PROBE_EVERY_MS / 5, 0);
        return;
    }
    engine_error(&a->why, CAUSE_UNREACHABLE, "%s does not answer: %s", a->url,
                 a->status > 0 ? http_reason(a->status) : rm_strerror(err));
    a->why.code = a->status > 0 ? a->status : err;
    attach_end(a);
}

static void attach_on_head(struct http_call *k, const struct http_head *head)
{
    struct attach *a = http_call_arg(k);

    a->status = head->status;
}

static void attach_on_whole(struct http_call *k)
{
    struct attach *a = http_call_arg(k);

    if (a->ending)
        return;
    /* 401 and 403: it lives, and wants a key that the caller may bring. */
    if (a->status < 300 || a->status == 401 || a->status == 403) {
        attach_answered(a);
    } else if (!a->asked_health && (a->status == 404 || a->status == 405 || a->status == 501)) {
        a->asked_health = true;
        uv_timer_start(&a->timer, attach_on_timer, 0, 0);
    } else {
        attach_missed(a, 0);
    }
}

static void attach_on_fail(struct http_call *k, int err)
{
    struct attach *a = http_call_arg(k);

    if (!a->ending)
        attach_missed(a, err);
}

static void attach_on_done(struct http_call *k)
{
    struct attach *a = http_call_arg(k);

    engine_unref(&a->e);
}

static void attach_probe(struct attach *a)
{
    static const struct http_call_ops ops = {.on_head = attach_on_head,
                                             .on_end = attach_on_whole,
                                             .on_fail = attach_on_fail,
                                             .on_done = attach_on_done};
    struct http_call_spec spec = {.method = "GET"};
    struct http_call *k;
    int r;

    snprintf(a->target, sizeof(a->target), "%s%s", a->e.base,
             a->asked_health ? "/health" : "/v1/models");
    spec.target = rm_slice_of(a->target);
    a->status = 0;
    if ((r = http_call_start(a->prober, &spec, &ops, a, &k)) < 0)
        attach_missed(a, r);
    else
        engine_ref(&a->e);
}

/* ---- start and stop ---- */

/* The node's own addresses as text. Returns how many. */
static size_t local_addresses(char text[][64], const char *list[])
{
    uv_interface_address_t *v;
    size_t n = 0;
    int count;

    if (uv_interface_addresses(&v, &count) < 0)
        return 0;
    for (int i = 0; i < count && n < LOCAL_MAX; i++) {
        const struct sockaddr *sa = (const struct sockaddr *)&v[i].address;
        int r = sa->sa_family == AF_INET6
                    ? uv_ip6_name(&v[i].address.address6, text[n], sizeof(text[n]))
                    : uv_ip4_name(&v[i].address.address4, text[n], sizeof(text[n]));

        if (r == 0) {
            list[n] = text[n];
            n++;
        }
    }
    uv_free_interface_addresses(v, count);
    return n;
}

static int attach_open(struct attach *a, uv_loop_t *loop, const struct desired_host *d,
                       struct node_error *why)
{
    struct http_client_conf conf = http_client_conf_default;
    char text[LOCAL_MAX][64], what[128];
    const char *local[LOCAL_MAX];
    struct http_address at;
    int r;

    r = engine_url_parse(d->url, local, local_addresses(text, local), &at, a->e.base, what);
    if (r < 0) {
        engine_error(why, CAUSE_CONFIG, "url: %s", what);
        return r;
    }
    conf.keep_ms = KEEP_MS;
    if ((r = http_client_new(loop, &at, &conf, &a->e.client)) == 0) {
        conf.head_ms = conf.idle_ms = conf.connect_ms = PROBE_MS;
        conf.keep_max = 0;
        r = http_client_new(loop, &at, &conf, &a->prober);
    }
    if (r < 0)
        engine_error(why, CAUSE_EXIT, "%s", rm_strerror(r));
    return r;
}

static void attach_on_closed(uv_handle_t *h)
{
    free(h->data);
}

static void attach_release(struct engine *e)
{
    struct attach *a = (struct attach *)e;

    http_client_close(a->e.client);
    http_client_close(a->prober);
    uv_close((uv_handle_t *)&a->timer, attach_on_closed);
}

static int attach_start(struct engine_env *env, const struct desired_host *d,
                        const struct engine_model *model, const struct engine_events *ev, void *arg,
                        struct engine **out, struct node_error *why)
{
    struct attach *a = calloc(1, sizeof(*a));
    int r;

    (void)model;
    *out = NULL;
    if (a == NULL) {
        engine_error(why, CAUSE_EXIT, "%s", rm_strerror(UV_ENOMEM));
        return UV_ENOMEM;
    }
    a->e = (struct engine){.kind = &engine_attach, .refs = 1};
    a->ev = ev;
    a->arg = arg;
    a->m.context = d->context;
    a->m.slots_total = d->slots;
    memcpy(a->url, d->url, sizeof(a->url));
    uv_timer_init(env->loop, &a->timer);
    a->timer.data = a;
    if ((r = attach_open(a, env->loop, d, why)) < 0) {
        attach_release(&a->e);
        return r;
    }
    uv_timer_start(&a->timer, attach_on_timer, 0, 0);
    *out = &a->e;
    return 0;
}

static void attach_stop(struct engine *e, bool at_once)
{
    struct attach *a = (struct attach *)e;

    (void)at_once;
    engine_error(&a->why, CAUSE_EXIT, "no longer used");
    attach_end(a);
}

/* ---- counting ---- */

static void attach_measure(struct engine *e)
{
    struct attach *a = (struct attach *)e;
    struct engine_measure m = a->m;

    if (!a->ready || a->ending)
        return;
    m.slots_busy = e->running < m.slots_total ? e->running : m.slots_total;
    m.queue = e->running - m.slots_busy;
    m.generated_tokens += e->answered_events;
    for (uint32_t i = 0; i < m.slots_total && i < NODE_SLOTS_MAX; i++)
        m.slot[i] = i < e->answering ? SLOT_DECODE : i < m.slots_busy ? SLOT_PREFILL : SLOT_IDLE;
    a->ev->on_measure(a->arg, &m);
}

static void average(double *into, double tokens, uint64_t us)
{
    double tps = us > 0 ? tokens * 1e6 / (double)us : 0;

    if (tps <= 0)
        return;
    *into = *into > 0 ? *into + SAMPLE_WEIGHT * (tps - *into) : tps;
}

static void attach_traffic(struct engine *e, const struct engine_traffic *t)
{
    struct attach *a = (struct attach *)e;
    uint64_t made = t->completion_tokens > 0 ? t->completion_tokens : t->events;

    a->m.prompt_tokens += t->prompt_tokens;
    a->m.cached_tokens += t->cached_tokens;
    a->m.generated_tokens += made;
    a->m.read_tokens += t->prompt_tokens - t->cached_tokens;
    /* The first event carries the first token: the others came between first and last byte. */
    if (t->events > SAMPLE_TOKENS && made > SAMPLE_TOKENS && t->last_us > t->first_us)
        average(&a->m.decode_tps, (double)(made - 1), t->last_us - t->first_us);
    /* Alone in the engine, the wait for the first byte was prefill. */
    if (t->prompt_tokens > t->cached_tokens + SAMPLE_TOKENS && t->events > 0 && e->running <= 1)
        average(&a->m.prefill_tps, (double)(t->prompt_tokens - t->cached_tokens),
                t->first_us - t->sent_us);
}

const struct engine_kind engine_attach = {
    .name = "attach",
    .start = attach_start,
    .stop = attach_stop,
    .measure = attach_measure,
    .traffic = attach_traffic,
    .release = attach_release,
};
