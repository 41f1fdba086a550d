/* SPDX-License-Identifier: MIT */
/* gateway/front/dialects/openai_answer_test.c - streams and whole answers from good and bad
 * workers, each stream whole, byte by byte and torn at random. */
#include "gateway/front/dialects/openai.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define C(text) "{\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}"
#define A(text) "{\"model\":\"ask\",\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}"
#define D(json) "data: " json "\n\n"
#define END     "data: [DONE]\n\n"
#define U       "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}"

static const struct row {
    const char *name, *in;
    bool include_usage;
    const char *out;
    int err;
    bool done, failed;
    uint32_t completion; /* tokens as told */
} rows[] = {
    {"passes", D(A("a")) D(A("b")) END, false, D(A("a")) D(A("b")) END, 0, true, false, 0},
    {"model as asked", D(C("a")) END, false, D(A("a")) END, 0, true, false, 0},
    {"comments stay here", ": ping\n\n" D(A("a")) ":\n\n" END, false, D(A("a")) END, 0, true, false,
     0},
    {"a comment inside a frame", ": x\ndata: " A("a") "\n\n" END, false, D(A("a")) END, 0, true,
     false, 0},
    {"event, id and retry lines", "event: message\nid: 7\nretry: 1\ndata: " A("a") "\n\n" END,
     false, D(A("a")) END, 0, true, false, 0},
    {"CRLF", "data: " A("a") "\r\n\r\ndata: [DONE]\r\n\r\n", false, D(A("a")) END, 0, true, false,
     0},
    {"no blank after the colon", "data:" A("a") "\n\ndata:[DONE]\n\n", false, D(A("a")) END, 0,
     true, false, 0},
    {"JSON over two lines", "data: {\"model\":\"ask\",\ndata: \"choices\":[]}\n\n" END, false,
     D("{\"model\":\"ask\", \"choices\":[]}") END, 0, true, false, 0},
    {"a trailing blank behind the end", D(A("a")) "data: [DONE] \n\n", false, D(A("a")) END, 0,
     true, false, 0},
    {"empty data", "data:\n\ndata: \n\n" D(A("a")) END, false, D(A("a")) END, 0, true, false, 0},
    {"late data (R25)", END D(A("late")), false, END, 0, true, false, 0},
    {"two ends", D(A("a")) END END, false, D(A("a")) END, 0, true, false, 0},
    {"cut short", D(A("a")) "data: {\"cho", false, D(A("a")), 0, false, false, 0},
    {"an engine's own event", D("{\"type\":\"ping\"}") D(A("a")) END, false, D(A("a")) END, 0, true,
     false, 0},
    {"error object (R25)", D("{\"error\":{\"message\":\"x\"}}") D(A("late")) END, false,
     D("{\"error\":{\"message\":\"x\"}}"), 0, false, true, 0},
    {"error as text", D(A("a")) D("{\"error\":\"boom\"}"), false,
     D(A("a")) D("{\"error\":{\"message\":\"boom\",\"type\":\"server_error\",\"param\":null,"
                 "\"code\":\"upstream_error\"}}"),
     0, false, true, 0},
    {"error null is none", D("{\"error\":null,\"choices\":[]}") END, false,
     D("{\"error\":null,\"choices\":[]}") END, 0, true, false, 0},
    /* R23 */
    {"half an object", D(A("a")) "data: {\"choices\":[\n\n", false, D(A("a")),
     RM_ERR_UPSTREAM_INVALID, false, false, 0},
    {"not UTF-8", "data: \xff\n\n", false, "", RM_ERR_UPSTREAM_INVALID, false, false, 0},
    {"not UTF-8 in a string", D("{\"choices\":[],\"x\":\"\xff\"}"), false, "",
     RM_ERR_UPSTREAM_INVALID, false, false, 0},
    {"choices as text", D(A("a")) D("{\"choices\":\"x\"}") D(A("b")), false, D(A("a")),
     RM_ERR_UPSTREAM_INVALID, false, false, 0},
    {"an array", D("[]"), false, "", RM_ERR_UPSTREAM_INVALID, false, false, 0},
    {"text", D("hello"), false, "", RM_ERR_UPSTREAM_INVALID, false, false, 0},
    /* usage: only when asked for, only last */
    {"usage unasked", D(A("a")) D("{\"choices\":[]," U "}") END, false, D(A("a")) END, 0, true,
     false, 2},
    {"usage asked for", D(A("a")) D("{\"choices\":[]," U "}") END, true,
     D(A("a")) D("{\"choices\":[]," U "}") END, 0, true, false, 2},
    {"usage on a part, unasked", D("{\"choices\":[{}]," U ",\"x\":1}") END, false,
     D("{\"choices\":[{}],\"x\":1}") END, 0, true, false, 2},
    {"usage first, on a part", D("{" U ",\"choices\":[{}]}") END, false,
     D("{\"choices\":[{}]}") END, 0, true, false, 2},
    {"usage on a part, asked for", D("{\"model\":\"m\",\"choices\":[{}]," U "}") END, true,
     D("{\"model\":\"ask\",\"choices\":[{}]}") D("{\"model\":\"ask\",\"choices\":[]," U "}") END, 0,
     true, false, 2},
    {"usage on a part and last", D("{\"choices\":[{}]," U "}") D("{\"choices\":[]," U "}") END,
     true, D("{\"choices\":[{}]}") D("{\"choices\":[]," U "}") END, 0, true, false, 2},
    {"usage null", D("{\"choices\":[{}],\"usage\":null}") END, true,
     D("{\"choices\":[{}],\"usage\":null}") END, 0, true, false, 0},
    {"usage lies (R29)",
     D("{\"choices\":[],\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":1e300}}") END, true,
     D("{\"choices\":[],\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":1e300}}") END, 0,
     true, false, 0},
    {"timings",
     D("{\"choices\":[{}],\"timings\":{\"prompt_n\":3,\"cache_n\":4,\"predicted_n\":5}}") END,
     false,
     D("{\"choices\":[{}],\"timings\":{\"prompt_n\":3,\"cache_n\":4,\"predicted_n\":5}}") END, 0,
     true, false, 5},
};

