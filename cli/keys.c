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

int cli_keys(int argc, char **argv)
{
    const struct conf_table *const *tables = role_map_tables();
    bool config = false;

    if (argc > 1 && argv[1][0] != '-')
        return keys_command(argc, argv);
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--config") == 0)
            config = true;
        else if (strcmp(argv[i], "--worker") == 0)
            tables = worker_conf_tables();
        else if (strcmp(argv[i], "--nodes") == 0)
            tables = plan_facts_tables();
        else
            return cli_usage("keys", "unknown argument");
    if (!config)
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
