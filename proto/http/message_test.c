/* SPDX-License-Identifier: MIT */
/* proto/http/message_test.c - look-ups in heads, and addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <uv.h>

#include <cmocka.h>

#include "proto/http/address.h"
#include "proto/http/message.h"

static struct http_field field(const char *name, const char *value)
{
    return (struct http_field){rm_slice_of(name), rm_slice_of(value)};
}

static void finds_the_first_field_of_any_case(void **state)
{
    const struct http_field f[] = {field("Accept", "a/b"), field("ACCEPT", "c/d"),
                                   field("X-Empty", "")};
    const struct http_head h = {.fields = f, .n_fields = 3};

    (void)state;
    assert_ptr_equal(http_head_find(&h, "accept"), &f[0]);
    assert_null(http_head_find(&h, "Accep"));
    assert_true(rm_slice_eq(http_head_value(&h, "accept"), "a/b"));
    assert_int_equal(http_head_value(&h, "x-empty").n, 0);
    assert_int_equal(http_head_value(&h, "absent").n, 0);
}

static void finds_tokens_in_all_fields_of_a_name(void **state)
{
    const struct http_field f[] = {field("Connection", "a ,\tKeep-Alive"),
                                   field("connection", ",,close2, CLOSE")};
    const struct http_head h = {.fields = f, .n_fields = 2};

    (void)state;
    assert_true(http_head_has_token(&h, "Connection", "keep-alive"));
    assert_true(http_head_has_token(&h, "Connection", "close"));
    assert_false(http_head_has_token(&h, "Connection", "close3"));
    assert_false(http_head_has_token(&h, "Connection", ""));
}

static void hop_fields_are_known(void **state)
{
    const struct http_field f[] = {field("Connection", "X-Private, close"),
                                   field("x-private", "1"),
                                   field("Authorization", "k"),
                                   field("transfer-encoding", "chunked"),
                                   field("proxy-authorization", "k"),
                                   field("TE", "trailers"),
                                   field("Host", "gw"),
                                   field("Content-Type", "a/b")};
    const bool hop[] = {true, true, false, true, true, true, true, false};
    const struct http_head h = {.fields = f, .n_fields = RM_COUNT(f)};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(f); i++)
        assert_int_equal(http_field_is_hop(&h, &f[i]), hop[i]);
}

static const struct address_row {
    const char *text; /* parsed */
    int err;
    bool is_unix, loopback;
    const char *host, *again; /* again NULL: as text */
    int port;
} address_rows[] = {
    {"127.0.0.1:8080", 0, false, true, "127.0.0.1", NULL, 8080},
    {"127.8.0.9:1", 0, false, true, "127.8.0.9", NULL, 1},
    {"100.64.0.1:7070", 0, false, false, "100.64.0.1", NULL, 7070},
    {"localhost:0", 0, false, true, "localhost", NULL, 0},
    {"node-1.mesh.example.net:65535", 0, false, false, "node-1.mesh.example.net", NULL, 65535},
    {"[::1]:80", 0, false, true, "::1", NULL, 80},
    {"[fe80::1%eth0]:80", 0, false, false, "fe80::1%eth0", NULL, 80},
    {"unix:/run/x.sock", 0, true, true, "/run/x.sock", NULL, 0},
    {"127.0.0.1:00080", 0, false, true, "127.0.0.1", "127.0.0.1:80", 80},
    {"127.0.0.1", UV_EINVAL, false, false, NULL, NULL, 0},
    {"127.0.0.1:", UV_EINVAL, false, false, NULL, NULL, 0},
    {":80", UV_EINVAL, false, false, NULL, NULL, 0},
    {"", UV_EINVAL, false, false, NULL, NULL, 0},
    {"h:65536", UV_EINVAL, false, false, NULL, NULL, 0},
    {"h:080808", UV_EINVAL, false, false, NULL, NULL, 0},
    {"h:8o", UV_EINVAL, false, false, NULL, NULL, 0},
    {"h:+80", UV_EINVAL, false, false, NULL, NULL, 0},
    {"h x:80", UV_EINVAL, false, false, NULL, NULL, 0},
    {"::1:80", UV_EINVAL, false, false, NULL, NULL, 0},
    {"[::1]80", UV_EINVAL, false, false, NULL, NULL, 0},
    {"[gw]:80", UV_EINVAL, false, false, NULL, NULL, 0},
    {"[]:80", UV_EINVAL, false, false, NULL, NULL, 0},
    {"unix:", UV_EINVAL, false, false, NULL, NULL, 0},
};

static void address_row(void **state)
{
    const struct address_row *row = *state;
    struct http_address a;
    char text[HTTP_ADDRESS_TEXT];

    assert_int_equal(http_address_parse(row->text, &a), row->err);
    if (row->err != 0)
        return;
    assert_int_equal(a.is_unix, row->is_unix);
    assert_int_equal(a.port, row->port);
    assert_string_equal(a.host, row->host);
    assert_int_equal(http_address_is_loopback(&a), row->loopback);
    http_address_text(&a, text);
    assert_string_equal(text, row->again != NULL ? row->again : row->text);
}

static void long_unix_paths_are_refused(void **state)
{
    char text[5 + 108 + 1] = "unix:";
    struct http_address a;

    (void)state;
    memset(text + 5, 'a', 108);
    assert_int_equal(http_address_parse(text, &a), UV_EINVAL);
    text[5 + 107] = '\0';
    assert_int_equal(http_address_parse(text, &a), 0);
}

static void every_error_status_has_a_reason(void **state)
{
    static const int status[] = {
#define STATUS_OF(name, number, status_, code, text) status_,
        RM_ERRORS(STATUS_OF)
#undef STATUS_OF
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(status); i++)
        assert_true(strlen(http_reason(status[i])) > 0);
    assert_string_equal(http_reason(299), "");
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(address_rows) + 5] = {
        cmocka_unit_test(finds_the_first_field_of_any_case),
        cmocka_unit_test(finds_tokens_in_all_fields_of_a_name),
        cmocka_unit_test(hop_fields_are_known),
        cmocka_unit_test(long_unix_paths_are_refused),
        cmocka_unit_test(every_error_status_has_a_reason),
    };

    for (size_t i = 0; i < RM_COUNT(address_rows); i++)
        tests[5 + i] = (struct CMUnitTest){address_rows[i].text, address_row, NULL, NULL,
                                           (void *)&address_rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