/* A sink that keeps what it is given, by reference until flush as the real one does. */
struct sink {
    struct rm_slice held[64];
    size_t n;
    struct rm_buf out;
};

static int sink_flush(void *arg)
{
    struct sink *s = arg;

    for (size_t i = 0; i < s->n; i++)
        assert_int_equal(rm_buf_put(&s->out, s->held[i].p, s->held[i].n), 0);
    s->n = 0;
    return 0;
}

static int sink_put(void *arg, struct rm_slice piece)
{
    struct sink *s = arg;

    if (s->n == RM_COUNT(s->held))
        sink_flush(s);
    s->held[s->n++] = piece;
    return 0;
}

/* Feeds pieces of at most step bytes (0: random lengths), each in memory of its own that goes when
 * the feed returns and the sink is flushed. */
static int feed(struct dialect_stream *s, const char *in, size_t len, size_t step,
                struct sink *sink)
{
    struct dialect_sink to = {sink_put, sink_flush, sink};
    struct rm_skim scratch;
    size_t at = 0;
    int r = 0;

    rm_skim_init(&scratch);
    while (at < len && r == 0) {
        size_t n = step > 0 ? step : 1 + (size_t)rand() % 40;
        char *piece;

        n = n < len - at ? n : len - at;
        piece = malloc(n);
        assert_non_null(piece);
        memcpy(piece, in + at, n);
        r = openai_stream_feed(s, piece, n, &scratch, &to);
        sink_flush(sink);
        memset(piece, '#', n);
        free(piece);
        at += n;
    }
    rm_skim_clear(&scratch);
    return r;
}

