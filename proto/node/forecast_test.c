/* SPDX-License-Identifier: MIT */
/* proto/node/forecast_test.c - the `forecast` message: round trip with buffers, hostile ones by
 * row, and the arithmetic of other contexts and slots. That its results are those of llama.cpp
 * shows worker/core/forecast_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "proto/node/desired.h"
#include "proto/node/fields.h"

/* Every member has a value of its own. */
static struct node_forecast sample(void)
{
    return (struct node_forecast){
        .known = true,
        .estimated = true,
        .measured = true,
        .weights = 1000,
        .kv = 2,
        .compute = 3,
        .output = 4,
        .process = 5,
        .checkpoints = 6,
        .other = 15,
        .total = 1020,
        .largest = 999,
        .context = 4096,
        .slots = 2,
        .context_train = 8192,
        .model_bytes = 1010,
        .load_ms = 77,
        .costs = {.batch = 512,
                  .window = 128,
                  .state_slot = 7,
                  .output_slot = 11,
                  .process = 13,
                  .process_cell = 17,
                  .checkpoints_slot = 10,
                  .checkpoints_max = 1 << 20,
                  .f16 = {true, true, 100, 30, 5000, 9, 8, 6, 3},
                  .q8_0 = {true, false, 50, 15, 6000, 19, 18, 16, 13}},
        .model_hash = "abc",
        .error = "none",
        .n_buffers = 2,
        .buffers = {{"CPU", true, 700, 1, 3}, {"Vulkan0", false, 300, 1, 0}},
    };
}

static void round_trip(void **state)
{
    struct node_forecast f = sample(), back;
    struct rm_buf a;
    char why[NODE_WHY_MAX];

    (void)state;
    rm_buf_init(&a, 8192);
    assert_int_equal(node_forecast_encode(&f, &a), 0);
    assert_int_equal(node_forecast_decode((struct rm_slice){a.data, a.len}, &back, why), 0);
    assert_memory_equal(&back, &f, sizeof(f));
    for (size_t n = 0; n < a.len; n++) /* no prefix of it is one */
        assert_int_equal(node_forecast_decode((struct rm_slice){a.data, n}, &back, why),
                         RM_ERR_JSON);
    rm_buf_clear(&a);
}

static const struct bad_row {
    const char *name, *json, *why;
} bad_rows[] = {
    {"buffers: no array", "{\"buffers\":{}}", "buffers: expected an array of at most 16"},
    {"buffers: too many", "{\"buffers\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}",
     "buffers: expected an array of at most 16"},
    {"buffers: no objects", "{\"buffers\":[{},7]}", "buffers[1]: expected an object"},
    {"buffers: no bytes", "{\"buffers\":[{\"kv\":-1}]}",
     "buffers[0].kv: expected an integer in its range"},
    {"costs: no object", "{\"costs\":7}", "costs: expected an object"},
    {"costs: deep", "{\"costs\":{\"f16\":{\"exact\":7}}}", "f16.exact: expected true or false"},
    {"buffer name", "{\"buffers\":[{\"name\":\"012345678901234567890123456789012\"}]}",
     "buffers[0].name: expected a shorter string"},
};

static void run_bad_row(void **state)
{
    const struct bad_row *row = *state;
    struct node_forecast f;
    char why[NODE_WHY_MAX];

    assert_int_equal(node_forecast_decode(rm_slice_of(row->json), &f, why), RM_ERR_FIELD);
    assert_string_equal(why, row->why);
    assert_int_equal(f.n_buffers, 0);
}

