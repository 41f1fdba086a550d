/* SPDX-License-Identifier: MIT */
/* gateway/keys/session_test.c - which session a request carries, and how long one lives. */
#include "gateway/keys/session.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define ID    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN-_0"
#define OTHER "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"

/* ---- what is sent ---- */

static const struct sent_row {
    const char *name;
    const char *field[2]; /* of Cookie */
    const char *sent;
} sent_rows[] = {
    {"none", {NULL}, ""},
    {"alone", {"rolemesh_session=" ID}, ID},
    {"last", {"a=b; c=\"d;e\"; rolemesh_session=" ID}, ID},
    {"first", {"rolemesh_session=" ID "; a=b"}, ID},
    {"without blanks", {"a=b;rolemesh_session=" ID ";c=d"}, ID},
    {"in the second field", {"a=b", "rolemesh_session=" ID}, ID},
    {"the first of two", {"rolemesh_session=" ID "; rolemesh_session=" OTHER}, ID},
    {"a damaged one hides the next", {"rolemesh_session=x; rolemesh_session=" ID}, ""},
    {"and one in another field", {"rolemesh_session=", "rolemesh_session=" ID}, ""},
    {"another name", {"xrolemesh_session=" ID}, ""},
    {"a longer name", {"rolemesh_session2=" ID}, ""},
    {"case counts", {"Rolemesh_Session=" ID}, ""},
    {"quoted", {"rolemesh_session=\"" ID "\""}, ""},
    {"a byte short", {"rolemesh_session=abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN-_"}, ""},
    {"a byte long", {"rolemesh_session=" ID "x"}, ""},
    {"an odd byte", {"rolemesh_session=abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN-_+"}, ""},
    {"semicolons only", {";;; ; ;"}, ""},
    {"no value", {"rolemesh_session"}, ""},
};

static void run_sent(void **state)
{
    const struct sent_row *row = *state;
    struct http_field fields[3] = {{RM_LIT("Host"), RM_LIT("rolemesh_session=" OTHER)}};
    struct http_head head = {.fields = fields, .n_fields = 1};

    for (size_t i = 0; i < 2 && row->field[i] != NULL; i++)
        fields[head.n_fields++] = (struct http_field){i == 0 ? RM_LIT("cookie") : RM_LIT("COOKIE"),
                                                      rm_slice_of(row->field[i])};
    if (!rm_slice_eq(session_sent(&head), row->sent))
        fail_msg("%.*s", (int)session_sent(&head).n, session_sent(&head).p);
}

/* ---- the table ---- */

static void begin(struct sessions *s, const char *key, unsigned seed, uint64_t now_s,
                  char id[SESSION_ID + 1])
{
    unsigned char random[SESSION_RANDOM] = {0};

    memcpy(random, &seed, sizeof seed);
    session_begin(s, key, random, now_s, id);
    assert_int_equal(strlen(id), SESSION_ID);
}

static void expect(struct sessions *s, const char *id, uint64_t now_s, const char *key,
                   uint64_t left)
{
    uint64_t got = 77;
    const char *found = session_key(s, rm_slice_of(id), now_s, &got);

    assert_int_equal(found != NULL, key != NULL);
    if (key != NULL)
        assert_string_equal(found, key);
    assert_int_equal(got, left);
}

static void a_session_ends(void **state)
{
    struct sessions *s;
    char a[SESSION_ID + 1], b[SESSION_ID + 1];

    (void)state;
    assert_int_equal(sessions_new(&s), 0);
    expect(s, ID, 5, NULL, 0);
    begin(s, "k_1", 1, 100, a);
    begin(s, "k_2", 2, 200, b);
    expect(s, a, 100, "k_1", SESSION_S);
    expect(s, b, 300, "k_2", SESSION_S - 100);
    expect(s, a, 99 + SESSION_S, "k_1", 1);
    expect(s, a, 100 + SESSION_S, NULL, 0); /* by time, and its place is free */
    assert_int_equal(sessions_count(s), 1);
    assert_true(session_end(s, rm_slice_of(b)));
    assert_false(session_end(s, rm_slice_of(b)));
    assert_false(session_end(s, RM_LIT("")));
    expect(s, b, 300, NULL, 0);
    sessions_free(s);
}

static void a_key_goes(void **state)
{
    struct sessions *s;
    char a[SESSION_ID + 1], b[SESSION_ID + 1], c[SESSION_ID + 1];
    uint64_t left;

    (void)state;
    assert_int_equal(sessions_new(&s), 0);
    begin(s, "k_1", 1, 0, a);
    begin(s, "k_2", 2, 0, b);
    begin(s, "k_1", 3, 0, c);
    session_end_key(s, session_key(s, rm_slice_of(a), 0, &left)); /* a pointer into the table */
    expect(s, a, 1, NULL, 0);
    expect(s, c, 1, NULL, 0);
    expect(s, b, 1, "k_2", SESSION_S - 1);
    sessions_free(s);
}

static void the_table_is_bounded(void **state)
{
    struct sessions *s;
    char first[SESSION_ID + 1], id[SESSION_ID + 1], key[KEYRING_ID];
    unsigned seed = 1;

    (void)state;
    assert_int_equal(sessions_new(&s), 0);
    begin(s, "k_0", seed++, 0, first);
    for (unsigned i = 0; i < 3 * SESSION_PER_KEY_MAX; i++)
        begin(s, "k_1", seed++, 0, id);
    assert_int_equal(sessions_count(s), 1 + SESSION_PER_KEY_MAX); /* one key pushes out its own */
    expect(s, first, 1, "k_0", SESSION_S - 1);
    expect(s, id, 1, "k_1", SESSION_S - 1);
    for (unsigned i = 0; i < 2 * SESSION_MAX; i++) {
        snprintf(key, sizeof key, "k_%x", 2 + i);
        begin(s, key, seed++, 1, id);
    }
    assert_int_equal(sessions_count(s), SESSION_MAX);
    expect(s, first, 2, NULL, 0);
    expect(s, id, 2, key, SESSION_S - 1);
    begin(s, "k_0", seed++, 1 + SESSION_S, id); /* those that are over make room first */
    assert_int_equal(sessions_count(s), 1);
    sessions_free(s);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(sent_rows) + 3];
    size_t n = 0;

    if (sodium_init() < 0)
        return 1;
    for (; n < RM_COUNT(sent_rows); n++)
        tests[n] =
            (struct CMUnitTest){sent_rows[n].name, run_sent, NULL, NULL, (void *)&sent_rows[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_session_ends);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_key_goes);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(the_table_is_bounded);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
