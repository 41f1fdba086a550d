/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_live_test.c - what nodes said as the planner's limits and bytes, by hand. */
#include "proto/plan/plan_live.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define GIB (UINT64_C(1) << 30)

enum { NODES = 2, ROLES = 4 };

static const char map_yaml[] =
    "version: 1\n"
    "nodes: {a: {address: \"127.0.0.1:1\"}, b: {address: \"127.0.0.1:2\", reserve: 2GiB}}\n"
    "models: {m: {source: /m.gguf}, o: {source: \"attach:o\"}}\n"
    "roles:\n"
    "  plain: {model: m, context: 4Ki, slots: 2, modes: [p]}\n"
    "  big: {model: m, context: 4Ki, slots: 1, modes: [b], overcommit: swap, residency: pinned}\n"
    "  late: {model: m, context: 4Ki, slots: 1, modes: [l], residency: on-demand, nodes: [a]}\n"
    "  other: {model: o, engine: {kind: attach, url: \"http://127.0.0.1:3\"}, modes: [o]}\n";

/* A small cluster of which each test changes what it is about. */
struct rig {
    struct role_map *map;
    struct node_state states[NODES];
    struct node_host hosts[NODES][3];
    struct node_forecast forecasts[ROLES];
    struct plan_live_node nodes[NODES];
    struct plan_live_pair pairs[ROLES * NODES];
    struct plan_live live;
};

static struct plan_live_pair *pair(struct rig *g, size_t role, size_t node)
{
    return &g->pairs[role * NODES + node];
}

static struct node_forecast forecast(uint64_t kv_cell, uint32_t context, uint32_t slots)
{
    struct node_forecast f = {.known = true, .weights = 10 * GIB, .context = context};
    struct node_bytes b;

    f.slots = slots;
    f.costs.f16 = (struct node_kv_costs){.known = true, .kv_cell = kv_cell, .compute = GIB};
    f.costs.q8_0 = f.costs.f16;
    f.costs.q8_0.kv_cell = kv_cell / 2;
    assert_int_equal(node_forecast_at(&f, context, slots, false, &b), 0);
    f.kv = b.kv;
    f.compute = b.compute;
    f.total = b.total;
    f.largest = b.largest;
    return f;
}

static int rig_open(void **state)
{
    struct rig *g = calloc(1, sizeof *g);
    struct conf_report report;

    assert_non_null(g);
    conf_report_init(&report);
    assert_int_equal(role_map_parse("m.yaml", map_yaml, strlen(map_yaml), &report, &g->map), 0);
    conf_report_clear(&report);
    for (size_t n = 0; n < NODES; n++) {
        g->states[n].memory = (struct node_memory){
            .total = 100 * GIB, .available = 98 * GIB, .reserve = 8 * GIB, .budget = 92 * GIB};
        g->states[n].hosts = g->hosts[n];
        g->nodes[n] = (struct plan_live_node){.usable = true, .state = &g->states[n]};
    }
    for (size_t r = 0; r < ROLES; r++) {
        g->forecasts[r] = forecast(1 << 20, 4096, r == 0 ? 2 : 1);
        for (size_t n = 0; n < NODES; n++)
            *pair(g, r, n) =
                (struct plan_live_pair){.known = PLAN_FORECAST, .forecast = &g->forecasts[r]};
    }
    g->forecasts[3] = (struct node_forecast){.known = false}; /* attach */
    g->live = (struct plan_live){.map = g->map, .nodes = g->nodes, .pairs = g->pairs};
    *state = g;
    return 0;
}

static int rig_close(void **state)
{
    struct rig *g = *state;

    role_map_unref(g->map);
    free(g);
    return 0;
}

static void stand(struct rig *g, size_t node, const char *role, uint64_t rss, uint64_t planned)
{
    struct node_host *h = &g->hosts[node][g->states[node].n_hosts++];

    snprintf(h->role, sizeof h->role, "%s", role);
    h->rss_bytes = rss;
    h->forecast_bytes = planned;
    h->state = HOST_READY;
}

/* --- limits -------------------------------------------------------------------------------------
 */

static void test_reserve(void **state)
{
    struct rig *g = *state;

    assert_true(plan_live_node(&g->live, 0).budget_bytes == 92 * GIB); /* its worker's */
    assert_true(plan_live_node(&g->live, 1).budget_bytes == 98 * GIB); /* the map's */
    g->nodes[0].largest_bytes = 7;
    assert_true(plan_live_node(&g->live, 0).largest_bytes == 7);
    g->nodes[0].usable = false;
    assert_false(plan_live_node(&g->live, 0).usable);
    g->nodes[1].state = NULL; /* never heard */
    assert_false(plan_live_node(&g->live, 1).usable);
    assert_true(plan_live_node(&g->live, 1).budget_bytes == 0);
    assert_true(plan_live_other_bytes(&g->live, 1) == 0);
}

