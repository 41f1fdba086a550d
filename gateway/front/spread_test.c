/* SPDX-License-Identifier: MIT */
/* gateway/front/spread_test.c - percentiles against those of the sorted values themselves, the turn
 * of generations, and values at the ends. */
#include "gateway/front/spread.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t seed = 88172645463325252ULL;

static double random_part(void) /* xorshift64 */
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void near(double is, double should)
{
    if (fabs(is - should) > 0.03 * should)
        fail_msg("%g, should be %g", is, should);
}

static void against_the_sorted_values(void **state)
{
    static const uint32_t counts[] = {1, 2, 3, 19, 20, 21, 100, 999, 1000};
    double values[SPREAD_GENERATION];
    struct spread_figures f;
    struct spread s;

    (void)state;
    for (int round = 0; round < 200; round++) {
        uint32_t n = counts[round % (sizeof counts / sizeof counts[0])];

        memset(&s, 0, sizeof s);
        for (uint32_t i = 0; i < n; i++) {
            values[i] = 0.2 * pow(1e6, random_part()); /* 0.2 to 200000 */
            spread_note(&s, values[i], 1);
        }
        qsort(values, n, sizeof values[0], by_value);
        assert_true(spread_read(&s, &f));
        near(f.p50, values[(uint32_t)ceil(0.50 * n) - 1]);
        near(f.p95, values[(uint32_t)ceil(0.95 * n) - 1]);
        near(f.p99, values[(uint32_t)ceil(0.99 * n) - 1]);
    }
}

static void ends_of_the_range(void **state)
{
    struct spread s = {0};
    struct spread_figures f = {7, 7, 7};

    (void)state;
    assert_false(spread_read(&s, &f));
    assert_true(f.p50 == 7);
    spread_note(&s, 0, 0);
    spread_note(&s, 0.1249, 0);
    assert_true(spread_read(&s, &f) && f.p50 == 0 && f.p99 == 0);
    memset(&s, 0, sizeof s);
    spread_note(&s, 1e300, 0);
    spread_note(&s, INFINITY, 0);
    assert_true(spread_read(&s, &f));
    near(f.p50, SPREAD_LEAST * exp2(SPREAD_OCTAVES));
    memset(&s, 0, sizeof s);
    spread_note(&s, SPREAD_LEAST, 0);
    assert_true(spread_read(&s, &f));
    near(f.p50, SPREAD_LEAST);
}

/* What was is forgotten: by number under load, by time else; one value is enough to be known. */
static void generations(void **state)
{
    struct spread_figures f;
    struct spread s = {0};

    (void)state;
    for (int i = 0; i < SPREAD_GENERATION; i++)
        spread_note(&s, 100, 0);
    for (int i = 0; i < SPREAD_GENERATION; i++)
        spread_note(&s, 1, 0);
    assert_true(spread_read(&s, &f) && f.p99 > 90); /* both are read */
    spread_note(&s, 1, 0);
    assert_true(spread_read(&s, &f) && f.p99 < 2);
    memset(&s, 0, sizeof s);
    spread_note(&s, 100, 1000);
    spread_note(&s, 1, 1000 + SPREAD_AGE_MS - 1);
    spread_note(&s, 1, 1000 + SPREAD_AGE_MS);
    assert_true(spread_read(&s, &f) && f.p99 > 90);
    spread_note(&s, 1, 1000 + 2ULL * SPREAD_AGE_MS);
    assert_true(spread_read(&s, &f) && f.p99 < 2);
    assert_true(spread_read(&s, &f) && f.p50 > 0.9);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(against_the_sorted_values),
                                              cmocka_unit_test(ends_of_the_range),
                                              cmocka_unit_test(generations)};

    return cmocka_run_group_tests_name("spread", tests, NULL, NULL);
}
