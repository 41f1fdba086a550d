/* SPDX-License-Identifier: MIT */
/* cli/events.c - `rolemesh events`: what happened, and with --follow what happens. Following goes
 * on over a gateway's restart: it connects again and asks for what came meanwhile (follow.h). */
#include "cli/api.h"
#include "cli/follow.h"
#include "cli/grid.h"
#include "cli/show.h"

#include <inttypes.h>
#include <string.h>

enum { LINES = 50 };

struct events {
    const struct cli_args *args;
    struct api api;
    struct term term;
    uv_loop_t loop;
    struct follow *follow;
    uint64_t last; /* id of the last one printed */
    bool away;     /* it was said that the gateway is */
    int result;
};

/* "17:30:01  error    node.down  speed  what is said" and the next step in a line of its own. */
static void print_event(const json_t *event, const struct term *t)
{
    const char *severity = json_string_value(json_object_get(event, "severity"));
    enum term_color color = show_color(severity);
    char text[ASK_TEXT_MAX], at[HUMAN_MAX];

    fprintf(t->to, "%s  %s%-7s%s  ",
            human_time(json_string_value(json_object_get(event, "at")), time(NULL), at),
            term_on(t, color), ask_shown(severity, text), term_off(t, color));
    fprintf(t->to, "%-16s  ", api_text(event, "kind", text));
    fprintf(t->to, "%s: ", api_text(event, "subject", text));
    ask_print_line(json_string_value(json_object_get(event, "text")), t->to);
    fputc('\n', t->to);
    if (json_is_string(json_object_get(event, "next"))) {
        fputs("          do: ", t->to);
        ask_print_line(json_string_value(json_object_get(event, "next")), t->to);
        fputc('\n', t->to);
    }
}

/* ---- what happened ---- */

static int events_ask(const struct cli_args *args, const struct api *api, json_t **out)
{
    static const char *const names[] = {"severity", "kind", "subject", "since", "until", NULL};
    char target[API_TARGET_MAX] = "/api/v1/events";

    api_query_said(target, args, names);
    return api_list(api, target, "events", (size_t)cli_number(args, "lines", LINES), out);
}

/* The oldest first, as in a log. Returns the id of the last one. */
static uint64_t print_events(const json_t *events, const struct term *t, bool json)
{
    uint64_t last = 0;

    for (size_t i = json_array_size(events); i-- > 0;) {
        const json_t *event = json_array_get(events, i);

        last = api_u64(event, "id") > last ? api_u64(event, "id") : last;
        if (json)
            api_print(event, t->to, true);
        else
            print_event(event, t);
    }
    return last;
}

static const struct grid_column columns[] = {
    {"AT", false, false, 0},      {"SEVERITY", false, false, 0}, {"KIND", false, false, 0},
    {"SUBJECT", false, false, 0}, {"TEXT", false, false, 0},     {"NEXT", false, false, 0}};

/* The oldest first, too. */
static int print_csv(const json_t *events, const struct term *t)
{
    static const char *const names[] = {"at", "severity", "kind", "subject", "text", "next"};
    struct grid g;
    int r;

    grid_init(&g, columns, RM_COUNT(columns));
    for (size_t i = json_array_size(events); i-- > 0;)
        for (size_t k = 0; k < RM_COUNT(names); k++) {
            const json_t *cell = json_object_get(json_array_get(events, i), names[k]);

            grid_add(&g, TERM_PLAIN, "%s", json_is_string(cell) ? json_string_value(cell) : "-");
        }
    r = grid_print(&g, t, true);
    grid_clear(&g);
    return r;
}

static int events_draw(const struct cli_args *args, const struct term *t, void *arg)
{
    json_t *all;
    int err = 0, r = events_ask(args, arg, &all);

    if (r != CLI_OK)
        return r;
    if (cli_wants_json(args))
        api_print(all, t->to, t->compact);
    else if (t->csv)
        err = print_csv(json_object_get(all, "events"), t);
    else if (json_array_size(json_object_get(all, "events")) == 0)
        fputs("no events\n", t->to);
    else
        print_events(json_object_get(all, "events"), t, false);
    json_decref(all);
    return err == 0 ? CLI_OK : cli_failed("events", "%s", rm_strerror(err));
}

/* ---- what happens ---- */

static bool is_wanted(const struct events *e, const json_t *event)
{
    static const char *const names[] = {"severity", "kind", "subject"};

    for (size_t i = 0; i < RM_COUNT(names); i++) {
        const char *want = cli_text(e->args, names[i]);
        const char *is = json_string_value(json_object_get(event, names[i]));

        if (want != NULL && (is == NULL || strcmp(is, want) != 0))
            return false;
    }
    return api_u64(event, "id") > e->last;
}

