/* SPDX-License-Identifier: MIT */
/* cli/why.c - `rolemesh why REQUEST`: who asked for what, where it went and why there: every
 * candidate with the seconds it was expected to take, by term, and what made others unfit; what was
 * changed in the body; what came of it (GET /api/v1/requests/{id}/why). */
#include "cli/api.h"
#include "cli/grid.h"
#include "cli/show.h"

#include <inttypes.h>
#include <string.h>

/* ---- the request ---- */

static void print_who(const json_t *request, const struct term *t)
{
    const json_t *key = json_object_get(request, "key");
    char name[ASK_TEXT_MAX], id[ASK_TEXT_MAX];

    if (json_is_object(key))
        fprintf(t->to, "who       key %s (%s)\n", api_text(key, "name", name),
                api_text(key, "id", id));
    else
        fputs("who       nobody was asked for a key\n", t->to);
}

static void print_asked(const json_t *request, const struct term *t)
{
    char role[ASK_TEXT_MAX], mode[ASK_TEXT_MAX], dialect[ASK_TEXT_MAX], served[ASK_TEXT_MAX];
    const char *r = json_string_value(json_object_get(request, "role"));
    const char *s = json_string_value(json_object_get(request, "served"));

    fprintf(t->to, "asked     role %s", ask_shown(r, role));
    if (!api_null(request, "mode"))
        fprintf(t->to, ", mode %s", api_text(request, "mode", mode));
    fprintf(t->to, ", as %s", api_text(request, "dialect", dialect));
    if (r != NULL && s != NULL && strcmp(r, s) != 0)
        fprintf(t->to, "; served by its fallback %s", ask_shown(s, served));
    fputc('\n', t->to);
}

static void print_end(const json_t *request, const struct term *t)
{
    const char *outcome = json_string_value(json_object_get(request, "outcome"));
    const char *state = json_string_value(json_object_get(request, "state"));
    const char *word = outcome != NULL ? outcome : state;
    char text[ASK_TEXT_MAX], node[ASK_TEXT_MAX], error[ASK_TEXT_MAX];

    fprintf(t->to, "outcome   %s%s%s", term_on(t, show_color(word)), ask_shown(word, text),
            term_off(t, show_color(word)));
    if (!api_null(request, "status"))
        fprintf(t->to, ", HTTP %" PRIu64, api_u64(request, "status"));
    if (!api_null(request, "error"))
        fprintf(t->to, ", %s", api_text(request, "error", error));
    if (!api_null(request, "node"))
        fprintf(t->to, ", on %s", api_text(request, "node", node));
    if (api_u64(request, "tries") > 1)
        fprintf(t->to, ", after %" PRIu64 " tries", api_u64(request, "tries"));
    fputc('\n', t->to);
}

static void print_request(const json_t *request, const struct term *t)
{
    char id[ASK_TEXT_MAX], at[HUMAN_MAX], a[HUMAN_MAX], b[HUMAN_MAX], c[HUMAN_MAX];

    fprintf(t->to, "request   %s, begun %s\n", api_text(request, "id", id),
            human_time(json_string_value(json_object_get(request, "at")), time(NULL), at));
    print_who(request, t);
    print_asked(request, t);
    print_end(request, t);
    fprintf(t->to, "timings   waited for a host %s, first token after %s, took %s\n",
            show_ms(request, "queue_ms", a), show_ms(request, "ttft_ms", b),
            show_ms(request, "duration_ms", c));
    fprintf(t->to,
            "tokens    prompt %" PRIu64 ", of these from a cache %" PRIu64 ", answer %" PRIu64 "\n",
            api_u64(request, "prompt_tokens"), api_u64(request, "cached_tokens"),
            api_u64(request, "completion_tokens"));
}

/* ---- decisions ---- */

static const struct grid_column columns[] = {
    {" ", false, false, 0},          {"NODE", false, false, 32},
    {"TOTAL", true, false, 0},       {"LOAD", true, false, 0},
    {"WAIT", true, false, 0},        {"PREFILL", true, false, 0},
    {"PATH", true, false, 0},        {"PENALTY", true, GRID_SPARE, 0},
    {"PREFIX", true, false, 0},      {"SLOTS", true, GRID_SPARE, 0},
    {"QUEUED", true, GRID_SPARE, 0}, {"PREFILL/S", true, GRID_SPARE, 0},
    {"SERVICE", true, true, 0},      {"REMARK", false, false, 0},
};

