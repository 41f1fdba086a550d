/* SPDX-License-Identifier: MIT */
/* gateway/map/map_test.c - the file, the watch's decision, the difference, and the keeper on a real
 * loop: jobs in order, who is told what, a close in the middle. */
#include "gateway/map/diff.h"
#include "gateway/map/keeper.h"
#include "gateway/map/text.h"
#include "gateway/map/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/base/log.h"

static const char one_role[] = "version: 1\n"
                               "nodes: {speed: {address: \"127.0.0.1:7070\"}}\n"
                               "models: {m: {source: /m.gguf}}\n"
                               "roles: {ask: {model: m, slots: 1}}\n";
static const char two_slots[] = "version: 1\n"
                                "nodes: {speed: {address: \"127.0.0.1:7070\"}}\n"
                                "models: {m: {source: /m.gguf}}\n"
                                "roles: {ask: {model: m, slots: 2}}\n";

struct place {
    char dir[64], path[96];
};

static int place_make(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    strcpy(p->dir, "/tmp/rm-map-XXXXXX");
    if (mkdtemp(p->dir) == NULL)
        return -1;
    snprintf(p->path, sizeof p->path, "%s/map.yaml", p->dir);
    *state = p;
    return 0;
}

static int place_clear(void **state)
{
    struct place *p = *state;
    char command[160];
    int r;

    snprintf(command, sizeof command, "rm -rf '%s'", p->dir);
    r = system(command);
    free(p);
    return r;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void assert_text(const char *path, const char *text)
{
    char bytes[4096];
    FILE *f = fopen(path, "r");
    size_t n;

    assert_non_null(f);
    n = fread(bytes, 1, sizeof bytes - 1, f);
    bytes[n] = '\0';
    fclose(f);
    assert_string_equal(bytes, text);
}

/* ---- the file ---- */

static void a_revision_is_of_the_bytes(void **state)
{
    char of_text[MAP_REVISION], of_file[MAP_REVISION], none[MAP_REVISION];
    struct place *p = *state;

    map_revision_of("abc", 3, of_text);
    assert_string_equal(of_text, "cf4ab791c62b8d2b2109c90275287816"); /* b2sum -l 128 */
    put(p->path, "abc");
    map_file_revision(p->path, of_file);
    assert_string_equal(of_file, of_text);
    map_file_revision(p->dir, none);
    assert_string_equal(none, "");
}

static void a_write_is_whole_and_keeps_the_mode(void **state)
{
    char old[MAP_REVISION], found[MAP_REVISION], why[MAP_WHY_MAX];
    struct place *p = *state;
    struct stat st;

    put(p->path, one_role);
    assert_int_equal(chmod(p->path, 0604), 0);
    map_revision_of(one_role, strlen(one_role), old);
    assert_int_equal(map_file_write(p->path, two_slots, strlen(two_slots), old, found, why), 0);
    assert_string_equal(found, old);
    assert_text(p->path, two_slots);
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0604);
    /* the same expectation again is out of date */
    assert_int_equal(map_file_write(p->path, one_role, strlen(one_role), old, found, why),
                     RM_ERR_REVISION);
    assert_string_not_equal(found, old);
    assert_text(p->path, two_slots);
    assert_int_equal(map_file_write(p->path, "", 0, "*", found, why), 0);
    assert_text(p->path, "");
}

static void a_write_that_fails_leaves_the_file(void **state)
{
    char found[MAP_REVISION], why[MAP_WHY_MAX], gone[128], links[128];
    struct place *p = *state;

    snprintf(gone, sizeof gone, "%s/gone", p->dir);
    assert_int_equal(map_file_write(gone, "x", 1, "*", found, why), UV_ENOENT);
    assert_non_null(strstr(why, gone));
    snprintf(links, sizeof links, "%s/loop", p->dir);
    assert_int_equal(symlink(links, links), 0);
    assert_int_equal(map_file_write(links, "x", 1, "*", found, why), UV_ELOOP);
    put(p->path, one_role);
    if (geteuid() == 0)
        return; /* root may write everywhere */
    assert_int_equal(chmod(p->dir, 0500), 0);
    assert_int_equal(map_file_write(p->path, "x", 1, "*", found, why), UV_EACCES);
    assert_int_equal(chmod(p->dir, 0700), 0);
    assert_text(p->path, one_role);
}

