/* SPDX-License-Identifier: MIT */
/* cli/follow.h - one event stream of a gateway (GET /api/v1/events), held over restarts and broken
 * lines: it connects again by itself, names the last event that it had, and gives up a stream that
 * is silent for longer than the gateway ever is. One loop; callbacks come from it. */
#ifndef RM_CLI_FOLLOW_H
#define RM_CLI_FOLLOW_H

#include <uv.h>

#include "proto/http/address.h"
#include "proto/http/sse.h"

enum {
    FOLLOW_SILENCE_MS = 40000, /* a gateway says something every 15 s (gateway/ops/feed.h) */
    FOLLOW_RETRY_MS = 250,     /* the first pause; doubled up to */
    FOLLOW_RETRY_MAX_MS = 4000,
    FOLLOW_EVENT_MAX = 20 << 20 /* bytes of one event: a snapshot of a large cluster */
};

struct follow;

struct follow_ops {
    void (*on_event)(void *arg, const struct sse_event *e); /* with data; valid for the call */
    /* It broke, or an attempt failed; it is tried again. err: why, or 0 and the status of HTTP that
     * was not 200, or 0 and 200: the gateway ended the stream. */
    void (*on_lost)(void *arg, int err, int status);
};

/* address, target: copied. Starts to connect at once. Returns 0 or an error. */
RM_MUST_USE int follow_open(uv_loop_t *loop, const struct http_address *address, const char *target,
                            const struct follow_ops *ops, void *arg, struct follow **out);

/* What comes after the event of this id, which was heard of otherwise; before the loop runs. */
void follow_after(struct follow *f, uint64_t id);

/* No callback follows; frees from the loop. NULL is fine. */
void follow_close(struct follow *f);

#endif
