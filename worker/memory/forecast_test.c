/* SPDX-License-Identifier: MIT */
/* worker/memory/forecast_test.c - forecast.c: what the core prints, by row. The child and its queue
 * are tested with the real programs (tests/e2e/test_worker.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "worker/memory/forecast.h"
#include "proto/gguf/gguf.h"

static const struct row {
    const char *name, *json;
    int err;
    uint64_t total, other;
    uint32_t context_train;
} rows[] = {
    {"whole",
     "{\"known\":true,\"weights\":50,\"kv\":20,\"compute\":10,\"output\":1,\"process\":17,"
     "\"checkpoints\":2,\"other\":20,\"total\":100,\"context_train\":4096,\"x\":[]}",
     0, 100, 20, 4096},
    {"without training context",
     "{\"known\":true,\"weights\":50,\"kv\":20,\"compute\":10,\"output\":1,\"process\":17,"
     "\"checkpoints\":2,\"other\":20,\"total\":100}",
     0, 100, 20, 0},
    {"parts over the sum",
     "{\"known\":true,\"weights\":50,\"kv\":20,\"compute\":10,\"other\":0,\"total\":79}",
     RM_ERR_FIELD, 0, 0, 0},
    {"parts below the sum",
     "{\"known\":true,\"weights\":50,\"kv\":20,\"compute\":10,\"other\":0,\"total\":81}",
     RM_ERR_FIELD, 0, 0, 0},
    {"others of another sum",
     "{\"known\":true,\"weights\":50,\"kv\":20,\"compute\":10,\"output\":1,\"other\":0,\"total\":"
     "80}",
     RM_ERR_FIELD, 0, 0, 0},
    {"no sum", "{\"known\":true,\"weights\":50,\"kv\":20,\"compute\":10}", RM_ERR_FIELD, 0, 0, 0},
    {"no weights", "{\"known\":true,\"kv\":20,\"total\":20}", RM_ERR_FIELD, 0, 0, 0},
    {"not known", "{\"weights\":20,\"total\":20}", RM_ERR_FIELD, 0, 0, 0},
    {"an estimate",
     "{\"estimated\":true,\"known\":true,\"weights\":50,\"kv\":20,\"compute\":10,\"output\":1,"
     "\"process\":17,\"checkpoints\":2,\"other\":20,\"total\":100}",
     RM_ERR_FIELD, 0, 0, 0},
    {"negative", "{\"known\":true,\"weights\":-1,\"kv\":20,\"total\":19}", RM_ERR_FIELD, 0, 0, 0},
    {"fraction", "{\"known\":true,\"weights\":1.5,\"total\":1}", RM_ERR_FIELD, 0, 0, 0},
    {"more than there are numbers for",
     "{\"known\":true,\"weights\":9007199254740992,\"total\":9007199254740992}", RM_ERR_FIELD, 0, 0,
     0},
    {"cut", "{\"total\":80", RM_ERR_JSON, 0, 0, 0},
    {"nothing", "", RM_ERR_JSON, 0, 0, 0},
    {"an array", "[1]", RM_ERR_JSON, 0, 0, 0},
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
    assert_true(f.context == 1024 && f.slots == 2);
    assert_true(f.costs.f16.known && f.costs.f16.kv_cell == 3 * 2 * 2 * 64 * 2);
    assert_true(f.costs.q8_0.known && f.costs.q8_0.kv_cell == 3 * 2 * 2 * 64 / 32 * 34);
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

/* The costs of an estimate give the same KV memory as the formula they come from. */
static void estimated_costs(void **state)
{
    static const uint32_t contexts[] = {100, 1000, 4096, 20000}, slots[] = {1, 3, 4};
    static struct gguf_head h = {.arch = "gemma3", .weights = 1000};
    struct desired_host d = {.kv = "f16"};
    struct node_forecast f, g;
    struct node_bytes b;

    (void)state;
    tell(&h, GGUF_LAYERS, 8);
    tell(&h, GGUF_WIDTH, 256);
    tell(&h, GGUF_HEADS, 4);
    tell(&h, GGUF_HEADS_KV, 2);
    for (uint32_t window = 0; window <= 1024; window += 192) {
        tell(&h, GGUF_SWA_WINDOW, window);
        d.context = 512, d.slots = 1;
        assert_int_equal(forecast_estimate(&h, &d, &f), 0);
        assert_int_equal(f.costs.window, window);
        for (size_t i = 0; i < RM_COUNT(contexts) * RM_COUNT(slots); i++) {
            d.context = contexts[i / RM_COUNT(slots)];
            d.slots = slots[i % RM_COUNT(slots)];
            assert_int_equal(forecast_estimate(&h, &d, &g), 0);
            assert_int_equal(node_forecast_at(&f, d.context, d.slots, false, &b), 0);
            assert_int_equal(b.kv, g.kv);
        }
    }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 2];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(estimate);
    tests[RM_COUNT(rows) + 1] = (struct CMUnitTest)cmocka_unit_test(estimated_costs);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
