/* SPDX-License-Identifier: MIT */
/* cli/logs.c - `rolemesh logs`: the last log lines of the gateway, workers and engines, put in
 * order by their times; with --follow also those that come, asked for once a second (GET
 * /api/v1/logs, `after`). One thread. */
#include "cli/api.h"
#include "cli/show.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINES = 100, SOURCES_MAX = 65, FOLLOW_S = 1, NAME_MAX_BYTES = 64 };

/* Who keeps lines: the gateway, or a worker. */
struct source {
    char node[NAME_MAX_BYTES];   /* "": the gateway */
    char engine[NAME_MAX_BYTES]; /* of this role only; "": all */
    uint64_t last;               /* id of the newest line that was seen */
    bool asked, away;            /* away: it was said */
};

struct logs {
    const struct cli_args *args;
    struct api api;
    struct term term;
    struct source sources[SOURCES_MAX];
    size_t n;
};

/* ---- whose ---- */

static int add_source(struct logs *l, const char *node, const char *engine)
{
    struct source *s = &l->sources[l->n];

    if (l->n == SOURCES_MAX || strlen(node) >= sizeof s->node || strlen(engine) >= sizeof s->engine)
        return cli_usage("logs", "too many nodes, or too long a name: name one");
    *s = (struct source){.last = 0};
    rm_text_copy(s->node, sizeof s->node, node);
    rm_text_copy(s->engine, sizeof s->engine, engine);
    l->n++;
    return CLI_OK;
}

/* Every node of a list: all of the map, or those that host a role. */
static int add_nodes(struct logs *l, const char *target, const char *name, const char *member,
                     const char *engine)
{
    json_t *list;
    const json_t *item;
    size_t i;
    int r = api_list(&l->api, target, name, 0, &list);

    if (r != CLI_OK)
        return r;
    json_array_foreach(json_object_get(list, name), i, item)
    {
        const char *node = json_string_value(json_object_get(item, member));

        if (r == CLI_OK && node != NULL)
            r = add_source(l, node, engine);
    }
    json_decref(list);
    return r;
}

static bool node_is_there(const struct api *api, const char *name)
{
    char target[API_TARGET_MAX] = "/api/v1/nodes/";
    struct api quiet = *api;
    json_t *node = NULL;

    quiet.quiet = true;
    api_segment(target, name);
    if (api_get(&quiet, target, &node) != CLI_OK)
        return false;
    json_decref(node);
    return true;
}

/* A node, else a role on whichever nodes. */
static int add_named(struct logs *l, const char *who)
{
    char target[API_TARGET_MAX] = "/api/v1/hosts";
    int r;

    if (node_is_there(&l->api, who))
        return add_source(l, who, "");
    api_query(target, "role", who);
    r = add_nodes(l, target, "hosts", "node", who);
    if (r == CLI_OK && l->n == 0)
        return cli_usage("logs", "no node is called '%s', and no role of that name is hosted", who);
    return r;
}

static int find_sources(struct logs *l)
{
    const char *who = cli_word(l->args, 0), *at = who != NULL ? strchr(who, '@') : NULL;
    char role[NAME_MAX_BYTES];
    int r;

    if (who == NULL) {
        r = add_source(l, "", "");
        return r == CLI_OK ? add_nodes(l, "/api/v1/nodes", "nodes", "name", "") : r;
    }
    if (strcmp(who, "gateway") == 0)
        return add_source(l, "", "");
    if (at == NULL)
        return add_named(l, who);
    if (at == who || at[1] == '\0' || (size_t)(at - who) >= sizeof role)
        return cli_usage("logs", "'%s' is not a node, a role, ROLE@NODE or gateway", who);
    memcpy(role, who, (size_t)(at - who));
    role[at - who] = '\0';
    return add_source(l, at + 1, role);
}

/* ---- lines ---- */

