/* SPDX-License-Identifier: MIT */
/* gateway/ops/history_impl.h - what history.c (life, rows in) and history_read.c (questions) share.
 * Not for others. */
#ifndef RM_OPS_HISTORY_IMPL_H
#define RM_OPS_HISTORY_IMPL_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "gateway/ops/history.h"
#include "proto/store/store.h"

enum { HISTORY_PATH_BYTES = 1024, HISTORY_MIGRATIONS = 4 };
extern const char *const history_migrations[HISTORY_MIGRATIONS];

struct history_batch;
struct history_question_job;
TAILQ_HEAD(history_jobs, history_question_job);

struct history {
    uv_loop_t *loop;
    struct store *store;
    char path[HISTORY_PATH_BYTES];
    uv_async_t async;
    uv_mutex_t lock;
    struct history_jobs passed;    /* under lock: what was written before them is in the file */
    struct history_jobs waiting;   /* loop: for a thread */
    uint32_t asked, running;       /* loop: questions without an answer; those in a thread */
    struct history_batch *filling; /* loop: goes to the writer thread soon, or when full */
    uv_timer_t timer;
    int holds; /* open handles and questions in threads */
    atomic_bool closing;
    atomic_ullong rows_done, rows_lost;
    uint32_t since_sweep; /* writer thread */
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

void history_flush(struct history *h);

/* What is too old goes; and the oldest tenth when the file has grown to three quarters of `bytes`
 * (pages that are freed are used again). Returns SQLite's code. */
struct sqlite3;
int history_sweep(struct sqlite3 *db, int64_t now_ms, uint64_t bytes);

void history_let_go(struct history *h);

/* history_read.c */
void history_on_async(uv_async_t *async);
void history_end_reads(struct history *h); /* the store is closed */

#endif
