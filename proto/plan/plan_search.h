/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_search.h - what the files of one plan_solve share; nobody else includes it.
 * plan_solve.c is the call; plan_begin.c turns facts into masks and limits and puts questions,
 * plan_bound.c bounds them, plan_branch.c searches them, plan_tries.c finds good plans soon,
 * plan_moves.c proves which hosts move.
 *
 * A question is: some hosts stay as they are, all others may stand on the nodes of `scope` only.
 * With all nodes in scope and none that stays it is the whole problem; with two or three nodes, and
 * all hosts elsewhere staying, it is a step of the improvement. A
 * role that wants k hosts and has f outside becomes up to k - f units. Units are decided one by
 * one; what was decided is the partial plan. */
#ifndef RM_PLAN_PLAN_SEARCH_H
#define RM_PLAN_PLAN_SEARCH_H

#include "proto/plan/plan.h"

enum {
    LEVELS = PLAN_NO_LOADED_REPLICAS + 1,
    SLOTS = 64, /* roles of a question that is searched: bits of a mask */
    MEMO_SLOTS = 4096
};

/* The limits of a node; a plan uses those that can matter. Swap extends the first two. */
enum dim { DIM_ALL, DIM_MAIN, DIM_DEVICE, DIM_ALL_UNSWAPPED, DIM_MAIN_UNSWAPPED, DIMS };

struct unit {
    uint16_t role;
    uint8_t level; /* the count that grows when it is left out */
    bool further;  /* not the role's first host */
    bool stands;   /* the role has a host in scope that could stay */
};

struct memo {
    uint64_t free[PLAN_EXACT_NODES][DIMS], carried[PLAN_EXACT_NODES], given_up;
    uint32_t count[PLAN_COUNTS];
    uint32_t depth, question;
};

struct search {
    const struct plan_in *in;
    struct plan_out *out; /* the best plan so far */
    /* facts, as masks and limits */
    uint64_t may[PLAN_ROLES_MAX], stands[PLAN_ROLES_MAX], files[PLAN_ROLES_MAX];
    uint32_t must_fetch[PLAN_ROLES_MAX]; /* fetches that no choice spares */
    size_t n_dims;
    enum dim dims[DIMS];
    uint64_t *need; /* [(role * n_nodes + node) * n_dims + dim] */
    uint64_t least[PLAN_ROLES_MAX][DIMS];
    uint64_t cap[PLAN_NODES_MAX][DIMS];
    /* the question */
    uint64_t scope;
    uint16_t active[PLAN_ROLES_MAX]; /* roles with units */
    uint64_t slot[PLAN_ROLES_MAX];   /* one bit by its place there; 0 beyond SLOTS */
    size_t n_active;
    uint16_t asked[PLAN_ROLES_MAX]; /* PLAN_IF_ASKED roles */
    size_t n_asked;
    struct unit *units;
    bool *placed;              /* by a quick try */
    uint32_t *ascending[DIMS]; /* the units of one level after the other, smallest first */
    uint32_t level_at[LEVELS + 1], n_units;
    uint32_t base[PLAN_COUNTS];         /* of what is not open */
    uint32_t last_unit[PLAN_ROLES_MAX]; /* index plus one; 0: has no units */
    uint64_t *half;                     /* [depth]: slots with units on both sides of it */
    uint32_t
        *differ_depth; /* [node * PLAN_NODES_MAX + node]: last unit plus one on which they differ */
    uint64_t stood[PLAN_NODES_MAX]; /* slots that stand there, in scope */
    /* the partial plan */
    uint64_t free[PLAN_NODES_MAX][DIMS], hosts[PLAN_ROLES_MAX];
    uint64_t
        room[PLAN_ROLES_MAX]; /* of active roles: nodes in scope that could take another host */
    uint32_t open_units[PLAN_ROLES_MAX];
    uint32_t left_out[PLAN_COUNTS];   /* with `base` */
    uint64_t carried[PLAN_NODES_MAX]; /* slots hosted there */
    uint64_t given_up;                /* slots that get no further hosts */
    struct memo *memo;                /* for exact answers; else NULL */
    bool memo_on;
    uint32_t question; /* rises with each */
    uint64_t steps, steps_max, steps_stop;
    bool cut, done;
};

static inline uint64_t plan_bit(size_t i)
{
    return UINT64_C(1) << i;
}

