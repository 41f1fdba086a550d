/* SPDX-License-Identifier: MIT */
/* proto/http/server.h - the server side of HTTP/1.1 connections on libuv: TCP and Unix sockets.
 * One http_server per daemon holds listeners and connections; each request is handed out once as a
 * struct http_req, whose life ends with on_done. Keep-alive; pipelined requests one after another;
 * 100-continue is sent when the handler first takes body bytes; deadlines for head, body rate and
 * idle connections by one coarse timer. Loop thread only. Callbacks come from the loop, never
 * inside the call that asked.
 *
 *   connection: HC_IDLE -> HC_HEAD -> HC_BODY -> HC_REPLY -> HC_IDLE | HC_LINGER -> closed (style
 * of design section 4) */
#ifndef RM_HTTP_SERVER_H
#define RM_HTTP_SERVER_H

#include <uv.h>

#include "proto/http/address.h"
#include "proto/http/message.h"

struct http_server;
struct http_req;

/* What the server tells a request's handler. on_done is required, the others may be NULL. */
struct http_req_ops {
    /* Body bytes, decoded; valid for the call. Not called while paused. */
    void (*on_body)(struct http_req *q, const char *bytes, size_t n);
    /* The whole body has been read. */
    void (*on_end)(struct http_req *q);
    /* The reply queue fell below the low mark after http_reply_write had said RM_WAIT. */
    void (*on_writable)(struct http_req *q);
    /* The request will not go on: the client is gone (EOF, half-close, reset, stalled), or its body
     * is damaged, too slow or too large: why < 0. Called at most once and only before the reply was
     * ended; the handler stops its work; reply calls after it do nothing and return RM_ERR_GONE.
     * Where why has a status for the client (RM_ERR_BODY_TOO_LARGE, RM_ERR_HTTP_SYNTAX in a chunk,
     * RM_ERR_HTTP_TIMEOUT) and no reply was started, the handler may answer inside this call with
     * http_reply_full; else the server does. */
    void (*on_gone)(struct http_req *q, int why);
    /* The last callback: everything is written or given up; q is invalid afterwards. */
    void (*on_done)(struct http_req *q);
};

struct http_server_conf {
    struct http_limits limits;
    uint32_t head_ms; /* whole head within; 10000 */
    uint32_t idle_ms; /* keep-alive; 120000 (Go clients pool 90 s) */
    uint32_t
        body_rate_bytes; /* least bytes per second of a body, over any 10 s; 1024; 0: no check */
    uint32_t write_stall_ms;  /* nothing written for this long while bytes wait: the client is gone;
                                 60000 */
    uint32_t max_connections; /* over it: accepted, 503, closed; 0: from RLIMIT_NOFILE - 64 */
    uint32_t queue_bytes; /* reply bytes held per request before RM_WAIT; 192 KiB, so that with the
64 KiB of one more read at most 256 KiB are held; low mark is a
                             quarter */
    uint32_t notsent_lowat; /* TCP_NOTSENT_LOWAT; 16 KiB */
    /* A request's head is complete. The handler keeps q, calls http_req_accept, and may reply at
     * once. */
    void (*on_request)(void *arg, struct http_req *q);
    /* The body of an error the server itself answers (syntax, limits, timeouts, overload). Writes
     * JSON into out (bounded); path may be NULL when no head was parsed. NULL:
     * {"error":{"message","type","code"}} */
    void (*error_body)(void *arg, int err, const struct http_head *head, struct rm_buf *out);
    void *arg;
};
extern const struct http_server_conf http_server_conf_default;

/* Copies conf. SIGPIPE is ignored in this process from here on, if it had its default action.
 * Returns 0 or a libuv code. */
RM_MUST_USE int http_server_new(uv_loop_t *loop, const struct http_server_conf *conf,
                                struct http_server **out);

/* Listens. bound (may be NULL): the address with the real port. A Unix path is bound with mode
 * 0600; a stale socket file is removed first, a live one is UV_EADDRINUSE. Returns 0 or a libuv
 * code. */
