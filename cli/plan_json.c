/* SPDX-License-Identifier: MIT */
/* cli/plan_json.c - `rolemesh plan --json`: one object on one line. All sizes are bytes. */
#include "cli/plan_show.h"

#include "proto/base/json_write.h"

#include <stdio.h>

enum { PLAN_JSON_MAX = 4 << 20 };

static const struct map_role *role_of(const struct plan_answer *a, size_t role)
{
    return &a->facts->map->roles[role];
}

static void json_host(const struct plan_answer *a, struct rm_jw *w, size_t role, size_t node)
{
    bool here = (a->plan.hosts[role] >> node & 1) != 0;
    bool stands = a->problem.pairs[role * a->problem.in.n_nodes + node].standing;
    struct plan_parts p = plan_parts_of(a->facts, role, NULL);

    if (!here && !stands)
        return;
    rm_jw_obj(w, NULL);
    rm_jw_str(w, "role", role_of(a, role)->name);
    rm_jw_str(w, "action", !here ? "stop" : stands ? "keep" : "load");
    rm_jw_str(w, "reason",
              here ? plan_reason_text(plan_reason_of(&a->problem.in, &a->plan, role, node)) : NULL);
    rm_jw_u64(w, "weights", p.weights_bytes);
    rm_jw_u64(w, "kv", p.kv_bytes);
    rm_jw_u64(w, "compute", p.compute_bytes);
    rm_jw_u64(w, "bytes", p.all_bytes);
    rm_jw_end(w);
}

static void json_nodes(const struct plan_answer *a, struct rm_jw *w)
{
    rm_jw_arr(w, "nodes");
    for (size_t n = 0; n < a->problem.in.n_nodes; n++) {
        uint64_t budget = a->problem.nodes[n].budget_bytes;

        rm_jw_obj(w, NULL);
        rm_jw_str(w, "node", a->facts->map->nodes[n].name);
        rm_jw_u64(w, "total", a->facts->nodes[n]->total_bytes);
        rm_jw_u64(w, "reserve", a->facts->nodes[n]->total_bytes - budget);
        rm_jw_u64(w, "used", a->plan.used_bytes[n]);
        rm_jw_u64(w, "free", budget > a->plan.used_bytes[n] ? budget - a->plan.used_bytes[n] : 0);
        rm_jw_arr(w, "hosts");
        for (size_t r = 0; r < a->problem.in.n_roles; r++)
            json_host(a, w, r, n);
        rm_jw_end(w);
        rm_jw_end(w);
    }
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
        rm_jw_str(w, "role", role_of(a, r)->name);
        rm_jw_str(w, "what", words[lack]);
        rm_jw_u64(w, "bytes", plan_parts_of(a->facts, r, NULL).all_bytes);
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
        rm_jw_str(w, NULL, role_of(a, c->roles[i])->name);
    rm_jw_end(w);
    rm_jw_bool(w, "smallest", c->smallest);
    rm_jw_str(w, "node", c->node != SIZE_MAX ? a->facts->map->nodes[c->node].name : NULL);
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
        rm_jw_str(w, "role", role_of(a, way->role)->name);
        rm_jw_str(w, "key", keys[way->kind]);
        if (way->kind == PLAN_WAY_NODE)
            rm_jw_str(w, "value", a->facts->map->nodes[way->value].name);
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

int plan_show_json(const struct plan_answer *a)
{
    struct rm_buf out;
    struct rm_jw w;
    int r;

    rm_buf_init(&out, PLAN_JSON_MAX);
    w = rm_jw_to(&out);
    rm_jw_obj(&w, NULL);
    rm_jw_bool(&w, "fits", plan_is_feasible(&a->plan));
    rm_jw_bool(&w, "exact", a->plan.exact);
    rm_jw_u64(&w, "steps", a->plan.steps);
    json_nodes(a, &w);
    json_lacks(a, &w);
    json_conflict(a, &w);
    json_ways(a, &w);
    rm_jw_end(&w);
    r = rm_jw_done(&w);
    if (r == 0)
        puts(out.data);
    rm_buf_clear(&out);
    return r;
}
