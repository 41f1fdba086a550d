/* SPDX-License-Identifier: MIT */
/* cli/nodes.h - the workers a subcommand asks: those of a role map's file, or those that a gateway
 * knows. The gateway is asked for addresses only; the workers are asked themselves. */
#ifndef RM_CLI_NODES_H
#define RM_CLI_NODES_H

#include <stddef.h>

#include "proto/base/err.h"
#include "proto/http/address.h"
#include "proto/node/state.h"

enum { NODES_MAX = 256, NODES_DEADLINE_MS = 10000 };

struct cli_node {
    char name[NODE_NAME_MAX];
    struct http_address address;
};

struct cli_nodes {
    struct cli_node *v; /* owned; n of them */
    size_t n;
};

/* Fills the list; what is wrong is told on stderr as "rolemesh COMMAND: ...".
 * map      a role map's file, or NULL: the gateway is asked
 * gateway  URL of a gateway
 * only     this node alone, or NULL: all
 * Returns an exit code (cli.h); with CLI_OK there is at least one node. */
int nodes_find(const char *command, const char *map, const char *gateway, const char *only,
               struct cli_nodes *out);
void nodes_clear(struct cli_nodes *nodes);

#endif
