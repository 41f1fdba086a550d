/* SPDX-License-Identifier: MIT */
/* Random schedules for the route in simulated time: requests, clients that leave, hosts that load,
 * fail, drain and vanish, notes, closed hosts, lost nodes, other maps. The test keeps its own book
 * of what it told and checks after every step:
 *  - a ticket is told once: a lease or a refusal, never inside route_open;
 *  - a lease goes to a host that is ready, open, on a node that was heard lately, with a slot free,
 *    of the role asked for or one of its fallbacks;
 *  - nobody waits after the sweep that follows his deadline;
 *  - the demand that is told is what is there;
 *  - in the end every ticket has ended.
 * A failure prints its seed; ROLEMESH_SEED=N runs that one alone. */
#include "gateway/route/coming.h"
#include "gateway/route/route_rig.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum {
    SEEDS = 1000,
    STEPS = 250,
    NODES = 3,
    ROLES = 3,
    TICKETS = 40,
    NODE_SILENT_MS = 8000,
    SLOTS_MAX = 2
};

#define SIM_HEAD                                                                                   \
    "version: 1\ngateway: { listen: [\"127.0.0.1:0\"] }\n"                                         \
    "models: { m: { source: /m.gguf } }\n"                                                         \
    "nodes:\n  a: { address: \"127.0.0.1:1\" }\n  b: { address: \"127.0.0.1:2\" }\n"
#define SIM_CODE                                                                                   \
    "  code: { modes: [code], model: m, slots: 1, replicas: 2, queue_max: 6, queue_deadline: 20s," \
    " fallback: [ask] }\n"
#define SIM_ASK                                                                                    \
    "  ask: { modes: [ask], model: m, slots: 2, residency: on-demand, queue_deadline: 5s }\n"
#define SIM_THINK                                                                                  \
    "  think: { modes: [think], model: m, slots: 1, residency: on-demand, queue_deadline: 30s }\n"

static const char map_whole[] =
    SIM_HEAD "  c: { address: \"127.0.0.1:3\" }\nroles:\n" SIM_CODE SIM_ASK SIM_THINK;
static const char map_less[] = SIM_HEAD "roles:\n" SIM_CODE SIM_ASK;

static const char *const role_names[ROLES] = {"code", "ask", "think"};
static const uint64_t deadlines_ms[ROLES] = {20000, 5000, 30000};
static const uint32_t slots_of[ROLES] = {1, 2, 1};
static const char *const node_names[NODES] = {"a", "b", "c"};

struct sim_host {
    enum node_host_state state;
    double progress;
    bool closed;
    uint32_t in_flight, retry_ms;
};

struct sim_ticket {
    struct sim *sim;
    struct route_ticket *t; /* NULL: the place is free */
    int role, node;         /* node: of the lease, -1: none */
    int served;             /* role of the lease */
    uint64_t opened_ms, fixed_ms;
    uint64_t tick_ms; /* longest pause between two sweeps that it has seen */
    int leases, refusals;
    bool opening;
};

struct sim {
    struct rig *rig;
    uint64_t seed, random;
    struct role_map *less;
    bool loads;   /* hosts load and notes are left */
    bool calm;    /* little happens in much time: requests grow old */
    bool is_less; /* the smaller map is in */
    struct sim_host host[ROLES][NODES];
    uint64_t heard_ms[NODES];
    uint64_t tick_ms; /* between the last two sweeps */
    struct sim_ticket ticket[TICKETS];
    uint64_t opened, leased, refused, left, losts; /* of this seed */
};

#define must(s, what)                                                                              \
    do {                                                                                           \
        if (!(what))                                                                               \
            fail_msg("ROLEMESH_SEED=%" PRIu64 ": %s", (s)->seed, #what);                           \
    } while (0)

static uint32_t pick(struct sim *s, uint32_t n)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return (uint32_t)(s->random >> 32) % n;
}

static uint64_t now_ms(const struct sim *s)
{
    return s->rig->now_us / 1000;
}

