/* SPDX-License-Identifier: MIT */
/* gateway/route/rate.h - tokens per second of a node, over the last seconds: what its hosts'
 * counters rose by between two states, kept as totals with the time they were heard. Pure;
 * cluster.c notes, report.c asks. */
#ifndef RM_ROUTE_RATE_H
#define RM_ROUTE_RATE_H

#include <stdint.h>

enum { RATE_WINDOW_MS = 5000, RATE_STEP_MS = 500, RATE_SAMPLES = 16 };

struct rate {
    struct {
        uint64_t ms, in, out;
    } sample[RATE_SAMPLES]; /* a ring of states, RATE_STEP_MS apart or more; the last before next */
    uint32_t n, next;
    uint64_t in, out; /* totals: of prompts, generated; read and written freely */
};

/* The totals stand as they are at now_ms. */
void rate_note(struct rate *r, uint64_t now_ms);

/* Tokens per second over the RATE_WINDOW_MS that end at now_ms, or since the first note; 0 when
 * that was less than a second ago. */
void rate_read(const struct rate *r, uint64_t now_ms, double *in_per_s, double *out_per_s);

#endif
