/* SPDX-License-Identifier: MIT */
#include "gateway/ops/past.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/json_write.h"

/* How a step's numbers become one. */
enum how { HOW_SUM, HOW_PERCENTILES, HOW_MOST, HOW_MEAN };

static const struct metric {
    const char *value; /* SQL */
    const char *which; /* SQL, more conditions */
    const char *unit;
    enum how how;
    bool sampled;
} metrics[] = {
    {"1", "", "requests", HOW_SUM, false},
    {"1", " AND outcome NOT IN ('ok', 'gone')", "requests", HOW_SUM, false},
    {"prompt", "", "tokens", HOW_SUM, false},
    {"cached", "", "tokens", HOW_SUM, false},
    {"completion", "", "tokens", HOW_SUM, false},
    {"ttft_ms", " AND outcome = 'ok'", "ms", HOW_PERCENTILES, false},
    {"queue_ms", " AND node <> ''", "ms", HOW_PERCENTILES, false},
    {"duration_ms", " AND outcome = 'ok'", "ms", HOW_PERCENTILES, false},
    {"memory_used", "", "bytes", HOW_MOST, true},
    {"memory_committed", "", "bytes", HOW_MOST, true},
    {"memory_budget", "", "bytes", HOW_MOST, true},
    {"slots_busy", "", "slots", HOW_MEAN, true},
    {"cpu_percent", "", "percent", HOW_MEAN, true},
    {"gpu_percent", "", "percent", HOW_MEAN, true},
};

const char *const past_metrics[] = {
    "requests",      "errors",     "tokens_in",   "tokens_cached", "tokens_out",
    "ttft_ms",       "queue_ms",   "duration_ms", "memory_used",   "memory_committed",
    "memory_budget", "slots_busy", "cpu_percent", "gpu_percent",   NULL};
_Static_assert(RM_COUNT(past_metrics) == RM_COUNT(metrics) + 1, "one row, one word");

const char *const past_ranges[] = {"1h", "24h", "30d", NULL};
static const struct {
    int64_t step_s;
    size_t steps;
} ranges[] = {{60, 60}, {300, 288}, {7200, 360}};

/* One line of a chart; percentiles have two. */
struct series {
    char name[PAST_NAME_MAX];
    double point[2][PAST_STEPS_MAX]; /* sums, or what they will be; NaN: nothing */
    uint32_t n[PAST_STEPS_MAX];      /* numbers in a step */
    double weight;                   /* how busy */
    double *values;                  /* percentiles: of the step that is being read */
    size_t n_values, room, every, skipped;
};

struct past {
    const struct past_question *q;
    const struct metric *metric;
    int64_t step_s, first; /* the first step's number since 1970 */
    size_t steps, reading; /* reading: the step of the last row */
    bool ran[PAST_STEPS_MAX];
    struct series **series; /* PAST_NAMES_MAX */
    size_t n_series;
};

bool past_is_sampled(int metric)
{
    return metrics[metric].sampled;
}

/* ---- a step's numbers ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* By nearest rank. */
static double percentile(const double *sorted, size_t n, unsigned percent)
{
    size_t rank = (n * percent + 99) / 100;

    return sorted[rank > 0 ? rank - 1 : 0];
}

static void end_values(struct series *s, size_t step)
{
    if (s->n_values == 0)
        return;
    qsort(s->values, s->n_values, sizeof *s->values, by_size);
    s->point[0][step] = percentile(s->values, s->n_values, 50);
    s->point[1][step] = percentile(s->values, s->n_values, 95);
    s->n_values = s->skipped = 0;
    s->every = 1;
}

/* More than there is room for: every second one is let go, and of what comes as well. */
static void halve_values(struct series *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_values; i += 2)
        s->values[n++] = s->values[i];
    s->n_values = n;
    s->every *= 2;
}

static bool add_value(struct series *s, double v)
{
    if (++s->skipped < s->every)
        return true;
    s->skipped = 0;
    if (s->n_values == PAST_VALUES_MAX)
        halve_values(s);
    if (s->n_values == s->room) {
        size_t room = s->room > 0 ? s->room * 2 : 64;
        double *more = realloc(s->values, room * sizeof *more);

        if (more == NULL)
            return false;
        s->values = more;
        s->room = room;
    }
    s->values[s->n_values++] = v;
    return true;
}

static bool add(struct past *p, struct series *s, size_t step, double v)
{
    double *point = &s->point[0][step];

    s->n[step]++;
    switch (p->metric->how) {
    case HOW_PERCENTILES:
        s->weight++;
        return add_value(s, v);
    case HOW_MOST:
        if (isnan(*point) || v > *point)
            *point = v;
        s->weight = *point > s->weight ? *point : s->weight;
        return true;
    default:
        *point = isnan(*point) ? v : *point + v;
        s->weight += v;
        return true;
    }
}

/* ---- series ---- */

