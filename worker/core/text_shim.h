/* SPDX-License-Identifier: MIT */
/* worker/core/text_shim.h - libllama's text functions without their exceptions: out of memory or a
 * pattern the tokenizer cannot read would otherwise end the process in C code. Any thread. */
#ifndef RM_CORE_TEXT_SHIM_H
#define RM_CORE_TEXT_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct llama_vocab;
struct llama_chat_message;

enum { TEXT_SHIM_THREW = INT32_MIN }; /* libllama's own "cannot" as well */

/* llama_tokenize, llama_token_to_piece and llama_chat_apply_template: their results, or
 * TEXT_SHIM_THREW. */
int32_t text_shim_tokenize(const struct llama_vocab *vocab, const char *text, int32_t n,
                           int32_t *tokens, int32_t n_max, bool add_special, bool parse_special);
int32_t text_shim_piece(const struct llama_vocab *vocab, int32_t token, char *out, int32_t n_max);
int32_t text_shim_chat(const char *known, const struct llama_chat_message *list, size_t n,
                       char *out, int32_t n_max);

#ifdef __cplusplus
}
#endif

#endif
