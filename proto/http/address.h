/* SPDX-License-Identifier: MIT */
/* proto/http/address.h - where to listen and whom to call: "HOST:PORT", "[v6]:PORT" or "unix:PATH".
 * Names are resolved by the caller of a connect (uv_getaddrinfo), never here. */
#ifndef RM_HTTP_ADDRESS_H
#define RM_HTTP_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/err.h"

struct http_address {
    bool is_unix;
    uint16_t port;  /* TCP; 0 only for listening on any free port */
    char host[256]; /* TCP: name or literal without brackets; Unix: the path (at most 107 bytes),
                       NUL-terminated */
};

/* Returns 0 or UV_EINVAL (syntax, port above 65535, path too long). */
RM_MUST_USE int http_address_parse(const char *text, struct http_address *out);

/* Writes it back as text. out: at least HTTP_ADDRESS_TEXT bytes. */
enum { HTTP_ADDRESS_TEXT = 272 };
void http_address_text(const struct http_address *a, char *out);

/* A literal loopback address (127/8, ::1), "localhost", or a Unix socket. */
bool http_address_is_loopback(const struct http_address *a);

#endif
