/* SPDX-License-Identifier: MIT */
/* gateway/ops/requests.c - model requests that run, wait or are recent: told, and cancelled. */
#include <stdio.h>

#include "gateway/ops/ops_impl.h"
#include "gateway/ops/read.h"

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
                 "no request '%s' runs or is among the recent ones", c->part[0]);
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

int ops_cancel_request(struct ops_call *c, int *status)
{
    int r = c->sources->cancel(c->sources->arg, c->part[0]);

    return r == 0 ? ops_get_request(c, status) : worded(c, r);
}
