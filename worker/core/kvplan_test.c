/* SPDX-License-Identifier: MIT */
/* worker/core/kvplan_test.c - the decision as a table: one row per behaviour. */
#include "worker/core/kvplan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/err.h"

#define MB 1000000ULL
#define GB 1000000000ULL
#define PLENTY                                                                                     \
    {                                                                                              \
        .most_bytes = 1000 * GB, .free_bytes = 1000 * GB, .budget_ms = 3600000                     \
    }

enum { ITEMS = 3 };

static const struct row {
    const char *name;
    struct kvplan_speeds speeds;
    struct kvplan_room room;
    struct kvplan_item items[ITEMS];
    enum kvplan_verdict verdicts[ITEMS];
} rows[] = {
    /* 100 MB at 1 GB/s twice: 0.2 s; 2,000 tokens at 1,000/s: 2 s */
    {"disk is faster",
     {GB, GB, 1000},
     PLENTY,
     {{2000, 100 * MB, 1, false}},
     {KVPLAN_SAVE, KVPLAN_EMPTY, KVPLAN_EMPTY}},
    /* the same at 50 MB/s twice: 4 s */
    {"prefill is faster",
     {50e6, 50e6, 1000},
     PLENTY,
     {{2000, 100 * MB, 1, false}},
     {KVPLAN_DEAR, KVPLAN_EMPTY, KVPLAN_EMPTY}},
    {"exactly as fast is not worth it",
     {100e6, 100e6, 1000},
     PLENTY,
     {{2000, 100 * MB, 1, false}},
     {KVPLAN_DEAR, KVPLAN_EMPTY, KVPLAN_EMPTY}},
    {"a little faster is",
     {100e6, 101e6, 1000},
     PLENTY,
     {{2000, 100 * MB, 1, false}},
     {KVPLAN_SAVE, KVPLAN_EMPTY, KVPLAN_EMPTY}},
    {"slow to write, fast to read: the sum counts",
     {60e6, 10e9, 1000},
     PLENTY,
     {{2000, 100 * MB, 1, false}, {1000, 100 * MB, 2, false}},
     {KVPLAN_SAVE, KVPLAN_DEAR, KVPLAN_EMPTY}},
    {"a faster machine reads the prompt again",
     {GB, GB, 20000},
     PLENTY,
     {{2000, 100 * MB, 1, false}},
     {KVPLAN_DEAR, KVPLAN_EMPTY, KVPLAN_EMPTY}},
    {"prefill speed is not known",
     {GB, GB, 0},
     PLENTY,
     {{2000, 100 * MB, 1, false}},
     {KVPLAN_UNKNOWN, KVPLAN_EMPTY, KVPLAN_EMPTY}},
    {"disk speed is not known",
     {GB, 0, 1000},
     PLENTY,
     {{2000, 100 * MB, 1, false}},
     {KVPLAN_UNKNOWN, KVPLAN_EMPTY, KVPLAN_EMPTY}},
    {"what another one holds is not saved twice",
     {GB, GB, 1000},
     PLENTY,
     {{2000, 100 * MB, 1, false}, {1000, 50 * MB, 2, true}},
     {KVPLAN_SAVE, KVPLAN_COVERED, KVPLAN_EMPTY}},
    {"a handful of tokens is not worth the seek",
     {GB, GB, 1},
     PLENTY,
     {{KVPLAN_TOKENS_MIN - 1, 1, 1, false}, {KVPLAN_TOKENS_MIN, 1, 2, false}},
     {KVPLAN_SHORT, KVPLAN_SAVE, KVPLAN_EMPTY}},
    {"over the bound: those used last are kept",
     {GB, GB, 1000},
     {.most_bytes = 250 * MB, .free_bytes = 1000 * GB, .budget_ms = 60000},
     {{2000, 100 * MB, 1, false}, {2000, 100 * MB, 3, false}, {2000, 100 * MB, 2, false}},
     {KVPLAN_BIG, KVPLAN_SAVE, KVPLAN_SAVE}},
    {"a smaller one may still fit",
     {GB, GB, 1000},
     {.most_bytes = 250 * MB, .free_bytes = 1000 * GB, .budget_ms = 60000},
     {{2000, 200 * MB, 3, false}, {2000, 100 * MB, 2, false}, {2000, 50 * MB, 1, false}},
     {KVPLAN_SAVE, KVPLAN_BIG, KVPLAN_SAVE}},
    {"headroom on the disk stays",
     {GB, GB, 1000},
     {.most_bytes = GB, .free_bytes = 2 * GB, .spare_bytes = 1900 * MB, .budget_ms = 60000},
     {{2000, 100 * MB, 2, false}, {2000, 1 * MB, 1, false}},
     {KVPLAN_SAVE, KVPLAN_DISK, KVPLAN_EMPTY}},
    {"less free than the headroom",
     {GB, GB, 1000},
     {.most_bytes = GB, .free_bytes = GB, .spare_bytes = 2 * GB, .budget_ms = 60000},
     {{2000, 1 * MB, 2, false}},
     {KVPLAN_DISK, KVPLAN_EMPTY, KVPLAN_EMPTY}},
    {"the budget bounds the writing",
     {GB, GB, 1000},
     {.most_bytes = GB, .free_bytes = 10 * GB, .budget_ms = 150},
     {{2000, 100 * MB, 2, false}, {2000, 100 * MB, 1, false}},
     {KVPLAN_SAVE, KVPLAN_LATE, KVPLAN_EMPTY}},
    {"no budget",
     {GB, GB, 1000},
     {.most_bytes = GB, .free_bytes = 10 * GB, .budget_ms = 0},
     {{2000, 100 * MB, 2, false}},
     {KVPLAN_LATE, KVPLAN_EMPTY, KVPLAN_EMPTY}},
    {"sizes beyond sense",
     {GB, GB, 1000},
     PLENTY,
     {{2000, UINT64_MAX, 2, false}},
     {KVPLAN_DEAR, KVPLAN_EMPTY, KVPLAN_EMPTY}},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    enum kvplan_verdict got[ITEMS];
    uint32_t want = 0, n = kvplan_choose(row->items, ITEMS, &row->speeds, &row->room, got);

    for (int i = 0; i < ITEMS; i++) {
        assert_string_equal(kvplan_verdict_name(got[i]), kvplan_verdict_name(row->verdicts[i]));
        want += row->verdicts[i] == KVPLAN_SAVE;
    }
    assert_int_equal(n, want);
}

