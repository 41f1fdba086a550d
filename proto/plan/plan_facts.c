/* SPDX-License-Identifier: MIT */
#include "proto/plan/plan_facts_file.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { FACTS_NODES_MAX = 64, FACTS_MODELS_MAX = 256, FACTS_ROLES_MAX = 256 };

/* Bounds that keep every sum of a forecast inside 64 bits. */
#define MEMORY_MAX    (UINT64_C(1) << 46) /* bytes: 64 TiB */
#define PER_TOKEN_MAX (UINT64_C(1) << 24)

struct facts_file {
    uint32_t version;
    struct conf_items nodes, models, measured;
};

/* --- the file's keys ---------------------------------------------------------------------------
 */

static const char *name_check(struct rm_slice name)
{
    return name.n > 0 && name.n <= 63 ? NULL : "use up to 63 characters";
}

#define AT(member) offsetof(struct plan_machine, member)
static const struct conf_key node_keys[] = {
    {.key = "card",
     .type = &conf_size,
     .offset = AT(card_bytes),
     .max = MEMORY_MAX,
     .effect = CONF_PLACE,
     .help =
         "memory of a graphics card's own, beside total: roles with GPU layers lie there whole"},
    {.key = "hosts",
     .type = &conf_texts,
     .offset = AT(hosts),
     .effect = CONF_PLACE,
     .help = "roles that stand there now"},
    {.key = "largest",
     .type = &conf_size,
     .offset = AT(largest_bytes),
     .max = MEMORY_MAX,
     .effect = CONF_PLACE,
     .help = "one allocation at most; absent: no limit"},
    {.key = "mapped",
     .type = &conf_size,
     .offset = AT(mapped_bytes),
     .max = MEMORY_MAX,
     .effect = CONF_PLACE,
     .help = "unified memory: what of total devices may map; absent, without a card: no device"},
    {.key = "others",
     .type = &conf_size,
     .offset = AT(others_bytes),
     .max = MEMORY_MAX,
     .effect = CONF_PLACE,
     .help =
         "memory that other programs use now; what of it is above the reserve is not planned with"},
    {.key = "reserve",
     .type = &conf_size,
     .offset = AT(reserve_bytes),
     .max = MEMORY_MAX,
     .effect = CONF_PLACE,
     .help = "memory that hosts must leave free; absent: 8 % of it, at least 6 GiB"},
    {.key = "swap",
     .type = &conf_size,
     .offset = AT(swap_bytes),
     .max = MEMORY_MAX,
     .effect = CONF_PLACE,
     .help = "free swap, without zram; only roles with overcommit: swap are counted on it"},
    {.key = "total",
     .type = &conf_size,
     .offset = AT(total_bytes),
     .min = 1,
     .max = MEMORY_MAX,
     .required = true,
     .effect = CONF_PLACE,
     .help = "the machine's memory"},
    {.key = NULL},
};
#undef AT

#define AT(member) offsetof(struct plan_model, member)
static const struct conf_key model_keys[] = {
    {.key = "compute",
     .type = &conf_size,
     .offset = AT(compute_bytes),
     .fallback = "1GiB",
     .max = MEMORY_MAX,
     .effect = CONF_PLACE,
     .help = "compute buffers and the process"},
    {.key = "context_max",
     .type = &conf_tokens,
     .offset = AT(context_max),
     .effect = CONF_PLACE,
     .help = "tokens that the model was made for"},
    {.key = "files",
     .type = &conf_texts,
     .offset = AT(files),
     .effect = CONF_PLACE,
     .help = "nodes that have the file; absent: as if all had it"},
    {.key = "kv_per_token",
     .type = &conf_size,
     .offset = AT(kv_bytes),
     .max = PER_TOKEN_MAX,
     .required = true,
     .effect = CONF_PLACE,
     .help = "KV cache of one token of one slot, at f16"},
    {.key = "state_per_slot",
     .type = &conf_size,
     .offset = AT(state_bytes),
     .max = MEMORY_MAX >> 12,
     .effect = CONF_PLACE,
     .help = "recurrent state of one slot"},
    {.key = "weights",
     .type = &conf_size,
     .offset = AT(weights_bytes),
     .min = 1,
     .max = MEMORY_MAX,
     .required = true,
     .effect = CONF_PLACE,
     .help = "all tensors"},
    {.key = "window",
     .type = &conf_tokens,
     .offset = AT(window),
     .max = 16 << 20,
     .effect = CONF_PLACE,
     .help = "tokens that layers with a sliding window see; their KV cache is capped by it"},
    {.key = "window_kv_per_token",
     .type = &conf_size,
     .offset = AT(window_kv_bytes),
     .max = PER_TOKEN_MAX,
     .effect = CONF_PLACE,
     .help = "KV cache of one token in these layers, at f16; kv_per_token is of the others"},
    {.key = NULL},
};
#undef AT

