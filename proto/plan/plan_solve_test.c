/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_solve_test.c - the plan beside all plans there are, and at its largest size.
 * Random maps come from a seed that is printed; PLAN_SEED in the environment repeats one. */
#include "proto/plan/plan.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define GIB (UINT64_C(1) << 30)

enum { SMALL_MAPS = 10000, SMALL_NODES = 4, SMALL_ROLES = 5, SCALE_MAPS = 20 };

struct map {
    struct plan_node nodes[PLAN_NODES_MAX];
    struct plan_role roles[PLAN_ROLES_MAX];
    struct plan_pair pairs[PLAN_ROLES_MAX * PLAN_NODES_MAX];
    struct plan_in in;
};

static uint64_t rng;

static uint64_t draw(uint64_t below) /* splitmix64 */
{
    uint64_t z = (rng += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

static struct map *map_new(size_t n_nodes, size_t n_roles)
{
    struct map *m = calloc(1, sizeof *m);

    assert_non_null(m);
    m->in = (struct plan_in){.nodes = m->nodes,
                             .roles = m->roles,
                             .pairs = m->pairs,
                             .n_nodes = n_nodes,
                             .n_roles = n_roles};
    return m;
}

static struct plan_pair *pair(struct map *m, size_t role, size_t node)
{
    return &m->pairs[role * m->in.n_nodes + node];
}

static const struct plan_pair *cpair(const struct plan_in *in, size_t role, size_t node)
{
    return &in->pairs[role * in->n_nodes + node];
}

/* --- what a plan is worth, written a second time ------------------------------------------------
 */

/* What lies on a node. */
struct load {
    uint64_t all, device, all_unswapped, main_unswapped;
};

static void load_add(struct load *l, const struct plan_in *in, size_t r, size_t n)
{
    const struct plan_pair *p = cpair(in, r, n);

    l->all += p->bytes;
    l->device += p->device_bytes;
    l->all_unswapped += in->roles[r].swap ? 0 : p->bytes;
    l->main_unswapped += in->roles[r].swap ? 0 : p->bytes - p->device_bytes;
}

static bool load_fits(const struct load *l, const struct plan_node *n)
{
    if (l->all > n->budget_bytes + n->swap_bytes || l->all_unswapped > n->budget_bytes)
        return false;
    return !n->split || (l->device <= n->device_bytes && l->main_unswapped <= n->main_bytes &&
                         l->all - l->device <= n->main_bytes + n->swap_bytes);
}

static uint64_t load_swap(const struct load *l, const struct plan_node *n)
{
    uint64_t all = l->all > n->budget_bytes ? l->all - n->budget_bytes : 0, main = 0;

    if (n->split && l->all - l->device > n->main_bytes)
        main = l->all - l->device - n->main_bytes;
    return all > main ? all : main;
}

static bool fits_beside(const struct plan_in *in, const struct load *l, size_t r, size_t n)
{
    const struct plan_pair *p = cpair(in, r, n);
    struct load with = *l;

    load_add(&with, in, r, n);
    return p->allowed && in->nodes[n].usable && load_fits(&with, &in->nodes[n]) &&
           (in->nodes[n].largest_bytes == 0 || p->largest_bytes <= in->nodes[n].largest_bytes);
}

static bool possible(const struct plan_in *in, size_t r, size_t n)
{
    const struct load nothing = {0, 0, 0, 0};

    return fits_beside(in, &nothing, r, n);
}

static void load_all(const struct plan_in *in, const uint64_t *hosts, struct load *load)
{
    memset(load, 0, in->n_nodes * sizeof *load);
    for (size_t r = 0; r < in->n_roles; r++)
        for (size_t n = 0; n < in->n_nodes; n++)
            if ((hosts[r] >> n & 1) != 0)
                load_add(&load[n], in, r, n);
}

static void count_role(const struct plan_in *in, size_t r, uint64_t hosts, uint32_t *count)
{
    static const int first_at[] = {PLAN_NO_PINNED, PLAN_NO_AUTOCOMPLETE, PLAN_NO_INTERACTIVE,
                                   PLAN_NO_BATCH, PLAN_NO_LOADED};
    const struct plan_role *role = &in->roles[r];
    uint32_t n = 0, fetched = 0, files = 0, spare;

    for (size_t i = 0; i < in->n_nodes; i++) {
        bool here = (hosts >> i & 1) != 0;

        n += here;
        fetched += here && !cpair(in, r, i)->file;
        files += possible(in, r, i) && cpair(in, r, i)->file;
        count[PLAN_STOPPED] += !here && possible(in, r, i) && cpair(in, r, i)->standing;
    }
    count[first_at[role->wish]] += n == 0;
    count[role->wish == PLAN_LOADED ? PLAN_NO_LOADED_REPLICAS : PLAN_NO_REPLICAS] +=
        role->replicas - (n == 0 ? 1 : n);
    spare = role->replicas > files ? role->replicas - files : 0;
    count[PLAN_FETCHED] += fetched > spare ? fetched - spare : 0;
}

static void count_plan(const struct plan_in *in, const uint64_t *hosts, uint32_t *count)
{
    struct load load[PLAN_NODES_MAX];

    memset(count, 0, PLAN_COUNTS * sizeof *count);
    load_all(in, hosts, load);
    for (size_t n = 0; n < in->n_nodes; n++)
        count[PLAN_SWAPPED] += (uint32_t)((load_swap(&load[n], &in->nodes[n]) + GIB - 1) / GIB);
    for (size_t r = 0; r < in->n_roles; r++) {
        bool room = false;

        if (in->roles[r].wish != PLAN_IF_ASKED) {
            count_role(in, r, hosts[r], count);
            continue;
        }
        for (size_t n = 0; n < in->n_nodes; n++)
            room = room || fits_beside(in, &load[n], r, n);
        count[PLAN_NO_HEADROOM] += !room;
    }
}

static void check_plan(const struct plan_in *in, const struct plan_out *out)
{
    struct load load[PLAN_NODES_MAX];
    uint32_t count[PLAN_COUNTS];
    struct plan_out judged;

    plan_judge(in, out->hosts, &judged); /* as a given plan it has the same counts */
    assert_memory_equal(judged.count, out->count, sizeof judged.count);
    assert_memory_equal(judged.used_bytes, out->used_bytes, sizeof judged.used_bytes);
    assert_memory_equal(judged.swap_bytes, out->swap_bytes, sizeof judged.swap_bytes);
    load_all(in, out->hosts, load);
    for (size_t n = 0; n < in->n_nodes; n++) {
        assert_true(load[n].all == out->used_bytes[n]);
        assert_true(!in->nodes[n].usable || load_fits(&load[n], &in->nodes[n]));
        assert_true(load_swap(&load[n], &in->nodes[n]) == out->swap_bytes[n]);
    }
    for (size_t r = 0; r < in->n_roles; r++) {
        uint32_t hosted = 0;

        for (size_t n = 0; n < PLAN_NODES_MAX; n++)
            if ((out->hosts[r] >> n & 1) != 0) {
                assert_true(n < in->n_nodes && possible(in, r, n));
                hosted++;
            }
        assert_true(hosted <= (in->roles[r].wish == PLAN_IF_ASKED ? 0 : in->roles[r].replicas));
    }
    count_plan(in, out->hosts, count);
    assert_int_equal(plan_compare(count, out->count), 0);
    assert_true(plan_compare(out->bound, out->count) <= 0);
    assert_true(!out->exact || plan_compare(out->bound, out->count) == 0);
}

/* --- all plans there are ------------------------------------------------------------------------
 */

struct brute {
    const struct plan_in *in;
    uint64_t hosts[SMALL_ROLES];
    struct load load[SMALL_NODES];
    uint32_t best[PLAN_COUNTS];
};

static void brute_role(struct brute *b, size_t r)
{
    struct load before[SMALL_NODES];
    uint32_t count[PLAN_COUNTS];

    if (r == b->in->n_roles) {
        count_plan(b->in, b->hosts, count);
        if (plan_compare(count, b->best) < 0)
            memcpy(b->best, count, sizeof count);
        return;
    }
    memcpy(before, b->load, sizeof before);
    for (uint64_t mask = 0; mask < UINT64_C(1) << b->in->n_nodes; mask++) {
        bool fits = b->in->roles[r].wish != PLAN_IF_ASKED || mask == 0;

        if ((uint32_t)__builtin_popcountll(mask) > b->in->roles[r].replicas)
            continue;
        for (size_t n = 0; n < b->in->n_nodes && fits; n++)
            fits = (mask >> n & 1) == 0 || fits_beside(b->in, &b->load[n], r, n);
        if (!fits)
            continue;
        for (size_t n = 0; n < b->in->n_nodes; n++)
            if ((mask >> n & 1) != 0)
                load_add(&b->load[n], b->in, r, n);
        b->hosts[r] = mask;
        brute_role(b, r + 1);
        memcpy(b->load, before, sizeof before);
    }
    b->hosts[r] = 0;
}

/* Small numbers make ties and exact fits frequent. Of three maps one has swap, of three one has
 * devices; `unit` makes them count in bytes or in halves of what swap is counted in. */
static void small_node(struct plan_node *n, uint64_t size, uint64_t unit, bool swap, bool devices)
{
    *n = (struct plan_node){.usable = draw(10) > 0,
                            .budget_bytes = size * unit,
                            .swap_bytes = swap ? draw(7) * unit : 0,
                            .largest_bytes = draw(8) == 0 ? 3 * unit : 0,
                            .split = devices && draw(3) > 0};
    if (n->split) { /* two pools, or one of which devices reach a part */
        uint64_t device = 1 + draw(size);
        bool unified = draw(3) == 0;

        n->device_bytes = device * unit;
        n->main_bytes = (unified ? size : size - device / 2) * unit;
    }
}

static struct map *small_map(void)
{
    struct map *m = map_new(1 + draw(SMALL_NODES), 1 + draw(SMALL_ROLES));
    uint64_t alike = draw(3), size = 3 + draw(10), unit = draw(2) == 0 ? 1 : GIB / 2;
    bool swap = draw(3) == 0, devices = draw(3) == 0;

    for (size_t n = 0; n < m->in.n_nodes; n++)
        small_node(&m->nodes[n], alike > 0 ? size : 3 + draw(10), unit, swap, devices);
    for (size_t r = 0; r < m->in.n_roles; r++) {
        uint64_t bytes = 1 + draw(7);

        m->roles[r] = (struct plan_role){.wish = (enum plan_wish)draw(PLAN_IF_ASKED + 1),
                                         .replicas = draw(3) > 0 ? 1 : 1 + (uint32_t)draw(4),
                                         .swap = swap && draw(2) == 0};
        for (size_t n = 0; n < m->in.n_nodes; n++) {
            struct plan_pair *p = pair(m, r, n);

            *p = (struct plan_pair){.allowed = draw(6) > 0,
                                    .standing = draw(4) == 0,
                                    .file = alike == 2 || draw(2) == 0,
                                    .bytes = (draw(5) > 0 ? bytes : 1 + draw(7)) * unit,
                                    .largest_bytes = bytes * unit};
            if (devices && draw(3) > 0)
                p->device_bytes = draw(3) > 0 ? p->bytes : draw(p->bytes / unit + 1) * unit;
        }
    }
    return m;
}

static void test_never_worse(void **state)
{
    const char *given = getenv("PLAN_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL), steps = 0;
    unsigned feasible = 0, searched = 0, swapped = 0;

    (void)state;
    rng = seed;
    printf("seed %" PRIu64 "\n", seed);
    for (unsigned i = 0; i < SMALL_MAPS; i++) {
        struct map *m = small_map();
        struct brute b = {.in = &m->in};
        struct plan_out out, again;

        memset(b.best, 0xff, sizeof b.best);
        brute_role(&b, 0);
        assert_int_equal(plan_solve(&m->in, &out), 0);
        check_plan(&m->in, &out);
        assert_int_equal(plan_solve(&m->in, &again), 0);
        assert_memory_equal(&out, &again, sizeof out); /* equal input, equal answer */
        if (!out.exact || plan_compare(out.count, b.best) != 0)
            fail_msg("seed %" PRIu64 ", map %u: another plan is better", seed, i);
        feasible += plan_is_feasible(&out);
        searched += out.steps > 0;
        swapped += out.count[PLAN_SWAPPED] > 0;
        steps += out.steps;
        free(m);
    }
    printf("%u maps, %u feasible, %u swap, %u searched in %" PRIu64 " steps\n",
           (unsigned)SMALL_MAPS, feasible, swapped, searched, steps);
    assert_true(feasible > 100 && feasible < SMALL_MAPS && searched > 100 && swapped > 100);
}

/* --- nothing changed: nothing moves -------------------------------------------------------------
 */

static void stand(struct map *m, const struct plan_out *out)
{
    for (size_t r = 0; r < m->in.n_roles; r++)
        for (size_t n = 0; n < m->in.n_nodes; n++)
            pair(m, r, n)->standing = (out->hosts[r] >> n & 1) != 0;
}

static void test_stays(void **state)
{
    (void)state;
    rng = 7;
    for (unsigned i = 0; i < 2000; i++) {
        struct map *m = small_map();
        struct plan_out before, after;

        assert_int_equal(plan_solve(&m->in, &before), 0);
        stand(m, &before);
        assert_int_equal(plan_solve(&m->in, &after), 0);
        assert_memory_equal(before.hosts, after.hosts, sizeof before.hosts);
        assert_int_equal(after.count[PLAN_STOPPED], 0);
        free(m);
    }
}

/* --- realistic maps of the largest size ---------------------------------------------------------
 */

/* GiB of engines as people run them: autocomplete models, 14B, 20B, 30B, 70B, 120B. */
static const uint64_t usual_gib[] = {3, 5, 9, 12, 17, 21, 34, 45, 66, 92};

struct scale {
    const char *name;
    uint64_t load_percent; /* of all budgets, about, by pinned and resident roles */
    bool equal_nodes, standing, lists, on_demand;
    uint32_t replicas;
    unsigned exact; /* of 20 maps: proved within PLAN_STEPS; fewer is a worse search */
};

static const struct scale scales[] = {
    {"equal nodes, light", 50, true, false, false, false, 1, 20},
    {"equal nodes, full", 90, true, false, false, false, 1, 20},
    {"equal nodes, too full", 130, true, false, false, false, 1, 19},
    {"mixed nodes, full", 85, false, false, false, false, 1, 20},
    {"replicas", 70, true, false, false, false, 2, 20},
    {"allow lists", 75, true, false, true, false, 1, 20},
    {"allow lists, too full", 120, false, false, true, false, 1, 20},
    {"headroom, full", 90, true, false, false, true, 1, 20},
    {"headroom, lists, too full", 115, false, false, true, true, 1, 20},
    {"on-demand headroom", 70, true, false, true, true, 1, 20},
    {"standing, one node lost", 75, true, true, false, true, 1, 20},
    {"standing, mixed, full", 85, false, true, false, false, 2, 18},
};

static uint64_t scale_node(const struct scale *c, size_t n)
{
    static const uint64_t gib[] = {116, 116, 88, 56};

    return (c->equal_nodes ? 116 : gib[n % 4]) * GIB;
}

static struct map *scale_map(const struct scale *c)
{
    struct map *m = map_new(PLAN_EXACT_NODES, PLAN_EXACT_ROLES);
    uint64_t total = 0, used = 0;

    for (size_t n = 0; n < m->in.n_nodes; n++) {
        m->nodes[n] = (struct plan_node){.usable = true, .budget_bytes = scale_node(c, n)};
        total += m->nodes[n].budget_bytes;
    }
    for (size_t r = 0; r < m->in.n_roles; r++) {
        uint64_t room = total / 100 * c->load_percent, rest = m->in.n_roles - r;
        uint64_t mean = room > used ? (room - used) / rest / c->replicas / GIB : 1;
        uint64_t gib = usual_gib[draw(sizeof usual_gib / sizeof *usual_gib)];
        bool on_demand = c->on_demand && r % 8 == 7;

        while (!on_demand && gib > 3 && gib > 2 * mean)
            gib = usual_gib[draw(sizeof usual_gib / sizeof *usual_gib)];
        m->roles[r] = (struct plan_role){
            .wish = on_demand ? PLAN_IF_ASKED : (enum plan_wish)(r % 4), .replicas = c->replicas};
        used += on_demand ? 0 : gib * GIB * c->replicas;
        for (size_t n = 0; n < m->in.n_nodes; n++)
            *pair(m, r, n) =
                (struct plan_pair){.allowed = !c->lists || r % 4 != 0 || n % 4 == r % 3,
                                   .file = true,
                                   .bytes = gib * GIB};
    }
    return m;
}

static double ms_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void test_scale(void **state)
{
    const struct scale *c = *state;
    unsigned exact = 0;
    uint64_t most_steps = 0;
    double most_ms = 0;

    for (uint64_t seed = 1; seed <= SCALE_MAPS; seed++) {
        struct plan_out out;
        struct map *m;
        double began, ms;

        rng = seed;
        m = scale_map(c);
        assert_int_equal(plan_solve(&m->in, &out), 0);
        if (c->standing) {
            stand(m, &out);
            m->nodes[seed % PLAN_EXACT_NODES].usable = false;
        }
        began = ms_now();
        assert_int_equal(plan_solve(&m->in, &out), 0);
        ms = ms_now() - began;
        check_plan(&m->in, &out);
        assert_true(out.steps <= PLAN_STEPS + 1);
        exact += out.exact;
        most_steps = out.steps > most_steps ? out.steps : most_steps;
        most_ms = ms > most_ms ? ms : most_ms;
        free(m);
    }
    printf("%s: %u of %u exact, at most %" PRIu64 " steps and %.1f ms\n", c->name, exact,
           (unsigned)SCALE_MAPS, most_steps, most_ms);
    assert_true(exact >= c->exact);
}

/* --- what it refuses ----------------------------------------------------------------------------
 */

static void test_limits(void **state)
{
    struct map *m = map_new(0, 0);
    struct plan_out out;

    (void)state;
    assert_int_equal(plan_solve(&m->in, &out), 0);
    assert_true(out.exact);
    m->in.n_nodes = PLAN_NODES_MAX + 1;
    assert_int_equal(plan_solve(&m->in, &out), RM_ERR_TOO_BIG);
    m->in.n_nodes = 1;
    m->in.n_roles = PLAN_ROLES_MAX + 1;
    assert_int_equal(plan_solve(&m->in, &out), RM_ERR_TOO_BIG);
    free(m);
}

/* Beyond the exact sizes there is still a plan, with a gap that is told. */
static void test_beyond(void **state)
{
    struct map *m = map_new(PLAN_NODES_MAX, PLAN_ROLES_MAX);
    struct plan_out out;

    (void)state;
    rng = 3;
    for (size_t n = 0; n < m->in.n_nodes; n++)
        m->nodes[n] = (struct plan_node){.usable = true, .budget_bytes = 116 * GIB};
    for (size_t r = 0; r < m->in.n_roles; r++) {
        m->roles[r] = (struct plan_role){.wish = (enum plan_wish)draw(4), .replicas = 2};
        for (size_t n = 0; n < m->in.n_nodes; n++)
            *pair(m, r, n) = (struct plan_pair){.allowed = true, .bytes = (10 + r % 9) * GIB};
    }
    assert_int_equal(plan_solve(&m->in, &out), 0);
    check_plan(&m->in, &out);
    assert_int_equal(out.count[PLAN_NO_PINNED], 0);
    free(m);
}

int main(void)
{
    enum { FIXED = 4, SCALES = sizeof scales / sizeof *scales };
    struct CMUnitTest tests[FIXED + SCALES] = {
        {"never worse than any plan", test_never_worse, NULL, NULL, NULL},
        {"nothing changed, nothing moves", test_stays, NULL, NULL, NULL},
        {"limits", test_limits, NULL, NULL, NULL},
        {"beyond the exact sizes", test_beyond, NULL, NULL, NULL},
    };

    for (size_t i = 0; i < SCALES; i++)
        tests[FIXED + i] =
            (struct CMUnitTest){scales[i].name, test_scale, NULL, NULL, (void *)&scales[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
