/* SPDX-License-Identifier: MIT */
#include "gateway/ops/ops_impl.h"

#include <stdlib.h>

#include "proto/base/json_write.h"

enum { ANSWER_MAX = 16 * 1024 * 1024, ERROR_MAX = 4096 };

static const char json_type[] = "application/json";
static const char metrics_type[] = "application/openmetrics-text; version=1.0.0; charset=utf-8";

static int write_nodes(const struct ops_sources *s, struct rm_buf *out, int *status)
{
    int r = rm_buf_puts(out, "{\"nodes\":");

    (void)status;
    if (r == 0)
        r = s->nodes(s->arg, out);
    return r == 0 ? rm_buf_puts(out, "}\n") : r;
}

static int write_roles(const struct ops_sources *s, struct rm_buf *out, int *status)
{
    int r = rm_buf_puts(out, "{\"roles\":");

    (void)status;
    if (r == 0)
        r = s->roles(s->arg, out);
    if (r == 0)
        r = rm_buf_puts(out, ",\"shortfalls\":");
    if (r == 0)
        r = s->shortfalls(s->arg, out);
    return r == 0 ? rm_buf_puts(out, "}\n") : r;
}

static int write_map(const struct ops_sources *s, struct rm_buf *out, int *status)
{
    int r = s->map(s->arg, out);

    (void)status;
    return r == 0 ? rm_buf_puts(out, "\n") : r;
}

static int write_metrics(const struct ops_sources *s, struct rm_buf *out, int *status)
{
    int r = s->metrics(s->arg, out);

    (void)status;
    return r == 0 ? rm_buf_puts(out, "# EOF\n") : r;
}

static int write_health(const struct ops_sources *s, struct rm_buf *out, int *status)
{
    (void)s;
    (void)status;
    return rm_buf_puts(out, "{\"status\":\"ok\"}\n");
}

static int write_ready(const struct ops_sources *s, struct rm_buf *out, int *status)
{
    const char *why = s->not_ready(s->arg);
    struct rm_jw w = rm_jw_to(out);

    *status = why == NULL ? 200 : 503;
    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "status", why == NULL ? "ready" : "not ready");
    if (why != NULL)
        rm_jw_str(&w, "reason", why);
    rm_jw_end(&w);
    return rm_jw_done(&w) == 0 ? rm_buf_puts(out, "\n") : rm_jw_done(&w);
}

static const struct ops_row {
    const char *path, *type;
    int (*write)(const struct ops_sources *s, struct rm_buf *out, int *status);
    void (*post)(const struct ops_sources *s, struct http_req *q); /* takes it; NULL: no POST */
} ops_rows[] = {
    {"/api/v1/map", json_type, write_map, ops_map_post},
    {"/api/v1/nodes", json_type, write_nodes, NULL},
    {"/api/v1/roles", json_type, write_roles, NULL},
    {"/healthz", json_type, write_health, NULL},
    {"/metrics", metrics_type, write_metrics, NULL},
    {"/readyz", json_type, write_ready, NULL},
};

const struct http_out_field ops_no_store = {"Cache-Control", {"no-store", 8}};

static void ops_on_done(struct http_req *q)
{
    struct rm_buf *body = http_req_arg(q);

    rm_buf_clear(body);
    free(body);
}

void ops_answer_error(struct http_req *q, int err, const char *text,
                      const struct http_out_field *field)
{
    struct rm_buf body;
    struct rm_jw w;

    rm_buf_init(&body, ERROR_MAX);
    w = rm_jw_to(&body);
    rm_jw_obj(&w, NULL);
    rm_jw_obj(&w, "error");
    rm_jw_str(&w, "message", text != NULL ? text : rm_strerror(err));
    rm_jw_str(&w, "type", rm_err_status(err) < 500 ? "invalid_request_error" : "server_error");
    rm_jw_str(&w, "code", rm_err_code(err));
    rm_jw_end(&w);
    rm_jw_end(&w);
    http_reply_full(q, rm_err_status(err), field, field != NULL ? 1 : 0, json_type,
                    (struct rm_slice){body.data, body.len});
    rm_buf_clear(&body);
}

static const struct ops_row *row_of(struct rm_slice path)
{
    for (size_t i = 0; i < RM_COUNT(ops_rows); i++)
        if (rm_slice_eq(path, ops_rows[i].path))
            return &ops_rows[i];
    return NULL;
}

bool ops_on_request(const struct ops_sources *sources, struct http_req *q)
{
    static const struct http_req_ops ops = {.on_done = ops_on_done};
    static const struct http_out_field reads = {"Allow", {"GET, HEAD", 9}};
    static const struct http_out_field acts = {"Allow", {"GET, HEAD, POST", 15}};
    const struct http_head *head = http_req_head(q);
    const struct ops_row *row = row_of(head->path);
    struct rm_buf *body;
    int status = 200, r;

    if (row == NULL)
        return false;
    if (head->method == HTTP_POST && row->post != NULL) {
        row->post(sources, q);
        return true;
    }
    if ((body = malloc(sizeof *body)) == NULL)
        return false;
    rm_buf_init(body, ANSWER_MAX);
    http_req_accept(q, &ops, body);
    if (head->method != HTTP_GET && head->method != HTTP_HEAD) {
        ops_answer_error(q, RM_ERR_METHOD, NULL, row->post != NULL ? &acts : &reads);
        return true;
    }
    r = row->write(sources, body, &status);
    if (r < 0)
        ops_answer_error(q, r, NULL, NULL);
    else
        http_reply_full(q, status, &ops_no_store, 1, row->type,
                        (struct rm_slice){body->data, body->len});
    return true;
}
