/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_judge.c - a plan that is given, judged by the counts of plan.h: for a cluster
 * that runs, whose hosts may be more than fits by now. Counts exactly as the search does; its test
 * compares the two. */
#include "proto/plan/plan.h"

#include <string.h>

#define GIB (UINT64_C(1) << 30)

static const struct plan_pair *pair_of(const struct plan_in *in, size_t role, size_t node)
{
    return &in->pairs[role * in->n_nodes + node];
}

static bool hosted(const struct plan_out *out, size_t role, size_t node)
{
    return (out->hosts[role] >> node & 1) != 0;
}

static uint64_t over(uint64_t used, uint64_t limit)
{
    return used > limit ? used - limit : 0;
}

/* Could the node host it, were it empty? */
static bool possible(const struct plan_in *in, size_t role, size_t node)
{
    return pair_of(in, role, node)->allowed &&
           plan_node_has_room(&in->nodes[node], &in->roles[role], pair_of(in, role, node));
}

/* What lies on a node. */
struct load {
    uint64_t all, device, all_unswapped, main_unswapped;
};

static void load_add(struct load *l, const struct plan_in *in, size_t role, size_t node)
{
    const struct plan_pair *p = pair_of(in, role, node);
    uint64_t device = p->device_bytes < p->bytes ? p->device_bytes : p->bytes;

    l->all += p->bytes;
    l->device += device;
    l->all_unswapped += in->roles[role].swap ? 0 : p->bytes;
    l->main_unswapped += in->roles[role].swap ? 0 : p->bytes - device;
}

static struct load load_of(const struct plan_in *in, const struct plan_out *out, size_t node)
{
    struct load l = {0, 0, 0, 0};

    for (size_t r = 0; r < in->n_roles; r++)
        if (hosted(out, r, node))
            load_add(&l, in, r, node);
    return l;
}

static bool load_fits(const struct load *l, const struct plan_node *n)
{
    if (over(l->all, n->budget_bytes) > n->swap_bytes || l->all_unswapped > n->budget_bytes)
        return false;
    return !n->split || (l->device <= n->device_bytes && l->main_unswapped <= n->main_bytes &&
                         over(l->all - l->device, n->main_bytes) <= n->swap_bytes);
}

static void judge_node(const struct plan_in *in, size_t node, struct plan_out *out)
{
    const struct plan_node *n = &in->nodes[node];
    struct load l = load_of(in, out, node);
    uint64_t swap = over(l.all, n->budget_bytes);

    if (n->split && over(l.all - l.device, n->main_bytes) > swap)
        swap = over(l.all - l.device, n->main_bytes);
    if (swap > n->swap_bytes)
        swap = n->swap_bytes; /* what runs may be more than there is room for */
    out->used_bytes[node] = l.all;
    out->swap_bytes[node] = n->usable ? swap : 0;
    out->count[PLAN_SWAPPED] += (uint32_t)((out->swap_bytes[node] + GIB - 1) / GIB);
}

/* On demand and not asked for: has a node room left to load it? */
static void judge_headroom(const struct plan_in *in, size_t role, struct plan_out *out)
{
    for (size_t n = 0; n < in->n_nodes; n++) {
        struct load l = load_of(in, out, n);

        load_add(&l, in, role, n);
        if (possible(in, role, n) && load_fits(&l, &in->nodes[n]))
            return;
    }
    out->count[PLAN_NO_HEADROOM]++;
}

static void judge_role(const struct plan_in *in, size_t role, struct plan_out *out)
{
    const struct plan_role *r = &in->roles[role];
    uint32_t hosts = 0, files = 0, fetched = 0, spared;

    if (r->wish == PLAN_IF_ASKED) {
        judge_headroom(in, role, out);
        return;
    }
    for (size_t n = 0; n < in->n_nodes; n++) {
        bool can = possible(in, role, n), file = can && pair_of(in, role, n)->file;

        hosts += hosted(out, role, n);
        files += file;
        fetched += hosted(out, role, n) && !file;
        out->count[PLAN_STOPPED] += can && pair_of(in, role, n)->standing && !hosted(out, role, n);
    }
    spared = r->replicas > files ? r->replicas - files : 0; /* that no choice spares */
    out->count[PLAN_FETCHED] += fetched > spared ? fetched - spared : 0;
    if (hosts >= r->replicas)
        return;
    if (hosts == 0)
        out->count[r->wish == PLAN_LOADED ? PLAN_NO_LOADED : (enum plan_count)r->wish]++;
    out->count[r->wish == PLAN_LOADED ? PLAN_NO_LOADED_REPLICAS : PLAN_NO_REPLICAS] +=
        r->replicas - (hosts > 0 ? hosts : 1);
}

void plan_judge(const struct plan_in *in, const uint64_t *hosts, struct plan_out *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->hosts, hosts, in->n_roles * sizeof *hosts);
    for (size_t n = 0; n < in->n_nodes; n++)
        judge_node(in, n, out);
    for (size_t r = 0; r < in->n_roles; r++)
        judge_role(in, r, out);
}
