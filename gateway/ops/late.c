/* SPDX-License-Identifier: MIT */
#include "gateway/ops/late.h"

#include <stdlib.h>

struct late {
    struct http_req *q; /* NULL: gone */
    bool owed;          /* the answer is still to come */
};

static void free_when_over(struct late *l)
{
    if (l->q == NULL && !l->owed)
        free(l);
}

static void late_on_done(struct http_req *q)
{
    struct late *l = http_req_arg(q);

    l->q = NULL;
    free_when_over(l);
}

struct late *late_take(struct ops_call *c)
{
    static const struct http_req_ops ops = {.on_done = late_on_done};
    struct late *l = malloc(sizeof *l);

    if (l == NULL)
        return NULL;
    *l = (struct late){.q = c->q, .owed = true};
    http_req_accept(c->q, &ops, l);
    return l;
}

bool late_is_gone(const struct late *l)
{
    return l->q == NULL;
}

void late_answer(struct late *l, struct rm_slice json)
{
    struct rm_buf out;
    int r;

    rm_buf_init(&out, OPS_ANSWER_MAX);
    l->owed = false;
    if (l->q != NULL) {
        r = rm_buf_put(&out, json.p, json.n);
        if (r == 0)
            r = rm_buf_puts(&out, "\n");
        if (r < 0)
            ops_answer_error(l->q, r, NULL, NULL);
        else
            http_reply_full(l->q, 200, &ops_no_store, 1, "application/json",
                            (struct rm_slice){out.data, out.len});
    }
    rm_buf_clear(&out);
    free_when_over(l);
}

void late_fail(struct late *l, int err, const char *text)
{
    static const struct http_out_field later = {"Retry-After", {"1", 1}};

    l->owed = false;
    if (l->q != NULL)
        ops_answer_error(l->q, err, text, rm_err_status(err) == 503 ? &later : NULL);
    free_when_over(l);
}

void late_end(struct late *l, int err, struct rm_slice json)
{
    if (err == 0)
        late_answer(l, json);
    else
        late_fail(l, err, NULL);
}
