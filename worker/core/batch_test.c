/* SPDX-License-Identifier: MIT */
/* worker/core/batch_test.c - who gets how much of a batch, and what the measured speed allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "worker/core/batch.h"

enum { N = 4 };

static const struct row {
    const char *name;
    struct batch_want want[N];
    uint32_t budget, capacity;
    uint32_t take[N];
} rows[] = {
    {"nothing", {{0, 0, 1}}, 100, 512, {0}},
    {"streams only", {{1, 1, 1}, {1, 1, 2}}, 0, 512, {1, 1}},
    {"one prompt takes the budget", {{900, 900, 1}}, 100, 512, {100}},
    {"a short prompt", {{30, 30, 1}}, 100, 512, {30}},
    {"streams come on top of the budget", {{1, 1, 1}, {900, 900, 2}}, 100, 512, {1, 100}},
    {"capacity is not exceeded", {{1, 1, 1}, {900, 900, 2}}, 600, 512, {1, 511}},
    {"prompts share", {{900, 900, 1}, {900, 900, 2}}, 100, 512, {50, 50}},
    {"what a short one leaves goes on", {{900, 900, 1}, {10, 10, 2}}, 100, 512, {90, 10}},
    {"the oldest gets the rest",
     {{900, 900, 3}, {900, 900, 1}, {900, 900, 2}},
     100,
     512,
     {33, 34, 33}},
    {"a checkpoint ends the chunk", {{900, 56, 1}}, 100, 512, {56}},
    {"and the rest goes to others", {{900, 20, 1}, {900, 900, 2}}, 100, 512, {20, 80}},
    {"more prompts than budget", {{9, 9, 1}, {9, 9, 2}, {9, 9, 3}}, 2, 512, {1, 1, 0}},
    {"streams fill the capacity", {{1, 1, 1}, {1, 1, 2}, {9, 9, 3}}, 100, 2, {1, 1, 0}},
    {"two tokens left are a prompt", {{2, 2, 1}}, 100, 512, {2}},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    uint32_t take[N], sum = 0;
    uint32_t got = batch_plan(row->want, N, row->budget, row->capacity, take);

    for (int i = 0; i < N; i++) {
        assert_int_equal(take[i], row->take[i]);
        sum += take[i];
    }
    assert_int_equal(got, sum);
}

static void budget_before_anything_is_known(void **state)
{
    struct batch_pace p = {0};

    (void)state;
    assert_int_equal(batch_budget(&p, 100, 512), 64);
    assert_int_equal(batch_budget(&p, 100, 20), 20);
}

static void budget_follows_the_speed(void **state)
{
    struct batch_pace p = {0};

    (void)state;
    batch_note(&p, 100, 0, 50.0); /* 2000 tokens/s */
    assert_int_equal(batch_budget(&p, 100, 512), 200);
    assert_int_equal(batch_budget(&p, 100, 128), 128);
    for (int i = 0; i < 50; i++)
        batch_note(&p, 100, 0, 10000.0); /* 10 tokens/s: the least is not undercut */
    assert_int_equal(batch_budget(&p, 100, 512), 16);
}

/* A call costs 20 ms and 0.5 ms per token: the budget settles where a chunk takes 100 ms. */
static void budget_settles(void **state)
{
    struct batch_pace p = {0};
    uint32_t n = 0;

    (void)state;
    for (int i = 0; i < 60; i++) {
        n = batch_budget(&p, 100, 512);
        batch_note(&p, n, 0, 20.0 + 0.5 * n);
    }
    assert_in_range(n, 155, 160);
}

/* Deep in a prompt a call below 64 tokens costs far more per token: the budget stays at 64, also
 * after the short rest of a prompt, and gives 64 up when even that takes too long. */
static void budget_keeps_to_the_tile(void **state)
{
    struct batch_pace p = {0};
    uint32_t n = 0;

    (void)state;
    for (int i = 0; i < 60; i++) {
        n = batch_budget(&p, 100, 512);
        batch_note(&p, n, 0, n >= 64 ? 2.0 * n : 30.0 * n);
    }
    assert_int_equal(n, 64);
    batch_note(&p, 15, 0, 800.0);
    assert_int_equal(batch_budget(&p, 100, 512), 64);
    for (int i = 0; i < 60; i++) {
        n = batch_budget(&p, 100, 512);
        batch_note(&p, n, 0, 20.0 * n);
    }
    assert_int_equal(n, 16);
}

static void notes_streams(void **state)
{
    struct batch_pace p = {0};

    (void)state;
    batch_note(&p, 0, 3, 20.0);
    assert_int_equal((int)p.decode_tps, 50);
    assert_int_equal((int)p.prefill_tps, 0);
    batch_note(&p, 80, 3, 60.0); /* 20 ms of it were the streams' */
    assert_int_equal((int)p.prefill_tps, 2000);
    batch_note(&p, 80, 3, 0.0); /* a clock that stands still says nothing */
    assert_int_equal((int)p.prefill_tps, 2000);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 5];
    size_t n = RM_COUNT(rows);

    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(budget_before_anything_is_known);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(budget_follows_the_speed);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(budget_settles);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(budget_keeps_to_the_tile);
    tests[n] = (struct CMUnitTest)cmocka_unit_test(notes_streams);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
