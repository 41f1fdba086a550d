/* SPDX-License-Identifier: MIT */
#include "proto/conf/worker_conf.h"

#include "proto/conf/keys.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct worker_conf_private {
    struct conf_arena arena;
};

/* What the table fills: the public struct, and the places that only the checks need. */
struct worker_file {
    struct worker_conf conf;
    struct conf_at node_at;
};

#define AT(member) offsetof(struct worker_file, conf.member)
static const char *const level_words[] = {"error", "warn", "info", "debug",
                                          NULL}; /* enum rm_log_level */

/* Alphabetical; `rolemesh keys --config` prints this table, so it is also the reference. */
static const struct conf_key worker_keys[] = {
    {.key = "core",
     .type = &conf_path,
     .offset = AT(core),
     .effect = CONF_RESTART,
     .help = "path of rolemesh-core; beside the worker's own program when absent"},
    {.key = "drain_deadline",
     .type = &conf_duration,
     .offset = AT(drain_deadline_ms),
     .fallback = "30s",
     .min = 1,
     .max = 86400000,
     .effect = CONF_RESTART,
     .help = "after SIGTERM, streams may finish for so long"},
    {.key = "kv_save",
     .type = &conf_size,
     .offset = AT(kv_save_bytes),
     .fallback = "16GiB",
     .max = UINT64_C(64) << 40,
     .effect = CONF_RESTART,
     .help = "KV state of evicted hosts on the disk, in all; kept for a day; 0GiB: none"},
    {.key = "listen",
     .type = &conf_listen,
     .offset = AT(listen),
     .fallback = "127.0.0.1:7070",
     .effect = CONF_RESTART,
     .help = "addresses for gateways; port 0: the system chooses"},
    {.key = "listen_without_keys",
     .type = &conf_bool,
     .offset = AT(listen_without_keys),
     .fallback = "false",
     .effect = CONF_RESTART,
     .help = "allow addresses other than loopback although nobody is asked for a key"},
    {.key = "log_level",
     .type = &conf_enum,
     .offset = AT(log_level),
     .fallback = "info",
     .words = level_words,
     .effect = CONF_RESTART,
     .help = "error, warn, info or debug"},
    {.key = "models_dir",
     .type = &conf_path,
     .offset = AT(models_dir),
     .effect = CONF_RESTART,
     .help = "model files must lie in here; anywhere when absent"},
    {.key = "node",
     .type = &conf_text,
     .offset = AT(node),
     .at = offsetof(struct worker_file, node_at),
     .effect = CONF_RESTART,
     .help = "this machine's name; the host name when absent"},
    {.key = "reserve",
     .type = &conf_size,
     .offset = AT(reserve_bytes),
     .max = UINT64_C(64) << 40,
     .effect = CONF_RESTART,
     .help = "memory that hosts must leave free; absent: 8 % of it, at least 6 GiB"},
    {.key = "state_dir",
     .type = &conf_path,
     .offset = AT(state_dir),
     .effect = CONF_RESTART,
     .help = "where the worker keeps what must survive it"},
    {.key = NULL},
};
#undef AT

static const struct conf_table worker_top = {
    .path = "", .where = "at top level", .keys = worker_keys};

const struct conf_table *const *worker_conf_tables(void)
{
    static const struct conf_table *const tables[] = {&worker_top, NULL};

    return tables;
}

static void worker_check(struct conf_read *cf, const struct worker_file *file)
{
    const char *name = file->conf.node;

    conf_check_listen(cf, &file->conf.listen, file->conf.listen_without_keys);
    if (name == NULL)
        return;
    if (strlen(name) > 63 || !isalnum((unsigned char)name[0]) ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
            strlen(name))
        conf_report_add(cf->report, file->node_at, "use up to 63 letters, digits, '-', '_' and '.'",
                        "node: this is no name for a node");
}

int worker_conf_parse(const char *name, const char *bytes, size_t n, struct conf_report *report,
                      struct worker_conf **out)
{
    struct worker_conf *conf = calloc(1, sizeof *conf);
    struct worker_file file = {.node_at = {0, 0}};
    struct conf_read cf = {.report = report, .tables = worker_conf_tables()};
    int r = UV_ENOMEM;

    *out = NULL;
    conf_report_begin(report, name, bytes, n);
    if (conf != NULL)
        conf->private = calloc(1, sizeof *conf->private);
    if (conf != NULL && conf->private != NULL) {
        cf.arena = &conf->private->arena;
        r = conf_read_text(&cf, &worker_top, &file);
        file.conf.private = conf->private;
        *conf = file.conf;
        worker_check(&cf, &file);
    }
    conf_report_end(report);
    if (r == 0 && (cf.no_memory || report->no_memory))
        r = UV_ENOMEM;
    if (r == 0 && report->total == 0) {
        *out = conf;
        return 0;
    }
    worker_conf_free(conf);
    return r < 0 ? r : RM_ERR_CONF;
}

static int parse_conf(void *arg, const char *name, const char *bytes, size_t n,
                      struct conf_report *report)
{
    return worker_conf_parse(name, bytes, n, report, arg);
}

int worker_conf_load(const char *path, struct conf_report *report, struct worker_conf **out)
{
    *out = NULL;
    return conf_file_load(path, report, parse_conf, out);
}

void worker_conf_free(struct worker_conf *conf)
{
    if (conf == NULL)
        return;
    if (conf->private != NULL)
        conf_arena_clear(&conf->private->arena);
    free(conf->private);
    free(conf);
}
