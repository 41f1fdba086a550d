/* SPDX-License-Identifier: MIT */
/* proto/gguf/gguf_names.c - the set of names of gguf_parts.h: a table of hashes that doubles. At
 * most 262144 names are added, so it stays below 10 MiB. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/gguf/gguf_parts.h"

struct gguf_name {
    unsigned char hash[16];
    bool used;
};

enum { NAMES_FIRST = 256 };

void gguf_names_init(struct gguf_names *s)
{
    memset(s, 0, sizeof(*s));
    randombytes_buf(s->key, sizeof(s->key));
}

void gguf_names_clear(struct gguf_names *s)
{
    free(s->v);
    s->v = NULL;
    s->n = s->cap = 0;
}

/* The place of a hash in a table that has room: its own, or the first free one. */
static struct gguf_name *names_place(struct gguf_name *v, uint32_t cap, const unsigned char *hash)
{
    uint32_t i = (uint32_t)gguf_le(hash, 4) & (cap - 1);

    while (v[i].used && memcmp(v[i].hash, hash, sizeof(v[i].hash)) != 0)
        i = (i + 1) & (cap - 1);
    return &v[i];
}

static int names_grow(struct gguf_names *s)
{
    uint32_t cap = s->cap > 0 ? s->cap * 2 : NAMES_FIRST;
    struct gguf_name *v = calloc(cap, sizeof(*v));

    if (v == NULL)
        return UV_ENOMEM;
    for (uint32_t i = 0; i < s->cap; i++)
        if (s->v[i].used)
            *names_place(v, cap, s->v[i].hash) = s->v[i];
    free(s->v);
    s->v = v;
    s->cap = cap;
    return 0;
}

int gguf_names_add(struct gguf_names *s, const void *name, size_t n)
{
    struct gguf_name *place;
    unsigned char hash[crypto_shorthash_siphashx24_BYTES];

    _Static_assert(sizeof(hash) == sizeof(place->hash), "128 bits");
    if (s->n >= s->cap / 2 && names_grow(s) < 0)
        return UV_ENOMEM;
    crypto_shorthash_siphashx24(hash, name, n, s->key);
    place = names_place(s->v, s->cap, hash);
    if (place->used)
        return 0;
    memcpy(place->hash, hash, sizeof(hash));
    place->used = true;
    s->n++;
    return 1;
}
