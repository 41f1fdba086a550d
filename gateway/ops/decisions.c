/* SPDX-License-Identifier: MIT */
/* gateway/ops/decisions.c - GET /api/v1/decisions: those that memory holds, of requests that run as
 * well, and from the history those of requests that are over. The two overlap: they are merged by
 * time, request and node, which a cursor names as well. Read, merged and worded in a thread. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ops/history.h"
#include "gateway/ops/late.h"
#include "gateway/ops/list.h"
#include "proto/base/json_write.h"

enum { AT_BYTES = 25, CURSOR_BYTES = 160 };

/* What a list is ordered by, the newest first. */
struct key {
    char at[AT_BYTES], request[CURSOR_BYTES], node[CURSOR_BYTES];
};

struct item {
    struct key key;
    struct rm_slice json; /* of RecentDecision */
};

struct decisions {
    struct late *late;
    uv_work_t work; /* without a history */
    uint64_t limit;
    char role[QUERY_VALUE_MAX], node[QUERY_VALUE_MAX], request[QUERY_VALUE_MAX]; /* "": all */
    char since[AT_BYTES], until[AT_BYTES];                                       /* "": no bound */
    struct key before; /* the cursor; at "": from the beginning */
    void *memory;      /* a copy; owned */
    int (*write_memory)(const void *copy, struct rm_buf *out);
    /* in the thread */
    struct rm_buf recent, older, out;
    struct item *items;
    size_t n, room;
    int err;
};

/* ---- items ---- */

static int compare_keys(const struct key *a, const struct key *b)
{
    int r = strcmp(a->at, b->at);

    if (r == 0)
        r = strcmp(a->request, b->request);
    return r != 0 ? r : strcmp(a->node, b->node);
}

static int newest_first(const void *a, const void *b)
{
    return compare_keys(&((const struct item *)b)->key, &((const struct item *)a)->key);
}

static void member_text(struct rm_slice object, const char *member, char *out, size_t size)
{
    struct rm_slice v;

    out[0] = '\0';
    if (!list_member(object, member, &v) || v.n < 2 || v.n - 2 >= size)
        return;
    memcpy(out, v.p + 1, v.n - 2);
    out[v.n - 2] = '\0';
}

static bool is_wanted(const struct decisions *d, const struct item *i)
{
    const char *const filters[][2] = {
        {"role", d->role}, {"node", d->node}, {"request", d->request}};

    for (size_t k = 0; k < RM_COUNT(filters); k++)
        if (filters[k][1][0] != '\0' && !list_member_is(i->json, filters[k][0], filters[k][1]))
            return false;
    return (d->before.at[0] == '\0' || compare_keys(&i->key, &d->before) < 0) &&
           (d->since[0] == '\0' || strcmp(i->key.at, d->since) >= 0) &&
           (d->until[0] == '\0' || strcmp(i->key.at, d->until) < 0);
}

static int add(struct decisions *d, struct rm_slice json)
{
    struct item i = {.json = json};

    member_text(json, "at", i.key.at, sizeof i.key.at);
    member_text(json, "request", i.key.request, sizeof i.key.request);
    member_text(json, "node", i.key.node, sizeof i.key.node);
    if (!is_wanted(d, &i))
        return 0;
    if (d->n == d->room) {
        size_t room = d->room > 0 ? d->room * 2 : 128;
        struct item *more = realloc(d->items, room * sizeof *more);

        if (more == NULL)
            return UV_ENOMEM;
        d->items = more;
        d->room = room;
    }
    d->items[d->n++] = i;
    return 0;
}

static int add_all(struct decisions *d, const struct rm_buf *array)
{
    struct rm_slice left = {array->data, array->len}, item;
    int r = 0;

    while (r == 0 && list_next(&left, &item))
        r = add(d, item);
    return r;
}

/* ---- the history's ---- */

static int bind_question(sqlite3_stmt *q, const struct decisions *d)
{
    const char *const texts[] = {d->since,   d->until,     d->role,           d->node,
                                 d->request, d->before.at, d->before.request, d->before.node};
    int rc = SQLITE_OK;

    for (int i = 0; rc == SQLITE_OK && i < (int)RM_COUNT(texts); i++)
        if (texts[i][0] != '\0')
            rc = sqlite3_bind_text(q, i + 1, texts[i], -1, SQLITE_STATIC);
    return rc;
}

