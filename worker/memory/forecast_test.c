/* SPDX-License-Identifier: MIT */
/* worker/memory/forecast_test.c - forecast.c: what the core prints, by row. The child and its queue
 * are tested with the real programs (tests/e2e/test_worker.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "worker/memory/forecast.h"
#include "worker/models/gguf.h"

static const struct row {
    const char *name, *json;
    int err;
    uint64_t total, other;
    uint32_t context_train;
} rows[] = {
    {"whole",
     "{\"total_bytes\":100,\"weights_bytes\":50,\"kv_bytes\":20,\"compute_bytes\":10,\"context_"
     "train\":4096,\"x\":[]}",
     0, 100, 20, 4096},
    {"without training context",
     "{\"total_bytes\":80,\"weights_bytes\":50,\"kv_bytes\":20,\"compute_bytes\":10}", 0, 80, 0, 0},
    {"parts over the sum",
     "{\"total_bytes\":79,\"weights_bytes\":50,\"kv_bytes\":20,\"compute_bytes\":10}", RM_ERR_FIELD,
     0, 0, 0},
    {"no sum", "{\"weights_bytes\":50,\"kv_bytes\":20,\"compute_bytes\":10}", RM_ERR_FIELD, 0, 0,
     0},
    {"negative", "{\"total_bytes\":80,\"weights_bytes\":-1,\"kv_bytes\":20,\"compute_bytes\":10}",
     RM_ERR_FIELD, 0, 0, 0},
    {"fraction", "{\"total_bytes\":80.5,\"weights_bytes\":1,\"kv_bytes\":20,\"compute_bytes\":10}",
     RM_ERR_FIELD, 0, 0, 0},
    {"parts that wrap round",
     "{\"total_bytes\":9223372036854775807,\"weights_bytes\":9223372036854775807,\"kv_bytes\":"
     "9223372036854775807,\"compute_bytes\":3}",
     RM_ERR_FIELD, 0, 0, 0},
    {"cut", "{\"total_bytes\":80", RM_ERR_JSON, 0, 0, 0},
    {"nothing", "", RM_ERR_JSON, 0, 0, 0},
    {"an array", "[1]", RM_ERR_FIELD, 0, 0, 0},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct node_forecast f;

    assert_int_equal(forecast_decode(rm_slice_of(row->json), &f), row->err);
    assert_int_equal(f.known, row->err == 0);
    assert_true(f.total == row->total);
    assert_true(f.other == row->other);
    assert_int_equal(f.context_train, row->context_train);
}

static void tell(struct gguf_head *h, enum gguf_number_id id, uint32_t v)
{
    h->numbers[id] = (struct gguf_number){.present = true, .v = v};
}

/* What the header gives when the core does not answer. */
static void estimate(void **state)
{
    static struct gguf_head h = {.arch = "llama", .weights = 1000};
    struct desired_host d = {.context = 1024, .slots = 2, .kv = "f16"};
    struct node_forecast f;

    (void)state;
    tell(&h, GGUF_LAYERS, 3);
    tell(&h, GGUF_CONTEXT, 4096);
    tell(&h, GGUF_WIDTH, 256);
    tell(&h, GGUF_HEADS, 4);
    tell(&h, GGUF_HEADS_KV, 2);
    assert_int_equal(forecast_estimate(&h, &d, &f), 0);
    assert_true(f.known && f.estimated && f.error[0] == '\0');
    assert_true(f.weights == 1000 && f.compute == 0 && f.other == 0);
    assert_true(f.kv == 3 * 2 * 2048 * 2 * 64 * 2); /* layers, K and V, cells, heads, width, f16 */
    assert_true(f.total == f.weights + f.kv);
    assert_int_equal(f.context_train, 4096);
    strcpy(d.kv, "q8_0");
    assert_int_equal(forecast_estimate(&h, &d, &f), 0);
    assert_true(f.kv == 3 * 2 * 2048 * 2 * 64 / 32 * 34);
    d.context = 0; /* the model's own */
    assert_int_equal(forecast_estimate(&h, &d, &f), 0);
    assert_true(f.kv == 3 * 2 * 8192 * 2 * 64 / 32 * 34);
    strcpy(h.arch, "kimi-k3");
    assert_int_equal(forecast_estimate(&h, &d, &f), RM_ERR_NOT_SUPPORTED);
    assert_true(!f.known && !f.estimated && f.total == 0 && f.context_train == 4096);
    assert_string_equal(f.error, "architecture kimi-k3 has a cache of its own kind");
    strcpy(h.arch, "llama");
    h.weights = 1ull << 53;
    assert_int_equal(forecast_estimate(&h, &d, &f), RM_ERR_FIELD);
    assert_true(!f.known && f.error[0] != '\0');
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 1];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(estimate);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
