/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_answer.c - a plan with what it was made of: solved or judged, and its small
 * facts.
 */
#include "proto/plan/plan_answer.h"

#include <stdio.h>
#include <string.h>

const struct map_role *plan_answer_role(const struct plan_answer *a, size_t role)
{
    return &a->live->map->roles[role];
}

const char *plan_answer_node(const struct plan_answer *a, size_t node)
{
    return a->live->map->nodes[node].name;
}

const struct plan_pair *plan_answer_pair(const struct plan_answer *a, size_t role, size_t node)
{
    return &a->problem.pairs[role * a->problem.in.n_nodes + node];
}

bool plan_answer_hosts(const struct plan_answer *a, size_t role, size_t node)
{
    return (a->plan.hosts[role] >> node & 1) != 0;
}

/* --- made ---------------------------------------------------------------------------------------
 */

static int begin(const struct plan_live *live, const char *const *silent, struct plan_answer *a)
{
    memset(a, 0, sizeof *a);
    a->live = live;
    a->silent = silent;
    return plan_live_case(live, NULL, &a->problem);
}

int plan_answer_solve(const struct plan_live *live, const char *const *silent,
                      struct plan_answer *out)
{
    int r = begin(live, silent, out);

    if (r < 0)
        return r;
    r = plan_solve(&out->problem.in, &out->plan);
    if (r == 0 && !plan_is_feasible(&out->plan)) {
        r = plan_find_conflict(&out->problem.in, &out->conflict);
        if (r == 0)
            r = plan_find_ways(live, &out->conflict, out->ways, &out->n_ways);
    }
    if (r < 0)
        plan_answer_clear(out);
    return r;
}

int plan_answer_judge(const struct plan_live *live, const char *const *silent,
                      const uint64_t *hosts, const struct plan_out *best, struct plan_answer *out)
{
    int r = begin(live, silent, out);

    if (r < 0)
        return r;
    plan_judge(&out->problem.in, hosts, &out->plan);
    if (best == NULL)
        return 0;
    memcpy(out->plan.bound, best->bound, sizeof out->plan.bound);
    out->plan.steps = best->steps;
    out->plan.exact = best->exact && plan_compare(out->plan.count, best->count) <= 0;
    return 0;
}

void plan_answer_clear(struct plan_answer *a)
{
    plan_case_clear(&a->problem);
}

/* --- small facts --------------------------------------------------------------------------------
 */

size_t plan_home_of(const struct plan_answer *a, size_t role)
{
    for (size_t n = 0; n < a->problem.in.n_nodes; n++) {
        struct plan_node left = plan_node_left(&a->problem.in, &a->plan, n);

        if (plan_answer_pair(a, role, n)->allowed &&
            plan_node_has_room(&left, &a->problem.roles[role], plan_answer_pair(a, role, n)))
            return n;
    }
    return SIZE_MAX;
}

enum plan_lack plan_lack_of(const struct plan_answer *a, size_t role)
{
    uint32_t hosts = (uint32_t)__builtin_popcountll(a->plan.hosts[role]);

    if (a->problem.roles[role].wish == PLAN_IF_ASKED)
        return plan_home_of(a, role) == SIZE_MAX ? PLAN_LACKS_HEADROOM : PLAN_LACKS_NOTHING;
    if (hosts == 0)
        return PLAN_LACKS_HOST;
    return hosts < a->problem.roles[role].replicas ? PLAN_LACKS_HOSTS : PLAN_LACKS_NOTHING;
}

struct plan_parts plan_role_parts(const struct plan_answer *a, size_t role)
{
    struct plan_parts least = {.known = false};

    for (size_t n = 0; n < a->problem.in.n_nodes; n++) {
        struct plan_parts p = plan_live_parts(a->live, role, n, NULL);

        if (p.known && (!least.known || p.all_bytes < least.all_bytes))
            least = p;
    }
    return least;
}

uint64_t plan_node_total(const struct plan_answer *a, size_t node)
{
    const struct node_state *s = a->live->nodes[node].state;

    return s != NULL ? s->memory.total : 0;
}

uint64_t plan_node_reserve(const struct plan_answer *a, size_t node)
{
    uint64_t total = plan_node_total(a, node), budget = a->problem.nodes[node].budget_bytes;

    return total > budget ? total - budget : 0;
}

const char *plan_bad_of(const struct plan_answer *a, size_t role, size_t node)
{
    const struct plan_live_pair *p = &a->live->pairs[role * a->live->map->n_nodes + node];

    return p->known == PLAN_BAD &&
                   map_role_allows(plan_answer_role(a, role), plan_answer_node(a, node))
               ? p->forecast->error
               : NULL;
}

void plan_stop_reason(const struct plan_answer *a, size_t role, size_t node, char *out, size_t size)
{
    const struct plan_role *r = &a->problem.roles[role];

    for (size_t n = 0; n < a->problem.in.n_nodes; n++)
        if (plan_answer_hosts(a, role, n) && !plan_answer_pair(a, role, n)->standing) {
            snprintf(out, size, "moves to %.63s: its room is needed", plan_answer_node(a, n));
            return;
        }
    if (a->live->pairs[role * a->live->map->n_nodes + node].kept_off)
        snprintf(out, size, "an operator keeps it off the node");
    else if (!plan_answer_pair(a, role, node)->allowed)
        snprintf(out, size, "it may not be hosted there");
    else if (r->wish == PLAN_IF_ASKED)
        snprintf(out, size, "nobody asks for it");
    else if (plan_lack_of(a, role) == PLAN_LACKS_NOTHING)
        snprintf(out, size, "it has as many hosts as it wants without this one");
    else
        snprintf(out, size, "its room is needed for what is more important");
}
