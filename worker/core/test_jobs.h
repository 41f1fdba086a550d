/* SPDX-License-Identifier: MIT */
/* worker/core/test_jobs.h - runs jobs on a decoder from a test and collects what they say. */
#ifndef RM_CORE_TEST_JOBS_H
#define RM_CORE_TEST_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/core/decoder.h"
#include "worker/core/kvdisk.h"

enum { TEST_TEXT_MAX = 1 << 16, TEST_TOKENS_MAX = 4096 };

/* One job's story. */
struct test_job {
    uint64_t id;
    bool started, done, failed;
    int err;
    enum job_finish finish;
    char text[TEST_TEXT_MAX], stop_word[300];
    size_t n_text;
    int32_t tokens[TEST_TOKENS_MAX];
    size_t n_tokens;
    uint32_t cached, prompt, generated;
    uint32_t n_text_events, n_progress;
    uint32_t processed; /* of the last event; the test fails if it ever goes back */
    bool shrank;        /* some figure went back, or an event came out of order */
};

/* Opens with these flags; ends the program with a message when it cannot. */
struct decoder *test_open(const struct decoder_conf *conf);
void test_close(struct decoder *d);

struct job_spec test_greedy(const int32_t *tokens, size_t n, uint32_t max_tokens); /* reuse is on */

/* Submits; the story is forgotten first. Returns decoder_submit's result. */
int test_submit(struct decoder *d, const struct job_spec *spec, struct test_job *story);

/* Polls until `until` says true, or fails the test after seconds. */
void test_until(struct decoder *d, bool (*until)(void *arg), void *arg, unsigned seconds);
void test_until_done(struct decoder *d, struct test_job *story); /* done or failed, 60 s */

/* Submits and waits. */
void test_run(struct decoder *d, const struct job_spec *spec, struct test_job *story);

/* Restores the decoder's sequences, or saves them, and waits. */
struct kvsave_report test_restore(struct decoder *d, struct kvdisk *k);
struct kvsave_report test_save(struct decoder *d, struct kvdisk *k, uint64_t budget_ms);

void test_forget(struct test_job *story); /* no event is written to it any more */

#endif
