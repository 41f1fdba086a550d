/* SPDX-License-Identifier: MIT */
/* gateway/front/cors.c - Fetch's CORS protocol, the answering side. Neighbour: reply.c. */
#include "gateway/front/cors.h"

#include <string.h>

bool cors_allows(const struct map_gateway *g, struct rm_slice origin)
{
    if (origin.n == 0)
        return false;
    for (size_t i = 0; i < g->cors_origins.n; i++)
        if (strcmp(g->cors_origins.item[i], "*") == 0 ||
            rm_slice_eq(origin, g->cors_origins.item[i]))
            return true;
    return false;
}

size_t cors_fields(const struct map_gateway *g, struct rm_slice origin, struct http_out_field *out)
{
    if (!cors_allows(g, origin))
        return 0;
    out[0] = (struct http_out_field){"Access-Control-Allow-Origin", origin};
    out[1] = (struct http_out_field){"Access-Control-Expose-Headers",
                                     RM_LIT("x-request-id, request-id, retry-after")};
    out[2] = (struct http_out_field){"Vary", RM_LIT("Origin")};
    return 3;
}

size_t cors_preflight(const struct map_gateway *g, struct rm_slice origin, struct rm_slice wanted,
                      struct http_out_field *out)
{
    if (!cors_allows(g, origin))
        return 0;
    if (wanted.n == 0)
        wanted = RM_LIT("authorization, x-api-key, content-type");
    out[0] = (struct http_out_field){"Access-Control-Allow-Methods",
                                     RM_LIT("GET, HEAD, POST, DELETE, OPTIONS")};
    out[1] = (struct http_out_field){"Access-Control-Allow-Headers", wanted};
    out[2] = (struct http_out_field){"Access-Control-Allow-Private-Network", RM_LIT("true")};
    out[3] = (struct http_out_field){"Access-Control-Max-Age", RM_LIT("86400")};
    return 4;
}
