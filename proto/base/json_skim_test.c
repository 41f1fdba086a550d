/* SPDX-License-Identifier: MIT */
/* The skimmer by table: each text whole, byte by byte and in random pieces must give the same
 * result, and acceptance must agree with jansson apart from the differences named here. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/json_skim.h"

/* Where jansson decides otherwise, and why. */
enum differs {
    SAME,
    DEPTH,     /* it allows 2048 levels */
    KEY_NUL,   /* it refuses NUL in a key */
    DEEP_TWICE /* it refuses repeated keys at any depth */
};

static const struct row {
    const char *name, *text;
    const char *error; /* NULL: accepted */
    uint32_t at;       /* of the error */
    enum differs differs;
} rows[] = {
    {"empty", "", "empty", 0, SAME},
    {"blanks only", " \t\r\n", "empty", 4, SAME},
    {"empty object", "{}", NULL, 0, SAME},
    {"blanks around", " \n{ } \r\t", NULL, 0, SAME},
    {"root array", "[1]", "the text is not an object", 0, SAME},
    {"root string", "\"x\"", "the text is not an object", 0, SAME},
    {"byte order mark", "\xef\xbb\xbf{}", "a byte order mark", 0, SAME},
    {"text after", "{} x", "text after the object", 3, SAME},
    {"second object", "{}{}", "text after the object", 2, SAME},
    {"unfinished", "{\"a\":1", "the text ends too early", 6, SAME},
    {"unfinished string", "{\"a", "the text ends too early", 3, SAME},
    {"member", "{\"a\":1}", NULL, 0, SAME},
    {"comma first", "{,\"a\":1}", "a key or '}' was expected", 1, SAME},
    {"comma last", "{\"a\":1,}", "a key was expected", 7, SAME},
    {"comma last in array", "{\"a\":[1,]}", "a value was expected", 8, SAME},
    {"no comma", "{\"a\":1 \"b\":2}", "',' or '}' was expected", 7, SAME},
    {"no comma in array", "{\"a\":[1 2]}", "',' or ']' was expected", 8, SAME},
    {"no colon", "{\"a\" 1}", "':' was expected", 5, SAME},
    {"no value", "{\"a\":}", "a value was expected", 5, SAME},
    {"key without quotes", "{a:1}", "a key or '}' was expected", 1, SAME},
    {"single quotes", "{'a':1}", "a key or '}' was expected", 1, SAME},
    {"wrong bracket", "{\"a\":[1}", "',' or ']' was expected", 7, SAME},
    {"wrong brace", "{\"a\":{\"b\":1]}", "',' or '}' was expected", 11, SAME},
    {"comment", "{/**/}", "a key or '}' was expected", 1, SAME},
    {"literals", "{\"a\":[true,false,null]}", NULL, 0, SAME},
    {"literal cut", "{\"a\":tru}", "a value was expected", 8, SAME},
    {"literal longer", "{\"a\":nulll}", "',' or '}' was expected", 9, SAME},
    {"capital literal", "{\"a\":True}", "a value was expected", 5, SAME},
    {"NaN", "{\"a\":NaN}", "a value was expected", 5, SAME},
    {"Infinity", "{\"a\":-Infinity}", "a digit was expected", 6, SAME},
    {"numbers", "{\"a\":[0,-0,12,-1.5,0.01e-7,1E+2,2e3]}", NULL, 0, SAME},
    {"leading zero", "{\"a\":01}", "a number with a leading zero", 6, SAME},
    {"leading plus", "{\"a\":+1}", "a value was expected", 5, SAME},
    {"leading dot", "{\"a\":.5}", "a value was expected", 5, SAME},
    {"minus alone", "{\"a\":-}", "a digit was expected", 6, SAME},
    {"dot last", "{\"a\":1.}", "a digit was expected", 7, SAME},
    {"exponent empty", "{\"a\":1e}", "a digit was expected", 7, SAME},
    {"exponent sign only", "{\"a\":1e+}", "a digit was expected", 8, SAME},
    {"hexadecimal number", "{\"a\":0x10}", "',' or '}' was expected", 6, SAME},
    {"greatest double", "{\"a\":1.7976931348623157e308}", NULL, 0, SAME},
    {"rounds down to it", "{\"a\":-1.79769313486231580e308}", NULL, 0, SAME},
    {"one step above", "{\"a\":1.7976931348623159e308}", "a number that does not fit a double", 27,
     SAME},
    {"1e308", "{\"a\":1e308}", NULL, 0, SAME},
    {"2e308", "{\"a\":2e308}", "a number that does not fit a double", 10, SAME},
    {"1e999", "{\"a\":1e999}", "a number that does not fit a double", 10, SAME},
    {"exponent of many digits", "{\"a\":1e99999999999999999999}",
     "a number that does not fit a double", 27, SAME},
    {"tiny is zero", "{\"a\":1e-99999999999999999999}", NULL, 0, SAME},
    {"zero with exponent", "{\"a\":0e99999}", NULL, 0, SAME},
    {"small times large", "{\"a\":0.000001e314}", NULL, 0, SAME},
    {"large times small", "{\"a\":[1000000e-400,123456e302,223456e303]}",
     "a number that does not fit a double", 40, SAME},
    {"escapes", "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"}", NULL, 0, SAME},
    {"unknown escape", "{\"a\":\"\\x\"}", "an unknown escape", 7, SAME},
    {"short hex", "{\"a\":\"\\u12g4\"}", "four hexadecimal digits were expected", 10, SAME},
    {"pair", "{\"a\":\"\\ud83d\\ude00\"}", NULL, 0, SAME},
    {"first half alone", "{\"a\":\"\\ud83d\"}", "half a surrogate pair", 12, SAME},
    {"first half, other escape", "{\"a\":\"\\ud83d\\n\"}", "half a surrogate pair", 13, SAME},
    {"first half twice", "{\"a\":\"\\ud83d\\ud83d\"}", "half a surrogate pair", 17, SAME},
    {"second half alone", "{\"a\":\"\\ude00\"}", "half a surrogate pair", 11, SAME},
    {"newline in string", "{\"a\":\"x\ny\"}", "a control byte in a string", 7, SAME},
    {"escaped NUL", "{\"a\":\"\\u0000\"}", NULL, 0, SAME},
    {"escaped NUL in key", "{\"\\u0000\":1}", NULL, 0, KEY_NUL},
    {"UTF-8 of 2, 3, 4", "{\"a\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}", NULL, 0, SAME},
    {"bad first byte", "{\"a\":\"\xff\"}", "not UTF-8", 6, SAME},
    {"continuation alone", "{\"a\":\"x\x80\"}", "not UTF-8", 7, SAME},
    {"overlong 2", "{\"a\":\"\xc0\xaf\"}", "not UTF-8", 6, SAME},
    {"overlong 3", "{\"a\":\"\xe0\x80\xaf\"}", "not UTF-8", 7, SAME},
    {"overlong 4", "{\"a\":\"\xf0\x80\x80\xaf\"}", "not UTF-8", 7, SAME},
    {"surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "not UTF-8", 7, SAME},
    {"above U+10FFFF", "{\"a\":\"\xf4\x90\x80\x80\"}", "not UTF-8", 7, SAME},
    {"cut by the quote", "{\"a\":\"\xe2\x82\"}", "not UTF-8", 8, SAME},
    {"UTF-8 outside strings", "{\xc2\xa0}", "a key or '}' was expected", 1, SAME},
    {"bad UTF-8 in key", "{\"\xff\":1}", "not UTF-8", 2, SAME},
    {"key twice", "{\"a\":1,\"a\":2}", "the same key twice", 9, SAME},
    {"key twice, escaped", "{\"model\":1,\"mod\\u0065l\":2}", "the same key twice", 22, SAME},
    {"key twice, pair", "{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":2}", "the same key twice", 23,
     SAME},
    {"key twice further down", "{\"a\":{\"b\":1,\"b\":2}}", NULL, 0, DEEP_TWICE},
    {"empty keys", "{\"\":1,\" \":2}", NULL, 0, SAME},
    {"empty key twice", "{\"\":1,\"\":2}", "the same key twice", 7, SAME},
    {"depth 64",
     "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
     "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
     NULL, 0, SAME},
    {"depth 65",
     "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
     "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
     "nested more than 64 deep", 68, DEPTH},
    {"mixed nesting", "{\"a\":[{\"b\":[{}]},[]],\"c\":{\"d\":{}}}", NULL, 0, SAME},
};