/* splitmix64: every question's random numbers are the same each time. */
static inline uint64_t plan_mix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline uint32_t plan_ones(uint64_t mask) /* inline on every processor */
{
    mask -= mask >> 1 & UINT64_C(0x5555555555555555);
    mask = (mask & UINT64_C(0x3333333333333333)) + (mask >> 2 & UINT64_C(0x3333333333333333));
    mask = (mask + (mask >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (uint32_t)(mask * UINT64_C(0x0101010101010101) >> 56);
}

/* Walks a mask: for (each; mask != 0; mask &= mask - 1) plan_first(mask) */
static inline size_t plan_first(uint64_t mask)
{
    return (size_t)__builtin_ctzll(mask);
}

static inline const uint64_t *plan_need(const struct search *s, size_t role, size_t node)
{
    return &s->need[(role * s->in->n_nodes + node) * s->n_dims];
}

static inline bool plan_fits(const struct search *s, size_t role, size_t node)
{
    const uint64_t *need = plan_need(s, role, node);

    for (size_t d = 0; d < s->n_dims; d++)
        if (need[d] > s->free[node][d])
            return false;
    return true;
}

/* A node's free bytes have changed: who has room there now? */
static inline void plan_refresh(struct search *s, size_t node)
{
    for (size_t a = 0; a < s->n_active; a++) {
        size_t r = s->active[a];
        bool room = ((s->may[r] & ~s->hosts[r]) & plan_bit(node)) != 0 && plan_fits(s, r, node);

        s->room[r] = room ? s->room[r] | plan_bit(node) : s->room[r] & ~plan_bit(node);
    }
}

static inline void plan_put(struct search *s, size_t role, size_t node)
{
    const uint64_t *need = plan_need(s, role, node);

    s->hosts[role] |= plan_bit(node);
    for (size_t d = 0; d < s->n_dims; d++)
        s->free[node][d] -= need[d];
    s->open_units[role]--;
    s->carried[node] |= s->slot[role];
    plan_refresh(s, node);
}

static inline void plan_take(struct search *s, size_t role, size_t node)
{
    const uint64_t *need = plan_need(s, role, node);

    s->hosts[role] &= ~plan_bit(node);
    for (size_t d = 0; d < s->n_dims; d++)
        s->free[node][d] += need[d];
    s->open_units[role]++;
    s->carried[node] &= ~s->slot[role];
    plan_refresh(s, node);
}

/* Standing nodes in scope that a role with hosts there will not take any more: only the set of a
 * role's hosts counts, so the standing ones are taken in the order of nodes and before others. */
static inline uint64_t plan_barred(const struct search *s, size_t role)
{
    uint64_t stands = s->stands[role] & s->scope, hosts = s->hosts[role] & s->scope;

    if ((s->given_up & s->slot[role]) != 0 || (hosts & ~stands) != 0)
        return stands & ~hosts;
    if (hosts == 0)
        return 0;
    return stands & ~hosts & (plan_bit(63 - (size_t)__builtin_clzll(hosts)) - 1);
}

/* Fetches of a role with these hosts, beyond those that no choice spares. */
static inline uint32_t plan_fetched(const struct search *s, size_t role)
{
    uint32_t n = plan_ones(s->hosts[role] & ~s->files[role]);

    return n > s->must_fetch[role] ? n - s->must_fetch[role] : 0;
}

/* plan_begin.c: allocates and reads the facts. Returns 0 or UV_ENOMEM. */
int plan_begin(struct search *s);
void plan_end(struct search *s);

/* Puts the question: `hosts` (NULL: none) stay, what else may stand in scope is open. At most
 * roles_max roles are open, the important first; the others get nothing more in scope. */
void plan_question(struct search *s, uint64_t scope, const uint64_t *hosts, size_t roles_max);

/* What the partial plan counts on swap: of one node in bytes, of all in GiB. */
uint64_t plan_swap_of(const struct search *s, size_t node);
uint32_t plan_swapped(const struct search *s);

/* plan_bound.c: counts that no completion of the partial plan comes before; `depth` units are
 * decided. plan_worse: the same compared with the best plan so far, and no further than it takes to
 * know: true when no completion is better. */
void plan_bound(const struct search *s, uint32_t depth, uint32_t *count);
bool plan_worse(const struct search *s, uint32_t depth);

/* The counts of roles that are decided, without swap and headroom. */
void plan_decided(const struct search *s, uint32_t depth, uint32_t *count);

/* Keeps the partial plan, of which all units are decided, as the best so far when it is better. */
void plan_keep_best(struct search *s);

/* The partial plan's hosts and what they use become the best plan's, whose counts are set. */
void plan_take_over(struct search *s);

/* plan_shift.c: moves hosts so that free bytes come together, without making a count worse; so many
 * are moved at random before. False: nothing was moved. until: steps. */
bool plan_shift(struct search *s, uint64_t until, size_t kicks, uint64_t *random);

/* plan_branch.c: searches the question until it is answered or steps_stop is reached (cut). */
void plan_branch(struct search *s);

/* plan_moves.c: true when it has proved the best plan; it may find a better one on the way. all:
 * all nodes. False: it cannot tell, or the steps ran out. */
bool plan_prove_moves(struct search *s, uint64_t all);

/* plan_tries.c: quick tries, then improvement of a few nodes at a time. */
void plan_try_quickly(struct search *s);
void plan_improve(struct search *s);

/* The preferred node of a mask: one with a host or the file, else the roomiest (or the fullest). */
size_t plan_choose(const struct search *s, size_t role, uint64_t among, bool fullest);

#endif
