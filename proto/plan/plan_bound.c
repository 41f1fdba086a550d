/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_bound.c - how good a partial plan can become at best.
 *
 * Why no completion of a partial plan has smaller counts, read in order of importance:
 *   - Room only shrinks while units are added, so a unit that no node has room for stays out.
 *   - Of the other open units of one wish, k can be hosted only if, in each dimension, the k
 *     smallest together (each taken at its cheapest node) are not more than what is free on the
 *     nodes that have room for any open unit; and of any k hosted units, sorted by size, the units
 *     from the j-th on are k-j+1 units of at least the size of the j-th smallest open one, and a
 *     node with f free bytes holds at most f / that size of them. So
 *     k <= j-1 + sum over nodes of floor(f / size j), for every j.
 *   - Those k consume at least the k smallest sizes, which is taken off the free bytes for the
 *     wishes that come later. A plan that hosts fewer than k has a larger count at an earlier
 *     place and comes after the bound already, so the later counts need to hold only for k.
 *   - Swap: hosts are only added, so what is counted on swap grows; all hosts together, with what
 * is still consumed, are over all budgets by what must be swapped somewhere; and a host that is
 *     above a node's budget by itself adds at least that much, whatever else is there.
 *   - Headroom: what no node has free now, or is more than all bytes left, cannot be loaded later.
 *   - Stopped: the standing hosts of one node whose roles are still open stay only as far as they
 *     fit into what is free; stopping the largest first gives the fewest. Nodes are disjoint sets
 *     of hosts, so the counts add up. A role with more standing hosts than open units stops the
 *     difference; the larger of both sums is taken, as they may name the same hosts. Barred ones
 *     stop for certain and are in neither sum.
 *   - Fetched: grows with every host of a role. When the wishes' bounds leave out none that has
 *     room, then a plan that is no worse up to here hosts them all, and a role with fewer nodes
 *     that have room and the file than open units fetches the difference. If it needs all of those
 *     nodes not to fetch more, and others need one of them too, and together they are too large for
 *     it, then the largest go first and each fetches once more.
 *   - At a complete plan the bound is the plan's own row of counts. */
#include "proto/plan/plan_search.h"

#include <string.h>

#define GIB (UINT64_C(1) << 30)

struct bounding {
    const struct search *s;
    uint32_t depth;
    uint64_t room[PLAN_ROLES_MAX]; /* of roles with open units */
    uint64_t with_room;            /* all of these */
    uint64_t left[DIMS];           /* on nodes with room for an open unit */
    uint64_t all_left[DIMS];       /* on all nodes */
    uint64_t consumed;             /* in the first dimension */
    bool chooses;                  /* some open unit that has room is left out */
};

/* How many of n sizes, ascending, the free bytes may hold at most; see the head of the file. */
static uint32_t most_hosted(const struct bounding *b, size_t d, const uint64_t *sizes, uint32_t n)
{
    uint64_t sum = 0, left = b->left[d], nodes = plan_ones(b->with_room);
    uint32_t most = 0;

    while (most < n && sizes[most] <= left - sum)
        sum += sizes[most++];
    for (uint32_t j = 0; j < most; j++) {
        uint64_t fit = j;

        if (sizes[j] == 0 || (j > 0 && sizes[j] == sizes[j - 1]))
            continue;
        if (left / sizes[j] + j >= most + nodes) /* rounding down takes less than one a node */
            continue;
        for (uint64_t m = b->with_room; m != 0 && fit < most; m &= m - 1)
            fit += b->s->free[plan_first(m)][d] / sizes[j];
        if (fit < most)
            most = (uint32_t)fit;
    }
    return most;
}

static uint32_t gather(const struct bounding *b, uint32_t level, size_t d, uint64_t *sizes)
{
    const struct search *s = b->s;
    uint32_t n = 0;

    for (uint32_t i = s->level_at[level]; i < s->level_at[level + 1] && n < PLAN_ROLES_MAX; i++) {
        uint32_t u = s->ascending[d][i];

        if (u >= b->depth && b->room[s->units[u].role] != 0)
            sizes[n++] = s->least[s->units[u].role][d];
    }
    return n; /* more are taken as hosted without bytes: still a bound */
}

