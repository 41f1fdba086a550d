/* SPDX-License-Identifier: MIT */
/* proto/store/store.h - what this folder answers for: history in a SQLite file (WAL) that may fail
 * without anybody noticing but the log. One store per file; one thread of its own does all that
 * touches the disk, fed by a bounded queue of jobs.
 *
 *   loop ──store_post──► queue (bounded) ──► writer thread ──► one transaction per wake-up
 *                          │ full: dropped, counted              │ cannot be opened, disk full:
 *                          ▼                                     ▼ dropped, counted, said once
 *
 * What can go wrong, and what happens then:
 *   the file cannot be opened or written    said once; tried again with a job, STORE_RETRY_MS later
 *   the disk (or max_bytes) is full         the transaction is rolled back, said once; goes on
 *   the file is damaged or no database      it is renamed to PATH.damaged (an older one of that
 *                                           name goes), a new file is begun, an event line says so
 *   the file is of a newer version          left alone: nothing is read or written, said once
 * A process that is killed leaves the last finished transaction (synchronous=NORMAL: a power cut
 * may take the last ones, but damages nothing). The thread needs nothing of libuv. */
#ifndef RM_STORE_STORE_H
#define RM_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"

enum { STORE_RETRY_MS = 10000, STORE_BATCH_MAX = 256, STORE_QUEUE_MAX = 65536 };

struct sqlite3;
struct store;

/* One unit of work. run is called on the writer thread inside a transaction with the open database;
 * it returns SQLITE_OK or the code that stopped it, and then the whole batch is rolled back and
 * each of its jobs is run once more alone, so that one bad job costs no other. end is called
 * exactly once, on the writer thread or (when the store never ran it) on the thread that posts or
 * closes; ok: the work is committed. It frees arg. */
struct store_job {
    int (*run)(struct sqlite3 *db, void *arg);
    void (*end)(void *arg, bool ok);
    void *arg;
};

struct store_conf {
    const char *path; /* copied; its directory must exist */
    const char *name; /* for the log: "ledger"; copied */
    /* SQL scripts, oldest first; script i takes the file from user_version i to i + 1. Borrowed for
     * the store's life. */
    const char *const *migrations;
    int n_migrations;
    uint32_t queue_max; /* jobs that may wait; 1..STORE_QUEUE_MAX */
    uint64_t max_bytes; /* the file stays below that; 0: the disk's size */
};

struct store_stats {
    uint64_t done, failed,
        dropped; /* jobs: committed; given up; not taken (queue full) or not run */
    uint32_t waiting;
    bool usable;      /* the last word on the file: open, right version, written without an error */
    uint32_t damaged; /* files put aside since the start */
};

/* Starts the thread; it opens the file. Returns 0, UV_EINVAL (a path or name that is too long, no
 * queue), UV_ENOMEM or another libuv code. */
RM_MUST_USE int store_open(const struct store_conf *conf, struct store **out);

/* Takes the job. Never waits. Returns 0, or RM_ERR_OVERLOAD (the queue is full): then end(arg,
 * false) was called already. Any thread. */
int store_post(struct store *s, const struct store_job *job);

/* Waits until everything that was posted before has ended, at most so long. For start and stop, not
 * for the loop's work. Returns 0 or UV_ETIMEDOUT. */
int store_flush(struct store *s, uint32_t timeout_ms);

void store_stats(struct store *s, struct store_stats *out); /* any thread */

/* Ends the thread after what waits is written, or after about so long; what is left then is
 * dropped. NULL is fine. */
void store_close(struct store *s, uint32_t timeout_ms);

#endif