#define AT(member) offsetof(struct plan_measured, member)
static const struct conf_key measured_keys[] = {
    {.key = "nodes",
     .type = &conf_texts,
     .offset = AT(nodes),
     .effect = CONF_PLACE,
     .help = "where it was measured; absent: taken as so everywhere"},
    {.key = "total",
     .type = &conf_size,
     .offset = AT(total_bytes),
     .min = 1,
     .max = MEMORY_MAX,
     .required = true,
     .effect = CONF_PLACE,
     .help = "what its host took at its peak, with just these settings: beats the forecast"},
    {.key = NULL},
};
#undef AT

static const struct conf_table node_table = {.path = "nodes.NAME",
                                             .where = "inside a node",
                                             .what = "node",
                                             .keys = node_keys,
                                             .size = sizeof(struct plan_machine),
                                             .at = offsetof(struct plan_machine, at),
                                             .index = offsetof(struct plan_machine, index),
                                             .name_check = name_check};

static const struct conf_table model_table = {.path = "models.NAME",
                                              .where = "inside a model",
                                              .what = "model",
                                              .keys = model_keys,
                                              .size = sizeof(struct plan_model),
                                              .at = offsetof(struct plan_model, at),
                                              .index = offsetof(struct plan_model, index),
                                              .name_check = name_check};

static const struct conf_table measured_table = {.path = "measured.NAME",
                                                 .where = "inside a measured role",
                                                 .what = "measured role",
                                                 .keys = measured_keys,
                                                 .size = sizeof(struct plan_measured),
                                                 .at = offsetof(struct plan_measured, at),
                                                 .index = offsetof(struct plan_measured, index),
                                                 .name_check = name_check};

static const struct conf_key top_keys[] = {
    {.key = "measured",
     .type = &conf_named,
     .offset = offsetof(struct facts_file, measured),
     .table = &measured_table,
     .max = FACTS_ROLES_MAX,
     .effect = CONF_PLACE,
     .help = "what hosts of roles took, as `rolemesh ledger` tells"},
    {.key = "models",
     .type = &conf_named,
     .offset = offsetof(struct facts_file, models),
     .table = &model_table,
     .max = FACTS_MODELS_MAX,
     .effect = CONF_PLACE,
     .help = "what each model needs"},
    {.key = "nodes",
     .type = &conf_named,
     .offset = offsetof(struct facts_file, nodes),
     .table = &node_table,
     .max = FACTS_NODES_MAX,
     .required = true,
     .effect = CONF_PLACE,
     .help = "what each machine has"},
    {.key = "version",
     .type = &conf_u32,
     .offset = offsetof(struct facts_file, version),
     .min = 1,
     .max = 1,
     .required = true,
     .effect = CONF_PLACE,
     .help = "of this format: 1"},
    {.key = NULL},
};

static const struct conf_table top_table = {.path = "", .where = "at top level", .keys = top_keys};

