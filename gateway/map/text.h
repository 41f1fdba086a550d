/* SPDX-License-Identifier: MIT */
/* gateway/map/text.h - the role map's file as it lies there, for people who edit it on the page.
 * Read in a thread of libuv's pool. Loop thread only. */
#ifndef RM_MAP_TEXT_H
#define RM_MAP_TEXT_H

#include <uv.h>

#include "proto/base/buf.h"

enum { MAP_TEXT_MAX = 1 << 20 }; /* bytes; what POST /api/v1/map takes */

/* err: 0, or why not: a libuv code, RM_ERR_TOO_BIG. json: proto/openapi.yaml, MapText; valid for
 * the call. */
typedef void (*map_text_fn)(void *arg, int err, struct rm_slice json);

/* path is copied. Returns 0, and on_text comes once from the loop; or a libuv code, and it never
 * comes. */
RM_MUST_USE int map_text_read(uv_loop_t *loop, const char *path, map_text_fn on_text, void *arg);

#endif
