/* SPDX-License-Identifier: MIT */
/* worker/host/kvfiles_test.c - names, age and size bounds as tables; then a real directory. */
#include "worker/host/kvfiles.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "proto/base/clock.h"

#define REV_A "0123456789abcdef0123456789abcdef"
#define REV_B "fedcba98765432100123456789abcdef"
#define DAY   ((int64_t)KVFILES_AGE_S)

static const struct name_row {
    const char *name, *role, *revision;
    enum kvfiles_kind kind;
} name_rows[] = {
    {"ask-" REV_A ".kv", "ask", REV_A, KVFILES_WHOLE},
    {"ask-" REV_A ".kv.tmp", "ask", REV_A, KVFILES_HALF},
    {"a-b.c_d-" REV_B ".kv", "a-b.c_d", REV_B, KVFILES_WHOLE},
    {"..-" REV_A ".kv", "..", REV_A, KVFILES_WHOLE},
    {"-" REV_A ".kv", "", "", KVFILES_FOREIGN},
    {REV_A ".kv", "", "", KVFILES_FOREIGN},
    {"ask_" REV_A ".kv", "", "", KVFILES_FOREIGN},
    {"ask-" REV_A "0.kv", "", "", KVFILES_FOREIGN},
    {"ask-0123456789ABCDEF0123456789abcdef.kv", "", "", KVFILES_FOREIGN},
    {"ask-" REV_A ".kv.tmp2", "", "", KVFILES_FOREIGN},
    {"ask-" REV_A, "", "", KVFILES_FOREIGN},
    {".", "", "", KVFILES_FOREIGN},
    {"..", "", "", KVFILES_FOREIGN},
    {".kv", "", "", KVFILES_FOREIGN},
    {"x123456789012345678901234567890123456789012345678901234567890123-" REV_A ".kv", "", "",
     KVFILES_FOREIGN},
};

static void names(void **state)
{
    char role[64], revision[33];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(name_rows); i++) {
        const struct name_row *row = &name_rows[i];

        assert_int_equal(kvfiles_name(row->name, role, revision), row->kind);
        assert_string_equal(role, row->role);
        assert_string_equal(revision, row->revision);
    }
}

enum { ENTRIES = 4 };
static const struct judge_row {
    const char *name;
    struct kvfiles_entry v[ENTRIES]; /* remove: what is expected */
    uint64_t max_bytes;
} judge_rows[] = {
    {"all may stay", {{100, DAY, KVFILES_WHOLE, false}, {100, DAY + 5, KVFILES_WHOLE, false}}, 200},
    {"the oldest goes first",
     {{100, DAY + 1, KVFILES_WHOLE, false},
      {100, DAY, KVFILES_WHOLE, true},
      {100, DAY + 2, KVFILES_WHOLE, false}},
     200},
    {"until it fits",
     {{150, DAY + 9, KVFILES_WHOLE, false},
      {100, DAY, KVFILES_WHOLE, true},
      {100, DAY + 2, KVFILES_WHOLE, true}},
     200},
    {"one over the bound alone", {{300, DAY, KVFILES_WHOLE, true}}, 200},
    {"a day is enough",
     {{1, DAY - 1, KVFILES_WHOLE, true}, {1, DAY, KVFILES_WHOLE, false}},
     200}, /* now is two days */
    {"from the future: the clock was set back",
     {{1, 3 * DAY + 1, KVFILES_WHOLE, true}, {1, 3 * DAY, KVFILES_WHOLE, false}},
     200},
    {"a half one counts by age only",
     {{1000, DAY + 1, KVFILES_HALF, false},
      {100, DAY, KVFILES_WHOLE, false},
      {7, 5, KVFILES_HALF, true}},
     200},
    {"strangers are left alone",
     {{1000, 0, KVFILES_FOREIGN, false}, {100, DAY, KVFILES_WHOLE, false}},
     200},
    {"nothing is kept", {{1, DAY, KVFILES_WHOLE, true}}, 0},
};

static void judge(void **state)
{
    const struct judge_row *row = *state;
    struct kvfiles_entry v[ENTRIES];

    memcpy(v, row->v, sizeof(v));
    for (int i = 0; i < ENTRIES; i++)
        v[i].remove = false;
    kvfiles_judge(v, ENTRIES, row->max_bytes, 2 * DAY);
    for (int i = 0; i < ENTRIES; i++)
        assert_int_equal(v[i].remove, row->v[i].remove);
}

/* ---- a directory ---- */

static char state_dir[64];
static uv_loop_t loop;

static void path_of(char *out, const char *name)
{
    snprintf(out, 300, "%s/kv/%s", state_dir, name);
}

static void put(const char *name, size_t bytes, int64_t age_s)
{
    struct timespec at[2] = {{.tv_sec = rm_wall_s() - age_s}, {.tv_sec = rm_wall_s() - age_s}};
    char path[300];
    int fd;

    path_of(path, name);
    assert_true((fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600)) >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    assert_int_equal(futimens(fd, at), 0);
    close(fd);
}

static bool is_there(const char *name)
{
    char path[300];

    path_of(path, name);
    return access(path, F_OK) == 0;
}

static struct kvfiles *opened(uint64_t max_bytes)
{
    struct kvfiles *k;

