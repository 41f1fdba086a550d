/* SPDX-License-Identifier: MIT */
/* proto/node/pull_test.c - pull.c: wishes by row, and the order of PROTOCOL.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "proto/node/document_test.h"
#include "proto/node/fields.h"
#include "proto/node/pull.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct {
    const char *json, *why; /* why NULL: good */
} rows[] = {
    {"{\"source\":\"hf:org/repo:Q8_0\"}", NULL},
    {"{\"source\":\"https://h.test/m.gguf\",\"sha256\":\"" HEX64 "\",\"rate\":1000}", NULL},
    {"{\"source\":\"node:speed/m.gguf\",\"from\":\"unix:/run/w.sock\"}", NULL},
    {"{\"source\":\"https://h.test/m.gguf\",\"sha256\":null,\"from\":\"\"}", NULL},
    {"{}", "source"},
    {"{\"source\":\"\"}", "source: expected"},
    {"{\"source\":7}", "source"},
    {"{\"source\":\"a\\u0000b\"}", ""},
    {"{\"source\":\"a\\nb\"}", "source"},
    {"{\"source\":\"node:speed/m.gguf\"}", "from: expected"},
    {"{\"source\":\"https://h.test/m.gguf\",\"from\":\"h:1\"}", "from: expected"},
    {"{\"source\":\"x\",\"sha256\":\"abc\"}", "sha256: expected 64"},
    {"{\"source\":\"x\",\"rate\":-1}", "rate"},
    {"{\"source\":\"x\",\"dir\":\"/etc\"}", "dir: no such member"},
    {"{\"source\":\"x\",\"https://u:secret@h.test/?secret\":1}", "https://h.test/: no such member"},
    {"{\"source\":\"x\",\"source\":\"y\"}", ""},
    {"[]", ""},
    {"", ""},
};

static void wishes(void **state)
{
    struct node_pull_wish w, back;
    struct rm_buf b;
    char why[NODE_WHY_MAX];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        int r = node_pull_wish_decode(rm_slice_of(rows[i].json), &w, why);

        if ((r == 0) != (rows[i].why == NULL) || (r < 0 && strstr(why, rows[i].why) == NULL) ||
            strstr(why, "secret") != NULL)
            fail_msg("%s: %d, \"%s\"", rows[i].json, r, why);
        if (r < 0)
            continue;
        rm_buf_init(&b, 8192);
        assert_int_equal(node_pull_wish_encode(&w, &b), 0);
        assert_int_equal(node_pull_wish_decode((struct rm_slice){b.data, b.len}, &back, why), 0);
        assert_memory_equal(&w, &back, sizeof w);
        rm_buf_clear(&b);
    }
}

static void order_of_the_document(void **state)
{
    struct node_pull pull = {.id = "p-0123456789abcdef"};
    struct node_pull_wish wish = {.source = "x"};
    struct rm_buf text;
    json_t *root;

    (void)state;
    rm_buf_init(&text, 8192);
    assert_int_equal(node_pulls_encode(&pull, 1, &text), 0);
    root = json_loads(text.data, 0, NULL);
    assert_documented("pull", json_array_get(json_object_get(root, "pulls"), 0));
    json_decref(root);
    rm_buf_clear(&text);
    rm_buf_init(&text, 8192);
    assert_int_equal(node_pull_wish_encode(&wish, &text), 0);
    root = json_loads(text.data, 0, NULL);
    assert_documented("pull_wish", root);
    json_decref(root);
    rm_buf_clear(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wishes),
        cmocka_unit_test(order_of_the_document),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
