/* SPDX-License-Identifier: MIT */
/* The run endpoint: one request from a gateway, passed to the role's engine and back. The relay
 * (proto/http/relay.h) moves the bytes; this file finds the engine, makes the request's fields,
 * counts what passes where the engine does not count itself, and ends things when either side goes.
 *
 *   gateway ──► http_req ──body──► relay_send ──► engine
 *               http_reply ◄── relay ◄──────────── engine */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/http/relay.h"
#include "worker/worker.h"

enum { TAIL_MAX = 1024, ERROR_TEXT = 320 };

struct run {
    struct host_run host_run; /* first: the cut callback gets it */
    struct http_req *q;
    struct relay *relay; /* NULL: over */
    bool events;         /* the answer is a stream of events */
    bool answering;      /* its first part has come */
    struct engine_traffic traffic;
    uint32_t tail_n;
    char tail[TAIL_MAX]; /* the answer's last bytes: there stands `usage` */
};

/* ---- counting, for engines that do not ---- */

static void run_count_events(struct run *r, const char *bytes, size_t n)
{
    static const char mark[] = "data:", done[] = "data: [DONE]";
    const char *p = bytes, *end = bytes + n, *at;

    while ((at = memmem(p, (size_t)(end - p), mark, sizeof(mark) - 1)) != NULL) {
        bool starts = at == bytes || at[-1] == '\n';
        bool last =
            (size_t)(end - at) >= sizeof(done) - 1 && memcmp(at, done, sizeof(done) - 1) == 0;

        if (starts && !last) {
            r->traffic.events++;
            r->host_run.engine->answered_events++;
        }
        p = at + sizeof(mark) - 1;
    }
}

static void run_keep_tail(struct run *r, const char *bytes, size_t n)
{
    size_t keep;

    if (n >= TAIL_MAX) {
        memcpy(r->tail, bytes + n - TAIL_MAX, TAIL_MAX);
        r->tail_n = TAIL_MAX;
        return;
    }
    keep = r->tail_n + n > TAIL_MAX ? TAIL_MAX - n : r->tail_n;
    memmove(r->tail, r->tail + r->tail_n - keep, keep);
    memcpy(r->tail + keep, bytes, n);
    r->tail_n = (uint32_t)(keep + n);
}

/* The number after "name": in the tail, 0 when there is none. */
static uint64_t run_tail_number(const struct run *r, const char *name)
{
    const char *at = memmem(r->tail, r->tail_n, name, strlen(name));
    const char *end = r->tail + r->tail_n;
    uint64_t v = 0;

    if (at == NULL)
        return 0;
    for (at += strlen(name); at < end && (*at == ' ' || *at == ':'); at++)
        ;
    for (; at < end && *at >= '0' && *at <= '9' && v < 1000000000; at++)
        v = v * 10 + (uint64_t)(*at - '0');
    return v;
}

static void run_read_usage(struct run *r)
{
    r->traffic.prompt_tokens = run_tail_number(r, "\"prompt_tokens\"");
    r->traffic.cached_tokens = run_tail_number(r, "\"cached_tokens\"");
    r->traffic.completion_tokens = run_tail_number(r, "\"completion_tokens\"");
    if (r->traffic.cached_tokens > r->traffic.prompt_tokens)
        r->traffic.cached_tokens = 0;
}

/* ---- the engine's answer ---- */

static int run_on_head(struct relay *relay, const struct http_head *head)
{
    static const char sse[] = "text/event-stream";
    struct rm_slice type = http_head_value(head, "Content-Type");
    struct run *r = relay_arg(relay);

    r->traffic.first_us = rm_now_us();
    type.n = type.n > sizeof(sse) - 1 ? sizeof(sse) - 1 : type.n; /* without parameters */
    r->events = rm_slice_ieq(type, sse);
    if (!r->host_run.engine->ended) /* a slot was taken, or is free again */
        r->host_run.engine->kind->measure(r->host_run.engine);
    return relay_copy_head(relay, head);
}

