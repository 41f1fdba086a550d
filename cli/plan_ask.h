/* SPDX-License-Identifier: MIT */
/* cli/plan_ask.h - what `rolemesh plan` is to know, asked of a role map's workers. */
#ifndef RM_CLI_PLAN_ASK_H
#define RM_CLI_PLAN_ASK_H

#include "proto/plan/plan_live.h"

enum { PLAN_WHY_MAX = 200 };

struct plan_asked {
    struct plan_live live;     /* points into what follows */
    struct node_state *states; /* [map node] */
    struct node_forecast *forecasts;
    struct plan_live_node *nodes;
    struct plan_live_pair *pairs; /* [role * n_nodes + node] */
    char (*why)[PLAN_WHY_MAX];    /* [map node]: why it told nothing; "" when it did */
    const char **silent;          /* the same, NULL when it did */
    size_t n_heard;               /* nodes that did */
};

/* Asks every worker of the map for its state, and those that answer for a forecast of every role:
 * also where the lists do not allow it, to know whether that would help. One after the other; what
 * the core has forecast before is known at once. Returns 0 or UV_ENOMEM. */
RM_MUST_USE int plan_ask(const struct role_map *map, struct plan_asked *out);
void plan_asked_clear(struct plan_asked *a);

#endif
