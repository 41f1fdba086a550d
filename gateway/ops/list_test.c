/* SPDX-License-Identifier: MIT */
/* gateway/ops/list_test.c - pages and filters of lists, one row per behaviour. */
#include "gateway/ops/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define NODES                                                                                      \
    "[{\"name\":\"a\",\"health\":\"up\"},{\"name\":\"b \\\"]},\",\"health\":\"down\",\"in\":"      \
    "{\"name\":\"c\"}},{\"name\":\"c\",\"health\":\"up\",\"modes\":[\"x\",\"y\"],\"n\":7}]"
#define EVENTS                                                                                     \
    "[{\"id\":9,\"at\":\"2026-05-04T12:00:09.000Z\"},{\"id\":7,\"at\":\"2026-05-04T12:00:07."      \
    "500Z\"}"                                                                                      \
    ",{\"id\":3,\"at\":\"2026-05-04T12:00:03.000Z\"}]"

static const struct row {
    const char *name;
    struct list_page page;
    const char *array, *says; /* says NULL: the cursor is refused */
} rows[] = {
    {"empty", {.key = {"name"}, .limit = 9}, "[]", "\"l\":[],\"next\":null"},
    {"first page",
     {.key = {"name"}, .limit = 1},
     NODES,
     "\"l\":[{\"name\":\"a\",\"health\":\"up\"}],\"next\":\"a\""},
    {"after a name",
     {.key = {"name"}, .limit = 9, .cursor = "b \\\"]},"},
     NODES,
     "\"l\":[{\"name\":\"c\",\"health\":\"up\",\"modes\":[\"x\",\"y\"],\"n\":7}],\"next\":null"},
    {"the last page is full",
     {.key = {"name"}, .limit = 1, .cursor = "b \\\"]},"},
     NODES,
     "\"l\":[{\"name\":\"c\",\"health\":\"up\",\"modes\":[\"x\",\"y\"],\"n\":7}],\"next\":null"},
    {"unknown cursor", {.key = {"name"}, .limit = 9, .cursor = "z"}, NODES, NULL},
    {"a name inside is not the element's",
     {.key = {"name"}, .limit = 9, .n_filters = 1, .filter = {{"name", "c"}}},
     NODES,
     "\"l\":[{\"name\":\"c\",\"health\":\"up\",\"modes\":[\"x\",\"y\"],\"n\":7}],\"next\":null"},
    {"filter by text",
     {.key = {"name"}, .limit = 1, .n_filters = 1, .filter = {{"health", "up"}}},
     NODES,
     "\"l\":[{\"name\":\"a\",\"health\":\"up\"}],\"next\":\"a\""},
    {"filter by a list's item",
     {.key = {"name"}, .limit = 9, .n_filters = 2, .filter = {{"modes", "y"}, {"n", "7"}}},
     NODES,
     "\"l\":[{\"name\":\"c\",\"health\":\"up\",\"modes\":[\"x\",\"y\"],\"n\":7}],\"next\":null"},
    {"filter that nothing passes",
     {.key = {"name"}, .limit = 9, .n_filters = 1, .filter = {{"none", "y"}}},
     NODES,
     "\"l\":[],\"next\":null"},
    {"below a number that has left",
     {.key = {"id"}, .by_number = true, .limit = 1, .cursor = "8"},
     EVENTS,
     "\"l\":[{\"id\":7,\"at\":\"2026-05-04T12:00:07.500Z\"}],\"next\":\"7\""},
    {"cursor that is no number",
     {.key = {"id"}, .by_number = true, .limit = 1, .cursor = "8x"},
     EVENTS,
     NULL},
    {"two members name it",
     {.key = {"id", "at"}, .limit = 1},
     EVENTS,
     "\"l\":[{\"id\":9,\"at\":\"2026-05-04T12:00:09.000Z\"}],\"next\":\"9@2026-05-04T12:00:09."
     "000Z\""},
    {"since is in, until is out",
     {.key = {"id"},
      .limit = 9,
      .time = "at",
      .since = "2026-05-04T12:00:07.500Z",
      .until = "2026-05-04T12:00:09.000Z"},
     EVENTS,
     "\"l\":[{\"id\":7,\"at\":\"2026-05-04T12:00:07.500Z\"}],\"next\":null"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct list_page page = row->page;
    struct rm_buf out;
    int r;

    page.name = "l";
    rm_buf_init(&out, 65536);
    r = list_write(&page, rm_slice_of(row->array), &out);
    if (row->says == NULL) {
        assert_int_equal(r, RM_ERR_STATE);
    } else {
        assert_int_equal(r, 0);
        assert_string_equal(out.data, row->says);
    }
    rm_buf_clear(&out);
}

static void times(void **state)
{
    static const struct {
        const char *text, *is;
    } t[] = {{"2026-05-04T12:00:00Z", "2026-05-04T12:00:00.000Z"},
             {"2026-05-04T12:00:00.5Z", "2026-05-04T12:00:00.500Z"},
             {"2026-05-04T12:00:00.123456Z", "2026-05-04T12:00:00.123Z"},
             {"2026-05-04T12:00:00", NULL},
             {"2026-05-04T12:00:00.Z", NULL},
             {"2026-05-04 12:00:00Z", NULL},
             {"2026-05-04T14:30:00+02:30", "2026-05-04T12:00:00.000Z"},
             {"2026-12-31T23:59:60-00:01", "2027-01-01T00:01:00.000Z"},
             {"2026-05-04t12:00:00.25z", "2026-05-04T12:00:00.250Z"},
             {"2024-02-29T00:00:00+05:30", "2024-02-28T18:30:00.000Z"},
             {"0142-01-15T07:05:16+08:24", "0142-01-14T22:41:16.000Z"},
             {"0000-01-01T00:00:00+01:00", NULL},
             {"9999-12-31T23:59:59-00:01", NULL},
             {"2023-02-29T00:00:00Z", NULL},
             {"2026-13-01T00:00:00Z", NULL},
             {"2026-00-01T00:00:00Z", NULL},
             {"2026-01-00T00:00:00Z", NULL},
             {"2026-05-04T24:00:00Z", NULL},
             {"2026-05-04T12:60:00Z", NULL},
             {"2026-05-04T12:00:00+2:00", NULL},
             {"2026-05-04T12:00:00+02:0", NULL},
             {"2026-05-04T12:00:00+24:00", NULL},
             {"2026-05-04T12:00:00+02.00", NULL},
             {"2026-05-04T12:00:00Zz", NULL},
             {"2026", NULL},
             {"", NULL}};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(t); i++) {
        char out[25] = "";

        assert_int_equal(list_time(t[i].text, out), t[i].is != NULL);
        if (t[i].is != NULL)
            assert_string_equal(out, t[i].is);
    }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 1];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest){"times", times, NULL, NULL, NULL};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
