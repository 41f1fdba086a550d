/* SPDX-License-Identifier: MIT */
#include "cli/text.h"

#include <wchar.h>

#include "cli/ask.h"

/* Blocks whose letters run from right to left (UAX 9, classes R and AL by their default ranges). */
static bool is_right_to_left(uint32_t c)
{
    return (c >= 0x590 && c <= 0x8ff) || (c >= 0xfb1d && c <= 0xfdff) ||
           (c >= 0xfe70 && c <= 0xfeff) || (c >= 0x10800 && c <= 0x10fff) ||
           (c >= 0x1e800 && c <= 0x1efff);
}

/* Columns of one character on a screen: 1 or 2; 0: it is shown as '?'. */
static unsigned columns_of(uint32_t c)
{
    int w = is_right_to_left(c) ? 0 : wcwidth((wchar_t)c);

    return w == 1 || w == 2 ? (unsigned)w : 0;
}

/* Takes one character off *text. Returns its bytes; *columns 0: not to be shown as it is. */
static size_t next_of(const char *text, size_t left, unsigned *columns)
{
    uint32_t code;
    size_t n = ask_char(text, left, &code);

    *columns = code == '?' ? 0 : columns_of(code);
    return n;
}

unsigned text_width(const char *text)
{
    size_t left = strlen(text);
    unsigned width = 0, columns;

    while (left > 0) {
        size_t n = next_of(text, left, &columns);

        width += columns > 0 ? columns : 1;
        text += n;
        left -= n;
    }
    return width;
}

unsigned text_fit(const char *text, unsigned columns, char *out, size_t size)
{
    size_t left = strlen(text), at = 0, cut_at = 0;
    unsigned used = 0, cut_used = 0; /* where a '~' would still fit */

    while (left > 0) {
        unsigned w;
        size_t n = next_of(text, left, &w), put = w > 0 ? n : 1;

        if (used + (w > 0 ? w : 1) > columns || at + put + 1 > size)
            break;
        if (used + 1 <= columns && at + 2 <= size) {
            cut_at = at;
            cut_used = used;
        }
        if (w > 0)
            memcpy(out + at, text, n);
        else
            out[at] = '?';
        at += put;
        used += w > 0 ? w : 1;
        text += n;
        left -= n;
    }
    if (left > 0 && columns > 0 && size > 1) {
        if (used + 1 <= columns && at + 2 <= size) { /* a wide one did not fit */
            cut_at = at;
            cut_used = used;
        }
        at = cut_at;
        out[at++] = '~';
        used = cut_used + 1;
    }
    if (size > 0)
        out[at] = '\0';
    return used;
}

/* ---- as it streams in ---- */

static int put_character(const char *p, size_t n, struct rm_buf *out)
{
    uint32_t code;

    if (n == 1 && (*p == '\n' || *p == '\t'))
        return rm_buf_put(out, p, 1);
    if (n == 3 && (memcmp(p, "\xe2\x80\x8c", 3) == 0 || memcmp(p, "\xe2\x80\x8d", 3) == 0))
        return rm_buf_put(out, p, n); /* joiners: of letters and emoji */
    return ask_char(p, n, &code) == n && code != '?' ? rm_buf_put(out, p, n)
                                                     : rm_buf_put(out, "?", 1);
}

/* How many bytes a character that begins so wants; 1: it cannot begin so. */
static size_t wanted(char first)
{
    unsigned char c = (unsigned char)first;

    return c >= 0xf0 && c <= 0xf4 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 1;
}

int text_stream_put(struct text_stream *s, const char *bytes, size_t n, struct rm_buf *out)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        bool follows = ((unsigned char)bytes[i] & 0xc0) == 0x80;

        if (s->n_held > 0 && !follows) { /* what was begun is none */
            r = rm_buf_put(out, "?", 1);
            s->n_held = 0;
            if (r < 0)
                break;
        }
        s->held[s->n_held++] = bytes[i];
        if (s->n_held < wanted(s->held[0]))
            continue;
        r = put_character(s->held, s->n_held, out);
        s->n_held = 0;
    }
    return r;
}

int text_stream_end(struct text_stream *s, struct rm_buf *out)
{
    int r = s->n_held > 0 ? rm_buf_put(out, "?", 1) : 0;

    s->n_held = 0;
    return r;
}
