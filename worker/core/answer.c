/* SPDX-License-Identifier: MIT */
/* worker/core/answer.c - see answer.h. Callbacks note what happened; answer_flush() and
 * answer_pump() send, and answer_end() is the one way out. */
#include "worker/core/answer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/http/server.h"
#include "worker/core/decoder.h"
#include "worker/core/openai.h"

enum { JOB_BUCKETS = 256, SEND_PIECE = 32 * 1024 };

enum answer_state { AN_BODY, AN_WAIT, AN_PREPARE, AN_RUN, AN_SEND };

struct answer;

/* One text being made. */
struct choice {
    struct answer *answer; /* NULL: the warm-up */
    uint64_t job;          /* 0: none, or over */
    struct choice *next;   /* in its bucket of answers.jobs */
    size_t index;
    struct rm_buf text; /* streaming: not sent yet; else: all of it */
    struct openai_counts counts;
    struct openai_progress progress;
    enum job_finish finish;
    bool done, role_sent, finish_sent, has_progress;
};

struct answer {
    struct answers *all;
    struct answer *prev, *next; /* in answers.first */
    struct answer *next_waiting, *next_dirty;
    struct http_req *q; /* NULL after on_done */
    enum answer_kind kind;
    enum answer_state state;
    bool gone;   /* the client is: nothing is sent any more */
    bool dirty;  /* in answers.dirty */
    bool paused; /* http_reply_write said RM_WAIT */
    struct rm_buf body;
    /* preparation; the pool thread's while state is AN_PREPARE */
    uv_work_t work;
    struct prepared prepared;
    struct request_fault fault;
    int prepare_err;
    /* the answer */
    char id[OPENAI_ID];
    struct openai_head head;
    struct choice *choices;
    size_t n_choices, n_running, choices_per_prompt;
    struct rm_buf out; /* a whole answer, or frames being put together */
    size_t out_sent;
};

struct answers {
    struct answers_conf conf;
    struct answer *first;
    struct answer *waiting, **waiting_end; /* AN_WAIT, oldest first */
    struct answer *dirty;
    size_t n, n_preparing;
    bool stopped; /* no new jobs */
    uint64_t body_bytes;
    struct choice *jobs[JOB_BUCKETS]; /* by decoder job id */
    struct choice warm;
    void (*on_warm)(void *arg, int err);
    void *warm_arg;
};

/* ---- jobs by id ---- */

static void jobs_put(struct answers *a, struct choice *c, uint64_t id)
{
    struct choice **bucket = &a->jobs[id % JOB_BUCKETS];

    c->job = id;
    c->next = *bucket;
    *bucket = c;
}

static struct choice *jobs_find(struct answers *a, uint64_t id)
{
    struct choice *c = a->jobs[id % JOB_BUCKETS];

    while (c != NULL && c->job != id)
        c = c->next;
    return c;
}

static void jobs_remove(struct answers *a, struct choice *c)
{
    struct choice **at = &a->jobs[c->job % JOB_BUCKETS];

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->job = 0;
}

/* ---- life ---- */

static void body_drop(struct answer *an)
{
    an->all->body_bytes -= an->body.len;
    rm_buf_clear(&an->body);
}

static void answer_cancel(struct answer *an)
{
    for (size_t i = 0; i < an->n_choices; i++) {
        struct choice *c = &an->choices[i];

        if (c->job == 0)
            continue;
        decoder_cancel(an->all->conf.decoder, c->job);
        jobs_remove(an->all, c);
    }
    an->n_running = 0;
}

static void waiting_remove(struct answer *an)
{
    struct answers *a = an->all;
    struct answer **at = &a->waiting;

    while (*at != NULL && *at != an)
        at = &(*at)->next_waiting;
    if (*at == NULL)
        return;
    *at = an->next_waiting;
    if (a->waiting_end == &an->next_waiting)
        a->waiting_end = at;
}

static void dirty_remove(struct answer *an)
{
    struct answer **at = &an->all->dirty;

    if (!an->dirty)
        return;
    while (*at != an)
        at = &(*at)->next_dirty;
    *at = an->next_dirty;
    an->dirty = false;
}

