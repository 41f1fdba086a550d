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

static int check_run(const struct cli_args *said)
{
    struct check_args args = {
        .file = cli_word(said, 0), .json = cli_wants_json(said), .worker = cli_has(said, "worker")};
    struct conf_report report;
    struct rm_buf out;
    int r;

    rm_buf_init(&out, CHECK_TEXT_MAX);
    conf_report_init(&report);
    r = check_load(&args, &report);
    if (r < 0 && r != RM_ERR_CONF)
        cli_failed("check", "%s", rm_strerror(r));
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

static const struct cli_option check_options[] = {
    {.name = "worker", .kind = CLI_FLAG, .help = "the file is a worker's, not a role map"},
    {NULL},
};

const struct cli_command cli_check = {
    .name = "check",
    .group = CLI_PREPARE,
    .summary = "tell every mistake in a role map",
    .about = "Prints the lines that gateway and worker print for a bad file: where, what, and what "
             "may have been meant. Nobody is asked.",
    .examples = "rolemesh check role-map.yaml\n"
                "rolemesh check --worker /etc/rolemesh/worker.yaml\n",
    .common = CLI_JSON,
    .options = check_options,
    .operands = {{"FILE", false, false, "which file?", CLI_COMPLETE_FILE, NULL}},
    .run = check_run,
};
