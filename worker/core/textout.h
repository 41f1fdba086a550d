/* SPDX-License-Identifier: MIT */
/* worker/core/textout.h - from token pieces to text that may be sent: whole UTF-8 characters, cut
 * at stop strings. A token's piece can end inside a character or inside what may become a stop
 * string; such a tail is held until it is clear. Bytes that can never become UTF-8 leave as U+FFFD.
 * The result does not depend on how the bytes were cut into pieces. Pure: no I/O, no libllama. One
 * thread (the decode thread). */
#ifndef RM_CORE_TEXTOUT_H
#define RM_CORE_TEXTOUT_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/buf.h"

struct textout {
    struct rm_buf held; /* raw bytes that may not go out yet */
    char **stops;       /* owned, NUL-terminated */
    size_t n_stops;
    int stopped; /* index of the stop string that was met, -1: none */
};

/* stops: copied; each 1 byte at least. Returns 0 or UV_ENOMEM. textout_clear also after an error.
 */
RM_MUST_USE int textout_init(struct textout *t, const char *const *stops, size_t n_stops);
void textout_clear(struct textout *t);

/* Takes a piece and appends to `out` what may be sent now. Once a stop string was met (t->stopped
 * >= 0) the text before it is out and further pieces are ignored. Among stop strings the one that
 * is complete first counts; of two that end together the longer. Returns 0, RM_ERR_TOO_BIG or
 * UV_ENOMEM. */
RM_MUST_USE int textout_push(struct textout *t, const char *piece, size_t n, struct rm_buf *out);

/* The end: appends what was held (an incomplete character as U+FFFD). Returns as textout_push. */
RM_MUST_USE int textout_finish(struct textout *t, struct rm_buf *out);

/* The stop string that was met, or NULL. Lives as long as t. */
const char *textout_stop_word(const struct textout *t);

#endif
