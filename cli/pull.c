/* SPDX-License-Identifier: MIT */
/* cli/pull.c - `rolemesh pull`: fetches a model to this machine. rolemesh-pull does it; this one
 * finds it and becomes it, so that its progress, its signals and its exit code are the command's.
 */
#include "cli/cli.h"
#include "cli/run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int cli_pull(int argc, char **argv)
{
    const char *program = run_beside("rolemesh-pull");

    (void)argc;
    if (program[0] == '\0') {
        fputs("rolemesh pull: rolemesh-pull is not installed beside this command; build it, or run "
              "it where it is\n",
              stderr);
        return CLI_FAILED;
    }
    fflush(NULL);
    execv(program, argv);
    fprintf(stderr, "rolemesh pull: %s: %s\n", program, strerror(errno));
    return CLI_FAILED;
}
