/* SPDX-License-Identifier: MIT */
/* proto/gguf/gguf_read.c - see gguf_read.h. */
#include "proto/gguf/gguf_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

static ssize_t read_fd(void *arg, void *into, size_t n, uint64_t at)
{
    ssize_t r;

    do
        r = pread((int)(intptr_t)arg, into, n, (off_t)at);
    while (r < 0 && errno == EINTR);
    return r < 0 ? uv_translate_sys_error(errno) : r;
}

struct gguf_source gguf_source_fd(int fd, uint64_t size)
{
    return (struct gguf_source){(void *)(intptr_t)fd, read_fd, size < INT64_MAX ? size : INT64_MAX};
}

int gguf_reader_init(struct gguf_reader *r, const struct gguf_source *source)
{
    memset(r, 0, sizeof(*r));
    r->source = source;
    r->block = malloc(GGUF_BLOCK);
    return r->block != NULL ? 0 : UV_ENOMEM;
}

void gguf_reader_clear(struct gguf_reader *r)
{
    free(r->block);
    r->block = NULL;
}

uint64_t gguf_reader_left(const struct gguf_reader *r)
{
    return r->source->size - r->at;
}

/* Makes block hold the byte at `at`, which lies before the end. */
static enum gguf_read_err reader_fill(struct gguf_reader *r, uint64_t at)
{
    uint64_t left = r->source->size - at;
    ssize_t n = r->source->read(r->source->arg, r->block,
                                left < GGUF_BLOCK ? (size_t)left : (size_t)GGUF_BLOCK, at);

    r->block_at = at;
    r->block_n = n > 0 ? (uint32_t)n : 0;
    if (n < 0)
        r->code = (int)n;
    return n > 0 ? GGUF_READ_OK : n == 0 ? GGUF_READ_SHRANK : GGUF_READ_FAILED;
}

enum gguf_read_err gguf_reader_get(struct gguf_reader *r, void *into, uint64_t n)
{
    unsigned char *to = into;
    uint64_t at = r->at, end, k;
    enum gguf_read_err err;

    if (n > gguf_reader_left(r))
        return GGUF_READ_ENDS;
    for (end = at + n; at < end; at += k) {
        if ((at < r->block_at || at >= r->block_at + r->block_n) &&
            (err = reader_fill(r, at)) != GGUF_READ_OK)
            return err;
        k = r->block_at + r->block_n - at;
        k = k < end - at ? k : end - at;
        memcpy(to, r->block + (at - r->block_at), k);
        to += k;
    }
    r->at = at;
    return GGUF_READ_OK;
}

uint64_t gguf_le(const unsigned char *bytes, uint32_t n)
{
    uint64_t v = 0;

    for (uint32_t i = 0; i < n; i++)
        v |= (uint64_t)bytes[i] << (8 * i);
    return v;
}

enum gguf_read_err gguf_reader_u32(struct gguf_reader *r, uint32_t *v)
{
    unsigned char b[4];
    enum gguf_read_err err = gguf_reader_get(r, b, sizeof(b));

    *v = err == GGUF_READ_OK ? (uint32_t)gguf_le(b, sizeof(b)) : 0;
    return err;
}

enum gguf_read_err gguf_reader_u64(struct gguf_reader *r, uint64_t *v)
{
    unsigned char b[8];
    enum gguf_read_err err = gguf_reader_get(r, b, sizeof(b));

    *v = err == GGUF_READ_OK ? gguf_le(b, sizeof(b)) : 0;
    return err;
}

enum gguf_read_err gguf_reader_skip(struct gguf_reader *r, uint64_t n)
{
    if (n > gguf_reader_left(r))
        return GGUF_READ_ENDS;
    r->at += n;
    return GGUF_READ_OK;
}
