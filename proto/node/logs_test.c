/* SPDX-License-Identifier: MIT */
/* proto/node/logs_test.c - pages of log lines: round trip, hostile JSON by row, every prefix of a
 * good one, and the order of PROTOCOL.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/node/document_test.h"
#include "proto/node/fields.h"
#include "proto/node/logs.h"

static void encode(const struct node_logs *l, struct rm_buf *out)
{
    rm_buf_init(out, NODE_JSON_MAX);
    assert_int_equal(node_logs_encode(l, out), 0);
}

static void round_trip(void **state)
{
    struct node_log_line lines[2] = {{.id = 9, .at_ms = 1000, .level = RM_LOG_WARN},
                                     {.id = 7, .level = RM_LOG_DEBUG}};
    struct node_logs l = {.next = 7, .n = 2, .lines = lines}, back;
    char why[NODE_WHY_MAX];
    struct rm_buf a, b;

    (void)state;
    strcpy(l.node, "speed");
    strcpy(lines[0].engine, "code");
    strcpy(lines[0].area, "core");
    strcpy(lines[0].text, "\"a \\x1b line\" x=1");
    encode(&l, &a);
    assert_int_equal(node_logs_decode((struct rm_slice){a.data, a.len}, &back, why), 0);
    assert_int_equal(back.n, 2);
    assert_memory_equal(&back.lines[0], &lines[0], sizeof lines[0]);
    encode(&back, &b);
    assert_string_equal(a.data, b.data);
    for (size_t n = 0; n < a.len; n++) { /* cut anywhere it is no message */
        struct node_logs cut;

        assert_true(node_logs_decode((struct rm_slice){a.data, n}, &cut, why) < 0);
        assert_null(cut.lines);
    }
    node_logs_clear(&back);
    rm_buf_clear(&a);
    rm_buf_clear(&b);
}

/* The longest lines there are: a page keeps its bound, and every line arrives. */
static void pages_of_a_full_ring(void **state)
{
    struct rm_log_wish wish = {.level = RM_LOG_DEBUG, .limit = 100000};
    char text[2049];
    size_t all = 0, pages = 0;

    (void)state;
    assert_int_equal(rm_log_ring_open(), 0);
    memset(text, '"', 2048);
    text[2048] = '\0';
    for (int i = 0; i < 300; i++)
        rm_log_ring_add(RM_LOG_INFO, "code", "output", text);
    do {
        struct node_logs l, back;
        char why[NODE_WHY_MAX];
        struct rm_buf out;

        assert_int_equal(node_logs_take(&wish, &l), 0);
        strcpy(l.node, "a");
        encode(&l, &out);
        assert_true(out.len < 1024 * 1024);
        assert_int_equal(node_logs_decode((struct rm_slice){out.data, out.len}, &back, why), 0);
        assert_int_equal(back.n, l.n);
        assert_int_equal(strlen(back.lines[0].text), 2048);
        wish.before = l.next;
        all += l.n;
        pages++;
        node_logs_clear(&back);
        node_logs_clear(&l);
        rm_buf_clear(&out);
    } while (wish.before != 0);
    assert_int_equal(all, 300);
    assert_true(pages > 2);
}

static const struct row {
    const char *name, *json;
    int err;
} rows[] = {
    {"the least", "{\"node\":\"a\"}", 0},
    {"no node", "{}", RM_ERR_FIELD},
    {"lines are no array", "{\"node\":\"a\",\"lines\":{}}", RM_ERR_FIELD},
    {"a line is no object", "{\"node\":\"a\",\"lines\":[1]}", RM_ERR_FIELD},
    {"a line without id", "{\"node\":\"a\",\"lines\":[{}]}", RM_ERR_FIELD},
    {"an id below zero", "{\"node\":\"a\",\"lines\":[{\"id\":-1}]}", RM_ERR_FIELD},
    {"another level", "{\"node\":\"a\",\"lines\":[{\"id\":1,\"level\":\"loud\"}]}", RM_ERR_FIELD},
    {"text of another type", "{\"node\":\"a\",\"lines\":[{\"id\":1,\"text\":7}]}", RM_ERR_FIELD},
    {"text with control bytes", "{\"node\":\"a\",\"lines\":[{\"id\":1,\"text\":\"\\u001b[2J\"}]}",
     0},
    {"no JSON", "lines", RM_ERR_JSON},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    char why[NODE_WHY_MAX];
    struct node_logs l;

    assert_int_equal(node_logs_decode(rm_slice_of(row->json), &l, why), row->err);
    if (row->err == 0 && l.n > 0)
        assert_null(strchr(l.lines[0].text, '\x1b'));
    node_logs_clear(&l);
}

static void too_many(void **state)
{
    struct node_logs l;
    char why[NODE_WHY_MAX];
    struct rm_buf json;

    (void)state;
    rm_buf_init(&json, 65536);
    rm_buf_puts(&json, "{\"node\":\"a\",\"lines\":[");
    for (int i = 0; i <= LOGS_PAGE_MAX; i++)
        rm_buf_printf(&json, "%s{\"id\":%d}", i > 0 ? "," : "", i + 1);
    rm_buf_puts(&json, "]}");
    assert_int_equal(node_logs_decode((struct rm_slice){json.data, json.len}, &l, why),
                     RM_ERR_FIELD);
    rm_buf_clear(&json);
}

/* ---- the document ---- */

static void order_of_the_document(void **state)
{
    struct node_log_line line = {.id = 1};
    struct node_logs l = {.n = 1, .lines = &line};
    struct rm_buf text;
    json_t *root;

    (void)state;
    encode(&l, &text);
    assert_non_null(root = json_loads(text.data, 0, NULL));
    assert_documented("logs", root);
    assert_documented("line", json_array_get(json_object_get(root, "lines"), 0));
    json_decref(root);
    rm_buf_clear(&text);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 4];
    size_t n = 0;

    for (; n < RM_COUNT(rows); n++)
        tests[n] = (struct CMUnitTest){rows[n].name, run_row, NULL, NULL, (void *)&rows[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(round_trip);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(pages_of_a_full_ring);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(too_many);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(order_of_the_document);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
