/* SPDX-License-Identifier: MIT */
/* cli/text.h - text of others for a screen whose places are fixed, and text as it streams in. Fit
 * for a terminal is what ask_char says (cli/ask.h); on a screen letters that run from right to left
 * and characters without a width of their own are '?' as well, for they would move their
 * neighbours. Widths are the locale's (wcwidth). Pure. */
#ifndef RM_CLI_TEXT_H
#define RM_CLI_TEXT_H

#include "proto/base/buf.h"

enum { TEXT_WIDE_MAX = 4 }; /* bytes of one column at most: out has columns * this + 1 */

/* Copies what fits into so many columns; a text that is cut ends in '~'. text: NUL-terminated, any
 * bytes. out: NUL-terminated within size. Returns the columns used. */
unsigned text_fit(const char *text, unsigned columns, char *out, size_t size);

/* The columns that text_fit would use with room for all. */
unsigned text_width(const char *text);

/* Text that comes in pieces, such as an answer: line feeds and tabs stay, all else as above;
 * letters of any direction stay. One character may lie over two pieces. */
struct text_stream {
    char held[4]; /* the begin of an unfinished character */
    unsigned n_held;
};

/* Appends what can be shown. Returns as rm_buf_put. */
RM_MUST_USE int text_stream_put(struct text_stream *s, const char *bytes, size_t n,
                                struct rm_buf *out);
RM_MUST_USE int text_stream_end(struct text_stream *s, struct rm_buf *out); /* no more comes */

#endif
