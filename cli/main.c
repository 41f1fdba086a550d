/* SPDX-License-Identifier: MIT */
/* cli/main.c - finds the subcommand and calls it. A new one is a file, a line in cli.h and a row
 * here. */
#include "cli/ask.h"
#include "cli/cli.h"

#include "proto/conf/report.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int cli_help(int argc, char **argv);

static const struct command {
    const char *name, *args, *help;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"apply", "[FILE] [--dry-run] [--yes] [--gateway URL] [--json]",
     "show what a role map (default: role-map.yaml) would change on a gateway, and take it over",
     cli_apply},
    {"check", "FILE [--worker] [--json]",
     "tell every mistake in a role map (--worker: a worker's file)", cli_check},
    {"forecast",
     "FILE|MODEL [--context N[,N..]] [--slots N] [--kv f16|q8_0] [--role-map FILE] [--node "
     "NAME|ADDRESS] [--json]",
     "the memory a model needs, by part and context, and the largest context that fits here or on "
     "the nodes of a role map",
     cli_forecast},
    {"help", "", "this list", cli_help},
    {"keys",
     "create NAME [--admin] [--roles A,B] [--lanes A,B] [--expires 30d] [--requests-per-minute N] "
     "[--tokens-per-minute N] [--tokens-per-day N] [--concurrency N] | list [--json] | revoke NAME "
     "| rotate NAME [--grace 1h]; each with [--state-dir DIR | --gateway URL] | --config [--worker "
     "| --nodes]",
     "API keys of a gateway: a new one goes to stdout alone, once; --concurrency counts waiting "
     "requests too; tokens are of prompts (but for what a cache gave) and answers.\n  --config: "
     "the "
     "reference of all keys of a role map (--worker: a worker's file; --nodes: plan's)",
     cli_keys},
    {"ledger", "[--role-map FILE | --gateway URL] [--node NAME] [--json]",
     "what the nodes forecast for models, and what they then measured", cli_ledger},
    {"plan", "[--role-map FILE] [--nodes FILE] [--json]",
     "which role would go where: asks the map's workers (--nodes: a file describes them)",
     cli_plan},
    {"pull", "[--dir DIR] SOURCE",
     "fetch a model, resumable: hf:ORG/REPO:QUANT or a URL (rolemesh-pull --help)", cli_pull},
    {"status", "[--gateway URL] [--json]", "nodes and roles as a gateway sees them", cli_status},
    {"version", "", "which rolemesh this is", cli_version},
};

/* What `rolemesh NAME --help` says. */
static int cli_help_of(const struct command *c)
{
    printf("rolemesh %s%s%s\n\n  %s\n", c->name, c->args[0] != '\0' ? " " : "", c->args, c->help);
    return CLI_OK;
}

static int cli_help(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    puts("rolemesh COMMAND ...\n");
    for (size_t i = 0; i < RM_COUNT(commands); i++)
        printf("  %-8s %-40s %s\n", commands[i].name, commands[i].args, commands[i].help);
    puts("\nA gateway with API keys is asked with the key in ROLEMESH_KEY, or with --key-file "
         "FILE.");
    puts("Exit codes: 0 done; 1 it did not work; 2 wrong use, or a file with mistakes.");
    return CLI_OK;
}

int cli_usage(const char *name, const char *what)
{
    fprintf(stderr, "rolemesh %s: %s; see 'rolemesh help'\n", name, what);
    return CLI_BAD;
}

static int cli_unknown(const char *name)
{
    const char *names[RM_COUNT(commands)], *near;

    for (size_t i = 0; i < RM_COUNT(commands); i++)
        names[i] = commands[i].name;
    near = conf_nearest(rm_slice_of(name), names, RM_COUNT(commands));
    if (near == NULL)
        return cli_usage(name, "no such command");
    fprintf(stderr, "rolemesh %s: no such command; did you mean '%s'?\n", name, near);
    return CLI_BAD;
}

/* Every command may have --key-file FILE. Returns the arguments that are left, or -1. */
static int take_key_file(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--key-file") != 0)
            continue;
        if (i + 1 == argc) {
            fputs("rolemesh: --key-file: a file must follow\n", stderr);
            return -1;
        }
        if (ask_use_key_file(argv[i + 1]) < 0)
            return -1;
        memmove(&argv[i], &argv[i + 2], (size_t)(argc - i - 1) * sizeof argv[0]);
        return argc - 2;
    }
    return argc;
}

int main(int argc, char **argv)
{
    const char *name;

    if ((argc = take_key_file(argc, argv)) < 0)
        return CLI_BAD;
    name = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        cli_help(argc, argv);
        return CLI_BAD;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < RM_COUNT(commands); i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        bool asks = argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0);
        int r = asks ? cli_help_of(&commands[i]) : commands[i].run(argc - 1, argv + 1);

        return fflush(stdout) == 0 || r != CLI_OK ? r : CLI_FAILED;
    }
    return cli_unknown(name);
}
