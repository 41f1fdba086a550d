/* SPDX-License-Identifier: MIT */
/* The operator of the simulator: gives orders at any time, as the ops API takes them, and the rules
 * that hold for wishes. */
#include <string.h>

#include "gateway/place/hosting_sim.h"

/* ---- wishes ---- */

bool sim_is_shut(const struct sim *s, size_t role, size_t node)
{
    return s->nodes[node].drained || s->roles[role].wished[node] == HOSTING_WANT_DRAINED;
}

bool sim_is_kept_off(const struct sim *s, size_t role, size_t node)
{
    return sim_is_shut(s, role, node) || s->roles[role].wished[node] == HOSTING_WANT_UNLOADED;
}

bool sim_is_loaded(const struct sim *s, size_t role, size_t node)
{
    const struct sim_role *r = &s->roles[role];

    return r->in_map && s->nodes[node].in_map && !s->nodes[node].drained &&
           (r->allowed & 1u << node) != 0 && r->wished[node] == HOSTING_WANT_LOADED;
}

bool sim_any_loaded(const struct sim *s, size_t role)
{
    for (size_t n = 0; n < s->n_nodes; n++)
        if (sim_is_loaded(s, role, n))
            return true;
    return false;
}

/* ---- orders ---- */

/* What may be delayed by an order, and what it allows to be ended. */
static void touched(struct sim *s, size_t role, bool ends)
{
    for (size_t r = 0; r < s->n_roles; r++)
        s->roles[r].faulted_ms = s->now_ms;
    for (size_t r = 0; ends && r < s->n_roles; r++)
        if (role == SIZE_MAX || r == role)
            s->roles[r].named_ms = s->now_ms;
}

static bool stands(const struct sim *s, size_t role, size_t node)
{
    return s->nodes[node].has_view && s->nodes[node].view.engines[role].seen != HOSTING_ABSENT;
}

/* i, k: their places in the machine. */
static bool order_host(struct sim *s, size_t role, size_t node, size_t i, size_t k)
{
    struct sim_role *r = &s->roles[role];
    enum hosting_wish *wish = &r->wished[node];
    uint64_t missing;

    switch (sim_between(s, 0, 5)) {
    case 0:
        if (hosting_load_fault(s->hosting, &s->facts, i, k, &missing) != HOSTING_FAULT_NONE)
            return false;
        *wish = HOSTING_WANT_LOADED;
        hosting_retry(s->hosting, i, k);
        touched(s, role, true);
        return true;
    case 1:
        if (r->wish == PLAN_PINNED)
            return false;
        *wish = HOSTING_WANT_UNLOADED;
        touched(s, role, true);
        return true;
    case 2:
        if (!stands(s, role, node))
            return false;
        *wish = HOSTING_WANT_DRAINED;
        touched(s, role, false);
        return true;
    case 3:
        if (r->wish == PLAN_PINNED)
            return false;
        *wish = HOSTING_NO_WISH;
        hosting_evict(s->hosting, i, k);
        touched(s, role, true);
        return true;
    default:
        if (*wish != HOSTING_WANT_DRAINED)
            return false;
        *wish = HOSTING_NO_WISH;
        touched(s, role, false);
        return true;
    }
}

static bool order_node(struct sim *s, size_t node)
{
    s->nodes[node].drained = !s->nodes[node].drained && sim_chance(s, 500);
    touched(s, SIZE_MAX, true);
    return true;
}

bool sim_operator_step(struct sim *s)
{
    size_t role, node, i, k;

    if (!s->operated || s->calm || !s->facts.settled || !sim_chance(s, 25))
        return false;
    role = sim_random(s) % s->n_roles;
    node = sim_random(s) % s->n_nodes;
    i = sim_place(s->role_at, s->n_machine_roles, role);
    k = sim_place(s->node_at, s->n_machine_nodes, node);
    if (i == SIZE_MAX || k == SIZE_MAX || !s->roles[role].in_map || !s->nodes[node].in_map)
        return false;
    if (sim_chance(s, 150) ? !order_node(s, node) : !order_host(s, role, node, i, k))
        return false;
    s->orders++;
    sim_say(s, "the operator: role %zu on node %zu: wish %d; the node is %s", role, node,
            (int)s->roles[role].wished[node], s->nodes[node].drained ? "drained" : "open");
    return true;
}

void sim_operator_leaves(struct sim *s)
{
    for (size_t n = 0; n < s->n_nodes; n++)
        s->nodes[n].drained = false;
    for (size_t r = 0; r < s->n_roles; r++)
        memset(s->roles[r].wished, 0, sizeof s->roles[r].wished);
    touched(s, SIZE_MAX, true);
    sim_say(s, "the operator takes back all wishes");
}

/* ---- rules ---- */

/* Nothing is loaded where it is not wanted; what is drained may be loaded anew where it stands. */
void sim_check_load(struct sim *s, size_t role, size_t node)
{
    if (s->nodes[node].drained || s->roles[role].wished[node] == HOSTING_WANT_UNLOADED ||
        (s->roles[role].wished[node] == HOSTING_WANT_DRAINED && !stands(s, role, node)))
        sim_break(s, "role %zu is loaded on node %zu, which it is kept off", role, node);
}

/* What stands on the node beside the role, of those that do not make room for it. */
static uint64_t beside(const struct sim *s, size_t role, size_t node)
{
    uint64_t sum = 0;

    for (size_t r = 0; r < s->n_roles; r++) {
        const struct sim_engine *e = &s->nodes[node].engines[r];

        if (r != role && e->seen != HOSTING_ABSENT)
            sum += (e->held_bytes > e->bytes ? e->held_bytes : e->bytes) + e->bytes / 20;
    }
    return sum;
}

bool sim_wish_holds(const struct sim *s, size_t role, size_t node)
{
    const struct sim_engine *e = &s->nodes[node].engines[role];

    if (s->roles[role].wished[node] == HOSTING_WANT_UNLOADED)
        return e->seen == HOSTING_ABSENT;
    return !sim_is_loaded(s, role, node) || e->seen == HOSTING_READY ||
           beside(s, role, node) + s->roles[role].bytes[node] > s->nodes[node].budget;
}
