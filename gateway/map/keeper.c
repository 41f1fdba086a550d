/* SPDX-License-Identifier: MIT */
#include "gateway/map/keeper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "gateway/map/diff.h"
#include "gateway/map/watch.h"
#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/http/problem.h"
#include "proto/base/log.h"

enum { NAME_MAX_BYTES = 256, HOSTS_MAX = 4096, MISTAKE_LINE_MAX = 2048 };

/* Who asked for a map; the words are in by_words. */
enum keeper_by { BY_START, BY_SIGNAL, BY_WATCH, BY_APPLY, BY_API };
static const char *const by_words[] = {"start", "signal", "watch", "apply", "api"};

/* How the last try ended; a dry run is no try. */
enum outcome { OUTCOME_APPLIED, OUTCOME_REFUSED, OUTCOME_FAILED };
static const char *const outcome_words[] = {"applied", "refused", "failed"};

struct job {
    uv_work_t work;
    struct map_keeper *keeper;
    enum keeper_by by;
    TAILQ_ENTRY(job) link;
    /* an offer's */
    char *bytes; /* owned */
    size_t n;
    char name[NAME_MAX_BYTES], expect[MAP_REVISION];
    bool dry_run;
    void (*on_map)(void *arg, struct role_map *map);
    void (*on_answer)(void *arg, int status, struct rm_slice json);
    void *arg;
    /* what came out */
    int err;
    bool written;
    struct role_map *map;
    struct conf_report report;
    char revision[MAP_REVISION], on_disk[MAP_REVISION], why[MAP_WHY_MAX];
};

struct last_try {
    enum keeper_by by;
    enum outcome outcome;
    int64_t at_s;
    char revision[MAP_REVISION]; /* "": nothing could be read */
    char why[MAP_WHY_MAX];       /* not about the map itself: writing, memory */
    struct conf_report report;
};

struct map_keeper {
    uv_loop_t *loop;
    struct map_keeper_conf conf;
    struct map_watch *watch;
    struct role_map *map; /* runs; a reference */
    char revision[MAP_REVISION];
    int64_t loaded_s;
    struct last_try last;
    TAILQ_HEAD(, job) waiting;
    unsigned n_waiting;
    struct job *running;
    struct map_keeper_stats stats;
    bool closing, keyed;
};

static void keeper_go(struct map_keeper *k);

/* ---- jobs ---- */

static struct job *job_new(struct map_keeper *k, enum keeper_by by)
{
    struct job *j = calloc(1, sizeof *j);

    if (j == NULL)
        return NULL;
    j->keeper = k;
    j->by = by;
    j->work.data = j;
    conf_report_init(&j->report);
    j->report.keyed = k->keyed;
    return j;
}

static void job_free(struct job *j)
{
    conf_report_clear(&j->report);
    role_map_unref(j->map);
    free(j->bytes);
    free(j);
}

/* In the thread pool. */
static void job_run(uv_work_t *work)
{
    struct job *j = work->data;
    const char *path = j->keeper->conf.path; /* never changes */

    if (j->by != BY_APPLY) {
        j->err = map_file_load(path, &j->report, j->revision, &j->map);
        return;
    }
    map_revision_of(j->bytes, j->n, j->revision);
    j->err = role_map_parse(j->name, j->bytes, j->n, &j->report, &j->map);
    if (j->err < 0 || j->dry_run) {
        map_file_revision(path, j->on_disk);
        return;
    }
    j->err = map_file_write(path, j->bytes, j->n, j->expect, j->on_disk, j->why);
    j->written = j->err == 0;
}

/* ---- what is told ---- */

/* One line for each mistake, as `rolemesh check` prints them. */
static void log_mistakes(const struct conf_report *report)
{
    struct rm_buf line;

    rm_buf_init(&line, MISTAKE_LINE_MAX);
    for (unsigned i = 0; i < report->n; i++) {
        line.len = 0;
        if (conf_report_line(report, i, &line) == 0)
            rm_error("map", line.data);
    }
    rm_buf_clear(&line);
    if (report->total > report->n)
        rm_error("map", "more mistakes", RM_S("file", report->name),
                 RM_U("mistakes", report->total - report->n));
}