static void another_file_is_another_one(void **state)
{
    struct map_file_id a, b;
    struct place *p = *state;
    char other[128];

    map_file_identify(p->path, &a);
    assert_int_equal(a.err, UV_ENOENT);
    put(p->path, one_role);
    map_file_identify(p->path, &b);
    assert_false(map_file_same(&a, &b));
    map_file_identify(p->path, &a);
    assert_true(map_file_same(&a, &b));
    snprintf(other, sizeof other, "%s/other", p->dir);
    put(other, one_role);
    assert_int_equal(rename(other, p->path), 0);
    map_file_identify(p->path, &a);
    assert_false(map_file_same(&a, &b));
}

/* ---- the watch's decision ---- */

static void an_edit_is_told_once_when_it_is_quiet(void **state)
{
    static const struct {
        uint64_t at_ms, file;
        enum settle_says says;
    } steps[] = {
        {0, 1, SETTLE_MOVING},     {100, 1, SETTLE_MOVING},
        {299, 1, SETTLE_MOVING},   {300, 1, SETTLE_CHANGED},
        {400, 1, SETTLE_STILL},    {9000, 1, SETTLE_STILL},
        {9100, 2, SETTLE_MOVING},  {9300, 3, SETTLE_MOVING}, /* a writer at work */
        {9500, 4, SETTLE_MOVING},  {9700, 4, SETTLE_MOVING},
        {9800, 4, SETTLE_CHANGED}, {9900, 4, SETTLE_STILL},
        {9950, 1, SETTLE_MOVING},  {9960, 4, SETTLE_MOVING}, /* to and fro */
        {10259, 4, SETTLE_MOVING}, {10260, 4, SETTLE_CHANGED},
    };
    struct settle s = {.begun = false};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(steps); i++) {
        struct map_file_id id = {.ino = steps[i].file};

        assert_int_equal(settle_step(&s, &id, steps[i].at_ms), steps[i].says);
    }
}

/* ---- the difference ---- */

static void what_becomes_of_a_host(void **state)
{
    static const struct {
        struct map_change change;
        const char *fate;
    } rows[] = {
        {{MAP_SUBJECT_ROLE, MAP_CHANGED, "ask", "slots", CONF_HOSTS}, "replaced"},
        {{MAP_SUBJECT_ROLE, MAP_CHANGED, "ask", "slots,nodes", CONF_HOSTS | CONF_PLACE},
         "replaced"},
        {{MAP_SUBJECT_ROLE, MAP_CHANGED, "ask", "nodes", CONF_PLACE}, "replanned"},
        {{MAP_SUBJECT_ROLE, MAP_CHANGED, "ask", "modes", CONF_LIVE}, NULL},
        {{MAP_SUBJECT_ROLE, MAP_REMOVED, "ask", "", CONF_PLACE}, "ended"},
        {{MAP_SUBJECT_ROLE, MAP_ADDED, "ask", "", CONF_PLACE}, NULL},
        {{MAP_SUBJECT_ROLE, MAP_CHANGED, "code", "slots", CONF_HOSTS}, NULL},
        {{MAP_SUBJECT_NODE, MAP_CHANGED, "speed", "reserve", CONF_PLACE}, "replanned"},
        {{MAP_SUBJECT_NODE, MAP_REMOVED, "speed", "", CONF_PLACE}, "replanned"},
        {{MAP_SUBJECT_NODE, MAP_CHANGED, "other", "reserve", CONF_PLACE}, NULL},
        {{MAP_SUBJECT_GATEWAY, MAP_CHANGED, "gateway", "listen", CONF_RESTART}, NULL},
    };
    static const struct diff_host host = {"ask", "speed"};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        const char *fate = diff_fate(&rows[i].change, &host);

        if (rows[i].fate == NULL)
            assert_null(fate);
        else
            assert_string_equal(fate, rows[i].fate);
    }
}

/* ---- the keeper ---- */

struct rig {
    uv_loop_t loop;
    struct map_keeper *keeper;
    int apply_says;
    unsigned applied, answers;
    int status;
    char answer[8192];
};

static int rig_apply(void *arg, struct role_map *map)
{
    struct rig *g = arg;

    (void)map;
    g->applied++;
    return g->apply_says;
}

static void rig_each_host(void *arg,
                          void (*on_host)(void *on_arg, const char *role, const char *node),
                          void *on_arg)
{
    (void)arg;
    on_host(on_arg, "ask", "speed");
}

static void rig_on_answer(void *arg, int status, struct rm_slice json)
{
    struct rig *g = arg;

    g->answers++;
    g->status = status;
    snprintf(g->answer, sizeof g->answer, "%.*s", (int)json.n, json.p);
}