/* Frees, unless the server or a pool thread still has the answer: the last of them frees. */
static void answer_release(struct answer *an)
{
    struct answers *a = an->all;

    if (an->q != NULL || an->state == AN_PREPARE)
        return;
    if (an->state == AN_WAIT)
        waiting_remove(an);
    dirty_remove(an);
    answer_cancel(an);
    body_drop(an);
    if (an->prev != NULL)
        an->prev->next = an->next;
    else
        a->first = an->next;
    if (an->next != NULL)
        an->next->prev = an->prev;
    a->n--;
    for (size_t i = 0; i < an->n_choices; i++)
        rm_buf_clear(&an->choices[i].text);
    free(an->choices);
    rm_buf_clear(&an->out);
    prepared_clear(&an->prepared);
    free(an);
}

/* ---- sending ---- */

void answer_refuse(struct http_req *q, int err, const char *why, const char *param)
{
    int status = rm_err_status(err);
    struct http_out_field retry = {"Retry-After", RM_LIT("1")};
    struct rm_buf body;

    rm_buf_init(&body, 16 * 1024);
    if (openai_put_error(&body, err, why, param, false) < 0)
        body.len = 0;
    http_reply_full(q, status, &retry, status == 429 || status == 503 ? 1 : 0, "application/json",
                    (struct rm_slice){body.data, body.len});
    rm_buf_clear(&body);
}

/* The client is gone, or is to be treated so. */
static void answer_abandon(struct answer *an)
{
    an->gone = true;
    answer_cancel(an);
    if (an->state == AN_WAIT) {
        waiting_remove(an);
        an->state = AN_SEND;
    } else if (an->state != AN_PREPARE) {
        an->state = AN_SEND;
    }
}

/* Sends pieces of an->out until it is empty or the client has enough. True: all is out. */
static bool answer_pump(struct answer *an)
{
    while (!an->gone && !an->paused && an->out_sent < an->out.len) {
        size_t n = an->out.len - an->out_sent;
        struct rm_slice piece = {an->out.data + an->out_sent, n < SEND_PIECE ? n : SEND_PIECE};
        int r = http_reply_write(an->q, &piece, 1);

        if (r < 0) {
            answer_abandon(an);
            http_reply_cut(an->q);
            return false;
        }
        an->out_sent += piece.n;
        an->paused = r == RM_WAIT;
    }
    return !an->gone && an->out_sent == an->out.len;
}

/* Everything is in an->out or sent: the end of the answer once it has left. */
static void answer_end(struct answer *an)
{
    an->state = AN_SEND;
    if (answer_pump(an))
        http_reply_end(an->q);
}

static int answer_start_stream(struct answer *an)
{
    static const struct http_out_field fields[] = {
        {"Content-Type", {"text/event-stream; charset=utf-8", 32}},
        {"Cache-Control", {"no-cache, no-transform", 22}},
        {"X-Accel-Buffering", {"no", 2}},
    };

    if (http_reply_started(an->q))
        return 0;
    return http_reply_start(an->q, 200, fields, RM_COUNT(fields), -1);
}

/* A job failed, or we did: as an HTTP error while nothing was sent, else as the stream's last event
 * (never [DONE]). */
static void answer_fail(struct answer *an, int err, const char *why, const char *param)
{
    answer_cancel(an);
    if (an->gone || an->state == AN_SEND)
        return;
    if (!http_reply_started(an->q)) {
        an->state = AN_SEND;
        answer_refuse(an->q, err, why, param);
        return;
    }
    if (an->out_sent > 0)
        rm_buf_eat(&an->out, an->out_sent);
    an->out_sent = 0;
    if (openai_put_error(&an->out, err, why, param, true) < 0) {
        answer_abandon(an);
        http_reply_cut(an->q);
        return;
    }
    answer_end(an);
}

/* Whole prompts are counted once, however many choices they have. */
static void answer_sum(const struct answer *an, struct openai_counts *sum)
{
    memset(sum, 0, sizeof(*sum));
    for (size_t i = 0; i < an->n_choices; i++) {
        const struct openai_counts *c = &an->choices[i].counts;

        if (i % an->choices_per_prompt == 0) {
            sum->prompt += c->prompt;
            sum->cached += c->cached;
        }
        sum->generated += c->generated;
        if (c->prompt_ms > sum->prompt_ms)
            sum->prompt_ms = c->prompt_ms;
        if (c->predicted_ms > sum->predicted_ms)
            sum->predicted_ms = c->predicted_ms;
    }
}

