/* SPDX-License-Identifier: MIT */
/* proto/http/client.h - the client side: calls to one address over kept connections.
 * One http_client per upstream address holds its idle connections; a call borrows one or opens one.
 * The response goes through the same strict parser as everything else; redirects are never followed
 * (the caller sees the status). A stale kept connection that dies before a response byte is retried
 * once on a new one, silently, if the body can be sent again. A connection on which bytes came that
 * no request of ours was waiting for is never used again (those that come after the next request
 * has left cannot be told from its answer). Loop thread only; callbacks come from
 * the loop. */
#ifndef RM_HTTP_CLIENT_H
#define RM_HTTP_CLIENT_H

#include <uv.h>

#include "proto/http/address.h"
#include "proto/http/message.h"

struct http_client;
struct http_call;

struct http_client_conf {
    struct http_limits
        limits;          /* for responses; body_bytes: no limit by default, they are never held */
    uint32_t connect_ms; /* 2000, name look-up included; late: UV_ETIMEDOUT */
    uint32_t head_ms;    /* first byte of the response after the request was sent; 0: no limit */
    uint32_t idle_ms;    /* silence inside a response body; 0: no limit */
    uint32_t keep_ms;    /* how long an unused connection is kept; 30000 */
    uint32_t keep_max;   /* unused connections kept; 64 */
    const char *host;    /* Host value; NULL: the address ("localhost" for Unix sockets) */
};
extern const struct http_client_conf http_client_conf_default;

/* Copies conf and address. */
RM_MUST_USE int http_client_new(uv_loop_t *loop, const struct http_address *a,
                                const struct http_client_conf *conf, struct http_client **out);

/* Open connections, also those being opened and kept ones. */
uint32_t http_client_connections(const struct http_client *c);

/* Closes kept connections, aborts calls in flight with UV_ECANCELED, frees when the last handle is
 * closed. NULL is fine. */
void http_client_close(struct http_client *c);

/* on_done is required, the others may be NULL. Order: on_head, on_body*, on_end | on_fail, on_done.
 */
struct http_call_ops {
    void (*on_head)(struct http_call *k, const struct http_head *head); /* valid until on_done */
    void (*on_body)(struct http_call *k, const char *bytes,
                    size_t n); /* decoded; valid for the call; points into the read buffer */
    void (*on_batch)(struct http_call *k);    /* all of one socket read has been told by on_head and
                                                 on_body: flush */
    void (*on_writable)(struct http_call *k); /* after http_call_write said RM_WAIT */
    void (*on_end)(struct http_call *k);      /* the response is whole */
    void (*on_fail)(struct http_call *k,
                    int err); /* connect, timeout, reset, damaged: a libuv code, RM_ERR_HTTP_*,
                                 RM_ERR_UPSTREAM_TIMEOUT */
    void (*on_done)(struct http_call *k); /* the last callback; k is invalid afterwards */
};

struct http_call_spec {
    const char *method; /* "GET" */
    struct rm_slice target;
    const struct http_out_field *fields; /* copied; Host, Content-Length, Transfer-Encoding and
                                            Connection are the client's */
    size_t n_fields;
    const struct rm_slice *body; /* whole body as pieces, not copied: the bytes stay valid until
                                    on_done, or until http_call_was_sent and http_call_got_bytes
                                    are both true (the array itself is copied) */
    size_t n_body;
    int64_t stream_length; /* with n_body 0: bytes that http_call_write will send, -1: chunked, 0:
                              no body */
    uint32_t head_ms;      /* overrides the conf's when not 0 */
};

/* The address of the connection opened last, AF_UNIX without a path for a Unix socket; NULL: none
 * was yet. */
const struct sockaddr *http_client_peer(const struct http_client *c);

/* Starts a call; never calls back inside. ops and arg are borrowed until on_done. Returns 0,
 * UV_ENOMEM, UV_EINVAL (method, target, a field with a control byte, both kinds of body),
 * RM_ERR_TOO_BIG (a head of more than 64 KiB) or UV_ECANCELED (the client is being closed). */
RM_MUST_USE int http_call_start(struct http_client *c, const struct http_call_spec *spec,
                                const struct http_call_ops *ops, void *arg, struct http_call **out);
void *http_call_arg(const struct http_call *k);

/* Streams the request body (stream_length != 0), from the start on. Copies what the kernel does not
 * take. Returns 0, RM_WAIT (taken; over 256 KiB wait: pause until on_writable), RM_ERR_TOO_BIG
 * (over 512 KiB, more than 64 pieces or more than stream_length: nothing taken) or UV_EPIPE (the
 * peer reads no more: an answer or on_fail follows). Such a call is not sent a second time. */
int http_call_write(struct http_call *k, const struct rm_slice *pieces, size_t n_pieces);
void http_call_end(struct http_call *k); /* the request body is complete */

/* Stops reading the response; on_body still comes for what one socket read (64 KiB) had brought. No
 * idle deadline runs meanwhile. */
void http_call_pause(struct http_call *k);
void http_call_resume(struct http_call *k);
bool http_call_got_bytes(const struct http_call *k); /* a byte of the response has arrived */
bool http_call_was_kept(const struct http_call *k);  /* no connection was opened for it; valid in
                                                        on_head */
bool http_call_was_sent(const struct http_call *k); /* the whole request was handed to the kernel */

/* Drops the connection at once; only on_done follows (from the loop). The request's body is not
 * read any more. */
void http_call_abort(struct http_call *k);

#endif
