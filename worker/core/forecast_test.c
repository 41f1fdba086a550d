/* SPDX-License-Identifier: MIT */
/* worker/core/forecast_test.c - the dry run's bytes equal those of the real load, for every
 * architecture; and what is reckoned from the costs equals the dry run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/support/models/models.h"
#include "worker/core/decoder.h"
#include "worker/core/forecast.h"
#include "worker/core/loader.h"
#include "worker/core/shim.h"

static const struct row {
    const char *name, *arch;
    const char *args[4];
    struct decoder_conf conf;
} rows[] = {
    {"llama", "llama", {NULL}, {.context = 1000, .slots = 2}},
    {"qwen3", "qwen3", {NULL}, {.context = 4096, .slots = 1}},
    {"qwen3moe", "qwen3moe", {NULL}, {.context = 512, .slots = 4}},
    {"gemma3", "gemma3", {NULL}, {.context = 2048, .slots = 3}},
    {"gpt-oss", "gpt-oss", {NULL}, {.context = 4096, .slots = 2, .batch = 128}},
    {"deepseek2", "deepseek2", {NULL}, {.context = 1024, .slots = 2}},
    {"mamba", "mamba", {NULL}, {.context = 1024, .slots = 8}},
    {"qwen35", "qwen35", {NULL}, {.context = 1024, .slots = 4}},
    {"context of the model", "llama", {"ctx=2048"}, {.slots = 1}},
    {"kv q8_0", "llama", {"embd=128"}, {.context = 1024, .slots = 2, .kv = DECODER_KV_Q8_0}},
    {"less KV than slots * context",
     "llama",
     {NULL},
     {.context = 1024, .slots = 4, .kv_tokens = 2048}},
    {"repacked q4_K",
     "llama",
     {"type=q4_K", "embd=256", "ff=512", "heads=8"},
     {.context = 512, .slots = 1}},
    {"q8_0", "llama", {"type=q8_0", "embd=256", "heads=8"}, {.context = 512, .slots = 1}},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct decoder_conf conf = row->conf;
    const char *args[5] = {row->args[0], row->args[1], row->args[2], row->args[3], NULL};
    struct node_forecast f, real = {0};
    struct loaded l;
    char path[512], why[256];

    models_make(path, sizeof(path), "m", row->arch, args);
    conf.model_path = path;
    conf.threads = 1;
    assert_int_equal(forecast_run(&conf, false, &f, why, sizeof(why)), 0);
    assert_int_equal(loader_open(&conf, false, &l, why, sizeof(why)), 0);
    assert_int_equal(forecast_sum(&l, &real), 0);
    assert_int_equal(f.weights, real.weights);
    assert_int_equal(f.kv, real.kv);
    assert_int_equal(f.compute, real.compute);
    assert_int_equal(f.context, l.context);
    assert_true(f.weights > 0 && f.kv > 0 && f.compute > 0 && f.output > 0 && f.process > 0);
    assert_int_equal(f.other, f.output + f.process + f.checkpoints);
    assert_int_equal(f.total, f.weights + f.kv + f.compute + f.other);
    assert_false(f.costs.f16.known);
    loader_close(&l);
}

/* What cannot be loaded is refused with a reason, by the forecast as by the load. */
static const struct bad_row {
    const char *name;
    size_t keep; /* bytes of a good model */
    const char *file;
    struct decoder_conf conf;
    int result;
} bad_rows[] = {
    {"no such file", 0, "/nonexistent.gguf", {.slots = 1, .context = 512}, RM_ERR_MODEL_FILE},
    {"empty file", 0, NULL, {.slots = 1, .context = 512}, RM_ERR_MODEL_FILE},
    {"cut in the header", 10, NULL, {.slots = 1, .context = 512}, RM_ERR_MODEL_FILE},
    {"cut in the metadata", 4000, NULL, {.slots = 1, .context = 512}, RM_ERR_MODEL_FILE},
    {"cut in the weights", 300000, NULL, {.slots = 1, .context = 512}, RM_ERR_MODEL_FILE},
    {"not a model", 0, "/etc/passwd", {.slots = 1, .context = 512}, RM_ERR_MODEL_FILE},
    {"no slots", 1 << 30, NULL, {.slots = 0, .context = 512}, RM_ERR_FIELD},
    {"too many slots", 1 << 30, NULL, {.slots = 65, .context = 512}, RM_ERR_FIELD},
    {"tiny batch", 1 << 30, NULL, {.slots = 1, .context = 512, .batch = 8}, RM_ERR_FIELD},
    {"batch below slots", 1 << 30, NULL, {.slots = 64, .context = 512, .batch = 32}, RM_ERR_FIELD},
    {"huge context", 1 << 30, NULL, {.slots = 64, .context = 1u << 31}, RM_ERR_FIELD},
    {"KV below one context",
     1 << 30,
     NULL,
     {.slots = 2, .context = 512, .kv_tokens = 256},
     RM_ERR_FIELD},
};

