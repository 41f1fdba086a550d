/* SPDX-License-Identifier: MIT */
/* gateway/front/inflate.c - zlib's inflate with a bound on growth. Neighbour: freq_body.c. */
#include "gateway/front/inflate.h"

#include <uv.h>

#ifdef RM_HAVE_ZLIB

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { OUT_BYTES = 16 * 1024, GZIP_ONLY = 16 };

struct inflater {
    z_stream z;
    bool done;
};

bool inflate_available(void)
{
    return true;
}

int inflater_new(struct inflater **out)
{
    struct inflater *i = calloc(1, sizeof(*i));

    *out = NULL;
    if (i == NULL)
        return UV_ENOMEM;
    if (inflateInit2(&i->z, MAX_WBITS + GZIP_ONLY) != Z_OK) {
        free(i);
        return UV_ENOMEM;
    }
    *out = i;
    return 0;
}

void inflater_free(struct inflater *i)
{
    if (i == NULL)
        return;
    inflateEnd(&i->z);
    free(i);
}

int inflater_feed(struct inflater *i, const char *bytes, size_t n,
                  int (*put)(void *arg, const char *bytes, size_t n), void *arg)
{
    char piece[OUT_BYTES];
    int r, err;

    i->z.next_in = (Bytef *)(uintptr_t)bytes;
    i->z.avail_in = (uInt)n;
    do {
        if (i->done)
            return i->z.avail_in > 0 ? RM_ERR_FIELD : 0;
        i->z.next_out = (Bytef *)piece;
        i->z.avail_out = sizeof(piece);
        r = inflate(&i->z, Z_NO_FLUSH);
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
            return r == Z_MEM_ERROR ? UV_ENOMEM : RM_ERR_FIELD;
        i->done = r == Z_STREAM_END;
        if (i->z.total_out > (uint64_t)i->z.total_in * INFLATE_RATIO + INFLATE_FREE)
            return RM_ERR_BODY_TOO_LARGE;
        n = sizeof(piece) - i->z.avail_out;
        if (n > 0 && (err = put(arg, piece, n)) < 0)
            return err;
    } while (i->z.avail_in > 0 || i->z.avail_out == 0);
    return 0;
}

int inflater_end(const struct inflater *i)
{
    return i->done ? 0 : RM_ERR_FIELD;
}

#else

bool inflate_available(void)
{
    return false;
}

int inflater_new(struct inflater **out)
{
    *out = NULL;
    return RM_ERR_NOT_SUPPORTED;
}

void inflater_free(struct inflater *i)
{
    (void)i;
}

int inflater_feed(struct inflater *i, const char *bytes, size_t n,
                  int (*put)(void *arg, const char *bytes, size_t n), void *arg)
{
    (void)i;
    (void)bytes;
    (void)n;
    (void)put;
    (void)arg;
    return RM_ERR_NOT_SUPPORTED;
}

int inflater_end(const struct inflater *i)
{
    (void)i;
    return RM_ERR_NOT_SUPPORTED;
}

#endif
