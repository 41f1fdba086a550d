/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "gateway/route/health.h"
#include "proto/base/err.h"

/* A script of signs: '+' good, '-' bad, '.' a second passes (with a tick). The states after each
 * one: D S U. */
static const struct row {
    const char *name;
    const struct health_rule *rule;
    enum health_state start;
    const char *signs, *states;
} rows[] = {
    {"a node rises with two signs", &health_node_rule, HEALTH_DOWN, "++", "SU"},
    {"one broken stream makes a suspect, not a dead node", &health_node_rule, HEALTH_UP, "-", "S"},
    {"two in a row take it out", &health_node_rule, HEALTH_UP, "--", "SD"},
    {"a good sign between them does not", &health_node_rule, HEALTH_UP, "-+-+", "SSSS"},
    {"silence: suspect at 4 s, down at 8 s", &health_node_rule, HEALTH_UP, "........", "UUUSSSSD"},
    {"silence never lifts a dead node", &health_node_rule, HEALTH_UP,
     "........."
     "....",
     "UUUSSSSDDDDDD"},
    {"back with the second word", &health_node_rule, HEALTH_DOWN, "....+.+", "DDDDSSU"},
    {"a host is out after three failures", &health_host_rule, HEALTH_UP, "---", "SSD"},
    {"and on probation two seconds later", &health_host_rule, HEALTH_UP, "---..", "SSDDS"},
    {"where one more failure takes it out for longer", &health_host_rule, HEALTH_UP, "---..-....",
     "SSDDSDDDDS"},
    {"and one success brings it back", &health_host_rule, HEALTH_UP, "---..+", "SSDDSU"},
    {"a suspect host that nobody asks is forgiven after half a minute", &health_host_rule,
     HEALTH_UP, "-..............................", "SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSU"},
    {"silence says nothing of a host", &health_host_rule, HEALTH_UP, "..........", "UUUUUUUUUU"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct health h;
    uint64_t now = 1000000;

    health_init(&h, row->start, now);
    for (size_t i = 0; row->signs[i] != '\0'; i++) {
        if (row->signs[i] == '+')
            health_good(&h, row->rule, now);
        else if (row->signs[i] == '-')
            health_bad(&h, row->rule, now);
        else
            health_tick(&h, row->rule, now += 1000);
        if (row->states[i] != "DSU"[h.state])
            fail_msg("after %zu signs of \"%s\": %s", i + 1, row->signs,
                     health_state_name(h.state));
    }
}

/* A node that speaks every second, goes silent at a random moment for a random time and comes back:
 * it is out within 10 s of its last word and up within 3 s of the next. */
static void out_in_ten_back_in_three(void **state)
{
    uint64_t seed = 88172645463325252ull;

    (void)state;
    for (int run = 0; run < 2000; run++) {
        uint64_t now = 5000, last_word, back;
        struct health h;

        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        health_init(&h, HEALTH_DOWN, now);
        for (int i = 0; i < 5; i++, now += 1000)
            health_good(&h, &health_node_rule, now);
        assert_int_equal(h.state, HEALTH_UP);
        last_word = now - 1000;
        for (back = now + 10000 + seed % 50000; now < back; now += 250) {
            health_tick(&h, &health_node_rule, now);
            if (now - last_word >= 10000)
                assert_int_equal(h.state, HEALTH_DOWN);
        }
        for (int i = 0; i < 3; i++)
            health_good(&h, &health_node_rule, back + (uint64_t)i * 1000);
        assert_int_equal(h.state, HEALTH_UP);
    }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 1];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(out_in_ten_back_in_three);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
