/* SPDX-License-Identifier: MIT */
/* Reader and writer by table. Each stream is read whole, byte by byte and in random pieces; the
 * events must be the same. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/http/sse.h"

/* `events` is one line per event: TYPE|DATA|ID|RAW; '-' for data that is not there; CR and LF are
 * written as r and n after a backslash, NUL as 0. */
static const struct row {
    const char *name, *bytes;
    size_t n; /* 0: strlen */
    const char *events;
} rows[] = {
    {"one", "data: x\n\n", 0, "|x||data: x\\n\\n\n"},
    {"no blank after the colon", "data:x\n\n", 0, "|x||data:x\\n\\n\n"},
    {"only one blank is removed", "data:  x\n\n", 0, "| x||data:  x\\n\\n\n"},
    {"CRLF", "data: x\r\n\r\ndata: y\r\n\r\n", 0,
     "|x||data: x\\r\\n\\r\\n\n|y||data: y\\r\\n\\r\\n\n"},
    {"CR", "data: x\r\rdata: y\r\r", 0, "|x||data: x\\r\\r\n|y||data: y\\r\\r\n"},
    {"LF then CRLF", "data: x\n\r\ndata: y\n\n", 0, "|x||data: x\\n\\r\\n\n|y||data: y\\n\\n\n"},
    {"CRLF then LF", "data: x\r\n\ndata: y\n\n", 0, "|x||data: x\\r\\n\\n\n|y||data: y\\n\\n\n"},
    {"CR then CRLF", "data: x\r\r\ndata: y\n\n", 0, "|x||data: x\\r\\r\n|y||data: y\\n\\n\n"},
    {"CRLF then CR", "data: x\r\n\rdata: y\n\n", 0, "|x||data: x\\r\\n\\r\n|y||data: y\\n\\n\n"},
    {"several data lines", "data: a\ndata: b\ndata:\ndata: d\n\n", 0,
     "|a\\nb\\n\\nd||data: a\\ndata: b\\ndata:\\ndata: d\\n\\n\n"},
    {"data line without colon", "data\n\n", 0, "|||data\\n\\n\n"},
    {"two of them", "data\ndata\n\n", 0, "|\\n||data\\ndata\\n\\n\n"},
    {"type and id", "id: 7\nevent: ping\ndata: {}\n\n", 0,
     "ping|{}|7|id: 7\\nevent: ping\\ndata: {}\\n\\n\n"},
    {"last type wins", "event: a\nevent: b\ndata: x\n\n", 0,
     "b|x||event: a\\nevent: b\\ndata: x\\n\\n\n"},
    {"NUL in id", "id: a\0b\ndata: x\n\n", 18, "|x||id: a\\0b\\ndata: x\\n\\n\n"},
    {"comment", ": keep-alive\n\n", 0, "|-||: keep-alive\\n\\n\n"},
    {"comment inside", ": c\ndata: x\n\n", 0, "|x||: c\\ndata: x\\n\\n\n"},
    {"colon alone", ":\n\n", 0, "|-||:\\n\\n\n"},
    {"unknown field", "foo: bar\n\n", 0, "|-||foo: bar\\n\\n\n"},
    {"names are exact", "Data: x\n data: y\n\n", 0, "|-||Data: x\\n data: y\\n\\n\n"},
    {"blank lines between", "\n\n\r\n\rdata: x\n\n\n\n\r\ndata: y\n\n", 0,
     "|x||data: x\\n\\n\n|y||data: y\\n\\n\n"},
    {"byte order mark",
     "\xef\xbb\xbf"
     "data: x\n\ndata: y\n\n",
     0, "|x||data: x\\n\\n\n|y||data: y\\n\\n\n"},
    {"mark and nothing else", "\xef\xbb\xbf\n\ndata: y\n\n", 0, "|y||data: y\\n\\n\n"},
    {"a mark later is no mark",
     "data: x\n\n\xef\xbb\xbf"
     "data: y\n\n",
     0,
     "|x||data: x\\n\\n\n|-||\xef\xbb\xbf"
     "data: y\\n\\n\n"},
    {"unfinished", "data: x\n\ndata: y\n", 0, "|x||data: x\\n\\n\n"},
    {"nothing", "", 0, ""},
    {"colons in data", "data: a:b: c\n\n", 0, "|a:b: c||data: a:b: c\\n\\n\n"},
    {"done", "data: [DONE]\n\n", 0, "|[DONE]||data: [DONE]\\n\\n\n"},
};

