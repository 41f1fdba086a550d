/* SPDX-License-Identifier: MIT */
/* gateway/ops/routes.c - every route of the ops API, once, and how a path finds its row.
 * routes_test.c holds the table against proto/openapi.yaml. */
#include <stdio.h>

#include "gateway/ops/ops_impl.h"

#define PAGE "limit", "cursor"

static const char metrics_type[] = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/* clang-format off */
const struct ops_route ops_routes[] = {
    {HTTP_GET,  "/api/v1/decisions",    OPS_USER,  NULL, ops_take_decisions, NULL, {PAGE, "role", "node", "request", "since", "until"}},
    {HTTP_GET,  "/api/v1/events",       OPS_USER,  ops_get_events,  ops_follow_events, NULL, {PAGE, "severity=info|warning|error", "kind", "subject", "since", "until", "live=0|1"}},
    {HTTP_GET,  "/api/v1/history",      OPS_USER,  NULL, ops_take_history, NULL, {"metric=requests|errors|tokens_in|tokens_cached|tokens_out|ttft_ms|queue_ms|duration_ms|memory_used|memory_committed|memory_budget|slots_busy|cpu_percent|gpu_percent", "node", "role", "by=none|node|role", "range=1h|24h|30d"}},
    {HTTP_GET,  "/api/v1/hosts",        OPS_USER,  ops_get_hosts,   NULL, NULL, {PAGE, "role", "node", "state=absent|fetching|loading|warming|ready|busy|draining|failed"}},
    {HTTP_POST, "/api/v1/hosts/{role}/{node}/drain", OPS_ADMIN, ops_operate_host, NULL, NULL, {NULL}},
    {HTTP_POST, "/api/v1/hosts/{role}/{node}/evict", OPS_ADMIN, ops_operate_host, NULL, NULL, {NULL}},
    {HTTP_POST, "/api/v1/hosts/{role}/{node}/load", OPS_ADMIN, ops_operate_host, NULL, NULL, {NULL}},
    {HTTP_POST, "/api/v1/hosts/{role}/{node}/undrain", OPS_ADMIN, ops_operate_host, NULL, NULL, {NULL}},
    {HTTP_POST, "/api/v1/hosts/{role}/{node}/unload", OPS_ADMIN, ops_operate_host, NULL, NULL, {NULL}},
    {HTTP_GET,  "/api/v1/keys",         OPS_ADMIN, ops_get_keys,    NULL, NULL, {PAGE, "name", "state=live|expired|revoked"}},
    {HTTP_POST, "/api/v1/keys",         OPS_ADMIN, NULL, ops_post_key,    NULL, {NULL}},
    {HTTP_DELETE, "/api/v1/keys/{id}",  OPS_ADMIN, NULL, ops_revoke_key,  NULL, {NULL}},
    {HTTP_POST, "/api/v1/keys/{id}/rotate", OPS_ADMIN, NULL, ops_rotate_key, NULL, {NULL}},
    {HTTP_GET,  "/api/v1/ledger",       OPS_USER,  NULL, ops_take_ledger, NULL, {PAGE, "node", "model"}},
    {HTTP_GET,  "/api/v1/logs",         OPS_ADMIN, NULL, ops_take_logs,   NULL, {PAGE, "node", "level=error|warn|info|debug", "engine", "after"}},
    {HTTP_GET,  "/api/v1/map",          OPS_USER,  ops_get_map,     NULL, NULL, {NULL}},
    {HTTP_GET,  "/api/v1/map/text",     OPS_ADMIN, NULL, ops_take_map_text, NULL, {NULL}},
    {HTTP_POST, "/api/v1/map",          OPS_ADMIN, NULL, ops_post_map,    NULL, {"dry_run=0|1"}},
    {HTTP_GET,  "/api/v1/models",       OPS_USER,  NULL, ops_take_models, NULL, {PAGE, "name", "role", "node"}},
    {HTTP_GET,  "/api/v1/nodes",        OPS_USER,  ops_get_nodes,   NULL, NULL, {PAGE, "health=up|suspect|down"}},
    {HTTP_GET,  "/api/v1/nodes/{node}", OPS_USER,  ops_get_node,    NULL, NULL, {NULL}},
    {HTTP_POST, "/api/v1/nodes/{node}/drain", OPS_ADMIN, ops_operate_node, NULL, NULL, {NULL}},
    {HTTP_POST, "/api/v1/nodes/{node}/undrain", OPS_ADMIN, ops_operate_node, NULL, NULL, {NULL}},
    {HTTP_GET,  "/api/v1/plan",         OPS_USER,  NULL, ops_take_plan,   NULL, {NULL}},
    {HTTP_POST, "/api/v1/plan",         OPS_ADMIN, NULL, ops_post_plan,   NULL, {NULL}},
    {HTTP_GET,  "/api/v1/pulls",        OPS_USER,  ops_get_pulls,   NULL, NULL, {PAGE, "node", "state=queued|running|verifying|done|failed|cancelled"}},
    {HTTP_POST, "/api/v1/pulls",        OPS_ADMIN, NULL, ops_post_pull,   NULL, {NULL}},
    {HTTP_DELETE, "/api/v1/pulls/{node}/{id}", OPS_ADMIN, NULL, ops_cancel_pull, NULL, {NULL}},
    {HTTP_GET,  "/api/v1/queue",        OPS_USER,  ops_get_queue,   NULL, NULL, {PAGE, "role", "mode"}},
    {HTTP_POST, "/api/v1/reload",       OPS_ADMIN, NULL, ops_post_reload, NULL, {NULL}},
    {HTTP_GET,  "/api/v1/requests",     OPS_USER,  ops_get_requests, NULL, NULL, {PAGE, "role", "mode", "node", "state=waiting|running|done", "outcome=ok|refused|failed|broken|gone", "since", "until"}},
    {HTTP_GET,  "/api/v1/requests/{id}", OPS_USER, ops_get_request, ops_recall_request, NULL, {NULL}},
    {HTTP_GET,  "/api/v1/requests/{id}/why", OPS_USER, ops_get_why, ops_recall_why, NULL, {NULL}},
    {HTTP_DELETE, "/api/v1/requests/{id}", OPS_ADMIN, ops_cancel_request, NULL, NULL, {NULL}},
    {HTTP_GET,  "/api/v1/roles",        OPS_USER,  ops_get_roles,   NULL, NULL, {PAGE, "mode", "model", "lane=autocomplete|interactive|batch"}},
    {HTTP_GET,  "/api/v1/roles/{role}", OPS_USER,  ops_get_role,    NULL, NULL, {NULL}},
    {HTTP_GET,  "/api/v1/session",      OPS_OPEN,  ops_get_session, NULL, NULL, {NULL}},
    {HTTP_POST, "/api/v1/session",      OPS_OPEN,  NULL, ops_post_session, NULL, {NULL}},
    {HTTP_DELETE, "/api/v1/session",    OPS_OPEN,  NULL, ops_delete_session, NULL, {NULL}},
    {HTTP_GET,  "/api/v1/status",       OPS_USER,  ops_get_status,  NULL, NULL, {NULL}},
    {HTTP_GET,  "/api/v1/usage",        OPS_USER,  NULL, ops_take_usage,  NULL, {"by=role|key|node|mode", "per=hour|day", "since", "until"}},
    {HTTP_GET,  "/healthz",             OPS_OPEN,  ops_get_health,  NULL, NULL, {NULL}},
    {HTTP_GET,  "/metrics",             OPS_SCRAPE, ops_get_metrics, NULL, metrics_type, {NULL}},
    {HTTP_GET,  "/readyz",              OPS_OPEN,  ops_get_ready,   NULL, NULL, {NULL}},
};
/* clang-format on */
const size_t ops_n_routes = RM_COUNT(ops_routes);

