/* SPDX-License-Identifier: MIT */
/* worker/core/prepare.h - a request body to token arrays, on a pool thread: JSON, chat template,
 * tokenizer and the check against the context, which together may take long for a big prompt.
 * Reads the model only (thread-safe in libllama); answer.c queues it and takes the result. */
#ifndef RM_CORE_PREPARE_H
#define RM_CORE_PREPARE_H

#include "proto/base/buf.h"
#include "worker/core/request.h"

struct chat_template;
struct llama_vocab;

/* What does not change while the model lives. Borrowed. */
struct prepare_env {
    const struct llama_vocab *vocab;
    const struct chat_template *template;
    uint32_t context; /* tokens of a slot: prompt and answer together */
};

struct prepared_prompt {
    int32_t *tokens; /* owned; 1..context-1 of them */
    size_t n;
};

struct prepared {
    struct request request;
    struct prepared_prompt prompts[REQUEST_PROMPTS_MAX];
    size_t n_prompts;
};

/* *out is whole, or cleared; prepared_clear in both cases. Returns 0, what request_parse returns,
 * RM_ERR_CONTEXT (fault->why is the sentence that clients look for; its
 * number of tokens is exact up to four times the context, an estimate above), RM_ERR_NOT_SUPPORTED
 * (a suffix, and the model has no fill-in-the-middle tokens) or UV_ENOMEM. */
RM_MUST_USE int prepare_run(const struct prepare_env *env, enum request_kind kind,
                            struct rm_slice body, struct prepared *out,
                            struct request_fault *fault);
void prepared_clear(struct prepared *p);

/* True when the model has the three tokens that fill-in-the-middle needs. */
bool prepare_has_fim(const struct llama_vocab *vocab);

/* POST /tokenize {content, add_special, parse_special, with_pieces} -> {"tokens":[...]} and
 * POST /detokenize {tokens} -> {"content"}: the answer is appended to out. llama.cpp's server has
 * the same pair. Return 0, RM_ERR_JSON, RM_ERR_FIELD, RM_ERR_TOO_BIG or UV_ENOMEM. */
RM_MUST_USE int prepare_tokenize(const struct prepare_env *env, struct rm_slice body,
                                 struct rm_buf *out, struct request_fault *fault);
RM_MUST_USE int prepare_detokenize(const struct prepare_env *env, struct rm_slice body,
                                   struct rm_buf *out, struct request_fault *fault);

/* POST /apply-template {messages, ...} -> {"prompt"}. Return as prepare_run. */
RM_MUST_USE int prepare_apply(const struct prepare_env *env, struct rm_slice body,
                              struct rm_buf *out, struct request_fault *fault);

#endif
