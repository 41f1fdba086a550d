/* SPDX-License-Identifier: MIT */
/* worker/core/test_jobs.c - see test_jobs.h. */
#include "worker/core/test_jobs.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

enum { STORIES_MAX = 64 };

static struct test_job *stories[STORIES_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static bool has_mail;

static void on_wake(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    has_mail = true;
    pthread_cond_signal(&woken);
    pthread_mutex_unlock(&lock);
}

struct decoder *test_open(const struct decoder_conf *conf)
{
    struct decoder_conf c = *conf;
    struct decoder *d;
    char why[512];
    int r;

    c.wake = on_wake;
    if ((r = decoder_open(&c, &d, why, sizeof(why))) < 0) {
        fprintf(stderr, "decoder_open: %s: %s\n", rm_err_name(r), why);
        exit(98);
    }
    return d;
}

void test_close(struct decoder *d)
{
    decoder_close(d);
    memset(stories, 0, sizeof(stories));
}

struct job_spec test_greedy(const int32_t *tokens, size_t n, uint32_t max_tokens)
{
    return (struct job_spec){.tokens = tokens,
                             .n_tokens = n,
                             .max_tokens = max_tokens,
                             .cache_prompt = true,
                             .progress = true,
                             .sampling = {.top_p = 1.0f}};
}

int test_submit(struct decoder *d, const struct job_spec *spec, struct test_job *story)
{
    int r;

    test_forget(story);
    memset(story, 0, sizeof(*story));
    r = decoder_submit(d, spec, &story->id);
    for (int i = 0; r == 0 && i < STORIES_MAX; i++) {
        if (stories[i] == NULL) {
            stories[i] = story;
            break;
        }
    }
    return r;
}

void test_forget(struct test_job *story)
{
    for (int i = 0; i < STORIES_MAX; i++) {
        if (stories[i] == story)
            stories[i] = NULL;
    }
}

static void on_event(void *arg, const struct job_event *e)
{
    struct test_job *s = NULL;

    (void)arg;
    for (int i = 0; i < STORIES_MAX && s == NULL; i++) {
        if (stories[i] != NULL && stories[i]->id == e->job)
            s = stories[i];
    }
    if (s == NULL)
        return;
    s->shrank = s->shrank || e->processed < s->processed || e->generated < s->generated ||
                s->done || s->failed || (e->type == JOB_STARTED) == s->started;
    s->started = true;
    s->processed = e->processed;
    s->generated = e->generated;
    s->cached = e->cached;
    s->prompt = e->prompt;
    s->n_progress += e->type == JOB_PROGRESS;
    s->n_text_events += e->type == JOB_TEXT;
    if (e->type == JOB_TEXT || e->type == JOB_DONE) {
        assert_true(s->n_text + e->n_text < sizeof(s->text));
        memcpy(s->text + s->n_text, e->text, e->n_text);
        s->n_text += e->n_text;
    }
    if (e->type == JOB_DONE) {
        s->done = true;
        s->finish = e->finish;
        snprintf(s->stop_word, sizeof(s->stop_word), "%s", e->stop_word ? e->stop_word : "");
        assert_true(e->n_tokens <= TEST_TOKENS_MAX);
        memcpy(s->tokens, e->tokens, e->n_tokens * sizeof(*e->tokens));
        s->n_tokens = e->n_tokens;
    }
    if (e->type == JOB_FAILED) {
        s->failed = true;
        s->err = e->err;
    }
}

void test_until(struct decoder *d, bool (*until)(void *arg), void *arg, unsigned seconds)
{
    struct timespec deadline;
    int r = 0;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += (time_t)seconds;
    decoder_poll(d, on_event, NULL);
    while (!until(arg)) {
        pthread_mutex_lock(&lock);
        while (!has_mail && r == 0)
            r = pthread_cond_timedwait(&woken, &lock, &deadline);
        has_mail = false;
        pthread_mutex_unlock(&lock);
        decoder_poll(d, on_event, NULL);
        if (r != 0 && !until(arg))
            fail_msg("no answer within %u s", seconds);
    }
}

static bool has_ended(void *arg)
{
    const struct test_job *s = arg;

    return s->done || s->failed;
}

void test_until_done(struct decoder *d, struct test_job *story)
{
    test_until(d, has_ended, story, 60);
    test_forget(story);
}

void test_run(struct decoder *d, const struct job_spec *spec, struct test_job *story)
{
    assert_int_equal(test_submit(d, spec, story), 0);
    test_until_done(d, story);
}

/* ---- KV state ---- */

struct kept {
    struct kvsave_report report;
    bool told;
};

static void on_kept(void *arg, const struct kvsave_report *report)
{
    struct kept *k = arg;

    k->report = *report;
    k->told = true;
}

static bool is_told(void *arg)
{
    return ((struct kept *)arg)->told;
}

struct kvsave_report test_restore(struct decoder *d, struct kvdisk *k)
{
    struct kept kept = {.told = false};

    kvdisk_restore(k, d, on_kept, &kept);
    test_until(d, is_told, &kept, 60);
    return kept.report;
}

struct kvsave_report test_save(struct decoder *d, struct kvdisk *k, uint64_t budget_ms)
{
    struct kept kept = {.told = false};

    assert_int_equal(kvdisk_save(k, d, budget_ms, on_kept, &kept), 0);
    test_until(d, is_told, &kept, 60);
    return kept.report;
}