    assert_int_equal(kvfiles_open(&loop, state_dir, max_bytes, &k), 0);
    return k;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(state_dir, sizeof(state_dir), "/tmp/kvfiles-test-XXXXXX");
    assert_non_null(mkdtemp(state_dir));
    return uv_loop_init(&loop);
}

static int tear_down(void **state)
{
    static const char *const all[] = {"ask-" REV_A ".kv", "ask-" REV_B ".kv",
                                      "ask-" REV_B ".kv.tmp", "asks-" REV_A ".kv", "notes.txt"};
    char path[300];

    (void)state;
    for (size_t i = 0; i < RM_COUNT(all); i++) {
        path_of(path, all[i]);
        unlink(path);
    }
    path_of(path, "");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(state_dir), 0);
    return uv_loop_close(&loop);
}

static void run(void)
{
    uv_run(&loop, UV_RUN_DEFAULT);
}

static void private_directory(void **state)
{
    struct kvfiles *k = opened(1000);
    char path[KVFILES_PATH_MAX], want[300], dir[300], role[200];
    struct stat st;

    (void)state;
    path_of(dir, "");
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    chmod(dir, 0755); /* an older umask, say */
    kvfiles_close(k);
    k = opened(1000);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_true(kvfiles_path(k, "ask", REV_A, path));
    path_of(want, "ask-" REV_A ".kv");
    assert_string_equal(path, want);
    assert_false(kvfiles_path(k, "../ask", REV_A, path));
    memset(role, 'x', sizeof(role));
    kvfiles_close(k);
    k = opened(0);
    assert_false(kvfiles_path(k, "ask", REV_A, path));
    kvfiles_close(k);
}

static void at_the_start(void **state)
{
    struct kvfiles *k = opened(1000);

    (void)state;
    kvfiles_close(k);
    put("ask-" REV_A ".kv", 10, 0);
    put("ask-" REV_B ".kv.tmp", 10, 0);
    put("asks-" REV_A ".kv", 10, 2 * DAY);
    put("notes.txt", 10, 2 * DAY);
    k = opened(1000);
    assert_true(is_there("ask-" REV_A ".kv"));
    assert_false(is_there("ask-" REV_B ".kv.tmp"));
    assert_false(is_there("asks-" REV_A ".kv"));
    assert_true(is_there("notes.txt"));
    kvfiles_close(k);
    k = opened(0);
    assert_false(is_there("ask-" REV_A ".kv"));
    assert_true(is_there("notes.txt"));
    kvfiles_close(k);
}

static void by_role(void **state)
{
    struct kvfiles *k = opened(1000);

    (void)state;
    put("ask-" REV_A ".kv", 10, 0);
    put("ask-" REV_B ".kv", 10, 0);
    put("ask-" REV_B ".kv.tmp", 10, 0);
    put("asks-" REV_A ".kv", 10, 0);
    kvfiles_settle(k, "ask");
    run();
    assert_false(is_there("ask-" REV_B ".kv.tmp"));
    assert_true(is_there("ask-" REV_B ".kv"));
    kvfiles_keep_only(k, "ask", REV_A);
    run();
    assert_true(is_there("ask-" REV_A ".kv"));
    assert_false(is_there("ask-" REV_B ".kv"));
    kvfiles_forget(k, "ask");
    run();
    assert_false(is_there("ask-" REV_A ".kv"));
    assert_true(is_there("asks-" REV_A ".kv")); /* another role */
    kvfiles_close(k);
}

static void bounds(void **state)
{
    struct kvfiles *k = opened(1000);

    (void)state;
    put("ask-" REV_A ".kv", 600, 60);
    put("asks-" REV_A ".kv", 600, 30);
    put("ask-" REV_B ".kv.tmp", 600, 1); /* of a core that writes */
    kvfiles_tidy(k);
    run();
    assert_false(is_there("ask-" REV_A ".kv"));
    assert_true(is_there("asks-" REV_A ".kv"));
    assert_true(is_there("ask-" REV_B ".kv.tmp"));
    kvfiles_close(k);
}

/* What is under way when the worker ends does not need it any more. */
static void closed_at_once(void **state)
{
    struct kvfiles *k = opened(1000);

    (void)state;
    put("ask-" REV_A ".kv", 10, 0);
    kvfiles_forget(k, "ask");
    kvfiles_close(k);
    run();
    assert_false(is_there("ask-" REV_A ".kv"));
    kvfiles_forget(NULL, "ask"); /* a worker that keeps none */
}

static void no_state_dir(void **state)
{
    struct kvfiles *k;

    (void)state;
    assert_int_equal(kvfiles_open(&loop, "/nowhere/at/all", 1000, &k), UV_ENOENT);
    assert_null(k);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test(names),
        TEST(private_directory),
        TEST(at_the_start),
        TEST(by_role),
        TEST(bounds),
        TEST(closed_at_once),
        cmocka_unit_test(no_state_dir),
    };
    struct CMUnitTest tests[RM_COUNT(judge_rows) + RM_COUNT(others)];

    for (size_t i = 0; i < RM_COUNT(judge_rows); i++)
        tests[i] = (struct CMUnitTest){judge_rows[i].name, judge, NULL, NULL,
                                       (void *)(uintptr_t)&judge_rows[i]};
    memcpy(tests + RM_COUNT(judge_rows), others, sizeof(others));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
