/* SPDX-License-Identifier: MIT */
/* cli/keys.c - `rolemesh keys`: API keys (keys_edit.c), and with --config the reference of all
 * keys, printed from the tables that read them. One line per key: key, type, default, what a reload
 * does, what it is for. */
#include "cli/cli.h"
#include "cli/keys_edit.h"

#include "proto/conf/keys.h"
#include "proto/plan/plan_facts.h"

#include <stdio.h>
#include <string.h>

static const char *effect_word(unsigned effect)
{
    switch (effect) {
    case CONF_LIVE:
        return "live";
    case CONF_PLACE:
        return "plan";
    case CONF_HOSTS:
        return "hosts";
    default:
        return "restart";
    }
}

static void keys_print_one(const struct conf_table *table, const struct conf_key *k)
{
    char name[96];

    snprintf(name, sizeof name, "%s%s%s", table->path, table->path[0] != '\0' ? "." : "", k->key);
    printf("%-30s %-22s %-15s %-8s %s\n", name, k->type->name,
           k->required           ? "(required)"
           : k->fallback != NULL ? k->fallback
                                 : "-",
           effect_word(k->effect), k->help);
}

static int keys_run(const struct cli_args *args)
{
    const struct conf_table *const *tables = cli_has(args, "nodes")    ? plan_facts_tables()
                                             : cli_has(args, "worker") ? worker_conf_tables()
                                                                       : role_map_tables();

    if (!cli_has(args, "config") || args->n_words > 0)
        return cli_usage("keys", "say create, list, revoke, rotate or --config");
    printf("%-30s %-22s %-15s %-8s %s\n", "KEY", "TYPE", "DEFAULT", "RELOAD", "MEANING");
    for (; *tables != NULL; tables++)
        for (const struct conf_key *k = (*tables)->keys; k->key != NULL; k++)
            if (k->type != &conf_named && k->type != &conf_section)
                keys_print_one(*tables, k);
    puts("\nRELOAD: live: taken over at once; plan: hosts may start, stop or move, those that stay "
         "keep running;\n"
         "hosts: the role's engines are started anew; restart: used from the next start of the "
         "program.");
    return CLI_OK;
}

static const struct cli_option keys_options[] = {
    {.name = "config", .kind = CLI_FLAG, .help = "the reference of all keys of a role map"},
    {.name = "worker", .kind = CLI_FLAG, .help = "of a worker's file instead"},
    {.name = "nodes", .kind = CLI_FLAG, .help = "of plan's file of machines instead"},
    {NULL},
};

const struct cli_command cli_keys = {
    .name = "keys",
    .group = CLI_PREPARE,
    .summary = "API keys of a gateway; with --config the reference of a role map's keys",
    .about = "Keys are kept in the gateway's state directory, or with --gateway changed over its "
             "API. A new key goes to stdout alone, once.",
    .examples = "KEY=$(rolemesh keys create laptop --roles code,ask --expires 90d)\n"
                "rolemesh keys list --gateway http://127.0.0.1:8080\n"
                "rolemesh keys --config\n",
    .options = keys_options,
    .operands = {{"COMMAND", true, true, NULL, CLI_COMPLETE_NONE, NULL}},
    .run = keys_run,
};
