/* SPDX-License-Identifier: MIT */
/* gateway/front/dialects/openai_models_test.c - the list of names, one entry, pages. */
#include "gateway/front/dialects/openai_models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static const char map_text[] = "version: 1\n"
                               "nodes: { n0: { address: \"127.0.0.1:7070\" } }\n"
                               "models: { qwen-7b: { source: \"/m.gguf\" } }\n"
                               "roles:\n"
                               "  code: { modes: [code, debug], model: qwen-7b, context: 64Ki }\n"
                               "  big: { modes: [architect], model: qwen-7b, context: 8Ki }\n";

static struct role_map *map_new(void)
{
    struct conf_report report;
    struct role_map *map;

    conf_report_init(&report);
    assert_int_equal(role_map_parse("m", map_text, strlen(map_text), &report, &map), 0);
    conf_report_clear(&report);
    return map;
}

static json_t *list(const struct role_map *map, const char *mode, const char *query, bool anthropic)
{
    struct models_ask ask = {map,
                             role_map_mode(map, rm_slice_of(mode)),
                             rm_slice_of(mode),
                             rm_slice_of(query),
                             anthropic,
                             1700000000,
                             NULL};
    struct rm_buf out;
    json_error_t why;
    json_t *j;

    rm_buf_init(&out, 1 << 20);
    assert_int_equal(openai_models_list(&ask, &out), 0);
    j = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, &why);
    rm_buf_clear(&out);
    assert_non_null(j);
    return j;
}

/* The ids of a list, joined by blanks. */
static void ids_of(const json_t *j, char *out, size_t n)
{
    size_t len = 0;

    out[0] = '\0';
    for (size_t i = 0; i < json_array_size(json_object_get(j, "data")); i++) {
        const json_t *e = json_array_get(json_object_get(j, "data"), i);

        len += (size_t)snprintf(out + len, n - len, "%s%s", i > 0 ? " " : "",
                                json_string_value(json_object_get(e, "id")));
    }
}

static const struct row {
    const char *name, *mode, *query, *ids;
    bool more;
} rows[] = {
    {"bare", "", "", "code debug architect big", false},
    {"a mode first, then its other names", "debug", "", "debug code qwen-7b", false},
    {"a mode that is no role", "architect", "", "architect big qwen-7b", false},
    {"a page", "", "limit=2", "code debug", true},
    {"the next page", "", "limit=2&after_id=debug", "architect big", false},
    {"a page back", "", "before_id=architect&limit=1", "debug", true},
    {"a strange limit", "", "limit=-1&x", "code debug architect big", false},
    {"a huge limit", "", "limit=99999999999999999999", "code debug architect big", false},
    {"an unknown id", "", "after_id=zzz", "code debug architect big", false},
};

static void test_list(void **state)
{
    const struct row *row = *state;
    struct role_map *map = map_new();
    json_t *j = list(map, row->mode, row->query, false);
    char ids[256];

    ids_of(j, ids, sizeof(ids));
    assert_string_equal(ids, row->ids);
    assert_int_equal(json_is_true(json_object_get(j, "has_more")), row->more);
    assert_string_equal(json_string_value(json_object_get(j, "object")), "list");
    json_decref(j);
    role_map_unref(map);
}

/* What the clients of the matrix look for. */
static void test_fields(void **state)
{
    static const char *const numbers[] = {"created",          "context_length",   "context_window",
                                          "max_model_len",    "max_input_tokens", "max_tokens",
                                          "max_output_tokens"};
    struct role_map *map = map_new();
    json_t *j = list(map, "code", "", false), *e = json_array_get(json_object_get(j, "data"), 0);

    (void)state;
    for (size_t i = 0; i < RM_COUNT(numbers); i++)
        assert_true(json_integer_value(json_object_get(e, numbers[i])) ==
                    (i == 0 ? 1700000000 : 65536));
    assert_string_equal(json_string_value(json_object_get(e, "owned_by")), "llamacpp");
    assert_string_equal(json_string_value(json_object_get(e, "created_at")),
                        "2023-11-14T22:13:20Z");
    assert_true(json_is_array(json_object_get(e, "capabilities")));
    assert_true(json_is_array(json_object_get(e, "supported_parameters")));
    json_decref(j);
    j = list(map, "code", "", true);
    e = json_array_get(json_object_get(j, "data"), 0);
    assert_true(json_is_null(json_object_get(e, "capabilities")));
    assert_string_equal(json_string_value(json_object_get(e, "lifecycle")), "active");
    json_decref(j);
    role_map_unref(map);
}

static void test_one(void **state)
{
    static const struct {
        const char *mode, *id;
        int err;
    } cases[] = {
        {"", "code", 0},
        {"", "debug", 0},
        {"", "big", 0},
        {"", "qwen-7b", 0},
        {"", "nope", RM_ERR_MODEL},
        {"code", "debug", 0},
        {"code", "qwen-7b", 0},
        {"code", "architect", RM_ERR_MODEL},
    };
    struct role_map *map = map_new();

    (void)state;
    for (size_t i = 0; i < RM_COUNT(cases); i++) {
        struct models_ask ask = {map,
                                 role_map_mode(map, rm_slice_of(cases[i].mode)),
                                 rm_slice_of(cases[i].mode),
                                 {NULL, 0},
                                 false,
                                 1,
                                 NULL};
        struct rm_buf out;

        rm_buf_init(&out, 1 << 16);
        assert_int_equal(openai_models_one(&ask, cases[i].id, &out), cases[i].err);
        if (cases[i].err == 0)
            assert_non_null(strstr(out.data, "\"object\":\"model\""));
        rm_buf_clear(&out);
    }
    role_map_unref(map);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 2];
    size_t n = 0;

    for (; n < RM_COUNT(rows); n++)
        tests[n] = (struct CMUnitTest){rows[n].name, test_list, NULL, NULL, (void *)&rows[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_fields);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_one);
    return _cmocka_run_group_tests("models", tests, n, NULL, NULL);
}
