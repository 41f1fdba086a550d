/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_conflict.c - the smallest set of roles that cannot stand together.
 * A set is in conflict when its roles alone, with one host each, do not all fit: asked of
 * plan_solve, and counted only when proved. From all pinned and resident roles one after the other
 * is dropped, smallest first, as long as the rest stays in conflict: what remains is irreducible.
 * Then every smaller set is asked, in the order of size. More room never breaks a plan, so the
 * missing bytes are found by halving. Maps and steps are counted, so that it ends soon on any map;
 * afterwards only the quick tries are asked, and the answer says that it is not proved smallest. */
#include "proto/plan/plan.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { CONFLICT_MAPS = 3000, CONFLICT_STEPS = 2000, CONFLICT_ALL_STEPS = 100000 };

struct part {
    const struct plan_in *in; /* the whole */
    struct plan_node nodes[PLAN_NODES_MAX];
    struct plan_role roles[PLAN_ROLES_MAX];
    struct plan_pair *pairs;
    struct plan_out out;
    unsigned maps;  /* solved */
    uint64_t steps; /* of all of them */
    int error;
};

/* Are these roles, alone, proved not to fit? fits: proved that they do. */
static bool in_conflict(struct part *p, const uint16_t *set, size_t n, bool *fits)
{
    size_t n_nodes = p->in->n_nodes;
    struct plan_in in = {.nodes = p->nodes,
                         .roles = p->roles,
                         .pairs = p->pairs,
                         .n_nodes = n_nodes,
                         .n_roles = n,
                         .steps_max = p->steps < CONFLICT_ALL_STEPS ? CONFLICT_STEPS : 1};

    for (size_t i = 0; i < n; i++) {
        p->roles[i] = (struct plan_role){
            .wish = PLAN_PINNED, .replicas = 1, .swap = p->in->roles[set[i]].swap};
        memcpy(&p->pairs[i * n_nodes], &p->in->pairs[set[i] * n_nodes], n_nodes * sizeof *p->pairs);
        for (size_t k = 0; k < n_nodes; k++)
            p->pairs[i * n_nodes + k].standing = p->pairs[i * n_nodes + k].file = false;
    }
    p->maps++;
    if (p->error == 0)
        p->error = plan_solve(&in, &p->out);
    p->steps += p->out.steps;
    *fits = p->error == 0 && p->out.count[PLAN_NO_PINNED] == 0;
    return p->error == 0 && p->out.bound[PLAN_NO_PINNED] > 0;
}

static uint64_t least_bytes(const struct plan_in *in, size_t role)
{
    uint64_t least = UINT64_MAX;

    for (size_t n = 0; n < in->n_nodes; n++)
        if (in->pairs[role * in->n_nodes + n].bytes < least)
            least = in->pairs[role * in->n_nodes + n].bytes;
    return least;
}

static void drop(uint16_t *set, size_t n, size_t i)
{
    memmove(&set[i], &set[i + 1], (n - i - 1) * sizeof *set);
}

/* Drops roles, smallest first, until none can go. Returns how many remain. */
static size_t reduce(struct part *p, uint16_t *set, size_t n)
{
    uint16_t order[PLAN_ROLES_MAX], without[PLAN_ROLES_MAX];
    size_t n_order = n;
    bool fits;

    memcpy(order, set, n * sizeof *set);
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && least_bytes(p->in, order[k]) < least_bytes(p->in, order[k - 1]);
             k--) {
            uint16_t swap = order[k];

            order[k] = order[k - 1];
            order[k - 1] = swap;
        }
    for (size_t i = 0; i < n_order; i++) {
        size_t at = 0;

        while (set[at] != order[i])
            at++;
        memcpy(without, set, n * sizeof *set);
        drop(without, n, at);
        if (n > 1 && in_conflict(p, without, n - 1, &fits))
            memcpy(set, without, --n * sizeof *set);
    }
    return n;
}

/* The next set of k of m, in lexicographic order of indexes. False: that was the last. */
static bool next_set(size_t *index, size_t k, size_t m)
{
    size_t i = k;

    while (i > 0 && index[i - 1] == m - k + i - 1)
        i--;
    if (i == 0)
        return false;
    index[i - 1]++;
    for (; i < k; i++)
        index[i] = index[i - 1] + 1;
    return true;
}