/* cells, window cells: worked out by hand. */
static const struct row {
    const char *name;
    uint32_t context, slots;
    bool q8_0;
    uint64_t cells, window_cells, seen /* of a state kept */;
} rows[] = {
    {"padded", 1000, 1, false, 1024, 768, 128},
    {"window not reached", 256, 2, false, 512, 512, 128},
    {"window by slot", 4096, 4, false, 16384, 1024, 128},
    {"q8_0", 4096, 4, true, 16384, 1024, 128},
    {"many slots", 4096, 16, false, 65536, 2560, 128},
    {"of the model", 0, 1, false, 8192, 768, 128},
    {"context below the window", 100, 1, false, 256, 256, 100},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct node_forecast f = sample();
    const struct node_kv_costs *k = row->q8_0 ? &f.costs.q8_0 : &f.costs.f16;
    uint64_t s = row->slots;
    struct node_bytes b;

    assert_int_equal(node_forecast_at(&f, row->context, row->slots, row->q8_0, &b), 0);
    assert_int_equal(b.weights, 1000);
    assert_int_equal(b.kv, k->kv_cell * row->cells + k->kv_window_cell * row->window_cells + 7 * s);
    assert_int_equal(b.compute, k->compute + k->compute_cell * row->cells +
                                    k->compute_window_cell * row->window_cells +
                                    k->compute_slot * s +
                                    (s > 8 ? k->compute_slot_more * (s - 8) : 0));
    assert_int_equal(b.output, 11 * s);
    assert_int_equal(b.process, 13 + 17 * row->cells);
    assert_int_equal(b.checkpoints, 10 * s * (k->kv_window_cell * row->seen + 7));
    assert_int_equal(b.total, b.weights + b.kv + b.compute + b.output + b.process + b.checkpoints);
    assert_int_equal(b.largest, b.kv);
}

/* Three slots do not share 512 tokens: 513 are reserved. */
static void uneven(void **state)
{
    struct node_forecast f = sample();
    struct node_bytes b;

    (void)state;
    f.costs.f16 = (struct node_kv_costs){.known = true, .compute = 512 * 1000 - 1};
    assert_int_equal(node_forecast_at(&f, 1000, 2, false, &b), 0);
    assert_int_equal(b.compute, 512 * 1000 - 1);
    assert_int_equal(node_forecast_at(&f, 1000, 3, false, &b), 0);
    assert_int_equal(b.compute, 513 * 1000 - 1 + 256 * 32);
}

static void limits(void **state)
{
    struct node_forecast f = sample();
    struct node_bytes b;

    (void)state;
    assert_int_equal(node_forecast_at(&f, 1000, 0, false, &b), RM_ERR_FIELD);
    f.costs.checkpoints_max = 5;
    f.context_train = 0;
    f.weights = f.buffers[1].weights = 1ull << 40;
    assert_int_equal(node_forecast_at(&f, 0, 1, false, &b), 0);
    assert_int_equal(b.kv, 100 * 4096 + 30 * 768 + 7); /* as the core without a trained context */
    assert_int_equal(b.checkpoints, 5);
    assert_int_equal(b.largest, 1ull << 40);
    f.n_buffers = 0;
    assert_int_equal(node_forecast_at(&f, 0, 1, false, &b), 0);
    assert_int_equal(b.largest, 1ull << 40);
    f.costs.q8_0.known = false;
    assert_int_equal(node_forecast_at(&f, 1000, 1, true, &b), RM_ERR_NOT_SUPPORTED);
    assert_int_equal(b.total, 0);
    f.costs.f16.kv_cell = NODE_INT_MAX;
    assert_int_equal(node_forecast_at(&f, 1 << 24, 64, false, &b), RM_ERR_FIELD);
    assert_int_equal(node_forecast_at(&f, 256, 1, false, &b), RM_ERR_FIELD);
    assert_int_equal(b.total, 0);
    f.costs.f16.kv_cell = 0;
    f.weights = NODE_INT_MAX;
    assert_int_equal(node_forecast_at(&f, 256, 1, false, &b), RM_ERR_FIELD);
    f.known = false;
    assert_int_equal(node_forecast_at(&f, 256, 1, false, &b), RM_ERR_NOT_SUPPORTED);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + RM_COUNT(bad_rows) + 3];
    size_t n = 0;

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[n++] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    for (size_t i = 0; i < RM_COUNT(bad_rows); i++)
        tests[n++] =
            (struct CMUnitTest){bad_rows[i].name, run_bad_row, NULL, NULL, (void *)&bad_rows[i]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(round_trip);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(uneven);
    tests[n] = (struct CMUnitTest)cmocka_unit_test(limits);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
