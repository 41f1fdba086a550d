/* SPDX-License-Identifier: MIT */
/* worker/memory/facts_test.c - the texts of facts.c, group.c and sysread.c by row; process.c on
 * this machine. Whole trees: accountant_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "worker/memory/facts.h"
#include "worker/memory/group.h"
#include "worker/memory/process.h"
#include "worker/memory/sysread.h"

static const struct row {
    const char *name, *text;
    int err;
    uint64_t total, available, swap_total, swap_used, hugepages;
} rows[] = {
    {"a machine",
     "MemTotal:       131072 kB\nMemFree:  1 kB\nMemAvailable:   65536 kB\nBuffers: 9 kB\n"
     "SwapCached: 5 kB\nSwapTotal:      4096 kB\nSwapFree:       1024 kB\n",
     0, 131072 * 1024, 65536 * 1024, 4096 * 1024, 3072 * 1024, 0},
    {"no swap", "MemTotal: 8 kB\nMemAvailable: 4 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n", 0, 8192,
     4096, 0, 0, 0},
    {"no swap lines", "MemTotal: 8 kB\nMemAvailable: 4 kB\n", 0, 8192, 4096, 0, 0, 0},
    {"old kernel", "MemTotal: 8 kB\nMemFree: 3 kB\n", 0, 8192, 3072, 0, 0, 0},
    {"more available than total", "MemTotal: 8 kB\nMemAvailable: 9 kB\n", 0, 8192, 8192, 0, 0, 0},
    {"more swap free than there is",
     "MemTotal: 8 kB\nMemAvailable: 4 kB\nSwapTotal: 1 kB\nSwapFree: 2 kB\n", 0, 8192, 4096, 1024,
     0, 0},
    {"no last newline", "MemTotal: 8 kB\nMemAvailable: 4 kB", 0, 8192, 4096, 0, 0, 0},
    {"empty", "", RM_ERR_FIELD, 0, 0, 0, 0, 0},
    {"no total", "MemAvailable: 4 kB\n", RM_ERR_FIELD, 0, 0, 0, 0, 0},
    {"total 0", "MemTotal: 0 kB\nMemAvailable: 4 kB\n", RM_ERR_FIELD, 0, 0, 0, 0, 0},
    {"no number", "MemTotal: kB\nMemAvailable: 4 kB\n", RM_ERR_FIELD, 0, 0, 0, 0, 0},
    {"number too long", "MemTotal: 99999999999999999999999 kB\nMemAvailable: 4 kB\n", RM_ERR_FIELD,
     0, 0, 0, 0, 0},
    {"bytes overflow", "MemTotal: 18446744073709551615 kB\nMemAvailable: 4 kB\n", RM_ERR_FIELD, 0,
     0, 0, 0, 0},
    {"a pebibyte and more", "MemTotal: 1099511627777 kB\nMemAvailable: 4 kB\n", RM_ERR_FIELD, 0, 0,
     0, 0, 0},
    {"huge pages of several sizes",
     "MemTotal: 8192 kB\nMemAvailable: 4 kB\nHugePages_Total: 1\nHugepagesize: 2048 kB\n"
     "Hugetlb: 4096 kB\n",
     0, 8192 * 1024, 4096, 0, 0, 4096 * 1024},
    {"huge pages, old kernel",
     "MemTotal: 8192 kB\nMemAvailable: 4 kB\nHugePages_Total: 3\nHugepagesize: 2048 kB\n", 0,
     8192 * 1024, 4096, 0, 0, 6144 * 1024},
    {"more huge pages than memory", "MemTotal: 8 kB\nMemAvailable: 4 kB\nHugetlb: 9 kB\n", 0, 8192,
     4096, 0, 0, 8192},
    {"huge pages overflow",
     "MemTotal: 8 kB\nMemAvailable: 4 kB\nHugePages_Total: 18446744073709551615\n"
     "Hugepagesize: 2048 kB\n",
     0, 8192, 4096, 0, 0, 0},
    {"name inside a line", "xMemTotal: 8 kB\nMemAvailable: 4 kB\n", RM_ERR_FIELD, 0, 0, 0, 0, 0},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct memory_facts m = {.limit = 7};

    assert_int_equal(facts_parse_meminfo(rm_slice_of(row->text), &m), row->err);
    assert_true(m.total == row->total);
    assert_true(m.available == row->available);
    assert_true(m.swap_total == row->swap_total);
    assert_true(m.swap_used == row->swap_used);
    assert_true(m.hugepages == row->hugepages);
    assert_true(m.limit == 7);
}

static void zram(void **state)
{
    static const char head[] = "Filename\tType\tSize\tUsed\tPriority\n";
    static const struct {
        const char *lines;
        uint64_t bytes;
    } texts[] = {
        {"", 0},
        {"/dev/zram0  partition\t100\t\t0\t100\n", 100 * 1024},
        {"/dev/zram0  partition\t100\t\t0\t100\n/dev/sda2 partition 7 0 -2\n"
         "/dev/zram1 partition 11 0 100",
         111 * 1024},
        {"/swap/dev/zram0 file 100 0 -2\n", 0},
        {"/dev/zram0\n/dev/zram0 partition\n/dev/zram0 partition x\n/dev/zram", 0},
        {"/dev/zram0 partition 99999999999999999999999 0 100\n", 0},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(texts); i++) {
        char text[300];

        snprintf(text, sizeof(text), "%s%s", head, texts[i].lines);
        assert_int_equal(facts_parse_zram(rm_slice_of(text)), texts[i].bytes);
    }
}

static void pressure(void **state)
{
    static const struct {
        const char *text;
        bool has;
        double some, full;
    } texts[] = {
        {"some avg10=1.25 avg60=9.00 avg300=8.00 total=7\nfull avg10=0.50 avg60=2.00", true, 1.25,
         0.5},
        {"some avg10=100.00 avg60=0.00\n", true, 100, 0},
        {"some avg10=7\n", true, 7, 0},
        {"", false, 0, 0},
        {"some avg10=\n", false, 0, 0},
        {"some avg10=x\n", false, 0, 0},
        {"some avg10=101.00\n", false, 0, 0},
        {"some avg10=1.x0\n", false, 0, 0},
        {"some avg60=3.00\n", false, 0, 0},
        {"full avg10=3.00\n", false, 0, 0},
        {"awesome avg10=3.00\n", false, 0, 0},
    };
    struct memory_facts both = {0};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(texts); i++) {
        struct memory_facts f = {0};

        facts_parse_pressure(rm_slice_of(texts[i].text), &f);
        assert_int_equal(f.has_pressure, texts[i].has);
        assert_true(f.some_avg10 == texts[i].some && f.full_avg10 == texts[i].full);
    }
    facts_parse_pressure(RM_LIT("some avg10=5.00\nfull avg10=1.00\n"), &both);
    facts_parse_pressure(RM_LIT("some avg10=3.00\nfull avg10=2.00\n"), &both);
    assert_true(both.some_avg10 == 5 && both.full_avg10 == 2); /* the higher of each */
}