/* The newest lines of a source, at most so many; those after s->last only when `since`. */
static int ask_source(struct logs *l, struct source *s, size_t most, bool since, bool quiet,
                      json_t **out)
{
    static const char *const names[] = {"level", NULL};
    char target[API_TARGET_MAX] = "/api/v1/logs", number[24];
    struct api api = l->api;

    api.quiet = quiet;
    api_query_said(target, l->args, names);
    if (s->node[0] != '\0')
        api_query(target, "node", s->node);
    if (s->engine[0] != '\0')
        api_query(target, "engine", s->engine);
    snprintf(number, sizeof number, "%llu", (unsigned long long)s->last);
    if (since)
        api_query(target, "after", number);
    return api_list(&api, target, "logs", most, out);
}

/* Takes the lines of an answer into one list. */
static void take_lines(struct source *s, const json_t *answer, json_t *into)
{
    const json_t *lines = json_object_get(answer, "logs");
    uint64_t newest = api_u64(json_array_get(lines, 0), "id");

    s->last = newest > s->last ? newest : s->last;
    json_array_extend(into, (json_t *)(uintptr_t)lines);
}

/* The newest first, as the API has them. Times are texts that compare as times do; equal ones keep
 * the order of their ids when one daemon wrote them. */
static int by_time(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    const char *p = json_string_value(json_object_get(x, "at"));
    const char *q = json_string_value(json_object_get(y, "at"));
    int r = strcmp(q != NULL ? q : "", p != NULL ? p : "");
    uint64_t m = api_u64(x, "id"), n = api_u64(y, "id");

    return r != 0 ? r : (m < n) - (m > n);
}

/* Sorts, and keeps the newest `most`. Returns a new list; NULL: no memory. */
static json_t *in_order(const json_t *lines, size_t most)
{
    size_t n = json_array_size(lines);
    json_t **v = calloc(n + 1, sizeof *v), *out = json_array();

    for (size_t i = 0; v != NULL && i < n; i++)
        v[i] = json_array_get(lines, i);
    if (v != NULL && n > 1)
        qsort(v, n, sizeof *v, by_time);
    for (size_t i = 0; v != NULL && i < n && i < most; i++)
        json_array_append(out, v[i]);
    free(v);
    return out;
}

static enum term_color color_of(const char *level)
{
    return level == NULL                 ? TERM_PLAIN
           : strcmp(level, "error") == 0 ? TERM_BAD
           : strcmp(level, "warn") == 0  ? TERM_WARN
           : strcmp(level, "debug") == 0 ? TERM_DIM
                                         : TERM_PLAIN;
}

/* "17:30:01  speed/code  warn   core  what is said" */
static void print_line(const json_t *line, const struct term *t)
{
    const char *level = json_string_value(json_object_get(line, "level"));
    const char *engine = json_string_value(json_object_get(line, "engine"));
    enum term_color color = color_of(level);
    char text[ASK_TEXT_MAX], more[ASK_TEXT_MAX], at[HUMAN_MAX], who[2 * ASK_TEXT_MAX];

    snprintf(who, sizeof who, "%s%s%s",
             api_null(line, "node") ? "gateway" : api_text(line, "node", text),
             engine != NULL ? "/" : "", engine != NULL ? ask_shown(engine, more) : "");
    fprintf(t->to, "%s  %-20s  ",
            human_time(json_string_value(json_object_get(line, "at")), time(NULL), at), who);
    fprintf(t->to, "%s%-5s%s  ", term_on(t, color), ask_shown(level, text), term_off(t, color));
    fprintf(t->to, "%-8s  ", api_text(line, "area", text));
    ask_print_line(json_string_value(json_object_get(line, "text")), t->to);
    fputc('\n', t->to);
}

static void print_lines(const struct logs *l, const json_t *lines)
{
    for (size_t i = json_array_size(lines); i-- > 0;) {
        const json_t *line = json_array_get(lines, i);

        if (cli_wants_json(l->args))
            api_print(line, stdout, true);
        else
            print_line(line, &l->term);
    }
    fflush(stdout);
}

/* ---- what was written ---- */

