/* SPDX-License-Identifier: MIT */
#include "worker/memory/forecast.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/host/cause.h"
#include "worker/host/supervise.h"
#include "worker/memory/ledger.h"
#include "proto/gguf/estimate.h"
#include "worker/models/swap.h"

enum { ANSWER_MAX = 65536, KEY_MAX = 288 };

/* One question's way: look (thread pool) -> queue -> child -> answer. */
struct question {
    struct forecaster *owner;
    struct question *next;
    uv_work_t work;
    bool looking;
    struct desired_host d;
    struct model_file file;
    int look_err;
    char why[MODELS_WHY_MAX];
    struct node_forecast estimate; /* from the header; known is false and error says why if none */
    char key[KEY_MAX];
    void (*on_answer)(void *arg, const struct node_forecast *a);
    void *arg; /* with on_answer NULL: nobody wants to know any more */
};

struct kept {
    char key[KEY_MAX]; /* "": free */
    struct node_forecast answer;
};

/* Which file a wish was answered for last. */
struct made {
    char wish[33]; /* its revision; "": free */
    struct model_id file;
    uint64_t bytes;
};

struct run {
    struct forecaster *owner;
    struct child *child;
    struct question *q;
    uv_timer_t limit;
    bool late;
    struct rm_buf out;
};

struct forecaster {
    struct forecaster_conf conf;
    struct question *questions; /* all that are alive, oldest first */
    unsigned n_questions;
    struct run *running[FORECAST_CHILDREN];
    struct kept kept[FORECAST_KEPT];
    struct made made[FORECAST_KEPT];
    unsigned next_kept, next_made; /* the oldest */
    int refs;                      /* self, and questions in the thread pool */
    bool closed;
};

/* ---- what the core prints ---- */

/* A sum of what must be there. Returns false when it is more than there are numbers for. */
static bool sum_is(uint64_t sum, const uint64_t *parts, size_t n)
{
    uint64_t all = 0;

    for (size_t i = 0; i < n; i++)
        if (__builtin_add_overflow(all, parts[i], &all))
            return false;
    return all == sum;
}

int forecast_decode(struct rm_slice json, struct node_forecast *out)
{
    char why[128];
    int r = node_forecast_decode(json, out, why);
    bool right;

    if (r < 0)
        return r;
    right = out->known && !out->estimated && out->weights > 0 &&
            sum_is(out->other, (uint64_t[]){out->output, out->process, out->checkpoints}, 3) &&
            sum_is(out->total, (uint64_t[]){out->weights, out->kv, out->compute, out->other}, 4);
    if (!right)
        memset(out, 0, sizeof(*out));
    return right ? 0 : RM_ERR_FIELD;
}

/* ---- what the file's header says ---- */

int forecast_estimate(const struct gguf_head *head, const struct desired_host *d,
                      struct node_forecast *out)
{
    struct kv_query query = {.context = d->context,
                             .slots = d->slots,
                             .q8 = strcmp(d->kv, "q8_0") == 0,
                             .ubatch = d->batch,
                             .unified = true}; /* as the core does it */

    return gguf_estimate(head, &query, out);
}

/* The estimate in place of an answer that the core did not give. */
static void estimate_instead(const struct question *q, const char *why, struct node_forecast *a)
{
    char text[NODE_TEXT_MAX + KV_WHY_MAX + 64];

    *a = q->estimate;
    if (a->known)
        snprintf(text, sizeof(text), "%.*s", NODE_TEXT_MAX, why);
    else
        snprintf(text, sizeof(text), "%.*s (and no estimate: %.*s)", NODE_TEXT_MAX / 2, why,
                 KV_WHY_MAX, q->estimate.error);
    cause_copy_text(a->error, sizeof(a->error), rm_slice_of(text), false);
}

/* ---- answers ---- */

static void forecaster_unref(struct forecaster *f)
{
    if (--f->refs == 0)
        free(f);
}

static void question_unlink(struct question *q)
{
    struct question **at = &q->owner->questions;

    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    q->owner->n_questions--;
}

/* Ends a question that is in no list and not in the thread pool. */
static void question_end(struct question *q, const struct node_forecast *a)
{
    if (q->on_answer != NULL)
        q->on_answer(q->arg, a);
    free(q);
}

