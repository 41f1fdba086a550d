/* SPDX-License-Identifier: MIT */
/* proto/base/buf.h - bounded byte buffers and borrowed slices.
 * A buffer gets its maximum when it is made and never grows past it; a length from outside is
 * compared with the maximum before anything is allocated. Not shared between threads. */
#ifndef RM_BASE_BUF_H
#define RM_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "proto/base/err.h"

/* Bytes somebody else owns; not NUL-terminated. p may be NULL when n is 0. */
struct rm_slice {
    const char *p;
    size_t n;
};

#define RM_LIT(text) ((struct rm_slice){(text), sizeof(text) - 1})

/* These are inline because nearly every text they are given is a literal, whose length is then
 * known when compiling. */

/* A NUL-terminated string; NULL gives the empty slice. */
static inline struct rm_slice rm_slice_of(const char *text)
{
    return (struct rm_slice){text, text != NULL ? strlen(text) : 0};
}

static inline bool rm_slice_eq(struct rm_slice s, const char *text)
{
    return s.n == strlen(text) && (s.n == 0 || memcmp(s.p, text, s.n) == 0);
}

/* ASCII case ignored. */
static inline bool rm_slice_ieq(struct rm_slice s, const char *text)
{
    return s.n == strlen(text) && (s.n == 0 || strncasecmp(s.p, text, s.n) == 0);
}

/* Copies text with its NUL, cut to fit. */
static inline void rm_text_copy(char *out, size_t size, const char *text)
{
    size_t n = strlen(text);

    n = n < size ? n : size - 1;
    memcpy(out, text, n);
    out[n] = '\0';
}

struct rm_slice rm_slice_trim(struct rm_slice s); /* without blanks and tabs around it */
char *rm_slice_dup(struct rm_slice s);            /* malloc'ed with a NUL; NULL: no memory */

struct rm_buf {
    char *data; /* owned; data[len] is a NUL whenever data is not NULL */
    size_t len; /* bytes in use */
    size_t cap; /* bytes allocated, without the NUL */
    size_t max; /* never more than this many bytes */
};

void rm_buf_init(struct rm_buf *b, size_t max_bytes); /* allocates nothing */
void rm_buf_clear(struct rm_buf *b);                  /* frees; the buffer may be used again */

/* Makes room for `more` bytes after len. Returns 0, RM_ERR_TOO_BIG (over max) or UV_ENOMEM. */
RM_MUST_USE int rm_buf_reserve(struct rm_buf *b, size_t more);

/* Append. Return 0, RM_ERR_TOO_BIG or UV_ENOMEM; on an error nothing was appended. */
int rm_buf_put(struct rm_buf *b, const void *bytes, size_t n);
static inline int rm_buf_puts(struct rm_buf *b, const char *text)
{
    return rm_buf_put(b, text, strlen(text));
}
int rm_buf_put_u64(struct rm_buf *b, uint64_t n); /* decimal */
int rm_buf_printf(struct rm_buf *b, const char *fmt, ...) RM_PRINTF(2, 3);
int rm_buf_vprintf(struct rm_buf *b, const char *fmt, va_list args) RM_PRINTF(2, 0);

void rm_buf_eat(struct rm_buf *b, size_t n); /* drops the first n <= len bytes */
char *rm_buf_take(
    struct rm_buf *b); /* hands over the NUL-terminated bytes ("" at least); NULL: no memory */

#endif
