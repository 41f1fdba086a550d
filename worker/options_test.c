/* SPDX-License-Identifier: MIT */
/* worker/options_test.c - options.c: command lines by row, sizes, flags over the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "worker/options.h"

enum { ARGS_MAX = 16 };

#define GOOD "--node", "n", "--listen", "127.0.0.1:0", "--models-dir", "/m"

static const struct row {
    const char *name;
    const char *argv[ARGS_MAX];
    const char *why; /* NULL: taken; else the beginning of what is said */
} rows[] = {
    {"least", {GOOD}, NULL},
    {"all",
     {GOOD, "--state-dir", "/s", "--core", "/c", "--reserve", "1GiB", "--log-level", "debug"},
     NULL},
    {"unix socket", {"--node", "n", "--listen", "unix:/x", "--models-dir", "/m"}, NULL},
    {"wildcard, allowed",
     {"--node", "n", "--listen", "0.0.0.0:1", "--models-dir", "/m", "--listen-without-keys"},
     NULL},
    {"nothing", {NULL}, "--node is missing"},
    {"no listen", {"--node", "n", "--models-dir", "/m"}, "--listen is missing"},
    {"no models", {"--node", "n", "--listen", "127.0.0.1:0"}, "--models-dir is missing"},
    {"wildcard",
     {"--node", "n", "--listen", "0.0.0.0:1", "--models-dir", "/m"},
     "refused to listen without keys"},
    {"public",
     {"--node", "n", "--listen", "192.0.2.1:1", "--models-dir", "/m"},
     "refused to listen without keys"},
    {"unknown flag", {GOOD, "--frob", "1"}, "unknown argument: --frob"},
    {"stray word", {GOOD, "word"}, "unknown argument: word"},
    {"value missing", {GOOD, "--reserve"}, "a value is missing after: --reserve"},
    {"bad kv size", {GOOD, "--kv-save", "much"}, "--kv-save: expected a size"},
    {"no kv", {GOOD, "--kv-save", "0"}, NULL},
    {"bad size", {GOOD, "--reserve", "12GB"}, "--reserve: expected a size"},
    {"bad level", {GOOD, "--log-level", "loud"}, "--log-level: error, warn"},
    {"bad address", {GOOD, "--listen", "nowhere"}, "--listen: expected HOST:PORT"},
    {"node with a slash", {GOOD, "--node", "a/b"}, "--node: letters"},
    {"node of dots", {GOOD, "--node", ".."}, "--node: letters"},
    {"node empty", {GOOD, "--node", ""}, "empty or too long: --node"},
    {"no such file", {"--config", "/nonexistent/w.yaml"}, "/nonexistent/w.yaml"},
};

static int parse(const char *const *args, struct worker_options *o, char *why)
{
    char *argv[ARGS_MAX + 1] = {(char *)(uintptr_t) "rolemesh-worker"};
    int argc = 1;

    while (argc <= ARGS_MAX && args[argc - 1] != NULL) {
        argv[argc] = (char *)(uintptr_t)args[argc - 1];
        argc++;
    }
    return options_parse(argc, argv, o, why);
}

static void run_row(void **state)
{
    const struct row *row = *state;
    struct worker_options o;
    char why[OPTIONS_WHY_MAX];
    int r = parse(row->argv, &o, why);

    if (row->why == NULL) {
        assert_string_equal(why, "");
        assert_int_equal(r, 0);
    } else {
        assert_int_equal(r, RM_ERR_CONF);
        if (strncmp(why, row->why, strlen(row->why)) != 0)
            fail_msg("\"%s\" does not begin with \"%s\"", why, row->why);
    }
}

static void values(void **state)
{
    static const char *const args[] = {
        "--node",       "n-1", "--listen",  "127.0.0.1:7070", "--listen", "[::1]:7071",
        "--models-dir", "m",   "--reserve", "3MiB",           NULL};
    struct worker_options o;
    char why[OPTIONS_WHY_MAX];

    (void)state;
    assert_int_equal(parse(args, &o, why), 0);
    assert_string_equal(o.node, "n-1");
    assert_int_equal(o.n_listen, 2);
    assert_int_equal(o.listen[1].port, 7071);
    assert_int_equal(o.models_dir[0], '/'); /* made absolute */
    assert_string_equal(strrchr(o.models_dir, '/'), "/m");
    assert_true(o.reserve_bytes == 3 << 20);
    assert_true(o.kv_save_bytes == 16ULL << 30);
    assert_int_equal(o.log_level, RM_LOG_INFO);
}

static void help_and_version(void **state)
{
    static const char *const help[] = {"--frob", "--help", NULL}, *const version[] = {"--version",
                                                                                      NULL};
    struct worker_options o;
    char why[OPTIONS_WHY_MAX];

    (void)state;
    assert_int_equal(parse(help, &o, why), 0);
    assert_int_equal(o.mode, OPTIONS_HELP);
    assert_int_equal(parse(version, &o, why), 0);
    assert_int_equal(o.mode, OPTIONS_VERSION);
    assert_non_null(strstr(options_help(), "--listen-without-keys"));
}

static void flags_over_the_file(void **state)
{
    char path[] = "/tmp/rolemesh-worker-XXXXXX", why[OPTIONS_WHY_MAX];
    const char *args[] = {"--listen",    "127.0.0.1:1", "--config", path,
                          "--log-level", "error",       NULL};
    const char text[] = "node: from-file\nlisten: [\"127.0.0.1:7070\", \"127.0.0.1:7071\"]\n"
                        "models_dir: /models\nreserve: 2GiB\nkv_save: 5GiB\nlog_level: debug\n";
    struct worker_options o;
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    close(fd);
    if (parse(args, &o, why) < 0)
        fail_msg("%s", why);
    assert_string_equal(o.node, "from-file");
    assert_int_equal(o.n_listen, 1);
    assert_int_equal(o.listen[0].port, 1);
    assert_string_equal(o.models_dir, "/models");
    assert_true(o.reserve_bytes == 2ULL << 30);
    assert_true(o.kv_save_bytes == 5ULL << 30);
    assert_int_equal(o.log_level, RM_LOG_ERROR);
    unlink(path);
}

static void sizes(void **state)
{
    uint64_t v;

    (void)state;
    assert_int_equal(options_size("4096", &v), 0);
    assert_true(v == 4096);
    assert_int_equal(options_size("12GiB", &v), 0);
    assert_true(v == 12ULL << 30);
    assert_int_equal(options_size("1TiB", &v), 0);
    assert_true(v == 1ULL << 40);
    assert_int_equal(options_size("", &v), RM_ERR_CONF);
    assert_int_equal(options_size("GiB", &v), RM_ERR_CONF);
    assert_int_equal(options_size("-1", &v), RM_ERR_CONF);
    assert_int_equal(options_size("1 GiB", &v), RM_ERR_CONF);
    assert_int_equal(options_size("1GB", &v), RM_ERR_CONF);
    assert_int_equal(options_size("16777216TiB", &v), RM_ERR_CONF);
    assert_int_equal(options_size("99999999999999999999", &v), RM_ERR_CONF);
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(values), cmocka_unit_test(help_and_version),
        cmocka_unit_test(flags_over_the_file), cmocka_unit_test(sizes)};
    struct CMUnitTest tests[RM_COUNT(fixed) + RM_COUNT(rows)];

    memcpy(tests, fixed, sizeof(fixed));
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[RM_COUNT(fixed) + i] =
            (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
