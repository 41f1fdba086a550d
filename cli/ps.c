/* SPDX-License-Identifier: MIT */
/* cli/ps.c - `rolemesh ps`: model requests in flight, or recent ones too; `rolemesh cancel`. Names,
 * times and counts: nobody is told what was said. */
#include "cli/api.h"
#include "cli/grid.h"
#include "cli/show.h"

#include <inttypes.h>
#include <string.h>

enum { RECENT = 50 };

static const struct grid_column columns[] = {
    {"REQUEST", false, GRID_WHOLE, 0},
    {"STATE", false, false, 0},
    {"ROLE", false, false, 32},
    {"NODE", false, false, 32},
    {"KEY", false, false, 24},
    {"AGE", true, false, 0},
    {"QUEUED", true, GRID_SPARE, 0},
    {"TTFT", true, GRID_SPARE, 0},
    {"PROMPT", true, GRID_SPARE, 0},
    {"CACHED", true, GRID_SPARE, 0},
    {"ANSWER", true, GRID_SPARE, 0},
    {"T/S", true, GRID_SPARE, 0},
    {"STATUS", true, true, 0},
    {"MODE", false, true, 0},
    {"DIALECT", false, true, 0},
    {"SERVED BY", false, true, 0},
    {"TRIES", true, true, 0},
    {"IN", true, true, 0},
    {"OUT", true, true, 0},
    {"ERROR", false, false, 0},
};

/* Tokens a second of its answer, after the first one. */
static const char *speed_of(const json_t *request, char out[HUMAN_MAX])
{
    bool done = !api_null(request, "duration_ms");
    double all = api_real(request, done ? "duration_ms" : "age_ms");
    double before = api_real(request, "ttft_ms") + api_real(request, "queue_ms");
    uint64_t tokens = api_u64(request, "completion_tokens");

    if (api_null(request, "ttft_ms") || tokens < 2 || all <= before)
        return "-";
    return human_rate((double)(tokens - 1) * 1000 / (all - before), out);
}

static void add_counts(struct grid *g, const json_t *request)
{
    static const char *const names[] = {"prompt_tokens", "cached_tokens", "completion_tokens"};

    for (size_t i = 0; i < RM_COUNT(names); i++) {
        uint64_t n = api_u64(request, names[i]);

        if (n > 0)
            grid_add(g, TERM_PLAIN, "%" PRIu64, n);
        else
            grid_add(g, TERM_PLAIN, "-");
    }
}

static void add_request(struct grid *g, const json_t *request)
{
    const char *state = json_string_value(json_object_get(request, "state"));
    const char *outcome = json_string_value(json_object_get(request, "outcome"));
    char text[ASK_TEXT_MAX], cell[HUMAN_MAX];

    state = outcome != NULL ? outcome : state;
    grid_add(g, TERM_PLAIN, "%s", api_text(request, "id", text));
    grid_add(g, show_color(state), "%s", state != NULL ? state : "-");
    grid_add(g, TERM_PLAIN, "%s", api_text(request, "role", text));
    grid_add(g, TERM_PLAIN, "%s", api_text(request, "node", text));
    grid_add(g, TERM_PLAIN, "%s", api_text(json_object_get(request, "key"), "name", text));
    grid_add(g, TERM_PLAIN, "%s", show_ms(request, "age_ms", cell));
    grid_add(g, TERM_PLAIN, "%s", show_ms(request, "queue_ms", cell));
    grid_add(g, TERM_PLAIN, "%s", show_ms(request, "ttft_ms", cell));
    add_counts(g, request);
    grid_add(g, TERM_PLAIN, "%s", speed_of(request, cell));
    if (api_null(request, "status"))
        grid_add(g, TERM_PLAIN, "-");
    else
        grid_add(g, TERM_PLAIN, "%" PRIu64, api_u64(request, "status"));
    grid_add(g, TERM_PLAIN, "%s", api_text(request, "mode", text));
    grid_add(g, TERM_PLAIN, "%s", api_text(request, "dialect", text));
    grid_add(g, TERM_PLAIN, "%s", api_text(request, "served", text));
    grid_add(g, TERM_PLAIN, "%" PRIu64, api_u64(request, "tries"));
    grid_add(g, TERM_PLAIN, "%s", show_bytes(request, "bytes_in", cell));
    grid_add(g, TERM_PLAIN, "%s", show_bytes(request, "bytes_out", cell));
    grid_add(g, TERM_BAD, "%s", api_text(request, "error", text));
}

/* Those that ended are asked for, too. */
static bool is_recent(const struct cli_args *args)
{
    return cli_has(args, "all") || cli_has(args, "outcome");
}

static int print_requests(const json_t *requests, const struct cli_args *args, const struct term *t)
{
    const json_t *request;
    struct grid g;
    size_t i;
    int r;

    grid_init(&g, columns, RM_COUNT(columns));
    g.none = is_recent(args) ? "no such requests" : "no requests in flight";
    json_array_foreach(requests, i, request) add_request(&g, request);
    r = grid_print(&g, t, cli_wants_wide(args));
    grid_clear(&g);
    return r;
}

