/* SPDX-License-Identifier: MIT */
/* gateway/front/path_test.c - one row per way of typing a path. */
#include "gateway/front/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct row {
    const char *raw;
    enum path_endpoint endpoint;
    const char *mode, *rest;
} rows[] = {
    /* the plain forms */
    {"/v1/chat/completions", PATH_CHAT, "", ""},
    {"/ask/v1/chat/completions", PATH_CHAT, "ask", ""},
    {"/ask/v1/completions", PATH_COMPLETIONS, "ask", ""},
    {"/v1/models", PATH_MODELS, "", ""},
    {"/ask/v1/models", PATH_MODELS, "ask", ""},
    /* /v1 missing, doubled; slashes too many */
    {"/ask/chat/completions", PATH_CHAT, "ask", ""},
    {"/chat/completions", PATH_CHAT, "", ""},
    {"/completions", PATH_COMPLETIONS, "", ""},
    {"/ask/v1/v1/chat/completions", PATH_CHAT, "ask", ""},
    {"/v1/v1/models", PATH_MODELS, "", ""},
    {"/ask/v1/v1/v1/models", PATH_UNKNOWN, "ask", ""},
    {"//ask///v1//chat//completions//", PATH_CHAT, "ask", ""},
    {"/ask/v1/models/", PATH_MODELS, "ask", ""},
    {"/ask/v1/api/hello", PATH_HELLO, "ask", ""},
    {"/ask/v1/api/tags", PATH_LATER, "ask", ""},
    {"/ask//api/tags", PATH_LATER, "ask", ""},
    /* looking whether we are there */
    {"/", PATH_ROOT, "", ""},
    {"//", PATH_ROOT, "", ""},
    {"/v1", PATH_ROOT, "", ""},
    {"/v1/", PATH_ROOT, "", ""},
    {"/ask", PATH_ROOT, "ask", ""},
    {"/ask/v1/", PATH_ROOT, "ask", ""},
    {"/api/hello", PATH_HELLO, "", ""},
    /* a model's id may hold nearly anything */
    {"/v1/models/ask", PATH_MODELS, "", "ask"},
    {"/v1/models/org/some:model", PATH_MODELS, "", "org/some:model"},
    {"/v1/models/org%2Fsome", PATH_MODELS, "", "org%2Fsome"},
    {"/code/v1/models/a//b/", PATH_MODELS, "code", "a//b"},
    {"/v1/models/..;/admin", PATH_MODELS, "", "..;/admin"},
    /* a key in the path stands before the mode */
    {"/k/SECRET/code/v1/chat/completions", PATH_CHAT, "code", ""},
    {"/k/SECRET/v1/models", PATH_MODELS, "", ""},
    {"/k", PATH_UNKNOWN, "", ""},
    /* OpenRouter-style bases */
    {"/api/v1/chat/completions", PATH_API_V1, "", ""},
    {"/ask/api/v1/models", PATH_API_V1, "ask", ""},
    {"/api/v1", PATH_API_V1, "", ""},
    /* known families that are not served yet */
    {"/code/v1/responses", PATH_LATER, "code", ""},
    {"/v1/responses/resp_1/cancel", PATH_LATER, "", "resp_1/cancel"},
    {"/v1/messages", PATH_LATER, "", ""},
    {"/v1/messages/count_tokens", PATH_LATER, "", ""},
    {"/v1/embeddings", PATH_LATER, "", ""},
    {"/v2/rerank", PATH_LATER, "", ""},
    {"/autocomplete/infill", PATH_LATER, "autocomplete", ""},
    {"/ask/props", PATH_LATER, "ask", ""},
    /* raw bytes decide; nothing normalises into another route */
    {"/v1/../admin/x", PATH_UNKNOWN, "", ""},
    {"/v1/%2e%2e/admin", PATH_UNKNOWN, "", ""},
    {"//admin", PATH_ROOT, "admin", ""},
    {"/admin%2f", PATH_UNKNOWN, "", ""},
    {"/ADMIN", PATH_ROOT, "ADMIN", ""},
    {"/admin/.", PATH_UNKNOWN, "admin", ""},
    {"/%61dmin", PATH_UNKNOWN, "", ""},
    {"/ask/./v1/chat/completions", PATH_UNKNOWN, "ask", ""},
    {"/ask/../v1/chat/completions", PATH_UNKNOWN, "ask", ""},
    {"/ask/%76%31/chat/completions", PATH_UNKNOWN, "ask", ""},
    {"/ask/v1/chat%2Fcompletions", PATH_UNKNOWN, "ask", ""},
    {"/ask%00/v1/models", PATH_UNKNOWN, "", ""},
    {"/ask\\v1\\models", PATH_UNKNOWN, "", ""},
    {"/ask/V1/models", PATH_UNKNOWN, "ask", ""},
    {"/ask/v1/Models", PATH_UNKNOWN, "ask", ""},
    {"/caf\xc3\xa9/v1/models", PATH_UNKNOWN, "", ""},
    /* not routes */
    {"", PATH_UNKNOWN, "", ""},
    {"*", PATH_UNKNOWN, "", ""},
    {"ask/v1/models", PATH_UNKNOWN, "", ""},
    {"/ask/v1/chat", PATH_UNKNOWN, "ask", ""},
    {"/ask/v1/chat/completions/x", PATH_UNKNOWN, "ask", ""},
    {"/ask/code/v1/models", PATH_UNKNOWN, "ask", ""},
    {"/v1/smuggled", PATH_UNKNOWN, "", ""},
    {"/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q", PATH_UNKNOWN, "", ""},
};

