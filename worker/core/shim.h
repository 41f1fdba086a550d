/* SPDX-License-Identifier: MIT */
/* worker/core/shim.h - the calls into libllama that may throw, behind C functions that never do.
 * libllama is C++: out of memory, a bad grammar or a forbidden token leave it as an exception,
 * which would end the process in C code. Here it becomes a return value. Also the exact memory
 * breakdown, which has no C call. Thread rules are those of the llama.h function behind each. */
#ifndef RM_CORE_SHIM_H
#define RM_CORE_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "llama.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SHIM_THREW = -1000,   /* an exception was caught; shim_what() has its text */
    SHIM_UNKNOWN = -1001, /* not possible with this libllama */
};

/* Text of the exception this thread caught last; "" if none. Valid until its next one. */
const char *shim_what(void);

struct llama_model *shim_model_load(const char *path, struct llama_model_params params); /* NULL */
struct llama_context *shim_context_new(struct llama_model *model,
                                       struct llama_context_params params); /* NULL */
int shim_decode(struct llama_context *ctx,
                struct llama_batch batch); /* llama_decode's, SHIM_THREW */

/* Sequence state for PARTIAL_ONLY checkpoints. Return bytes; 0 when it failed. */
size_t shim_state_size(struct llama_context *ctx, llama_seq_id seq);
size_t shim_state_get(struct llama_context *ctx, uint8_t *to, size_t n, llama_seq_id seq);
size_t shim_state_set(struct llama_context *ctx, const uint8_t *from, size_t n, llama_seq_id seq);

/* The same of the whole state of a sequence. */
size_t shim_seq_size(struct llama_context *ctx, llama_seq_id seq);
size_t shim_seq_get(struct llama_context *ctx, uint8_t *to, size_t n, llama_seq_id seq);
size_t shim_seq_set(struct llama_context *ctx, const uint8_t *from, size_t n, llama_seq_id seq);

/* As llama_token_to_piece without special tokens' text, and llama_tokenize with parse_special.
 * SHIM_THREW. */
int shim_piece(const struct llama_vocab *vocab, llama_token token, char *to, int32_t n);
int shim_tokenize(const struct llama_vocab *vocab, const char *text, int32_t n, llama_token *to,
                  int32_t n_max, bool add_special);

/* Sampling. Adding takes the sampler even if it fails; false: NULL was given or it threw. */
struct llama_sampler *shim_chain_new(void);
bool shim_chain_add(struct llama_sampler *chain, struct llama_sampler *takes);
struct llama_sampler *shim_sampler_bias(int32_t n_vocab, int32_t n, const llama_logit_bias *bias);
struct llama_sampler *shim_sampler_penalties(int32_t n_vocab, int32_t last_n, float frequency,
                                             float presence);
struct llama_sampler *shim_sampler_top_k(int32_t k);
struct llama_sampler *shim_sampler_top_p(float p);
struct llama_sampler *shim_sampler_min_p(float p);
struct llama_sampler *shim_sampler_temperature(float t);
struct llama_sampler *shim_sampler_dist(uint32_t seed);
struct llama_sampler *shim_sampler_greedy(void);

/* Applies the chain to the logits of batch token `index` and accepts the result. Returns a token or
 * SHIM_THREW. */
llama_token shim_sample(struct llama_sampler *chain, struct llama_context *ctx, int32_t index);

/* One row per buffer type a context uses; works for dry runs too. */
struct shim_row {
    char buffer[64];               /* ggml_backend_buft_name, e.g. "CPU", "CPU_REPACK", "Vulkan0" */
    bool host;                     /* in main memory */
    uint64_t weights, kv, compute; /* bytes; kv includes recurrent state */
};

/* Returns how many rows there are (at most `max`), SHIM_UNKNOWN or SHIM_THREW. */
int shim_memory(const struct llama_context *ctx, struct shim_row *rows, int max);

#ifdef __cplusplus
}
#endif

#endif
