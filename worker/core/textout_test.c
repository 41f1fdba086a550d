/* SPDX-License-Identifier: MIT */
/* worker/core/textout_test.c - every row is pushed whole, byte by byte and in every two-part cut;
 * all must agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/json_write.h"
#include "worker/core/textout.h"

static const struct row {
    const char *name, *in;
    const char *stops[4];
    const char *text; /* all that went out */
    const char *stop; /* the word that ended it */
} rows[] = {
    {"plain", "hello", {NULL}, "hello", NULL},
    {"two-byte character", "caf\xC3\xA9!", {NULL}, "caf\xC3\xA9!", NULL},
    {"emoji", "a\xF0\x9F\x98\x80z", {NULL}, "a\xF0\x9F\x98\x80z", NULL},
    {"cut at the end", "a\xF0\x9F\x98", {NULL}, "a\xEF\xBF\xBD", NULL},
    {"lone continuation", "a\x80z", {NULL}, "a\xEF\xBF\xBDz", NULL},
    {"lead byte, then ASCII", "a\xE2z", {NULL}, "a\xEF\xBF\xBDz", NULL},
    {"two lead bytes", "\xC3\xC3\xA9", {NULL}, "\xEF\xBF\xBD\xC3\xA9", NULL},
    {"surrogate", "\xED\xA0\x80", {NULL}, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", NULL},
    {"overlong", "\xC0\xAF", {NULL}, "\xEF\xBF\xBD\xEF\xBF\xBD", NULL},
    {"above U+10FFFF", "\xF4\x90", {NULL}, "\xEF\xBF\xBD\xEF\xBF\xBD", NULL},
    {"stop", "one two three", {"two"}, "one ", "two"},
    {"stop at the start", "two three", {"two"}, "", "two"},
    {"stop at the end", "one two", {"two"}, "one ", "two"},
    {"no stop, its beginning at the end", "one tw", {"two"}, "one tw", NULL},
    {"beginning of a stop that fails", "one twig", {"two"}, "one twig", NULL},
    {"stop overlaps itself", "aaab", {"aab"}, "a", "aab"},
    {"restart inside a candidate", "ababac", {"abac"}, "ab", "abac"},
    {"the first to be complete", "abcd", {"abcd", "bc"}, "a", "bc"},
    {"of two that end together the longer", "xabc", {"bc", "abc"}, "x", "abc"},
    {"second of three", "x END y", {"STOP", "END", "\n"}, "x ", "END"},
    {"newline", "a\nb", {"\n"}, "a", "\n"},
    {"stop in UTF-8",
     "a\xE2\x82\xAC"
     "b",
     {"\xE2\x82\xAC"},
     "a",
     "\xE2\x82\xAC"},
    {"other character with the same lead byte",
     "\xE2\x82\xAD",
     {"\xE2\x82\xAC"},
     "\xE2\x82\xAD",
     NULL},
    {"stop after a broken character", "a\xE2\x82two", {"two"}, "a\xEF\xBF\xBD", "two"},
    {"empty", "", {"x"}, "", NULL},
};

/* Pushes the input in parts given by cut: after `first` bytes, then `step` at a time. */
static void push_cut(const struct row *row, size_t first, size_t step)
{
    size_t n = strlen(row->in), n_stops = 0;
    struct rm_buf out;
    struct textout t;

    while (n_stops < 4 && row->stops[n_stops] != NULL)
        n_stops++;
    rm_buf_init(&out, 4096);
    assert_int_equal(textout_init(&t, row->stops, n_stops), 0);
    for (size_t at = 0; at < n;) {
        size_t part = at == 0 && first > 0 ? first : step;

        part = part < n - at ? part : n - at;
        assert_int_equal(textout_push(&t, row->in + at, part, &out), 0);
        for (size_t i = 0; i < out.len;) { /* whatever is out is whole characters */
            size_t len = rm_utf8_len(out.data + i, out.len - i);

            assert_true(len > 0);
            i += len;
        }
        at += part;
    }
    assert_int_equal(textout_finish(&t, &out), 0);
    assert_int_equal(out.len, strlen(row->text));
    if (out.len > 0)
        assert_memory_equal(out.data, row->text, out.len);
    if (row->stop == NULL)
        assert_null(textout_stop_word(&t));
    else
        assert_string_equal(textout_stop_word(&t), row->stop);
    textout_clear(&t);
    rm_buf_clear(&out);
}

static void run_row(void **state)
{
    const struct row *row = *state;
    size_t n = strlen(row->in);

    push_cut(row, 0, n + 1);
    push_cut(row, 0, 1);
    for (size_t first = 1; first < n; first++) {
        push_cut(row, first, n);
        push_cut(row, first, 2);
    }
}

static void nothing_after_a_stop(void **state)
{
    static const char *const stops[] = {"."};
    struct rm_buf out;
    struct textout t;

    (void)state;
    rm_buf_init(&out, 64);
    assert_int_equal(textout_init(&t, stops, 1), 0);
    assert_int_equal(textout_push(&t, "a.b", 3, &out), 0);
    assert_int_equal(textout_push(&t, "c", 1, &out), 0);
    assert_int_equal(textout_finish(&t, &out), 0);
    assert_string_equal(out.data, "a");
    textout_clear(&t);
    rm_buf_clear(&out);
}

/* A piece far longer than the held bytes may be. */
static void long_piece(void **state)
{
    static const char *const stops[] = {"END"};
    static char piece[200000];
    struct rm_buf out;
    struct textout t;

    (void)state;
    memset(piece, 'E', sizeof(piece));
    rm_buf_init(&out, sizeof(piece));
    assert_int_equal(textout_init(&t, stops, 1), 0);
    assert_int_equal(textout_push(&t, piece, sizeof(piece), &out), 0);
    assert_int_equal(out.len, sizeof(piece) - 1); /* one E may begin the stop */
    assert_int_equal(textout_finish(&t, &out), 0);
    assert_int_equal(out.len, sizeof(piece));
    textout_clear(&t);
    rm_buf_clear(&out);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 2];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] =
        (struct CMUnitTest){"nothing after a stop", nothing_after_a_stop, NULL, NULL, NULL};
    tests[RM_COUNT(rows) + 1] = (struct CMUnitTest){"long piece", long_piece, NULL, NULL, NULL};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
