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
#include "proto/base/json_write.h"

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
    struct rm_om om;

    rm_buf_init(&out, 4 << 20);
    rm_om_begin(&om, &out, false);
    metrics_write(m, 0, 0, &om);
    assert_int_equal(rm_om_end(&om), 0);
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
    metrics_queued(metrics_of(&m, "ask"), 0.05);
    metrics_queued(metrics_of(&m, "ask"), 0.2);
    metrics_queued(metrics_of(&m, "ask"), 5000);
    text = written(&m);
    assert_non_null(strstr(text, "rolemesh_queue_seconds_bucket{role=\"ask\",le=\"0.05\"} 1\n"));
    assert_non_null(strstr(text, "rolemesh_queue_seconds_bucket{role=\"ask\",le=\"1200.0\"} 2\n"));
    assert_non_null(strstr(text, "rolemesh_queue_seconds_bucket{role=\"ask\",le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(text, "rolemesh_queue_seconds_count{role=\"ask\"} 3\n"));
    assert_unique_series(text);
    free(text);
    metrics_clear(&m);
}

/* One good stream, one that broke with a code that only its engine knows, one refused by the head.
 */
static void test_a_request_is_counted_everywhere(void **state)
{
    struct metrics_done good = {.operation = OPERATION_CHAT,
                                .prompt_tokens = 100,
                                .cached_tokens = 60,
                                .completion_tokens = 21,
                                .duration_s = 1.5,
                                .first_s = 0.3,
                                .pace_s = 0.06};
    struct metrics_done bad = {.operation = OPERATION_TEXT,
                               .outcome = OUTCOME_BROKEN,
                               .error = metrics_error_of("made_up_by_an_engine", RM_ERR_ENGINE),
                               .duration_s = 0.005,
                               .first_s = -1,
                               .pace_s = -1};
    static const char *const lines[] = {
        "rolemesh_requests_total{role=\"ask\",outcome=\"ok\"} 1\n",
        "rolemesh_requests_total{role=\"ask\",outcome=\"broken\"} 1\n",
        "rolemesh_request_errors_total{role=\"ask\",error_type=\"upstream_error\"} 1\n",
        "rolemesh_tokens_total{role=\"ask\",type=\"cached\"} 60\n",
        "gen_ai_server_request_duration_seconds_bucket{role=\"ask\",gen_ai_operation_name=\"chat\","
        "gen_ai_provider_name=\"rolemesh\",le=\"2.56\"} 1\n",
        "gen_ai_server_time_to_first_token_seconds_sum{role=\"ask\",gen_ai_operation_name=\"chat\","
        "gen_ai_provider_name=\"rolemesh\"} 0.3\n",
        "gen_ai_server_time_per_output_token_seconds_bucket{role=\"ask\",gen_ai_operation_name="
        "\"chat\",gen_ai_provider_name=\"rolemesh\",le=\"0.05\"} 0\n",
        "gen_ai_server_time_per_output_token_seconds_bucket{role=\"ask\",gen_ai_operation_name="
        "\"chat\",gen_ai_provider_name=\"rolemesh\",le=\"0.075\"} 1\n",
        "gen_ai_server_time_to_first_token_seconds_count{role=\"ask\",gen_ai_operation_name="
        "\"text_completion\",gen_ai_provider_name=\"rolemesh\"} 0\n",
        "gen_ai_client_token_usage_bucket{role=\"ask\",gen_ai_operation_name=\"chat\","
        "gen_ai_provider_name=\"rolemesh\",gen_ai_token_type=\"output\",le=\"16.0\"} 0\n",
        "gen_ai_client_token_usage_sum{role=\"ask\",gen_ai_operation_name=\"chat\","
        "gen_ai_provider_name=\"rolemesh\",gen_ai_token_type=\"input\"} 100\n",
        "rolemesh_local_refusals_total{error_type=\"invalid_api_key\"} 3\n"};
    struct front_metrics m = {.n = 0};
    char *text;

    (void)state;
    metrics_count(metrics_of(&m, "ask"), &good);
    metrics_count(metrics_of(&m, "ask"), &bad);
    m.refused_here[metrics_error_of("invalid_api_key", RM_ERR_AUTH)] = 3;
    text = written(&m);
    for (size_t i = 0; i < RM_COUNT(lines); i++)
        if (strstr(text, lines[i]) == NULL)
            fail_msg("no line %s in:\n%s", lines[i], text);
    assert_unique_series(text);
    free(text);
    metrics_clear(&m);
}

