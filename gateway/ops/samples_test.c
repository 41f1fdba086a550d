/* SPDX-License-Identifier: MIT */
/* gateway/ops/samples_test.c - which minute has its look, and what one look keeps. */
#include "gateway/ops/samples.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define MINUTE 60000

static void every_minute_has_one_look(void **state)
{
    static const int late[] = {0, 1, 250, 29999, 5000, 12345};
    int64_t at = 1700000017123, next = samples_next(at, 0), minute;

    (void)state;
    assert_int_equal(next, at + SAMPLES_FIRST_MS);
    minute = next / MINUTE;
    for (size_t i = 0; i < 60; i++) {
        at = next + late[i % RM_COUNT(late)]; /* the loop looked that late */
        next = samples_next(at, at);
        assert_int_equal(next / MINUTE, at / MINUTE + 1);
        assert_int_equal(at / MINUTE, minute++);
        assert_true(next > at && next % MINUTE == MINUTE / 2);
    }
}

static const char nodes[] =
    "[{\"name\":\"speed\",\"health\":\"up\",\"cpu_percent\":12.5,\"gpu_percent\":null,\"memory\":"
    "{\"total\":1500,\"available\":600,\"vram_counted\":500,\"vram_used\":200,\"committed\":700,"
    "\"budget\":1200},\"hosts\":[{\"role\":\"ask\",\"slots_total\":4,\"slots_busy\":1},{\"role\":"
    "\"code\",\"slots_total\":2,\"slots_busy\":2}]},"
    "{\"name\":\"gone\",\"health\":\"down\",\"cpu_percent\":99,\"memory\":{\"total\":1},"
    "\"hosts\":[{\"role\":\"ask\",\"slots_total\":4,\"slots_busy\":1}]},"
    "{\"name\":\"bare\",\"health\":\"up\",\"hosts\":[]}]";

static void one_look(void **state)
{
    struct sample s[8];
    size_t n = samples_read(rm_slice_of(nodes), s, RM_COUNT(s));

    (void)state;
    assert_int_equal(n, 5);
    assert_string_equal(s[0].node, "");
    assert_string_equal(s[0].role, "");
    assert_string_equal(s[1].node, "speed");
    assert_string_equal(s[1].role, "");
    assert_true(s[1].value[SAMPLE_MEMORY_TOTAL] == 1500);
    assert_true(s[1].value[SAMPLE_MEMORY_USED] == 400 + 200);
    assert_true(s[1].value[SAMPLE_MEMORY_COMMITTED] == 700);
    assert_true(s[1].value[SAMPLE_MEMORY_BUDGET] == 1200);
    assert_true(s[1].value[SAMPLE_SLOTS_BUSY] == 3 && s[1].value[SAMPLE_SLOTS_TOTAL] == 6);
    assert_true(s[1].value[SAMPLE_CPU_PERCENT] == 12.5);
    assert_true(isnan(s[1].value[SAMPLE_GPU_PERCENT]));
    assert_string_equal(s[3].node, "speed");
    assert_string_equal(s[3].role, "code");
    assert_true(s[3].value[SAMPLE_SLOTS_BUSY] == 2 && isnan(s[3].value[SAMPLE_MEMORY_USED]));
    assert_string_equal(s[4].node, "bare");
    assert_true(isnan(s[4].value[SAMPLE_MEMORY_USED]) && isnan(s[4].value[SAMPLE_CPU_PERCENT]));
}

static void hosts_beyond_the_bound_still_count_for_their_node(void **state)
{
    struct sample s[3];

    (void)state;
    assert_int_equal(samples_read(rm_slice_of(nodes), s, RM_COUNT(s)), 3);
    assert_string_equal(s[2].role, "ask");
    assert_true(s[1].value[SAMPLE_SLOTS_BUSY] == 3);
    assert_int_equal(samples_read(RM_LIT("[]"), s, RM_COUNT(s)), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_minute_has_one_look), cmocka_unit_test(one_look),
        cmocka_unit_test(hosts_beyond_the_bound_still_count_for_their_node)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
