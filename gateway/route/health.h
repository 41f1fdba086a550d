/* SPDX-License-Identifier: MIT */
/* gateway/route/health.h - is a node, or a host, there? Three-valued, with rise and fall; pure.
 * Evidence is what really happened: a watch event or an answered request is good, a broken
 * connection or a damaged answer is bad, and silence counts by the clock. Nothing is decided on one
 * lost packet: UP falls to SUSPECT, SUSPECT to DOWN; DOWN rises to SUSPECT on the first good sign,
 * to UP on the next. SUSPECT is used when nothing better is there. The caller passes the time
 * (rm_now_ms). */
#ifndef RM_ROUTE_HEALTH_H
#define RM_ROUTE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

enum health_state { HEALTH_DOWN, HEALTH_SUSPECT, HEALTH_UP };

struct health_rule {
    uint32_t rise;         /* good signs in a row to be UP */
    uint32_t fall;         /* bad signs in a row to be DOWN */
    uint32_t suspect_ms;   /* silence that makes SUSPECT; 0: silence means nothing */
    uint32_t down_ms;      /* silence that makes DOWN */
    uint32_t forgive_ms;   /* SUSPECT without another bad sign for so long is UP again: a host that
                              gets no traffic   could not prove itself; 0: only good signs lift it */
    uint32_t probation_ms; /* DOWN by bad signs becomes SUSPECT again after this, doubled each time
                              up to 60 s; 0: only a good sign lifts it */
};

/* Nodes: watch events come at 1 Hz; out within 10 s of silence (4 s suspect, 8 s down), back with
 * the second event. */
extern const struct health_rule health_node_rule;
/* Hosts: judged by real traffic alone. */
extern const struct health_rule health_host_rule;

struct health {
    enum health_state state;
    uint32_t good, bad; /* in a row */
    uint64_t last_good_ms;
    uint64_t since_ms; /* of the present state, or of its last bad sign */
    uint32_t downs;    /* times DOWN by bad signs since it was last UP */
};

void health_init(struct health *h, enum health_state state, uint64_t now_ms);

/* Each returns true when the state changed. */
bool health_good(struct health *h, const struct health_rule *rule, uint64_t now_ms);
bool health_bad(struct health *h, const struct health_rule *rule, uint64_t now_ms);
bool health_tick(struct health *h, const struct health_rule *rule,
                 uint64_t now_ms); /* call it every second or so */

const char *health_state_name(enum health_state s); /* "up", "suspect", "down" */

#endif
