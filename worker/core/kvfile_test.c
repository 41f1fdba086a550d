/* SPDX-License-Identifier: MIT */
/* worker/core/kvfile_test.c - the file format against what can happen to a file, and to a writer.
 */
#include "worker/core/kvfile.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>

enum { N_TOKENS = 21, N_STATE = 70001, N_POINT = 13, BOUND = 1 << 20 };

static char dir[64], path[128], temp[140];
static const struct kvfile_identity own = {
    "0.5.0 0011223344556677", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "context=512 slots=2 kv=f16"};

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/kvfile-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/ask-1.kv", dir);
    snprintf(temp, sizeof(temp), "%s.tmp", path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    unlink(temp);
    assert_int_equal(rmdir(dir), 0); /* nothing else may lie there */
    return 0;
}

/* ---- a file of two sequences ---- */

static uint8_t state_byte(uint32_t seq, uint64_t i)
{
    return (uint8_t)(i * 31 + i / 251 + seq * 7);
}

static struct kvfile_seq seq_of(uint32_t k, int32_t *tokens)
{
    struct kvfile_seq s = {.tokens = tokens,
                           .n_tokens = N_TOKENS + k,
                           .n_state = N_STATE * k,
                           .n_points = k,
                           .points = {{.at = 5, .n = N_POINT}}};

    for (uint32_t i = 0; i < s.n_tokens; i++)
        tokens[i] = (int32_t)(1000 * k + i);
    return s;
}

static void place(struct kvfile_writer *w, uint32_t k, uint64_t n)
{
    uint8_t *to = kvfile_place(w, n);

    assert_non_null(to);
    for (uint64_t i = 0; i < n; i++)
        to[i] = state_byte(k, i);
}

static uint64_t whole_bytes(void)
{
    int32_t tokens[64];
    struct kvfile_seq a = seq_of(0, tokens), b = seq_of(1, tokens);

    return kvfile_head_bytes() + kvfile_seq_bytes(&a) + kvfile_seq_bytes(&b);
}

static struct kvfile_writer *begin(uint64_t bytes)
{
    struct kvfile_facts facts = {.prefill_tps = 1234.5, .saved_s = 1700000000, .n_seqs = 2};
    struct kvfile_writer *w;

    assert_int_equal(kvfile_begin(path, &own, &facts, bytes, &w), 0);
    return w;
}

static void put_both(struct kvfile_writer *w)
{
    int32_t tokens[64];

    for (uint32_t k = 0; k < 2; k++) {
        struct kvfile_seq s = seq_of(k, tokens);

        assert_int_equal(kvfile_put_seq(w, &s), 0);
        place(w, k, s.n_state);
        for (uint32_t p = 0; p < s.n_points; p++)
            place(w, k + 2, s.points[p].n);
    }
}

static void write_file(void)
{
    struct kvfile_writer *w = begin(whole_bytes());

    put_both(w);
    assert_int_equal(kvfile_commit(w), 0);
}

static void expect_seq(const struct kvfile_seq *got, uint32_t k)
{
    int32_t tokens[64];
    struct kvfile_seq want = seq_of(k, tokens);

    assert_int_equal(got->n_tokens, want.n_tokens);
    assert_memory_equal(got->tokens, want.tokens, want.n_tokens * sizeof(int32_t));
    assert_int_equal(got->n_state, want.n_state);
    for (uint64_t i = 0; i < got->n_state; i++)
        assert_int_equal(got->state[i], state_byte(k, i));
    assert_int_equal(got->n_points, want.n_points);
    for (uint32_t p = 0; p < got->n_points; p++) {
        assert_int_equal(got->points[p].at, 5);
        assert_int_equal(got->points[p].n, N_POINT);
        for (uint64_t i = 0; i < N_POINT; i++)
            assert_int_equal(got->points[p].bytes[i], state_byte(k + 2, i));
    }
}

static bool is_there(const char *name)
{
    return access(name, F_OK) == 0;
}

static void expect_refused(const struct kvfile_identity *id, uint64_t most, const char *reason)
{
    char why[KVFILE_WHY_MAX];
    struct kvfile *f;

    assert_int_equal(kvfile_open(path, id, most, &f, why), RM_ERR_FIELD);
    assert_null(f);
    assert_string_equal(why, reason);
    assert_false(is_there(path)); /* refused is removed */
}

/* ---- what a reader gets ---- */

static void round_trip(void **state)
{
    char why[KVFILE_WHY_MAX];
    struct kvfile_seq seq;
    struct kvfile *f;
    struct stat st;

    (void)state;
    write_file();
    assert_false(is_there(temp));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, whole_bytes());
    assert_int_equal(kvfile_open(path, &own, BOUND, &f, why), 0);
    assert_false(is_there(path)); /* read once */
    assert_int_equal(kvfile_facts(f).saved_s, 1700000000);
    assert_int_equal(kvfile_facts(f).n_seqs, 2);
    assert_true(kvfile_facts(f).prefill_tps == 1234.5);
    for (uint32_t k = 0; k < 2; k++) {
        assert_true(kvfile_next(f, &seq));
        expect_seq(&seq, k);
    }
    assert_false(kvfile_next(f, &seq));
    kvfile_close(f);
}

