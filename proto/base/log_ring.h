/* SPDX-License-Identifier: MIT */
/* proto/base/log_ring.h - the last lines of this process's log, kept in memory for operators who
 * ask from elsewhere (GET /node/v1/logs, GET /api/v1/logs). What rm_log writes is kept once
 * rm_log_ring_open was called; a worker adds what its engines write. At most RM_LOG_RING_LINES
 * lines and RM_LOG_RING_BYTES bytes of text: the oldest leave. Ids rise, also over restarts: they
 * begin at the wall clock's milliseconds. One ring a process; any thread. */
#ifndef RM_BASE_LOG_RING_H
#define RM_BASE_LOG_RING_H

#include <stddef.h>

#include "proto/base/err.h"
#include "proto/base/log.h"

enum { RM_LOG_RING_LINES = 4096, RM_LOG_RING_BYTES = 1 << 20 };

struct rm_log_entry {
    uint64_t id;
    int64_t at_ms; /* wall clock */
    enum rm_log_level level;
    const char *engine;      /* whose output; "": the process's own line */
    const char *area, *text; /* one line of printable ASCII each, without its newline */
};

struct rm_log_wish {
    uint64_t after, before;  /* ids between, both out; before 0: to the end */
    enum rm_log_level level; /* and worse */
    const char *engine;      /* of this one only; NULL: of all, and our own; "": our own only */
    size_t limit;            /* lines at most */
    size_t bytes;            /* of text at most, but one line always; 0: no limit */
};

/* Returns 0 or UV_ENOMEM. A second call is fine. Nothing gives it back but the process's end. */
RM_MUST_USE int rm_log_ring_open(void);

/* A line that somebody else wrote. Bytes that are not printable ASCII become '?'; what is longer
 * than a line of the log is cut. Nothing happens before rm_log_ring_open. */
void rm_log_ring_add(enum rm_log_level level, const char *engine, const char *area,
                     const char *text);

/* Calls each with the lines that are wished for, newest first; they are valid for the call, which
 * must not log and ends the reading by returning other than 0. *next: the `before` of what follows,
 * 0: that was all. Returns what each returned last, or 0. */
int rm_log_ring_read(const struct rm_log_wish *wish,
                     int (*each)(void *arg, const struct rm_log_entry *e), void *arg,
                     uint64_t *next);

#endif
