/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/tensors.h - fills tensors deterministically and puts them into a GGUF file.
 * Random numbers come from a xorshift64* seeded by the caller, so the same calls write the same
 * bytes. The first error sticks and later calls do nothing. One thread. */
#ifndef RM_MKMODEL_TENSORS_H
#define RM_MKMODEL_TENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "ggml.h"

struct gguf_context;

enum tensor_fill { FILL_RANDOM, FILL_ONE, FILL_ZERO };

struct tensors {
    struct gguf_context *gguf; /* borrowed; owned by the caller */
    struct ggml_context *meta; /* the tensors' headers */
    enum ggml_type type;       /* of matrices, where the row length allows it */
    uint64_t rng;
    void **data; /* owned; one block per tensor */
    size_t n, cap;
    uint64_t params;
    int failed; /* 1: no memory */
};

/* Returns 0 or -1: no memory. */
int tensors_init(struct tensors *t, struct gguf_context *gguf, enum ggml_type type, uint64_t seed);
void tensors_clear(struct tensors *t);

/* Adds the tensor `name` (at most 63 bytes) with up to four dimensions, innermost first; those
 * after the last are 0. type    GGML_TYPE_COUNT: the matrices' type, or the nearest one whose block
 * divides dims[0]; vectors are always F32 random  values of a bell shape with variance 1 / dims[0]
 * Returns its data, to be changed before the file is written; NULL after an error. */
void *tensors_add(struct tensors *t, enum tensor_fill fill, enum ggml_type type, const char *name,
                  const int64_t dims[4]);

#endif
