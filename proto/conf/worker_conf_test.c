/* SPDX-License-Identifier: MIT */
/* proto/conf/worker_conf_test.c - the worker's file: one row per behaviour. */
#include "proto/conf/worker_conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct row {
    const char *name, *yaml, *errors; /* errors: first line of each mistake; "" for none */
} rows[] = {
    {"one key is enough", "node: speed\n", ""},
    {"whole",
     "node: speed\nlisten: [\"127.0.0.1:0\"]\nmodels_dir: /models\nstate_dir: /s\ncore: "
     "/c\nreserve: 1GiB\nkv_save: 0GiB\n"
     "log_level: debug\ndrain_deadline: 1s\nlisten_without_keys: false\n",
     ""},
    {"empty", "", "t.yaml:1:1: error: file is empty\n"},
    {"typo", "model_dir: /m\n",
     "t.yaml:1:1: error: unknown key 'model_dir' at top level; did you mean 'models_dir'?\n"},
    {"no port", "listen: [\"box7\"]\n",
     "t.yaml:1:10: error: listen: expected HOST:PORT; the port is missing\n"},
    {"relative", "models_dir: m\n", "t.yaml:1:13: error: models_dir: the path must be absolute\n"},
    {"home", "state_dir: ~/x\n",
     "t.yaml:1:12: error: state_dir: '~' is not expanded, write the whole path\n"},
    {"device", "core: /dev/tty\n",
     "t.yaml:1:7: error: core: the path leads into /dev, /proc or /sys\n"},
    {"beside a device", "core: /devices/core\n", ""},
    {"node with a slash", "node: a/b\n",
     "t.yaml:1:7: error: node: this is no name for a node; use up to 63 letters, digits, '-', '_' "
     "and '.'\n"},
    {"wildcard", "listen: [\"0.0.0.0:7070\"]\n",
     "t.yaml:1:10: error: anybody who reaches 0.0.0.0 could use it: there are no keys; listen on "
     "127.0.0.1, or set "
     "'listen_without_keys: true' where the network is trusted\n"},
    {"wildcard allowed", "listen: [\"0.0.0.0:7070\"]\nlisten_without_keys: true\n", ""},
    {"two slips", "reserve: 1\nlog_level: loud\n",
     "t.yaml:1:10: error: reserve: expected a size such as 12GiB or 500MB; '1' needs a unit\n"
     "t.yaml:2:12: error: log_level: expected error, warn, info or debug, got 'loud'\n"},
};

/* The messages without source and caret lines. */
static char *first_lines(const struct conf_report *report)
{
    struct rm_buf all, out;
    char *save = NULL;

    rm_buf_init(&all, 64 * 1024);
    rm_buf_init(&out, 64 * 1024);
    assert_int_equal(conf_report_text(report, &all), 0);
    if (all.data != NULL)
        for (char *line = strtok_r(all.data, "\n", &save); line != NULL;
             line = strtok_r(NULL, "\n", &save))
            if (strncmp(line, "t.yaml", 6) == 0)
                rm_buf_printf(&out, "%s\n", line);
    rm_buf_clear(&all);
    return rm_buf_take(&out);
}

static void run_row(void **state)
{
    const struct row *row = *state;
    struct worker_conf *conf;
    struct conf_report report;
    char *said;
    int r;

    conf_report_init(&report);
    r = worker_conf_parse("t.yaml", row->yaml, strlen(row->yaml), &report, &conf);
    said = first_lines(&report);
    assert_string_equal(said, row->errors);
    assert_int_equal(r, row->errors[0] == '\0' ? 0 : RM_ERR_CONF);
    assert_true((conf != NULL) == (r == 0));
    worker_conf_free(conf);
    conf_report_clear(&report);
    free(said);
}

static void defaults_and_values(void **state)
{
    struct worker_conf *conf;
    struct conf_report report;

    (void)state;
    conf_report_init(&report);
    assert_int_equal(worker_conf_parse("t.yaml", "reserve: 3MB\n", 13, &report, &conf), 0);
    assert_null(conf->node);
    assert_null(conf->models_dir);
    assert_int_equal(conf->reserve_bytes, 3000000);
    assert_int_equal(conf->listen.n, 1);
    assert_int_equal(conf->listen.item[0].port, 7070);
    assert_true(conf->listen.item[0].loopback);
    assert_int_equal(conf->drain_deadline_ms, 30000);
    assert_int_equal(conf->kv_save_bytes, (uint64_t)16 << 30);
    worker_conf_free(conf);
    assert_int_equal(worker_conf_load("configs/worker.yaml", &report, &conf), 0);
    assert_string_equal(conf->node, "speed");
    assert_string_equal(conf->core, "/usr/libexec/rolemesh-core");
    worker_conf_free(conf);
    assert_int_equal(worker_conf_load("/nonexistent.yaml", &report, &conf), RM_ERR_CONF);
    assert_int_equal(report.total, 1);
    conf_report_clear(&report);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 1];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(defaults_and_values);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
