/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_ways.c - the cheapest settings that make an impossible map fit.
 * Each one is put into the map's numbers and the whole map is solved again; what does not make
 * every pinned and resident role fit is not told. */
#include "proto/plan/plan_live.h"

#include <stdlib.h>
#include <uv.h>

struct ways {
    const struct plan_live *live;
    struct plan_case problem;
    struct plan_out plan;
    struct plan_way *found;
    size_t n;
    int error;
};

/* Could the role be loaded somewhere if all but the pinned ones made room? */
static bool loadable(const struct ways *w, size_t role)
{
    const struct plan_in *in = &w->problem.in;

    for (size_t n = 0; n < in->n_nodes; n++) {
        const struct plan_pair *p = &in->pairs[role * in->n_nodes + n];
        struct plan_node left = in->nodes[n];

        for (size_t r = 0; r < in->n_roles; r++)
            if (in->roles[r].wish == PLAN_PINNED && (w->plan.hosts[r] >> n & 1) != 0)
                plan_node_take(&left, &in->roles[r], &in->pairs[r * in->n_nodes + n]);
        if (p->allowed && plan_node_has_room(&left, &in->roles[role], p))
            return true;
    }
    return false;
}

static bool works(struct ways *w, const struct plan_way *way)
{
    bool good;

    if (w->error < 0)
        return false;
    w->error = plan_live_case(w->live, way, &w->problem);
    if (w->error < 0)
        return false;
    w->error = plan_solve(&w->problem.in, &w->plan);
    good = w->error == 0 && plan_is_feasible(&w->plan) &&
           (way->kind != PLAN_WAY_ON_DEMAND || loadable(w, way->role));
    plan_case_clear(&w->problem);
    return good;
}

static bool keep_if_works(struct ways *w, enum plan_way_kind kind, size_t role, uint32_t value)
{
    struct plan_way way = {.kind = kind, .role = role, .value = value};

    if (w->n == PLAN_WAYS_MAX || !works(w, &way))
        return false;
    w->found[w->n++] = way;
    return true;
}

static void try_nodes(struct ways *w, const struct map_role *r)
{
    for (size_t n = 0; n < w->live->map->n_nodes; n++)
        if (!map_role_allows(r, w->live->map->nodes[n].name) &&
            keep_if_works(w, PLAN_WAY_NODE, r->index, (uint32_t)n))
            return;
}

static void try_kind(struct ways *w, enum plan_way_kind kind, const struct map_role *r)
{
    switch (kind) {
    case PLAN_WAY_NODE:
        try_nodes(w, r);
        break;
    case PLAN_WAY_KV:
        if (r->kv != MAP_KV_Q8_0)
            keep_if_works(w, kind, r->index, 0);
        break;
    case PLAN_WAY_CONTEXT:
        for (uint32_t c = r->context / 2; c >= PLAN_CONTEXT_LEAST; c /= 2)
            if (keep_if_works(w, kind, r->index, c))
                return;
        break;
    case PLAN_WAY_SLOTS:
        for (uint32_t s = r->slots - 1; s >= 1; s--)
            if (keep_if_works(w, kind, r->index, s))
                return;
        break;
    case PLAN_WAY_ON_DEMAND:
        keep_if_works(w, kind, r->index, 0);
        break;
    case PLAN_WAY_NONE:
        break;
    }
}

int plan_find_ways(const struct plan_live *live, const struct plan_conflict *conflict,
                   struct plan_way ways[PLAN_WAYS_MAX], size_t *n)
{
    struct ways *w = calloc(1, sizeof *w);
    int r;

    *n = 0;
    if (w == NULL)
        return UV_ENOMEM;
    w->live = live;
    w->found = ways;
    for (int kind = PLAN_WAY_NODE; kind < PLAN_WAY_NONE; kind++)
        for (size_t i = 0; i < conflict->n_roles && w->n < PLAN_WAYS_MAX && w->error == 0; i++)
            try_kind(w, (enum plan_way_kind)kind, &live->map->roles[conflict->roles[i]]);
    *n = w->n;
    r = w->error;
    free(w);
    return r;
}
