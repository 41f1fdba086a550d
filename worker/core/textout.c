/* SPDX-License-Identifier: MIT */
/* worker/core/textout.c - see textout.h. Stop strings are sought in the raw bytes; only what leaves
 * is made valid UTF-8. The held bytes are always shorter than the longest stop string plus one
 * character. */
#include "textout.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/base/json_write.h"

enum { HELD_MAX = 1 << 16, PIECE_PART = 1 << 12 };

int textout_init(struct textout *t, const char *const *stops, size_t n_stops)
{
    *t = (struct textout){.stopped = -1};
    rm_buf_init(&t->held, HELD_MAX);
    if (n_stops == 0)
        return 0;
    if ((t->stops = calloc(n_stops, sizeof(*t->stops))) == NULL)
        return UV_ENOMEM;
    for (; t->n_stops < n_stops; t->n_stops++) {
        if ((t->stops[t->n_stops] = strdup(stops[t->n_stops])) == NULL)
            return UV_ENOMEM;
    }
    return 0;
}

void textout_clear(struct textout *t)
{
    for (size_t i = 0; i < t->n_stops; i++)
        free(t->stops[i]);
    free(t->stops);
    rm_buf_clear(&t->held);
    *t = (struct textout){.stopped = -1};
}

/* How many bytes at p (n > 0 of them) could still grow into a character: 0 if they are none for
 * sure. */
static size_t incomplete_len(const char *p, size_t n)
{
    unsigned char lead = (unsigned char)p[0], second = n > 1 ? (unsigned char)p[1] : 0;
    size_t need = lead >= 0xC2 && lead <= 0xDF   ? 2
                  : lead >= 0xE0 && lead <= 0xEF ? 3
                  : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                 : 0;

    if (n >= need)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)p[i] & 0xC0) != 0x80)
            return 0;
    }
    if (n > 1 && ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
                  (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)))
        return 0;
    return n;
}

/* Appends n bytes as valid UTF-8; *left is how many at the end were kept back (only if `keep`). */
static int put_utf8(struct rm_buf *out, const char *p, size_t n, bool keep, size_t *left)
{
    size_t at = 0, from = 0;
    int r = 0;

    *left = 0;
    while (at < n && r == 0) {
        size_t len = rm_utf8_len(p + at, n - at);

        if (len > 0) {
            at += len;
            continue;
        }
        r = rm_buf_put(out, p + from, at - from);
        from = at;
        len = incomplete_len(p + at, n - at);
        if (len > 0 && keep) {
            *left = len;
            return r;
        }
        at += len > 0 ? len : 1; /* one mark for a broken-off character, one for each other byte */
        from = at;
        if (r == 0)
            r = rm_buf_puts(out, "\xEF\xBF\xBD");
    }
    return r != 0 ? r : rm_buf_put(out, p + from, at - from);
}

/* The stop string that is complete first in the held bytes. Returns its index or -1; *at is where
 * it begins. */
static int find_stop(const struct textout *t, size_t *at)
{
    size_t best_end = SIZE_MAX;
    int best = -1;

    for (size_t i = 0; i < t->n_stops; i++) {
        size_t n = strlen(t->stops[i]);
        const char *p = t->held.len >= n ? memmem(t->held.data, t->held.len, t->stops[i], n) : NULL;
        size_t begin = p != NULL ? (size_t)(p - t->held.data) : 0;

        if (p == NULL || begin + n > best_end || (begin + n == best_end && begin >= *at))
            continue;
        best_end = begin + n;
        best = (int)i;
        *at = begin;
    }
    return best;
}

/* Length of the longest end of the held bytes that begins some stop string. */
static size_t stop_tail(const struct textout *t)
{
    size_t longest = 0;

    for (size_t i = 0; i < t->n_stops; i++) {
        size_t n = strlen(t->stops[i]) - 1;

        if (n > t->held.len)
            n = t->held.len;
        for (; n > longest; n--) {
            if (memcmp(t->held.data + t->held.len - n, t->stops[i], n) == 0)
                longest = n;
        }
    }
    return longest;
}

/* Moves what is clear from the held bytes to `out`. */
static int flush_clear(struct textout *t, struct rm_buf *out)
{
    size_t at = 0, tail, left;
    int r;

    if (t->held.len == 0)
        return 0;
    if ((t->stopped = find_stop(t, &at)) >= 0) {
        r = put_utf8(out, t->held.data, at, false, &left);
        t->held.len = 0;
        return r;
    }
    tail = stop_tail(t);
    /* with a stop candidate behind it, an incomplete character may still be completed by the
     * candidate's bytes */
    r = put_utf8(out, t->held.data, t->held.len - tail, true, &left);
    rm_buf_eat(&t->held, t->held.len - tail - left);
    return r;
}

int textout_push(struct textout *t, const char *piece, size_t n, struct rm_buf *out)
{
    int r = 0;

    while (n > 0 && t->stopped < 0 && r == 0) {
        size_t part = n < PIECE_PART ? n : PIECE_PART;

        if ((r = rm_buf_put(&t->held, piece, part)) == 0)
            r = flush_clear(t, out);
        piece += part;
        n -= part;
    }
    return r;
}

int textout_finish(struct textout *t, struct rm_buf *out)
{
    size_t left;
    int r = t->held.len > 0 ? put_utf8(out, t->held.data, t->held.len, false, &left) : 0;

    t->held.len = 0;
    return r;
}

const char *textout_stop_word(const struct textout *t)
{
    return t->stopped >= 0 ? t->stops[t->stopped] : NULL;
}
