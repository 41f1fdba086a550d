/* SPDX-License-Identifier: MIT */
/* proto/base/file_test.c - file.c: files replaced whole, their modes, directories made by row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/file.h"

static char dir[64];

static const char *in(const char *name)
{
    static char path[400];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/rolemesh-file-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static mode_t mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static void assert_has(const char *path, const char *text)
{
    struct rm_buf b;

    rm_buf_init(&b, 100);
    assert_int_equal(rm_file_read(path, &b), 0);
    assert_string_equal(b.data != NULL ? b.data : "", text);
    rm_buf_clear(&b);
}

static unsigned entries(void)
{
    uv_fs_t req;
    int n = uv_fs_scandir(NULL, &req, dir, 0, NULL);

    uv_fs_req_cleanup(&req);
    return n < 0 ? 0 : (unsigned)n;
}

static void replaced_whole(void **state)
{
    const char *path = in("f");
    unsigned before = entries();

    (void)state;
    assert_int_equal(rm_file_replace_kept(path, RM_LIT("x")), UV_ENOENT);
    assert_int_equal(entries(), before);
    assert_int_equal(rm_file_replace(path, RM_LIT("one"), 0640), 0);
    assert_int_equal(mode_of(path), 0640);
    assert_int_equal(rm_file_put(path, RM_LIT(""), 0600), 0);
    assert_int_equal(mode_of(path), 0640); /* a file that exists keeps its own */
    assert_has(path, "");
    assert_int_equal(rm_file_replace_kept(path, RM_LIT("two")), 0);
    assert_int_equal(mode_of(path), 0640);
    assert_has(path, "two");
    assert_int_equal(entries(), before + 1);
}

static void what_cannot_be_replaced_stays(void **state)
{
    unsigned before;

    (void)state;
    assert_int_equal(rm_dir_make(in("taken"), 0755), 0);
    before = entries();
    assert_int_equal(rm_file_put(in("taken"), RM_LIT("x"), 0600), UV_EISDIR);
    assert_int_equal(rm_file_replace(in("none/f"), RM_LIT("x"), 0600), UV_ENOENT);
    assert_int_equal(entries(), before);
}

static void directories(void **state)
{
    char deep[5000];

    (void)state;
    assert_int_equal(rm_dir_make(in("a/b/c"), 0700), 0);
    assert_int_equal(mode_of(in("a")), 0700);
    assert_int_equal(mode_of(in("a/b/c")), 0700);
    assert_int_equal(rm_dir_make(in("a/b/c"), 0755), 0); /* there already: left as it is */
    assert_int_equal(mode_of(in("a/b/c")), 0700);
    assert_int_equal(rm_dir_make(in("a/d/"), 0755), 0);
    assert_int_equal(rm_file_put(in("a/file"), RM_LIT("x"), 0600), 0);
    assert_int_equal(rm_dir_make(in("a/file"), 0700), UV_ENOTDIR);
    assert_int_equal(rm_dir_make(in("a/file/x"), 0700), UV_ENOTDIR);
    assert_int_equal(rm_dir_make("", 0700), UV_EINVAL);
    memset(deep, 'a', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    assert_int_equal(rm_dir_make(deep, 0700), UV_ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaced_whole),
        cmocka_unit_test(what_cannot_be_replaced_stays),
        cmocka_unit_test(directories),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
