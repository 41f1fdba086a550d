/* SPDX-License-Identifier: MIT */
/* gateway/place/load.h - the sum of hosts on one node, and whether the node can carry it.
 * The same limits as plan_node_has_room (proto/plan), but over sums: hosts can be taken off again,
 * and how much is too much can be told. Pure. */
#ifndef RM_PLACE_LOAD_H
#define RM_PLACE_LOAD_H

#include "proto/plan/plan.h"

struct load_sum {               /* bytes */
    uint64_t all, all_main;     /* of all hosts; in main memory */
    uint64_t plain, plain_main; /* of those that may not be swapped */
    uint64_t device;
};

/* One host more, or less. device_bytes: of `bytes`, more counts as all of it. */
void load_add(struct load_sum *sum, bool swap, uint64_t bytes, uint64_t device_bytes);
void load_take(struct load_sum *sum, bool swap, uint64_t bytes, uint64_t device_bytes);

/* By how many bytes the sum is over the node's worst limit, of which each may be exceeded by its
 * `part`-th (0: not at all). 0: it is within. */
uint64_t load_over(const struct load_sum *sum, const struct plan_node *node, uint64_t part);

#endif