/* Others may use the reserve; what they use beyond it is not planned with. */
static void test_others(void **state)
{
    struct rig *g = *state;

    g->states[0].memory.available = 94 * GIB;
    assert_true(plan_live_node(&g->live, 0).budget_bytes == 92 * GIB);
    g->states[0].memory.available = 70 * GIB;
    assert_true(plan_live_other_bytes(&g->live, 0) == 30 * GIB);
    assert_true(plan_live_node(&g->live, 0).budget_bytes == 70 * GIB);
    stand(g, 0, "plain", 19 * GIB, 19 * GIB); /* ours, not others' */
    assert_true(plan_live_other_bytes(&g->live, 0) == 11 * GIB);
    assert_true(plan_live_node(&g->live, 0).budget_bytes == 89 * GIB);
}

/* What devices may take, by what the node says of them. System memory is 100 GiB, the reserve 8. */
static void test_device_limits(void **state)
{
    static const struct {
        enum node_device_kind kind;
        uint64_t total, vram, gtt, device, main;
    } rows[] = {
        {DEVICE_CPU, 100, 0, 0, 0, 0},       /* no limits but the budget */
        {DEVICE_GPU, 24, 24, 50, 24, 92},    /* a card: its own memory alone */
        {DEVICE_IGPU, 140, 64, 50, 114, 92}, /* a carve-out and its window */
        {DEVICE_IGPU, 140, 0, 50, 50, 92},   /* the window alone */
        {DEVICE_GPU, 75, 0, 0, 75, 92},      /* only the engine tells */
        {DEVICE_GPU, 0, 0, 0, 0, 0},         /* nobody tells */
        {DEVICE_ACCEL, 7, 0, 50, 0, 0},
    };
    struct rig *g = *state;

    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        struct node_memory *m = &g->states[0].memory;
        struct plan_node n;

        m->total = (100 + rows[i].vram) * GIB;
        m->budget = m->total - 8 * GIB;
        m->vram_counted = m->vram_total = rows[i].vram * GIB;
        m->gtt_total = rows[i].gtt * GIB;
        g->states[0].devices = (struct node_devices){
            2,
            {{.name = "CPU"}, {.name = "X0", .kind = rows[i].kind, .total = rows[i].total * GIB}}};
        n = plan_live_node(&g->live, 0);
        assert_true(n.budget_bytes == (92 + rows[i].vram) * GIB); /* VRAM is nobody else's */
        assert_int_equal(n.split, rows[i].device > 0);
        assert_true(n.device_bytes == rows[i].device * GIB);
        assert_true(n.main_bytes == rows[i].main * GIB);
        assert_true(plan_live_other_bytes(&g->live, 0) == 2 * GIB);
    }
}

/* What stands is not planned away because others took memory: its worker's guard decides that. */
static void test_others_and_standing(void **state)
{
    struct rig *g = *state;

    pair(g, 0, 0)->standing = true;
    stand(g, 0, "plain", 10 * GIB, 19 * GIB); /* has not touched all of it yet */
    g->states[0].memory.available = 5 * GIB;
    assert_true(plan_live_other_bytes(&g->live, 0) == 85 * GIB);
    assert_true(plan_live_node(&g->live, 0).budget_bytes == 19 * GIB);
    g->forecasts[0].total = 200 * GIB; /* never more than the budget */
    assert_true(plan_live_node(&g->live, 0).budget_bytes == 92 * GIB);
}

static void test_foreign(void **state)
{
    struct rig *g = *state;

    stand(g, 0, "plain", 19 * GIB, 19 * GIB);
    stand(g, 0, "removed", 20 * GIB, 30 * GIB);
    stand(g, 0, "unknown", 5 * GIB, 0);
    assert_true(plan_live_foreign_bytes(&g->live, 0) == 35 * GIB);
    assert_true(plan_live_node(&g->live, 0).budget_bytes == 92 * GIB);
    g->live.foreign_stay = true;
    assert_true(plan_live_node(&g->live, 0).budget_bytes == 57 * GIB);
}

