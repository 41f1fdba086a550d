/* SPDX-License-Identifier: MIT */
/* gateway/ops/pulls.c - /api/v1/pulls: the list from what the nodes said last, wishes and cancels
 * that their workers are asked for. A wish that was begun is finished also when its asker leaves.
 */
#include <stdlib.h>

#include "gateway/ops/late.h"
#include "gateway/ops/read.h"
#include "proto/node/fields.h"
#include "proto/node/pull.h"

enum { WISH_MAX = 16 * 1024, WHY_MAX = 1024 };

int ops_get_pulls(struct ops_call *c, int *status)
{
    struct list_page page = {.name = "pulls", .key = {"node", "id"}};
    int r = rm_buf_puts(&c->out, "{");

    (void)status;
    if (r == 0)
        r = ops_write_page(c, &page, c->sources->pulls, c->sources->arg);
    return r == 0 ? rm_buf_puts(&c->out, "}\n") : r;
}

/* ---- a wish ---- */

struct pull_order {
    const struct ops_sources *sources;
    struct http_req *q; /* NULL: gone */
    struct rm_buf body;
    bool asked; /* the worker will answer */
};

static void order_free_when_over(struct pull_order *o)
{
    if (o->q != NULL || o->asked)
        return;
    rm_buf_clear(&o->body);
    free(o);
}

static void order_fail(struct pull_order *o, int err, const char *why)
{
    static const struct http_out_field later = {"Retry-After", {"5", 1}};

    if (o->q != NULL)
        ops_answer_error(o->q, err, why[0] != '\0' ? why : NULL,
                         rm_err_status(err) == 503 ? &later : NULL);
}

static void order_on_answer(void *arg, int err, const char *why, bool fresh, struct rm_slice json)
{
    struct pull_order *o = arg;

    o->asked = false;
    if (err < 0)
        order_fail(o, err, why);
    else if (o->q != NULL)
        http_reply_full(o->q, fresh ? 201 : 200, &ops_no_store, 1, "application/json", json);
    order_free_when_over(o);
}

static void order_on_body(struct http_req *q, const char *bytes, size_t n)
{
    struct pull_order *o = http_req_arg(q);
    int r = http_reply_started(q) ? 0 : rm_buf_put(&o->body, bytes, n);

    if (r < 0)
        ops_answer_error(q, r == RM_ERR_TOO_BIG ? RM_ERR_BODY_TOO_LARGE : r, NULL, NULL);
}

/* {"node", "source", "sha256", "rate"}: the node is ours, the rest goes to its worker. */
static int read_order(const struct pull_order *o, char node[NODE_PULL_SOURCE],
                      struct node_pull_wish *wish, char *why)
{
    struct rm_slice text = {o->body.data != NULL ? o->body.data : "", o->body.len};
    const char *name;
    json_t *body;
    char *plain;
    int r;

    if ((r = node_json_load(text, &body, why)) < 0)
        return r;
    name = json_string_value(json_object_get(body, "node"));
    if (name == NULL || name[0] == '\0' || strlen(name) >= NODE_PULL_SOURCE) {
        snprintf(why, WHY_MAX, "node: expected the name of a node");
        json_decref(body);
        return RM_ERR_FIELD;
    }
    rm_text_copy(node, NODE_PULL_SOURCE, name);
    json_object_del(body, "node");
    if (json_object_get(body, "from") != NULL) {
        snprintf(why, WHY_MAX, "from: no such member");
        json_decref(body);
        return RM_ERR_FIELD;
    }
    plain = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (plain == NULL)
        return UV_ENOMEM;
    r = node_pull_wish_read(rm_slice_of(plain), wish, why);
    free(plain);
    return r;
}

static void order_on_end(struct http_req *q)
{
    struct pull_order *o = http_req_arg(q);
    struct node_pull_wish wish;
    char node[NODE_PULL_SOURCE], why[WHY_MAX] = "";
    int r;

    if (http_reply_started(q))
        return;
    r = read_order(o, node, &wish, why);
    if (r == 0) {
        r = o->sources->pull(o->sources->arg, node, &wish, order_on_answer, o, why);
        o->asked = r == 0;
    }
    if (r < 0)
        order_fail(o, r, why);
}

static void order_on_done(struct http_req *q)
{
    struct pull_order *o = http_req_arg(q);

    o->q = NULL;
    order_free_when_over(o);
}

bool ops_post_pull(struct ops_call *c)
{
    static const struct http_req_ops ops = {
        .on_body = order_on_body, .on_end = order_on_end, .on_done = order_on_done};
    const struct http_head *head = http_req_head(c->q);
    struct pull_order *o = calloc(1, sizeof *o);

    if (o == NULL)
        return false;
    o->sources = c->sources;
    o->q = c->q;
    rm_buf_init(&o->body, WISH_MAX);
    http_req_accept(c->q, &ops, o);
    http_req_set_body_limit(o->q, WISH_MAX);
    if (!ops_has_type(head, "application/json"))
        ops_answer_error(o->q, RM_ERR_MEDIA_TYPE, "a pull is wished for as application/json", NULL);
    else if (http_head_find(head, "Content-Encoding") != NULL)
        ops_answer_error(o->q, RM_ERR_MEDIA_TYPE, "a pull is wished for without Content-Encoding",
                         NULL);
    return true;
}

/* ---- a cancel ---- */

static void cancel_on_answer(void *arg, int err, const char *why, bool fresh, struct rm_slice json)
{
    (void)fresh;
    if (err < 0)
        late_fail(arg, err, why[0] != '\0' ? why : NULL);
    else
        late_answer(arg, json);
}

bool ops_cancel_pull(struct ops_call *c)
{
    const struct ops_sources *s = c->sources;
    char node[OPS_PART_MAX], id[OPS_PART_MAX], why[WHY_MAX] = "";
    struct late *l;
    int r;

    rm_text_copy(node, sizeof node, c->part[0]);
    rm_text_copy(id, sizeof id, c->part[1]);
    if ((l = late_take(c)) == NULL)
        return false;
    if ((r = s->cancel_pull(s->arg, node, id, cancel_on_answer, l, why)) < 0)
        late_fail(l, r, why[0] != '\0' ? why : NULL);
    return true;
}