static void test_path(void **state)
{
    const struct row *row = *state;
    struct path p;

    path_parse(rm_slice_of(row->raw), &p);
    assert_int_equal(p.endpoint, row->endpoint);
    if (row->endpoint == PATH_UNKNOWN) {
        assert_int_equal(p.methods, 0);
        return; /* its mode is not used for anything */
    }
    assert_true(rm_slice_eq(p.mode, row->mode));
    assert_true(rm_slice_eq(p.rest, row->rest));
    assert_non_null(p.route);
}

static void test_methods(void **state)
{
    struct path p;
    char allow[64];

    (void)state;
    path_parse(RM_LIT("/ask/v1/models"), &p);
    assert_true(path_takes(&p, HTTP_GET));
    assert_true(path_takes(&p, HTTP_HEAD));
    assert_false(path_takes(&p, HTTP_POST));
    assert_false(path_takes(&p, HTTP_OTHER));
    path_allow(&p, allow, sizeof(allow));
    assert_string_equal(allow, "GET, HEAD, OPTIONS");
    path_parse(RM_LIT("/ask/v1/chat/completions"), &p);
    path_allow(&p, allow, sizeof(allow));
    assert_string_equal(allow, "POST, OPTIONS");
}

static void test_nearest(void **state)
{
    static const char *const cases[][2] = {
        {"/ask/v1/chat/completion", "/v1/chat/completions"},
        {"/ask/v1/chat", "/v1/chat/completions"},
        {"/v1/complete", "/v1/completions"},
        {"/v1/model", "/v1/models"},
        {"/ask/v1/modles", "/v1/models"},
        {"/api/helo", "/api/hello"},
        {"/", "/v1/models"},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(cases); i++)
        assert_string_equal(path_nearest(rm_slice_of(cases[i][0])), cases[i][1]);
}

static void test_nearest_bounds(void **state)
{
    char *big = malloc(8192);

    (void)state;
    assert_non_null(big);
    memset(big, '/', 8192);
    assert_non_null(path_nearest((struct rm_slice){big, 8192}));
    memset(big, 'x', 8192);
    assert_non_null(path_nearest((struct rm_slice){big, 8192}));
    assert_non_null(path_nearest((struct rm_slice){NULL, 0}));
    free(big);
}

static void test_unescape(void **state)
{
    static const struct {
        const char *raw, *text; /* NULL: refused */
    } cases[] = {
        {"plain", "plain"},
        {"org%2Fsome%3a1", "org/some:1"},
        {"", ""},
        {"%", NULL},
        {"%4", NULL},
        {"%zz", NULL},
        {"%00", NULL},
        {"a%20", "a "},
        {"0123456789abcdef0", NULL},
    };
    char out[17];
    size_t n;

    (void)state;
    for (size_t i = 0; i < RM_COUNT(cases); i++) {
        int r = path_unescape(rm_slice_of(cases[i].raw), out, sizeof(out), &n);

        assert_int_equal(r, cases[i].text != NULL ? 0 : RM_ERR_FIELD);
        if (r == 0) {
            assert_string_equal(out, cases[i].text);
            assert_int_equal(n, strlen(out));
        }
    }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 4];
    size_t n = 0;

    for (; n < RM_COUNT(rows); n++)
        tests[n] = (struct CMUnitTest){rows[n].raw, test_path, NULL, NULL, (void *)&rows[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_methods);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_nearest);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_nearest_bounds);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_unescape);
    return _cmocka_run_group_tests("path", tests, n, NULL, NULL);
}