/* Feeds text in pieces of at most `most` bytes (0: whole), their sizes from seed. */
static int feed_pieces(struct rm_skim *s, const char *text, size_t n, size_t most, unsigned seed)
{
    int r = 0;

    for (size_t i = 0, k; i < n && r == 0; i += k) {
        char *piece; /* of its own, so that a sanitizer sees a read past its end */

        seed = seed * 1103515245u + 12345u;
        k = most == 0 ? n : most == 1 ? 1 : 1 + (seed >> 16) % most;
        if (k > n - i)
            k = n - i;
        piece = malloc(k);
        assert_non_null(piece);
        memcpy(piece, text + i, k);
        r = rm_skim_feed(s, piece, k);
        free(piece);
    }
    return r < 0 ? r : rm_skim_end(s);
}

static void check_row(const struct row *row, struct rm_skim *s, int r)
{
    if (row->error == NULL) {
        if (r != 0)
            print_message("%s at %u\n", s->error_text, s->error_offset);
        assert_int_equal(r, 0);
        assert_null(s->error_text);
        return;
    }
    assert_int_equal(r, RM_ERR_JSON);
    assert_string_equal(s->error_text, row->error);
    assert_int_equal(s->error_offset, row->at);
    assert_int_equal(rm_skim_feed(s, "{}", 2), RM_ERR_JSON);
    assert_int_equal(rm_skim_end(s), RM_ERR_JSON);
}

