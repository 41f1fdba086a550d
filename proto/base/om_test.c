/* SPDX-License-Identifier: MIT */
/* proto/base/om_test.c - both forms of the text, and values that would break a line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/base/self.h"

static char *written(void (*write)(struct rm_om *om), bool classic)
{
    struct rm_buf out;
    struct rm_om om;

    rm_buf_init(&out, 64 * 1024);
    rm_om_begin(&om, &out, classic);
    write(&om);
    assert_int_equal(rm_om_end(&om), 0);
    return rm_buf_take(&out);
}

static void of_every_type(struct rm_om *om)
{
    static const struct rm_om_bound bounds[] = {{0.5, "0.5"}, {1, "1.0"}};
    static const uint64_t bucket[] = {1, 0, 2};

    rm_om_family(om, "a", RM_OM_COUNTER, "", "Counts.");
    rm_om_labels(om, "x", "1", "y", "2", NULL);
    rm_om_u64(om, UINT64_MAX);
    rm_om_family(om, "b_bytes", RM_OM_GAUGE, "bytes", "Is.");
    rm_om_dbl(om, 0.25);
    rm_om_family(om, "c", RM_OM_INFO, "", "Says.");
    rm_om_labels(om, "version", "1", NULL);
    rm_om_u64(om, 1);
    rm_om_family(om, "d_seconds", RM_OM_HISTOGRAM, "seconds", "Spreads.");
    rm_om_histogram(om, &(struct rm_om_counts){bounds, bucket, 2, 7.5});
    rm_om_family(om, "e", RM_OM_GAUGEHISTOGRAM, "", "Spreads now.");
    rm_om_labels(om, "x", "1", NULL);
    rm_om_histogram(om, &(struct rm_om_counts){bounds, bucket, 2, 7.5});
    rm_om_family(om, "f_seconds", RM_OM_SUMMARY, "seconds", "Sums.");
    rm_om_summary(om, 3, 1.5);
}

static void both_forms(void **state)
{
    char *text = written(of_every_type, false);

    (void)state;
    assert_string_equal(
        text, "# TYPE a counter\n# HELP a Counts.\na_total{x=\"1\",y=\"2\"} 18446744073709551615\n"
              "# TYPE b_bytes gauge\n# UNIT b_bytes bytes\n# HELP b_bytes Is.\nb_bytes 0.25\n"
              "# TYPE c info\n# HELP c Says.\nc_info{version=\"1\"} 1\n"
              "# TYPE d_seconds histogram\n# UNIT d_seconds seconds\n# HELP d_seconds Spreads.\n"
              "d_seconds_bucket{le=\"0.5\"} 1\nd_seconds_bucket{le=\"1.0\"} 1\n"
              "d_seconds_bucket{le=\"+Inf\"} 3\nd_seconds_count 3\nd_seconds_sum 7.5\n"
              "# TYPE e gaugehistogram\n# HELP e Spreads now.\n"
              "e_bucket{x=\"1\",le=\"0.5\"} 1\ne_bucket{x=\"1\",le=\"1.0\"} 1\n"
              "e_bucket{x=\"1\",le=\"+Inf\"} 3\ne_gcount{x=\"1\"} 3\ne_gsum{x=\"1\"} 7.5\n"
              "# TYPE f_seconds summary\n# UNIT f_seconds seconds\n# HELP f_seconds Sums.\n"
              "f_seconds_count 3\nf_seconds_sum 1.5\n# EOF\n");
    free(text);
    text = written(of_every_type, true);
    assert_non_null(strstr(text, "# TYPE a_total counter\n# HELP a_total Counts.\na_total{"));
    assert_non_null(strstr(text, "# TYPE c_info gauge\n"));
    assert_non_null(strstr(text, "# TYPE e histogram\n"));
    assert_non_null(strstr(text, "e_count{x=\"1\"} 3\ne_sum{x=\"1\"} 7.5\n"));
    assert_null(strstr(text, "# UNIT"));
    assert_null(strstr(text, "# EOF"));
    free(text);
}

static void hostile_values(void **state)
{
    static const struct {
        const char *value, *text;
    } rows[] = {
        {"", ""},
        {"plain", "plain"},
        {"a\"b\\c", "a\\\"b\\\\c"},
        {"a\nb", "a\\nb"},
        {"a\rb\x01\x7f", "a\xef\xbf\xbd"
                         "b\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc3\xa4\xe2\x82\xac", "\xc3\xa4\xe2\x82\xac"},
        {"\xff\xc3", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"a\xc2\x85z", "a\xef\xbf\xbdz"},                             /* NEL */
        {"a\xe2\x80\xa8z\xe2\x80\xa9", "a\xef\xbf\xbdz\xef\xbf\xbd"}, /* line separators */
        {"\"} 1\nevil{x=\"", "\\\"} 1\\nevil{x=\\\""},
    };
    struct rm_buf out;
    struct rm_om om;
    char want[256];

    (void)state;
    rm_buf_init(&out, 4096);
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        out.len = 0;
        rm_om_begin(&om, &out, true);
        rm_om_family(&om, "n", RM_OM_GAUGE, "", "h");
        rm_om_labels(&om, "l", rows[i].value, NULL);
        rm_om_u64(&om, 1);
        assert_int_equal(rm_om_end(&om), 0);
        snprintf(want, sizeof want, "# TYPE n gauge\n# HELP n h\nn{l=\"%s\"} 1\n", rows[i].text);
        assert_string_equal(out.data, want);
    }
    rm_buf_clear(&out);
}

