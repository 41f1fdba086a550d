/* SPDX-License-Identifier: MIT */
/* worker/core/depth.h - how fast decode calls are at which depth: tokens that a sequence held
 * before the call. Only calls that did one kind of thing count: one prompt and nothing else, or
 * streams and no prompt. Sums since the start; the worker's ledger keeps them. Pure. */
#ifndef RM_CORE_DEPTH_H
#define RM_CORE_DEPTH_H

#include <stdint.h>

enum { DEPTH_BUCKETS = 6, DEPTH_PROMPT_MIN = 16 };

/* Where the buckets begin, tokens: the ledger's (proto/node/ledger.h). */
extern const uint32_t depth_from[DEPTH_BUCKETS];

struct depth_sums {
    uint64_t prefill_tokens, prefill_us;
    uint64_t decode_tokens, decode_us; /* tokens of one stream: one a call */
};

/* What one decode call fed. */
struct depth_call {
    uint32_t prompts;               /* jobs whose prompt was read */
    uint32_t prompt_tokens;         /* of them */
    uint32_t streams;               /* jobs that had one token to feed */
    uint64_t prompt_at, streams_at; /* sums of what those sequences held before */
};

/* Counts the call in its bucket, streams by their mean depth; or nowhere, when it was mixed, had
 * several prompts, or fewer than DEPTH_PROMPT_MIN tokens of one. */
void depth_note(struct depth_sums sums[DEPTH_BUCKETS], const struct depth_call *call, uint64_t us);

#endif
