/* SPDX-License-Identifier: MIT */
/* proto/http/relay.h - one response from an upstream call to a client's reply, at the client's
 * pace. The one relay of gateway and worker. It owns the call from relay_start on and implements
 * its ops: pauses the upstream when the reply queue is over its mark and resumes when it is low,
 * gathers the pieces of one socket read into one write, aborts the call when told that the client
 * is gone. What stands between the two sides is the owner's filter; without one, bytes pass through
 * untouched and uncopied.
 *
 *   worker ──call──► [on_head] ─► [filter] ─► relay_put ─► http_reply_write ──► client
 *                └── pause/resume ◄── RM_WAIT / on_writable ──┘
 *
 * What one stream holds in user space is the reply's queue: at most the server's queue_bytes and
 * what one socket read (64 KiB) adds to it. A request body that is streamed goes the other way
 * through relay_send, with the same pauses. Loop thread only. */
#ifndef RM_HTTP_RELAY_H
#define RM_HTTP_RELAY_H

#include "proto/http/client.h"
#include "proto/http/server.h"

struct relay;

struct relay_ops {
    /* The upstream's head. The owner decides and starts the reply (http_reply_start) or leaves it
     * to relay_copy_head. Returns 0 to relay the body, RM_WAIT to have the body handed to filter
     * only (nothing is sent by itself), or an error: the call is aborted and on_finish gets it.
     * NULL: relay_copy_head. */
    int (*on_head)(struct relay *r, const struct http_head *head);
    /* Body bytes in; what shall go out is given to relay_put (slices must stay valid until the
     * filter's next relay_flush or its return from the batch; copy otherwise). Returns 0 or an
     * error, which ends the relay. NULL: bytes pass. */
    int (*filter)(struct relay *r, const char *bytes, size_t n);
    /* The last callback, exactly once: 0: the upstream's body ended whole; else why not. The reply
     * has not been ended: the owner does (http_reply_end, an error event, http_reply_cut). The
     * relay is freed after it returns. Not called after relay_abort. */
    void (*on_finish)(struct relay *r, int err);
};

/* Starts the call and relays its response into q. Returns as http_call_start. spec's body must stay
 * valid until on_finish or relay_abort, or until the call was sent and answered; see client.h. */
RM_MUST_USE int relay_start(struct http_client *c, const struct http_call_spec *spec,
                            struct http_req *q, const struct relay_ops *ops, void *arg,
                            struct relay **out);
void *relay_arg(const struct relay *r);
struct http_call *
relay_call(const struct relay *r); /* for streaming the request body; NULL once it is over */

/* Passes bytes of a streamed request body on (the owner's http_req_ops.on_body) and pauses q while
 * the upstream is slower; relay_send_end from its on_end. Bytes that the upstream will not read any
 * more are dropped: its answer, or on_finish, tells. Returns 0 or RM_ERR_TOO_BIG (more than
 * spec.stream_length). */
int relay_send(struct relay *r, const char *bytes, size_t n);
void relay_send_end(struct relay *r);

/* Starts the reply with the upstream's status, end-to-end fields and framing; it leaves when the
 * socket read that brought it is through, with the body bytes that came along. Returns as
 * http_reply_start. */
int relay_copy_head(struct relay *r, const struct http_head *head);

/* Queues bytes for the client inside filter or on_head; sent when the batch ends, and whenever 56
 * pieces are together. Both return 0 or what http_reply_write returned, RM_WAIT excepted: the relay
 * sees to that. */
int relay_put(struct relay *r, struct rm_slice piece);
int relay_flush(struct relay *r);

/* The owner's http_req_ops.on_writable calls this. */
void relay_on_writable(struct relay *r);

/* Ends it now: the call is aborted, no callback follows. For a client that is gone. NULL is fine.
 */
void relay_abort(struct relay *r);

/* For on_finish: what came was well framed but is no answer; its connection is not used again. */
void relay_drop_connection(struct relay *r);

bool relay_got_bytes(
    const struct relay *r); /* a response byte has arrived: no retry elsewhere after this */

#endif