static int logs_show(struct logs *l, bool follow)
{
    size_t most = (size_t)cli_number(l->args, "lines", LINES);
    json_t *all = json_array(), *answer = NULL, *lines;
    int r = CLI_OK, failed = CLI_OK;

    for (size_t i = 0; i < l->n; i++) {
        l->sources[i].asked = true;
        if ((r = ask_source(l, &l->sources[i], most, false, false, &answer)) != CLI_OK) {
            failed = r; /* said already; the others still count */
            l->sources[i].away = true;
            if (r == CLI_BAD || l->sources[i].node[0] == '\0')
                break; /* what the gateway refuses for itself it refuses for all */
            continue;
        }
        take_lines(&l->sources[i], answer, all);
        json_decref(answer);
    }
    lines = in_order(all, most);
    if (failed == CLI_OK || json_array_size(lines) > 0) {
        if (!cli_wants_json(l->args) || follow)
            print_lines(l, lines);
        else {
            json_t *body = json_pack("{s:O,s:n}", "logs", lines, "next");

            api_print(body, stdout, false);
            json_decref(body);
        }
    }
    json_decref(lines);
    json_decref(all);
    return failed;
}

/* ---- what is being written ---- */

static void say_away(struct source *s, bool away)
{
    if (s->away == away)
        return;
    s->away = away;
    fprintf(stderr, "rolemesh logs: %s%s %s\n", s->node[0] != '\0' ? "node " : "",
            s->node[0] != '\0' ? s->node : "the gateway",
            away ? "tells nothing; it is asked again" : "tells again");
}

/* Has any of them told its lines? Else there is nothing to follow. */
static bool somebody_told(const struct logs *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->sources[i].asked && !l->sources[i].away)
            return true;
    return false;
}

static int logs_follow(struct logs *l)
{
    for (;;) {
        json_t *all = json_array(), *answer = NULL, *lines;

        sleep(FOLLOW_S);
        for (size_t i = 0; i < l->n; i++) {
            struct source *s = &l->sources[i];
            bool gone = ask_source(l, s, 0, true, true, &answer) != CLI_OK;

            say_away(s, gone);
            if (gone)
                continue;
            take_lines(s, answer, all);
            json_decref(answer);
        }
        lines = in_order(all, json_array_size(all));
        print_lines(l, lines);
        json_decref(lines);
        json_decref(all);
        if (ferror(stdout))
            return CLI_FAILED;
    }
}

static int logs_run(const struct cli_args *args)
{
    static struct logs l;
    bool follow = cli_has(args, "follow");
    int r;

    l = (struct logs){.args = args};
    if ((r = api_open(args, &l.api)) != CLI_OK || (r = find_sources(&l)) != CLI_OK)
        return r;
    term_look(args, &l.term);
    term_end_on_signals();
    r = logs_show(&l, follow);
    return follow && somebody_told(&l) ? logs_follow(&l) : r;
}

static const char *const levels[] = {"error", "warn", "info", "debug", NULL};

static const struct cli_option logs_options[] = {
    {.name = "follow",
     .letter = 'f',
     .kind = CLI_FLAG,
     .help = "go on with lines that come, until Ctrl-C"},
    {.name = "lines",
     .letter = 'n',
     .kind = CLI_NUMBER,
     .value = "N",
     .min = 1,
     .max = 4096,
     .help = "at most so many of what was written (default: 100)"},
    {.name = "level",
     .kind = CLI_WORD,
     .value = "error|warn|info|debug",
     .words = levels,
     .help = "these and worse (default: debug, as far as the daemons log it)"},
    {.name = NULL},
};

const struct cli_command cli_logs = {
    .name = "logs",
    .group = CLI_LOOK,
    .summary = "the last log lines of the gateway, workers and engines",
    .about =
        "Each daemon keeps its last 4096 lines (1 MiB) in memory, a worker also what its engines "
        "print. Without a name those of all are put in order by their times; WHO is a node, a role "
        "(its engines, wherever they are), ROLE@NODE, or gateway. It takes an admin's key where "
        "there are keys. Neither prompts, answers nor keys are ever logged.",
    .examples = "rolemesh logs # the last 100 lines of all\n"
                "rolemesh logs code@speed -f # what that engine prints\n"
                "rolemesh logs --level warn -n 1000 # what went wrong lately\n",
    .common = CLI_ASKS | CLI_JSON,
    .options = logs_options,
    .operands = {{.name = "WHO", .optional = true, .complete = CLI_COMPLETE_TARGET}},
    .run = logs_run,
};
