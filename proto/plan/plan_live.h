/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_live.h - a role map, what its nodes said and what they forecast, as numbers for
 * the planner. Pure: snapshots in, a struct plan_case out; any thread. The gateway asks with what
 * its workers told it, `rolemesh plan` with what it asked itself or read from a description of
 * nodes (plan_facts.h). The rules that turn facts to limits stand here, once:
 *
 *   budget  total - reserve, the reserve being the role map's, else the worker's. Memory that
 *           others use beyond the reserve is taken off, but never so far that hosts that stand
 *           would have to go: that is for the worker's guard to decide, which sees the machine.
 *   swap    what is free of the node's swap, without zram (which is memory). Only hosts of roles
 *           with `overcommit: swap` are counted on it.
 *   mapped weights count in full, as if they could not be dropped: the kernel may drop them from
 *           the page cache, and then each token reads the disk. So the room that the page cache
 *           needs for them is part of the host's bytes, and swapped roles need swap for them too.
 *   devices a card's own memory is part of the budget and only hosts' device bytes lie in it;
 *           unified memory is counted once, and limited by what devices may map: the carve-out
 *           and GTT, or what the engine says of a device that nobody else describes.
 *   bytes   the forecast for exactly this setting, measured or predicted; other settings follow
 *           from its costs (node_forecast_at), as far as the core published them. */
#ifndef RM_PLAN_PLAN_LIVE_H
#define RM_PLAN_PLAN_LIVE_H

#include "proto/conf/role_map.h"
#include "proto/node/desired.h"
#include "proto/plan/plan.h"

/* What is known of a role on a node. */
enum plan_known {
    PLAN_UNASKED,  /* nothing yet: the pair may not be used, unless a host stands there */
    PLAN_FORECAST, /* `forecast` holds */
    PLAN_BAD       /* the node cannot host it: no such file, not a model */
};

struct plan_live_pair {
    enum plan_known known;
    const struct node_forecast *forecast; /* FORECAST: borrowed; total 0 is right for attach */
    bool standing;                        /* a host is there and may stay */
    bool file;                            /* the model's file is there */
    bool kept_off;                        /* an operator keeps the role off the node */
};

struct plan_live_node {
    bool usable; /* it answers, or did so a short time ago, and is not stopping */
    const struct node_state *state; /* borrowed; NULL: never heard, so not usable */
    uint64_t largest_bytes;         /* one allocation at most; 0: no limit */
};

struct plan_live {
    const struct role_map *map;
    const struct plan_live_node *nodes; /* map->n_nodes, in its order */
    const struct plan_live_pair *pairs; /* [role * n_nodes + node] */
    const bool *asked; /* [role]: on-demand, and to be hosted now; NULL: those that stand */
    bool foreign_stay; /* hosts that the map does not name keep their bytes; false: they will go */
};

/* What a worker is asked for, to host a role or to forecast it; epoch and drain_ms stay 0. Names
 * and paths are cut where a message has no room: the map's own limits are below that. */
void plan_desired_host(const struct map_role *role, struct desired_host *out);

/* The planner's input. in points into the struct and to memory freed by plan_case_clear. */
struct plan_case {
    struct plan_node nodes[PLAN_NODES_MAX];
    struct plan_role roles[PLAN_ROLES_MAX];
    struct plan_pair *pairs; /* owned */
    struct plan_in in;
};
void plan_case_clear(struct plan_case *c);

/* Another one with the same numbers, for another thread. Returns 0 or UV_ENOMEM. */
RM_MUST_USE int plan_case_copy(const struct plan_case *from, struct plan_case *to);

/* One setting other than the map's. */
struct plan_way {
    enum plan_way_kind {                   /* in the order of what they cost people */
                         PLAN_WAY_NODE,    /* the role may also use node `value` */
                         PLAN_WAY_KV,      /* kv: q8_0 */
                         PLAN_WAY_CONTEXT, /* context: value */
                         PLAN_WAY_SLOTS,   /* slots: value */
                         PLAN_WAY_ON_DEMAND,
                         PLAN_WAY_NONE
    } kind;
    size_t role;
    uint32_t value;
};

/* A host's bytes by part. */
struct plan_parts {
    uint64_t weights_bytes, kv_bytes /* with recurrent state */, compute_bytes;
    uint64_t other_bytes; /* output, process, checkpoints; or what was measured beyond the parts */
    uint64_t all_bytes;   /* the sum, or what was measured */
    uint64_t device_bytes, largest_bytes;
    bool known;     /* false: there is no forecast for it; all zero */
    bool measured;  /* all_bytes was */
    bool estimated; /* from the file's header alone: at least so much */
};

/* What the role needs on the node; way: NULL or another setting for its role. */
struct plan_parts plan_live_parts(const struct plan_live *live, size_t role, size_t node,
                                  const struct plan_way *way);

/* One node's limits, and one pair: for callers that put their own question together. */
struct plan_node plan_live_node(const struct plan_live *live, size_t node);
struct plan_pair plan_live_pair(const struct plan_live *live, size_t role, size_t node,
                                const struct plan_way *way);

/* What takes memory there and is not ours: bytes of main memory that others use, by what the worker
 * said; and forecasts of hosts that the map does not name. */
uint64_t plan_live_other_bytes(const struct plan_live *live, size_t node);
uint64_t plan_live_foreign_bytes(const struct plan_live *live, size_t node);

/* All of it. way: NULL, or one setting to be changed.
 * Returns 0, RM_ERR_TOO_BIG or UV_ENOMEM; then there is nothing to clear. */
RM_MUST_USE int plan_live_case(const struct plan_live *live, const struct plan_way *way,
                               struct plan_case *out);

enum { PLAN_WAYS_MAX = 3, PLAN_CONTEXT_LEAST = 4096 };

/* The cheapest single settings that make all pinned and resident roles fit, each found by solving
 * again. Tried for the roles of the conflict, in the order of enum plan_way_kind: another node,
 * KV q8_0, half the context again and again down to PLAN_CONTEXT_LEAST, one slot less again and
 * again, on-demand (if it can be loaded beside the pinned ones). *n: how many of PLAN_WAYS_MAX were
 * found. Returns as plan_solve. */
RM_MUST_USE int plan_find_ways(const struct plan_live *live, const struct plan_conflict *conflict,
                               struct plan_way ways[PLAN_WAYS_MAX], size_t *n);

#endif
