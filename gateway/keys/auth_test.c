/* SPDX-License-Identifier: MIT */
/* gateway/keys/auth_test.c - which key a request carries, and what keys may do: a row per rule. */
#include "gateway/keys/auth.h"

#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* ---- what is sent ---- */

static const struct sent_row {
    const char *name;
    struct {
        const char *name, *value;
    } field[3];
    const char *path, *sent;
} sent_rows[] = {
    {"nothing", {{NULL, NULL}}, "", ""},
    {"bearer", {{"Authorization", "Bearer rm-a"}}, "", "rm-a"},
    {"bearer, any case", {{"AUTHORIZATION", "bEARER  rm-a "}}, "", "rm-a"},
    {"bearer and a tab", {{"authorization", "Bearer\trm-a"}}, "", "rm-a"},
    {"bearer alone", {{"authorization", "Bearer"}}, "", ""},
    {"bearer without a blank", {{"authorization", "Bearerrm-a"}}, "", "Bearerrm-a"},
    {"no scheme", {{"authorization", "rm-a"}}, "", "rm-a"},
    {"another scheme", {{"authorization", "Basic cm06eA=="}}, "", "Basic cm06eA=="},
    {"x-api-key", {{"X-Api-Key", "rm-a"}}, "", "rm-a"},
    {"api-key", {{"api-key", "rm-a"}}, "", "rm-a"},
    {"in the path", {{NULL, NULL}}, "rm-a", "rm-a"},
    {"order of fields does not count",
     {{"api-key", "rm-c"}, {"x-api-key", "rm-b"}, {"authorization", "Bearer rm-a"}},
     "rm-d",
     "rm-a"},
    {"x-api-key before api-key", {{"api-key", "rm-c"}, {"x-api-key", "rm-b"}}, "rm-d", "rm-b"},
    {"a field before the path", {{"api-key", "rm-c"}}, "rm-d", "rm-c"},
    {"a filler hides no key",
     {{"authorization", "Bearer undefined"}, {"x-api-key", "rm-b"}},
     "",
     "rm-b"},
    {"a filler hides no path", {{"authorization", "Bearer dummy"}}, "rm-d", "rm-d"},
    {"an empty field hides no path", {{"authorization", "Bearer "}}, "rm-d", "rm-d"},
    {"the first filler counts", {{"x-api-key", "ollama"}, {"authorization", "Bearer x"}}, "y", "x"},
    {"the first of two fields", {{"x-api-key", "rm-a"}, {"x-api-key", "rm-b"}}, "", "rm-a"},
    {"other fields carry none", {{"cookie", "rm-a"}, {"proxy-authorization", "rm-b"}}, "", ""},
};

static void run_sent(void **state)
{
    const struct sent_row *row = *state;
    struct http_field fields[3];
    struct http_head head = {.fields = fields};
    struct rm_slice sent;

    for (; head.n_fields < 3 && row->field[head.n_fields].name != NULL; head.n_fields++)
        fields[head.n_fields] = (struct http_field){rm_slice_of(row->field[head.n_fields].name),
                                                    rm_slice_of(row->field[head.n_fields].value)};
    sent = auth_sent(&head, rm_slice_of(row->path));
    if (!rm_slice_eq(sent, row->sent))
        fail_msg("expected \"%s\", got \"%.*s\"", row->sent, (int)sent.n, sent.p);
}

/* ---- who it is ---- */

enum { NOW = 1000000 };
enum key_kind { LIVE, EXPIRING, REVOKED, KINDS };
static struct keyring ring;
static char texts[KINDS][API_KEY_TEXT + 1];

static int make_ring(void **state)
{
    static const struct api_key want[KINDS] = {
        {.name = "live"}, {.name = "expiring", .expires_s = NOW + 10}, {.name = "revoked"}};

    (void)state;
    if (sodium_init() < 0)
        return -1;
    for (int i = 0; i < KINDS; i++)
        if (keyring_add(&ring, &want[i], NOW, texts[i]) < 0)
            return -1;
    keyring_named(&ring, "revoked")->revoked_s = NOW + 5;
    return 0;
}

static int clear_ring(void **state)
{
    (void)state;
    keyring_clear(&ring);
    return 0;
}

static void refused(const char *sent, uint64_t now_s, const char *says)
{
    const struct api_key *key;
    const char *why;

    assert_int_equal(auth_identify(&ring, true, rm_slice_of(sent), now_s, &key, &why), RM_ERR_AUTH);
    assert_null(key);
    assert_non_null(strstr(why, says));
}

