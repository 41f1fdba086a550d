/* SPDX-License-Identifier: MIT */
/* gateway/route/route_private.h - the route's own struct, for route.c (which changes it) and
 * report.c (which prints it), and for tests that drive its time. */
#ifndef RM_ROUTE_PRIVATE_H
#define RM_ROUTE_PRIVATE_H

#include "gateway/route/cluster.h"

struct route {
    struct cluster cluster;
    struct role_map *map; /* a reference */
    TAILQ_HEAD(, route_ticket) fresh, leased;
    uv_idle_t idle;   /* runs once after something changed, so that nobody is called back inside his
                         own call */
    uv_timer_t sweep; /* deadlines and silence */
    int open_handles;
    bool draining;
    void (*on_wanted)(void *arg, const char *role);
    void *on_wanted_arg;
};

/* What the timer does four times a second: silence, deadlines, what left. */
void route_sweep(struct route *r);

#endif
