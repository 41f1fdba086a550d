/* SPDX-License-Identifier: MIT */
#include "worker/memory/accountant.h"

#include <string.h>

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

/* ---- which VRAM counts ---- */

static bool same_id(const char *a, const char *b)
{
    return a[0] != '\0' && b[0] != '\0' && strcmp(a, b) == 0;
}

static bool other_id(const char *a, const char *b)
{
    return a[0] != '\0' && b[0] != '\0' && strcmp(a, b) != 0;
}

static bool computes(const struct node_device *e)
{
    return e->kind == DEVICE_GPU || e->kind == DEVICE_IGPU;
}

/* Of a device that the system describes. */
static uint64_t vram_described(const struct memory_device *d, const struct node_devices *all)
{
    const struct node_device *best = NULL;

    for (uint32_t i = 0; i < all->n; i++) {
        const struct node_device *e = &all->device[i];

        if (!computes(e) || other_id(d->id, e->id))
            continue;
        if (best == NULL || same_id(d->id, e->id))
            best = e;
        if (same_id(d->id, e->id))
            break;
    }
    if (best == NULL)
        return 0;
    if (best->kind == DEVICE_GPU && best->total > 0 && same_id(d->id, best->id))
        return at_most(d->vram_total, best->total);
    return d->vram_total;
}

/* "CUDA" of "CUDA0". */
static size_t backend_length(const char *name)
{
    size_t n = strlen(name);

    while (n > 0 && name[n - 1] >= '0' && name[n - 1] <= '9')
        n--;
    return n;
}

static bool same_backend(const char *a, const char *b)
{
    size_t n = backend_length(a);

    return n == backend_length(b) && memcmp(a, b, n) == 0;
}

/* All of what the kernel has, give or take a sixty-fourth: the device works in it. */
static bool is_system_memory(uint64_t bytes, uint64_t total)
{
    uint64_t apart = bytes > total ? bytes - total : total - bytes;

    return apart <= total / 64;
}

/* True when device i of the engine is another name of one that has been counted. */
static bool counted_before(const struct memory_facts *f, const struct node_devices *all, uint32_t i)
{
    const struct node_device *e = &all->device[i];

    for (uint32_t k = 0; k < f->n_devices; k++)
        if (!other_id(f->devices[k].id, e->id))
            return true; /* the same, or nobody can tell */
    for (uint32_t k = 0; k < i; k++) {
        const struct node_device *b = &all->device[k];

        if (b->kind != DEVICE_GPU || other_id(b->id, e->id))
            continue;
        if (same_id(b->id, e->id) || !same_backend(b->name, e->name))
            return true;
    }
    return false;
}

uint64_t account_vram(const struct memory_facts *f, const struct node_devices *devices)
{
    uint64_t sum = 0;

    if (devices == NULL || f->unified)
        return 0;
    for (uint32_t i = 0; i < f->n_devices; i++)
        sum += vram_described(&f->devices[i], devices);
    for (uint32_t i = 0; i < devices->n; i++) {
        const struct node_device *e = &devices->device[i];

        if (e->kind == DEVICE_GPU && e->total <= FACTS_BYTES_MAX &&
            !counted_before(f, devices, i) && !is_system_memory(e->total, f->total))
            sum += e->total;
    }
    return sum;
}

uint64_t account_system(const struct memory_facts *f)
{
    uint64_t system = f->total > f->hugepages ? f->total - f->hugepages : 0;

    return f->limited ? at_most(system, f->limit) : system;
}

void account_make(const struct memory_facts *f, const struct account_rules *rules,
                  struct node_memory *out)
{
    uint64_t system = account_system(f);

    out->available = f->available;
    if (f->limited)
        out->available = at_most(out->available, f->limit_available);
    out->available = at_most(out->available, system);
    out->limit = f->limited ? f->limit : 0;
    out->hugepages = f->hugepages;
    out->swap_total = f->swap_total;
    out->swap_used = f->swap_used;
    out->swap_zram = f->swap_zram;
    out->pressure = f->has_pressure ? f->some_avg10 : 0;
    add_devices(f, system, out);
    out->vram_counted = account_vram(f, rules->devices);
    out->total = system + out->vram_counted;
    /* The rest of the machine lives in system memory: the default is a share of that. */
    out->reserve = rules->reserve > 0 ? rules->reserve : account_default_reserve(system);
    out->budget = out->total > out->reserve ? out->total - out->reserve : 0;
}

static uint64_t less(uint64_t v, uint64_t by)
{
    return v > by ? v - by : 0;
}

uint64_t account_others(const struct node_memory *m, const struct account_use *ours)
{
    uint64_t system = less(less(m->total, m->vram_counted), m->available);
    uint64_t vram = less(at_most(m->vram_used, m->vram_counted), ours->vram);
    uint64_t gtt = ours->gtt + less(ours->device, vram);

    vram = less(vram, ours->device);
    return less(system, ours->system + at_most(gtt, m->gtt_used)) + vram;
}