static void no_file(void **state)
{
    char why[KVFILE_WHY_MAX];
    struct kvfile *f;

    (void)state;
    assert_int_equal(kvfile_open(path, &own, BOUND, &f, why), UV_ENOENT);
    assert_string_equal(why, "");
}

static void newer_replaces_older(void **state)
{
    char why[KVFILE_WHY_MAX];
    struct kvfile *f;

    (void)state;
    write_file();
    write_file();
    assert_int_equal(kvfile_open(path, &own, BOUND, &f, why), 0);
    kvfile_close(f);
}

static void of_something_else(void **state)
{
    struct kvfile_identity id = own;

    (void)state;
    write_file();
    id.model_hash[63] = 'e';
    expect_refused(&id, BOUND, "the model is another one now");
    id = own;
    id.llama[0] = '1';
    write_file();
    expect_refused(&id, BOUND, "it was made with another build of libllama");
    id = own;
    id.flags[strlen(id.flags) - 1] = '\0'; /* a prefix is not equal */
    write_file();
    expect_refused(&id, BOUND, "it was made with other flags");
    write_file();
    expect_refused(&own, whole_bytes() - 1, "it is over the size bound");
}

/* ---- what can happen to a file ---- */

static void patch(off_t at, uint8_t flip)
{
    int fd = open(path, O_RDWR);
    uint8_t b;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &b, 1, at), 1);
    b ^= flip;
    assert_int_equal(pwrite(fd, &b, 1, at), 1);
    close(fd);
}

static void damaged(void **state)
{
    static const struct {
        off_t at;
        const char *reason;
    } rows[] = {
        {0, "it is none of ours"},
        {8, "its format has another version"},
        {12, "its format has another version"},
        {16, "it is cut short"},
        {24, "its checksum is wrong"}, /* when */
        {32, "its checksum is wrong"}, /* speed */
        {40, "its checksum is wrong"}, /* sequences */
        {48, "it was made with another build of libllama"},
        {127, "it was made with another build of libllama"},
        {128, "the model is another one now"},
        {192, "it was made with other flags"},
        {383, "it was made with other flags"},
        {384, "its checksum is wrong"},
        {415, "its checksum is wrong"},
        {416, "its checksum is wrong"}, /* lengths */
        {424, "its checksum is wrong"},
        {432, "its checksum is wrong"}, /* a token */
        {40000, "its checksum is wrong"},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        write_file();
        patch(rows[i].at, 1);
        expect_refused(&own, BOUND, rows[i].reason);
    }
    write_file();
    patch((off_t)whole_bytes() - 1, 0x80);
    expect_refused(&own, BOUND, "its checksum is wrong");
}

static void cut_and_grown(void **state)
{
    static const off_t lengths[] = {0, 1, 8, 415, 416, 417, 1000, 70000};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(lengths); i++) {
        write_file();
        assert_int_equal(truncate(path, lengths[i]), 0);
        expect_refused(&own, BOUND, "it is cut short");
    }
    write_file();
    assert_int_equal(truncate(path, (off_t)whole_bytes() + 8), 0);
    expect_refused(&own, BOUND, "it is cut short");
}

static void not_private(void **state)
{
    (void)state;
    write_file();
    assert_int_equal(chmod(path, 0640), 0);
    expect_refused(&own, BOUND, "others may have written it");
}

/* A name that leads elsewhere is removed; what it leads to is left alone. */
static void a_link(void **state)
{
    char elsewhere[140], why[KVFILE_WHY_MAX];
    struct kvfile *f;

    (void)state;
    snprintf(elsewhere, sizeof(elsewhere), "%s/other", dir);
    write_file();
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_int_equal(kvfile_open(path, &own, BOUND, &f, why), UV_ELOOP);
    assert_false(is_there(path));
    assert_int_equal(unlink(elsewhere), 0);
}

