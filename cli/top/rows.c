/* SPDX-License-Identifier: MIT */
#include "cli/top/rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/base/buf.h"

/* ---- readers and figures ---- */

const char *top_str(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));

    return s != NULL ? s : "";
}

bool top_num(const json_t *o, const char *name, double *out)
{
    const json_t *v = json_object_get(o, name);

    *out = json_number_value(v);
    return json_is_number(v);
}

double top_num0(const json_t *o, const char *name)
{
    return json_number_value(json_object_get(o, name));
}

bool top_is(const json_t *o, const char *name)
{
    return json_is_true(json_object_get(o, name));
}

const char *top_bytes(double bytes, char out[TOP_FIGURE])
{
    static const char units[] = "KMGTPE";
    size_t i = 0;

    if (!(bytes >= 0))
        bytes = 0;
    if (bytes < 1023.5) {
        snprintf(out, TOP_FIGURE, "%.0fB", bytes);
        return out;
    }
    for (bytes /= 1024; bytes >= 999.5 && i + 2 < sizeof units; i++)
        bytes /= 1024;
    if (bytes > 9999)
        bytes = 9999;
    snprintf(out, TOP_FIGURE, bytes < 9.95 && i > 1 ? "%.1f%c" : "%.0f%c", bytes, units[i]);
    return out;
}

const char *top_time(double ms, char out[TOP_FIGURE])
{
    double s = ms / 1000;

    if (!(ms >= 0))
        snprintf(out, TOP_FIGURE, "0ms");
    else if (ms < 999.5)
        snprintf(out, TOP_FIGURE, "%.0fms", ms);
    else if (s < 59.95)
        snprintf(out, TOP_FIGURE, "%.1fs", s);
    else if (s < 3600)
        snprintf(out, TOP_FIGURE, "%.0fm%02.0fs", floor(s / 60), floor(fmod(s, 60)));
    else if (s < 360000)
        snprintf(out, TOP_FIGURE, "%.0fh%02.0fm", floor(s / 3600), floor(fmod(s, 3600) / 60));
    else
        snprintf(out, TOP_FIGURE, "%.0fd", fmin(s / 86400, 99999));
    return out;
}

const char *top_rate(double per_s, char out[TOP_FIGURE])
{
    if (!(per_s > 0))
        snprintf(out, TOP_FIGURE, "0");
    else if (per_s < 9.95)
        snprintf(out, TOP_FIGURE, "%.1f", per_s);
    else if (per_s < 9999.5)
        snprintf(out, TOP_FIGURE, "%.0f", per_s);
    else
        snprintf(out, TOP_FIGURE, "%.0fk", fmin(per_s / 1000, 999999));
    return out;
}

/* ---- how fast requests answer ---- */

struct rate {
    char id[TOP_KEY_MAX];
    double tokens, age_ms, per_s;
    bool known, seen;
};

struct top_rates {
    struct rate *v;
    size_t n;
};

struct top_rates *top_rates_new(void)
{
    return calloc(1, sizeof(struct top_rates));
}

void top_rates_free(struct top_rates *r)
{
    if (r != NULL)
        free(r->v);
    free(r);
}

static struct rate *rate_find(const struct top_rates *r, const char *id)
{
    for (size_t i = 0; i < r->n; i++)
        if (strncmp(r->v[i].id, id, TOP_KEY_MAX - 1) == 0)
            return &r->v[i];
    return NULL;
}

static struct rate *rate_add(struct top_rates *r, const char *id)
{
    struct rate *more;

    if (r->n == TOP_ROWS_MAX || (more = realloc(r->v, (r->n + 1) * sizeof *more)) == NULL)
        return NULL;
    r->v = more;
    more += r->n++;
    *more = (struct rate){.tokens = 0};
    rm_text_copy(more->id, sizeof more->id, id);
    return more;
}

/* The clock is the gateway's own, by the request's age: what our line does to the time between two
 * snapshots does not count. */
static void rate_look(struct top_rates *r, const json_t *q)
{
    double tokens = top_num0(q, "completion_tokens"), age = top_num0(q, "age_ms");
    struct rate *rate = rate_find(r, top_str(q, "id"));

    if (strcmp(top_str(q, "state"), "running") != 0)
        return;
    if (rate == NULL && (rate = rate_add(r, top_str(q, "id"))) != NULL) {
        rate->tokens = tokens;
        rate->age_ms = age;
    } else if (rate != NULL && age > rate->age_ms && tokens >= rate->tokens) {
        rate->per_s = (tokens - rate->tokens) * 1000 / (age - rate->age_ms);
        rate->known = true;
        rate->tokens = tokens;
        rate->age_ms = age;
    }
    if (rate != NULL)
        rate->seen = true;
}

