/* SPDX-License-Identifier: MIT */
/* gateway/gateway.h - the gateway daemon: its modules started, reloaded and stopped in order.
 *
 *   start    role map ─► route ─► drive (links, forecasts, placing) ─► front ─► HTTP server
 *   reload   SIGHUP, an edit under gateway.watch, an offered map (map/keeper.h): read and checked
 *            whole, then every module gets the new one
 *   stop     SIGTERM, SIGINT: new work is refused, streams finish until the deadline; a second
 *            signal ends at once
 *
 * Loop thread only. */
#ifndef RM_GATEWAY_GATEWAY_H
#define RM_GATEWAY_GATEWAY_H

#include <uv.h>

#include "proto/conf/role_map.h"

struct gateway_options {
    const char *role_map;  /* path; borrowed for the life */
    const char *state_dir; /* absolute; NULL: the default, see proto/base/state_dir.h */
    const char
        *addr_file; /* the bound addresses are written there, a line each; NULL: not wanted */
    int log_level;  /* enum rm_log_level; -1: the map's */
};

/* Runs until a signal ends it. Prints mistakes of the map and of listening on stderr.
 * Returns the exit code: 0 after a clean stop, 2 for what the user must mend (map, ports,
 * permissions), 1 for other failures. */
int gateway_run(const struct gateway_options *options);

#endif
