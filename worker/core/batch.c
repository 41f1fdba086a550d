/* SPDX-License-Identifier: MIT */
/* worker/core/batch.c - see batch.h. */
#include "batch.h"

enum { BUDGET_MIN = 16, NOTE_MIN = 8, TILE_PATIENCE = 4 };

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The oldest slot that still wants prompt tokens, or -1. */
static int oldest_hungry(const struct batch_want *want, uint32_t n, const uint32_t *take)
{
    int best = -1;

    for (uint32_t i = 0; i < n; i++) {
        if (want[i].remaining > 1 && take[i] < want[i].most &&
            (best < 0 || want[i].age < want[best].age))
            best = (int)i;
    }
    return best;
}

uint32_t batch_plan(const struct batch_want *want, uint32_t n, uint32_t budget, uint32_t capacity,
                    uint32_t *take)
{
    uint32_t sum = 0, prompts = 0, share;
    int oldest;

    for (uint32_t i = 0; i < n; i++) {
        take[i] = want[i].remaining == 1;
        sum += take[i];
        prompts += want[i].remaining > 1;
    }
    if (prompts == 0 || sum >= capacity)
        return sum;
    budget = min_u32(budget, capacity - sum);
    share = budget / prompts > 0 ? budget / prompts : 1;
    for (uint32_t i = 0; i < n && budget > 0; i++) {
        if (want[i].remaining > 1) {
            take[i] = min_u32(min_u32(share, budget), want[i].most);
            budget -= take[i];
            sum += take[i];
        }
    }
    while (budget > 0 && (oldest = oldest_hungry(want, n, take)) >= 0) {
        uint32_t more = min_u32(budget, want[oldest].most - take[oldest]);

        take[oldest] += more;
        budget -= more;
        sum += more;
    }
    return sum;
}

/* A moving average that begins with its first value. */
static double average(double old, double now, double weight)
{
    return old <= 0.0 ? now : old + weight * (now - old);
}

void batch_note(struct batch_pace *p, uint32_t prompt_tokens, uint32_t streams, double ms)
{
    double prompt_ms = ms;

    if (ms <= 0.0)
        return;
    if (streams > 0)
        p->decode_tps = average(p->decode_tps, 1000.0 / ms, 0.1);
    if (prompt_tokens == 0 && streams > 0)
        p->decode_ms = average(p->decode_ms, ms, 0.1);
    if (prompt_tokens < NOTE_MIN)
        return;
    if (streams > 0) /* the streams' share of a mixed call, as far as it is known */
        prompt_ms -= p->decode_ms < 0.5 * ms ? p->decode_ms : 0.5 * ms;
    p->prefill_tps = average(p->prefill_tps, prompt_tokens * 1000.0 / prompt_ms, 0.3);
    if (prompt_tokens >= BATCH_TILE)
        p->tile_tps = average(p->tile_tps, prompt_tokens * 1000.0 / prompt_ms, 0.3);
}

uint32_t batch_budget(const struct batch_pace *p, uint32_t chunk_ms, uint32_t most)
{
    double tokens = p->prefill_tps > 0.0 ? p->prefill_tps * chunk_ms / 1000.0 : BATCH_TILE;
    double tile_ms = p->tile_tps > 0.0 ? BATCH_TILE * 1000.0 / p->tile_tps : 0.0;

    if (tokens < BATCH_TILE && tile_ms > 0.0 && tile_ms <= (double)TILE_PATIENCE * chunk_ms)
        tokens = BATCH_TILE;
    if (tokens >= most)
        return most;
    return tokens > BUDGET_MIN ? (uint32_t)tokens : min_u32(BUDGET_MIN, most);
}
