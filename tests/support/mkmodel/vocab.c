/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/vocab.c - see vocab.h. Tokens are kept in the spelling of GPT-2, where each
 * byte is one printable character (RFC: the table bytes_to_unicode of the GPT-2 encoder). A merge
 * chain from left to right makes a word one token; a word without merges is only ever produced by
 * the model. */
#include "vocab.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf.h"

/* enum llama_token_type of llama.h */
enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3 };

struct list {
    char **text; /* owned, each of them too */
    uint32_t n, cap;
};

struct vocab {
    struct list tokens, merges;
    int32_t *types; /* one per token, as much room as tokens.cap */
    unsigned byte_cp[256];
    int special[VOCAB_N_SPECIAL];
};

static const char *const special_text[VOCAB_N_SPECIAL] = {
    "<|begin_of_text|>", "<|endoftext|>",  "<|im_start|>",   "<|im_end|>",
    "<|pad|>",           "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>",
};

static const char *const words[] = {
    " the",   " a",    " of",       " and",    " to",       " in",    " is",   " that",  " it",
    " you",   "Hello", " this",     " world",  " model",    " from",  " tiny", "user",   "system",
    " write", " code", "assistant", " answer", " question", " what",  " how",  " token", " file",
    " with",  "name",  "def",       "return",  " function", " error", " test", " value",
};

/* Writes code point `cp` in `n` bytes (1..4; more than needed is an overlong form). */
static void put_utf8(char *out, unsigned cp, unsigned n)
{
    static const unsigned lead[5] = {0, 0x00, 0xC0, 0xE0, 0xF0};

    for (unsigned i = n - 1; i > 0; i--, cp >>= 6)
        out[i] = (char)(0x80 | (cp & 0x3F));
    out[0] = (char)(lead[n] | cp);
}

static unsigned utf8_size(unsigned cp)
{
    return cp < 0x80 ? 1 : 2; /* the byte alphabet ends at U+0143 */
}

/* Spells raw bytes in the byte alphabet. `copy` chooses among the spellings: each character may
 * take 1 (or 2) to 4 bytes. out has 4 * n + 1 bytes. Returns false when there are not so many
 * spellings. */
static bool spell(const struct vocab *v, const char *raw, size_t n, unsigned copy, char *out)
{
    for (size_t i = 0; i < n; i++) {
        unsigned cp = v->byte_cp[(unsigned char)raw[i]], least = utf8_size(cp), forms = 5 - least;
        unsigned size = least + copy % forms;

        copy /= forms;
        put_utf8(out, cp, size);
        out += size;
    }
    *out = '\0';
    return copy == 0;
}

static int list_find(const struct list *l, const char *text)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (strcmp(l->text[i], text) == 0)
            return (int)i;
    }
    return -1;
}

static int list_add(struct list *l, const char *text)
{
    if (l->n == l->cap) {
        uint32_t cap = l->cap != 0 ? 2 * l->cap : 1024;
        char **p = realloc(l->text, cap * sizeof(*p));

        if (p == NULL)
            return -1;
        l->text = p;
        l->cap = cap;
    }
    l->text[l->n] = strdup(text);
    return l->text[l->n] != NULL ? (int)l->n++ : -1;
}

static int token_add(struct vocab *v, const char *text, int32_t type)
{
    uint32_t cap = v->tokens.cap;
    int id = list_add(&v->tokens, text);

    if (id >= 0 && v->tokens.cap != cap) {
        int32_t *p = realloc(v->types, v->tokens.cap * sizeof(*p));

        if (p == NULL)
            return -1;
        v->types = p;
    }
    if (id >= 0)
        v->types[id] = type;
    return id;
}

/* The merge of two spelled tokens, and the token it makes. */
static int merge_add(struct vocab *v, const char *left, const char *right)
{
    char pair[2 * VOCAB_PIECE_MAX + 8], joined[2 * VOCAB_PIECE_MAX + 8];
    int id;

    snprintf(pair, sizeof(pair), "%s %s", left, right);
    snprintf(joined, sizeof(joined), "%s%s", left, right);
    if (list_find(&v->merges, pair) < 0 && list_add(&v->merges, pair) < 0)
        return -1;
    id = list_find(&v->tokens, joined);
    return id >= 0 ? id : token_add(v, joined, TYPE_NORMAL);
}

int vocab_add_word(struct vocab *v, const char *text, size_t n)
{
    char spelled[2 * VOCAB_PIECE_MAX + 1], left[2 * VOCAB_PIECE_MAX + 1];
    size_t at;
    int id = -1;

    if (n == 0 || n > VOCAB_PIECE_MAX / 2)
        return -1;
    spell(v, text, n, 0, spelled);
    at = utf8_size(v->byte_cp[(unsigned char)text[0]]);
    if (n == 1)
        return list_find(&v->tokens, spelled);
    for (size_t i = 1; i < n; i++) {
        size_t size = utf8_size(v->byte_cp[(unsigned char)text[i]]);
        char right[5];

        memcpy(left, spelled, at);
        left[at] = '\0';
        memcpy(right, spelled + at, size);
        right[size] = '\0';
        at += size;
        if ((id = merge_add(v, left, right)) < 0)
            return -1;
    }
    return id;
}

