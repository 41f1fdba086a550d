/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_json.c - a plan as JSON: the schema Plan of proto/openapi.yaml. All sizes are
 * bytes. */
#include "proto/plan/plan_answer.h"

#include "proto/base/json_write.h"

#include <stdio.h>

static void json_host(const struct plan_answer *a, struct rm_jw *w, size_t role, size_t node)
{
    bool here = (a->plan.hosts[role] >> node & 1) != 0;
    bool stands = a->problem.pairs[role * a->problem.in.n_nodes + node].standing;
    struct plan_parts p = plan_live_parts(a->live, role, node, NULL);
    char why[160];

    if (!here && !stands)
        return;
    if (here)
        snprintf(why, sizeof why, "%s",
                 plan_reason_text(plan_reason_of(&a->problem.in, &a->plan, role, node)));
    else
        plan_stop_reason(a, role, node, why, sizeof why);
    rm_jw_obj(w, NULL);
    rm_jw_str(w, "role", plan_answer_role(a, role)->name);
    rm_jw_str(w, "action", !here ? "stop" : stands ? "keep" : "load");
    rm_jw_str(w, "reason", why);
    rm_jw_u64(w, "weights", p.weights_bytes);
    rm_jw_u64(w, "kv", p.kv_bytes);
    rm_jw_u64(w, "compute", p.compute_bytes);
    rm_jw_u64(w, "other", p.other_bytes);
    rm_jw_u64(w, "bytes", p.all_bytes);
    rm_jw_u64(w, "device", p.device_bytes);
    rm_jw_bool(w, "measured", p.measured);
    rm_jw_bool(w, "estimated", p.estimated);
    rm_jw_end(w);
}

static void json_bad(const struct plan_answer *a, struct rm_jw *w, size_t node)
{
    rm_jw_arr(w, "cannot_host");
    for (size_t r = 0; r < a->problem.in.n_roles; r++) {
        const char *why = plan_bad_of(a, r, node);

        if (why == NULL)
            continue;
        rm_jw_obj(w, NULL);
        rm_jw_str(w, "role", plan_answer_role(a, r)->name);
        rm_jw_str(w, "why", why);
        rm_jw_end(w);
    }
    rm_jw_end(w);
}

static void json_foreign(const struct plan_answer *a, struct rm_jw *w, size_t node)
{
    const struct node_state *s = a->live->nodes[node].state;

    rm_jw_arr(w, "not_in_map");
    for (uint32_t i = 0; s != NULL && i < s->n_hosts; i++)
        if (role_map_role(a->live->map, rm_slice_of(s->hosts[i].role)) == NULL)
            rm_jw_str(w, NULL, s->hosts[i].role);
    rm_jw_end(w);
}

static void json_nodes(const struct plan_answer *a, struct rm_jw *w)
{
    rm_jw_arr(w, "nodes");
    for (size_t n = 0; n < a->problem.in.n_nodes; n++) {
        uint64_t budget = a->problem.nodes[n].budget_bytes, used = a->plan.used_bytes[n];

        rm_jw_obj(w, NULL);
        rm_jw_str(w, "node", a->live->map->nodes[n].name);
        rm_jw_bool(w, "usable", a->problem.nodes[n].usable);
        rm_jw_str(w, "silent", a->silent != NULL ? a->silent[n] : NULL);
        rm_jw_u64(w, "total", plan_node_total(a, n));
        rm_jw_u64(w, "reserve", plan_node_reserve(a, n));
        rm_jw_u64(w, "used", used);
        rm_jw_u64(w, "free", budget > used ? budget - used : 0);
        rm_jw_u64(w, "swap", a->plan.swap_bytes[n]);
        rm_jw_arr(w, "hosts");
        for (size_t r = 0; r < a->problem.in.n_roles; r++)
            json_host(a, w, r, n);
        rm_jw_end(w);
        json_bad(a, w, n);
        json_foreign(a, w, n);
        rm_jw_end(w);
    }
    rm_jw_end(w);
}