static void run_row(void **state)
{
    const struct row *row = *state;
    size_t n = strlen(row->text);
    size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL;
    struct rm_skim s;
    json_t *tree;

    rm_skim_init(&s);
    check_row(row, &s, feed_pieces(&s, row->text, n, 0, 0));
    rm_skim_reset(&s);
    check_row(row, &s, feed_pieces(&s, row->text, n, 1, 0));
    for (unsigned seed = 1; seed <= 20; seed++) {
        rm_skim_reset(&s);
        check_row(row, &s, feed_pieces(&s, row->text, n, 7, seed));
    }
    rm_skim_clear(&s);
    tree = json_loadb(row->text, n, flags, NULL);
    if (json_is_object(tree) != (row->error == NULL))
        assert_int_not_equal(row->differs, SAME);
    else
        assert_int_equal(row->differs, SAME);
    json_decref(tree);
}

/* ---- results ---- */

static void assert_span(struct rm_slice body, struct rm_span span, const char *want)
{
    struct rm_slice got = rm_span_of(body, span);

    assert_int_equal(got.n, strlen(want));
    assert_memory_equal(got.p, want, got.n);
}

static const char *const chat =
    "{ \"model\" : \"ask\", \"messages\":[ {\"role\":\"user\",\"content\":\"a]\\\"}\"} , 7,[] ,"
    "\"x\"],\"str\\u0065am\":true,\"n\":1 ,\"input\":[\"\xe2\x82\xac\"],\"stop\":null,"
    "\"top_p\":-0.5e1,\"tools\":{\"messages\":[1,2]},\"echo\":false\n}";

static void spans_of(struct rm_skim *s, struct rm_slice body)
{
    static const struct {
        const char *name, *value;
        enum rm_json_type type;
    } want[] = {
        {"model", "\"ask\"", RM_JSON_STRING},
        {"messages", "[ {\"role\":\"user\",\"content\":\"a]\\\"}\"} , 7,[] ,\"x\"]", RM_JSON_ARRAY},
        {"stream", "true", RM_JSON_TRUE},
        {"n", "1", RM_JSON_NUMBER},
        {"input", "[\"\xe2\x82\xac\"]", RM_JSON_ARRAY},
        {"stop", "null", RM_JSON_NULL},
        {"top_p", "-0.5e1", RM_JSON_NUMBER},
        {"tools", "{\"messages\":[1,2]}", RM_JSON_OBJECT},
        {"echo", "false", RM_JSON_FALSE},
    };

    assert_int_equal(s->n_members, RM_COUNT(want));
    for (size_t i = 0; i < RM_COUNT(want); i++) {
        const struct rm_json_member *m = rm_skim_member(s, body, want[i].name);

        assert_ptr_equal(m, &s->members[i]);
        assert_int_equal(m->type, want[i].type);
        assert_span(body, m->value, want[i].value);
    }
    assert_span(body, s->members[2].key, "\"str\\u0065am\"");
    assert_null(rm_skim_member(s, body, "mode"));
    assert_null(rm_skim_member(s, body, "modell"));
    assert_int_equal(s->messages.n, 4);
    assert_int_equal(s->messages.total, 4);
    assert_span(body, s->messages.v[0], "{\"role\":\"user\",\"content\":\"a]\\\"}\"}");
    assert_span(body, s->messages.v[1], "7");
    assert_span(body, s->messages.v[2], "[]");
    assert_span(body, s->messages.v[3], "\"x\"");
    assert_int_equal(s->input.n, 1);
    assert_span(body, s->input.v[0], "\"\xe2\x82\xac\"");
}