static void test_swap(void **state)
{
    struct rig *g = *state;
    struct node_memory *m = &g->states[0].memory;

    assert_true(plan_live_node(&g->live, 0).swap_bytes == 0);
    m->swap_total = 40 * GIB;
    m->swap_zram = 16 * GIB; /* is memory */
    assert_true(plan_live_node(&g->live, 0).swap_bytes == 24 * GIB);
    m->swap_used = 10 * GIB;
    assert_true(plan_live_node(&g->live, 0).swap_bytes == 14 * GIB);
    pair(g, 1, 0)->standing = true; /* a host that may be swapped stands: the use is its own */
    assert_true(plan_live_node(&g->live, 0).swap_bytes == 24 * GIB);
    m->swap_used = 60 * GIB;
    pair(g, 1, 0)->standing = false;
    assert_true(plan_live_node(&g->live, 0).swap_bytes == 0);
}

/* --- bytes --------------------------------------------------------------------------------------
 */

static void test_parts(void **state)
{
    struct rig *g = *state;
    struct plan_parts p = plan_live_parts(&g->live, 0, 0, NULL);

    assert_true(p.known && !p.measured && p.all_bytes == 19 * GIB); /* 10 + 8 + 1 */
    assert_true(p.weights_bytes == 10 * GIB && p.kv_bytes == 8 * GIB && p.compute_bytes == GIB);
    assert_true(p.other_bytes == 0 && p.device_bytes == 0 && p.largest_bytes == 10 * GIB);
    p = plan_live_parts(&g->live, 3, 0, NULL); /* attach: nothing, but it may be planned with */
    assert_true(p.known && p.all_bytes == 0);
    pair(g, 0, 0)->known = PLAN_BAD;
    assert_false(plan_live_parts(&g->live, 0, 0, NULL).known);
    assert_false(plan_live_pair(&g->live, 0, 0, NULL).allowed);
}

/* Not asked yet: only what stands there counts, with what its worker reckons. */
static void test_unasked(void **state)
{
    struct rig *g = *state;

    pair(g, 0, 0)->known = PLAN_UNASKED;
    assert_false(plan_live_pair(&g->live, 0, 0, NULL).allowed);
    stand(g, 0, "plain", GIB, 18 * GIB);
    assert_false(plan_live_pair(&g->live, 0, 0, NULL).allowed);
    pair(g, 0, 0)->standing = true;
    assert_true(plan_live_pair(&g->live, 0, 0, NULL).allowed);
    assert_true(plan_live_pair(&g->live, 0, 0, NULL).bytes == 18 * GIB);
    assert_false(plan_live_parts(&g->live, 0, 0, &(struct plan_way){PLAN_WAY_KV, 0, 0}).known);
}

static uint64_t all_with(struct rig *g, enum plan_way_kind kind, uint32_t value)
{
    return plan_live_parts(&g->live, 0, 0, &(struct plan_way){kind, 0, value}).all_bytes;
}

static void test_ways(void **state)
{
    struct rig *g = *state;

    assert_true(all_with(g, PLAN_WAY_KV, 0) == 15 * GIB);
    assert_true(all_with(g, PLAN_WAY_CONTEXT, 1024) == 13 * GIB);
    assert_true(all_with(g, PLAN_WAY_SLOTS, 1) == 15 * GIB);
    assert_true(all_with(g, PLAN_WAY_NODE, 1) == 19 * GIB);
    assert_true(all_with(g, PLAN_WAY_ON_DEMAND, 0) == 19 * GIB);
    /* Measured beats the forecast; what was beyond it stays beyond other settings. */
    g->forecasts[0].measured = true;
    g->forecasts[0].total = 20 * GIB;
    assert_true(all_with(g, PLAN_WAY_NODE, 1) == 20 * GIB);
    assert_true(plan_live_parts(&g->live, 0, 0, NULL).other_bytes == GIB);
    assert_true(all_with(g, PLAN_WAY_SLOTS, 1) == 16 * GIB);
    g->forecasts[0].total = 17 * GIB; /* less was measured: others are only predicted */
    assert_true(all_with(g, PLAN_WAY_NODE, 1) == 17 * GIB);
    assert_true(all_with(g, PLAN_WAY_SLOTS, 1) == 15 * GIB);
    g->forecasts[0].costs.q8_0.known = false;
    assert_false(plan_live_parts(&g->live, 0, 0, &(struct plan_way){PLAN_WAY_KV, 0, 0}).known);
}