static struct series *series_new(struct past *p, const char *name)
{
    struct series *s = calloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    rm_text_copy(s->name, sizeof s->name, name);
    s->every = 1;
    for (size_t i = 0; i < p->steps; i++)
        s->point[0][i] = s->point[1][i] = NAN;
    p->series[p->n_series++] = s;
    return s;
}

/* SQLITE_FULL: there are PAST_NAMES_MAX others. */
static int series_of(struct past *p, const char *name, struct series **out)
{
    for (size_t i = 0; i < p->n_series; i++)
        if (strcmp(p->series[i]->name, name) == 0) {
            *out = p->series[i];
            return SQLITE_OK;
        }
    *out = NULL;
    if (p->n_series == PAST_NAMES_MAX)
        return SQLITE_FULL;
    *out = series_new(p, name);
    return *out != NULL ? SQLITE_OK : SQLITE_NOMEM;
}

static int busiest_first(const void *a, const void *b)
{
    const struct series *x = *(struct series *const *)a, *y = *(struct series *const *)b;

    return x->weight != y->weight ? (x->weight < y->weight ? 1 : -1) : strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct series *const *)a)->name, (*(struct series *const *)b)->name);
}

/* Which are told, and in which order. */
static void choose(struct past *p)
{
    size_t most = p->metric->how == HOW_PERCENTILES ? PAST_SERIES_MAX / 2 : PAST_SERIES_MAX;

    if (p->n_series > most) {
        qsort(p->series, p->n_series, sizeof(*p->series), busiest_first);
        for (size_t i = most; i < p->n_series; i++) {
            free(p->series[i]->values);
            free(p->series[i]);
        }
        p->n_series = most;
    }
    if (p->n_series > 1)
        qsort(p->series, p->n_series, sizeof(*p->series), by_name);
}

/* ---- rows ---- */

static void end_step(struct past *p)
{
    for (size_t i = 0; p->metric->how == HOW_PERCENTILES && i < p->n_series; i++)
        end_values(p->series[i], p->reading);
}

static int take_row(struct past *p, sqlite3_stmt *row)
{
    int64_t step = sqlite3_column_int64(row, 0) / 1000 / p->step_s - p->first;
    const char *name = (const char *)sqlite3_column_text(row, 1);
    struct series *s;
    int rc;

    if (step < 0 || step >= (int64_t)p->steps || sqlite3_column_type(row, 2) == SQLITE_NULL)
        return SQLITE_OK;
    if ((size_t)step != p->reading) {
        end_step(p);
        p->reading = (size_t)step;
    }
    if (!p->metric->sampled)
        p->ran[step] = true;
    rc = series_of(p, name != NULL ? name : "", &s);
    if (rc == SQLITE_FULL)
        return SQLITE_OK;
    if (rc == SQLITE_OK && !add(p, s, (size_t)step, sqlite3_column_double(row, 2)))
        rc = SQLITE_NOMEM;
    return rc;
}

static const char *key_of(const struct past *p)
{
    return p->q->by == PAST_BY_NODE ? "node" : p->q->by == PAST_BY_ROLE ? "role" : "''";
}

/* A node's own samples have no role. */
static int prepare(struct past *p, sqlite3 *db, sqlite3_stmt **out)
{
    const struct past_question *q = p->q;
    bool any_role = !p->metric->sampled && q->role[0] == '\0';
    char sql[512];
    int rc;

    snprintf(sql, sizeof sql,
             "SELECT at_ms, %s, %s FROM %s WHERE at_ms >= ?1 AND at_ms < ?2%s%s%s ORDER BY at_ms",
             key_of(p), p->metric->value, p->metric->sampled ? "sample" : "request",
             p->metric->which,
             q->node[0] != '\0'   ? " AND node = ?3"
             : p->metric->sampled ? " AND node <> ''"
                                  : "",
             any_role ? "" : " AND role = ?4");
    if ((rc = sqlite3_prepare_v2(db, sql, -1, out, NULL)) != SQLITE_OK)
        return rc;
    (void)sqlite3_bind_int64(*out, 1, p->first * p->step_s * 1000);
    (void)sqlite3_bind_int64(*out, 2, (p->first + (int64_t)p->steps) * p->step_s * 1000);
    if (q->node[0] != '\0')
        (void)sqlite3_bind_text(*out, 3, q->node, -1, SQLITE_STATIC);
    if (!any_role)
        (void)sqlite3_bind_text(*out, 4, q->role, -1, SQLITE_STATIC);
    return SQLITE_OK;
}