static void run_row(const struct row *row, size_t step)
{
    struct dialect_ask ask = {.stream = true, .include_usage = row->include_usage};
    struct dialect_stream *s = openai_stream_open(&ask, RM_LIT("\"ask\""));
    const struct dialect_progress *p = openai_stream_progress(s);
    struct sink sink = {.n = 0};

    rm_buf_init(&sink.out, 1 << 20);
    assert_int_equal(feed(s, row->in, strlen(row->in), step, &sink), row->err);
    assert_string_equal(sink.out.data != NULL ? sink.out.data : "", row->out);
    assert_int_equal(p->done, row->done);
    assert_int_equal(p->failed, row->failed);
    assert_int_equal(p->usage.completion_tokens, row->completion);
    assert_int_equal(p->answered, strncmp(row->out, "data: {", 7) == 0);
    rm_buf_clear(&sink.out);
    openai_stream_close(s);
}

static void test_stream(void **state)
{
    const struct row *row = *state;

    run_row(row, 1 << 20);
    run_row(row, 1);
    srand(1);
    for (int i = 0; i < 50; i++)
        run_row(row, 0);
}

static void test_nul_and_huge(void **state)
{
    static const char nul[] = "data: a\0b\n\n";
    struct dialect_ask ask = {.stream = true};
    struct dialect_stream *s = openai_stream_open(&ask, RM_LIT("\"ask\""));
    struct sink sink = {.n = 0};
    size_t big = 1100000;
    char *huge = malloc(big + 6);

    (void)state;
    rm_buf_init(&sink.out, 1 << 20);
    assert_int_equal(feed(s, nul, sizeof(nul) - 1, 4, &sink), RM_ERR_UPSTREAM_INVALID);
    openai_stream_close(s);
    s = openai_stream_open(&ask, RM_LIT("\"ask\""));
    assert_non_null(huge);
    memcpy(huge, "data: ", 6);
    memset(huge + 6, 'x', big);
    assert_int_equal(feed(s, huge, big + 6, 16384, &sink), RM_ERR_UPSTREAM_INVALID);
    assert_int_equal(sink.out.len, 0);
    free(huge);
    rm_buf_clear(&sink.out);
    openai_stream_close(s);
}

/* True when text is nothing but frames of one JSON object each, the end mark last if at all. */
static bool frames_are_good(const char *text, struct rm_skim *skim)
{
    while (*text != '\0') {
        const char *end = strstr(text, "\n\n");
        struct rm_slice data;

        if (strncmp(text, "data: ", 6) != 0 || end == NULL)
            return false;
        data = (struct rm_slice){text + 6, (size_t)(end - text - 6)};
        text = end + 2;
        if (rm_slice_eq(data, "[DONE]"))
            return *text == '\0';
        if (memchr(data.p, '\n', data.n) != NULL || rm_json_check(data, skim) < 0)
            return false;
    }
    return true;
}

/* Whatever a worker sends, however it is torn: the same comes out, and it is good frames. */
static void test_mutations(void **state)
{
    static const char good[] = ": ping\n\n" D(
        C("a")) "event: x\r\ndata: {\"choices\":[]," U "}\r\n\r\n" D("{\"choices\":[{}]," U "}")
        D("{\"error\":{\"message\":\"x\"}}") "data: {\"choices\":\ndata: []}\n\n" END;
    static const char bytes[] = "\n\r\0:{}[]\",x \xff\xc3"
                                "d";
    struct rm_skim skim;

    (void)state;
    rm_skim_init(&skim);
    srand(7);
    for (int round = 0; round < 10000; round++) {
        char text[sizeof(good)];
        struct sink out[2] = {{.n = 0}, {.n = 0}};
        int err[2];

        memcpy(text, good, sizeof(good));
        for (int k = rand() % 4; k >= 0; k--) {
            size_t at = (size_t)rand() % (sizeof(good) - 1), n = (size_t)rand() % 30;

            if (rand() % 3 > 0)
                text[at] = bytes[(size_t)rand() % (sizeof(bytes) - 1)];
            else if (at + n < sizeof(good) - 1) /* a part twice, another lost */
                memmove(text + at, text + (size_t)rand() % (sizeof(good) - 1 - n), n);
        }
        for (int i = 0; i < 2; i++) {
            struct dialect_ask ask = {.stream = true, .include_usage = round % 2 == 0};
            struct dialect_stream *s = openai_stream_open(&ask, RM_LIT("\"ask\""));

            rm_buf_init(&out[i].out, 1 << 16);
            err[i] = feed(s, text, sizeof(good) - 1, i == 0 ? sizeof(good) : 0, &out[i]);
            assert_true(openai_stream_progress(s)->usage.completion_tokens < 1000000000);
            openai_stream_close(s);
        }
        assert_int_equal(err[0], err[1]);
        assert_int_equal(out[0].out.len, out[1].out.len);
        if (out[0].out.len > 0) {
            assert_memory_equal(out[0].out.data, out[1].out.data, out[0].out.len);
            if (!frames_are_good(out[0].out.data, &skim))
                fail_msg("round %d: %s", round, out[0].out.data);
        }
        rm_buf_clear(&out[0].out);
        rm_buf_clear(&out[1].out);
    }
    rm_skim_clear(&skim);
}

