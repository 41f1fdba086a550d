/* SPDX-License-Identifier: MIT */
/* proto/store/store.c - see store.h. The queue, the thread and what becomes of a batch; the file
 * itself (opening, versions, putting a damaged one aside) is store_file.c. `lock` guards the queue
 * and the figures; the file belongs to the writer thread alone. */
#include "proto/store/store.h"

#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/store/store_file.h"

struct entry {
    struct store_job job;
    struct entry *next;
};

struct store {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;  /* something to do, or stopping */
    pthread_cond_t ended; /* jobs have ended */
    struct entry *first, **last;
    uint64_t posted, finished; /* jobs taken into the queue, jobs of them that have ended */
    uint32_t queue_max;
    bool stopping;
    uint64_t stop_at_ms; /* while stopping: what is not begun by then is dropped */
    struct store_stats stats;
    struct store_file file; /* writer thread */
};

/* ---- jobs ---- */

/* Runs entries up to `until` in one transaction. Returns SQLITE_OK: all are committed. */
static int batch_run(struct store *s, struct entry *first)
{
    sqlite3 *db = store_file_db(&s->file);
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

    for (struct entry *e = first; e != NULL && rc == SQLITE_OK; e = e->next)
        rc = e->job.run(db, e->job.arg);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(db))
        (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL); /* rc is told already */
    return rc;
}

/* One job alone; a damaged file is replaced once and the job tried again. */
static int job_run_alone(struct store *s, struct entry *e)
{
    struct entry one = {.job = e->job};
    int rc = batch_run(s, &one);

    if (store_is_damage(rc) && store_file_replace(&s->file))
        rc = batch_run(s, &one);
    if (rc == SQLITE_OK)
        store_file_is_well(&s->file);
    else
        store_file_is_ill(&s->file, rc, "written");
    return rc;
}

static void entry_end(struct store *s, struct entry *e, bool ok, uint64_t *count)
{
    e->job.end(e->job.arg, ok);
    free(e);
    pthread_mutex_lock(&s->lock);
    (*count)++;
    s->finished++;
    s->stats.usable = store_file_db(&s->file) != NULL && !s->file.ill;
    s->stats.damaged = s->file.damaged;
    pthread_cond_broadcast(&s->ended);
    pthread_mutex_unlock(&s->lock);
}

/* Ends a whole list. */
static void entries_end(struct store *s, struct entry *e, bool ok, uint64_t *count)
{
    struct entry *next;

    for (; e != NULL; e = next) {
        next = e->next;
        entry_end(s, e, ok, count);
    }
}

static void batch_go(struct store *s, struct entry *first)
{
    struct entry *next;

    if (!store_file_open(&s->file)) {
        entries_end(s, first, false, &s->stats.dropped);
        return;
    }
    if (first->next != NULL && batch_run(s, first) == SQLITE_OK) {
        store_file_is_well(&s->file);
        entries_end(s, first, true, &s->stats.done);
        return;
    }
    for (; first != NULL; first = next) {
        bool ok = store_file_db(&s->file) != NULL && job_run_alone(s, first) == SQLITE_OK;

        next = first->next;
        entry_end(s, first, ok, ok ? &s->stats.done : &s->stats.failed);
    }
}

/* ---- the thread ---- */

/* Cuts at most STORE_BATCH_MAX entries off the queue; the lock is held. */
static struct entry *queue_take(struct store *s)
{
    struct entry *first = s->first, **end = &s->first;

    for (int n = 0; *end != NULL && n < STORE_BATCH_MAX; n++)
        end = &(*end)->next;
    s->stats.waiting = 0;
    for (const struct entry *e = *end; e != NULL; e = e->next)
        s->stats.waiting++;
    if (end == &s->first)
        return NULL;
    s->first = *end;
    if (s->first == NULL)
        s->last = &s->first;
    *end = NULL;
    return first;
}

static void *store_main(void *arg)
{
    struct store *s = arg;
    struct entry *batch;
    bool late;

    (void)store_file_open(&s->file);
    pthread_mutex_lock(&s->lock);
    s->stats.usable = store_file_db(&s->file) != NULL;
    s->stats.damaged = s->file.damaged;
    for (;;) {
        while (s->first == NULL && !s->stopping)
            pthread_cond_wait(&s->work, &s->lock);
        if ((batch = queue_take(s)) == NULL)
            break;
        late = s->stopping && rm_now_ms() >= s->stop_at_ms;
        pthread_mutex_unlock(&s->lock);
        if (late)
            entries_end(s, batch, false, &s->stats.dropped);
        else
            batch_go(s, batch);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    store_file_close(&s->file);
    return NULL;
}

/* Signals are the loop's business. */
static int store_start_thread(struct store *s)
{
    sigset_t all, old;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&s->thread, NULL, store_main, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r == 0 ? 0 : uv_translate_sys_error(r);
}

/* ---- the contract ---- */

static void store_free(struct store *s)
{
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->ended);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int store_open(const struct store_conf *conf, struct store **out)
{
    struct store *s;
    pthread_condattr_t attr;
    int r;

    *out = NULL;
    if (conf->queue_max == 0 || conf->queue_max > STORE_QUEUE_MAX)
        return UV_EINVAL;
    if ((s = calloc(1, sizeof(*s))) == NULL)
        return UV_ENOMEM;
    if ((r = store_file_init(&s->file, conf)) < 0) {
        free(s);
        return r;
    }
    s->last = &s->first;
    s->queue_max = conf->queue_max;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->ended, &attr);
    pthread_condattr_destroy(&attr);
    if ((r = store_start_thread(s)) < 0) {
        store_free(s);
        return r;
    }
    *out = s;
    return 0;
}

int store_post(struct store *s, const struct store_job *job)
{
    struct entry *e = malloc(sizeof(*e));
    bool full;

    pthread_mutex_lock(&s->lock);
    full = e == NULL || s->stats.waiting >= s->queue_max;
    if (full) {
        s->stats.dropped++;
    } else {
        *e = (struct entry){.job = *job};
        *s->last = e;
        s->last = &e->next;
        s->stats.waiting++;
        s->posted++;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    if (!full)
        return 0;
    free(e);
    job->end(job->arg, false);
    return RM_ERR_OVERLOAD;
}

int store_flush(struct store *s, uint32_t timeout_ms)
{
    struct timespec until;
    uint64_t upto;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->lock);
    upto = s->posted;
    while (s->finished < upto && r == 0)
        r = pthread_cond_timedwait(&s->ended, &s->lock, &until);
    r = s->finished < upto ? UV_ETIMEDOUT : 0;
    pthread_mutex_unlock(&s->lock);
    return r;
}

void store_stats(struct store *s, struct store_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->stats;
    pthread_mutex_unlock(&s->lock);
}

void store_close(struct store *s, uint32_t timeout_ms)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    s->stop_at_ms = rm_now_ms() + timeout_ms;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    store_free(s);
}
