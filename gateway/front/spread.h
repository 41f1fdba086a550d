/* SPDX-License-Identifier: MIT */
/* gateway/front/spread.h - percentiles of the last answers, in a fixed place and without keeping
 * the answers: counts in buckets whose bounds rise by 2^(1/12), in two generations. A new
 * generation begins when the present one has SPREAD_GENERATION values, or has values and is
 * SPREAD_AGE_MS old; what is read are both, so the last SPREAD_GENERATION to twice as many. Pure.
 */
#ifndef RM_FRONT_SPREAD_H
#define RM_FRONT_SPREAD_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SPREAD_OCTAVES = 24, /* 0.125 to 2 million: milliseconds up to half an hour, tokens a second */
    SPREAD_STEPS = 12,   /* of an octave: a percentile is at most 3 % off */
    SPREAD_BUCKETS = SPREAD_OCTAVES * SPREAD_STEPS + 1,
    SPREAD_GENERATION = 1000,
    SPREAD_AGE_MS = 30 * 60 * 1000
};
#define SPREAD_LEAST 0.125 /* what is less counts as 0 */

struct spread {
    uint32_t n[2], bucket[2][SPREAD_BUCKETS]; /* by generation */
    uint64_t since_ms;                        /* the present one has had values since then */
    uint8_t at;                               /* the present one */
};

struct spread_figures {
    double p50, p95, p99;
};

/* value: >= 0 and no NaN; larger ones than the last bucket's count there. */
void spread_note(struct spread *s, double value, uint64_t now_ms);

/* False: nothing was noted. */
bool spread_read(const struct spread *s, struct spread_figures *out);

#endif
