/* SPDX-License-Identifier: MIT */
/* The node protocol's endpoints (proto/PROTOCOL.md): which path is which, bodies of bounded size,
 * answers from memory. Only the inventory reads the disk (in the thread pool) and only a forecast
 * asks a child. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/json_write.h"
#include "proto/base/log.h"
#include "proto/node/fields.h"
#include "worker/files.h"
#include "worker/memory/forecast.h"
#include "worker/memory/ledger.h"
#include "worker/metrics.h"
#include "worker/models/models.h"
#include "worker/worker.h"

enum {
    ERROR_MAX = 4096,
    MODELS_TEXT_MAX = 4 * 1024 * 1024,
    LEDGER_TEXT_MAX = 512 * 1024,
    LEDGER_PAGE_DEFAULT = 50
};

enum route { R_HEALTH, R_STATE, R_HOST, R_FORECAST, R_MODELS, R_LEDGER, R_METRICS, R_LOGS };

/* One request that is answered here. */
struct ask {
    struct worker *w;
    struct http_req *q; /* NULL: the client is gone */
    enum route route;
    char role[NODE_NAME_MAX];
    struct rm_buf body;
    bool done;    /* on_done came */
    bool waiting; /* for a forecast */
    /* the inventory */
    uv_work_t work;
    bool working;
    int list_err;
    struct model_list list;
};

/* ---- errors ---- */

static void error_json(struct rm_buf *out, int err, int status, const char *message)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    rm_jw_obj(&w, "error");
    rm_jw_str(&w, "message", message);
    rm_jw_str(&w, "type", status >= 500 ? "server_error" : "invalid_request_error");
    rm_jw_str(&w, "code", rm_err_code(err));
    rm_jw_end(&w);
    rm_jw_end(&w);
}

void api_error_body(void *arg, int err, const struct http_head *head, struct rm_buf *out)
{
    (void)arg, (void)head;
    error_json(out, err, rm_err_status(err), rm_strerror(err));
}

void api_reply_error(struct http_req *q, int err, int status, uint32_t retry_s, const char *message)
{
    char seconds[16];
    struct http_out_field retry;
    struct rm_buf body;

    status = status > 0 ? status : rm_err_status(err);
    snprintf(seconds, sizeof(seconds), "%u", retry_s);
    retry = (struct http_out_field){"Retry-After", rm_slice_of(seconds)};
    rm_buf_init(&body, ERROR_MAX);
    error_json(&body, err, status, message);
    http_reply_full(q, status, &retry, retry_s > 0 ? 1 : 0, "application/json",
                    (struct rm_slice){body.data, body.len});
    rm_buf_clear(&body);
}

static void reply_json(struct http_req *q, const struct rm_buf *body)
{
    http_reply_full(q, 200, NULL, 0, "application/json", (struct rm_slice){body->data, body->len});
}

static void reply_state(struct ask *a)
{
    struct rm_buf body;
    int r;

    rm_buf_init(&body, WORKER_STATE_MAX);
    if ((r = worker_encode_state(a->w, &body)) < 0)
        api_reply_error(a->q, r, 0, 0, rm_strerror(r));
    else
        reply_json(a->q, &body);
    rm_buf_clear(&body);
}

/* ---- hosts ---- */

static bool eat(struct rm_slice *path, const char *prefix)
{
    size_t n = strlen(prefix);

    if (path->n < n || memcmp(path->p, prefix, n) != 0)
        return false;
    path->p += n;
    path->n -= n;
    return true;
}

static int decode_desired(struct ask *a, struct desired_host *d)
{
    char why[128];
    int r = desired_host_decode((struct rm_slice){a->body.data, a->body.len}, d, why);

    if (r < 0)
        api_reply_error(a->q, r, 0, 0, why);
    return r;
}

static void reply_host_error(struct ask *a, int r)
{
    if (r == RM_ERR_NO_HOST)
        api_reply_error(a->q, r, 404, 0, "no such role is hosted here");
    else
        api_reply_error(a->q, r, 0, r == RM_ERR_DRAINING ? 5 : 0,
                        r == RM_ERR_OVERLOAD ? "too many roles on this node" : rm_strerror(r));
}

