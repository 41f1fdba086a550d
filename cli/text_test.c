/* SPDX-License-Identifier: MIT */
/* cli/text_test.c - text cut to columns, and text that streams in: what a terminal would act on
 * never comes out. Runs in a UTF-8 locale. */
#include "cli/text.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static const struct row {
    const char *name, *text;
    unsigned columns;
    const char *shown;
    unsigned used;
} rows[] = {
    {"plain", "speed", 10, "speed", 5},
    {"just fits", "speed", 5, "speed", 5},
    {"is cut", "reasoning", 5, "reas~", 5},
    {"one column", "reasoning", 1, "~", 1},
    {"no column", "reasoning", 0, "", 0},
    {"nothing", "", 5, "", 0},
    {"escape sequence", "a\x1b[31mb", 10, "a?[31mb", 7},
    {"line feeds and tabs", "a\n\tb\r", 10, "a??b?", 5},
    {"C1 as UTF-8",
     "a\xc2\x9b"
     "31mb",
     10, "a?31mb", 6},
    {"C1 as a byte",
     "a\x9b"
     "31mb",
     10, "a?31mb", 6},
    {"not UTF-8", "a\xff\xfe", 10, "a??", 3},
    {"half a character", "a\xe2\x82", 10, "a??", 3},
    {"overlong", "\xc0\xaf", 10, "??", 2},
    {"wide", "\xe6\xa8\xa1\xe5\x9e\x8b", 4, "\xe6\xa8\xa1\xe5\x9e\x8b", 4},
    {"wide at the edge", "\xe6\xa8\xa1\xe5\x9e\x8b", 3, "\xe6\xa8\xa1~", 3},
    {"wide in one column", "\xe6\xa8\xa1", 1, "~", 1},
    {"combining", "e\xcc\x81x", 5, "e?x", 3},
    {"direction turned",
     "a\xe2\x80\xae"
     "b",
     5, "a?b", 3},
    {"Hebrew", "\xd7\x90x", 5, "?x", 2},
    {"zero width",
     "a\xe2\x80\x8b"
     "b",
     5, "a?b", 3},
    {"line separator",
     "a\xe2\x80\xa8"
     "b",
     5, "a?b", 3},
    {"letters beyond ASCII", "gr\xc3\xbc\xc3\x9f", 5, "gr\xc3\xbc\xc3\x9f", 4},
    {"letters beyond ASCII, cut", "gr\xc3\xbc\xc3\x9f", 3, "gr~", 3},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    char out[64], small[4];
    unsigned used = text_fit(row->text, row->columns, out, sizeof out);

    assert_string_equal(out, row->shown);
    assert_int_equal(used, row->used);
    assert_int_equal(text_width(out), used); /* what came out is harmless, so it stays as it is */
    assert_true(text_fit(row->text, row->columns, small, sizeof small) <= 3);
    assert_true(strlen(small) < sizeof small);
}

static void very_long(void **state)
{
    char text[501], out[20 * TEXT_WIDE_MAX + 1];

    (void)state;
    memset(text, 'x', 500);
    text[500] = '\0';
    assert_int_equal(text_fit(text, 20, out, sizeof out), 20);
    assert_string_equal(out, "xxxxxxxxxxxxxxxxxxx~");
    assert_int_equal(text_width(text), 500);
}

static const struct stream_row {
    const char *name, *text;
    const char *shown;
} stream_rows[] = {
    {"lines and tabs stay", "a\n\tb\n", "a\n\tb\n"},
    {"escape sequences", "\x1b]0;owned\x07\x1b[2J!", "?]0;owned??[2J!"},
    {"carriage return", "good\rbad", "good?bad"},
    {"letters of any direction", "\xd7\x90\xe6\xa8\xa1\xf0\x9f\x98\x80",
     "\xd7\x90\xe6\xa8\xa1\xf0\x9f\x98\x80"},
    {"marks that turn it",
     "a\xe2\x80\xae"
     "b\xe2\x81\xa6",
     "a?b?"},
    {"C1 as UTF-8",
     "\xc2\x9b"
     "31m",
     "?31m"},
    {"C1 as a byte",
     "\x9b"
     "31m",
     "?31m"},
    {"half a character, then text", "\xe6\xa8x", "?x"},
    {"half a character at the end", "x\xe6\xa8", "x?"},
    {"joined emoji", "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb",
     "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb"},
    {"surrogates", "\xed\xa0\x80", "?"},
    {"beyond Unicode", "\xf5\x80", "??"},
};

static void run_stream_row(void **state)
{
    const struct stream_row *row = *state;
    size_t n = strlen(row->text);

    for (size_t step = 1; step <= n; step++) { /* byte by byte up to whole */
        struct text_stream s = {.n_held = 0};
        struct rm_buf out;

        rm_buf_init(&out, 1024);
        for (size_t at = 0; at < n; at += step)
            assert_int_equal(
                text_stream_put(&s, row->text + at, n - at < step ? n - at : step, &out), 0);
        assert_int_equal(text_stream_end(&s, &out), 0);
        assert_string_equal(out.data, row->shown);
        rm_buf_clear(&out);
    }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + RM_COUNT(stream_rows) + 1];
    size_t n = 0;

    if (setlocale(LC_ALL, "C.UTF-8") == NULL) {
        fputs("no locale C.UTF-8\n", stderr);
        return 2;
    }
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[n++] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    for (size_t i = 0; i < RM_COUNT(stream_rows); i++)
        tests[n++] = (struct CMUnitTest){stream_rows[i].name, run_stream_row, NULL, NULL,
                                         (void *)&stream_rows[i]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(very_long);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
