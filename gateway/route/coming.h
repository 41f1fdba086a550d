/* SPDX-License-Identifier: MIT */
/* gateway/route/coming.h - a role that nobody can serve now: is it coming, when, and in what words?
 * Reads the cluster: what its hosts' states say, and the note that drive has left. Pure: time comes
 * in (rm_now_ms), nothing is kept but a queue's clock. Neighbours: route.c asks when it keeps,
 * moves or refuses tickets, report.c prints the same figures. */
#ifndef RM_ROUTE_COMING_H
#define RM_ROUTE_COMING_H

#include "gateway/route/cluster.h"

enum {
    COMING_STALL_MS = 60 * 1000,    /* without progress for so long, a load is not believed in */
    COMING_CAP_MS = 30 * 60 * 1000, /* no request waits longer, however its role is loaded */
    COMING_CANNOT_MS = 60 * 1000, /* then a request waits again, so that drive sees it is wanted */
    COMING_RETRY_S = 30,          /* advice where nothing is known */
    COMING_RETRY_MAX_S = 60
};

struct coming {
    bool is; /* it comes: the clocks of those who wait stand */
    const struct cluster_host
        *host;         /* the one that is being loaded, nearest to ready; NULL: none */
    const char *node;  /* its name, or what the note says; NULL: not known yet */
    double progress;   /* of its present state, 0..1 */
    uint64_t eta_ms;   /* from now; 0: unknown */
    uint64_t until_ms; /* when it is not believed in any more, unless it moves */
};

/* For any role; one with a usable host does not come, it is there. */
void coming_of(const struct cluster_role *role, uint64_t now_ms, struct coming *out);

/* The host, among those being loaded, that would be done with the prompt soonest, by what was
 * measured of it before and by when its load will be over; NULL: none of which both are known.
 * ahead: requests that wait for it already. *seconds: until it would be done; *eta_ms: until it is
 * ready. */
const struct cluster_host *coming_best(const struct cluster_role *role, const struct route_ask *ask,
                                       uint64_t now_ms, uint32_t ahead, double *seconds,
                                       uint64_t *eta_ms);

/* True when no host of the role can become ready by itself: all have failed for good, or drive said
 * within the last COMING_CANNOT_MS that it cannot be loaded. */
bool coming_hopeless(const struct cluster_role *role, uint64_t now_ms);

/* One line on why there is no host ("architect is loading on reasoning, 43 %, about 12 s left").
 * out: NUL-terminated, no control bytes. */
void coming_why(const struct cluster_role *role, uint64_t now_ms, char *out, size_t n);

/* When to ask again (1..60 s), for a role without a usable host. */
uint32_t coming_retry_after(const struct cluster_role *role, uint64_t now_ms);

/* Time left as people say it: "about 12 s left", "about 3 min left"; "" for 0. */
void coming_eta_text(uint64_t eta_ms, char *out, size_t n);

/* One line as it may be shown: cut to fit, control bytes made blanks. */
void coming_text(char *out, size_t n, const char *text);

/* A queue's clock stands while its role is coming. coming_clock counts up to now; call it every
 * sweep, and before the facts or the note of the role change. A ticket remembers role->stood_ms
 * when it begins to wait; what has been added since is what its deadline moves by. */
void coming_clock(struct cluster_role *role, uint64_t now_ms);

#endif
