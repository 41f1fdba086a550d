/* SPDX-License-Identifier: MIT */
/* worker/memory/guard_test.c - guard.c: stories of readings, one a second, by row, without hosts
 * and with them; random walks that are compared with what the history alone says; and random nodes
 * that live through short memory while every rule of guard.h is watched. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/memory/guard.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

enum { WALKS = 1000, WALK_STEPS = 200, STEP_MS = 1000, NODES = 2000, NODE_STEPS = 300 };

/* 64 GiB with a reserve of 6: the line is 3 GiB, good is 4.5. */
static struct guard_reading reading(double gib, double pressure)
{
    return (struct guard_reading){.available = (uint64_t)(gib * (double)GIB),
                                  .system = 64 * GIB,
                                  .reserve = 6 * GIB,
                                  .pressure = pressure};
}

/* A letter is one reading; the verdict after it stands below it: '.' calm, 'R' refusing.
 * g 4.5 GiB; m 4.4, between the lines; b 2.9; e exactly 3.0; P much memory, pressure 20;
 * d 0.7, far below it; p pressure 10; q pressure 9.9; n pressure 19.9 */
static const struct story {
    const char *name, *readings, *verdicts;
} stories[] = {
    {"calm stays calm", "ggmgegnp", "........"},
    {"below the line refuses at once", "gb", ".R"},
    {"on the line is calm", "ge", ".."},
    {"pressure refuses at once", "gPgggggg", ".RRRRRR."},
    {"five good seconds end it", "bgggggg", "RRRRRR."},
    {"between the lines is not good", "bmmmmmmmm", "RRRRRRRRR"},
    {"a bad reading starts the wait anew", "bggggbgggggg", "RRRRRRRRRRR."},
    {"one between the lines too", "bggggmgggggg", "RRRRRRRRRRR."},
    {"pressure must fall below ten", "bpppppqqqqqq", "RRRRRRRRRRR."},
    {"and may come again", "bggggggbg", "RRRRRR.RR"},
};

static struct guard_reading of_letter(char c)
{
    switch (c) {
    case 'g':
        return reading(4.5, 0);
    case 'm':
        return reading(4.4, 0);
    case 'b':
        return reading(2.9, 0);
    case 'd':
        return reading(0.7, 0);
    case 'e':
        return reading(3.0, 0);
    case 'P':
        return reading(50, 20);
    case 'p':
        return reading(50, 10);
    case 'q':
        return reading(50, 9.9);
    case 'n':
        return reading(50, 19.9);
    default:
        fail_msg("no such reading: %c", c);
        return reading(0, 0);
    }
}

static void run_story(void **state)
{
    const struct story *s = *state;
    struct guard g = {0};
    char got[32] = "";
    size_t which = 99;

    assert_int_equal(strlen(s->readings), strlen(s->verdicts));
    for (size_t i = 0; s->readings[i] != '\0'; i++) {
        struct guard_reading r = of_letter(s->readings[i]);
        bool before = g.refusing;
        enum guard_act act = guard_step(&g, &r, NULL, 0, (i + 1) * STEP_MS, &which);

        if (before != g.refusing)
            assert_int_equal(act, g.refusing ? GUARD_REFUSE : GUARD_ALLOW);
        else
            assert_true(act == GUARD_NOTHING || (act == GUARD_EMPTY && g.refusing));
        assert_int_equal(which, 99);
        got[i] = g.refusing ? 'R' : '.';
    }
    assert_string_equal(got, s->verdicts);
}

static void lines(void **state)
{
    struct guard_reading r = reading(2, 3.25);
    char text[200], small[8];

    (void)state;
    assert_int_equal(guard_line(6 * GIB, 64 * GIB), 3 * GIB);
    assert_int_equal(guard_line(60 * GIB, 64 * GIB), 4 * GIB); /* a high reserve */
    assert_int_equal(guard_line(80 * MIB, 160 * MIB), 10 * MIB);
    assert_int_equal(guard_line(0, 64 * GIB), 0);
    assert_int_equal(guard_line(6 * GIB, 0), 0);
    assert_true(guard_line(UINT64_MAX, UINT64_MAX) == UINT64_MAX / 16);
    guard_why(&r, text, sizeof(text));
    assert_string_equal(text, "memory is short: 2048 MiB are left, the line is 3072 MiB; tasks "
                              "waited for memory 3.2 % of the time");
    guard_why(&r, small, sizeof(small));
    assert_string_equal(small, "memory ");
}

