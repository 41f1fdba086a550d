/* SPDX-License-Identifier: MIT */
/* worker/memory/guard_node_test.c - guard.c and host_sm.c together, as room.c and host.c join them:
 * random nodes in simulated seconds, with hosts that load, serve and leave, and somebody else who
 * takes memory and gives it back. What must hold:
 *   - no engine starts while the node refuses; no pinned one is ever told to go
 *   - the guard sends one at a time, and never one whose requests still have time
 *   - while the others' memory stays as it is, nobody is sent away twice: no coming and going
 *   - it holds still only when enough is left or only pinned ones are there
 *   - when the others have gone, every host comes back */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/host/host_sm.h"
#include "worker/memory/guard.h"

#define GIB (1ULL << 30)

enum { NODES = 1000, HOSTS_MAX = 8, EPISODES = 4, EPISODE_S = 600, LAST_S = 120, STEP_MS = 1000 };

/* 64 GiB with a reserve of 6: the line is 3, from 4.5 on it is good. Hosts fit in 50 together. */
static const uint64_t system_bytes = 64 * GIB, reserve_bytes = 6 * GIB, low = 3 * GIB;

struct sim_host {
    struct host_sm sm;
    char name[24];
    enum node_residency residency;
    enum node_lane lane;
    uint64_t bytes, taken, evicted_bytes;
    uint32_t requests, drain_ms;
    uint64_t ready_ms;
    uint64_t ends_ms;       /* of a stopping engine; 0: not told to end */
    uint64_t may_cut_ms;    /* when an eviction's drain is over */
    unsigned sent_away;     /* since the others changed last */
    bool refused, loads_on; /* the check was refused; it loads */
};

struct sim {
    uint64_t s, now, others;
    struct guard guard;
    struct guard_reading reading;
    struct sim_host h[HOSTS_MAX];
    size_t n;
    unsigned evictions, hurries;
};

static uint64_t rnd(struct sim *m)
{
    m->s ^= m->s << 13;
    m->s ^= m->s >> 7;
    m->s ^= m->s << 17;
    return m->s;
}

static void guarded(const struct sim *m, struct guard_host out[HOSTS_MAX])
{
    for (size_t i = 0; i < m->n; i++) {
        const struct sim_host *h = &m->h[i];
        bool leaving = h->sm.phase == HOST_PH_DRAINING || h->sm.phase == HOST_PH_STOPPING;

        out[i] = (struct guard_host){
            .role = h->name,
            .residency = h->residency,
            .lane = h->lane,
            .bytes = h->bytes,
            .to_come = h->loads_on || m->now - h->ready_ms < 2 * STEP_MS ? h->bytes : 0,
            .alive = host_sm_alive(&h->sm) && !leaving,
            .leaving = leaving};
    }
}

static void sim_event(struct sim *m, struct sim_host *h, const struct host_event *ev);

static void sim_check(struct sim *m, struct sim_host *h)
{
    struct guard_host hosts[HOSTS_MAX];
    struct host_event ev = {.type = HOST_EV_CHECKED, .random = (double)(rnd(m) % 1001) / 1000};

    guarded(m, hosts);
    h->refused = !guard_has_room(&m->guard, &m->reading, hosts, m->n, h->evicted_bytes);
    if (h->refused)
        ev = (struct host_event){
            .type = HOST_EV_REFUSED, .cause = CAUSE_MEMORY, .random = ev.random};
    sim_event(m, h, &ev);
}

static void sim_event(struct sim *m, struct sim_host *h, const struct host_event *ev)
{
    unsigned actions = host_sm_step(&h->sm, ev, m->now);

    if (actions & (HOST_DO_STOP | HOST_DO_CUT))
        assert_true(h->residency != RESIDENCY_PINNED); /* nothing else here ends engines */
    if (actions & HOST_DO_CUT) {
        assert_true(h->requests > 0 && m->now >= h->may_cut_ms);
        h->requests = 0;
    }
    if (actions & HOST_DO_STOP)
        h->ends_ms = m->now + 1 + rnd(m) % 3000;
    if (actions & HOST_DO_START) {
        assert_false(m->guard.refusing);
        h->loads_on = true;
        h->taken = 0;
    }
    if (actions & HOST_DO_CHECK)
        sim_check(m, h);
}

static void sim_make(struct sim *m, uint64_t seed)
{
    uint64_t rest = 50 * GIB;

    *m = (struct sim){.s = seed * 0x9e3779b97f4a7c15ULL | 1, .now = 1000};
    m->n = 1 + rnd(m) % HOSTS_MAX;
    m->reading = (struct guard_reading){
        .available = system_bytes, .system = system_bytes, .reserve = reserve_bytes};
    for (size_t i = 0; i < m->n; i++) {
        struct sim_host *h = &m->h[i];

        host_sm_init(&h->sm);
        snprintf(h->name, sizeof(h->name), "h%zu", i);
        h->residency = (enum node_residency)(rnd(m) % 3);
        h->lane = (enum node_lane)(rnd(m) % 3);
        h->bytes = GIB / 4 + (rest > GIB ? rnd(m) % (rest / 2) : 0);
        rest -= h->bytes < rest ? h->bytes : rest;
        h->drain_ms = 1000 + (uint32_t)(rnd(m) % 60000);
        sim_event(m, h,
                  &(struct host_event){.type = HOST_EV_WANT,
                                       .revision = "0123456789abcdef0123456789abcdef",
                                       .drain_ms = h->drain_ms});
    }
}