static int run_filter(struct relay *relay, const char *bytes, size_t n)
{
    struct run *r = relay_arg(relay);

    r->traffic.last_us = rm_now_us();
    if (!r->answering) {
        r->answering = true;
        r->host_run.engine->answering++;
    }
    if (r->events) {
        if (r->traffic.events == 0)
            r->traffic.first_us = r->traffic.last_us;
        run_count_events(r, bytes, n);
    }
    run_keep_tail(r, bytes, n);
    return relay_put(relay, (struct rm_slice){bytes, n});
}

/* What a lost engine means to the caller. */
static int run_error_of(int err)
{
    if (err == RM_ERR_UPSTREAM_TIMEOUT || err == UV_ETIMEDOUT)
        return RM_ERR_UPSTREAM_TIMEOUT;
    return err <= RM_ERR_HTTP_SYNTAX && err > RM_ERR_METHOD ? RM_ERR_UPSTREAM_INVALID
                                                            : RM_ERR_UPSTREAM_LOST;
}

static void run_on_finish(struct relay *relay, int err)
{
    struct run *r = relay_arg(relay);
    char text[ERROR_TEXT];

    r->relay = NULL;
    if (err == 0) {
        http_reply_end(r->q);
        return;
    }
    rm_info("run", "the engine's answer broke off", RM_S("error", rm_err_name(err)),
            RM_S("begun", http_reply_started(r->q) ? "yes" : "no"));
    if (http_reply_started(r->q)) {
        http_reply_cut(r->q); /* no last chunk: the gateway sees that it is not whole */
        return;
    }
    snprintf(text, sizeof(text), "the engine was lost before it answered: %s", rm_strerror(err));
    api_reply_error(r->q, run_error_of(err), 0, 0, text);
}

static const struct relay_ops run_relay_plain = {.on_head = run_on_head,
                                                 .on_finish = run_on_finish};
static const struct relay_ops run_relay_counted = {
    .on_head = run_on_head, .filter = run_filter, .on_finish = run_on_finish};

/* ---- the caller ---- */

static void run_stop_relay(struct run *r)
{
    struct relay *relay = r->relay;

    r->relay = NULL;
    relay_abort(relay);
}

static void run_on_body(struct http_req *q, const char *bytes, size_t n)
{
    struct run *r = http_req_arg(q);

    if (r->relay != NULL && relay_send(r->relay, bytes, n) < 0) {
        run_stop_relay(r);
        http_reply_cut(q);
    }
}

static void run_on_body_end(struct http_req *q)
{
    struct run *r = http_req_arg(q);

    if (r->relay != NULL && http_req_head(q)->framing != HTTP_BODY_NONE)
        relay_send_end(r->relay);
}

static void run_on_writable(struct http_req *q)
{
    struct run *r = http_req_arg(q);

    if (r->relay != NULL)
        relay_on_writable(r->relay);
}

static void run_on_gone(struct http_req *q, int why)
{
    (void)why;
    run_stop_relay(http_req_arg(q));
}

static void run_on_done(struct http_req *q)
{
    struct run *r = http_req_arg(q);

    run_stop_relay(r);
    if (!r->host_run.engine->counts_itself)
        run_read_usage(r);
    if (r->answering) {
        r->host_run.engine->answering--;
        r->host_run.engine->answered_events -= r->traffic.events;
    }
    host_run_end(&r->host_run, &r->traffic);
    free(r);
}

static const struct http_req_ops run_ops = {
    .on_body = run_on_body,
    .on_end = run_on_body_end,
    .on_writable = run_on_writable,
    .on_gone = run_on_gone,
    .on_done = run_on_done,
};

/* The host goes and this request was not done within the drain's deadline. */
static void run_on_cut(struct host_run *hr)
{
    struct run *r = (struct run *)hr;

    run_stop_relay(r);
    if (http_reply_started(r->q))
        http_reply_cut(r->q);
    else
        api_reply_error(r->q, RM_ERR_DRAINING, 0, 2, "the host was stopped");
}

/* ---- the request ---- */

/* End-to-end fields with NUL-terminated names. *text: their names, to be freed. Returns how many or
 * UV_ENOMEM. */