static void put_host(struct ask *a)
{
    struct desired_host d;
    int r;

    if (decode_desired(a, &d) < 0)
        return;
    if (strcmp(d.role, a->role) != 0)
        api_reply_error(a->q, RM_ERR_FIELD, 0, 0, "role: expected the one of the path");
    else if ((r = worker_put_host(a->w, &d)) < 0)
        reply_host_error(a, r);
    else
        reply_state(a);
}

/* The query of a DELETE: "epoch=N" and "save=0|1", each at most once. */
struct leave {
    bool has_epoch, has_save, save;
    uint64_t epoch;
};

static bool read_epoch(struct rm_slice v, struct leave *out)
{
    if (v.n < 1 || v.n > 16 || out->has_epoch)
        return false;
    out->has_epoch = true;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
        out->epoch = out->epoch * 10 + (uint64_t)(v.p[i] - '0');
    }
    return true;
}

static bool read_save(struct rm_slice v, struct leave *out)
{
    if (v.n != 1 || (v.p[0] != '0' && v.p[0] != '1') || out->has_save)
        return false;
    out->has_save = true;
    out->save = v.p[0] == '1';
    return true;
}

static bool read_pair(struct rm_slice pair, struct leave *out)
{
    struct rm_slice rest = pair;

    if (eat(&rest, "epoch="))
        return read_epoch(rest, out);
    return eat(&rest, "save=") && read_save(rest, out);
}

/* Returns 0 or RM_ERR_FIELD. */
static int read_leave(struct rm_slice query, struct leave *out)
{
    *out = (struct leave){.epoch = 0};
    while (query.n > 0) {
        const char *end = memchr(query.p, '&', query.n);
        size_t n = end != NULL ? (size_t)(end - query.p) : query.n;

        if (!read_pair((struct rm_slice){query.p, n}, out) || n + 1 == query.n)
            return RM_ERR_FIELD;
        query.p += end != NULL ? n + 1 : n;
        query.n -= end != NULL ? n + 1 : n;
    }
    return 0;
}

static void delete_host(struct ask *a)
{
    struct leave l;
    int r;

    if (read_leave(http_req_head(a->q)->query, &l) < 0)
        api_reply_error(a->q, RM_ERR_FIELD, 0, 0, "query: expected epoch=N, save=0 or save=1");
    else if ((r = worker_delete_host(a->w, rm_slice_of(a->role), l.has_epoch, l.epoch, l.save)) < 0)
        reply_host_error(a, r);
    else
        reply_state(a);
}

/* ---- forecast ---- */

static void ask_free(struct ask *a)
{
    if (!a->done || a->waiting || a->working)
        return;
    rm_buf_clear(&a->body);
    models_list_clear(&a->list);
    free(a);
}

static void reply_forecast(struct ask *a, const struct node_forecast *f)
{
    struct rm_buf body;
    int r;

    rm_buf_init(&body, ERROR_MAX);
    if ((r = node_forecast_encode(f, &body)) < 0)
        api_reply_error(a->q, r, 0, 0, rm_strerror(r));
    else
        reply_json(a->q, &body);
    rm_buf_clear(&body);
}

static void on_forecast(void *arg, const struct node_forecast *f)
{
    struct ask *a = arg;

    a->waiting = false;
    if (a->q != NULL)
        reply_forecast(a, f);
    ask_free(a);
}

static void post_forecast(struct ask *a)
{
    struct node_forecast unknown = {.known = false};
    struct desired_host d;
    int r;

    if (decode_desired(a, &d) < 0)
        return;
    if (d.engine != ENGINE_CORE) {
        reply_forecast(a, &unknown);
        return;
    }
    a->waiting = true;
    if ((r = forecaster_ask(a->w->forecaster, &d, on_forecast, a)) < 0) {
        a->waiting = false;
        api_reply_error(a->q, r, 0, 1, rm_strerror(r));
    }
}

/* ---- ledger ---- */

/* Digits only, an integer of a message. */
static bool query_number(struct rm_slice text, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(text.p[i] - '0');
    }
    return text.n >= 1 && text.n <= 16 && *out <= NODE_INT_MAX;
}

