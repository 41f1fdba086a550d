/* SPDX-License-Identifier: MIT */
/* proto/plan/plan.h - which role is hosted on which node: solved as a whole, as a pure function.
 * It lies in proto because the gateway and the CLI may not include each other and are to get the
 * same answer. It knows no file, no clock and no role map, only numbers: plan_solve.c and the files
 * of plan_search.h search, plan_conflict.c says what cannot stand together, plan_live.h makes the
 * numbers of a role map and what its nodes said.
 *
 * A plan is judged by a row of counts, each to be as small as it can, the earlier ones first:
 * pinned roles without a host, resident ones by lane, missing further hosts, on-demand roles that
 * are asked for and have no host, their further hosts, memory counted on swap, on-demand roles that
 * no node has room left for, hosts that stand and would be stopped, files that would be fetched
 * although another choice of nodes spares it. Among plans with equal counts, the roomiest node is
 * preferred as far as the quick tries go: that last wish (balance) is not part of the proof.
 *
 * No globals, no locks, nothing kept: any thread, several at once. Time is bounded by steps, not by
 * a clock, so that equal input has an equal answer. tests/bench/planbench measures it: of 1200 maps
 * of 16 nodes x 64 roles none took more than 90 ms of one core of a small server, and
 * the slowest kind made 700 steps a millisecond. A call that is to end within 10 ms, on a machine
 * that is half as fast, sets steps_max to 3000; it then answers with a good plan and a wider gap.
 */
#ifndef RM_PLAN_PLAN_H
#define RM_PLAN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

enum {
    PLAN_NODES_MAX = 64,   /* as in a role map */
    PLAN_ROLES_MAX = 256,  /* the same */
    PLAN_EXACT_NODES = 16, /* up to here the search may prove its answer */
    PLAN_EXACT_ROLES = 64,
    PLAN_STEPS = 40000, /* partial plans looked at, unless the caller says otherwise */
};

/* What a role's first host is wished for as; in the order of importance. */
enum plan_wish {
    PLAN_PINNED,
    PLAN_AUTOCOMPLETE, /* resident, by lane */
    PLAN_INTERACTIVE,
    PLAN_BATCH,
    PLAN_LOADED,  /* on-demand, and asked for: it should be hosted when there is room */
    PLAN_IF_ASKED /* on-demand and not to be hosted now: a node should have room to load it; what
                     stands of it is stopped without being counted */
};

/* The counts, the most important first. */
enum plan_count {
    PLAN_NO_PINNED, /* pinned roles without a host */
    PLAN_NO_AUTOCOMPLETE,
    PLAN_NO_INTERACTIVE,
    PLAN_NO_BATCH,
    PLAN_NO_REPLICAS,        /* hosts missing beyond the first, of pinned and resident roles */
    PLAN_NO_LOADED,          /* PLAN_LOADED roles without a host */
    PLAN_NO_LOADED_REPLICAS, /* their hosts beyond the first */
    PLAN_SWAPPED,            /* GiB counted on swap, each node's rounded up */
    PLAN_NO_HEADROOM,        /* PLAN_IF_ASKED roles for which no node has that much left */
    PLAN_STOPPED,            /* hosts that stand where they could stay, and do not stay */
    PLAN_FETCHED,            /* fetches beyond those that no choice of nodes can spare */
    PLAN_COUNTS
};

/* What a node has. Unified memory is one pool: `split` is false, or says how much of it a device
 * may map; a card's own memory is part of budget_bytes and is limited by device_bytes. */
struct plan_node {
    bool usable;
    uint64_t budget_bytes;  /* for all hosts together, wherever their bytes lie */
    uint64_t swap_bytes;    /* beyond the budget, for hosts of roles that may be swapped; 0: none */
    uint64_t largest_bytes; /* one allocation at most; 0: no limit */
    bool split;             /* the two limits below hold besides */
    uint64_t main_bytes;    /* for what does not lie on devices; swap comes on top */
    uint64_t device_bytes;  /* for what does */
};

struct plan_role {
    enum plan_wish wish;
    uint32_t replicas; /* hosts wanted, at least 1, each on a node of its own */
    bool swap;         /* its hosts may be counted on swap: overcommit */
};

