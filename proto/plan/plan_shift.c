/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_shift.c - makes large holes of small ones.
 * A host that would fit into all free bytes together often fits into none of the nodes. Moving one
 * host, or exchanging two, changes no count when neither stops nor fetches become more; of such
 * shifts those are done that make the sum of the squares of the free bytes larger, until there is
 * none. What then fits is found by the improvement (plan_tries.c). */
#include "proto/plan/plan_search.h"

#include <string.h>

struct shift {
    struct search *s;
    uint64_t hosts[PLAN_ROLES_MAX];
    uint64_t free[PLAN_NODES_MAX][DIMS];
    uint64_t used; /* steps */
};

enum { SHIFTS_A_STEP = 64 }; /* looked at */

/* Would the role cost no more there than here? */
static bool as_good(const struct search *s, size_t role, size_t from, size_t to)
{
    uint64_t a = plan_bit(from), b = plan_bit(to);

    return (s->may[role] & b) != 0 && ((s->stands[role] & a) == 0 || (s->stands[role] & b) != 0) &&
           ((s->files[role] & a) == 0 || (s->files[role] & b) != 0);
}

static double square(uint64_t bytes)
{
    return (double)bytes * (double)bytes;
}

/* out leaves a for b, and back (SIZE_MAX: none) comes from b. Is there room, and is it better? */
static bool is_better(const struct shift *x, size_t out, size_t back, size_t a, size_t b)
{
    uint64_t fa = 0, fb = 0;

    for (size_t d = x->s->n_dims; d-- > 0;) { /* the first one last: it is what is compared */
        uint64_t to_b = plan_need(x->s, out, b)[d];
        uint64_t to_a = back != SIZE_MAX ? plan_need(x->s, back, a)[d] : 0;

        fa = x->free[a][d] + plan_need(x->s, out, a)[d];
        fb = x->free[b][d] + (back != SIZE_MAX ? plan_need(x->s, back, b)[d] : 0);
        if (to_b > fb || to_a > fa)
            return false;
        fa -= to_a;
        fb -= to_b;
    }
    return square(fa) + square(fb) > 1.0000001 * (square(x->free[a][0]) + square(x->free[b][0]));
}

static void move(struct shift *x, size_t role, size_t from, size_t to)
{
    x->hosts[role] = (x->hosts[role] & ~plan_bit(from)) | plan_bit(to);
    for (size_t d = 0; d < x->s->n_dims; d++) {
        x->free[from][d] += plan_need(x->s, role, from)[d];
        x->free[to][d] -= plan_need(x->s, role, to)[d];
    }
}

static bool is_on(const struct shift *x, size_t role, size_t node)
{
    return (x->hosts[role] & plan_bit(node)) != 0;
}

static bool fits_at(const struct shift *x, size_t role, size_t node)
{
    for (size_t d = 0; d < x->s->n_dims; d++)
        if (plan_need(x->s, role, node)[d] > x->free[node][d])
            return false;
    return true;
}

/* Moves one host from a to b, or exchanges two. */
static bool shift_one(struct shift *x, size_t a, size_t b)
{
    const struct search *s = x->s;

    for (size_t r = 0; r < s->in->n_roles; r++) {
        if (!is_on(x, r, a) || is_on(x, r, b) || !as_good(s, r, a, b))
            continue;
        x->used++;
        if (is_better(x, r, SIZE_MAX, a, b)) {
            move(x, r, a, b);
            return true;
        }
        for (size_t q = 0; q < s->in->n_roles; q++) {
            if (!is_on(x, q, b) || is_on(x, q, a) || !as_good(s, q, b, a))
                continue;
            x->used++;
            if (is_better(x, r, q, a, b)) {
                move(x, r, a, b);
                move(x, q, b, a);
                return true;
            }
        }
    }
    return false;
}

/* Moves a host that may as well be elsewhere, whatever that does to the free bytes. */
static void move_any(struct shift *x, uint64_t *random)
{
    const struct search *s = x->s;

    for (int tries = 0; tries < 16; tries++) {
        size_t r = plan_mix(random) % s->in->n_roles, a, b;

        if (x->hosts[r] == 0)
            continue;
        a = plan_first(x->hosts[r]);
        b = plan_mix(random) % s->in->n_nodes;
        x->used++;
        if (is_on(x, r, b) || !as_good(s, r, a, b) || !fits_at(x, r, b))
            continue;
        move(x, r, a, b);
        return;
    }
}

/* Takes the hosts over when no count is worse. */
static bool keep(struct shift *x)
{
    struct search *s = x->s;
    uint32_t count[PLAN_COUNTS];

    plan_question(s, 0, x->hosts, 0);
    plan_bound(s, 0, count);
    if (plan_compare(count, s->out->count) > 0)
        return false;
    memcpy(s->out->count, count, sizeof count);
    plan_take_over(s);
    return true;
}

bool plan_shift(struct search *s, uint64_t until, size_t kicks, uint64_t *random)
{
    struct shift x = {.s = s};
    bool any = kicks > 0, again = true;

    memcpy(x.hosts, s->out->hosts, sizeof x.hosts);
    plan_question(s, 0, x.hosts, 0);
    memcpy(x.free, s->free, sizeof x.free);
    for (size_t i = 0; i < kicks; i++)
        move_any(&x, random);
    while (again && s->steps + x.used / SHIFTS_A_STEP < until) {
        again = false;
        for (size_t a = 0; a < s->in->n_nodes; a++)
            for (size_t b = 0; b < s->in->n_nodes; b++)
                while (a != b && s->in->nodes[a].usable && s->in->nodes[b].usable &&
                       s->steps + x.used / SHIFTS_A_STEP < until && shift_one(&x, a, b))
                    again = any = true;
    }
    s->steps += 1 + x.used / SHIFTS_A_STEP;
    return any && keep(&x);
}