/* Units of one level that must stay out although decided ones are not counted. */
static uint32_t bound_level(struct bounding *b, uint32_t level)
{
    const struct search *s = b->s;
    uint64_t sizes[DIMS][PLAN_ROLES_MAX];
    uint32_t n = 0, most = 0, without = 0;

    for (uint32_t i = s->level_at[level]; i < s->level_at[level + 1]; i++) {
        uint32_t u = s->ascending[0][i];

        without += u >= b->depth && b->room[s->units[u].role] == 0;
    }
    for (size_t d = 0; d < s->n_dims; d++) {
        uint32_t here;

        n = gather(b, level, d, sizes[d]);
        here = most_hosted(b, d, sizes[d], n);
        most = d == 0 || here < most ? here : most;
    }
    for (size_t d = 0; d < s->n_dims; d++)
        for (uint32_t i = 0; i < most; i++) {
            b->left[d] -= sizes[d][i];
            b->all_left[d] -= sizes[d][i];
            b->consumed += d == 0 ? sizes[d][i] : 0;
        }
    b->chooses = b->chooses || most < n;
    return without + n - most;
}

/* What an open role's host is above a node's budget by itself, where that is least. */
static uint64_t least_excess(const struct bounding *b, size_t role)
{
    const struct search *s = b->s;
    uint64_t least = UINT64_MAX;

    for (uint64_t m = b->room[role]; m != 0; m &= m - 1) {
        uint64_t budget = s->in->nodes[plan_first(m)].budget_bytes;
        uint64_t need = plan_need(s, role, plan_first(m))[0];
        uint64_t excess = need > budget ? need - budget : 0;

        least = excess < least ? excess : least;
    }
    return least;
}

/* Of open roles that are all hosted in a plan that is no worse up to here. */
static uint64_t open_excess(const struct bounding *b)
{
    const struct search *s = b->s;
    uint64_t sum = 0;

    for (size_t a = 0; a < s->n_active && !b->chooses; a++) {
        size_t r = s->active[a];
        uint32_t open, room;

        if (s->last_unit[r] <= b->depth || b->room[r] == 0 || !s->in->roles[r].swap)
            continue;
        open = s->open_units[r];
        room = plan_ones(b->room[r]);
        sum += least_excess(b, r) * (open < room ? open : room);
    }
    return sum;
}

static uint32_t bound_swapped(const struct bounding *b)
{
    const struct search *s = b->s;
    uint64_t used = b->consumed, budgets = 0, swap = 0, least, now, all;

    if (s->dims[0] != DIM_ALL)
        return 0;
    now = plan_swapped(s);
    for (size_t n = 0; n < s->in->n_nodes; n++) {
        used += s->cap[n][0] - s->free[n][0];
        budgets += s->in->nodes[n].usable ? s->in->nodes[n].budget_bytes : 0;
        swap += plan_swap_of(s, n);
    }
    all = used > budgets ? used - budgets : 0;
    least = swap + open_excess(b);
    least = ((least > all ? least : all) + GIB - 1) / GIB;
    least = least > now ? least : now;
    return least < UINT32_MAX ? (uint32_t)least : UINT32_MAX;
}

static bool could_load(const struct bounding *b, size_t role)
{
    const struct search *s = b->s;

    for (size_t d = 0; d < s->n_dims; d++)
        if (s->least[role][d] > b->all_left[d])
            return false;
    for (uint64_t m = s->may[role]; m != 0; m &= m - 1)
        if (plan_fits(s, role, plan_first(m)))
            return true;
    return false;
}

static uint32_t bound_headroom(const struct bounding *b)
{
    uint32_t n = 0;

    for (size_t i = 0; i < b->s->n_asked; i++)
        n += !could_load(b, b->s->asked[i]);
    return n;
}

