/* SPDX-License-Identifier: MIT */
/* cli/check.c - `rolemesh check FILE`: the lines that gateway and worker print for a bad file. */
#include "cli/cli.h"

#include "proto/conf/role_map.h"
#include "proto/conf/worker_conf.h"

#include <stdio.h>
#include <string.h>

enum { CHECK_TEXT_MAX = 256 * 1024 }; /* 20 mistakes with their lines are far below */

struct check_args {
    const char *file;
    bool json, worker;
};

static int check_read_args(int argc, char **argv, struct check_args *args)
{
    bool flags = true;

    for (int i = 1; i < argc; i++) {
        if (flags && strcmp(argv[i], "--") == 0)
            flags = false;
        else if (flags && strcmp(argv[i], "--json") == 0)
            args->json = true;
        else if (flags && strcmp(argv[i], "--worker") == 0)
            args->worker = true;
        else if (flags && argv[i][0] == '-')
            return cli_usage("check", "unknown flag");
        else if (args->file != NULL)
            return cli_usage("check", "one file at a time");
        else
            args->file = argv[i];
    }
    return args->file != NULL ? CLI_OK : cli_usage("check", "which file?");
}

static int check_load(const struct check_args *args, struct conf_report *report)
{
    struct worker_conf *worker;
    struct role_map *map;
    int r;

    if (args->worker) {
        r = worker_conf_load(args->file, report, &worker);
        worker_conf_free(worker);
        return r;
    }
    r = role_map_load(args->file, report, &map);
    if (r == 0 && !args->json)
        printf("%s: ok: %zu nodes, %zu models, %zu roles\n", args->file, map->n_nodes,
               map->n_models, map->n_roles);
    role_map_unref(map);
    return r;
}

int cli_check(int argc, char **argv)
{
    struct check_args args = {.file = NULL};
    struct conf_report report;
    struct rm_buf out;
    int r = check_read_args(argc, argv, &args);

    if (r != CLI_OK)
        return r;
    rm_buf_init(&out, CHECK_TEXT_MAX);
    conf_report_init(&report);
    r = check_load(&args, &report);
    if (r < 0 && r != RM_ERR_CONF)
        fprintf(stderr, "rolemesh check: %s\n", rm_strerror(r));
    else if (args.json && conf_report_json(&report, &out) == 0)
        fputs(out.data, stdout);
    else if (r == RM_ERR_CONF && conf_report_text(&report, &out) == 0)
        fputs(out.data, stderr);
    else if (r == 0 && args.worker && !args.json)
        printf("%s: ok\n", args.file);
    conf_report_clear(&report);
    rm_buf_clear(&out);
    return r == 0 ? CLI_OK : r == RM_ERR_CONF ? CLI_BAD : CLI_FAILED;
}
