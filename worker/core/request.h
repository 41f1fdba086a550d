/* SPDX-License-Identifier: MIT */
/* worker/core/request.h - the JSON body of a chat or completions request as a struct.
 * Strict about types and ranges of what the core honours, deaf to everything else: unknown keys are
 * ignored. Pure: no model, no I/O; prepare.c turns the result into tokens. Runs on a pool thread,
 * one user at a time.
 *
 * Honoured (OpenAI API reference, and llama.cpp's server for the extras): messages | prompt,
 * suffix; model, stream, stream_options.include_usage, max_completion_tokens before max_tokens,
 * temperature, top_p, top_k, min_p, seed, stop, n, presence_penalty, frequency_penalty, logit_bias,
 * cache_prompt, return_progress, timings_per_token, chat_template_kwargs, reasoning_effort.
 * `logprobs` and `top_logprobs` are accepted and answered with null. `tools` and `tool_choice` are
 * handed to the chat template, so that the model sees them; calls in the answer are not parsed yet.
 * response_format of another type than text, `grammar` and `json_schema` promise a shape that is
 * not enforced yet: RM_ERR_NOT_SUPPORTED. So are parts of a message that are not text.
 * Defaults where a body is silent are llama.cpp's: temperature 0.8, top_k 40, top_p 0.95, min_p
 * 0.05, no penalties, a random seed, as many tokens as the context holds. */
#ifndef RM_CORE_REQUEST_H
#define RM_CORE_REQUEST_H

#include <jansson.h>

#include "proto/base/buf.h"
#include "worker/core/decoder.h"

enum {
    REQUEST_WHY = 256,               /* bytes of an error text */
    REQUEST_PARAM = 48,              /* bytes of the name of the member at fault */
    REQUEST_N_MAX = 8,               /* choices per prompt */
    REQUEST_PROMPTS_MAX = 16,        /* prompts of one completions request */
    REQUEST_CHOICES_MAX = 32,        /* prompts times n */
    REQUEST_BIAS_MAX = 1024,         /* members of logit_bias */
    REQUEST_KWARGS_MAX = 16,         /* members of chat_template_kwargs */
    REQUEST_MODEL_MAX = 256,         /* bytes of `model` */
    REQUEST_VALUES_MAX = 512 * 1024, /* JSON values in a body: bounds the memory of its tree */
};

enum request_kind { REQUEST_CHAT, REQUEST_COMPLETION };

struct request_prompt {
    struct rm_slice text; /* points into the request's tree; empty when tokens are given */
    const json_t *tokens; /* an array of numbers >= 0, or NULL */
};

/* What went wrong, for the error body. */
struct request_fault {
    char why[REQUEST_WHY];     /* one line for people, never a piece of a prompt */
    char param[REQUEST_PARAM]; /* "" when no member is to blame */
};

struct request {
    enum request_kind kind;
    char *model; /* as asked; NULL when absent */
    bool stream, include_usage, cache_prompt, progress, timings_per_token;
    bool has_seed;                /* else the caller draws one */
    uint32_t n;                   /* choices per prompt, 1..REQUEST_N_MAX */
    uint32_t max_tokens;          /* 0: as many as the context holds */
    struct job_sampling sampling; /* .bias is owned by the request */
    char *stops[JOB_STOPS_MAX];
    size_t n_stops;
    /* chat */
    json_t *messages;    /* array of {role, content: string|null, ...}: parts joined, roles of ours
                            (system, user, assistant, tool) */
    json_t *tools;       /* array, or NULL */
    json_t *tool_choice; /* string, or NULL */
    json_t *kwargs;      /* object of scalars for the template, or NULL */
    bool enable_thinking;
    /* completions */
    struct request_prompt prompts[REQUEST_PROMPTS_MAX];
    size_t n_prompts;
    struct rm_slice suffix;
    bool has_suffix;
    json_t *root; /* keeps what the slices point at */
};

/* Reads a body. *out is filled whole or left cleared; ended by request_clear in both cases.
 * Returns 0, RM_ERR_JSON, RM_ERR_FIELD, RM_ERR_NOT_SUPPORTED, RM_ERR_BODY_TOO_LARGE (more than
 * REQUEST_VALUES_MAX values) or UV_ENOMEM; fault says why. */
RM_MUST_USE int request_parse(enum request_kind kind, struct rm_slice body, struct request *out,
                              struct request_fault *fault);

void request_clear(struct request *q);

/* Lets go of messages, prompts and tools once they are tokens: what is left is small. */
void request_drop_tree(struct request *q);

/* The check that comes before any tree is built, for other bodies of the core as well: RFC 8259,
 * depth and number of values. On success *root is a JSON object to be ended by json_decref. */
RM_MUST_USE int request_load(struct rm_slice body, json_t **root, struct request_fault *fault);

#endif
