/* SPDX-License-Identifier: MIT */
/* proto/base/log_ring_test.c - lines kept and read back: order, pages, filters, bounds, threads. */
#include "proto/base/log_ring.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct read {
    char text[65536];
    size_t n, lines, stop_after;
    uint64_t last, first;
};

static int on_line(void *arg, const struct rm_log_entry *e)
{
    struct read *r = arg;

    if (r->lines > 0)
        assert_true(e->id < r->last); /* newest first */
    else
        r->first = e->id;
    r->last = e->id;
    r->lines++;
    if (r->n + strlen(e->text) + 80 < sizeof r->text)
        r->n += (size_t)sprintf(r->text + r->n, "%s%s/%s/%s/%s", r->n > 0 ? "|" : "",
                                rm_log_level_name(e->level), e->engine, e->area, e->text);
    return r->stop_after > 0 && r->lines == r->stop_after ? 7 : 0;
}

static uint64_t read_lines(struct read *r, struct rm_log_wish wish)
{
    uint64_t next;

    memset(r, 0, sizeof *r);
    assert_int_equal(rm_log_ring_read(&wish, on_line, r, &next), 0);
    return next;
}

static uint64_t start; /* ids above are of this test */

static void begin(void)
{
    struct read r;

    (void)read_lines(&r, (struct rm_log_wish){.level = RM_LOG_DEBUG, .limit = 1});
    start = r.first;
}

static int open_ring(void **state)
{
    struct read r;

    (void)state;
    rm_log_set_sink(NULL, NULL);
    rm_log_ring_add(RM_LOG_ERROR, "", "a", "before it is open"); /* not kept, no harm */
    if (rm_log_ring_open() < 0 || rm_log_ring_open() < 0)
        return -1;
    (void)read_lines(&r, (struct rm_log_wish){.level = RM_LOG_DEBUG, .limit = 9});
    return r.lines == 0 ? 0 : -1;
}

static const struct row {
    const char *name;
    struct rm_log_wish wish;
    const char *want;
    bool more;
} rows[] = {
    {"all, newest first",
     {.level = RM_LOG_DEBUG, .limit = 9},
     "info//route/\"a host\" "
     "role=x|debug/code/engine/loading|error//worker/bad|warn/code/engine/odd?",
     false},
    {"warnings and worse",
     {.level = RM_LOG_WARN, .limit = 9},
     "error//worker/bad|warn/code/engine/odd?",
     false},
    {"of one engine",
     {.level = RM_LOG_DEBUG, .limit = 9, .engine = "code"},
     "debug/code/engine/loading|warn/code/engine/odd?",
     false},
    {"our own",
     {.level = RM_LOG_DEBUG, .limit = 9, .engine = ""},
     "info//route/\"a host\" role=x|error//worker/bad",
     false},
    {"of nobody", {.level = RM_LOG_DEBUG, .limit = 9, .engine = "ask"}, "", false},
    {"a page",
     {.level = RM_LOG_DEBUG, .limit = 2},
     "info//route/\"a host\" role=x|debug/code/engine/loading",
     true},
    {"as many as there are", {.level = RM_LOG_DEBUG, .limit = 4, .after = 1}, NULL, true},
    {"a page by bytes has one line at least",
     {.level = RM_LOG_DEBUG, .limit = 9, .bytes = 1},
     "info//route/\"a host\" role=x",
     true},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct rm_log_wish wish = row->wish;
    struct read r;
    uint64_t next;

    begin();
    rm_log_ring_add(RM_LOG_WARN, "code", "engine", "odd\x1b\n");
    rm_log_ring_add(RM_LOG_ERROR, "", "worker", "bad");
    rm_log_ring_add(RM_LOG_DEBUG, "code", "engine", "loading\r\n");
    rm_info("route", "a host", RM_S("role", "x")); /* by the log itself */
    wish.after = wish.after == 0 ? start : wish.after;
    next = read_lines(&r, wish);
    if (row->want != NULL)
        assert_string_equal(r.text, row->want);
    assert_true((next != 0) == (row->more && (row->want != NULL || r.lines == wish.limit)));
}

static void pages_join(void **state)
{
    uint64_t before = 0;
    size_t all = 0;
    struct read r;

    (void)state;
    begin();
    for (int i = 0; i < 100; i++)
        rm_log_ring_add(RM_LOG_INFO, i % 3 == 0 ? "e" : "", "a", "text");
    do {
        before = read_lines(&r, (struct rm_log_wish){.level = RM_LOG_DEBUG,
                                                     .limit = 7,
                                                     .after = start,
                                                     .before = before,
                                                     .engine = "e"});
        all += r.lines;
        assert_true(r.lines > 0);
    } while (before != 0);
    assert_int_equal(all, 34);
}

static void the_oldest_leave(void **state)
{
    char *text = malloc(5001);
    struct read r;

    (void)state;
    assert_non_null(text);
    for (int i = 0; i < RM_LOG_RING_LINES + 10; i++)
        rm_log_ring_add(RM_LOG_INFO, "", "a", "short");
    (void)read_lines(&r, (struct rm_log_wish){.level = RM_LOG_DEBUG, .limit = 1 << 20});
    assert_int_equal(r.lines, RM_LOG_RING_LINES);
    memset(text, 'x', 5000);
    text[5000] = '\0';
    for (int i = 0; i < 600; i++) /* by bytes */
        rm_log_ring_add(RM_LOG_INFO, "", "a", text);
    (void)read_lines(&r, (struct rm_log_wish){.level = RM_LOG_DEBUG, .limit = 1 << 20});
    assert_in_range(r.lines, 500, 512); /* 2048 bytes of each are kept */
    memset(&r, 0, sizeof r);
    r.stop_after = 3;
    assert_int_equal(rm_log_ring_read(&(struct rm_log_wish){.level = RM_LOG_DEBUG, .limit = 9},
                                      on_line, &r, &(uint64_t){0}),
                     7);
    assert_int_equal(r.lines, 3);
    free(text);
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < 2000; i++)
        rm_log_ring_add(RM_LOG_INFO, arg, "a", "of a thread");
    return NULL;
}

static void threads(void **state)
{
    pthread_t thread[3];
    struct read r;

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_lines, "t"), 0);
    for (int i = 0; i < 50; i++)
        (void)read_lines(&r, (struct rm_log_wish){.level = RM_LOG_DEBUG, .limit = 100});
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    (void)read_lines(&r,
                     (struct rm_log_wish){.level = RM_LOG_DEBUG, .limit = 1 << 20, .engine = "t"});
    assert_int_equal(r.lines, RM_LOG_RING_LINES);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 3];
    size_t n = 0;

    for (; n < RM_COUNT(rows); n++)
        tests[n] = (struct CMUnitTest){rows[n].name, run_row, NULL, NULL, (void *)&rows[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(pages_join);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(the_oldest_leave);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(threads);
    return cmocka_run_group_tests(tests, open_ring, NULL);
}
