/* SPDX-License-Identifier: MIT */
/* gateway/place/hosting_sim_test.c - plays seeded schedules against the hosting machine.
 * By itself: RUNS schedules from seed 1. ROLEMESH_SIM_RUNS=100000 plays that many,
 * ROLEMESH_SIM_SEED=N begins with (or, without RUNS, plays only, and tells) that one. A broken rule
 * prints the seed and what was broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "gateway/place/hosting_sim.h"

enum { RUNS = 2000, CALM_MAX_MS = 30 * 60 * 1000, QUIET_MS = 12000, FAILURES_SHOWN = 5 };

static void sim_step(struct sim *s, uint64_t ms)
{
    s->now_ms += ms;
    s->steps++;
    sim_world_step(s);
    sim_gate_step(s);
}

static void tell_world(const struct sim *s)
{
    for (size_t n = 0; n < s->n_nodes; n++)
        sim_say(s, "node %zu: budget %llu", n, (unsigned long long)s->nodes[n].budget >> 20);
    for (size_t r = 0; r < s->n_roles; r++)
        sim_say(s,
                "role %zu: wish %d%s, %u replicas, allowed %x, %llu units, load %llu ms, idle %llu",
                r, (int)s->roles[r].wish, s->roles[r].on_demand ? " on demand" : "",
                s->roles[r].replicas, s->roles[r].allowed,
                (unsigned long long)s->roles[r].bytes[0] >> 20,
                (unsigned long long)s->roles[r].load_ms[0],
                (unsigned long long)s->roles[r].idle_unload_ms);
}

bool sim_run(struct sim *s, uint64_t seed, bool trace)
{
    uint64_t end, quiet_since = 0;
    bool reloads;

    memset(s, 0, sizeof *s);
    s->seed = s->random = seed;
    s->now_ms = 1000;
    s->trace = trace;
    sim_world_make(s);
    reloads = sim_chance(s, 500);
    s->operated = sim_chance(s, 500);
    end = s->now_ms + sim_between(s, 60, s->hot ? 900 : 360) * 1000;
    sim_gate_open(s);
    tell_world(s);
    while (s->now_ms < end && s->broken[0] == '\0') {
        if (reloads && sim_chance(s, 15) && sim_world_reload(s)) {
            tell_world(s);
            s->reloads++;
            sim_gate_map(s);
        }
        sim_step(s, sim_between(s, 100, 1400));
    }
    s->calm = true;
    if (sim_chance(s, 500))
        sim_operator_leaves(s);
    end = s->now_ms + CALM_MAX_MS;
    while (s->now_ms < end && s->broken[0] == '\0') {
        sim_step(s, sim_between(s, 300, 2000));
        if (!sim_gate_quiet(s))
            quiet_since = s->now_ms;
        else if (s->now_ms - quiet_since > QUIET_MS)
            break;
    }
    sim_gate_end(s);
    sim_gate_close(s);
    return s->broken[0] == '\0';
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void test_schedules(void **state)
{
    bool one = getenv("ROLEMESH_SIM_SEED") != NULL && getenv("ROLEMESH_SIM_RUNS") == NULL;
    uint64_t first = number_from("ROLEMESH_SIM_SEED", 1);
    uint64_t runs = one ? 1 : number_from("ROLEMESH_SIM_RUNS", RUNS), failures = 0, steps = 0;
    uint64_t came = 0, loads = 0, unloads = 0, told = 0, lost = 0, replans = 0, reloads = 0,
             orders = 0;
    struct sim *s = calloc(1, sizeof *s);
    clock_t began = clock();

    (void)state;
    assert_non_null(s);
    for (uint64_t i = 0; i < runs; i++) {
        if (!sim_run(s, first + i, one) && failures++ < FAILURES_SHOWN)
            print_error("seed %llu: %s\n", (unsigned long long)(first + i), s->broken);
        steps += s->steps;
        came += s->came;
        loads += s->loads;
        unloads += s->unloads;
        told += s->told;
        lost += s->lost;
        replans += s->replans;
        reloads += s->reloads;
        orders += s->orders;
    }
    free(s);
    print_message("%llu schedules, %llu steps, %llu requests (%llu told why not, %llu lost with "
                  "their engine), %llu loads, %llu unloads, %llu plans, %llu reloads, %llu orders: "
                  "%.1f s CPU\n",
                  (unsigned long long)runs, (unsigned long long)steps, (unsigned long long)came,
                  (unsigned long long)told, (unsigned long long)lost, (unsigned long long)loads,
                  (unsigned long long)unloads, (unsigned long long)replans,
                  (unsigned long long)reloads, (unsigned long long)orders,
                  (double)(clock() - began) / CLOCKS_PER_SEC);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schedules)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
