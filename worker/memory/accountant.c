/* SPDX-License-Identifier: MIT */
#include "worker/memory/accountant.h"

enum { RESERVE_PERCENT = 8 };
#define RESERVE_MIN (6ULL << 30)

static uint64_t at_most(uint64_t v, uint64_t max)
{
    return v < max ? v : max;
}

uint64_t account_default_reserve(uint64_t total)
{
    uint64_t r = total / 100 * RESERVE_PERCENT;

    if (r < RESERVE_MIN)
        r = RESERVE_MIN;
    return at_most(r, total / 2);
}

/* Each figure is at most FACTS_BYTES_MAX and there are few devices: no sum overflows. */
static void add_devices(const struct memory_facts *f, uint64_t system, struct node_memory *out)
{
    out->vram_total = out->vram_used = out->gtt_total = out->gtt_used = 0;
    for (uint32_t i = 0; i < f->n_devices; i++) {
        const struct memory_device *d = &f->devices[i];

        out->vram_total += d->vram_total;
        out->vram_used += d->vram_used;
        out->gtt_total += d->gtt_total;
        out->gtt_used += d->gtt_used;
    }
    if (f->ttm_limit > 0)
        out->gtt_total = at_most(out->gtt_total, f->ttm_limit);
    out->gtt_total = at_most(out->gtt_total, system);
}

void account_make(const struct memory_facts *f, const struct account_rules *rules,
                  struct node_memory *out)
{
    uint64_t system = f->total > f->hugepages ? f->total - f->hugepages : 0;

    out->available = f->available;
    if (f->limited) {
        system = at_most(system, f->limit);
        out->available = at_most(out->available, f->limit_available);
    }
    out->available = at_most(out->available, system);
    out->limit = f->limited ? f->limit : 0;
    out->hugepages = f->hugepages;
    out->swap_total = f->swap_total;
    out->swap_used = f->swap_used;
    out->swap_zram = f->swap_zram;
    out->pressure = f->has_pressure ? f->some_avg10 : 0;
    add_devices(f, system, out);
    out->total = system + (rules->use_vram ? out->vram_total : 0);
    /* The rest of the machine lives in system memory: the default is a share of that. */
    out->reserve = rules->reserve > 0 ? rules->reserve : account_default_reserve(system);
    out->budget = out->total > out->reserve ? out->total - out->reserve : 0;
}