static void answer_whole(struct answer *an)
{
    struct openai_choice *list = calloc(an->n_choices, sizeof(*list));
    struct http_out_field type = {"Content-Type", RM_LIT("application/json")};
    struct openai_counts sum;
    int r = list == NULL ? UV_ENOMEM : 0;

    answer_sum(an, &sum);
    for (size_t i = 0; r == 0 && i < an->n_choices; i++) {
        const struct choice *c = &an->choices[i];

        list[i] = (struct openai_choice){{c->text.data, c->text.len}, c->finish};
    }
    if (r == 0)
        r = openai_put_answer(&an->out, &an->head, list, an->n_choices, &sum, &sum);
    free(list);
    if (r == 0)
        r = http_reply_start(an->q, 200, &type, 1, (int64_t)an->out.len);
    if (r < 0)
        answer_fail(an, r, NULL, NULL);
    else
        answer_end(an);
}

/* ---- a stream's frames ---- */

/* At most SEND_PIECE bytes of whole characters. */
static size_t held_part(const struct rm_buf *text)
{
    size_t n = text->len < SEND_PIECE ? text->len : SEND_PIECE;

    while (n < text->len && n > 0 && ((unsigned char)text->data[n] & 0xC0) == 0x80)
        n--;
    return n;
}

/* Frames of one choice that can go out now; text is taken a piece at a time. */
static int choice_frames(struct answer *an, struct choice *c)
{
    const struct request *q = &an->prepared.request;
    bool last = c->done && an->n_running == 0 && !q->include_usage;
    size_t part = held_part(&c->text);
    int r = 0;

    if (!c->role_sent && (c->has_progress || part > 0 || c->done)) {
        r = openai_put_role(&an->out, &an->head, c->index);
        c->role_sent = true;
    }
    if (r == 0 && c->has_progress) {
        r = openai_put_progress(&an->out, &an->head, c->index, &c->progress);
        c->has_progress = false;
    }
    if (r == 0 && part > 0) {
        r = openai_put_text(&an->out, &an->head, c->index, (struct rm_slice){c->text.data, part},
                            q->timings_per_token ? &c->counts : NULL);
        rm_buf_eat(&c->text, part);
    }
    if (r == 0 && c->done && c->text.len == 0 && !c->finish_sent) {
        r = openai_put_finish(&an->out, &an->head, c->index, c->finish, last ? &c->counts : NULL);
        c->finish_sent = true;
    }
    return r;
}

static bool choices_sent(const struct answer *an)
{
    for (size_t i = 0; i < an->n_choices; i++)
        if (!an->choices[i].finish_sent)
            return false;
    return true;
}

static int stream_close_frames(struct answer *an)
{
    struct openai_counts sum;
    int r = 0;

    answer_sum(an, &sum);
    if (an->prepared.request.include_usage)
        r = openai_put_usage(&an->out, &an->head, &sum, &sum);
    return r < 0 ? r : openai_put_done(&an->out);
}

static bool stream_has_more(const struct answer *an)
{
    for (size_t i = 0; i < an->n_choices; i++)
        if (an->choices[i].text.len > 0)
            return true;
    return false;
}

static void stream_flush(struct answer *an)
{
    int r = answer_start_stream(an);

    while (r == 0 && !an->gone && !an->paused) {
        an->out.len = an->out_sent = 0;
        for (size_t i = 0; r == 0 && i < an->n_choices; i++)
            r = choice_frames(an, &an->choices[i]);
        if (r == 0 && choices_sent(an)) {
            if ((r = stream_close_frames(an)) == 0)
                answer_end(an);
            return;
        }
        if (r < 0 || !answer_pump(an) || !stream_has_more(an))
            break;
    }
    if (r < 0) {
        answer_abandon(an);
        http_reply_cut(an->q);
    }
}

/* Brings what the last events changed to the client. */
static void answer_flush(struct answer *an)
{
    if (an->gone || an->state != AN_RUN)
        return;
    if (!an->prepared.request.stream) {
        if (an->n_running == 0)
            answer_whole(an);
    } else if (!an->paused) {
        stream_flush(an);
    }
}

