/* SPDX-License-Identifier: MIT */
/* proto/conf/yaml_words.c - libyaml's complaints in the words of somebody who edits a role map.
 * libyaml tells where its parser stood when nothing fitted any more; people want the place of the
 * slip and what to do. Each row below names a complaint and the function that finds both, from the
 * source lines. What no row knows is passed on as it is. */
#include "proto/conf/node.h"

#include <stdio.h>
#include <string.h>

struct complaint {
    struct conf_report *report;
    const char *context, *problem;
    struct conf_at context_at, at;
};

static bool line_is_blank(struct rm_slice line)
{
    size_t i = conf_line_indent(line);

    return i == line.n || line.p[i] == '#' || line.p[i] == '\r';
}

/* The byte of an ASCII line at a place; 0 when the line is shorter. Good enough for indicators. */
static char char_at(const struct complaint *c, struct conf_at at)
{
    struct rm_slice line = conf_line(c->report, at.line);
    size_t i = 0;

    for (unsigned col = 1; i < line.n && col < at.col; col++)
        do
            i++;
        while (i < line.n && ((unsigned char)line.p[i] & 0xc0) == 0x80);
    return i < line.n ? line.p[i] : '\0';
}

/* Is nothing but white space and one comment left? */
static bool at_end_of_file(const struct complaint *c)
{
    const char *end = c->report->text + c->report->n_text;
    struct rm_slice line = conf_line(c->report, c->at.line);

    if (line.p == NULL)
        return true;
    for (const char *p = line.p + (c->at.col - 1 < line.n ? c->at.col - 1 : line.n); p < end; p++)
        if (strchr(" \t\r\n", *p) == NULL)
            return *p == '#' && memchr(p, '\n', (size_t)(end - p)) == NULL;
    return true;
}

/* A line without "key:" above a line that is deeper: the colon was forgotten there. */
static bool explain_no_colon(const struct complaint *c, struct conf_at from)
{
    struct rm_slice line = conf_line(c->report, from.line);

    for (unsigned n = from.line; line.p != NULL; n--, line = conf_line_before(c->report, line)) {
        size_t start = conf_line_indent(line), end = line.n;
        struct rm_slice word;

        if (line_is_blank(line))
            continue;
        if (memchr(line.p, ':', line.n) != NULL) {
            if (n == from.line)
                continue; /* the line that did not fit */
            return false;
        }
        if (start + 1 < line.n && line.p[start] == '-' && line.p[start + 1] == ' ')
            return false;
        while (end > start && line.p[end - 1] == ' ')
            end--;
        word = (struct rm_slice){line.p + start, end - start};
        if (conf_secret_like(word) || word.n > 64)
            conf_report_add(c->report, (struct conf_at){n, (unsigned)start + 1}, NULL,
                            "this line has no ':' after its key");
        else
            conf_report_add(c->report, (struct conf_at){n, (unsigned)start + 1}, NULL,
                            "'%.*s' has no ':' after it", (int)word.n, word.p);
        return true;
    }
    return false;
}

/* The indentations of the open levels around `line`: the nearest smaller and the nearest larger
 * one. */
static void nearby_levels(const struct complaint *c, size_t indent, long *below, long *above)
{
    struct rm_slice line = conf_line_before(c->report, conf_line(c->report, c->at.line));
    size_t level = SIZE_MAX;

    *below = *above = -1;
    for (; line.p != NULL && level > 0 && *below < 0; line = conf_line_before(c->report, line)) {
        if (line_is_blank(line) || conf_line_indent(line) >= level)
            continue;
        level = conf_line_indent(line);
        if (level > indent)
            *above = (long)level;
        else if (level < indent)
            *below = (long)level;
        else
            return; /* it does match; something else is wrong */
    }
}

static void explain_block(const struct complaint *c)
{
    struct rm_slice line = conf_line(c->report, c->at.line);
    size_t indent = conf_line_indent(line);
    long below, above;

    if (line.p != NULL && c->at.line > 1 && c->at.col == indent + 1) {
        nearby_levels(c, indent, &below, &above);
        if (below >= 0 && above >= 0) {
            conf_report_add(c->report, c->at, NULL,
                            "indentation of %zu matches no open level (%ld or %ld)", indent, below,
                            above);
            return;
        }
    }
    conf_report_add(c->report, c->at, NULL, "expected 'key: value' here");
}

static void explain_flow(const struct complaint *c)
{
    char opener = char_at(c, c->context_at);

    if (opener != '{' && opener != '[') {
        conf_report_add(c->report, c->at, NULL, "expected ',' or a closing bracket here");
    } else if (at_end_of_file(c) || c->at.line > c->context_at.line) {
        conf_report_add(c->report, c->context_at, NULL, "'%c' opened here is never closed", opener);
    } else {
        conf_report_add(c->report, c->at, NULL, "expected ',' or '%c' here",
                        opener == '{' ? '}' : ']');
    }
}

static void explain_quote(const struct complaint *c)
{
    conf_report_add(c->report, c->context_at, NULL, "the quote opened here is never closed");
}

