/* SPDX-License-Identifier: MIT */
/* gateway/ops/history_read.c - questions to the history. Each is answered in a thread of the pool,
 * on a read-only connection of its own, so that a long one holds up neither the loop nor the rows
 * that are being written (WAL). It sees every row that was added before it was asked:
 *
 *   ask ──flush──► writer thread: a job behind those rows ──► passed ──loop──► waiting
 *                                                                                 │ HISTORY_READERS
 *   on_answer ◄──────────────────────── loop ◄──────── a thread of the pool ◄─────┘ at one time  */
#include "gateway/ops/history_impl.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/base/log.h"

enum {
    ANSWER_MAX = 8 * 1024 * 1024,
    READ_MS = 20000, /* a question that takes longer is given up */
    BUSY_MS = 1000,
    LOOK_EVERY = 20000 /* steps of SQLite's machine between two looks at the clock */
};

struct history_question_job {
    struct history *h;
    struct history_read read;
    uv_work_t work;
    uint64_t until_ms;
    struct rm_buf out;
    int rc; /* SQLite's */
    bool ok;
    TAILQ_ENTRY(history_question_job) link;
};

/* ---- in a thread ---- */

static int look_at_clock(void *arg)
{
    const struct history_question_job *j = arg;

    return atomic_load(&j->h->closing) || rm_now_ms() > j->until_ms;
}