static void groups(void **state)
{
    static const struct {
        const char *text;
        bool found, v2;
        const char *path;
    } texts[] = {
        {"0::/user.slice/a\n", true, true, "/user.slice/a"},
        {"0::/\n", true, true, ""},
        {"9:name=systemd:/\n4:memory:/x/y\n0::/z\n", true, false, "/x/y"},
        {"0::/z\n4:cpu,memory,pids:/x:1\n", true, false, "/x:1"},
        {"4:memory_x,xmemory:/x\n", false, false, ""},
        {"0::/../..\n", true, true, ""},
        {"0::/a/../b\n", true, true, ""},
        {"0::/a", true, true, "/a"},
        {"10::/a\n", false, false, ""},
        {"memory\n::\n:\n", false, false, ""},
        {"", false, false, ""},
    };
    struct memory_group g;
    char longest[GROUP_PATH_MAX + 10] = "0::/", path[64];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(texts); i++) {
        assert_int_equal(group_parse(rm_slice_of(texts[i].text), &g), texts[i].found);
        if (texts[i].found) {
            assert_int_equal(g.v2, texts[i].v2);
            assert_string_equal(g.path, texts[i].path);
        }
    }
    memset(longest + 4, 'a', GROUP_PATH_MAX);
    assert_true(group_parse(rm_slice_of(longest), &g));
    assert_string_equal(g.path, "");
    assert_int_equal(group_file(&g, "memory.max", path, sizeof(path)), 24);
    assert_string_equal(path, "sys/fs/cgroup/memory.max");
    assert_int_equal(group_file(&g, "memory.max", path, 24), 0);
}

static void counters(void **state)
{
    uint64_t v = 99;

    (void)state;
    assert_true(
        sys_counter(RM_LIT("low 0\noom 5\noom_kill 3\noom_group_kill 0\n"), "oom_kill", &v));
    assert_true(v == 3);
    assert_true(
        sys_counter(RM_LIT("oom_kill_disable 0\nunder_oom 0\noom_kill 12\n"), "oom_kill", &v));
    assert_true(v == 12);
    assert_false(sys_counter(RM_LIT("oom_kill_disable 0\n"), "oom_kill", &v));
    assert_false(sys_counter(RM_LIT("oom_kill"), "oom_kill", &v));
    assert_false(sys_counter(RM_LIT(""), "oom_kill", &v));
}

static void this_machine(void **state)
{
    (void)state;
    assert_true(memory_resident(getpid()).rss > 100000);
    assert_true(memory_resident(getpid()).own > 10000);
    assert_true(memory_resident(getpid()).own < memory_resident(getpid()).rss); /* it maps files */
    assert_true(memory_resident(-1).rss == 0 && memory_resident(-1).own == 0);
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {cmocka_unit_test(zram), cmocka_unit_test(pressure),
                                              cmocka_unit_test(groups), cmocka_unit_test(counters),
                                              cmocka_unit_test(this_machine)};
    struct CMUnitTest tests[RM_COUNT(fixed) + RM_COUNT(rows)];

    memcpy(tests, fixed, sizeof(fixed));
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[RM_COUNT(fixed) + i] =
            (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