/* Keeps how it went; takes the report out of the job. */
static void keeper_note(struct map_keeper *k, struct job *j, enum outcome outcome)
{
    struct last_try *t = &k->last;

    conf_report_clear(&t->report);
    t->report = j->report;
    conf_report_init(&j->report);
    t->by = j->by;
    t->outcome = outcome;
    t->at_s = rm_wall_s();
    memcpy(t->revision, j->revision, sizeof t->revision);
    memcpy(t->why, j->why, sizeof t->why);
    if (outcome == OUTCOME_APPLIED)
        k->stats.reloads++;
    else
        k->stats.failures++;
}

static void collect_host(void *arg, const char *role, const char *node);

struct standing {
    struct diff_host *v;
    size_t n, room;
};

static void collect_host(void *arg, const char *role, const char *node)
{
    struct standing *s = arg;

    if (s->n == s->room) {
        size_t room = s->room == 0 ? 64 : s->room * 2;
        struct diff_host *v =
            room <= HOSTS_MAX ? realloc(s->v, room * sizeof(struct diff_host)) : NULL;

        if (v == NULL)
            return; /* more hosts than a map can name, or no memory: the list ends here */
        s->v = v;
        s->room = room;
    }
    s->v[s->n++] = (struct diff_host){role, node};
}

static void write_time(struct rm_jw *w, const char *key, int64_t at_s)
{
    time_t at = (time_t)at_s;
    char text[40];
    struct tm tm;

    gmtime_r(&at, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    rm_jw_str(w, key, text);
}

/* "": null. */
static void write_text(struct rm_jw *w, const char *key, const char *text)
{
    rm_jw_str(w, key, text[0] != '\0' ? text : NULL);
}

static int write_answer(const struct map_keeper *k, const struct job *j, const struct role_map *was,
                        struct rm_buf *out)
{
    struct standing s = {NULL, 0, 0};
    struct rm_jw w = rm_jw_to(out);

    if (k->conf.each_host != NULL)
        k->conf.each_host(k->conf.arg, collect_host, &s);
    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "path", k->conf.path);
    rm_jw_bool(&w, "dry_run", j->dry_run);
    rm_jw_bool(&w, "applied", !j->dry_run);
    rm_jw_str(&w, "revision", k->revision);
    write_text(&w, "file_revision", j->written ? j->revision : j->on_disk);
    rm_jw_str(&w, "offered_revision", j->revision);
    diff_write(&w, was, j->map, s.v, s.n);
    rm_jw_end(&w);
    free(s.v);
    return rm_jw_done(&w);
}

static int write_refusal(const struct map_keeper *k, const struct job *j, int err,
                         const char *message, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);
    struct rm_buf text;

    rm_buf_init(&text, KEEPER_ANSWER_MAX / 2);
    if (conf_report_text(&j->report, &text) < 0)
        text.len = 0;
    rm_jw_obj(&w, NULL);
    http_problem_members(&w, err, message);
    rm_jw_str(&w, "revision", k->revision);
    write_text(&w, "file_revision", j->on_disk);
    conf_report_write(&j->report, &w);
    rm_jw_slice(&w, "text", (struct rm_slice){text.data, text.len});
    rm_jw_end(&w);
    rm_buf_clear(&text);
    return rm_jw_done(&w);
}

