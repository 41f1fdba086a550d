/* SPDX-License-Identifier: MIT */
/* gateway/ops/events.h - what happened: a bounded ring of events with rising ids.
 * An event is encoded once, when it is added; lists, streams and history use the same bytes. Ids
 * begin at the wall clock's milliseconds, so that they rise over restarts as well (as long as fewer
 * than 1000 a second happen), and fit into a JSON number. Loop thread. */
#ifndef RM_OPS_EVENTS_H
#define RM_OPS_EVENTS_H

#include "proto/base/buf.h"

enum { EVENTS_MAX = 1024, EVENT_TEXT_MAX = 600 };

enum event_severity { EVENT_INFO, EVENT_WARNING, EVENT_ERROR };
const char *event_severity_name(enum event_severity s); /* "info", "warning", "error" */

/* Borrowed for the call. Texts may come from elsewhere: they are cut, and bytes that are not UTF-8
 * replaced. */
struct event {
    enum event_severity severity;
    const char *kind;    /* "node.down" */
    const char *subject; /* a node, role, "role@node", or "gateway" */
    const char *text;    /* one line */
    const char *next;    /* a suggested next step; NULL: none */
};

struct events {
    struct {
        uint64_t id;
        char *json; /* owned */
    } ring[EVENTS_MAX];
    uint64_t first, next; /* ids that the ring holds: first..next-1 */
};

void events_init(struct events *e, int64_t wall_ms);
void events_clear(struct events *e);

/* Returns its id, or 0: no memory. */
uint64_t events_add(struct events *e, const struct event *event, int64_t wall_ms);

/* The JSON object of an id; NULL: not in the ring. */
const char *events_get(const struct events *e, uint64_t id);

int events_write(const struct events *e, struct rm_buf *out); /* JSON array, newest first */

#endif
