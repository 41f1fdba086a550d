/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_solve.c - branch and bound over "which node takes the next host".
 *
 * A role that wants k hosts becomes k units; units are decided one by one, first hosts by wish,
 * then further hosts, larger before smaller. A unit goes to one of the nodes with room or is left
 * out. Six quick tries make the first plan; the search only looks for better ones.
 *
 * The bound (plan_bound) and why no completion of a partial plan has smaller counts, read in order
 * of importance:
 *   - Room only shrinks while units are added, so a unit that no node has room for stays out.
 *   - Of the other open units of one wish, k can be hosted only if the k smallest together (each
 *     taken at its cheapest node) are not more than all free bytes; and of any k hosted units,
 *     sorted by size, the units from the j-th on are k-j+1 units of at least the size of the j-th
 *     smallest open one, and a node with f free bytes holds at most f / that size of them. So
 *     k <= j-1 + sum over nodes of floor(f / size j), for every j.
 *   - Those k consume at least the k smallest sizes, which is taken off the free bytes for the
 *     wishes that come later. A plan that hosts fewer than k has a larger count at an earlier
 *     place and comes after the bound already, so the later counts need to hold only for k.
 *   - Headroom: what no node has free now, or is more than all bytes left, cannot be loaded later.
 *   - Stopped: the standing hosts of one node whose roles are still open stay only as far as they
 *     fit into what is free; stopping the largest first gives the fewest. Nodes are disjoint sets
 *     of hosts, so the counts add up. A role with more standing hosts than open units stops the
 *     difference; the larger of both sums is taken, as they may name the same hosts. Barred ones
 *     (below) stop for certain and are in neither sum.
 *   - Fetched: grows with every host of a role, so the count so far is a bound.
 *   - At a complete plan the bound is the plan's own row of counts.
 * A branch whose bound does not come before the best plan's counts holds nothing better.
 *
 * Order of one role's hosts: only the set counts, so the standing ones are taken in the order of
 * the nodes and before all others (`barred` is what that rules out); every set can be made so.
 * Equal nodes: two nodes on which every open role has equal facts, with equal free bytes and the
 * same hosts of half-decided roles, can be swapped in any completion; only the first is tried. A
 * half-decided role that stands on one of them makes them unequal, for the order's sake.
 * Memo: two partial plans at the same depth with the same free bytes and half-decided roles have
 * the same completions, and a completion adds the same counts to both, so the one with the later
 * counts so far is dropped. Entries are compared whole; a hash only finds the place. */
#include "proto/plan/plan.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { MEMO_SLOTS = 4096, LEVELS = PLAN_NO_LOADED_REPLICAS + 1 };

struct unit {
    uint16_t role;
    uint8_t level; /* the count that grows when it is left out */
    bool further;  /* not the role's first host */
    bool stands;   /* the role has a host somewhere that could stay */
    uint64_t least_bytes;
};

struct memo {
    uint64_t free[PLAN_EXACT_NODES], carried[PLAN_EXACT_NODES], given_up;
    uint32_t count[PLAN_COUNTS];
    uint32_t depth; /* plus one; 0: empty */
};

struct search {
    const struct plan_in *in;
    struct plan_out *out;
    uint64_t may[PLAN_ROLES_MAX], stands[PLAN_ROLES_MAX], files[PLAN_ROLES_MAX];
    uint64_t least_bytes[PLAN_ROLES_MAX];
    uint32_t must_fetch[PLAN_ROLES_MAX]; /* fetches that no choice spares */
    uint32_t last_unit[PLAN_ROLES_MAX];  /* index plus one; 0: has no units */
    uint32_t open_units[PLAN_ROLES_MAX];
    struct unit *units;
    uint32_t *ascending; /* the units of one level after the other, smallest first */
    uint32_t level_at[LEVELS + 1], n_units;
    uint32_t never[PLAN_COUNTS]; /* left out whatever is decided */
    /* the partial plan */
    uint64_t free[PLAN_NODES_MAX], hosts[PLAN_ROLES_MAX];
    uint32_t left_out[PLAN_COUNTS];
    uint64_t carried[PLAN_NODES_MAX]; /* exact search: bit r: hosts role r */
    uint64_t given_up;                /* the same: bit r: no further hosts of role r */
    uint64_t stood[PLAN_NODES_MAX];   /* the same: bit r: role r stands there */
    uint64_t *half;         /* [depth]: roles with units on both sides of it; exact search only */
    uint32_t *differ_depth; /* [node * EXACT + node]: last unit plus one on which they differ */
    struct memo *memo;
    uint64_t steps, steps_max;
    bool cut, done;
};