static void rig_open(struct rig *g, const struct place *p)
{
    struct map_keeper_conf conf = {
        .path = p->path, .apply = rig_apply, .each_host = rig_each_host, .arg = g};
    char revision[MAP_REVISION];
    struct conf_report report;
    struct role_map *map;

    memset(g, 0, sizeof *g);
    put(p->path, one_role);
    conf_report_init(&report);
    assert_int_equal(map_file_load(p->path, &report, revision, &map), 0);
    conf_report_clear(&report);
    assert_int_equal(uv_loop_init(&g->loop), 0);
    assert_int_equal(map_keeper_new(&g->loop, &conf, map, revision, &g->keeper), 0);
    role_map_unref(map);
}

static void rig_close(struct rig *g)
{
    map_keeper_close(g->keeper);
    uv_run(&g->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&g->loop), 0);
}

static int rig_offer(struct rig *g, const char *text, const char *expect, bool dry_run)
{
    struct map_offer offer = {.bytes = text,
                              .n = strlen(text),
                              .name = "theirs.yaml",
                              .expect = expect,
                              .dry_run = dry_run};

    return map_keeper_offer(g->keeper, &offer, rig_on_answer, g);
}

static void rig_wait(struct rig *g, unsigned answers)
{
    while (g->answers < answers)
        uv_run(&g->loop, UV_RUN_ONCE);
}

static void jobs_run_one_after_the_other(void **state)
{
    struct map_keeper_stats stats;
    struct place *p = *state;
    struct rig g;

    rig_open(&g, p);
    assert_int_equal(rig_offer(&g, two_slots, "*", false), 0);
    assert_int_equal(rig_offer(&g, one_role, "", true), 0); /* compared with what the first made */
    rig_wait(&g, 1);
    assert_int_equal(g.status, 200);
    assert_non_null(
        strstr(g.answer, "{\"role\":\"ask\",\"node\":\"speed\",\"fate\":\"replaced\"}"));
    assert_text(p->path, two_slots);
    rig_wait(&g, 2);
    assert_non_null(strstr(g.answer, "\"keys\":[\"slots\"]"));
    assert_int_equal(g.applied, 1);
    map_keeper_stats(g.keeper, &stats);
    assert_int_equal(stats.reloads, 1);
    assert_int_equal(stats.failures, 0);
    rig_close(&g);
}

static void a_bad_offer_changes_nothing(void **state)
{
    struct place *p = *state;
    struct rig g;

    rig_open(&g, p);
    assert_int_equal(rig_offer(&g, "version: 2\n", "*", false), 0);
    rig_wait(&g, 1);
    assert_int_equal(g.status, 422);
    assert_non_null(strstr(g.answer, "theirs.yaml:1:10: error: version:"));
    assert_int_equal(g.applied, 0);
    assert_text(p->path, one_role);
    rig_close(&g);
}

static void modules_that_refuse_keep_the_old_map(void **state)
{
    struct map_keeper_stats stats;
    struct place *p = *state;
    struct rig g;

    rig_open(&g, p);
    g.apply_says = UV_ENOMEM;
    assert_int_equal(rig_offer(&g, two_slots, "*", false), 0);
    rig_wait(&g, 1);
    assert_int_equal(g.status, 500);
    assert_non_null(strstr(g.answer, "written, but it does not run"));
    map_keeper_stats(g.keeper, &stats);
    assert_int_equal(stats.failures, 1);
    g.apply_says = 0;
    map_keeper_reload(g.keeper); /* the file is good: a signal brings it in */
    while (g.applied < 2)
        uv_run(&g.loop, UV_RUN_ONCE);
    map_keeper_stats(g.keeper, &stats);
    assert_int_equal(stats.reloads, 1);
    rig_close(&g);
}

static void too_many_offers_are_refused_and_a_close_answers_all(void **state)
{
    struct place *p = *state;
    struct rig g;
    unsigned taken = 0;
    int r;

    rig_open(&g, p);
    while ((r = rig_offer(&g, two_slots, "", true)) == 0)
        taken++;
    assert_int_equal(r, RM_ERR_OVERLOAD);
    assert_int_equal(taken, KEEPER_JOBS_MAX + 1); /* one runs */
    map_keeper_close(g.keeper);
    uv_run(&g.loop, UV_RUN_DEFAULT);
    assert_int_equal(g.answers, taken);
    assert_int_equal(g.status, 503);
    assert_int_equal(uv_loop_close(&g.loop), 0);
}

