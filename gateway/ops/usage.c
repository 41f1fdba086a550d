/* SPDX-License-Identifier: MIT */
/* gateway/ops/usage.c - GET /api/v1/usage: what was used, added up from the history. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gateway/ops/history.h"
#include "gateway/ops/late.h"
#include "gateway/ops/list.h"

static void usage_on_answer(void *arg, int err, struct rm_slice json)
{
    struct rm_buf out;

    rm_buf_init(&out, OPS_ANSWER_MAX);
    if (err < 0) {
        late_fail(arg, err, "the history cannot be read now; the gateway's log says why");
        return;
    }
    err = rm_buf_puts(&out, "{\"usage\":");
    if (err == 0)
        err = rm_buf_put(&out, json.p, json.n);
    if (err == 0)
        err = rm_buf_puts(&out, "}");
    late_end(arg, err, (struct rm_slice){out.data, out.len});
    rm_buf_clear(&out);
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

static int read_question(struct ops_call *c, struct history_question *out)
{
    static const char *const by_words[] = {"role", "key", "node", "mode", NULL};
    static const char *const per_words[] = {"hour", "day", NULL};
    int by = query_word(&c->query, "by", by_words);
    int per = query_word(&c->query, "per", per_words), r;

    if ((r = time_of(c, "since", &out->since_ms)) < 0 ||
        (r = time_of(c, "until", &out->until_ms)) < 0)
        return r;
    out->by = by >= 0 ? by_words[by] : "role";
    out->per = per >= 0 ? per_words[per] : NULL;
    return 0;
}

bool ops_take_usage(struct ops_call *c)
{
    struct history_question question = {.by = "role"};
    struct late *late = late_take(c);
    int r;

    if (late == NULL)
        return false;
    if ((r = read_question(c, &question)) < 0)
        late_fail(late, r, c->query.why);
    else if (ops_history(c->ops) == NULL)
        late_fail(late, RM_ERR_OVERLOAD, "this gateway has no state directory for a history");
    else if ((r = history_ask(ops_history(c->ops), &question, usage_on_answer, late)) < 0)
        late_fail(late, r, NULL);
    return true;
}