static void too_much(void **state)
{
    static char value[2 * RM_OM_LABELS_MAX];
    struct rm_buf out;
    struct rm_om om;

    (void)state;
    memset(value, 'x', sizeof value - 1);
    rm_buf_init(&out, 64);
    rm_om_begin(&om, &out, false);
    rm_om_family(&om, "n", RM_OM_GAUGE, "", "h");
    rm_om_labels(&om, "l", value, NULL);
    rm_om_u64(&om, 1);
    assert_int_equal(rm_om_end(&om), RM_ERR_TOO_BIG);
    rm_buf_clear(&out);
    rm_om_begin(&om, &out, false);
    for (int i = 0; i < 100; i++)
        rm_om_family(&om, "n", RM_OM_GAUGE, "", "h");
    assert_int_equal(rm_om_end(&om), RM_ERR_TOO_BIG);
    rm_buf_clear(&out);
}

static void who_wants_what(void **state)
{
    (void)state;
    assert_false(rm_om_wants_classic(RM_LIT("")));
    assert_false(rm_om_wants_classic(RM_LIT("*/*")));
    assert_true(rm_om_wants_classic(RM_LIT("text/plain;version=0.0.4;q=1,*/*;q=0.1")));
    assert_false(rm_om_wants_classic(
        RM_LIT("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")));
}

static void lateness(void **state)
{
    struct rm_lag lag = {.due_us = 0};

    (void)state;
    assert_int_equal(rm_lag_tick(&lag, 1000000, 100000), 0); /* the first one tells nothing */
    assert_int_equal(rm_lag_tick(&lag, 1100500, 100000), 500);
    assert_int_equal(rm_lag_tick(&lag, 1200000, 100000), 0); /* early: on time */
    assert_int_equal(rm_lag_tick(&lag, 1360000, 100000), 60000);
    assert_int_equal(lag.bucket[0], 2);
    assert_int_equal(lag.bucket[6], 1);
    assert_int_equal(lag.max_us, 60000);
}

static void the_process(void **state)
{
    char *text = written(rm_self_write, false), *at;

    (void)state;
    assert_non_null(strstr(text, "process_cpu_seconds_total "));
    at = strstr(text, "\nprocess_open_fds ");
    if (access("/proc/self/fd", R_OK) == 0) {
        assert_non_null(at);
        assert_in_range(strtol(at + 18, NULL, 10), 3, 1000);
        at = strstr(text, "\nprocess_resident_memory_bytes ");
        assert_true(strtod(at + 31, NULL) > 100000);
        at = strstr(text, "\nprocess_start_time_seconds ");
        assert_true(strtod(at + 28, NULL) > 1e9);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms), cmocka_unit_test(hostile_values),
        cmocka_unit_test(too_much),   cmocka_unit_test(who_wants_what),
        cmocka_unit_test(lateness),   cmocka_unit_test(the_process),
    };

    return cmocka_run_group_tests_name("om", tests, NULL, NULL);
}