static void test_members_and_items(void **state)
{
    struct rm_slice body = rm_slice_of(chat);
    struct rm_skim s;

    (void)state;
    rm_skim_init(&s);
    for (unsigned seed = 0; seed < 200; seed++) {
        assert_int_equal(feed_pieces(&s, body.p, body.n, seed % 12, seed), 0);
        spans_of(&s, body);
        rm_skim_reset(&s);
    }
    assert_int_equal(rm_json_check(RM_LIT("{\"messages\":[],\"input\":3}"), &s), 0);
    assert_int_equal(s.messages.n, 0);
    assert_int_equal(s.input.n, 0);
    assert_int_equal(s.n_members, 2);
    assert_int_equal(rm_json_check(body, &s), 0);
    spans_of(&s, body);
    rm_skim_clear(&s);
}

static void test_many_members(void **state)
{
    struct rm_skim s;
    struct rm_buf b;

    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        rm_buf_init(&b, 1 << 20);
        rm_skim_init(&s);
        for (int i = 0; i < RM_SKIM_MEMBERS + extra; i++)
            assert_int_equal(rm_buf_printf(&b, "%s\"k%d\":%d", i == 0 ? "{" : ",", i, i), 0);
        assert_int_equal(rm_buf_puts(&b, "}"), 0);
        assert_int_equal(rm_json_check((struct rm_slice){b.data, b.len}, &s),
                         extra ? RM_ERR_JSON : 0);
        assert_int_equal(s.n_members, RM_SKIM_MEMBERS);
        rm_skim_clear(&s);
        rm_buf_clear(&b);
    }
}

static void test_many_items(void **state)
{
    struct rm_skim s;
    struct rm_buf b;
    struct rm_slice body;

    (void)state;
    rm_buf_init(&b, 4 << 20);
    rm_skim_init(&s);
    assert_int_equal(rm_buf_puts(&b, "{\"input\":[0"), 0);
    for (int i = 1; i < RM_SKIM_ITEMS + 5; i++)
        assert_int_equal(rm_buf_printf(&b, ",%d", i), 0);
    assert_int_equal(rm_buf_puts(&b, "]}"), 0);
    body = (struct rm_slice){b.data, b.len};
    assert_int_equal(rm_json_check(body, &s), 0);
    assert_int_equal(s.input.n, RM_SKIM_ITEMS);
    assert_int_equal(s.input.total, RM_SKIM_ITEMS + 5);
    assert_span(body, s.input.v[RM_SKIM_ITEMS - 1], "65535");
    rm_skim_clear(&s);
    rm_buf_clear(&b);
}

/* Every place where a special byte can stand relative to the eight-byte steps. */
static void test_string_alignment(void **state)
{
    static const char *const specials[] = {"\\n", "\x01", "\"", "\x80", "\xc3\xa9", "\x1f"};
    char text[128];
    struct rm_skim s;

    (void)state;
    rm_skim_init(&s);
    for (size_t k = 0; k < RM_COUNT(specials); k++)
        for (int before = 0; before < 70; before++) {
            int n = snprintf(text, sizeof(text), "{\"a\":\"%.*s%s!\x7f~\"}", before,
                             "abcdefgh !#[]^_{|}~0123456789abcdefgh !#[]^_{|}~0123456789"
                             "abcdefghijklmnop",
                             specials[k]);
            bool good = k == 0 || k == 4;
            int r = rm_json_check((struct rm_slice){text, (size_t)n}, &s);

            assert_int_equal(r, good ? 0 : RM_ERR_JSON);
            if (!good)
                assert_int_equal(s.error_offset, 6 + before + (k == 2));
        }
    rm_skim_clear(&s);
}

/* ---- values ---- */

