/* SPDX-License-Identifier: MIT */
/* worker/memory/ledger.c - the rows in memory and their way to the file and back. The file is the
 * store's thread's; what it has read is handed over under `lock`. A file that could not be read at
 * the start is asked again every some seconds. */
#include "worker/memory/ledger.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/store/store.h"
#include "worker/memory/ledger_file.h"

struct ledger {
    struct store *store;
    struct node_ledger_row *rows; /* room for LEDGER_ROWS_MAX; by id */
    uint32_t n;
    uint64_t last_id;
    char build[LEDGER_BUILD_MAX];
    char core_path[1024];
    char program[LEDGER_PROGRAM_MAX]; /* of core_path at the start; read-only after that */
    uint32_t damaged;                 /* files replaced that we have written anew */
    unsigned polls;                   /* since the read failed */
    pthread_mutex_t lock;             /* the two below */
    enum { READ_ASKED, READ_FAILED, READ_HERE, READ_TAKEN } read_state;
    struct ledger_read read;
};

enum { READ_AGAIN_POLLS = STORE_RETRY_MS / 1000 + 1 };

/* ---- jobs ---- */

static int read_run(struct sqlite3 *db, void *arg)
{
    struct ledger *l = arg;
    struct ledger_read read;
    int rc = ledger_file_read(db, &read);

    pthread_mutex_lock(&l->lock);
    if (rc == SQLITE_OK) {
        free(l->read.rows); /* of a first try, when this is a second one */
        l->read = read;
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

static void read_end(void *arg, bool ok)
{
    struct ledger *l = arg;

    pthread_mutex_lock(&l->lock);
    l->read_state = ok ? READ_HERE : READ_FAILED;
    pthread_mutex_unlock(&l->lock);
}

static int put_run(struct sqlite3 *db, void *arg)
{
    return ledger_file_put(db, arg);
}

static int drop_run(struct sqlite3 *db, void *arg)
{
    return ledger_file_drop(db, arg);
}

struct engine_job {
    char core_path[1024], build[LEDGER_BUILD_MAX];
};

static int engine_run(struct sqlite3 *db, void *arg)
{
    const struct engine_job *j = arg;
    char program[LEDGER_PROGRAM_MAX];

    ledger_program_id(j->core_path, program);
    return ledger_file_put_engine(db, program, j->build);
}

static void free_end(void *arg, bool ok)
{
    (void)ok; /* counted by the store */
    free(arg);
}

static void ledger_post(struct ledger *l, int (*run)(struct sqlite3 *, void *), const void *what,
                        size_t size)
{
    struct store_job job = {run, free_end, malloc(size)};

    if (job.arg == NULL)
        return; /* written with the row's next change */
    memcpy(job.arg, what, size);
    (void)store_post(l->store, &job); /* full: counted there */
}

/* ---- rows ---- */

static struct node_ledger_row *row_of(const struct ledger *l, const struct ledger_key *key)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (ledger_key_same(&l->rows[i].key, key))
            return &l->rows[i];
    return NULL;
}

static void drop_oldest(struct ledger *l)
{
    uint32_t oldest = 0;

    for (uint32_t i = 1; i < l->n; i++)
        if (l->rows[i].last_s < l->rows[oldest].last_s)
            oldest = i;
    ledger_post(l, drop_run, &l->rows[oldest].key, sizeof(l->rows[oldest].key));
    l->n--;
    memmove(&l->rows[oldest], &l->rows[oldest + 1], (l->n - oldest) * sizeof(*l->rows));
}

static struct node_ledger_row *row_new(struct ledger *l)
{
    struct node_ledger_row *row;

    if (l->n == LEDGER_ROWS_MAX)
        drop_oldest(l);
    row = &l->rows[l->n++];
    memset(row, 0, sizeof(*row));
    row->id = ++l->last_id;
    return row;
}

static void row_judge(struct node_ledger_row *row)
{
    row->expected = ledger_expect(row, row->predicted, row->estimated, &row->measured);
}

/* Rows that were read, unless there is a newer one by now. */
static void ledger_take_read(struct ledger *l)
{
    struct ledger_read read = {0};

    pthread_mutex_lock(&l->lock);
    if (l->read_state == READ_HERE) {
        l->read_state = READ_TAKEN;
        read = l->read;
        memset(&l->read, 0, sizeof(l->read));
    }
    pthread_mutex_unlock(&l->lock);
    for (uint32_t i = 0; i < read.n; i++) {
        struct node_ledger_row *row;

        if (l->n == LEDGER_ROWS_MAX || row_of(l, &read.rows[i].key) != NULL)
            continue;
        row = row_new(l);
        read.rows[i].id = row->id;
        *row = read.rows[i];
        row_judge(row);
    }
    free(read.rows);
    if (l->build[0] == '\0' && read.build[0] != '\0' && l->program[0] != '\0' &&
        strcmp(read.program, l->program) == 0)
        rm_text_copy(l->build, sizeof(l->build), read.build);
}

static void ledger_ask_read(struct ledger *l)
{
    struct store_job job = {read_run, read_end, l};

    l->polls = 0;
    pthread_mutex_lock(&l->lock);
    l->read_state = READ_ASKED;
    pthread_mutex_unlock(&l->lock);
    (void)store_post(l->store, &job); /* full: read_end was told, and it is asked again */
}

static bool ledger_read_failed(struct ledger *l)
{
    bool failed;

    pthread_mutex_lock(&l->lock);
    failed = l->read_state == READ_FAILED;
    pthread_mutex_unlock(&l->lock);
    return failed;
}

void ledger_poll(struct ledger *l)
{
    struct store_stats s;

    ledger_take_read(l);
    if (ledger_read_failed(l) && ++l->polls >= READ_AGAIN_POLLS)
        ledger_ask_read(l);
    store_stats(l->store, &s);
    if (s.damaged == l->damaged || !s.usable)
        return;
    l->damaged = s.damaged;
    for (uint32_t i = 0; i < l->n; i++)
        ledger_post(l, put_run, &l->rows[i], sizeof(l->rows[i]));
}

/* ---- the contract ---- */

static void ledger_free(struct ledger *l)
{
    pthread_mutex_destroy(&l->lock);
    free(l->read.rows);
    free(l->rows);
    free(l);
}

int ledger_open(const struct ledger_conf *conf, struct ledger **out)
{
    struct store_conf sc = {.path = conf->path,
                            .name = "ledger",
                            .migrations = ledger_migrations,
                            .n_migrations = ledger_n_migrations,
                            .queue_max = LEDGER_QUEUE,
                            .max_bytes = LEDGER_FILE_MAX};
    struct ledger *l = calloc(1, sizeof(*l));
    int r;

    *out = NULL;
    if (l == NULL)
        return UV_ENOMEM;
    pthread_mutex_init(&l->lock, NULL);
    rm_text_copy(l->core_path, sizeof(l->core_path), conf->core_path);
    ledger_program_id(conf->core_path, l->program);
    if ((l->rows = calloc(LEDGER_ROWS_MAX, sizeof(*l->rows))) == NULL) {
        ledger_free(l);
        return UV_ENOMEM;
    }
    if ((r = store_open(&sc, &l->store)) < 0) {
        ledger_free(l);
        return r;
    }
    ledger_ask_read(l);
    if (store_flush(l->store, LEDGER_OPEN_MS) < 0)
        rm_warn("ledger", "the file is slow: history comes later", RM_S("file", conf->path));
    ledger_poll(l);
    *out = l;
    return 0;
}

void ledger_close(struct ledger *l)
{
    if (l == NULL)
        return;
    store_close(l->store, LEDGER_CLOSE_MS);
    ledger_free(l);
}

const char *ledger_build(const struct ledger *l)
{
    return l->build;
}

void ledger_set_build(struct ledger *l, const char *build)
{
    struct engine_job job = {.build = ""};

    if (build[0] == '\0' || strcmp(build, l->build) == 0)
        return;
    rm_text_copy(l->build, sizeof(l->build), build);
    rm_text_copy(job.core_path, sizeof(job.core_path), l->core_path);
    rm_text_copy(job.build, sizeof(job.build), build);
    ledger_post(l, engine_run, &job, sizeof(job));
}

const struct node_ledger_row *ledger_find(const struct ledger *l, const struct ledger_key *key)
{
    return row_of(l, key);
}

static uint64_t load_ms_of(const struct node_ledger_row *row)
{
    return row->cold_ms > 0 ? row->cold_ms : row->warm_ms;
}

static void apply_row(const struct node_ledger_row *row, struct node_forecast *f)
{
    struct node_ledger_row judged = *row;

    if (row->measured) {
        f->total = row->expected;
        f->measured = true;
        return;
    }
    if (row->predicted == 0 || row->estimated)
        judged.compute = f->compute;
    f->total = ledger_expect(&judged, f->total, f->estimated, &f->measured);
}

void ledger_apply(const struct ledger *l, const struct desired_host *d, struct node_forecast *f)
{
    const struct node_ledger_row *row, *newest = NULL;
    struct ledger_key key;

    if (!f->known || f->model_hash[0] == '\0')
        return;
    ledger_key_of(d, f->model_hash, l->build, &key);
    if ((row = row_of(l, &key)) != NULL)
        apply_row(row, f);
    for (uint32_t i = 0; i < l->n; i++)
        if (strcmp(l->rows[i].key.model_hash, f->model_hash) == 0 && load_ms_of(&l->rows[i]) > 0 &&
            (newest == NULL || l->rows[i].last_s >= newest->last_s))
            newest = &l->rows[i];
    if (row != NULL && load_ms_of(row) > 0)
        newest = row;
    if (newest != NULL)
        f->load_ms = load_ms_of(newest);
}

void ledger_put(struct ledger *l, const struct node_ledger_row *from)
{
    uint64_t now = (uint64_t)rm_wall_s(), id, first;
    struct node_ledger_row *row;

    if (from->key.model_hash[0] == '\0')
        return;
    if ((row = row_of(l, &from->key)) == NULL)
        row = row_new(l);
    id = row->id;
    first = row->first_s > 0 ? row->first_s : now;
    *row = *from;
    row->id = id;
    row->first_s = first;
    row->last_s = now;
    row_judge(row);
    ledger_post(l, put_run, row, sizeof(*row));
}

void ledger_page(const struct ledger *l, uint64_t after, uint32_t limit, struct node_ledger *out)
{
    double scratch[LEDGER_ROWS_MAX];
    struct store_stats s;
    uint32_t from = 0;

    memset(out, 0, sizeof(*out));
    store_stats(l->store, &s);
    out->usable = s.usable;
    out->lost = s.failed + s.dropped;
    node_ledger_errors_of(l->rows, l->n, scratch, &out->errors);
    while (from < l->n && l->rows[from].id <= after)
        from++;
    out->rows = l->rows + from;
    out->n = l->n - from < limit ? l->n - from : limit;
    if (from + out->n < l->n)
        out->next = out->rows[out->n - 1].id;
}

const struct node_ledger_row *ledger_rows(const struct ledger *l, uint32_t *n)
{
    *n = l->n;
    return l->rows;
}
