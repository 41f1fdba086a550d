/* SPDX-License-Identifier: MIT */
#include "worker/host/figures.h"

/* Least part of a load that is taken for a measure of the rest, and least time. */
static const double PACE_PART = 0.05;
enum { PACE_MS = 500 };

static uint64_t at_most(uint64_t v, uint64_t max)
{
    return v < max ? v : max;
}

void figures_of_forecast(const struct node_forecast *f, struct figures_plan *out)
{
    *out = (struct figures_plan){.weights = f->weights, .kv = f->kv, .compute = f->compute};
    for (uint32_t i = 0; i < f->n_buffers; i++)
        if (!f->buffers[i].host)
            out->device += f->buffers[i].weights + f->buffers[i].kv + f->buffers[i].compute;
}

void figures_parts(const struct figures_plan *plan, uint64_t total, struct node_host *out)
{
    out->weights_bytes = at_most(plan->weights, total);
    total -= out->weights_bytes;
    out->kv_bytes = at_most(plan->kv, total);
    total -= out->kv_bytes;
    out->compute_bytes = at_most(plan->compute, total);
    out->other_bytes = total - out->compute_bytes;
}

uint64_t figures_kv_used(uint64_t kv_bytes, uint64_t used, uint64_t total)
{
    if (total == 0)
        return 0;
    return used >= total ? kv_bytes : (uint64_t)((double)kv_bytes * ((double)used / (double)total));
}

uint32_t figures_eta(uint64_t expected_ms, uint64_t elapsed_ms, double part)
{
    double left = expected_ms > elapsed_ms ? (double)(expected_ms - elapsed_ms) : 0, pace = 0;

    if (part >= PACE_PART && part < 1 && elapsed_ms >= PACE_MS)
        pace = (double)elapsed_ms * (1 - part) / part;
    if (left > 0 && pace > 0)
        left = (1 - part) * left + part * pace;
    else if (left <= 0)
        left = pace;
    if (left <= 0)
        return 0;
    return left < 1 ? 1 : left < UINT32_MAX ? (uint32_t)(left + 0.5) : UINT32_MAX;
}
