/* SPDX-License-Identifier: MIT */
/* worker/memory/busy_test.c - /proc/stat by row, and means over readings. Whole trees and devices:
 * accountant_test.c, nvml_test.c. */
#include "worker/memory/busy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct row {
    const char *name, *text;
    bool ok;
    uint64_t busy, total;
} rows[] = {
    {"a machine", "cpu  10 2 3 100 20 1 4 5 7 8\ncpu0 1 1 1 1\nintr 9\n", true, 25, 145},
    {"its first line alone, cut", "cpu  10 2 3 100 20 1 4 5", true, 25, 145},
    {"old kernel", "cpu 1 2 3 4\n", true, 6, 10},
    {"all idle", "cpu 0 0 0 50 6 0 0 0\n", true, 0, 56},
    {"empty", "", false, 0, 0},
    {"another line first", "cpu0 1 2 3 4 5\n", false, 0, 0},
    {"no numbers", "cpu  \n1 2 3 4 5\n", false, 0, 0},
    {"too few", "cpu 1 2 3\n", false, 0, 0},
    {"a word", "cpu 1 2 x 4 5\n", false, 0, 0},
    {"too large", "cpu 1 2 99999999999999999999999 4 5\n", false, 0, 0},
    {"sum too large", "cpu 18446744073709551615 1 1 1\n", false, 0, 0},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct busy_cpu c = {0};

    assert_int_equal(busy_parse_stat(rm_slice_of(row->text), &c), row->ok);
    assert_int_equal(c.busy, row->busy);
    assert_int_equal(c.total, row->total);
    for (size_t n = 0; n < strlen(row->text); n++) /* any beginning of it does no harm */
        busy_parse_stat((struct rm_slice){row->text, n}, &c);
}

static void cpu_over_the_last_seconds(void **state)
{
    struct busy_cpu c = {1000, 100000};
    struct busy b = {0};

    (void)state;
    assert_true(busy_cpu_percent(&b) == -1);
    busy_note(&b, &c, -1);
    assert_true(busy_cpu_percent(&b) == -1); /* one reading is none */
    c.busy += 100, c.total += 400;
    busy_note(&b, &c, -1);
    assert_true(busy_cpu_percent(&b) == 25);
    for (int i = 0; i < BUSY_SECONDS; i++) {
        c.busy += 300, c.total += 400;
        busy_note(&b, &c, -1);
    }
    assert_true(busy_cpu_percent(&b) == 75); /* what was before is forgotten */
    busy_note(&b, &c, -1);                   /* no time has passed */
    assert_true(busy_cpu_percent(&b) == 75);
    c.busy -= 2000, c.total += 400; /* iowait gave back */
    busy_note(&b, &c, -1);
    assert_true(busy_cpu_percent(&b) == 0);
    c.busy += 90000, c.total += 400;
    busy_note(&b, &c, -1);
    assert_true(busy_cpu_percent(&b) == 100);
    busy_note(&b, NULL, -1);
    assert_true(busy_cpu_percent(&b) == -1);
    busy_note(&b, &c, -1);
    assert_true(busy_cpu_percent(&b) == -1); /* begins anew */
}

static void gpu_over_the_last_seconds(void **state)
{
    struct busy b = {0};

    (void)state;
    assert_true(busy_gpu_percent(&b) == -1);
    busy_note(&b, NULL, 40);
    assert_true(busy_gpu_percent(&b) == 40);
    busy_note(&b, NULL, 80);
    assert_true(busy_gpu_percent(&b) == 60);
    busy_note(&b, NULL, -1); /* not told this time */
    assert_true(busy_gpu_percent(&b) == 60);
    for (int i = 0; i < BUSY_SECONDS; i++)
        busy_note(&b, NULL, 0);
    assert_true(busy_gpu_percent(&b) == 0);
    for (int i = 0; i < BUSY_SECONDS; i++)
        busy_note(&b, NULL, -1);
    assert_true(busy_gpu_percent(&b) == -1);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 2];

    tests[0] = (struct CMUnitTest)cmocka_unit_test(cpu_over_the_last_seconds);
    tests[1] = (struct CMUnitTest)cmocka_unit_test(gpu_over_the_last_seconds);
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i + 2] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests_name("busy", tests, NULL, NULL);
}
