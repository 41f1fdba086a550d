/* SPDX-License-Identifier: MIT */
/* worker/memory/meminfo_test.c - meminfo.c: texts of /proc by row, the reserve, and this machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "worker/memory/meminfo.h"

#define GIB (1ULL << 30)

static const struct row {
    const char *name, *text;
    int err;
    uint64_t total, available, swap_total, swap_used;
} rows[] = {
    {"a machine",
     "MemTotal:       131072 kB\nMemFree:  1 kB\nMemAvailable:   65536 kB\nBuffers: 9 kB\n"
     "SwapCached: 5 kB\nSwapTotal:      4096 kB\nSwapFree:       1024 kB\n",
     0, 131072 * 1024, 65536 * 1024, 4096 * 1024, 3072 * 1024},
    {"no swap", "MemTotal: 8 kB\nMemAvailable: 4 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n", 0, 8192,
     4096, 0, 0},
    {"no swap lines", "MemTotal: 8 kB\nMemAvailable: 4 kB\n", 0, 8192, 4096, 0, 0},
    {"old kernel", "MemTotal: 8 kB\nMemFree: 3 kB\n", 0, 8192, 3072, 0, 0},
    {"more available than total", "MemTotal: 8 kB\nMemAvailable: 9 kB\n", 0, 8192, 8192, 0, 0},
    {"more swap free than there is",
     "MemTotal: 8 kB\nMemAvailable: 4 kB\nSwapTotal: 1 kB\nSwapFree: 2 kB\n", 0, 8192, 4096, 1024,
     0},
    {"no last newline", "MemTotal: 8 kB\nMemAvailable: 4 kB", 0, 8192, 4096, 0, 0},
    {"empty", "", RM_ERR_FIELD, 0, 0, 0, 0},
    {"no total", "MemAvailable: 4 kB\n", RM_ERR_FIELD, 0, 0, 0, 0},
    {"total 0", "MemTotal: 0 kB\nMemAvailable: 4 kB\n", RM_ERR_FIELD, 0, 0, 0, 0},
    {"no number", "MemTotal: kB\nMemAvailable: 4 kB\n", RM_ERR_FIELD, 0, 0, 0, 0},
    {"number too long", "MemTotal: 99999999999999999999999 kB\nMemAvailable: 4 kB\n", RM_ERR_FIELD,
     0, 0, 0, 0},
    {"bytes overflow", "MemTotal: 18446744073709551615 kB\nMemAvailable: 4 kB\n", RM_ERR_FIELD, 0,
     0, 0, 0},
    {"name inside a line", "xMemTotal: 8 kB\nMemAvailable: 4 kB\n", RM_ERR_FIELD, 0, 0, 0, 0},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct node_memory m = {.committed = 7};

    assert_int_equal(meminfo_parse(rm_slice_of(row->text), &m), row->err);
    assert_true(m.total == row->total);
    assert_true(m.available == row->available);
    assert_true(m.swap_total == row->swap_total);
    assert_true(m.swap_used == row->swap_used);
    assert_true(m.committed == 7);
}

static void reserve_and_budget(void **state)
{
    struct node_memory m = {.total = 128 * GIB};

    (void)state;
    assert_true(memory_default_reserve(128 * GIB) == 128 * GIB / 100 * 8);
    assert_true(memory_default_reserve(32 * GIB) == 6 * GIB);
    assert_true(memory_default_reserve(8 * GIB) == 4 * GIB);
    memory_budget(&m, 0);
    assert_true(m.budget == m.total - m.reserve);
    memory_budget(&m, 200 * GIB);
    assert_true(m.reserve == 200 * GIB && m.budget == 0);
}

static void counters(void **state)
{
    uint64_t v = 99;

    (void)state;
    assert_true(
        memory_counter_in(RM_LIT("low 0\noom 5\noom_kill 3\noom_group_kill 0\n"), "oom_kill", &v));
    assert_true(v == 3);
    assert_true(memory_counter_in(RM_LIT("oom_kill_disable 0\nunder_oom 0\noom_kill 12\n"),
                                  "oom_kill", &v));
    assert_true(v == 12);
    assert_false(memory_counter_in(RM_LIT("oom_kill_disable 0\n"), "oom_kill", &v));
    assert_false(memory_counter_in(RM_LIT("oom_kill"), "oom_kill", &v));
    assert_false(memory_counter_in(RM_LIT(""), "oom_kill", &v));
}

static void this_machine(void **state)
{
    struct node_memory m = {0};

    (void)state;
    assert_int_equal(memory_read(0, &m), 0);
    assert_true(m.total > 0 && m.available > 0 && m.budget < m.total);
    assert_true(memory_rss(getpid()) > 100000);
    assert_true(memory_rss(-1) == 0);
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {cmocka_unit_test(reserve_and_budget),
                                              cmocka_unit_test(counters),
                                              cmocka_unit_test(this_machine)};
    struct CMUnitTest tests[RM_COUNT(fixed) + RM_COUNT(rows)];

    memcpy(tests, fixed, sizeof(fixed));
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[RM_COUNT(fixed) + i] =
            (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
