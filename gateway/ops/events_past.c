/* SPDX-License-Identifier: MIT */
/* gateway/ops/events_past.c - GET /api/v1/events as a list that reaches further back than the ring:
 * a page that the ring alone cannot fill is read from the history, in a thread of the pool. Where
 * that cannot be read, the ring is all there is. Neighbour: watch.c, whose ring it is. */
#include <inttypes.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "gateway/ops/history.h"
#include "gateway/ops/late.h"
#include "gateway/ops/read.h"

enum { ROWS_MAX = 100000 }; /* that one answer looks at: then it says where to go on */

struct past_page {
    struct late *late;
    struct ops_call call; /* a copy: the page's texts are in its query */
    struct list_page page;
    struct page_texts texts;
    struct rm_buf ring; /* the answer as the ring has it */
};

static void past_free(struct past_page *p)
{
    rm_buf_clear(&p->ring);
    free(p);
}

static int next_or_null(struct rm_buf *out, int64_t id, bool more)
{
    return more ? rm_buf_printf(out, "],\"next\":\"%" PRId64 "\"}", id)
                : rm_buf_puts(out, "],\"next\":null}");
}

/* Newest first, as list_write does of an array. */
static int past_run(sqlite3 *db, void *arg, struct rm_buf *out)
{
    const struct past_page *p = arg;
    uint32_t n = 0, looked = 0;
    sqlite3_stmt *q = NULL;
    int64_t last = 0;
    bool more = false;
    int r = rm_buf_puts(out, "{\"events\":["), rc;

    rc = sqlite3_prepare_v2(db, "SELECT id, json FROM event WHERE id < ?1 ORDER BY id DESC", -1, &q,
                            NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(
            q, 1, p->page.cursor != NULL ? strtoll(p->page.cursor, NULL, 10) : INT64_MAX);
    while (rc == SQLITE_OK && r == 0 && !more && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        struct rm_slice item = rm_slice_of((const char *)sqlite3_column_text(q, 1));

        rc = SQLITE_OK;
        if (list_passes(&p->page, item)) {
            if ((more = n == p->page.limit))
                break;
            if (n++ > 0)
                r = rm_buf_puts(out, ",");
            if (r == 0)
                r = rm_buf_put(out, item.p, item.n);
            last = sqlite3_column_int64(q, 0);
        }
        if (++looked == ROWS_MAX) {
            last = sqlite3_column_int64(q, 0);
            more = true;
        }
    }
    sqlite3_finalize(q);
    if (r == 0)
        r = next_or_null(out, last, more);
    return r < 0 ? SQLITE_TOOBIG : rc;
}

static void past_on_answer(void *arg, int err, struct rm_slice json)
{
    struct past_page *p = arg;

    late_answer(p->late, err == 0 ? json : (struct rm_slice){p->ring.data, p->ring.len});
    past_free(p);
}

/* The ring's page; true when there may be more behind it. */
static bool ring_ends(struct past_page *p, struct rm_slice array)
{
    static const char end[] = "\"next\":null}";
    int r = rm_buf_puts(&p->ring, "{");

    if (r == 0)
        r = list_write(&p->page, array, &p->ring);
    if (r == 0)
        r = rm_buf_puts(&p->ring, "}");
    return r == 0 && p->ring.len > sizeof end &&
           strcmp(p->ring.data + p->ring.len - (sizeof end - 1), end) == 0;
}

bool ops_recall_events(struct ops_call *c, struct rm_slice ring)
{
    struct history *h = ops_history(c->ops);
    struct past_page *p;

    if (h == NULL || (p = calloc(1, sizeof *p)) == NULL)
        return false;
    p->call = *c;
    p->page = (struct list_page){.name = "events", .key = {"id"}, .by_number = true, .time = "at"};
    rm_buf_init(&p->ring, OPS_ANSWER_MAX);
    if (ops_read_page(&p->call, &p->page, &p->texts) < 0 || !ring_ends(p, ring) ||
        (p->late = late_take(c)) == NULL) {
        past_free(p); /* what is wrong the handler tells */
        return false;
    }
    if (history_read(h, &(struct history_read){past_run, past_on_answer, p}) < 0)
        past_on_answer(p, RM_ERR_OVERLOAD, RM_LIT(""));
    return true;
}
