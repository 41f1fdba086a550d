/* SPDX-License-Identifier: MIT */
/* cli/help.c - `rolemesh help`, and what --help says: all of it read from the table. */
#include "cli/cli.h"

#include <string.h>

enum { HELP_WIDTH = 96, NAME_COLUMN = 16 };

/* Words of text, wrapped; the first line begins where the cursor is (column at), the others at
 * indent. */
static void put_wrapped(FILE *to, const char *text, int at, int indent)
{
    while (*text != '\0') {
        int n = (int)strcspn(text, " ");

        if (at > indent && at + 1 + n > HELP_WIDTH) {
            fprintf(to, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            fputc(' ', to);
            at++;
        }
        fwrite(text, 1, (size_t)n, to);
        at += n;
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', to);
}

static void put_row(FILE *to, const char *left, const char *right, int indent)
{
    int n = fprintf(to, "  %s", left);

    if (n >= indent) {
        fprintf(to, "\n%*s", indent, "");
        n = indent;
    } else {
        n += fprintf(to, "%*s", indent - n, "");
    }
    put_wrapped(to, right, n, indent);
}

static void put_paragraphs(FILE *to, const char *text)
{
    char line[2048];

    while (*text != '\0') {
        const char *end = strstr(text, "\n\n");
        size_t n = end != NULL ? (size_t)(end - text) : strlen(text);

        snprintf(line, sizeof line, "%.*s", (int)n, text);
        fputc('\n', to);
        put_wrapped(to, line, 0, 0);
        text += n + (end != NULL ? 2 : 0);
    }
}

static void put_usage(FILE *to, const struct cli_command *c)
{
    fprintf(to, "usage: rolemesh %s%s", c->name, c->common & CLI_RAW ? "" : " [OPTIONS]");
    for (const struct cli_operand *o = c->operands; o->name != NULL; o++)
        fprintf(to, " %s%s%s%s", o->optional ? "[" : "", o->name, o->many ? "..." : "",
                o->optional ? "]" : "");
    fputc('\n', to);
}

/* "-o, --output wide|table" */
static void option_left(const struct cli_option *o, char out[64])
{
    const char *value = o->kind != CLI_FLAG ? o->value : "";
    const char *gap = value[0] == '\0' ? "" : value[0] == '[' ? "[=" : " ";

    snprintf(out, 64, "%c%c%s --%s%s%s", o->letter != 0 ? '-' : ' ',
             o->letter != 0 ? o->letter : ' ', o->letter != 0 ? "," : " ", o->name, gap,
             value[0] == '[' ? value + 1 : value);
}

static void put_family(FILE *to, const struct cli_command *c)
{
    size_t n = strlen(c->name);

    fputs("\nCommands:\n", to);
    for (size_t i = 0; i < cli_n_commands; i++)
        if (strncmp(cli_commands[i]->name, c->name, n) == 0 && cli_commands[i]->name[n] == ' ')
            put_row(to, cli_commands[i]->name + n + 1, cli_commands[i]->summary, NAME_COLUMN);
}

void cli_help_of(const struct cli_command *c, FILE *to)
{
    const struct cli_option *o;

    put_usage(to, c);
    fputc('\n', to);
    put_wrapped(to, c->summary, 0, 0);
    if (c->about != NULL)
        put_paragraphs(to, c->about);
    if (cli_is_family(c))
        put_family(to, c);
    if (cli_option_at(c, 0) != NULL)
        fputs("\nOptions:\n", to);
    for (size_t i = 0; (o = cli_option_at(c, i)) != NULL; i++) {
        char left[64];

        option_left(o, left);
        put_row(to, left, o->help, 32);
    }
    if (c->examples != NULL)
        fputs("\nExamples:\n", to);
    for (const char *p = c->examples != NULL ? c->examples : ""; *p != '\0';) {
        size_t n = strcspn(p, "\n");

        fprintf(to, "  %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

void cli_help_all(FILE *to)
{
    fputs("usage: rolemesh COMMAND [OPTIONS]\n", to);
    for (int g = 0; g < CLI_GROUPS; g++) {
        fprintf(to, "\n%s:\n", cli_group_titles[g]);
        for (size_t i = 0; i < cli_n_commands; i++)
            if ((int)cli_commands[i]->group == g && !(cli_commands[i]->common & CLI_HIDDEN) &&
                strchr(cli_commands[i]->name, ' ') == NULL)
                put_row(to, cli_commands[i]->name, cli_commands[i]->summary, NAME_COLUMN);
    }
    fputs("\nrolemesh COMMAND --help tells more of one. The gateway asked is --gateway URL, else\n"
          "ROLEMESH_GATEWAY, else http://127.0.0.1:8080; one with API keys is asked with the\n"
          "key in ROLEMESH_KEY, or with --key-file FILE.\n\n"
          "Exit codes: 0 done; 1 it did not work; 2 wrong use, or a file with mistakes.\n",
          to);
}

static int help_run(const struct cli_args *args)
{
    char *words[2] = {NULL, NULL};
    const struct cli_command *c;
    size_t used;

    if (args->n_words == 0) {
        cli_help_all(stdout);
        return CLI_OK;
    }
    for (size_t i = 0; i < args->n_words; i++)
        words[i] = (char *)(uintptr_t)args->words[i];
    c = cli_find(args->n_words, words, &used);
    if (c == NULL || used < args->n_words)
        return cli_usage("help", "no such command '%s%s%s'", words[0], args->n_words > 1 ? " " : "",
                         args->n_words > 1 ? words[1] : "");
    cli_help_of(c, stdout);
    return CLI_OK;
}

const struct cli_command cli_help = {
    .name = "help",
    .group = CLI_OTHER,
    .summary = "list the commands, or tell more of one",
    .operands = {{"COMMAND", true, false, NULL, CLI_COMPLETE_COMMAND, NULL},
                 {"SUBCOMMAND", true, false, NULL, CLI_COMPLETE_NONE, NULL}},
    .run = help_run,
};
