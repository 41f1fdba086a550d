/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/front/metrics.h"

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Every line of the text that is no comment has a name and labels that no other line has. */
static void assert_unique_series(char *text)
{
    static char *series[20000];
    size_t n = 0;

    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *end = strrchr(line, ' ');

        if (line[0] == '#')
            continue;
        assert_non_null(end);
        *end = '\0';
        assert_true(n < RM_COUNT(series));
        series[n++] = line;
    }
    qsort(series, n, sizeof(*series), compare);
    for (size_t i = 1; i < n; i++)
        assert_string_not_equal(series[i - 1], series[i]);
}

static char *written(const struct front_metrics *m)
{
    struct rm_buf out;

    rm_buf_init(&out, 4 << 20);
    assert_int_equal(metrics_write(m, 0, 0, &out), 0);
    return rm_buf_take(&out);
}

/* More roles than rows, and one of them is called as the shared row was once. */
static void test_a_role_called_other(void **state)
{
    struct front_metrics m = {0};
    char name[32], *text;

    (void)state;
    metrics_of(&m, NULL)->outcome[OUTCOME_OK]++;
    metrics_of(&m, "other")->outcome[OUTCOME_OK] += 2;
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "role%d", i);
        metrics_of(&m, name)->outcome[OUTCOME_GONE]++;
    }
    assert_int_equal(m.n, METRICS_ROLES_MAX);
    assert_ptr_equal(metrics_of(&m, "role99"), metrics_of(&m, "role98"));
    assert_ptr_not_equal(metrics_of(&m, "other"), metrics_of(&m, "role99"));
    text = written(&m);
    assert_non_null(strstr(text, "rolemesh_requests_total{role=\"other\",outcome=\"ok\"} 2\n"));
    assert_non_null(
        strstr(text, "rolemesh_requests_total{role=\"(other)\",outcome=\"gone\"} 38\n"));
    assert_unique_series(text);
    free(text);
    metrics_clear(&m);
}

static void test_a_histogram_adds_up(void **state)
{
    struct front_metrics m = {0};
    char *text;

    (void)state;
    metrics_observe(&metrics_of(&m, "ask")->queued, 0.05);
    metrics_observe(&metrics_of(&m, "ask")->queued, 0.2);
    metrics_observe(&metrics_of(&m, "ask")->queued, 5000);
    text = written(&m);
    assert_non_null(strstr(text, "rolemesh_queue_seconds_bucket{role=\"ask\",le=\"0.05\"} 1\n"));
    assert_non_null(strstr(text, "rolemesh_queue_seconds_bucket{role=\"ask\",le=\"1200\"} 2\n"));
    assert_non_null(strstr(text, "rolemesh_queue_seconds_bucket{role=\"ask\",le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(text, "rolemesh_queue_seconds_count{role=\"ask\"} 3\n"));
    assert_unique_series(text);
    free(text);
    metrics_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_role_called_other),
        cmocka_unit_test(test_a_histogram_adds_up),
    };

    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
