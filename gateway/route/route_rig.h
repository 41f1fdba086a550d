/* SPDX-License-Identifier: MIT */
/* gateway/route/route_rig.h - the route on a real loop with a clock that the test sets, for its
 * tests: nodes are states made here, clients are never used. Time stands until it is passed. */
#ifndef RM_ROUTE_RIG_H
#define RM_ROUTE_RIG_H

#include "gateway/route/route_private.h"

enum { RIG_HOSTS_MAX = 8 };

struct rig {
    uv_loop_t loop;
    struct route *route;
    struct role_map *map;
    uint64_t now_us;
};

/* A ticket and what it was told. */
struct asked {
    struct route_ticket *t;
    int leases, refusals, losts, err;
    char node[32], role[32], text[600];
    uint32_t retry_after;
};

/* What a node says of a host. */
struct told {
    const char *role;
    enum node_host_state state;
    const char *hash;
    double progress;
    uint32_t retry_ms;
    double prefill_tps;
};

/* map: YAML; its nodes have links. NULL: the map is refused (its mistakes are on stderr). */
struct rig *rig_open(const char *map);
int rig_close(struct rig *g); /* 0, or what uv_loop_close says */

/* For cmocka, with the map of most tests: nodes a and b; roles code (one slot, two replicas, queue
 * of 2 for 30 s, fallback ask), ask (two slots), think (one slot, on demand, queue of 4 for 30 s).
 */
int rig_up(void **state);
int rig_down(void **state);

void rig_pass_ms(struct rig *g, uint64_t ms);
void rig_turn(struct rig *g);   /* the loop does what it has to do */
void rig_settle(struct rig *g); /* the same until the sweep's timer has fired, too: 250 ms */

/* Opens a ticket; q keeps what it is told. */
void rig_ask_with(struct rig *g, struct asked *q, const struct route_ask *ask);
void rig_ask(struct rig *g, struct asked *q, const char *role);

/* A state in which the node hosts what is told. Twice, so that the node is up. */
void rig_tell(struct rig *g, const char *node, const struct told *hosts, uint32_t n);

#endif
