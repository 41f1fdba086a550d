/* SPDX-License-Identifier: MIT */
/* The node protocol's endpoints for pulls (proto/PROTOCOL.md): the list, a wish, an end. Answers
 * are from memory; pulls/ does the rest in its own time. */
#include <stdlib.h>

#include "worker/pulls/pulls.h"
#include "worker/worker.h"

struct pull_ask {
    struct worker *w;
    char id[NODE_PULL_ID]; /* "": all of them */
    bool fits;             /* the id may be one */
    struct rm_buf body;
};

static void reply_pulls(struct http_req *q, int status, const struct node_pull *v, uint32_t n)
{
    struct rm_buf text;
    int r;

    rm_buf_init(&text, NODE_PULLS_TEXT_MAX);
    if ((r = node_pulls_encode(v, n, &text)) < 0)
        api_reply_error(q, r, 0, 0, rm_strerror(r));
    else
        http_reply_full(q, status, NULL, 0, "application/json",
                        (struct rm_slice){text.data, text.len});
    rm_buf_clear(&text);
}

static void get_pulls(struct pull_ask *a, struct http_req *q)
{
    struct node_pull *v = calloc(NODE_PULLS_MAX, sizeof(*v));

    if (v == NULL)
        api_reply_error(q, UV_ENOMEM, 0, 1, rm_strerror(UV_ENOMEM));
    else
        reply_pulls(q, 200, v, pulls_list(a->w->pulls, v, NODE_PULLS_MAX));
    free(v);
}

/* What a web page cannot send without our leave, which is never given. */
static bool is_json(const struct http_head *head)
{
    struct rm_slice type = http_head_value(head, "Content-Type");
    size_t n = 0;

    while (n < type.n && type.p[n] != ';' && type.p[n] != ' ' && type.p[n] != '\t')
        n++;
    return rm_slice_ieq((struct rm_slice){type.p, n}, "application/json");
}

static void post_pull(struct pull_ask *a, struct http_req *q)
{
    const struct node_pull *pull = NULL;
    struct node_pull_wish wish;
    char why[TASK_WHY_MAX] = "";
    int r;

    if (!is_json(http_req_head(q))) {
        api_reply_error(q, RM_ERR_MEDIA_TYPE, 0, 0, "a pull is wished for as application/json");
        return;
    }
    if (strcmp(a->w->opt.models_dir, "/") == 0) {
        api_reply_error(q, RM_ERR_STATE, 0, 0,
                        "this worker has no models directory of its own: name one with models_dir "
                        "or --models-dir");
        return;
    }
    r = node_pull_wish_decode((struct rm_slice){a->body.data, a->body.len}, &wish, why);
    if (r == 0)
        r = pulls_add(a->w->pulls, &wish, &pull, why);
    if (r < 0)
        api_reply_error(q, r, 0, rm_err_status(r) == 503 ? 5 : 0,
                        why[0] != '\0' ? why : rm_strerror(r));
    else
        reply_pulls(q, r == RM_AGAIN ? 200 : 201, pull, 1);
}

static void delete_pull(struct pull_ask *a, struct http_req *q)
{
    const struct node_pull *pull = NULL;
    int r = a->fits ? pulls_cancel(a->w->pulls, a->id, &pull) : RM_ERR_NOT_FOUND;

    if (r == RM_ERR_NOT_FOUND)
        api_reply_error(q, r, 0, 0, "there is no such pull");
    else if (r < 0)
        api_reply_error(q, r, 0, 0, "this pull is over already");
    else
        reply_pulls(q, 200, pull, 1);
}

static void ask_on_body(struct http_req *q, const char *bytes, size_t n)
{
    struct pull_ask *a = http_req_arg(q);

    if (rm_buf_put(&a->body, bytes, n) < 0)
        http_reply_cut(q);
}

static void ask_on_end(struct http_req *q)
{
    struct pull_ask *a = http_req_arg(q);

    switch (http_req_head(q)->method) {
    case HTTP_POST:
        post_pull(a, q);
        break;
    case HTTP_DELETE:
        delete_pull(a, q);
        break;
    default:
        get_pulls(a, q);
    }
}

static void ask_on_done(struct http_req *q)
{
    struct pull_ask *a = http_req_arg(q);

    rm_buf_clear(&a->body);
    free(a);
}

void pulls_on_request(struct worker *w, struct http_req *q, struct rm_slice id)
{
    static const struct http_req_ops ops = {
        .on_body = ask_on_body, .on_end = ask_on_end, .on_done = ask_on_done};
    enum http_method method = http_req_head(q)->method;
    bool one = id.n > 0;
    struct pull_ask *a;

    if (one ? method != HTTP_DELETE
            : method != HTTP_GET && method != HTTP_HEAD && method != HTTP_POST) {
        api_refuse(q, RM_ERR_METHOD, one ? "DELETE" : "GET, HEAD, POST");
        return;
    }
    if ((a = calloc(1, sizeof(*a))) == NULL) {
        api_refuse(q, UV_ENOMEM, NULL);
        return;
    }
    a->w = w;
    a->fits = one && id.n < sizeof(a->id);
    if (a->fits)
        memcpy(a->id, id.p, id.n);
    rm_buf_init(&a->body, WORKER_BODY_MAX);
    http_req_set_body_limit(q, WORKER_BODY_MAX);
    http_req_accept(q, &ops, a);
}
