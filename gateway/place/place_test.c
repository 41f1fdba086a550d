/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/place/place.h"

enum { NODES = 2, ROLES = 3 };

/* Two nodes a and b, roles x (pinned), y, z; forecasts in units; '?' unasked, '!' bad. */
static const struct row {
    const char *name;
    uint64_t budget[NODES];
    bool usable[NODES];
    const char *forecast[ROLES]; /* one character a node: 0..9, '?' or '!' */
    uint32_t replicas[ROLES];
    const char *standing[ROLES]; /* "a", "b", "ab" or "" */
    const char *only[ROLES];     /* allowed node or NULL */
    const char *wanted[ROLES];
    enum place_short why[ROLES];
} rows[] = {
    {"all on the first node that has room",
     {9, 9},
     {1, 1},
     {"33", "33", "33"},
     {1, 1, 1},
     {"", "", ""},
     {0},
     {"a", "a", "a"},
     {0}},
    {"the next node when the first is full",
     {5, 9},
     {1, 1},
     {"33", "33", "33"},
     {1, 1, 1},
     {"", "", ""},
     {0},
     {"a", "b", "b"},
     {0}},
    {"replicas go to different nodes",
     {9, 9},
     {1, 1},
     {"33", "11", "11"},
     {2, 1, 1},
     {"", "", ""},
     {0},
     {"ab", "a", "a"},
     {0}},
    {"what stands stays",
     {9, 9},
     {1, 1},
     {"33", "33", "33"},
     {1, 1, 1},
     {"b", "", "b"},
     {0},
     {"b", "a", "b"},
     {0}},
    {"the allow list binds",
     {9, 9},
     {1, 1},
     {"33", "33", "33"},
     {1, 1, 1},
     {"", "a", ""},
     {0, "b", 0},
     {"a", "b", "a"},
     {0}},
    {"a node that is gone gets nothing",
     {9, 9},
     {0, 1},
     {"33", "33", "33"},
     {1, 1, 1},
     {"a", "", ""},
     {0},
     {"b", "b", "b"},
     {0}},
    {"no room says so",
     {2, 4},
     {1, 1},
     {"33", "33", "11"},
     {1, 1, 1},
     {"", "", ""},
     {0},
     {"b", "", "a"},
     {PLACE_OK, PLACE_NO_ROOM, PLACE_OK}},
    {"an unasked pair waits",
     {9, 9},
     {1, 0},
     {"?3", "33", "33"},
     {1, 1, 1},
     {"", "", ""},
     {0},
     {"", "a", "a"},
     {PLACE_WAITS, 0, 0}},
    {"another node has the file",
     {9, 9},
     {1, 1},
     {"!3", "33", "33"},
     {1, 1, 1},
     {"", "", ""},
     {0},
     {"b", "a", "a"},
     {0}},
    {"no node has the file: the first one tells",
     {9, 9},
     {1, 1},
     {"!!", "33", "33"},
     {1, 1, 1},
     {"", "", ""},
     {0},
     {"a", "a", "a"},
     {0}},
    {"nobody there",
     {9, 9},
     {0, 0},
     {"33", "33", "33"},
     {1, 1, 1},
     {"", "", ""},
     {0},
     {"", "", ""},
     {PLACE_NO_NODE, PLACE_NO_NODE, PLACE_NO_NODE}},
    {"pinned goes before resident",
     {3, 0},
     {1, 1},
     {"33", "33", "33"},
     {1, 1, 1},
     {"", "", ""},
     {0},
     {"a", "", ""},
     {0, PLACE_NO_ROOM, PLACE_NO_ROOM}},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct map_node nodes[NODES] = {{.name = "a"}, {.name = "b"}};
    struct map_role roles[ROLES] = {{.name = "x", .residency = MAP_PINNED},
                                    {.name = "y", .residency = MAP_RESIDENT},
                                    {.name = "z", .residency = MAP_RESIDENT}};
    struct role_map map = {.nodes = nodes, .roles = roles, .n_nodes = NODES, .n_roles = ROLES};
    struct place_node facts[NODES];
    struct place_forecast forecasts[ROLES * NODES];
    bool standing[ROLES * NODES], wanted[ROLES * NODES];
    struct place_verdict verdicts[ROLES];

    for (size_t i = 0; i < NODES; i++)
        facts[i] = (struct place_node){.usable = row->usable[i], .budget = row->budget[i]};
    for (size_t r = 0; r < ROLES; r++) {
        roles[r].replicas = row->replicas[r];
        if (row->only[r] != NULL)
            roles[r].nodes = (struct conf_list){.item = &row->only[r], .n = 1};
        for (size_t i = 0; i < NODES; i++) {
            char c = row->forecast[r][i];

            forecasts[r * NODES + i].known = c == '?'   ? PLACE_UNASKED
                                             : c == '!' ? PLACE_BAD
                                                        : PLACE_FITS;
            forecasts[r * NODES + i].bytes = c >= '0' && c <= '9' ? (uint64_t)(c - '0') : 0;
            standing[r * NODES + i] = strchr(row->standing[r], 'a' + (int)i) != NULL;
        }
    }
    place_first_fit(&(struct place_input){&map, facts, forecasts, standing}, wanted, verdicts);
    for (size_t r = 0; r < ROLES; r++) {
        char got[NODES + 1] = "";
        size_t n = 0;

        for (size_t i = 0; i < NODES; i++)
            if (wanted[r * NODES + i])
                got[n++] = (char)('a' + (int)i);
        got[n] = '\0';
        assert_string_equal(got, row->wanted[r]);
        assert_int_equal(verdicts[r].why, row->why[r]);
    }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows)];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
