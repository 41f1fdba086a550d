/* SPDX-License-Identifier: MIT */
/* worker/models/range_test.c - range.c by row; every text of a few bytes stays within the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

#include "worker/models/range.h"

static const struct {
    const char *text;
    uint64_t size;
    enum range_kind kind;
    uint64_t from, n;
} rows[] = {
    {"", 100, RANGE_WHOLE, 0, 100},
    {"bytes=0-0", 100, RANGE_PART, 0, 1},
    {"bytes=0-99", 100, RANGE_PART, 0, 100},
    {"bytes=10-", 100, RANGE_PART, 10, 90},
    {"bytes=10-1000", 100, RANGE_PART, 10, 90},
    {"bytes=99-99", 100, RANGE_PART, 99, 1},
    {"BYTES=1-2", 100, RANGE_PART, 1, 2},
    {"bytes=-1", 100, RANGE_PART, 99, 1},
    {"bytes=-1000", 100, RANGE_PART, 0, 100},
    {"bytes=0-999999999999999999", 100, RANGE_PART, 0, 100},
    {"bytes=100-", 100, RANGE_NONE, 0, 0},
    {"bytes=100-200", 100, RANGE_NONE, 0, 0},
    {"bytes=-0", 100, RANGE_NONE, 0, 0},
    {"bytes=0-", 0, RANGE_NONE, 0, 0},
    {"bytes=-5", 0, RANGE_NONE, 0, 0},
    {"bytes=5-4", 100, RANGE_WHOLE, 0, 100},
    {"bytes=0-1,3-4", 100, RANGE_WHOLE, 0, 100},
    {"bytes=", 100, RANGE_WHOLE, 0, 100},
    {"bytes=-", 100, RANGE_WHOLE, 0, 100},
    {"bytes=a-b", 100, RANGE_WHOLE, 0, 100},
    {"bytes=1", 100, RANGE_WHOLE, 0, 100},
    {"bytes=1-2x", 100, RANGE_WHOLE, 0, 100},
    {"bytes=--1", 100, RANGE_WHOLE, 0, 100},
    {"bytes= 1-2", 100, RANGE_WHOLE, 0, 100},
    {"bytes=0-99999999999999999999", 100, RANGE_WHOLE, 0, 100},
    {"bytes=99999999999999999999-", 100, RANGE_WHOLE, 0, 100},
    {"lines=1-2", 100, RANGE_WHOLE, 0, 100},
};

static void ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        uint64_t from, n;
        enum range_kind kind = range_read(rm_slice_of(rows[i].text), rows[i].size, &from, &n);

        if (kind != rows[i].kind ||
            (kind != RANGE_NONE && (from != rows[i].from || n != rows[i].n)))
            fail_msg("\"%s\": %d, %llu + %llu", rows[i].text, kind, (unsigned long long)from,
                     (unsigned long long)n);
    }
}

static void every_short_text(void **state)
{
    static const char alphabet[] = "0159-,a ";
    char text[16] = "bytes=";
    unsigned parts = 0;

    (void)state;
    for (unsigned i = 0; i < 8u * 8 * 8 * 8 * 8; i++) {
        uint64_t from, n;

        for (unsigned k = 0, v = i; k < 5; k++, v /= 8)
            text[6 + k] = alphabet[v % 8];
        for (uint64_t size = 0; size < 20; size += 7)
            for (size_t len = 6; len <= 11; len++)
                if (range_read((struct rm_slice){text, len}, size, &from, &n) == RANGE_PART) {
                    assert_true(n > 0 && from < size && n <= size - from);
                    parts++;
                }
    }
    assert_true(parts > 1000);
}

static void tags(void **state)
{
    static const char tag[] = "\"a-1\"";

    (void)state;
    assert_true(range_tag_listed(RM_LIT("\"a-1\""), tag));
    assert_true(range_tag_listed(RM_LIT("W/\"a-1\""), tag));
    assert_true(range_tag_listed(RM_LIT("\"b\" , \"a-1\""), tag));
    assert_true(range_tag_listed(RM_LIT("*"), tag));
    assert_false(range_tag_listed(RM_LIT("\"a-2\", \"a-\""), tag));
    assert_false(range_tag_listed(RM_LIT("a-1"), tag));
    assert_false(range_tag_listed(RM_LIT(", ,"), tag));
    assert_false(range_tag_listed(RM_LIT(""), tag));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges),
        cmocka_unit_test(every_short_text),
        cmocka_unit_test(tags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
