/* SPDX-License-Identifier: MIT */
/* worker/core/decoder.c - see decoder.h. The decode thread's turn, read in decoder_turn():
 *   jobs and cancels in -> queue -> slots (kvcache.c chooses the sequence)
 *   -> one batch (batch.c plans it) -> llama_decode
 *   -> sample (sampling.c), text (job.c, textout.c), events (mailbox.c)
 * A slot is a sequence of the KV memory with a job on it; slot numbers are sequence ids. Whatever a
 * job has not decoded yet is fed, be it the prompt, the last sampled token or, after a preemption,
 * all of it again; a token is sampled when everything is fed. Cancels are seen between two decode
 * calls: to abort a call spoils the window and recurrent state of every sequence in it. Only a call
 * with nothing but one job's prompt is aborted; it may therefore be longer than the chunks that
 * streams have to wait for. */
#include "decoder.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "llama.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "worker/core/batch.h"
#include "worker/core/job.h"
#include "worker/core/kvcache.h"
#include "worker/core/llama_env.h"
#include "worker/core/loader.h"
#include "worker/core/mailbox.h"
#include "worker/core/shim.h"

enum {
    QUEUE_DEFAULT = 64,
    CHUNK_MS_DEFAULT = 100,
    LONE_CHUNKS = 4,      /* a prompt alone is read in longer chunks: nobody waits for them */
    LONE_TOKENS_MIN = 64, /* below that many tokens the kernels are less efficient */
    DECODE_FULL = 1,      /* llama_decode's results, llama.h */
    DECODE_ABORTED = 2,
};

struct decoder {
    struct loaded llama;
    const struct llama_vocab *vocab;
    int32_t n_vocab;
    uint32_t most_live, chunk_ms;
    uint64_t next_id; /* loop thread */
    struct mailbox mail;
    pthread_t thread;
    bool running;

    /* decode thread */
    struct kvcache *kv;
    struct llama_batch batch;
    struct job *slots[LOADER_SLOTS_MAX]; /* NULL: idle */
    struct job *queue;                   /* oldest first, by next */
    uint64_t arrivals;
    uint32_t n_busy;
    const struct job *lone; /* the only one in the decode call at hand, else NULL */
    struct batch_pace pace;
    struct decoder_stats stats;
};

/* What one decode call feeds. */
struct turn {
    struct batch_want want[LOADER_SLOTS_MAX];
    uint32_t take[LOADER_SLOTS_MAX];
    uint32_t n_prompt, n_streams; /* tokens by kind */
    uint32_t n_read;              /* n_prompt, and prompts' last tokens that came alone */
    struct depth_call depth;
};

/* ---- the queue ---- */

static void queue_append(struct decoder *d, struct job *j)
{
    struct job **p = &d->queue;

    while (*p != NULL)
        p = &(*p)->next;
    j->next = NULL;
    *p = j;
}

/* Back in, by age: before everything that came later. */
static void queue_put_back(struct decoder *d, struct job *j)
{
    struct job **p = &d->queue;

    while (*p != NULL && (*p)->age < j->age)
        p = &(*p)->next;
    j->next = *p;
    *p = j;
}

static void take_new_jobs(struct decoder *d, struct job *jobs)
{
    while (jobs != NULL) {
        struct job *j = jobs;

        jobs = j->next;
        j->age = ++d->arrivals;
        queue_append(d, j);
    }
}

/* ---- slots ---- */

/* Takes the job off its slot; what was decoded stays as a cache. */
static struct job *slot_leave(struct decoder *d, uint32_t i)
{
    struct job *j = d->slots[i];

    d->slots[i] = NULL;
    d->n_busy--;
    kv_return(d->kv, i);
    return j;
}

static enum decoder_slot slot_state(const struct decoder *d, uint32_t i)
{
    if (d->slots[i] == NULL)
        return DECODER_IDLE;
    return d->slots[i]->n_tokens > kv_length(d->kv, i) + 1 ? DECODER_PREFILL : DECODER_DECODE;
}

