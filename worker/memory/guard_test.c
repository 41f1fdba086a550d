/* SPDX-License-Identifier: MIT */
/* worker/memory/guard_test.c - guard.c: stories of readings, one a second, by row, and seeded
 * random walks that are compared with what the history alone says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "worker/memory/guard.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

enum { WALKS = 1000, WALK_STEPS = 200, STEP_MS = 1000 };

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
 * p pressure 10; q pressure 9.9; n pressure 19.9 */
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

    assert_int_equal(strlen(s->readings), strlen(s->verdicts));
    for (size_t i = 0; s->readings[i] != '\0'; i++) {
        struct guard_reading r = of_letter(s->readings[i]);
        bool before = g.refusing, changed = guard_step(&g, &r, (i + 1) * STEP_MS);

        assert_int_equal(changed, before != g.refusing);
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
            guard_step(&g, &r, now);
            if (bad)
                assert_true(g.refusing);
            if (!before && !bad)
                assert_false(g.refusing);
            if (before)
                assert_int_equal(g.refusing, good_from == 0 || now - good_from < GUARD_CALM_MS);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {cmocka_unit_test(lines),
                                              cmocka_unit_test(random_walks)};
    struct CMUnitTest tests[RM_COUNT(fixed) + RM_COUNT(stories)];

    memcpy(tests, fixed, sizeof(fixed));
    for (size_t i = 0; i < RM_COUNT(stories); i++)
        tests[RM_COUNT(fixed) + i] =
            (struct CMUnitTest){stories[i].name, run_story, NULL, NULL, (void *)&stories[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
