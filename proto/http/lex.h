/* SPDX-License-Identifier: MIT */
/* proto/http/lex.h - llhttp behind four calls. lex.c is the only file that includes llhttp.h (its
 * names, HTTP_GET and others, collide with ours) and holds what differs between its versions:
 * 8.1 and 9 are known to work. Strict mode, every lenient flag off. It is fed no
 * chunk extensions and no trailers. parser.c is its only user. */
#ifndef RM_HTTP_LEX_H
#define RM_HTTP_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

struct http_lex;

/* What llhttp concluded from a head; parser.c compares it with its own conclusions. */
struct http_lex_head {
    uint16_t status; /* responses */
    uint8_t major, minor;
    bool chunked;
    uint64_t content_length; /* 0 without one */
};

/* Spans point into the fed bytes. A name and a value come whole when a head is fed whole. */
struct http_lex_ops {
    void (*on_target)(void *arg, const char *p, size_t n);
    void (*on_name)(void *arg, const char *p, size_t n);
    void (*on_value)(void *arg, const char *p, size_t n);
    /* Returns 0, 1 (the message has no body whatever its head says) or an error. */
    int (*on_head)(void *arg, const struct http_lex_head *h);
    int (*on_body)(void *arg, const char *p, size_t n); /* 0 or an error */
};

/* ops and arg are borrowed. Returns 0 or UV_ENOMEM. */
RM_MUST_USE int http_lex_new(bool response, const struct http_lex_ops *ops, void *arg,
                             struct http_lex **out);
void http_lex_free(struct http_lex *x);
void http_lex_reset(struct http_lex *x); /* before each message */

/* Feeds bytes that must all belong to this message. Returns 0, RM_ERR_HTTP_SYNTAX,
 * RM_ERR_NOT_SUPPORTED (a method llhttp does not know) or what a callback returned. */
RM_MUST_USE int http_lex_feed(struct http_lex *x, const char *bytes, size_t n);

/* The peer closed. Returns 0 when that ends the message (or none has begun). */
RM_MUST_USE int http_lex_eof(struct http_lex *x);
bool http_lex_ended(const struct http_lex *x); /* the message is complete */

#endif