/* One role on one node. */
struct plan_pair {
    bool allowed;           /* by the role's lists, and a forecast is there */
    bool standing;          /* a host is there now */
    bool file;              /* the model's file is there */
    uint64_t bytes;         /* forecast: all of it, each byte once */
    uint64_t device_bytes;  /* of them, on devices; unified memory: what devices map */
    uint64_t largest_bytes; /* its largest single allocation; 0: unknown */
};

struct plan_in {
    const struct plan_node *nodes; /* n_nodes */
    const struct plan_role *roles; /* n_roles */
    const struct plan_pair *pairs; /* [role * n_nodes + node] */
    size_t n_nodes, n_roles;
    uint64_t steps_max; /* 0: PLAN_STEPS */
};

struct plan_out {
    uint64_t hosts[PLAN_ROLES_MAX];      /* bit n: hosted on node n */
    uint64_t used_bytes[PLAN_NODES_MAX]; /* by hosts; never above budget and swap together */
    uint64_t swap_bytes[PLAN_NODES_MAX]; /* of them, counted on swap: to be told as a warning */
    uint32_t count[PLAN_COUNTS];         /* of this plan */
    uint32_t bound[PLAN_COUNTS];         /* no plan's counts come before these */
    bool exact;                          /* no plan's counts come before `count` */
    uint64_t steps;                      /* partial plans looked at */
};

/* Takes a host's bytes off what a node has: for hosts that are not in question. Saturates at 0. */
void plan_node_take(struct plan_node *node, const struct plan_role *role,
                    const struct plan_pair *pair);

/* Would the host fit into what the node has? `allowed` is not looked at. */
bool plan_node_has_room(const struct plan_node *node, const struct plan_role *role,
                        const struct plan_pair *pair);

/* What the plan leaves of a node. */
struct plan_node plan_node_left(const struct plan_in *in, const struct plan_out *out, size_t node);

/* Plans. Deterministic: equal input, equal answer. Always answers with a plan that keeps every
 * constraint; with more nodes or roles than PLAN_EXACT_*, or when the steps run out, it is the best
 * one found and `bound` tells how far it may be from the best there is.
 * Returns 0, RM_ERR_TOO_BIG (more nodes or roles than fit here) or UV_ENOMEM. */
RM_MUST_USE int plan_solve(const struct plan_in *in, struct plan_out *out);

/* Judges a plan that is given: hosts[role], bits of nodes, may be more than fits. out: hosts, what
 * they use, and the counts as plan_solve counts; no bounds. */
void plan_judge(const struct plan_in *in, const uint64_t *hosts, struct plan_out *out);

/* -1, 0 or 1: the row of counts a comes before b, is equal, comes after. */
int plan_compare(const uint32_t *a, const uint32_t *b);

/* True when every pinned and resident role has a host; replicas and on-demand may be missing. */
bool plan_is_feasible(const struct plan_out *out);

/* Why a map does not fit: a set of pinned and resident roles of which each could be hosted
 * somewhere but not all together (or one that fits nowhere). */
struct plan_conflict {
    size_t n_roles;                 /* 0: none is proved */
    uint16_t roles[PLAN_ROLES_MAX]; /* ascending */
    bool smallest;                  /* proved: no smaller set is in conflict; else none was found */
    size_t node;                    /* where the least is missing; SIZE_MAX: more memory on one node
                                       does not help */
    bool least;                     /* proved: with less no node makes them fit */
    uint64_t missing_bytes;         /* this much more there, of each kind, and they all fit */
};

/* Finds it, by solving smaller and smaller maps. Returns as plan_solve. */
RM_MUST_USE int plan_find_conflict(const struct plan_in *in, struct plan_conflict *out);

/* Why a host is where it is. */
enum plan_reason {
    PLAN_STANDS,     /* it stood there and may stay */
    PLAN_ONLY_NODE,  /* no other usable node may host the role at all */
    PLAN_EVERY_NODE, /* the role wants as many hosts as nodes may host it */
    PLAN_ONLY_ROOM,  /* no other node has room left for it */
    PLAN_HAS_FILE,   /* others have room, but not the file */
    PLAN_FITS_BEST   /* one of several; chosen for the plan as a whole */
};

/* For a host of the plan. */
enum plan_reason plan_reason_of(const struct plan_in *in, const struct plan_out *out, size_t role,
                                size_t node);

/* "stands there", ...: static storage. */
const char *plan_reason_text(enum plan_reason reason);

#endif
