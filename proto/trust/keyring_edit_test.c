/* SPDX-License-Identifier: MIT */
/* proto/trust/keyring_edit_test.c - keys made, revoked and given a successor; wishes as JSON. */
#include "proto/trust/keyring_edit.h"

#include <jansson.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { NOW = 1700000000 };

static int start(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

static int edit(struct keyring *k, struct keyring_edit *e, enum keyring_act act, const char *name)
{
    e->act = act;
    if (e->now_s == 0)
        e->now_s = NOW;
    rm_text_copy(act == KEYRING_CREATE ? e->want.name : e->which, KEYRING_NAME, name);
    return keyring_edit_do(e, k);
}

/* Which key a text is, at a time; "": none that is good. */
static const char *whose(const struct keyring *k, const char *text, uint64_t now_s)
{
    const struct api_key *key;
    const char *why;

    return keyring_find(k, rm_slice_of(text), now_s, &key, &why) == 0 ? key->name : "";
}

static void made(void **state)
{
    struct keyring k = {.n = 0};
    struct keyring_edit e = {.want = {.admin = true, .expires_s = NOW + 60}},
                        again = {.grace_s = 0};

    (void)state;
    assert_int_equal(edit(&k, &e, KEYRING_CREATE, "boss"), 0);
    assert_string_equal(whose(&k, e.text, NOW), "boss");
    assert_string_equal(whose(&k, e.text, NOW + 60), "");
    assert_true(e.done.admin);
    assert_int_equal(edit(&k, &again, KEYRING_CREATE, "boss"), RM_ERR_STATE);
    assert_non_null(strstr(again.why, "of that name lives"));
    again = (struct keyring_edit){.want = {.expires_s = NOW}};
    assert_int_equal(edit(&k, &again, KEYRING_CREATE, "late"), RM_ERR_STATE);
    assert_non_null(strstr(again.why, "expired already"));
    assert_int_equal(k.n, 1);
    keyring_clear(&k);
}

static void revoked(void **state)
{
    struct keyring k = {.n = 0};
    struct keyring_edit e = {.now_s = NOW}, gone = {.now_s = NOW + 5};

    (void)state;
    assert_int_equal(edit(&k, &e, KEYRING_CREATE, "a"), 0);
    assert_int_equal(edit(&k, &gone, KEYRING_REVOKE, e.done.id), 0);
    assert_string_equal(gone.done.name, "a");
    assert_int_equal(gone.done.revoked_s, NOW + 5);
    assert_string_equal(gone.text, "");
    assert_string_equal(whose(&k, e.text, NOW + 6), "");
    assert_int_equal(edit(&k, &gone, KEYRING_REVOKE, "a"), RM_ERR_NOT_FOUND);
    assert_int_equal(edit(&k, &e, KEYRING_CREATE, "a"), 0); /* the name is free again */
    assert_int_equal(k.n, 2);
    keyring_clear(&k);
}

static void rotated_at_once(void **state)
{
    struct keyring k = {.n = 0};
    struct keyring_edit e = {.want = {.n_roles = 1, .roles = {"code"}, .tokens_per_day = 9}},
                        r = {.grace_s = 0};

    (void)state;
    assert_int_equal(edit(&k, &e, KEYRING_CREATE, "a"), 0);
    assert_int_equal(edit(&k, &r, KEYRING_ROTATE, "a"), 0);
    assert_string_equal(whose(&k, e.text, NOW), "");
    assert_string_equal(whose(&k, r.text, NOW), "a");
    assert_string_not_equal(r.done.id, e.done.id);
    assert_string_equal(r.done.roles[0], "code");
    assert_int_equal(r.done.tokens_per_day, 9);
    keyring_clear(&k);
}

static void rotated_with_grace(void **state)
{
    struct keyring k = {.n = 0};
    struct keyring_edit e = {.want = {.expires_s = NOW + 1000}}, r = {.grace_s = 60},
                        s = {.grace_s = 5000};

    (void)state;
    assert_int_equal(edit(&k, &e, KEYRING_CREATE, "a"), 0);
    assert_int_equal(edit(&k, &r, KEYRING_ROTATE, "a"), 0);
    assert_int_equal(strncmp(whose(&k, e.text, NOW + 59), "a.old-k_", 8), 0);
    assert_string_equal(whose(&k, e.text, NOW + 60), "");
    assert_string_equal(whose(&k, r.text, NOW + 999), "a");
    assert_int_equal(edit(&k, &s, KEYRING_ROTATE, "a"), 0); /* no grace lengthens a key's life */
    assert_string_equal(whose(&k, r.text, NOW + 1000), "");
    assert_string_equal(whose(&k, s.text, NOW + 999), "a");
    assert_string_equal(whose(&k, s.text, NOW + 1000), "");
    s.now_s = NOW + 1000;
    assert_int_equal(edit(&k, &s, KEYRING_ROTATE, "a"), RM_ERR_STATE);
    keyring_clear(&k);
}

/* The longest name still says after a rotation whose successor it was. */
static void long_name(void **state)
{
    char name[KEYRING_NAME];
    struct keyring k = {.n = 0};
    struct keyring_edit e = {.now_s = NOW}, r = {.grace_s = 60};

    (void)state;
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(edit(&k, &e, KEYRING_CREATE, name), 0);
    assert_int_equal(edit(&k, &r, KEYRING_ROTATE, name), 0);
    assert_string_equal(r.done.name, name);
    assert_non_null(strstr(whose(&k, e.text, NOW), e.done.id));
    keyring_clear(&k);
}

/* A full ring forgets what ended first, and never a key that lives. */
static void room(void **state)
{
    struct keyring k = {.n = 0};
    struct keyring_edit e = {.now_s = NOW}, last = {.now_s = NOW}, gone = {.now_s = NOW + 9};
    char name[16], first[KEYRING_ID];

    (void)state;
    for (int i = 0; i < KEYRING_MAX; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(edit(&k, &e, KEYRING_CREATE, name), 0);
    }
    assert_int_equal(edit(&k, &last, KEYRING_CREATE, "more"), RM_ERR_OVERLOAD);
    assert_int_equal(edit(&k, &gone, KEYRING_REVOKE, "n7"), 0);
    gone.now_s = NOW + 5;
    assert_int_equal(edit(&k, &gone, KEYRING_REVOKE, "n8"), 0);
    memcpy(first, gone.done.id, sizeof first);
    last.now_s = NOW + 10;
    assert_int_equal(edit(&k, &last, KEYRING_CREATE, "more"), 0);
    assert_int_equal(k.n, KEYRING_MAX);
    for (size_t i = 0; i < k.n; i++)
        assert_string_not_equal(k.keys[i].id, first);
    keyring_clear(&k);
}

static const struct name_row {
    const char *name;
    bool good;
} name_rows[] = {{"laptop", true}, {"a", true},    {"a.b_c-d+e@f", true}, {"", false},
                 {"a b", false},   {"a/b", false}, {"a\n", false},        {"k_0123456789", false},
                 {"rm-x", false},  {"-x", false},  {"a\xc3\xa9", false},  {"<script>", false}};

static void names(void **state)
{
    char text[KEYRING_NAME + 1];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(name_rows); i++)
        if ((keyring_name_fault(name_rows[i].name) == NULL) != name_rows[i].good)
            fail_msg("'%s'", name_rows[i].name);
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_non_null(keyring_name_fault(text));
    text[sizeof text - 2] = '\0';
    assert_null(keyring_name_fault(text));
}

