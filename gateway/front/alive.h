/* SPDX-License-Identifier: MIT */
/* gateway/front/alive.h - signs of life that say something: why a request waits, as a line that its
 * client skips. The words come from the role map and from workers, so they are cut and cleaned
 * here: what leaves is one line of printable ASCII. Pure. */
#ifndef RM_FRONT_ALIVE_H
#define RM_FRONT_ALIVE_H

#include "gateway/front/dialects/dialect.h"

enum { ALIVE_TEXT_MAX = 160, ALIVE_MAX = ALIVE_TEXT_MAX + 32 };

/* The sign for a stream that waits: the dialect's frame around why, or its plain sign when it has
 * no frame or why is empty (NULL is fine).
 * why  any bytes, NUL-terminated: cut to ALIVE_TEXT_MAX, control bytes made blanks, every character
 *      beyond ASCII a question mark. A line that would begin with "ping" gets "waiting: " before
 * it: Continue takes ": ping" for the end of a stream. out  ALIVE_MAX bytes; the slice returned
 * points into it or into the dialect. */
struct rm_slice alive_sign(const struct dialect *d, const char *why, char *out);

#endif
