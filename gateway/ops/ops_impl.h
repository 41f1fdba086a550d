/* SPDX-License-Identifier: MIT */
/* gateway/ops/ops_impl.h - what the files of this folder share. */
#ifndef RM_OPS_IMPL_H
#define RM_OPS_IMPL_H

#include "gateway/ops/ops.h"
#include "proto/base/buf.h"

extern const struct http_out_field ops_no_store; /* Cache-Control */

/* Answers an accepted request with an error of the table; text NULL: the table's. field: one more
 * header field, or NULL. */
void ops_answer_error(struct http_req *q, int err, const char *text,
                      const struct http_out_field *field);

/* map.c: POST /api/v1/map. Takes the request. */
void ops_map_post(const struct ops_sources *sources, struct http_req *q);

#endif