static const struct wish_row {
    const char *json, *says; /* says NULL: good */
} wish_rows[] = {
    {"{\"name\":\"a\"}", NULL},
    {"{\"name\":\"a\",\"roles\":[\"x\"],\"lanes\":[\"batch\"],\"admin\":true,\"expires_s\":5,"
     "\"requests_per_min\":1,\"concurrency\":2,\"tokens_per_min\":3,\"tokens_per_day\":4}",
     NULL},
    {"{}", "name"},
    {"[]", "object"},
    {"{\"name\":1}", "name"},
    {"{\"name\":\"a\",\"id\":\"k_0\"}", "no member of that name"},
    {"{\"name\":\"a\",\"hash\":\"00\"}", "no member of that name"},
    {"{\"name\":\"a\",\"revoked_s\":0}", "no member of that name"},
    {"{\"name\":\"a\",\"admin\":\"yes\"}", "admin"},
    {"{\"name\":\"a\",\"tokens_per_day\":null}", "null is no value"},
    {"{\"name\":\"a\",\"roles\":null}", "null is no value"},
    {"{\"name\":\"a\",\"concurrency\":-1}", "concurrency"},
    {"{\"name\":\"a\",\"roles\":\"x\"}", "roles"},
    {"{\"name\":\"a\",\"roles\":[1]}", "roles"},
    {"{\"name\":\"a\",\"roles\":[\"x\\ny\"]}", "roles"},
    {"{\"name\":\"a\",\"lanes\":[\"fast\"]}", "lanes"},
};

static void wishes(void **state)
{
    (void)state;
    for (size_t i = 0; i < RM_COUNT(wish_rows); i++) {
        json_t *o = json_loads(wish_rows[i].json, 0, NULL);
        struct api_key key;
        char why[256] = "";
        int r = keyring_wish_get(o, &key, why, sizeof why);

        json_decref(o);
        if ((r == 0) != (wish_rows[i].says == NULL) ||
            (r < 0 && strstr(why, wish_rows[i].says) == NULL))
            fail_msg("%s: %d %s", wish_rows[i].json, r, why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made),
        cmocka_unit_test(revoked),
        cmocka_unit_test(rotated_at_once),
        cmocka_unit_test(rotated_with_grace),
        cmocka_unit_test(long_name),
        cmocka_unit_test(room),
        cmocka_unit_test(names),
        cmocka_unit_test(wishes),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