/* Standing nodes in scope that an open role may still keep. */
static uint64_t stayable(const struct search *s, size_t role)
{
    return s->stands[role] & s->scope & ~s->hosts[role] & ~plan_barred(s, role);
}

/* Of n hosts that want what is free on a node in one dimension: how many at least get nothing. */
static uint32_t too_many(const struct search *s, size_t node, size_t d, const uint16_t *roles,
                         uint32_t n)
{
    uint64_t sizes[PLAN_ROLES_MAX], sum = 0;
    uint32_t out = 0;

    for (uint32_t i = 0; i < n; i++)
        sum += sizes[i] = plan_need(s, roles[i], node)[d];
    while (sum > s->free[node][d]) {
        uint32_t largest = 0;

        for (uint32_t i = 1; i < n; i++)
            if (sizes[i] > sizes[largest])
                largest = i;
        sum -= sizes[largest];
        sizes[largest] = sizes[--n];
        out++;
    }
    return out;
}

/* The same, of the roles that want the node; in the dimension that is the shortest. */
static uint32_t too_many_of(const struct bounding *b, size_t node, const uint64_t *wants)
{
    const struct search *s = b->s;
    uint16_t roles[PLAN_ROLES_MAX];
    uint32_t n = 0, most = 0;

    for (size_t a = 0; a < s->n_active; a++)
        if ((wants[a] & plan_bit(node)) != 0)
            roles[n++] = s->active[a];
    for (size_t d = 0; d < s->n_dims && n > 0; d++) {
        uint32_t here = too_many(s, node, d, roles, n);

        most = here > most ? here : most;
    }
    return most;
}

static uint32_t bound_stopped(const struct bounding *b)
{
    const struct search *s = b->s;
    uint64_t stay[PLAN_ROLES_MAX]; /* [active]: nodes where it may still stay */
    uint32_t by_node = 0, by_role = 0, certain = 0;

    for (size_t a = 0; a < s->n_active; a++) {
        size_t r = s->active[a];
        uint32_t n;

        stay[a] = 0;
        if (s->last_unit[r] <= b->depth || s->stands[r] == 0)
            continue;
        certain += plan_ones(s->stands[r] & ~s->hosts[r] & ~s->scope);
        certain += plan_ones(plan_barred(s, r));
        stay[a] = stayable(s, r);
        n = plan_ones(stay[a]);
        by_role += n > s->open_units[r] ? n - s->open_units[r] : 0;
    }
    for (uint64_t m = s->scope; m != 0; m &= m - 1)
        if (s->stood[plan_first(m)] != 0)
            by_node += too_many_of(b, plan_first(m), stay);
    return certain + (by_node > by_role ? by_node : by_role);
}

/* Fetches of an open role; *all: nodes it must take all of, or fetch once more for each. */
static uint32_t role_fetches(const struct bounding *b, size_t role, uint64_t *all)
{
    const struct search *s = b->s;
    uint64_t spares = b->room[role] & s->files[role];
    uint32_t open = 0, spared = plan_ones(spares), fetched;

    if (!b->chooses) /* never more hosts than nodes with room */
        open = s->open_units[role] < plan_ones(b->room[role]) ? s->open_units[role]
                                                              : plan_ones(b->room[role]);
    fetched = plan_ones(s->hosts[role] & ~s->files[role]);
    fetched += open > spared ? open - spared : 0;
    *all = open >= spared && open > 0 && fetched >= s->must_fetch[role] ? spares : 0;
    return fetched > s->must_fetch[role] ? fetched - s->must_fetch[role] : 0;
}

static uint32_t bound_fetched(const struct bounding *b)
{
    const struct search *s = b->s;
    uint64_t all[PLAN_ROLES_MAX]; /* [active] */
    uint32_t sum = 0;

    for (size_t a = 0; a < s->n_active; a++) {
        all[a] = 0;
        if (s->last_unit[s->active[a]] > b->depth)
            sum += role_fetches(b, s->active[a], &all[a]);
    }
    for (uint64_t m = b->chooses ? 0 : s->scope; m != 0; m &= m - 1)
        sum += too_many_of(b, plan_first(m), all);
    return sum;
}

