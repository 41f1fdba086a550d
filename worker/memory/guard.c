/* SPDX-License-Identifier: MIT */
#include "worker/memory/guard.h"

#include <inttypes.h>
#include <stdio.h>

enum { SYSTEM_PARTS = 16 };

uint64_t guard_line(uint64_t reserve, uint64_t system)
{
    uint64_t half = reserve / 2, part = system / SYSTEM_PARTS;

    return half < part ? half : part;
}

static bool reading_is_bad(const struct guard_reading *r)
{
    return r->available < guard_line(r->reserve, r->system) || r->pressure >= GUARD_PRESSURE_HIGH;
}

static bool reading_is_good(const struct guard_reading *r)
{
    uint64_t line = guard_line(r->reserve, r->system); /* at most 2^60: no overflow below */

    return r->available >= line + line / 2 && r->pressure < GUARD_PRESSURE_LOW;
}

bool guard_step(struct guard *g, const struct guard_reading *r, uint64_t now_ms)
{
    if (!g->refusing) {
        g->good_since_ms = 0;
        g->refusing = reading_is_bad(r);
        return g->refusing;
    }
    if (!reading_is_good(r)) {
        g->good_since_ms = 0;
        return false;
    }
    if (g->good_since_ms == 0)
        g->good_since_ms = now_ms;
    if (now_ms - g->good_since_ms < GUARD_CALM_MS)
        return false;
    *g = (struct guard){.refusing = false};
    return true;
}

void guard_why(const struct guard_reading *r, char *out, size_t size)
{
    snprintf(out, size,
             "memory is short: %" PRIu64 " MiB are left, the line is %" PRIu64
             " MiB; tasks waited for memory %.1f %% of the time",
             r->available >> 20, guard_line(r->reserve, r->system) >> 20, r->pressure);
}