static void json_counts(const struct plan_answer *a, struct rm_jw *w)
{
    static const char *const names[PLAN_COUNTS] = {
        "pinned",          "autocomplete", "interactive", "batch",   "replicas", "loaded",
        "loaded_replicas", "swap_gib",     "headroom",    "stopped", "fetched"};

    rm_jw_obj(w, "counts");
    for (size_t i = 0; i < PLAN_COUNTS; i++)
        rm_jw_u64(w, names[i], a->plan.count[i]);
    rm_jw_end(w);
    rm_jw_obj(w, "bounds");
    for (size_t i = 0; i < PLAN_COUNTS; i++)
        rm_jw_u64(w, names[i], a->plan.bound[i]);
    rm_jw_end(w);
}

static void json_lacks(const struct plan_answer *a, struct rm_jw *w)
{
    static const char *const words[] = {
        [PLAN_LACKS_HOST] = "host",
        [PLAN_LACKS_HOSTS] = "replicas",
        [PLAN_LACKS_HEADROOM] = "headroom",
    };

    rm_jw_arr(w, "lacks");
    for (size_t r = 0; r < a->problem.in.n_roles; r++) {
        enum plan_lack lack = plan_lack_of(a, r);

        if (lack == PLAN_LACKS_NOTHING)
            continue;
        rm_jw_obj(w, NULL);
        rm_jw_str(w, "role", plan_answer_role(a, r)->name);
        rm_jw_str(w, "what", words[lack]);
        rm_jw_u64(w, "bytes", plan_role_parts(a, r).all_bytes);
        rm_jw_end(w);
    }
    rm_jw_end(w);
}

static void json_conflict(const struct plan_answer *a, struct rm_jw *w)
{
    const struct plan_conflict *c = &a->conflict;

    if (c->n_roles == 0) {
        rm_jw_null(w, "conflict");
        return;
    }
    rm_jw_obj(w, "conflict");
    rm_jw_arr(w, "roles");
    for (size_t i = 0; i < c->n_roles; i++)
        rm_jw_str(w, NULL, plan_answer_role(a, c->roles[i])->name);
    rm_jw_end(w);
    rm_jw_bool(w, "smallest", c->smallest);
    rm_jw_str(w, "node", c->node != SIZE_MAX ? a->live->map->nodes[c->node].name : NULL);
    rm_jw_u64(w, "missing", c->missing_bytes);
    rm_jw_bool(w, "least", c->least);
    rm_jw_end(w);
}

static void json_ways(const struct plan_answer *a, struct rm_jw *w)
{
    static const char *const keys[] = {"node", "kv", "context", "slots", "residency"};

    rm_jw_arr(w, "ways_out");
    for (size_t i = 0; i < a->n_ways; i++) {
        const struct plan_way *way = &a->ways[i];

        rm_jw_obj(w, NULL);
        rm_jw_str(w, "role", plan_answer_role(a, way->role)->name);
        rm_jw_str(w, "key", keys[way->kind]);
        if (way->kind == PLAN_WAY_NODE)
            rm_jw_str(w, "value", a->live->map->nodes[way->value].name);
        else if (way->kind == PLAN_WAY_KV)
            rm_jw_str(w, "value", "q8_0");
        else if (way->kind == PLAN_WAY_ON_DEMAND)
            rm_jw_str(w, "value", "on-demand");
        else
            rm_jw_u64(w, "value", way->value);
        rm_jw_end(w);
    }
    rm_jw_end(w);
}

void plan_answer_write(const struct plan_answer *a, struct rm_jw *w, const char *key)
{
    rm_jw_obj(w, key);
    rm_jw_bool(w, "fits", plan_is_feasible(&a->plan));
    rm_jw_bool(w, "exact", a->plan.exact);
    rm_jw_u64(w, "steps", a->plan.steps);
    json_counts(a, w);
    json_nodes(a, w);
    json_lacks(a, w);
    json_conflict(a, w);
    json_ways(a, w);
    rm_jw_end(w);
}
