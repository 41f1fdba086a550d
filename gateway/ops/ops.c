/* SPDX-License-Identifier: MIT */
#include "gateway/ops/ops.h"

#include <stdlib.h>

#include "proto/base/json_write.h"

enum { ANSWER_MAX = 16 * 1024 * 1024 };

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
} ops_rows[] = {
    {"/api/v1/nodes", json_type, write_nodes}, {"/api/v1/roles", json_type, write_roles},
    {"/healthz", json_type, write_health},     {"/metrics", metrics_type, write_metrics},
    {"/readyz", json_type, write_ready},
};

static void ops_on_done(struct http_req *q)
{
    struct rm_buf *body = http_req_arg(q);

    rm_buf_clear(body);
    free(body);
}

static void answer_error(struct http_req *q, struct rm_buf *body, int err,
                         const struct http_out_field *field)
{
    struct rm_jw w = rm_jw_to(body);

    body->len = 0;
    rm_jw_obj(&w, NULL);
    rm_jw_obj(&w, "error");
    rm_jw_str(&w, "message", rm_strerror(err));
    rm_jw_str(&w, "type", rm_err_status(err) < 500 ? "invalid_request_error" : "server_error");
    rm_jw_str(&w, "code", rm_err_code(err));
    rm_jw_end(&w);
    rm_jw_end(&w);
    http_reply_full(q, rm_err_status(err), field, field != NULL ? 1 : 0, json_type,
                    (struct rm_slice){body->data, body->len});
}

bool ops_on_request(const struct ops_sources *sources, struct http_req *q)
{
    static const struct http_req_ops ops = {.on_done = ops_on_done};
    static const struct http_out_field allow = {"Allow", {"GET, HEAD", 9}};
    static const struct http_out_field no_store = {"Cache-Control", {"no-store", 8}};
    const struct http_head *head = http_req_head(q);
    const struct ops_row *row = NULL;
    struct rm_buf *body;
    int status = 200, r;

    for (size_t i = 0; i < RM_COUNT(ops_rows) && row == NULL; i++)
        if (rm_slice_eq(head->path, ops_rows[i].path))
            row = &ops_rows[i];
    if (row == NULL || (body = malloc(sizeof *body)) == NULL)
        return false;
    rm_buf_init(body, ANSWER_MAX);
    http_req_accept(q, &ops, body);
    if (head->method != HTTP_GET && head->method != HTTP_HEAD) {
        answer_error(q, body, RM_ERR_METHOD, &allow);
        return true;
    }
    r = row->write(sources, body, &status);
    if (r < 0)
        answer_error(q, body, r, NULL);
    else
        http_reply_full(q, status, &no_store, 1, row->type,
                        (struct rm_slice){body->data, body->len});
    return true;
}
