/* SPDX-License-Identifier: MIT */
/* proto/node/ledger_test.c - the ledger's message: round trip, hostile JSON by row, every prefix of
 * a good one, and the order of PROTOCOL.md. */
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
#include "proto/node/ledger.h"

static struct node_ledger_row sample_row(void)
{
    struct node_ledger_row r = {.id = 3,
                                .key = {.context = 4096, .slots = 2},
                                .predicted = 1ULL << 40,
                                .compute = 1ULL << 30,
                                .estimated = true,
                                .loaded = {1, 2, 3},
                                .full = {4, 5, 6},
                                .peak = {7, 8, 9},
                                .batch = 512,
                                .batch_most = 64,
                                .all_full = true,
                                .expected = 24,
                                .measured = true,
                                .loads = 10,
                                .cold_ms = 11,
                                .warm_ms = 12,
                                .first_s = 13,
                                .last_s = 14};

    memset(r.key.model_hash, 'a', 64);
    strcpy(r.key.kv, "q8_0");
    strcpy(r.key.flags, "batch=0 threads=0 layers=-1");
    strcpy(r.key.build, "0.1.0/0.5.0");
    strcpy(r.model, "qwen");
    for (unsigned i = 0; i < LEDGER_DEPTHS; i++)
        r.speed[i] = (struct ledger_speed){i, i + 1, i + 2, i + 3};
    return r;
}

static struct node_ledger sample(struct node_ledger_row *rows, uint32_t n)
{
    struct node_ledger l = {.usable = true,
                            .lost = 4,
                            .next = 77,
                            .errors = {5, 0.25, 0.5, 0.75, 1},
                            .n = n,
                            .rows = rows};

    strcpy(l.node, "speed");
    return l;
}

static void round_trip(void **state)
{
    struct node_ledger_row rows[2] = {sample_row(), {.id = 4, .key.model_hash = "b"}};
    struct node_ledger l = sample(rows, 2), back;
    struct rm_buf a, b;
    char why[NODE_WHY_MAX];

    (void)state;
    rm_buf_init(&a, NODE_JSON_MAX);
    rm_buf_init(&b, NODE_JSON_MAX);
    assert_int_equal(node_ledger_encode(&l, &a), 0);
    assert_int_equal(node_ledger_decode((struct rm_slice){a.data, a.len}, &back, why), 0);
    assert_int_equal(back.n, 2);
    assert_memory_equal(&back.rows[0], &rows[0], sizeof(rows[0]));
    assert_memory_equal(&back.errors, &l.errors, sizeof(l.errors));
    assert_int_equal(node_ledger_encode(&back, &b), 0);
    assert_string_equal(a.data, b.data);
    for (size_t n = 0; n < a.len; n++) { /* cut anywhere it is no message */
        struct node_ledger cut;

        assert_true(node_ledger_decode((struct rm_slice){a.data, n}, &cut, why) < 0);
        assert_null(cut.rows);
    }
    node_ledger_clear(&back);
    rm_buf_clear(&a);
    rm_buf_clear(&b);
}

