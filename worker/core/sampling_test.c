/* SPDX-License-Identifier: MIT */
/* worker/core/sampling_test.c - which sampling wishes are refused; argmax; release numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/core/decoder.h"
#include "worker/core/llama_env.h"
#include "worker/core/sampling.h"

static const struct job_bias good_bias = {3, -INFINITY}, high_bias = {10, 1.0f},
                             negative_bias = {-1, 1.0f}, nan_bias = {3, NAN},
                             infinite_bias = {3, INFINITY};

static const struct row {
    const char *name;
    struct job_sampling s;
    int result;
} rows[] = {
    {"greedy", {.top_p = 1.0f}, 0},
    {"usual", {.temperature = 0.8f, .top_p = 0.95f, .min_p = 0.05f, .top_k = 40}, 0},
    {"negative temperature is greedy", {.temperature = -1.0f, .top_p = 1.0f}, 0},
    {"temperature NaN", {.temperature = NAN, .top_p = 1.0f}, RM_ERR_FIELD},
    {"temperature infinite", {.temperature = INFINITY, .top_p = 1.0f}, RM_ERR_FIELD},
    {"top_p 0", {.top_p = 0.0f}, RM_ERR_FIELD},
    {"top_p above 1", {.top_p = 1.5f}, RM_ERR_FIELD},
    {"top_p NaN", {.top_p = NAN}, RM_ERR_FIELD},
    {"min_p negative", {.top_p = 1.0f, .min_p = -0.1f}, RM_ERR_FIELD},
    {"top_k negative", {.top_p = 1.0f, .top_k = -1}, RM_ERR_FIELD},
    {"penalties", {.top_p = 1.0f, .presence = 2.0f, .frequency = -2.0f}, 0},
    {"penalty NaN", {.top_p = 1.0f, .frequency = NAN}, RM_ERR_FIELD},
    {"penalty infinite", {.top_p = 1.0f, .presence = -INFINITY}, RM_ERR_FIELD},
    {"bias", {.top_p = 1.0f, .bias = &good_bias, .n_bias = 1}, 0},
    {"bias for no token", {.top_p = 1.0f, .bias = &high_bias, .n_bias = 1}, RM_ERR_FIELD},
    {"bias for a negative id", {.top_p = 1.0f, .bias = &negative_bias, .n_bias = 1}, RM_ERR_FIELD},
    {"bias NaN", {.top_p = 1.0f, .bias = &nan_bias, .n_bias = 1}, RM_ERR_FIELD},
    {"bias infinite", {.top_p = 1.0f, .bias = &infinite_bias, .n_bias = 1}, RM_ERR_FIELD},
};

static void run_row(void **state)
{
    const struct row *row = *state;

    assert_int_equal(sampling_check(&row->s, 10), row->result);
}

static void argmax(void **state)
{
    (void)state;
    assert_int_equal(sampling_argmax((const float[]){1.0f}, 1), 0);
    assert_int_equal(sampling_argmax((const float[]){1.0f, 3.0f, 2.0f}, 3), 1);
    assert_int_equal(sampling_argmax((const float[]){3.0f, 3.0f, 2.0f}, 3), 0);
    assert_int_equal(sampling_argmax((const float[]){NAN, -5.0f, NAN}, 3), 1);
    assert_int_equal(sampling_argmax((const float[]){-INFINITY, -9.0f}, 2), 1);
}

static void releases(void **state)
{
    static const struct {
        const char *a, *b;
        int same;
    } pairs[] = {
        {"0.5.0-dev", "0.5.0", 1}, {"0.5.0", "0.5.7", 1},
        {"0.5.0", "0.7.0", 0},     {"1.5.0", "0.5.0", 0},
        {"0.5", "0.5.1", 1},       {"0.5-dev", "0.5.1", 1},
        {"0.51.0", "0.5.1", 0},    {"0.5", "0.5", 1},
        {"", "0.5.0", 0},          {"0", "0", 0},
        {"0.5", "0.51", 0},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(pairs); i++) {
        assert_int_equal(llama_env_same_release(pairs[i].a, pairs[i].b), pairs[i].same);
        assert_int_equal(llama_env_same_release(pairs[i].b, pairs[i].a), pairs[i].same);
    }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 2];
    size_t n = RM_COUNT(rows);

    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(argmax);
    tests[n] = (struct CMUnitTest)cmocka_unit_test(releases);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