static void the_most_items(void **state)
{
    struct kvplan_item items[KVPLAN_ITEMS_MAX];
    enum kvplan_verdict got[KVPLAN_ITEMS_MAX];
    struct kvplan_speeds s = {GB, GB, 1000};
    struct kvplan_room room = {.most_bytes = 10 * MB, .free_bytes = GB, .budget_ms = 1000};

    (void)state;
    for (uint32_t i = 0; i < KVPLAN_ITEMS_MAX; i++)
        items[i] = (struct kvplan_item){2000, MB, i, false};
    assert_int_equal(kvplan_choose(items, KVPLAN_ITEMS_MAX, &s, &room, got), 10);
    for (uint32_t i = 0; i < KVPLAN_ITEMS_MAX; i++)
        assert_int_equal(got[i], i >= KVPLAN_ITEMS_MAX - 10 ? KVPLAN_SAVE : KVPLAN_BIG);
}

static void spare(void **state)
{
    (void)state;
    assert_int_equal(kvplan_spare(0), 1 << 30);
    assert_int_equal(kvplan_spare((uint64_t)20 << 30), 1 << 30);
    assert_int_equal(kvplan_spare((uint64_t)100 << 30), (uint64_t)5 << 30);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 2];
    size_t n = RM_COUNT(rows);

    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[n] = (struct CMUnitTest)cmocka_unit_test(the_most_items);
    tests[n + 1] = (struct CMUnitTest)cmocka_unit_test(spare);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