/* ---- with hosts ---- */

/* What a node hosts: a letter each. P a pinned host of 40 GiB; R a resident one of 20, r of 5, S of
 * 20 too; B on-demand of lane batch, 8 GiB, b of 2; I of lane interactive, 30, A of lane
 * autocomplete, 6; - one that is not loaded, on-demand, 50. */
static struct guard_host host_of_letter(char c)
{
    static const struct {
        char letter;
        struct guard_host host;
    } known[] = {
        {'P', {"P", RESIDENCY_PINNED, LANE_BATCH, 40 * GIB, 0, true, false, false}},
        {'R', {"R", RESIDENCY_RESIDENT, LANE_AUTOCOMPLETE, 20 * GIB, 0, true, false, false}},
        {'r', {"r", RESIDENCY_RESIDENT, LANE_BATCH, 5 * GIB, 0, true, false, false}},
        {'S', {"S", RESIDENCY_RESIDENT, LANE_INTERACTIVE, 20 * GIB, 0, true, false, false}},
        {'B', {"B", RESIDENCY_ON_DEMAND, LANE_BATCH, 8 * GIB, 0, true, false, false}},
        {'b', {"b", RESIDENCY_ON_DEMAND, LANE_BATCH, 2 * GIB, 0, true, false, false}},
        {'I', {"I", RESIDENCY_ON_DEMAND, LANE_INTERACTIVE, 30 * GIB, 0, true, false, false}},
        {'A', {"A", RESIDENCY_ON_DEMAND, LANE_AUTOCOMPLETE, 6 * GIB, 0, true, false, false}},
        {'-', {"-", RESIDENCY_ON_DEMAND, LANE_BATCH, 50 * GIB, 0, false, false, false}},
    };

    for (size_t i = 0; i < RM_COUNT(known); i++)
        if (known[i].letter == c)
            return known[i].host;
    fail_msg("no such host: %c", c);
    return known[0].host;
}

/* One column is a second: the reading (letters as above), what the guard does ('.' nothing, '!'
 * refuses, '+' allows, '0' nobody may go, '>' the one that leaves shall hurry, or the letter of the
 * host that is told to go), and below 'x' where the host that is leaving is gone afterwards. A host
 * that must drain is written in `drains`, the others are stopped. */
static const struct eviction {
    const char *name, *hosts, *readings, *acts, *gone, *drains;
} evictions[] = {
    {"on-demand hosts by lane, then by size, then the largest resident", "PRrBbIA",
     "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "!..B...b...I...A...R...r...0......",
     "   x   x   x   x   x   x          ", "BbIA"},
    {"the line must be crossed for three seconds", "B", "bbbmbbbb", "!......B", "", "B"},
    {"enough after the first", "BR", "bbbbgggggg", "!..B.....+", "   x", "B"},
    {"between the lines nobody goes", "BR", "bmmmmmmmmmmmmmmmmmmmm", "!....................", "",
     ""},
    {"pressure alone takes fifteen seconds", "BR", "PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP",
     "!..............B...............R", "               x", "B"},
    {"pressure that falls below the line ends the wait", "R", "PPPPPPPPPPPPPPnPPPP",
     "!..................", "", ""},
    {"low and pressed add up", "R", "PPPPbbb", "!......", "", ""},
    {"one at a time: nobody while one leaves", "BbR", "bbbbbbbbbbbbbb", "!..B.........b",
     "         x", "Bb"},
    {"far below the line for three seconds: it shall hurry, once", "BbR", "bbbbbdddddddddddddd",
     "!..B....>......b...", "           x", "Bb"},
    {"the next one as well", "BbR", "ddddddddddddddddd", "!..B...>...b...>.", "       x       ",
     "Bb"},
    {"back at the line in between: no hurry", "BR", "bbbbddbddbddbdd", "!..B...........", "", "B"},
    {"equals go by name", "SR", "bbbbbbbbb", "!..R...S.", "   x   x", ""},
    {"a pinned host stays", "P", "bbbbbbbbbbbbbbbbbbbb", "!..0................", "", ""},
    {"what is not loaded gives nothing back", "-r", "bbbb", "!..r", "", ""},
    {"a new shortage begins with refusing", "BR", "bbbbggggggbbbb", "!..B.....+!..R", "   x", "B"},
};

