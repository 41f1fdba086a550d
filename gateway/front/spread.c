/* SPDX-License-Identifier: MIT */
#include "gateway/front/spread.h"

#include <math.h>
#include <string.h>

/* Bucket 0 has what is below SPREAD_LEAST, bucket i > 0 what is from
 * SPREAD_LEAST * 2^((i - 1) / SPREAD_STEPS) on. */
static uint32_t bucket_of(double value)
{
    double i;

    if (value < SPREAD_LEAST)
        return 0;
    i = floor(log2(value / SPREAD_LEAST) * SPREAD_STEPS) + 1;
    return i < SPREAD_BUCKETS - 1 ? (uint32_t)i : SPREAD_BUCKETS - 1;
}

/* Its geometric middle. */
static double value_of(uint32_t bucket)
{
    return bucket == 0 ? 0 : SPREAD_LEAST * exp2(((double)bucket - 0.5) / SPREAD_STEPS);
}

void spread_note(struct spread *s, double value, uint64_t now_ms)
{
    if (s->n[s->at] >= SPREAD_GENERATION ||
        (s->n[s->at] > 0 && now_ms - s->since_ms >= SPREAD_AGE_MS)) {
        s->at = !s->at;
        s->n[s->at] = 0;
        memset(s->bucket[s->at], 0, sizeof s->bucket[s->at]);
    }
    if (s->n[s->at]++ == 0)
        s->since_ms = now_ms;
    s->bucket[s->at][bucket_of(value)]++;
}

/* The least value that `part` of all n are not above. */
static double percentile(const struct spread *s, uint32_t n, double part)
{
    uint32_t rank = (uint32_t)ceil(part * n), sum = 0, i = 0;

    for (;; i++) {
        sum += s->bucket[0][i] + s->bucket[1][i];
        if (sum >= rank || i == SPREAD_BUCKETS - 1)
            return value_of(i);
    }
}

bool spread_read(const struct spread *s, struct spread_figures *out)
{
    uint32_t n = s->n[0] + s->n[1];

    if (n == 0)
        return false;
    *out = (struct spread_figures){percentile(s, n, 0.5), percentile(s, n, 0.95),
                                   percentile(s, n, 0.99)};
    return true;
}
