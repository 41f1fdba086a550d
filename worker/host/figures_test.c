/* SPDX-License-Identifier: MIT */
/* worker/host/figures_test.c - parts whose sum is what counts, the used share of KV, the end of a
 * load. */
#include "worker/host/figures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static const struct parts_row {
    struct figures_plan plan;
    uint64_t total, weights, kv, compute, other;
} parts_rows[] = {
    {{0, 0, 0, 0}, 0, 0, 0, 0, 0},
    {{0, 0, 0, 0}, 900, 0, 0, 0, 900}, /* no forecast yet: nothing can be told apart */
    {{500, 200, 100, 0}, 900, 500, 200, 100, 100},
    {{500, 200, 100, 0}, 1500, 500, 200, 100, 700}, /* measured: more than was said */
    {{500, 200, 100, 0}, 800, 500, 200, 100, 0},
    {{500, 200, 100, 0}, 790, 500, 200, 90, 0}, /* measured: less */
    {{500, 200, 100, 0}, 650, 500, 150, 0, 0},
    {{500, 200, 100, 0}, 400, 400, 0, 0, 0},
    {{500, 200, 100, 0}, 0, 0, 0, 0, 0}, /* no engine */
};

static void parts(void **state)
{
    (void)state;
    for (size_t i = 0; i < RM_COUNT(parts_rows); i++) {
        const struct parts_row *r = &parts_rows[i];
        struct node_host h = {.weights_bytes = 7, .kv_bytes = 7, .compute_bytes = 7};

        figures_parts(&r->plan, r->total, &h);
        assert_int_equal(h.weights_bytes, r->weights);
        assert_int_equal(h.kv_bytes, r->kv);
        assert_int_equal(h.compute_bytes, r->compute);
        assert_int_equal(h.other_bytes, r->other);
        assert_int_equal(h.weights_bytes + h.kv_bytes + h.compute_bytes + h.other_bytes, r->total);
    }
}

static void plan_of_a_forecast(void **state)
{
    const struct node_forecast f = {.known = true,
                                    .weights = 500,
                                    .kv = 200,
                                    .compute = 100,
                                    .n_buffers = 3,
                                    .buffers = {{"CPU", true, 100, 0, 10},
                                                {"Vulkan0", false, 400, 150, 80},
                                                {"Vulkan1", false, 0, 50, 10}}};
    struct figures_plan p = {1, 2, 3, 4};

    (void)state;
    figures_of_forecast(&f, &p);
    assert_true(p.weights == 500 && p.kv == 200 && p.compute == 100 && p.device == 690);
}

static void used_kv(void **state)
{
    (void)state;
    assert_int_equal(figures_kv_used(1000, 0, 0), 0);
    assert_int_equal(figures_kv_used(1000, 5, 0), 0);
    assert_int_equal(figures_kv_used(1000, 0, 8), 0);
    assert_int_equal(figures_kv_used(1000, 2, 8), 250);
    assert_int_equal(figures_kv_used(1000, 8, 8), 1000);
    assert_int_equal(figures_kv_used(1000, 9, 8), 1000);
    assert_true(figures_kv_used(1ULL << 50, 1ULL << 49, 1ULL << 50) == 1ULL << 49);
}

static const struct eta_row {
    uint64_t expected, elapsed;
    double part;
    uint32_t eta;
} eta_rows[] = {
    {0, 0, 0, 0},                  /* nothing is known */
    {0, 60000, 0.04, 0},           /* too little of it to measure */
    {0, 400, 0.5, 0},              /* too short */
    {0, 10000, 0.5, 10000},        /* by its pace */
    {0, 10000, 1, 0},              /* loaded; warming takes what it takes */
    {20000, 0, 0, 20000},          /* as the last time */
    {20000, 5000, 0, 15000},       /* */
    {20000, 10000, 0.5, 10000},    /* both say so */
    {20000, 15000, 0.5, 10000},    /* 5 s as before, 15 s by its pace: half of each */
    {20000, 10000, 0.9, 2000},     /* 10 s as before, 1.1 s by its pace */
    {20000, 19999, 1, 1},          /* at least 1 */
    {20000, 20000, 0, 0},          /* late, and nothing to go by */
    {20000, 40000, 0.8, 10000},    /* late: its pace alone */
    {1ULL << 52, 0, 0, UINT32_MAX} /* */
};

static void eta(void **state)
{
    (void)state;
    for (size_t i = 0; i < RM_COUNT(eta_rows); i++)
        assert_int_equal(figures_eta(eta_rows[i].expected, eta_rows[i].elapsed, eta_rows[i].part),
                         eta_rows[i].eta);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(parts),
                                              cmocka_unit_test(plan_of_a_forecast),
                                              cmocka_unit_test(used_kv), cmocka_unit_test(eta)};

    return cmocka_run_group_tests_name("figures", tests, NULL, NULL);
}
