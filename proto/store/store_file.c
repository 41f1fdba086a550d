/* SPDX-License-Identifier: MIT */
#include "proto/store/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

enum {
    BUSY_MS = 2000, /* another program, sqlite3 for one, may read the file */
    WAL_BYTES = 4 * 1024 * 1024,
    CHECK_BYTES_MAX = 64 * 1024 * 1024 /* larger files are checked as they are used */
};

int store_file_init(struct store_file *f, const struct store_conf *conf)
{
    memset(f, 0, sizeof(*f));
    if (strlen(conf->path) + sizeof(".damaged-wal") > sizeof(f->path) ||
        strlen(conf->name) >= sizeof(f->name))
        return UV_EINVAL;
    strcpy(f->path, conf->path);
    strcpy(f->name, conf->name);
    f->migrations = conf->migrations;
    f->n_migrations = conf->n_migrations;
    f->max_bytes = conf->max_bytes;
    return 0;
}

struct sqlite3 *store_file_db(const struct store_file *f)
{
    return f->db;
}

bool store_is_damage(int rc)
{
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

/* ---- what is said ---- */

void store_file_is_well(struct store_file *f)
{
    if (f->ill)
        rm_info(f->name, "history is written again", RM_S("file", f->path));
    f->ill = false;
}

void store_file_is_ill(struct store_file *f, int rc, const char *done)
{
    if (!f->ill)
        rm_warn(f->name, "history cannot be kept, everything else goes on", RM_S("file", f->path),
                RM_S("not", done), RM_S("why", sqlite3_errstr(rc)));
    f->ill = true;
    switch (rc & 0xff) {
    case SQLITE_READONLY: /* also: somebody has moved or removed the file */
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: /* by name, after a while */
        store_file_close(f);
        f->retry_ms = rm_now_ms() + STORE_RETRY_MS;
        break;
    default:
        break;
    }
}

/* ---- opening ---- */

static int one_number(sqlite3 *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &q, NULL), end;

    if (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        *out = sqlite3_column_int64(q, 0);
        rc = SQLITE_OK;
    }
    end = sqlite3_finalize(q);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_ERROR : rc != SQLITE_OK ? rc : end;
}

/* Damage that SQLite would only see when it comes upon it. */
static int file_check(sqlite3 *db, int64_t bytes)
{
    sqlite3_stmt *q = NULL;
    int rc;

    if (bytes > CHECK_BYTES_MAX)
        return SQLITE_OK;
    if ((rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &q, NULL)) == SQLITE_OK &&
        (rc = sqlite3_step(q)) == SQLITE_ROW)
        rc =
            strcmp((const char *)sqlite3_column_text(q, 0), "ok") == 0 ? SQLITE_OK : SQLITE_CORRUPT;
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int file_migrate(struct store_file *f)
{
    int64_t version = 0;
    char sql[64];
    int rc = one_number(f->db, "PRAGMA user_version", &version);

    if (rc == SQLITE_OK && (version > f->n_migrations || version < 0))
        return SQLITE_SCHEMA; /* of a newer version */
    for (int64_t v = version; v < f->n_migrations && rc == SQLITE_OK; v++) {
        snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", (int)v + 1);
        if ((rc = sqlite3_exec(f->db, "BEGIN IMMEDIATE", NULL, NULL, NULL)) == SQLITE_OK &&
            (rc = sqlite3_exec(f->db, f->migrations[v], NULL, NULL, NULL)) == SQLITE_OK &&
            (rc = sqlite3_exec(f->db, sql, NULL, NULL, NULL)) == SQLITE_OK)
            rc = sqlite3_exec(f->db, "COMMIT", NULL, NULL, NULL);
        if (rc != SQLITE_OK && !sqlite3_get_autocommit(f->db))
            (void)sqlite3_exec(f->db, "ROLLBACK", NULL, NULL, NULL); /* rc is told already */
    }
    return rc;
}

