/* SPDX-License-Identifier: MIT */
/* gateway/ops/witness.h - turns what the gateway knows now, compared with what it knew before, into
 * events and alarms. It is shown the same texts that GET /api/v1/nodes, /status, /map and the
 * shortfalls answer with, so that events never say something that these do not. Pure: texts in,
 * events out through a callback; time is an argument. */
#ifndef RM_OPS_WITNESS_H
#define RM_OPS_WITNESS_H

#include "gateway/ops/events.h"

enum { WITNESS_SEEN_MAX = 4096, WITNESS_ALARMS_MAX = 256, WITNESS_NAME_MAX = 132 };

struct witness;

RM_MUST_USE int witness_new(void (*on_event)(void *arg, const struct event *event), void *arg,
                            struct witness **out); /* 0 or UV_ENOMEM */
void witness_free(struct witness *w);

struct witness_facts {          /* JSON texts of this process */
    struct rm_slice nodes;      /* array: Node */
    struct rm_slice shortfalls; /* array: Shortfall */
    struct rm_slice status;     /* object: fenced, draining */
    struct rm_slice map;        /* object: MapState */
    struct rm_slice pulls;      /* array: Pull */
};

/* Looks. now_ms: rm_now_ms; wall_ms: for `since` of alarms. */
void witness_look(struct witness *w, const struct witness_facts *facts, uint64_t now_ms,
                  int64_t wall_ms);

/* What is wrong now, as a JSON array (proto/openapi.yaml: Alarm). Returns as rm_buf_put. */
int witness_write_alarms(const struct witness *w, struct rm_buf *out);

struct rm_om;
void witness_write_metrics(const struct witness *w, struct rm_om *om); /* how many of them */

#endif
