/* SPDX-License-Identifier: MIT */
/* gateway/ops/past_test.c - charts of a past that the test writes itself: sums, percentiles, gaps.
 */
#include "gateway/ops/past.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sqlite3.h>

#include "gateway/ops/history_impl.h"

/* A moment in the middle of a minute; its hour begins at step 1 of 60. */
#define NOW_MS      1700003450000
#define STEP_S(ago) (1700003450 / 60 * 60 - (ago)*60)

static sqlite3 *db;

static void run_sql(const char *sql)
{
    char *why = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", why, sql);
}

static int begin(void **state)
{
    (void)state;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK)
        return -1;
    for (size_t i = 0; i < HISTORY_MIGRATIONS; i++)
        run_sql(history_migrations[i]);
    return 0;
}

static int end(void **state)
{
    (void)state;
    return sqlite3_close(db) == SQLITE_OK ? 0 : -1;
}

/* A request that began in the step `ago` steps before the last one. */
static void request(int ago, const char *role, const char *node, const char *outcome, int ttft_ms)
{
    char sql[512];

    snprintf(sql, sizeof sql,
             "INSERT INTO request VALUES('id', %lld, '', '%s', '%s', '', '%s', 'chat', 200, '%s', "
             "'', 1, %d, %d, %d, 100, 40, 7, 0, 0, '[]', 1, '', 3, '[]')",
             (long long)STEP_S(ago) * 1000 + 1, role, role, node, outcome, ttft_ms / 2, ttft_ms,
             ttft_ms * 2);
    run_sql(sql);
}

static void sample(int ago, const char *node, const char *role, double value)
{
    char sql[512];

    snprintf(sql, sizeof sql,
             "INSERT INTO sample VALUES(%lld, '%s', '%s', 1000, %g, 1, 1, %g, 4, %s, NULL)",
             (long long)STEP_S(ago) * 1000 + 30000, node, role, value, value / 10,
             value > 50 ? "12.5" : "NULL");
    run_sql(sql);
}

static int word(const char *const *words, const char *text)
{
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(words[i], text) == 0)
            return i;
    fail_msg("no word %s", text);
    return -1;
}

/* The answer without its times and gaps: each series as "node/role/stat" and its points that are
 * known as " AGO=VALUE". */
static void told(const char *metric, enum past_by by, const char *node, const char *role, char *out,
                 size_t size);

static const char *number_at(const char *at, long long *t, char value[32])
{
    int n = 0;

    assert_int_equal(sscanf(at, "[%lld,%31[^]]]%n", t, value, &n), 2);
    return at + n;
}

static void told(const char *metric, enum past_by by, const char *node, const char *role, char *out,
                 size_t size)
{
    struct past_question q = {.metric = word(past_metrics, metric), .by = by, .now_ms = NOW_MS};
    struct rm_buf json;
    const char *at;
    size_t n = 0;

    rm_text_copy(q.node, sizeof q.node, node);
    rm_text_copy(q.role, sizeof q.role, role);
    rm_buf_init(&json, 1 << 20);
    assert_int_equal(past_answer(db, &q, &json), SQLITE_OK);
    out[0] = '\0';
    for (at = strstr(json.data, "{\"node\":"); at != NULL; at = strstr(at, "{\"node\":")) {
        char who[3][64], value[32];
        size_t points = 0;
        long long t;

        assert_int_equal(sscanf(at, "{\"node\":%63[^,],\"role\":%63[^,],\"stat\":%63[^,],", who[0],
                                who[1], who[2]),
                         3);
        n += (size_t)snprintf(out + n, size - n, "%s%s/%s/%s", n > 0 ? "; " : "", who[0], who[1],
                              who[2]);
        at = strstr(at, "[[") + 1;
        while (*at == '[') {
            at = number_at(at, &t, value);
            assert_true(t == STEP_S(59 - (long long)points));
            points++;
            if (strcmp(value, "null") != 0)
                n += (size_t)snprintf(out + n, size - n, " %lld=%s", (STEP_S(0) - t) / 60, value);
            at += *at == ',';
        }
        assert_int_equal(points, 60);
    }
    rm_buf_clear(&json);
}

static void expect(const char *metric, enum past_by by, const char *node, const char *role,
                   const char *want)
{
    char got[8192];

    told(metric, by, node, role, got, sizeof got);
    assert_string_equal(got, want);
}

static void nothing_is_null_but_now(void **state)
{
    (void)state;
    expect("requests", PAST_BY_NONE, "", "", "null/null/\"sum\" 0=0");
    expect("ttft_ms", PAST_BY_NONE, "", "", "null/null/\"p50\"; null/null/\"p95\"");
    expect("cpu_percent", PAST_BY_NODE, "", "", "");
    expect("cpu_percent", PAST_BY_NODE, "a", "", "\"a\"/null/\"mean\"");
    expect("requests", PAST_BY_ROLE, "", "", "");
    expect("requests", PAST_BY_ROLE, "", "ask", "null/\"ask\"/\"sum\" 0=0");
}