static void say(struct rm_buf *b, struct rm_slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        const char *as = s.p[i] == '\n'   ? "\\n"
                         : s.p[i] == '\r' ? "\\r"
                         : s.p[i] == '\0' ? "\\0"
                                          : NULL;

        assert_int_equal(as != NULL ? rm_buf_puts(b, as) : rm_buf_put(b, &s.p[i], 1), 0);
    }
}

static int note(void *arg, const struct sse_event *e)
{
    struct rm_buf *b = arg;

    say(b, e->type);
    assert_int_equal(rm_buf_puts(b, "|"), 0);
    say(b, e->has_data ? e->data : RM_LIT("-"));
    assert_int_equal(rm_buf_puts(b, "|"), 0);
    say(b, e->id);
    assert_int_equal(rm_buf_puts(b, "|"), 0);
    say(b, e->raw);
    return rm_buf_puts(b, "\n");
}

/* Pieces of at most `most` bytes, each in memory of its own; 0: whole. */
static int feed_pieces(struct sse_reader *r, const char *bytes, size_t n, size_t most,
                       unsigned seed, int (*on_event)(void *, const struct sse_event *), void *arg)
{
    int err = 0;

    for (size_t i = 0, k; i < n && err == 0; i += k) {
        char *piece;

        seed = seed * 1103515245u + 12345u;
        k = most == 0 ? n : 1 + (seed >> 16) % most;
        if (k > n - i)
            k = n - i;
        piece = malloc(k);
        assert_non_null(piece);
        memcpy(piece, bytes + i, k);
        err = sse_reader_feed(r, piece, k, on_event, arg);
        free(piece);
    }
    return err;
}

static void run_row(void **state)
{
    const struct row *row = *state;
    size_t n = row->n > 0 ? row->n : strlen(row->bytes);

    for (unsigned seed = 0; seed < 40; seed++) {
        struct sse_reader r;
        struct rm_buf out;

        sse_reader_init(&r, 256);
        rm_buf_init(&out, 4096);
        assert_int_equal(rm_buf_puts(&out, ""), 0);
        assert_int_equal(feed_pieces(&r, row->bytes, n, seed % 8, seed, note, &out), 0);
        assert_string_equal(out.data, row->events);
        rm_buf_clear(&out);
        sse_reader_clear(&r);
    }
}

static int count(void *arg, const struct sse_event *e)
{
    (void)e;
    *(int *)arg += 1;
    return 0;
}

static int stop_at_two(void *arg, const struct sse_event *e)
{
    (void)e;
    *(int *)arg += 1;
    return *(int *)arg == 2 ? -77 : 0;
}

/* An event of max bytes passes and one byte more does not, however it is cut. */
static void test_limit(void **state)
{
    char bytes[80];

    (void)state;
    for (size_t extra = 0; extra < 2; extra++)
        for (unsigned seed = 0; seed < 30; seed++) {
            size_t n = 64 + extra;
            struct sse_reader r;
            int events = 0;

            memset(bytes, 'x', sizeof(bytes));
            memcpy(bytes, "data: ", 6);
            memcpy(bytes + n - 2, "\n\n", 2);
            sse_reader_init(&r, 64);
            assert_int_equal(feed_pieces(&r, bytes, n, seed % 9, seed, count, &events),
                             extra ? RM_ERR_TOO_BIG : 0);
            assert_int_equal(events, extra ? 0 : 1);
            assert_true(sse_reader_held(&r) <= 64);
            sse_reader_clear(&r);
        }
}