/* Ends an offer: one answer. err 0: it went as asked. */
static void job_answer(struct job *j, const struct role_map *was, int err, const char *message)
{
    struct map_keeper *k = j->keeper;
    struct rm_buf out;
    int r;

    rm_buf_init(&out, KEEPER_ANSWER_MAX);
    r = err == 0 ? write_answer(k, j, was, &out) : write_refusal(k, j, err, message, &out);
    if (r < 0) { /* the diff of the largest maps is far below; no memory is left */
        out.len = 0;
        err = r;
        rm_buf_puts(&out, "{}");
    }
    if (err == 0 && j->on_map != NULL)
        j->on_map(j->arg, j->map);
    j->on_answer(j->arg, err == 0 ? 200 : rm_err_status(err), (struct rm_slice){out.data, out.len});
    rm_buf_clear(&out);
}

/* ---- taking over ---- */

static void keeper_refuse(struct map_keeper *k, struct job *j, const char *file)
{
    if (j->err == RM_ERR_CONF)
        log_mistakes(&j->report);
    if (j->why[0] == '\0' && j->err != RM_ERR_CONF)
        snprintf(j->why, sizeof j->why, "%s", rm_strerror(j->err));
    rm_error("map", "the role map was not reloaded; the running one stays", RM_S("file", file),
             RM_S("by", by_words[j->by]), RM_E("error", j->err));
    keeper_note(k, j, j->err == RM_ERR_CONF ? OUTCOME_REFUSED : OUTCOME_FAILED);
}

/* Every module gets the job's map. The one before is given back by the caller. */
static int keeper_apply(struct map_keeper *k, struct job *j)
{
    uint64_t begin = rm_now_us();
    int r = k->conf.apply(k->conf.arg, j->map);

    if (r < 0)
        return r;
    diff_log(k->map, j->map);
    k->map = role_map_ref(j->map);
    memcpy(k->revision, j->revision, sizeof k->revision);
    k->loaded_s = rm_wall_s();
    map_watch_set(k->watch, k->map->gateway.watch);
    rm_info("map", "role map reloaded", RM_S("file", k->conf.path), RM_S("by", by_words[j->by]),
            RM_S("revision", k->revision), RM_U("apply_us", rm_now_us() - begin));
    return 0;
}

/* The watch found another file. Its bytes decide whether there is anything to do: the same ones
 * again, good or bad, have been told. */
static bool is_told(const struct map_keeper *k, const struct job *j)
{
    if (j->by != BY_WATCH)
        return false;
    if (j->revision[0] != '\0')
        return strcmp(j->revision, k->last.revision) == 0 ||
               (strcmp(j->revision, k->revision) == 0 && k->last.outcome == OUTCOME_APPLIED);
    return k->last.revision[0] == '\0' && k->last.outcome == OUTCOME_REFUSED;
}

/* Somebody asked for it and hears of it; before the report is kept. */
static void reload_answer(struct map_keeper *k, struct job *j, const struct role_map *was)
{
    char why[2 * MAP_WHY_MAX];

    if (j->on_answer == NULL)
        return;
    memcpy(j->on_disk, j->revision, sizeof j->on_disk);
    if (j->err == 0) {
        job_answer(j, was, 0, NULL);
    } else if (j->err == RM_ERR_CONF) {
        job_answer(j, was, RM_ERR_MAP, "the role map has mistakes; the running one stays");
    } else {
        snprintf(why, sizeof why, "the role map was not reloaded: %.400s: %s", k->conf.path,
                 j->why[0] != '\0' ? j->why : rm_strerror(j->err));
        job_answer(j, was, RM_ERR_INTERNAL, why);
    }
}

static void reload_done(struct map_keeper *k, struct job *j)
{
    struct role_map *was = k->map;

    if (is_told(k, j)) {
        rm_debug("map", "the same bytes again: nothing to do", RM_S("file", k->conf.path));
        return;
    }
    if (j->err == 0)
        j->err = keeper_apply(k, j);
    reload_answer(k, j, was);
    if (j->err < 0) {
        keeper_refuse(k, j, k->conf.path);
        return;
    }
    keeper_note(k, j, OUTCOME_APPLIED);
    role_map_unref(was);
}

