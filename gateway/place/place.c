/* SPDX-License-Identifier: MIT */
#include "gateway/place/place.h"

#include <string.h>

static size_t at(const struct place_input *in, size_t role, size_t node)
{
    return role * in->map->n_nodes + node;
}

static uint64_t node_used(const struct place_input *in, const bool *wanted, size_t node)
{
    uint64_t used = 0;

    for (size_t r = 0; r < in->map->n_roles; r++)
        if (wanted[at(in, r, node)])
            used += in->forecasts[at(in, r, node)].bytes;
    return used;
}

/* Bytes that are missing on the node for the role; 0: it fits. */
static uint64_t node_missing(const struct place_input *in, const bool *wanted, size_t role,
                             size_t node)
{
    uint64_t used = node_used(in, wanted, node), need = in->forecasts[at(in, role, node)].bytes;
    uint64_t budget = in->nodes[node].budget;

    if (used >= budget)
        return need;
    return need > budget - used ? need - (budget - used) : 0;
}

static bool may_use(const struct place_input *in, size_t role, size_t node)
{
    return in->nodes[node].usable &&
           map_role_allows(&in->map->roles[role], in->map->nodes[node].name);
}

static uint32_t hosts_of(const struct place_input *in, const bool *wanted, size_t role)
{
    uint32_t n = 0;

    for (size_t i = 0; i < in->map->n_nodes; i++)
        n += wanted[at(in, role, i)];
    return n;
}

/* What stands and fits stays, so that placing again moves nothing. */
static void keep_standing(const struct place_input *in, size_t role, bool *wanted)
{
    for (size_t i = 0; i < in->map->n_nodes; i++) {
        if (hosts_of(in, wanted, role) >= in->map->roles[role].replicas)
            return;
        if (in->standing[at(in, role, i)] && may_use(in, role, i) &&
            node_missing(in, wanted, role, i) == 0)
            wanted[at(in, role, i)] = true;
    }
}

static void fit_role(const struct place_input *in, size_t role, bool *wanted,
                     struct place_verdict *v)
{
    size_t first_bad = SIZE_MAX, seen = 0, bad = 0;
    bool waits = false;

    *v = (struct place_verdict){.why = PLACE_OK};
    for (size_t i = 0;
         i < in->map->n_nodes && hosts_of(in, wanted, role) < in->map->roles[role].replicas; i++) {
        const struct place_forecast *f = &in->forecasts[at(in, role, i)];
        uint64_t missing;

        if (wanted[at(in, role, i)] || !may_use(in, role, i))
            continue;
        seen++;
        if (f->known == PLACE_UNASKED) {
            waits = true;
        } else if (f->known == PLACE_BAD) {
            bad++;
            first_bad = first_bad == SIZE_MAX ? i : first_bad;
        } else if ((missing = node_missing(in, wanted, role, i)) == 0) {
            wanted[at(in, role, i)] = true;
        } else if (v->missing == 0 || missing < v->missing) {
            v->missing = missing;
        }
    }
    if (hosts_of(in, wanted, role) == 0 && seen > 0 && bad == seen)
        wanted[at(in, role, first_bad)] = true; /* the worker says why, in its host's state */
    if (hosts_of(in, wanted, role) >= in->map->roles[role].replicas)
        return;
    v->why = waits ? PLACE_WAITS : v->missing > 0 ? PLACE_NO_ROOM : PLACE_NO_NODE;
}

static int rank(const struct map_role *r)
{
    return (int)r->residency * 8 + (int)r->lane;
}

void place_first_fit(const struct place_input *in, bool *wanted, struct place_verdict *verdicts)
{
    size_t n = in->map->n_roles;
    int last = MAP_ON_DEMAND * 8 + MAP_LANE_BATCH;

    memset(wanted, 0, n * in->map->n_nodes * sizeof *wanted);
    for (int level = 0; level <= last; level++)
        for (size_t r = 0; r < n; r++)
            if (rank(&in->map->roles[r]) == level)
                keep_standing(in, r, wanted);
    for (int level = 0; level <= last; level++)
        for (size_t r = 0; r < n; r++)
            if (rank(&in->map->roles[r]) == level)
                fit_role(in, r, wanted, &verdicts[r]);
}