static void test_whole(void **state)
{
    static const struct {
        const char *body;
        int err;
        const char *out;
        uint32_t completion;
    } cases[] = {
        {"{\"model\":\"m\",\"choices\":[]," U "}", 0, "{\"model\":\"ask\",\"choices\":[]," U "}",
         2},
        {"{\"choices\":[{}],\"model\":\"ask\"}", 0, "{\"choices\":[{}],\"model\":\"ask\"}", 0},
        {"{\"usage\":{\"total_tokens\":-5}}", 0, "{\"usage\":{\"total_tokens\":-5}}", 0},
        {"{\"usage\":{\"completion_tokens\":1e300}}", 0,
         "{\"usage\":{\"completion_tokens\":1e300}}", 0},
        {"{\"usage\":\"x\"}", 0, "{\"usage\":\"x\"}", 0},
        {"", RM_ERR_UPSTREAM_INVALID, NULL, 0},
        {"<html>", RM_ERR_UPSTREAM_INVALID, NULL, 0},
        {"[]", RM_ERR_UPSTREAM_INVALID, NULL, 0},
        {"{\"error\":{\"a\":1}}", RM_ERR_UPSTREAM_INVALID, NULL, 0},
        {"{\"choices\":{}}", RM_ERR_UPSTREAM_INVALID, NULL, 0},
        {"{\"choices\":[]", RM_ERR_UPSTREAM_INVALID, NULL, 0},
    };
    struct dialect_ask ask = {.stream = false};
    struct rm_skim scratch;

    (void)state;
    rm_skim_init(&scratch);
    for (size_t i = 0; i < RM_COUNT(cases); i++) {
        struct rm_slice pieces[DIALECT_PIECES_MAX];
        struct route_usage usage = {0};
        size_t n = 0;
        struct rm_buf out;
        int r = openai_whole(&ask, rm_slice_of(cases[i].body), RM_LIT("\"ask\""), &scratch, pieces,
                             &n, &usage);

        assert_int_equal(r, cases[i].err);
        if (r < 0)
            continue;
        rm_buf_init(&out, 4096);
        for (size_t k = 0; k < n; k++)
            rm_buf_put(&out, pieces[k].p, pieces[k].n);
        assert_string_equal(out.data, cases[i].out);
        assert_int_equal(usage.completion_tokens, cases[i].completion);
        rm_buf_clear(&out);
    }
    rm_skim_clear(&scratch);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 3];
    size_t n = 0;

    for (; n < RM_COUNT(rows); n++)
        tests[n] = (struct CMUnitTest){rows[n].name, test_stream, NULL, NULL, (void *)&rows[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_nul_and_huge);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_mutations);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_whole);
    return _cmocka_run_group_tests("openai_answer", tests, n, NULL, NULL);
}
