/* SPDX-License-Identifier: MIT */
#include "gateway/ops/recall.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/json_text.h"
#include "proto/base/json_write.h"

enum { ID_MAX = 40, ID_TIME = 12 };

bool recall_id_time(const char *id, int64_t *at_ms)
{
    int64_t at = 0;

    if (strncmp(id, "req_", 4) != 0 || strlen(id) >= ID_MAX)
        return false;
    for (int i = 0; i < ID_TIME; i++) {
        int digit = rm_json_hex((unsigned char)id[4 + i]);

        if (digit < 0)
            return false;
        at = at << 4 | digit;
    }
    *at_ms = at;
    return true;
}

/* ---- one request ---- */

struct wanted {
    char id[ID_MAX];
    int64_t at_ms;
    bool why;
    void (*on_answer)(void *arg, int err, struct rm_slice json);
    void *arg;
};

/* Columns in the order of the question below. */
enum column {
    C_ID,
    C_SEQ,
    C_AT,
    C_KEY,
    C_KEY_NAME,
    C_ROLE,
    C_SERVED,
    C_MODE,
    C_DIALECT,
    C_NODE,
    C_TRIES,
    C_DURATION,
    C_QUEUE,
    C_TTFT,
    C_PROMPT,
    C_CACHED,
    C_COMPLETION,
    C_STATUS,
    C_OUTCOME,
    C_ERROR,
    C_IN,
    C_OUT,
    C_KNOWN,
    C_WHY,
    C_REWRITES
};
static const char columns[] =
    "id, seq, at_ms, key, key_name, role, served, mode, dialect, node, tries, duration_ms, "
    "queue_ms, ttft_ms, prompt, cached, completion, status, outcome, error, bytes_in, bytes_out, "
    "known, why, rewrites";

static const char *text_of(sqlite3_stmt *q, enum column c)
{
    const char *text = (const char *)sqlite3_column_text(q, c);

    return text != NULL ? text : "";
}

static void put_text(struct rm_jw *w, const char *name, sqlite3_stmt *q, enum column c)
{
    const char *text = text_of(q, c);

    rm_jw_str(w, name, text[0] != '\0' ? text : NULL);
}

static void put_number(struct rm_jw *w, const char *name, sqlite3_stmt *q, enum column c,
                       bool known)
{
    int64_t n = sqlite3_column_int64(q, c);

    if (known)
        rm_jw_i64(w, name, n > 0 ? n : 0);
    else
        rm_jw_null(w, name);
}

static void put_key(struct rm_jw *w, sqlite3_stmt *q)
{
    if (text_of(q, C_KEY)[0] == '\0') {
        rm_jw_null(w, "key");
        return;
    }
    rm_jw_obj(w, "key");
    rm_jw_str(w, "id", text_of(q, C_KEY));
    rm_jw_str(w, "name", text_of(q, C_KEY_NAME));
    rm_jw_end(w);
}

/* In the order of front/record.c, which tells those that are recent. */
static int put_request(sqlite3_stmt *q, struct rm_buf *out)
{
    const int known = sqlite3_column_int(q, C_KNOWN);
    const int64_t at = sqlite3_column_int64(q, C_AT), now = rm_wall_ms();
    struct rm_jw w = rm_jw_to(out);
    char text[RM_TIME_TEXT];

    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "id", text_of(q, C_ID));
    rm_jw_i64(&w, "seq", sqlite3_column_int64(q, C_SEQ) > 0 ? sqlite3_column_int64(q, C_SEQ) : 1);
    rm_jw_str(&w, "at", rm_time_text(at, text));
    rm_jw_str(&w, "state", "done");
    put_key(&w, q);
    put_text(&w, "role", q, C_ROLE);
    put_text(&w, "served", q, C_SERVED);
    put_text(&w, "mode", q, C_MODE);
    rm_jw_str(&w, "dialect", text_of(q, C_DIALECT));
    put_text(&w, "node", q, C_NODE);
    put_number(&w, "tries", q, C_TRIES, true);
    rm_jw_i64(&w, "age_ms", now > at ? now - at : 0);
    put_number(&w, "duration_ms", q, C_DURATION, true);
    put_number(&w, "queue_ms", q, C_QUEUE, (known & OPS_LEASED) != 0);
    put_number(&w, "ttft_ms", q, C_TTFT, (known & OPS_ANSWERED) != 0);
    put_number(&w, "prompt_tokens", q, C_PROMPT, true);
    put_number(&w, "cached_tokens", q, C_CACHED, true);
    put_number(&w, "completion_tokens", q, C_COMPLETION, true);
    put_number(&w, "status", q, C_STATUS, sqlite3_column_int(q, C_STATUS) != 0);
    rm_jw_str(&w, "outcome", text_of(q, C_OUTCOME));
    put_text(&w, "error", q, C_ERROR);
    put_number(&w, "bytes_in", q, C_IN, true);
    put_number(&w, "bytes_out", q, C_OUT, true);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

static int put_why(sqlite3_stmt *q, struct rm_buf *out)
{
    int r = rm_buf_puts(out, "{\"request\":");

    if (r == 0)
        r = put_request(q, out);
    if (r == 0)
        r = rm_buf_puts(out, ",\"decisions\":");
    if (r == 0)
        r = rm_buf_puts(out, text_of(q, C_WHY));
    if (r == 0)
        r = rm_buf_puts(out, ",\"rewrites\":");
    if (r == 0)
        r = rm_buf_puts(out, text_of(q, C_REWRITES));
    return r == 0 ? rm_buf_puts(out, "}") : r;
}

