/* SPDX-License-Identifier: MIT */
/* cli/man.c - the man pages, in the man(7) macros of roff, written from the table. The program
 * rolemesh-man (man_main.c) writes them when building. */
#include "cli/cli.h"

#include <string.h>

/* Text as roff takes it: no line begins with a control character, '-' and '\' are literal. */
static void put_text(FILE *to, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i == 0 && (text[i] == '.' || text[i] == '\''))
            fputs("\\&", to);
        if (text[i] == '\\')
            fputs("\\e", to);
        else if (text[i] == '-')
            fputs("\\-", to);
        else if (text[i] == '\'')
            fputs("\\(aq", to);
        else if (text[i] == '~')
            fputs("\\(ti", to);
        else if (text[i] == '^')
            fputs("\\(ha", to);
        else
            fputc(text[i], to);
    }
}

static void put(FILE *to, const char *text)
{
    put_text(to, text, strlen(text));
}

static void put_line(FILE *to, const char *text)
{
    put(to, text);
    fputc('\n', to);
}

/* "keys list" -> "rolemesh-keys-list", of NULL "rolemesh"; big: in capitals. */
static void put_page_name(FILE *to, const struct cli_command *c, bool big)
{
    char name[128];

    snprintf(name, sizeof name, "rolemesh%s%s", c != NULL ? "-" : "", c != NULL ? c->name : "");
    for (char *p = name; *p != '\0'; p++)
        *p = *p == ' ' ? '-' : big && *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
    put(to, name);
}

static void put_head(FILE *to, const struct cli_command *c, const char *summary)
{
    fputs(".TH ", to);
    put_page_name(to, c, true);
    fputs(" 1 \"\" \"rolemesh " RM_VERSION "\" \"rolemesh\"\n.SH NAME\n", to);
    put_page_name(to, c, false);
    fputs(" \\- ", to);
    put_line(to, summary);
}

static void put_synopsis(FILE *to, const struct cli_command *c)
{
    fputs(".SH SYNOPSIS\n.B rolemesh ", to);
    put(to, c->name);
    fputs("\n", to);
    if (!(c->common & CLI_RAW))
        fputs("[\\fIOPTIONS\\fR]\n", to);
    for (const struct cli_operand *o = c->operands; o->name != NULL; o++) {
        fputs(o->optional ? "[\\fI" : "\\fI", to);
        put(to, o->name);
        fprintf(to, "\\fR%s%s\n", o->many ? " ..." : "", o->optional ? "]" : "");
    }
}

static void put_option(FILE *to, const struct cli_option *o)
{
    const char *value = o->kind != CLI_FLAG ? o->value : "";
    bool may = value[0] == '[';

    fputs(".TP\n", to);
    if (o->letter != 0)
        fprintf(to, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", to);
    put(to, o->name);
    fputs("\\fR", to);
    if (may)
        fputs("[=\\fI", to);
    else if (value[0] != '\0')
        fputs(" \\fI", to);
    put_text(to, value + may, strlen(value) - 2 * (size_t)may);
    fputs(value[0] == '\0' ? "\n" : may ? "\\fR]\n" : "\\fR\n", to);
    put_line(to, o->help);
}

static void put_paragraphs(FILE *to, const char *text)
{
    while (*text != '\0') {
        const char *end = strstr(text, "\n\n");
        size_t n = end != NULL ? (size_t)(end - text) : strlen(text);

        fputs(".PP\n", to);
        put_text(to, text, n);
        fputc('\n', to);
        text += n + (end != NULL ? 2 : 0);
    }
}

static void put_examples(FILE *to, const char *text)
{
    fputs(".SH EXAMPLES\n.nf\n", to);
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");

        put_text(to, text, n);
        fputc('\n', to);
        text += n + (text[n] == '\n');
    }
    fputs(".fi\n", to);
}

static void put_shared(FILE *to)
{
    fputs(".SH ENVIRONMENT\n.TP\nROLEMESH_GATEWAY\n", to);
    put_line(to, "the gateway to ask when --gateway is not said: http://HOST:PORT or unix:PATH");
    fputs(".TP\nROLEMESH_KEY\n", to);
    put_line(to, "the API key it is asked with when --key-file is not said");
    fputs(".TP\nNO_COLOR\n", to);
    put_line(to, "when it is set to anything, no colours");
    fputs(".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\n", to);
    put_line(to, "asked rightly, but it did not work: no answer, refused");
    fputs(".TP\n2\nwrong use, or a file with mistakes\n", to);
}

static void see_also(FILE *to, const struct cli_command *c)
{
    size_t n = c != NULL ? strlen(c->name) : 0;

    fputs(".SH SEE ALSO\n", to);
    if (c != NULL)
        fputs(".BR rolemesh (1)\n", to);
    for (size_t i = 0; i < cli_n_commands; i++) {
        const struct cli_command *o = cli_commands[i];

        if (o->common & CLI_HIDDEN ||
            (c == NULL ? strchr(o->name, ' ') != NULL
                       : strncmp(o->name, c->name, n) != 0 || o->name[n] != ' '))
            continue;
        fputs(".BR ", to);
        put_page_name(to, o, false);
        fputs(" (1)\n", to);
    }
}

static void write_all(FILE *to)
{
    put_head(to, NULL, "what operators of a model-routing gateway do");
    fputs(".SH SYNOPSIS\n.B rolemesh\n\\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n.SH DESCRIPTION\n", to);
    put_line(to, "Shows and changes what a rolemesh gateway and its workers do, over the gateway's "
                 "own API.");
    for (int g = 0; g < CLI_GROUPS; g++) {
        fputs(".SS ", to);
        put_line(to, cli_group_titles[g]);
        for (size_t i = 0; i < cli_n_commands; i++) {
            const struct cli_command *c = cli_commands[i];

            if ((int)c->group != g || c->common & CLI_HIDDEN)
                continue;
            fputs(".TP\n.B ", to);
            put_line(to, c->name);
            put_line(to, c->summary);
        }
    }
    put_shared(to);
    see_also(to, NULL);
}

void man_write(const struct cli_command *c, FILE *to)
{
    const struct cli_option *o;

    if (c == NULL) {
        write_all(to);
        return;
    }
    put_head(to, c, c->summary);
    put_synopsis(to, c);
    if (c->about != NULL) {
        fputs(".SH DESCRIPTION\n", to);
        put_paragraphs(to, c->about);
    }
    if (cli_option_at(c, 0) != NULL)
        fputs(".SH OPTIONS\n", to);
    for (size_t i = 0; (o = cli_option_at(c, i)) != NULL; i++)
        put_option(to, o);
    if (c->examples != NULL)
        put_examples(to, c->examples);
    put_shared(to);
    see_also(to, c);
}
