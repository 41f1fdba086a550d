/* SPDX-License-Identifier: MIT */
/* gateway/route/rate_test.c - rates by what was noted when: rise, steady, fall to 0, states that
 * come fast, slow, or not at all. */
#include "gateway/route/rate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

enum { T0 = 1000000 };

static double out_at(const struct rate *r, uint64_t ms)
{
    double in, out;

    rate_read(r, ms, &in, &out);
    assert_true(fabs(in - 10 * out) < 1e-6); /* run() counts ten read for each written */
    return out;
}

/* From `from` to `to`, a state every `step` ms, `tps` tokens written a second. */
static void run(struct rate *r, uint64_t from, uint64_t to, uint64_t step, double tps)
{
    uint64_t base = r->out;

    for (uint64_t t = from + step; t <= to; t += step) {
        r->out = base + (uint64_t)(tps * (double)(t - from) / 1000);
        r->in = 10 * r->out;
        rate_note(r, t);
    }
}

static void nothing_is_noted(void **state)
{
    struct rate r = {0};

    (void)state;
    assert_true(out_at(&r, T0) == 0);
    rate_note(&r, T0);
    assert_true(out_at(&r, T0) == 0);
    r.out = 500, r.in = 5000;
    assert_true(out_at(&r, T0 + 999) == 0); /* too early to tell */
    assert_true(fabs(out_at(&r, T0 + 1000) - 500) < 1e-6);
}

static void rises_stays_and_falls(void **state)
{
    static const uint64_t steps[] = {10, 100, 250, 1000};
    struct rate r;

    (void)state;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        r = (struct rate){0};
        rate_note(&r, T0);
        run(&r, T0, T0 + 20000, 1000, 0);
        assert_true(out_at(&r, T0 + 20000) == 0);
        run(&r, T0 + 20000, T0 + 22000, steps[i], 50); /* two of five seconds */
        assert_true(out_at(&r, T0 + 22000) > 50 * 2.0 / 6.1);
        assert_true(out_at(&r, T0 + 22000) < 50 * 2.0 / 4.9);
        run(&r, T0 + 22000, T0 + 40000, steps[i], 50);
        assert_true(fabs(out_at(&r, T0 + 40000) - 50) < 1);
        run(&r, T0 + 40000, T0 + 47000, steps[i], 0);
        assert_true(out_at(&r, T0 + 42000) >= 0);
        assert_true(out_at(&r, T0 + 47000) == 0);
    }
}

/* A node that says nothing more does nothing that is known. */
static void silence_is_zero(void **state)
{
    struct rate r = {0};

    (void)state;
    rate_note(&r, T0);
    run(&r, T0, T0 + 10000, 1000, 50);
    assert_true(out_at(&r, T0 + 10000) > 49);
    assert_true(out_at(&r, T0 + 15001) == 0);
    assert_true(out_at(&r, T0 + 3600000) == 0);
}

/* After a gap the mean over the gap, never a peak that was not. */
static void a_gap_is_no_peak(void **state)
{
    struct rate r = {0};

    (void)state;
    rate_note(&r, T0);
    r.out += 6000, r.in += 60000;
    rate_note(&r, T0 + 60000);
    assert_true(fabs(out_at(&r, T0 + 60000) - 100) < 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_noted), cmocka_unit_test(rises_stays_and_falls),
        cmocka_unit_test(silence_is_zero), cmocka_unit_test(a_gap_is_no_peak)};

    return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