/* In flight: those that run, then those that wait; the API filters by one state at a time. */
static int ask_requests(const struct cli_args *args, const struct api *api, json_t **out)
{
    static const char *const filters[] = {"role",  "node",  "mode", "outcome",
                                          "since", "until", NULL};
    char target[API_TARGET_MAX] = "/api/v1/requests", waits[API_TARGET_MAX];
    json_t *waiting;
    int r;

    api_query_said(target, args, filters);
    if (is_recent(args))
        return api_list(api, target, "requests", (size_t)cli_number(args, "lines", RECENT), out);
    rm_text_copy(waits, sizeof waits, target);
    api_query(target, "state", "running");
    api_query(waits, "state", "waiting");
    if ((r = api_list(api, waits, "requests", 0, &waiting)) != CLI_OK)
        return r;
    if ((r = api_list(api, target, "requests", 0, out)) == CLI_OK)
        json_array_extend(json_object_get(*out, "requests"), json_object_get(waiting, "requests"));
    json_decref(waiting);
    return r;
}

static int ps_draw(const struct cli_args *args, const struct term *t, void *arg)
{
    const struct api *api = arg;
    json_t *all;
    int err = 0, r = ask_requests(args, api, &all);

    if (r != CLI_OK)
        return r;
    if (cli_wants_json(args))
        api_print(all, t->to, t->compact);
    else
        err = print_requests(json_object_get(all, "requests"), args, t);
    json_decref(all);
    return err == 0 ? CLI_OK : cli_failed("ps", "%s", rm_strerror(err));
}

static int ps_run(const struct cli_args *args)
{
    struct api api;
    int r = api_open(args, &api);

    return r == CLI_OK ? term_watch(args, ps_draw, &api) : r;
}

static const char *const outcomes[] = {"ok", "refused", "failed", "broken", "gone", NULL};

static const struct cli_option ps_options[] = {
    {.name = "all", .letter = 'a', .kind = CLI_FLAG, .help = "recent ones too, newest first"},
    {.name = "lines",
     .letter = 'n',
     .kind = CLI_NUMBER,
     .value = "N",
     .min = 1,
     .max = 10000,
     .help = "with --all: at most so many (default: 50)"},
    {.name = "role",
     .kind = CLI_STRING,
     .value = "ROLE",
     .complete = CLI_COMPLETE_ROLE,
     .help = "only requests that asked for it"},
    {.name = "node",
     .kind = CLI_STRING,
     .value = "NODE",
     .complete = CLI_COMPLETE_NODE,
     .help = "only requests there"},
    {.name = "mode", .kind = CLI_STRING, .value = "MODE", .help = "only requests of this URL"},
    {.name = "outcome",
     .kind = CLI_WORD,
     .value = "OUTCOME",
     .words = outcomes,
     .help = "recent ones that ended so: ok, refused, failed, broken or gone"},
    {.name = "since",
     .kind = CLI_TIME,
     .value = "TIME",
     .help = "begun not before: 30m or 2d ago, or a date"},
    {.name = "until", .kind = CLI_TIME, .value = "TIME", .help = "begun before"},
    {NULL},
};

const struct cli_command cli_ps = {
    .name = "ps",
    .group = CLI_LOOK,
    .summary = "model requests in flight; with --all recent ones too",
    .about = "QUEUED is how long a request waited for a host, TTFT how long its first token took, "
             "T/S tokens a second since. PROMPT, CACHED and ANSWER are tokens.",
    .examples = "rolemesh ps --watch=1\n"
                "rolemesh ps --all --role code --since 1h\n",
    .common = CLI_ASKS | CLI_JSON | CLI_TABLE | CLI_WATCH,
    .options = ps_options,
    .run = ps_run,
};

/* ---- cancel ---- */

static int cancel_run(const struct cli_args *args)
{
    char target[API_TARGET_MAX] = "/api/v1/requests/", id[ASK_TEXT_MAX], role[ASK_TEXT_MAX];
    struct api api;
    json_t *request;
    int r = api_open(args, &api);

    if (r != CLI_OK)
        return r;
    api_segment(target, cli_word(args, 0));
    r = api_ask(&api, "DELETE", target, (struct rm_slice){NULL, 0}, &request);
    if (r != CLI_OK)
        return r;
    if (cli_wants_json(args))
        api_print(request, stdout, false);
    else
        printf("%s of %s is cancelled\n", api_text(request, "id", id),
               api_text(request, "role", role));
    json_decref(request);
    return CLI_OK;
}

const struct cli_command cli_cancel = {
    .name = "cancel",
    .group = CLI_ACT,
    .summary = "end a request that runs or waits",
    .about = "Its client gets an error of its own dialect, told not to try again.",
    .common = CLI_ASKS | CLI_JSON,
    .operands = {{"REQUEST", false, false, "which request? `rolemesh ps` lists them",
                  CLI_COMPLETE_REQUEST, NULL}},
    .run = cancel_run,
};
