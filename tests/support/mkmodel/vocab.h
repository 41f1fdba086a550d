/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/vocab.h - a byte-level BPE vocabulary (tokenizer.ggml.model "gpt2").
 * 256 byte tokens, some words with their merges, the special tokens of ChatML and of
 * fill-in-the-middle, and the pieces of a script. Every text can be tokenized with it. One thread.
 */
#ifndef RM_MKMODEL_VOCAB_H
#define RM_MKMODEL_VOCAB_H

#include <stddef.h>
#include <stdint.h>

struct gguf_context;

/* The special tokens, in the order of their ids. */
enum vocab_special {
    VOCAB_BOS,
    VOCAB_EOS,
    VOCAB_IM_START,
    VOCAB_IM_END, /* ends a turn; eos and eot of the metadata */
    VOCAB_PAD,
    VOCAB_FIM_PRE,
    VOCAB_FIM_SUF,
    VOCAB_FIM_MID,
    VOCAB_N_SPECIAL
};

struct vocab; /* opaque: the fields are in vocab.c */

struct vocab *vocab_new(void); /* bytes, words, special tokens; NULL: no memory */
void vocab_free(struct vocab *v);

/* One more word that the tokenizer will find as a single token: letters, or a space and letters.
 * Returns its id, or -1: no memory. */
int vocab_add_word(struct vocab *v, const char *text, size_t n);

/* A token of its own for `text` (any bytes, 1..VOCAB_PIECE_MAX). copy 0 is the plain spelling and
 * finds a token that is there already; copy 1, 2, ... are further tokens with the same text, which
 * llama.cpp wants spelled differently: they use overlong UTF-8, which its detokenizer reads as the
 * same characters. Returns the id, or -1: there are no more spellings, or no memory. */
int vocab_add_piece(struct vocab *v, const char *text, size_t n, unsigned copy);
enum { VOCAB_PIECE_MAX = 400 };

/* Adds made-up words (never found by the tokenizer) until there are `least` tokens. Returns 0 or
 * -1: no memory. */
int vocab_fill(struct vocab *v, uint32_t least);

uint32_t vocab_size(const struct vocab *v);
uint32_t vocab_merges(const struct vocab *v);
int vocab_special(const struct vocab *v, enum vocab_special which); /* id */
int vocab_newline(const struct vocab *v); /* id of "\n", the last token of a ChatML prompt */

void vocab_write(const struct vocab *v, struct gguf_context *gguf); /* the tokenizer.ggml.* keys */

#endif