/* "after=ID&limit=N", either, in any order, once. */
static bool query_page(struct rm_slice query, uint64_t *after, uint64_t *limit)
{
    struct {
        const char *name;
        uint64_t *value;
        bool seen;
    } known[] = {{"after=", after, false}, {"limit=", limit, false}};

    while (query.n > 0) {
        const char *amp = memchr(query.p, '&', query.n);
        struct rm_slice part = {query.p, amp != NULL ? (size_t)(amp - query.p) : query.n};
        size_t i = 0;

        while (i < RM_COUNT(known) && (known[i].seen || part.n < strlen(known[i].name) ||
                                       memcmp(part.p, known[i].name, strlen(known[i].name)) != 0))
            i++;
        if (i == RM_COUNT(known))
            return false;
        known[i].seen = true;
        query.p += part.n + (amp != NULL);
        query.n -= part.n + (amp != NULL);
        part.p += strlen(known[i].name);
        part.n -= strlen(known[i].name);
        if (!query_number(part, known[i].value))
            return false;
    }
    return *limit >= 1 && *limit <= LEDGER_PAGE_MAX;
}

static void get_ledger(struct ask *a)
{
    uint64_t after = 0, limit = LEDGER_PAGE_DEFAULT;
    struct node_ledger page;
    struct rm_buf body;
    int r;

    if (!query_page(http_req_head(a->q)->query, &after, &limit)) {
        api_reply_error(a->q, RM_ERR_FIELD, 0, 0,
                        "query: expected after=ID, limit=N with 1 to 100");
        return;
    }
    rm_buf_init(&body, LEDGER_TEXT_MAX);
    ledger_page(a->w->ledger, after, (uint32_t)limit, &page);
    rm_text_copy(page.node, sizeof(page.node), a->w->opt.node);
    if ((r = node_ledger_encode(&page, &body)) < 0)
        api_reply_error(a->q, r, 0, 0, rm_strerror(r));
    else
        reply_json(a->q, &body);
    rm_buf_clear(&body);
}

static void get_metrics(struct ask *a)
{
    bool classic = rm_om_wants_classic(http_head_value(http_req_head(a->q), "Accept"));
    struct rm_buf body;
    struct rm_om om;
    int r, end;

    rm_buf_init(&body, METRICS_TEXT_MAX);
    rm_om_begin(&om, &body, classic);
    r = worker_put_metrics(a->w, &om);
    end = rm_om_end(&om);
    if (r < 0 || (r = end) < 0)
        api_reply_error(a->q, r, 0, 0, rm_strerror(r));
    else
        http_reply_full(a->q, 200, NULL, 0, classic ? RM_OM_TYPE_TEXT : RM_OM_TYPE,
                        (struct rm_slice){body.data, body.len});
    rm_buf_clear(&body);
}

/* ---- inventory ---- */

static void models_run(uv_work_t *work)
{
    struct ask *a = work->data;

    a->list_err = models_list(a->w->models_fd, &a->list);
}

/* Hashes are known of the files that are hosted. */
static void models_add_hashes(struct ask *a)
{
    const char *dir = a->w->opt.models_dir;
    struct node_host host;
    size_t n = strlen(dir);

    for (uint32_t i = 0; i < a->w->n_hosts; i++) {
        const char *path = host_model_path(a->w->hosts[i]);

        if (strncmp(path, dir, n) != 0 || path[n] != '/')
            continue;
        host_fill(a->w->hosts[i], &host);
        for (uint32_t k = 0; k < a->list.n; k++)
            if (strcmp(a->list.v[k].path, path + n + 1) == 0)
                memcpy(a->list.v[k].hash, host.model_hash, sizeof(host.model_hash));
    }
}

static void models_on_done(uv_work_t *work, int status)
{
    struct ask *a = work->data;
    struct rm_buf body;
    int r = status < 0 ? status : a->list_err;

    a->working = false;
    if (a->q != NULL) {
        rm_buf_init(&body, MODELS_TEXT_MAX);
        if (r == 0) {
            models_add_hashes(a);
            r = models_list_encode(&a->list, a->w->opt.models_dir, &body);
        }
        if (r < 0)
            api_reply_error(a->q, r, 0, 0, rm_strerror(r));
        else
            reply_json(a->q, &body);
        rm_buf_clear(&body);
    }
    ask_free(a);
}

static void get_models(struct ask *a)
{
    int r;

    a->work.data = a;
    a->working = true;
    if ((r = uv_queue_work(a->w->loop, &a->work, models_run, models_on_done)) < 0) {
        a->working = false;
        api_reply_error(a->q, r, 0, 0, rm_strerror(r));
    }
}