/* A whole file with a right checksum whose lengths make no sense: nothing is read beyond it. */
static void lengths_that_do_not_add_up(void **state)
{
    static const struct {
        uint32_t tokens, points;
        uint64_t state;
        bool fits;
    } rows[] = {
        {0, 0, 0, true},
        {4, 0, 16, true},
        {UINT32_MAX, 0, 0, false},
        {9, 0, 0, false}, /* 36 bytes of 32 */
        {0, 0, 33, false},
        {0, 0, UINT64_MAX, false},
        {0, 0, UINT64_MAX - 6, false}, /* would be 0 when padded */
        {0, 1, 0, false},              /* a checkpoint of 2^64 - 1 bytes */
        {0, 3, 0, false},              /* no room for their table */
        {0, KVFILE_POINTS_MAX + 1, 0, false},
        {0, UINT32_MAX, 0, false},
    };
    char why[KVFILE_WHY_MAX];
    struct kvfile_seq seq;
    struct kvfile *f;

    (void)state;
    for (size_t i = 0; i < RM_COUNT(rows); i++) {
        struct kvfile_writer *w = begin(kvfile_head_bytes() + 16 + 32);
        uint8_t *to = kvfile_place(w, 16);

        memcpy(to, &rows[i].tokens, 4);
        memcpy(to + 4, &rows[i].points, 4);
        memcpy(to + 8, &rows[i].state, 8);
        memset(kvfile_place(w, 32), 0xff, 32);
        assert_int_equal(kvfile_commit(w), 0);
        assert_int_equal(kvfile_open(path, &own, BOUND, &f, why), 0);
        assert_int_equal(kvfile_next(f, &seq), rows[i].fits);
        if (rows[i].fits)
            assert_int_equal(seq.n_state, rows[i].state);
        kvfile_close(f);
    }
}

/* ---- what can happen to a writer ---- */

static void less_than_announced(void **state)
{
    struct kvfile_writer *w = begin(whole_bytes() + 8);

    (void)state;
    put_both(w);
    assert_int_equal(kvfile_commit(w), RM_ERR_INTERNAL);
    assert_false(is_there(path));
    assert_false(is_there(temp));
}

static void more_than_announced(void **state)
{
    int32_t tokens[64];
    struct kvfile_seq s = seq_of(0, tokens);
    struct kvfile_writer *w = begin(kvfile_head_bytes() + kvfile_seq_bytes(&s) - 8);

    (void)state;
    assert_int_equal(kvfile_put_seq(w, &s), RM_ERR_TOO_BIG);
    assert_null(kvfile_place(w, BOUND));
    assert_null(kvfile_place(w, UINT64_MAX - 3));
    kvfile_abandon(w);
    assert_false(is_there(temp));
}

/* In a child, whose file size limit stands for a disk without room. */
static void disk_full(void **state)
{
    struct kvfile_facts facts = {.n_seqs = 1};
    double write_bps, read_bps;
    int status;
    pid_t pid;

    (void)state;
    write_file(); /* stays what it was */
    fflush(NULL);
    if ((pid = fork()) == 0) {
        struct rlimit few = {64 * 1024, 64 * 1024};
        struct kvfile_writer *w = NULL;
        int r, m;

        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &few);
        r = kvfile_begin(path, &own, &facts, BOUND, &w);
        m = kvfile_measure(path, BOUND, &write_bps, &read_bps);
        _exit(r == UV_EFBIG && w == NULL && m < 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_false(is_there(temp));
    assert_true(is_there(path));
}

static void killed_before_the_end(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    fflush(NULL);
    if ((pid = fork()) == 0) {
        struct kvfile_writer *w = begin(whole_bytes());

        put_both(w); /* all of it but the checksum and the name */
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_false(is_there(path));
    assert_true(is_there(temp)); /* the worker removes it; a next writer too */
    assert_int_equal(rename(temp, path), 0);
    expect_refused(&own, BOUND, "its checksum is wrong"); /* even if it got the name somehow */
    write_file();
    assert_false(is_there(temp));
}

static void no_directory(void **state)
{
    struct kvfile_facts facts = {.n_seqs = 1};
    struct kvfile_writer *w;
    double a, b;
    uint64_t room, all;

    (void)state;
    assert_int_equal(kvfile_begin("/nowhere/at/all.kv", &own, &facts, BOUND, &w), UV_ENOENT);
    assert_int_equal(kvfile_measure("/nowhere/at/all.kv", BOUND, &a, &b), UV_ENOENT);
    assert_int_equal(kvfile_room("/nowhere/at/all.kv", &room, &all), UV_ENOENT);
}

static void measured(void **state)
{
    double write_bps, read_bps;
    uint64_t room, all;

    (void)state;
    assert_int_equal(kvfile_measure(path, 0, &write_bps, &read_bps), 0);
    assert_true(write_bps > 0 && read_bps > 0);
    assert_false(is_there(temp));
    assert_int_equal(kvfile_room(path, &room, &all), 0);
    assert_true(room > 0 && all >= room);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(round_trip),
        TEST(no_file),
        TEST(newer_replaces_older),
        TEST(of_something_else),
        TEST(lengths_that_do_not_add_up),
        TEST(damaged),
        TEST(cut_and_grown),
        TEST(not_private),
        TEST(a_link),
        TEST(less_than_announced),
        TEST(more_than_announced),
        TEST(disk_full),
        TEST(killed_before_the_end),
        TEST(no_directory),
        TEST(measured),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
