/* SPDX-License-Identifier: MIT */
#include "gateway/metrics.h"

#include "proto/base/log.h"

static void put(struct rm_om *om, const char *name, enum rm_om_type type, const char *unit,
                const char *help, uint64_t value)
{
    rm_om_family(om, name, type, unit, help);
    rm_om_u64(om, value);
}

void gateway_write_metrics(const struct gateway_figures *f, struct rm_om *om)
{
    const struct http_server_stats *s = &f->server;

    rm_om_family(om, "rolemesh_build", RM_OM_INFO, "", "This gateway.");
    rm_om_labels(om, "version", RM_VERSION, NULL);
    rm_om_u64(om, 1);
    rm_self_write(om);
    rm_lag_write(f->lag, om);
    rm_om_family(om, "rolemesh_uptime_seconds", RM_OM_GAUGE, "seconds", "Since the start.");
    rm_om_dbl(om, (double)f->uptime_ms / 1000);
    put(om, "rolemesh_draining", RM_OM_GAUGE, "", "1: it is stopping, new requests are refused.",
        f->draining);
    put(om, "rolemesh_connections", RM_OM_GAUGE, "", "Open connections of clients.",
        s->connections);
    put(om, "rolemesh_connections_accepted", RM_OM_COUNTER, "", "Connections taken.", s->accepted);
    put(om, "rolemesh_connections_refused", RM_OM_COUNTER, "",
        "Connections over gateway.connections_max.", s->refused);
    put(om, "rolemesh_http_requests", RM_OM_COUNTER, "", "HTTP requests of any kind.", s->requests);
    put(om, "rolemesh_http_client_aborts", RM_OM_COUNTER, "",
        "Requests whose client left before the answer was whole.", s->client_aborts);
    put(om, "rolemesh_http_bad_requests", RM_OM_COUNTER, "",
        "Requests that are not HTTP as it should be.", s->bad_requests);
    put(om, "rolemesh_http_queued_bytes", RM_OM_GAUGE, "bytes",
        "Bytes of answers held for slow clients.", s->queued_bytes);
    put(om, "rolemesh_reloads", RM_OM_COUNTER, "", "Role maps taken over.", f->maps.reloads);
    put(om, "rolemesh_reload_failures", RM_OM_COUNTER, "", "Role maps refused.", f->maps.failures);
    put(om, "rolemesh_log_lines_lost", RM_OM_COUNTER, "", "Lines that nobody took in time.",
        rm_log_dropped());
}
