/* SPDX-License-Identifier: MIT */
/* worker/core/options_test.c - command lines, and the lines of the ready pipe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "worker/core/options.h"
#include "worker/core/ready.h"

enum { ARGS = 12 };

static int count_args(char **argv)
{
    int n = 0;

    while (n < ARGS && argv[n] != NULL)
        n++;
    return n;
}

static const struct row {
    const char *name, *argv[ARGS], *why; /* why NULL: fine; else a part of what is said */
} rows[] = {
    {"nothing", {"core"}, "--model is missing"},
    {"no socket", {"core", "--model", "m"}, "--socket is missing"},
    {"least", {"core", "--model", "m", "--socket", "s"}, NULL},
    {"with equals", {"core", "--model=m", "--socket=s", "--slots=64"}, NULL},
    {"devices need nothing", {"core", "--devices", "--json"}, NULL},
    {"devices take no value", {"core", "--devices=1"}, "--devices: expected no value"},
    {"forecast needs no socket", {"core", "--forecast", "--model", "m", "--json"}, NULL},
    {"help needs nothing", {"core", "--help"}, NULL},
    {"unknown", {"core", "--model", "m", "--port", "1"}, "unknown argument --port"},
    {"a prefix is unknown", {"core", "--mod", "m"}, "unknown argument --mod"},
    {"word", {"core", "m"}, "unknown argument m"},
    {"no value", {"core", "--socket", "s", "--model"}, "--model: expected a file"},
    {"empty value", {"core", "--socket", "s", "--model="}, "--model: expected a file"},
    {"value where none is", {"core", "--help=1"}, "--help: expected no value"},
    {"0 slots", {"core", "--slots", "0"}, "--slots: expected 1 to 64"},
    {"65 slots", {"core", "--slots", "65"}, "--slots"},
    {"no number", {"core", "--context", "4k"}, "--context"},
    {"negative", {"core", "--context", "-1"}, "--context"},
    {"beyond a long", {"core", "--context", "99999999999999999999"}, "--context"},
    {"layers", {"core", "--gpu-layers", "-2"}, "--gpu-layers"},
    {"kv", {"core", "--kv", "f32"}, "--kv: expected f16 or q8_0"},
    {"kv file alone", {"core", "--model=m", "--socket=s", "--kv-file=/k"}, "wants --model-hash"},
    {"relative kv file", {"core", "--kv-file", "k"}, "--kv-file: expected an absolute path"},
    {"no kv bytes", {"core", "--kv-file-max", "0"}, "--kv-file-max: expected bytes"},
    {"no memory at all", {"core", "--memory-max", "0"}, "--memory-max: expected bytes"},
    {"short hash", {"core", "--model-hash", "abc"}, "--model-hash: expected 64 hex digits"},
    {"parent", {"core", "--parent-pid", "0"}, "--parent-pid"},
    {"the first mistake is told", {"core", "--kv", "x", "--slots", "0"}, "--kv"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct core_options o;
    char why[256] = "", **argv = (char **)row->argv;
    int r = core_options_parse(count_args(argv), argv, &o, why, sizeof(why));

    if (row->why == NULL) {
        assert_int_equal(r, 0);
        return;
    }
    assert_int_equal(r, RM_ERR_FIELD);
    assert_non_null(strstr(why, row->why));
}

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void kv_flags(void **state)
{
    char *argv[] = {"core",          "--model=m",  "--socket=s",         "--kv-file", "/k/a.kv",
                    "--kv-file-max", "1073741824", "--model-hash=" HASH, NULL};
    struct core_options o;
    char why[256] = "";

    (void)state;
    assert_int_equal(core_options_parse((int)RM_COUNT(argv) - 1, argv, &o, why, sizeof(why)), 0);
    assert_string_equal(o.kv_file, "/k/a.kv");
    assert_string_equal(o.model_hash, HASH);
    assert_int_equal(o.kv_file_max, 1 << 30);
}

static void every_flag(void **state)
{
    char *argv[] = {"core", "--model",     "m",   "--socket",   "s", "--alias",
                    "a",    "--context",   "300", "--slots",    "3", "--kv",
                    "q8_0", "--batch",     "128", "--threads",  "2", "--gpu-layers",
                    "7",    "--queue-max", "9",   "--ready-fd", "5", "--parent-pid",
                    "77",   NULL};
    struct core_options o;
    struct decoder_conf d;
    char why[256] = "";

    (void)state;
    assert_int_equal(core_options_parse((int)RM_COUNT(argv) - 1, argv, &o, why, sizeof(why)), 0);
    d = core_options_decoder(&o);
    assert_string_equal(d.model_path, "m");
    assert_string_equal(o.socket, "s");
    assert_string_equal(o.alias, "a");
    assert_int_equal(d.context, 300);
    assert_int_equal(d.slots, 3);
    assert_int_equal(d.kv, DECODER_KV_Q8_0);
    assert_int_equal(d.batch, 128);
    assert_int_equal(d.threads, 2);
    assert_int_equal(d.gpu_layers, 7);
    assert_int_equal(d.queue_max, 9);
    assert_int_equal(o.ready_fd, 5);
    assert_int_equal(o.parent_pid, 77);
}

/* The mistake has to reach the worker, which listens on the pipe. */
static void ready_fd_is_read_after_a_mistake(void **state)
{
    char *argv[] = {"core", "--kv", "x", "--ready-fd", "5", NULL};
    struct core_options o;
    char why[256] = "";

    (void)state;
    assert_int_equal(core_options_parse(5, argv, &o, why, sizeof(why)), RM_ERR_FIELD);
    assert_int_equal(o.ready_fd, 5);
}

static void help_names_every_flag(void **state)
{
    static const char *const flags[] = {
        "--alias",    "--batch", "--context", "--devices", "--forecast",   "--gpu-layers",
        "--help",     "--json",  "--kv",      "--model",   "--parent-pid", "--queue-max",
        "--ready-fd", "--slots", "--socket",  "--threads", "--version"};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(flags); i++)
        assert_non_null(strstr(core_options_help(), flags[i]));
}

