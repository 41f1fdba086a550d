/* SPDX-License-Identifier: MIT */
/* worker/core/prefix_test.c - the validity rule and the choices, one row per behaviour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/err.h"
#include "worker/core/prefix.h"

enum { LONG = 2000 };
static int32_t count_up[LONG]; /* token i is i */

/* A prompt of n tokens that agrees with count_up in the first `same`. */
static void make_prompt(int32_t *to, uint32_t n, uint32_t same)
{
    for (uint32_t i = 0; i < n; i++)
        to[i] = i < same ? (int32_t)i : 5000 + (int32_t)i;
}

static const struct match_row {
    const char *name;
    enum prefix_kind kind;
    uint32_t n_swa;
    uint32_t cached; /* tokens 0..cached-1 */
    int32_t pos_min; /* of the source */
    uint32_t points[3], n_points;
    uint32_t prompt, same;
    uint32_t keep;
    int checkpoint;
} match_rows[] = {
    {"empty source", PREFIX_ATTENTION, 0, 0, -1, {0}, 0, 10, 10, 0, -1},
    {"nothing in common", PREFIX_ATTENTION, 0, 50, 0, {0}, 0, 10, 0, 0, -1},
    {"all of the source", PREFIX_ATTENTION, 0, 50, 0, {0}, 0, 80, 80, 50, -1},
    {"part of the source", PREFIX_ATTENTION, 0, 50, 0, {0}, 0, 80, 30, 30, -1},
    {"the same prompt keeps all but one", PREFIX_ATTENTION, 0, 50, 0, {0}, 0, 50, 50, 49, -1},
    {"a shorter prompt", PREFIX_ATTENTION, 0, 50, 0, {0}, 0, 20, 20, 19, -1},
    {"one token", PREFIX_ATTENTION, 0, 50, 0, {0}, 0, 1, 1, 0, -1},
    {"window: going on needs no rule", PREFIX_WINDOW, 128, 1000, 900, {0}, 0, 1200, 1200, 1000, -1},
    {"window: oldest cell early enough", PREFIX_WINDOW, 128, 1000, 732, {0}, 0, 1200, 860, 860, -1},
    {"window: one too late", PREFIX_WINDOW, 128, 1000, 732, {0}, 0, 1200, 859, 0, -1},
    {"window: everything is there", PREFIX_WINDOW, 128, 1000, 0, {0}, 0, 1200, 100, 100, -1},
    {"window: within the first window", PREFIX_WINDOW, 128, 1000, 1, {0}, 0, 1200, 100, 0, -1},
    {"window: checkpoint", PREFIX_WINDOW, 128, 1000, 900, {256, 512, 999}, 3, 1200, 700, 512, 1},
    {"window: checkpoint at the spot",
     PREFIX_WINDOW,
     128,
     1000,
     900,
     {256, 700},
     2,
     1200,
     700,
     700,
     1},
    {"window: checkpoints all behind",
     PREFIX_WINDOW,
     128,
     1000,
     900,
     {800, 900},
     2,
     1200,
     700,
     0,
     -1},
    {"state: going on", PREFIX_STATE, 0, 1000, 999, {256}, 1, 1200, 1200, 1000, -1},
    {"state: cannot go back", PREFIX_STATE, 0, 1000, 999, {0}, 0, 1200, 999, 0, -1},
    {"state: not even with all cells there", PREFIX_STATE, 0, 1000, 0, {0}, 0, 1200, 999, 0, -1},
    {"state: checkpoint", PREFIX_STATE, 0, 1000, 999, {256, 999}, 2, 1000, 1000, 999, 1},
    {"state: earlier checkpoint", PREFIX_STATE, 0, 1000, 999, {256, 999}, 2, 1000, 500, 256, 0},
    {"state: the prompt is the cached text", PREFIX_STATE, 0, 1000, 999, {0}, 0, 1000, 1000, 0, -1},
};

static void run_match(void **state)
{
    const struct match_row *row = *state;
    int32_t prompt[LONG];
    struct prefix_source s = {.tokens = count_up,
                              .n = row->cached,
                              .pos_min = row->pos_min,
                              .checkpoints = row->points,
                              .n_checkpoints = row->n_points};
    struct prefix_hit hit;

    make_prompt(prompt, row->prompt, row->same);
    hit = prefix_match(row->kind, row->n_swa, &s, prompt, row->prompt);
    assert_int_equal(hit.keep, row->keep);
    assert_int_equal(hit.checkpoint, row->checkpoint);
}

