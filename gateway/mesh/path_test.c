/* SPDX-License-Identifier: MIT */
/* gateway/mesh/path_test.c - addresses by row: the first and last of each net, and their
 * neighbours. */
#include "gateway/mesh/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/un.h>
#include <uv.h>

#include "proto/base/buf.h"

static const struct row {
    const char *address, *path;
} rows[] = {
    {"127.0.0.1", "loopback"},
    {"127.255.255.255", "loopback"},
    {"128.0.0.1", "public"},
    {"9.255.255.255", "public"},
    {"10.0.0.0", "lan"},
    {"10.255.255.255", "lan"},
    {"172.15.255.255", "public"},
    {"172.16.0.1", "lan"},
    {"172.31.255.255", "lan"},
    {"172.32.0.0", "public"},
    {"192.168.0.1", "lan"},
    {"192.169.0.1", "public"},
    {"169.254.7.7", "lan"},
    {"100.63.255.255", "public"},
    {"100.64.0.1", "tailnet"},
    {"100.127.255.255", "tailnet"},
    {"100.128.0.0", "public"},
    {"8.8.8.8", "public"},
    {"::1", "loopback"},
    {"::2", "public"},
    {"::ffff:127.0.0.1", "loopback"},
    {"::ffff:100.100.1.2", "tailnet"},
    {"::ffff:192.168.1.2", "lan"},
    {"fd7a:115c:a1e0::1", "tailnet"},
    {"fd7a:115c:a1e0:ab12::1", "tailnet"},
    {"fd7a:115c:a1e1::1", "lan"},
    {"fc00::1", "lan"},
    {"fdff::1", "lan"},
    {"fe00::1", "public"},
    {"fe80::1", "lan"},
    {"febf::1", "lan"},
    {"2001:db8::1", "public"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct sockaddr_storage a;

    if (uv_ip4_addr(row->address, 7070, (struct sockaddr_in *)&a) < 0)
        assert_int_equal(uv_ip6_addr(row->address, 7070, (struct sockaddr_in6 *)&a), 0);
    assert_string_equal(mesh_path_name(mesh_path_of((struct sockaddr *)&a)), row->path);
}

static void other_families(void **state)
{
    struct sockaddr a = {.sa_family = AF_UNIX};

    (void)state;
    assert_string_equal(mesh_path_name(mesh_path_of(&a)), "unix");
    a.sa_family = AF_UNSPEC;
    assert_null(mesh_path_name(mesh_path_of(&a)));
    assert_null(mesh_path_name((enum mesh_path)99));
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 1];

    tests[0] = (struct CMUnitTest)cmocka_unit_test(other_families);
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i + 1] = (struct CMUnitTest){rows[i].address, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests_name("path", tests, NULL, NULL);
}
