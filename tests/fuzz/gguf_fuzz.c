/* SPDX-License-Identifier: MIT */
/* tests/fuzz/gguf_fuzz.c - any bytes as a model file.
 * The verdict is the same whether the bytes come at once or one by one; an error names the file and
 * is printable; what a good file tells fits together, and the memory formula answers for it or says
 * why not; the estimate agrees with the formula. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "proto/gguf/estimate.h"

enum { ONE_BY_ONE_MAX = 16384 };

struct bytes {
    const uint8_t *p;
    size_t n, most; /* most: of one read */
};

static ssize_t read_bytes(void *arg, void *into, size_t n, uint64_t at)
{
    const struct bytes *b = arg;
    size_t left = at < b->n ? b->n - (size_t)at : 0;

    n = n < left ? n : left;
    n = n < b->most ? n : b->most;
    if (n > 0)
        memcpy(into, b->p + at, n);
    return (ssize_t)n;
}

static int read_model(struct bytes *b, struct gguf_head *h, char *why)
{
    struct gguf_source source = {b, read_bytes, b->n};
    struct gguf_reading *g;
    int r;

    FUZZ_CHECK(gguf_begin(h, &g) == 0);
    r = gguf_add(g, &source, "fuzz.gguf", 1, why);
    FUZZ_CHECK(r == 0 || r == RM_ERR_MODEL_FILE);
    FUZZ_CHECK(gguf_end(g, "fuzz.gguf", why) == r || r == 0);
    return why[0] == '\0' ? 0 : RM_ERR_MODEL_FILE;
}

static void check_text(const char *text)
{
    for (; *text != '\0'; text++)
        FUZZ_CHECK(*text >= 0x20 && *text < 0x7f);
}

static void check_good(const struct gguf_head *h, size_t size)
{
    uint64_t bytes = 0, tensors = 0;

    FUZZ_CHECK(h->tensors > 0 && h->files == 1 && h->arch[0] != '\0' && h->params > 0);
    FUZZ_CHECK(h->n_mix > 0 && h->n_mix <= GGUF_TYPES + 1);
    for (uint32_t i = 0; i < h->n_mix; i++) {
        bytes += h->mix[i].bytes;
        tensors += h->mix[i].tensors;
    }
    FUZZ_CHECK(tensors == h->tensors && bytes <= size);
    FUZZ_CHECK(h->weights >= bytes && h->weights - bytes < 32 * tensors);
    check_text(h->name);
    for (uint32_t i = 0; i < h->n_warnings && i < GGUF_WARNINGS_MAX; i++)
        check_text(h->warnings[i]);
}

/* More context never takes less, nor do more slots. */
static void check_formula(const struct gguf_head *h)
{
    struct kv_query q = {.context = 1000, .slots = 1, .unified = true};
    struct kv_bytes small, large;
    char why[KV_WHY_MAX];
    int r = kv_formula(h, &q, &small, why);

    FUZZ_CHECK((r == 0) == (why[0] == '\0'));
    FUZZ_CHECK(r == 0 || r == RM_ERR_NOT_SUPPORTED || r == RM_ERR_FIELD);
    q.context = 100000;
    q.slots = 3;
    if (kv_formula(h, &q, &large, why) == 0) {
        FUZZ_CHECK(r == 0);
        FUZZ_CHECK(large.kv >= small.kv && large.recurrent >= small.recurrent);
    }
}

/* The costs of an estimate give what the formula gives, at any other context and slots. */
static void check_estimate(const struct gguf_head *h, bool q8)
{
    struct kv_query q = {.context = 512, .slots = 1, .q8 = q8, .unified = true};
    char why[KV_WHY_MAX];
    struct node_forecast f;
    struct node_bytes b;
    struct kv_bytes kv;
    int r = gguf_estimate(h, &q, &f);

    FUZZ_CHECK(f.known == (r == 0) && f.estimated == f.known && (f.error[0] == '\0') == f.known);
    for (uint32_t i = 1; i < 5; i++) {
        q.context = 700 * i * i;
        q.slots = i;
        if (r == 0 && node_forecast_at(&f, (uint32_t)q.context, i, q8, &b) == 0) {
            FUZZ_CHECK(kv_formula(h, &q, &kv, why) == 0);
            FUZZ_CHECK(b.kv == kv.kv + kv.recurrent && b.weights == h->weights);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct gguf_head h, again;
    char why[GGUF_WHY_MAX], other[GGUF_WHY_MAX];
    struct bytes whole = {data, size, SIZE_MAX}, one = {data, size, 1};
    int r = read_model(&whole, &h, why);

    if (size <= ONE_BY_ONE_MAX) {
        FUZZ_CHECK(read_model(&one, &again, other) == r);
        FUZZ_CHECK(strcmp(why, other) == 0 && memcmp(&h, &again, sizeof(h)) == 0);
    }
    if (r == 0) {
        check_good(&h, size);
        check_formula(&h);
        check_estimate(&h, false);
        check_estimate(&h, true);
    } else {
        FUZZ_CHECK(strncmp(why, "fuzz.gguf: offset ", 18) == 0);
        check_text(why);
    }
    return 0;
}
