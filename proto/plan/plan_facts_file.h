/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_facts_file.h - between plan_facts.c, which reads a nodes file, and
 * plan_facts_live.c, which makes states and forecasts of it. Nobody else includes it. */
#ifndef RM_PLAN_PLAN_FACTS_FILE_H
#define RM_PLAN_PLAN_FACTS_FILE_H

#include "proto/conf/keys.h"
#include "proto/plan/plan_facts.h"

/* Forecasts of one role: bits of what a node is to it. */
enum facts_kind { FACTS_PLAIN = 0, FACTS_MEASURED = 1, FACTS_DEVICE = 2, FACTS_KINDS = 4 };

struct plan_facts_private {
    struct conf_arena arena;
    const struct plan_measured **measured; /* [map role]; NULL: not measured */
    struct node_state *states;             /* [map node] */
    struct node_forecast *forecasts;       /* [kinds * map roles + role], see enum facts_kind */
    struct plan_live_node *live_nodes;
    struct plan_live_pair *live_pairs;
};

/* Makes what the map's sizes ask for; dealloc takes what is there. Returns 0 or UV_ENOMEM. */
int plan_facts_alloc(struct plan_facts *f);
void plan_facts_dealloc(struct plan_facts *f);

/* Fills a role's forecasts. Returns 0, or RM_ERR_FIELD: more bytes than there are numbers for. */
int plan_facts_forecast(struct plan_facts *f, size_t role);

/* Fills f->live, once everything is read and checked. */
void plan_facts_live(struct plan_facts *f);

#endif
