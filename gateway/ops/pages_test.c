/* SPDX-License-Identifier: MIT */
/* gateway/ops/pages_test.c - which coding a client takes and which tags it has: one row each. */
#include "gateway/ops/pages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct row {
    const char *name, *value, *tag; /* tag NULL: Accept-Encoding */
    bool yes;
} rows[] = {
    {"nothing said", "", NULL, false},
    {"gzip", "gzip", NULL, true},
    {"browser", "gzip, deflate, br, zstd", NULL, true},
    {"capitals and blanks", " br ,\tGZip ; q=0.5 ", NULL, true},
    {"old name", "x-gzip", NULL, true},
    {"anything", "*", NULL, true},
    {"refused", "gzip;q=0", NULL, false},
    {"refused in thousandths", "gzip; q=0.000, *", NULL, false},
    {"a little", "gzip;q=0.001", NULL, true},
    {"anything refused", "br, *;q=0", NULL, false},
    {"identity only", "identity", NULL, false},
    {"a longer word", "gzipped", NULL, false},
    {"only commas", ",,,;;q=,", NULL, false},
    {"the tag", "W/\"a1\"", "W/\"a1\"", true},
    {"strong", "\"a1\"", "W/\"a1\"", true},
    {"second", "\"b2\", W/\"a1\"", "W/\"a1\"", true},
    {"star", "*", "W/\"a1\"", true},
    {"another", "\"a12\"", "W/\"a1\"", false},
    {"without quotes", "a1", "W/\"a1\"", false},
    {"no tag", "", "W/\"a1\"", false},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct rm_slice value = rm_slice_of(row->value);

    assert_int_equal(row->tag == NULL ? pages_takes_gzip(value) : pages_has_tag(value, row->tag),
                     row->yes);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows)];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
