/* SPDX-License-Identifier: MIT */
/* proto/http/message.h - one HTTP/1.1 message head as data, and the limits that messages are held
 * to. parser.c fills heads, server.c and client.c hand them out, everybody reads them. A head is
 * immutable once it is handed out. */
#ifndef RM_HTTP_MESSAGE_H
#define RM_HTTP_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"

/* Limits on what a peer may send. Beyond: 431 (fields), 414 (target), 413 (body); a client call
 * fails instead. */
struct http_limits {
    uint32_t fields;       /* header fields, trailers counted by themselves */
    uint32_t name_bytes;   /* of one field */
    uint32_t value_bytes;  /* of one field */
    uint32_t head_bytes;   /* start line and fields together */
    uint32_t target_bytes; /* of a request */
    uint32_t interim;      /* 1xx answers before the final one */
    uint64_t body_bytes;   /* of one message; a server's handler may set another per request */
};

/* The limits of both sides; only bodies differ. */
#define HTTP_LIMITS(body)                                                                          \
    {                                                                                              \
        .fields = 100, .name_bytes = 1024, .value_bytes = 16 * 1024, .head_bytes = 32 * 1024,      \
        .target_bytes = 8 * 1024, .interim = 8, .body_bytes = (body)                               \
    }
extern const struct http_limits http_limits_default; /* of a server: 64 MiB */

enum http_method {
    HTTP_OTHER, /* a token we have no name for */
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_PATCH,
    HTTP_TRACE,
    HTTP_CONNECT
};

enum http_framing {
    HTTP_BODY_NONE,   /* no body by rule or Content-Length: 0 */
    HTTP_BODY_LENGTH, /* content_length bytes */
    HTTP_BODY_CHUNKED,
    HTTP_BODY_EOF /* responses only: until the peer closes */
};

struct http_field {
    struct rm_slice name;  /* as sent; compare with rm_slice_ieq */
    struct rm_slice value; /* outer blanks removed; may hold obs-text bytes */
};

struct http_head {
    enum http_method method;     /* requests */
    struct rm_slice method_text; /* requests */
    struct rm_slice
        target; /* requests: raw bytes, origin-form or "*"; absolute-form has been reduced to it */
    struct rm_slice path,
        query; /* requests: target before and after '?', still percent-encoded; query without '?' */
    struct rm_slice host; /* requests: the Host value ("" in HTTP/1.0 without one) */
    uint16_t status;      /* responses */
    uint8_t minor;        /* HTTP/1.minor: 0 or 1 */
    bool keep_alive;      /* the peer would reuse the connection after this message */
    bool expect_continue; /* requests: Expect: 100-continue and HTTP/1.1 */
    enum http_framing framing;
    uint64_t content_length; /* HTTP_BODY_LENGTH */
    uint32_t n_fields;
    const struct http_field
        *fields; /* in the order sent; trailers are dropped, never merged in here */
};

/* First field of that name (case ignored) or NULL. */
const struct http_field *http_head_find(const struct http_head *h, const char *name);

/* Its value, or the empty slice. */
struct rm_slice http_head_value(const struct http_head *h, const char *name);

/* True when a comma list field (all fields of that name) has the token, case ignored. */
bool http_head_has_token(const struct http_head *h, const char *name, const char *token);

/* True for fields that end at this hop: RFC 9110 section 7.6.1's list, what Connection names,
 * Content-Length and Transfer-Encoding (framing is always made anew), Host, Expect and Proxy-*. A
 * relay copies the others only. */
bool http_field_is_hop(const struct http_head *h, const struct http_field *f);

/* A field to be sent. Name and value are checked when they are written: CR, LF or NUL inside fail
 * the call. */
struct http_out_field {
    const char *name;
    struct rm_slice value;
};

const char *http_reason(int status); /* "Not Found"; "" when unknown */

#endif
