/* SPDX-License-Identifier: MIT */
/* worker/core/llama_env.h - libllama once per process: version, backends, its log, and thread
 * pools. Everything that is global in libllama is set up here, before any model is loaded. */
#ifndef RM_CORE_LLAMA_ENV_H
#define RM_CORE_LLAMA_ENV_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

struct llama_context;

/* Checks that the libllama found at run time has the major.minor it was built for (the parameter
 * structs differ between releases under the same SONAME), takes over its log, and loads the compute
 * backends from libllama's own directory: never from the working directory, where anybody might
 * have put a libggml-*.so. A second call only returns the first one's result. Main thread. Returns
 * 0, RM_ERR_ABI or RM_ERR_ENGINE (no CPU backend); `why` then says it in one line. */
RM_MUST_USE int llama_env_init(char *why, size_t n_why);

/* Do two versions agree in major.minor? "0.5.0-dev" and "0.5.2" do. Pure. */
int llama_env_same_release(const char *a, const char *b);

/* "VERSION CONTENT" of the libllama in use: llama_version() and 16 hex digits of the BLAKE2b-128 of
 * its file ("unknown" when that cannot be read). Two builds of one version differ in it. */
void llama_env_build(char *text, size_t n);

/* The first thing libllama said at level error (else warning), without newline; "" if nothing since
 * the reset. Any thread. */
void llama_env_first_error(char *text, size_t n);
void llama_env_reset_error(void);

/* Cores this process may use, minus one for the daemons; at least 1. */
uint32_t llama_env_default_threads(void);

/* A pool of compute threads of our own for one context: it survives between calls and waits
 * politely. NULL: the CPU backend has none to offer (then libllama makes threads itself) or no
 * memory. */
struct llama_env_pool;
struct llama_env_pool *llama_env_pool_new(struct llama_context *ctx, uint32_t threads);
void llama_env_pool_free(struct llama_env_pool *pool); /* after llama_free of its context */

#endif
