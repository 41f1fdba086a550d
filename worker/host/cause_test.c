/* SPDX-License-Identifier: MIT */
/* worker/host/cause_test.c - cause.c: one row per way to end, and hostile log bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <string.h>

#include "worker/core/ready.h"
#include "worker/host/cause.h"

#define EXITED(code) ((code) << 8) /* as W_EXITCODE(code, 0) */

static const struct row {
    const char *name;
    struct end_facts f;
    enum node_cause cause;
    int code;
    const char *text;
} rows[] = {
    {"exit 1, last line told",
     {EXITED(1), false, 0, 0, NULL, NULL, "one\ntwo: no\n\n", true},
     CAUSE_EXIT,
     1,
     "the engine ended with exit code 1: two: no"},
    {"exit 0",
     {EXITED(0), true, 0, 0, NULL, NULL, "", true},
     CAUSE_EXIT,
     0,
     "the engine ended with exit code 0"},
    {"the core's word wins over the log",
     {EXITED(1), false, 0, 0, "socket in use", "socket", "x", true},
     CAUSE_EXIT,
     1,
     "the engine ended with exit code 1: socket in use"},
    {"model",
     {EXITED(CORE_EXIT_MODEL), false, 0, 0, "bad magic", "load", "", true},
     CAUSE_LOAD,
     3,
     "the engine ended with exit code 3: bad magic"},
    {"model, pipe lost",
     {EXITED(CORE_EXIT_MODEL), false, 0, 0, NULL, NULL, "", true},
     CAUSE_LOAD,
     3,
     "the engine ended with exit code 3"},
    {"abi",
     {EXITED(CORE_EXIT_ABI), false, 0, 0, NULL, NULL, "", true},
     CAUSE_LOAD,
     4,
     "the engine ended with exit code 4"},
    {"usage",
     {EXITED(CORE_EXIT_USAGE), false, 0, 0, NULL, NULL, "", true},
     CAUSE_CONFIG,
     2,
     "the engine ended with exit code 2"},
    {"memory may come back",
     {EXITED(CORE_EXIT_MEMORY), false, 0, 0, "KV: no room", "memory", "", true},
     CAUSE_EXIT,
     5,
     "the engine ended with exit code 5: KV: no room"},
    {"exit 3 of another engine",
     {EXITED(3), false, 0, 0, NULL, NULL, "", false},
     CAUSE_EXIT,
     3,
     "the engine ended with exit code 3"},
    {"abort",
     {SIGABRT, false, 0, 0, NULL, NULL, "GGML_ASSERT(x)", true},
     CAUSE_SIGNAL,
     SIGABRT,
     "the engine was killed by SIGABRT: GGML_ASSERT(x)"},
    {"segfault with core dump",
     {SIGSEGV | 0x80, false, 0, 0, NULL, NULL, "", true},
     CAUSE_SIGNAL,
     SIGSEGV,
     "the engine was killed by SIGSEGV"},
    {"killed by somebody",
     {SIGKILL, false, 4, 4, NULL, NULL, "info: all is well", true},
     CAUSE_SIGNAL,
     SIGKILL,
     "the engine was killed by SIGKILL"},
    {"killed by the kernel",
     {SIGKILL, false, 4, 5, NULL, NULL, "", true},
     CAUSE_OOM,
     SIGKILL,
     "the engine was killed by SIGKILL: out of memory"},
    {"killed by us while the kernel killed another",
     {SIGKILL, true, 4, 5, NULL, NULL, "", true},
     CAUSE_SIGNAL,
     SIGKILL,
     "the engine was killed by SIGKILL"},
    {"another signal while the kernel killed another",
     {SIGTERM, false, 4, 5, NULL, NULL, "", true},
     CAUSE_SIGNAL,
     SIGTERM,
     "the engine was killed by SIGTERM"},
    {"control bytes",
     {EXITED(1), false, 0, 0, "a\x1b[31m\xff\tb\nc", "internal", "", true},
     CAUSE_EXIT,
     1,
     "the engine ended with exit code 1: a?[31m? b?c"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct node_error e;

    cause_of_end(&row->f, &e);
    assert_string_equal(node_cause_name(e.cause), node_cause_name(row->cause));
    assert_int_equal(e.code, row->code);
    assert_string_equal(e.text, row->text);
}

static void text_is_cut_at_a_character(void **state)
{
    char out[6];

    (void)state;
    cause_copy_text(out, sizeof(out), RM_LIT("abcd\xc3\xa4"), false);
    assert_string_equal(out, "abcd");
    cause_copy_text(out, sizeof(out), RM_LIT("abc\xc3\xa4"), false);
    assert_string_equal(out, "abc\xc3\xa4");
    cause_copy_text(out, sizeof(out), RM_LIT("a\nb\r"), true);
    assert_string_equal(out, "a\nb?");
    cause_copy_text(out, 1, RM_LIT("a"), true);
    assert_string_equal(out, "");
}

static void long_log(void **state)
{
    static char log[NODE_LOG_LINES * 300];
    struct end_facts f = {.wait_status = EXITED(1), .log = log};
    struct node_error e;

    (void)state;
    memset(log, 'x', sizeof(log) - 1);
    cause_of_end(&f, &e);
    assert_int_equal(strlen(e.log), sizeof(e.log) - 1);
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {cmocka_unit_test(text_is_cut_at_a_character),
                                              cmocka_unit_test(long_log)};
    struct CMUnitTest tests[RM_COUNT(fixed) + RM_COUNT(rows)];

    memcpy(tests, fixed, sizeof(fixed));
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[RM_COUNT(fixed) + i] =
            (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
