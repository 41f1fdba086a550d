/* SPDX-License-Identifier: MIT */
/* gateway/front/dialects/openai_answer.c - what a worker answers, checked and passed on.
 * Every event is one JSON object that is read (not parsed into a tree) before it goes out. Most go
 * out as the very bytes that came; where the model's name is not what was asked for, where usage
 * stands on a part it must not stand on, or where the frame is not plain "data: ...", the event
 * goes out in pieces around the change. Comments and fields of the worker's frames stay here.
 * Neighbours: openai.c (the way there), freq.c (the caller). */
#include "gateway/front/dialects/openai.h"

#include <stdlib.h>
#include <string.h>

#include "proto/http/sse.h"

enum { USAGE_EVENT_MAX = 16 * 1024, TOKENS_MAX = 1 << 30 };

struct dialect_stream {
    struct dialect_progress progress;
    struct sse_reader reader;
    struct rm_slice model; /* raw JSON string */
    bool include_usage, usage_sent;
    bool usage_told;           /* by a usage object, which is better than timings */
    struct rm_buf usage_event; /* made from usage that came on a part with content */
    struct rm_buf joined;      /* data of a frame with several data lines, on one line */
};

/* One feed. */
struct feeding {
    struct dialect_stream *s;
    struct rm_skim *skim;
    const struct dialect_sink *sink;
    const char *bytes; /* what was fed: slices in it are stable */
    size_t n;
};

/* The members of an event or answer that matter here; NULL: absent. */
struct answer {
    const struct rm_json_member *choices, *error, *usage, *model, *timings;
};

static bool key_is(struct rm_slice text, struct rm_span key, const char *name, size_t n)
{
    return key.len == n + 2 && memcmp(text.p + key.offset + 1, name, n) == 0;
}

static void answer_read(struct answer *a, struct rm_slice text, const struct rm_skim *skim)
{
    memset(a, 0, sizeof(*a));
    for (uint32_t i = 0; i < skim->n_members; i++) {
        const struct rm_json_member *m = &skim->members[i];

        if (key_is(text, m->key, "choices", 7))
            a->choices = m;
        else if (key_is(text, m->key, "error", 5) && m->type != RM_JSON_NULL)
            a->error = m;
        else if (key_is(text, m->key, "usage", 5))
            a->usage = m;
        else if (key_is(text, m->key, "model", 5))
            a->model = m;
        else if (key_is(text, m->key, "timings", 7))
            a->timings = m;
    }
}

static bool array_empty(struct rm_slice text, const struct rm_json_member *m)
{
    for (uint32_t i = 1; i + 1 < m->value.len; i++)
        if (strchr(" \t\r\n", text.p[m->value.offset + i]) == NULL)
            return false;
    return true;
}

/* ---- usage: believed only where it can be true ---- */

static uint32_t count_of(const struct rm_skim *skim, struct rm_slice text, const char *name)
{
    const struct rm_json_member *m = rm_skim_member(skim, text, name);
    int64_t v;

    if (m == NULL || m->type != RM_JSON_NUMBER || rm_json_int(rm_span_of(text, m->value), &v) < 0 ||
        v < 0 || v > TOKENS_MAX)
        return 0;
    return (uint32_t)v;
}

/* Overwrites the scratch skimmer: whoever needs it afterwards reads again. */
static void usage_read(struct route_usage *u, struct rm_slice text, struct rm_skim *skim)
{
    const struct rm_json_member *m;
    struct rm_slice details = {NULL, 0};

    if (rm_json_check(text, skim) < 0)
        return;
    u->prompt_tokens = count_of(skim, text, "prompt_tokens");
    u->completion_tokens = count_of(skim, text, "completion_tokens");
    m = rm_skim_member(skim, text, "prompt_tokens_details");
    if (m != NULL && m->type == RM_JSON_OBJECT)
        details = rm_span_of(text, m->value);
    if (details.n > 0 && rm_json_check(details, skim) == 0)
        u->cached_tokens = count_of(skim, details, "cached_tokens");
    if (u->cached_tokens > u->prompt_tokens)
        u->cached_tokens = u->prompt_tokens;
}