/* As CSV: all decisions in one table. */
static const struct grid_column csv_columns[] = {
    {"DECISION", true, false, 0}, {"AT", false, false, 0},     {"ROLE", false, false, 0},
    {"CHOSEN", false, false, 0},  {"NODE", false, false, 0},   {"TOTAL", true, false, 0},
    {"LOAD", true, false, 0},     {"WAIT", true, false, 0},    {"PREFILL", true, false, 0},
    {"PATH", true, false, 0},     {"PENALTY", true, false, 0}, {"PREFIX", true, false, 0},
    {"SLOTS", true, false, 0},    {"QUEUED", true, false, 0},  {"PREFILL/S", true, false, 0},
    {"SERVICE", true, false, 0},  {"REMARK", false, false, 0},
};

static void add_seconds(struct grid *g, const json_t *seconds, enum term_color color)
{
    static const char *const terms[] = {"total", "load", "wait", "prefill", "rtt", "penalty"};
    char cell[HUMAN_MAX];

    for (size_t i = 0; i < RM_COUNT(terms); i++)
        grid_add(g, i == 0 ? color : TERM_PLAIN, "%s",
                 json_is_object(seconds) ? human_seconds(api_real(seconds, terms[i]), cell) : "-");
}

static void add_facts(struct grid *g, const json_t *facts, uint64_t prompt)
{
    uint64_t cached = api_u64(facts, "cached");
    char cell[HUMAN_MAX];

    if (!json_is_object(facts)) {
        for (int i = 0; i < 5; i++)
            grid_add(g, TERM_PLAIN, "-");
        return;
    }
    if (prompt > 0)
        grid_add(g, TERM_PLAIN, "%" PRIu64 " (%.0f%%)", cached, /* prompt is an estimate */
                 cached < prompt ? 100 * (double)cached / (double)prompt : 100);
    else
        grid_add(g, TERM_PLAIN, "%" PRIu64, cached);
    grid_add(g, TERM_PLAIN, "%" PRIu64 "/%" PRIu64, api_u64(facts, "in_flight"),
             api_u64(facts, "slots"));
    grid_add(g, TERM_PLAIN, "%" PRIu64, api_u64(facts, "queued"));
    grid_add(g, TERM_PLAIN, "%s", show_rate(facts, "prefill_tps", cell));
    grid_add(g, TERM_PLAIN, "%s",
             api_real(facts, "service_s") > 0 ? human_seconds(api_real(facts, "service_s"), cell)
                                              : "-");
}

static void add_candidate(struct grid *g, const json_t *candidate, uint64_t prompt, bool csv)
{
    const json_t *facts = json_object_get(candidate, "facts");
    const char *reject = json_string_value(json_object_get(candidate, "reject"));
    bool chosen = api_true(candidate, "chosen");
    char node[ASK_TEXT_MAX];

    grid_add(g, TERM_GOOD, "%s", csv ? (chosen ? "yes" : "no") : chosen ? "->" : " ");
    grid_add(g, chosen ? TERM_GOOD : TERM_PLAIN, "%s", api_text(candidate, "node", node));
    add_seconds(g, json_object_get(candidate, "seconds"), chosen ? TERM_GOOD : TERM_PLAIN);
    add_facts(g, facts, prompt);
    grid_add(g, reject != NULL ? TERM_WARN : TERM_PLAIN, "%s%s%s%s", reject != NULL ? reject : "",
             reject == NULL && api_true(candidate, "failing") ? "its traffic fails; " : "",
             reject == NULL && api_true(candidate, "avoided") ? "it lost this request before; "
                                                              : "",
             reject == NULL && api_true(facts, "suspect") ? "not heard of for a while" : "");
}

