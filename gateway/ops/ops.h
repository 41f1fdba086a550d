/* SPDX-License-Identifier: MIT */
/* gateway/ops/ops.h - what operators and their tools ask the gateway: health, metrics, nodes and
 * roles. One table maps path to method and writer. Every answer is made from what route, front and
 * drive hold in memory, so that none waits for a worker. The ops routes never carry CORS headers.
 * Only gateway.c includes this folder. Loop thread only.
 *
 *   GET /healthz        200 while the loop turns
 *   GET /readyz         200 when requests can be served, else 503 with the reason
 *   GET /metrics        OpenMetrics text
 *   GET /api/v1/nodes   {"nodes":[...]}; the fields are in proto/openapi.yaml
 *   GET /api/v1/roles   {"roles":[...],"shortfalls":[...]} */
#ifndef RM_OPS_OPS_H
#define RM_OPS_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/http/server.h"

/* Where the figures come from; each writer appends and returns as rm_buf_put. */
struct ops_sources {
    void *arg;
    int (*nodes)(void *arg, struct rm_buf *out);      /* JSON array */
    int (*roles)(void *arg, struct rm_buf *out);      /* JSON array */
    int (*shortfalls)(void *arg, struct rm_buf *out); /* JSON array */
    int (*metrics)(void *arg, struct rm_buf *out);    /* OpenMetrics families without # EOF */
    const char *(*not_ready)(void *arg);              /* why not; NULL: ready */
};

/* True when the path belongs to ops: the request was taken and answered. Called inside
 * http_server_conf.on_request. */
bool ops_on_request(const struct ops_sources *sources, struct http_req *q);

#endif