static void run_eviction(void **state)
{
    const struct eviction *e = *state;
    struct guard_host hosts[16];
    size_t n = strlen(e->hosts), which;
    struct guard g = {0};
    char got[64] = "";

    for (size_t i = 0; i < n; i++)
        hosts[i] = host_of_letter(e->hosts[i]);
    assert_int_equal(strlen(e->readings), strlen(e->acts));
    for (size_t i = 0; e->readings[i] != '\0'; i++) {
        struct guard_reading r = of_letter(e->readings[i]);
        enum guard_act act = guard_step(&g, &r, hosts, n, (i + 1) * STEP_MS, &which);

        got[i] = act == GUARD_REFUSE  ? '!'
                 : act == GUARD_ALLOW ? '+'
                 : act == GUARD_EMPTY ? '0'
                 : act == GUARD_HURRY ? '>'
                                      : '.';
        if (act == GUARD_HURRY)
            assert_true(hosts[which].leaving && hosts[which].residency != RESIDENCY_PINNED);
        if (act == GUARD_DRAIN || act == GUARD_STOP) {
            got[i] = hosts[which].role[0];
            assert_int_equal(act == GUARD_DRAIN, strchr(e->drains, got[i]) != NULL);
            hosts[which].alive = false;
            hosts[which].leaving = true;
        }
        for (size_t k = 0; k < n && i < strlen(e->gone) && e->gone[i] == 'x'; k++)
            hosts[k].leaving = false;
    }
    assert_string_equal(got, e->acts);
}

/* The way back: at least one and a half lines must be left with it. */
static void room_for_a_return(void **state)
{
    struct guard_reading r = reading(10, 0); /* good from 4.5 */
    struct guard calm = {0}, refusing = {.refusing = true};
    struct guard_host loading[3] = {
        {.bytes = 9 * GIB, .to_come = 2 * GIB}, {.to_come = GIB}, {.to_come = UINT64_MAX}};

    (void)state;
    assert_true(guard_has_room(&calm, &r, NULL, 0, 0));
    assert_true(guard_has_room(&calm, &r, NULL, 0, 5 * GIB + GIB / 2));
    assert_false(guard_has_room(&calm, &r, NULL, 0, 5 * GIB + GIB / 2 + 1));
    assert_false(guard_has_room(&calm, &r, NULL, 0, UINT64_MAX));
    assert_true(guard_has_room(&calm, &r, loading, 2, 2 * GIB + GIB / 2));
    assert_false(guard_has_room(&calm, &r, loading, 2, 2 * GIB + GIB / 2 + 1));
    assert_false(guard_has_room(&calm, &r, loading, 3, 1));
    assert_false(guard_has_room(&refusing, &r, NULL, 0, 0));
    r = reading(3.5, 0);
    assert_true(
        guard_has_room(&calm, &r, NULL, 0, 0)); /* what is new is refused by the verdict alone */
    assert_false(guard_has_room(&calm, &r, NULL, 0, 1));
}

/* Only while a host lives that may lie in swap, and whether or not it is leaving. */
static void swap_counts(void **state)
{
    struct guard_host hosts[] = {
        {.role = "a", .alive = true}, {.role = "b", .swap = true}, {.role = "c", .leaving = true}};
    struct guard_reading r = reading(1, 90);

    (void)state;
    guard_count_swap(&r, hosts, 3, 9 * GIB); /* b is not there */
    assert_true(r.available == GIB && r.pressure > 89);
    hosts[1].alive = true;
    guard_count_swap(&r, hosts, 3, 9 * GIB);
    assert_true(r.available == 10 * GIB && r.pressure < 1);
    r = reading(1, 90);
    hosts[1].alive = false;
    hosts[1].leaving = true;
    guard_count_swap(&r, hosts, 3, GIB); /* little swap is left: still short */
    assert_true(r.available == 2 * GIB && r.available < guard_line(r.reserve, r.system));
    guard_count_swap(&r, hosts, 3, UINT64_MAX);
    assert_true(r.available == UINT64_MAX);
    r = reading(1, 90);
    guard_count_swap(&r, NULL, 0, 9 * GIB);
    assert_true(r.available == GIB);
}