/* The index by time leads to the rows around; the id is compared in these alone. */
static int wanted_run(sqlite3 *db, void *arg, struct rm_buf *out)
{
    const struct wanted *w = arg;
    sqlite3_stmt *q = NULL;
    char sql[640];
    int rc, r = 0;

    snprintf(sql, sizeof sql,
             "SELECT %s FROM (SELECT * FROM request WHERE at_ms BETWEEN ?1 AND ?2 LIMIT %d) "
             "WHERE id = ?3",
             columns, RECALL_ROWS_MAX);
    rc = sqlite3_prepare_v2(db, sql, -1, &q, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(q, 1, w->at_ms - RECALL_AROUND_MS);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(q, 2, w->at_ms + RECALL_AROUND_MS);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(q, 3, w->id, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        r = w->why ? put_why(q, out) : put_request(q, out);
        rc = SQLITE_DONE;
    }
    sqlite3_finalize(q);
    return r < 0 ? SQLITE_TOOBIG : rc;
}

static void wanted_on_answer(void *arg, int err, struct rm_slice text)
{
    struct wanted *w = arg;

    w->on_answer(w->arg, err == 0 && text.n == 0 ? RM_ERR_NOT_FOUND : err, text);
    free(w);
}

int recall_request(struct history *h, const char *id, bool why,
                   void (*on_answer)(void *arg, int err, struct rm_slice json), void *arg)
{
    struct wanted *w;
    int64_t at_ms;
    int r;

    if (!recall_id_time(id, &at_ms))
        return RM_ERR_NOT_FOUND;
    if ((w = calloc(1, sizeof *w)) == NULL)
        return UV_ENOMEM;
    *w = (struct wanted){.at_ms = at_ms, .why = why, .on_answer = on_answer, .arg = arg};
    rm_text_copy(w->id, sizeof w->id, id);
    if ((r = history_read(h, &(struct history_read){wanted_run, wanted_on_answer, w})) < 0)
        free(w);
    return r;
}

/* ---- events ---- */

struct replay {
    struct recall_events e;
    recall_events_fn *on_answer;
    void *arg;
};

/* The id that RECALL_EVENTS_MAX events lie behind, up to `before`; 0: there are not so many. */
static int find_floor(sqlite3 *db, struct replay *p, int64_t *floor)
{
    sqlite3_stmt *q = NULL;
    char sql[128];
    int rc;

    *floor = 0;
    snprintf(sql, sizeof sql,
             "SELECT id FROM event WHERE id > ?1 AND id < ?2 ORDER BY id DESC LIMIT 1 OFFSET %d",
             RECALL_EVENTS_MAX);
    rc = sqlite3_prepare_v2(db, sql, -1, &q, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(q, 1, (int64_t)p->e.after);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(q, 2, (int64_t)p->e.before);
    if (rc == SQLITE_OK && (rc = sqlite3_step(q)) == SQLITE_ROW)
        *floor = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int replay_run(sqlite3 *db, void *arg, struct rm_buf *out)
{
    struct replay *p = arg;
    sqlite3_stmt *q = NULL;
    int64_t floor = 0;
    char sql[128];
    int rc, r = 0;

    snprintf(sql, sizeof sql,
             "SELECT id, json FROM event WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT %d",
             RECALL_EVENTS_STEP + 1);
    if ((rc = find_floor(db, p, &floor)) != SQLITE_OK)
        return rc;
    p->e.cut = floor > 0;
    rc = sqlite3_prepare_v2(db, sql, -1, &q, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(q, 1, floor > 0 ? floor : (int64_t)p->e.after);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(q, 2, (int64_t)p->e.before);
    while (rc == SQLITE_OK && r == 0 && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        const char *json = (const char *)sqlite3_column_text(q, 1);

        rc = SQLITE_OK;
        if ((p->e.more = p->e.n == RECALL_EVENTS_STEP || out->len >= RECALL_EVENTS_BYTES))
            break;
        p->e.last = (uint64_t)sqlite3_column_int64(q, 0);
        p->e.n++;
        r = rm_buf_printf(out, "id: %" PRIu64 "\nevent: event\ndata: %s\n\n", p->e.last,
                          json != NULL ? json : "null");
    }
    sqlite3_finalize(q);
    return r < 0 ? SQLITE_TOOBIG : rc;
}

static void replay_on_answer(void *arg, int err, struct rm_slice text)
{
    struct replay *p = arg;

    p->on_answer(p->arg, err, &p->e, text);
    free(p);
}

int recall_events(struct history *h, uint64_t after, uint64_t before, recall_events_fn *on_answer,
                  void *arg)
{
    struct replay *p = calloc(1, sizeof *p);
    int r;

    if (p == NULL)
        return UV_ENOMEM;
    *p = (struct replay){
        .e = {.after = after, .before = before}, .on_answer = on_answer, .arg = arg};
    if ((r = history_read(h, &(struct history_read){replay_run, replay_on_answer, p})) < 0)
        free(p);
    return r;
}