/* ---- a request's life ---- */

static void ask_on_body(struct http_req *q, const char *bytes, size_t n)
{
    struct ask *a = http_req_arg(q);

    if (rm_buf_put(&a->body, bytes, n) < 0) /* the server's limit is the same: no memory, then */
        http_reply_cut(q);
}

static void ask_on_end(struct http_req *q)
{
    struct ask *a = http_req_arg(q);
    bool draining = a->w->draining;

    switch (a->route) {
    case R_HEALTH:
        http_reply_full(q, draining ? 503 : 200, NULL, 0, "text/plain",
                        draining ? RM_LIT("stopping\n") : RM_LIT("ok\n"));
        break;
    case R_STATE:
        reply_state(a);
        break;
    case R_HOST:
        if (http_req_head(q)->method == HTTP_PUT)
            put_host(a);
        else
            delete_host(a);
        break;
    case R_FORECAST:
        post_forecast(a);
        break;
    case R_MODELS:
        get_models(a);
        break;
    case R_LEDGER:
        get_ledger(a);
        break;
    case R_LOGS:
        logs_answer(a->w, a->q);
        break;
    case R_METRICS:
        get_metrics(a);
        break;
    }
}

static void ask_on_gone(struct http_req *q, int why)
{
    struct ask *a = http_req_arg(q);

    (void)why;
    a->q = NULL;
}

static void ask_on_done(struct http_req *q)
{
    struct ask *a = http_req_arg(q);

    a->q = NULL;
    a->done = true;
    ask_free(a);
}

static const struct http_req_ops ask_ops = {
    .on_body = ask_on_body,
    .on_end = ask_on_end,
    .on_gone = ask_on_gone,
    .on_done = ask_on_done,
};

/* Requests that are answered without a look at their body. */
static void drop_on_done(struct http_req *q)
{
    (void)q;
}

static const struct http_req_ops drop_ops = {.on_done = drop_on_done};

void api_refuse(struct http_req *q, int err, const char *allow)
{
    struct http_out_field field = {"Allow", rm_slice_of(allow)};
    struct rm_buf body;

    http_req_set_body_limit(q, WORKER_BODY_MAX);
    http_req_accept(q, &drop_ops, NULL);
    rm_buf_init(&body, ERROR_MAX);
    error_json(&body, err, rm_err_status(err), rm_strerror(err));
    http_reply_full(q, rm_err_status(err), &field, allow != NULL ? 1 : 0, "application/json",
                    (struct rm_slice){body.data, body.len});
    rm_buf_clear(&body);
}

static void ask_start(struct worker *w, struct http_req *q, enum route route, struct rm_slice role)
{
    struct ask *a = calloc(1, sizeof(*a));

    if (a == NULL) {
        api_refuse(q, UV_ENOMEM, NULL);
        return;
    }
    a->w = w;
    a->q = q;
    a->route = route;
    memcpy(a->role, role.p != NULL ? role.p : "", role.n);
    rm_buf_init(&a->body, WORKER_BODY_MAX);
    http_req_set_body_limit(q, WORKER_BODY_MAX);
    http_req_accept(q, &ask_ops, a);
}

/* ---- routes ---- */

/* The bytes before the next '/' when they can be a role's name. */
static bool eat_role(struct rm_slice *path, struct rm_slice *role)
{
    size_t n = 0;

    while (n < path->n && path->p[n] != '/') {
        char c = path->p[n++];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-'))
            return false;
    }
    if (n == 0 || n >= NODE_NAME_MAX)
        return false;
    *role = (struct rm_slice){path->p, n};
    path->p += n;
    path->n -= n;
    return true;
}

static const struct {
    const char *path;
    enum http_method method;
    enum route route;
    const char *allow;
} routes[] = {
    {"/healthz", HTTP_GET, R_HEALTH, "GET, HEAD"},
    {"/node/v1/state", HTTP_GET, R_STATE, "GET, HEAD"},
    {"/node/v1/models", HTTP_GET, R_MODELS, "GET, HEAD"},
    {"/metrics", HTTP_GET, R_METRICS, "GET, HEAD"},
    {"/node/v1/ledger", HTTP_GET, R_LEDGER, "GET, HEAD"},
    {"/node/v1/logs", HTTP_GET, R_LOGS, "GET, HEAD"},
    {"/node/v1/forecast", HTTP_POST, R_FORECAST, "POST"},
};

