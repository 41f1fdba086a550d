/* SPDX-License-Identifier: MIT */
/* cli/plan_show.h - an answer of `rolemesh plan`, for people and as JSON. */
#ifndef RM_CLI_PLAN_SHOW_H
#define RM_CLI_PLAN_SHOW_H

#include "proto/plan/plan_live.h"

struct plan_answer {
    const struct plan_live *live; /* borrowed */
    const char *const *silent; /* [node]: why a node told nothing, or NULL; NULL: none was asked */
    struct plan_case problem;
    struct plan_out plan;
    struct plan_conflict conflict;       /* looked for when the plan is not feasible */
    struct plan_way ways[PLAN_WAYS_MAX]; /* the same */
    size_t n_ways;
};

/* A role's bytes where they are least; `known` false: no node has a forecast. */
struct plan_parts plan_role_parts(const struct plan_answer *a, size_t role);

/* All of the machine's memory that counts, and what of it hosts may not use: the reserve, or what
 * others use when that is more. 0 of a node that told nothing. */
uint64_t plan_node_total(const struct plan_answer *a, size_t node);
uint64_t plan_node_reserve(const struct plan_answer *a, size_t node);

/* Why the node cannot host a role that it may host; NULL: it can, or may not. */
const char *plan_bad_of(const struct plan_answer *a, size_t role, size_t node);

/* Why a standing host goes; out: size bytes for the text. */
void plan_stop_reason(const struct plan_answer *a, size_t role, size_t node, char *out,
                      size_t size);

/* What the plan lacks for a role: how the host beyond the first, or the headroom, is missing. */
enum plan_lack { PLAN_LACKS_NOTHING, PLAN_LACKS_HOST, PLAN_LACKS_HOSTS, PLAN_LACKS_HEADROOM };

enum plan_lack plan_lack_of(const struct plan_answer *a, size_t role);

/* The first node with room to load an on-demand role that is not hosted; SIZE_MAX: none. */
size_t plan_home_of(const struct plan_answer *a, size_t role);

void plan_show_text(const struct plan_answer *a); /* on stdout */
RM_MUST_USE int
plan_show_json(const struct plan_answer *a); /* one line; RM_ERR_TOO_BIG, UV_ENOMEM */

#endif