/* Makes the file for us alone, and refuses what a read would hang on. *bytes: its size. */
static int file_touch(const char *path, int64_t *bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    struct stat st;
    int rc = SQLITE_OK;

    if (fd < 0)
        return errno == ENOSPC ? SQLITE_FULL : errno == EROFS ? SQLITE_READONLY : SQLITE_CANTOPEN;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        rc = SQLITE_CANTOPEN;
    *bytes = st.st_size;
    close(fd);
    return rc;
}

static int file_limit(struct store_file *f)
{
    int64_t page = 0;
    char sql[80];
    int rc;

    if (f->max_bytes == 0)
        return SQLITE_OK;
    if ((rc = one_number(f->db, "PRAGMA page_size", &page)) != SQLITE_OK || page <= 0)
        return rc;
    snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %llu",
             (unsigned long long)(f->max_bytes / (uint64_t)page));
    return sqlite3_exec(f->db, sql, NULL, NULL, NULL);
}

static int file_try(struct store_file *f)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    int64_t bytes = 0;
    char sql[160];
    int rc;

    snprintf(sql, sizeof(sql),
             "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; "
             "PRAGMA journal_size_limit = %d",
             WAL_BYTES);
    if ((rc = file_touch(f->path, &bytes)) != SQLITE_OK ||
        (rc = sqlite3_open_v2(f->path, &f->db, flags, NULL)) != SQLITE_OK ||
        (rc = sqlite3_busy_timeout(f->db, BUSY_MS)) != SQLITE_OK ||
        (rc = sqlite3_exec(f->db, sql, NULL, NULL, NULL)) != SQLITE_OK ||
        (rc = file_check(f->db, bytes)) != SQLITE_OK || (rc = file_limit(f)) != SQLITE_OK ||
        (rc = file_migrate(f)) != SQLITE_OK)
        store_file_close(f);
    return rc;
}

void store_file_close(struct store_file *f)
{
    sqlite3_close_v2(f->db); /* of NULL: nothing */
    f->db = NULL;
}

/* ---- a damaged file ---- */

/* With its log, so that both can be looked at later. One set is kept. */
static bool file_put_aside(const struct store_file *f)
{
    static const char *const parts[] = {"", "-wal", "-shm"};
    char from[STORE_PATH_MAX + 16], to[STORE_PATH_MAX + 16];
    bool moved = true;

    for (size_t i = 0; i < RM_COUNT(parts); i++) {
        snprintf(from, sizeof(from), "%s%s", f->path, parts[i]);
        snprintf(to, sizeof(to), "%s.damaged%s", f->path, parts[i]);
        if (rename(from, to) == 0)
            continue;
        if (errno == ENOENT)
            (void)unlink(to); /* of an older damage: it does not belong to this one */
        else
            moved = false;
    }
    return moved;
}

bool store_file_replace(struct store_file *f)
{
    int rc = SQLITE_CANTOPEN;

    store_file_close(f);
    if (file_put_aside(f)) {
        f->damaged++;
        rm_warn(f->name, "the history file is damaged: put aside, a new one is begun",
                RM_S("file", f->path), RM_S("kept", ".damaged"));
        rc = file_try(f);
    }
    if (rc != SQLITE_OK)
        store_file_is_ill(f, rc, "replaced");
    return f->db != NULL;
}

bool store_file_open(struct store_file *f)
{
    int rc;

    if (f->db != NULL)
        return true;
    if (rm_now_ms() < f->retry_ms)
        return false;
    rc = file_try(f);
    if (store_is_damage(rc) && store_file_replace(f))
        rc = SQLITE_OK;
    if (f->db == NULL) {
        f->retry_ms = rm_now_ms() + STORE_RETRY_MS;
        store_file_is_ill(f, rc, rc == SQLITE_SCHEMA ? "used: of a newer version" : "opened");
    }
    return f->db != NULL;
}
