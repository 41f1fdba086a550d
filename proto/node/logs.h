/* SPDX-License-Identifier: MIT */
/* proto/node/logs.h - the answer of GET /node/v1/logs: the last lines of a worker's log and of what
 * its engines write. Plain data with encoder and decoder in the order of PROTOCOL.md; the lines are
 * kept in proto/base/log_ring.h. No I/O. */
#ifndef RM_NODE_LOGS_H
#define RM_NODE_LOGS_H

#include "proto/base/log_ring.h"
#include "proto/node/state.h"

enum { LOGS_PAGE_MAX = 500, LOGS_PAGE_BYTES = 256 * 1024, LOGS_TEXT_MAX = 2050 };

struct node_log_line {
    uint64_t id;    /* rises, also over restarts */
    uint64_t at_ms; /* wall clock of the worker */
    enum rm_log_level level;
    char engine[NODE_NAME_MAX]; /* role, or "" */
    char area[NODE_NAME_MAX];
    char text[LOGS_TEXT_MAX];
};

struct node_logs {
    char node[NODE_NAME_MAX];
    uint64_t next; /* ask again with before=next for older ones; 0: that was all */
    uint32_t n;
    struct node_log_line *lines; /* newest first; owned; at most LOGS_PAGE_MAX */
};

/* A page of this process's own ring. Returns 0 or UV_ENOMEM; to be cleared in either case. */
RM_MUST_USE int node_logs_take(const struct rm_log_wish *wish, struct node_logs *out);

void node_logs_clear(struct node_logs *l);                           /* frees lines, zeroes */
int node_logs_encode(const struct node_logs *l, struct rm_buf *out); /* as node_state_encode */
RM_MUST_USE int node_logs_decode(struct rm_slice json, struct node_logs *out,
                                 char *why); /* as node_state_decode */

#endif