static struct prefix_source source(uint32_t n, bool busy, uint64_t used)
{
    return (struct prefix_source){
        .tokens = count_up, .n = n, .pos_min = n > 0 ? 0 : -1, .busy = busy, .last_used = used};
}

static void chooses_the_longest(void **state)
{
    struct prefix_source s[] = {source(10, false, 9), source(300, true, 1), source(200, false, 5)};
    struct prefix_hit hit;
    int32_t prompt[400];

    (void)state;
    make_prompt(prompt, 400, 400);
    assert_int_equal(prefix_choose(PREFIX_ATTENTION, 0, s, 3, prompt, 400, &hit), 1);
    assert_int_equal(hit.keep, 300);
}

static void of_equals_the_idle_one(void **state)
{
    struct prefix_source s[] = {source(300, true, 9), source(300, false, 1), source(300, false, 2)};
    struct prefix_hit hit;
    int32_t prompt[400];

    (void)state;
    make_prompt(prompt, 400, 400);
    assert_int_equal(prefix_choose(PREFIX_ATTENTION, 0, s, 3, prompt, 400, &hit), 2);
    make_prompt(prompt, 400, 0);
    assert_int_equal(prefix_choose(PREFIX_ATTENTION, 0, s, 3, prompt, 400, &hit), -1);
    assert_int_equal(hit.keep, 0);
}

static void places(void **state)
{
    struct prefix_source s[] = {source(300, false, 7), source(100, false, 3), source(0, false, 9),
                                source(50, true, 1)};

    (void)state;
    assert_int_equal(prefix_place(s, 4, 0, 200), 0); /* most of it is kept: taken over */
    assert_int_equal(prefix_place(s, 4, 0, 20), 2);  /* little is kept: the cache stays */
    assert_int_equal(prefix_place(s, 4, 3, 50), 2);  /* a busy one is copied */
    assert_int_equal(prefix_place(s, 4, -1, 0), 2);  /* empty before old */
    s[2].n = 5;
    assert_int_equal(prefix_place(s, 4, -1, 0), 1); /* unused longest */
    s[0].busy = s[1].busy = s[2].busy = true;
    assert_int_equal(prefix_place(s, 4, -1, 0), -1);
}

static void stops(void **state)
{
    (void)state;
    assert_int_equal(prefix_next_stop(PREFIX_ATTENTION, 0, 1000), 1000);
    assert_int_equal(prefix_next_stop(PREFIX_STATE, 0, 1000), 256);
    assert_int_equal(prefix_next_stop(PREFIX_STATE, 255, 1000), 256);
    assert_int_equal(prefix_next_stop(PREFIX_STATE, 256, 1000), 512);
    assert_int_equal(prefix_next_stop(PREFIX_WINDOW, 768, 1000), 999);
    assert_int_equal(prefix_next_stop(PREFIX_WINDOW, 999, 1000), 1000);
    assert_int_equal(prefix_next_stop(PREFIX_WINDOW, 0, 20), 19);
    assert_int_equal(prefix_next_stop(PREFIX_WINDOW, 0, 1), 1);
    assert_int_equal(prefix_next_stop(PREFIX_WINDOW, 0, 100000), 12544); /* an eighth, rounded up */
}

static void thins(void **state)
{
    (void)state;
    assert_int_equal(prefix_thin((const uint32_t[]){256, 512, 520, 999}, 4), 1);
    assert_int_equal(prefix_thin((const uint32_t[]){10, 512, 1024}, 3), 0);
    assert_int_equal(prefix_thin((const uint32_t[]){500, 501}, 2), 0); /* never the last */
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(chooses_the_longest),
        cmocka_unit_test(of_equals_the_idle_one),
        cmocka_unit_test(places),
        cmocka_unit_test(stops),
        cmocka_unit_test(thins),
    };
    struct CMUnitTest tests[RM_COUNT(match_rows) + RM_COUNT(fixed)];
    size_t n = RM_COUNT(match_rows);

    for (int32_t i = 0; i < LONG; i++)
        count_up[i] = i;
    for (size_t i = 0; i < n; i++)
        tests[i] =
            (struct CMUnitTest){match_rows[i].name, run_match, NULL, NULL, (void *)&match_rows[i]};
    memcpy(tests + n, fixed, sizeof(fixed));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