static void test_devices(void **state)
{
    struct rig *g = *state;
    struct node_forecast *f = &g->forecasts[0];

    f->n_buffers = 2;
    f->buffers[0] = (struct node_buffer){.host = true, .weights = GIB, .kv = 2 * GIB};
    f->buffers[1] = (struct node_buffer){.weights = 9 * GIB, .kv = 6 * GIB, .compute = GIB};
    assert_true(plan_live_parts(&g->live, 0, 0, NULL).device_bytes == 16 * GIB);
    assert_true(plan_live_pair(&g->live, 0, 0, NULL).device_bytes == 16 * GIB);
    /* Half of the cache, in the same shares. */
    assert_true(
        plan_live_parts(&g->live, 0, 0, &(struct plan_way){PLAN_WAY_SLOTS, 0, 1}).device_bytes ==
        13 * GIB);
}

/* --- all of it ----------------------------------------------------------------------------------
 */

static void test_case(void **state)
{
    struct rig *g = *state;
    bool asked[ROLES] = {false, false, true, false};
    struct plan_case c, copy;

    pair(g, 0, 1)->standing = pair(g, 0, 1)->file = true;
    assert_int_equal(plan_live_case(&g->live, NULL, &c), 0);
    assert_int_equal(c.roles[0].wish, PLAN_INTERACTIVE);
    assert_int_equal(c.roles[1].wish, PLAN_PINNED);
    assert_int_equal(c.roles[2].wish, PLAN_IF_ASKED);
    assert_true(!c.roles[0].swap && c.roles[1].swap);
    assert_true(c.pairs[1].standing && c.pairs[1].file && !c.pairs[0].standing);
    assert_true(c.pairs[2 * NODES].allowed && !c.pairs[2 * NODES + 1].allowed);
    assert_int_equal(plan_case_copy(&c, &copy), 0);
    plan_case_clear(&c);
    assert_ptr_equal(copy.in.nodes, copy.nodes);
    assert_ptr_equal(copy.in.pairs, copy.pairs);
    assert_true(copy.in.n_roles == ROLES && copy.pairs[1].standing);
    plan_case_clear(&copy);
    g->live.asked = asked;
    assert_int_equal(plan_live_case(&g->live, NULL, &c), 0);
    assert_int_equal(c.roles[2].wish, PLAN_LOADED);
    plan_case_clear(&c);
    g->live.asked = NULL;
    pair(g, 2, 0)->standing = true;
    assert_int_equal(plan_live_case(&g->live, NULL, &c), 0);
    assert_int_equal(c.roles[2].wish, PLAN_LOADED);
    plan_case_clear(&c);
    assert_int_equal(plan_live_case(&g->live, &(struct plan_way){PLAN_WAY_ON_DEMAND, 1, 0}, &c), 0);
    assert_int_equal(c.roles[1].wish, PLAN_IF_ASKED);
    plan_case_clear(&c);
}

/* Swap is there, but only for roles that say so. */
static void test_only_who_may(void **state)
{
    struct rig *g = *state;
    struct plan_out out;
    struct plan_case c;

    g->nodes[1].usable = false;
    g->states[0].memory.swap_total = 50 * GIB;
    g->forecasts[0].total = 110 * GIB;
    assert_int_equal(plan_live_case(&g->live, NULL, &c), 0);
    assert_int_equal(plan_solve(&c.in, &out), 0);
    assert_true(out.exact && out.hosts[0] == 0 && out.hosts[1] == 1);
    assert_true(out.swap_bytes[0] == 0);
    plan_case_clear(&c);
    g->forecasts[0].total = 30 * GIB;
    g->forecasts[1].total = 110 * GIB;
    assert_int_equal(plan_live_case(&g->live, NULL, &c), 0);
    assert_int_equal(plan_solve(&c.in, &out), 0);
    assert_true(plan_is_feasible(&out) && out.swap_bytes[0] == 48 * GIB);
    plan_case_clear(&c);
}

int main(void)
{
#define TEST(name, fn)                                                                             \
    {                                                                                              \
        name, fn, rig_open, rig_close, NULL                                                        \
    }
    const struct CMUnitTest tests[] = {
        TEST("reserve, limits, nodes that are not there", test_reserve),
        TEST("memory of others", test_others),
        TEST("memory of others beside what stands", test_others_and_standing),
        TEST("hosts that the map does not name", test_foreign),
        TEST("swap", test_swap),
        TEST("a host's bytes by part", test_parts),
        TEST("not asked yet", test_unasked),
        TEST("other settings, measured totals", test_ways),
        TEST("bytes on devices", test_devices),
        TEST("limits of devices", test_device_limits),
        TEST("the whole case, and a copy", test_case),
        TEST("swap only for roles that may", test_only_who_may),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
