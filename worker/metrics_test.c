/* SPDX-License-Identifier: MIT */
/* worker/metrics_test.c - the text as a collector reads it: every series once, families whole and
 * in one piece, labels escaped, the histogram's sums, an end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/metrics.h"

static struct node_host host_of(const char *role, enum node_host_state state)
{
    struct node_host h = {.state = state,
                          .rss_bytes = 5,
                          .forecast_bytes = 6,
                          .slots_total = 4,
                          .decode_tps = 41.5,
                          .generated_tokens = 77,
                          .restarts = 2};

    snprintf(h.role, sizeof(h.role), "%s", role);
    return h;
}

static char *text_of(const struct worker_figures *f)
{
    struct rm_buf out;
    struct rm_om om;

    rm_buf_init(&out, METRICS_TEXT_MAX);
    rm_om_begin(&om, &out, false);
    metrics_put(f, &om);
    assert_int_equal(rm_om_end(&om), 0);
    return rm_buf_take(&out);
}

static void assert_says(const char *text, const char *line)
{
    char whole[256];

    snprintf(whole, sizeof(whole), "\n%s\n", line); /* the first line is a comment */
    if (strstr(text, whole) == NULL)
        fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void an_idle_node(void **state)
{
    struct node_state s = {
        .memory = {.total = 100, .pressure = 12.5, .refusing = true},
        .n_pulls = 3,
        .pulls = {{.state = PULL_RUNNING, .rate = 10},
                  {.state = PULL_RUNNING, .rate = 5.5},
                  {.state = PULL_FAILED}},
    };
    struct worker_figures f = {
        .state = &s, .guard_refused = 4, .guard_drained = 2, .guard_stopped = 1};
    char *text;

    (void)state;
    strcpy(s.node, "speed");
    strcpy(s.version, "0.1.0");
    text = text_of(&f);
    assert_says(text, "rolemesh_node_info{node=\"speed\",version=\"0.1.0\"} 1");
    assert_says(text, "rolemesh_node_memory_bytes{part=\"total\"} 100");
    assert_says(text, "rolemesh_node_memory_pressure_ratio 0.125");
    assert_says(text, "rolemesh_node_refusing 1");
    assert_says(text, "rolemesh_node_guard_steps_total{step=\"refuse\"} 4");
    assert_says(text, "rolemesh_node_guard_steps_total{step=\"drain\"} 2");
    assert_says(text, "rolemesh_node_guard_steps_total{step=\"stop\"} 1");
    assert_says(text, "rolemesh_node_pulls{state=\"running\"} 2");
    assert_says(text, "rolemesh_node_pulls{state=\"failed\"} 1");
    assert_says(text, "rolemesh_node_pulls{state=\"done\"} 0");
    assert_says(text, "rolemesh_node_pull_bytes_per_second 15");
    assert_says(text, "rolemesh_forecast_ratio_gcount 0");
    assert_says(text, "rolemesh_ledger_usable 0");
    assert_string_equal(text + strlen(text) - 7, "\n# EOF\n");
    free(text);
}

static void hosts_and_their_names(void **state)
{
    struct node_host hosts[] = {host_of("code", HOST_READY), host_of("a\"b\\c", HOST_FAILED)};
    struct node_state s = {.n_hosts = 2, .hosts = hosts};
    struct worker_figures f = {.state = &s};
    char *text;

    (void)state;
    text = text_of(&f);
    assert_says(text, "rolemesh_host_state{role=\"code\",state=\"ready\"} 1");
    assert_says(text, "rolemesh_host_state{role=\"a\\\"b\\\\c\",state=\"failed\"} 1");
    assert_says(text, "rolemesh_host_rss_bytes{role=\"code\"} 5");
    assert_says(text, "rolemesh_host_slots{role=\"code\"} 4");
    assert_says(text, "rolemesh_host_decode_tokens_per_second{role=\"code\"} 41.5");
    assert_says(text, "rolemesh_host_generated_tokens_total{role=\"a\\\"b\\\\c\"} 77");
    free(text);
}

static void how_good_forecasts_were(void **state)
{
    struct node_ledger_row rows[4];
    struct node_state s = {.n_hosts = 0};
    struct worker_figures f = {.state = &s,
                               .rows = rows,
                               .n_rows = 4,
                               .ledger_usable = true,
                               .ledger_lost = 3,
                               .loads = {1, 2, 5000, 700}};
    static const uint64_t predicted[4] = {980, 1040, 5000, 1000};
    char *text;

    (void)state;
    memset(rows, 0, sizeof(rows));
    for (int i = 0; i < 4; i++) {
        rows[i].predicted = predicted[i];
        rows[i].peak.system = 1000;
        rows[i].full.system = i < 3 ? 900 : 0; /* the last one does not count */
    }
    text = text_of(&f);
    assert_says(text, "rolemesh_forecast_ratio_bucket{le=\"0.97\"} 0");
    assert_says(text, "rolemesh_forecast_ratio_bucket{le=\"1.0\"} 1");
    assert_says(text, "rolemesh_forecast_ratio_bucket{le=\"1.03\"} 1");
    assert_says(text, "rolemesh_forecast_ratio_bucket{le=\"1.05\"} 2");
    assert_says(text, "rolemesh_forecast_ratio_bucket{le=\"2.0\"} 2");
    assert_says(text, "rolemesh_forecast_ratio_bucket{le=\"+Inf\"} 3");
    assert_says(text, "rolemesh_forecast_ratio_gcount 3");
    assert_says(text, "rolemesh_forecast_ratio_gsum 7.02");
    assert_says(text, "rolemesh_ledger_rows 4");
    assert_says(text, "rolemesh_ledger_lost_writes_total 3");
    assert_says(text, "rolemesh_load_seconds_count{kind=\"cold\"} 1");
    assert_says(text, "rolemesh_load_seconds_sum{kind=\"warm\"} 0.7");
    free(text);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* As many hosts as there may be, with the longest names. */
static void every_series_comes_once_and_within_its_family(void **state)
{
    static struct node_host hosts[NODE_HOSTS_MAX];
    static char *series[10000];
    struct node_state s = {.n_hosts = NODE_HOSTS_MAX, .hosts = hosts};
    struct worker_figures f = {.state = &s};
    char role[NODE_NAME_MAX], family[128] = "", *text;
    size_t n = 0;

    (void)state;
    for (int i = 0; i < NODE_HOSTS_MAX; i++) {
        memset(role, '"', sizeof(role) - 1);
        snprintf(role + 60, 4, "%03u", (unsigned)i % 1000);
        hosts[i] = host_of(role, HOST_READY);
    }
    text = text_of(&f);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *end = strrchr(line, ' ');

        assert_non_null(end);
        if (strncmp(line, "# TYPE ", 7) == 0) {
            snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "), line + 7);
            series[n++] = line; /* a family begins once */
        }
        if (line[0] == '#')
            continue;
        assert_int_equal(strncmp(line, family, strlen(family)), 0);
        *end = '\0';
        assert_true(n < RM_COUNT(series));
        series[n++] = line;
    }
    qsort(series, n, sizeof(*series), compare);
    for (size_t i = 1; i < n; i++)
        assert_string_not_equal(series[i - 1], series[i]);
    assert_true(n > 13 * NODE_HOSTS_MAX);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_node),
        cmocka_unit_test(hosts_and_their_names),
        cmocka_unit_test(how_good_forecasts_were),
        cmocka_unit_test(every_series_comes_once_and_within_its_family),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
