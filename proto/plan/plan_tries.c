/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_tries.c - good plans soon: six quick tries, then a few nodes at a time.
 * An improvement opens the hosts of two or three nodes, with everything that has no host, and
 * searches that question for so many steps at most; what is better is kept. While roles are left
 * out for lack of room, free bytes are brought together (plan_shift.c), also after the plan was
 * shaken: a few hosts moved at random, to others that are as good. It goes on as long as it finds
 * something, for half of the steps, and never past the bound. */
#include "proto/plan/plan_search.h"

#include <string.h>

enum { PAIR_STEPS = 200, TRIPLE_STEPS = 400, FILL_STEPS = 60, SHAKES = 100, SIZE_STEPS = 20 };

enum keep { KEEP_ALL, KEEP_BY_LEVEL, KEEP_NONE };

static uint64_t all_nodes(const struct search *s)
{
    return s->in->n_nodes < 64 ? plan_bit(s->in->n_nodes) - 1 : UINT64_MAX;
}

size_t plan_choose(const struct search *s, size_t role, uint64_t among, bool fullest)
{
    uint64_t best_free = 0;
    size_t best = SIZE_MAX;

    if ((among & s->stands[role]) != 0)
        among &= s->stands[role];
    else if ((among & s->files[role]) != 0)
        among &= s->files[role];
    for (; among != 0; among &= among - 1) {
        size_t node = plan_first(among);
        uint64_t left = s->free[node][0] - plan_need(s, role, node)[0];

        if (best == SIZE_MAX || (fullest ? left < best_free : left > best_free)) {
            best = node;
            best_free = left;
        }
    }
    return best;
}

static void try_level(struct search *s, uint32_t level, bool standing, bool fullest)
{
    for (uint32_t u = 0; u < s->n_units; u++) {
        const struct unit *unit = &s->units[u];
        uint64_t among;

        if (unit->level != level || s->placed[u] || (unit->further && s->hosts[unit->role] == 0))
            continue;
        among = s->room[unit->role] & (standing ? s->stands[unit->role] : UINT64_MAX);
        if (among == 0)
            continue;
        plan_put(s, unit->role, plan_choose(s, unit->role, among, fullest));
        s->placed[u] = true;
    }
}

static void try_once(struct search *s, enum keep keep, bool fullest)
{
    plan_question(s, all_nodes(s), NULL, PLAN_ROLES_MAX);
    memset(s->placed, 0, s->n_units * sizeof *s->placed);
    for (uint32_t level = 0; keep == KEEP_ALL && level < LEVELS; level++)
        try_level(s, level, true, fullest);
    for (uint32_t level = 0; level < LEVELS; level++) {
        if (keep == KEEP_BY_LEVEL)
            try_level(s, level, true, fullest);
        try_level(s, level, false, fullest);
    }
    for (uint32_t u = 0; u < s->n_units; u++)
        s->left_out[s->units[u].level] += !s->placed[u];
    plan_keep_best(s);
}

void plan_try_quickly(struct search *s)
{
    for (int keep = KEEP_ALL; keep <= KEEP_NONE && !s->done; keep++)
        for (int fullest = 0; fullest < 2 && !s->done; fullest++)
            try_once(s, (enum keep)keep, fullest != 0);
}

/* --- a few nodes at a time ----------------------------------------------------------------------
 */

/* True when it found something better. */
static bool improve(struct search *s, uint64_t scope, uint64_t steps)
{
    uint64_t elsewhere[PLAN_ROLES_MAX];
    uint32_t before[PLAN_COUNTS];

    memcpy(before, s->out->count, sizeof before);
    for (size_t r = 0; r < s->in->n_roles; r++)
        elsewhere[r] = s->out->hosts[r] & ~scope;
    plan_question(s, scope, elsewhere, SLOTS);
    s->steps_stop = s->steps + steps < s->steps_max ? s->steps + steps : s->steps_max;
    s->memo_on = false;
    plan_branch(s);
    return plan_compare(s->out->count, before) < 0;
}

static bool may_go_on(const struct search *s, uint64_t until)
{
    return !s->done && s->steps < until && s->steps < s->steps_max;
}