/* What decoder_stats() gives. Also before the last event of a job: whoever has it counts on it. */
static void publish(struct decoder *d)
{
    struct decoder_stats *s = &d->stats;
    uint64_t used = kv_tokens(d->kv, false);

    s->slots = d->llama.slots;
    s->batch = d->llama.batch;
    s->slots_busy = d->n_busy;
    s->slots_prefill = s->kv_deepest = 0;
    for (uint32_t i = 0; i < d->llama.slots; i++)
        s->slots_prefill += (s->slot[i] = (uint8_t)slot_state(d, i)) == DECODER_PREFILL;
    for (uint32_t i = 0; i < d->llama.slots; i++)
        s->kv_deepest = kv_length(d->kv, i) > s->kv_deepest ? kv_length(d->kv, i) : s->kv_deepest;
    s->kv_tokens_total = llama_n_ctx(d->llama.ctx);
    s->kv_tokens_used = used < s->kv_tokens_total ? used : s->kv_tokens_total;
    s->prefill_tps = d->pace.prefill_tps;
    s->decode_tps = d->pace.decode_tps;
    s->ticks++;
    mailbox_publish(&d->mail, s);
}

static void emit(struct decoder *d, struct job *j, enum job_event_type type)
{
    struct job_event e = job_event_of(j, type);

    (void)mailbox_emit(&d->mail, j,
                       &e); /* without memory for it a STARTED or PROGRESS is left out */
}

static void job_fail(struct decoder *d, struct job *j, int err)
{
    struct job_event e = job_event_of(j, JOB_FAILED);

    e.err = err;
    d->stats.jobs_failed++;
    publish(d);
    (void)mailbox_emit(&d->mail, j, &e);
    mailbox_forget(&d->mail, j);
}

static void drop_cancelled(struct decoder *d)
{
    for (struct job **p = &d->queue; *p != NULL;) {
        struct job *j = *p;

        if (mailbox_is_cancelled(&d->mail, j)) {
            *p = j->next;
            mailbox_forget(&d->mail, j);
        } else {
            p = &j->next;
        }
    }
    for (uint32_t i = 0; i < d->llama.slots; i++) {
        if (d->slots[i] != NULL && mailbox_is_cancelled(&d->mail, d->slots[i]))
            mailbox_forget(&d->mail, slot_leave(d, i));
    }
}

/* Is there room for one more job's tokens beside those that run? Alone, any job has room. */
static bool has_room(const struct decoder *d, const struct job *j)
{
    uint64_t sum = (uint64_t)j->n_tokens + 1;

    if (d->n_busy == 0)
        return true;
    for (uint32_t i = 0; i < d->llama.slots; i++)
        sum += d->slots[i] != NULL ? (uint64_t)d->slots[i]->n_tokens + 1 : 0;
    return sum <= llama_n_ctx(d->llama.ctx);
}

static int admit(struct decoder *d, struct job *j)
{
    uint32_t seq, keep;
    int r = kv_claim(d->kv, j->tokens, j->n_tokens, j->reuse, &seq, &keep);

    if (r < 0)
        return r;
    assert(d->slots[seq] == NULL);
    d->slots[seq] = j;
    d->n_busy++;
    if (keep > j->processed)
        j->processed = keep < j->n_prompt ? keep : j->n_prompt;
    if (!j->started) {
        j->started = true;
        j->cached = keep;
        j->began_us = j->now_us = rm_now_us();
        d->stats.prompt_tokens += j->n_prompt;
        d->stats.cached_tokens += keep;
        emit(d, j, JOB_STARTED);
    }
    return 0;
}

static void admit_queued(struct decoder *d)
{
    while (d->queue != NULL && d->n_busy < d->llama.slots && has_room(d, d->queue)) {
        struct job *j = d->queue;

        if (admit(d, j) < 0)
            return;
        d->queue = j->next; /* the list's link; the job is on its slot now */
        j->next = NULL;
    }
}

/* The KV memory is full and no cache is left to drop: the youngest job waits. Returns false: it is
 * alone. */
static bool preempt_youngest(struct decoder *d)
{
    int youngest = -1;

    if (d->n_busy < 2)
        return false;
    for (uint32_t i = 0; i < d->llama.slots; i++) {
        if (d->slots[i] != NULL && (youngest < 0 || d->slots[i]->age > d->slots[youngest]->age))
            youngest = (int)i;
    }
    d->stats.preempted++;
    queue_put_back(d, slot_leave(d, (uint32_t)youngest));
    kv_drop(d->kv, (uint32_t)youngest);
    return true;
}

/* ---- one decode call ---- */

