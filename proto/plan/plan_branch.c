/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_branch.c - branch and bound over "which node takes the next host".
 * A unit goes to one of the nodes with room or is left out. A branch whose bound does not come
 * before the best plan's counts holds nothing better.
 *
 * Equal nodes: two nodes on which every open role has equal facts, with equal free bytes and the
 * same hosts of half-decided roles, can be swapped in any completion; only the first is tried. A
 * half-decided role that stands on one of them makes them unequal, for the sake of the order in
 * which a role's hosts are taken (plan_barred).
 * Memo: two partial plans at the same depth with the same free bytes and half-decided roles have
 * the same completions, and a completion adds the same counts to both, so the one with the later
 * counts so far is dropped. Entries are compared whole; a hash only finds the place. */
#include "proto/plan/plan_search.h"

#include <string.h>

static bool equal_free(const struct search *s, size_t a, size_t b)
{
    for (size_t d = 0; d < s->n_dims; d++)
        if (s->free[a][d] != s->free[b][d])
            return false;
    return true;
}

static bool nodes_equal(const struct search *s, uint32_t depth, size_t a, size_t b)
{
    return equal_free(s, a, b) && s->differ_depth[a * PLAN_NODES_MAX + b] <= depth &&
           (((s->carried[a] ^ s->carried[b]) | s->stood[a] | s->stood[b]) & s->half[depth]) == 0;
}

static bool memo_hit(struct search *s, uint32_t depth)
{
    struct memo now = {.depth = depth,
                       .question = s->question,
                       .given_up = s->given_up & s->half[depth]},
                *m;
    uint64_t hash = depth * UINT64_C(0x9e3779b97f4a7c15) + now.given_up;

    for (size_t n = 0; n < s->in->n_nodes; n++) {
        for (size_t d = 0; d < s->n_dims; d++) {
            now.free[n][d] = s->free[n][d];
            hash = (hash ^ now.free[n][d]) * UINT64_C(0xff51afd7ed558ccd);
        }
        now.carried[n] = s->carried[n] & s->half[depth];
        hash = (hash ^ (hash >> 29) ^ now.carried[n]) * UINT64_C(0xc4ceb9fe1a85ec53);
    }
    plan_decided(s, depth, now.count);
    m = &s->memo[(hash >> 32) % MEMO_SLOTS];
    if (m->question == now.question && m->depth == now.depth && m->given_up == now.given_up &&
        memcmp(m->free, now.free, sizeof now.free) == 0 &&
        memcmp(m->carried, now.carried, sizeof now.carried) == 0 &&
        plan_compare(m->count, now.count) <= 0)
        return true;
    *m = now;
    return false;
}

static void search_from(struct search *s, uint32_t depth);

static uint64_t without_equals(const struct search *s, uint32_t depth, uint64_t among)
{
    uint64_t kept = 0;

    for (uint64_t m = among; m != 0; m &= m - 1) {
        bool again = false;

        for (uint64_t k = kept; k != 0 && !again; k &= k - 1)
            again = nodes_equal(s, depth, plan_first(k), plan_first(m));
        kept |= again ? 0 : m & -m;
    }
    return kept;
}

static void search_unit(struct search *s, uint32_t depth)
{
    const struct unit *u = &s->units[depth];
    size_t role = u->role;
    uint64_t among = 0, given_up = s->given_up;

    if (!(u->further && (s->hosts[role] == 0 || (s->given_up & s->slot[role]) != 0)))
        among = without_equals(s, depth, s->room[role] & ~plan_barred(s, role));
    while (among != 0 && !s->cut && !s->done) {
        size_t node = plan_choose(s, role, among, true);

        among &= ~plan_bit(node);
        plan_put(s, role, node);
        search_from(s, depth + 1);
        plan_take(s, role, node);
    }
    if (s->cut || s->done)
        return;
    s->left_out[u->level]++;
    s->open_units[role]--;
    s->given_up |= s->slot[role]; /* leaving out one further host or another is the same */
    search_from(s, depth + 1);
    s->given_up = given_up;
    s->open_units[role]++;
    s->left_out[u->level]--;
}

static void search_from(struct search *s, uint32_t depth)
{
    if (s->steps++ >= s->steps_stop) {
        s->cut = true;
        return;
    }
    if (depth == s->n_units)
        plan_keep_best(s);
    else if (!plan_worse(s, depth) && !(s->memo_on && memo_hit(s, depth)))
        search_unit(s, depth);
}

static bool pairs_differ(const struct search *s, size_t role, size_t a, size_t b)
{
    uint64_t may = s->may[role], stands = s->stands[role], files = s->files[role];

    return ((may >> a ^ may >> b) & 1) != 0 || ((stands >> a ^ stands >> b) & 1) != 0 ||
           ((files >> a ^ files >> b) & 1) != 0 ||
           ((may >> a & 1) != 0 &&
            memcmp(plan_need(s, role, a), plan_need(s, role, b), s->n_dims * sizeof *s->need) != 0);
}

/* The same swap for the same bytes. */
static bool limits_differ(const struct search *s, size_t a, size_t b)
{
    const struct plan_node *x = &s->in->nodes[a], *y = &s->in->nodes[b];

    return s->dims[0] == DIM_ALL &&
           (x->budget_bytes != y->budget_bytes || x->swap_bytes != y->swap_bytes ||
            x->split != y->split || (x->split && x->main_bytes != y->main_bytes));
}

static void compare_nodes(struct search *s, size_t a, size_t b)
{
    uint32_t depth = limits_differ(s, a, b) ? UINT32_MAX : 0;

    for (size_t i = 0; i < s->n_asked && depth != UINT32_MAX; i++)
        if (pairs_differ(s, s->asked[i], a, b))
            depth = UINT32_MAX; /* to the end */
    for (size_t i = 0; i < s->n_active; i++)
        if (s->last_unit[s->active[i]] > depth && pairs_differ(s, s->active[i], a, b))
            depth = s->last_unit[s->active[i]];
    s->differ_depth[a * PLAN_NODES_MAX + b] = s->differ_depth[b * PLAN_NODES_MAX + a] = depth;
}

static void find_half(struct search *s)
{
    uint64_t begun = 0, ended = 0;

    for (uint32_t d = 0; d <= s->n_units; d++) { /* begun before d, and not ended */
        s->half[d] = begun & ~ended;
        if (d == s->n_units)
            break;
        begun |= s->slot[s->units[d].role];
        ended |= s->last_unit[s->units[d].role] == d + 1 ? s->slot[s->units[d].role] : 0;
    }
}

void plan_branch(struct search *s)
{
    s->cut = false;
    for (uint64_t a = s->scope; a != 0; a &= a - 1)
        for (uint64_t b = a & (a - 1); b != 0; b &= b - 1)
            compare_nodes(s, plan_first(a), plan_first(b));
    find_half(s);
    search_from(s, 0);
}