static int run_fields(const struct http_head *head, struct http_out_field **out, char **text)
{
    size_t bytes = 1;
    char *at;
    int n = 0;

    for (uint32_t i = 0; i < head->n_fields; i++)
        bytes += head->fields[i].name.n + 1;
    *out = calloc(head->n_fields + 1, sizeof(**out));
    *text = at = malloc(bytes);
    if (*out == NULL || at == NULL)
        return UV_ENOMEM;
    for (uint32_t i = 0; i < head->n_fields; i++) {
        const struct http_field *f = &head->fields[i];

        if (http_field_is_hop(head, f))
            continue;
        memcpy(at, f->name.p, f->name.n);
        at[f->name.n] = '\0';
        (*out)[n++] = (struct http_out_field){at, f->value};
        at += f->name.n + 1;
    }
    return n;
}

static int run_call(struct run *r, const struct http_head *head, struct rm_slice rest)
{
    struct engine *e = r->host_run.engine;
    char method[32], *names = NULL;
    struct http_out_field *fields = NULL;
    struct http_call_spec spec = {.method = method};
    struct rm_buf target;
    int n;

    rm_buf_init(&target, sizeof(e->base) + http_limits_default.target_bytes + 2);
    snprintf(method, sizeof(method), "%.*s", (int)head->method_text.n, head->method_text.p);
    if ((n = run_fields(head, &fields, &names)) < 0 || (n = rm_buf_puts(&target, e->base)) < 0)
        goto out;
    n = rm_buf_printf(&target, "%.*s%s%.*s", (int)rest.n, rest.p, head->query.n > 0 ? "?" : "",
                      (int)head->query.n, head->query.n > 0 ? head->query.p : "");
    if (n < 0)
        goto out;
    spec.target = (struct rm_slice){target.data, target.len};
    spec.fields = fields;
    for (spec.n_fields = 0; fields[spec.n_fields].name != NULL; spec.n_fields++)
        ;
    if (head->framing == HTTP_BODY_LENGTH)
        spec.stream_length = (int64_t)head->content_length;
    else if (head->framing == HTTP_BODY_CHUNKED)
        spec.stream_length = -1;
    r->traffic.sent_us = rm_now_us();
    n = relay_start(e->client, &spec, r->q,
                    e->counts_itself ? &run_relay_plain : &run_relay_counted, r, &r->relay);
out:
    rm_buf_clear(&target);
    free(fields);
    free(names);
    return n;
}

static void refused_on_done(struct http_req *q)
{
    (void)q;
}

static const struct http_req_ops refused_ops = {.on_done = refused_on_done};

static void run_refuse(struct http_req *q, int err, int status, uint32_t retry_s, const char *why)
{
    http_req_accept(q, &refused_ops, NULL);
    api_reply_error(q, err, status, retry_s, why);
}

void run_on_request(struct worker *w, struct http_req *q, struct rm_slice role,
                    struct rm_slice rest)
{
    struct host *h = worker_find(w, role);
    char why[256] = "";
    uint32_t retry_s = 0;
    struct run *r;
    int err;

    if (h == NULL) {
        snprintf(why, sizeof(why), "%.*s is not hosted here", (int)role.n, role.p);
        run_refuse(q, RM_ERR_NO_HOST, 404, 0, why);
        return;
    }
    if (w->draining) {
        run_refuse(q, RM_ERR_DRAINING, 0, 5, "this node is stopping");
        return;
    }
    if ((r = calloc(1, sizeof(*r))) == NULL) {
        run_refuse(q, UV_ENOMEM, 0, 1, rm_strerror(UV_ENOMEM));
        return;
    }
    r->q = q;
    if ((err = host_run_begin(h, &r->host_run, run_on_cut, why, &retry_s)) < 0) {
        free(r);
        run_refuse(q, err, 0, retry_s, why);
        return;
    }
    http_req_accept(q, &run_ops, r);
    if ((err = run_call(r, http_req_head(q), rest)) < 0)
        api_reply_error(q, run_error_of(err), 0, 0, rm_strerror(err));
}
