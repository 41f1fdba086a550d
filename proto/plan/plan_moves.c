/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_moves.c - which hosts move: proved by asking for every set of them.
 * When all that is wanted is hosted and everything up to the stops is at its bound, what is better
 * than the best plan stops no more hosts than it does, and all other standing hosts stay. So for
 * every set of standing hosts that is not larger, from none upwards, the question is put in which
 * these go and the others stay: few units are open, and what is free is what the stayers leave.
 * When all questions are answered, the best plan is proved.
 *
 * When no host has to move, the same is done for fetches: for every set of roles that may be put
 * where their file is not.
 *
 * Most sets need no search: of the hosts that are then to be placed, i are at least as large as the
 * i-th largest, and a node with f free bytes holds at most f / that size of them; and on-demand
 * roles must find as much room as the best plan leaves them. */
#include "proto/plan/plan_search.h"

#include <string.h>

enum { STANDING_MAX = 256, SET_MAX = 8, OPEN_MAX = 64, QUESTION_STEPS = 8 };

struct standing {
    uint16_t role;
    uint8_t node;
};

struct moves {
    struct search *s;
    uint64_t all; /* nodes */
    struct standing standing[STANDING_MAX];
    size_t n_standing;
    uint64_t stay[PLAN_ROLES_MAX]; /* hosts that stay */
    uint32_t open[PLAN_ROLES_MAX]; /* hosts to be placed, when these stay */
    uint64_t spare[PLAN_NODES_MAX][DIMS];
    size_t set[SET_MAX]; /* indexes of those that go, ascending */
    size_t n_set;
};

static uint32_t wanted(const struct search *s, size_t role)
{
    uint32_t most = plan_ones(s->may[role]);

    return s->in->roles[role].replicas < most ? s->in->roles[role].replicas : most;
}

/* Fills in what stands. False: too much for this. */
static bool begin(struct moves *m, struct search *s, uint64_t all)
{
    memset(m, 0, sizeof *m);
    m->s = s;
    m->all = all;
    for (size_t r = 0; r < s->in->n_roles; r++) {
        if (s->in->roles[r].wish == PLAN_IF_ASKED)
            continue;
        m->stay[r] = s->stands[r];
        for (uint64_t w = s->stands[r]; w != 0; w &= w - 1) {
            size_t n = plan_first(w);

            if (m->n_standing == STANDING_MAX)
                return false;
            m->standing[m->n_standing++] =
                (struct standing){.role = (uint16_t)r, .node = (uint8_t)n};
        }
    }
    return true;
}

/* One more goes, or comes back. */
static void go(struct moves *m, size_t i, bool back)
{
    const struct standing *x = &m->standing[i];

    if (back)
        m->stay[x->role] |= plan_bit(x->node);
    else
        m->stay[x->role] &= ~plan_bit(x->node);
}

/* What is free on the nodes when those that stay stay. False: they do not even fit by themselves,
 * or are more than a role wants. */
static bool find_spare(struct moves *m)
{
    const struct search *s = m->s;

    memcpy(m->spare, s->cap, sizeof m->spare);
    for (size_t r = 0; r < s->in->n_roles; r++) {
        if (s->in->roles[r].wish == PLAN_IF_ASKED)
            continue;
        if (plan_ones(m->stay[r]) > wanted(s, r))
            return false;
        m->open[r] = wanted(s, r) - plan_ones(m->stay[r]);
        for (uint64_t w = m->stay[r]; w != 0; w &= w - 1) {
            size_t n = plan_first(w);

            for (size_t d = 0; d < s->n_dims; d++) {
                if (plan_need(s, r, n)[d] > m->spare[n][d])
                    return false;
                m->spare[n][d] -= plan_need(s, r, n)[d];
            }
        }
    }
    return true;
}

/* Might as many on-demand roles find room as with the best plan? What is free only shrinks. */
static bool may_load(const struct moves *m)
{
    const struct search *s = m->s;
    uint32_t without = 0;

    for (size_t i = 0; i < s->n_asked; i++) {
        size_t r = s->asked[i];
        bool room = false;

        for (uint64_t w = s->may[r]; w != 0 && !room; w &= w - 1)
            room = plan_need(s, r, plan_first(w))[0] <= m->spare[plan_first(w)][0];
        without += !room;
    }
    return without <= s->out->count[PLAN_NO_HEADROOM];
}

/* Might all that is open be placed? See the head of the file. */
static bool may_fit(struct moves *m)
{
    const struct search *s = m->s;
    uint64_t sizes[OPEN_MAX]; /* descending */
    size_t n = 0;

    if (!find_spare(m) || !may_load(m))
        return false;
    for (size_t r = 0; r < s->in->n_roles; r++)
        for (uint32_t k = 0; s->in->roles[r].wish != PLAN_IF_ASKED && k < m->open[r]; k++) {
            size_t i = n;

            if (n == OPEN_MAX)
                return true;
            for (; i > 0 && sizes[i - 1] < s->least[r][0]; i--)
                sizes[i] = sizes[i - 1];
            sizes[i] = s->least[r][0];
            n++;
        }
    for (size_t i = 0; i < n && sizes[i] > 0; i++) {
        uint64_t fit = 0;

        for (size_t k = 0; k < s->in->n_nodes && fit <= i; k++)
            fit += m->spare[k][0] / sizes[i];
        if (fit <= i)
            return false;
    }
    return true;
}

