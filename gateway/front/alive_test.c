/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/front/alive.h"
#include "gateway/front/dialects/openai.h"

#define PLAIN ": keepalive\n\n"

static const struct row {
    const char *name, *why, *sign;
} rows[] = {
    {"a load", "architect is loading on reasoning, 43 %, about 12 s left",
     ": architect is loading on reasoning, 43 %, about 12 s left\n\n"},
    {"nothing to say", "", PLAIN},
    {"no text", NULL, PLAIN},
    {"blanks only", " \r\n\t ", PLAIN},
    {"line ends cannot end the comment", "a\r\ndata: {}\n\nevent: x",
     ": a  data: {}  event: x\n\n"},
    {"escapes", "\x1b[2Jx\x7fy", ": [2Jx y\n\n"},
    {"leading control bytes are blanks too", "\x01\x02", PLAIN},
    {"other characters", "r\xc3\xb4le \xe2\x80\xa8 \xf0\x9f\x98\x80", ": r?le ? ?\n\n"},
    {"no UTF-8 at all", "\xff\xfe\x80x\xc3", ": ??x?\n\n"},
    {"a role called ping", "ping is loading on a, 3 %", ": waiting: ping is loading on a, 3 %\n\n"},
    {"a role called Pinger", "  Pinger waits", ": waiting: Pinger waits\n\n"},
    {"pin is no ping", "pin waits", ": pin waits\n\n"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    char out[ALIVE_MAX];
    struct rm_slice s = alive_sign(&openai_chat, row->why, out);

    assert_int_equal(s.n, strlen(row->sign));
    assert_memory_equal(s.p, row->sign, s.n);
}

/* Whatever comes in, one comment leaves: a colon and a blank, printable bytes, two line ends. */
static void test_any_bytes(void **state)
{
    uint32_t seed = 2463534242u;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        char why[400], out[ALIVE_MAX];
        struct rm_slice s;
        size_t n;

        seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
        n = seed % sizeof(why);
        for (size_t k = 0; k < n; k++) {
            seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
            why[k] = (char)(seed >> 8 | ((seed & 0xff) == 0));
        }
        why[n > 0 ? n - 1 : 0] = '\0';
        s = alive_sign(&openai_completions, why, out);
        assert_in_range(s.n, 5, ALIVE_MAX);
        assert_memory_equal(s.p, ": ", 2);
        assert_memory_equal(s.p + s.n - 2, "\n\n", 2);
        for (size_t k = 2; k < s.n - 2; k++)
            assert_in_range((unsigned char)s.p[k], ' ', '~');
        assert_true(s.n < 6 || strncasecmp(s.p, ": ping", 6) != 0);
    }
}

/* A dialect without a frame keeps its plain sign. */
static void test_no_frame(void **state)
{
    const struct dialect d = {.stream_alive = RM_LIT(" ")};
    char out[ALIVE_MAX];
    struct rm_slice s = alive_sign(&d, "ask is loading", out);

    (void)state;
    assert_int_equal(s.n, 1);
    assert_memory_equal(s.p, " ", 1);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 2];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(test_any_bytes);
    tests[RM_COUNT(rows) + 1] = (struct CMUnitTest)cmocka_unit_test(test_no_frame);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