const struct conf_table *const *plan_facts_tables(void)
{
    static const struct conf_table *const tables[] = {&top_table, &node_table, &model_table,
                                                      &measured_table, NULL};

    return tables;
}

/* --- against the role map ----------------------------------------------------------------------
 */

static const char *nearest_name(const struct role_map *map, const char *name, const char *what)
{
    const char *names[256];
    size_t n = 0;

    if (strcmp(what, "node") == 0)
        for (; n < map->n_nodes; n++)
            names[n] = map->nodes[n].name;
    else if (strcmp(what, "model") == 0)
        for (; n < map->n_models; n++)
            names[n] = map->models[n].name;
    else
        for (; n < map->n_roles; n++)
            names[n] = map->roles[n].name;
    return conf_nearest(rm_slice_of(name), names, n);
}

static void say_not_in_map(struct conf_read *cf, const struct role_map *map, struct conf_at at,
                           const char *what, const char *name)
{
    const char *near = nearest_name(map, name, what);
    char hint[96], shown[CONF_SHOWN_MAX];

    snprintf(hint, sizeof hint, "did you mean '%s'?", near != NULL ? near : "");
    conf_report_add(cf->report, at, near != NULL ? hint : NULL, "the role map has no %s %s", what,
                    conf_shown(NULL, rm_slice_of(name), shown));
}

static uint64_t default_reserve(uint64_t total) /* as a worker's own */
{
    uint64_t reserve = total / 100 * 8, least = UINT64_C(6) << 30;

    if (reserve < least)
        reserve = least;
    return reserve < total / 2 ? reserve : total / 2;
}

static void check_node(struct conf_read *cf, struct plan_facts *f, struct plan_machine *m)
{
    const struct map_node *node = role_map_node(f->map, rm_slice_of(m->name));

    if (node == NULL) {
        say_not_in_map(cf, f->map, m->at, "node", m->name);
        return;
    }
    f->nodes[node->index] = m;
    if (node->reserve_bytes > 0)
        m->reserve_bytes = node->reserve_bytes;
    else if (m->reserve_bytes == 0)
        m->reserve_bytes = default_reserve(m->total_bytes);
    for (size_t i = 0; i < m->hosts.n; i++)
        if (role_map_role(f->map, rm_slice_of(m->hosts.item[i])) == NULL)
            say_not_in_map(cf, f->map, m->hosts.at[i], "role", m->hosts.item[i]);
}

static void check_model(struct conf_read *cf, struct plan_facts *f, const struct plan_model *m)
{
    const struct map_model *model = role_map_model(f->map, rm_slice_of(m->name));

    if (model == NULL) {
        say_not_in_map(cf, f->map, m->at, "model", m->name);
        return;
    }
    f->models[model->index] = m;
    for (size_t i = 0; i < m->files.n; i++)
        if (role_map_node(f->map, rm_slice_of(m->files.item[i])) == NULL)
            say_not_in_map(cf, f->map, m->files.at[i], "node", m->files.item[i]);
}

static void check_measured(struct conf_read *cf, struct plan_facts *f,
                           const struct plan_measured *m)
{
    const struct map_role *role = role_map_role(f->map, rm_slice_of(m->name));

    if (role == NULL) {
        say_not_in_map(cf, f->map, m->at, "role", m->name);
        return;
    }
    f->private->measured[role->index] = m;
    for (size_t i = 0; i < m->nodes.n; i++)
        if (role_map_node(f->map, rm_slice_of(m->nodes.item[i])) == NULL)
            say_not_in_map(cf, f->map, m->nodes.at[i], "node", m->nodes.item[i]);
}

