/* SPDX-License-Identifier: MIT */
#include "worker/memory/ledger_file.h"

#include <sqlite3.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The newest script stands last; a published one is never changed. Times are seconds since 1970. */
const char *const ledger_migrations[] = {
    "CREATE TABLE ledger("
    " row INTEGER PRIMARY KEY,"
    " model_hash TEXT NOT NULL, context INTEGER NOT NULL, slots INTEGER NOT NULL,"
    " kv TEXT NOT NULL, flags TEXT NOT NULL, build TEXT NOT NULL,"
    " model TEXT NOT NULL, predicted INTEGER NOT NULL, estimated INTEGER NOT NULL,"
    " loaded_system INTEGER NOT NULL, loaded_vram INTEGER NOT NULL, loaded_gtt INTEGER NOT NULL,"
    " full_system INTEGER NOT NULL, full_vram INTEGER NOT NULL, full_gtt INTEGER NOT NULL,"
    " peak_system INTEGER NOT NULL, peak_vram INTEGER NOT NULL, peak_gtt INTEGER NOT NULL,"
    " all_full INTEGER NOT NULL, loads INTEGER NOT NULL,"
    " cold_ms INTEGER NOT NULL, warm_ms INTEGER NOT NULL,"
    " first_s INTEGER NOT NULL, last_s INTEGER NOT NULL,"
    " UNIQUE(model_hash, context, slots, kv, flags, build)) STRICT;"
    "CREATE TABLE speed("
    " model_hash TEXT NOT NULL, context INTEGER NOT NULL, slots INTEGER NOT NULL,"
    " kv TEXT NOT NULL, flags TEXT NOT NULL, build TEXT NOT NULL,"
    " depth INTEGER NOT NULL," /* tokens: where the bucket begins */
    " prefill_tokens INTEGER NOT NULL, prefill_us INTEGER NOT NULL,"
    " decode_tokens INTEGER NOT NULL, decode_us INTEGER NOT NULL,"
    " PRIMARY KEY(model_hash, context, slots, kv, flags, build, depth)) STRICT;"
    "CREATE TABLE engine("
    " one INTEGER PRIMARY KEY CHECK(one = 1),"
    " program TEXT NOT NULL, build TEXT NOT NULL) STRICT;",
    "ALTER TABLE ledger ADD COLUMN compute INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE ledger ADD COLUMN batch INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE ledger ADD COLUMN batch_most INTEGER NOT NULL DEFAULT 0;",
};
const int ledger_n_migrations = RM_COUNT(ledger_migrations);

/* ---- columns ---- */

enum kind { TEXT, U32, U64, BOOL };

struct column {
    const char *name;
    enum kind kind;
    size_t offset, size;
};

#define KEY(m, k)                                                                                  \
    {                                                                                              \
#m, k, offsetof(struct node_ledger_row, key.m),                                            \
            sizeof(((struct node_ledger_row *)0)->key.m)                                           \
    }
#define COL(m, k)                                                                                  \
    {                                                                                              \
#m, k, offsetof(struct node_ledger_row, m), sizeof(((struct node_ledger_row *)0)->m)       \
    }
#define BYTES(m, p)                                                                                \
    {                                                                                              \
#m "_" #p, U64, offsetof(struct node_ledger_row, m.p), sizeof(uint64_t)                    \
    }

enum { KEYS = 6, COLUMNS = 27 };

static const struct column columns[COLUMNS] = {
    KEY(model_hash, TEXT), KEY(context, U32),     KEY(slots, U32),      KEY(kv, TEXT),
    KEY(flags, TEXT),      KEY(build, TEXT),      COL(model, TEXT),     COL(predicted, U64),
    COL(estimated, BOOL),  BYTES(loaded, system), BYTES(loaded, vram),  BYTES(loaded, gtt),
    BYTES(full, system),   BYTES(full, vram),     BYTES(full, gtt),     BYTES(peak, system),
    BYTES(peak, vram),     BYTES(peak, gtt),      COL(all_full, BOOL),  COL(loads, U32),
    COL(cold_ms, U64),     COL(warm_ms, U64),     COL(first_s, U64),    COL(last_s, U64),
    COL(compute, U64),     COL(batch, U32),       COL(batch_most, U32),
};

#define KEY_NAMES  "model_hash, context, slots, kv, flags, build"
#define KEY_EQUALS "model_hash=?1 AND context=?2 AND slots=?3 AND kv=?4 AND flags=?5 AND build=?6"

static int bind_number(sqlite3_stmt *q, int at, uint64_t v)
{
    return sqlite3_bind_int64(q, at, v > INT64_MAX ? INT64_MAX : (int64_t)v);
}