/* ---- events of the decoder ---- */

static void answer_mark(struct answer *an)
{
    if (an->dirty)
        return;
    an->dirty = true;
    an->next_dirty = an->all->dirty;
    an->all->dirty = an;
}

/* Takes text; a client that lets too much pile up is cut. */
static void choice_text(struct choice *c, const struct job_event *e)
{
    struct answer *an = c->answer;
    int r = e->n_text > 0 ? rm_buf_put(&c->text, e->text, e->n_text) : 0;

    if (r == 0)
        return;
    rm_warn("core", "an answer is given up", RM_E("why", r), RM_U("held_bytes", c->text.len));
    if (!an->prepared.request.stream) {
        answer_fail(an, r == RM_ERR_TOO_BIG ? RM_ERR_INTERNAL : r, NULL, NULL);
        return;
    }
    answer_abandon(an);
    http_reply_cut(an->q);
}

static void choice_done(struct choice *c, const struct job_event *e)
{
    jobs_remove(c->answer->all, c);
    c->answer->n_running--;
    c->done = true;
    c->finish = e->finish;
}

static void warm_event(struct answers *a, const struct job_event *e)
{
    if (e->type != JOB_DONE && e->type != JOB_FAILED)
        return;
    jobs_remove(a, &a->warm);
    a->on_warm(a->warm_arg, e->type == JOB_FAILED ? e->err : 0);
}

static void answers_on_event(void *arg, const struct job_event *e)
{
    struct answers *a = arg;
    struct choice *c = jobs_find(a, e->job);

    if (c == NULL)
        return; /* cancelled a moment ago */
    if (c->answer == NULL) {
        warm_event(a, e);
        return;
    }
    openai_counts_of(e, &c->counts);
    switch (e->type) {
    case JOB_STARTED:
        return;
    case JOB_PROGRESS:
        c->progress = (struct openai_progress){e->prompt, e->cached, e->processed, e->prompt_ms};
        c->has_progress = c->answer->prepared.request.progress;
        break;
    case JOB_DONE:
        choice_done(c, e);
        choice_text(c, e);
        break;
    case JOB_TEXT:
        choice_text(c, e);
        break;
    case JOB_FAILED:
        jobs_remove(a, c);
        answer_fail(c->answer, e->err, NULL, NULL);
        return;
    }
    answer_mark(c->answer);
}

void answers_poll(struct answers *a)
{
    struct answer *an;

    decoder_poll(a->conf.decoder, answers_on_event, a);
    while ((an = a->dirty) != NULL) {
        a->dirty = an->next_dirty;
        an->dirty = false;
        answer_flush(an);
    }
}

/* ---- preparation ---- */

static void answer_on_work(uv_work_t *work) /* a pool thread */
{
    struct answer *an = work->data;
    const struct prepare_env *env = an->all->conf.env;
    struct rm_slice body = {an->body.data, an->body.len};

    switch (an->kind) {
    case ANSWER_CHAT:
    case ANSWER_COMPLETION:
        an->prepare_err =
            prepare_run(env, an->kind == ANSWER_CHAT ? REQUEST_CHAT : REQUEST_COMPLETION, body,
                        &an->prepared, &an->fault);
        break;
    case ANSWER_TOKENIZE:
        an->prepare_err = prepare_tokenize(env, body, &an->out, &an->fault);
        break;
    case ANSWER_DETOKENIZE:
        an->prepare_err = prepare_detokenize(env, body, &an->out, &an->fault);
        break;
    case ANSWER_APPLY:
        an->prepare_err = prepare_apply(env, body, &an->out, &an->fault);
        break;
    }
}

static void answer_run(struct answer *an);
static void answer_on_worked(uv_work_t *work, int status);

static void answers_next(struct answers *a)
{
    while (a->n_preparing < PREPARE_AT_ONCE && a->waiting != NULL) {
        struct answer *an = a->waiting;

        waiting_remove(an);
        an->state = AN_PREPARE;
        an->work.data = an;
        a->n_preparing++;
        if (uv_queue_work(a->conf.loop, &an->work, answer_on_work, answer_on_worked) < 0) {
            a->n_preparing--;
            an->state = AN_WAIT;
            answer_fail(an, RM_ERR_INTERNAL, NULL, NULL);
        }
    }
}