static void test_unfinished_is_bounded(void **state)
{
    struct sse_reader r;
    int events = 0, err = 0;

    (void)state;
    sse_reader_init(&r, SSE_EVENT_MAX);
    for (int i = 0; i < 1100000 / 1000 && err == 0; i++) {
        char line[1000];

        memset(line, 'x', sizeof(line));
        err = sse_reader_feed(&r, line, sizeof(line), count, &events);
    }
    assert_int_equal(err, RM_ERR_TOO_BIG);
    assert_true(sse_reader_held(&r) <= SSE_EVENT_MAX);
    sse_reader_clear(&r);
    assert_int_equal(sse_reader_held(&r), 0);
}

static void test_stop(void **state)
{
    struct sse_reader r;
    int events = 0;
    const char *three = "data: 1\n\ndata: 2\n\ndata: 3\n\n";

    (void)state;
    sse_reader_init(&r, 64);
    assert_int_equal(sse_reader_feed(&r, three, strlen(three), stop_at_two, &events), -77);
    assert_int_equal(events, 2);
    sse_reader_clear(&r);
}

/* Data inside one piece is not copied. */
static const char *whole_at;
static int inside(void *arg, const struct sse_event *e)
{
    *(int *)arg += e->data.p == whole_at + 6;
    return 0;
}

static void test_no_copy(void **state)
{
    struct sse_reader r;
    int same = 0;

    (void)state;
    whole_at = "data: abc\n\n";
    sse_reader_init(&r, 64);
    assert_int_equal(sse_reader_feed(&r, whole_at, 11, inside, &same), 0);
    assert_int_equal(same, 1);
    assert_null(r.held.data);
    sse_reader_clear(&r);
}

static void test_write(void **state)
{
    static const struct {
        const char *type, *data, *bytes;
    } cases[] = {
        {NULL, "x", "data: x\n\n"},
        {"error", "{}", "event: error\ndata: {}\n\n"},
        {NULL, "", "data: \n\n"},
        {NULL, "a\nb", "data: a\ndata: b\n\n"},
        {NULL, "a\r\nb\rc\n", "data: a\ndata: b\ndata: c\ndata: \n\n"},
        {NULL, "x\n\nevent: y", "data: x\ndata: \ndata: event: y\n\n"},
    };
    struct rm_buf out;

    (void)state;
    rm_buf_init(&out, 64);
    for (size_t i = 0; i < RM_COUNT(cases); i++) {
        out.len = 0;
        assert_int_equal(sse_put(&out, cases[i].type, rm_slice_of(cases[i].data)), 0);
        assert_string_equal(out.data, cases[i].bytes);
    }
    out.len = 0;
    assert_int_equal(sse_put(&out, NULL, RM_LIT("kept as it was before")), 0);
    assert_int_equal(sse_put(&out, "a\nb", RM_LIT("x")), UV_EINVAL);
    assert_int_equal(sse_put(&out, NULL, RM_LIT("0123456789012345678901234567890123")),
                     RM_ERR_TOO_BIG);
    assert_string_equal(out.data, "data: kept as it was before\n\n");
    rm_buf_clear(&out);
}

int main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(test_limit), cmocka_unit_test(test_unfinished_is_bounded),
        cmocka_unit_test(test_stop),  cmocka_unit_test(test_no_copy),
        cmocka_unit_test(test_write),
    };
    struct CMUnitTest tests[RM_COUNT(rows) + RM_COUNT(others)];

    memcpy(tests, others, sizeof(others));
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[RM_COUNT(others) + i] =
            (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)(uintptr_t)&rows[i]};
    return cmocka_run_group_tests_name("sse", tests, NULL, NULL);
}
