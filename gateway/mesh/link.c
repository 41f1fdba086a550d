/* SPDX-License-Identifier: MIT */
#include "gateway/mesh/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/http/sse.h"

enum { CALL_MS = 60000, CONNECT_MS = 2000 };

static const double RTT_WEIGHT = 0.125;

struct link_request {
    struct link *link;
    struct http_call *call;
    struct rm_buf body, answer;
    struct rm_slice body_slice;
    link_answer_cb cb;
    void *arg;
    int status, err;
    TAILQ_ENTRY(link_request) entry;
};

struct link {
    char name[NODE_NAME_MAX];
    const struct link_ops *ops;
    void *arg;
    struct http_client *control, *run;
    struct http_call *watch; /* NULL between two attempts */
    struct sse_reader events;
    uv_timer_t retry, probe_timer;
    struct http_call *probe; /* NULL: none is under way */
    uint64_t probe_us;       /* when it was sent */
    uint64_t n_probes;       /* since the stream came up */
    double rtt_ms;           /* < 0: not measured */
    int watch_err;           /* why the watch ended; 0 while it runs */
    int holds; /* the timers, the watch, the probe and each request; the last one frees */
    bool up, closing, told_bad;
    TAILQ_HEAD(, link_request) requests;
};

static void link_connect(struct link *l);

static void link_release(struct link *l)
{
    if (--l->holds > 0)
        return;
    sse_reader_clear(&l->events);
    free(l);
}

/* ---- the round trip ---- */

static void link_on_probe_timer(uv_timer_t *timer);

/* The opening of a connection is no round trip of a question. */
static void probe_on_head(struct http_call *k, const struct http_head *head)
{
    struct link *l = http_call_arg(k);
    double ms = (double)(rm_now_us() - l->probe_us) / 1000;

    (void)head;
    if (l->up && http_call_was_kept(k))
        l->rtt_ms = l->rtt_ms < 0 ? ms : l->rtt_ms + RTT_WEIGHT * (ms - l->rtt_ms);
}

/* The first one opens a connection: another follows at once, over that. */
static void probe_on_done(struct http_call *k)
{
    struct link *l = http_call_arg(k);

    l->probe = NULL;
    if (!l->closing && l->up)
        uv_timer_start(&l->probe_timer, link_on_probe_timer, l->n_probes == 1 ? 0 : LINK_PROBE_MS,
                       0);
    link_release(l);
}

static void link_on_probe_timer(uv_timer_t *timer)
{
    static const struct http_call_ops ops = {.on_head = probe_on_head, .on_done = probe_on_done};
    const struct http_call_spec spec = {
        .method = "GET", .target = RM_LIT("/healthz"), .head_ms = LINK_SILENCE_MS};
    struct link *l = timer->data;

    if (l->probe != NULL || !l->up)
        return; /* the stream broke and came back meanwhile: the old one ends first */
    l->n_probes++;
    l->probe_us = rm_now_us();
    if (http_call_start(l->control, &spec, &ops, l, &l->probe) == 0)
        l->holds++;
    else
        l->probe = NULL;
}

/* ---- the watch stream ---- */

static int link_on_event(void *arg, const struct sse_event *e)
{
    struct link *l = arg;
    struct node_state state = {0};
    char why[128];
    int r;

    if (!e->has_data || !rm_slice_eq(e->type, "state"))
        return 0;
    r = node_state_decode(e->data, &state, why);
    if (r < 0) {
        if (!l->told_bad)
            rm_error("mesh", "a worker's state cannot be read", RM_S("node", l->name),
                     RM_S("why", why));
        l->told_bad = true;
        return r;
    }
    if (strcmp(state.node, l->name) != 0 && !l->told_bad) {
        rm_warn("mesh", "the worker at this address has another name", RM_S("node", l->name),
                RM_S("worker", state.node));
        l->told_bad = true;
    }
    if (!l->up) {
        l->n_probes = 0;
        uv_timer_start(&l->probe_timer, link_on_probe_timer, 0, 0);
    }
    l->up = true;
    l->ops->on_state(l, &state);
    node_state_clear(&state);
    return 0;
}

static void watch_on_head(struct http_call *k, const struct http_head *head)
{
    struct link *l = http_call_arg(k);

    if (head->status != 200)
        l->watch_err = RM_ERR_UPSTREAM_INVALID;
}

static void watch_on_body(struct http_call *k, const char *bytes, size_t n)
{
    struct link *l = http_call_arg(k);

    if (l->closing || l->watch_err != 0)
        return;
    l->watch_err = sse_reader_feed(&l->events, bytes, n, link_on_event, l);
    if (l->watch_err != 0)
        http_call_abort(k);
}

static void watch_on_fail(struct http_call *k, int err)
{
    struct link *l = http_call_arg(k);

    l->watch_err = err;
}

static void link_on_retry(uv_timer_t *timer)
{
    link_connect(timer->data);
}

static void link_lost(struct link *l, int err)
{
    l->up = false;
    l->rtt_ms = -1;
    uv_timer_stop(&l->probe_timer);
    uv_timer_start(&l->retry, link_on_retry, LINK_RETRY_MS, 0);
    l->ops->on_lost(l, err);
}

static void watch_on_done(struct http_call *k)
{
    struct link *l = http_call_arg(k);

    l->watch = NULL;
    if (!l->closing)
        link_lost(l, l->watch_err != 0 ? l->watch_err : UV_EOF);
    link_release(l);
}

