/* SPDX-License-Identifier: MIT */
/* cli/plan_gateway.h - `rolemesh plan --gateway URL`: the plan that a running gateway keeps, and
 * what an edited role map would come to there. */
#ifndef RM_CLI_PLAN_GATEWAY_H
#define RM_CLI_PLAN_GATEWAY_H

#include "cli/cli.h"

/* map: a file that is tried (POST /api/v1/plan), or NULL (GET). Returns an exit code: CLI_FAILED
 * also when a pinned or resident role has no host. */
int plan_gateway(const struct cli_args *args, const char *map);

#endif
