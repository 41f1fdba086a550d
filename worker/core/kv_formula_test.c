/* SPDX-License-Identifier: MIT */
/* worker/core/kv_formula_test.c - what worker/models computes from a model file's header equals
 * llama.cpp's own dry run, byte for byte; and its table of tensor types equals ggml's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "ggml.h"
#include "tests/support/models/models.h"
#include "worker/core/decoder.h"
#include "worker/core/forecast.h"
#include "proto/gguf/kv_formula.h"

static void read_head(const char *path, struct gguf_head *h)
{
    struct gguf_reading *g;
    struct gguf_source source;
    struct stat st;
    char why[GGUF_WHY_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    source = gguf_source_fd(fd, (uint64_t)st.st_size);
    assert_int_equal(gguf_begin(h, &g), 0);
    assert_int_equal(gguf_add(g, &source, path, 1, why), 0);
    assert_int_equal(gguf_end(g, path, why), 0);
    close(fd);
}

static void compare(const char *path, const struct gguf_head *h, uint32_t context, uint32_t slots,
                    bool q8, uint32_t ubatch)
{
    struct decoder_conf conf = {.model_path = path,
                                .context = context,
                                .slots = slots,
                                .kv = q8 ? DECODER_KV_Q8_0 : DECODER_KV_F16,
                                .batch = ubatch,
                                .threads = 1};
    struct kv_query query = {
        .context = context, .slots = slots, .q8 = q8, .ubatch = ubatch, .unified = true};
    struct kv_bytes kv;
    struct node_forecast f;
    char why[256];

    assert_int_equal(forecast_run(&conf, false, &f, why, sizeof(why)), 0);
    assert_int_equal(kv_formula(h, &query, &kv, why), 0);
    if (kv.kv + kv.recurrent != f.kv || h->weights != f.weights)
        fail_msg("%s, context %u, slots %u, %s, batch %u: kv %llu, dry run %llu; weights %llu, dry "
                 "run %llu",
                 h->arch, context, slots, q8 ? "q8_0" : "f16", ubatch,
                 (unsigned long long)(kv.kv + kv.recurrent), (unsigned long long)f.kv,
                 (unsigned long long)h->weights, (unsigned long long)f.weights);
}

/* Head sizes are multiples of 32, so that q8_0 fits; layers enough for every kind of them. */
static const struct row {
    const char *name, *arch;
    const char *args[6];
} rows[] = {
    {"llama", "llama", {"embd=128"}},
    {"qwen3", "qwen3", {"embd=128"}},
    {"qwen3moe", "qwen3moe", {"embd=128"}},
    {"gemma3", "gemma3", {"embd=128", "layers=8"}},
    {"gpt-oss", "gpt-oss", {"embd=128", "layers=5"}},
    {"deepseek2", "deepseek2", {"embd=128", "layers=3"}},
    {"mamba", "mamba", {"embd=128"}},
    {"qwen35", "qwen35", {"embd=128", "layers=8"}},
    {"one KV head, tied output", "llama", {"embd=128", "kvheads=1", "tied=1"}},
    {"wide window", "gemma3", {"embd=128", "swa=2048"}},
    {"repacked q4_K", "llama", {"type=q4_K", "embd=256", "ff=512"}},
    {"q8_0", "qwen3", {"type=q8_0", "embd=256"}},
};

static void run_row(void **state)
{
    static const uint32_t contexts[] = {1000, 4096, 20000}, slots[] = {1, 4};
    static struct gguf_head h;
    const struct row *row = *state;
    char path[512];

    models_make(path, sizeof(path), "kv", row->arch, row->args);
    read_head(path, &h);
    for (size_t c = 0; c < RM_COUNT(contexts); c++)
        for (size_t s = 0; s < RM_COUNT(slots); s++)
            for (int q8 = 0; q8 < 2; q8++)
                compare(path, &h, contexts[c], slots[s], q8 != 0, 0);
    compare(path, &h, 0, 3, false, 0); /* the model's own context */
    compare(path, &h, 4096, 2, false, 128);
}

/* Heads of 16 that no q8_0 block fits: llama.cpp makes no context, and the formula says so too. */
static void heads_of_q8_0(void **state)
{
    static struct gguf_head h;
    struct kv_query query = {.context = 1000, .slots = 1, .q8 = true, .unified = true};
    struct decoder_conf conf = {.context = 1000, .slots = 1, .kv = DECODER_KV_Q8_0, .threads = 1};
    struct kv_bytes kv;
    struct node_forecast f;
    char path[512], why[256];

    (void)state;
    models_make(path, sizeof(path), "kv", "llama", NULL);
    read_head(path, &h);
    conf.model_path = path;
    assert_true(forecast_run(&conf, false, &f, why, sizeof(why)) < 0);
    assert_int_equal(kv_formula(&h, &query, &kv, why), RM_ERR_NOT_SUPPORTED);
    assert_string_equal(why, "q8_0 needs heads whose K and V are a multiple of 32 wide");
}

static void tensor_types(void **state)
{
    uint32_t block, bytes;

    (void)state;
    assert_true((int)GGML_TYPE_COUNT <= (int)GGUF_TYPES);
    for (uint32_t i = 0; i < GGML_TYPE_COUNT; i++) {
        const struct ggml_type_traits *t = ggml_get_type_traits((enum ggml_type)i);

        assert_true(gguf_tensor_type_block(i, &block, &bytes) == (t->type_size > 0));
        if (t->type_size == 0)
            continue;
        assert_string_equal(gguf_tensor_type_name(i), t->type_name);
        assert_int_equal(block, t->blck_size);
        assert_int_equal(bytes, t->type_size);
    }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 2];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(tensor_types);
    tests[RM_COUNT(rows) + 1] = (struct CMUnitTest)cmocka_unit_test(heads_of_q8_0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