static void explain_escape(const struct complaint *c)
{
    char letter = char_at(c, (struct conf_at){c->at.line, c->at.col + 1});

    if (letter > ' ' && letter < 0x7f)
        conf_report_add(c->report, c->at, "use '...' quotes or '\\\\'", "unknown escape '\\%c'",
                        letter);
    else
        conf_report_add(c->report, c->at, "use '...' quotes or '\\\\'", "unknown escape");
}

static void explain_character(const struct complaint *c)
{
    char what = char_at(c, c->at);

    if (what == '\t')
        conf_report_add(c->report, c->at, "use spaces", "tab used for indentation");
    else if (what > ' ' && what < 0x7f)
        conf_report_add(c->report, c->at, "put the value in quotes", "'%c' cannot begin a value",
                        what);
    else
        conf_report_add(c->report, c->at, "put the value in quotes", "this cannot begin a value");
}

static void explain_tab(const struct complaint *c)
{
    conf_report_add(c->report, c->at, "use spaces", "tab used for indentation");
}

static void explain_tag(const struct complaint *c)
{
    bool at_tag = c->context_at.line > 0 && char_at(c, c->context_at) == '!';

    conf_report_add(c->report, at_tag ? c->context_at : c->at, "write plain values",
                    "YAML tags and directives are not accepted");
}

static void explain_anchor(const struct complaint *c)
{
    conf_report_add(c->report, c->context_at.line > 0 ? c->context_at : c->at,
                    "put the value in quotes if it begins with '&' or '*'",
                    "YAML anchors and aliases are not accepted");
}

static void explain_value(const struct complaint *c)
{
    if (!explain_no_colon(c, c->at))
        conf_report_add(c->report, c->at, "put the value in quotes if the ':' belongs to it",
                        "a second ':' on one line");
}

static void explain_key(const struct complaint *c)
{
    struct conf_at from = c->context_at.line > 0 ? c->context_at : c->at;

    if (!explain_no_colon(c, from))
        conf_report_add(c->report, from, NULL, "this key has no ':' after it");
}

static void explain_node(const struct complaint *c)
{
    conf_report_add(c->report, c->at, "put it in quotes if this is one", "expected a value here");
}

static void explain_list(const struct complaint *c)
{
    conf_report_add(c->report, c->at, "begin the list on its own line",
                    "a list item cannot stand here");
}

static void explain_document(const struct complaint *c)
{
    conf_report_add(c->report, c->at, "check the indentation of this line",
                    "this does not belong to the mapping above");
}

/* The first row whose words occur in libyaml's context (first) or problem (second) explains. */
static const struct row {
    const char *context, *problem;
    void (*explain)(const struct complaint *c);
} rows[] = {
    {"scanning a tag", NULL, explain_tag},
    {"parsing a tag", NULL, explain_tag},
    {NULL, "tag handle", explain_tag},
    {"anchor", NULL, explain_anchor},
    {"alias", NULL, explain_anchor},
    {NULL, "a tab character", explain_tab},
    {NULL, "cannot start any token", explain_character},
    {NULL, "unknown escape", explain_escape},
    {"quoted scalar", "end of stream", explain_quote},
    {"quoted scalar", "document indicator", explain_quote},
    {"quoted scalar", "Unicode character escape", explain_escape},
    {"quoted scalar", "hexdecimal", explain_escape},
    {NULL, "mapping values are not allowed", explain_value},
    {"simple key", NULL, explain_key},
    {"block mapping", NULL, explain_block},
    {"block collection", NULL, explain_block},
    {"flow mapping", NULL, explain_flow},
    {"flow sequence", NULL, explain_flow},
    {"flow node", NULL, explain_flow},
    {"block node", "node content", explain_node},
    {NULL, "block sequence entries", explain_list},
    {NULL, "<document start>", explain_document},
};

static bool has(const char *text, const char *part)
{
    return part == NULL || (text != NULL && strstr(text, part) != NULL);
}

/* libyaml may stand on the line after the last one; people look at the end of the last. */
static struct conf_at inside_file(const struct conf_report *report, struct conf_at at)
{
    struct conf_at last = {1, 1};

    if (at.line == 0 || conf_line(report, at.line).p != NULL)
        return at;
    for (size_t i = 0; i < report->n_text; i++)
        if (report->text[i] == '\n')
            last = (struct conf_at){last.line + 1, 1};
        else if (((unsigned char)report->text[i] & 0xc0) != 0x80)
            last.col++;
    return last;
}

void conf_yaml_explain(struct conf_report *report, const char *context, struct conf_at context_at,
                       const char *problem, struct conf_at problem_at)
{
    struct complaint c = {report, context, problem, inside_file(report, context_at),
                          inside_file(report, problem_at)};

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        if (has(context, rows[i].context) && has(problem, rows[i].problem)) {
            rows[i].explain(&c);
            return;
        }
    conf_report_add(report, c.at, NULL, "%s", problem != NULL ? problem : "not YAML");
}
