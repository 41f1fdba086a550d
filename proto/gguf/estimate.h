/* SPDX-License-Identifier: MIT */
/* proto/gguf/estimate.h - the forecast that a model's header alone gives: weights, KV memory and
 * what a cell of it costs; nothing of compute buffers and process. For where the core, which knows
 * all of it, is not there. Pure. */
#ifndef RM_GGUF_ESTIMATE_H
#define RM_GGUF_ESTIMATE_H

#include "proto/gguf/kv_formula.h"
#include "proto/node/desired.h"

/* out    known and estimated; or neither, with error saying why. context_train in both cases
 * Returns 0, or as kv_formula. */
int gguf_estimate(const struct gguf_head *head, const struct kv_query *query,
                  struct node_forecast *out);

#endif
