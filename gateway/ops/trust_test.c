/* SPDX-License-Identifier: MIT */
/* gateway/ops/trust_test.c - who may act: one row per peer, Host and header. */
#include "gateway/ops/trust.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const struct row {
    const char *name, *peer, *host, *field, *says; /* says NULL: may act */
} rows[] = {
    {"loopback", "127.0.0.1:51234", "127.0.0.1:8080", NULL, NULL},
    {"another loopback address", "127.8.9.10:5", "localhost", NULL, NULL},
    {"IPv6 loopback", "[::1]:5", "[::1]:8080", NULL, NULL},
    {"IPv4 seen by IPv6", "[::ffff:127.0.0.1]:5", "localhost:8080", NULL, NULL},
    {"Unix socket", "unix", "localhost", NULL, NULL},
    {"capitals", "127.0.0.1:5", "LocalHost:8080", NULL, NULL},
    {"from the mesh", "100.64.0.7:5", "localhost", NULL, "this machine only"},
    {"from the mesh, IPv6", "[fd7a:115c::1]:5", "localhost", NULL, "this machine only"},
    {"mapped, not loopback", "[::ffff:10.0.0.1]:5", "localhost", NULL, "this machine only"},
    {"unknown peer", "?", "localhost", NULL, "this machine only"},
    {"no peer", "", "localhost", NULL, "this machine only"},
    {"web page", "127.0.0.1:5", "localhost", "Origin", "web pages"},
    {"web page, by fetch metadata", "127.0.0.1:5", "localhost", "sec-fetch-site", "web pages"},
    {"proxy", "127.0.0.1:5", "localhost", "x-forwarded-for", "through a proxy"},
    {"standard proxy", "127.0.0.1:5", "localhost", "Forwarded", "through a proxy"},
    {"named proxy", "127.0.0.1:5", "localhost", "Via", "through a proxy"},
    {"rebound name", "127.0.0.1:5", "evil.example:8080", NULL, "loopback name"},
    {"name beneath localhost", "127.0.0.1:5", "x.localhost", NULL, "loopback name"},
    {"name that begins like it", "127.0.0.1:5", "localhost.evil.example", NULL, "loopback name"},
    {"address as a label", "127.0.0.1:5", "127.0.0.1.evil.example", NULL, "loopback name"},
    {"own address", "127.0.0.1:5", "10.1.2.3:8080", NULL, "loopback name"},
    {"wildcard", "127.0.0.1:5", "0.0.0.0:8080", NULL, "loopback name"},
    {"short form", "127.0.0.1:5", "127.1", NULL, "loopback name"},
    {"decimal form", "127.0.0.1:5", "2130706433", NULL, "loopback name"},
    {"no Host", "127.0.0.1:5", "", NULL, "loopback name"},
    {"socket as Host", "127.0.0.1:5", "unix:/tmp/x", NULL, "loopback name"},
    {"half a bracket", "127.0.0.1:5", "[::1", NULL, "loopback name"},
    {"bracket alone", "127.0.0.1:5", "[", NULL, "loopback name"},
    {"port that is none", "127.0.0.1:5", "localhost:http", NULL, "loopback name"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct http_field field = {rm_slice_of(row->field), RM_LIT("x")};
    struct http_head head = {
        .host = rm_slice_of(row->host), .n_fields = row->field != NULL, .fields = &field};
    const char *said = ops_trust_fault(row->peer, &head);

    if (row->says == NULL && said != NULL)
        fail_msg("refused: %s", said);
    if (row->says != NULL && (said == NULL || strstr(said, row->says) == NULL))
        fail_msg("expected \"%s\", got: %s", row->says, said != NULL ? said : "may act");
}

/* ---- with and without keys ---- */

enum sender { NOBODY, WRONG, USER, ADMIN };
static const struct policy_row {
    const char *name;
    enum ops_policy policy;
    bool near, exist;
    enum sender sender;
    int err;
} policy_rows[] = {
    {"open to all", OPS_OPEN, false, true, WRONG, 0},
    {"read without keys", OPS_USER, false, false, NOBODY, 0},
    {"act without keys, near", OPS_ADMIN, true, false, NOBODY, 0},
    {"act without keys, far", OPS_ADMIN, false, false, NOBODY, RM_ERR_FORBIDDEN},
    {"scrape without keys", OPS_SCRAPE, false, false, NOBODY, 0},
    {"read with no key", OPS_USER, true, true, NOBODY, RM_ERR_AUTH},
    {"read with a wrong key", OPS_USER, true, true, WRONG, RM_ERR_AUTH},
    {"read with a user's", OPS_USER, false, true, USER, 0},
    {"read with an admin's", OPS_USER, false, true, ADMIN, 0},
    {"act with no key", OPS_ADMIN, true, true, NOBODY, RM_ERR_AUTH},
    {"act with a wrong key", OPS_ADMIN, true, true, WRONG, RM_ERR_AUTH},
    {"act with a user's", OPS_ADMIN, true, true, USER, RM_ERR_FORBIDDEN},
    {"act with an admin's, far", OPS_ADMIN, false, true, ADMIN, 0},
    {"scrape from here", OPS_SCRAPE, true, true, NOBODY, 0},
    {"scrape from elsewhere", OPS_SCRAPE, false, true, NOBODY, RM_ERR_AUTH},
    {"scrape from elsewhere with a key", OPS_SCRAPE, false, true, USER, 0},
};

static void run_policy(void **state)
{
    static const struct api_key user, admin = {.admin = true};
    const struct policy_row *row = *state;
    struct http_head head = {.host = RM_LIT("localhost")};
    bool bad = row->exist && row->sender < USER;
    struct ops_who who = {.keys_exist = row->exist,
                          .err = bad ? RM_ERR_AUTH : 0,
                          .why = bad ? "no" : NULL,
                          .key = row->sender == USER    ? &user
                                 : row->sender == ADMIN ? &admin
                                                        : NULL};
    const char *why;
    int err = ops_allowed(row->policy, row->near ? "127.0.0.1:5" : "10.0.0.7:5", &head, &who, &why);

    assert_int_equal(err, row->err);
    assert_int_equal(why != NULL, err < 0);
}

/* ---- who reads under which name ---- */

static const struct name_row {
    const char *name, *peer, *host;
    bool exist;
    int err;
} name_rows[] = {
    {"name: localhost", "127.0.0.1:5", "localhost:8080", false, 0},
    {"name: loopback", "[::1]:5", "[::1]:8080", false, 0},
    {"name: own address", "127.0.0.1:5", "100.64.0.7:8080", false, 0},
    {"name: own IPv6 address", "127.0.0.1:5", "[fd7a:115c::1]:8080", false, 0},
    {"name: of HTTP/1.0, none", "127.0.0.1:5", "", false, 0},
    {"name: rebound", "127.0.0.1:5", "evil.example:8080", false, RM_ERR_MISDIRECTED},
    {"name: rebound, no port", "127.0.0.1:5", "evil.example", false, RM_ERR_MISDIRECTED},
    {"name: like an address", "127.0.0.1:5", "127.0.0.1.evil.example", false, RM_ERR_MISDIRECTED},
    {"name: beneath localhost", "127.0.0.1:5", "x.localhost", false, RM_ERR_MISDIRECTED},
    {"name: damaged", "127.0.0.1:5", "[::1", false, RM_ERR_MISDIRECTED},
    {"name: of the mesh, from there", "100.64.0.9:5", "gw.mesh.example:8080", false, 0},
    {"name: any, with a key", "127.0.0.1:5", "gw.example", true, 0},
};

static void run_name(void **state)
{
    static const struct api_key user;
    const struct name_row *row = *state;
    struct http_head head = {.host = rm_slice_of(row->host)};
    struct ops_who who = {.keys_exist = row->exist, .key = row->exist ? &user : NULL};
    const char *why;

    assert_int_equal(ops_allowed(OPS_USER, row->peer, &head, &who, &why), row->err);
    assert_int_equal(why != NULL, row->err < 0);
}

/* ---- by a session's cookie ---- */

static const struct cookie_row {
    const char *name;
    enum http_method method;
    enum ops_policy policy;
    bool admin;
    const char *action, *origin, *site; /* fields; NULL: not sent */
    int err;
} cookie_rows[] = {
    {"cookie: reads", HTTP_GET, OPS_USER, false, NULL, NULL, NULL, 0},
    {"cookie: reads, with HEAD", HTTP_HEAD, OPS_USER, false, NULL, NULL, NULL, 0},
    {"cookie: acts", HTTP_POST, OPS_ADMIN, true, "1", NULL, NULL, 0},
    {"cookie: acts from its page", HTTP_POST, OPS_ADMIN, true, "1", "http://gw.example:8080",
     "same-origin", 0},
    {"cookie: behind TLS", HTTP_DELETE, OPS_ADMIN, true, "1", "https://GW.example:8080", NULL, 0},
    {"cookie: no admin's", HTTP_POST, OPS_ADMIN, false, "1", NULL, NULL, RM_ERR_FORBIDDEN},
    {"cookie: a form of another site", HTTP_POST, OPS_ADMIN, true, NULL, NULL, NULL,
     RM_ERR_FORBIDDEN},
    {"cookie: another value", HTTP_POST, OPS_ADMIN, true, "yes", NULL, NULL, RM_ERR_FORBIDDEN},
    {"cookie: foreign origin", HTTP_POST, OPS_ADMIN, true, "1", "http://evil.example", NULL,
     RM_ERR_FORBIDDEN},
    {"cookie: another port", HTTP_POST, OPS_ADMIN, true, "1", "http://gw.example:3000", NULL,
     RM_ERR_FORBIDDEN},
    {"cookie: a name that ends like it", HTTP_POST, OPS_ADMIN, true, "1",
     "http://evil-gw.example:8080", NULL, RM_ERR_FORBIDDEN},
    {"cookie: a longer name", HTTP_POST, OPS_ADMIN, true, "1", "http://gw.example:80800", NULL,
     RM_ERR_FORBIDDEN},
    {"cookie: no origin's", HTTP_POST, OPS_ADMIN, true, "1", "null", NULL, RM_ERR_FORBIDDEN},
    {"cookie: the same site", HTTP_POST, OPS_ADMIN, true, "1", NULL, "same-site", RM_ERR_FORBIDDEN},
    {"cookie: another site", HTTP_POST, OPS_ADMIN, true, "1", NULL, "cross-site", RM_ERR_FORBIDDEN},
    {"cookie: signs out", HTTP_DELETE, OPS_OPEN, false, "1", NULL, NULL, 0},
    {"cookie: is signed out", HTTP_DELETE, OPS_OPEN, false, NULL, NULL, NULL, RM_ERR_FORBIDDEN},
    {"cookie: a user does more than read", HTTP_POST, OPS_USER, false, NULL, NULL, NULL,
     RM_ERR_FORBIDDEN},
};

static void run_cookie(void **state)
{
    const struct cookie_row *row = *state;
    const struct api_key key = {.admin = row->admin};
    const struct ops_who who = {.keys_exist = true, .key = &key, .by_cookie = true};
    struct http_field fields[3];
    struct http_head head = {
        .method = row->method, .host = RM_LIT("gw.example:8080"), .fields = fields};
    const char *why;

    if (row->action != NULL)
        fields[head.n_fields++] =
            (struct http_field){RM_LIT("x-rolemesh-action"), rm_slice_of(row->action)};
    if (row->origin != NULL)
        fields[head.n_fields++] = (struct http_field){RM_LIT("origin"), rm_slice_of(row->origin)};
    if (row->site != NULL)
        fields[head.n_fields++] =
            (struct http_field){RM_LIT("sec-fetch-site"), rm_slice_of(row->site)};
    assert_int_equal(ops_allowed(row->policy, "127.0.0.1:5", &head, &who, &why), row->err);
    assert_int_equal(why != NULL, row->err < 0);
}

static void media_types(void **state)
{
    static const struct {
        const char *value;
        bool is;
    } types[] = {{"application/yaml", true},
                 {"Application/YAML; charset=utf-8", true},
                 {"application/yaml ;x=y", true},
                 {"application/yamlx", false},
                 {"text/plain;application/yaml", false},
                 {"", false}};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(types); i++) {
        struct http_field field = {RM_LIT("content-type"), rm_slice_of(types[i].value)};
        struct http_head head = {.n_fields = 1, .fields = &field};

        assert_int_equal(ops_has_type(&head, "application/yaml"), types[i].is);
    }
}

#define ROWS(table, run)                                                                           \
    for (size_t i = 0; i < RM_COUNT(table); i++)                                                   \
        tests[n++] = (struct CMUnitTest){table[i].name, run, NULL, NULL, (void *)&table[i]};

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + RM_COUNT(policy_rows) + RM_COUNT(name_rows) +
                            RM_COUNT(cookie_rows) + 1];
    size_t n = 0;

    ROWS(rows, run_row)
    ROWS(policy_rows, run_policy)
    ROWS(name_rows, run_name)
    ROWS(cookie_rows, run_cookie)
    tests[n] = (struct CMUnitTest)cmocka_unit_test(media_types);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