static void answer_on_worked(uv_work_t *work, int status)
{
    struct answer *an = work->data;
    struct answers *a = an->all;

    a->n_preparing--;
    an->state = AN_RUN;
    body_drop(an);
    if (an->q == NULL)
        answer_release(an);
    else if (an->gone || a->stopped)
        an->state = AN_SEND;
    else if (status < 0 || an->prepare_err < 0)
        answer_fail(an, status < 0 ? status : an->prepare_err, an->fault.why, an->fault.param);
    else
        answer_run(an);
    answers_next(a);
}

/* ---- jobs ---- */

static int answer_submit(struct answer *an, struct choice *c, const struct prepared_prompt *p)
{
    struct request *q = &an->prepared.request;
    struct job_spec spec = {
        .tokens = p->tokens,
        .n_tokens = p->n,
        .max_tokens = q->max_tokens,
        .stops = (const char *const *)q->stops,
        .n_stops = q->n_stops,
        .sampling = q->sampling,
        .cache_prompt = q->cache_prompt,
        .progress = q->progress && q->stream,
    };
    uint64_t id;
    int r;

    if (!q->has_seed)
        uv_random(NULL, NULL, &spec.sampling.seed, sizeof(spec.sampling.seed), 0, NULL);
    else
        spec.sampling.seed += (uint32_t)(c->index % an->choices_per_prompt);
    if ((r = decoder_submit(an->all->conf.decoder, &spec, &id)) < 0)
        return r;
    jobs_put(an->all, c, id);
    an->n_running++;
    return 0;
}

static int answer_make_choices(struct answer *an)
{
    const struct request *q = &an->prepared.request;

    an->choices_per_prompt = q->n;
    an->choices = calloc(an->prepared.n_prompts * q->n, sizeof(*an->choices));
    if (an->choices == NULL)
        return UV_ENOMEM;
    an->n_choices = an->prepared.n_prompts * q->n;
    for (size_t i = 0; i < an->n_choices; i++) {
        an->choices[i].answer = an;
        an->choices[i].index = i;
        rm_buf_init(&an->choices[i].text, q->stream ? ANSWER_HELD_MAX : ANSWER_TEXT_MAX);
    }
    return 0;
}

static void answer_run(struct answer *an)
{
    struct request *q = &an->prepared.request;
    struct http_out_field type = {"Content-Type", RM_LIT("application/json")};
    unsigned char random[16];
    int r;

    if (an->kind != ANSWER_CHAT && an->kind != ANSWER_COMPLETION) {
        if ((r = http_reply_start(an->q, 200, &type, 1, (int64_t)an->out.len)) < 0)
            answer_fail(an, r, NULL, NULL);
        else
            answer_end(an);
        return;
    }
    uv_random(NULL, NULL, random, sizeof(random), 0, NULL);
    openai_id(an->kind == ANSWER_CHAT, random, an->id);
    an->head = (struct openai_head){.chat = an->kind == ANSWER_CHAT,
                                    .id = an->id,
                                    .created = rm_wall_s(),
                                    .model = q->model != NULL ? q->model : an->all->conf.model};
    r = answer_make_choices(an);
    for (size_t i = 0; r == 0 && i < an->n_choices; i++)
        r = answer_submit(an, &an->choices[i], &an->prepared.prompts[i / q->n]);
    for (size_t i = 0; i < an->prepared.n_prompts; i++) { /* the decoder has its own copy */
        free(an->prepared.prompts[i].tokens);
        an->prepared.prompts[i].tokens = NULL;
    }
    if (r < 0)
        answer_fail(an, r, NULL, NULL);
}

/* ---- the server's callbacks ---- */