/* Prompt tokens for the next call; only: the one job there is, NULL: several. */
static uint32_t prompt_budget(const struct decoder *d, const struct job *only, uint32_t capacity)
{
    uint32_t lone;

    if (only == NULL)
        return batch_budget(&d->pace, d->chunk_ms, capacity);
    lone = batch_budget(&d->pace, LONE_CHUNKS * d->chunk_ms, capacity);
    if (d->pace.prefill_tps > 0.0 && lone < LONE_TOKENS_MIN)
        lone = LONE_TOKENS_MIN;
    return lone < capacity ? lone : capacity;
}

static void plan_turn(struct decoder *d, struct turn *t, uint32_t capacity)
{
    *t = (struct turn){0};
    d->lone = NULL;
    for (uint32_t i = 0; i < d->llama.slots; i++) {
        const struct job *j = d->slots[i];
        uint32_t done = kv_length(d->kv, i);

        if (j == NULL)
            continue;
        t->want[i].remaining = j->n_tokens - done;
        t->want[i].most = kv_next_stop(d->kv, i, j->n_tokens) - done;
        t->want[i].age = j->age;
        if (d->n_busy == 1 && t->want[i].remaining > 1)
            d->lone = j;
    }
    batch_plan(t->want, d->llama.slots, prompt_budget(d, d->lone, capacity), capacity, t->take);
    for (uint32_t i = 0; i < d->llama.slots; i++) {
        if (t->take[i] == 0)
            continue;
        if (t->want[i].remaining == 1) {
            t->n_streams += t->take[i];
            t->depth.streams_at += kv_length(d->kv, i);
            t->n_read += d->slots[i]->n_tokens == d->slots[i]->n_prompt;
        } else {
            t->n_prompt += t->take[i];
            t->depth.prompts++;
            t->depth.prompt_at += kv_length(d->kv, i);
        }
    }
    t->n_read += t->n_prompt;
    t->depth.prompt_tokens = t->n_prompt;
    t->depth.streams = t->n_streams;
}

/* Fills d->batch; the last token of a job asks for logits. */
static void fill_batch(struct decoder *d, const struct turn *t)
{
    struct llama_batch *b = &d->batch;

    b->n_tokens = 0;
    for (uint32_t i = 0; i < d->llama.slots; i++) {
        uint32_t at = kv_length(d->kv, i);

        for (uint32_t k = 0; k < t->take[i]; k++, at++) {
            int32_t n = b->n_tokens++;

            b->token[n] = d->slots[i]->tokens[at];
            b->pos[n] = (llama_pos)at;
            b->n_seq_id[n] = 1;
            b->seq_id[n][0] = (llama_seq_id)i;
            b->logits[n] = at + 1 == d->slots[i]->n_tokens;
        }
    }
}

/* Sends what a finished job has left, and forgets it. */
static void job_finish(struct decoder *d, struct job *j, int step)
{
    struct job_event e = job_event_of(j, JOB_DONE);

    e.text = j->out.data;
    e.n_text = j->out.len;
    e.finish = step == JOB_ENDS_STOP ? JOB_FINISH_STOP : JOB_FINISH_LENGTH;
    e.stop_word = textout_stop_word(&j->text);
    e.tokens = j->tokens + j->n_prompt;
    e.n_tokens = j->n_tokens - j->n_prompt;
    d->stats.jobs_done++;
    publish(d);
    (void)mailbox_emit(&d->mail, j, &e);
    mailbox_forget(&d->mail, j);
}

/* Samples for slot i, whose last token was batch token `index`. */
static void slot_sample(struct decoder *d, uint32_t i, int32_t index)
{
    struct job *j = d->slots[i];
    int32_t token = sampling_next(&j->sampling, d->llama.ctx, index);
    int step = token < 0 ? RM_ERR_ENGINE : job_take_token(j, d->vocab, token);

    j->now_us = rm_now_us();
    if (j->first_us == 0)
        j->first_us = j->now_us;
    d->stats.generated_tokens += token >= 0;
    if (step == JOB_GOES_ON && j->out.len > 0) {
        struct job_event e = job_event_of(j, JOB_TEXT);

        e.text = j->out.data;
        e.n_text = j->out.len;
        step = mailbox_emit(&d->mail, j, &e) < 0 ? UV_ENOMEM : step;
        j->out.len = 0;
    }
    if (step == JOB_GOES_ON)
        return;
    slot_leave(d, i);
    if (step < 0)
        job_fail(d, j, step);
    else
        job_finish(d, j, step);
}