static void identity(void **state)
{
    const struct api_key *key;
    const char *why;
    char changed[API_KEY_TEXT + 1];

    (void)state;
    assert_int_equal(auth_identify(&ring, true, rm_slice_of(texts[LIVE]), NOW, &key, &why), 0);
    assert_string_equal(key->name, "live");
    assert_int_equal(auth_identify(&ring, true, rm_slice_of(texts[EXPIRING]), NOW + 9, &key, &why),
                     0);
    refused(texts[EXPIRING], NOW + 10, "expired");
    refused(texts[REVOKED], NOW + 9, "revoked");
    refused("", NOW, "needed");
    refused("dummy", NOW, "not an API key of this gateway");
    memcpy(changed, texts[LIVE], sizeof changed);
    changed[20] = changed[20] == 'A' ? 'B' : 'A';
    refused(changed, NOW, "mistyped");
    changed[API_KEY_TEXT - 1] = '\0';
    refused(changed, NOW, "mistyped");
    api_key_make(changed);
    refused(changed, NOW, "not known");
}

static void anybody(void **state)
{
    const struct api_key *key = &ring.keys[0];
    const char *why;

    (void)state;
    assert_int_equal(auth_identify(&ring, false, RM_LIT("dummy"), NOW, &key, &why), 0);
    assert_null(key);
}

/* The clock alone opens nothing; revoking the last key does. */
static void when_keys_exist(void **state)
{
    struct api_key keys[2] = {{.revoked_s = 5}, {.expires_s = 7}};
    struct keyring two = {.keys = keys, .n = 2}, none = {.n = 0};

    (void)state;
    assert_false(auth_keys_exist(&none));
    assert_true(auth_keys_exist(&two));
    keys[1].revoked_s = 9;
    assert_false(auth_keys_exist(&two));
}

/* ---- roles ---- */

static const struct role_row {
    const char *name, *roles[2];
    unsigned lanes;
    const char *says; /* NULL: may */
} role_rows[] = {
    {"all roles, all lanes", {NULL}, 0, NULL},
    {"the role", {"code"}, 0, NULL},
    {"one of two", {"ask", "code"}, 0, NULL},
    {"another role", {"ask"}, 0, "may not use the role"},
    {"no part of a name", {"cod"}, 0, "may not use the role"},
    {"no longer name", {"codex"}, 0, "may not use the role"},
    {"no other case", {"Code"}, 0, "may not use the role"},
    {"the lane", {NULL}, 1u << MAP_LANE_BATCH, NULL},
    {"another lane", {NULL}, 1u << MAP_LANE_INTERACTIVE, "lane"},
    {"the role in another lane", {"code"}, 1u << MAP_LANE_AUTOCOMPLETE, "lane"},
    {"another role in the lane", {"ask"}, 1u << MAP_LANE_BATCH, "may not use the role"},
};

static void run_role(void **state)
{
    const struct role_row *row = *state;
    const struct map_role role = {.name = "code", .lane = MAP_LANE_BATCH};
    struct api_key key = {.lanes = row->lanes};
    const char *said;

    for (; key.n_roles < 2 && row->roles[key.n_roles] != NULL; key.n_roles++)
        rm_text_copy(key.roles[key.n_roles], KEYRING_NAME, row->roles[key.n_roles]);
    said = auth_role_fault(&key, &role);
    if (row->says == NULL ? said != NULL : said == NULL || strstr(said, row->says) == NULL)
        fail_msg("expected %s, got %s", row->says != NULL ? row->says : "may",
                 said != NULL ? said : "may");
    assert_null(auth_role_fault(NULL, &role));
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(sent_rows) + RM_COUNT(role_rows) + 3];
    size_t n = 0;

    for (size_t i = 0; i < RM_COUNT(sent_rows); i++)
        tests[n++] =
            (struct CMUnitTest){sent_rows[i].name, run_sent, NULL, NULL, (void *)&sent_rows[i]};
    for (size_t i = 0; i < RM_COUNT(role_rows); i++)
        tests[n++] =
            (struct CMUnitTest){role_rows[i].name, run_role, NULL, NULL, (void *)&role_rows[i]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(identity);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(anybody);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(when_keys_exist);
    return cmocka_run_group_tests(tests, make_ring, clear_ring);
}
