/* SPDX-License-Identifier: MIT */
/* gateway/metrics.h - what the gateway tells collectors of itself: build, process, loop, listeners'
 * connections, reloads. Of gateway.c alone. */
#ifndef RM_GATEWAY_METRICS_H
#define RM_GATEWAY_METRICS_H

#include "gateway/map/keeper.h"
#include "proto/base/self.h"
#include "proto/http/server.h"

struct gateway_figures {
    struct http_server_stats server;
    struct map_keeper_stats maps;
    const struct rm_lag *lag;
    uint64_t uptime_ms;
    bool draining;
};

void gateway_write_metrics(const struct gateway_figures *f, struct rm_om *om);

#endif