/* What this thread has worked, in microseconds: others on the machine do not count. */
static uint64_t worked_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* The largest map that may be: read and parsed in the pool, compared and taken over on the loop. */
static void the_loop_is_never_held_up_by_a_large_map(void **state)
{
    struct place *p = *state;
    struct rm_buf text;
    uint64_t begin, longest = 0;
    struct rig g;

    rig_open(&g, p);
    rm_buf_init(&text, 1 << 20);
    rm_buf_puts(&text, "version: 1\nnodes:\n");
    for (int i = 0; i < 64; i++)
        rm_buf_printf(&text, "  n%d: {address: \"10.0.0.%d:7070\", reserve: 8GiB}\n", i, i);
    rm_buf_puts(&text, "models:\n");
    for (int i = 0; i < 256; i++)
        rm_buf_printf(&text, "  m%d: {source: /models/m%d.gguf}\n", i, i);
    rm_buf_puts(&text, "roles:\n");
    for (int i = 0; i < 256; i++)
        rm_buf_printf(&text, "  r%d: {modes: [a%d, b%d], model: m%d, slots: 4, context: 8Ki}\n", i,
                      i, i, i);
    while (text.len < (1 << 20) - 100)
        rm_buf_puts(&text, "# a comment that makes the file as long as it may be, and no longer\n");
    assert_int_equal(rig_offer(&g, text.data, "*", false), 0);
    while (g.answers == 0) {
        begin = worked_us();
        uv_run(&g.loop, UV_RUN_ONCE);
        begin = worked_us() - begin;
        longest = begin > longest ? begin : longest;
    }
    assert_int_equal(g.status, 200);
    print_message("longest turn of the loop: %.2f ms\n", (double)longest / 1e3);
#ifndef __SANITIZE_ADDRESS__
#ifndef __SANITIZE_THREAD__
    assert_true(longest < 10000);
#endif
#endif
    rm_buf_clear(&text);
    rig_close(&g);
}

/* ---- its text, for the page ---- */

struct told_text {
    unsigned answers;
    int err;
    char json[4096];
};

static void on_text(void *arg, int err, struct rm_slice json)
{
    struct told_text *t = arg;

    t->answers++;
    t->err = err;
    snprintf(t->json, sizeof t->json, "%.*s", (int)json.n, json.p != NULL ? json.p : "");
}

static void the_text_is_the_file_with_its_revision(void **state)
{
    static const char text[] = "version: 1 # \"quoted\" \\ \xff\n";
    const struct place *p = *state;
    struct told_text told = {0};
    char want[4096], revision[MAP_REVISION];
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    put(p->path, text);
    map_revision_of(text, strlen(text), revision);
    assert_int_equal(map_text_read(&loop, p->path, on_text, &told), 0);
    assert_int_equal(told.answers, 0); /* from the loop, never inside the call */
    uv_run(&loop, UV_RUN_DEFAULT);
    snprintf(want, sizeof want,
             "{\"path\":\"%s\",\"revision\":\"%s\",\"text\":\"version: 1 # \\\"quoted\\\" \\\\ "
             "\xef\xbf\xbd\\n\"}",
             p->path, revision);
    assert_int_equal(told.err, 0);
    assert_string_equal(told.json, want);
    assert_int_equal(unlink(p->path), 0);
    assert_int_equal(map_text_read(&loop, p->path, on_text, &told), 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(told.answers, 2);
    assert_int_equal(told.err, UV_ENOENT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_revision_is_of_the_bytes, place_make, place_clear),
        cmocka_unit_test_setup_teardown(a_write_is_whole_and_keeps_the_mode, place_make,
                                        place_clear),
        cmocka_unit_test_setup_teardown(a_write_that_fails_leaves_the_file, place_make,
                                        place_clear),
        cmocka_unit_test_setup_teardown(another_file_is_another_one, place_make, place_clear),
        cmocka_unit_test_setup_teardown(the_text_is_the_file_with_its_revision, place_make,
                                        place_clear),
        cmocka_unit_test(an_edit_is_told_once_when_it_is_quiet),
        cmocka_unit_test(what_becomes_of_a_host),
        cmocka_unit_test_setup_teardown(jobs_run_one_after_the_other, place_make, place_clear),
        cmocka_unit_test_setup_teardown(a_bad_offer_changes_nothing, place_make, place_clear),
        cmocka_unit_test_setup_teardown(modules_that_refuse_keep_the_old_map, place_make,
                                        place_clear),
        cmocka_unit_test_setup_teardown(too_many_offers_are_refused_and_a_close_answers_all,
                                        place_make, place_clear),
        cmocka_unit_test_setup_teardown(the_loop_is_never_held_up_by_a_large_map, place_make,
                                        place_clear),
    };

    rm_log_set_level(RM_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
