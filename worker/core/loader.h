/* SPDX-License-Identifier: MIT */
/* worker/core/loader.h - from a decoder_conf to a model and its context.
 * The one place that turns our flags into llama.cpp's, so that a forecast and the real load agree.
 * Blocks while it reads; the thread that will decode may be another one. */
#ifndef RM_CORE_LOADER_H
#define RM_CORE_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

struct decoder_conf;
struct llama_context;
struct llama_env_pool;
struct llama_model;

struct loaded {
    struct llama_model *model;
    struct llama_context *ctx;
    struct llama_env_pool *pool; /* NULL: libllama's own threads */
    uint32_t context;            /* tokens one slot can hold */
    uint32_t slots, batch, threads;
};

enum { LOADER_SLOTS_MAX = 64 };

/* dry: nothing is read but the metadata and nothing is allocated, for forecast.c.
 * Returns 0, RM_ERR_FIELD, RM_ERR_MODEL_FILE, RM_ERR_ABI, RM_ERR_ENGINE or UV_ENOMEM, and one line
 * in `why`. */
RM_MUST_USE int loader_open(const struct decoder_conf *conf, bool dry, struct loaded *out,
                            char *why, size_t n_why);

/* Replaces the context of a model opened dry by one with other context, slots or KV type; the rest
 * of conf must be as it was. l->ctx is NULL after an error. Returns and says as loader_open. */
RM_MUST_USE int loader_again(struct loaded *l, const struct decoder_conf *conf, char *why,
                             size_t n_why);
void loader_drop_context(struct loaded *l);
void loader_close(struct loaded *l); /* frees; a zeroed struct is fine */

#endif
