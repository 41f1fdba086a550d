/* SPDX-License-Identifier: MIT */
/* cli/version.c - `rolemesh version`. */
#include "cli/cli.h"

static int version_run(const struct cli_args *args)
{
    (void)args;
    puts("rolemesh " RM_VERSION);
    return CLI_OK;
}

const struct cli_command cli_version = {
    .name = "version",
    .group = CLI_OTHER,
    .summary = "which rolemesh this is",
    .run = version_run,
};
