/* SPDX-License-Identifier: MIT */
/* worker/logs.c - GET /node/v1/logs: a page of the last lines of this worker and its engines
 * (proto/PROTOCOL.md). Answered from memory. */
#include <stdio.h>

#include "worker/worker.h"

#include "proto/node/fields.h"
#include "proto/node/logs.h"

enum { LOGS_DEFAULT = 100, LOGS_ANSWER_MAX = 1024 * 1024 };

/* What the query may name; every one at most once. */
struct logs_query {
    struct rm_log_wish wish;
    char engine[NODE_NAME_MAX];
    bool has_after, has_before, has_limit, has_level, has_engine;
};

static bool read_number(struct rm_slice v, bool *has, uint64_t *out)
{
    uint64_t n = 0;

    if (*has || v.n < 1 || v.n > 16)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(v.p[i] - '0');
    }
    if (n > NODE_INT_MAX)
        return false;
    *has = true;
    *out = n;
    return true;
}

static bool read_level(struct rm_slice v, struct logs_query *q)
{
    char text[8];
    int level;

    if (q->has_level || v.n >= sizeof text)
        return false;
    memcpy(text, v.p, v.n);
    text[v.n] = '\0';
    if ((level = rm_log_level_from(text)) < 0)
        return false;
    q->has_level = true;
    q->wish.level = (enum rm_log_level)level;
    return true;
}

/* Empty: the worker's own lines only. */
static bool read_engine(struct rm_slice v, struct logs_query *q)
{
    if (q->has_engine || v.n >= sizeof q->engine)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        char c = v.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-'))
            return false;
    }
    memcpy(q->engine, v.p != NULL ? v.p : "", v.n);
    q->engine[v.n] = '\0';
    q->has_engine = true;
    q->wish.engine = q->engine;
    return true;
}

static bool read_pair(struct rm_slice pair, struct logs_query *q)
{
    const char *equals = pair.n > 0 ? memchr(pair.p, '=', pair.n) : NULL;
    struct rm_slice name, value;
    uint64_t limit;

    if (equals == NULL)
        return false;
    name = (struct rm_slice){pair.p, (size_t)(equals - pair.p)};
    value = (struct rm_slice){equals + 1, pair.n - name.n - 1};
    if (rm_slice_eq(name, "after"))
        return read_number(value, &q->has_after, &q->wish.after);
    if (rm_slice_eq(name, "before"))
        return read_number(value, &q->has_before, &q->wish.before);
    if (rm_slice_eq(name, "level"))
        return read_level(value, q);
    if (rm_slice_eq(name, "engine"))
        return read_engine(value, q);
    if (!rm_slice_eq(name, "limit") || !read_number(value, &q->has_limit, &limit) || limit < 1 ||
        limit > LOGS_PAGE_MAX)
        return false;
    q->wish.limit = (size_t)limit;
    return true;
}

static bool read_query(struct rm_slice query, struct logs_query *q)
{
    while (query.n > 0) {
        const char *end = memchr(query.p, '&', query.n);
        size_t n = end != NULL ? (size_t)(end - query.p) : query.n;

        if (!read_pair((struct rm_slice){query.p, n}, q) || n + 1 == query.n)
            return false;
        query.p += end != NULL ? n + 1 : n;
        query.n -= end != NULL ? n + 1 : n;
    }
    return true;
}

void logs_answer(const struct worker *w, struct http_req *req)
{
    struct logs_query q = {.wish = {.level = RM_LOG_DEBUG, .limit = LOGS_DEFAULT}};
    struct node_logs logs;
    struct rm_buf body;
    int r;

    if (!read_query(http_req_head(req)->query, &q)) {
        api_reply_error(req, RM_ERR_FIELD, 0, 0,
                        "query: expected after=ID, before=ID, limit=N with 1 to 500, level=error, "
                        "warn, info or debug, engine=ROLE");
        return;
    }
    rm_buf_init(&body, LOGS_ANSWER_MAX);
    r = node_logs_take(&q.wish, &logs);
    rm_text_copy(logs.node, sizeof logs.node, w->opt.node);
    if (r == 0)
        r = node_logs_encode(&logs, &body);
    if (r < 0)
        api_reply_error(req, r, 0, 0, rm_strerror(r));
    else
        http_reply_full(req, 200, NULL, 0, "application/json",
                        (struct rm_slice){body.data, body.len});
    node_logs_clear(&logs);
    rm_buf_clear(&body);
}