static void timings_read(struct route_usage *u, struct rm_slice text, struct rm_skim *skim)
{
    if (rm_json_check(text, skim) < 0)
        return;
    u->cached_tokens = count_of(skim, text, "cache_n");
    u->prompt_tokens = count_of(skim, text, "prompt_n") + u->cached_tokens;
    u->completion_tokens = count_of(skim, text, "predicted_n");
}

/* told: a usage object has been seen; it is better than timings. */
static void answer_usage(struct route_usage *u, bool *told, const struct answer *a,
                         struct rm_slice text, struct rm_skim *skim)
{
    struct rm_slice usage = {NULL, 0}, timings = {NULL, 0};

    if (a->usage != NULL && a->usage->type == RM_JSON_OBJECT)
        usage = rm_span_of(text, a->usage->value);
    if (a->timings != NULL && a->timings->type == RM_JSON_OBJECT)
        timings = rm_span_of(text, a->timings->value);
    if (usage.n > 0)
        usage_read(u, usage, skim);
    else if (timings.n > 0 && !*told)
        timings_read(u, timings, skim);
    *told = *told || usage.n > 0;
}

/* ---- cutting ---- */

/* One stretch to be replaced. */
struct cut {
    uint32_t at, len;
    struct rm_slice with;
};

/* The member with the comma before it, or the one after it when it is the first. */
static struct cut cut_member(struct rm_slice text, const struct rm_json_member *m)
{
    uint32_t from = m->key.offset, to = m->value.offset + m->value.len;

    while (from > 0 && text.p[from - 1] != ',' && text.p[from - 1] != '{')
        from--;
    if (from > 0 && text.p[from - 1] == ',')
        return (struct cut){from - 1, to - from + 1, {NULL, 0}};
    while (to < text.n && text.p[to] != ',' && text.p[to] != '}')
        to++;
    if (to < text.n && text.p[to] == ',')
        to++;
    return (struct cut){from, to - from, {NULL, 0}};
}

/* text with up to two cuts, as pieces (at most 5). */
static size_t cuts_apply(struct rm_slice text, struct cut *c, size_t n, struct rm_slice *pieces)
{
    size_t at = 0, out = 0;

    if (n == 2 && c[1].at < c[0].at) {
        struct cut swap = c[0];

        c[0] = c[1];
        c[1] = swap;
    }
    for (size_t i = 0; i < n; i++) {
        if (c[i].at > at)
            pieces[out++] = (struct rm_slice){text.p + at, c[i].at - at};
        if (c[i].with.n > 0)
            pieces[out++] = c[i].with;
        at = (size_t)c[i].at + c[i].len;
    }
    if (at < text.n)
        pieces[out++] = (struct rm_slice){text.p + at, text.n - at};
    return out;
}

static bool model_differs(struct rm_slice text, const struct answer *a, struct rm_slice model)
{
    return a->model != NULL && model.n > 0 &&
           (a->model->value.len != model.n ||
            memcmp(text.p + a->model->value.offset, model.p, model.n) != 0);
}

/* ---- streams ---- */

struct dialect_stream *openai_stream_open(const struct dialect_ask *ask, struct rm_slice model)
{
    struct dialect_stream *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    sse_reader_init(&s->reader, SSE_EVENT_MAX);
    rm_buf_init(&s->usage_event, USAGE_EVENT_MAX);
    rm_buf_init(&s->joined, SSE_EVENT_MAX);
    s->model = model;
    s->include_usage = ask->include_usage;
    return s;
}

void openai_stream_close(struct dialect_stream *s)
{
    if (s == NULL)
        return;
    sse_reader_clear(&s->reader);
    rm_buf_clear(&s->usage_event);
    rm_buf_clear(&s->joined);
    free(s);
}

const struct dialect_progress *openai_stream_progress(const struct dialect_stream *s)
{
    return &s->progress;
}

