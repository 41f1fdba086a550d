/* SPDX-License-Identifier: MIT */
/* cli/grid_test.c - tables, widths and figures for people; and that no text can break a line. */
#include "cli/ask.h"
#include "cli/grid.h"
#include "cli/human.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static const struct grid_column columns[] = {{"NAME", false, false, 0},
                                             {"N", true, false, 0},
                                             {"MORE", false, true, 0},
                                             {"TEXT", false, false, 12}};

static const struct grid_column spare[] = {{"NAME", false, false, 0},
                                           {"A", false, GRID_SPARE, 0},
                                           {"MORE", false, true, 0},
                                           {"B", false, GRID_SPARE, 0}};

static const struct row {
    const char *name, *cells[3][4]; /* NULL ends */
    unsigned width;
    bool wide, color;
    const char *says;
    bool csv;
    const char *none;
} rows[] = {
    {"only titles", {{NULL}}, 0, false, false, "NAME  N  TEXT\n", false, NULL},
    {"plain",
     {{"speed", "1", "x", "short"}, {"a", "10", "y", ""}},
     0,
     false,
     false,
     "NAME    N  TEXT\nspeed   1  short\na      10  -\n",
     false,
     NULL},
    {"wide",
     {{"a", "1", "more of it", "a text of many words"}},
     0,
     true,
     false,
     "NAME  N  MORE        TEXT\na     1  more of it  a text of many words\n",
     false,
     NULL},
    {"a column's own limit",
     {{"a", "1", "", "a text of many words"}},
     0,
     false,
     false,
     "NAME  N  TEXT\na     1  a text of m\u2026\n",
     false,
     NULL},
    {"cells, not bytes",
     {{"\u6a5f\u68b0", "1", "", "\u00e4"}, {"ab", "2", "", "b"}},
     0,
     false,
     false,
     "NAME  N  TEXT\n\u6a5f\u68b0  1  \u00e4\nab    2  b\n",
     false,
     NULL},
    {"cut in a wide character",
     {{"\u6a5f\u68b0\u6a5f\u68b0\u6a5f\u68b0\u6a5f\u68b0\u6a5f\u68b0", "1", "", "x"}},
     20,
     false,
     false,
     "NAME         N  TEXT\n\u6a5f\u68b0\u6a5f\u68b0\u6a5f\u2026  1  x\n",
     false,
     NULL},
    {"a combining mark takes no cell",
     {{"e\u0301clair", "1", "", "x"}, {"eclair", "1", "", "x"}},
     0,
     false,
     false,
     "NAME    N  TEXT\ne\u0301clair  1  x\neclair  1  x\n",
     false,
     NULL},
    {"the terminal's width",
     {{"a-rather-long-name-of-a-node", "1", "", "text"}},
     24,
     false,
     false,
     "NAME             N  TEXT\na-rather-long-\u2026  1  text\n",
     false,
     NULL},
    {"a column that tells nothing gives its room",
     {{"a-rather-long-name-of-a-node", "", "", "text"}},
     24,
     false,
     false,
     "NAME                TEXT\na-rather-long-nam\u2026  text\n",
     false,
     NULL},
    {"nothing breaks a line",
     {{"a\nb\r\033[31m", "1", "", "\u202e\u2028\xc2\x85x\u200b"}},
     0,
     false,
     false,
     "NAME       N  TEXT\na?b??[31m  1  ???x?\n",
     false,
     NULL},
    {"no UTF-8",
     {{"\xff\xc3/\xed\xa0\x80\xf8", "1", "", "x"}},
     0,
     false,
     false,
     "NAME   N  TEXT\n?\?/?\?  1  x\n",
     false,
     NULL},
    {"no rows, said", {{NULL}}, 0, false, false, "no nodes\n", false, "no nodes"},
    {"CSV without rows", {{NULL}}, 0, false, false, "NAME,N,MORE,TEXT\n", true, "no nodes"},
    {"CSV: all columns, whole, whatever the width",
     {{"a", "1", "x", "a text of many words"}, {"b", "-2", "", "y"}},
     20,
     false,
     true,
     "NAME,N,MORE,TEXT\na,1,x,a text of many words\nb,-2,,y\n",
     true,
     NULL},
    {"CSV: quotes",
     {{"a,b", "a;b", "say \"x\"", " y "}},
     0,
     false,
     false,
     "NAME,N,MORE,TEXT\n\"a,b\",\"a;b\",\"say \"\"x\"\"\",\" y \"\n",
     true,
     NULL},
    {"CSV: formulas",
     {{"=1+1", "+1+1", "-a", "@x"}, {" =1", "\t=1", "\uff1dx", "\"=1"}},
     0,
     false,
     false,
     "NAME,N,MORE,TEXT\n'=1+1,'+1+1,'-a,'@x\n\"' =1\",?=1,'\uff1dx,\"\"\"=1\"\n",
     true,
     NULL},
    {"CSV: numbers are none",
     {{"-1.5", "+3", "-12%", "-1."}, {"-.5", "+", "--1", "-1e5"}},
     0,
     false,
     false,
     "NAME,N,MORE,TEXT\n-1.5,+3,-12%,'-1.\n'-.5,'+,'--1,'-1e5\n",
     true,
     NULL},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    char *said = NULL;
    size_t n;
    struct term t = {.width = row->width, .color = row->color, .csv = row->csv};
    struct grid g;

    t.to = open_memstream(&said, &n);
    assert_non_null(t.to);
    grid_init(&g, columns, RM_COUNT(columns));
    g.none = row->none;
    for (size_t r = 0; r < 3 && row->cells[r][0] != NULL; r++)
        for (size_t c = 0; c < RM_COUNT(columns); c++)
            grid_add(&g, TERM_PLAIN, "%s", row->cells[r][c]);
    assert_int_equal(grid_print(&g, &t, row->wide), 0);
    fclose(t.to);
    assert_string_equal(said, row->says);
    grid_clear(&g);
    free(said);
}