void top_rates_look(struct top_rates *r, const json_t *requests)
{
    const json_t *q;
    size_t i, kept = 0;

    if (r == NULL)
        return;
    for (i = 0; i < r->n; i++)
        r->v[i].seen = false;
    json_array_foreach(requests, i, q) rate_look(r, q);
    for (i = 0; i < r->n; i++)
        if (r->v[i].seen)
            r->v[kept++] = r->v[i];
    r->n = kept;
}

bool top_rates_of(const struct top_rates *r, const char *id, double *out)
{
    const struct rate *rate = r != NULL ? rate_find(r, id) : NULL;

    *out = rate != NULL ? rate->per_s : 0;
    return rate != NULL && rate->known;
}

/* ---- rows ---- */

static const json_t *items_of(const json_t *snapshot, enum top_pane pane)
{
    const char *name = top_pane_name(pane);

    return json_object_get(json_object_get(snapshot, name), name);
}

/* The whole is what the machine has; hosts are counted as they are committed. */
static struct top_bar bar_of(const json_t *node)
{
    const json_t *m = json_object_get(node, "memory");
    double total = top_num0(m, "total"), available = top_num0(m, "available");
    double hosts = top_num0(m, "committed"), others, reserve = top_num0(m, "reserve");
    struct top_bar bar = {0, 0, 0};

    if (!(total > 0))
        return bar;
    if (!top_num(m, "others", &others))
        others = total - available - hosts;
    bar.hosts = fmin(fmax(hosts / total, 0), 1);
    bar.others = fmin(fmax(others / total, 0), 1 - bar.hosts);
    bar.reserve = fmin(fmax(reserve / total, 0), 1 - bar.hosts - bar.others);
    return bar;
}

static void fill_row(struct top_row *row, enum top_pane pane, const json_t *item,
                     const struct top_rates *rates)
{
    const struct top_column *column;
    size_t n;

    *row = (struct top_row){.item = item};
    rm_text_copy(row->key, sizeof row->key, top_str(item, pane == TOP_REQUESTS ? "id" : "name"));
    column = top_columns(pane, &n);
    for (size_t i = 0; i < n; i++)
        column[i].fill(item, rates, &row->cell[i]);
    if (pane == TOP_NODES)
        row->bar = bar_of(item);
}

size_t top_rows_make(const json_t *snapshot, enum top_pane pane, const struct top_rates *rates,
                     bool with_over, struct top_row **out)
{
    const json_t *items = items_of(snapshot, pane), *item;
    size_t all = json_array_size(items), n = 0, i;

    all = all < TOP_ROWS_MAX ? all : TOP_ROWS_MAX;
    *out = all > 0 ? malloc(all * sizeof **out) : NULL;
    if (*out == NULL)
        return 0;
    json_array_foreach(items, i, item)
    {
        if (n == all)
            break;
        if (pane == TOP_REQUESTS && !with_over && strcmp(top_str(item, "state"), "done") == 0)
            continue;
        fill_row(&(*out)[n++], pane, item, rates);
    }
    return n;
}

static bool row_has(const struct top_row *row, size_t n_columns, const char *text)
{
    if (strcasestr(row->key, text) != NULL)
        return true;
    for (size_t i = 0; i < n_columns; i++)
        if (row->cell[i].known && strcasestr(row->cell[i].text, text) != NULL)
            return true;
    return false;
}

size_t top_rows_filter(struct top_row *rows, size_t n, enum top_pane pane, const char *text)
{
    size_t n_columns, kept = 0;

    (void)top_columns(pane, &n_columns);
    for (size_t i = 0; i < n; i++)
        if (text[0] == '\0' || row_has(&rows[i], n_columns, text)) {
            if (kept != i)
                rows[kept] = rows[i];
            kept++;
        }
    return kept;
}

struct order {
    size_t column;
    bool by_number, falling;
};

static int compare(const void *a, const void *b, void *arg)
{
    const struct top_row *x = a, *y = b;
    const struct order *o = arg;
    const struct top_cell *p = &x->cell[o->column], *q = &y->cell[o->column];
    int r = 0;

    if (p->known != q->known)
        return p->known ? -1 : 1;
    if (p->known && o->by_number)
        r = (p->number > q->number) - (p->number < q->number);
    else if (p->known)
        r = strcasecmp(p->text, q->text);
    if (r != 0)
        return o->falling ? -r : r;
    return strcmp(x->key, y->key);
}

void top_rows_sort(struct top_row *rows, size_t n, enum top_pane pane, size_t column, bool falling)
{
    size_t n_columns;
    const struct top_column *c = top_columns(pane, &n_columns);
    struct order order = {column, c[column].by_number, falling};

    if (n > 1)
        qsort_r(rows, n, sizeof *rows, compare, &order);
}
