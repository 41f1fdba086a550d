/* SPDX-License-Identifier: MIT */
/* worker/core/forecast_test.c - the dry run's bytes equal those of the real load, for every
 * architecture. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/base/buf.h"
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
    struct shim_row real[FORECAST_ROWS_MAX];
    uint64_t weights = 0, kv = 0, compute = 0;
    const char *args[5] = {row->args[0], row->args[1], row->args[2], row->args[3], NULL};
    struct forecast f;
    struct loaded l;
    char path[512], why[256];
    int n;

    models_make(path, sizeof(path), "m", row->arch, args);
    conf.model_path = path;
    conf.threads = 1;
    assert_int_equal(forecast_run(&conf, &f, why, sizeof(why)), 0);
    assert_int_equal(loader_open(&conf, false, &l, why, sizeof(why)), 0);
    n = shim_memory(l.ctx, real, FORECAST_ROWS_MAX);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        weights += real[i].weights;
        kv += real[i].kv;
        compute += real[i].compute;
    }
    assert_int_equal(f.weights, weights);
    assert_int_equal(f.kv, kv);
    assert_int_equal(f.compute, compute);
    assert_int_equal(f.context, l.context);
    assert_true(f.weights > 0 && f.kv > 0 && f.compute > 0 && f.output > 0 && f.process > 0);
    assert_int_equal(f.total, weights + kv + compute + f.output + f.process);
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
    struct forecast f;
    struct loaded l;
    char path[512], why[256];

    models_make(path, sizeof(path), "bad", "llama", NULL);
    if (row->keep < (1 << 30) && row->file == NULL)
        assert_int_equal(truncate(path, (off_t)row->keep), 0);
    conf.model_path = row->file != NULL ? row->file : path;
    conf.threads = 1;
    assert_int_equal(loader_open(&conf, false, &l, why, sizeof(why)), row->result);
    assert_true(why[0] != '\0');
    assert_true(forecast_run(&conf, &f, why, sizeof(why)) == row->result ||
                row->keep > 4000); /* a dry run does not miss the weights */
}

static void as_json(void **state)
{
    struct forecast f = {.n_rows = 1, .total = 6, .weights = 1, .kv = 2, .compute = 3, .slots = 4};
    struct rm_buf out;

    (void)state;
    snprintf(f.rows[0].buffer, sizeof(f.rows[0].buffer), "CPU");
    f.rows[0].host = true;
    f.rows[0].weights = 1;
    rm_buf_init(&out, 4096);
    assert_int_equal(forecast_write(&f, &out), 0);
    assert_string_equal(out.data,
                        "{\"total_bytes\":6,\"weights_bytes\":1,\"kv_bytes\":2,\"compute_bytes\":3,"
                        "\"output_bytes\":0,\"process_bytes\":0,\"checkpoints_max_bytes\":0,"
                        "\"context\":0,\"slots\":4,\"buffers\":[{\"buffer\":\"CPU\",\"host\":true,"
                        "\"weights_bytes\":1,\"kv_bytes\":0,\"compute_bytes\":0}]}");
    rm_buf_clear(&out);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + RM_COUNT(bad_rows) + 1];
    size_t n = 0;

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[n++] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    for (size_t i = 0; i < RM_COUNT(bad_rows); i++)
        tests[n++] =
            (struct CMUnitTest){bad_rows[i].name, run_bad_row, NULL, NULL, (void *)&bad_rows[i]};
    tests[n] = (struct CMUnitTest)cmocka_unit_test(as_json);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
