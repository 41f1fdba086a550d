/* SPDX-License-Identifier: MIT */
#include "gateway/route/rate.h"

enum { LEAST_MS = 1000 };

static uint32_t back(const struct rate *r, uint32_t n)
{
    return (r->next + RATE_SAMPLES - n) % RATE_SAMPLES;
}

void rate_note(struct rate *r, uint64_t now_ms)
{
    if (r->n > 0 && now_ms - r->sample[back(r, 1)].ms < RATE_STEP_MS)
        return; /* the totals are read where they are; a sample is only where a window may begin */
    r->sample[r->next].ms = now_ms;
    r->sample[r->next].in = r->in;
    r->sample[r->next].out = r->out;
    r->next = (r->next + 1) % RATE_SAMPLES;
    r->n += r->n < RATE_SAMPLES;
}

void rate_read(const struct rate *r, uint64_t now_ms, double *in_per_s, double *out_per_s)
{
    uint32_t begin = 0;
    double seconds;

    *in_per_s = *out_per_s = 0;
    for (uint32_t i = 1; i <= r->n; i++) {
        begin = back(r, i);
        if (now_ms - r->sample[begin].ms >= RATE_WINDOW_MS)
            break;
    }
    if (r->n == 0 || now_ms - r->sample[begin].ms < LEAST_MS)
        return;
    seconds = (double)(now_ms - r->sample[begin].ms) / 1000;
    *in_per_s = (double)(r->in - r->sample[begin].in) / seconds;
    *out_per_s = (double)(r->out - r->sample[begin].out) / seconds;
}
