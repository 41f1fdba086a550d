/* SPDX-License-Identifier: MIT */
/* The world of the simulator: nodes, engines, faults, edits of the map. */
#include "gateway/place/hosting_sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { UNIT = 1 << 20, DRAIN_MAX_MS = 3000 };

/* ---- chance ---- */

uint64_t sim_random(struct sim *s) /* splitmix64 */
{
    uint64_t z = (s->random += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high)
{
    return low + sim_random(s) % (high - low + 1);
}

bool sim_chance(struct sim *s, uint32_t per_mille)
{
    return sim_random(s) % 1000 < per_mille;
}

void sim_break(struct sim *s, const char *format, ...)
{
    va_list args;
    int n;

    if (s->broken[0] != '\0')
        return;
    n = snprintf(s->broken, sizeof s->broken, "%.3f s: ", (double)s->now_ms / 1000);
    va_start(args, format);
    vsnprintf(s->broken + n, sizeof s->broken - (size_t)n, format, args);
    va_end(args);
    sim_say(s, "BROKEN %s", s->broken);
}

void sim_say(const struct sim *s, const char *format, ...)
{
    va_list args;

    if (s->trace == 0)
        return;
    printf("%9.3f ", (double)s->now_ms / 1000);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

/* ---- making it ---- */

static void role_numbers(struct sim *s, struct sim_role *r)
{
    uint64_t bytes = sim_between(s, 2, 32) * UNIT,
             load = sim_between(s, 300, s->hot ? 4000 : 25000);

    for (size_t n = 0; n < s->n_nodes; n++) {
        r->bytes[n] = bytes + (sim_chance(s, 200) ? sim_between(s, 0, bytes / 8) : 0);
        r->load_ms[n] = load + sim_between(s, 0, load / 2);
        if (r->load_ms[n] > s->load_max_ms)
            s->load_max_ms = r->load_ms[n];
    }
}

/* The forecast of a changed entry has to be asked for. */
static void role_unforecast(struct sim *s, struct sim_role *r)
{
    for (size_t n = 0; n < s->n_nodes; n++) {
        r->forecast[n].known = HOSTING_UNASKED;
        r->forecast[n].will_be = s->faults && sim_chance(s, 30) ? HOSTING_BAD : HOSTING_FITS;
        r->forecast[n].due_ms = s->now_ms + sim_between(s, 50, 2500);
    }
}

static void role_make(struct sim *s, struct sim_role *r)
{
    static const enum plan_wish lanes[] = {PLAN_AUTOCOMPLETE, PLAN_INTERACTIVE, PLAN_INTERACTIVE,
                                           PLAN_BATCH};

    r->in_map = true;
    r->on_demand = sim_chance(s, 550);
    r->wish = lanes[sim_random(s) % 4];
    if (!r->on_demand && sim_chance(s, 250))
        r->wish = PLAN_PINNED;
    r->replicas = sim_chance(s, 200) ? 2 : 1;
    r->slots = (uint32_t)sim_between(s, 1, 4);
    r->revision = 1;
    r->idle_unload_ms = sim_chance(s, 300) ? sim_between(s, 5000, 120000) : 0;
    r->allowed = sim_chance(s, 250) ? (uint32_t)sim_between(s, 1, (1u << s->n_nodes) - 1)
                                    : (1u << s->n_nodes) - 1;
    r->gap_ms = s->hot ? sim_between(s, 300, 6000) : sim_between(s, 1500, 40000);
    r->next_ms = sim_chance(s, 150) ? UINT64_MAX : sim_between(s, 0, r->gap_ms);
    role_numbers(s, r);
    role_unforecast(s, r);
}

/* A third of the schedules are the classic one: roles that take turns in one room. */
void sim_world_make(struct sim *s)
{
    bool turns = sim_chance(s, 330);

    s->faults = sim_chance(s, 600);
    s->n_nodes = turns ? sim_between(s, 1, 2) : sim_between(s, 1, SIM_NODES);
    s->n_roles = turns ? sim_between(s, 2, 4) : sim_between(s, 1, SIM_ROLES);
    s->hot = sim_chance(s, turns ? 500 : 100); /* somebody always asks */
    s->run_max_ms = s->hot || sim_chance(s, 500) ? 4000 : 20000;
    for (size_t n = 0; n < s->n_nodes; n++) {
        s->nodes[n].in_map = s->nodes[n].link = true;
        s->nodes[n].budget = sim_between(s, turns ? 30 : 20, turns ? 60 : 120) * UNIT;
    }
    for (size_t r = 0; r < s->n_roles; r++) {
        role_make(s, &s->roles[r]);
        if (turns && r > 0)
            s->roles[r].on_demand = true;
    }
    for (size_t r = 0; r < s->n_roles; r++) /* some stand from before */
        for (size_t n = 0; n < s->n_nodes; n++)
            if (sim_chance(s, 100) && (s->roles[r].allowed & 1u << n) != 0) {
                uint64_t used = s->roles[r].bytes[n];

                for (size_t k = 0; k < s->n_roles; k++)
                    used += s->nodes[n].engines[k].bytes;
                if (used <= s->nodes[n].budget)
                    s->nodes[n].engines[r] =
                        (struct sim_engine){.seen = HOSTING_READY,
                                            .revision = 1,
                                            .bytes = s->roles[r].bytes[n],
                                            .held_bytes = s->roles[r].bytes[n]};
            }
}

/* ---- engines ---- */

bool sim_engine_alive(const struct sim_engine *e)
{
    return e->seen == HOSTING_LOADING || e->seen == HOSTING_READY || e->seen == HOSTING_DRAINING;
}

static void engine_start(struct sim *s, size_t role, size_t node, uint32_t revision, uint64_t bytes,
                         bool bad)
{
    struct sim_engine *e = &s->nodes[node].engines[role];
    uint32_t lot = s->faults && !s->calm ? (uint32_t)sim_between(s, 0, 99) : 50;

    *e = (struct sim_engine){.seen = HOSTING_LOADING,
                             .revision = revision,
                             .bytes = bytes,
                             .held_bytes = bytes - bytes / 100 + sim_between(s, 0, bytes / 40),
                             .since_ms = s->now_ms};
    e->fate = lot < 8    ? FATE_FAIL
              : lot < 11 ? FATE_FAIL_FOR_GOOD
              : lot < 14 ? FATE_HANG
                         : FATE_GOOD;
    e->bad = bad;
    if (bad) { /* no such file, or no model */
        e->seen = HOSTING_FAILED;
        e->fate = FATE_FAIL_FOR_GOOD;
        e->held_bytes = 0;
        e->until_ms = s->now_ms + 5000;
        return;
    }
    e->until_ms = e->fate == FATE_HANG ? 0
                                       : s->now_ms + s->roles[role].load_ms[node] / 2 +
                                             sim_between(s, 0, s->roles[role].load_ms[node]);
}

void sim_engine_put(struct sim *s, size_t role, size_t node, uint32_t revision, uint64_t bytes,
                    bool bad)
{
    struct sim_engine *e = &s->nodes[node].engines[role];

    if (e->seen == HOSTING_DRAINING) {
        e->again = true;
        e->next = revision;
        e->next_bytes = bytes;
        return;
    }
    if (e->seen != HOSTING_ABSENT && e->revision == revision)
        return;
    if (e->seen == HOSTING_READY && e->running > 0)
        sim_break(s, "role %zu on node %zu: a new setting cuts %u requests", role, node,
                  e->running);
    engine_start(s, role, node, revision, bytes, bad);
}

void sim_engine_delete(struct sim *s, size_t role, size_t node)
{
    struct sim_engine *e = &s->nodes[node].engines[role];

    e->again = false;
    if (e->seen == HOSTING_READY && e->running > 0)
        sim_break(s, "role %zu on node %zu: unloading cuts %u requests", role, node, e->running);
    if (e->seen == HOSTING_FAILED)
        e->seen = HOSTING_ABSENT;
    if (e->seen != HOSTING_READY && e->seen != HOSTING_LOADING)
        return;
    e->seen = HOSTING_DRAINING;
    e->since_ms = s->now_ms;
    e->until_ms = s->now_ms + sim_between(s, 50, DRAIN_MAX_MS);
}

void sim_engine_gone(struct sim *s, size_t role, size_t node)
{
    sim_gate_lost(s, role, node);
    memset(&s->nodes[node].engines[role], 0, sizeof s->nodes[node].engines[role]);
}

/* A worker starts nothing by itself that nobody could forecast before and that it has no room for.
 */
static bool worker_has_room(const struct sim *s, size_t role, size_t node)
{
    uint64_t sum = s->nodes[node].engines[role].bytes;

    for (size_t r = 0; r < s->n_roles; r++)
        if (r != role && sim_engine_alive(&s->nodes[node].engines[r]))
            sum += s->nodes[node].engines[r].bytes;
    return sum <= s->nodes[node].budget;
}

/* An engine's time is over. */
static void engine_turn(struct sim *s, size_t role, size_t node)
{
    struct sim_engine *e = &s->nodes[node].engines[role];
    struct sim_engine was = *e;

    switch (e->seen) {
    case HOSTING_LOADING:
        e->until_ms = 0;
        e->since_ms = s->now_ms;
        e->seen = was.fate == FATE_GOOD ? HOSTING_READY : HOSTING_FAILED;
        if (e->seen == HOSTING_FAILED)
            e->until_ms = s->now_ms + sim_between(s, 1000, 15000); /* its worker tries again */
        break;
    case HOSTING_DRAINING:
        memset(e, 0, sizeof *e);
        if (was.again)
            engine_start(s, role, node, was.next, was.next_bytes, false);
        break;
    case HOSTING_FAILED: /* for good: only when its file was repaired, which calm stands for */
        if ((was.fate != FATE_FAIL_FOR_GOOD || s->calm) &&
            (!was.bad || worker_has_room(s, role, node))) {
            s->nodes[node].over = s->nodes[node].over || was.bad; /* nobody could reckon with it */
            engine_start(s, role, node, was.revision, was.bytes, false);
        } else {
            e->until_ms = s->now_ms + 5000;
        }
        break;
    default:
        break;
    }
}

static void engines_step(struct sim *s)
{
    for (size_t n = 0; n < s->n_nodes; n++)
        for (size_t r = 0; r < s->n_roles; r++) {
            struct sim_engine *e = &s->nodes[n].engines[r];

            if (e->until_ms > 0 && s->now_ms >= e->until_ms)
                engine_turn(s, r, n);
            if (e->seen == HOSTING_READY && s->faults && !s->calm && sim_chance(s, 1)) {
                sim_say(s, "engine of role %zu on node %zu dies", r, n);
                sim_gate_lost(s, r, n);
                s->roles[r].faulted_ms = s->now_ms;
                engine_start(s, r, n, e->revision, e->bytes, false);
            }
        }
}

/* ---- nodes ---- */

static void node_fault(struct sim *s, size_t node)
{
    struct sim_node *n = &s->nodes[node];

    if (n->link && sim_chance(s, 4)) {
        n->link = false;
        n->link_back_ms = s->now_ms + sim_between(s, 500, 90000);
        sim_say(s, "node %zu is lost", node);
        for (size_t r = 0; r < s->n_roles; r++) {
            if (sim_chance(s, 500))
                sim_gate_lost(s, r, node);
            s->roles[r].faulted_ms = n->link_back_ms;
        }
        if (sim_chance(s, 400)) /* the machine itself */
            for (size_t r = 0; r < s->n_roles; r++)
                sim_engine_gone(s, r, node);
    }
    if (!n->refusing && sim_chance(s, 2)) {
        n->refusing = true;
        n->calm_ms = s->now_ms + sim_between(s, 1000, 40000);
        for (size_t r = 0; r < s->n_roles; r++)
            s->roles[r].faulted_ms = n->calm_ms;
    }
}

static void nodes_step(struct sim *s)
{
    for (size_t i = 0; i < s->n_nodes; i++) {
        struct sim_node *n = &s->nodes[i];

        if (s->faults && !s->calm)
            node_fault(s, i);
        if (!n->link && (s->now_ms >= n->link_back_ms || s->calm)) {
            n->link = true;
            n->has_next = false;
            sim_say(s, "node %zu is back", i);
        }
        if (n->refusing && (s->now_ms >= n->calm_ms || s->calm))
            n->refusing = false;
        for (size_t r = 0; r < s->n_roles; r++)
            if (s->roles[r].forecast[i].known == HOSTING_UNASKED && n->link &&
                s->now_ms >= s->roles[r].forecast[i].due_ms)
                s->roles[r].forecast[i].known = s->roles[r].forecast[i].will_be;
            else if (s->roles[r].forecast[i].known == HOSTING_BAD && s->calm)
                s->roles[r].forecast[i].known = HOSTING_FITS; /* its file has come */
    }
}

/* ---- requests ---- */

static void request_new(struct sim *s, size_t role)
{
    struct sim_request *q = NULL;

    for (size_t i = 0; i < SIM_REQS && q == NULL; i++)
        if (s->reqs[i].state == REQ_FREE)
            q = &s->reqs[i];
    if (q == NULL)
        return;
    *q = (struct sim_request){.state = REQ_WAITS, .role = role, .came_ms = s->now_ms};
    q->order = s->next_order++;
    q->run_ms = sim_between(s, 50, sim_chance(s, 900) ? s->run_max_ms / 4 : s->run_max_ms);
    if (sim_chance(s, 60))
        q->leaves_ms = s->now_ms + sim_between(s, 100, 30000);
    s->came++;
}

static void requests_step(struct sim *s)
{
    for (size_t r = 0; r < s->n_roles; r++) {
        struct sim_role *role = &s->roles[r];
        uint32_t n = sim_chance(s, 150) ? 4 : 1;

        if (!role->in_map || s->calm || s->now_ms < role->next_ms)
            continue;
        role->next_ms = s->now_ms + sim_between(s, role->gap_ms / 2, role->gap_ms * 3 / 2);
        while (n-- > 0)
            request_new(s, r);
    }
}

void sim_world_step(struct sim *s)
{
    engines_step(s);
    nodes_step(s);
    requests_step(s);
}

/* ---- edits of the map ---- */

static void edit_role(struct sim *s, size_t role)
{
    struct sim_role *r = &s->roles[role];

    r->named_ms = r->faulted_ms = s->now_ms;
    if (!r->in_map) {
        r->in_map = true;
        r->next_ms = s->now_ms + sim_between(s, 0, r->gap_ms);
        return;
    }
    switch (sim_between(s, 0, 5)) {
    case 0:
        r->in_map = false;
        memset(r->wished, 0, sizeof r->wished);
        return;
    case 1:
        r->on_demand = !r->on_demand;
        if (r->on_demand && r->wish == PLAN_PINNED)
            r->wish = PLAN_INTERACTIVE;
        return;
    case 2:
        r->replicas = 3 - r->replicas;
        return;
    case 3:
        r->allowed = (uint32_t)sim_between(s, 1, (1u << s->n_nodes) - 1);
        return;
    default:
        r->revision++;
        if (sim_chance(s, 700))
            role_numbers(s, r);
        role_unforecast(s, r);
        return;
    }
}

static bool node_edit(struct sim *s, size_t node)
{
    struct sim_node *n = &s->nodes[node];

    if (n->leaving)
        return false;
    for (size_t r = 0; r < s->n_roles; r++)
        s->roles[r].faulted_ms = s->now_ms;
    if (n->in_map && sim_chance(s, 500)) {
        n->budget = n->budget / 2 + sim_between(s, 0, n->budget);
        n->over = true;
        for (size_t r = 0; r < s->n_roles; r++)
            s->roles[r].named_ms = s->now_ms;
        return true;
    }
    n->leaving = n->in_map;
    n->in_map = !n->in_map;
    n->drained = false;
    for (size_t r = 0; r < s->n_roles; r++)
        s->roles[r].wished[node] = HOSTING_NO_WISH;
    return true;
}

bool sim_world_reload(struct sim *s)
{
    if (s->n_roles == 0)
        return false;
    if (sim_chance(s, 200) && s->n_nodes > 1)
        return node_edit(s, sim_random(s) % s->n_nodes);
    edit_role(s, sim_random(s) % s->n_roles);
    return true;
}
