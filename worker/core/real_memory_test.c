/* SPDX-License-Identifier: MIT */
/* worker/core/real_memory_test.c - what the command `rolemesh forecast --json` prints equals, to
 * the byte, what libllama allocates when the model is really loaded: every architecture of mkmodel
 * x 3 contexts x two KV types x 1 and 4 slots. Asked twice: libllama's own breakdown of the loaded
 * context, and every buffer that ggml was made to allocate, counted by the two functions below that
 * stand before ggml's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dlfcn.h>
#include <jansson.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "ggml-backend.h"
#include "proto/base/buf.h"
#include "tests/support/models/models.h"
#include "worker/core/decoder.h"
#include "worker/core/forecast.h"
#include "worker/core/loader.h"

/* The buffers that live; those of mapped files are not allocated and not here. */
static struct live {
    ggml_backend_buffer_t buffer;
    uint64_t bytes;
} live[256];

static uint64_t allocated(void)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < RM_COUNT(live); i++)
        sum += live[i].bytes;
    return sum;
}

static void note(ggml_backend_buffer_t was, struct live now)
{
    for (size_t i = 0; i < RM_COUNT(live); i++)
        if (live[i].buffer == was) {
            live[i] = now;
            return;
        }
}

/* The linker puts these before the shared library's. */
ggml_backend_buffer_t ggml_backend_buft_alloc_buffer(ggml_backend_buffer_type_t type, size_t size)
{
    ggml_backend_buffer_t (*real)(ggml_backend_buffer_type_t, size_t);
    ggml_backend_buffer_t b;

    *(void **)&real = dlsym(RTLD_NEXT, "ggml_backend_buft_alloc_buffer");
    if ((b = real(type, size)) != NULL) {
        note(b, (struct live){NULL, 0}); /* a type may stand on another's buffer and come through
                                            here twice with one */
        note(NULL, (struct live){b, ggml_backend_buffer_get_size(b)});
    }
    return b;
}

void ggml_backend_buffer_free(ggml_backend_buffer_t b)
{
    void (*real)(ggml_backend_buffer_t);

    *(void **)&real = dlsym(RTLD_NEXT, "ggml_backend_buffer_free");
    if (b != NULL)
        note(b, (struct live){NULL, 0});
    real(b);
}

/* Head sizes are multiples of 32, so that q8_0 fits; layers enough for every kind of them. */
static const struct row {
    const char *name, *arch;
    const char *args[6];
} rows[] = {
    {"llama", "llama", {"embd=128", "ctx=32768"}},
    {"qwen3", "qwen3", {"embd=128", "ctx=32768"}},
    {"qwen3moe", "qwen3moe", {"embd=128", "ctx=32768"}},
    {"gemma3", "gemma3", {"embd=128", "ctx=32768", "layers=8"}},
    {"gpt-oss", "gpt-oss", {"embd=128", "ctx=32768", "layers=5"}},
    {"deepseek2", "deepseek2", {"embd=128", "ctx=32768", "layers=3"}},
    {"mamba", "mamba", {"embd=128", "ctx=32768"}},
    {"qwen35", "qwen35", {"embd=128", "ctx=32768", "layers=8"}},
    {"repacked q4_0", "llama", {"embd=256", "ctx=32768", "ff=512", "type=q4_0"}},
};

static const char contexts[] = "1000,4096,20000";

/* What the command says, one forecast for each context. */
static json_t *ask_command(const char *path, uint32_t slots, const char *kv)
{
    char command[1024], bytes[4096];
    struct rm_buf out;
    json_t *said;
    size_t n;
    FILE *f;

    snprintf(command, sizeof(command),
             "'%s' forecast --json --context %s --slots %u --kv %s '%s' 2>&1", getenv("ROLEMESH"),
             contexts, slots, kv, path);
    assert_non_null(f = popen(command, "r"));
    rm_buf_init(&out, 1 << 20);
    while ((n = fread(bytes, 1, sizeof(bytes), f)) > 0)
        assert_int_equal(rm_buf_put(&out, bytes, n), 0);
    if (pclose(f) != 0)
        fail_msg("%s\nsaid: %s", command, out.len > 0 ? out.data : "");
    said = json_loadb(out.data, out.len, 0, NULL);
    rm_buf_clear(&out);
    assert_int_equal(json_array_size(json_object_get(said, "nodes")), 1);
    return said;
}

static uint64_t number(const json_t *o, const char *name)
{
    assert_true(json_is_integer(json_object_get(o, name)));
    return (uint64_t)json_integer_value(json_object_get(o, name));
}

/* The weights that a real load allocates; those of a mapped file it does not. */
static uint64_t own_weights(const struct node_forecast *real)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < real->n_buffers; i++)
        if (strstr(real->buffers[i].name, "_Mapped") == NULL)
            sum += real->buffers[i].weights;
    return sum;
}

static void compare(const char *path, const json_t *said, uint32_t slots, bool q8)
{
    struct decoder_conf conf = {.model_path = path,
                                .context = (uint32_t)number(said, "context"),
                                .slots = slots,
                                .kv = q8 ? DECODER_KV_Q8_0 : DECODER_KV_F16,
                                .threads = 1};
    struct node_forecast real = {0};
    uint64_t buffers;
    struct loaded l;
    char why[256];

    assert_int_equal(loader_open(&conf, false, &l, why, sizeof(why)), 0);
    assert_int_equal(forecast_sum(&l, &real), 0);
    buffers = own_weights(&real) + real.kv + real.compute + number(said, "output");
    if (number(said, "weights") != real.weights || number(said, "kv") != real.kv ||
        number(said, "compute") != real.compute || allocated() != buffers)
        fail_msg("context %u, slots %u, %s: weights %llu of %llu, kv %llu of %llu, compute %llu of "
                 "%llu; buffers %llu, allocated %llu",
                 conf.context, slots, q8 ? "q8_0" : "f16",
                 (unsigned long long)number(said, "weights"), (unsigned long long)real.weights,
                 (unsigned long long)number(said, "kv"), (unsigned long long)real.kv,
                 (unsigned long long)number(said, "compute"), (unsigned long long)real.compute,
                 (unsigned long long)buffers, (unsigned long long)allocated());
    loader_close(&l);
    assert_int_equal(allocated(), 0);
}

static void run_row(void **state)
{
    const struct row *row = *state;
    char path[512];

    models_make(path, sizeof(path), "real", row->arch, row->args);
    for (uint32_t slots = 1; slots <= 4; slots += 3)
        for (int q8 = 0; q8 < 2; q8++) {
            json_t *said = ask_command(path, slots, q8 ? "q8_0" : "f16");
            const json_t *node = json_array_get(json_object_get(said, "nodes"), 0);
            const json_t *forecasts = json_object_get(node, "forecasts");

            assert_int_equal(json_array_size(forecasts), 3);
            for (size_t i = 0; i < 3; i++)
                compare(path, json_array_get(forecasts, i), slots, q8 != 0);
            json_decref(said);
        }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows)];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