/* After a good call: lengths, checkpoints, progress, samples. */
static void harvest(struct decoder *d, const struct turn *t)
{
    int32_t index = -1; /* batch index of the last token of the slot at hand */

    for (uint32_t i = 0; i < d->llama.slots; i++) {
        struct job *j = d->slots[i];
        uint32_t done;

        if (t->take[i] == 0)
            continue;
        kv_note(d->kv, i, j->tokens + kv_length(d->kv, i), t->take[i]);
        index += (int32_t)t->take[i];
        done = kv_length(d->kv, i);
        j->now_us = rm_now_us();
        if (done < j->n_prompt ? done > j->processed : j->processed < j->n_prompt) {
            j->processed = done < j->n_prompt ? done : j->n_prompt;
            if (j->progress)
                emit(d, j, JOB_PROGRESS);
        }
        if (done < j->n_tokens && t->take[i] == t->want[i].most)
            kv_checkpoint(d->kv, i);
        else if (done == j->n_tokens)
            slot_sample(d, i, index);
    }
}

/* The call failed for good: nothing that was in it can be trusted any more. */
static void fail_turn(struct decoder *d, const struct turn *t, int rc)
{
    char said[256];

    llama_env_first_error(said, sizeof(said));
    rm_error("core", "a decode call failed", RM_I("code", rc), RM_S("llama", said),
             RM_S("exception", shim_what()));
    for (uint32_t i = 0; i < d->llama.slots; i++) {
        if (t->take[i] > 0) {
            job_fail(d, slot_leave(d, i), RM_ERR_ENGINE);
            kv_drop(d->kv, i);
        }
    }
}

/* llama.cpp asks after each graph node, on the decode thread. */
static bool on_abort(void *arg)
{
    struct decoder *d = arg;

    return d->lone != NULL && mailbox_is_unwanted(&d->mail, d->lone);
}

/* The lone job was cancelled inside the call; drop_cancelled takes it off its slot next. */
static void rewind_aborted(struct decoder *d, const struct turn *t)
{
    for (uint32_t i = 0; i < d->llama.slots; i++) {
        if (t->take[i] > 0)
            kv_rewind(d->kv, i);
    }
}

/* Plans and makes one decode call. While the KV memory is full: first caches go, then the youngest
 * job, and at last the batch of the only job is halved. */
static void decode_once(struct decoder *d)
{
    uint32_t capacity = d->llama.batch;
    uint64_t began = rm_now_us(), us;
    struct turn t;
    int rc;

    llama_env_reset_error();
    for (;;) {
        plan_turn(d, &t, capacity);
        fill_batch(d, &t);
        while ((rc = shim_decode(d->llama.ctx, d->batch)) == DECODE_FULL && kv_drop_oldest(d->kv))
            ;
        if (rc != DECODE_FULL)
            break;
        if (!preempt_youngest(d)) {
            if (d->batch.n_tokens <= 1)
                break;
            capacity = (uint32_t)d->batch.n_tokens / 2;
        }
    }
    d->lone = NULL;
    d->stats.decode_calls++;
    if (rc == DECODE_ABORTED) {
        rewind_aborted(d, &t);
        return;
    }
    if (rc != 0) {
        fail_turn(d, &t, rc);
        return;
    }
    d->stats.read_tokens += t.n_read;
    harvest(d, &t);
    us = rm_now_us() - began;
    batch_note(&d->pace, t.n_prompt, t.n_streams, (double)us / 1000.0);
    depth_note(d->stats.depth, &t.depth, us);
    if ((uint32_t)d->batch.n_tokens > d->stats.batch_most)
        d->stats.batch_most = (uint32_t)d->batch.n_tokens;
}

/* ---- the thread ---- */

static void run_errands(struct decoder *d)
{
    struct decoder_errand *e;

    while ((e = mailbox_take_errand(&d->mail)) != NULL) {
        e->run(e->arg, d->kv, d->pace.prefill_tps);
        publish(d);
        mailbox_errand_done(&d->mail, e);
    }
}

static bool decoder_turn(struct decoder *d)
{
    struct job *jobs;

    if (!mailbox_wait(&d->mail, d->n_busy == 0 && d->queue == NULL, &jobs))
        return false;
    take_new_jobs(d, jobs);
    drop_cancelled(d);
    run_errands(d);
    admit_queued(d);
    publish(d);
    if (d->n_busy > 0) {
        decode_once(d);
        publish(d);
    }
    return true;
}