static int prepare(sqlite3 *db, const struct decisions *d, sqlite3_stmt **q)
{
    char sql[700];

    snprintf(
        sql, sizeof sql,
        "SELECT d.request, json_extract(r.why, '$[' || d.k || ']') FROM decision d "
        "JOIN request r ON r.rowid = d.request_row AND r.id = d.request WHERE 1%s%s%s%s%s%s "
        "ORDER BY d.at DESC, d.request DESC, d.node DESC LIMIT %llu",
        d->since[0] != '\0' ? " AND d.at >= ?1" : "", d->until[0] != '\0' ? " AND d.at < ?2" : "",
        d->role[0] != '\0' ? " AND d.role = ?3" : "", d->node[0] != '\0' ? " AND d.node = ?4" : "",
        d->request[0] != '\0' ? " AND d.request = ?5" : "",
        d->before.at[0] != '\0' ? " AND (d.at, d.request, d.node) < (?6, ?7, ?8)" : "",
        (unsigned long long)d->limit + 1);
    return sqlite3_prepare_v2(db, sql, -1, q, NULL);
}

/* {"request":ID, then the rest of the stored object. */
static int put_older(struct decisions *d, sqlite3_stmt *row)
{
    const char *request = (const char *)sqlite3_column_text(row, 0);
    const char *json = (const char *)sqlite3_column_text(row, 1);
    int r;

    if (request == NULL || json == NULL || json[0] != '{')
        return 0;
    r = rm_buf_puts(&d->older, d->older.len > 1 ? ",{\"request\":" : "{\"request\":");
    if (r == 0)
        r = rm_json_quote(&d->older, rm_slice_of(request));
    if (r == 0)
        r = rm_buf_puts(&d->older, ",");
    return r == 0 ? rm_buf_puts(&d->older, json + 1) : r;
}