static void sums_know_gaps_from_silence(void **state)
{
    (void)state;
    sample(5, "", "", 0); /* the gateway ran in steps 5 and 4, and by its requests in 2 */
    sample(4, "", "", 0);
    request(4, "ask", "a", "ok", 10);
    request(2, "ask", "a", "ok", 10);
    request(2, "code", "b", "failed", 10);
    request(2, "code", "b", "gone", 10);
    request(60, "ask", "a", "ok", 10); /* before the range */
    request(-1, "ask", "a", "ok", 10); /* in the future */
    expect("requests", PAST_BY_NONE, "", "", "null/null/\"sum\" 5=0 4=1 2=3 0=0");
    expect("errors", PAST_BY_NONE, "", "", "null/null/\"sum\" 5=0 4=0 2=1 0=0");
    expect("tokens_in", PAST_BY_NONE, "", "", "null/null/\"sum\" 5=0 4=100 2=300 0=0");
    expect("tokens_out", PAST_BY_ROLE, "", "",
           "null/\"ask\"/\"sum\" 5=0 4=7 2=7 0=0; null/\"code\"/\"sum\" 5=0 4=0 2=14 0=0");
    expect("tokens_cached", PAST_BY_NODE, "b", "", "\"b\"/null/\"sum\" 5=0 4=0 2=80 0=0");
    expect("requests", PAST_BY_NONE, "a", "ask", "\"a\"/\"ask\"/\"sum\" 5=0 4=1 2=1 0=0");
    expect("requests", PAST_BY_NONE, "a", "code", "\"a\"/\"code\"/\"sum\" 5=0 4=0 0=0");
}

static void percentiles_are_of_single_requests(void **state)
{
    (void)state;
    for (int i = 1; i <= 100; i++)
        request(3, "ask", "a", "ok", i * 2);
    request(3, "ask", "a", "failed", 100000);
    request(3, "ask", "", "refused", 200000);
    request(1, "ask", "a", "ok", 8);
    expect("ttft_ms", PAST_BY_NONE, "", "",
           "null/null/\"p50\" 3=100 1=8; null/null/\"p95\" 3=190 1=8");
    expect("duration_ms", PAST_BY_ROLE, "", "",
           "null/\"ask\"/\"p50\" 3=200 1=16; null/\"ask\"/\"p95\" 3=380 1=16");
    expect("queue_ms", PAST_BY_NONE, "", "", /* the failed one had a host as well */
           "null/null/\"p50\" 3=51 1=4; null/null/\"p95\" 3=96 1=4");
}

static void nodes_are_looked_at(void **state)
{
    (void)state;
    sample(3, "a", "", 100);
    sample(3, "a", "ask", 70);
    sample(1, "a", "", 20);
    sample(3, "b", "", 40);
    expect("memory_used", PAST_BY_NODE, "", "",
           "\"a\"/null/\"max\" 3=100 1=20; \"b\"/null/\"max\" 3=40");
    expect("cpu_percent", PAST_BY_NODE, "a", "", "\"a\"/null/\"mean\" 3=12.5");
    expect("slots_busy", PAST_BY_NODE, "", "ask", "\"a\"/\"ask\"/\"mean\" 3=7");
    expect("slots_busy", PAST_BY_NODE, "b", "", "\"b\"/null/\"mean\" 3=4");
    expect("cpu_percent", PAST_BY_NODE, "b", "ask", "\"b\"/\"ask\"/\"mean\""); /* of nodes only */
}

/* More than a chart holds: the busiest are told, in the order of their names. */
static void many_series(void **state)
{
    char got[65536];
    size_t n = 1;

    (void)state;
    run_sql("BEGIN");
    for (int i = 0; i < 100; i++) {
        char role[16];

        snprintf(role, sizeof role, "r%03d", i);
        for (int k = 0; k <= i; k++)
            request(1, role, "a", "ok", 1);
    }
    run_sql("COMMIT");
    told("requests", PAST_BY_ROLE, "", "", got, sizeof got);
    assert_ptr_equal(strstr(got, "null/\"r036\"/\"sum\" 1=37 0=0; "), got);
    for (const char *p = got; (p = strchr(p, ';')) != NULL; p++)
        n++;
    assert_int_equal(n, PAST_SERIES_MAX);
}

static void a_step_of_very_many_requests(void **state)
{
    char sql[512];

    (void)state;
    snprintf(sql, sizeof sql,
             "INSERT INTO request WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
             "WHERE i < 300000) SELECT 'id', %lld, '', 'ask', 'ask', '', 'a', 'chat', 200, 'ok', "
             "'', 1, 0, i, 0, 0, 0, 0, 0, 0, '[]', 1, '', 3, '[]' FROM n",
             (long long)STEP_S(1) * 1000);
    run_sql(sql);
    {
        char got[512];
        long p50, p95;

        told("ttft_ms", PAST_BY_NONE, "", "", got, sizeof got);
        assert_int_equal(
            sscanf(got, "null/null/\"p50\" 1=%ld; null/null/\"p95\" 1=%ld", &p50, &p95), 2);
        assert_true(p50 > 149900 && p50 < 150100 && p95 > 284900 && p95 < 285100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_null_but_now, begin, end),
        cmocka_unit_test_setup_teardown(sums_know_gaps_from_silence, begin, end),
        cmocka_unit_test_setup_teardown(percentiles_are_of_single_requests, begin, end),
        cmocka_unit_test_setup_teardown(nodes_are_looked_at, begin, end),
        cmocka_unit_test_setup_teardown(many_series, begin, end),
        cmocka_unit_test_setup_teardown(a_step_of_very_many_requests, begin, end)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