static bool feed_stable(const struct feeding *f, struct rm_slice piece)
{
    return piece.p >= f->bytes && piece.p + piece.n <= f->bytes + f->n;
}

static int feed_put(const struct feeding *f, const struct rm_slice *pieces, size_t n, bool stable)
{
    int r = 0;

    for (size_t i = 0; i < n && r >= 0; i++)
        r = f->sink->put(f->sink->arg, pieces[i]);
    if (r >= 0 && !stable)
        r = f->sink->flush(f->sink->arg);
    return r < 0 ? r : 0;
}

/* "data: " + text + blank line, whatever the frame looked like. */
static int feed_frame(const struct feeding *f, const struct rm_slice *pieces, size_t n, bool stable)
{
    struct rm_slice all[8];

    all[0] = RM_LIT("data: ");
    memcpy(all + 1, pieces, n * sizeof(*pieces));
    all[n + 1] = RM_LIT("\n\n");
    return feed_put(f, all, n + 2, stable);
}

static bool frame_plain(const struct sse_event *e)
{
    return e->raw.n == e->data.n + 8 && e->data.p == e->raw.p + 6 &&
           memcmp(e->raw.p, "data: ", 6) == 0 && memcmp(e->raw.p + e->raw.n - 2, "\n\n", 2) == 0;
}

/* Keeps the latest "choices":[] event that an engine should have sent by itself. */
static void usage_keep(struct dialect_stream *s, struct rm_slice text, const struct answer *a)
{
    struct cut c[2] = {{a->choices->value.offset, a->choices->value.len, RM_LIT("[]")}};
    struct rm_slice pieces[5];
    size_t n = 1;

    if (model_differs(text, a, s->model))
        c[n++] = (struct cut){a->model->value.offset, a->model->value.len, s->model};
    n = cuts_apply(text, c, n, pieces);
    s->usage_event.len = 0;
    for (size_t i = 0; i < n; i++)
        if (rm_buf_put(&s->usage_event, pieces[i].p, pieces[i].n) < 0) {
            s->usage_event.len = 0;
            return;
        }
}

static int event_done(const struct feeding *f)
{
    struct dialect_stream *s = f->s;
    struct rm_slice usage = {s->usage_event.data, s->usage_event.len},
                    end = RM_LIT("data: [DONE]\n\n");
    int r = 0;

    if (s->include_usage && !s->usage_sent && usage.n > 0)
        r = feed_frame(f, &usage, 1, false);
    s->progress.done = true;
    return r < 0 ? r : feed_put(f, &end, 1, true);
}

/* The worker's own error: passed on in a shape that every client throws. */
static int event_error(const struct feeding *f, struct rm_slice text, const struct answer *a)
{
    struct rm_slice pieces[3] = {text};
    size_t n = 1;

    if (a->error->type != RM_JSON_OBJECT) {
        pieces[0] = RM_LIT("{\"error\":{\"message\":");
        pieces[1] = a->error->type == RM_JSON_STRING ? rm_span_of(text, a->error->value)
                                                     : RM_LIT("\"the worker failed\"");
        pieces[2] =
            RM_LIT(",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_error\"}}");
        n = 3;
    }
    f->s->progress.failed = f->s->progress.answered = true;
    return feed_frame(f, pieces, n, feed_stable(f, text));
}

/* A part of the answer. */
static int event_part(const struct feeding *f, struct rm_slice text, const struct answer *a,
                      const struct sse_event *e)
{
    struct dialect_stream *s = f->s;
    struct rm_slice pieces[5];
    struct cut c[2];
    size_t n = 0;
    bool empty = array_empty(text, a->choices), stable = feed_stable(f, text);
    bool has_usage = a->usage != NULL && a->usage->type == RM_JSON_OBJECT;
    int r;

    if (model_differs(text, a, s->model))
        c[n++] = (struct cut){a->model->value.offset, a->model->value.len, s->model};
    if (empty && has_usage && !s->include_usage) {
        answer_usage(&s->progress.usage, &s->usage_told, a, text, f->skim);
        return 0;
    }
    if (empty && has_usage)
        s->usage_sent = true;
    if (!empty && has_usage) {
        if (s->include_usage)
            usage_keep(s, text, a);
        c[n++] = cut_member(text, a->usage);
    }
    if (n == 0 && e != NULL)
        r = feed_put(f, &e->raw, 1, feed_stable(f, e->raw));
    else
        r = feed_frame(f, pieces, cuts_apply(text, c, n, pieces), stable);
    s->progress.answered = true;
    s->progress.events += !empty;
    if (has_usage || a->timings != NULL)
        answer_usage(&s->progress.usage, &s->usage_told, a, text, f->skim);
    return r;
}

