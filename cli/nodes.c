/* SPDX-License-Identifier: MIT */
#include "cli/nodes.h"

#include "cli/cli.h"
#include "proto/conf/role_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { NODES_TEXT_MAX = 256 * 1024 };

/* Returns false: no memory, or a name or host that cannot be. */
static bool nodes_add(struct cli_nodes *nodes, const char *name, const char *host, uint64_t port)
{
    struct cli_node *node;

    if (nodes->v == NULL)
        nodes->v = calloc(NODES_MAX, sizeof *nodes->v);
    if (nodes->v == NULL || nodes->n == NODES_MAX || strlen(name) >= sizeof node->name ||
        strlen(host) >= sizeof node->address.host || port == 0 || port > UINT16_MAX)
        return false;
    node = &nodes->v[nodes->n++];
    strcpy(node->name, name);
    strcpy(node->address.host, host);
    node->address.port = (uint16_t)port;
    return true;
}

static int of_map(const char *command, const char *file, const char *only, struct cli_nodes *out)
{
    struct role_map *map = NULL;
    struct conf_report report;
    struct rm_buf text;
    int r;

    conf_report_init(&report);
    rm_buf_init(&text, NODES_TEXT_MAX);
    if ((r = role_map_load(file, &report, &map)) == RM_ERR_CONF &&
        conf_report_text(&report, &text) == 0)
        fputs(text.data, stderr);
    else if (r < 0)
        cli_failed(command, "%s", rm_strerror(r));
    for (size_t i = 0; r == 0 && i < map->n_nodes; i++) {
        const struct map_node *n = &map->nodes[i];

        if (only == NULL || strcmp(only, n->name) == 0)
            (void)nodes_add(out, n->name, n->address.host, n->address.port);
    }
    conf_report_clear(&report);
    rm_buf_clear(&text);
    role_map_unref(map);
    return r == 0 ? CLI_OK : r == RM_ERR_CONF ? CLI_BAD : CLI_FAILED;
}

int nodes_find(const char *command, const char *map, const char *only, struct cli_nodes *out)
{
    int r;

    *out = (struct cli_nodes){NULL, 0};
    r = of_map(command, map, only, out);
    if (r == CLI_OK && out->n == 0)
        r = only != NULL ? cli_failed(command, "no node is called '%s'", only)
                         : cli_failed(command, "there are no nodes");
    if (r != CLI_OK)
        nodes_clear(out);
    return r;
}

void nodes_clear(struct cli_nodes *nodes)
{
    free(nodes->v);
    *nodes = (struct cli_nodes){NULL, 0};
}