static int print_decision(const json_t *decision, size_t number, const struct term *t, bool wide)
{
    static const char *const passes[] = {
        "", "no host was well: those whose traffic fails were looked at too",
        "nothing else was left: hosts that had lost this request were looked at too"};
    char role[ASK_TEXT_MAX], node[ASK_TEXT_MAX], at[HUMAN_MAX], wait[HUMAN_MAX];
    uint64_t pass = api_u64(decision, "pass"), prompt = api_u64(decision, "prompt");
    const json_t *candidate;
    struct grid g;
    size_t i;
    int r;

    fprintf(t->to,
            "\n%sdecision %zu%s at %s: %s goes to %s, for its seconds are the least; waited %s, "
            "about %" PRIu64 " tokens of prompt\n",
            term_on(t, TERM_BOLD), number, term_off(t, TERM_BOLD),
            human_time(json_string_value(json_object_get(decision, "at")), time(NULL), at),
            api_text(decision, "role", role), api_text(decision, "node", node),
            show_ms(decision, "queue_ms", wait), prompt);
    if (pass > 0 && pass < RM_COUNT(passes))
        fprintf(t->to, "%s\n", passes[pass]);
    grid_init(&g, columns, RM_COUNT(columns));
    json_array_foreach(json_object_get(decision, "candidates"), i, candidate)
        add_candidate(&g, candidate, prompt, false);
    r = grid_print(&g, t, wide);
    grid_clear(&g);
    if (api_true(decision, "cut"))
        fputs("and more hosts, that were not written down\n", t->to);
    return r;
}

static int print_csv(const json_t *decisions, const struct term *t)
{
    const json_t *decision, *candidate;
    char text[ASK_TEXT_MAX];
    struct grid g;
    size_t i, k;
    int r;

    grid_init(&g, csv_columns, RM_COUNT(csv_columns));
    json_array_foreach(decisions, i, decision)
        json_array_foreach(json_object_get(decision, "candidates"), k, candidate)
    {
        grid_add(&g, TERM_PLAIN, "%zu", i + 1);
        grid_add(&g, TERM_PLAIN, "%s", api_text(decision, "at", text));
        grid_add(&g, TERM_PLAIN, "%s", api_text(decision, "role", text));
        add_candidate(&g, candidate, api_u64(decision, "prompt"), true);
    }
    r = grid_print(&g, t, true);
    grid_clear(&g);
    return r;
}

/* ---- all of it ---- */

static int print_why(const json_t *why, const struct term *t, bool wide)
{
    const json_t *decisions = json_object_get(why, "decisions"), *item;
    const json_t *rewrites = json_object_get(why, "rewrites");
    size_t i;
    int r = 0;

    print_request(json_object_get(why, "request"), t);
    if (json_array_size(rewrites) == 0)
        fputs("rewrites  none: the body went on as it came\n", t->to);
    json_array_foreach(rewrites, i, item)
    {
        fputs(i == 0 ? "rewrites  " : "          ", t->to);
        ask_print_line(json_string_value(item), t->to);
        fputc('\n', t->to);
    }
    if (json_array_size(decisions) == 0)
        fputs("\nno decision is known: it was refused before one, or it was too long ago\n", t->to);
    json_array_foreach(decisions, i, item)
    {
        if (r == 0)
            r = print_decision(item, i + 1, t, wide);
    }
    return r;
}

static int why_draw(const struct cli_args *args, const struct term *t, void *arg)
{
    char target[API_TARGET_MAX] = "/api/v1/requests/";
    json_t *why;
    int r, err = 0;

    api_segment(target, cli_word(args, 0));
    strcat(target, "/why");
    if ((r = api_get(arg, target, &why)) != CLI_OK)
        return r;
    if (cli_wants_json(args))
        api_print(why, t->to, t->compact);
    else if (t->csv)
        err = print_csv(json_object_get(why, "decisions"), t);
    else
        err = print_why(why, t, cli_wants_wide(args));
    json_decref(why);
    return err == 0 ? CLI_OK : cli_failed("why", "%s", rm_strerror(err));
}

static int why_run(const struct cli_args *args)
{
    struct term t;
    struct api api;
    int r = api_open(args, &api);

    if (r != CLI_OK)
        return r;
    term_look(args, &t);
    return why_draw(args, &t, &api);
}

const struct cli_command cli_why = {
    .name = "why",
    .group = CLI_LOOK,
    .summary = "why a request went where it went, and what came of it",
    .about =
        "For each host it was sent to the candidates with the seconds they were expected to "
        "take: loading the model, waiting for a slot, reading the prompt that no cache has "
        "(PREFIX is what one has), the path, and a penalty for hosts in doubt; the least total "
        "gets it. Then what made others unfit.\n\n"
        "The id of a request is in its answer's header x-request-id; `rolemesh ps --all` lists "
        "recent ones.",
    .common = CLI_ASKS | CLI_JSON | CLI_TABLE,
    .operands = {{"REQUEST", false, false, "which request? `rolemesh ps --all` lists them",
                  CLI_COMPLETE_REQUEST, NULL}},
    .run = why_run,
};
