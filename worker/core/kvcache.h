/* SPDX-License-Identifier: MIT */
/* worker/core/kvcache.h - what the KV memory holds, sequence by sequence, and prefix reuse on it.
 * Sequence i belongs to slot i. Each one's tokens are remembered, so that a new prompt can continue
 * the longest valid prefix of any of them (the rule is prefix.h's; this file does what it says and
 * checks the result in libllama's own memory). Models with windows or recurrent state get
 * checkpoints: copies of just that state at some positions, in main memory. Decode thread only. */
#ifndef RM_CORE_KVCACHE_H
#define RM_CORE_KVCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"
#include "worker/core/prefix.h"

struct kvcache; /* opaque: the fields are in kvcache.c */
struct llama_context;
struct llama_model;

enum {
    KV_CHECKPOINTS_MAX = 10,             /* per sequence */
    KV_CHECKPOINT_BYTES_MAX = 256 << 20, /* of all sequences together */
};

enum prefix_kind kv_kind_of(const struct llama_model *model);

/* n sequences of at most n_tokens each. Returns 0 or UV_ENOMEM. */
RM_MUST_USE int kv_new(struct llama_context *ctx, uint32_t n, uint32_t n_tokens,
                       struct kvcache **out);
void kv_free(struct kvcache *kv);

/* Chooses a sequence for the prompt and makes it hold as much of its beginning as can be reused.
 * reuse   false: begin at 0 whatever is cached
 * *seq    the sequence, busy from now on
 * *keep   tokens that it holds already, 0..n_prompt-1
 * Returns 0, or RM_ERR_OVERLOAD: all are busy. */
RM_MUST_USE int kv_claim(struct kvcache *kv, const int32_t *prompt, uint32_t n_prompt, bool reuse,
                         uint32_t *seq, uint32_t *keep);

/* Ends a claim; what the sequence holds stays as a cache. */
void kv_return(struct kvcache *kv, uint32_t seq);

/* Tokens that llama_decode has put into the sequence. */
void kv_note(struct kvcache *kv, uint32_t seq, const int32_t *tokens, uint32_t n);

/* Undoes what an aborted llama_decode may have left in the sequence. Only plain attention can: it
 * keeps what was noted; everything else begins anew. */
void kv_rewind(struct kvcache *kv, uint32_t seq);

uint32_t kv_length(const struct kvcache *kv, uint32_t seq);

/* Keeps the state at the current length, if this model needs checkpoints and there is room. */
void kv_checkpoint(struct kvcache *kv, uint32_t seq);

/* Where the next chunk should end so that kv_checkpoint can be called; n_prompt: anywhere. */
uint32_t kv_next_stop(const struct kvcache *kv, uint32_t seq, uint32_t n_prompt);

void kv_drop(struct kvcache *kv, uint32_t seq); /* empties it */
bool kv_drop_oldest(
    struct kvcache *kv); /* empties the idle one unused longest; false: none is left */

/* ---- for kvsave.h: what a sequence holds, and a sequence from such parts ---- */

struct kv_part {
    uint32_t at; /* tokens before the checkpoint */
    size_t n;
    const uint8_t *bytes; /* valid until the sequence changes */
};
struct kv_view {
    const int32_t *tokens;
    uint32_t n;
    uint64_t last_used;
    uint32_t n_points;
    struct kv_part points[KV_CHECKPOINTS_MAX];
};
uint32_t kv_sequences(const struct kvcache *kv);
enum prefix_kind kv_kind(const struct kvcache *kv);
void kv_look(const struct kvcache *kv, uint32_t seq, struct kv_view *out);
int32_t kv_vocabulary(const struct kvcache *kv);

/* The sequence's whole state, without its checkpoints. Bytes; 0: failed. */
size_t kv_state_size(struct kvcache *kv, uint32_t seq);
size_t kv_state_get(struct kvcache *kv, uint32_t seq, uint8_t *to, size_t n);

/* Fills an idle sequence with n tokens and a state that kv_state_get gave for them, with the same
 * model and flags. False: it does not fit or libllama refused it; the sequence is empty then. */
RM_MUST_USE bool kv_adopt(struct kvcache *kv, uint32_t seq, const int32_t *tokens, uint32_t n,
                          const uint8_t *state, size_t n_state);

/* A checkpoint of an adopted sequence, in ascending order; dropped when there is no room. */
void kv_adopt_point(struct kvcache *kv, uint32_t seq, const struct kv_part *part);

/* Tokens in all sequences; shared prefixes count once per sequence. busy_only: without caches. */
uint64_t kv_tokens(const struct kvcache *kv, bool busy_only);

#endif