static void offer_done(struct map_keeper *k, struct job *j)
{
    struct role_map *was = role_map_ref(k->map);
    const char *message = j->why;
    int err = j->err;

    if (err == RM_ERR_CONF) { /* the operator hears it; the log of a gateway is for its own file */
        err = RM_ERR_MAP;
        message = "the role map has mistakes";
    } else if (err == 0 && !j->dry_run) {
        if ((err = keeper_apply(k, j)) == 0) {
            keeper_note(k, j, OUTCOME_APPLIED);
            role_map_unref(was);
        } else {
            j->err = err;
            snprintf(j->why, sizeof j->why, "written, but it does not run: %s", rm_strerror(err));
            keeper_refuse(k, j, k->conf.path);
            message = k->last.why;
        }
    }
    if (err < 0 && message[0] == '\0')
        message = rm_strerror(err);
    if (err < 0)
        rm_warn("map", "an offered role map was refused", RM_S("why", message));
    job_answer(j, was, err, message);
    role_map_unref(was);
}

static void keeper_free(struct map_keeper *k)
{
    role_map_unref(k->map);
    conf_report_clear(&k->last.report);
    free(k);
}

static void job_on_done(uv_work_t *work, int status)
{
    struct job *j = work->data;
    struct map_keeper *k = j->keeper;

    k->running = NULL;
    if (status < 0)
        j->err = status;
    if (k->closing && j->on_answer != NULL)
        job_answer(j, k->map, RM_ERR_DRAINING, rm_strerror(RM_ERR_DRAINING));
    else if (!k->closing && j->by == BY_APPLY)
        offer_done(k, j);
    else if (!k->closing)
        reload_done(k, j);
    job_free(j);
    if (k->closing)
        keeper_free(k);
    else
        keeper_go(k);
}

static void keeper_go(struct map_keeper *k)
{
    struct job *j = TAILQ_FIRST(&k->waiting);

    if (k->running != NULL || j == NULL)
        return;
    TAILQ_REMOVE(&k->waiting, j, link);
    k->n_waiting--;
    k->running = j;
    (void)uv_queue_work(k->loop, &j->work, job_run,
                        job_on_done); /* fails without a function only */
}

static void keeper_add(struct map_keeper *k, struct job *j)
{
    TAILQ_INSERT_TAIL(&k->waiting, j, link);
    k->n_waiting++;
    keeper_go(k);
}

/* ---- the contract ---- */

/* One that has not begun yet will read what is there then: a second one is not needed. */
static void keeper_read_again(struct map_keeper *k, enum keeper_by by)
{
    struct job *j;

    TAILQ_FOREACH(j, &k->waiting, link)
    if (j->by != BY_APPLY && j->on_answer == NULL) {
        j->by = by == BY_SIGNAL ? BY_SIGNAL : j->by;
        return;
    }
    if ((j = job_new(k, by)) == NULL) {
        rm_error("map", "the role map was not reloaded; the running one stays",
                 RM_S("file", k->conf.path), RM_E("error", UV_ENOMEM));
        return;
    }
    keeper_add(k, j);
}

static void keeper_on_change(void *arg)
{
    keeper_read_again(arg, BY_WATCH);
}

int map_keeper_new(uv_loop_t *loop, const struct map_keeper_conf *conf, struct role_map *map,
                   const char *revision, struct map_keeper **out)
{
    struct map_keeper *k = calloc(1, sizeof *k);
    int r;

    *out = NULL;
    if (k == NULL)
        return UV_ENOMEM;
    k->loop = loop;
    k->conf = *conf;
    TAILQ_INIT(&k->waiting);
    if ((r = map_watch_new(loop, conf->path, keeper_on_change, k, &k->watch)) < 0) {
        free(k);
        return r;
    }
    k->map = role_map_ref(map);
    rm_text_copy(k->revision, sizeof k->revision, revision);
    k->loaded_s = rm_wall_s();
    conf_report_init(&k->last.report);
    k->last.by = BY_START;
    k->last.outcome = OUTCOME_APPLIED;
    k->last.at_s = k->loaded_s;
    memcpy(k->last.revision, k->revision, sizeof k->last.revision);
    map_watch_set(k->watch, map->gateway.watch);
    *out = k;
    return 0;
}

