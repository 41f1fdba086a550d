/* SPDX-License-Identifier: MIT */
/* proto/gguf/gguf_read.h - bytes of a GGUF file, one bounded read after the other.
 * A reader stands at an offset and never goes past the size that the source had at the beginning;
 * it holds one block of 64 KiB and allocates nothing else. Little-endian only, as llama.cpp writes.
 * Any thread; a reader belongs to one. gguf.c is its only user. */
#ifndef RM_GGUF_READ_H
#define RM_GGUF_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/gguf/gguf.h"

enum { GGUF_BLOCK = 64 << 10 };

/* Why a read failed; the reader stays where it was. */
enum gguf_read_err {
    GGUF_READ_OK,
    GGUF_READ_ENDS,   /* more than the file has */
    GGUF_READ_SHRANK, /* the source ended before its size */
    GGUF_READ_FAILED  /* the source said so: its code is in reader.code */
};

struct gguf_reader {
    const struct gguf_source *source; /* borrowed */
    uint64_t at;                      /* <= source->size */
    unsigned char *block;             /* owned; GGUF_BLOCK bytes */
    uint64_t block_at;
    uint32_t block_n;
    int code; /* libuv's, after GGUF_READ_FAILED */
};

/* Returns 0 or UV_ENOMEM. */
RM_MUST_USE int gguf_reader_init(struct gguf_reader *r, const struct gguf_source *source);
void gguf_reader_clear(struct gguf_reader *r); /* an all-zero one is fine */

uint64_t gguf_reader_left(const struct gguf_reader *r); /* bytes to the end of the file */

RM_MUST_USE enum gguf_read_err gguf_reader_get(struct gguf_reader *r, void *into, uint64_t n);
RM_MUST_USE enum gguf_read_err gguf_reader_u32(struct gguf_reader *r, uint32_t *v);
RM_MUST_USE enum gguf_read_err gguf_reader_u64(struct gguf_reader *r, uint64_t *v);
RM_MUST_USE enum gguf_read_err gguf_reader_skip(struct gguf_reader *r, uint64_t n);

uint64_t gguf_le(const unsigned char *bytes, uint32_t n); /* n <= 8, little-endian */

#endif
