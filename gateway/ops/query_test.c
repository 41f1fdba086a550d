/* SPDX-License-Identifier: MIT */
/* gateway/ops/query_test.c - queries as they come, good and bad: one row per behaviour. */
#include "gateway/ops/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static const char *const names[] = {"limit", "role", "lane=batch|interactive", NULL};

static const struct row {
    const char *name, *query;
    const char *role;  /* NULL: not given */
    const char *fault; /* what q.why holds; NULL: it is good */
} rows[] = {
    {"nothing", "", NULL, NULL},
    {"one", "role=ask", "ask", NULL},
    {"two", "limit=5&role=ask", "ask", NULL},
    {"empty pairs", "&&role=ask&", "ask", NULL},
    {"no value", "role", "", NULL},
    {"encoded", "r%6fle=a%2Fb+c", "a/b c", NULL},
    {"half an escape", "role=a%2", NULL, "role: damaged"},
    {"no escape at all", "role=%zz", NULL, "role: damaged"},
    {"NUL", "role=a%00b", NULL, "role: damaged"},
    {"line end", "role=a%0ab", NULL, "role: damaged"},
    {"damaged name", "r%0ale=a", NULL, "damaged or overlong name"},
    {"twice", "role=a&role=b", NULL, "role: given twice"},
    {"unknown", "rol=a", NULL, "no parameter 'rol' here; there are: limit, role, lane"},
    {"one of its words", "role=ask&lane=interactive", "ask", NULL},
    {"no word of it", "lane=batc", NULL, "lane: 'batc' is none of batch|interactive"},
    {"more than a word", "lane=batch|interactive", NULL, "lane: 'batch|interactive' is none"},
    {"an empty word", "lane=", NULL, "lane: '' is none"},
    {"a name with its words", "lane=batch=batch", NULL, "none of"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct query q = {.names = NULL};
    int r = query_read(&q, names, rm_slice_of(row->query));

    assert_int_equal(r, row->fault != NULL ? RM_ERR_FIELD : 0);
    if (row->fault != NULL)
        assert_non_null(strstr(q.why, row->fault));
    else if (row->role == NULL)
        assert_null(query_get(&q, "role"));
    else
        assert_string_equal(query_get(&q, "role"), row->role);
}

static void numbers(void **state)
{
    static const struct {
        const char *query;
        int r;
        uint64_t is;
    } t[] = {{"", 0, 100},
             {"limit=1", 0, 1},
             {"limit=500", 0, 500},
             {"limit=0", -1, 0},
             {"limit=501", -1, 0},
             {"limit=-1", -1, 0},
             {"limit=", -1, 0},
             {"limit=1x", -1, 0},
             {"limit=+1", -1, 0},
             {"limit=0x10", -1, 0},
             {"limit=99999999999999999999999", -1, 0}};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(t); i++) {
        struct query q = {.names = NULL};
        uint64_t n;

        assert_int_equal(query_read(&q, names, rm_slice_of(t[i].query)), 0);
        assert_int_equal(query_number(&q, "limit", 1, 500, 100, &n), t[i].r < 0 ? RM_ERR_FIELD : 0);
        if (t[i].r == 0)
            assert_int_equal(n, t[i].is);
        else
            assert_non_null(strstr(q.why, "is not a number from 1 to 500"));
    }
}

static void longest(void **state)
{
    char text[QUERY_VALUE_MAX + 10] = "role=";
    struct query q = {.names = NULL};

    (void)state;
    for (size_t i = 0; i < QUERY_TEXT_MAX; i++)
        memcpy(text + 5 + 4 * i, "\xf0\x9f\x90\x9f", 4);
    assert_int_equal(query_read(&q, names, rm_slice_of(text)), 0);
    text[5 + 4 * QUERY_TEXT_MAX] = 'a';
    assert_int_equal(query_read(&q, names, rm_slice_of(text)), RM_ERR_FIELD);
    memset(text + 5, 'a', QUERY_TEXT_MAX + 1);
    text[5 + QUERY_TEXT_MAX + 1] = '\0';
    assert_int_equal(query_read(&q, names, rm_slice_of(text)), RM_ERR_FIELD);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 2];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest){"numbers", numbers, NULL, NULL, NULL};
    tests[RM_COUNT(rows) + 1] = (struct CMUnitTest){"longest", longest, NULL, NULL, NULL};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
