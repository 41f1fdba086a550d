/* SPDX-License-Identifier: MIT */
/* gateway/route/score.h - how soon would a host be done with a prompt? In seconds; pure.
 *
 *   rest of its load + wait for a slot + tokens not cached / measured prefill speed
 *   + round trip + a penalty for a suspect host
 *
 * Counts of requests alone are not compared: a host that is twice as fast and has one request more
 * is the better one. */
#ifndef RM_ROUTE_SCORE_H
#define RM_ROUTE_SCORE_H

#include <stdbool.h>
#include <stdint.h>

struct score_host {
    uint32_t slots;     /* at least 1 */
    uint32_t in_flight; /* requests we have there now */
    uint32_t queued;    /* requests waiting in its engine */
    double prefill_tps; /* tokens a second; 0: not measured */
    double service_s;   /* how long a request lasts there, moving average; 0: not measured */
    double load_s;      /* until it is loaded; 0: it is */
    double rtt_s;       /* round trip; 0 as long as nothing measures it */
    uint32_t cached;    /* tokens of this prompt it probably still holds */
    bool suspect;
};

struct score_terms { /* seconds, as `rolemesh why` will print them */
    double load, wait, prefill, rtt, penalty, total;
};

/* prompt: tokens, an estimate. */
struct score_terms score_host_for(const struct score_host *h, uint32_t prompt);

#endif
