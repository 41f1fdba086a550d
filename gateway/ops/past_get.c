/* SPDX-License-Identifier: MIT */
/* gateway/ops/past_get.c - GET /api/v1/history: what the query asks for, answered by past.c in a
 * thread. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ops/history.h"
#include "gateway/ops/late.h"
#include "gateway/ops/past.h"
#include "proto/base/clock.h"

struct past_ask {
    struct late *late;
    struct past_question question;
};
_Static_assert((int)PAST_ASKED_MAX >= (int)QUERY_VALUE_MAX, "every value has room");

static int past_run(struct sqlite3 *db, void *arg, struct rm_buf *out)
{
    return past_answer(db, &((struct past_ask *)arg)->question, out);
}

static void past_on_answer(void *arg, int err, struct rm_slice text)
{
    struct past_ask *a = arg;

    if (err == 0)
        late_answer(a->late, text);
    else
        late_fail(a->late, err, "the history cannot be read now; the gateway's log says why");
    free(a);
}

/* A name of a node or role; "" when it is not asked for. */
static int read_name(struct ops_call *c, const char *param, char out[PAST_ASKED_MAX])
{
    const char *text = query_get(&c->query, param);

    rm_text_copy(out, PAST_ASKED_MAX, text != NULL ? text : "");
    if (text == NULL || text[0] != '\0')
        return 0;
    snprintf(c->query.why, sizeof c->query.why, "%s: a name is needed, or leave it out", param);
    return RM_ERR_FIELD;
}

static int read_question(struct ops_call *c, struct past_question *q)
{
    static const char *const by_words[] = {"none", "node", "role", NULL};
    int by = query_word(&c->query, "by", by_words), r;

    q->metric = query_word(&c->query, "metric", past_metrics);
    q->range = query_word(&c->query, "range", past_ranges);
    if ((r = read_name(c, "node", q->node)) < 0 || (r = read_name(c, "role", q->role)) < 0)
        return r;
    if (q->metric < 0) {
        snprintf(c->query.why, sizeof c->query.why, "metric: say which, such as metric=requests");
        return RM_ERR_FIELD;
    }
    q->range = q->range < 0 ? 0 : q->range;
    q->by = past_is_sampled(q->metric) ? PAST_BY_NODE : by >= 0 ? (enum past_by)by : PAST_BY_NONE;
    q->now_ms = rm_wall_ms();
    return 0;
}

bool ops_take_history(struct ops_call *c)
{
    struct past_ask *a = calloc(1, sizeof *a);
    const struct history_read read = {past_run, past_on_answer, a};
    struct ops *o = c->ops;
    int r;

    if (a == NULL || (a->late = late_take(c)) == NULL) {
        free(a);
        return false;
    }
    if ((r = read_question(c, &a->question)) < 0)
        late_fail(a->late, r, c->query.why);
    else if (ops_history(o) == NULL)
        late_fail(a->late, r = RM_ERR_OVERLOAD,
                  "this gateway has no state directory for a history");
    else if ((r = history_read(ops_history(o), &read)) < 0)
        late_fail(a->late, r, NULL);
    if (r < 0)
        free(a);
    return true;
}
