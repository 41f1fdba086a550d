/* SPDX-License-Identifier: MIT */
/* worker/host/figures.h - figures of a host that are reckoned rather than read: the parts of what
 * it takes, how much of its KV memory holds tokens, when a load will be over. Pure: all facts are
 * arguments. host.c asks. */
#ifndef RM_HOST_FIGURES_H
#define RM_HOST_FIGURES_H

#include "proto/node/desired.h"
#include "proto/node/state.h"

/* Parts of a forecast, bytes. All 0: not known. */
struct figures_plan {
    uint64_t weights, kv, compute;
    uint64_t device; /* of all parts: in buffers that are not host memory */
};

void figures_of_forecast(const struct node_forecast *f, struct figures_plan *out);

/* The parts whose sum is `total`: the plan's; what is beyond them is `other`. Where total is less
 * than they are (it was measured), compute goes first, then kv, then weights. */
void figures_parts(const struct figures_plan *plan, uint64_t total, struct node_host *out);

/* The share of kv_bytes that holds tokens: `used` of `total` tokens. */
uint64_t figures_kv_used(uint64_t kv_bytes, uint64_t used, uint64_t total);

/* Milliseconds until a load is over. expected_ms: what such a load took before, 0: unknown;
 * elapsed_ms: since it began; part: 0..1 of the weights. What it took before counts at its begin,
 * its pace the more the further it is; a load that is late has its pace alone. At least 1; 0:
 * unknown. */
uint32_t figures_eta(uint64_t expected_ms, uint64_t elapsed_ms, double part);

#endif