static void a_full_page_fits_a_message(void **state)
{
    struct node_ledger_row *rows = calloc(LEDGER_PAGE_MAX, sizeof(*rows));
    struct node_ledger l = sample(rows, LEDGER_PAGE_MAX);
    struct rm_buf a;

    (void)state;
    assert_non_null(rows);
    for (uint32_t i = 0; i < LEDGER_PAGE_MAX; i++) {
        rows[i] = sample_row();
        memset(rows[i].model, 1, sizeof(rows[i].model) - 1); /* \u0001: the longest text there is */
        for (unsigned k = 0; k < LEDGER_DEPTHS; k++)
            rows[i].speed[k] =
                (struct ledger_speed){UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    }
    rm_buf_init(&a, NODE_JSON_MAX);
    assert_int_equal(node_ledger_encode(&l, &a), 0);
    rm_buf_clear(&a);
    free(rows);
}

static const struct bad_row {
    const char *name, *json, *why;
} bad_rows[] = {
    {"no object", "[]", ""},
    {"no node", "{}", "node"},
    {"rows are no array", "{\"node\":\"a\",\"rows\":{}}", "rows: expected"},
    {"a row is no object", "{\"node\":\"a\",\"rows\":[1]}", "rows: expected"},
    {"a row without id", "{\"node\":\"a\",\"rows\":[{}]}", "rows[0].id"},
    {"a key without a hash", "{\"node\":\"a\",\"rows\":[{\"id\":1,\"key\":{}}]}", "model_hash"},
    {"negative bytes", "{\"node\":\"a\",\"rows\":[{\"id\":1,\"peak\":{\"vram\":-1}}]}", "vram"},
    {"too many speeds", "{\"node\":\"a\",\"rows\":[{\"id\":1,\"speed\":[{},{},{},{},{},{},{}]}]}",
     "rows[0].speed"},
    {"a speed is a number", "{\"node\":\"a\",\"rows\":[{\"id\":1,\"speed\":[7]}]}",
     "rows[0].speed"},
};

static void run_bad(void **state)
{
    const struct bad_row *row = *state;
    struct node_ledger l;
    char why[NODE_WHY_MAX];

    assert_true(node_ledger_decode(rm_slice_of(row->json), &l, why) < 0);
    assert_non_null(strstr(why, row->why));
    assert_null(l.rows);
}

static void too_many_rows(void **state)
{
    struct node_ledger l;
    char why[NODE_WHY_MAX];
    struct rm_buf json;

    (void)state;
    rm_buf_init(&json, 65536);
    rm_buf_puts(&json, "{\"node\":\"a\",\"rows\":[");
    for (int i = 0; i <= LEDGER_PAGE_MAX; i++)
        rm_buf_printf(&json, "%s{\"id\":%d}", i > 0 ? "," : "", i + 1);
    rm_buf_puts(&json, "]}");
    assert_int_equal(node_ledger_decode((struct rm_slice){json.data, json.len}, &l, why),
                     RM_ERR_FIELD);
    rm_buf_clear(&json);
}

/* ---- the document ---- */

static const json_t *part_of(const json_t *root, const char *name)
{
    const json_t *row = json_array_get(json_object_get(root, "rows"), 0);

    if (strcmp(name, "ledger") == 0)
        return root;
    if (strcmp(name, "errors") == 0)
        return json_object_get(root, "errors");
    if (strcmp(name, "row") == 0)
        return row;
    if (strcmp(name, "key") == 0)
        return json_object_get(row, "key");
    if (strcmp(name, "bytes") == 0)
        return json_object_get(row, "peak");
    return json_array_get(json_object_get(row, "speed"), 0);
}

static void order_of_the_document(void **state)
{
    static const char *const parts[] = {"ledger", "errors", "row", "key", "bytes", "speed"};
    struct node_ledger_row row = sample_row();
    struct node_ledger l = sample(&row, 1);
    struct rm_buf text;
    json_t *root;

    (void)state;
    rm_buf_init(&text, NODE_JSON_MAX);
    assert_int_equal(node_ledger_encode(&l, &text), 0);
    assert_non_null(root = json_loads(text.data, 0, NULL));
    for (size_t i = 0; i < RM_COUNT(parts); i++)
        assert_documented(parts[i], part_of(root, parts[i]));
    json_decref(root);
    rm_buf_clear(&text);
}

int main(void)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(a_full_page_fits_a_message),
        cmocka_unit_test(too_many_rows),
        cmocka_unit_test(order_of_the_document),
    };
    struct CMUnitTest tests[RM_COUNT(bad_rows) + RM_COUNT(others)];
    size_t n = 0;

    for (size_t i = 0; i < RM_COUNT(bad_rows); i++)
        tests[n++] =
            (struct CMUnitTest){bad_rows[i].name, run_bad, NULL, NULL, (void *)&bad_rows[i]};
    memcpy(tests + n, others, sizeof(others));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
