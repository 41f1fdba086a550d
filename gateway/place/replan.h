/* SPDX-License-Identifier: MIT */
/* gateway/place/replan.h - where pinned and resident roles shall stand, given what stands.
 * A pure function over numbers; any thread. proto/plan solves a map as a whole and would move a
 * host whenever that serves a wish more; a running cluster must not stop a host for a wish that is
 * not more important than the host is. So the question is put in parts:
 *
 *   1. What stands and may stay is kept, as far as it fits, the important first;
 *      of pinned roles all hosts that are wanted. Of a role that an operator wants on some nodes,
 *      these come first, also if they are still to be loaded there; but no standing host of
 *      another pinned role goes for one that is.
 *   2. What is missing is solved together in what is left: once around on-demand hosts that stand,
 *      and when that leaves more wishes open, as if they were not there (they make room).
 *   3. For each kind of wish that is still open, the important first: solved again with the hosts
 *      of less important wishes free to move or to go. Taken only if it hosts more of them; then 2
 *      again for what had to go.
 *
 * On-demand roles are not placed here: one wish is that each finds room when asked for. A role that
 * no node can host (every forecast bad) is given to one of them all the same, one where it stands
 * if there is one: what runs goes on, and if nothing runs, its worker tells why. */
#ifndef RM_PLACE_REPLAN_H
#define RM_PLACE_REPLAN_H

#include "proto/plan/plan.h"

struct replan_role {
    enum plan_wish wish; /* PLAN_PINNED..PLAN_BATCH; PLAN_IF_ASKED: on demand */
    uint32_t replicas;
    bool swap; /* may be counted on swap */
};

struct replan_pair {
    bool may;   /* allowed, forecast known, not given up after failures */
    bool bad;   /* allowed, and the node is there, but its forecast is bad or loads there fail */
    bool waits; /* allowed, and a forecast is still to come */
    bool file;  /* the model's file is there */
    uint8_t stands; /* 0: no; else the higher, the better to keep it (ready, wanted before) */
    bool asked;     /* an operator wants it here; of pinned roles only */
    bool loads; /* stands (or is asked for), but is still to be loaded, or again: kept within the
                   budget only */
    uint64_t bytes, device_bytes, largest_bytes; /* as plan_pair; valid with may or stands */
};

struct replan_in {
    const struct plan_node *nodes;
    const struct replan_role *roles; /* n_roles <= PLAN_ROLES_MAX */
    const struct replan_pair *pairs; /* [role * n_nodes + node] */
    uint64_t drift; /* what stands is kept up to this part over the limits (32: by a 32nd), for
                       numbers that grew a little under hosts that stand; 0: not at all */
    size_t n_nodes, n_roles;
    uint64_t steps_max; /* of each solve; 0: PLAN_STEPS */
};

/* Why a role got fewer hosts than it wants. */
enum replan_short {
    REPLAN_OK,
    REPLAN_WAITS,   /* a forecast is still to come */
    REPLAN_NO_NODE, /* no allowed node answers */
    REPLAN_BAD,     /* the nodes that answer cannot host it */
    REPLAN_NO_ROOM  /* `missing_bytes` would be needed on the roomiest node */
};

struct replan_verdict {
    enum replan_short why;
    uint64_t missing_bytes;
};

struct replan_out {
    uint64_t hosts[PLAN_ROLES_MAX]; /* bit n: shall stand on node n; on demand: 0 */
    struct replan_verdict verdict[PLAN_ROLES_MAX];
    uint32_t solves; /* questions put to proto/plan */
    bool exact;      /* all of them answered with proof */
};

/* Returns 0, RM_ERR_TOO_BIG or UV_ENOMEM. Deterministic. */
RM_MUST_USE int replan_solve(const struct replan_in *in, struct replan_out *out);

#endif
