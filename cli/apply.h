/* SPDX-License-Identifier: MIT */
/* cli/apply.h - what a role map changes, for `rolemesh apply` and `rolemesh reload`. */
#ifndef RM_CLI_APPLY_H
#define RM_CLI_APPLY_H

#include <jansson.h>

/* A line for each change of a MapAnswer (proto/openapi.yaml) on stdout, and what becomes of hosts.
 */
void apply_print_changes(const json_t *answer);

#endif