static void test_unquote(void **state)
{
    static const struct {
        const char *raw, *text; /* NULL: refused */
    } cases[] = {
        {"\"\"", ""},
        {"\"plain\"", "plain"},
        {"\"a\\n\\\"\\/\\\\\\u0041\\u00e9\\u20AC\"", "a\n\"/\\A\xc3\xa9\xe2\x82\xac"},
        {"\"\\ud83d\\uDE00!\"", "\xf0\x9f\x98\x80!"},
        {"\"\xe2\x82\xac\"", "\xe2\x82\xac"},
        {"\"\\ud83d\"", NULL},
        {"\"\\ude00\"", NULL},
        {"\"\\ud83dx\\ude00\"", NULL},
        {"\"\\u12\"", NULL},
        {"\"\\\"", NULL},
        {"\"\\q\"", NULL},
        {"\"a\"b\"", NULL},
        {"\"\n\"", NULL},
        {"\"\xff\"", NULL},
        {"\"", NULL},
        {"", NULL},
        {"x", NULL},
        {"\"x", NULL},
    };
    struct rm_buf out;

    (void)state;
    for (size_t i = 0; i < RM_COUNT(cases); i++) {
        struct rm_slice raw = rm_slice_of(cases[i].raw);

        rm_buf_init(&out, 64);
        assert_int_equal(rm_json_unquote(raw, &out), cases[i].text != NULL ? 0 : RM_ERR_JSON);
        if (cases[i].text != NULL) {
            assert_int_equal(out.len, strlen(cases[i].text));
            assert_memory_equal(out.data != NULL ? out.data : "", cases[i].text, out.len);
            assert_true(rm_json_string_eq(raw, cases[i].text));
        }
        assert_false(rm_json_string_eq(raw, "other"));
        rm_buf_clear(&out);
    }
    rm_buf_init(&out, 4);
    assert_int_equal(rm_json_unquote(RM_LIT("\"12345\""), &out), RM_ERR_TOO_BIG);
    rm_buf_clear(&out);
    assert_false(rm_json_string_eq(RM_LIT("\"\\u0000\""), ""));
    assert_false(rm_json_string_eq(RM_LIT("\"a\\u0000b\""), "a"));
}

static void test_numbers(void **state)
{
    static const struct {
        const char *raw;
        int r_int, r_dbl;
        int64_t i;
        double d;
    } cases[] = {
        {"0", 0, 0, 0, 0},
        {"-12", 0, 0, -12, -12},
        {"5.0", 0, 0, 5, 5},
        {"1e3", 0, 0, 1000, 1000},
        {"1.5", RM_ERR_FIELD, 0, 0, 1.5},
        {"-2.5e-3", RM_ERR_FIELD, 0, 0, -0.0025},
        {"9223372036854775807", 0, 0, INT64_MAX, 9223372036854775807.0},
        {"9223372036854775808", RM_ERR_FIELD, 0, 0, 9223372036854775808.0},
        {"-9223372036854775808", 0, 0, INT64_MIN, -9223372036854775808.0},
        {"100000000000000000000000000", RM_ERR_FIELD, 0, 0, 1e26},
        {"1e300", RM_ERR_FIELD, 0, 0, 1e300},
        {"1e999", RM_ERR_FIELD, RM_ERR_FIELD, 0, 0},
        {"0.00000000000000000000000000000000000000000000000000000000000000000001e68", 0, 0, 1, 1},
        {"", RM_ERR_JSON, RM_ERR_JSON, 0, 0},
        {"-", RM_ERR_JSON, RM_ERR_JSON, 0, 0},
        {"01", RM_ERR_JSON, RM_ERR_JSON, 0, 0},
        {"1.", RM_ERR_JSON, RM_ERR_JSON, 0, 0},
        {"1e", RM_ERR_JSON, RM_ERR_JSON, 0, 0},
        {"0x10", RM_ERR_JSON, RM_ERR_JSON, 0, 0},
        {" 1", RM_ERR_JSON, RM_ERR_JSON, 0, 0},
        {"\"1\"", RM_ERR_JSON, RM_ERR_JSON, 0, 0},
        {"nan", RM_ERR_JSON, RM_ERR_JSON, 0, 0},
    };

    (void)state;
    for (size_t k = 0; k < RM_COUNT(cases); k++) {
        struct rm_slice raw = rm_slice_of(cases[k].raw);
        int64_t i = 0;
        double d = 0;

        assert_int_equal(rm_json_int(raw, &i), cases[k].r_int);
        assert_int_equal(rm_json_dbl(raw, &d), cases[k].r_dbl);
        if (cases[k].r_int == 0)
            assert_int_equal(i, cases[k].i);
        if (cases[k].r_dbl == 0)
            assert_true(d == cases[k].d);
    }
}

int main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(test_members_and_items), cmocka_unit_test(test_many_members),
        cmocka_unit_test(test_many_items),        cmocka_unit_test(test_string_alignment),
        cmocka_unit_test(test_unquote),           cmocka_unit_test(test_numbers),
    };
    struct CMUnitTest tests[RM_COUNT(rows) + RM_COUNT(others)];

    memcpy(tests, others, sizeof(others));
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[RM_COUNT(others) + i] =
            (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)(uintptr_t)&rows[i]};
    return cmocka_run_group_tests_name("json_skim", tests, NULL, NULL);
}
