/* SPDX-License-Identifier: MIT */
/* worker/memory/ledger.h - what was forecast and what was then measured, by (model hash, context,
 * slots, KV type, flags, engine build). All rows are in memory, at most LEDGER_ROWS_MAX (the one
 * unused for longest goes); a SQLite file in the state directory, written by a thread of its own
 * (proto/store), keeps them between starts. A file that cannot be used costs the history, nothing
 * else. measure_host.c makes the rows, forecast.c asks for them, api.c and metrics.c show them.
 * Loop thread only; nothing here waits but ledger_open and ledger_close.
 *
 * The rule: what the next forecast says (ledger_expect)
 *   no row, or nothing measured     the prediction
 *   a slot was never full           max(peak, prediction): what a full slot adds is not known, and
 *                                   mapped weights may not all have been touched
 *   a slot was full once            what one slot added, for every slot: loaded + slots * (full -
 *                                   loaded); at least the peak, at most max(peak, prediction)
 *   all slots were full together    the peak, and again at most max(peak, prediction)
 * In the last two cases, before they are capped: more for batches larger than any so far, by as
 * much as the computation's buffers are not used yet: compute * (batch - batch_most) / batch. On
 * devices those are taken whole when a model is loaded, so there it is too much; the cap bounds
 * that. A prediction from the file's header alone is a lower bound and caps nothing; with that one,
 * or with none, the result counts as measured only when batches were as large as they may be.
 *
 * Cold or warm, and load_ms: a load is warm when, just before its engine started, at least
 * LEDGER_WARM_PART of the model's bytes were in the page cache (mincore(2) on samples, see
 * worker/models/page_cache.h). Where the kernel does not tell, the first load of that file by this
 * worker is cold and later ones are warm. Each kind has a moving average that gives the newest load
 * half the weight. */
#ifndef RM_MEMORY_LEDGER_H
#define RM_MEMORY_LEDGER_H

#include "proto/node/desired.h"
#include "proto/node/ledger.h"

enum { LEDGER_ROWS_MAX = 512, LEDGER_QUEUE = 1024, LEDGER_OPEN_MS = 2000, LEDGER_CLOSE_MS = 2000 };

#define LEDGER_FILE_MAX (16ULL << 20) /* bytes; 512 rows take a tenth of it */

#define LEDGER_WARM_PART 0.9

struct ledger;

struct ledger_conf {
    const char *path;      /* of the SQLite file; copied */
    const char *core_path; /* the engine's program: its file tells whether the build is the one of
                              the last start; copied */
};

/* Opens the file and reads it; waits for that for at most LEDGER_OPEN_MS (later rows join when they
 * are read). Returns 0 also when the file cannot be used; UV_EINVAL, UV_ENOMEM. */
RM_MUST_USE int ledger_open(const struct ledger_conf *conf, struct ledger **out);

/* Every second: takes over rows that were read late, writes all of them anew when the file had to
 * be replaced. */
void ledger_poll(struct ledger *l);

/* Writes what waits, for at most LEDGER_CLOSE_MS. NULL is fine. */
void ledger_close(struct ledger *l);

/* The build of the engine as it said itself: "VERSION/LLAMA". "" until one has run since its
 * program file changed: then nothing measured is found, rightly. */
const char *ledger_build(const struct ledger *l);
void ledger_set_build(struct ledger *l, const char *build);

/* Canonical text of the flags that matter beside those with a member of their own. Pure. */
void ledger_flags(const struct desired_host *d, char out[LEDGER_FLAGS_MAX]);

/* Pure. build: NULL gives "". */
void ledger_key_of(const struct desired_host *d, const char *model_hash, const char *build,
                   struct ledger_key *out);
bool ledger_key_same(const struct ledger_key *a, const struct ledger_key *b);

/* The row of a key, NULL: none. Valid until the next call that changes the ledger. */
const struct node_ledger_row *ledger_find(const struct ledger *l, const struct ledger_key *key);

/* Stores the row under its key, in memory now and in the file soon; id, expected, measured, first_s
 * and last_s are set here. */
void ledger_put(struct ledger *l, const struct node_ledger_row *row);

/* The rule above. *measured: it comes from measurements. predicted 0: unknown. Pure. */
uint64_t ledger_expect(const struct node_ledger_row *row, uint64_t predicted, bool estimated,
                       bool *measured);

/* The next value of a moving average of milliseconds; before: 0 when there is none. Pure. */
uint64_t ledger_average_ms(uint64_t before, uint64_t ms);

/* Adds to the sums; when they have grown over LEDGER_SPEED_TOKENS, both halves of a rate are
 * halved, so that newer calls count more. Pure. */
enum { LEDGER_SPEED_TOKENS = 1000000 };
void ledger_add_speed(struct ledger_speed *sum, const struct ledger_speed *more);

/* Applies the rule to a forecast for d whose model_hash and parts are known: total, measured, and
 * load_ms: of a cold load, else of a warm one; of this key, else of the newest row of that file. */
void ledger_apply(const struct ledger *l, const struct desired_host *d, struct node_forecast *f);

/* The page after row id `after`: rows of *out point into the ledger (do not clear). limit: 1..
 * LEDGER_PAGE_MAX. */
void ledger_page(const struct ledger *l, uint64_t after, uint32_t limit, struct node_ledger *out);

/* For metrics: all rows, oldest id first. */
const struct node_ledger_row *ledger_rows(const struct ledger *l, uint32_t *n);

#endif