void map_keeper_set_keyed(struct map_keeper *k, bool keyed)
{
    k->keyed = keyed;
}

void map_keeper_reload(struct map_keeper *k)
{
    keeper_read_again(k, BY_SIGNAL);
}

int map_keeper_reload_for(struct map_keeper *k,
                          void (*on_answer)(void *arg, int status, struct rm_slice json), void *arg)
{
    struct job *j;

    if (k->n_waiting >= KEEPER_JOBS_MAX)
        return RM_ERR_OVERLOAD;
    if ((j = job_new(k, BY_API)) == NULL)
        return UV_ENOMEM;
    j->on_answer = on_answer;
    j->arg = arg;
    keeper_add(k, j);
    return 0;
}

int map_keeper_offer(struct map_keeper *k, const struct map_offer *offer,
                     void (*on_answer)(void *arg, int status, struct rm_slice json), void *arg)
{
    struct job *j;

    if (k->n_waiting >= KEEPER_JOBS_MAX)
        return RM_ERR_OVERLOAD;
    if ((j = job_new(k, BY_APPLY)) == NULL)
        return UV_ENOMEM;
    j->bytes = malloc(offer->n + 1);
    if (j->bytes == NULL) {
        job_free(j);
        return UV_ENOMEM;
    }
    if (offer->n > 0)
        memcpy(j->bytes, offer->bytes, offer->n);
    j->n = offer->n;
    rm_text_copy(j->name, sizeof j->name, offer->name);
    rm_text_copy(j->expect, sizeof j->expect, offer->expect);
    j->dry_run = offer->dry_run;
    j->on_map = offer->on_map;
    j->on_answer = on_answer;
    j->arg = arg;
    keeper_add(k, j);
    return 0;
}

static void write_last(const struct last_try *t, struct rm_jw *w)
{
    rm_jw_obj(w, "last_reload");
    write_time(w, "at", t->at_s);
    rm_jw_str(w, "by", by_words[t->by]);
    rm_jw_str(w, "outcome", outcome_words[t->outcome]);
    write_text(w, "revision", t->revision);
    write_text(w, "error", t->why);
    conf_report_write(&t->report, w);
    rm_jw_end(w);
}

int map_keeper_write(const struct map_keeper *k, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "path", k->conf.path);
    write_time(&w, "loaded_at", k->loaded_s);
    rm_jw_str(&w, "revision", k->revision);
    rm_jw_bool(&w, "watch", k->map->gateway.watch);
    rm_jw_u64(&w, "nodes", k->map->n_nodes);
    rm_jw_u64(&w, "models", k->map->n_models);
    rm_jw_u64(&w, "roles", k->map->n_roles);
    rm_jw_u64(&w, "reloads", k->stats.reloads);
    rm_jw_u64(&w, "failures", k->stats.failures);
    write_last(&k->last, &w);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

const char *map_keeper_revision(const struct map_keeper *k)
{
    return k->revision;
}

void map_keeper_stats(const struct map_keeper *k, struct map_keeper_stats *out)
{
    *out = k->stats;
}

void map_keeper_close(struct map_keeper *k)
{
    struct job *j;

    if (k == NULL)
        return;
    k->closing = true;
    map_watch_close(k->watch);
    while ((j = TAILQ_FIRST(&k->waiting)) != NULL) {
        TAILQ_REMOVE(&k->waiting, j, link);
        if (j->on_answer != NULL)
            job_answer(j, k->map, RM_ERR_DRAINING, rm_strerror(RM_ERR_DRAINING));
        job_free(j);
    }
    if (k->running == NULL)
        keeper_free(k);
}
