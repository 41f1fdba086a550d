/* SPDX-License-Identifier: MIT */
/* proto/http/rules.h - what a head must mean once it is tokenized: Host and target (RFC 9112
 * section 3), Transfer-Encoding and Content-Length (section 6), fields that may stand once (RFC
 * 9110 section 5.3), persistence (RFC 9112 section 9.3). Pure. parser.c is its only user. */
#ifndef RM_HTTP_RULES_H
#define RM_HTTP_RULES_H

#include "proto/http/message.h"

/* In: method_text, target, minor, fields. Out: the rest of the head. Returns 0, RM_ERR_HTTP_SYNTAX,
 * RM_ERR_HTTP_CODING, RM_ERR_MISDIRECTED, or RM_ERR_METHOD for CONNECT. */
RM_MUST_USE int http_rules_request(struct http_head *h);

/* In: status, minor, fields. head_answer: it answers a HEAD request. Returns 0, RM_ERR_HTTP_SYNTAX
 * or RM_ERR_HTTP_CODING. */
RM_MUST_USE int http_rules_response(struct http_head *h, bool head_answer);

#endif
