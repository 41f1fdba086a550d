/* SPDX-License-Identifier: MIT */
/* worker/core/batch.h - how many tokens of which slot go into the next decode call, and how long
 * calls take. Every running stream gets its one token in every call; what the time budget leaves is
 * shared by the prompts that are still being read, so that a short prompt never waits behind a long
 * one. Pure functions. */
#ifndef RM_CORE_BATCH_H
#define RM_CORE_BATCH_H

#include <stdint.h>

struct batch_want {
    uint32_t remaining; /* tokens not decoded yet; 0: nothing to do, 1: a running stream */
    uint32_t most;      /* of them, in one call (a checkpoint is wanted there); 1..remaining */
    uint64_t age;       /* smaller: came earlier */
};

/* take[i] gets the tokens of slot i. budget: prompt tokens that fit into the time of one call;
 * capacity: n_batch. n <= capacity. Returns the sum. */
uint32_t batch_plan(const struct batch_want *want, uint32_t n, uint32_t budget, uint32_t capacity,
                    uint32_t *take);

/* Measured speed; moving averages. */
struct batch_pace {
    double prefill_tps; /* prompt tokens per second, 0: not measured */
    double decode_tps;  /* one stream's tokens per second, 0: not measured */
    double decode_ms;   /* of a call without prompt tokens */
    double tile_tps;    /* as prefill_tps, of calls with BATCH_TILE prompt tokens or more */
};

/* ggml's attention on a CPU works in tiles of this many rows; a call with fewer takes another way
 * that costs up to twenty times as much per token once the cache is deep (measured: 66 tokens 124
 * ms, 62 tokens 1.7 s at 3,000 cells). A budget below it would feed on its own slowness. */
enum { BATCH_TILE = 64 };

/* Notes one decode call: its prompt tokens, its streams' tokens, and how long it took. */
void batch_note(struct batch_pace *p, uint32_t prompt_tokens, uint32_t streams, double ms);

/* Prompt tokens that fit into chunk_ms; BATCH_TILE also when that many took up to four times as
 * long; at least 16, at most `most`; BATCH_TILE before anything was measured. */
uint32_t batch_budget(const struct batch_pace *p, uint32_t chunk_ms, uint32_t most);

#endif
