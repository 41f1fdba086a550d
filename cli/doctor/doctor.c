/* SPDX-License-Identifier: MIT */
#include "cli/doctor/doctor.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/run.h"
#include "cli/term.h"
#include "proto/conf/role_map.h"

enum { SAW_MAX = 1200 };

/* ---- findings ---- */

const char *doctor_result_name(enum doctor_result r)
{
    static const char *const names[] = {"ok", "warning", "failure", "skipped"};

    return names[r];
}

/* JSON takes UTF-8 only; what is none becomes '?'. */
static json_t *text_of(const char *text)
{
    json_t *made = json_string(text);
    char shown[ASK_TEXT_MAX];

    return made != NULL ? made : json_string(ask_shown(text, shown));
}

void doctor_say(struct doctor *d, enum doctor_result result, const char *check, const char *subject,
                const char *next, const char *saw, ...)
{
    char text[SAW_MAX];
    va_list args;

    va_start(args, saw);
    vsnprintf(text, sizeof text, saw, args);
    va_end(args);
    d->n[result]++;
    if (d->checks == NULL)
        d->checks = json_array();
    json_array_append_new(d->checks, json_pack("{s:s,s:o,s:s,s:o,s:o}", "check", check, "subject",
                                               text_of(subject), "result",
                                               doctor_result_name(result), "saw", text_of(text),
                                               "next", next != NULL ? text_of(next) : json_null()));
}

/* ---- printing ---- */

static enum term_color color_of(const char *result)
{
    return strcmp(result, "ok") == 0        ? TERM_GOOD
           : strcmp(result, "warning") == 0 ? TERM_WARN
           : strcmp(result, "failure") == 0 ? TERM_BAD
                                            : TERM_DIM;
}

static void print_finding(const json_t *f, const struct term *t)
{
    const char *result = json_string_value(json_object_get(f, "result"));
    const char *subject = json_string_value(json_object_get(f, "subject"));
    const char *next = json_string_value(json_object_get(f, "next"));

    fprintf(t->to, "%s%-8s%s %s", term_on(t, color_of(result)), result,
            term_off(t, color_of(result)), json_string_value(json_object_get(f, "check")));
    if (subject != NULL && subject[0] != '\0') {
        fputc(' ', t->to);
        ask_print_line(subject, t->to);
    }
    fputs(": ", t->to);
    ask_print_line(json_string_value(json_object_get(f, "saw")), t->to);
    fputc('\n', t->to);
    if (next != NULL) {
        fputs("         do: ", t->to);
        ask_print_line(next, t->to);
        fputc('\n', t->to);
    }
}

static void print_all(const struct doctor *d, const struct cli_args *args)
{
    struct term t;
    const json_t *f;
    json_t *body;
    size_t i;

    term_look(args, &t);
    if (cli_wants_json(args)) {
        body = json_pack("{s:b,s:O}", "ok", d->n[DOCTOR_FAILURE] == 0, "checks", d->checks);
        json_dumpf(body, t.to, JSON_INDENT(2));
        fputc('\n', t.to);
        json_decref(body);
        return;
    }
    json_array_foreach(d->checks, i, f)
    {
        bool quiet = strcmp(json_string_value(json_object_get(f, "result")), "ok") == 0 ||
                     strcmp(json_string_value(json_object_get(f, "result")), "skipped") == 0;

        if (!quiet || !cli_has(args, "quiet"))
            print_finding(f, &t);
    }
    fprintf(t.to, "%u ok, %u warnings, %u failures, %u not looked at\n", d->n[DOCTOR_OK],
            d->n[DOCTOR_WARNING], d->n[DOCTOR_FAILURE], d->n[DOCTOR_SKIPPED]);
}

/* ---- the command ---- */

/* The map to judge: the one named, the running one when it lies here, or role-map.yaml. */
static const char *which_map(const struct cli_args *args, const struct doctor_cluster *c)
{
    const char *named = cli_text(args, "role-map");

    if (named != NULL)
        return named;
    return c->local && c->map_path[0] != '\0' && access(c->map_path, R_OK) == 0 ? c->map_path
                                                                                : NULL;
}

static int doctor_run(const struct cli_args *args)
{
    struct doctor_cluster c = {.url = cli_gateway(args)};
    struct doctor d = {.checks = NULL};
    struct machine_facts facts;
    struct http_address address;
    struct role_map *map;

    if (ask_address(c.url, &address) < 0)
        return cli_usage("doctor", "--gateway is http://HOST:PORT, not '%s'", c.url);
    d.checks = json_array();
    cluster_check(&d, &c);
    map = place_check_map(&d, which_map(args, &c), c.keys_exist);
    if (!c.reached)
        place_check_ports(&d, map);
    place_check_listening(&d, map, c.keys_exist);
    place_check_models(&d, map, cli_text(args, "models-dir"));
    place_check_states(&d, cli_text(args, "state-dir"));
    place_check_programs(&d);
    machine_read("", run_beside("rolemesh-core"), &facts);
    machine_judge(&facts, &d);
    role_map_unref(map);
    print_all(&d, args);
    json_decref(d.checks);
    return d.n[DOCTOR_FAILURE] > 0 ? CLI_FAILED : CLI_OK;
}

static const struct cli_option doctor_options[] = {
    {.name = "role-map",
     .kind = CLI_STRING,
     .value = "FILE",
     .help = "judge this map (default: the gateway's, when it runs here, or role-map.yaml)",
     .complete = CLI_COMPLETE_FILE},
    {.name = "models-dir",
     .kind = CLI_STRING,
     .value = "DIR",
     .help = "look at the room on that disk too",
     .complete = CLI_COMPLETE_DIR},
    {.name = "state-dir",
     .kind = CLI_STRING,
     .value = "DIR",
     .help = "of a daemon (default: all in the usual place)",
     .complete = CLI_COMPLETE_DIR},
    {.name = "quiet", .letter = 'q', .kind = CLI_FLAG, .help = "warnings and failures only"},
    {.name = NULL},
};

const struct cli_command cli_doctor = {
    .name = "doctor",
    .group = CLI_LOOK,
    .summary = "what is wrong with this machine and the cluster, and what to do",
    .about =
        "Looks at the gateway and what it says of nodes, roles and models, at versions and clocks, "
        "at "
        "the role map, model files, state directories, disks and programs here, and at this "
        "machine's memory, swap, limits and GPU. Each line says what was seen; below it what to do "
        "next. Nothing is changed.\n\nExits with 1 when something failed; warnings do not count.",
    .examples =
        "rolemesh doctor # all of it\n"
        "rolemesh doctor -q --role-map role-map.yaml # what is wrong, before a first start\n",
    .common = CLI_ASKS | CLI_JSON,
    .options = doctor_options,
    .run = doctor_run,
};
