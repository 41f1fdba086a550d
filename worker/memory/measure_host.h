/* SPDX-License-Identifier: MIT */
/* worker/memory/measure_host.h - one engine's life as the ledger sees it: when to measure, and what
 * a measurement means. A meter begins before the engine starts and ends with it; host.c feeds it.
 * Measuring runs in the thread pool, one engine at a time. When to measure is pure (meter_want):
 *
 *   ready      ──► loaded      as soon as the engine has told its build
 *   a slot     ──► full        its longest sequence holds METER_FULL_PERCENT of a slot's context
 *   all slots  ──► all full    all sequences together hold that much of all there is
 *   grown      ──► peak        resident size METER_GROWN_PERCENT and METER_GROWN_BYTES above that
 *                              of the last measurement, METER_GAP_MS after it; or METER_EVERY_MS
 *
 * A peak between two measurements is missed by at most what the resident size may grow unseen. Loop
 * thread only. */
#ifndef RM_MEMORY_MEASURE_HOST_H
#define RM_MEMORY_MEASURE_HOST_H

#include <uv.h>

#include "worker/engine/engine.h"
#include "worker/memory/ledger.h"

enum {
    METER_FULL_PERCENT = 95,
    METER_GROWN_PERCENT = 1,
    METER_GROWN_BYTES = 4 * 1024 * 1024,
    METER_GAP_MS = 3000,
    METER_EVERY_MS = 60000,
    METER_FAILS_MAX = 5 /* measurements that gave nothing, one after the other: then no more */
};

/* ---- when ---- */

enum meter_want { METER_NOTHING, METER_LOADED, METER_FULL, METER_ALL_FULL, METER_PEAK };

struct meter_state {
    bool loaded, full, all_full; /* of this life */
    uint64_t at_ms, rss;         /* of the last measurement; at_ms 0: none yet */
    unsigned fails;              /* in a row */
};

struct meter_facts {
    uint64_t now_ms, rss, kv_used, kv_total, kv_deepest;
    uint32_t context, batch, batch_most; /* as in engine_measure */
};

enum meter_want meter_want(const struct meter_state *s, const struct meter_facts *f);

/* What a measurement for `want` makes of the row; the state goes on. */
void meter_take(struct meter_state *s, const struct meter_facts *f, enum meter_want want,
                const struct ledger_bytes *b, struct node_ledger_row *row);

/* ---- meters ---- */

struct meters; /* one per worker */
struct meter;  /* one per engine */

struct meters_loads { /* since the start: loads that became ready, and what they took together */
    uint64_t cold, warm, cold_ms, warm_ms;
};
struct meters_loads meters_loads(const struct meters *m);

/* ledger is borrowed until meters_close. Returns 0 or a libuv code. */
RM_MUST_USE int meters_new(uv_loop_t *loop, struct ledger *ledger, struct meters **out);

/* All meters have ended. A measurement under way ends in the thread pool and is forgotten. NULL is
 * fine. */
void meters_close(struct meters *m);

/* An engine is being started. hash: of its model; cached: part of the file that was in the page
 * cache before (page_cache.h), -1: not told. Returns 0 or UV_ENOMEM. */
RM_MUST_USE int meter_begin(struct meters *m, const struct desired_host *d, const char *hash,
                            double cached, struct meter **out);

/* What the forecast says without the ledger. NULL meter is fine here and below. */
void meter_predicted(struct meter *x, const struct node_forecast *f);

void meter_ready(struct meter *x, int pid, uint64_t load_ms);

/* Every state that the engine tells, with the resident size. */
void meter_note(struct meter *x, const struct engine_measure *m, uint64_t rss, uint64_t now_ms);

/* Bytes that the ledger says of this engine by now, when they are measured; else 0. */
uint64_t meter_measured(const struct meter *x);

/* Of them, the part that lies in devices' own memory; 0: none, or not measured. */
uint64_t meter_vram(const struct meter *x);

/* The most that was measured at one moment of an engine with this key, this one included; all 0:
 * not yet. */
struct ledger_bytes meter_peak(const struct meter *x);

/* How long such a load took before: of this model's newest row, the same flags preferred; cold or
 * warm as this one is, else the other kind; 0: never. */
uint64_t meter_load_ms(const struct meter *x);

void meter_end(struct meter *x); /* frees */

#endif