static void answer_on_body(struct http_req *req, const char *bytes, size_t n)
{
    struct answer *an = http_req_arg(req);
    struct answers *a = an->all;
    int r;

    if (an->gone || an->state != AN_BODY)
        return; /* refused already: the rest is read for nothing */
    r = a->body_bytes + n > ANSWER_BODIES_MAX ? RM_ERR_OVERLOAD : rm_buf_put(&an->body, bytes, n);
    if (r == 0) {
        a->body_bytes += n;
        return;
    }
    body_drop(an);
    answer_fail(an, r == RM_ERR_TOO_BIG ? RM_ERR_BODY_TOO_LARGE : r, NULL, NULL);
}

static void answer_on_end(struct http_req *req)
{
    struct answer *an = http_req_arg(req);
    struct answers *a = an->all;

    if (an->gone || an->state != AN_BODY)
        return;
    an->state = AN_WAIT;
    an->next_waiting = NULL;
    *a->waiting_end = an;
    a->waiting_end = &an->next_waiting;
    answers_next(a);
}

static void answer_on_writable(struct http_req *req)
{
    struct answer *an = http_req_arg(req);

    an->paused = false;
    if (an->gone)
        return;
    if (an->state == AN_SEND) {
        if (an->out_sent < an->out.len && answer_pump(an))
            http_reply_end(req);
    } else if (answer_pump(an)) {
        answer_flush(an);
    }
}

static void answer_on_gone(struct http_req *req, int why)
{
    struct answer *an = http_req_arg(req);

    rm_debug("core", "client gone", RM_E("why", why), RM_U("state", an->state));
    answer_abandon(an);
}

static void answer_on_done(struct http_req *req)
{
    struct answer *an = http_req_arg(req);

    an->gone = true;
    an->q = NULL;
    answer_cancel(an);
    answer_release(an);
}

static void nothing_on_done(struct http_req *req)
{
    (void)req;
}

void answers_take(struct answers *a, enum answer_kind kind, struct http_req *q)
{
    static const struct http_req_ops ops = {
        .on_body = answer_on_body,
        .on_end = answer_on_end,
        .on_writable = answer_on_writable,
        .on_gone = answer_on_gone,
        .on_done = answer_on_done,
    };
    static const struct http_req_ops none = {.on_done = nothing_on_done};
    size_t most = kind == ANSWER_CHAT ? ANSWER_CHAT_BODY : ANSWER_OTHER_BODY;
    struct answer *an = a->n < ANSWERS_MAX ? calloc(1, sizeof(*an)) : NULL;

    if (an == NULL) {
        http_req_accept(q, &none, NULL);
        answer_refuse(q, RM_ERR_OVERLOAD, NULL, NULL);
        return;
    }
    an->all = a;
    an->q = q;
    an->kind = kind;
    rm_buf_init(&an->body, most);
    rm_buf_init(&an->out, (size_t)8 * ANSWER_TEXT_MAX);
    an->next = a->first;
    if (a->first != NULL)
        a->first->prev = an;
    a->first = an;
    a->n++;
    http_req_set_body_limit(q, most);
    http_req_accept(q, &ops, an);
}

/* ---- all of them ---- */

int answers_new(const struct answers_conf *conf, struct answers **out)
{
    struct answers *a = calloc(1, sizeof(*a));

    *out = a;
    if (a == NULL)
        return UV_ENOMEM;
    a->conf = *conf;
    a->waiting_end = &a->waiting;
    return 0;
}

int answers_warm(struct answers *a, void (*done)(void *arg, int err), void *arg)
{
    int32_t token = 0;
    struct job_spec spec = {.tokens = &token, .n_tokens = 1, .max_tokens = 1, .sampling.top_p = 1};
    uint64_t id;
    int r = decoder_submit(a->conf.decoder, &spec, &id);

    if (r < 0)
        return r;
    a->on_warm = done;
    a->warm_arg = arg;
    jobs_put(a, &a->warm, id);
    return 0;
}

void answers_stop(struct answers *a)
{
    a->stopped = true;
    for (struct answer *an = a->first; an != NULL; an = an->next)
        answer_cancel(an);
    if (a->warm.job != 0) {
        decoder_cancel(a->conf.decoder, a->warm.job);
        jobs_remove(a, &a->warm);
    }
}

size_t answers_count(const struct answers *a)
{
    return a->n;
}

void answers_free(struct answers *a)
{
    if (a == NULL)
        return;
    assert(a->first == NULL && a->n_preparing == 0);
    free(a);
}
