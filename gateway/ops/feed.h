/* SPDX-License-Identifier: MIT */
/* gateway/ops/feed.h - GET /api/v1/events as a stream: who listens, and what they are sent.
 *
 *   event: event     what happened, with its id: on reconnecting, Last-Event-ID replays what came
 *                    after it, from the history where the ring does not reach back that far; a
 *                    comment says so when that has no more of it either
 *   event: snapshot  with ?live=1: {status,nodes,roles,requests}, the bodies of those GETs, on
 *                    connecting and at most every FEED_SNAPSHOT_MS when they changed, so that what
 *                    happens is told within a second; without an id
 *   event: end       the gateway ends the stream, with the reason
 *
 * Everything is encoded once for all. A listener that does not keep up misses snapshots, is caught
 * up with events when it reads again, and is let go after FEED_SLOW_MS. Loop thread. */
#ifndef RM_OPS_FEED_H
#define RM_OPS_FEED_H

#include "gateway/ops/events.h"
#include "gateway/ops/recall.h"
#include "proto/http/server.h"

enum { FEED_MAX = 256, FEED_SLOW_MS = 15000, FEED_ALIVE_MS = 15000, FEED_SNAPSHOT_MS = 700 };

struct feed;

struct feed_conf {
    const struct events *events;
    int (*snapshot)(void *arg, struct rm_buf *out); /* appends one JSON object on one line */
    /* Asks for events that the ring does not hold; as recall_events. NULL: there is no history. */
    int (*recall)(void *arg, uint64_t after, uint64_t before, recall_events_fn *on_answer,
                  void *answer_arg);
    void *arg;
};

RM_MUST_USE int feed_new(const struct feed_conf *conf, struct feed **out); /* 0 or UV_ENOMEM */
void feed_free(struct feed *f); /* every listener has gone: the server is closed */

/* Takes q and begins the stream. last_id: what the client has seen; 0: only what comes.
 * Returns 0, or an error with nothing taken: RM_ERR_OVERLOAD (FEED_MAX listen), UV_ENOMEM. */
RM_MUST_USE int feed_add(struct feed *f, struct http_req *q, bool live, uint64_t last_id,
                         uint64_t now_ms);

void feed_tell(struct feed *f, uint64_t now_ms);   /* events were added */
void feed_tick(struct feed *f, uint64_t now_ms);   /* several times a second */
void feed_end(struct feed *f, const char *reason); /* ends all streams */

struct feed_stats {
    uint32_t listeners;
    uint64_t snapshots, dropped; /* encoded; listeners let go */
};
void feed_stats(const struct feed *f, struct feed_stats *out);

#endif