static void events_on_event(void *arg, const struct sse_event *frame)
{
    struct events *e = arg;
    json_t *event;

    if (!rm_slice_eq(frame->type, "event"))
        return;
    event = json_loadb(frame->data.p, frame->data.n, 0, NULL);
    if (e->away)
        fprintf(stderr, "rolemesh events: the gateway is back\n");
    e->away = false;
    if (event != NULL && is_wanted(e, event)) {
        e->last = api_u64(event, "id");
        if (cli_wants_json(e->args))
            api_print(event, e->term.to, true);
        else
            print_event(event, &e->term);
        if (fflush(e->term.to) != 0)
            follow_close(e->follow);
    }
    json_decref(event);
}

static void events_on_lost(void *arg, int err, int status)
{
    struct events *e = arg;

    if (err == 0 && status >= 400 && status < 500 && status != 429) {
        e->result = cli_failed("events", "%s answered %d", e->api.url, status);
        follow_close(e->follow);
    } else if (!e->away) {
        e->away = true;
        cli_failed("events", "%s: %s; it is tried again", e->api.url,
                   err < 0         ? rm_strerror(err)
                   : status == 200 ? "the gateway ended the stream"
                                   : "the gateway takes no listener now");
    }
}

/* The newest event there is, whatever is wanted of them: 0 when there is none. */
static int newest_id(const struct api *api, uint64_t *id)
{
    json_t *one;
    int r = api_list(api, "/api/v1/events", "events", 1, &one);

    *id = r == CLI_OK ? api_u64(json_array_get(json_object_get(one, "events"), 0), "id") : 0;
    if (r == CLI_OK)
        json_decref(one);
    return r;
}

/* The list is asked for after the newest id: what happens between the two is in the list, what
 * happens after it is in the stream. */
static int events_follow(struct events *e)
{
    static const struct follow_ops ops = {.on_event = events_on_event, .on_lost = events_on_lost};
    uint64_t newest, last;
    json_t *all;
    int r = newest_id(&e->api, &newest);

    if (r == CLI_OK)
        r = events_ask(e->args, &e->api, &all);
    if (r != CLI_OK)
        return r;
    last = print_events(json_object_get(all, "events"), &e->term, cli_wants_json(e->args));
    e->last = last > newest ? last : newest;
    fflush(e->term.to);
    json_decref(all);
    if ((r = uv_loop_init(&e->loop)) < 0)
        return cli_failed("events", "%s", rm_strerror(r));
    r = follow_open(&e->loop, &e->api.address, "/api/v1/events", &ops, e, &e->follow);
    if (r == 0) {
        if (e->last > 0)
            follow_after(e->follow, e->last);
        uv_run(&e->loop, UV_RUN_DEFAULT);
    } else {
        e->result = cli_failed("events", "%s", rm_strerror(r));
    }
    uv_loop_close(&e->loop);
    return e->result;
}

static int events_run(const struct cli_args *args)
{
    struct events e = {.args = args, .result = CLI_OK};
    bool follow = cli_has(args, "follow");
    int r;

    if (follow && (cli_has(args, "watch") || cli_has(args, "until")))
        return cli_usage("events", "--follow goes without --watch and --until");
    if (follow && cli_wants_csv(args))
        return cli_usage("events", "-o csv goes without --follow");
    if ((r = api_open(args, &e.api)) != CLI_OK)
        return r;
    if (!follow)
        return term_watch(args, events_draw, &e.api);
    term_look(args, &e.term);
    term_end_on_signals();
    return events_follow(&e);
}

static const char *const severities[] = {"info", "warning", "error", NULL};

static const struct cli_option events_options[] = {
    {.name = "follow",
     .letter = 'f',
     .kind = CLI_FLAG,
     .help = "go on with what happens, until Ctrl-C"},
    {.name = "lines",
     .letter = 'n',
     .kind = CLI_NUMBER,
     .value = "N",
     .min = 1,
     .max = 10000,
     .help = "at most so many of what happened (default: 50)"},
    {.name = "severity",
     .kind = CLI_WORD,
     .value = "info|warning|error",
     .words = severities,
     .help = "only these"},
    {.name = "kind", .kind = CLI_STRING, .value = "KIND", .help = "only these, such as node.down"},
    {.name = "subject",
     .kind = CLI_STRING,
     .value = "NAME",
     .complete = CLI_COMPLETE_TARGET,
     .help = "only of this node, role, role@node, or gateway"},
    {.name = "since",
     .kind = CLI_TIME,
     .value = "TIME",
     .help = "not before: 30m or 2d ago, or a date"},
    {.name = "until", .kind = CLI_TIME, .value = "TIME", .help = "before"},
    {NULL},
};

const struct cli_command cli_events = {
    .name = "events",
    .group = CLI_LOOK,
    .summary = "what happened, the newest last; with --follow what happens",
    .about = "Following goes on over a gateway's restart and misses nothing that the gateway still "
             "has. With --json it prints one event a line.",
    .examples = "rolemesh events -f\n"
                "rolemesh events --severity error --since 1d\n",
    .common = CLI_ASKS | CLI_JSON | CLI_CSV | CLI_WATCH,
    .options = events_options,
    .run = events_run,
};
