/* SPDX-License-Identifier: MIT */
/* worker/core/depth_test.c - which call counts in which bucket, one row each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "proto/base/err.h"
#include "worker/core/depth.h"

static const struct row {
    const char *name;
    struct depth_call call;
    int bucket; /* -1: none */
    uint64_t prefill, decode;
} rows[] = {
    {"a prompt at its beginning", {1, 100, 0, 0, 0}, 0, 100, 0},
    {"a prompt below the first border", {1, 64, 0, 1023, 0}, 0, 64, 0},
    {"a prompt at the first border", {1, 64, 0, 1024, 0}, 1, 64, 0},
    {"a deep prompt", {1, 64, 0, 70000, 0}, 4, 64, 0},
    {"deeper than the last border", {1, 64, 0, 1u << 24, 0}, 5, 64, 0},
    {"the end of a prompt", {1, 15, 0, 500, 0}, -1, 0, 0},
    {"two prompts", {2, 128, 0, 500, 0}, -1, 0, 0},
    {"a prompt beside a stream", {1, 64, 1, 500, 500}, -1, 0, 0},
    {"one stream", {0, 0, 1, 0, 4096}, 2, 0, 1},
    {"three streams count once, by their mean depth", {0, 0, 3, 0, 3 * 1024 - 1}, 0, 0, 1},
    {"three streams, a bit deeper", {0, 0, 3, 0, 3 * 1024}, 1, 0, 1},
    {"nothing", {0, 0, 0, 0, 0}, -1, 0, 0},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct depth_sums sums[DEPTH_BUCKETS], want[DEPTH_BUCKETS];

    memset(sums, 0, sizeof(sums));
    memset(want, 0, sizeof(want));
    for (uint64_t i = 1; i <= 3; i++)
        depth_note(sums, &row->call, i * 1000);
    if (row->bucket >= 0)
        want[row->bucket] = (struct depth_sums){row->prefill * 3, row->prefill > 0 ? 6000 : 0,
                                                row->decode * 3, row->decode > 0 ? 6000 : 0};
    assert_memory_equal(sums, want, sizeof(sums));
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows)];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
