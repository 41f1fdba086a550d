/* SPDX-License-Identifier: MIT */
/* gateway/drive/wishes_test.c - the list of wishes, and what its file may look like. */
#include "gateway/drive/wishes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct wish made(const char *role, const char *node, enum hosting_wish what)
{
    struct wish w = {.what = what, .since_s = 1700000000};

    rm_text_copy(w.role, sizeof w.role, role);
    rm_text_copy(w.node, sizeof w.node, node);
    rm_text_copy(w.by, sizeof w.by, "laptop");
    return w;
}

static void put(struct wishes *w, const char *role, const char *node, enum hosting_wish what,
                int err)
{
    const struct wish wish = made(role, node, what);

    assert_int_equal(wishes_put(w, &wish), err);
}

static bool is_of_a(void *arg, const struct wish *wish)
{
    (void)arg;
    return strcmp(wish->node, "a") == 0;
}

static void one_wish_a_host(void **state)
{
    struct wishes w = {NULL, 0};

    (void)state;
    put(&w, "ask", "a", HOSTING_WANT_DRAINED, 0);
    put(&w, "ask", "b", HOSTING_WANT_LOADED, 0);
    put(&w, "", "a", HOSTING_WANT_DRAINED, 0);
    put(&w, "ask", "a", HOSTING_WANT_UNLOADED, 0);
    assert_int_equal(w.n, 3);
    assert_int_equal(wishes_find(&w, "ask", "a")->what, HOSTING_WANT_UNLOADED);
    assert_null(wishes_find(&w, "code", "a"));
    put(&w, "code", "a", HOSTING_NO_WISH, 0); /* nothing to take away */
    put(&w, "ask", "a", HOSTING_NO_WISH, 0);
    assert_null(wishes_find(&w, "ask", "a"));
    assert_int_equal(wishes_sift(&w, is_of_a, NULL), 1);
    assert_int_equal(w.n, 1);
    assert_non_null(wishes_find(&w, "", "a"));
    wishes_clear(&w);
}

static void the_list_is_bounded(void **state)
{
    struct wishes w = {NULL, 0};
    char name[24];

    (void)state;
    for (unsigned i = 0; i < WISHES_MAX; i++) {
        snprintf(name, sizeof name, "r%u", i);
        put(&w, name, "a", HOSTING_WANT_LOADED, 0);
    }
    put(&w, "more", "a", HOSTING_WANT_LOADED, RM_ERR_OVERLOAD);
    put(&w, "r7", "a", HOSTING_WANT_DRAINED, 0); /* in the place of another */
    wishes_clear(&w);
}

static void what_is_written_is_read(void **state)
{
    struct wishes w = {NULL, 0}, back = {NULL, 0};
    char why[WISHES_WHY_MAX] = "";
    struct rm_buf out;

    (void)state;
    put(&w, "ask", "a", HOSTING_WANT_DRAINED, 0);
    put(&w, "", "b", HOSTING_WANT_DRAINED, 0);
    put(&w, "code", "a", HOSTING_WANT_UNLOADED, 0);
    put(&w, "code", "b", HOSTING_WANT_LOADED, 0);
    rm_buf_init(&out, WISHES_BYTES_MAX);
    assert_int_equal(wishes_encode(&w, &out), 0);
    assert_int_equal(wishes_decode((struct rm_slice){out.data, out.len}, &back, why), 0);
    assert_int_equal(back.n, w.n);
    for (size_t i = 0; i < w.n; i++) {
        const struct wish *b = wishes_find(&back, w.list[i].role, w.list[i].node);

        assert_non_null(b);
        assert_int_equal(b->what, w.list[i].what);
        assert_string_equal(b->by, "laptop");
        assert_int_equal(b->since_s, 1700000000);
    }
    rm_buf_clear(&out);
    wishes_clear(&w);
    wishes_clear(&back);
}

#define V1(hosts, nodes) "{\"version\":1,\"hosts\":[" hosts "],\"nodes\":[" nodes "]}"

static const struct file_row {
    const char *name, *text;
    int err;
    size_t n;
} file_rows[] = {
    {"empty lists", V1("", ""), 0, 0},
    {"the least", V1("{\"role\":\"r\",\"node\":\"n\",\"wanted\":\"loaded\"}", "{\"node\":\"n\"}"),
     0, 2},
    {"no bytes", "", RM_ERR_CONF, 0},
    {"cut", "{\"version\":1,\"hosts\":[", RM_ERR_CONF, 0},
    {"a list", "[]", RM_ERR_CONF, 0},
    {"no version", "{\"hosts\":[],\"nodes\":[]}", RM_ERR_CONF, 0},
    {"a later version", "{\"version\":2,\"hosts\":[],\"nodes\":[]}", RM_ERR_CONF, 0},
    {"no nodes", "{\"version\":1,\"hosts\":[]}", RM_ERR_CONF, 0},
    {"hosts is a number", "{\"version\":1,\"hosts\":1,\"nodes\":[]}", RM_ERR_CONF, 0},
    {"an entry is a text", V1("\"ask\"", ""), RM_ERR_CONF, 0},
    {"another word", V1("{\"role\":\"r\",\"node\":\"n\",\"wanted\":\"gone\"}", ""), RM_ERR_CONF, 0},
    {"no word", V1("{\"role\":\"r\",\"node\":\"n\"}", ""), RM_ERR_CONF, 0},
    {"an empty word", V1("{\"role\":\"r\",\"node\":\"n\",\"wanted\":\"\"}", ""), RM_ERR_CONF, 0},
    {"no role", V1("{\"role\":\"\",\"node\":\"n\",\"wanted\":\"loaded\"}", ""), RM_ERR_CONF, 0},
    {"no node", V1("", "{\"node\":\"\"}"), RM_ERR_CONF, 0},
    {"twice", V1("", "{\"node\":\"n\"},{\"node\":\"n\"}"), RM_ERR_CONF, 0},
    {"a name too long",
     V1("",
        "{\"node\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"}"),
     RM_ERR_CONF, 0},
};

static void run_file(void **state)
{
    const struct file_row *row = *state;
    struct wishes w = {NULL, 0};
    char why[WISHES_WHY_MAX] = "";

    assert_int_equal(wishes_decode(rm_slice_of(row->text), &w, why), row->err);
    assert_int_equal(w.n, row->n);
    assert_int_equal(why[0] != '\0', row->err < 0);
    wishes_clear(&w);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(file_rows) + 3];
    size_t n = 0;

    for (; n < RM_COUNT(file_rows); n++)
        tests[n] =
            (struct CMUnitTest){file_rows[n].name, run_file, NULL, NULL, (void *)&file_rows[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(one_wish_a_host);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(the_list_is_bounded);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(what_is_written_is_read);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
