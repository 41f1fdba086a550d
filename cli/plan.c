/* SPDX-License-Identifier: MIT */
/* cli/plan.c - `rolemesh plan --role-map FILE --nodes FILE`: which role would go where on machines
 * that a file describes, without asking any of them. Exit code 0 when every pinned and resident
 * role has a host, 1 when one has none. */
#include "cli/cli.h"
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

static int plan_read_args(int argc, char **argv, struct plan_args *args)
{
    for (int i = 1; i < argc; i++) {
        const char **value = strcmp(argv[i], "--role-map") == 0 ? &args->map
                             : strcmp(argv[i], "--nodes") == 0  ? &args->nodes
                                                                : NULL;

        if (strcmp(argv[i], "--json") == 0)
            args->json = true;
        else if (value == NULL)
            return cli_usage("plan", "unknown argument");
        else if (i + 1 == argc)
            return cli_usage("plan", "a file must follow --role-map and --nodes");
        else
            *value = argv[++i];
    }
    if (args->map == NULL)
        return cli_usage("plan", "which --role-map FILE?");
    return args->nodes != NULL ? CLI_OK : cli_usage("plan", "which --nodes FILE?");
}

/* The mistakes of a file, as `rolemesh check` tells them. */
static int plan_complain(const struct conf_report *report, int error, bool json)
{
    struct rm_buf out;

    rm_buf_init(&out, PLAN_TEXT_MAX);
    if (error != RM_ERR_CONF)
        fprintf(stderr, "rolemesh plan: %s\n", rm_strerror(error));
    else if ((json ? conf_report_json(report, &out) : conf_report_text(report, &out)) == 0)
        fputs(out.data, json ? stdout : stderr);
    rm_buf_clear(&out);
    return error == RM_ERR_CONF ? CLI_BAD : CLI_FAILED;
}

static int plan_make(const struct plan_live *live, struct plan_answer *a)
{
    int r;

    a->live = live;
    if ((r = plan_live_case(live, NULL, &a->problem)) < 0)
        return r;
    r = plan_solve(&a->problem.in, &a->plan);
    if (r == 0 && !plan_is_feasible(&a->plan)) {
        r = plan_find_conflict(&a->problem.in, &a->conflict);
        if (r == 0)
            r = plan_find_ways(live, &a->conflict, a->ways, &a->n_ways);
    }
    if (r < 0)
        plan_case_clear(&a->problem);
    return r;
}

static int plan_answer(const struct plan_live *live, bool json)
{
    struct plan_answer *a = calloc(1, sizeof *a);
    int r = a != NULL ? plan_make(live, a) : UV_ENOMEM, code;

    if (r == 0) {
        if (json)
            r = plan_show_json(a);
        else
            plan_show_text(a);
        plan_case_clear(&a->problem);
    }
    if (r < 0)
        fprintf(stderr, "rolemesh plan: %s\n", rm_strerror(r));
    code = r == 0 && plan_is_feasible(&a->plan) ? CLI_OK : CLI_FAILED;
    free(a);
    return code;
}

int cli_plan(int argc, char **argv)
{
    struct plan_args args = {.map = NULL};
    struct plan_facts *facts = NULL;
    struct role_map *map = NULL;
    struct conf_report report;
    int r = plan_read_args(argc, argv, &args), code;

    if (r != CLI_OK)
        return r;
    conf_report_init(&report);
    r = role_map_load(args.map, &report, &map);
    if (r == 0) {
        conf_report_clear(&report);
        r = plan_facts_load(args.nodes, map, &report, &facts);
    }
    code = r < 0 ? plan_complain(&report, r, args.json) : plan_answer(&facts->live, args.json);
    plan_facts_free(facts);
    role_map_unref(map);
    conf_report_clear(&report);
    return code;
}