/* Those of the set are taken for hosts that cannot be there. */
static void put_question(struct moves *m)
{
    struct search *s = m->s;
    uint64_t bits[SET_MAX];

    for (size_t i = 0; i < m->n_set; i++) {
        const struct standing *x = &m->standing[m->set[i]];

        bits[i] = plan_bit(x->node);
        s->may[x->role] &= ~bits[i];
        s->stands[x->role] &= ~bits[i];
    }
    plan_question(s, m->all, m->stay, SLOTS);
    s->base[PLAN_STOPPED] += (uint32_t)m->n_set;
    s->left_out[PLAN_STOPPED] += (uint32_t)m->n_set;
    s->steps += QUESTION_STEPS; /* what it takes to put it */
    s->steps_stop = s->steps_max;
    s->memo_on = true;
    plan_branch(s);
    for (size_t i = 0; i < m->n_set; i++) {
        s->may[m->standing[m->set[i]].role] |= bits[i];
        s->stands[m->standing[m->set[i]].role] |= bits[i];
    }
}

/* Every set of `size` that begins like this one. False: the steps ran out. */
static bool every_set(struct moves *m, size_t size)
{
    struct search *s = m->s;
    size_t from = m->n_set > 0 ? m->set[m->n_set - 1] + 1 : 0;

    if (m->n_set == size) {
        if (s->steps + 1 + QUESTION_STEPS >= s->steps_max)
            return false;
        s->steps++;
        if (!may_fit(m))
            return true;
        put_question(m);
        return !s->cut || s->done;
    }
    for (size_t i = from; i + (size - m->n_set) <= m->n_standing && !s->done; i++) {
        bool all;

        m->set[m->n_set++] = i;
        go(m, i, false);
        all = every_set(m, size);
        go(m, i, true);
        m->n_set--;
        if (!all)
            return false;
    }
    return true;
}

/* --- fetches ------------------------------------------------------------------------------------
 */

/* No host moves; of all others only those of the set may be put where their file is not. */
static void put_fetch_question(struct moves *m)
{
    struct search *s = m->s;
    uint64_t may[PLAN_ROLES_MAX];

    memcpy(may, s->may, sizeof may);
    for (size_t r = 0; r < s->in->n_roles; r++)
        if (s->must_fetch[r] == 0 && s->in->roles[r].wish != PLAN_IF_ASKED)
            s->may[r] &= s->files[r] | m->stay[r];
    for (size_t i = 0; i < m->n_set; i++)
        s->may[m->set[i]] = may[m->set[i]];
    plan_question(s, m->all, m->stay, SLOTS);
    s->steps += QUESTION_STEPS;
    s->steps_stop = s->steps_max;
    s->memo_on = true;
    plan_branch(s);
    memcpy(s->may, may, sizeof may);
}

static bool may_fetch(const struct moves *m, size_t role)
{
    const struct search *s = m->s;

    return s->in->roles[role].wish != PLAN_IF_ASKED && s->must_fetch[role] == 0 &&
           m->open[role] > 0 && (s->may[role] & ~s->files[role]) != 0;
}

static bool every_fetching_set(struct moves *m, size_t size)
{
    struct search *s = m->s;
    size_t from = m->n_set > 0 ? m->set[m->n_set - 1] + 1 : 0;

    if (m->n_set == size) {
        if (s->steps + QUESTION_STEPS >= s->steps_max)
            return false;
        put_fetch_question(m);
        return !s->cut || s->done;
    }
    for (size_t r = from; r < s->in->n_roles && !s->done; r++) {
        bool all;

        if (!may_fetch(m, r))
            continue;
        m->set[m->n_set++] = r;
        all = every_fetching_set(m, size);
        m->n_set--;
        if (!all)
            return false;
    }
    return true;
}

/* A plan with so many fetches has no more roles that fetch: all sets of so many are asked for. */
static bool prove_fetches(struct moves *m)
{
    struct search *s = m->s;
    const uint32_t *count = s->out->count;
    size_t could = 0;

    m->n_set = 0;
    if (memcmp(count, s->out->bound, PLAN_FETCHED * sizeof *count) != 0 ||
        count[PLAN_STOPPED] > 0 || !find_spare(m))
        return false;
    for (size_t r = 0; r < s->in->n_roles; r++)
        could += may_fetch(m, r);
    while (s->out->bound[PLAN_FETCHED] < count[PLAN_FETCHED]) {
        size_t size = s->out->bound[PLAN_FETCHED];

        if (size > SET_MAX || !every_fetching_set(m, size < could ? size : could))
            return false;
        if (s->out->bound[PLAN_FETCHED] < count[PLAN_FETCHED])
            s->out->bound[PLAN_FETCHED]++;
    }
    return true;
}

bool plan_prove_moves(struct search *s, uint64_t all)
{
    const uint32_t *count = s->out->count;
    struct moves m;

    plan_question(s, all, NULL, PLAN_ROLES_MAX);
    if (memcmp(count, s->base, LEVELS * sizeof *count) != 0 || /* all that can be is hosted */
        memcmp(count, s->out->bound, PLAN_STOPPED * sizeof *count) != 0 || !begin(&m, s, all))
        return false;
    if (prove_fetches(&m))
        return true;
    m.n_set = 0;
    for (size_t size = s->out->bound[PLAN_STOPPED]; size <= count[PLAN_STOPPED]; size++) {
        if (size > SET_MAX || !every_set(&m, size))
            return false;
        if (size < count[PLAN_STOPPED]) /* none with so few */
            s->out->bound[PLAN_STOPPED] = (uint32_t)size + 1;
        if (s->done || plan_compare(count, s->out->bound) <= 0)
            return true;
    }
    return true;
}
