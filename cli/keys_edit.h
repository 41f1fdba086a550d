/* SPDX-License-Identifier: MIT */
/* cli/keys_edit.h - `rolemesh keys create|list|revoke|rotate`: what was asked, the two ways to a
 * gateway's keys, and what is printed of them. keys_edit.c reads the arguments and works in a state
 * directory, keys_ask.c over the API. A new key goes to stdout alone, everything else to stderr, so
 * that KEY=$(rolemesh keys create NAME) works. One thread. */
#ifndef RM_CLI_KEYS_EDIT_H
#define RM_CLI_KEYS_EDIT_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/cli.h"
#include "proto/base/state_dir.h"
#include "proto/trust/keyring_edit.h"

struct keys_ask {
    const struct cli_args *args;
    bool list;
    struct keyring_edit edit; /* when not list */
    const char *gateway;      /* URL: over its API; NULL: in state_dir */
    char state_dir[RM_STATE_DIR_MAX];
};

/* Over the API. Returns the exit code. */
int keys_over_api(struct keys_ask *a);

/* The list, an array of ApiKey (proto/openapi.yaml), as a table or as it is. Returns the exit code.
 */
int keys_print_list(const struct cli_args *args, const json_t *keys);

/* Prints a new key alone on stdout, and on stderr what it is. */
void keys_print_new(const char *text, const char *name, const char *id);

#endif
