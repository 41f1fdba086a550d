/* SPDX-License-Identifier: MIT */
/* worker/models/swap_test.c - same file or another one: one row per way to differ. */
#include "worker/models/swap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static const struct row {
    const char *name;
    struct model_id was, is;
    const char *change; /* NULL: the same */
} rows[] = {
    {"same", {5, 7, 1, "aa"}, {5, 7, 1, "aa"}, NULL},
    {"size",
     {5, 0, 1, ""},
     {6, 0, 1, ""},
     "it had 5 bytes (1970-01-01 00:00:00 UTC), it has 6 bytes (1970-01-01 00:00:00 UTC)"},
    {"time",
     {5, 0, 1, ""},
     {5, 1000000000, 1, ""},
     "it had 5 bytes (1970-01-01 00:00:00 UTC), it has 5 bytes (1970-01-01 00:00:01 UTC)"},
    {"a nanosecond", {5, 7, 1, "aa"}, {5, 8, 1, "aa"}, "it had 5 bytes"},
    {"content alone",
     {5, 0, 1, "0123456789"},
     {5, 0, 1, "9876543210"},
     "it had 5 bytes (1970-01-01 00:00:00 UTC, content 01234567), it has 5 bytes (1970-01-01 "
     "00:00:00 UTC, content 98765432)"},
    {"content unknown before", {5, 7, 1, ""}, {5, 7, 1, "aa"}, NULL},
    {"content unknown now", {5, 7, 1, "aa"}, {5, 7, 1, ""}, NULL},
    {"another number of parts",
     {5, 0, 2, ""},
     {5, 0, 3, ""},
     "it had 5 bytes in 2 files (1970-01-01 00:00:00 UTC), it has 5 bytes in 3 files"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    char text[512];

    assert_int_equal(model_id_same(&row->was, &row->is), row->change == NULL);
    assert_int_equal(model_id_same(&row->is, &row->was), row->change == NULL);
    model_id_change(&row->was, &row->is, text, sizeof(text));
    if (row->change != NULL && strncmp(text, row->change, strlen(row->change)) != 0)
        fail_msg("expected: %s\nsaid: %s", row->change, text);
}

static void a_look_gives_it(void **state)
{
    struct model_file file = {.bytes = 9, .mtime_ns = 8, .files = 2, .hash = "abc"};
    struct model_id id = model_id_of(&file);

    (void)state;
    assert_true(id.bytes == 9 && id.mtime_ns == 8 && id.files == 2);
    assert_string_equal(id.hash, "abc");
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 1];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(a_look_gives_it);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