/* ---- the ready pipe ---- */

static const char *read_all(int fd)
{
    static char text[8192];
    ssize_t n = read(fd, text, sizeof(text) - 1);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void ready_lines(void **state)
{
    struct ready_facts facts = {.context = 4096,
                                .slots = 4,
                                .version = "1",
                                .llama = "2",
                                .load_ms = 8,
                                .not_restored = "cut"};
    struct ready_pipe p;
    char want[256], longer[2000];
    int fd[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(ready_open(&p, fd[1]), 0);
    ready_progress(&p, 0.0f, 1000);
    ready_progress(&p, 0.005f, 2000); /* not a percent more */
    ready_progress(&p, 0.5f, 2001);
    ready_progress(&p, 0.6f, 2050); /* too soon */
    ready_progress(&p, 1.0f, 2051);
    assert_string_equal(read_all(fd[0]),
                        "{\"progress\":0}\n{\"progress\":0.5}\n{\"progress\":1}\n");
    ready_say(&p, &facts);
    snprintf(want, sizeof(want),
             "{\"ready\":true,\"context\":4096,\"slots\":4,\"pid\":%d,\"version\":\"1\",\"llama\":"
             "\"2\",\"load_ms\":8,\"restored_tokens\":0,\"not_restored\":\"cut\"}\n",
             (int)getpid());
    assert_string_equal(read_all(fd[0]), want);
    memset(longer, '\n', sizeof(longer) - 1); /* escaped to twice its length, and cut */
    longer[sizeof(longer) - 1] = '\0';
    ready_fail(&p, "load", longer);
    assert_non_null(strstr(read_all(fd[0]), "\\n\",\"cause\":\"load\"}\n"));
    close(fd[0]);
    close(fd[1]);
}

/* Nobody reads: nothing blocks, and what is there stays whole lines. */
static void ready_pipe_full(void **state)
{
    struct ready_pipe p;
    int fd[2];
    ssize_t n;
    char last = 0;

    (void)state;
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(ready_open(&p, fd[1]), 0);
    for (int i = 0; i < 20000; i++)
        ready_fail(&p, "load", "something");
    close(fd[1]);
    while ((n = read(fd[0], &last, 1)) == 1)
        ;
    assert_int_equal(last, '\n');
    close(fd[0]);
}

static void ready_without_a_pipe(void **state)
{
    struct ready_pipe p;

    (void)state;
    assert_int_equal(ready_open(&p, -1), 0);
    ready_progress(&p, 0.5f, 1);
    ready_fail(&p, "load", "x");
    assert_int_equal(ready_open(&p, 987654), UV_EBADF);
}

int main(void)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test(every_flag),
        cmocka_unit_test(kv_flags),
        cmocka_unit_test(ready_fd_is_read_after_a_mistake),
        cmocka_unit_test(help_names_every_flag),
        cmocka_unit_test(ready_lines),
        cmocka_unit_test(ready_pipe_full),
        cmocka_unit_test(ready_without_a_pipe),
    };
    struct CMUnitTest tests[RM_COUNT(rows) + RM_COUNT(others)];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    memcpy(tests + RM_COUNT(rows), others, sizeof(others));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