/* Nodes that have to do with the first count that is not at its bound. */
static uint64_t nodes_of_role(const struct search *s, size_t role, size_t count)
{
    uint64_t hosts = s->out->hosts[role];
    enum plan_wish wish = s->in->roles[role].wish;

    switch (count) {
    case PLAN_STOPPED:
        return s->stands[role] & ~hosts;
    case PLAN_FETCHED:
        return plan_ones(hosts & ~s->files[role]) > s->must_fetch[role] ? hosts & ~s->files[role]
                                                                        : 0;
    case PLAN_NO_HEADROOM:
        return wish == PLAN_IF_ASKED ? s->may[role] : 0;
    default:
        return wish != PLAN_IF_ASKED && plan_ones(hosts) < s->in->roles[role].replicas
                   ? s->may[role] & ~hosts
                   : 0;
    }
}

static size_t gap_at(const struct search *s)
{
    size_t i = 0;

    while (i < PLAN_COUNTS - 1 && s->out->count[i] <= s->out->bound[i])
        i++;
    return i;
}

static uint64_t focus(const struct search *s)
{
    uint64_t nodes = 0;
    size_t i = gap_at(s);

    for (size_t n = 0; n < s->in->n_nodes && i == PLAN_SWAPPED; n++)
        nodes |= s->out->swap_bytes[n] > 0 ? plan_bit(n) : 0;
    for (size_t r = 0; r < s->in->n_roles && i != PLAN_SWAPPED; r++)
        nodes |= s->in->roles[r].wish == PLAN_IF_ASKED && i != PLAN_NO_HEADROOM
                     ? 0
                     : nodes_of_role(s, r, i);
    return nodes != 0 ? nodes : all_nodes(s);
}

static bool improve_pairs(struct search *s, uint64_t until)
{
    size_t n = s->in->n_nodes;
    bool better = false;

    for (size_t gap = 1; gap < n; gap++)
        for (size_t a = 0; a < n; a++) {
            uint64_t scope = plan_bit(a) | plan_bit((a + gap) % n);

            while ((focus(s) & plan_bit(a)) != 0 && may_go_on(s, until) &&
                   improve(s, scope, PAIR_STEPS))
                better = true;
        }
    return better;
}

static void improve_triples(struct search *s, uint64_t until, uint64_t *random)
{
    size_t n = s->in->n_nodes, misses = 0;

    while (n > 2 && misses < n * n && may_go_on(s, until)) {
        uint64_t around = focus(s), scope;

        for (size_t skip = plan_mix(random) % plan_ones(around); skip > 0; skip--)
            around &= around - 1;
        scope = around & -around;
        while (plan_ones(scope) < 3)
            scope |= plan_bit(plan_mix(random) % n);
        misses = improve(s, scope, TRIPLE_STEPS) ? 0 : misses + 1;
    }
}

/* What now fits without moving anything. */
static bool fill(struct search *s)
{
    uint32_t before[PLAN_COUNTS];
    uint64_t hosts[PLAN_ROLES_MAX];

    memcpy(before, s->out->count, sizeof before);
    memcpy(hosts, s->out->hosts, sizeof hosts);
    plan_question(s, all_nodes(s), hosts, SLOTS);
    s->steps_stop = s->steps + FILL_STEPS < s->steps_max ? s->steps + FILL_STEPS : s->steps_max;
    s->memo_on = false;
    plan_branch(s);
    return plan_compare(s->out->count, before) < 0;
}

/* Shakes the plan and brings the holes together again, as long as that lets in what was out. */
static bool improve_shaken(struct search *s, uint64_t until, uint64_t *random)
{
    bool better = false;

    for (unsigned misses = 0; misses < SHAKES && may_go_on(s, until); misses++) {
        if (gap_at(s) > PLAN_NO_HEADROOM)
            break;
        if (!plan_shift(s, until, 3 + plan_mix(random) % 6, random) || !fill(s))
            continue;
        better = true;
        misses = 0;
    }
    return better;
}

void plan_improve(struct search *s)
{
    uint64_t most = SIZE_STEPS * s->in->n_nodes * s->in->n_roles, random = 1; /* small: searched */
    uint64_t until = s->steps + (most < s->steps_max / 2 ? most : s->steps_max / 2);

    if (s->in->n_nodes < 2)
        return;
    do
        while (may_go_on(s, until) && improve_pairs(s, until))
            ;
    while (may_go_on(s, until) && gap_at(s) <= PLAN_NO_HEADROOM &&
           plan_shift(s, until, 0, &random));
    while (may_go_on(s, until) && improve_shaken(s, until, &random))
        improve_pairs(s, until);
    improve_triples(s, until, &random);
}
