/* SPDX-License-Identifier: MIT */
/* gateway/ops/plan.c - GET /api/v1/plan: where roles are wanted, and what would be better. The
 * POST, which tries an edited map, shares its body with POST /api/v1/map (map.c). */
#include "gateway/ops/late.h"

static void plan_on_text(void *arg, int err, struct rm_slice json)
{
    late_end(arg, err, json);
}

bool ops_take_plan(struct ops_call *c)
{
    const struct ops_sources *s = c->sources;
    struct late *l = late_take(c);
    int r;

    if (l == NULL)
        return false;
    if ((r = s->plans(s->arg, plan_on_text, l)) < 0)
        late_fail(l, r, NULL);
    return true;
}
