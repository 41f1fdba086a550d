/* SPDX-License-Identifier: MIT */
/* gateway/ops/history.c - life, and rows on their way to the file. Questions: history_read.c. */
#include "gateway/ops/history_impl.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ops/list.h"
#include "proto/base/clock.h"
#include "proto/base/om.h"

enum { SWEEP_EVERY = 64, FLUSH_MS = 500, WHY_BYTES = 64 * 1024, BATCH_MAX = 512, CLOSE_MS = 1000 };

/* Rows only ever go to the ends of tables and indexes. There is no index of requests' ids: an id
 * says when it was made, and the index by time leads there. */
const char *const history_migrations[HISTORY_MIGRATIONS] = {
    "CREATE TABLE request(id TEXT NOT NULL, at_ms INTEGER NOT NULL, key TEXT NOT NULL,"
    " role TEXT NOT NULL, served TEXT NOT NULL, mode TEXT NOT NULL, node TEXT NOT NULL,"
    " dialect TEXT NOT NULL, status INTEGER NOT NULL, outcome TEXT NOT NULL, error TEXT NOT NULL,"
    " tries INTEGER NOT NULL, queue_ms INTEGER NOT NULL, ttft_ms INTEGER NOT NULL,"
    " duration_ms INTEGER NOT NULL, prompt INTEGER NOT NULL, cached INTEGER NOT NULL,"
    " completion INTEGER NOT NULL, bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL,"
    " why TEXT NOT NULL);"
    "CREATE INDEX request_at ON request(at_ms);"
    "CREATE TABLE event(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, json TEXT NOT NULL);",
    /* charts read thirty days of requests without touching the rows: past.c */
    "CREATE TABLE sample(at_ms INTEGER NOT NULL, node TEXT NOT NULL, role TEXT NOT NULL,"
    " memory_total REAL, memory_used REAL, memory_committed REAL, memory_budget REAL,"
    " slots_busy REAL, slots_total REAL, cpu_percent REAL, gpu_percent REAL);"
    "CREATE INDEX sample_at ON sample(at_ms);"
    "DROP INDEX request_at;"
    "CREATE INDEX request_past ON request(at_ms, role, node, outcome, prompt, cached, completion,"
    " queue_ms, ttft_ms, duration_ms);",
    /* what the answers about a request tell besides: recall.c */
    "ALTER TABLE request ADD COLUMN seq INTEGER NOT NULL DEFAULT 1;"
    "ALTER TABLE request ADD COLUMN key_name TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE request ADD COLUMN known INTEGER NOT NULL DEFAULT 3;"
    "ALTER TABLE request ADD COLUMN rewrites TEXT NOT NULL DEFAULT '[]';",
    /* where decisions are in the rows of their requests, by time: decisions.c */
    "CREATE TABLE decision(at TEXT NOT NULL, request TEXT NOT NULL, node TEXT NOT NULL,"
    " role TEXT NOT NULL, request_row INTEGER NOT NULL, k INTEGER NOT NULL,"
    " PRIMARY KEY(at, request, node)) WITHOUT ROWID;"
    "INSERT OR IGNORE INTO decision SELECT d.value ->> 'at', r.id, d.value ->> 'node',"
    " d.value ->> 'role', r.rowid, d.key FROM request r, json_each(r.why) d"
    " WHERE json_valid(r.why) AND d.value ->> 'at' NOT NULL AND d.value ->> 'node' NOT NULL"
    " AND d.value ->> 'role' NOT NULL;"};

/* ---- rows, on the writer thread ---- */

/* Decisions come with their requests. */
enum row_kind { ROW_REQUEST, ROW_EVENT, ROW_SAMPLES, ROW_DECISIONS, ROW_KINDS };

struct row {
    enum row_kind kind;
    uint64_t id;
    int64_t at_ms;
    struct ops_done done;
    char *text;             /* of an event its JSON; owned */
    struct sample *samples; /* of one look; owned */
    size_t n_samples;
    TAILQ_ENTRY(row) link;
};

