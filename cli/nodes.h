/* SPDX-License-Identifier: MIT */
/* cli/nodes.h - the workers that a subcommand asks itself: those of a role map's file. */
#ifndef RM_CLI_NODES_H
#define RM_CLI_NODES_H

#include <stddef.h>

#include "proto/base/err.h"
#include "proto/http/address.h"
#include "proto/node/state.h"

enum { NODES_MAX = 256 };

struct cli_node {
    char name[NODE_NAME_MAX];
    struct http_address address;
};

struct cli_nodes {
    struct cli_node *v; /* owned; n of them */
    size_t n;
};

/* Fills the list; what is wrong is told on stderr as "rolemesh COMMAND: ...".
 * map   a role map's file
 * only  this node alone, or NULL: all
 * Returns an exit code (cli.h); with CLI_OK there is at least one node, else the list is empty. */
int nodes_find(const char *command, const char *map, const char *only, struct cli_nodes *out);
void nodes_clear(struct cli_nodes *nodes);

#endif