/* ---- random ---- */

static uint64_t walk_next(uint64_t *s)
{
    *s = *s * 6364136223846793005ULL + 1442695040888963407ULL;
    return *s >> 33;
}

/* What must hold whatever comes: never calm on a bad reading, refusing never ends before every
 * reading of the last GUARD_CALM_MS was good, and always ends then. */
static void random_walks(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= WALKS; seed++) {
        uint64_t s = seed, now = 1, good_from = 0;
        struct guard g = {0};
        size_t which;

        for (int i = 0; i < WALK_STEPS; i++) {
            struct guard_reading r =
                reading((double)(walk_next(&s) % 80) / 10,
                        walk_next(&s) % 4 == 0 ? (double)(walk_next(&s) % 30) : 0);
            bool bad = r.available < 3 * GIB || r.pressure >= 20;
            bool good = r.available >= 4 * GIB + GIB / 2 && r.pressure < 10;
            bool before = g.refusing;

            if (walk_next(&s) % 8 != 0) /* long runs of good readings must come too */
                r = reading(20, 0), bad = false, good = true;
            now += walk_next(&s) % 2000;
            good_from = !good || !before ? 0 : good_from > 0 ? good_from : now;
            guard_step(&g, &r, NULL, 0, now, &which);
            if (bad)
                assert_true(g.refusing);
            if (!before && !bad)
                assert_false(g.refusing);
            if (before)
                assert_int_equal(g.refusing, good_from == 0 || now - good_from < GUARD_CALM_MS);
        }
    }
}

/* A node of 64 GiB with its line at 3: hosts that take memory, somebody else who takes more and
 * less, requests that keep a draining host for a while. */
struct sim_host {
    struct guard_host is;
    char name[24];
    int leaves_in; /* steps, while leaving */
};

struct sim {
    struct sim_host h[12];
    size_t n;
    uint64_t s, others, now;
    uint64_t low_from, bad_from; /* as the test counts them */
};

static void sim_make(struct sim *m, uint64_t seed)
{
    *m = (struct sim){.s = seed * 0x9e3779b97f4a7c15ULL, .now = 1};
    m->n = walk_next(&m->s) % (RM_COUNT(m->h) + 1);
    for (size_t i = 0; i < m->n; i++) {
        struct sim_host *h = &m->h[i];

        snprintf(h->name, sizeof(h->name), "h%zu", i);
        h->is = (struct guard_host){.role = h->name,
                                    .residency = (enum node_residency)(walk_next(&m->s) % 3),
                                    .lane = (enum node_lane)(walk_next(&m->s) % 3),
                                    .bytes = walk_next(&m->s) % 8 * GIB,
                                    .alive = walk_next(&m->s) % 4 > 0};
    }
}

static uint64_t sim_available(const struct sim *m)
{
    uint64_t used = m->others;

    for (size_t i = 0; i < m->n; i++)
        used += m->h[i].is.alive || m->h[i].is.leaving ? m->h[i].is.bytes : 0;
    return used < 64 * GIB ? 64 * GIB - used : 0;
}

/* Time passes: others take and give, drains end, an engine dies or (while nothing is refused) one
 * comes back. */
static void sim_live(struct sim *m, bool refusing)
{
    m->now += 500 + walk_next(&m->s) % 1000;
    if (walk_next(&m->s) % 10 == 0)
        m->others = walk_next(&m->s) % 64 * GIB;
    for (size_t i = 0; i < m->n; i++) {
        struct sim_host *h = &m->h[i];

        if (h->is.leaving && h->leaves_in-- <= 0)
            h->is.leaving = false;
        else if (h->is.alive && walk_next(&m->s) % 50 == 0)
            h->is.alive = false;
        else if (!refusing && !h->is.alive && !h->is.leaving && walk_next(&m->s) % 10 == 0)
            h->is.alive = true;
    }
}

/* Who must go, said another way than guard.c does: a number for each, the highest goes. */
static uint64_t sim_rank(const struct guard_host *h)
{
    static const uint64_t lanes[] = {
        [LANE_INTERACTIVE] = 2, [LANE_AUTOCOMPLETE] = 1, [LANE_BATCH] = 3};

    if (!h->alive || h->residency == RESIDENCY_PINNED)
        return 0;
    return 1 + (h->bytes >> 30) + (h->residency == RESIDENCY_ON_DEMAND ? 100 * lanes[h->lane] : 0);
}

