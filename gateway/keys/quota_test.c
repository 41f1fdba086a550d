/* SPDX-License-Identifier: MIT */
/* gateway/keys/quota_test.c - each limit by itself, and a simulated day of a busy key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/keys/quota.h"

enum { NOON = 1700000000 / 86400 * 86400 + 43200 };

static struct quota *q;
static enum quota_limit limit;
static uint32_t wait_s;

static int new_quota(void **state)
{
    (void)state;
    return quota_new(&q);
}

static int free_quota(void **state)
{
    (void)state;
    quota_free(q);
    return 0;
}

static struct quota_time at(uint64_t ms)
{
    return (struct quota_time){.now_ms = 1000 + ms, .unix_s = NOON + ms / 1000};
}

static int begin(const struct api_key *key, uint64_t ms)
{
    return quota_begin(q, key, at(ms), &limit, &wait_s);
}

static void a_key_without_limits_is_never_refused(void **state)
{
    const struct api_key key = {.id = "k_1"};

    (void)state;
    for (int i = 0; i < 10000; i++)
        assert_int_equal(begin(&key, 0), 0);
}

static void requests_per_minute(void **state)
{
    const struct api_key key = {.id = "k_1", .requests_per_min = 6};

    (void)state;
    for (int i = 0; i < 6; i++)
        assert_int_equal(begin(&key, 0), 0);
    assert_int_equal(begin(&key, 0), RM_ERR_RATE);
    assert_int_equal(limit, QUOTA_REQUESTS);
    assert_int_equal(wait_s, 10);
    assert_int_equal(begin(&key, 9999), RM_ERR_RATE);
    assert_int_equal(wait_s, 1);
    assert_int_equal(begin(&key, 10001), 0);
    assert_int_equal(begin(&key, 10001), RM_ERR_RATE);
}

static void concurrency(void **state)
{
    const struct api_key key = {.id = "k_1", .concurrency = 2}, other = {.id = "k_2"};

    (void)state;
    assert_int_equal(begin(&key, 0), 0);
    assert_int_equal(begin(&key, 0), 0);
    assert_int_equal(begin(&key, 0), RM_ERR_RATE);
    assert_int_equal(limit, QUOTA_CONCURRENCY);
    assert_int_equal(wait_s, 1);
    assert_int_equal(begin(&other, 0), 0);
    quota_end(q, &key, at(1), 0);
    assert_int_equal(begin(&key, 1), 0);
}

static void tokens_are_booked_when_they_are_known(void **state)
{
    const struct api_key key = {.id = "k_1", .tokens_per_min = 600};

    (void)state;
    assert_int_equal(begin(&key, 0), 0);
    quota_end(q, &key, at(0), 900);
    assert_int_equal(begin(&key, 0), RM_ERR_RATE);
    assert_int_equal(limit, QUOTA_TOKENS);
    assert_int_equal(wait_s, 30);
    assert_int_equal(begin(&key, 30100), 0);
}

static void the_day_has_a_budget(void **state)
{
    const struct api_key key = {.id = "k_1", .tokens_per_day = 1000};

    (void)state;
    quota_restore(q, &key, at(0), 400);
    assert_int_equal(begin(&key, 0), 0);
    quota_end(q, &key, at(0), 600);
    assert_int_equal(begin(&key, 0), RM_ERR_RATE);
    assert_int_equal(limit, QUOTA_DAY);
    assert_int_equal(wait_s, 43200);
    assert_int_equal(begin(&key, 43200 * 1000ull - 1000), RM_ERR_RATE);
    assert_int_equal(begin(&key, 43200 * 1000ull), 0);
}

static void a_raised_limit_counts_at_once(void **state)
{
    struct api_key key = {.id = "k_1", .requests_per_min = 1};

    (void)state;
    assert_int_equal(begin(&key, 0), 0);
    assert_int_equal(begin(&key, 0), RM_ERR_RATE);
    key.requests_per_min = 0;
    assert_int_equal(begin(&key, 0), 0);
}

static void keys_that_left_are_forgotten(void **state)
{
    struct api_key keys[2] = {{.id = "k_1", .tokens_per_day = 10},
                              {.id = "k_2", .tokens_per_day = 10}};
    struct keyring none = {.n = 0};
    struct quota_use use;

    (void)state;
    assert_int_equal(begin(&keys[0], 0), 0);
    assert_int_equal(begin(&keys[1], 0), 0);
    quota_end(q, &keys[1], at(0), 10);
    quota_keep(q, &none);
    quota_use_of(q, &keys[1], at(0), &use);
    assert_int_equal(use.tokens_today, 0);
    quota_use_of(q, &keys[0], at(0), &use);
    assert_int_equal(use.running, 1); /* its request still runs */
    quota_end(q, &keys[0], at(0), 5);
    quota_keep(q, &none);
    quota_end(q, &keys[0], at(0), 5); /* and one that is not known hurts nobody */
}

/* A key that asks all day gets what it may have, neither less nor more. */
static void a_day_of_a_greedy_key(void **state)
{
    const struct api_key key = {
        .id = "k_1", .requests_per_min = 30, .concurrency = 3, .tokens_per_min = 4000};
    const char *given = getenv("ROLEMESH_SEED");
    uint32_t seed = given != NULL ? (uint32_t)strtoul(given, NULL, 10) : 20260101u;
    uint64_t ends[3] = {0}, total = 0, begun = 0;
    const uint64_t day_ms = 86400000ull / 2 - 2000; /* from noon to midnight */

    (void)state;
    for (uint64_t ms = 0; ms < day_ms; ms += 500) {
        for (int i = 0; i < 3; i++)
            if (ends[i] != 0 && ends[i] <= ms) {
                uint64_t tokens = 1 + (seed = seed * 1664525u + 1013904223u) % 500;

                quota_end(q, &key, at(ms), tokens);
                total += tokens;
                ends[i] = 0;
            }
        int r = begin(&key, ms);

        if (r == 0) {
            int i = 0;

            while (i < 3 && ends[i] != 0)
                i++;
            if (i == 3)
                fail_msg("a fourth request runs (seed %u)", seed);
            ends[i] = ms + 500 + (seed = seed * 1664525u + 1013904223u) % 5000;
            begun++;
        }
    }
    /* one minute's burst, what is still owed, and the rate; nine tenths of it were really given */
    if (total > 4000 * day_ms / 60000 + 4000 + 3 * 500 || total < 3600 * day_ms / 60000)
        fail_msg("%llu tokens in half a day (seed %u)", (unsigned long long)total, seed);
    assert_true(begun <= 30 * day_ms / 60000 + 30);
}

int main(void)
{
#define QUOTA_TEST(f) cmocka_unit_test_setup_teardown(f, new_quota, free_quota)
    const struct CMUnitTest tests[] = {
        QUOTA_TEST(a_key_without_limits_is_never_refused),
        QUOTA_TEST(requests_per_minute),
        QUOTA_TEST(concurrency),
        QUOTA_TEST(tokens_are_booked_when_they_are_known),
        QUOTA_TEST(the_day_has_a_budget),
        QUOTA_TEST(a_raised_limit_counts_at_once),
        QUOTA_TEST(keys_that_left_are_forgotten),
        QUOTA_TEST(a_day_of_a_greedy_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