static void link_connect(struct link *l)
{
    static const struct http_call_ops ops = {.on_head = watch_on_head,
                                             .on_body = watch_on_body,
                                             .on_fail = watch_on_fail,
                                             .on_done = watch_on_done};
    const struct http_out_field accept = {"Accept", RM_LIT("text/event-stream")};
    const struct http_call_spec spec = {.method = "GET",
                                        .target = RM_LIT("/node/v1/watch"),
                                        .fields = &accept,
                                        .n_fields = 1,
                                        .head_ms = LINK_SILENCE_MS};
    int r;

    sse_reader_clear(&l->events);
    sse_reader_init(&l->events, SSE_EVENT_MAX);
    l->watch_err = 0;
    r = http_call_start(l->control, &spec, &ops, l, &l->watch);
    if (r == 0) {
        l->holds++;
        return;
    }
    l->watch = NULL;
    link_lost(l, r);
}

/* ---- calls ---- */

static void request_on_head(struct http_call *k, const struct http_head *head)
{
    struct link_request *q = http_call_arg(k);

    q->status = head->status;
}

static void request_on_body(struct http_call *k, const char *bytes, size_t n)
{
    struct link_request *q = http_call_arg(k);

    if (q->err == 0)
        q->err = rm_buf_put(&q->answer, bytes, n);
}

static void request_on_fail(struct http_call *k, int err)
{
    struct link_request *q = http_call_arg(k);

    q->err = err;
}

static void request_on_done(struct http_call *k)
{
    struct link_request *q = http_call_arg(k);
    struct link *l = q->link;

    TAILQ_REMOVE(&l->requests, q, entry);
    q->cb(q->arg, l->closing ? UV_ECANCELED : q->err, q->status,
          (struct rm_slice){q->answer.data, q->answer.len});
    rm_buf_clear(&q->body);
    rm_buf_clear(&q->answer);
    free(q);
    link_release(l);
}

int link_call(struct link *l, const char *method, const char *target, struct rm_slice body,
              link_answer_cb cb, void *arg)
{
    static const struct http_call_ops ops = {.on_head = request_on_head,
                                             .on_body = request_on_body,
                                             .on_fail = request_on_fail,
                                             .on_done = request_on_done};
    const struct http_out_field type = {"Content-Type", RM_LIT("application/json")};
    struct link_request *q = calloc(1, sizeof *q);
    struct http_call_spec spec = {
        .method = method, .target = rm_slice_of(target), .fields = &type, .head_ms = CALL_MS};
    int r = 0;

    if (q == NULL)
        return UV_ENOMEM;
    *q = (struct link_request){.link = l, .cb = cb, .arg = arg};
    rm_buf_init(&q->body, body.n);
    rm_buf_init(&q->answer, LINK_ANSWER_MAX);
    if (body.n > 0)
        r = rm_buf_put(&q->body, body.p, body.n);
    q->body_slice = (struct rm_slice){q->body.data, q->body.len};
    spec.n_fields = spec.n_body = body.n > 0 ? 1 : 0;
    spec.body = &q->body_slice;
    if (r == 0)
        r = http_call_start(l->control, &spec, &ops, q, &q->call);
    if (r < 0) {
        rm_buf_clear(&q->body);
        free(q);
        return r;
    }
    TAILQ_INSERT_TAIL(&l->requests, q, entry);
    l->holds++;
    return 0;
}

/* ---- life ---- */

int link_open(uv_loop_t *loop, const char *name, const struct http_address *address,
              const struct link_ops *ops, void *arg, struct link **out)
{
    struct http_client_conf control = http_client_conf_default, run = http_client_conf_default;
    struct link *l = calloc(1, sizeof *l);
    int r;

    *out = NULL;
    if (l == NULL)
        return UV_ENOMEM;
    snprintf(l->name, sizeof l->name, "%s", name);
    l->ops = ops;
    l->arg = arg;
    TAILQ_INIT(&l->requests);
    sse_reader_init(&l->events, SSE_EVENT_MAX);
    control.connect_ms = run.connect_ms = CONNECT_MS;
    control.idle_ms = LINK_SILENCE_MS;
    run.head_ms = 0; /* a prefill may take an hour; front watches its own requests */
    run.idle_ms = 0;
    r = http_client_new(loop, address, &control, &l->control);
    if (r == 0)
        r = http_client_new(loop, address, &run, &l->run);
    if (r < 0) {
        http_client_close(l->control);
        free(l);
        return r;
    }
    uv_timer_init(loop, &l->retry);
    uv_timer_init(loop, &l->probe_timer);
    l->retry.data = l->probe_timer.data = l;
    l->holds = 2;
    l->rtt_ms = -1;
    uv_timer_start(&l->retry, link_on_retry, 0, 0);
    *out = l;
    return 0;
}

static void link_on_timer_closed(uv_handle_t *handle)
{
    link_release(handle->data);
}

void link_close(struct link *l)
{
    struct link_request *q;

    if (l == NULL)
        return;
    l->closing = true;
    if (l->watch != NULL)
        http_call_abort(l->watch);
    if (l->probe != NULL)
        http_call_abort(l->probe);
    TAILQ_FOREACH(q, &l->requests, entry)
    http_call_abort(q->call);
    http_client_close(l->control);
    http_client_close(l->run);
    uv_close((uv_handle_t *)&l->retry, link_on_timer_closed);
    uv_close((uv_handle_t *)&l->probe_timer, link_on_timer_closed);
}

void *link_arg(const struct link *l)
{
    return l->arg;
}

struct http_client *link_run_client(const struct link *l)
{
    return l->run;
}

bool link_is_up(const struct link *l)
{
    return l->up;
}

enum mesh_path link_path(const struct link *l)
{
    const struct sockaddr *peer = http_client_peer(l->control);

    return peer != NULL ? mesh_path_of(peer) : PATH_UNKNOWN;
}

double link_rtt_ms(const struct link *l)
{
    return l->rtt_ms;
}