static bool text_is_done(struct rm_slice text)
{
    while (text.n > 0 && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t'))
        text.n--;
    while (text.n > 0 && (text.p[0] == ' ' || text.p[0] == '\t'))
        text.p++, text.n--;
    return rm_slice_eq(text, "[DONE]");
}

/* Several data lines are joined by LF; on one line they mean the same JSON. */
static int text_join(struct dialect_stream *s, struct rm_slice *text)
{
    int r;

    if (text->n == 0 || memchr(text->p, '\n', text->n) == NULL)
        return 0;
    s->joined.len = 0;
    if ((r = rm_buf_put(&s->joined, text->p, text->n)) < 0)
        return r;
    for (size_t i = 0; i < s->joined.len; i++)
        if (s->joined.data[i] == '\n')
            s->joined.data[i] = ' ';
    *text = (struct rm_slice){s->joined.data, s->joined.len};
    return 0;
}

static int on_event(void *arg, const struct sse_event *e)
{
    const struct feeding *f = arg;
    struct rm_slice text = e->data;
    struct answer a;
    int r;

    if (!e->has_data || text.n == 0 || f->s->progress.done || f->s->progress.failed)
        return 0; /* comments, and what comes after the end */
    if (text_is_done(text))
        return event_done(f);
    if ((r = text_join(f->s, &text)) < 0)
        return r;
    if (rm_json_check(text, f->skim) < 0)
        return RM_ERR_UPSTREAM_INVALID;
    answer_read(&a, text, f->skim);
    if (a.error != NULL)
        return event_error(f, text, &a);
    if (a.choices == NULL)
        return 0; /* an engine's own extension: nothing a client of this API could read */
    if (a.choices->type != RM_JSON_ARRAY)
        return RM_ERR_UPSTREAM_INVALID;
    return event_part(f, text, &a, frame_plain(e) ? e : NULL);
}

int openai_stream_feed(struct dialect_stream *s, const char *bytes, size_t n,
                       struct rm_skim *scratch, const struct dialect_sink *sink)
{
    struct feeding f = {s, scratch, sink, bytes, n};
    int r;

    if (s->progress.done || s->progress.failed)
        return 0;
    r = sse_reader_feed(&s->reader, bytes, n, on_event, &f);
    return r == RM_ERR_TOO_BIG ? RM_ERR_UPSTREAM_INVALID : r;
}

/* ---- whole answers ---- */

int openai_whole(const struct dialect_ask *ask, struct rm_slice body, struct rm_slice model,
                 struct rm_skim *scratch, struct rm_slice *pieces, size_t *n_pieces,
                 struct route_usage *usage)
{
    struct answer a;
    struct cut c;
    bool told = false;

    (void)ask;
    if (rm_json_check(body, scratch) < 0)
        return RM_ERR_UPSTREAM_INVALID;
    answer_read(&a, body, scratch);
    if (a.error != NULL || (a.choices != NULL && a.choices->type != RM_JSON_ARRAY))
        return RM_ERR_UPSTREAM_INVALID;
    if (model_differs(body, &a, model)) {
        c = (struct cut){a.model->value.offset, a.model->value.len, model};
        *n_pieces = cuts_apply(body, &c, 1, pieces);
    } else {
        pieces[0] = body;
        *n_pieces = 1;
    }
    answer_usage(usage, &told, &a, body, scratch);
    return 0;
}
