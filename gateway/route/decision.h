/* SPDX-License-Identifier: MIT */
/* gateway/route/decision.h - which host of a role gets a request: what was known of each, and the
 * choice, as data. cluster.c fills in what is known and asks decision_choose; what was asked is
 * kept with every lease, so that `rolemesh why` can show it and the same function gives the same
 * answer again. Pure. */
#ifndef RM_ROUTE_DECISION_H
#define RM_ROUTE_DECISION_H

#include "gateway/route/score.h"
#include "proto/base/buf.h"
#include "proto/node/state.h"

enum { DECISION_MAX = 64, DECISION_KEPT = 8 };

struct decision_host {
    const char *node;
    const char
        *reject;  /* why it cannot be taken at all ("loading", "full"); static; NULL: it can */
    bool failing; /* its traffic fails: taken when no other is there */
    bool avoided; /* it has lost this request before: taken last */
    struct score_host score; /* of one that is not rejected */
};

struct decision {
    uint32_t prompt;          /* tokens, the estimate that was scored with */
    uint32_t n;               /* those that can be taken first; of them the first DECISION_MAX */
    bool cut;                 /* more than DECISION_MAX were there */
    int chosen;               /* index; -1: none can be taken */
    int pass;                 /* 0: one that is well; 1: one that fails; 2: an avoided one */
    struct score_terms terms; /* of the chosen one */
    struct decision_host host[DECISION_MAX];
};

/* Sets chosen, pass and terms: the lowest total of the first pass in which one can be taken, the
 * first of equals. */
void decision_choose(struct decision *d);

/* A decision as it is kept with a request: names are its own, the hosts are cut to DECISION_KEPT,
 * the chosen one among them, so that the choice stays the same. */
struct decision_record {
    int64_t at_ms;     /* wall clock */
    uint64_t queue_ms; /* how long the request had waited */
    char role[NODE_NAME_MAX];
    uint32_t prompt;
    uint8_t n, chosen, pass;
    bool cut;
    char node[DECISION_KEPT][NODE_NAME_MAX];
    struct decision_host host[DECISION_KEPT]; /* their node is not set: it is above */
};
void decision_keep(const struct decision *d, struct decision_record *out);
void decision_again(const struct decision_record *r, struct decision *out); /* without a choice */

struct rm_jw;
/* One object in an array; request: NULL, or the id of whose decision it is, told with it. */
void decision_write(const struct decision_record *r, const char *request, struct rm_jw *w);

#endif