static void *decoder_main(void *arg)
{
    struct decoder *d = arg;

    while (decoder_turn(d))
        ;
    return NULL;
}

/* A first call with one token: pages in what the first request would wait for, and proves that
 * decoding works. */
static int warm_up(struct decoder *d)
{
    struct turn t = {.take = {1}};
    int32_t token = llama_vocab_bos(d->vocab) >= 0 ? llama_vocab_bos(d->vocab) : 0;
    struct job j = {.tokens = &token, .n_tokens = 1};
    int rc;

    d->slots[0] = &j;
    fill_batch(d, &t);
    d->slots[0] = NULL;
    rc = shim_decode(d->llama.ctx, d->batch);
    llama_synchronize(d->llama.ctx);
    kv_drop(d->kv, 0);
    return rc == 0 ? 0 : RM_ERR_ENGINE;
}

/* Signals are the loop's business. */
static int start_thread(struct decoder *d)
{
    sigset_t all, old;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&d->thread, NULL, decoder_main, d);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    d->running = r == 0;
    return r == 0 ? 0 : uv_translate_sys_error(r);
}

int decoder_open(const struct decoder_conf *conf, struct decoder **out, char *why, size_t n_why)
{
    struct decoder *d = calloc(1, sizeof(*d));
    int r;

    *out = NULL;
    if (n_why > 0)
        why[0] = '\0';
    if (d == NULL)
        return UV_ENOMEM;
    if ((r = mailbox_init(&d->mail, conf->wake, conf->arg)) < 0) {
        free(d);
        return r;
    }
    if ((r = loader_open(conf, false, &d->llama, why, n_why)) < 0)
        goto fail;
    d->vocab = llama_model_get_vocab(d->llama.model);
    d->n_vocab = llama_vocab_n_tokens(d->vocab);
    d->most_live = d->llama.slots + (conf->queue_max != 0 ? conf->queue_max : QUEUE_DEFAULT);
    d->chunk_ms = conf->chunk_ms != 0 ? conf->chunk_ms : CHUNK_MS_DEFAULT;
    d->batch = llama_batch_init((int32_t)d->llama.batch, 0, 1);
    if ((r = kv_new(d->llama.ctx, d->llama.slots, d->llama.context, &d->kv)) < 0)
        goto fail;
    if ((r = warm_up(d)) < 0) {
        snprintf(why, n_why, "the model loads but does not decode");
        goto fail;
    }
    llama_set_abort_callback(d->llama.ctx, on_abort, d);
    publish(d);
    if ((r = start_thread(d)) < 0)
        goto fail;
    *out = d;
    return 0;
fail:
    decoder_close(d);
    return r;
}

void decoder_close(struct decoder *d)
{
    if (d == NULL)
        return;
    if (d->running) {
        mailbox_stop(&d->mail);
        pthread_join(d->thread, NULL);
    }
    mailbox_clear(&d->mail);
    kv_free(d->kv);
    if (d->batch.token != NULL)
        llama_batch_free(d->batch);
    loader_close(&d->llama);
    free(d);
}

/* ---- loop thread ---- */

const struct llama_model *decoder_model(const struct decoder *d)
{
    return d->llama.model;
}

uint32_t decoder_context(const struct decoder *d)
{
    return d->llama.context;
}

int decoder_submit(struct decoder *d, const struct job_spec *spec, uint64_t *id)
{
    struct job *j;
    int r = job_new(spec, d->llama.context, d->n_vocab, &j);

    *id = 0;
    if (r < 0)
        return r;
    j->id = d->next_id + 1;
    if ((r = mailbox_post(&d->mail, j, d->most_live)) < 0) {
        job_free(j);
        return r;
    }
    *id = ++d->next_id;
    return 0;
}

void decoder_cancel(struct decoder *d, uint64_t id)
{
    mailbox_cancel(&d->mail, id);
}

void decoder_send(struct decoder *d, struct decoder_errand *e)
{
    mailbox_post_errand(&d->mail, e);
}

void decoder_poll(struct decoder *d, void (*on_event)(void *arg, const struct job_event *e),
                  void *arg)
{
    mailbox_poll(&d->mail, on_event, arg);
}

void decoder_stats(struct decoder *d, struct decoder_stats *out)
{
    mailbox_stats(&d->mail, out);
}