static int bind_columns(sqlite3_stmt *q, const struct node_ledger_row *row, int n)
{
    int rc = SQLITE_OK;

    for (int i = 0; i < n && rc == SQLITE_OK; i++) {
        const char *at = (const char *)row + columns[i].offset;

        if (columns[i].kind == TEXT)
            rc = sqlite3_bind_text(q, i + 1, at, -1, SQLITE_STATIC);
        else if (columns[i].kind == U32)
            rc = bind_number(q, i + 1, *(const uint32_t *)(const void *)at);
        else if (columns[i].kind == BOOL)
            rc = bind_number(q, i + 1, *(const bool *)at);
        else
            rc = bind_number(q, i + 1, *(const uint64_t *)(const void *)at);
    }
    return rc;
}

/* A file may hold anything: numbers below 0 count as 0, texts are cut. */
static uint64_t column_number(sqlite3_stmt *q, int at)
{
    int64_t v = sqlite3_column_int64(q, at);

    return v > 0 ? (uint64_t)v : 0;
}

static void column_text(sqlite3_stmt *q, int at, char *out, size_t size)
{
    const unsigned char *text = sqlite3_column_text(q, at);

    rm_text_copy(out, size, text != NULL ? (const char *)text : "");
}

static void read_columns(sqlite3_stmt *q, struct node_ledger_row *row)
{
    for (int i = 0; i < COLUMNS; i++) {
        char *at = (char *)row + columns[i].offset;
        uint64_t v;

        if (columns[i].kind == TEXT) {
            column_text(q, i, at, columns[i].size);
            continue;
        }
        v = column_number(q, i);
        if (columns[i].kind == U32)
            *(uint32_t *)(void *)at = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
        else if (columns[i].kind == BOOL)
            *(bool *)at = v != 0;
        else
            *(uint64_t *)(void *)at = v;
    }
}

/* ---- statements ---- */

static int prepare(sqlite3 *db, const struct rm_buf *sql, sqlite3_stmt **q)
{
    return sql->data == NULL ? SQLITE_NOMEM
                             : sqlite3_prepare_v2(db, sql->data, (int)sql->len, q, NULL);
}

/* Runs a statement without rows and ends it. */
static int finish(sqlite3_stmt *q, int rc)
{
    if (rc == SQLITE_OK)
        rc = sqlite3_step(q);
    sqlite3_finalize(q);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int put_row(sqlite3 *db, const struct node_ledger_row *row)
{
    sqlite3_stmt *q = NULL;
    struct rm_buf sql;
    int rc;

    rm_buf_init(&sql, 4096);
    rm_buf_puts(&sql, "INSERT INTO ledger(");
    for (int i = 0; i < COLUMNS; i++)
        rm_buf_printf(&sql, "%s%s", i > 0 ? "," : "", columns[i].name);
    rm_buf_puts(&sql, ") VALUES(");
    for (int i = 0; i < COLUMNS; i++)
        rm_buf_puts(&sql, i > 0 ? ",?" : "?");
    rm_buf_puts(&sql, ") ON CONFLICT(" KEY_NAMES ") DO UPDATE SET ");
    for (int i = KEYS; i < COLUMNS; i++)
        rm_buf_printf(&sql, "%s%s=excluded.%s", i > KEYS ? "," : "", columns[i].name,
                      columns[i].name);
    if ((rc = prepare(db, &sql, &q)) == SQLITE_OK)
        rc = bind_columns(q, row, COLUMNS);
    rm_buf_clear(&sql);
    return finish(q, rc);
}

static int put_speed(sqlite3 *db, const struct node_ledger_row *row, int k)
{
    const struct ledger_speed *s = &row->speed[k];
    sqlite3_stmt *q = NULL;
    int rc;

    if (s->prefill_tokens == 0 && s->decode_tokens == 0)
        return SQLITE_OK;
    rc = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO speed VALUES(?,?,?,?,?,?,?,?,?,?,?)", -1,
                            &q, NULL);
    if (rc == SQLITE_OK && (rc = bind_columns(q, row, KEYS)) == SQLITE_OK &&
        (rc = bind_number(q, KEYS + 1, ledger_depths[k])) == SQLITE_OK &&
        (rc = bind_number(q, KEYS + 2, s->prefill_tokens)) == SQLITE_OK &&
        (rc = bind_number(q, KEYS + 3, s->prefill_us)) == SQLITE_OK &&
        (rc = bind_number(q, KEYS + 4, s->decode_tokens)) == SQLITE_OK)
        rc = bind_number(q, KEYS + 5, s->decode_us);
    return finish(q, rc);
}