/* The last one that may go goes first, and only as many as must. */
static void spare_columns(void **state)
{
    static const struct {
        unsigned width;
        bool wide;
        const char *says;
    } all[] = {{0, false, "NAME  A    B\na     bbb  ccc\n"},
               {14, false, "NAME  A    B\na     bbb  ccc\n"},
               {13, false, "NAME  A\na     bbb\n"},
               {8, false, "NAME\na\n"},
               {0, true, "NAME  A    MORE  B\na     bbb  x     ccc\n"}};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(all); i++) {
        char *said = NULL;
        size_t n;
        struct term t = {.width = all[i].width};
        struct grid g;

        t.to = open_memstream(&said, &n);
        grid_init(&g, spare, RM_COUNT(spare));
        grid_add(&g, TERM_PLAIN, "a");
        grid_add(&g, TERM_PLAIN, "bbb");
        grid_add(&g, TERM_PLAIN, "x");
        grid_add(&g, TERM_PLAIN, "ccc");
        assert_int_equal(grid_print(&g, &t, all[i].wide), 0);
        fclose(t.to);
        assert_string_equal(said, all[i].says);
        grid_clear(&g);
        free(said);
    }
}

/* What is to be copied is whole as long as others can give. */
static void whole_columns(void **state)
{
    static const struct grid_column both[] = {{"ID", false, GRID_WHOLE, 0},
                                              {"TEXT", false, false, 0}};
    static const struct {
        unsigned width;
        const char *says;
    } all[] = {{28, "ID             TEXT\nan-id-to-copy  a long text\n"},
               {22, "ID             TEXT\nan-id-to-copy  a long…\n"},
               {18, "ID          TEXT\nan-id-to-…  a lon…\n"}};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(all); i++) {
        char *said = NULL;
        size_t n;
        struct term t = {.width = all[i].width};
        struct grid g;

        t.to = open_memstream(&said, &n);
        grid_init(&g, both, RM_COUNT(both));
        grid_add(&g, TERM_PLAIN, "an-id-to-copy");
        grid_add(&g, TERM_PLAIN, "a long text");
        assert_int_equal(grid_print(&g, &t, false), 0);
        fclose(t.to);
        assert_string_equal(said, all[i].says);
        grid_clear(&g);
        free(said);
    }
}