void plan_decided(const struct search *s, uint32_t depth, uint32_t *count)
{
    memcpy(count, s->left_out, sizeof s->left_out);
    for (size_t a = 0; a < s->n_active; a++) {
        size_t r = s->active[a];

        if (s->last_unit[r] <= depth) {
            count[PLAN_STOPPED] += plan_ones(s->stands[r] & ~s->hosts[r]);
            count[PLAN_FETCHED] += plan_fetched(s, r);
        }
    }
}

static void bounding_begin(struct bounding *b, const struct search *s, uint32_t depth)
{
    b->s = s;
    b->with_room = 0;
    b->depth = depth;
    b->consumed = 0;
    b->chooses = false;
    for (size_t a = 0; a < s->n_active; a++) {
        size_t r = s->active[a];

        if (s->last_unit[r] <= depth)
            continue;
        b->room[r] = (s->given_up & s->slot[r]) == 0 ? s->room[r] : 0;
        b->with_room |= b->room[r];
    }
    for (size_t d = 0; d < s->n_dims; d++) {
        b->left[d] = b->all_left[d] = 0;
        for (size_t n = 0; n < s->in->n_nodes; n++) {
            b->all_left[d] += s->free[n][d];
            b->left[d] += (b->with_room & plan_bit(n)) != 0 ? s->free[n][d] : 0;
        }
    }
}

/* One count after the other; they build upon each other. count: by plan_decided(). */
static uint32_t bound_at(struct bounding *b, size_t i, const uint32_t *count)
{
    if (i < LEVELS)
        return count[i] + bound_level(b, (uint32_t)i);
    switch (i) {
    case PLAN_SWAPPED:
        return bound_swapped(b);
    case PLAN_NO_HEADROOM:
        return bound_headroom(b);
    case PLAN_STOPPED:
        return count[i] + bound_stopped(b);
    default:
        return count[i] + bound_fetched(b);
    }
}

void plan_bound(const struct search *s, uint32_t depth, uint32_t *count)
{
    struct bounding b;

    bounding_begin(&b, s, depth);
    plan_decided(s, depth, count);
    for (size_t i = 0; i < PLAN_COUNTS; i++)
        count[i] = bound_at(&b, i, count);
}

bool plan_worse(const struct search *s, uint32_t depth)
{
    uint32_t count[PLAN_COUNTS];
    struct bounding b;

    for (size_t i = 0; i < LEVELS; i++) { /* cheap, and often enough */
        if (s->left_out[i] > s->out->count[i])
            return true;
        if (s->left_out[i] < s->out->count[i])
            break;
    }
    bounding_begin(&b, s, depth);
    plan_decided(s, depth, count);
    for (size_t i = 0; i < PLAN_COUNTS; i++) {
        uint32_t least = bound_at(&b, i, count);

        if (least != s->out->count[i])
            return least > s->out->count[i];
    }
    return true;
}

void plan_take_over(struct search *s)
{
    struct plan_out *o = s->out;

    memcpy(o->hosts, s->hosts, sizeof o->hosts);
    for (size_t n = 0; n < s->in->n_nodes; n++) {
        o->used_bytes[n] = s->in->nodes[n].usable ? s->cap[n][0] - s->free[n][0] : 0;
        o->swap_bytes[n] = plan_swap_of(s, n);
    }
    s->done = plan_compare(o->count, o->bound) <= 0;
}

void plan_keep_best(struct search *s)
{
    uint32_t count[PLAN_COUNTS];

    plan_bound(s, s->n_units, count);
    if (plan_compare(count, s->out->count) >= 0)
        return;
    memcpy(s->out->count, count, sizeof count);
    plan_take_over(s);
}