int vocab_add_piece(struct vocab *v, const char *text, size_t n, unsigned copy)
{
    char spelled[4 * VOCAB_PIECE_MAX + 1];
    int id;

    if (n == 0 || n > VOCAB_PIECE_MAX || !spell(v, text, n, copy, spelled))
        return -1;
    id = list_find(&v->tokens, spelled);
    return id >= 0 ? id : token_add(v, spelled, TYPE_NORMAL);
}

int vocab_fill(struct vocab *v, uint32_t least)
{
    static const char *const syllable[16] = {"ba", "de", "fi", "go", "ku", "la", "me", "ni",
                                             "po", "ru", "sa", "te", "vi", "wo", "zu", "xa"};

    for (uint32_t k = 0; v->tokens.n < least; k++) {
        char text[48];

        snprintf(text, sizeof(text), "\xC4\xA0%s%s%s%s%s-", syllable[k & 15], syllable[k >> 4 & 15],
                 syllable[k >> 8 & 15], syllable[k >> 12 & 15], syllable[k >> 16 & 15]);
        if (token_add(v, text, TYPE_NORMAL) < 0) /* the hyphen keeps it apart from other words */
            return -1;
    }
    return 0;
}

/* GPT-2's bytes_to_unicode: printable bytes stand for themselves, the others follow from U+0100. */
static void byte_alphabet(unsigned cp[256])
{
    unsigned next = 256;

    for (unsigned b = 0; b < 256; b++) {
        bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;

        cp[b] = plain ? b : next++;
    }
}

struct vocab *vocab_new(void)
{
    struct vocab *v = calloc(1, sizeof(*v));
    bool ok = v != NULL;

    if (ok)
        byte_alphabet(v->byte_cp);
    for (unsigned b = 0; ok && b < 256; b++) {
        char raw = (char)b, text[5];

        spell(v, &raw, 1, 0, text);
        ok = token_add(v, text, TYPE_NORMAL) >= 0;
    }
    for (size_t i = 0; ok && i < sizeof(words) / sizeof(words[0]); i++)
        ok = vocab_add_word(v, words[i], strlen(words[i])) >= 0;
    for (int i = 0; ok && i < VOCAB_N_SPECIAL; i++)
        ok = (v->special[i] = token_add(v, special_text[i], TYPE_CONTROL)) >= 0;
    if (ok)
        return v;
    vocab_free(v);
    return NULL;
}

static void list_clear(struct list *l)
{
    for (uint32_t i = 0; i < l->n; i++)
        free(l->text[i]);
    free(l->text);
}

void vocab_free(struct vocab *v)
{
    if (v == NULL)
        return;
    list_clear(&v->tokens);
    list_clear(&v->merges);
    free(v->types);
    free(v);
}

uint32_t vocab_size(const struct vocab *v)
{
    return v->tokens.n;
}

uint32_t vocab_merges(const struct vocab *v)
{
    return v->merges.n;
}

int vocab_special(const struct vocab *v, enum vocab_special which)
{
    return v->special[which];
}

int vocab_newline(const struct vocab *v)
{
    char text[5];

    spell(v, "\n", 1, 0, text);
    return list_find(&v->tokens, text);
}

void vocab_write(const struct vocab *v, struct gguf_context *gguf)
{
    static const struct {
        const char *key;
        enum vocab_special which;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", VOCAB_BOS},
        {"tokenizer.ggml.eos_token_id", VOCAB_IM_END},
        {"tokenizer.ggml.eot_token_id", VOCAB_IM_END},
        {"tokenizer.ggml.padding_token_id", VOCAB_PAD},
        {"tokenizer.ggml.fim_pre_token_id", VOCAB_FIM_PRE},
        {"tokenizer.ggml.fim_suf_token_id", VOCAB_FIM_SUF},
        {"tokenizer.ggml.fim_mid_token_id", VOCAB_FIM_MID},
    };

    gguf_set_val_str(gguf, "tokenizer.ggml.model", "gpt2");
    gguf_set_val_str(gguf, "tokenizer.ggml.pre", "qwen2");
    gguf_set_arr_str(gguf, "tokenizer.ggml.tokens", (const char **)v->tokens.text, v->tokens.n);
    gguf_set_arr_data(gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, v->types, v->tokens.n);
    gguf_set_arr_str(gguf, "tokenizer.ggml.merges", (const char **)v->merges.text, v->merges.n);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        gguf_set_val_u32(gguf, ids[i].key, (uint32_t)v->special[ids[i].which]);
    gguf_set_val_bool(gguf, "tokenizer.ggml.add_bos_token", false);
}
