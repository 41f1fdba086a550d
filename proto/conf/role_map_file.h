/* SPDX-License-Identifier: MIT */
/* proto/conf/role_map_file.h - the role map as its tables fill it; shared by role_map*.c only. */
#ifndef RM_CONF_ROLE_MAP_FILE_H
#define RM_CONF_ROLE_MAP_FILE_H

#include "proto/conf/keys.h"

enum { MAP_NODES_MAX = 64, MAP_MODELS_MAX = 256, MAP_ROLES_MAX = 256 };

/* The top level; role_map.c moves it into struct role_map. */
struct map_file {
    uint32_t version;
    struct map_gateway gateway;
    struct conf_items nodes, models, roles;
};

extern const struct conf_table role_map_top, role_map_gateway, role_map_nodes, role_map_roles;

/* Step three: what no single value shows. Resolves role->model; mistakes go to the report. */
void role_map_check(struct conf_read *cf, struct role_map *map);

/* NULL when a mode may have this name, else what is wrong with it. */
const char *role_map_mode_fault(struct rm_slice mode);

#endif
