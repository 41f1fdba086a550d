/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_answer.h - a plan of a role map with what it was made of, as people and programs
 * read it: `rolemesh plan` prints it, and the gateway answers GET and POST /api/v1/plan with the
 * same JSON (plan_json.c; the schema Plan of proto/openapi.yaml). Pure; any thread. */
#ifndef RM_PLAN_PLAN_ANSWER_H
#define RM_PLAN_PLAN_ANSWER_H

#include "proto/plan/plan_live.h"

struct plan_answer {
    const struct plan_live *live; /* borrowed */
    const char *const *silent; /* [node]: why a node told nothing, or NULL; NULL: none was asked */
    struct plan_case problem;
    struct plan_out plan;
    struct plan_conflict conflict;       /* looked for when a solved plan is not feasible */
    struct plan_way ways[PLAN_WAYS_MAX]; /* the same */
    size_t n_ways;
};

/* Solves; when that is not feasible, says what is in conflict and what would help. live and silent
 * must outlive the answer. Returns as plan_solve; on success to be cleared. */
RM_MUST_USE int plan_answer_solve(const struct plan_live *live, const char *const *silent,
                                  struct plan_answer *out);

/* The plan is given: hosts[role], bits of nodes. best: what the same question is solved with, for
 * bounds; NULL: they are 0. */
RM_MUST_USE int plan_answer_judge(const struct plan_live *live, const char *const *silent,
                                  const uint64_t *hosts, const struct plan_out *best,
                                  struct plan_answer *out);
void plan_answer_clear(struct plan_answer *a);

/* A role and a node of the map; what is known of the pair; is the role hosted there in the plan? */
const struct map_role *plan_answer_role(const struct plan_answer *a, size_t role);
const char *plan_answer_node(const struct plan_answer *a, size_t node);
const struct plan_pair *plan_answer_pair(const struct plan_answer *a, size_t role, size_t node);
bool plan_answer_hosts(const struct plan_answer *a, size_t role, size_t node);

struct rm_jw;
void plan_answer_write(const struct plan_answer *a, struct rm_jw *w, const char *key);

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

#endif
