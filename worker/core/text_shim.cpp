/* SPDX-License-Identifier: MIT */
/* worker/core/text_shim.cpp - see text_shim.h. */
#include "worker/core/text_shim.h"

#include "llama.h"

int32_t text_shim_tokenize(const struct llama_vocab *vocab, const char *text, int32_t n,
                           int32_t *tokens, int32_t n_max, bool add_special, bool parse_special)
{
    try {
        return llama_tokenize(vocab, text, n, tokens, n_max, add_special, parse_special);
    } catch (...) {
        return TEXT_SHIM_THREW;
    }
}

int32_t text_shim_piece(const struct llama_vocab *vocab, int32_t token, char *out, int32_t n_max)
{
    try {
        return llama_token_to_piece(vocab, token, out, n_max, 0, true);
    } catch (...) {
        return TEXT_SHIM_THREW;
    }
}

int32_t text_shim_chat(const char *known, const struct llama_chat_message *list, size_t n,
                       char *out, int32_t n_max)
{
    try {
        return llama_chat_apply_template(known, list, n, true, out, n_max);
    } catch (...) {
        return TEXT_SHIM_THREW;
    }
}
