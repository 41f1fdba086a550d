/* SPDX-License-Identifier: MIT */
/* tests/support/cases/gguf_case.c - see gguf_case.h. */
#include "tests/support/cases/gguf_case.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct made {
    unsigned char *v;
    size_t n, max;
};

/* A damaged case file ends the program, as in cases.c. */
static void need(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "gguf.txt: %s\n", what);
    exit(2);
}

static void put(struct made *m, const void *bytes, size_t n)
{
    need(n <= m->max - m->n, "too many bytes");
    memcpy(m->v + m->n, bytes, n);
    m->n += n;
}

static void put_le(struct made *m, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(m, &(unsigned char){(unsigned char)(v >> (8 * i))}, 1);
}

/* The bytes of a name with \xNN in it; returns their number. */
static size_t unescape(const char *from, size_t n, char *to)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++)
        if (from[i] == '\\' && i + 3 < n) {
            to[k++] = (char)strtoul((char[3]){from[i + 2], from[i + 3], 0}, NULL, 16);
            i += 3;
        } else {
            to[k++] = from[i];
        }
    return k;
}

static void put_str(struct made *m, const char *text, size_t n)
{
    char bytes[512];
    const char *at = memchr(text, '@', n);
    size_t k;

    need(n < sizeof(bytes), "a string is too long");
    k = unescape(text, at != NULL ? (size_t)(at - text) : n, bytes);
    put_le(m, at != NULL ? strtoull(at + 1, NULL, 0) : k, 8);
    put(m, bytes, k);
}

static uint32_t type_of(const char *word)
{
    static const char *const names[] = {"u8",   "i8",  "u16", "i16", "u32", "i32", "f32",
                                        "bool", "str", "arr", "u64", "i64", "f64"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(word, names[i]) == 0)
            return (uint32_t)i;
    need(word[0] >= '0' && word[0] <= '9', "a type is not known");
    return (uint32_t)strtoul(word, NULL, 0);
}

/* Cuts at commas; returns how many there are. */
static size_t cut(char *text, char *parts[], size_t most)
{
    size_t n = 1;

    parts[0] = text;
    for (; *text != '\0'; text++)
        if (*text == ',') {
            *text = '\0';
            need(n < most, "too many commas");
            parts[n++] = text + 1;
        }
    return n;
}

/* A.B.C */
static size_t dims_of(const char *text, uint64_t dims[8])
{
    size_t n = 0;
    char *end;

    for (;; text = end + 1) {
        need(n < 8, "too many dimensions");
        dims[n++] = strtoull(text, &end, 0);
        if (*end != '.')
            break;
    }
    need(*end == '\0', "a dimension is no number");
    return n;
}

static void put_tensor(struct made *m, char *args)
{
    uint64_t dims[8];
    char *a[5];
    size_t n = cut(args, a, 5), n_dims;

    need(n >= 4, "a tensor needs four values");
    put_str(m, a[0], strlen(a[0]));
    n_dims = dims_of(a[1], dims);
    put_le(m, n == 5 ? strtoull(a[4], NULL, 0) : n_dims, 4);
    for (size_t i = 0; i < n_dims; i++)
        put_le(m, dims[i], 8);
    put_le(m, strtoull(a[2], NULL, 0), 4);
    put_le(m, strtoull(a[3], NULL, 0), 8);
}

static void put_head(struct made *m, char *args)
{
    char *a[3];
    size_t n = cut(args, a, 3);

    put(m, "GGUF", 4);
    put_le(m, n == 3 ? strtoull(a[2], NULL, 0) : 3, 4);
    put_le(m, strtoull(a[0], NULL, 0), 8);
    put_le(m, strtoull(a[1], NULL, 0), 8);
}

static void put_key(struct made *m, char *args, bool array)
{
    char *a[3];
    size_t n = cut(args, a, 3);

    need(n == (array ? 3 : 2), "a key needs its type");
    put_str(m, a[0], strlen(a[0]));
    if (array)
        put_le(m, 9, 4);
    put_le(m, type_of(a[1]), 4);
    if (array)
        put_le(m, strtoull(a[2], NULL, 0), 8);
}

static void put_float(struct made *m, const char *text)
{
    float f = strtof(text, NULL); /* knows nan and inf */

    put(m, &f, sizeof(f));
}

static void make(struct made *m, const char *recipe);

static void put_word(struct made *m, const char *word)
{
    static const char arch[] = "key:general.architecture,str str:llama";
    static const char base[] =
        "ARCH key:llama.block_count,u32 u32:2 key:llama.context_length,u32 u32:4096 "
        "key:llama.embedding_length,u32 u32:64 key:llama.attention.head_count,u32 u32:4";
    static const char ok[] = "head:1,5 BASE tensor:t,64,0,0 pad fill:256";
    char args[512] = "";
    const char *colon = strchr(word, ':');
    size_t n = colon != NULL ? (size_t)(colon - word) : strlen(word);

    if (colon != NULL)
        snprintf(args, sizeof(args), "%s", colon + 1);
#define IS(name) (n == sizeof(name) - 1 && memcmp(word, name, n) == 0)
    if (IS("ARCH"))
        make(m, arch);
    else if (IS("BASE"))
        make(m, base);
    else if (IS("OK"))
        make(m, ok);
    else if (IS("u8"))
        put_le(m, strtoull(args, NULL, 0), 1);
    else if (IS("u16"))
        put_le(m, strtoull(args, NULL, 0), 2);
    else if (IS("u32") || IS("i32"))
        put_le(m, (uint64_t)strtoll(args, NULL, 0), 4);
    else if (IS("u64"))
        put_le(m, strtoull(args, NULL, 0), 8);
    else if (IS("f32"))
        put_float(m, args);
    else if (IS("text"))
        put(m, args, unescape(args, strlen(args), args));
    else if (IS("str"))
        put_str(m, args, strlen(args));
    else if (IS("head"))
        put_head(m, args);
    else if (IS("key") || IS("arr"))
        put_key(m, args, word[0] == 'a');
    else if (IS("tensor"))
        put_tensor(m, args);
    else if (IS("pad"))
        while (m->n % 32 != 0)
            put(m, "", 1);
    else if (IS("fill"))
        for (unsigned long i = strtoul(args, NULL, 0); i > 0; i--)
            put(m, "", 1);
    else
        need(false, word);
#undef IS
}

static void make(struct made *m, const char *recipe)
{
    char word[512];
    size_t n;

    for (recipe += strspn(recipe, " "); *recipe != '\0'; recipe += strspn(recipe, " ")) {
        n = strcspn(recipe, " ");
        need(n < sizeof(word), "a word is too long");
        memcpy(word, recipe, n);
        word[n] = '\0';
        recipe += n;
        if (word[n - 1] == '*') {
            for (unsigned long i = strtoul(word, NULL, 10); i > 0; i--)
                make(m, recipe);
            return;
        }
        put_word(m, word);
    }
}

size_t gguf_case_bytes(const char *recipe, unsigned char *into, size_t max)
{
    struct made m = {into, 0, max};

    make(&m, recipe);
    return m.n;
}
