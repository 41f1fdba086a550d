/* SPDX-License-Identifier: MIT */
/* cli/plan.c - `rolemesh plan [--role-map FILE] [--nodes FILE | --gateway URL]`: which role would
 * go where. The map's workers are asked what they have and what each role would take there; with
 * --nodes a file says so instead and nobody is asked; with --gateway a gateway says what it plans
 * (plan_gateway.c). Nothing is changed anywhere.
 * Exit codes: 0 every pinned and resident role has a host; 1 one has none, or no worker answers;
 * 2 wrong use, or a file with mistakes. */
#include "cli/cli.h"
#include "cli/plan_ask.h"
#include "cli/plan_gateway.h"
#include "cli/plan_show.h"
#include "proto/plan/plan_facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { PLAN_TEXT_MAX = 256 * 1024 };

struct plan_args {
    const char *map, *nodes;
    bool json;
};

/* The mistakes of a file, as `rolemesh check` tells them. */
static int plan_complain(const struct conf_report *report, int error, bool json)
{
    struct rm_buf out;

    rm_buf_init(&out, PLAN_TEXT_MAX);
    if (error != RM_ERR_CONF)
        cli_failed("plan", "%s", rm_strerror(error));
    else if ((json ? conf_report_json(report, &out) : conf_report_text(report, &out)) == 0)
        fputs(out.data, json ? stdout : stderr);
    rm_buf_clear(&out);
    return error == RM_ERR_CONF ? CLI_BAD : CLI_FAILED;
}

static int plan_tell(const struct plan_live *live, const char *const *silent, bool json)
{
    struct plan_answer *a = calloc(1, sizeof *a);
    int r = UV_ENOMEM, code;

    if (a != NULL)
        r = plan_answer_solve(live, silent, a);
    if (r == 0) {
        if (json)
            r = plan_show_json(a);
        else
            plan_show_text(a);
        plan_answer_clear(a);
    }
    if (r < 0)
        fprintf(stderr, "rolemesh plan: %s\n", rm_strerror(r));
    code = r == 0 && plan_is_feasible(&a->plan) ? CLI_OK : CLI_FAILED;
    free(a);
    return code;
}

static int plan_offline(const struct plan_args *args, const struct role_map *map,
                        struct conf_report *report)
{
    struct plan_facts *facts;
    int r = plan_facts_load(args->nodes, map, report, &facts), code;

    if (r < 0)
        return plan_complain(report, r, args->json);
    code = plan_tell(&facts->live, NULL, args->json);
    plan_facts_free(facts);
    return code;
}

static int plan_online(const struct plan_args *args, const struct role_map *map)
{
    struct plan_asked asked;
    int r = plan_ask(map, &asked), code = CLI_FAILED;

    if (r < 0) {
        fprintf(stderr, "rolemesh plan: %s\n", rm_strerror(r));
        return CLI_FAILED;
    }
    for (size_t n = 0; n < map->n_nodes; n++)
        if (asked.nodes[n].state == NULL)
            fprintf(stderr, "rolemesh plan: node '%s' at %s:%u: %s\n", map->nodes[n].name,
                    map->nodes[n].address.host, (unsigned)map->nodes[n].address.port,
                    asked.silent[n]);
    if (asked.n_heard > 0)
        code = plan_tell(&asked.live, asked.silent, args->json);
    else
        fputs("rolemesh plan: no worker answers; describe the machines with --nodes FILE to plan "
              "without them\n",
              stderr);
    plan_asked_clear(&asked);
    return code;
}

static int plan_run(const struct cli_args *said)
{
    struct plan_args args = {.map = cli_text(said, "role-map"),
                             .nodes = cli_text(said, "nodes"),
                             .json = cli_wants_json(said)};
    struct role_map *map = NULL;
    struct conf_report report;
    int r, code;

    if (cli_text(said, "gateway") != NULL && args.nodes != NULL)
        return cli_usage("plan", "--nodes describes machines, --gateway asks for them: say one");
    if (cli_text(said, "gateway") != NULL)
        return plan_gateway(said, args.map);
    if (args.map == NULL)
        args.map = "role-map.yaml";
    conf_report_init(&report);
    r = role_map_load(args.map, &report, &map);
    if (r < 0) {
        code = plan_complain(&report, r, args.json);
    } else if (args.nodes != NULL) {
        conf_report_clear(&report);
        code = plan_offline(&args, map, &report);
    } else {
        code = plan_online(&args, map);
    }
    role_map_unref(map);
    conf_report_clear(&report);
    return code;
}

static const struct cli_option plan_options[] = {
    {.name = "role-map",
     .kind = CLI_STRING,
     .value = "FILE",
     .complete = CLI_COMPLETE_FILE,
     .help = "the map (default: role-map.yaml; with --gateway: the one that runs there)"},
    {.name = "nodes",
     .kind = CLI_STRING,
     .value = "FILE",
     .complete = CLI_COMPLETE_FILE,
     .help = "what the machines have, instead of asking their workers"},
    {NULL},
};

const struct cli_command cli_plan = {
    .name = "plan",
    .group = CLI_PREPARE,
    .summary = "which role would go where, before anything is loaded",
    .about =
        "The map's workers are asked what they have and what each role would take there; with "
        "--nodes a file says so instead and nobody is asked. When --gateway is said "
        "(ROLEMESH_GATEWAY alone does not count) the plan is a "
        "running gateway's: where it wants each role, and what would be better; with --role-map "
        "besides, "
        "what an edited map would come to there. Nothing is changed anywhere. An "
        "impossible map names the smallest set of roles that cannot stand together, and by how "
        "many bytes.\n\n"
        "Exit codes: 0 every pinned and resident role has a host; 1 one has none, or no worker "
        "answers; 2 wrong use, or a file with mistakes.",
    .examples = "rolemesh plan --role-map role-map.yaml\n"
                "rolemesh plan --role-map map.yaml --nodes machines.yaml --json\n"
                "rolemesh plan --gateway http://127.0.0.1:8080\n"
                "rolemesh plan --gateway http://127.0.0.1:8080 --role-map edited.yaml\n",
    .common = CLI_ASKS | CLI_JSON,
    .options = plan_options,
    .run = plan_run,
};