static int read_older(sqlite3 *db, struct decisions *d)
{
    sqlite3_stmt *q = NULL;
    int rc = prepare(db, d, &q), r = rm_buf_puts(&d->older, "[");

    if (rc == SQLITE_OK)
        rc = bind_question(q, d);
    while (rc == SQLITE_OK && r == 0 && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        rc = SQLITE_OK;
        r = put_older(d, q);
    }
    sqlite3_finalize(q);
    if (r == 0)
        r = rm_buf_puts(&d->older, "]");
    return r < 0 ? SQLITE_TOOBIG : rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* ---- the page, in a thread ---- */

static int put_page(struct decisions *d, struct rm_buf *out)
{
    const struct key *last = NULL;
    uint64_t n = 0;
    bool more = false;
    int r = rm_buf_puts(out, "{\"decisions\":[");

    if (d->n > 1)
        qsort(d->items, d->n, sizeof *d->items, newest_first);
    for (size_t i = 0; r == 0 && !more && i < d->n; i++) {
        if (last != NULL && compare_keys(last, &d->items[i].key) == 0)
            continue; /* memory and history both have it */
        if ((more = n == d->limit))
            break;
        last = &d->items[i].key;
        if (n++ > 0)
            r = rm_buf_puts(out, ",");
        if (r == 0)
            r = rm_buf_put(out, d->items[i].json.p, d->items[i].json.n);
    }
    if (r == 0)
        r = rm_buf_puts(out, "],\"next\":");
    if (r == 0 && more)
        r = rm_buf_printf(out, "\"%s/%s/%s\"}", last->at, last->request, last->node);
    else if (r == 0)
        r = rm_buf_puts(out, "null}");
    return r;
}

static int word(sqlite3 *db, struct decisions *d, struct rm_buf *out)
{
    int rc = db != NULL ? read_older(db, d) : SQLITE_OK, r;

    if (rc != SQLITE_OK)
        return rc;
    r = d->write_memory(d->memory, &d->recent);
    if (r == 0)
        r = add_all(d, &d->recent);
    if (r == 0)
        r = add_all(d, &d->older);
    if (r == 0)
        r = put_page(d, out);
    return r < 0 ? SQLITE_NOMEM : SQLITE_OK;
}

static int decisions_run(sqlite3 *db, void *arg, struct rm_buf *out)
{
    return word(db, arg, out);
}

static void decisions_run_alone(uv_work_t *work)
{
    struct decisions *d = work->data;

    d->err = word(NULL, d, &d->out) == SQLITE_OK ? 0 : UV_ENOMEM;
}

/* ---- the question ---- */

static void decisions_free(struct decisions *d)
{
    rm_buf_clear(&d->recent);
    rm_buf_clear(&d->older);
    rm_buf_clear(&d->out);
    free(d->items);
    free(d->memory);
    free(d);
}

static void decisions_on_answer(void *arg, int err, struct rm_slice text)
{
    struct decisions *d = arg;

    if (err == 0)
        late_answer(d->late, text);
    else
        late_fail(d->late, err, "the history cannot be read now; the gateway's log says why");
    decisions_free(d);
}

static void decisions_on_done(uv_work_t *work, int status)
{
    struct decisions *d = work->data;

    late_end(d->late, status < 0 ? status : d->err, (struct rm_slice){d->out.data, d->out.len});
    decisions_free(d);
}

static int read_time(struct ops_call *c, const char *name, char out[AT_BYTES])
{
    const char *text = query_get(&c->query, name);

    out[0] = '\0';
    if (text == NULL || list_time(text, out))
        return 0;
    snprintf(c->query.why, sizeof c->query.why,
             "%s: '%s' is not a time such as 2026-05-04T12:00:00Z (UTC)", name, text);
    return RM_ERR_FIELD;
}

/* "AT/REQUEST/NODE" */
static int read_cursor(struct ops_call *c, struct key *out)
{
    const char *text = query_get(&c->query, "cursor"), *slash;
    char at[AT_BYTES], whole[AT_BYTES];

    *out = (struct key){.at = ""};
    if (text == NULL)
        return 0;
    if (strlen(text) < CURSOR_BYTES && strlen(text) > AT_BYTES && text[AT_BYTES - 1] == '/' &&
        (slash = strchr(text + AT_BYTES, '/')) != NULL) {
        memcpy(at, text, AT_BYTES - 1);
        at[AT_BYTES - 1] = '\0';
        if (list_time(at, whole) && strcmp(at, whole) == 0) {
            memcpy(out->at, at, sizeof at);
            memcpy(out->request, text + AT_BYTES, (size_t)(slash - text) - AT_BYTES);
            rm_text_copy(out->node, sizeof out->node, slash + 1);
            return 0;
        }
    }
    snprintf(c->query.why, sizeof c->query.why,
             "cursor: it is none of this list's; begin again without one");
    return RM_ERR_STATE;
}

static void read_filter(struct ops_call *c, const char *name, char out[QUERY_VALUE_MAX])
{
    const char *text = query_get(&c->query, name);

    rm_text_copy(out, QUERY_VALUE_MAX, text != NULL ? text : "");
}

static int read_question(struct ops_call *c, struct decisions *d)
{
    int r = query_number(&c->query, "limit", 1, LIST_LIMIT_MAX, LIST_LIMIT, &d->limit);

    read_filter(c, "role", d->role);
    read_filter(c, "node", d->node);
    read_filter(c, "request", d->request);
    if (r == 0)
        r = read_time(c, "since", d->since);
    if (r == 0)
        r = read_time(c, "until", d->until);
    return r == 0 ? read_cursor(c, &d->before) : r;
}

static int ask(struct ops_call *c, struct decisions *d)
{
    const struct ops_sources *s = c->sources;

    d->write_memory = s->write_decisions;
    if ((d->memory = s->copy_decisions(s->arg)) == NULL)
        return UV_ENOMEM;
    if (ops_history(c->ops) != NULL)
        return history_read(ops_history(c->ops),
                            &(struct history_read){decisions_run, decisions_on_answer, d});
    d->work.data = d;
    return uv_queue_work(ops_loop(c->ops), &d->work, decisions_run_alone, decisions_on_done);
}

bool ops_take_decisions(struct ops_call *c)
{
    struct decisions *d = calloc(1, sizeof *d);
    int r;

    if (d == NULL || (d->late = late_take(c)) == NULL) {
        free(d);
        return false;
    }
    rm_buf_init(&d->recent, OPS_ANSWER_MAX);
    rm_buf_init(&d->older, OPS_ANSWER_MAX);
    rm_buf_init(&d->out, OPS_ANSWER_MAX);
    if ((r = read_question(c, d)) < 0 || (r = ask(c, d)) < 0) {
        late_fail(d->late, r, c->query.why[0] != '\0' ? c->query.why : NULL);
        decisions_free(d);
    }
    return true;
}
