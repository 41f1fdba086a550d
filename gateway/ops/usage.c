/* SPDX-License-Identifier: MIT */
/* gateway/ops/usage.c - GET /api/v1/usage: what was used, added up from the history. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gateway/ops/history.h"
#include "gateway/ops/list.h"
#include "gateway/ops/ops_impl.h"

struct usage {
    struct http_req *q; /* NULL: gone */
    bool asked;
};

static void free_when_over(struct usage *u)
{
    if (u->q == NULL && !u->asked)
        free(u);
}

static void usage_on_answer(void *arg, int err, struct rm_slice json)
{
    struct usage *u = arg;
    struct rm_buf out;

    u->asked = false;
    rm_buf_init(&out, OPS_ANSWER_MAX);
    if (u->q != NULL && err == 0)
        err = rm_buf_puts(&out, "{\"usage\":");
    if (u->q != NULL && err == 0)
        err = rm_buf_put(&out, json.p, json.n);
    if (u->q != NULL && err == 0)
        err = rm_buf_puts(&out, "}\n");
    if (u->q != NULL && err < 0)
        ops_answer_error(u->q, err, "the history cannot be read now; the gateway's log says why",
                         NULL);
    else if (u->q != NULL)
        http_reply_full(u->q, 200, &ops_no_store, 1, "application/json",
                        (struct rm_slice){out.data, out.len});
    rm_buf_clear(&out);
    free_when_over(u);
}

static void usage_on_done(struct http_req *q)
{
    struct usage *u = http_req_arg(q);

    u->q = NULL;
    free_when_over(u);
}

static int time_of(struct ops_call *c, const char *name, int64_t *out)
{
    const char *text = query_get(&c->query, name);
    char whole[25];
    struct tm tm = {.tm_sec = 0};

    *out = 0;
    if (text == NULL)
        return 0;
    if (!list_time(text, whole) || strptime(whole, "%Y-%m-%dT%H:%M:%S", &tm) == NULL) {
        snprintf(c->query.why, sizeof c->query.why,
                 "%s: '%s' is not a time such as 2026-05-04T12:00:00Z (UTC)", name, text);
        return RM_ERR_FIELD;
    }
    *out = (int64_t)timegm(&tm) * 1000 + strtol(whole + 20, NULL, 10);
    return 0;
}

bool ops_take_usage(struct ops_call *c)
{
    static const struct http_req_ops ops = {.on_done = usage_on_done};
    static const char *const by_words[] = {"role", "key", "node", "mode", NULL};
    static const char *const per_words[] = {"hour", "day", NULL};
    struct history_question question = {.by = "role"};
    struct usage *u = calloc(1, sizeof *u);
    struct http_req *q = c->q;
    int by, per, r;

    if (u == NULL)
        return false;
    u->q = q;
    http_req_accept(q, &ops, u);
    if ((r = query_word(&c->query, "by", by_words, &by)) == 0 &&
        (r = query_word(&c->query, "per", per_words, &per)) == 0 &&
        (r = time_of(c, "since", &question.since_ms)) == 0)
        r = time_of(c, "until", &question.until_ms);
    if (r < 0) {
        ops_answer_error(q, r, c->query.why, NULL);
        return true;
    }
    question.by = by >= 0 ? by_words[by] : "role";
    question.per = per >= 0 ? per_words[per] : NULL;
    if (ops_history(c->ops) == NULL) {
        ops_answer_error(q, RM_ERR_OVERLOAD, "this gateway has no state directory for a history",
                         NULL);
        return true;
    }
    u->asked = true;
    if ((r = history_ask(ops_history(c->ops), &question, usage_on_answer, u)) < 0) {
        u->asked = false;
        ops_answer_error(q, r, NULL, NULL);
    }
    return true;
}