RM_MUST_USE int http_server_listen(struct http_server *s, const struct http_address *a,
                                   struct http_address *bound);

/* Stops accepting; idle connections close, others after their reply (Connection: close). */
void http_server_drain(struct http_server *s);

/* Cuts what is left and frees; on_closed (may be NULL) comes from the loop. */
void http_server_close(struct http_server *s, void (*on_closed)(void *arg), void *arg);

struct http_server_stats {
    uint64_t accepted, refused, requests, client_aborts, bad_requests;
    uint32_t connections, active; /* open; with a request in flight */
    uint64_t queued_bytes;        /* reply bytes held in user space */
};
void http_server_stats(const struct http_server *s, struct http_server_stats *out);

/* ---- one request ----
 * Some the server answers itself and no handler sees: what the parser refuses, `OPTIONS *` (204), a
 * POST without length (411, the connection stays), an Expect other than 100-continue (417). A reply
 * that begins while the request body is unread keeps the connection only if the rest is at most
 * 256 KiB and its sender does not wait for a 100; that rest is read and dropped. */

/* Takes the request: from now on ops are called. Must be called inside on_request. arg is what
 * http_req_arg returns. */
void http_req_accept(struct http_req *q, const struct http_req_ops *ops, void *arg);
void *http_req_arg(const struct http_req *q);
const struct http_head *http_req_head(const struct http_req *q); /* valid until on_done */
const char *http_req_peer(const struct http_req *q);             /* "127.0.0.1:51234" or "unix" */
uint64_t http_req_start_us(const struct http_req *q); /* first byte of the head, rm_now_us */

/* Overwrites a part of the head (a slice of it) with '*': what is secret and has been read should
 * not stay in memory, nor reach a log by way of the path. */
void http_req_wipe(struct http_req *q, struct rm_slice part);

/* Bytes a body may have; set inside on_request; more: on_gone(RM_ERR_BODY_TOO_LARGE). */
void http_req_set_body_limit(struct http_req *q, uint64_t bytes);
void http_req_pause(struct http_req *q); /* stop reading the body */
void http_req_resume(struct http_req *q);

/* Starts a reply. length: of the body, or -1: chunked (HTTP/1.0: until close). HEAD requests and
 * 204/304 send no body whatever is written. Content-Length, Transfer-Encoding, Connection,
 * Keep-Alive and Date are the server's; fields are copied. The head leaves with the first body
 * bytes or with http_reply_flush. Returns 0, RM_ERR_GONE, or UV_EINVAL (a field with CR, LF or
 * NUL). */
int http_reply_start(struct http_req *q, int status, const struct http_out_field *fields,
                     size_t n_fields, int64_t length);

/* Sends body bytes: try-write first, only what the kernel does not take is copied. All slices of
 * one call go as one chunk and one writev. Returns 0, RM_WAIT (taken, but the source should pause
 * until on_writable), RM_ERR_TOO_BIG (over queue_bytes * 2: the caller ignored RM_WAIT; nothing
 * taken) or RM_ERR_GONE. */
int http_reply_write(struct http_req *q, const struct rm_slice *pieces, size_t n_pieces);
int http_reply_flush(struct http_req *q);           /* sends the head now */
size_t http_reply_queued(const struct http_req *q); /* bytes held in user space */
bool http_reply_started(const struct http_req *q);  /* http_reply_start was called */
void http_reply_end(
    struct http_req *q); /* the body is complete; on_done follows when it is written */
void http_reply_close_after(
    struct http_req *q); /* Connection: close, whatever the client wants; before the head leaves */

/* Ends the connection without a last chunk: the client sees a broken answer. on_done follows. */
void http_reply_cut(struct http_req *q);

/* A whole answer in one call: start, write, end. type NULL: no body. */
int http_reply_full(struct http_req *q, int status, const struct http_out_field *fields,
                    size_t n_fields, const char *type, struct rm_slice body);

#endif
