/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_facts.h - described nodes: a file in place of what workers would say.
 * The nodes file is YAML, read with the tables of proto/conf (key by key in plan_facts.c; example
 * files in configs/plans/): what each machine has, what stands on it, and what each model needs:
 * weights, KV cache per token at f16 and what of it a sliding window caps, state per slot of
 * recurrent models, compute buffers; and what was measured. From these come the states and
 * forecasts that workers would have given, with costs, so that other settings can be tried.
 * Engines of kind attach run on their own and count as nothing unless described. */
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
    uint64_t swap_bytes;    /* free, without zram */
    uint64_t others_bytes;  /* used by other programs */
    uint64_t card_bytes;    /* memory of its devices' own, beside total */
    uint64_t mapped_bytes;  /* of total, what devices may map; 0 and no card: no devices */
    struct conf_list hosts; /* roles that stand there now */
    struct conf_at at;
    size_t index;
};

struct plan_model {
    const char *name;
    uint64_t weights_bytes, kv_bytes /* per token, f16 */, state_bytes /* per slot */;
    uint64_t window_kv_bytes; /* per token of layers with a window, f16 */
    uint64_t compute_bytes;
    uint32_t window;        /* tokens; 0: none */
    uint32_t context_max;   /* tokens; 0: unknown */
    struct conf_list files; /* nodes that have the file; empty: unknown, taken as everywhere */
    struct conf_at at;
    size_t index;
};

/* What a role's host took. */
struct plan_measured {
    const char *name; /* of the role */
    uint64_t total_bytes;
    struct conf_list nodes; /* where; empty: everywhere */
    struct conf_at at;
    size_t index;
};

struct plan_facts {
    const struct role_map *map;        /* borrowed; must outlive this */
    const struct plan_machine **nodes; /* [map node] */
    const struct plan_model **models;  /* [map model]; NULL: not described */
    struct plan_live live;             /* as if they had said so; points into this */
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

#endif
