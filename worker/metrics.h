/* SPDX-License-Identifier: MIT */
/* worker/metrics.h - what a worker tells a metrics collector: GET /metrics, in the forms of
 * proto/base/om.h. Labels are names of the role map and words of ours: at most 64 hosts, so their
 * number is bounded. Every figure is from memory, but for those of the process (/proc/self). Pure
 * otherwise. */
#ifndef RM_WORKER_METRICS_H
#define RM_WORKER_METRICS_H

#include "proto/base/self.h"
#include "proto/http/server.h"
#include "proto/node/ledger.h"
#include "worker/memory/measure_host.h"

enum { METRICS_TEXT_MAX = 1024 * 1024, METRICS_RATIOS = 10 };

struct worker_figures {
    const struct node_state *state;
    const struct node_ledger_row *rows; /* of the ledger; n_rows of them */
    uint32_t n_rows;
    bool ledger_usable;
    uint64_t ledger_lost;
    uint64_t guard_refused, guard_drained, guard_stopped; /* steps of memory/guard.h */
    struct meters_loads loads;
    struct rm_lag lag;
    struct http_server_stats server;
};

void metrics_put(const struct worker_figures *f, struct rm_om *om);

#endif