/* The forecaster is closed and has forgotten it: whoever asked still has to hear of it. */
static void question_end_closed(struct question *q)
{
    struct node_forecast a = {.known = false};

    cause_copy_text(a.error, sizeof(a.error), RM_LIT("the worker is stopping"), false);
    question_end(q, &a);
}

/* Ends a question that is not in the thread pool. */
static void question_answer(struct question *q, struct node_forecast *a)
{
    snprintf(a->model_hash, sizeof(a->model_hash), "%s", q->file.hash);
    a->model_bytes = q->file.bytes;
    if (q->owner->conf.ledger != NULL)
        ledger_apply(q->owner->conf.ledger, &q->d, a);
    question_unlink(q);
    question_end(q, a);
}

static void question_fail(struct question *q, const char *why)
{
    struct node_forecast a = {.known = false};

    cause_copy_text(a.error, sizeof(a.error), rm_slice_of(why), false);
    question_answer(q, &a);
}

static void question_estimate(struct question *q, const char *why)
{
    struct node_forecast a;

    estimate_instead(q, why, &a);
    question_answer(q, &a);
}

static struct kept *forecaster_kept(struct forecaster *f, const char *key)
{
    for (size_t i = 0; i < FORECAST_KEPT; i++)
        if (strcmp(f->kept[i].key, key) == 0)
            return &f->kept[i];
    return NULL;
}

static void forecaster_keep(struct forecaster *f, const struct question *q,
                            const struct node_forecast *a)
{
    struct kept *k = forecaster_kept(f, q->key);

    if (k == NULL) {
        k = &f->kept[f->next_kept];
        f->next_kept = (f->next_kept + 1) % FORECAST_KEPT;
    }
    memcpy(k->key, q->key, sizeof(k->key));
    k->answer = *a;
}

/* Who asks does not matter, nor what it is called, nor on how many threads it runs. */
static void wish_revision(const struct desired_host *d, bool whose_file, char out[33])
{
    struct desired_host same = *d;

    same.threads = 0;
    memset(same.role, 0, sizeof(same.role));
    memset(same.model, 0, sizeof(same.model));
    if (!whose_file)
        memset(same.source, 0, sizeof(same.source));
    desired_host_revision(&same, out);
}

/* What an answer depends on: the model's content, by its hash; the flags; the engine's build. That
 * is its program's file, and what the last engine that ran said of itself: libraries change without
 * the program. */
