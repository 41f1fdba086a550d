/* SPDX-License-Identifier: MIT */
/* gateway/mesh/link.h - the line to one worker: its watch stream, and calls of the node protocol
 * (proto/PROTOCOL.md). A link connects by itself, again and again, until it is closed: it follows
 * GET /node/v1/watch and tells each state and each loss. It decides nothing. Two HTTP clients stand
 * behind it: one for watch and control, one that is lent to route for the requests of editors, so
 * that a hundred streams never keep a state from arriving. Loop thread only; callbacks come from
 * the loop. */
#ifndef RM_MESH_LINK_H
#define RM_MESH_LINK_H

#include <uv.h>

#include "gateway/mesh/path.h"
#include "proto/http/client.h"
#include "proto/node/desired.h"
#include "proto/node/state.h"

struct link;

enum {
    LINK_SILENCE_MS = 5000, /* a watch stream that says nothing for so long is given up (the worker
                               speaks every second) */
    LINK_PROBE_MS = 2000,   /* between two measurements of the round trip */
    LINK_RETRY_MS = 500,    /* pause between two attempts to connect */
    LINK_ANSWER_MAX = 1024 * 1024
};

struct link_ops {
    void (*on_state)(struct link *l, const struct node_state *state); /* valid for the call */
    void (*on_lost)(struct link *l, int err); /* the stream broke, or another attempt failed */
};

/* name, address: copied. Starts to connect at once. Returns 0 or a libuv code. */
RM_MUST_USE int link_open(uv_loop_t *loop, const char *name, const struct http_address *address,
                          const struct link_ops *ops, void *arg, struct link **out);

/* Ends it: no on_state or on_lost follows; calls in flight get UV_ECANCELED from the loop. NULL is
 * fine. */
void link_close(struct link *l);

void *link_arg(const struct link *l);
struct http_client *link_run_client(const struct link *l);
bool link_is_up(const struct link *l); /* a state has come over the present stream */

/* How the worker is reached; PATH_UNKNOWN before the first connection. */
enum mesh_path link_path(const struct link *l);

/* Round trip in milliseconds of GET /healthz, which a worker answers from its loop, over a
 * connection that stands: smoothed as RFC 6298 smooths it (an eighth of each new one). < 0: not
 * measured since the stream was up. */
double link_rtt_ms(const struct link *l);

/* The outcome of a call: err 0 and the HTTP status with the body (at most LINK_ANSWER_MAX,
 * borrowed), or err < 0. */
typedef void (*link_answer_cb)(void *arg, int err, int status, struct rm_slice body);

/* One call of the node protocol. body: copied, may be empty. Returns 0, UV_ENOMEM or UV_EINVAL;
 * then cb comes exactly once, from the loop. */
RM_MUST_USE int link_call(struct link *l, const char *method, const char *target,
                          struct rm_slice body, link_answer_cb cb, void *arg);

#endif
