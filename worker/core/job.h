/* SPDX-License-Identifier: MIT */
/* worker/core/job.h - one request inside the decoder, from submit to its last event.
 * Made by the loop thread; from mailbox_post on it belongs to the decode thread, except for what
 * the mailbox's lock guards. A job that lost its slot (KV memory full) keeps everything here and
 * goes on later where it was. */
#ifndef RM_CORE_JOB_H
#define RM_CORE_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/core/decoder.h"
#include "worker/core/sampling.h"
#include "worker/core/textout.h"

struct llama_vocab;
struct mail_event;

enum { JOB_TEXT_MAX = 1 << 20 };

struct job {
    struct job *next;            /* decode thread: the queue */
    struct job *next_live;       /* mailbox: all jobs */
    bool cancelled;              /* mailbox lock */
    struct mail_event *farewell; /* kept for the last event, so that it needs no memory */

    uint64_t id;
    int32_t *tokens; /* owned: the prompt, then what was generated */
    uint32_t n_prompt, n_tokens;
    uint32_t max_tokens, generated;
    uint32_t cached, processed; /* of the prompt; processed never goes back */
    bool reuse, progress, started;
    uint64_t age;                        /* order of arrival */
    uint64_t began_us, first_us, now_us; /* slot claimed, first token sampled, last decode call */
    struct sampling sampling;
    struct textout text;
    struct rm_buf out; /* text that may go out now */
};

/* Checks and copies `spec`; context: tokens of a slot. Returns 0, RM_ERR_FIELD, RM_ERR_CONTEXT or
 * UV_ENOMEM. */
RM_MUST_USE int job_new(const struct job_spec *spec, uint32_t context, int32_t n_vocab,
                        struct job **out);
void job_free(struct job *j); /* NULL is fine */

enum job_step { JOB_GOES_ON, JOB_ENDS_STOP, JOB_ENDS_LENGTH };

/* Takes a sampled token: its text goes through the stop strings to j->out.
 * Returns an enum job_step, or RM_ERR_ENGINE, RM_ERR_TOO_BIG, UV_ENOMEM. */
int job_take_token(struct job *j, const struct llama_vocab *vocab, int32_t token);

/* The event's figures as of j->now_us; text and type are the caller's. */
struct job_event job_event_of(const struct job *j, enum job_event_type type);

#endif