static void sim_check_choice(const struct sim *m, enum guard_act act, size_t which)
{
    const struct guard_host *h = &m->h[which].is;

    assert_true(which < m->n && h->alive && h->residency != RESIDENCY_PINNED);
    assert_int_equal(act, h->residency == RESIDENCY_ON_DEMAND ? GUARD_DRAIN : GUARD_STOP);
    for (size_t i = 0; i < m->n; i++) {
        assert_false(m->h[i].is.leaving); /* one at a time */
        assert_true(sim_rank(&m->h[i].is) <= sim_rank(h));
    }
}

static void sim_run(uint64_t seed, unsigned *evicted)
{
    struct sim m;
    struct guard g = {0};

    sim_make(&m, seed);
    for (int step = 0; step < NODE_STEPS; step++) {
        struct guard_reading r = {.system = 64 * GIB, .reserve = 6 * GIB};
        struct guard_host hosts[RM_COUNT(m.h)];
        bool before = g.refusing, waits = false, low, bad;
        size_t which = 99;
        enum guard_act act;

        sim_live(&m, before);
        r.available = sim_available(&m);
        r.pressure = walk_next(&m.s) % 20 == 0 ? 25 : r.available < GIB ? 60 : 0;
        for (size_t i = 0; i < m.n; i++) {
            hosts[i] = m.h[i].is;
            waits |= hosts[i].leaving;
        }
        low = r.available < 3 * GIB;
        bad = low || r.pressure >= 20;
        act = guard_step(&g, &r, hosts, m.n, m.now, &which);
        m.low_from = !low || waits ? 0 : m.low_from > 0 ? m.low_from : m.now;
        m.bad_from = !bad || waits ? 0 : m.bad_from > 0 ? m.bad_from : m.now;
        assert_true(g.refusing || !bad);
        if (act == GUARD_DRAIN || act == GUARD_STOP) {
            sim_check_choice(&m, act, which);
            assert_true(before && bad); /* step 1 comes first */
            assert_true((low && m.now - m.low_from >= GUARD_LOW_MS) ||
                        m.now - m.bad_from >= GUARD_PRESSED_MS);
            m.h[which].is.alive = false;
            m.h[which].is.leaving = true;
            m.h[which].leaves_in = (int)(walk_next(&m.s) % 6);
            m.low_from = m.bad_from = 0;
            ++*evicted;
        } else if (low && before && !waits && m.now - m.low_from >= GUARD_LOW_MS + 1500) {
            for (size_t i = 0; i < m.n; i++) /* it only holds still when nobody is left to go */
                assert_int_equal(sim_rank(&hosts[i]), 0);
        }
    }
}

static void random_nodes(void **state)
{
    const char *fixed = getenv("ROLEMESH_SEED");
    uint64_t seed =
        fixed != NULL ? strtoull(fixed, NULL, 10) : (uint64_t)(uintptr_t)&fixed ^ 0x5eed;
    unsigned evicted = 0;

    (void)state;
    print_message("seed %llu (ROLEMESH_SEED sets it)\n", (unsigned long long)seed);
    for (uint64_t i = 0; i < NODES; i++)
        sim_run(seed + i, &evicted);
    print_message("%u hosts had to go on %d nodes\n", evicted, NODES);
    assert_true(evicted > NODES); /* the runs are about something */
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(lines), cmocka_unit_test(room_for_a_return), cmocka_unit_test(swap_counts),
        cmocka_unit_test(random_walks), cmocka_unit_test(random_nodes)};
    struct CMUnitTest tests[RM_COUNT(fixed) + RM_COUNT(stories) + RM_COUNT(evictions)], *next;

    memcpy(tests, fixed, sizeof(fixed));
    next = tests + RM_COUNT(fixed);
    for (size_t i = 0; i < RM_COUNT(stories); i++)
        *next++ = (struct CMUnitTest){stories[i].name, run_story, NULL, NULL, (void *)&stories[i]};
    for (size_t i = 0; i < RM_COUNT(evictions); i++)
        *next++ =
            (struct CMUnitTest){evictions[i].name, run_eviction, NULL, NULL, (void *)&evictions[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
