/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_conflict_test.c - the conflict beside every subset of small random maps. */
#include "proto/plan/plan.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

enum { MAPS = 1500, NODES = 3, ROLES = 6 };

struct map {
    struct plan_node nodes[NODES];
    struct plan_role roles[ROLES];
    struct plan_pair pairs[ROLES * NODES];
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

static void random_map(struct map *m)
{
    memset(m, 0, sizeof *m);
    m->in = (struct plan_in){.nodes = m->nodes,
                             .roles = m->roles,
                             .pairs = m->pairs,
                             .n_nodes = 1 + draw(NODES),
                             .n_roles = 1 + draw(ROLES)};
    for (size_t n = 0; n < m->in.n_nodes; n++)
        m->nodes[n] = (struct plan_node){.usable = draw(8) > 0, .budget_bytes = 4 + draw(8)};
    for (size_t r = 0; r < m->in.n_roles; r++) {
        uint64_t bytes = 1 + draw(7);

        m->roles[r] =
            (struct plan_role){.wish = (enum plan_wish)draw(PLAN_IF_ASKED + 1), .replicas = 1};
        for (size_t n = 0; n < m->in.n_nodes; n++)
            m->pairs[r * m->in.n_nodes + n] = (struct plan_pair){
                .allowed = draw(5) > 0, .standing = draw(3) == 0, .bytes = bytes};
    }
}

/* Can these roles (bits of set) stand together, when the node has so much more? */
static bool coexist(const struct plan_in *in, unsigned set, uint64_t *left, size_t r)
{
    while (r < in->n_roles && (set >> r & 1) == 0)
        r++;
    if (r == in->n_roles)
        return true;
    for (size_t n = 0; n < in->n_nodes; n++) {
        const struct plan_pair *p = &in->pairs[r * in->n_nodes + n];
        bool rest;

        if (!p->allowed || !in->nodes[n].usable || p->bytes > left[n])
            continue;
        left[n] -= p->bytes;
        rest = coexist(in, set, left, r + 1);
        left[n] += p->bytes;
        if (rest)
            return true;
    }
    return false;
}

static bool coexist_with(const struct plan_in *in, unsigned set, size_t node, uint64_t more)
{
    uint64_t left[NODES];

    for (size_t n = 0; n < in->n_nodes; n++)
        left[n] = in->nodes[n].budget_bytes + (n == node ? more : 0);
    return coexist(in, set, left, 0);
}

/* The least anywhere, tried byte by byte; 0: no node helps. */
static uint64_t least_missing(const struct plan_in *in, unsigned set)
{
    for (uint64_t more = 1; more < 64; more++)
        for (size_t n = 0; n < in->n_nodes; n++)
            if (coexist_with(in, set, n, more))
                return more;
    return 0;
}

static void check_map(const struct plan_in *in, unsigned *found)
{
    unsigned must = 0, set = 0, smallest = ROLES + 1;
    struct plan_conflict c;

    for (size_t r = 0; r < in->n_roles; r++)
        must |= in->roles[r].wish <= PLAN_BATCH ? 1u << r : 0;
    for (unsigned s = 1; s < 1u << ROLES; s++)
        if ((s & ~must) == 0 && !coexist_with(in, s, SIZE_MAX, 0) &&
            (unsigned)__builtin_popcount(s) < smallest)
            smallest = (unsigned)__builtin_popcount(s);
    assert_int_equal(plan_find_conflict(in, &c), 0);
    if (smallest > ROLES) {
        assert_int_equal(c.n_roles, 0);
        return;
    }
    ++*found;
    assert_int_equal(c.n_roles, smallest);
    assert_true(c.smallest && c.least);
    for (size_t i = 0; i < c.n_roles; i++)
        set |= 1u << c.roles[i];
    assert_int_equal(__builtin_popcount(set), smallest);
    assert_int_equal(set & ~must, 0);
    assert_false(coexist_with(in, set, SIZE_MAX, 0));
    assert_int_equal(c.missing_bytes, least_missing(in, set));
    assert_int_equal(c.node == SIZE_MAX, c.missing_bytes == 0);
    assert_true(c.node == SIZE_MAX || coexist_with(in, set, c.node, c.missing_bytes));
}

static void test_smallest(void **state)
{
    const char *given = getenv("PLAN_SEED");
    unsigned found = 0;

    (void)state;
    rng = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL);
    printf("seed %" PRIu64 "\n", rng);
    for (unsigned i = 0; i < MAPS; i++) {
        struct map m;

        random_map(&m);
        check_map(&m.in, &found);
    }
    printf("%u of %u maps are in conflict\n", found, (unsigned)MAPS);
    assert_true(found > 50 && found < MAPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_smallest)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
