/* SPDX-License-Identifier: MIT */
/* cli/usage.c - `rolemesh usage`: what requests came to, added up from the gateway's history. */
#include "cli/api.h"
#include "cli/grid.h"
#include "cli/show.h"

#include <inttypes.h>
#include <string.h>

static const struct grid_column columns[] = {
    {"SINCE", false, false, 0},   {"NAME", false, false, 40},
    {"REQUESTS", true, false, 0}, {"ERRORS", true, false, 0},
    {"PROMPT", true, false, 0},   {"CACHED", true, false, 0},
    {"ANSWER", true, false, 0},   {"QUEUED", true, GRID_SPARE, 0},
    {"TTFT", true, false, 0},     {"DURATION", true, GRID_SPARE, 0},
};

/* A sum of milliseconds, for one request. */
static void add_mean(struct grid *g, const json_t *row, const char *key)
{
    uint64_t n = api_u64(row, "requests");
    char cell[HUMAN_MAX];

    grid_add(g, TERM_PLAIN, "%s", n > 0 ? human_ms(api_u64(row, key) / n, cell) : "-");
}

static void add_row(struct grid *g, const json_t *row, bool csv)
{
    uint64_t errors = api_u64(row, "errors"), prompt = api_u64(row, "prompt_tokens");
    char text[ASK_TEXT_MAX], cell[HUMAN_MAX];

    grid_add(g, TERM_PLAIN, "%s",
             csv ? api_text(row, "at", text)
                 : human_time(json_string_value(json_object_get(row, "at")), time(NULL), cell));
    grid_add(g, TERM_PLAIN, "%s", api_text(row, "name", text));
    grid_add(g, TERM_PLAIN, "%" PRIu64, api_u64(row, "requests"));
    grid_add(g, errors > 0 ? TERM_BAD : TERM_PLAIN, "%" PRIu64, errors);
    grid_add(g, TERM_PLAIN, "%s", human_count(prompt, cell));
    if (prompt > 0)
        grid_add(g, TERM_PLAIN, "%.0f%%", 100 * api_real(row, "cached_tokens") / (double)prompt);
    else
        grid_add(g, TERM_PLAIN, "-");
    grid_add(g, TERM_PLAIN, "%s", human_count(api_u64(row, "completion_tokens"), cell));
    add_mean(g, row, "queue_ms");
    add_mean(g, row, "ttft_ms");
    add_mean(g, row, "duration_ms");
}

static int usage_draw(const struct cli_args *args, const struct term *t, void *arg)
{
    static const char *const names[] = {"by", "per", "since", "until", NULL};
    char target[API_TARGET_MAX] = "/api/v1/usage";
    const json_t *row;
    json_t *usage;
    struct grid g;
    int r, err = 0;
    size_t i;

    api_query_said(target, args, names);
    if ((r = api_get(arg, target, &usage)) != CLI_OK)
        return r;
    if (cli_wants_json(args)) {
        api_print(usage, t->to, t->compact);
    } else {
        grid_init(&g, columns, RM_COUNT(columns));
        g.none = "no requests in that time";
        json_array_foreach(json_object_get(usage, "usage"), i, row) add_row(&g, row, t->csv);
        err = grid_print(&g, t, cli_wants_wide(args));
        grid_clear(&g);
    }
    json_decref(usage);
    return err == 0 ? CLI_OK : cli_failed("usage", "%s", rm_strerror(err));
}

static int usage_run(const struct cli_args *args)
{
    struct api api;
    int r = api_open(args, &api);

    return r == CLI_OK ? term_watch(args, usage_draw, &api) : r;
}

static const char *const by_words[] = {"role", "key", "node", "mode", NULL};
static const char *const per_words[] = {"hour", "day", NULL};

static const struct cli_option usage_options[] = {
    {.name = "by",
     .kind = CLI_WORD,
     .value = "role|key|node|mode",
     .words = by_words,
     .help = "a row for each of these (default: role)"},
    {.name = "per",
     .kind = CLI_WORD,
     .value = "hour|day",
     .words = per_words,
     .help = "and for each hour or day, newest first (default: all together)"},
    {.name = "since",
     .kind = CLI_TIME,
     .value = "TIME",
     .help = "not before: 12h or 7d ago, or a date"},
    {.name = "until", .kind = CLI_TIME, .value = "TIME", .help = "before"},
    {NULL},
};

const struct cli_command cli_usage_sums = {
    .name = "usage",
    .group = CLI_LOOK,
    .summary = "requests, errors, tokens and times, added up from the history",
    .about =
        "CACHED is the share of prompt tokens that caches gave; QUEUED, TTFT and DURATION are "
        "means of one request. Keys are named by their ids, as `rolemesh keys list` tells them.",
    .examples = "rolemesh usage --by key --per day --since 7d\n",
    .common = CLI_ASKS | CLI_JSON | CLI_TABLE | CLI_WATCH,
    .options = usage_options,
    .run = usage_run,
};
