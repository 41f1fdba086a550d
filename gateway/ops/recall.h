/* SPDX-License-Identifier: MIT */
/* gateway/ops/recall.h - what the rings in memory hold no more: one request, why it went where it
 * went, and events, read from the history. Every question is bounded: a request is looked for among
 * those that began about when its id was made (front.h: ids carry the time), events come in steps.
 * Loop thread; the file is read in threads of the pool (history.h). */
#ifndef RM_OPS_RECALL_H
#define RM_OPS_RECALL_H

#include "gateway/ops/history.h"

enum {
    RECALL_AROUND_MS = 2000,  /* between an id and its row: steps of the clock, and nothing else */
    RECALL_EVENTS_STEP = 100, /* events of one answer, at most */
    RECALL_EVENTS_BYTES = 128 * 1024, /* an answer that has so much takes no further one */
    RECALL_EVENTS_MAX = 10000,        /* that are replayed; older ones are not */
    RECALL_ROWS_MAX = 20000           /* of requests that are looked at for one id */
};

/* When an id was made, ms of the wall clock. False: it is none of ours. */
bool recall_id_time(const char *id, int64_t *at_ms);

/* The request as JSON (proto/openapi.yaml: Request, with why: Why). on_answer comes once from the
 * loop, with 0 and the object, RM_ERR_NOT_FOUND, or an error of history_read. Returns 0,
 * RM_ERR_NOT_FOUND (no id of ours) or as history_read: then it never comes. */
RM_MUST_USE int recall_request(struct history *h, const char *id, bool why,
                               void (*on_answer)(void *arg, int err, struct rm_slice json),
                               void *arg);

struct recall_events {
    uint64_t after, before; /* ids; both are left out */
    uint64_t last;          /* of the answer; 0: there are none */
    uint32_t n;             /* in the answer */
    bool more;              /* there are more behind `last` */
    bool cut;               /* there are more than RECALL_EVENTS_MAX: the oldest were left out */
};

/* Events as frames of a stream, oldest first. What on_answer is told is valid for the call. Returns
 * as history_read. */
typedef void recall_events_fn(void *arg, int err, const struct recall_events *e,
                              struct rm_slice frames);
RM_MUST_USE int recall_events(struct history *h, uint64_t after, uint64_t before,
                              recall_events_fn *on_answer, void *arg);

#endif
