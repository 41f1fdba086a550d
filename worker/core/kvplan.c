/* SPDX-License-Identifier: MIT */
/* worker/core/kvplan.c - see kvplan.h. */
#include "worker/core/kvplan.h"

#include <stddef.h>

static const char *const names[KVPLAN_VERDICTS] = {
    "saved",
    "empty",
    "too short to matter",
    "held by another sequence",
    "a speed is not measured yet",
    "reading the prompt again is faster",
    "over the size bound",
    "the disk is too full",
    "no time left",
};

const char *kvplan_verdict_name(enum kvplan_verdict v)
{
    return (unsigned)v < KVPLAN_VERDICTS ? names[v] : "unknown";
}

static bool is_known(const struct kvplan_speeds *s)
{
    return s->write_bps > 0 && s->read_bps > 0 && s->prefill_tps > 0;
}

bool kvplan_is_worth(uint32_t tokens, uint64_t bytes, const struct kvplan_speeds *s)
{
    if (!is_known(s) || tokens == 0)
        return false;
    return (double)bytes / s->write_bps + (double)bytes / s->read_bps <
           (double)tokens / s->prefill_tps;
}

/* What is left of the room after `taken` bytes; the first bound that is hit names the verdict. */
static enum kvplan_verdict fits(uint64_t taken, uint64_t bytes, const struct kvplan_speeds *s,
                                const struct kvplan_room *room)
{
    uint64_t usable =
        room->free_bytes > room->spare_bytes ? room->free_bytes - room->spare_bytes : 0;
    double sum = (double)taken + (double)bytes;

    if (sum > (double)room->most_bytes)
        return KVPLAN_BIG;
    if (sum > (double)usable)
        return KVPLAN_DISK;
    return sum / s->write_bps * 1000.0 > (double)room->budget_ms ? KVPLAN_LATE : KVPLAN_SAVE;
}

/* KVPLAN_SAVE: worth it, and not placed yet. */
static enum kvplan_verdict first_look(const struct kvplan_item *item, const struct kvplan_speeds *s)
{
    if (item->tokens == 0)
        return KVPLAN_EMPTY;
    if (item->tokens < KVPLAN_TOKENS_MIN)
        return KVPLAN_SHORT;
    if (item->covered)
        return KVPLAN_COVERED;
    if (!is_known(s))
        return KVPLAN_UNKNOWN;
    return kvplan_is_worth(item->tokens, item->bytes, s) ? KVPLAN_SAVE : KVPLAN_DEAR;
}

/* The next one by last_used, downwards, of those whose bit in `seen` is not set; -1: none is left.
 */
static int next_candidate(const struct kvplan_item *items, uint32_t n,
                          const enum kvplan_verdict *verdicts, uint64_t seen)
{
    int best = -1;

    for (uint32_t i = 0; i < n; i++) {
        if (verdicts[i] != KVPLAN_SAVE || (seen >> i & 1) != 0)
            continue;
        if (best < 0 || items[i].last_used > items[best].last_used)
            best = (int)i;
    }
    return best;
}

uint32_t kvplan_choose(const struct kvplan_item *items, uint32_t n, const struct kvplan_speeds *s,
                       const struct kvplan_room *room, enum kvplan_verdict *verdicts)
{
    uint64_t taken = 0, seen = 0;
    uint32_t saved = 0;
    int i;

    for (uint32_t k = 0; k < n; k++)
        verdicts[k] = first_look(&items[k], s);
    while ((i = next_candidate(items, n, verdicts, seen)) >= 0) {
        verdicts[i] = fits(taken, items[i].bytes, s, room);
        seen |= (uint64_t)1 << i;
        if (verdicts[i] == KVPLAN_SAVE) {
            taken += items[i].bytes;
            saved++;
        }
    }
    return saved;
}

uint64_t kvplan_spare(uint64_t fs_bytes)
{
    uint64_t part = fs_bytes / 20, least = (uint64_t)1 << 30;

    return part > least ? part : least;
}