static void job_run(uv_work_t *work)
{
    struct history_question_job *j = work->data;
    sqlite3 *db = NULL;

    j->until_ms = rm_now_ms() + READ_MS;
    j->rc = sqlite3_open_v2(j->h->path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    if (j->rc == SQLITE_OK) {
        (void)sqlite3_busy_timeout(db, BUSY_MS);
        sqlite3_progress_handler(db, LOOK_EVERY, look_at_clock, j);
        j->rc = j->read.run(db, j->read.arg, &j->out);
    }
    if (j->rc == SQLITE_DONE)
        j->rc = SQLITE_OK;
    sqlite3_close(db);
}

/* ---- on the loop ---- */

static void job_end(struct history_question_job *j, int err)
{
    j->h->asked--;
    j->read.on_answer(j->read.arg, err,
                      err == 0 ? (struct rm_slice){j->out.data, j->out.len} : RM_LIT(""));
    rm_buf_clear(&j->out);
    free(j);
}

static void start_waiting(struct history *h);

static void job_on_done(uv_work_t *work, int status)
{
    struct history_question_job *j = work->data;
    struct history *h = j->h;
    int err = status < 0 || j->rc != SQLITE_OK ? RM_ERR_OVERLOAD : 0;

    h->running--;
    if (atomic_load(&h->closing))
        err = RM_ERR_DRAINING;
    else if (err < 0)
        rm_warn("ops", "the history could not be read", RM_S("why", sqlite3_errstr(j->rc)));
    job_end(j, err);
    if (!atomic_load(&h->closing))
        start_waiting(h);
    history_let_go(h);
}

static void start_waiting(struct history *h)
{
    struct history_question_job *j;

    while (h->running < HISTORY_READERS && (j = TAILQ_FIRST(&h->waiting)) != NULL) {
        TAILQ_REMOVE(&h->waiting, j, link);
        j->work.data = j;
        h->running++;
        h->holds++;
        (void)uv_queue_work(h->loop, &j->work, job_run, job_on_done); /* fails without a function */
    }
}

static struct history_question_job *next_passed(struct history *h)
{
    struct history_question_job *j;

    uv_mutex_lock(&h->lock);
    if ((j = TAILQ_FIRST(&h->passed)) != NULL)
        TAILQ_REMOVE(&h->passed, j, link);
    uv_mutex_unlock(&h->lock);
    return j;
}

void history_on_async(uv_async_t *async)
{
    struct history *h = async->data;
    struct history_question_job *j;

    while ((j = next_passed(h)) != NULL)
        if (j->ok)
            TAILQ_INSERT_TAIL(&h->waiting, j, link);
        else
            job_end(j, RM_ERR_OVERLOAD);
    start_waiting(h);
}

void history_end_reads(struct history *h)
{
    struct history_question_job *j;

    while ((j = next_passed(h)) != NULL)
        job_end(j, RM_ERR_DRAINING);
    while ((j = TAILQ_FIRST(&h->waiting)) != NULL) {
        TAILQ_REMOVE(&h->waiting, j, link);
        job_end(j, RM_ERR_DRAINING);
    }
}

/* ---- behind the rows, on the writer thread ---- */

static int pass_run(sqlite3 *db, void *arg)
{
    (void)db;
    (void)arg;
    return SQLITE_OK;
}

static void pass_end(void *arg, bool ok)
{
    struct history_question_job *j = arg;
    struct history *h = j->h;

    j->ok = ok;
    uv_mutex_lock(&h->lock);
    TAILQ_INSERT_TAIL(&h->passed, j, link);
    uv_mutex_unlock(&h->lock);
    uv_async_send(&h->async);
}

int history_read(struct history *h, const struct history_read *read)
{
    struct history_question_job *j;
    struct store_job job = {pass_run, pass_end, NULL};

    if (h->asked >= HISTORY_READS_MAX)
        return RM_ERR_OVERLOAD;
    if ((j = calloc(1, sizeof *j)) == NULL)
        return UV_ENOMEM;
    j->h = h;
    j->read = *read;
    rm_buf_init(&j->out, ANSWER_MAX);
    job.arg = j;
    h->asked++;
    history_flush(h);                 /* what has just ended counts */
    (void)store_post(h->store, &job); /* a full queue ends it at once: an answer as well */
    return 0;
}

/* ---- usage ---- */

struct sums {
    void (*on_answer)(void *arg, int err, struct rm_slice json);
    void *arg;
    char sql[1024];
    int64_t since_ms, until_ms;
    bool per;
};

static int sums_run(sqlite3 *db, void *arg, struct rm_buf *out)
{
    static const char *const sums[] = {
        "requests",          "errors",   "prompt_tokens", "cached_tokens",
        "completion_tokens", "queue_ms", "ttft_ms",       "duration_ms"};
    struct sums *s = arg;
    sqlite3_stmt *q = NULL;
    struct rm_jw w = rm_jw_to(out);
    int rc = sqlite3_prepare_v2(db, s->sql, -1, &q, NULL);

    rm_jw_arr(&w, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(q, 1, s->since_ms);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(q, 2, s->until_ms > 0 ? s->until_ms : INT64_MAX);
    while (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        char at[RM_TIME_TEXT];
        const char *name = (const char *)sqlite3_column_text(q, 1);

        rc = SQLITE_OK;
        rm_jw_obj(&w, NULL);
        rm_jw_str(&w, "at", s->per ? rm_time_text(sqlite3_column_int64(q, 0), at) : NULL);
        rm_jw_str(&w, "name", name != NULL && name[0] != '\0' ? name : NULL);
        for (int i = 0; i < (int)RM_COUNT(sums); i++)
            rm_jw_i64(&w, sums[i], sqlite3_column_int64(q, 2 + i));
        rm_jw_end(&w);
    }
    sqlite3_finalize(q);
    rm_jw_end(&w);
    return rm_jw_done(&w) < 0 ? SQLITE_TOOBIG : rc;
}

static void sums_on_answer(void *arg, int err, struct rm_slice json)
{
    struct sums *s = arg;

    s->on_answer(s->arg, err, json);
    free(s);
}

int history_ask(struct history *h, const struct history_question *q,
                void (*on_answer)(void *arg, int err, struct rm_slice json), void *arg)
{
    struct sums *s = calloc(1, sizeof *s);
    const struct history_read read = {sums_run, sums_on_answer, s};
    long long part = q->per == NULL ? 0 : strcmp(q->per, "hour") == 0 ? 3600000 : 86400000;
    char bucket[64] = "0";
    int r;

    if (s == NULL)
        return UV_ENOMEM;
    if (part > 0)
        snprintf(bucket, sizeof bucket, "at_ms / %lld * %lld", part, part);
    snprintf(s->sql, sizeof s->sql,
             "SELECT %s AS at, %s AS name, count(*), sum(outcome NOT IN ('ok', 'gone')), "
             "sum(prompt), sum(cached), sum(completion), sum(queue_ms), sum(ttft_ms), "
             "sum(duration_ms) FROM request WHERE at_ms >= ? AND at_ms < ? GROUP BY 1, 2 "
             "ORDER BY 1 DESC, 2 LIMIT %d",
             bucket, q->by, HISTORY_ROWS_MAX);
    s->per = part > 0;
    s->since_ms = q->since_ms;
    s->until_ms = q->until_ms;
    s->on_answer = on_answer;
    s->arg = arg;
    if ((r = history_read(h, &read)) < 0)
        free(s);
    return r;
}