static struct rm_slice segment(struct rm_slice *left)
{
    const char *slash = left->n > 0 ? memchr(left->p, '/', left->n) : NULL;
    size_t n = slash != NULL ? (size_t)(slash - left->p) : left->n;
    struct rm_slice s = {left->p, n};

    n += slash != NULL;
    *left = (struct rm_slice){left->p + n, left->n - n};
    return s;
}

static bool matches(const char *pattern, struct rm_slice path, struct rm_slice part[OPS_PARTS])
{
    struct rm_slice want = rm_slice_of(pattern);
    size_t n = 0;

    if (path.n > 0 && path.p[path.n - 1] == '/')
        return false;
    while (want.n > 0 && path.n > 0) {
        struct rm_slice w = segment(&want), s = segment(&path);

        if (w.n > 0 && w.p[0] == '{') {
            if (s.n == 0 || n == OPS_PARTS)
                return false;
            part[n++] = s;
        } else if (s.n != w.n || (s.n > 0 && memcmp(s.p, w.p, s.n) != 0)) {
            return false;
        }
    }
    return want.n == 0 && path.n == 0;
}

static void allow_add(char *allow, size_t size, enum http_method method)
{
    static const char *const names[] = {[HTTP_GET] = "GET, HEAD",
                                        [HTTP_POST] = "POST",
                                        [HTTP_PUT] = "PUT",
                                        [HTTP_DELETE] = "DELETE"};
    size_t n = strlen(allow);

    snprintf(allow + n, size - n, "%s%s", n > 0 ? ", " : "", names[method]);
}

const struct ops_route *ops_route_of(enum http_method method, struct rm_slice path,
                                     struct rm_slice part[OPS_PARTS], char *allow, size_t size)
{
    allow[0] = '\0';
    method = method == HTTP_HEAD ? HTTP_GET : method;
    for (size_t i = 0; i < ops_n_routes; i++) {
        if (!matches(ops_routes[i].path, path, part))
            continue;
        if (ops_routes[i].method == method)
            return &ops_routes[i];
        allow_add(allow, size, ops_routes[i].method);
    }
    return NULL;
}
