/* SPDX-License-Identifier: MIT */
/* gateway/front/inflate.h - request bodies that come with Content-Encoding: gzip (RFC 1952), in
 * pieces. What one call may put out is bounded by what came in, so that a small body that grows
 * without end is refused and no call takes long. In a build without zlib there is none:
 * inflate_available() says so. Loop thread. */
#ifndef RM_FRONT_INFLATE_H
#define RM_FRONT_INFLATE_H

#include <stdbool.h>

#include "proto/base/buf.h"

/* A body may grow by this factor, and by INFLATE_FREE bytes whatever its size. */
enum { INFLATE_RATIO = 32, INFLATE_FREE = 64 * 1024 };

struct inflater;

bool inflate_available(void);

/* Returns 0, UV_ENOMEM or RM_ERR_NOT_SUPPORTED. */
RM_MUST_USE int inflater_new(struct inflater **out);
void inflater_free(struct inflater *i); /* NULL is fine */

/* Calls put with what comes out. Returns 0, RM_ERR_FIELD (not gzip, damaged, bytes after its end),
 * RM_ERR_BODY_TOO_LARGE (grows beyond the factor), or what put returned below 0. */
RM_MUST_USE int inflater_feed(struct inflater *i, const char *bytes, size_t n,
                              int (*put)(void *arg, const char *bytes, size_t n), void *arg);

/* The body is over: 0, or RM_ERR_FIELD when it was cut short. */
RM_MUST_USE int inflater_end(const struct inflater *i);

#endif
