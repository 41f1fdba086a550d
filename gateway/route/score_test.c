/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "gateway/route/score.h"
#include "proto/base/err.h"

/* Which of two hosts is done first with a prompt. */
static const struct row {
    const char *name;
    struct score_host first, second;
    uint32_t prompt;
    char better; /* '1' or '2' */
} rows[] = {
    {"idle before full",
     {.slots = 1, .prefill_tps = 100},
     {.slots = 1, .in_flight = 1, .prefill_tps = 100},
     100,
     '1'},
    {"a host twice as fast with one request more",
     {.slots = 4, .prefill_tps = 100},
     {.slots = 4, .in_flight = 1, .prefill_tps = 400},
     1000,
     '2'},
    {"a cached prompt outweighs a busy neighbour",
     {.slots = 4, .prefill_tps = 100},
     {.slots = 4, .in_flight = 2, .prefill_tps = 100, .cached = 9000},
     10000,
     '2'},
    {"but not a long wait",
     {.slots = 1, .prefill_tps = 1000},
     {.slots = 1, .in_flight = 3, .prefill_tps = 1000, .service_s = 60, .cached = 9000},
     10000,
     '1'},
    {"distance decides between equals",
     {.slots = 1, .prefill_tps = 100, .rtt_s = 0.2},
     {.slots = 1, .prefill_tps = 100, .rtt_s = 0.001},
     100,
     '2'},
    {"a suspect is the last choice",
     {.slots = 4, .prefill_tps = 900, .suspect = true},
     {.slots = 4, .prefill_tps = 100},
     1000,
     '2'},
    {"an unmeasured host is tried before a slow one",
     {.slots = 1},
     {.slots = 1, .prefill_tps = 20},
     1000,
     '1'},
    {"a slow host that is there before one that must be loaded",
     {.slots = 1, .prefill_tps = 100},
     {.slots = 1, .prefill_tps = 1000, .load_s = 30},
     2000,
     '1'},
    {"but not for a prompt that it would read for minutes",
     {.slots = 1, .prefill_tps = 100},
     {.slots = 1, .prefill_tps = 1000, .load_s = 30},
     20000,
     '2'},
    {"a load that is nearly over before a full host",
     {.slots = 1, .in_flight = 1, .service_s = 20, .prefill_tps = 1000},
     {.slots = 1, .prefill_tps = 1000, .load_s = 3},
     1000,
     '2'},
    {"more slots, less wait",
     {.slots = 1, .in_flight = 4, .service_s = 10, .prefill_tps = 100},
     {.slots = 4, .in_flight = 4, .service_s = 10, .prefill_tps = 100},
     100,
     '2'},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct score_terms a = score_host_for(&row->first, row->prompt),
                       b = score_host_for(&row->second, row->prompt);

    assert_int_equal(a.total < b.total ? '1' : '2', row->better);
}

/* More of anything that costs time never makes a host look better, and the terms add up. */
static void never_better_by_more_work(void **state)
{
    uint64_t seed = 2463534242ull;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct score_host h, worse;
        struct score_terms t;
        uint32_t prompt;

        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        prompt = (uint32_t)(seed % 100000);
        h = (struct score_host){.slots = (uint32_t)(seed >> 8) % 8,
                                .in_flight = (uint32_t)(seed >> 16) % 12,
                                .queued = (uint32_t)(seed >> 24) % 4,
                                .prefill_tps = (double)((seed >> 32) % 3000),
                                .service_s = (double)((seed >> 40) % 100),
                                .load_s = (double)((seed >> 20) % 40),
                                .cached = (uint32_t)((seed >> 12) % 120000)};
        t = score_host_for(&h, prompt);
        assert_true(t.total >= 0);
        assert_float_equal(t.total, t.load + t.wait + t.prefill + t.rtt + t.penalty, 1e-6);
        worse = h;
        worse.in_flight++;
        assert_true(score_host_for(&worse, prompt).total >= t.total);
        assert_true(score_host_for(&h, prompt + 1000).total >= t.total);
        worse = h;
        worse.load_s += 1;
        assert_true(score_host_for(&worse, prompt).total >= t.total);
        worse = h;
        worse.cached /= 2;
        assert_true(score_host_for(&worse, prompt).total >= t.total);
    }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 1];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(never_better_by_more_work);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
