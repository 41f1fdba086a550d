/* SPDX-License-Identifier: MIT */
/* proto/http/parser.h - bytes to heads and bodies: llhttp in strict mode behind our own guard.
 * llhttp is a tokenizer, not a policy: the guard (guard.h) reads the raw head and the raw chunk
 * lines first and refuses what RFC 9112 leaves to the reader's courage; after llhttp come the
 * semantic checks (Host, Transfer-Encoding, Content-Length, version, target, counts, sizes).
 * Ambiguous framing is refused, never repaired. No I/O, no clock; one parser per connection. */
#ifndef RM_HTTP_PARSER_H
#define RM_HTTP_PARSER_H

#include <stddef.h>

#include "proto/http/message.h"

enum http_role { HTTP_PARSE_REQUEST, HTTP_PARSE_RESPONSE };

struct http_parser;

/* Called inside http_parser_feed. A negative return ends parsing with that error; RM_WAIT from
 * on_head or on_body stops the feed there (see http_parser_feed). */
struct http_parser_ops {
    /* head: valid until the first byte of the next message is fed, or http_parser_trim. Interim
     * (1xx) answers are counted against limits.interim and not reported. */
    int (*on_head)(void *arg, const struct http_head *head);
    /* Points into the fed bytes: nothing is copied. */
    int (*on_body)(void *arg, const char *bytes, size_t n);
    int (*on_end)(void *arg);
};

/* limits and ops are borrowed for the parser's life. Returns 0 or UV_ENOMEM. */
RM_MUST_USE int http_parser_new(enum http_role role, const struct http_limits *limits,
                                const struct http_parser_ops *ops, void *arg,
                                struct http_parser **out);
void http_parser_free(struct http_parser *p);

/* Feeds bytes. Stops after the end of one message so that pipelined requests are handled one after
 * another. *used: bytes taken; the caller keeps the others. Returns
 *   0         all taken, more wanted
 *   RM_AGAIN  a message ended at *used; feed the rest when it has been answered
 *   RM_WAIT   a callback said RM_WAIT: no callback until the rest is fed
 * or an error: RM_ERR_HTTP_SYNTAX, _VERSION, _CODING, _FIELDS, _TARGET, RM_ERR_MISDIRECTED,
 * RM_ERR_METHOD (CONNECT), RM_ERR_BODY_TOO_LARGE, UV_ENOMEM, or what a callback returned. After an
 * error the parser only refuses. The verdict, the head and the body do not depend on how the bytes
 * were cut. */
RM_MUST_USE int http_parser_feed(struct http_parser *p, const char *bytes, size_t n, size_t *used);

/* The peer closed. 0: between messages, or the end of a HTTP_BODY_EOF body (on_end is called); else
 * RM_ERR_HTTP_SYNTAX: cut short. */
RM_MUST_USE int http_parser_eof(struct http_parser *p);

/* Between messages: gives back the memory of the last head. For connections that are idle. */
void http_parser_trim(struct http_parser *p);

/* True when not a byte of the next message has been fed (leading CRLF not counted). */
bool http_parser_idle(const struct http_parser *p);

/* The body limit of the message being read; a server's handler sets it from on_head. */
void http_parser_set_body_limit(struct http_parser *p, uint64_t bytes);

/* Responses: the next message answers a HEAD request (no body whatever its head says). */
void http_parser_set_head_answer(struct http_parser *p, bool is_head);

#endif
