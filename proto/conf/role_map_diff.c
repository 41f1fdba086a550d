/* SPDX-License-Identifier: MIT */
/* proto/conf/role_map_diff.c - what an edit of the role map changes, by the key tables. Pure. */
#include "proto/conf/role_map_file.h"

#include <stdio.h>
#include <string.h>

struct diff {
    void (*on_change)(void *arg, const struct map_change *change);
    void *arg;
};

static void diff_tell(const struct diff *d, enum map_subject subject, enum map_how how,
                      const char *name, const char *keys, unsigned effects)
{
    struct map_change change = {subject, how, name, keys, effects};

    d->on_change(d->arg, &change);
}

/* Appends the keys that differ to a comma-separated text. Returns their effects. */
static unsigned diff_keys(const struct conf_table *table, const void *a, const void *b, char *keys,
                          size_t size)
{
    size_t used = strlen(keys);
    unsigned effects = 0;

    for (const struct conf_key *k = table->keys; k->key != NULL; k++) {
        if (k->type->equal(k, (const char *)a + k->offset, (const char *)b + k->offset))
            continue;
        effects |= k->effect;
        if (used + strlen(k->key) + 2 < size)
            used += (size_t)snprintf(keys + used, size - used, "%s%s", used > 0 ? "," : "", k->key);
    }
    return effects;
}

static void diff_gateway(const struct diff *d, const struct role_map *a, const struct role_map *b)
{
    char keys[512] = "";
    unsigned effects = diff_keys(&role_map_gateway, &a->gateway, &b->gateway, keys, sizeof keys);

    if (effects != 0)
        diff_tell(d, MAP_SUBJECT_GATEWAY, MAP_CHANGED, "gateway", keys, effects);
}

static void diff_nodes(const struct diff *d, const struct role_map *a, const struct role_map *b)
{
    for (size_t i = 0; i < b->n_nodes; i++) {
        const struct map_node *now = &b->nodes[i], *was = role_map_node(a, rm_slice_of(now->name));
        char keys[512] = "";
        unsigned effects;

        if (was == NULL) {
            diff_tell(d, MAP_SUBJECT_NODE, MAP_ADDED, now->name, "", CONF_PLACE);
            continue;
        }
        effects = diff_keys(&role_map_nodes, was, now, keys, sizeof keys);
        if (effects != 0)
            diff_tell(d, MAP_SUBJECT_NODE, MAP_CHANGED, now->name, keys, effects);
    }
    for (size_t i = 0; i < a->n_nodes; i++)
        if (role_map_node(b, rm_slice_of(a->nodes[i].name)) == NULL)
            diff_tell(d, MAP_SUBJECT_NODE, MAP_REMOVED, a->nodes[i].name, "", CONF_PLACE);
}

static void diff_role(const struct diff *d, const struct map_role *was, const struct map_role *now)
{
    char keys[512] = "";
    unsigned effects = diff_keys(&role_map_roles, was, now, keys, sizeof keys);

    /* The same name, but another file behind it. */
    if (strcmp(was->model_name, now->model_name) == 0 &&
        strcmp(was->model->source, now->model->source) != 0) {
        effects |= CONF_HOSTS;
        snprintf(keys + strlen(keys), sizeof keys - strlen(keys), "%smodel",
                 keys[0] != '\0' ? "," : "");
    }
    if (effects != 0)
        diff_tell(d, MAP_SUBJECT_ROLE, MAP_CHANGED, now->name, keys, effects);
}

static void diff_roles(const struct diff *d, const struct role_map *a, const struct role_map *b)
{
    for (size_t i = 0; i < b->n_roles; i++) {
        const struct map_role *was = role_map_role(a, rm_slice_of(b->roles[i].name));

        if (was == NULL)
            diff_tell(d, MAP_SUBJECT_ROLE, MAP_ADDED, b->roles[i].name, "", CONF_PLACE);
        else
            diff_role(d, was, &b->roles[i]);
    }
    for (size_t i = 0; i < a->n_roles; i++)
        if (role_map_role(b, rm_slice_of(a->roles[i].name)) == NULL)
            diff_tell(d, MAP_SUBJECT_ROLE, MAP_REMOVED, a->roles[i].name, "", CONF_PLACE);
}

void role_map_diff(const struct role_map *old, const struct role_map *new_map,
                   void (*on_change)(void *arg, const struct map_change *change), void *arg)
{
    struct diff d = {on_change, arg};

    diff_gateway(&d, old, new_map);
    diff_nodes(&d, old, new_map);
    diff_roles(&d, old, new_map);
}
