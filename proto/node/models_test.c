/* SPDX-License-Identifier: MIT */
/* proto/node/models_test.c - a node's list of files, read: whole, hostile, wrong. */
#include "proto/node/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void a_list(void **state)
{
    struct node_models m;
    char why[128];

    (void)state;
    assert_int_equal(
        node_models_decode(
            RM_LIT(
                "{\"dir\":\"/m\",\"truncated\":true,\"models\":[{\"path\":\"a/b.gguf\",\"bytes\":"
                "12,\"mtime\":-5,\"files\":2,\"model_hash\":\"ab\"},{\"path\":\"\\u001b[2J\\n"
                "<script>\\\"'.gguf\",\"bytes\":1,\"files\":1,\"model_hash\":\"\"}]}"),
            &m, why),
        0);
    assert_string_equal(m.dir, "/m");
    assert_true(m.truncated && m.n == 2);
    assert_string_equal(m.v[0].path, "a/b.gguf");
    assert_true(m.v[0].bytes == 12 && m.v[0].files == 2);
    assert_string_equal(m.v[0].model_hash, "ab");
    assert_string_equal(m.v[1].path, "\033[2J\n<script>\"'.gguf");
    node_models_clear(&m);
    assert_null(m.v);
    assert_int_equal(node_models_decode(RM_LIT("{\"dir\":\"/m\",\"models\":[]}"), &m, why), 0);
    assert_true(m.n == 0 && !m.truncated);
}

static void mistakes(void **state)
{
    static const struct {
        const char *json, *why;
    } rows[] = {
        {"[]", ""},
        {"{}", "dir: expected a path"},
        {"{\"dir\":7,\"models\":[]}", "dir: expected a path"},
        {"{\"dir\":\"\",\"models\":[]}", "dir: expected a path"},
        {"{\"dir\":\"/m\"}", "models: expected an array of at most 1024 objects"},
        {"{\"dir\":\"/m\",\"models\":{}}", "models: expected an array of at most 1024 objects"},
        {"{\"dir\":\"/m\",\"models\":[7]}", "models[0]: expected an object with a path"},
        {"{\"dir\":\"/m\",\"models\":[{\"path\":\"a\",\"bytes\":1},{}]}",
         "models[1]: expected an object with a path"},
        {"{\"dir\":\"/m\",\"models\":[{\"path\":\"a\",\"bytes\":-1}]}", "models[0].bytes"},
        {"{\"dir\":\"/m\",\"models\":[{\"path\":\"a\",\"model_hash\":\"a\\nb\"}]}",
         "models[0].model_hash"},
        {"{\"dir\":\"/m\",\"models\":[{\"path\":\"a\\u0000b\",\"bytes\":1}]}", ""},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        struct node_models m;
        char why[128];

        assert_true(node_models_decode(rm_slice_of(rows[i].json), &m, why) < 0);
        assert_true(strstr(why, rows[i].why) == why);
        assert_null(m.v);
    }
}

static void names_that_are_too_long(void **state)
{
    char json[2200];
    struct node_models m;
    char why[128];

    (void)state;
    for (int n = NODE_MODEL_PATH_MAX - 1; n <= NODE_MODEL_PATH_MAX; n++) {
        snprintf(json, sizeof(json), "{\"dir\":\"/m\",\"models\":[{\"path\":\"%0*d\"}]}", n, 0);
        assert_int_equal(node_models_decode(rm_slice_of(json), &m, why),
                         n < NODE_MODEL_PATH_MAX ? 0 : RM_ERR_FIELD);
        node_models_clear(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_list), cmocka_unit_test(mistakes),
                                       cmocka_unit_test(names_that_are_too_long)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
