/* SPDX-License-Identifier: MIT */
/* worker/models/page_cache_test.c - files that are in the page cache, and such as are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "worker/models/page_cache.h"

static int file_of(char *path, size_t bytes)
{
    static char block[65536];
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    for (size_t n = 0; n < bytes; n += sizeof(block))
        assert_true(write(fd, block, bytes - n < sizeof(block) ? bytes - n : sizeof(block)) > 0);
    assert_int_equal(fsync(fd), 0);
    return fd;
}

static bool in_memory(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && (fs.f_type == 0x01021994 || fs.f_type == 0x858458f6);
}

static void written_files_are_there_and_dropped_ones_are_not(void **state)
{
    static const size_t sizes[] = {1, 5000, 3 << 20, 80 << 20}; /* the last one by samples */

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        char path[] = "/var/tmp/rm-cache-XXXXXX";
        int fd = file_of(path, sizes[i]);

        unlink(path);
        assert_true(page_cache_part(fd, sizes[i]) > 0.99);
        if (!in_memory(fd)) {
            assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
            assert_true(page_cache_part(fd, sizes[i]) < 0.1);
        }
        close(fd);
    }
}

static void half_a_file(void **state)
{
    enum { SIZE = 80 << 20 };
    char path[] = "/var/tmp/rm-cache-XXXXXX";
    int fd = file_of(path, SIZE);
    double part;

    (void)state;
    unlink(path);
    if (in_memory(fd)) {
        close(fd);
        skip();
    }
    assert_int_equal(posix_fadvise(fd, SIZE / 2, 0, POSIX_FADV_DONTNEED), 0);
    part = page_cache_part(fd, SIZE);
    assert_true(part > 0.4 && part < 0.6);
    close(fd);
}

static void what_cannot_be_told(void **state)
{
    char path[] = "/tmp/rm-cache-XXXXXX";
    int fd = file_of(path, 5000), pipes[2];

    (void)state;
    unlink(path);
    assert_true(page_cache_part(fd, 0) < 0);
    close(fd);
    assert_true(page_cache_part(-1, 5000) < 0);
    assert_int_equal(pipe(pipes), 0);
    assert_true(page_cache_part(pipes[0], 5000) < 0);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_files_are_there_and_dropped_ones_are_not),
        cmocka_unit_test(half_a_file),
        cmocka_unit_test(what_cannot_be_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