static void run_bad_row(void **state)
{
    const struct bad_row *row = *state;
    struct decoder_conf conf = row->conf;
    struct node_forecast f;
    struct loaded l;
    char path[512], why[256];

    models_make(path, sizeof(path), "bad", "llama", NULL);
    if (row->keep < (1 << 30) && row->file == NULL)
        assert_int_equal(truncate(path, (off_t)row->keep), 0);
    conf.model_path = row->file != NULL ? row->file : path;
    conf.threads = 1;
    assert_int_equal(loader_open(&conf, false, &l, why, sizeof(why)), row->result);
    assert_true(why[0] != '\0');
    assert_true(forecast_run(&conf, true, &f, why, sizeof(why)) == row->result ||
                row->keep > 4000); /* a dry run does not miss the weights */
}

/* ---- costs ---- */

/* Head sizes are multiples of 32, so that q8_0 fits; layers enough for every kind of them. */
static const struct costs_row {
    const char *name, *arch;
    const char *args[4];
    uint32_t batch;
    bool no_q8, bound; /* bound: compute is no line there */
} costs_rows[] = {
    {"costs: llama", "llama", {"embd=128"}, 0, false, false},
    {"costs: qwen3", "qwen3", {"embd=128"}, 0, false, false},
    {"costs: qwen3moe", "qwen3moe", {"embd=128"}, 0, false, false},
    {"costs: gemma3", "gemma3", {"embd=128", "layers=8"}, 0, false, false},
    {"costs: gpt-oss", "gpt-oss", {"embd=128", "layers=5"}, 0, false, false},
    {"costs: deepseek2", "deepseek2", {"embd=128", "layers=3"}, 0, false, false},
    {"costs: mamba", "mamba", {"embd=128"}, 0, false, false},
    {"costs: qwen35", "qwen35", {"embd=128", "layers=8"}, 0, false, false},
    {"costs: wide window", "gemma3", {"embd=128", "layers=8", "swa=2048"}, 0, false, false},
    {"costs: window that padding hides", "gpt-oss", {"embd=128", "swa=192"}, 64, false, true},
    {"costs: heads of no q8_0", "llama", {NULL}, 0, true, false},
    {"costs: repacked", "llama", {"type=q4_K", "embd=256", "ff=512"}, 256, false, false},
};

/* The dry run at these settings, and the same reckoned from the costs found at others. */
static void compare(const struct decoder_conf *like, const struct node_forecast *from,
                    uint32_t context, uint32_t slots, bool q8, bool bound)
{
    struct decoder_conf conf = *like;
    struct node_forecast dry;
    struct node_bytes b;
    char why[256];

    conf.context = context;
    conf.slots = slots;
    conf.kv = q8 ? DECODER_KV_Q8_0 : DECODER_KV_F16;
    assert_int_equal(forecast_run(&conf, false, &dry, why, sizeof(why)), 0);
    assert_int_equal(node_forecast_at(from, context, slots, q8, &b), 0);
    if (b.weights != dry.weights || b.kv != dry.kv || b.output != dry.output ||
        ((slots == 1 || slots == 4) && !bound ? b.compute != dry.compute : b.compute < dry.compute))
        fail_msg("context %u, slots %u, %s: kv %llu, dry run %llu; compute %llu, dry run %llu",
                 context, slots, q8 ? "q8_0" : "f16", (unsigned long long)b.kv,
                 (unsigned long long)dry.kv, (unsigned long long)b.compute,
                 (unsigned long long)dry.compute);
    assert_true(bound || b.compute < dry.compute + dry.compute / 4);
}

static void run_costs_row(void **state)
{
    static const uint32_t contexts[] = {1000, 4096, 20000}, slots[] = {1, 3, 4, 7, 32};
    const struct costs_row *row = *state;
    struct decoder_conf conf = {.context = 512, .slots = 2, .batch = row->batch, .threads = 1};
    const char *args[5] = {row->args[0], row->args[1], row->args[2], row->args[3], NULL};
    struct node_forecast f;
    char path[512], why[256];

    models_make(path, sizeof(path), "m", row->arch, args);
    conf.model_path = path;
    assert_int_equal(forecast_run(&conf, true, &f, why, sizeof(why)), 0);
    assert_true(f.costs.f16.known && f.costs.f16.exact == !row->bound);
    assert_true(row->no_q8 ? !f.costs.q8_0.known
                           : f.costs.q8_0.known && f.costs.q8_0.exact == !row->bound);
    for (size_t c = 0; c < RM_COUNT(contexts); c++)
        for (size_t s = 0; s < RM_COUNT(slots); s++)
            for (int q8 = 0; q8 < (row->no_q8 ? 1 : 2); q8++)
                compare(&conf, &f, contexts[c], slots[s], q8 != 0, row->bound);
    compare(&conf, &f, 0, 3, false, row->bound); /* the model's own context */
}

/* ---- checkpoints ---- */

