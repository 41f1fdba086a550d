/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_explain.c - why a host of a finished plan is where it is. */
#include "proto/plan/plan.h"

static const struct plan_pair *pair_of(const struct plan_in *in, size_t role, size_t node)
{
    return &in->pairs[role * in->n_nodes + node];
}

static bool possible(const struct plan_in *in, size_t role, size_t node)
{
    return pair_of(in, role, node)->allowed &&
           plan_node_has_room(&in->nodes[node], &in->roles[role], pair_of(in, role, node));
}

static bool has_room(const struct plan_in *in, const struct plan_out *out, size_t role, size_t node)
{
    struct plan_node left = plan_node_left(in, out, node);

    return plan_node_has_room(&left, &in->roles[role], pair_of(in, role, node));
}

enum plan_reason plan_reason_of(const struct plan_in *in, const struct plan_out *out, size_t role,
                                size_t node)
{
    size_t nodes = 0, with_room = 0, with_file = 0;

    if (pair_of(in, role, node)->standing)
        return PLAN_STANDS;
    for (size_t n = 0; n < in->n_nodes; n++) {
        bool other = n != node && (out->hosts[role] >> n & 1) == 0 && possible(in, role, n);

        nodes += possible(in, role, n);
        if (other && has_room(in, out, role, n)) {
            with_room++;
            with_file += pair_of(in, role, n)->file;
        }
    }
    if (nodes == 1)
        return PLAN_ONLY_NODE;
    if (nodes <= in->roles[role].replicas)
        return PLAN_EVERY_NODE;
    if (with_room == 0)
        return PLAN_ONLY_ROOM;
    return pair_of(in, role, node)->file && with_file < with_room ? PLAN_HAS_FILE : PLAN_FITS_BEST;
}

const char *plan_reason_text(enum plan_reason reason)
{
    static const char *const texts[] = {
        [PLAN_STANDS] = "stands there",
        [PLAN_ONLY_NODE] = "the only node that may host it and is large enough",
        [PLAN_EVERY_NODE] = "on every node that may host it",
        [PLAN_ONLY_ROOM] = "no other node has room left",
        [PLAN_HAS_FILE] = "its file is there",
        [PLAN_FITS_BEST] = "one of several with room",
    };

    return texts[reason];
}
