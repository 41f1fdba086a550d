/* SPDX-License-Identifier: MIT */
/* gateway/ops/history.h - what requests came to and what happened, over restarts: history.db in the
 * gateway's state directory, through proto/store (a thread of its own; a full disk, a damaged file
 * or none at all never stops serving). Names, counts and times only, never what was said. Rows
 * older than HISTORY_DAYS go, and the oldest before the file reaches HISTORY_BYTES. Loop thread. */
#ifndef RM_OPS_HISTORY_H
#define RM_OPS_HISTORY_H

#include <uv.h>

#include "gateway/ops/ops.h"
#include "gateway/ops/samples.h"

enum {
    HISTORY_DAYS = 30,
    HISTORY_QUEUE = 256,
    HISTORY_ROWS_MAX = 5000,
    HISTORY_READERS = 2,   /* threads of the pool that questions take at one time */
    HISTORY_READS_MAX = 64 /* questions without an answer */
};
#define HISTORY_BYTES (1024ull * 1024 * 1024)

struct history;

/* dir: the state directory. Returns 0 or as store_open. */
RM_MUST_USE int history_open(uv_loop_t *loop, const char *dir, struct history **out);
/* Writes what waits, a second at most; questions that were not answered hear RM_ERR_DRAINING.
 * on_closed comes from the loop. */
void history_close(struct history *h, void (*on_closed)(void *arg), void *arg);

/* Copied (done->why is taken over), and written half a second later together with others. What the
 * store's queue does not take is lost and counted. */
void history_add_request(struct history *h, const struct ops_done *done);
void history_add_event(struct history *h, uint64_t id, int64_t at_ms, const char *json);
void history_add_samples(struct history *h, const struct sample *samples, size_t n, int64_t at_ms);

/* One question. run is called in a thread of the pool with a read-only connection, sees every row
 * that was added before the question, appends the answer and returns SQLITE_OK, SQLITE_DONE or the
 * code that stopped it; one that takes long is interrupted. on_answer comes once from the loop,
 * with 0 and the text (valid for the call), or RM_ERR_OVERLOAD (the file cannot be read, or not in
 * time) or RM_ERR_DRAINING. */
struct sqlite3;
struct history_read {
    int (*run)(struct sqlite3 *db, void *arg, struct rm_buf *out);
    void (*on_answer)(void *arg, int err, struct rm_slice text);
    void *arg;
};

/* Copied. Returns 0; or RM_ERR_OVERLOAD (too many wait) or UV_ENOMEM: no answer comes. */
RM_MUST_USE int history_read(struct history *h, const struct history_read *read);

struct history_question {
    const char *by, *per;       /* column to group by: role, key, node, mode; hour, day or NULL */
    int64_t since_ms, until_ms; /* of the wall clock; 0: no bound */
};

/* Adds up. on_answer comes once from the loop with 0 and a JSON array (proto/openapi.yaml: Usage),
 * or an error as in history_read. Returns as history_read. */
RM_MUST_USE int history_ask(struct history *h, const struct history_question *q,
                            void (*on_answer)(void *arg, int err, struct rm_slice json), void *arg);

struct rm_om;
void history_write_metrics(const struct history *h, struct rm_om *om);

#endif