int ledger_file_put(struct sqlite3 *db, const struct node_ledger_row *row)
{
    int rc = put_row(db, row);

    for (int k = 0; k < LEDGER_DEPTHS && rc == SQLITE_OK; k++)
        rc = put_speed(db, row, k);
    return rc;
}

int ledger_file_drop(struct sqlite3 *db, const struct ledger_key *key)
{
    static const char *const sql[] = {"DELETE FROM ledger WHERE " KEY_EQUALS,
                                      "DELETE FROM speed WHERE " KEY_EQUALS};
    struct node_ledger_row row = {.key = *key};
    int rc = SQLITE_OK;

    for (size_t i = 0; i < RM_COUNT(sql) && rc == SQLITE_OK; i++) {
        sqlite3_stmt *q = NULL;

        if ((rc = sqlite3_prepare_v2(db, sql[i], -1, &q, NULL)) == SQLITE_OK)
            rc = bind_columns(q, &row, KEYS);
        rc = finish(q, rc);
    }
    return rc;
}

int ledger_file_put_engine(struct sqlite3 *db, const char *program, const char *build)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO engine VALUES(1, ?, ?)", -1, &q, NULL);

    if (rc == SQLITE_OK && (rc = sqlite3_bind_text(q, 1, program, -1, SQLITE_STATIC)) == SQLITE_OK)
        rc = sqlite3_bind_text(q, 2, build, -1, SQLITE_STATIC);
    return finish(q, rc);
}

/* ---- reading ---- */

static int forget_oldest(sqlite3 *db)
{
    char sql[400];

    snprintf(
        sql, sizeof(sql),
        "DELETE FROM ledger WHERE row NOT IN (SELECT row FROM ledger ORDER BY last_s DESC, row "
        "DESC LIMIT %d);"
        "DELETE FROM speed WHERE (" KEY_NAMES ") NOT IN (SELECT " KEY_NAMES " FROM ledger)",
        LEDGER_ROWS_MAX);
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

static int read_speed(sqlite3 *db, struct node_ledger_row *row)
{
    sqlite3_stmt *q = NULL;
    int rc =
        sqlite3_prepare_v2(db,
                           "SELECT depth, prefill_tokens, prefill_us, decode_tokens, decode_us "
                           "FROM speed WHERE " KEY_EQUALS,
                           -1, &q, NULL);

    if (rc == SQLITE_OK)
        rc = bind_columns(q, row, KEYS);
    while (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        rc = SQLITE_OK;
        for (int k = 0; k < LEDGER_DEPTHS; k++)
            if (column_number(q, 0) == ledger_depths[k])
                row->speed[k] = (struct ledger_speed){column_number(q, 1), column_number(q, 2),
                                                      column_number(q, 3), column_number(q, 4)};
    }
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int read_rows(sqlite3 *db, struct ledger_read *out)
{
    sqlite3_stmt *q = NULL;
    struct rm_buf sql;
    int rc;

    rm_buf_init(&sql, 4096);
    rm_buf_puts(&sql, "SELECT ");
    for (int i = 0; i < COLUMNS; i++)
        rm_buf_printf(&sql, "%s%s", i > 0 ? "," : "", columns[i].name);
    rm_buf_puts(&sql, " FROM ledger ORDER BY row");
    rc = prepare(db, &sql, &q);
    rm_buf_clear(&sql);
    while (rc == SQLITE_OK && out->n < LEDGER_ROWS_MAX && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        struct node_ledger_row *row = &out->rows[out->n++];

        read_columns(q, row);
        rc = read_speed(db, row);
    }
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int read_engine(sqlite3 *db, struct ledger_read *out)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(db, "SELECT program, build FROM engine", -1, &q, NULL);

    if (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        column_text(q, 0, out->program, sizeof(out->program));
        column_text(q, 1, out->build, sizeof(out->build));
    }
    sqlite3_finalize(q);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

int ledger_file_read(struct sqlite3 *db, struct ledger_read *out)
{
    int rc;

    memset(out, 0, sizeof(*out));
    if ((out->rows = calloc(LEDGER_ROWS_MAX, sizeof(*out->rows))) == NULL)
        return SQLITE_NOMEM;
    if ((rc = forget_oldest(db)) == SQLITE_OK && (rc = read_engine(db, out)) == SQLITE_OK)
        rc = read_rows(db, out);
    if (rc != SQLITE_OK) {
        free(out->rows);
        memset(out, 0, sizeof(*out));
    }
    return rc;
}

void ledger_program_id(const char *path, char out[LEDGER_PROGRAM_MAX])
{
    struct stat st;

    out[0] = '\0';
    if (stat(path, &st) == 0)
        snprintf(out, LEDGER_PROGRAM_MAX, "%.1000s %lld %lld.%09ld", path, (long long)st.st_size,
                 (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}
