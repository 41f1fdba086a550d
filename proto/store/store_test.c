/* SPDX-License-Identifier: MIT */
/* proto/store/store_test.c - one test per thing that may happen to a history file: versions,
 * damage, a full disk, no place to write, a full queue, a killed process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/store/store.h"

enum { WAIT_MS = 20000 };

static const char *const scripts[] = {
    "CREATE TABLE t(n INTEGER PRIMARY KEY, pad BLOB);",
    "ALTER TABLE t ADD COLUMN more TEXT NOT NULL DEFAULT 'x';",
};

/* ---- a directory, what was said, and jobs ---- */

struct rig {
    char dir[64], path[96];
    pthread_mutex_t lock; /* for all below */
    unsigned damaged, ill, well;
    unsigned ok, not_ok; /* ends of jobs */
};

static void rig_hear(void *arg, const char *line)
{
    struct rig *r = arg;

    pthread_mutex_lock(&r->lock);
    r->damaged += strstr(line, "is damaged") != NULL;
    r->ill += strstr(line, "cannot be kept") != NULL;
    r->well += strstr(line, "written again") != NULL;
    pthread_mutex_unlock(&r->lock);
}

static int rig_open(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    strcpy(r->dir, "/tmp/rm-store-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->path, sizeof(r->path), "%s/h.db", r->dir);
    pthread_mutex_init(&r->lock, NULL);
    rm_log_set_sink(rig_hear, r);
    *state = r;
    return 0;
}

static int rig_close(void **state)
{
    static const char *const names[] = {"h.db",         "h.db-wal",         "h.db-shm",
                                        "h.db.damaged", "h.db.damaged-wal", "h.db.damaged-shm"};
    struct rig *r = *state;
    char path[128];

    rm_log_set_sink(NULL, NULL);
    for (size_t i = 0; i < RM_COUNT(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", r->dir, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(r->dir), 0); /* nothing else was left behind */
    pthread_mutex_destroy(&r->lock);
    free(r);
    return 0;
}

static struct store *open_with(struct rig *r, int migrations, uint32_t queue, uint64_t max_bytes)
{
    struct store_conf conf = {.path = r->path,
                              .name = "test",
                              .migrations = scripts,
                              .n_migrations = migrations,
                              .queue_max = queue,
                              .max_bytes = max_bytes};
    struct store *s;

    assert_int_equal(store_open(&conf, &s), 0);
    return s;
}

/* A job: `sql`, after `gate` is open. */
struct work {
    struct rig *rig;
    const char *sql;
    pthread_mutex_t *gate;
};

static int work_run(struct sqlite3 *db, void *arg)
{
    struct work *w = arg;

    if (w->gate != NULL) {
        pthread_mutex_lock(w->gate);
        pthread_mutex_unlock(w->gate);
    }
    return sqlite3_exec(db, w->sql, NULL, NULL, NULL);
}

static void work_end(void *arg, bool ok)
{
    struct work *w = arg;

    pthread_mutex_lock(&w->rig->lock);
    w->rig->ok += ok;
    w->rig->not_ok += !ok;
    pthread_mutex_unlock(&w->rig->lock);
    free(w);
}

static int post_behind(struct rig *r, struct store *s, const char *sql, pthread_mutex_t *gate)
{
    struct work *w = malloc(sizeof(*w));
    struct store_job job = {work_run, work_end, w};

    assert_non_null(w);
    *w = (struct work){r, sql, gate};
    return store_post(s, &job);
}

static void post(struct rig *r, struct store *s, const char *sql)
{
    assert_int_equal(post_behind(r, s, sql, NULL), 0);
}

static void flush(struct store *s)
{
    assert_int_equal(store_flush(s, WAIT_MS), 0);
}

/* What another program reads; -1: nothing. */
static int64_t ask(const char *path, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *q = NULL;
    int64_t v = -1;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        v = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    sqlite3_close(db);
    return v;
}

static void put_bytes(const char *path, long at, int byte, size_t n)
{
    FILE *f = fopen(path, at == 0 ? "we" : "r+e");

    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    for (size_t i = 0; i < n; i++)
        fputc(byte, f);
    assert_int_equal(fclose(f), 0);
}

static struct store_stats stats_of(struct store *s)
{
    struct store_stats st;

    store_stats(s, &st);
    return st;
}

/* ---- the tests ---- */

static void a_new_file_gets_all_versions(void **state)
{
    struct rig *r = *state;
    struct store *s = open_with(r, 2, 8, 0);
    struct stat st;

    post(r, s, "INSERT INTO t(n, more) VALUES(1, 'y')");
    flush(s);
    assert_true(stats_of(s).usable);
    assert_int_equal(ask(r->path, "SELECT count(*) FROM t"), 1); /* read while it is open */
    store_close(s, WAIT_MS);
    assert_int_equal(ask(r->path, "PRAGMA user_version"), 2);
    assert_int_equal(stat(r->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(r->ok, 1);
    assert_int_equal(r->ill + r->damaged + r->well, 0);
}

static void an_older_file_is_brought_forward_and_keeps_its_rows(void **state)
{
    struct rig *r = *state;
    struct store *s = open_with(r, 1, 8, 0);

    post(r, s, "INSERT INTO t(n) VALUES(7)");
    store_close(s, WAIT_MS);
    assert_int_equal(ask(r->path, "PRAGMA user_version"), 1);
    s = open_with(r, 2, 8, 0);
    post(r, s, "UPDATE t SET more = more || 'z'");
    store_close(s, WAIT_MS);
    assert_int_equal(ask(r->path, "SELECT n FROM t WHERE more = 'xz'"), 7);
}

static void a_newer_file_is_left_alone(void **state)
{
    struct rig *r = *state;
    struct store *s = open_with(r, 2, 8, 0);

    post(r, s, "INSERT INTO t(n) VALUES(7)");
    store_close(s, WAIT_MS);
    s = open_with(r, 1, 8, 0);
    post(r, s, "DELETE FROM t");
    flush(s);
    assert_false(stats_of(s).usable);
    assert_int_equal(stats_of(s).dropped, 1);
    store_close(s, WAIT_MS);
    assert_int_equal(ask(r->path, "SELECT n FROM t"), 7);
    assert_int_equal(r->ill, 1);
    assert_int_equal(r->damaged, 0);
}

static void a_file_that_is_no_database_is_put_aside(void **state)
{
    struct rig *r = *state;
    struct store *s;
    char aside[128];
    struct stat st;

    put_bytes(r->path, 0, 'x', 5000);
    s = open_with(r, 2, 8, 0);
    post(r, s, "INSERT INTO t(n) VALUES(1)");
    flush(s);
    assert_int_equal(stats_of(s).damaged, 1);
    assert_true(stats_of(s).usable);
    store_close(s, WAIT_MS);
    assert_int_equal(ask(r->path, "SELECT count(*) FROM t"), 1);
    snprintf(aside, sizeof(aside), "%s.damaged", r->path);
    assert_int_equal(stat(aside, &st), 0);
    assert_int_equal(st.st_size, 5000);
    assert_int_equal(r->damaged, 1);
    assert_int_equal(r->ill, 0);
}

static void damage_inside_is_seen_at_the_start(void **state)
{
    struct rig *r = *state;
    struct store *s = open_with(r, 2, 8, 0);

    post(r, s,
         "WITH RECURSIVE c(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM c WHERE i < 200) "
         "INSERT INTO t(n, pad) SELECT i, zeroblob(500) FROM c");
    store_close(s, WAIT_MS);
    put_bytes(r->path, 4096L * 3, 0xa5, 4096L * 5);
    s = open_with(r, 2, 8, 0);
    post(r, s, "INSERT INTO t(n) VALUES(1)");
    flush(s);
    assert_int_equal(stats_of(s).damaged, 1);
    store_close(s, WAIT_MS);
    assert_int_equal(ask(r->path, "SELECT count(*) FROM t"), 1);
}

static void a_second_damage_replaces_the_first_one_put_aside(void **state)
{
    struct rig *r = *state;

    for (int i = 1; i <= 3; i++) {
        struct store *s;

        put_bytes(r->path, 0, 'a' + i, (size_t)(5000 + i));
        s = open_with(r, 2, 8, 0);
        flush(s);
        store_close(s, WAIT_MS);
        assert_int_equal(r->damaged, i);
    }
} /* rig_close: nothing is left but one file put aside */

static void a_full_disk_is_said_once_and_is_over_when_there_is_room(void **state)
{
    struct rig *r = *state;
    struct store *s = open_with(r, 2, 64, 64 * 1024);

    post(r, s, "INSERT INTO t(n) VALUES(1)");
    for (int i = 0; i < 5; i++) {
        post(r, s, "INSERT INTO t(pad) VALUES(zeroblob(200000))");
        flush(s);
    }
    assert_int_equal(stats_of(s).failed, 5);
    assert_false(stats_of(s).usable);
    assert_int_equal(r->ill, 1);
    assert_int_equal(ask(r->path, "SELECT count(*) FROM t"), 1);
    post(r, s, "INSERT INTO t(pad) VALUES(zeroblob(100))");
    flush(s);
    assert_true(stats_of(s).usable);
    assert_int_equal(r->well, 1);
    assert_int_equal(ask(r->path, "SELECT count(*) FROM t"), 2);
    store_close(s, WAIT_MS);
    assert_int_equal(r->damaged, 0);
}

static void no_place_to_write_is_said_once(void **state)
{
    struct rig *r = *state;
    struct store *s;
    char keep[sizeof(r->path)];

    strcpy(keep, r->path);
    snprintf(r->path, sizeof(r->path), "%s/not/there.db", r->dir);
    s = open_with(r, 2, 8, 0);
    for (int i = 0; i < 4; i++) {
        post(r, s, "SELECT 1");
        flush(s);
    }
    assert_int_equal(stats_of(s).dropped, 4);
    assert_false(stats_of(s).usable);
    store_close(s, WAIT_MS);
    assert_int_equal(r->ill, 1);
    assert_int_equal(r->not_ok, 4);
    strcpy(r->path, keep);
}

/* In a process of its own: root may write everywhere, so root becomes nobody for this. */
static int read_only_child(struct rig *r)
{
    struct store *s;
    bool good;

    if (geteuid() == 0 &&
        (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0))
        return 2;
    s = open_with(r, 2, 8, 0);
    for (int i = 0; i < 3; i++) {
        post(r, s, "SELECT 1");
        flush(s);
    }
    good = !stats_of(s).usable && stats_of(s).dropped == 3;
    store_close(s, WAIT_MS);
    return good && r->ill == 1 && r->not_ok == 3 ? 0 : 1;
}

static void a_read_only_directory_is_said_once(void **state)
{
    struct rig *r = *state;
    int status;
    pid_t pid;

    assert_int_equal(chmod(r->dir, 0555), 0);
    assert_true((pid = fork()) >= 0);
    if (pid == 0)
        _exit(read_only_child(r));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(chmod(r->dir, 0700), 0);
    assert_int_equal(status, 0);
}

static void something_else_in_its_place_is_not_read(void **state)
{
    struct rig *r = *state;
    struct store *s;

    assert_int_equal(mkfifo(r->path, 0600), 0); /* opening or reading one could wait for ever */
    s = open_with(r, 2, 8, 0);
    post(r, s, "SELECT 1");
    flush(s);
    assert_false(stats_of(s).usable);
    store_close(s, WAIT_MS);
    assert_int_equal(r->ill, 1);
}

static void a_full_queue_drops_and_counts_and_never_waits(void **state)
{
    struct rig *r = *state;
    struct store *s = open_with(r, 2, 3, 0);
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    uint64_t until;

    pthread_mutex_lock(&gate);
    assert_int_equal(post_behind(r, s, "INSERT INTO t(n) VALUES(1)", &gate), 0);
    for (until = rm_now_ms() + WAIT_MS; stats_of(s).waiting > 0;)
        assert_true(rm_now_ms() < until); /* the thread has taken it and stands */
    for (int i = 0; i < 3; i++)
        post(r, s, "INSERT INTO t(pad) VALUES(NULL)");
    assert_int_equal(post_behind(r, s, "INSERT INTO t(n) VALUES(9)", NULL), RM_ERR_OVERLOAD);
    assert_int_equal(r->not_ok, 1);
    assert_int_equal(stats_of(s).dropped, 1);
    assert_int_equal(store_flush(s, 1), UV_ETIMEDOUT);
    pthread_mutex_unlock(&gate);
    flush(s);
    assert_int_equal(stats_of(s).done, 4);
    store_close(s, WAIT_MS);
    assert_int_equal(ask(r->path, "SELECT count(*) FROM t WHERE n < 9"), 4);
}

static void a_bad_job_costs_its_batch_nothing(void **state)
{
    struct rig *r = *state;
    struct store *s = open_with(r, 2, 64, 0);
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&gate); /* the others gather behind the first */
    assert_int_equal(post_behind(r, s, "INSERT INTO t(n) VALUES(1)", &gate), 0);
    post(r, s, "INSERT INTO t(n) VALUES(2)");
    post(r, s, "INSERT INTO nothing VALUES(1)");
    post(r, s, "INSERT INTO t(n) VALUES(1)"); /* there is one */
    post(r, s, "INSERT INTO t(n) VALUES(3)");
    pthread_mutex_unlock(&gate);
    flush(s);
    assert_int_equal(stats_of(s).done, 3);
    assert_int_equal(stats_of(s).failed, 2);
    store_close(s, WAIT_MS);
    assert_int_equal(ask(r->path, "SELECT sum(n) FROM t"), 6);
}

static void closing_late_drops_what_was_not_begun(void **state)
{
    struct rig *r = *state;
    struct store *s = open_with(r, 2, 64, 0);

    flush(s);
    for (int i = 0; i < 10; i++)
        post(r, s, "INSERT INTO t(pad) VALUES(NULL)");
    store_close(s, 0);
    assert_int_equal(r->ok + r->not_ok, 10); /* each has ended, written or not */
    assert_int_equal(ask(r->path, "SELECT count(*) FROM t"), r->ok);
}

static void write_for_ever(struct rig *r)
{
    struct store *s;

    rm_log_set_sink(NULL, NULL);
    s = open_with(r, 2, 1024, 0);
    for (;;) {
        struct work *w = malloc(sizeof(*w));
        struct store_job job = {work_run, work_end, w};

        *w = (struct work){r, "INSERT INTO t(pad) VALUES(zeroblob(300))", NULL};
        (void)store_post(s, &job);
        if (stats_of(s).waiting > 500)
            (void)store_flush(s, WAIT_MS);
    }
}

static void a_killed_process_leaves_a_good_file(void **state)
{
    struct rig *r = *state;
    uint64_t until = rm_now_ms() + WAIT_MS;
    int64_t seen;
    struct store *s;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        write_for_ever(r);
    while ((seen = ask(r->path, "SELECT count(*) FROM t")) < 1000)
        assert_true(rm_now_ms() < until);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    s = open_with(r, 2, 8, 0);
    post(r, s, "INSERT INTO t(n) VALUES(1000000)");
    flush(s);
    assert_int_equal(stats_of(s).damaged, 0);
    assert_true(stats_of(s).usable);
    store_close(s, WAIT_MS);
    assert_true(ask(r->path, "SELECT count(*) FROM t") > seen);
    assert_int_equal(ask(r->path, "SELECT count(*) - max(n) FROM t WHERE n < 1000000"), 0);
}

static void what_cannot_be(void **state)
{
    struct rig *r = *state;
    char longer[2000];
    struct store_conf conf = {.path = r->path, .name = "x", .migrations = scripts, .queue_max = 0};
    struct store *s;

    assert_int_equal(store_open(&conf, &s), UV_EINVAL);
    memset(longer, 'a', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    conf.queue_max = 1;
    conf.path = longer;
    assert_int_equal(store_open(&conf, &s), UV_EINVAL);
    assert_null(s);
    store_close(NULL, 0);
}

#define IN_RIG(f) cmocka_unit_test_setup_teardown(f, rig_open, rig_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_RIG(a_new_file_gets_all_versions),
        IN_RIG(an_older_file_is_brought_forward_and_keeps_its_rows),
        IN_RIG(a_newer_file_is_left_alone),
        IN_RIG(a_file_that_is_no_database_is_put_aside),
        IN_RIG(damage_inside_is_seen_at_the_start),
        IN_RIG(a_second_damage_replaces_the_first_one_put_aside),
        IN_RIG(a_full_disk_is_said_once_and_is_over_when_there_is_room),
        IN_RIG(no_place_to_write_is_said_once),
        IN_RIG(a_read_only_directory_is_said_once),
        IN_RIG(something_else_in_its_place_is_not_read),
        IN_RIG(a_full_queue_drops_and_counts_and_never_waits),
        IN_RIG(a_bad_job_costs_its_batch_nothing),
        IN_RIG(closing_late_drops_what_was_not_begun),
        IN_RIG(a_killed_process_leaves_a_good_file),
        IN_RIG(what_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
