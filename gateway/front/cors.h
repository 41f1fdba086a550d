/* SPDX-License-Identifier: MIT */
/* gateway/front/cors.h - which web pages may read the model API's answers.
 * The list is the role map's gateway.cors_origins: "*" or origins, compared byte by byte. There are
 * no cookies, so an origin is only ever allowed to read what it could ask for with a key of its
 * own. An allowed Origin is echoed; a request without one (every editor that is not a web page)
 * gets no CORS field. Pure. */
#ifndef RM_FRONT_CORS_H
#define RM_FRONT_CORS_H

#include "proto/conf/role_map.h"
#include "proto/http/message.h"

enum { CORS_FIELDS_MAX = 8 };

/* True when a page of that origin may read. An empty origin is not a page: false. */
bool cors_allows(const struct map_gateway *g, struct rm_slice origin);

/* Fields for any answer to that origin. Returns their number (0: not allowed or no page). */
size_t cors_fields(const struct map_gateway *g, struct rm_slice origin, struct http_out_field *out);

/* Fields that a preflight answer has besides: methods, the headers asked for, private network.
 * wanted: Access-Control-Request-Headers; "" when there is none. */
size_t cors_preflight(const struct map_gateway *g, struct rm_slice origin, struct rm_slice wanted,
                      struct http_out_field *out);

#endif
