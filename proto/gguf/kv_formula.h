/* SPDX-License-Identifier: MIT */
/* proto/gguf/kv_formula.h - bytes of a model's memory of tokens (KV cache and recurrent state),
 * computed from its metadata alone. Pure. The rules are llama.cpp 0.5.0's (its llama-kv-cache,
 * llama-memory-recurrent and src/models): cells padded to 256, window layers capped, latent
 * attention keeps K only, recurrent layers a fixed state per slot. A test compares the result with
 * llama.cpp's own dry run for every architecture that mkmodel can make; the other rows of the table
 * follow the same rules and have not been compared. */
#ifndef RM_KV_FORMULA_H
#define RM_KV_FORMULA_H

#include "proto/gguf/gguf.h"

enum { KV_WHY_MAX = 160, KV_UBATCH = 512 };

struct kv_query {
    uint64_t context; /* tokens per slot; 0: the model's own maximum */
    uint32_t slots;   /* sequences; at least 1 */
    bool q8;          /* q8_0 instead of f16 */
    uint32_t ubatch;  /* tokens; 0: KV_UBATCH */
    bool unified;     /* one stream that all slots share, as the core does it */
    bool swa_full;    /* window layers keep everything */
};

struct kv_bytes {
    uint64_t kv;        /* grows with the context */
    uint64_t recurrent; /* fixed per slot */
};

/* why    KV_WHY_MAX bytes: the reason when it cannot say
 * Returns 0; RM_ERR_NOT_SUPPORTED: an architecture with a cache of its own kind, one that is not
 * known, or metadata that do not suffice; RM_ERR_FIELD: the query makes no sense. */
RM_MUST_USE int kv_formula(const struct gguf_head *h, const struct kv_query *q,
                           struct kv_bytes *out, char *why);

#endif
