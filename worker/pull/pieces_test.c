/* SPDX-License-Identifier: MIT */
/* worker/pull/pieces_test.c - what is there stays there, and nothing is claimed twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "worker/pull/pieces.h"

enum { PIECE = 100, BYTES = 1050, N = 11 };

static const unsigned char tag[PIECES_TAG] = {1}, other_tag[PIECES_TAG] = {2};
static char path[64];
static struct pieces *p;
static bool fresh;

static int make_path(void **state)
{
    int fd;

    (void)state;
    snprintf(path, sizeof path, "/tmp/pieces_test.XXXXXX");
    if ((fd = mkstemp(path)) < 0)
        return -1;
    close(fd);
    return unlink(path);
}

static int remove_path(void **state)
{
    (void)state;
    pieces_close(p);
    p = NULL;
    unlink(path);
    return 0;
}

static int open_as(const unsigned char *t, uint64_t bytes)
{
    pieces_close(p);
    p = NULL;
    return pieces_open(path, t, bytes, PIECE, &fresh, &p);
}

static void every_byte_is_handed_out_once(void **state)
{
    struct pieces_range r;
    uint64_t end = 0;

    (void)state;
    assert_int_equal(open_as(tag, BYTES), 0);
    assert_true(fresh);
    for (int i = 0; i < N; i++) {
        assert_true(pieces_claim(p, &r));
        assert_int_equal(r.at, end);
        end += r.n;
        assert_int_equal(pieces_add(p, r.piece, r.n), r.n);
    }
    assert_int_equal(end, BYTES);
    assert_false(pieces_claim(p, &r));
    assert_true(pieces_whole(p));
    assert_int_equal(pieces_there(p), BYTES);
}

static void a_piece_goes_on_where_it_was(void **state)
{
    struct pieces_range r;

    (void)state;
    assert_int_equal(open_as(tag, BYTES), 0);
    assert_true(pieces_claim(p, &r));
    assert_int_equal(pieces_add(p, 0, 30), 30);
    pieces_release(p, 0);
    assert_true(pieces_claim(p, &r));
    assert_int_equal(r.piece, 0);
    assert_int_equal(r.at, 30);
    assert_int_equal(r.n, 70);
    assert_int_equal(pieces_add(p, 0, 1000), 70); /* not beyond its end */

    assert_int_equal(open_as(tag, BYTES), 0); /* another process */
    assert_false(fresh);
    assert_int_equal(pieces_there(p), 100);
    assert_true(pieces_claim(p, &r));
    assert_int_equal(r.piece, 1);
}

/* The note is there although nothing was closed. */
static void it_outlives_a_kill(void **state)
{
    int status = 0;
    pid_t pid;

    (void)state;
    if ((pid = fork()) == 0) {
        struct pieces_range r;

        if (open_as(tag, BYTES) == 0 && pieces_claim(p, &r))
            pieces_add(p, r.piece, 77);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(open_as(tag, BYTES), 0);
    assert_false(fresh);
    assert_int_equal(pieces_there(p), 77);
}

static void another_source_begins_anew(void **state)
{
    struct pieces_range r;

    (void)state;
    assert_int_equal(open_as(tag, BYTES), 0);
    assert_true(pieces_claim(p, &r));
    pieces_add(p, 0, 50);
    assert_int_equal(open_as(other_tag, BYTES), 0);
    assert_true(fresh);
    assert_int_equal(pieces_there(p), 0);
    assert_true(pieces_claim(p, &r));
    pieces_add(p, 0, 50);
    assert_int_equal(open_as(other_tag, BYTES + 1), 0);
    assert_true(fresh);
    assert_int_equal(pieces_there(p), 0);
}

static void two_processes_do_not_share_a_file(void **state)
{
    struct pieces *second;
    int status = -1;
    pid_t pid;
    bool f;

    (void)state;
    assert_int_equal(open_as(tag, BYTES), 0);
    if ((pid = fork()) == 0)
        _exit(pieces_open(path, tag, BYTES, PIECE, &f, &second) == UV_EBUSY ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void a_damaged_map_begins_anew(void **state)
{
    FILE *f;

    (void)state;
    assert_int_equal(open_as(tag, BYTES), 0);
    pieces_close(p);
    p = NULL;
    f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, -4, SEEK_END); /* more bytes than the last piece has */
    fwrite("\xff\xff\xff\x7f", 1, 4, f);
    fclose(f);
    assert_int_equal(open_as(tag, BYTES), 0);
    assert_true(fresh);
    assert_int_equal(pieces_there(p), 0);
}

static void too_many_pieces_are_refused(void **state)
{
    (void)state;
    assert_int_equal(open_as(tag, (uint64_t)PIECES_MAX * PIECE + 1), UV_EFBIG);
    assert_null(p);
}

int main(void)
{
#define PIECES_TEST(f) cmocka_unit_test_setup_teardown(f, make_path, remove_path)
    const struct CMUnitTest tests[] = {
        PIECES_TEST(every_byte_is_handed_out_once),
        PIECES_TEST(a_piece_goes_on_where_it_was),
        PIECES_TEST(it_outlives_a_kill),
        PIECES_TEST(another_source_begins_anew),
        PIECES_TEST(two_processes_do_not_share_a_file),
        PIECES_TEST(a_damaged_map_begins_anew),
        PIECES_TEST(too_many_pieces_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