/* One second of a host: it loads, serves, ends. */
static void sim_live(struct sim *m, struct sim_host *h)
{
    if (h->ends_ms > 0 && m->now >= h->ends_ms) {
        h->ends_ms = h->taken = 0;
        h->requests = 0;
        h->loads_on = false;
        sim_event(m, h, &(struct host_event){.type = HOST_EV_ENDED, .random = 0.5});
    }
    if (h->loads_on && h->ends_ms == 0) {
        h->taken += h->bytes / 4 + 1;
        if (h->taken >= h->bytes) {
            h->taken = h->bytes;
            h->loads_on = false;
            h->evicted_bytes = 0;
            h->ready_ms = m->now;
            sim_event(m, h, &(struct host_event){.type = HOST_EV_READY});
        }
    }
    if (h->sm.phase == HOST_PH_READY && rnd(m) % 3 == 0)
        h->requests++;
    if (h->requests > 0 && rnd(m) % 8 == 0) /* some never end: the drain's deadline is for those */
        h->requests--;
    if (h->sm.phase == HOST_PH_READY || h->sm.phase == HOST_PH_DRAINING)
        sim_event(m, h, &(struct host_event){.type = HOST_EV_RUNNING, .running = h->requests});
    sim_event(m, h, &(struct host_event){.type = HOST_EV_TICK});
}

static void sim_evict(struct sim *m, struct sim_host *h, enum guard_act act)
{
    uint32_t drain = h->drain_ms;

    assert_true(h->residency != RESIDENCY_PINNED);
    assert_int_equal(act == GUARD_DRAIN, h->residency == RESIDENCY_ON_DEMAND);
    for (size_t i = 0; i < m->n; i++)
        assert_false(m->h[i].sm.phase == HOST_PH_DRAINING || m->h[i].sm.phase == HOST_PH_STOPPING);
    assert_int_equal(h->sent_away++, 0);
    m->evictions++;
    if (act == GUARD_STOP && drain > GUARD_STOP_DRAIN_MS)
        drain = GUARD_STOP_DRAIN_MS;
    h->evicted_bytes = h->bytes;
    h->may_cut_ms = m->now + drain;
    sim_event(m, h, &(struct host_event){.type = HOST_EV_EVICT, .drain_ms = drain});
    assert_true(h->sm.phase == HOST_PH_DRAINING || h->sm.phase == HOST_PH_STOPPING);
}

static void sim_hurry(struct sim *m, struct sim_host *h)
{
    uint64_t until = m->now + GUARD_STOP_DRAIN_MS;

    assert_true(m->reading.available < low / GUARD_DEEP_PART);
    assert_true(h->sm.phase == HOST_PH_DRAINING || h->sm.phase == HOST_PH_STOPPING);
    if (until < h->may_cut_ms)
        h->may_cut_ms = until;
    m->hurries++;
    sim_event(m, h, &(struct host_event){.type = HOST_EV_EVICT, .drain_ms = GUARD_STOP_DRAIN_MS});
    assert_true(h->sm.phase == HOST_PH_STOPPING || h->sm.deadline_ms <= until);
}

static void sim_second(struct sim *m)
{
    struct guard_host hosts[HOSTS_MAX];
    uint64_t used = m->others;
    size_t which = 0;
    enum guard_act act;

    m->now += STEP_MS;
    for (size_t i = 0; i < m->n; i++) {
        sim_live(m, &m->h[i]);
        used += m->h[i].taken;
    }
    m->reading.available = used < system_bytes ? system_bytes - used : 0;
    guarded(m, hosts);
    act = guard_step(&m->guard, &m->reading, hosts, m->n, m->now, &which);
    if (act == GUARD_DRAIN || act == GUARD_STOP)
        sim_evict(m, &m->h[which], act);
    if (act == GUARD_HURRY)
        sim_hurry(m, &m->h[which]);
}

static void run_node(uint64_t seed, unsigned *evictions, unsigned *hurries)
{
    struct sim m;

    sim_make(&m, seed);
    for (int i = 0; i < LAST_S; i++) /* a first start is not weighed: all of them come first */
        sim_second(&m);
    for (int episode = 0; episode < EPISODES; episode++) {
        m.others = rnd(&m) % system_bytes;
        for (size_t i = 0; i < m.n; i++)
            m.h[i].sent_away = 0;
        for (int i = 0; i < EPISODE_S; i++)
            sim_second(&m);
        if (m.reading.available < low) /* long after: only then may it still be short */
            for (size_t i = 0; i < m.n; i++)
                assert_true(!host_sm_alive(&m.h[i].sm) || m.h[i].residency == RESIDENCY_PINNED);
    }
    m.others = 0;
    for (int i = 0; i < LAST_S; i++)
        sim_second(&m);
    for (size_t i = 0; i < m.n; i++)
        assert_int_equal(m.h[i].sm.phase, HOST_PH_READY);
    *evictions += m.evictions;
    *hurries += m.hurries;
}

static void random_nodes(void **state)
{
    const char *fixed = getenv("ROLEMESH_SEED");
    uint64_t seed =
        fixed != NULL ? strtoull(fixed, NULL, 10) : (uint64_t)(uintptr_t)&fixed ^ 0x5eed;
    unsigned evictions = 0, hurries = 0;

    (void)state;
    print_message("seed %llu (ROLEMESH_SEED sets it)\n", (unsigned long long)seed);
    for (uint64_t i = 0; i < NODES; i++) {
        run_node(seed + i, &evictions, &hurries);
    }
    print_message("%u hosts had to go on %d nodes, %u had to hurry\n", evictions, NODES, hurries);
    assert_true(evictions > NODES / 2 && hurries > NODES / 10);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(random_nodes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
