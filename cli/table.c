/* SPDX-License-Identifier: MIT */
/* cli/table.c - the list of subcommands, and the options that several of them have. */
#include "cli/cli.h"

#include "proto/base/buf.h"

#include <string.h>

#define COMMAND_POINTER(name) &cli_##name,
const struct cli_command *const cli_commands[] = {CLI_COMMANDS(COMMAND_POINTER)};
const size_t cli_n_commands = RM_COUNT(cli_commands);

const char *const cli_group_titles[CLI_GROUPS] = {
    [CLI_LOOK] = "What is there and what happens",
    [CLI_ACT] = "Changing what runs",
    [CLI_PREPARE] = "Models, plans and keys",
    [CLI_OTHER] = "The command itself",
};

/* How many of the words a name takes; 0: they are others. */
static size_t name_matches(const char *name, size_t n, char *const *words)
{
    const char *space = strchr(name, ' ');
    size_t first = space != NULL ? (size_t)(space - name) : strlen(name);

    if (n == 0 || strlen(words[0]) != first || memcmp(words[0], name, first) != 0)
        return 0;
    if (space == NULL)
        return 1;
    return n > 1 && strcmp(words[1], space + 1) == 0 ? 2 : 0;
}

const struct cli_command *cli_find(size_t n, char *const *words, size_t *used)
{
    const struct cli_command *found = NULL;

    *used = 0;
    for (size_t i = 0; i < cli_n_commands; i++) {
        size_t k = name_matches(cli_commands[i]->name, n, words);

        if (k > *used) {
            *used = k;
            found = cli_commands[i];
        }
    }
    return found;
}

bool cli_is_family(const struct cli_command *command)
{
    size_t n = strlen(command->name);

    for (size_t i = 0; i < cli_n_commands; i++)
        if (strncmp(cli_commands[i]->name, command->name, n) == 0 &&
            cli_commands[i]->name[n] == ' ')
            return true;
    return false;
}

/* ---- options in common ---- */

static const char *const with_csv[] = {"table", "wide", "csv", "json", NULL};
static const char *const without_csv[] = {"table", "wide", "json", NULL};
static const char *const not_wide[] = {"table", "csv", "json", NULL};
static const char *const without_json[] = {"table", "wide", "csv", NULL};

static const struct {
    unsigned all, none; /* bits of cli_command.common that must be there, and must not */
    struct cli_option option;
} common[] = {
    {CLI_ASKS,
     0,
     {"gateway", 0, CLI_STRING, "URL",
      "the gateway to ask: http://HOST:PORT or unix:PATH (default: ROLEMESH_GATEWAY, or "
      "http://127.0.0.1:8080)",
      0, 0, NULL, CLI_COMPLETE_NONE}},
    {CLI_JSON,
     0,
     {"json", 0, CLI_FLAG, NULL, "print JSON for programs", 0, 0, NULL, CLI_COMPLETE_NONE}},
    {CLI_TABLE | CLI_JSON,
     CLI_SCREEN,
     {"output", 'o', CLI_WORD, "wide|csv|table|json",
      "wide: more columns; csv: all of them, for spreadsheets", 0, 0, with_csv, CLI_COMPLETE_NONE}},
    {CLI_TABLE | CLI_JSON | CLI_SCREEN,
     0,
     {"output", 'o', CLI_WORD, "wide|table|json", "wide: more columns", 0, 0, without_csv,
      CLI_COMPLETE_NONE}},
    {CLI_TABLE,
     CLI_JSON,
     {"output", 'o', CLI_WORD, "wide|csv|table",
      "wide: more columns; csv: all of them, for spreadsheets", 0, 0, without_json,
      CLI_COMPLETE_NONE}},
    {CLI_CSV | CLI_JSON,
     0,
     {"output", 'o', CLI_WORD, "csv|table|json", "csv: for spreadsheets", 0, 0, not_wide,
      CLI_COMPLETE_NONE}},
    {CLI_WATCH,
     0,
     {"watch", 'w', CLI_SECONDS, "[SECONDS]",
      "show it again every SECONDS (default: 2) until Ctrl-C", 100, 86400000, NULL,
      CLI_COMPLETE_NONE}},
    {0,
     CLI_RAW,
     {"key-file", 0, CLI_STRING, "FILE",
      "a gateway's API key, alone in a file (default: ROLEMESH_KEY)", 0, 0, NULL,
      CLI_COMPLETE_FILE}},
    {0,
     CLI_RAW,
     {"no-color", 0, CLI_FLAG, NULL, "no colours, as with NO_COLOR; a file or pipe never gets any",
      0, 0, NULL, CLI_COMPLETE_NONE}},
    {0, CLI_RAW, {"help", 'h', CLI_FLAG, NULL, "show this", 0, 0, NULL, CLI_COMPLETE_NONE}},
};

const struct cli_option *cli_option_at(const struct cli_command *command, size_t i)
{
    size_t own = 0;

    while (command->options != NULL && command->options[own].name != NULL)
        own++;
    if (i < own)
        return &command->options[i];
    i -= own;
    for (size_t k = 0; k < RM_COUNT(common); k++)
        if ((command->common & common[k].all) == common[k].all &&
            (command->common & common[k].none) == 0 && i-- == 0)
            return &common[k].option;
    return NULL;
}