/* Rows that go to the writer thread together: one transaction, each statement prepared once. A row
 * by itself would cost the machine more than the request did. */
TAILQ_HEAD(rows, row);
struct history_batch {
    struct history *h;
    struct rows rows;
    uint32_t n;
};

static void row_free(struct row *r)
{
    free(r->done.why);
    free(r->text);
    free(r->samples);
    free(r);
}

static void batch_end(void *arg, bool ok)
{
    struct history_batch *b = arg;
    struct row *r;

    if (ok)
        atomic_fetch_add(&b->h->rows_done, b->n);
    else
        atomic_fetch_add(&b->h->rows_lost, b->n);
    while ((r = TAILQ_FIRST(&b->rows)) != NULL) {
        TAILQ_REMOVE(&b->rows, r, link);
        row_free(r);
    }
    free(b);
}

/* Runs a statement that will be run again. */
static int step(sqlite3_stmt *q, int rc)
{
    if (rc == SQLITE_OK)
        rc = sqlite3_step(q);
    (void)sqlite3_reset(q);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int insert_event(sqlite3_stmt *q, const struct row *r)
{
    int rc = sqlite3_bind_int64(q, 1, (int64_t)r->id);

    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(q, 2, r->at_ms);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(q, 3, r->text, -1, SQLITE_STATIC);
    return step(q, rc);
}

/* The columns of the third migration. */
static int bind_rest(sqlite3_stmt *q, const struct ops_done *d)
{
    int rc = sqlite3_bind_int64(q, 22, (int64_t)d->seq);

    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(q, 23, d->key_name, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int(q, 24, d->known);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(q, 25, d->rewrites != NULL ? d->rewrites : "[]", -1, SQLITE_STATIC);
    return rc;
}

static int insert_request(sqlite3_stmt *q, const struct row *r, struct rm_buf *why)
{
    const struct ops_done *d = &r->done;
    const char *const words[] = {d->key, d->role, d->served, d->mode, d->node, d->dialect};
    const int64_t numbers[] = {d->tries,
                               (int64_t)d->queue_ms,
                               (int64_t)d->ttft_ms,
                               (int64_t)d->duration_ms,
                               d->prompt_tokens,
                               d->cached_tokens,
                               d->completion_tokens,
                               (int64_t)d->bytes_in,
                               (int64_t)d->bytes_out};
    int rc;

    rc = sqlite3_bind_text(q, 1, d->id, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(q, 2, d->at_ms);
    for (int i = 0; rc == SQLITE_OK && i < (int)RM_COUNT(words); i++)
        rc = sqlite3_bind_text(q, 3 + i, words[i], -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int(q, 9, d->status);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(q, 10, d->outcome, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(q, 11, d->error, -1, SQLITE_STATIC);
    for (int i = 0; rc == SQLITE_OK && i < (int)RM_COUNT(numbers); i++)
        rc = sqlite3_bind_int64(q, 12 + i, numbers[i]);
    why->len = 0;
    if (d->why == NULL || d->why_write(d->why, why) < 0) {
        why->len = 0;
        (void)rm_buf_puts(why, "[]");
    }
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(q, 21, why->data, (int)why->len, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = bind_rest(q, d);
    return step(q, rc);
}

static int insert_samples(sqlite3_stmt *q, const struct row *r)
{
    int rc = SQLITE_OK;

    for (size_t i = 0; rc == SQLITE_OK && i < r->n_samples; i++) {
        const struct sample *s = &r->samples[i];

        rc = sqlite3_bind_int64(q, 1, r->at_ms);
        if (rc == SQLITE_OK)
            rc = sqlite3_bind_text(q, 2, s->node, -1, SQLITE_STATIC);
        if (rc == SQLITE_OK)
            rc = sqlite3_bind_text(q, 3, s->role, -1, SQLITE_STATIC);
        for (int v = 0; rc == SQLITE_OK && v < SAMPLE_VALUES; v++)
            rc = sqlite3_bind_double(q, 4 + v, s->value[v]); /* NaN becomes NULL */
        rc = step(q, rc);
    }
    return rc;
}

static int64_t number_of(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *q = NULL;
    int64_t n = 0;

    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return n;
}

int history_sweep(sqlite3 *db, int64_t now_ms, uint64_t bytes)
{
    int64_t used = (number_of(db, "PRAGMA page_count") - number_of(db, "PRAGMA freelist_count")) *
                   number_of(db, "PRAGMA page_size");
    char sql[400], at[RM_TIME_TEXT];
    int64_t old = now_ms - (int64_t)HISTORY_DAYS * 86400000;
    int rc;

    snprintf(sql, sizeof sql,
             "DELETE FROM request WHERE at_ms < %lld; DELETE FROM event WHERE at_ms < %lld; "
             "DELETE FROM sample WHERE at_ms < %lld; DELETE FROM decision WHERE at < '%s'",
             (long long)old, (long long)old, (long long)old, rm_time_text(old, at));
    rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK && used > (int64_t)(bytes / 4 * 3))
        rc = sqlite3_exec(db,
                          "DELETE FROM request WHERE at_ms <= (SELECT at_ms FROM request ORDER BY "
                          "at_ms LIMIT 1 OFFSET (SELECT count(*) / 10 FROM request)); "
                          "DELETE FROM sample WHERE at_ms <= (SELECT at_ms FROM sample ORDER BY "
                          "at_ms LIMIT 1 OFFSET (SELECT count(*) / 10 FROM sample));"
                          "DELETE FROM decision WHERE at <= (SELECT at FROM decision ORDER BY at "
                          "LIMIT 1 OFFSET (SELECT count(*) / 10 FROM decision)); "
                          "DELETE FROM event WHERE id <= (SELECT id FROM event ORDER BY id LIMIT 1 "
                          "OFFSET (SELECT count(*) / 10 FROM event))",
                          NULL, NULL, NULL);
    return rc;
}

/* A decision's own texts: time, names and ids, which need no escapes. */
static struct rm_slice bare_of(struct rm_slice decision, const char *member)
{
    struct rm_slice v;

    return list_member(decision, member, &v) && v.n > 2 ? (struct rm_slice){v.p + 1, v.n - 2}
                                                        : (struct rm_slice){NULL, 0};
}

static int bind_slice(sqlite3_stmt *q, int i, struct rm_slice s)
{
    return sqlite3_bind_text(q, i, s.p, (int)s.n, SQLITE_STATIC);
}

/* Of the request that was just written; why: its decisions as JSON. */
static int insert_decisions(sqlite3_stmt *q, const struct row *r, const struct rm_buf *why)
{
    struct rm_slice left = {why->data, why->len}, decision;
    int64_t at_row = sqlite3_last_insert_rowid(sqlite3_db_handle(q));
    int rc = SQLITE_OK;

    for (int k = 0; rc == SQLITE_OK && list_next(&left, &decision); k++) {
        struct rm_slice at = bare_of(decision, "at"), node = bare_of(decision, "node"),
                        role = bare_of(decision, "role");

        if (at.n == 0 || node.n == 0 || role.n == 0)
            continue;
        rc = bind_slice(q, 1, at);
        if (rc == SQLITE_OK)
            rc = sqlite3_bind_text(q, 2, r->done.id, -1, SQLITE_STATIC);
        if (rc == SQLITE_OK)
            rc = bind_slice(q, 3, node);
        if (rc == SQLITE_OK)
            rc = bind_slice(q, 4, role);
        if (rc == SQLITE_OK)
            rc = sqlite3_bind_int64(q, 5, at_row);
        if (rc == SQLITE_OK)
            rc = sqlite3_bind_int(q, 6, k);
        rc = step(q, rc);
    }
    return rc;
}

static int insert_row(sqlite3_stmt *const q[ROW_KINDS], const struct row *r, struct rm_buf *why)
{
    int rc;

    switch (r->kind) {
    case ROW_EVENT:
        return insert_event(q[ROW_EVENT], r);
    case ROW_SAMPLES:
        return insert_samples(q[ROW_SAMPLES], r);
    default:
        rc = insert_request(q[ROW_REQUEST], r, why);
        return rc == SQLITE_OK ? insert_decisions(q[ROW_DECISIONS], r, why) : rc;
    }
}

static int batch_run(sqlite3 *db, void *arg)
{
    static const char *const sql[ROW_KINDS] = {
        [ROW_REQUEST] = "INSERT OR REPLACE INTO request "
                        "VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        [ROW_EVENT] = "INSERT OR REPLACE INTO event VALUES(?,?,?)",
        [ROW_DECISIONS] = "INSERT OR REPLACE INTO decision VALUES(?,?,?,?,?,?)",
        [ROW_SAMPLES] = "INSERT INTO sample VALUES(?,?,?,?,?,?,?,?,?,?,?)"};
    struct history_batch *b = arg;
    sqlite3_stmt *q[ROW_KINDS] = {NULL};
    int rc = SQLITE_OK;
    struct rm_buf why;
    struct row *r;

    rm_buf_init(&why, WHY_BYTES);
    for (size_t i = 0; rc == SQLITE_OK && i < ROW_KINDS; i++)
        rc = sqlite3_prepare_v2(db, sql[i], -1, &q[i], NULL);
    TAILQ_FOREACH(r, &b->rows, link)
    if (rc == SQLITE_OK)
        rc = insert_row(q, r, &why);
    for (size_t i = 0; i < ROW_KINDS; i++)
        sqlite3_finalize(q[i]);
    rm_buf_clear(&why);
    if (rc == SQLITE_OK && b->h->since_sweep++ % SWEEP_EVERY == 0)
        rc = history_sweep(db, rm_wall_ms(), HISTORY_BYTES);
    return rc;
}

void history_flush(struct history *h)
{
    struct history_batch *b = h->filling;
    struct store_job job = {batch_run, batch_end, b};

    h->filling = NULL;
    if (b != NULL)
        (void)store_post(h->store, &job); /* a full queue ends it: its rows are counted as lost */
}

static void history_on_timer(uv_timer_t *timer)
{
    history_flush(timer->data);
}

static void add_row(struct history *h, struct row *r)
{
    if (h->filling == NULL && (h->filling = calloc(1, sizeof *h->filling)) != NULL) {
        h->filling->h = h;
        TAILQ_INIT(&h->filling->rows);
        uv_timer_start(&h->timer, history_on_timer, FLUSH_MS, 0);
    }
    if (h->filling == NULL) {
        atomic_fetch_add(&h->rows_lost, 1);
        row_free(r);
        return;
    }
    TAILQ_INSERT_TAIL(&h->filling->rows, r, link);
    if (++h->filling->n >= BATCH_MAX)
        history_flush(h);
}

void history_add_request(struct history *h, const struct ops_done *done)
{
    struct row *r = calloc(1, sizeof *r);

    if (r == NULL) {
        atomic_fetch_add(&h->rows_lost, 1);
        free(done->why);
        return;
    }
    r->done = *done;
    add_row(h, r);
}

void history_add_event(struct history *h, uint64_t id, int64_t at_ms, const char *json)
{
    struct row *r = calloc(1, sizeof *r);

    if (r == NULL || (r->text = rm_slice_dup(rm_slice_of(json))) == NULL) {
        atomic_fetch_add(&h->rows_lost, 1);
        free(r);
        return;
    }
    r->kind = ROW_EVENT;
    r->id = id;
    r->at_ms = at_ms;
    add_row(h, r);
}

void history_add_samples(struct history *h, const struct sample *samples, size_t n, int64_t at_ms)
{
    struct row *r = calloc(1, sizeof *r);

    if (r == NULL || (r->samples = malloc((n + 1) * sizeof *samples)) == NULL) {
        atomic_fetch_add(&h->rows_lost, 1);
        free(r);
        return;
    }
    memcpy(r->samples, samples, n * sizeof *samples);
    r->kind = ROW_SAMPLES;
    r->n_samples = n;
    r->at_ms = at_ms;
    add_row(h, r);
}

/* ---- life ---- */

static int open_parts(uv_loop_t *loop, struct history *h)
{
    const struct store_conf conf = {.path = h->path,
                                    .name = "history",
                                    .migrations = history_migrations,
                                    .n_migrations = HISTORY_MIGRATIONS,
                                    .queue_max = HISTORY_QUEUE,
                                    .max_bytes = HISTORY_BYTES};
    int r = uv_mutex_init(&h->lock);

    if (r < 0)
        return r;
    if ((r = store_open(&conf, &h->store)) < 0 ||
        (r = uv_async_init(loop, &h->async, history_on_async)) < 0) {
        store_close(h->store, 0);
        uv_mutex_destroy(&h->lock);
        return r;
    }
    uv_timer_init(loop, &h->timer); /* never fails */
    return 0;
}

int history_open(uv_loop_t *loop, const char *dir, struct history **out)
{
    struct history *h = calloc(1, sizeof *h);
    int r;

    *out = NULL;
    if (h == NULL)
        return UV_ENOMEM;
    h->loop = loop;
    TAILQ_INIT(&h->passed);
    TAILQ_INIT(&h->waiting);
    if (snprintf(h->path, sizeof h->path, "%s/history.db", dir) >= (int)sizeof h->path)
        r = UV_EINVAL;
    else
        r = open_parts(loop, h);
    if (r < 0) {
        free(h);
        return r;
    }
    h->async.data = h->timer.data = h;
    h->holds = 2;
    *out = h;
    return 0;
}

void history_let_go(struct history *h)
{
    void (*on_closed)(void *arg) = h->on_closed;
    void *arg = h->on_closed_arg;

    if (--h->holds > 0)
        return;
    uv_mutex_destroy(&h->lock);
    free(h);
    on_closed(arg);
}

static void history_on_closed(uv_handle_t *handle)
{
    history_let_go(handle->data);
}

void history_close(struct history *h, void (*on_closed)(void *arg), void *arg)
{
    atomic_store(&h->closing, true); /* reads that run end soon */
    history_flush(h);
    store_close(h->store, CLOSE_MS); /* every job has ended */
    h->store = NULL;
    history_end_reads(h);
    h->on_closed = on_closed;
    h->on_closed_arg = arg;
    uv_close((uv_handle_t *)&h->timer, history_on_closed);
    uv_close((uv_handle_t *)&h->async, history_on_closed);
}

static void write_one(struct rm_om *om, const char *name, enum rm_om_type type, const char *help,
                      uint64_t value)
{
    rm_om_family(om, name, type, "", help);
    rm_om_u64(om, value);
}

void history_write_metrics(const struct history *h, struct rm_om *om)
{
    struct store_stats s;

    store_stats(h->store, &s);
    write_one(om, "rolemesh_history_usable", RM_OM_GAUGE,
              "1: the history's file is open and can be written.", s.usable);
    write_one(om, "rolemesh_history_rows", RM_OM_COUNTER, "Rows written to the history.",
              atomic_load(&h->rows_done));
    write_one(om, "rolemesh_history_lost", RM_OM_COUNTER, "Rows that the history did not take.",
              atomic_load(&h->rows_lost));
    write_one(om, "rolemesh_history_damaged", RM_OM_COUNTER,
              "Damaged files put aside since the start.", s.damaged);
}
