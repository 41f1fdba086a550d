/* SPDX-License-Identifier: MIT */
#include "cli/follow.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/ask.h"
#include "proto/http/client.h"

enum { TARGET_MAX = 256, ID_MAX = 24 };

struct follow {
    uv_timer_t again;
    struct http_client *client; /* NULL: closing */
    struct http_call *call;     /* NULL: between two */
    const struct follow_ops *ops;
    void *arg;
    struct sse_reader reader;
    char target[TARGET_MAX], last_id[ID_MAX];
    uint32_t pause_ms;
    int status, err;
    bool timer_closed;
};

static void follow_connect(struct follow *f);

static void follow_free_when_over(struct follow *f)
{
    if (f->call != NULL || !f->timer_closed)
        return;
    sse_reader_clear(&f->reader);
    free(f);
}

static void follow_on_again(uv_timer_t *t)
{
    follow_connect(t->data);
}

static void follow_retry(struct follow *f)
{
    uv_timer_start(&f->again, follow_on_again, f->pause_ms, 0);
    f->pause_ms = 2 * f->pause_ms < FOLLOW_RETRY_MAX_MS ? 2 * f->pause_ms : FOLLOW_RETRY_MAX_MS;
}

/* ---- one stream ---- */

static void follow_on_head(struct http_call *k, const struct http_head *head)
{
    struct follow *f = http_call_arg(k);

    f->status = head->status;
    if (head->status != 200 && f->client != NULL)
        http_call_abort(k);
}

static int follow_on_frame(void *arg, const struct sse_event *e)
{
    struct follow *f = arg;

    if (f->client == NULL)
        return UV_ECANCELED; /* closed by the event before */
    if (e->id.n > 0 && e->id.n < ID_MAX) {
        memcpy(f->last_id, e->id.p, e->id.n);
        f->last_id[e->id.n] = '\0';
    }
    f->pause_ms = FOLLOW_RETRY_MS;
    if (e->has_data)
        f->ops->on_event(f->arg, e);
    return 0;
}

static void follow_on_body(struct http_call *k, const char *bytes, size_t n)
{
    struct follow *f = http_call_arg(k);
    int r;

    if (f->client == NULL || f->err < 0)
        return;
    if ((r = sse_reader_feed(&f->reader, bytes, n, follow_on_frame, f)) < 0 && f->client != NULL) {
        f->err = r;
        http_call_abort(k);
    }
}

static void follow_on_fail(struct http_call *k, int err)
{
    struct follow *f = http_call_arg(k);

    if (f->err == 0)
        f->err = err;
}

static void follow_on_done(struct http_call *k)
{
    struct follow *f = http_call_arg(k);

    f->call = NULL;
    if (f->client == NULL) {
        follow_free_when_over(f);
        return;
    }
    sse_reader_clear(&f->reader);
    sse_reader_init(&f->reader, FOLLOW_EVENT_MAX);
    follow_retry(f);
    f->ops->on_lost(f->arg, f->err, f->status);
}

static void follow_connect(struct follow *f)
{
    static const struct http_call_ops ops = {.on_head = follow_on_head,
                                             .on_body = follow_on_body,
                                             .on_fail = follow_on_fail,
                                             .on_done = follow_on_done};
    struct http_out_field fields[3] = {{"Accept", RM_LIT("text/event-stream")}};
    char key[ASK_KEY_FIELD_MAX];
    struct http_call_spec spec = {.method = "GET",
                                  .target = rm_slice_of(f->target),
                                  .fields = fields,
                                  .n_fields = 1,
                                  .head_ms = 10000};
    int r;

    if (f->last_id[0] != '\0')
        fields[spec.n_fields++] = (struct http_out_field){"Last-Event-ID", rm_slice_of(f->last_id)};
    if (ask_key_field(key, &fields[spec.n_fields]))
        spec.n_fields++;
    f->status = f->err = 0;
    if ((r = http_call_start(f->client, &spec, &ops, f, &f->call)) < 0) {
        f->call = NULL;
        follow_retry(f);
        f->ops->on_lost(f->arg, r, 0);
    }
}

/* ---- life ---- */

int follow_open(uv_loop_t *loop, const struct http_address *address, const char *target,
                const struct follow_ops *ops, void *arg, struct follow **out)
{
    struct http_client_conf conf = http_client_conf_default;
    struct follow *f = calloc(1, sizeof *f);
    int r;

    *out = NULL;
    if (f == NULL)
        return UV_ENOMEM;
    f->ops = ops;
    f->arg = arg;
    f->pause_ms = FOLLOW_RETRY_MS;
    rm_text_copy(f->target, sizeof f->target, target);
    sse_reader_init(&f->reader, FOLLOW_EVENT_MAX);
    conf.idle_ms = FOLLOW_SILENCE_MS;
    if ((r = http_client_new(loop, address, &conf, &f->client)) < 0) {
        free(f);
        return r;
    }
    uv_timer_init(loop, &f->again);
    f->again.data = f;
    uv_timer_start(&f->again, follow_on_again, 0, 0);
    *out = f;
    return 0;
}

void follow_after(struct follow *f, uint64_t id)
{
    snprintf(f->last_id, sizeof f->last_id, "%" PRIu64, id);
}

static void follow_on_closed(uv_handle_t *h)
{
    struct follow *f = h->data;

    f->timer_closed = true;
    follow_free_when_over(f);
}

void follow_close(struct follow *f)
{
    struct http_client *client;

    if (f == NULL || f->client == NULL)
        return;
    client = f->client;
    f->client = NULL;
    uv_close((uv_handle_t *)&f->again, follow_on_closed);
    http_client_close(client);
}