/* Two errors with one code are one class, whatever the number is. */
static void test_classes_of_errors(void **state)
{
    (void)state;
    assert_int_equal(metrics_error_of("timeout", RM_ERR_DEADLINE),
                     metrics_error_of("timeout", RM_ERR_UPSTREAM_TIMEOUT));
    assert_string_equal(metrics_error_name(metrics_error_of("", RM_ERR_GONE)), "client_gone");
    assert_string_equal(metrics_error_name(metrics_error_of("", UV_ENOMEM)), "internal_error");
    assert_string_equal(
        metrics_error_name(metrics_error_of("context_length_exceeded", RM_ERR_FIELD)),
        "context_length_exceeded");
}

static void put_is(const struct front_metrics *m, const char *role, const char *json)
{
    struct rm_buf out;
    struct rm_jw w;

    rm_buf_init(&out, 4096);
    w = rm_jw_to(&out);
    rm_jw_obj(&w, NULL);
    metrics_put_role(m, role, &w);
    rm_jw_end(&w);
    assert_int_equal(rm_jw_done(&w), 0);
    assert_string_equal(out.data, json);
    rm_buf_clear(&out);
}

/* What the API says of a role's requests. */
static void test_figures_of_a_role(void **state)
{
    static const char nothing[] =
        "{\"requests\":0,\"errors\":0,\"ttft_ms\":null,\"decode_tps\":null,"
        "\"cached_share\":null}";
    struct front_metrics m = {0};
    struct metrics_role *r;
    char name[32];

    (void)state;
    put_is(&m, "ask", nothing);
    r = metrics_of(&m, "ask");
    put_is(&m, "ask", nothing);
    r->outcome[OUTCOME_OK] = 7;
    r->outcome[OUTCOME_REFUSED] = 1, r->outcome[OUTCOME_FAILED] = 2;
    r->outcome[OUTCOME_BROKEN] = 3, r->outcome[OUTCOME_GONE] = 4; /* who leaves is no error */
    r->prompt_tokens = 1000, r->cached_tokens = 250;
    put_is(&m, "ask",
           "{\"requests\":17,\"errors\":6,\"ttft_ms\":null,\"decode_tps\":null,"
           "\"cached_share\":0.25}");
    r->cached_tokens = 1001; /* an engine that counts oddly */
    metrics_note_decode(r, METRICS_DECODE_TOKENS - 1, 1000, 1);
    metrics_note_decode(r, 1000, METRICS_DECODE_MS - 1, 1);
    put_is(&m, "ask",
           "{\"requests\":17,\"errors\":6,\"ttft_ms\":null,\"decode_tps\":null,"
           "\"cached_share\":1}");
    metrics_note_decode(r, 101, 1000, 1); /* the first token began it: 100 a second */
    assert_int_equal(r->decode_tps.n[0], 1);
    put_is(&m, "code", nothing);
    for (int i = 0; i < METRICS_ROLES_MAX; i++) {
        snprintf(name, sizeof(name), "role%d", i);
        metrics_of(&m, name)->outcome[OUTCOME_OK]++;
    }
    put_is(&m, "role64",
           "{\"requests\":null,\"errors\":null,\"ttft_ms\":null,\"decode_tps\":null,"
           "\"cached_share\":null}");
    metrics_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_role_called_other),
        cmocka_unit_test(test_a_histogram_adds_up),
        cmocka_unit_test(test_a_request_is_counted_everywhere),
        cmocka_unit_test(test_classes_of_errors),
        cmocka_unit_test(test_figures_of_a_role),
    };

    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
