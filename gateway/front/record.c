/* SPDX-License-Identifier: MIT */
#include "gateway/front/record.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/json_write.h"

void records_init(struct records *rs)
{
    *rs = (struct records){.all = NULL};
    TAILQ_INIT(&rs->live);
    TAILQ_INIT(&rs->over);
}

void records_clear(struct records *rs)
{
    free(rs->all);
    records_init(rs);
}

struct record *records_take(struct records *rs)
{
    struct record *r;

    rs->seq++;
    if (rs->all == NULL) {
        if ((rs->all = calloc(RECORDS_MAX, sizeof(*rs->all))) == NULL)
            return NULL;
        for (size_t i = 0; i < RECORDS_MAX; i++)
            TAILQ_INSERT_TAIL(&rs->over, &rs->all[i], link);
    }
    if ((r = TAILQ_FIRST(&rs->over)) == NULL) {
        rs->unrecorded++;
        return NULL;
    }
    TAILQ_REMOVE(&rs->over, r, link);
    *r = (struct record){.seq = rs->seq};
    TAILQ_INSERT_TAIL(&rs->live, r, link);
    return r;
}

void records_end(struct records *rs, struct record *r, uint64_t now_ms)
{
    if (r == NULL)
        return;
    r->state = RECORD_DONE;
    r->ended_ms = now_ms;
    TAILQ_REMOVE(&rs->live, r, link);
    TAILQ_INSERT_TAIL(&rs->over, r, link);
}

struct record *records_find(const struct records *rs, const char *id)
{
    for (size_t i = 0; rs->all != NULL && id[0] != '\0' && i < RECORDS_MAX; i++)
        if (strcmp(rs->all[i].id, id) == 0)
            return &rs->all[i];
    return NULL;
}

/* ---- as JSON ---- */

static void text_or_null(struct rm_jw *w, const char *key, const char *text)
{
    rm_jw_str(w, key, text[0] != '\0' ? text : NULL);
}

static void put_key(struct rm_jw *w, const struct record *r)
{
    if (r->key_id[0] == '\0') {
        rm_jw_null(w, "key");
        return;
    }
    rm_jw_obj(w, "key");
    rm_jw_str(w, "id", r->key_id);
    rm_jw_str(w, "name", r->key_name);
    rm_jw_end(w);
}

static void number_or_null(struct rm_jw *w, const char *key, bool known, uint64_t n)
{
    if (known)
        rm_jw_u64(w, key, n);
    else
        rm_jw_null(w, key);
}

int record_write(const struct record *r, uint64_t now_ms, struct rm_buf *out)
{
    static const char *const states[] = {"waiting", "running", "done"};
    bool done = r->state == RECORD_DONE;
    struct rm_jw w = rm_jw_to(out);
    char at[RM_TIME_TEXT];

    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "id", r->id);
    rm_jw_u64(&w, "seq", r->seq);
    rm_jw_str(&w, "at", rm_time_text(r->at_ms, at));
    rm_jw_str(&w, "state", states[r->state]);
    put_key(&w, r);
    text_or_null(&w, "role", r->role);
    text_or_null(&w, "served", r->served);
    text_or_null(&w, "mode", r->mode);
    rm_jw_str(&w, "dialect", r->dialect);
    text_or_null(&w, "node", r->node);
    rm_jw_u64(&w, "tries", r->tries);
    rm_jw_u64(&w, "age_ms", now_ms - r->began_ms);
    number_or_null(&w, "duration_ms", done, r->ended_ms - r->began_ms);
    number_or_null(&w, "queue_ms", r->leased, r->queue_ms);
    number_or_null(&w, "ttft_ms", r->answered, r->ttft_ms);
    rm_jw_u64(&w, "prompt_tokens", r->prompt_tokens);
    rm_jw_u64(&w, "cached_tokens", r->cached_tokens);
    rm_jw_u64(&w, "completion_tokens", r->completion_tokens);
    number_or_null(&w, "status", r->status != 0, (uint64_t)r->status);
    rm_jw_str(&w, "outcome", done ? metrics_outcome_name(r->outcome) : NULL);
    text_or_null(&w, "error", r->code);
    rm_jw_u64(&w, "bytes_in", r->bytes_in);
    rm_jw_u64(&w, "bytes_out", r->bytes_out);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

static int newest_first(const void *a, const void *b)
{
    const struct record *x = *(const struct record *const *)a,
                        *y = *(const struct record *const *)b;

    return x->seq < y->seq ? 1 : -(x->seq > y->seq);
}

int records_write(const struct records *rs, uint64_t now_ms, struct rm_buf *out)
{
    const struct record *sorted[RECORDS_MAX];
    size_t n = 0;
    int err = rm_buf_puts(out, "[");

    for (size_t i = 0; rs->all != NULL && i < RECORDS_MAX; i++)
        if (rs->all[i].id[0] != '\0')
            sorted[n++] = &rs->all[i];
    if (n > 0)
        qsort(sorted, n, sizeof(sorted[0]), newest_first);
    for (size_t i = 0; err == 0 && i < n; i++) {
        if (i > 0)
            err = rm_buf_puts(out, ",");
        if (err == 0)
            err = record_write(sorted[i], now_ms, out);
    }
    return err == 0 ? rm_buf_puts(out, "]") : err;
}
