/* SPDX-License-Identifier: MIT */
/* gateway/ops/pages.h - the page at /dashboard/ and its files, from the gateway's own memory
 * (gateway/dashboard). GET and HEAD; entity tags; files whose name carries a hash may be kept for
 * ever. They are held compressed and sent so; a client that does not take gzip gets them inflated.
 * The page may load nothing but its own files and talk to nobody but this gateway, and it may not
 * be framed. Loop thread only. */
#ifndef RM_OPS_PAGES_H
#define RM_OPS_PAGES_H

#include <stdbool.h>

#include "proto/http/server.h"

/* True when the path is /dashboard or below it: the request was taken and answered. Called inside
 * http_server_conf.on_request. */
bool pages_on_request(struct http_req *q);

/* True when an Accept-Encoding value takes gzip (RFC 9110 section 12.5.3). An absent field does by
 * the RFC, but is what tools send that show the bytes as they are: it does not here. */
bool pages_takes_gzip(struct rm_slice accept_encoding);

/* True when an If-None-Match value names tag, compared weakly, or is "*". */
bool pages_has_tag(struct rm_slice if_none_match, const char *tag);

#endif
