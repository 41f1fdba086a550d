/* SPDX-License-Identifier: MIT */
/* cli/pull_node.h - a model that a node shall fetch: asked of the gateway, followed until it is
 * over. The node's worker does it, so it goes on whatever becomes of this command. One thread. */
#ifndef RM_CLI_PULL_NODE_H
#define RM_CLI_PULL_NODE_H

#include "cli/cli.h"

/* source: as POST /api/v1/pulls takes it. sha256 and rate: of the options of these names, where the
 * command has them. Returns an exit code. */
int pull_on_node(const struct cli_args *args, const char *node, const char *source);

int pull_cancel(const struct cli_args *args, const char *node, const char *id);

#endif
