/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_node.c - what a node has left when hosts are taken as given.
 * A node with budget B and swap S holds hosts that may be swapped, W bytes together, and others, U
 * bytes, when U <= B and U + W <= B + S. What is left for others is min(B - U, B + S - U - W), and
 * for those that may be swapped B + S - U - W: so a host that may be swapped takes swap first, as
 * that leaves the most for all. Main memory of a split node follows the same rule; where the two
 * differ in what is left of the swap, the smaller is kept. Pure. */
#include "proto/plan/plan.h"

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t device_of(const struct plan_pair *p)
{
    return smaller(p->device_bytes, p->bytes);
}

/* Takes bytes that may be swapped off a pool. Returns what is left of the swap. */
static uint64_t take_swappable(uint64_t *pool, uint64_t swap, uint64_t bytes)
{
    uint64_t all = *pool > UINT64_MAX - swap ? UINT64_MAX : *pool + swap;

    all = less(all, bytes);
    *pool = smaller(*pool, all);
    return all - *pool;
}

void plan_node_take(struct plan_node *node, const struct plan_role *role,
                    const struct plan_pair *pair)
{
    uint64_t main_bytes = pair->bytes - device_of(pair), swap = node->swap_bytes;

    if (role->swap) {
        node->swap_bytes = take_swappable(&node->budget_bytes, swap, pair->bytes);
        if (node->split)
            node->swap_bytes =
                smaller(node->swap_bytes, take_swappable(&node->main_bytes, swap, main_bytes));
    } else {
        node->budget_bytes = less(node->budget_bytes, pair->bytes);
        node->main_bytes = less(node->main_bytes, main_bytes);
    }
    node->device_bytes = less(node->device_bytes, device_of(pair));
}

bool plan_node_has_room(const struct plan_node *node, const struct plan_role *role,
                        const struct plan_pair *pair)
{
    uint64_t swap = role->swap ? node->swap_bytes : 0;

    if (!node->usable || (node->largest_bytes > 0 && pair->largest_bytes > node->largest_bytes) ||
        less(pair->bytes, node->budget_bytes) > swap)
        return false;
    return !node->split || (device_of(pair) <= node->device_bytes &&
                            less(pair->bytes - device_of(pair), node->main_bytes) <= swap);
}

struct plan_node plan_node_left(const struct plan_in *in, const struct plan_out *out, size_t node)
{
    struct plan_node left = in->nodes[node];

    for (size_t r = 0; r < in->n_roles; r++)
        if ((out->hosts[r] >> node & 1) != 0)
            plan_node_take(&left, &in->roles[r], &in->pairs[r * in->n_nodes + node]);
    return left;
}