/* What prefix reuse keeps of a slot that has read more than any window sees is as large as the
 * costs say; libllama adds positions and lengths, a little for each cell. */
static const struct kept_row {
    const char *name, *arch;
    const char *args[4];
} kept_rows[] = {
    {"kept: gemma3", "gemma3", {"embd=128", "layers=8", "swa=256"}},
    {"kept: gpt-oss", "gpt-oss", {"embd=128", "layers=5"}},
    {"kept: mamba", "mamba", {"embd=128"}},
    {"kept: qwen35", "qwen35", {"embd=128", "layers=8"}},
};

static void run_kept_row(void **state)
{
    enum { CHUNK = 64, READ = 1024, CELL_NOTES = 64, NOTES = 1024 };
    const struct kept_row *row = *state;
    struct decoder_conf conf = {.context = 2048, .slots = 2, .threads = 1};
    const char *args[5] = {row->args[0], row->args[1], row->args[2], row->args[3], NULL};
    struct node_forecast f;
    llama_token tokens[CHUNK];
    struct loaded l;
    char path[512], why[256];
    uint64_t one, kept;

    models_make(path, sizeof(path), "m", row->arch, args);
    conf.model_path = path;
    assert_int_equal(forecast_run(&conf, true, &f, why, sizeof(why)), 0);
    assert_true(f.costs.f16.known && f.costs.checkpoints_slot > 0);
    one = f.costs.f16.kv_window_cell * f.costs.window + f.costs.state_slot;
    assert_int_equal(f.checkpoints, one * f.costs.checkpoints_slot * 2);
    for (int i = 0; i < CHUNK; i++)
        tokens[i] = 32 + i;
    assert_int_equal(loader_open(&conf, false, &l, why, sizeof(why)), 0);
    for (int at = 0; at < READ; at += CHUNK)
        assert_int_equal(shim_decode(l.ctx, llama_batch_get_one(tokens, CHUNK)), 0);
    kept = shim_state_size(l.ctx, 0);
    loader_close(&l);
    if (kept < one / 2 || kept > one + f.costs.window * CELL_NOTES + NOTES)
        fail_msg("%s: %llu bytes kept, %llu foretold", row->arch, (unsigned long long)kept,
                 (unsigned long long)one);
}

/* Points that no model gave: what does not follow the rule is not called known or exact. */
static void solving(void **state)
{
    struct forecast_point p[] = {{768, 0, 1, 7680, 1768},   {4096, 0, 1, 40960, 5096},
                                 {512, 0, 1, 5120, 1512},   {768, 0, 2, 7780, 1778},
                                 {1024, 0, 2, 10340, 2034}, {16384, 0, 64, 170140, 18014}};
    struct node_kv_costs k;
    uint64_t slot;

    (void)state;
    p[0].kv += 100, p[1].kv += 100, p[2].kv += 100, p[3].kv += 100, p[4].kv += 100;
    p[5].kv = 10 * 16384 + 100 * 64;
    p[5].compute = 1000 + 16384 + 10 * 63;
    assert_true(forecast_solve(p, 6, &k, &slot));
    assert_true(k.known && k.exact);
    assert_int_equal(k.kv_cell, 10);
    assert_int_equal(slot, 100);
    assert_int_equal(k.compute, 990);
    assert_int_equal(k.compute_cell, 1);
    assert_int_equal(k.compute_slot, 10);
    assert_int_equal(k.compute_slot_more, 0);
    p[5].compute += 57; /* of 56 slots beyond the exact ones */
    assert_true(forecast_solve(p, 6, &k, &slot) && k.exact);
    assert_int_equal(k.compute_slot_more, 2);
    p[4].compute += 3;
    assert_true(forecast_solve(p, 6, &k, &slot));
    assert_true(k.known && !k.exact);
    assert_int_equal(k.compute, 993);
    p[4].kv++;
    assert_false(forecast_solve(p, 6, &k, &slot));
    assert_false(k.known);
}

int main(void)
{
    struct CMUnitTest
        tests[RM_COUNT(rows) + RM_COUNT(bad_rows) + RM_COUNT(costs_rows) + RM_COUNT(kept_rows) + 1];
    size_t n = 0;

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[n++] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    for (size_t i = 0; i < RM_COUNT(bad_rows); i++)
        tests[n++] =
            (struct CMUnitTest){bad_rows[i].name, run_bad_row, NULL, NULL, (void *)&bad_rows[i]};
    for (size_t i = 0; i < RM_COUNT(costs_rows); i++)
        tests[n++] = (struct CMUnitTest){costs_rows[i].name, run_costs_row, NULL, NULL,
                                         (void *)&costs_rows[i]};
    for (size_t i = 0; i < RM_COUNT(kept_rows); i++)
        tests[n++] =
            (struct CMUnitTest){kept_rows[i].name, run_kept_row, NULL, NULL, (void *)&kept_rows[i]};
    tests[n] = (struct CMUnitTest)cmocka_unit_test(solving);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
