/* SPDX-License-Identifier: MIT */
#include "proto/conf/role_map_file.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* The map lies in its own arena, so the arena's head is kept outside. */
struct role_map_private {
    struct conf_arena arena;
    atomic_uint refs;
};

/* --- making -------------------------------------------------------------------------------------
 */

static void map_take_items(struct role_map *map, const struct map_file *file)
{
    map->version = file->version;
    map->gateway = file->gateway;
    map->nodes = file->nodes.item;
    map->n_nodes = file->nodes.n;
    map->models = file->models.item;
    map->n_models = file->models.n;
    map->roles = file->roles.item;
    map->n_roles = file->roles.n;
}

/* Steps one to three. Returns 0 with a map that the report may still refuse. */
static int map_build(struct role_map *map, const char *name, struct conf_report *report)
{
    struct conf_read cf = {
        .report = report, .arena = &map->private->arena, .tables = role_map_tables()};
    struct map_file file = {.version = 0};
    int r = conf_read_text(&cf, &role_map_top, &file);

    if (r < 0)
        return r;
    map_take_items(map, &file);
    map->file = conf_arena_text(&map->private->arena, rm_slice_of(name));
    if (map->gateway.listen.n > 0 || map->n_roles > 0) /* else no table was read */
        role_map_check(&cf, map);
    return map->file == NULL || cf.no_memory || report->no_memory ? UV_ENOMEM : 0;
}

int role_map_parse(const char *name, const char *bytes, size_t n, struct conf_report *report,
                   struct role_map **out)
{
    struct role_map *map = calloc(1, sizeof *map);
    int r = UV_ENOMEM;

    *out = NULL;
    conf_report_begin(report, name, bytes, n);
    if (map != NULL)
        map->private = calloc(1, sizeof *map->private);
    if (map != NULL && map->private != NULL) {
        atomic_init(&map->private->refs, 1);
        r = map_build(map, name, report);
    }
    conf_report_end(report);
    if (r == 0 && report->total == 0) {
        *out = map;
        return 0;
    }
    if (map != NULL && map->private != NULL)
        role_map_unref(map);
    else
        free(map);
    return r < 0 ? r : RM_ERR_CONF;
}

static int parse_map(void *arg, const char *name, const char *bytes, size_t n,
                     struct conf_report *report)
{
    return role_map_parse(name, bytes, n, report, arg);
}

int role_map_load(const char *path, struct conf_report *report, struct role_map **out)
{
    *out = NULL;
    return conf_file_load(path, report, parse_map, out);
}

struct role_map *role_map_ref(struct role_map *map)
{
    atomic_fetch_add_explicit(&map->private->refs, 1, memory_order_relaxed);
    return map;
}

void role_map_unref(struct role_map *map)
{
    if (map == NULL)
        return;
    if (atomic_fetch_sub_explicit(&map->private->refs, 1, memory_order_acq_rel) > 1)
        return;
    conf_arena_clear(&map->private->arena);
    free(map->private);
    free(map);
}

/* --- lookups ------------------------------------------------------------------------------------
 */

const struct map_role *role_map_role(const struct role_map *map, struct rm_slice name)
{
    for (size_t i = 0; i < map->n_roles; i++)
        if (map->roles[i].name != NULL && rm_slice_eq(name, map->roles[i].name))
            return &map->roles[i];
    return NULL;
}

const struct map_role *role_map_mode(const struct role_map *map, struct rm_slice mode)
{
    for (size_t i = 0; i < map->n_roles; i++)
        for (size_t m = 0; m < map->roles[i].modes.n; m++)
            if (rm_slice_eq(mode, map->roles[i].modes.item[m]))
                return &map->roles[i];
    return NULL;
}

const struct map_node *role_map_node(const struct role_map *map, struct rm_slice name)
{
    for (size_t i = 0; i < map->n_nodes; i++)
        if (map->nodes[i].name != NULL && rm_slice_eq(name, map->nodes[i].name))
            return &map->nodes[i];
    return NULL;
}

const struct map_model *role_map_model(const struct role_map *map, struct rm_slice name)
{
    for (size_t i = 0; i < map->n_models; i++)
        if (map->models[i].name != NULL && rm_slice_eq(name, map->models[i].name))
            return &map->models[i];
    return NULL;
}

const struct map_role *role_map_role_of_model(const struct role_map *map, struct rm_slice model)
{
    for (size_t i = 0; i < map->n_roles; i++)
        if (map->roles[i].model_name != NULL && rm_slice_eq(model, map->roles[i].model_name))
            return &map->roles[i];
    return NULL;
}

const struct map_role *role_map_resolve(const struct role_map *map, struct rm_slice name)
{
    const struct map_role *role = role_map_mode(map, name);

    if (role == NULL)
        role = role_map_role(map, name);
    return role != NULL ? role : role_map_role_of_model(map, name);
}

static bool list_names(const struct conf_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->item[i], name) == 0)
            return true;
    return false;
}

bool map_role_allows(const struct map_role *role, const char *node)
{
    return (role->nodes.n == 0 || list_names(&role->nodes, node)) && !list_names(&role->deny, node);
}
