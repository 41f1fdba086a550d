/* SPDX-License-Identifier: MIT */
/* cli/main.c - finds the subcommand in the table, has its arguments read and runs it. */
#include "cli/ask.h"
#include "cli/cli.h"

#include "proto/conf/report.h"

#include <errno.h>
#include <locale.h>
#include <string.h>

enum { FIRST_WORDS_MAX = 64 };

/* "chekc": no such command; did you mean 'check'? Names of two words count with their first. */
static int unknown(const char *name)
{
    const char *names[FIRST_WORDS_MAX], *near;
    size_t n = 0;

    for (size_t i = 0; i < cli_n_commands && n < FIRST_WORDS_MAX; i++)
        if (!(cli_commands[i]->common & CLI_HIDDEN) && strchr(cli_commands[i]->name, ' ') == NULL)
            names[n++] = cli_commands[i]->name;
    near = conf_nearest(rm_slice_of(name), names, n);
    if (near != NULL)
        return cli_usage("", "no such command '%s'; did you mean '%s'?", name, near);
    return cli_usage("", "no such command '%s'", name);
}

static int run(const struct cli_command *command, int argc, char **argv)
{
    struct cli_args args;
    const char *key_file = NULL;
    int r = cli_args_read(command, argc, argv, &args);

    if (r != CLI_OK)
        return r;
    if (args.help) {
        cli_help_of(command, stdout);
        return CLI_OK;
    }
    if (!(command->common & CLI_RAW))
        key_file = cli_text(&args, "key-file");
    if (key_file != NULL && ask_use_key_file(key_file) < 0)
        return CLI_BAD;
    return command->run(&args);
}

int main(int argc, char **argv)
{
    const struct cli_command *command;
    size_t used;
    int r;

    setlocale(LC_CTYPE, "C.UTF-8"); /* how wide a character is */
    if ((r = cli_args_order(argc, argv)) != CLI_OK)
        return r;
    if (argc < 2) {
        cli_help_all(stdout);
        return CLI_BAD;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        command = &cli_help, used = 1;
    else if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        command = &cli_version, used = 1;
    else
        command = cli_find((size_t)argc - 1, argv + 1, &used);
    if (command == NULL)
        return unknown(argv[1]);
    r = run(command, argc - (int)used, argv + used);
    if ((fflush(stdout) != 0 || ferror(stdout)) && r == CLI_OK)
        r = cli_failed("", "what was asked for cannot be written: %s", strerror(errno));
    return r;
}
