/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/tensors.c - see tensors.h. */
#include "tensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gguf.h"

enum { TENSORS_MAX = 8192 };

int tensors_init(struct tensors *t, struct gguf_context *gguf, enum ggml_type type, uint64_t seed)
{
    struct ggml_init_params p = {.mem_size = TENSORS_MAX * ggml_tensor_overhead(),
                                 .no_alloc = true};

    *t = (struct tensors){.gguf = gguf, .type = type};
    t->rng = 0x9E3779B97F4A7C15u ^ (seed * 0xD1B54A32D192ED03u);
    if (t->rng == 0) /* xorshift stays at 0 for ever */
        t->rng = 1;
    t->meta = ggml_init(p);
    return t->meta != NULL ? 0 : -1;
}

void tensors_clear(struct tensors *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->data[i]);
    free(t->data);
    ggml_free(t->meta);
    *t = (struct tensors){0};
}

static uint64_t random_u64(struct tensors *t)
{
    t->rng ^= t->rng >> 12;
    t->rng ^= t->rng << 25;
    t->rng ^= t->rng >> 27;
    return t->rng * 2685821657736338717u;
}

/* The sum of four uniform numbers: nearly normal, mean 0, variance 1; the same on every machine. */
static float random_bell(struct tensors *t)
{
    uint64_t r = random_u64(t);
    uint32_t sum = 0;

    for (int i = 0; i < 4; i++, r >>= 16)
        sum += (uint32_t)(r & 0xFFFF);
    return ((float)sum / 65536.0f - 2.0f) * 1.7320508f;
}

/* The type that a row of n values can really have. */
static enum ggml_type fitting_type(enum ggml_type wanted, int64_t n)
{
    if (n % ggml_blck_size(wanted) == 0)
        return wanted;
    return n % ggml_blck_size(GGML_TYPE_Q8_0) == 0 ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
}

static void fill_rows(struct tensors *t, struct ggml_tensor *x, enum tensor_fill fill, float *row)
{
    int64_t rows = ggml_nrows(x), n = x->ne[0];
    size_t size = ggml_row_size(x->type, n);
    float scale = 1.0f / sqrtf((float)n);

    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < n; i++)
            row[i] = fill == FILL_ONE ? 1.0f : fill == FILL_ZERO ? 0.0f : scale * random_bell(t);
        ggml_quantize_chunk(x->type, row, (char *)x->data + (size_t)r * size, 0, 1, n, NULL);
    }
}

static int keep_data(struct tensors *t, void *data)
{
    if (t->n == t->cap) {
        size_t cap = t->cap != 0 ? 2 * t->cap : 64;
        void **p = realloc(t->data, cap * sizeof(*p));

        if (p == NULL)
            return -1;
        t->data = p;
        t->cap = cap;
    }
    t->data[t->n++] = data;
    return 0;
}

void *tensors_add(struct tensors *t, enum tensor_fill fill, enum ggml_type type, const char *name,
                  const int64_t dims[4])
{
    int n_dims = dims[1] == 0 ? 1 : dims[2] == 0 ? 2 : dims[3] == 0 ? 3 : 4;
    struct ggml_tensor *x;
    float *row;

    if (t->failed || t->n == TENSORS_MAX)
        return t->failed = 1, NULL;
    type = n_dims == 1               ? GGML_TYPE_F32
           : type == GGML_TYPE_COUNT ? fitting_type(t->type, dims[0])
                                     : type;
    x = ggml_new_tensor(t->meta, type, n_dims, dims);
    ggml_set_name(x, name);
    x->data = malloc(ggml_nbytes(x) + 64); /* quantizers may write a little past a row's end */
    row = malloc((size_t)dims[0] * sizeof(*row));
    if (x->data == NULL || row == NULL || keep_data(t, x->data) != 0) {
        free(x->data);
        free(row);
        return t->failed = 1, NULL;
    }
    fill_rows(t, x, fill, row);
    free(row);
    gguf_add_tensor(t->gguf, x);
    t->params += (uint64_t)ggml_nelements(x);
    return x->data;
}
