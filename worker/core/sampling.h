/* SPDX-License-Identifier: MIT */
/* worker/core/sampling.h - from logits to a token, as a job asked for it.
 * Greedy without penalties or bias is our own argmax (the lowest id wins a tie); everything else is
 * a chain of llama.cpp's samplers in its usual order: bias, penalties, top-k, top-p, min-p,
 * temperature, draw. Penalties count the tokens of the answer, as OpenAI's do. Decode thread only.
 */
#ifndef RM_CORE_SAMPLING_H
#define RM_CORE_SAMPLING_H

#include <stdint.h>

#include "proto/base/err.h"

struct job_sampling;
struct llama_context;
struct llama_sampler;
struct llama_vocab;

struct sampling {
    struct llama_sampler *chain; /* NULL: greedy by our own argmax */
    int32_t n_vocab;
};

/* Are all numbers possible? Returns 0 or RM_ERR_FIELD. Pure; any thread. */
RM_MUST_USE int sampling_check(const struct job_sampling *s, int32_t n_vocab);

/* max_tokens: of the answer, for the penalties' memory. Returns 0 or UV_ENOMEM. */
RM_MUST_USE int sampling_init(struct sampling *s, const struct job_sampling *want, int32_t n_vocab,
                              uint32_t max_tokens);
void sampling_clear(struct sampling *s);

/* The next token from the logits of token `index` of the last batch; negative: RM_ERR_ENGINE. */
int32_t sampling_next(struct sampling *s, struct llama_context *ctx, int32_t index);

/* Index of the largest of n >= 1 values; the first of equals; NaN never wins. Pure. */
int32_t sampling_argmax(const float *logits, int32_t n);

#endif
