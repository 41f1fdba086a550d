/* SPDX-License-Identifier: MIT */
/* gateway/ops/requests.c - model requests that run, wait or are recent: told, and cancelled. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ops/late.h"
#include "gateway/ops/read.h"
#include "gateway/ops/recall.h"

static int write_list(struct ops_call *c, const char *name,
                      int (*source)(void *arg, struct rm_buf *out))
{
    struct list_page page = {.name = name, .key = {"seq"}, .by_number = true, .time = "at"};
    int r = rm_buf_puts(&c->out, "{");

    if (r == 0)
        r = ops_write_page(c, &page, source, c->sources->arg);
    return r == 0 ? rm_buf_puts(&c->out, "}\n") : r;
}

int ops_get_requests(struct ops_call *c, int *status)
{
    (void)status;
    return write_list(c, "requests", c->sources->requests);
}

int ops_get_queue(struct ops_call *c, int *status)
{
    (void)status;
    return write_list(c, "queue", c->sources->queue);
}

static int worded(struct ops_call *c, int err)
{
    if (err == RM_ERR_NOT_FOUND)
        snprintf(c->query.why, sizeof c->query.why,
                 "no request '%s' runs, is among the recent ones or in the history", c->part[0]);
    else if (err == RM_ERR_STATE)
        snprintf(c->query.why, sizeof c->query.why, "request '%s' is over", c->part[0]);
    return err;
}

int ops_get_request(struct ops_call *c, int *status)
{
    int r = c->sources->request(c->sources->arg, c->part[0], &c->out);

    (void)status;
    return r == 0 ? rm_buf_puts(&c->out, "\n") : worded(c, r);
}

int ops_get_why(struct ops_call *c, int *status)
{
    int r = c->sources->why(c->sources->arg, c->part[0], &c->out);

    (void)status;
    return r == 0 ? rm_buf_puts(&c->out, "\n") : worded(c, r);
}

/* ---- those that the history has to tell of ---- */

struct recalled {
    struct late *late;
    struct rm_buf memory; /* what memory says, for when the history has no more; may be empty */
};

static void request_on_recall(void *arg, int err, struct rm_slice json)
{
    static const char none[] = "no such request runs, is among the recent ones or in the history";
    static const char unread[] = "the history cannot be read now; the gateway's log says why";
    struct recalled *r = arg;

    if (err < 0 && r->memory.len > 0)
        late_answer(r->late, (struct rm_slice){r->memory.data, r->memory.len});
    else if (err == 0)
        late_answer(r->late, json);
    else
        late_fail(r->late, err,
                  err == RM_ERR_NOT_FOUND  ? none
                  : err == RM_ERR_OVERLOAD ? unread
                                           : NULL);
    rm_buf_clear(&r->memory);
    free(r);
}

/* Asks the history; what memory says is in c->out. False: nothing was taken. */
static bool take_recall(struct ops_call *c, bool why)
{
    struct history *h = ops_history(c->ops);
    struct recalled *r;
    int64_t at_ms;
    int err;

    if (h == NULL || !recall_id_time(c->part[0], &at_ms) || (r = calloc(1, sizeof *r)) == NULL)
        return false;
    if ((r->late = late_take(c)) == NULL) {
        free(r);
        return false;
    }
    r->memory = c->out;
    rm_buf_init(&c->out, OPS_ANSWER_MAX);
    if ((err = recall_request(h, c->part[0], why, request_on_recall, r)) < 0)
        request_on_recall(r, err, RM_LIT(""));
    return true;
}

/* What memory holds is told by the handlers above. */
bool ops_recall_request(struct ops_call *c)
{
    int r = c->sources->request(c->sources->arg, c->part[0], &c->out);

    if (r == RM_ERR_NOT_FOUND && take_recall(c, false))
        return true;
    rm_buf_clear(&c->out);
    return false;
}

/* Memory forgets decisions before it forgets requests: one that was sent somewhere had some. */
bool ops_recall_why(struct ops_call *c)
{
    int r = c->sources->why(c->sources->arg, c->part[0], &c->out);
    bool forgotten = r == 0 && strstr(c->out.data, "\"decisions\":[]") != NULL &&
                     strstr(c->out.data, "\"state\":\"done\"") != NULL &&
                     strstr(c->out.data, "\"tries\":0,") == NULL;

    if ((r == RM_ERR_NOT_FOUND || forgotten) && take_recall(c, true))
        return true;
    rm_buf_clear(&c->out);
    return false;
}

int ops_cancel_request(struct ops_call *c, int *status)
{
    int r = c->sources->cancel(c->sources->arg, c->part[0]);

    return r == 0 ? ops_get_request(c, status) : worded(c, r);
}