static uint64_t bytes_of(const struct search *s, size_t role, size_t node)
{
    return s->in->pairs[role * s->in->n_nodes + node].bytes;
}

static uint64_t bit(size_t i)
{
    return UINT64_C(1) << i;
}

static uint32_t ones(uint64_t mask)
{
    return (uint32_t)__builtin_popcountll(mask);
}

/* Walks the nodes of a mask: for (each; mask != 0; mask &= mask - 1) first(mask) */
static size_t first(uint64_t mask)
{
    return (size_t)__builtin_ctzll(mask);
}

int plan_compare(const uint32_t *a, const uint32_t *b)
{
    for (size_t i = 0; i < PLAN_COUNTS; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

bool plan_is_feasible(const struct plan_out *out)
{
    for (size_t i = PLAN_NO_PINNED; i <= PLAN_NO_BATCH; i++)
        if (out->count[i] > 0)
            return false;
    return true;
}

/* --- facts to masks and units ------------------------------------------------------------------
 */

static bool pair_possible(const struct plan_in *in, size_t role, size_t node)
{
    const struct plan_pair *p = &in->pairs[role * in->n_nodes + node];
    const struct plan_node *n = &in->nodes[node];

    return p->allowed && n->usable && p->bytes <= n->budget_bytes &&
           (n->largest_bytes == 0 || p->largest_bytes <= n->largest_bytes);
}

static void read_role(struct search *s, size_t role)
{
    const struct plan_in *in = s->in;

    s->least_bytes[role] = UINT64_MAX;
    for (size_t n = 0; n < in->n_nodes; n++) {
        const struct plan_pair *p = &in->pairs[role * in->n_nodes + n];

        if (!pair_possible(in, role, n))
            continue;
        s->may[role] |= bit(n);
        s->stands[role] |= p->standing ? bit(n) : 0;
        s->files[role] |= p->file ? bit(n) : 0;
        if (p->bytes < s->least_bytes[role])
            s->least_bytes[role] = p->bytes;
    }
    if (in->roles[role].replicas > ones(s->files[role]))
        s->must_fetch[role] = in->roles[role].replicas - ones(s->files[role]);
}

static enum plan_count further_level(enum plan_wish wish)
{
    return wish == PLAN_LOADED ? PLAN_NO_LOADED_REPLICAS : PLAN_NO_REPLICAS;
}

static enum plan_count first_level(enum plan_wish wish)
{
    return wish == PLAN_LOADED ? PLAN_NO_LOADED : (enum plan_count)wish; /* same order above */
}

static void add_units(struct search *s, size_t role)
{
    const struct plan_role *r = &s->in->roles[role];
    uint32_t most = ones(s->may[role]);

    if (r->wish == PLAN_IF_ASKED)
        return;
    for (uint32_t i = 0; i < r->replicas; i++) {
        enum plan_count level = i == 0 ? first_level(r->wish) : further_level(r->wish);

        if (i < most)
            s->units[s->n_units++] = (struct unit){.role = (uint16_t)role,
                                                   .level = (uint8_t)level,
                                                   .further = i > 0,
                                                   .stands = s->stands[role] != 0,
                                                   .least_bytes = s->least_bytes[role]};
        else
            s->never[level]++;
    }
    s->open_units[role] = r->replicas < most ? r->replicas : most;
}

/* What is new comes first in its level: what it pushes out is then seen early. */
static int by_depth(const void *pa, const void *pb)
{
    const struct unit *a = pa, *b = pb;

    if (a->level != b->level)
        return a->level < b->level ? -1 : 1;
    if (a->stands != b->stands)
        return a->stands ? 1 : -1;
    if (a->least_bytes != b->least_bytes)
        return a->least_bytes > b->least_bytes ? -1 : 1;
    if (a->role != b->role)
        return a->role < b->role ? -1 : 1;
    return 0;
}

/* Insertion into each level's part; a level has few hundred units at most. */
static void sort_ascending(struct search *s)
{
    uint32_t at = 0;

    for (uint32_t level = 0; level < LEVELS; level++) {
        s->level_at[level] = at;
        for (uint32_t u = 0; u < s->n_units; u++) {
            uint32_t i = at;

            if (s->units[u].level != level)
                continue;
            while (i > s->level_at[level] &&
                   s->units[s->ascending[i - 1]].least_bytes > s->units[u].least_bytes) {
                s->ascending[i] = s->ascending[i - 1];
                i--;
            }
            s->ascending[i] = u;
            at++;
        }
    }
    s->level_at[LEVELS] = at;
}

static void prepare(struct search *s)
{
    for (size_t r = 0; r < s->in->n_roles; r++) {
        read_role(s, r);
        add_units(s, r);
    }
    qsort(s->units, s->n_units, sizeof *s->units, by_depth);
    for (uint32_t u = 0; u < s->n_units; u++)
        s->last_unit[s->units[u].role] = u + 1;
    sort_ascending(s);
}

/* --- the partial plan --------------------------------------------------------------------------
 */

static void plan_clear(struct search *s)
{
    memset(s->hosts, 0, sizeof s->hosts);
    memcpy(s->left_out, s->never, sizeof s->left_out);
    for (size_t n = 0; n < s->in->n_nodes; n++)
        s->free[n] = s->in->nodes[n].usable ? s->in->nodes[n].budget_bytes : 0;
}

static void put(struct search *s, size_t role, size_t node)
{
    s->hosts[role] |= bit(node);
    s->free[node] -= bytes_of(s, role, node);
    s->open_units[role]--;
    if (role < PLAN_EXACT_ROLES)
        s->carried[node] |= bit(role);
}

static void take(struct search *s, size_t role, size_t node)
{
    s->hosts[role] &= ~bit(node);
    s->free[node] += bytes_of(s, role, node);
    s->open_units[role]++;
    if (role < PLAN_EXACT_ROLES)
        s->carried[node] &= ~bit(role);
}

/* The nodes that could take another host of the role now. */
static uint64_t room_for(const struct search *s, size_t role)
{
    uint64_t room = 0;

    for (uint64_t m = s->may[role] & ~s->hosts[role]; m != 0; m &= m - 1)
        if (bytes_of(s, role, first(m)) <= s->free[first(m)])
            room |= m & -m;
    return room;
}

static uint32_t role_stopped(const struct search *s, size_t role)
{
    return ones(s->stands[role] & ~s->hosts[role]);
}

/* Standing nodes that a role with hosts will not take any more. */
static uint64_t barred(const struct search *s, size_t role)
{
    uint64_t hosts = s->hosts[role];

    if (role < PLAN_EXACT_ROLES && (s->given_up & bit(role)) != 0)
        return s->stands[role] & ~hosts;
    if (hosts == 0)
        return 0;
    if ((hosts & ~s->stands[role]) != 0)
        return s->stands[role] & ~hosts;
    return s->stands[role] & ~hosts & (bit(63 - (size_t)__builtin_clzll(hosts)) - 1);
}

/* Standing nodes that it may still keep. */
static uint64_t stayable(const struct search *s, size_t role)
{
    return s->stands[role] & ~s->hosts[role] & ~barred(s, role);
}

static uint32_t role_fetched(const struct search *s, size_t role)
{
    uint32_t n = ones(s->hosts[role] & ~s->files[role]);

    return n > s->must_fetch[role] ? n - s->must_fetch[role] : 0;
}

/* --- the bound ---------------------------------------------------------------------------------
 */

/* How many of n sizes, ascending, the free bytes may hold at most; see the head of the file. */
static uint32_t most_hosted(const struct search *s, const uint64_t *sizes, uint32_t n,
                            uint64_t *bytes_left)
{
    uint64_t sum = 0;
    uint32_t most = 0;

    while (most < n && sizes[most] <= *bytes_left - sum)
        sum += sizes[most++];
    for (uint32_t j = 0; j < most; j++) {
        uint64_t fit = j;

        if (sizes[j] == 0 || (j > 0 && sizes[j] == sizes[j - 1]))
            continue;
        for (size_t i = 0; i < s->in->n_nodes && fit < most; i++)
            fit += s->free[i] / sizes[j];
        if (fit < most)
            most = (uint32_t)fit;
    }
    for (uint32_t i = 0; i < most; i++)
        *bytes_left -= sizes[i];
    return most;
}

static void bound_level(const struct search *s, uint32_t depth, uint32_t level,
                        const bool *has_room, uint64_t *bytes_left, uint32_t *count)
{
    uint64_t sizes[PLAN_ROLES_MAX];
    uint32_t n = 0;

    for (uint32_t i = s->level_at[level]; i < s->level_at[level + 1]; i++) {
        const struct unit *u = &s->units[s->ascending[i]];

        if (s->ascending[i] < depth)
            continue;
        if (!has_room[u->role])
            count[level]++;
        else if (n < PLAN_ROLES_MAX) /* more are taken as hosted without bytes: still a bound */
            sizes[n++] = u->least_bytes;
    }
    count[level] += n - most_hosted(s, sizes, n, bytes_left);
}

static uint32_t bound_headroom(const struct search *s, uint64_t bytes_left)
{
    uint32_t n = 0;

    for (size_t r = 0; r < s->in->n_roles; r++)
        if (s->in->roles[r].wish == PLAN_IF_ASKED &&
            (room_for(s, r) == 0 || s->least_bytes[r] > bytes_left))
            n++;
    return n;
}

/* Standing hosts of open roles that cannot all stay on the node. */
static uint32_t bound_node_stopped(const struct search *s, uint32_t depth, size_t node)
{
    uint64_t sizes[PLAN_ROLES_MAX], sum = 0;
    uint32_t n = 0, stopped = 0;

    for (size_t r = 0; r < s->in->n_roles; r++)
        if (s->last_unit[r] > depth && (s->stands[r] & bit(node)) != 0 &&
            (stayable(s, r) & bit(node)) != 0) {
            sizes[n] = bytes_of(s, r, node);
            sum += sizes[n++];
        }
    while (sum > s->free[node]) {
        uint32_t largest = 0;

        for (uint32_t i = 1; i < n; i++)
            if (sizes[i] > sizes[largest])
                largest = i;
        sum -= sizes[largest];
        sizes[largest] = sizes[--n];
        stopped++;
    }
    return stopped;
}

/* The counts so far of roles that are decided; what memo entries are compared by. */
static void count_decided(const struct search *s, uint32_t depth, uint32_t *count)
{
    memcpy(count, s->left_out, sizeof s->left_out);
    for (size_t r = 0; r < s->in->n_roles; r++)
        if (s->last_unit[r] <= depth && s->in->roles[r].wish != PLAN_IF_ASKED) {
            count[PLAN_STOPPED] += role_stopped(s, r);
            count[PLAN_FETCHED] += role_fetched(s, r);
        }
}

static void plan_bound(const struct search *s, uint32_t depth, uint32_t *count)
{
    bool has_room[PLAN_ROLES_MAX];
    uint64_t bytes_left = 0;
    uint32_t by_node = 0, by_role = 0;

    count_decided(s, depth, count);
    for (size_t n = 0; n < s->in->n_nodes; n++) {
        bytes_left += s->free[n];
        by_node += bound_node_stopped(s, depth, n);
    }
    for (size_t r = 0; r < s->in->n_roles; r++) {
        has_room[r] = s->last_unit[r] > depth && room_for(s, r) != 0 &&
                      !(r < PLAN_EXACT_ROLES && (s->given_up & bit(r)) != 0);
        if (s->last_unit[r] <= depth)
            continue;
        count[PLAN_FETCHED] += role_fetched(s, r);
        count[PLAN_STOPPED] += ones(barred(s, r));
        if (ones(stayable(s, r)) > s->open_units[r])
            by_role += ones(stayable(s, r)) - s->open_units[r];
    }
    for (uint32_t level = 0; level < LEVELS; level++)
        bound_level(s, depth, level, has_room, &bytes_left, count);
    count[PLAN_NO_HEADROOM] = bound_headroom(s, bytes_left);
    count[PLAN_STOPPED] += by_node > by_role ? by_node : by_role;
}

/* Keeps the partial plan as the best so far when it is better. depth: units decided. */
static void keep_best(struct search *s, const uint32_t *count)
{
    struct plan_out *o = s->out;

    if (plan_compare(count, o->count) >= 0)
        return;
    memcpy(o->count, count, sizeof o->count);
    memcpy(o->hosts, s->hosts, sizeof o->hosts);
    for (size_t n = 0; n < s->in->n_nodes; n++)
        o->used_bytes[n] = s->in->nodes[n].usable ? s->in->nodes[n].budget_bytes - s->free[n] : 0;
    s->done = plan_compare(o->count, o->bound) <= 0;
}

/* --- the quick tries ---------------------------------------------------------------------------
 */

enum keep { KEEP_ALL, KEEP_BY_LEVEL, KEEP_NONE };

/* The preferred node: one with a host or the file, else the roomiest (or the fullest). */
static size_t choose(const struct search *s, size_t role, uint64_t among, bool fullest)
{
    uint64_t best_free = 0;
    size_t best = SIZE_MAX;

    if ((among & s->stands[role]) != 0)
        among &= s->stands[role];
    else if ((among & s->files[role]) != 0)
        among &= s->files[role];
    for (; among != 0; among &= among - 1) {
        uint64_t left = s->free[first(among)] - bytes_of(s, role, first(among));

        if (best == SIZE_MAX || (fullest ? left < best_free : left > best_free)) {
            best = first(among);
            best_free = left;
        }
    }
    return best;
}

static void try_level(struct search *s, uint32_t level, bool standing, bool fullest, bool *placed)
{
    for (uint32_t u = 0; u < s->n_units; u++) {
        const struct unit *unit = &s->units[u];
        uint64_t among;

        if (unit->level != level || placed[u] || (unit->further && s->hosts[unit->role] == 0))
            continue;
        among = room_for(s, unit->role) & (standing ? s->stands[unit->role] : UINT64_MAX);
        if (among == 0)
            continue;
        put(s, unit->role, choose(s, unit->role, among, fullest));
        placed[u] = true;
    }
}

static void try_quickly(struct search *s, enum keep keep, bool fullest, bool *placed)
{
    uint32_t count[PLAN_COUNTS];

    plan_clear(s);
    memset(placed, 0, s->n_units * sizeof *placed);
    for (uint32_t level = 0; keep == KEEP_ALL && level < LEVELS; level++)
        try_level(s, level, true, fullest, placed);
    for (uint32_t level = 0; level < LEVELS; level++) {
        if (keep == KEEP_BY_LEVEL)
            try_level(s, level, true, fullest, placed);
        try_level(s, level, false, fullest, placed);
    }
    for (uint32_t u = 0; u < s->n_units; u++)
        s->left_out[s->units[u].level] += !placed[u];
    plan_bound(s, s->n_units, count);
    keep_best(s, count);
    for (uint32_t u = 0; u < s->n_units; u++) /* as it was, for the next one */
        s->open_units[s->units[u].role] += placed[u];
    memset(s->carried, 0, sizeof s->carried);
}

/* --- the search --------------------------------------------------------------------------------
 */

static bool nodes_equal(const struct search *s, uint32_t depth, size_t a, size_t b)
{
    return s->free[a] == s->free[b] && s->differ_depth[a * PLAN_EXACT_NODES + b] <= depth &&
           (((s->carried[a] ^ s->carried[b]) | s->stood[a] | s->stood[b]) & s->half[depth]) == 0;
}

static bool memo_hit(struct search *s, uint32_t depth)
{
    struct memo now = {.depth = depth + 1, .given_up = s->given_up & s->half[depth]}, *m;
    uint64_t hash = depth * UINT64_C(0x9e3779b97f4a7c15) + now.given_up;

    for (size_t n = 0; n < s->in->n_nodes; n++) {
        now.free[n] = s->free[n];
        now.carried[n] = s->carried[n] & s->half[depth];
        hash = (hash ^ now.free[n]) * UINT64_C(0xff51afd7ed558ccd);
        hash = (hash ^ (hash >> 29) ^ now.carried[n]) * UINT64_C(0xc4ceb9fe1a85ec53);
    }
    count_decided(s, depth, now.count);
    m = &s->memo[(hash >> 32) % MEMO_SLOTS];
    if (m->depth == now.depth && m->given_up == now.given_up &&
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
            again = nodes_equal(s, depth, first(k), first(m));
        kept |= again ? 0 : m & -m;
    }
    return kept;
}

static void search_unit(struct search *s, uint32_t depth)
{
    const struct unit *u = &s->units[depth];
    size_t role = u->role;
    uint64_t among = 0, given_up = s->given_up;

    if (!(u->further && (s->hosts[role] == 0 || (s->given_up & bit(role)) != 0)))
        among = without_equals(s, depth, room_for(s, role) & ~barred(s, role));
    while (among != 0 && !s->cut && !s->done) {
        size_t node = choose(s, role, among, true);

        among &= ~bit(node);
        put(s, role, node);
        search_from(s, depth + 1);
        take(s, role, node);
    }
    if (s->cut || s->done)
        return;
    s->left_out[u->level]++;
    s->open_units[role]--;
    s->given_up |= bit(role); /* leaving out one further host or another is the same */
    search_from(s, depth + 1);
    s->given_up = given_up;
    s->open_units[role]++;
    s->left_out[u->level]--;
}

static void search_from(struct search *s, uint32_t depth)
{
    uint32_t count[PLAN_COUNTS];

    if (s->steps++ >= s->steps_max) {
        s->cut = true;
        return;
    }
    plan_bound(s, depth, count);
    if (plan_compare(count, s->out->count) >= 0)
        return;
    if (depth == s->n_units)
        keep_best(s, count);
    else if (!memo_hit(s, depth))
        search_unit(s, depth);
}

static bool pairs_differ(const struct search *s, size_t role, size_t a, size_t b)
{
    const struct plan_pair *p = &s->in->pairs[role * s->in->n_nodes];
    uint64_t may = s->may[role], stands = s->stands[role], files = s->files[role];

    return ((may >> a ^ may >> b) & 1) != 0 || ((stands >> a ^ stands >> b) & 1) != 0 ||
           ((files >> a ^ files >> b) & 1) != 0 ||
           ((may >> a & 1) != 0 && p[a].bytes != p[b].bytes);
}

static void compare_nodes(struct search *s, size_t a, size_t b)
{
    uint32_t depth = 0;

    for (size_t r = 0; r < s->in->n_roles; r++) {
        uint32_t until =
            s->in->roles[r].wish == PLAN_IF_ASKED ? UINT32_MAX : s->last_unit[r]; /* to the end */

        if (until > depth && pairs_differ(s, r, a, b))
            depth = until;
    }
    s->differ_depth[a * PLAN_EXACT_NODES + b] = depth;
}

static void search_all(struct search *s)
{
    uint64_t before = 0;

    for (size_t r = 0; r < s->in->n_roles; r++)
        for (uint64_t m = s->stands[r]; m != 0; m &= m - 1)
            s->stood[first(m)] |= bit(r);
    for (size_t a = 0; a < s->in->n_nodes; a++)
        for (size_t b = 0; b < s->in->n_nodes; b++)
            compare_nodes(s, a, b);
    for (uint32_t d = 0; d <= s->n_units; d++) { /* begun before d, and not ended */
        s->half[d] = 0;
        for (size_t r = 0; r < s->in->n_roles; r++)
            if ((before & bit(r)) != 0 && s->last_unit[r] > d)
                s->half[d] |= bit(r);
        if (d < s->n_units)
            before |= bit(s->units[d].role);
    }
    plan_clear(s);
    search_from(s, 0);
}

/* --- the call ----------------------------------------------------------------------------------
 */

static size_t units_wanted(const struct plan_in *in)
{
    size_t n = 0;

    for (size_t r = 0; r < in->n_roles; r++)
        n += in->roles[r].replicas < in->n_nodes ? in->roles[r].replicas : in->n_nodes;
    return n;
}

static int search_alloc(struct search *s, bool exact)
{
    size_t n = units_wanted(s->in) + 1;

    s->units = calloc(n, sizeof *s->units);
    s->ascending = calloc(n, sizeof *s->ascending);
    if (exact) {
        s->half = calloc(n, sizeof *s->half);
        s->memo = calloc(MEMO_SLOTS, sizeof *s->memo);
        s->differ_depth =
            calloc((size_t)PLAN_EXACT_NODES * PLAN_EXACT_NODES, sizeof *s->differ_depth);
    }
    if (s->units == NULL || s->ascending == NULL)
        return UV_ENOMEM;
    return exact && (s->half == NULL || s->memo == NULL || s->differ_depth == NULL) ? UV_ENOMEM : 0;
}

static void search_free(struct search *s)
{
    free(s->units);
    free(s->ascending);
    free(s->half);
    free(s->memo);
    free(s->differ_depth);
    free(s);
}

static int search_run(struct search *s, bool exact)
{
    bool *placed = calloc(s->n_units + 1, sizeof *placed);

    if (placed == NULL)
        return UV_ENOMEM;
    plan_clear(s);
    plan_bound(s, 0, s->out->bound);
    memset(s->out->count, 0xff, sizeof s->out->count);
    for (int keep = KEEP_ALL; keep <= KEEP_NONE && !s->done; keep++)
        for (int fullest = 0; fullest < 2 && !s->done; fullest++)
            try_quickly(s, (enum keep)keep, fullest != 0, placed);
    free(placed);
    if (!s->done && exact)
        search_all(s);
    s->out->exact = s->done || (exact && !s->cut);
    s->out->steps = s->steps;
    if (s->out->exact)
        memcpy(s->out->bound, s->out->count, sizeof s->out->bound);
    return 0;
}

int plan_solve(const struct plan_in *in, struct plan_out *out)
{
    bool exact = in->n_nodes <= PLAN_EXACT_NODES && in->n_roles <= PLAN_EXACT_ROLES;
    struct search *s;
    int r;

    memset(out, 0, sizeof *out);
    if (in->n_nodes > PLAN_NODES_MAX || in->n_roles > PLAN_ROLES_MAX)
        return RM_ERR_TOO_BIG;
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return UV_ENOMEM;
    s->in = in;
    s->out = out;
    s->steps_max = in->steps_max > 0 ? in->steps_max : PLAN_STEPS;
    r = search_alloc(s, exact);
    if (r == 0) {
        prepare(s);
        r = search_run(s, exact);
    }
    search_free(s);
    return r;
}