static void colors(void **state)
{
    struct term t = {.color = true};
    char *said = NULL;
    struct grid g;
    size_t n;

    (void)state;
    t.to = open_memstream(&said, &n);
    grid_init(&g, columns, 2);
    grid_add(&g, TERM_BAD, "down");
    grid_add(&g, TERM_PLAIN, "1");
    assert_int_equal(grid_print(&g, &t, false), 0);
    fclose(t.to);
    assert_string_equal(said, "\033[2mNAME\033[0m  \033[2mN\033[0m\n\033[1;31mdown\033[0m  1\n");
    grid_clear(&g);
    free(said);
}

static void bytes(void **state)
{
    static const struct {
        uint64_t n;
        const char *says;
    } all[] = {
        {0, "0 B"},           {1023, "1023 B"},          {1024, "1.0 KiB"},       {1536, "1.5 KiB"},
        {1048575, "1.0 MiB"}, {137438953472, "128 GiB"}, {UINT64_MAX, "16.0 EiB"}};
    char out[HUMAN_MAX];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(all); i++)
        assert_string_equal(human_bytes(all[i].n, out), all[i].says);
}

static void times(void **state)
{
    static const struct {
        uint64_t ms;
        const char *says;
    } all[] = {{0, "0ms"},         {999, "999ms"},       {1000, "1.0s"},
               {59949, "59.9s"},   {59999, "0m59s"},     {303000, "5m03s"},
               {3600000, "1h00m"}, {86399000, "23h59m"}, {273600000, "3d4h"}};
    char out[HUMAN_MAX];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(all); i++)
        assert_string_equal(human_ms(all[i].ms, out), all[i].says);
    assert_string_equal(human_seconds(0, out), "0s");
    assert_string_equal(human_seconds(-1, out), "0s");
    assert_string_equal(human_seconds(0.25, out), "250ms");
    assert_string_equal(human_time("2026-01-02T03:04:05.678Z", 1767323046, out), "03:04:05");
    assert_string_equal(human_time("2026-01-01T23:59:59Z", 1767323046, out), "2026-01-01 23:59:59");
    assert_string_equal(human_time("soon", 1767323046, out), "-");
    assert_string_equal(human_time(NULL, 1767323046, out), "-");
}

static void counts(void **state)
{
    char out[HUMAN_MAX];

    (void)state;
    assert_string_equal(human_count(999, out), "999");
    assert_string_equal(human_count(1234, out), "1.2k");
    assert_string_equal(human_count(34567, out), "35k");
    assert_string_equal(human_count(999999, out), "1.0M");
    assert_string_equal(human_count(UINT64_MAX, out), "18E");
    assert_string_equal(human_rate(0.5, out), "0.5");
    assert_string_equal(human_rate(812.4, out), "812");
}

/* Every code point in every place of a short text: one line, and never a control character. */
static void no_text_is_odd(void **state)
{
    char text[8], out[ASK_TEXT_MAX];

    (void)state;
    for (unsigned a = 1; a < 256; a++)
        for (unsigned b = 1; b < 256; b++) {
            const unsigned char *p = (const unsigned char *)out;

            snprintf(text, sizeof text, "%c%cx", (int)a, (int)b);
            assert_string_not_equal(ask_shown(text, out), "");
            for (; *p != '\0'; p++)
                assert_true(*p >= 0x20 && *p != 0x7f && !(*p == 0xc2 && p[1] < 0xa0));
        }
}

static void a_long_text_is_cut_between_characters(void **state)
{
    char text[1200] = "", out[ASK_TEXT_MAX];
    uint32_t code;

    (void)state;
    for (int i = 0; i < 300; i++)
        strcat(text, "\u6a5f");
    ask_shown(text, out);
    assert_int_equal(strlen(out), 255);
    for (const char *p = out; *p != '\0';) {
        size_t k = ask_char(p, strlen(p), &code);

        assert_int_equal(code, 0x6a5f);
        p += k;
    }
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 8];
    size_t n = 0;

    setenv("TZ", "UTC", 1);
    setlocale(LC_CTYPE, "C.UTF-8");
    for (; n < RM_COUNT(rows); n++)
        tests[n] = (struct CMUnitTest){rows[n].name, run_row, NULL, NULL, (void *)&rows[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(spare_columns);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(whole_columns);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(colors);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(bytes);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(times);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(counts);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(no_text_is_odd);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_long_text_is_cut_between_characters);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