/* Looks for a smaller set among all m roles. Every one of them must be proved to fit. */
static void look_smaller(struct part *p, const uint16_t *all, size_t m, struct plan_conflict *out)
{
    size_t index[PLAN_ROLES_MAX];
    uint16_t set[PLAN_ROLES_MAX];
    bool all_fit = true;

    for (size_t k = 1; k < out->n_roles; k++) {
        for (size_t i = 0; i < k; i++)
            index[i] = i;
        do {
            bool fits;

            if (p->maps >= CONFLICT_MAPS || p->steps >= CONFLICT_ALL_STEPS || p->error != 0)
                return;
            for (size_t i = 0; i < k; i++)
                set[i] = all[index[i]];
            if (in_conflict(p, set, k, &fits)) {
                memcpy(out->roles, set, k * sizeof *set);
                out->n_roles = k;
                out->smallest = all_fit;
                return;
            }
            all_fit = all_fit && fits;
        } while (next_set(index, k, m));
    }
    out->smallest = all_fit;
}

static bool fits_with(struct part *p, struct plan_conflict *c, size_t node, uint64_t more)
{
    struct plan_node *n = &p->nodes[node], before = *n;
    bool fits, not_so;

    n->budget_bytes += more;
    n->main_bytes += more;
    n->device_bytes += more;
    not_so = in_conflict(p, c->roles, c->n_roles, &fits);
    *n = before;
    c->least = c->least && (fits || not_so);
    return fits;
}

static void find_missing(struct part *p, struct plan_conflict *c)
{
    c->node = SIZE_MAX;
    c->least = true;
    for (size_t n = 0; n < p->in->n_nodes; n++) {
        uint64_t low = 0, high = 0; /* low does not do, high does */

        for (size_t i = 0; i < c->n_roles; i++)
            if (p->in->pairs[c->roles[i] * p->in->n_nodes + n].allowed)
                high += p->in->pairs[c->roles[i] * p->in->n_nodes + n].bytes;
        if (!p->nodes[n].usable || high == 0 || !fits_with(p, c, n, high))
            continue;
        while (high - low > 1) {
            uint64_t middle = low + (high - low) / 2;

            if (fits_with(p, c, n, middle))
                high = middle;
            else
                low = middle;
        }
        if (c->node == SIZE_MAX || high < c->missing_bytes) {
            c->node = n;
            c->missing_bytes = high;
        }
    }
}

static size_t must_stand(const struct plan_in *in, uint16_t *all)
{
    size_t n = 0;

    for (size_t r = 0; r < in->n_roles; r++)
        if (in->roles[r].wish <= PLAN_BATCH)
            all[n++] = (uint16_t)r;
    return n;
}

int plan_find_conflict(const struct plan_in *in, struct plan_conflict *out)
{
    uint16_t all[PLAN_ROLES_MAX] = {0};
    struct part *p;
    size_t n;
    bool fits;
    int r = UV_ENOMEM;

    memset(out, 0, sizeof *out);
    out->node = SIZE_MAX;
    if (in->n_nodes > PLAN_NODES_MAX || in->n_roles > PLAN_ROLES_MAX)
        return RM_ERR_TOO_BIG;
    p = calloc(1, sizeof *p);
    if (p != NULL)
        p->pairs = calloc(in->n_roles * in->n_nodes + 1, sizeof *p->pairs);
    if (p != NULL && p->pairs != NULL) {
        p->in = in;
        if (in->n_nodes > 0)
            memcpy(p->nodes, in->nodes, in->n_nodes * sizeof *p->nodes);
        n = must_stand(in, all);
        if (n > 0 && in_conflict(p, all, n, &fits)) {
            memcpy(out->roles, all, n * sizeof *all);
            out->n_roles = reduce(p, out->roles, n);
            look_smaller(p, all, n, out);
            find_missing(p, out);
        }
        r = p->error;
    }
    if (p != NULL)
        free(p->pairs);
    free(p);
    return r;
}