static void question_key(struct question *q)
{
    const struct forecaster_conf *conf = &q->owner->conf;
    struct stat st = {.st_size = 0};
    char flags[33];

    wish_revision(&q->d, false, flags);
    if (stat(conf->core_path, &st) < 0)
        st.st_size = 0; /* told when it is started */
    snprintf(q->key, sizeof(q->key), "%s/%s/%lld/%lld.%09ld/%.80s", flags, q->file.hash,
             (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
             conf->ledger != NULL ? ledger_build(conf->ledger) : "");
}

static struct made *forecaster_made(struct forecaster *f, const char *wish)
{
    for (size_t i = 0; i < FORECAST_KEPT; i++)
        if (strcmp(f->made[i].wish, wish) == 0)
            return &f->made[i];
    return NULL;
}

static void forecaster_note_made(struct forecaster *f, const struct question *q, uint64_t bytes)
{
    struct made *m;
    char wish[33];

    wish_revision(&q->d, true, wish);
    if ((m = forecaster_made(f, wish)) == NULL) {
        m = &f->made[f->next_made];
        f->next_made = (f->next_made + 1) % FORECAST_KEPT;
    }
    memcpy(m->wish, wish, sizeof(m->wish));
    m->file = model_id_of(&q->file);
    m->bytes = bytes;
}

bool forecaster_made_for(struct forecaster *f, const struct desired_host *d, struct model_id *file,
                         uint64_t *bytes)
{
    const struct made *m;
    char wish[33];

    wish_revision(d, true, wish);
    if ((m = forecaster_made(f, wish)) == NULL)
        return false;
    *file = m->file;
    *bytes = m->bytes;
    return true;
}

/* ---- the child ---- */

static void forecaster_go(struct forecaster *f);

static void run_on_closed(uv_handle_t *h)
{
    struct run *run = h->data;

    rm_buf_clear(&run->out);
    free(run);
}

static void run_on_late(uv_timer_t *t)
{
    struct run *run = t->data;

    run->late = true;
    child_kill(run->child);
}

static void run_on_out(void *arg, const char *bytes, size_t n)
{
    struct run *run = arg;

    if (rm_buf_put(&run->out, bytes, n) < 0)
        child_kill(run->child); /* nothing of ours prints that much */
}

static void run_judge(struct run *run, const struct child_end *end, struct node_forecast *a)
{
    struct end_facts facts = {.wait_status = end->wait_status, .log = end->log, .core_codes = true};
    struct node_error why;

    if (WIFEXITED(end->wait_status) && WEXITSTATUS(end->wait_status) == 0 &&
        forecast_decode((struct rm_slice){run->out.data, run->out.len}, a) == 0) {
        if (a->context_train == 0)
            a->context_train = run->q->estimate.context_train;
        return;
    }
    cause_of_end(&facts, &why);
    if (run->late || (why.cause != CAUSE_LOAD && why.cause != CAUSE_CONFIG)) {
        estimate_instead(run->q, run->late ? "the forecast took too long" : why.text, a);
        return;
    }
    memset(a, 0, sizeof(*a));
    cause_copy_text(a->error, sizeof(a->error), rm_slice_of(why.text), false);
}

static void run_on_end(void *arg, const struct child_end *end)
{
    struct run *run = arg;
    struct forecaster *f = run->owner;
    struct node_forecast a;

    run_judge(run, end, &a);
    for (size_t i = 0; i < FORECAST_CHILDREN; i++)
        if (f->running[i] == run)
            f->running[i] = NULL;
    if (a.known && !a.estimated) {
        forecaster_keep(f, run->q, &a);
        forecaster_note_made(f, run->q, a.total);
    }
    question_answer(run->q, &a);
    uv_close((uv_handle_t *)&run->limit, run_on_closed);
    forecaster_go(f);
}

static int run_start(struct forecaster *f, struct question *q, struct run **out)
{
    static const struct child_ops ops = {run_on_out, run_on_end};
    char slots[16], context[16], batch[16], layers[16];
    const char *argv[] = {f->conf.core_path,
                          "--forecast",
                          "--json",
                          "--model",
                          q->file.path,
                          "--slots",
                          slots,
                          "--context",
                          context,
                          "--kv",
                          q->d.kv,
                          "--batch",
                          batch,
                          "--gpu-layers",
                          layers,
                          NULL};
    struct child_spec spec = {argv, "forecast", true};
    struct run *run = calloc(1, sizeof(*run));
    int r;

    *out = NULL;
    if (run == NULL)
        return UV_ENOMEM;
    snprintf(slots, sizeof(slots), "%u", q->d.slots);
    snprintf(context, sizeof(context), "%u", q->d.context);
    snprintf(batch, sizeof(batch), "%u", q->d.batch);
    snprintf(layers, sizeof(layers), "%d", q->d.gpu_layers);
    run->owner = f;
    run->q = q;
    rm_buf_init(&run->out, ANSWER_MAX);
    if ((r = child_start(f->conf.supervisor, &spec, &ops, run, &run->child)) < 0) {
        free(run);
        return r;
    }
    uv_timer_init(f->conf.loop, &run->limit);
    run->limit.data = run;
    uv_timer_start(&run->limit, run_on_late, FORECAST_MS, 0);
    *out = run;
    return 0;
}

static bool is_running(const struct forecaster *f, const struct question *q, bool same_key)
{
    for (size_t i = 0; i < FORECAST_CHILDREN; i++)
        if (f->running[i] != NULL &&
            (f->running[i]->q == q || (same_key && strcmp(f->running[i]->q->key, q->key) == 0)))
            return true;
    return false;
}

/* The oldest question that has been looked up and needs a child of its own. */
static struct question *forecaster_next(struct forecaster *f)
{
    for (struct question *q = f->questions; q != NULL; q = q->next)
        if (!q->looking && !is_running(f, q, true))
            return q;
    return NULL;
}

/* Answers what is known, starts what there is room for. */
static void forecaster_go(struct forecaster *f)
{
    struct question *q;
    struct kept *k;
    int r;

    while (!f->closed && (q = forecaster_next(f)) != NULL) {
        struct run **free_run = NULL;

        if ((k = forecaster_kept(f, q->key)) != NULL) {
            struct node_forecast a = k->answer;

            forecaster_note_made(f, q, a.total);
            question_answer(q, &a);
            continue;
        }
        for (size_t i = 0; i < FORECAST_CHILDREN; i++)
            if (f->running[i] == NULL)
                free_run = &f->running[i];
        if (free_run == NULL)
            return;
        if ((r = run_start(f, q, free_run)) < 0)
            question_fail(q, rm_strerror(r));
    }
}

/* ---- the look ---- */

static void question_look(uv_work_t *work)
{
    struct question *q = work->data;
    struct gguf_head *head = malloc(sizeof(*head));

    q->look_err = head == NULL ? UV_ENOMEM
                               : model_look(q->owner->conf.models_fd, q->owner->conf.models_dir,
                                            q->d.source, true, &q->file, head, q->why);
    if (q->look_err == 0)
        forecast_estimate(head, &q->d, &q->estimate); /* says in itself when it cannot */
    if (q->look_err == 0 &&
        model_context_beyond(q->d.source, q->d.context, q->estimate.context_train, q->why))
        q->look_err = RM_ERR_CONF;
    free(head);
}

static void question_on_looked(uv_work_t *work, int status)
{
    struct question *q = work->data;
    struct forecaster *f = q->owner;

    q->looking = false;
    if (f->closed) {
        question_end_closed(q);
        forecaster_unref(f);
        return;
    }
    question_key(q);
    if (status < 0)
        question_fail(q, rm_strerror(status));
    else if (q->look_err < 0)
        question_fail(q, q->why[0] != '\0' ? q->why : rm_strerror(q->look_err));
    else if (access(f->conf.core_path, X_OK) != 0)
        question_estimate(q, "this build has no inference core: run deploy/setup and build again");
    forecaster_go(f);
    forecaster_unref(f);
}

int forecaster_ask(struct forecaster *f, const struct desired_host *d,
                   void (*on_answer)(void *arg, const struct node_forecast *a), void *arg)
{
    struct question *q, **at = &f->questions;
    int r;

    if (f->n_questions >= FORECAST_WAITING)
        return RM_ERR_OVERLOAD;
    if ((q = calloc(1, sizeof(*q))) == NULL)
        return UV_ENOMEM;
    q->owner = f;
    q->d = *d;
    q->on_answer = on_answer;
    q->arg = arg;
    q->work.data = q;
    q->looking = true;
    if ((r = uv_queue_work(f->conf.loop, &q->work, question_look, question_on_looked)) < 0) {
        free(q);
        return r;
    }
    while (*at != NULL)
        at = &(*at)->next;
    *at = q;
    f->n_questions++;
    f->refs++;
    return 0;
}

void forecaster_drop(struct forecaster *f, void *arg)
{
    for (struct question *q = f->questions; q != NULL; q = q->next)
        if (q->arg == arg)
            q->on_answer = NULL;
}

int forecaster_new(const struct forecaster_conf *conf, struct forecaster **out)
{
    struct forecaster *f = calloc(1, sizeof(*f));

    *out = f;
    if (f == NULL)
        return UV_ENOMEM;
    f->conf = *conf;
    f->refs = 1;
    return 0;
}

void forecaster_close(struct forecaster *f)
{
    struct question *q, *next;

    if (f == NULL)
        return;
    f->closed = true;
    for (size_t i = 0; i < FORECAST_CHILDREN; i++)
        if (f->running[i] != NULL) {
            /* The supervisor is closed after us and ends the child without a callback. */
            uv_timer_stop(&f->running[i]->limit);
            uv_close((uv_handle_t *)&f->running[i]->limit, run_on_closed);
        }
    q = f->questions;
    f->questions = NULL;
    for (; q != NULL; q = next) {
        next = q->next;
        if (!q->looking)
            question_end_closed(q);
    }
    forecaster_unref(f);
}