static int index_of(const char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

/* ---- tickets ---- */

static void ticket_end(struct sim_ticket *k)
{
    struct sim *s = k->sim;

    if (k->node >= 0)
        s->host[k->served][k->node].in_flight--;
    else if (k->refusals == 0)
        s->left++;
    route_close(k->t, k->node >= 0 ? (enum route_outcome)pick(s, 6) : ROUTE_UNUSED, NULL);
    k->t = NULL;
}

static void sim_on_lease(struct route_ticket *t, const struct route_lease *lease)
{
    struct sim_ticket *k = route_ticket_arg(t);
    struct sim *s = k->sim;
    struct sim_host *h;

    k->served = index_of(role_names, ROLES, lease->role);
    k->node = index_of(node_names, NODES, lease->node);
    must(s, k->served >= 0 && k->node >= 0);
    h = &s->host[k->served][k->node];
    must(s, !k->opening && k->leases + k->refusals == 0);
    must(s, k->served == k->role || (k->role == 0 && k->served == 1));
    must(s, h->state == HOST_READY || h->state == HOST_BUSY);
    must(s, !h->closed);
    must(s, h->in_flight < slots_of[k->served]);
    must(s,
         now_ms(s) - s->heard_ms[k->node] <= NODE_SILENT_MS + s->tick_ms); /* seen by the sweep */
    must(s, !s->is_less || (k->node < 2 && k->served < 2));
    k->leases++;
    s->leased++;
    h->in_flight++;
    if (pick(s, 8) == 0)
        ticket_end(k); /* inside the call that grants it */
}

static void sim_on_refused(struct route_ticket *t, int err, const char *text, uint32_t retry_s)
{
    struct sim_ticket *k = route_ticket_arg(t);
    struct sim *s = k->sim;

    must(s, !k->opening && k->leases + k->refusals == 0);
    must(s, err == RM_ERR_QUEUE_FULL || err == RM_ERR_DEADLINE || err == RM_ERR_NO_HOST ||
                err == RM_ERR_MODEL || err == RM_ERR_DRAINING);
    must(s, text != NULL && text[0] != '\0' && retry_s <= 60);
    must(s, (err == RM_ERR_MODEL) == (retry_s == 0));
    must(s, err != RM_ERR_DEADLINE || k->fixed_ms > 0 || /* code may have been sent to ask */
                now_ms(s) - k->opened_ms >= deadlines_ms[k->role == 0 ? 1 : k->role]);
    k->refusals++;
    s->refused++;
    if (pick(s, 2) == 0)
        ticket_end(k);
}

static void sim_on_lost(struct route_ticket *t)
{
    struct sim_ticket *k = route_ticket_arg(t);

    must(k->sim, k->node >= 0);
    k->sim->losts++;
    if (pick(k->sim, 2) == 0)
        ticket_end(k);
}

static void do_ask(struct sim *s)
{
    static const struct route_ticket_ops ops = {
        .on_lease = sim_on_lease, .on_refused = sim_on_refused, .on_lost = sim_on_lost};
    struct route_ask ask = {.prompt_tokens = pick(s, 60000), .prefix_key = pick(s, 4)};
    struct sim_ticket *k = NULL;

    for (int i = 0; i < TICKETS && k == NULL; i++)
        if (s->ticket[i].t == NULL)
            k = &s->ticket[i];
    if (k == NULL)
        return;
    *k = (struct sim_ticket){.sim = s, .role = (int)pick(s, ROLES), .node = -1, .opening = true};
    k->opened_ms = now_ms(s);
    if (pick(s, 8) == 0)
        ask.deadline_ms = k->fixed_ms = k->opened_ms + 1 + pick(s, 20000);
    ask.role = role_names[k->role];
    assert_int_equal(route_open(s->rig->route, &ask, &ops, k, &k->t), 0);
    k->opening = false;
    s->opened++;
}

static void do_end(struct sim *s)
{
    struct sim_ticket *k = &s->ticket[pick(s, TICKETS)];

    if (k->t != NULL)
        ticket_end(k);
}

/* ---- nodes ---- */

/* A whole state of the node; it also moves what loads there. */
static void tell(struct sim *s, int node)
{
    struct told hosts[ROLES];
    uint32_t n = 0;

    if (s->is_less && node == 2)
        return;
    s->heard_ms[node] = now_ms(s);
    for (int r = 0; r < ROLES; r++) {
        struct sim_host *h = &s->host[r][node];

        if (h->state == HOST_ABSENT)
            h->closed = false;
        else
            hosts[n++] = (struct told){role_names[r], h->state, "x", h->progress, h->retry_ms, 100};
    }
    rig_tell(s->rig, node_names[node], hosts, n);
}

/* In the map that is in? */
static bool is_there(const struct sim *s, int role, int node)
{
    return !s->is_less || (role < 2 && node < 2);
}

static void do_host(struct sim *s)
{
    static const enum node_host_state quiet[] = {HOST_ABSENT, HOST_READY, HOST_BUSY, HOST_FAILED,
                                                 HOST_READY},
                                      any[] = {HOST_ABSENT,  HOST_FETCHING, HOST_LOADING,
                                               HOST_WARMING, HOST_READY,    HOST_BUSY,
                                               HOST_READY,   HOST_DRAINING, HOST_FAILED};
    int r = (int)pick(s, ROLES), n = (int)pick(s, NODES);
    struct sim_host *h = &s->host[r][n];

    if (!is_there(s, r, n))
        return;
    h->state = s->loads ? any[pick(s, RM_COUNT(any))] : quiet[pick(s, RM_COUNT(quiet))];
    h->progress = pick(s, 100) / 100.0;
    h->retry_ms = pick(s, 2) * 1000;
    tell(s, n);
}

static void do_close(struct sim *s)
{
    int r = (int)pick(s, ROLES), n = (int)pick(s, NODES);
    bool closed = pick(s, 3) > 0;

    if (!is_there(s, r, n))
        return;
    route_host_close(s->rig->route, role_names[r], node_names[n], closed);
    if (s->host[r][n].state != HOST_ABSENT)
        s->host[r][n].closed = closed;
}

static void do_note(struct sim *s)
{
    const struct route_note note = {
        .state = s->loads ? (enum route_note_state)pick(s, 4) : ROUTE_NOTE_NONE,
        .node = pick(s, 2) ? node_names[pick(s, NODES)] : NULL,
        .eta_ms = pick(s, 3) ? pick(s, 400000) : 0,
        .text = pick(s, 2) ? "code to finish" : NULL,
    };

    route_role_note(s->rig->route, role_names[pick(s, ROLES)], &note);
}

static void set_map(struct sim *s, bool less)
{
    if (s->is_less == less)
        return;
    s->is_less = less;
    for (int r = 0; r < ROLES; r++) /* what leaves is open when it comes back */
        for (int n = 0; n < NODES; n++)
            if (!is_there(s, r, n)) {
                route_host_close(s->rig->route, role_names[r], node_names[n], false);
                s->host[r][n].closed = false;
            }
    route_set_map(s->rig->route, less ? s->less : s->rig->map);
    if (less)
        route_node_gone(s->rig->route, "c");
    else
        route_node_here(s->rig->route, "c", (struct http_client *)s->rig);
}

/* ---- the book ---- */

/* Waiting past this is a fault. */
static uint64_t end_by(const struct sim *s, const struct sim_ticket *k)
{
    uint64_t own = deadlines_ms[k->role];
    uint64_t more = k->role == 0 ? k->tick_ms + deadlines_ms[1] : 0; /* the fallback's */

    if (k->fixed_ms > 0)
        return k->fixed_ms;
    if (!s->loads)
        return k->opened_ms + own + more;
    return k->opened_ms + COMING_CAP_MS + more;
}

static void check(struct sim *s)
{
    uint32_t waiting = 0, in_flight = 0, told_waiting = 0, told_flight = 0;
    struct route_demand d;

    for (int i = 0; i < TICKETS; i++) {
        const struct sim_ticket *k = &s->ticket[i];
        char status[100];

        if (k->t == NULL)
            continue;
        route_ticket_status(k->t, status, sizeof status);
        must(s, status[0] != '\0');
        waiting += k->leases + k->refusals == 0;
        in_flight += k->leases > 0;
        must(s, k->leases + k->refusals > 0 || now_ms(s) < end_by(s, k));
    }
    for (int r = 0; r < ROLES; r++) {
        route_demand_of(s->rig->route, role_names[r], &d);
        told_waiting += d.waiting;
        told_flight += d.in_flight;
        must(s, (d.waiting > 0) >= (d.oldest_ms > 0));
    }
    must(s, told_waiting == waiting);
    must(s, told_flight == in_flight);
    for (int r = 0; r < ROLES; r++)
        for (int n = 0; n < NODES; n++) {
            struct route_host_use use;

            route_host_use_of(s->rig->route, role_names[r], node_names[n], &use);
            must(s, use.in_flight == s->host[r][n].in_flight);
        }
}

static void step(struct sim *s)
{
    uint32_t kind = pick(s, 100);

    if (kind < 35)
        do_ask(s);
    else if (kind < 60)
        do_end(s);
    else if (kind < 75)
        do_host(s);
    else if (kind < 84)
        do_close(s);
    else if (kind < 92)
        do_note(s);
    else if (kind < 94)
        route_role_fail(s->rig->route, role_names[pick(s, ROLES)], RM_ERR_NO_HOST, "no room");
    else if (kind < 96)
        route_node_lost(s->rig->route, node_names[pick(s, NODES)], UV_ECONNRESET);
    else if (kind < 97)
        set_map(s, pick(s, 3) == 0);
    else
        tell(s, (int)pick(s, NODES));
}

static void pass(struct sim *s)
{
    const uint64_t tick = pick(s, s->calm ? 4 : 40) == 0 ? 250 + 1000 * pick(s, 200) : 250;

    rig_pass_ms(s->rig, tick);
    s->tick_ms = tick;
    for (int i = 0; i < TICKETS; i++)
        if (s->ticket[i].tick_ms < tick)
            s->ticket[i].tick_ms = tick;
    for (int n = 0; n < NODES; n++)
        if (pick(s, 4) == 0) {
            for (int r = 0; r < ROLES; r++)
                s->host[r][n].progress += 0.01 * (s->host[r][n].progress < 0.99);
            tell(s, n);
        }
    route_sweep(s->rig->route);
    rig_turn(s->rig);
    check(s);
}

/* Everything becomes ready and every request ends as soon as it can: nobody may be left. */
static void finish(struct sim *s)
{
    bool left = true;

    set_map(s, false);
    for (int r = 0; r < ROLES; r++) {
        route_role_note(s->rig->route, role_names[r], &(struct route_note){ROUTE_NOTE_NONE});
        for (int n = 0; n < NODES; n++) {
            s->host[r][n].state = HOST_ABSENT; /* opens what was closed */
            tell(s, n);
            s->host[r][n].state = HOST_READY;
        }
    }
    for (int i = 0; left && i < 2000; i++) {
        for (int n = 0; n < NODES; n++)
            tell(s, n);
        rig_pass_ms(s->rig, 250);
        route_sweep(s->rig->route);
        rig_turn(s->rig);
        left = false;
        for (int k = 0; k < TICKETS; k++) {
            if (s->ticket[k].t != NULL && s->ticket[k].leases + s->ticket[k].refusals > 0)
                ticket_end(&s->ticket[k]);
            left |= s->ticket[k].t != NULL;
        }
    }
    must(s, !left);
    must(s, s->opened == s->leased + s->refused + s->left);
    check(s);
}

static void run_seed(struct sim *sum, uint64_t seed)
{
    struct conf_report report;
    struct sim *s = calloc(1, sizeof *s);

    assert_non_null(s);
    s->seed = seed;
    s->random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    s->loads = seed % 3 > 0;
    s->calm = seed % 5 == 0;
    s->rig = rig_open(map_whole);
    assert_non_null(s->rig);
    conf_report_init(&report);
    assert_int_equal(role_map_parse("l.yaml", map_less, sizeof map_less - 1, &report, &s->less), 0);
    conf_report_clear(&report);
    for (int n = 0; n < NODES; n++)
        tell(s, n);
    for (int i = 0; i < STEPS; i++) {
        for (uint32_t k = pick(s, s->calm ? 2 : 6); k > 0; k--)
            step(s);
        pass(s);
    }
    finish(s);
    assert_int_equal(rig_close(s->rig), 0);
    role_map_unref(s->less);
    sum->opened += s->opened;
    sum->leased += s->leased;
    sum->refused += s->refused;
    sum->left += s->left;
    sum->losts += s->losts;
    free(s);
}

static void random_schedules(void **state)
{
    const char *one = getenv("ROLEMESH_SEED");
    struct sim sum = {0};

    (void)state;
    if (one != NULL) {
        run_seed(&sum, strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_seed(&sum, seed);
    printf("%d seeds: %" PRIu64 " tickets: %" PRIu64 " leased, %" PRIu64 " refused, %" PRIu64
           " left while waiting; %" PRIu64 " leases lost\n",
           SEEDS, sum.opened, sum.leased, sum.refused, sum.left, sum.losts);
    assert_true(sum.leased > 100 * SEEDS / 10 && sum.refused > SEEDS && sum.left > SEEDS &&
                sum.losts > SEEDS); /* the schedules reach everything */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_schedules)};

    return cmocka_run_group_tests_name("route_sim", tests, NULL, NULL);
}
