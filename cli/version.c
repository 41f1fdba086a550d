/* SPDX-License-Identifier: MIT */
/* cli/version.c - `rolemesh version`. */
#include "cli/cli.h"

#include <stdio.h>

int cli_version(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return cli_usage("version", "it takes no arguments");
    puts("rolemesh " RM_VERSION);
    return CLI_OK;
}
