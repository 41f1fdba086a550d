/* SPDX-License-Identifier: MIT */
/* worker/core/mailbox.h - jobs and cancels to the decode thread, events back. The only lock of the
 * decoder. The loop thread posts, cancels and polls; the decode thread waits, takes and emits. An
 * event of a cancelled job is never delivered, not even one that was queued before the cancel. */
#ifndef RM_CORE_MAILBOX_H
#define RM_CORE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/core/decoder.h"

struct job;

struct mail_event {
    struct mail_event *next;
    struct job_event event; /* text, stop_word and tokens point into data */
    int32_t data[];         /* tokens, then text, then the stop word */
};

struct decoder_errand;

struct mail_list {
    struct mail_event *first, *last;
};

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool stopping;
    struct job *inbox, *inbox_last; /* by next */
    struct job *live;               /* by next_live: every job not yet forgotten */
    uint32_t n_live;
    struct mail_list outbox;
    struct mail_list delivering;                   /* loop thread only */
    struct decoder_errand *errands, *errands_done; /* by next, oldest first */
    struct decoder_stats stats;
    void (*wake)(void *arg);
    void *arg;
};

struct mail_event *mail_event_new(size_t n_data); /* NULL: no memory */

/* Returns 0 or a libuv code. */
RM_MUST_USE int mailbox_init(struct mailbox *m, void (*wake)(void *arg), void *arg);
void mailbox_clear(struct mailbox *m); /* frees jobs and events that are left */

/* ---- loop thread ---- */

/* Takes the job (the caller has set its id) unless there are most_live jobs already:
 * RM_ERR_QUEUE_FULL. */
RM_MUST_USE int mailbox_post(struct mailbox *m, struct job *j, uint32_t most_live);
void mailbox_cancel(struct mailbox *m, uint64_t id);
void mailbox_poll(struct mailbox *m, void (*on_event)(void *arg, const struct job_event *e),
                  void *arg);
void mailbox_post_errand(struct mailbox *m, struct decoder_errand *e);
void mailbox_stop(struct mailbox *m); /* mailbox_wait returns false from now on */

/* ---- decode thread ---- */

/* Waits for a job, a cancel, an errand or the stop; not at all unless `idle`. *jobs gets the new
 * ones (by next, oldest first). Returns false when the thread shall end. */
bool mailbox_wait(struct mailbox *m, bool idle, struct job **jobs);
bool mailbox_is_cancelled(struct mailbox *m, const struct job *j);
struct decoder_errand *mailbox_take_errand(struct mailbox *m); /* NULL: there is none */
void mailbox_errand_done(struct mailbox *m, struct decoder_errand *e);
bool mailbox_is_unwanted(struct mailbox *m, const struct job *j); /* cancelled, or all stops */

/* Copies the event with its text and stop word. A last event (DONE, FAILED) that finds no memory is
 * sent as FAILED with UV_ENOMEM. Returns 0 or UV_ENOMEM. */
int mailbox_emit(struct mailbox *m, struct job *j, const struct job_event *e);
void mailbox_forget(struct mailbox *m, struct job *j); /* and frees it */
void mailbox_publish(struct mailbox *m, const struct decoder_stats *s);

/* ---- any thread ---- */
void mailbox_stats(struct mailbox *m, struct decoder_stats *out);

#endif
