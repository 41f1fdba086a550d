/* SPDX-License-Identifier: MIT */
#include "proto/base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { BUF_FIRST = 256 };

struct rm_slice rm_slice_trim(struct rm_slice s)
{
    for (; s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'); s.n--)
        s.p++;
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

char *rm_slice_dup(struct rm_slice s)
{
    char *copy = malloc(s.n + 1);

    if (copy == NULL)
        return NULL;
    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

void rm_buf_init(struct rm_buf *b, size_t max_bytes)
{
    *b = (struct rm_buf){.max = max_bytes};
}

void rm_buf_clear(struct rm_buf *b)
{
    free(b->data);
    rm_buf_init(b, b->max);
}

int rm_buf_reserve(struct rm_buf *b, size_t more)
{
    size_t want, cap;
    char *data;

    if (more > b->max || b->len > b->max - more)
        return RM_ERR_TOO_BIG;
    want = b->len + more;
    if (b->data != NULL && want <= b->cap)
        return 0;
    cap = b->cap > 0 ? b->cap : BUF_FIRST;
    while (cap < want)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    if (cap > b->max)
        cap = b->max;
    data = realloc(b->data, cap + 1);
    if (data == NULL)
        return UV_ENOMEM;
    data[b->len] = '\0';
    b->data = data;
    b->cap = cap;
    return 0;
}

int rm_buf_put(struct rm_buf *b, const void *bytes, size_t n)
{
    int r;

    if ((b->data == NULL || n > b->cap - b->len) && (r = rm_buf_reserve(b, n)) < 0)
        return r;
    if (n > 0)
        memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
    return 0;
}

int rm_buf_put_u64(struct rm_buf *b, uint64_t n)
{
    char text[20];
    size_t at = sizeof(text);

    do
        text[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    return rm_buf_put(b, text + at, sizeof(text) - at);
}

int rm_buf_vprintf(struct rm_buf *b, const char *fmt, va_list args)
{
    va_list again;
    int n, r;

    va_copy(again, args);
    n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0)
        return UV_EINVAL;
    r = rm_buf_reserve(b, (size_t)n);
    if (r < 0)
        return r;
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, args);
    b->len += (size_t)n;
    return 0;
}

int rm_buf_printf(struct rm_buf *b, const char *fmt, ...)
{
    va_list args;
    int r;

    va_start(args, fmt);
    r = rm_buf_vprintf(b, fmt, args);
    va_end(args);
    return r;
}

void rm_buf_eat(struct rm_buf *b, size_t n)
{
    assert(n <= b->len);
    if (n == 0)
        return;
    b->len -= n;
    memmove(b->data, b->data + n, b->len);
    b->data[b->len] = '\0';
}

char *rm_buf_take(struct rm_buf *b)
{
    char *data;

    if (rm_buf_reserve(b, 0) < 0)
        return NULL;
    data = b->data;
    rm_buf_init(b, b->max);
    return data;
}