static void check_roles(struct conf_read *cf, struct plan_facts *f)
{
    for (size_t r = 0; r < f->map->n_roles; r++) {
        const struct map_role *role = &f->map->roles[r];
        const struct plan_model *m = f->models[role->model->index];

        if (m == NULL && role->engine.kind != MAP_ENGINE_ATTACH)
            conf_report_add(cf->report, (struct conf_at){0, 0}, NULL,
                            "model '%s' of role '%s' is not described", role->model_name,
                            role->name);
        else if (m != NULL && m->context_max > 0 && role->context > m->context_max)
            conf_report_add(cf->report, m->at, NULL,
                            "role '%s' wants a context of %u tokens, the model has %u", role->name,
                            role->context, m->context_max);
        else if (plan_facts_forecast(f, r) < 0)
            conf_report_add(cf->report, m->at, NULL,
                            "role '%s' needs more bytes than there are numbers for", role->name);
    }
}

static void facts_check(struct conf_read *cf, struct plan_facts *f, const struct facts_file *file)
{
    for (size_t i = 0; i < file->nodes.n; i++)
        check_node(cf, f, (struct plan_machine *)file->nodes.item + i);
    for (size_t i = 0; i < file->models.n; i++)
        check_model(cf, f, (struct plan_model *)file->models.item + i);
    for (size_t i = 0; i < file->measured.n; i++)
        check_measured(cf, f, (struct plan_measured *)file->measured.item + i);
    if (cf->report->total > 0)
        return; /* what is missing may only be misspelt */
    for (size_t n = 0; n < f->map->n_nodes; n++)
        if (f->nodes[n] == NULL)
            conf_report_add(cf->report, (struct conf_at){0, 0}, NULL, "node '%s' is not described",
                            f->map->nodes[n].name);
    check_roles(cf, f);
}

/* --- reading -----------------------------------------------------------------------------------
 */

static struct plan_facts *facts_new(const struct role_map *map)
{
    struct plan_facts *f = calloc(1, sizeof *f);

    if (f == NULL)
        return NULL;
    f->map = map;
    f->nodes = calloc(map->n_nodes + 1, sizeof *f->nodes);
    f->models = calloc(map->n_models + 1, sizeof *f->models);
    f->private = calloc(1, sizeof *f->private);
    if (f->nodes != NULL && f->models != NULL && f->private != NULL && plan_facts_alloc(f) == 0)
        return f;
    plan_facts_free(f);
    return NULL;
}

int plan_facts_parse(const char *name, const char *bytes, size_t n, const struct role_map *map,
                     struct conf_report *report, struct plan_facts **out)
{
    struct plan_facts *f = facts_new(map);
    struct conf_read cf = {.report = report, .tables = plan_facts_tables()};
    struct facts_file file = {.version = 0};
    int r = UV_ENOMEM;

    *out = NULL;
    conf_report_begin(report, name, bytes, n);
    if (f != NULL) {
        cf.arena = &f->private->arena;
        r = conf_read_text(&cf, &top_table, &file);
        if (r == 0 && file.nodes.n > 0)
            facts_check(&cf, f, &file);
    }
    conf_report_end(report);
    if (r == 0 && (cf.no_memory || report->no_memory))
        r = UV_ENOMEM;
    if (r == 0 && report->total == 0) {
        plan_facts_live(f);
        *out = f;
        return 0;
    }
    plan_facts_free(f);
    return r < 0 ? r : RM_ERR_CONF;
}

struct facts_load {
    const struct role_map *map;
    struct plan_facts **out;
};

static int parse_facts(void *arg, const char *name, const char *bytes, size_t n,
                       struct conf_report *report)
{
    const struct facts_load *load = arg;

    return plan_facts_parse(name, bytes, n, load->map, report, load->out);
}

int plan_facts_load(const char *path, const struct role_map *map, struct conf_report *report,
                    struct plan_facts **out)
{
    struct facts_load load = {map, out};

    *out = NULL;
    return conf_file_load(path, report, parse_facts, &load);
}

void plan_facts_free(struct plan_facts *facts)
{
    if (facts == NULL)
        return;
    if (facts->private != NULL) {
        plan_facts_dealloc(facts);
        conf_arena_clear(&facts->private->arena);
    }
    free(facts->private);
    free(facts->nodes);
    free(facts->models);
    free(facts);
}