static int read_rows(struct past *p, sqlite3 *db)
{
    sqlite3_stmt *q = NULL;
    int rc = prepare(p, db, &q);

    while (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW)
        rc = take_row(p, q);
    end_step(p);
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The steps in which the gateway ran: now it does. */
static int read_runs(struct past *p, sqlite3 *db)
{
    sqlite3_stmt *q = NULL;
    int rc = sqlite3_prepare_v2(db,
                                "SELECT DISTINCT at_ms / 1000 / ?1 FROM sample WHERE at_ms >= ?2 "
                                "AND at_ms < ?3 AND node = ''",
                                -1, &q, NULL);

    p->ran[p->steps - 1] = true;
    if (rc == SQLITE_OK) {
        (void)sqlite3_bind_int64(q, 1, p->step_s);
        (void)sqlite3_bind_int64(q, 2, p->first * p->step_s * 1000);
        (void)sqlite3_bind_int64(q, 3, (p->first + (int64_t)p->steps) * p->step_s * 1000);
    }
    while (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        p->ran[sqlite3_column_int64(q, 0) - p->first] = true;
        rc = SQLITE_OK;
    }
    sqlite3_finalize(q);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* ---- words ---- */

static double value_at(const struct past *p, const struct series *s, size_t which, size_t step)
{
    double v = s->point[which][step];

    if (p->metric->how == HOW_SUM)
        return isnan(v) && p->ran[step] ? 0 : v;
    return p->metric->how == HOW_MEAN ? v / s->n[step] : v; /* without any it is NaN anyway */
}

static void write_points(const struct past *p, const struct series *s, size_t which,
                         struct rm_jw *w)
{
    rm_jw_arr(w, "points");
    for (size_t i = 0; i < p->steps; i++) {
        double v = value_at(p, s, which, i);

        rm_jw_arr(w, NULL);
        rm_jw_i64(w, NULL, (p->first + (int64_t)i) * p->step_s);
        if (isnan(v))
            rm_jw_null(w, NULL);
        else if (p->metric->how == HOW_MEAN)
            rm_jw_dbl(w, NULL, v);
        else
            rm_jw_i64(w, NULL, (int64_t)v);
        rm_jw_end(w);
    }
    rm_jw_end(w);
}

static const char *text_or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static void write_series(const struct past *p, const struct series *s, size_t which,
                         struct rm_jw *w)
{
    static const char *const stats[][2] = {[HOW_SUM] = {"sum", NULL},
                                           [HOW_PERCENTILES] = {"p50", "p95"},
                                           [HOW_MOST] = {"max", NULL},
                                           [HOW_MEAN] = {"mean", NULL}};
    const struct past_question *q = p->q;
    const char *of_node = q->by == PAST_BY_NODE ? s->name : "";
    const char *of_role = q->by == PAST_BY_ROLE ? s->name : "";

    rm_jw_obj(w, NULL);
    rm_jw_str(w, "node", text_or_null(q->node[0] == '\0' ? of_node : q->node));
    rm_jw_str(w, "role", text_or_null(q->role[0] == '\0' ? of_role : q->role));
    rm_jw_str(w, "stat", stats[p->metric->how][which]);
    write_points(p, s, which, w);
    rm_jw_end(w);
}

static int write_all(const struct past *p, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "metric", past_metrics[p->q->metric]);
    rm_jw_str(&w, "unit", p->metric->unit);
    rm_jw_str(&w, "range", past_ranges[p->q->range]);
    rm_jw_i64(&w, "step_s", p->step_s);
    rm_jw_arr(&w, "series");
    for (size_t i = 0; i < p->n_series; i++)
        for (size_t which = 0; which < (p->metric->how == HOW_PERCENTILES ? 2 : 1); which++)
            write_series(p, p->series[i], which, &w);
    rm_jw_end(&w);
    rm_jw_end(&w);
    return rm_jw_done(&w) < 0 ? SQLITE_TOOBIG : SQLITE_OK;
}

/* A question that names what it wants gets a line, also when there is nothing. */
static int add_empty(struct past *p)
{
    const struct past_question *q = p->q;
    struct series *s;

    if (p->n_series > 0)
        return SQLITE_OK;
    if (q->by == PAST_BY_NONE)
        return series_of(p, "", &s);
    if ((q->by == PAST_BY_NODE && q->node[0] != '\0') ||
        (q->by == PAST_BY_ROLE && q->role[0] != '\0'))
        return series_of(p, "", &s); /* it is told by the question's name */
    return SQLITE_OK;
}

int past_answer(sqlite3 *db, const struct past_question *q, struct rm_buf *out)
{
    struct past p = {.q = q,
                     .metric = &metrics[q->metric],
                     .step_s = ranges[q->range].step_s,
                     .steps = ranges[q->range].steps};
    int rc = SQLITE_NOMEM;

    p.first = q->now_ms / 1000 / p.step_s - (int64_t)p.steps + 1;
    if ((p.series = calloc(PAST_NAMES_MAX, sizeof(*p.series))) != NULL)
        rc = read_runs(&p, db);
    if (rc == SQLITE_OK)
        rc = read_rows(&p, db);
    if (rc == SQLITE_OK)
        rc = add_empty(&p);
    if (rc == SQLITE_OK) {
        choose(&p);
        rc = write_all(&p, out);
    }
    for (size_t i = 0; i < p.n_series; i++) {
        free(p.series[i]->values);
        free(p.series[i]);
    }
    free(p.series);
    return rc;
}
