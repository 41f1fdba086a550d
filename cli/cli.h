/* SPDX-License-Identifier: MIT */
/* cli/cli.h - the command `rolemesh`: one file per subcommand, listed in main.c's table.
 * A subcommand gets its own arguments (argv[0] is its name) and returns the exit code. What was
 * asked for goes to stdout, complaints go to stderr. */
#ifndef RM_CLI_CLI_H
#define RM_CLI_CLI_H

enum cli_exit {
    CLI_OK = 0,     /* done */
    CLI_FAILED = 1, /* asked rightly, but it did not work: no answer, no memory */
    CLI_BAD = 2,    /* wrong use, or a file with mistakes */
};

int cli_apply(int argc,
              char **argv); /* apply [FILE] [--dry-run] [--yes] [--gateway URL] [--json] */
int cli_check(int argc, char **argv); /* check FILE [--worker] [--json] */
int cli_forecast(int argc,
                 char **argv);       /* forecast FILE|MODEL [--context N[,N..]] [--slots N] .. */
int cli_keys(int argc, char **argv); /* keys create|list|revoke|rotate .., keys --config [..] */
int cli_ledger(int argc,
               char **argv); /* ledger [--role-map FILE | --gateway URL] [--node NAME] [--json] */
int cli_plan(int argc, char **argv);    /* plan [--role-map FILE] [--nodes FILE] [--json] */
int cli_pull(int argc, char **argv);    /* pull [options] SOURCE: as rolemesh-pull */
int cli_status(int argc, char **argv);  /* status [--gateway URL] [--json] */
int cli_version(int argc, char **argv); /* version */

/* Prints "rolemesh NAME: what" and how to get help. Returns CLI_BAD. */
int cli_usage(const char *name, const char *what);

#endif
