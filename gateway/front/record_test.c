/* SPDX-License-Identifier: MIT */
/* gateway/front/record_test.c - the places of requests: who gets which, and what is told. */
#include "gateway/front/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct record *begin(struct records *rs, const char *id)
{
    struct record *r = records_take(rs);

    if (r != NULL) {
        snprintf(r->id, sizeof r->id, "%s", id);
        r->dialect = "chat";
    }
    return r;
}

static void longest_over_goes_first(void **state)
{
    struct records rs;
    struct record *kept, *r;
    char id[32];

    (void)state;
    records_init(&rs);
    kept = begin(&rs, "runs");
    for (int i = 0; i < 3 * RECORDS_MAX; i++) {
        snprintf(id, sizeof id, "r%d", i);
        assert_non_null(r = begin(&rs, id));
        assert_ptr_not_equal(r, kept);
        records_end(&rs, r, 1);
    }
    assert_ptr_equal(records_find(&rs, "runs"), kept); /* never lost while it runs */
    assert_non_null(records_find(&rs, id));
    snprintf(id, sizeof id, "r%d", 2 * RECORDS_MAX);
    assert_null(records_find(&rs, id));
    snprintf(id, sizeof id, "r%d", 2 * RECORDS_MAX + 1);
    assert_non_null(records_find(&rs, id));
    assert_null(records_find(&rs, ""));
    records_clear(&rs);
}

static void all_in_flight(void **state)
{
    struct records rs;
    struct record *first = NULL, *r;

    (void)state;
    records_init(&rs);
    for (int i = 0; i < RECORDS_MAX; i++) {
        r = begin(&rs, "x");
        first = i == 0 ? r : first;
    }
    assert_null(records_take(&rs));
    assert_int_equal(rs.unrecorded, 1);
    records_end(&rs, NULL, 1); /* the one without a place ends as well */
    records_end(&rs, first, 1);
    assert_ptr_equal(records_take(&rs), first);
    assert_int_equal(first->seq, RECORDS_MAX + 2);
    records_clear(&rs);
}

static void newest_is_told_first(void **state)
{
    struct records rs;
    struct rm_buf out;
    struct record *a, *b;

    (void)state;
    records_init(&rs);
    rm_buf_init(&out, 65536);
    assert_int_equal(records_write(&rs, 0, &out), 0);
    assert_string_equal(out.data, "[]");
    a = begin(&rs, "a");
    b = begin(&rs, "b\"\n");
    a->began_ms = 100;
    records_end(&rs, a, 150);
    b->state = RECORD_RUNNING;
    b->began_ms = 120;
    out.len = 0;
    assert_int_equal(records_write(&rs, 200, &out), 0);
    assert_ptr_equal(strstr(out.data, "[{\"id\":\"b\\\"\\n\",\"seq\":2,"), out.data);
    assert_non_null(strstr(out.data, "\"state\":\"running\""));
    assert_non_null(strstr(out.data, "\"age_ms\":80,\"duration_ms\":null"));
    assert_non_null(strstr(out.data, "\"age_ms\":100,\"duration_ms\":50"));
    rm_buf_clear(&out);
    records_clear(&rs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(longest_over_goes_first),
                                       cmocka_unit_test(all_in_flight),
                                       cmocka_unit_test(newest_is_told_first)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
