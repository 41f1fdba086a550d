/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_facts.h - a role map and described nodes as numbers for the planner.
 * The nodes file is YAML, read with the tables of proto/conf (key by key in plan_facts.c; example
 * files in configs/plans/): what each machine has, what stands on it, and what each model needs:
 * weights, KV cache per token at f16, state per slot of recurrent models, compute buffers. From
 * these a host's forecast for any context, slots and KV type follows, so that other settings can
 * be tried. Engines of kind attach run on their own and count as nothing unless described. */
#ifndef RM_PLAN_PLAN_FACTS_H
#define RM_PLAN_PLAN_FACTS_H

#include "proto/conf/role_map.h"
#include "proto/plan/plan_live.h"

/* A machine of the nodes file. */
struct plan_machine {
    const char *name;
    uint64_t total_bytes;
    uint64_t reserve_bytes; /* the role map's, else the file's, else 8 %, 6 GiB at least */
    uint64_t largest_bytes; /* one allocation at most; 0: no limit */
    struct conf_list hosts; /* roles that stand there now */
    struct conf_at at;
    size_t index;
};

struct plan_model {
    const char *name;
    uint64_t weights_bytes, kv_bytes /* per token, f16 */, state_bytes /* per slot */;
    uint64_t compute_bytes;
    uint32_t context_max;   /* tokens; 0: unknown */
    struct conf_list files; /* nodes that have the file; empty: unknown, taken as everywhere */
    struct conf_at at;
    size_t index;
};

struct plan_facts {
    const struct role_map *map;        /* borrowed; must outlive this */
    const struct plan_machine **nodes; /* [map node] */
    const struct plan_model **models;  /* [map model]; NULL: not described */
    struct plan_facts_private *private;
};

/* Reads and checks a nodes file against its role map; as role_map_load and role_map_parse.
 * Every node of the map must be described, and every model of a role whose engine is not attach. */
RM_MUST_USE int plan_facts_load(const char *path, const struct role_map *map,
                                struct conf_report *report, struct plan_facts **out);
RM_MUST_USE int plan_facts_parse(const char *name, const char *bytes, size_t n,
                                 const struct role_map *map, struct conf_report *report,
                                 struct plan_facts **out);
void plan_facts_free(struct plan_facts *facts); /* NULL is fine */

/* The file's tables, top first, NULL-terminated: `rolemesh keys --config --nodes` prints them. */
struct conf_table;
const struct conf_table *const *plan_facts_tables(void);

/* The forecast of a role; way: NULL or another setting for its role. */
struct plan_parts plan_parts_of(const struct plan_facts *facts, size_t role,
                                const struct plan_way *way);

/* way: NULL, or one setting to be changed. On-demand roles that stand somewhere are PLAN_LOADED,
 * others PLAN_IF_ASKED. Returns 0, RM_ERR_TOO_BIG or UV_ENOMEM; then there is nothing to clear. */
RM_MUST_USE int plan_case_of(const struct plan_facts *facts, const struct plan_way *way,
                             struct plan_case *out);

enum { PLAN_WAYS_MAX = 3, PLAN_CONTEXT_LEAST = 4096 };

/* The cheapest single settings that make all pinned and resident roles fit, each found by solving
 * again. Tried for the roles of the conflict, in the order of enum plan_way_kind: another node,
 * KV q8_0, half the context again and again down to PLAN_CONTEXT_LEAST, one slot less again and
 * again, on-demand (if it can be loaded beside the pinned ones). *n: how many of PLAN_WAYS_MAX were
 * found. Returns as plan_solve. */
RM_MUST_USE int plan_find_ways(const struct plan_facts *facts, const struct plan_conflict *conflict,
                               struct plan_way ways[PLAN_WAYS_MAX], size_t *n);

#endif
