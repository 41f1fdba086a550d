/* SPDX-License-Identifier: MIT */
#include "worker/memory/guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SYSTEM_PARTS = 16 };

uint64_t guard_line(uint64_t reserve, uint64_t system)
{
    uint64_t half = reserve / 2, part = system / SYSTEM_PARTS;

    return half < part ? half : part;
}

/* At most 2^60, as the line is a sixteenth of 64 bits: half of it more does not overflow. */
static uint64_t good_line(const struct guard_reading *r)
{
    uint64_t line = guard_line(r->reserve, r->system);

    return line + line / 2;
}

static bool reading_is_low(const struct guard_reading *r)
{
    return r->available < guard_line(r->reserve, r->system);
}

static bool reading_is_deep(const struct guard_reading *r)
{
    return r->available < guard_line(r->reserve, r->system) / GUARD_DEEP_PART;
}

static bool reading_is_bad(const struct guard_reading *r)
{
    return reading_is_low(r) || r->pressure >= GUARD_PRESSURE_HIGH;
}

static bool reading_is_good(const struct guard_reading *r)
{
    return r->available >= good_line(r) && r->pressure < GUARD_PRESSURE_LOW;
}

/* What the hosts leave of `available` when those that load have loaded. */
static uint64_t left_after(uint64_t available, const struct guard_host *hosts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        available -= hosts[i].to_come < available ? hosts[i].to_come : available;
    return available;
}

bool guard_has_room(const struct guard *g, const struct guard_reading *r,
                    const struct guard_host *hosts, size_t n, uint64_t bytes)
{
    uint64_t left = left_after(r->available, hosts, n);

    if (g->refusing || bytes == 0)
        return !g->refusing;
    return left >= good_line(r) && left - good_line(r) >= bytes;
}

/* The order of going: greater goes first. */
static unsigned lane_rank(enum node_lane lane)
{
    switch (lane) {
    case LANE_BATCH:
        return 2;
    case LANE_AUTOCOMPLETE:
        return 0;
    default:
        return 1;
    }
}

static bool goes_before(const struct guard_host *a, const struct guard_host *b)
{
    bool a_first = a->residency == RESIDENCY_ON_DEMAND,
         b_first = b->residency == RESIDENCY_ON_DEMAND;

    if (a_first != b_first)
        return a_first;
    if (a_first && lane_rank(a->lane) != lane_rank(b->lane))
        return lane_rank(a->lane) > lane_rank(b->lane);
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes;
    return strcmp(a->role, b->role) < 0;
}

static enum guard_act choose(const struct guard_host *hosts, size_t n, size_t *which)
{
    const struct guard_host *best = NULL;

    for (size_t i = 0; i < n; i++)
        if (hosts[i].alive && hosts[i].residency != RESIDENCY_PINNED &&
            (best == NULL || goes_before(&hosts[i], best)))
            best = &hosts[i];
    if (best == NULL)
        return GUARD_EMPTY;
    *which = (size_t)(best - hosts);
    return best->residency == RESIDENCY_ON_DEMAND ? GUARD_DRAIN : GUARD_STOP;
}

/* The largest that is leaving and is not pinned; n: none. */
static size_t leaving_one(const struct guard_host *hosts, size_t n)
{
    size_t best = n;

    for (size_t i = 0; i < n; i++)
        if (hosts[i].leaving && hosts[i].residency != RESIDENCY_PINNED &&
            (best == n || hosts[i].bytes > hosts[best].bytes))
            best = i;
    return best;
}

static bool one_is_leaving(const struct guard_host *hosts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (hosts[i].leaving)
            return true;
    return false;
}

/* The start of a run: kept while it lasts, 0 when it is over. */
static void run_of(uint64_t *since, bool lasts, uint64_t now_ms)
{
    if (!lasts)
        *since = 0;
    else if (*since == 0)
        *since = now_ms;
}

static bool has_lasted(uint64_t since, uint64_t ms, uint64_t now_ms)
{
    return since > 0 && now_ms - since >= ms;
}

enum guard_act guard_step(struct guard *g, const struct guard_reading *r,
                          const struct guard_host *hosts, size_t n, uint64_t now_ms, size_t *which)
{
    bool waits = one_is_leaving(hosts, n), fresh = false;
    enum guard_act act;

    if (!g->refusing) {
        *g = (struct guard){.refusing = reading_is_bad(r)};
        fresh = g->refusing;
        if (!fresh)
            return GUARD_NOTHING;
    }
    run_of(&g->good_since_ms, reading_is_good(r), now_ms);
    run_of(&g->low_since_ms, reading_is_low(r) && !waits, now_ms);
    run_of(&g->pressed_since_ms, reading_is_bad(r) && !waits, now_ms);
    run_of(&g->deep_since_ms, reading_is_deep(r) && waits, now_ms);
    g->hurried = g->hurried && waits;
    if (fresh)
        return GUARD_REFUSE;
    if (has_lasted(g->good_since_ms, GUARD_CALM_MS, now_ms)) {
        *g = (struct guard){.refusing = false};
        return GUARD_ALLOW;
    }
    if (!g->hurried && has_lasted(g->deep_since_ms, GUARD_LOW_MS, now_ms) &&
        leaving_one(hosts, n) < n) {
        *which = leaving_one(hosts, n);
        g->hurried = true;
        return GUARD_HURRY;
    }
    if (!has_lasted(g->low_since_ms, GUARD_LOW_MS, now_ms) &&
        !has_lasted(g->pressed_since_ms, GUARD_PRESSED_MS, now_ms))
        return GUARD_NOTHING;
    act = choose(hosts, n, which);
    if (act == GUARD_EMPTY && g->told_empty)
        return GUARD_NOTHING;
    g->told_empty = act == GUARD_EMPTY;
    g->low_since_ms = g->pressed_since_ms = 0; /* the next one waits anew */
    return act;
}

void guard_count_swap(struct guard_reading *r, const struct guard_host *hosts, size_t n,
                      uint64_t swap_free)
{
    bool any = false;

    for (size_t i = 0; i < n; i++)
        any = any || (hosts[i].swap && (hosts[i].alive || hosts[i].leaving));
    if (!any)
        return;
    r->available = r->available > UINT64_MAX - swap_free ? UINT64_MAX : r->available + swap_free;
    r->pressure = 0;
}

void guard_why(const struct guard_reading *r, char *out, size_t size)
{
    snprintf(out, size,
             "memory is short: %" PRIu64 " MiB are left, the line is %" PRIu64
             " MiB; tasks waited for memory %.1f %% of the time",
             r->available >> 20, guard_line(r->reserve, r->system) >> 20, r->pressure);
}
