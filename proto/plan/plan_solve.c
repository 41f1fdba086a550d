/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_solve.c - the call: facts, a bound, quick tries, improvement, exact search. */
#include "proto/plan/plan_search.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

int plan_compare(const uint32_t *a, const uint32_t *b)
{
    for (size_t i = 0; i < PLAN_COUNTS; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

bool plan_is_feasible(const struct plan_out *out)
{
    for (size_t i = PLAN_NO_PINNED; i <= PLAN_NO_BATCH; i++)
        if (out->count[i] > 0)
            return false;
    return true;
}

static void search_exactly(struct search *s, uint64_t all)
{
    plan_question(s, all, NULL, SLOTS);
    s->steps_stop = s->steps_max;
    s->memo_on = true;
    plan_branch(s);
}

static int search_run(struct search *s)
{
    bool exact = s->in->n_nodes <= PLAN_EXACT_NODES && s->in->n_roles <= PLAN_EXACT_ROLES;
    uint64_t all = s->in->n_nodes < 64 ? plan_bit(s->in->n_nodes) - 1 : UINT64_MAX;
    bool proved = false;

    plan_question(s, all, NULL, PLAN_ROLES_MAX);
    plan_bound(s, 0, s->out->bound);
    memset(s->out->count, 0xff, sizeof s->out->count);
    plan_try_quickly(s);
    if (!s->done)
        plan_improve(s);
    if (!s->done && exact) {
        s->memo = calloc(MEMO_SLOTS, sizeof *s->memo); /* most plans need none */
        if (s->memo == NULL)
            return UV_ENOMEM;
        proved = plan_prove_moves(s, all);
    }
    if (!s->done && exact && !proved && s->steps < s->steps_max) {
        search_exactly(s, all);
        proved = !s->cut;
    }
    s->out->exact = s->done || proved;
    s->out->steps = s->steps;
    if (s->out->exact)
        memcpy(s->out->bound, s->out->count, sizeof s->out->bound);
    return 0;
}

int plan_solve(const struct plan_in *in, struct plan_out *out)
{
    struct search *s;
    int r;

    memset(out, 0, sizeof *out);
    if (in->n_nodes > PLAN_NODES_MAX || in->n_roles > PLAN_ROLES_MAX)
        return RM_ERR_TOO_BIG;
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return UV_ENOMEM;
    s->in = in;
    s->out = out;
    s->steps_max = in->steps_max > 0 ? in->steps_max : PLAN_STEPS;
    r = plan_begin(s);
    if (r == 0)
        r = search_run(s);
    plan_end(s);
    free(s);
    return r;
}
