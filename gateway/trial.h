/* SPDX-License-Identifier: MIT */
/* gateway/trial.h - an edited role map tried: checked and compared by the map's keeper as in a dry
 * run, then planned by drive. One answer of both (proto/openapi.yaml: PlanTrial). Loop thread. */
#ifndef RM_GATEWAY_TRIAL_H
#define RM_GATEWAY_TRIAL_H

#include "gateway/drive/drive.h"
#include "gateway/map/keeper.h"
#include "gateway/ops/ops.h"

/* Copies the offer. Returns 0, and on_answer comes once from the loop; or as map_keeper_offer, and
 * it never comes. keeper and drive must live until then. */
RM_MUST_USE int trial_begin(struct map_keeper *keeper, struct drive *drive,
                            const struct ops_offer *offer, ops_answer_fn on_answer, void *arg);

#endif