static void route_fixed(struct worker *w, struct http_req *q, const struct http_head *head)
{
    for (size_t i = 0; i < RM_COUNT(routes); i++) {
        if (!rm_slice_eq(head->path, routes[i].path))
            continue;
        if (head->method == routes[i].method ||
            (routes[i].method == HTTP_GET && head->method == HTTP_HEAD))
            ask_start(w, q, routes[i].route, RM_LIT(""));
        else
            api_refuse(q, RM_ERR_METHOD, routes[i].allow);
        return;
    }
    api_refuse(q, RM_ERR_NOT_FOUND, NULL);
}

/* Browsers name the page with everything but GET and HEAD (Fetch, section 3.2), also when that
 * page's name was made to stand for this machine (DNS rebinding); gateways and tools never do. */
static bool is_from_a_page(const struct http_head *head)
{
    struct rm_slice site = http_head_value(head, "Sec-Fetch-Site");

    return head->method != HTTP_GET && head->method != HTTP_HEAD &&
           (http_head_find(head, "Origin") != NULL || (site.n > 0 && !rm_slice_eq(site, "none")));
}

/* A page that bound its own name to this machine, where only this machine asks. An address, or a
 * name without a dot ("localhost"), cannot be rebound; and Accept-Encoding, which no script can
 * take away (Fetch, section 2.2.2), is sent by browsers and not by gateways, which may come through
 * a tunnel. */
static bool is_rebound(const struct worker *w, const struct http_head *head)
{
    struct rm_slice path = head->path, host = head->host;
    const char *colon = host.n > 0 ? memchr(host.p, ':', host.n) : NULL;
    char name[16] = "";
    unsigned char ip[4];

    if (!eat(&path, "/node/v1/") || http_head_find(head, "Accept-Encoding") == NULL)
        return false;
    for (size_t i = 0; i < w->opt.n_listen; i++)
        if (!http_address_is_loopback(&w->opt.listen[i]))
            return false;
    host.n = colon != NULL ? (size_t)(colon - host.p) : host.n;
    if (host.n == 0 || memchr(host.p, '.', host.n) == NULL)
        return false;
    if (host.n < sizeof(name)) /* as long as an address may be */
        memcpy(name, host.p, host.n);
    return inet_pton(AF_INET, name, ip) != 1;
}

void api_on_request(void *arg, struct http_req *q)
{
    const struct http_head *head = http_req_head(q);
    struct rm_slice path = head->path, role;
    struct worker *w = arg;

    if (is_from_a_page(head)) {
        api_refuse(q, RM_ERR_FORBIDDEN, NULL);
    } else if (is_rebound(w, head)) {
        api_refuse(q, RM_ERR_MISDIRECTED, NULL);
    } else if (rm_slice_eq(path, "/node/v1/watch")) {
        if (head->method == HTTP_GET)
            watch_add(w->watch, q);
        else
            api_refuse(q, RM_ERR_METHOD, "GET");
    } else if (eat(&path, "/node/v1/run/")) {
        if (eat_role(&path, &role) && path.n > 1)
            run_on_request(w, q, role, path);
        else
            api_refuse(q, RM_ERR_NOT_FOUND, NULL);
    } else if (eat(&path, "/node/v1/files/")) {
        if (head->method == HTTP_GET || head->method == HTTP_HEAD)
            files_on_request(w->files, q, path);
        else
            api_refuse(q, RM_ERR_METHOD, "GET, HEAD");
    } else if (rm_slice_eq(path, "/node/v1/pulls") || eat(&path, "/node/v1/pulls/")) {
        pulls_on_request(w, q, path.p == head->path.p ? RM_LIT("") : path);
    } else if (eat(&path, "/node/v1/hosts/")) {
        if (!eat_role(&path, &role) || path.n > 0)
            api_refuse(q, RM_ERR_NOT_FOUND, NULL);
        else if (head->method != HTTP_PUT && head->method != HTTP_DELETE)
            api_refuse(q, RM_ERR_METHOD, "PUT, DELETE");
        else
            ask_start(w, q, R_HOST, role);
    } else {
        route_fixed(w, q, head);
    }
}
