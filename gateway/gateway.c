/* SPDX-License-Identifier: MIT */
#include "gateway/gateway.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "gateway/drive/drive.h"
#include "gateway/front/front.h"
#include "gateway/front/record.h"
#include "gateway/keys/keys.h"
#include "gateway/map/keeper.h"
#include "gateway/map/text.h"
#include "gateway/metrics.h"
#include "gateway/ops/ops.h"
#include "gateway/ops/pages.h"
#include "gateway/route/route.h"
#include "gateway/trial.h"
#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/base/log_ring.h"
#include "proto/base/state_dir.h"
#include "proto/http/server.h"

enum { REPORT_MAX = 64 * 1024, LAG_WARN_MS = 50, LAG_TICK_MS = 100, DRAIN_TICK_MS = 100 };

struct gateway {
    uv_loop_t loop;
    const struct gateway_options *options;
    struct role_map *map; /* a reference */
    struct route *route;
    struct drive *drive;
    struct front *front;
    struct keys *keys;
    struct http_server *server;
    struct map_keeper *keeper;
    struct ops *ops;
    char state_dir[RM_STATE_DIR_MAX]; /* "": there is none */
    uv_signal_t on_term, on_int, on_hup;
    uv_timer_t lag, drain;
    uint64_t started_ms;
    uint64_t drain_until_ms;
    struct rm_lag late;
    bool draining, stopping;
};

/* ---- sources of the ops routes ---- */

static int source_nodes(void *arg, struct rm_buf *out)
{
    return route_write_nodes(((struct gateway *)arg)->route, out);
}

static void role_figures(void *arg, const char *role, struct rm_jw *w)
{
    front_put_role(((struct gateway *)arg)->front, role, w);
}

static int source_roles(void *arg, struct rm_buf *out)
{
    const struct gateway *g = arg;

    return route_write_roles(g->route, role_figures, arg, out);
}

static int source_hosts(void *arg, struct rm_buf *out)
{
    return route_write_hosts(((struct gateway *)arg)->route, out);
}

static int source_status(void *arg, struct rm_buf *out)
{
    const struct gateway *g = arg;
    struct drive_status d;
    struct rm_jw w = rm_jw_to(out);
    int r;

    drive_status(g->drive, &d);
    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "version", RM_VERSION);
    rm_jw_u64(&w, "uptime_ms", rm_now_ms() - g->started_ms);
    rm_jw_u64(&w, "epoch", d.epoch);
    rm_jw_bool(&w, "fenced", d.fenced);
    rm_jw_bool(&w, "settled", d.settled);
    rm_jw_bool(&w, "draining", g->draining);
    rm_jw_str(&w, "revision", map_keeper_revision(g->keeper));
    rm_jw_u64(&w, "requests", front_active(g->front));
    rm_jw_end(&w);
    if (rm_jw_done(&w) < 0)
        return rm_jw_done(&w);
    out->data[--out->len] = '\0'; /* the closing brace */
    r = rm_buf_puts(out, ",\"alarms\":");
    if (r == 0)
        r = ops_write_alarms(g->ops, out);
    return r == 0 ? rm_buf_puts(out, "}") : r;
}

static int source_requests(void *arg, struct rm_buf *out)
{
    return front_write_requests(((struct gateway *)arg)->front, out);
}

static int source_queue(void *arg, struct rm_buf *out)
{
    return front_write_queue(((struct gateway *)arg)->front, out);
}

static int source_request(void *arg, const char *id, struct rm_buf *out)
{
    return front_write_request(((struct gateway *)arg)->front, id, out);
}

static int source_why(void *arg, const char *id, struct rm_buf *out)
{
    return front_write_why(((struct gateway *)arg)->front, id, out);
}

static int source_cancel(void *arg, const char *id)
{
    return front_cancel(((struct gateway *)arg)->front, id);
}

static int source_shortfalls(void *arg, struct rm_buf *out)
{
    return drive_write_shortfalls(((struct gateway *)arg)->drive, out);
}

static int source_pulls(void *arg, struct rm_buf *out)
{
    return drive_write_pulls(((struct gateway *)arg)->drive, out);
}

static int source_pull(void *arg, const char *node, const struct node_pull_wish *wish,
                       ops_pull_fn *on_answer, void *answer_arg, char *why)
{
    struct gateway *g = arg;

    if (g->draining)
        return RM_ERR_DRAINING;
    return drive_pull(g->drive, node, wish, on_answer, answer_arg, why);
}

static int source_cancel_pull(void *arg, const char *node, const char *id, ops_pull_fn *on_answer,
                              void *answer_arg, char *why)
{
    return drive_cancel_pull(((struct gateway *)arg)->drive, node, id, on_answer, answer_arg, why);
}

static int source_map(void *arg, struct rm_buf *out)
{
    return map_keeper_write(((struct gateway *)arg)->keeper, out);
}

static int source_map_text(void *arg, ops_text_fn on_text, void *text_arg)
{
    struct gateway *g = arg;

    return map_text_read(&g->loop, g->options->role_map, on_text, text_arg);
}

static int source_offer(void *arg, const struct ops_offer *o, ops_answer_fn on_answer,
                        void *answer_arg)
{
    struct gateway *g = arg;
    struct map_offer offer = {.bytes = o->body.p,
                              .n = o->body.n,
                              .name = o->name,
                              .expect = o->expect,
                              .dry_run = o->dry_run};

    if (g->draining)
        return RM_ERR_DRAINING;
    return map_keeper_offer(g->keeper, &offer, on_answer, answer_arg);
}

static int source_reload(void *arg, ops_answer_fn on_answer, void *answer_arg)
{
    struct gateway *g = arg;

    if (g->draining)
        return RM_ERR_DRAINING;
    keys_reload(g->keys);
    return map_keeper_reload_for(g->keeper, on_answer, answer_arg);
}

static int source_operate(void *arg, enum ops_act act, const char *role, const char *node,
                          const char *by, char *text, size_t n)
{
    static const enum drive_order orders[] = {
        [OPS_LOAD] = DRIVE_ORDER_LOAD,   [OPS_UNLOAD] = DRIVE_ORDER_UNLOAD,
        [OPS_DRAIN] = DRIVE_ORDER_DRAIN, [OPS_UNDRAIN] = DRIVE_ORDER_UNDRAIN,
        [OPS_EVICT] = DRIVE_ORDER_EVICT,
    };
    struct gateway *g = arg;

    if (g->draining)
        return RM_ERR_DRAINING;
    if (role == NULL)
        return drive_operate_node(g->drive, node, act == OPS_DRAIN, by, text, n);
    return drive_operate_host(g->drive, role, node, orders[act], by, text, n);
}

static int source_try_map(void *arg, const struct ops_offer *o, ops_answer_fn on_answer,
                          void *answer_arg)
{
    struct gateway *g = arg;

    if (g->draining)
        return RM_ERR_DRAINING;
    return trial_begin(g->keeper, g->drive, o, on_answer, answer_arg);
}

static void *source_copy_decisions(void *arg)
{
    return front_copy_all_decisions(((struct gateway *)arg)->front);
}

static struct role_map *source_role_map(void *arg)
{
    return ((struct gateway *)arg)->map;
}

static int source_ask_node(void *arg, const char *node, const char *target, ops_node_fn on_answer,
                           void *answer_arg)
{
    return drive_get(((struct gateway *)arg)->drive, node, target, on_answer, answer_arg);
}

static int source_plans(void *arg, ops_text_fn on_text, void *text_arg)
{
    return drive_ask_plans(((struct gateway *)arg)->drive, on_text, text_arg);
}

static void source_metrics(void *arg, struct rm_om *om)
{
    const struct gateway *g = arg;
    struct gateway_figures f = {
        .lag = &g->late, .uptime_ms = rm_now_ms() - g->started_ms, .draining = g->draining};

    http_server_stats(g->server, &f.server);
    map_keeper_stats(g->keeper, &f.maps);
    gateway_write_metrics(&f, om);
    front_write_metrics(g->front, om);
    ops_write_metrics(g->ops, om);
    route_write_metrics(g->route, om);
    drive_write_metrics(g->drive, om);
}

static const char *source_not_ready(void *arg)
{
    struct gateway *g = arg;

    if (g->draining)
        return "shutting down";
    return drive_is_settled(g->drive) ? NULL : "waiting for the first word of the nodes";
}

/* A request is over: to the history. */
static void gateway_on_over(void *arg, const struct record *r)
{
    struct gateway *g = arg;
    struct ops_done d = {.at_ms = r->at_ms,
                         .status = r->status,
                         .tries = r->tries,
                         .prompt_tokens = r->prompt_tokens,
                         .cached_tokens = r->cached_tokens,
                         .completion_tokens = r->completion_tokens,
                         .queue_ms = r->queue_ms,
                         .ttft_ms = r->ttft_ms,
                         .duration_ms = r->ended_ms - r->began_ms,
                         .bytes_in = r->bytes_in,
                         .bytes_out = r->bytes_out,
                         .seq = r->seq,
                         .known = (r->leased ? OPS_LEASED : 0) | (r->answered ? OPS_ANSWERED : 0),
                         .rewrites = front_rewrites(r)};

    rm_text_copy(d.id, sizeof d.id, r->id);
    rm_text_copy(d.key, sizeof d.key, r->key_id);
    rm_text_copy(d.key_name, sizeof d.key_name, r->key_name);
    rm_text_copy(d.role, sizeof d.role, r->role);
    rm_text_copy(d.served, sizeof d.served, r->served);
    rm_text_copy(d.mode, sizeof d.mode, r->mode);
    rm_text_copy(d.node, sizeof d.node, r->node);
    rm_text_copy(d.dialect, sizeof d.dialect, r->dialect);
    rm_text_copy(d.outcome, sizeof d.outcome, metrics_outcome_name(r->outcome));
    rm_text_copy(d.error, sizeof d.error, r->code);
    d.why = front_copy_decisions(g->front, r);
    d.why_write = front_decisions_write;
    ops_request_done(g->ops, &d);
}

static void gateway_on_request(void *arg, struct http_req *q)
{
    struct gateway *g = arg;

    if (!ops_on_request(g->ops, q) && !pages_on_request(q))
        front_on_request(g->front, q);
}

/* ---- the role map ---- */

static void print_report(const struct conf_report *report)
{
    struct rm_buf text;

    rm_buf_init(&text, REPORT_MAX);
    if (conf_report_text(report, &text) == 0 && text.len > 0)
        fwrite(text.data, 1, text.len, stderr);
    rm_buf_clear(&text);
}

/* The first one; there is no loop yet. revision: of its bytes. */
static int read_map(const struct gateway *g, char revision[MAP_REVISION], struct role_map **out)
{
    struct conf_report report;
    int r;

    conf_report_init(&report);
    report.keyed = keys_exist(g->keys);
    r = map_file_load(g->options->role_map, &report, revision, out);
    if (r < 0)
        print_report(&report);
    conf_report_clear(&report);
    return r;
}

/* A checked map for every module; when one cannot take it, all have the one before. */
static int gateway_apply(void *arg, struct role_map *map)
{
    struct gateway *g = arg;
    int r;

    route_set_map(g->route, map); /* first: drive tells it the way to nodes that are new */
    if ((r = drive_set_map(g->drive, map)) < 0) {
        route_set_map(g->route, g->map);
        return r;
    }
    front_set_map(g->front, map);
    if (g->options->log_level < 0)
        rm_log_set_level((enum rm_log_level)map->gateway.log_level);
    role_map_unref(g->map);
    g->map = role_map_ref(map);
    return 0;
}

static void gateway_each_host(void *arg,
                              void (*on_host)(void *on_arg, const char *role, const char *node),
                              void *on_arg)
{
    route_each_host(((struct gateway *)arg)->route, on_host, on_arg);
}

/* ---- stop ---- */

/* What was started, also when the start stopped half way: the server is closed already. */
static void gateway_close_modules(void *arg)
{
    struct gateway *g = arg;

    g->stopping = true;
    if (g->front != NULL)
        front_on_over(g->front, NULL, NULL);
    ops_close(g->ops);
    map_keeper_close(g->keeper);
    keys_close(g->keys);
    front_close(g->front, NULL, NULL);
    drive_close(g->drive);
    route_free(g->route);
}

static void gateway_on_server_closed(void *arg)
{
    struct gateway *g = arg;

    gateway_close_modules(g);
    uv_close((uv_handle_t *)&g->on_term, NULL);
    uv_close((uv_handle_t *)&g->on_int, NULL);
    uv_close((uv_handle_t *)&g->on_hup, NULL);
    uv_close((uv_handle_t *)&g->lag, NULL);
    uv_close((uv_handle_t *)&g->drain, NULL);
}

static void gateway_stop(struct gateway *g)
{
    if (g->stopping)
        return;
    g->stopping = true;
    http_server_close(g->server, gateway_on_server_closed, g);
}

static void gateway_on_drain(uv_timer_t *timer)
{
    struct gateway *g = timer->data;
    uint32_t active = front_active(g->front);

    if (active > 0 && rm_now_ms() < g->drain_until_ms)
        return;
    rm_info("gateway", "stopping", RM_U("cut_requests", active));
    gateway_stop(g);
}

static void gateway_on_stop_signal(uv_signal_t *handle, int number)
{
    struct gateway *g = handle->data;

    if (g->draining) {
        rm_warn("gateway", "second signal: stopping at once", RM_I("signal", number));
        gateway_stop(g);
        return;
    }
    g->draining = true;
    g->drain_until_ms = rm_now_ms() + g->map->gateway.drain_deadline_ms;
    rm_info("gateway", "draining", RM_I("signal", number), RM_U("requests", front_active(g->front)),
            RM_U("deadline_ms", g->map->gateway.drain_deadline_ms));
    route_set_draining(g->route);
    ops_drain(g->ops);
    http_server_drain(g->server);
    uv_timer_start(&g->drain, gateway_on_drain, 0, DRAIN_TICK_MS);
}

static void gateway_on_hup(uv_signal_t *handle, int number)
{
    struct gateway *g = handle->data;

    (void)number;
    keys_reload(g->keys);
    map_keeper_reload(g->keeper);
}

/* How late the loop is: a timer that should fire every 100 ms. */
static void gateway_on_lag(uv_timer_t *timer)
{
    struct gateway *g = timer->data;
    uint64_t late = rm_lag_tick(&g->late, rm_now_us(), LAG_TICK_MS * 1000u);

    if (late > LAG_WARN_MS * 1000u)
        rm_warn("gateway", "the loop was late", RM_F("ms", (double)late / 1000));
}

/* ---- keys ---- */

/* Keys guard other addresses than loopback, too. */
static void gateway_on_keys(void *arg, bool exist)
{
    map_keeper_set_keyed(((struct gateway *)arg)->keeper, exist);
}

/* May anybody use what listens, while there is no key? */
static bool may_be_open(const struct role_map *map)
{
    for (size_t i = 0; i < map->gateway.listen.n; i++)
        if (!map->gateway.listen.item[i].loopback)
            return map->gateway.listen_without_keys;
    return true;
}

/* The state directory and the keys in it. Without the former there are none; a ring that cannot be
 * read ends the start. */
static int open_keys(struct gateway *g)
{
    char why[KEYRING_WHY_MAX];
    int r = 0;

    if (g->options->state_dir != NULL)
        rm_text_copy(g->state_dir, sizeof g->state_dir, g->options->state_dir);
    else
        r = rm_state_dir_default("gateway", g->state_dir);
    if (r == 0 && (r = rm_state_dir_make(g->state_dir)) < 0)
        rm_warn("gateway", "no state directory: nothing is kept", RM_S("dir", g->state_dir),
                RM_E("error", r));
    if (r < 0)
        g->state_dir[0] = '\0';
    if ((r = keys_open(&g->loop, g->state_dir, &g->keys, why)) < 0)
        fprintf(stderr, "rolemesh-gateway: %s\n", why);
    return r;
}

/* The answer may come when the keys are closed already: the history ends after them. */
static void gateway_on_usage(void *arg, int err, struct rm_slice json)
{
    struct gateway *g = arg;

    if (err == 0 && !g->stopping)
        keys_restore(g->keys, json);
}

/* A day's budget outlives a restart, where there is a history. */
static void restore_limits(struct gateway *g)
{
    enum { DAY_S = 24 * 3600 };
    int64_t midnight_s = rm_wall_s() / DAY_S * DAY_S;

    if (keys_exist(g->keys) &&
        ops_ask_usage_of_keys(g->ops, midnight_s * 1000, gateway_on_usage, g) < 0)
        rm_warn("gateway", "what keys used today before this start is not known");
}

/* ---- start ---- */

static int listen_all(struct gateway *g)
{
    FILE *f = NULL;
    int r = 0;

    if (g->options->addr_file != NULL && (f = fopen(g->options->addr_file, "w")) == NULL) {
        fprintf(stderr, "rolemesh-gateway: %s: %s\n", g->options->addr_file, strerror(errno));
        return -1;
    }
    for (size_t i = 0; r == 0 && i < g->map->gateway.listen.n; i++) {
        const struct conf_addr *a = &g->map->gateway.listen.item[i];
        struct http_address want = {.port = a->port}, bound;
        char text[HTTP_ADDRESS_TEXT];

        snprintf(want.host, sizeof want.host, "%s", a->host);
        r = http_server_listen(g->server, &want, &bound);
        http_address_text(r < 0 ? &want : &bound, text);
        if (r < 0)
            fprintf(stderr,
                    "rolemesh-gateway: cannot listen on %s: %s; change gateway.listen in %s or "
                    "free the address\n",
                    text, uv_strerror(r), g->options->role_map);
        else
            rm_info("gateway", "listening", RM_S("address", text));
        if (r == 0 && f != NULL)
            fprintf(f, "%s\n", text);
    }
    if (f != NULL)
        fclose(f);
    return r;
}

static uint64_t new_epoch(void)
{
    struct timeval now;

    gettimeofday(&now, NULL);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
}

static int gateway_start_modules(struct gateway *g, const char *revision)
{
    struct http_server_conf conf = http_server_conf_default;
    struct map_keeper_conf keeper = {.path = g->options->role_map,
                                     .apply = gateway_apply,
                                     .each_host = gateway_each_host,
                                     .arg = g};
    struct ops_sources sources;
    int r;

    g->started_ms = rm_now_ms();
    conf.on_request = gateway_on_request;
    conf.error_body = front_error_body;
    conf.max_connections = g->map->gateway.connections_max;
    conf.limits.body_bytes = g->map->gateway.body_max_bytes;
    conf.arg = g;
    if ((r = http_server_new(&g->loop, &conf, &g->server)) < 0 ||
        (r = route_new(&g->loop, g->map, &g->route)) < 0 ||
        (r = drive_new(&g->loop, g->map, g->route, new_epoch(), &g->drive)) < 0 ||
        (r = front_new(&g->loop, g->map, g->route, NULL, &g->front)) < 0 ||
        (r = map_keeper_new(&g->loop, &keeper, g->map, revision, &g->keeper)) < 0) {
        fprintf(stderr, "rolemesh-gateway: %s\n", rm_strerror(r));
        return r;
    }
    drive_keep_in(g->drive, g->state_dir);
    keys_may_be_open(g->keys, may_be_open(g->map));
    map_keeper_set_keyed(g->keeper, keys_exist(g->keys));
    keys_watch(g->keys, gateway_on_keys, g);
    front_set_keys(g->front, g->keys);
    sources = (struct ops_sources){.arg = g,
                                   .state_dir = g->state_dir,
                                   .keys = g->keys,
                                   .nodes = source_nodes,
                                   .roles = source_roles,
                                   .hosts = source_hosts,
                                   .requests = source_requests,
                                   .queue = source_queue,
                                   .request = source_request,
                                   .cancel = source_cancel,
                                   .why = source_why,
                                   .status = source_status,
                                   .shortfalls = source_shortfalls,
                                   .pulls = source_pulls,
                                   .pull = source_pull,
                                   .cancel_pull = source_cancel_pull,
                                   .metrics = source_metrics,
                                   .map = source_map,
                                   .map_text = source_map_text,
                                   .offer = source_offer,
                                   .reload = source_reload,
                                   .operate = source_operate,
                                   .plans = source_plans,
                                   .copy_decisions = source_copy_decisions,
                                   .write_decisions = front_all_decisions_write,
                                   .role_map = source_role_map,
                                   .ask_node = source_ask_node,
                                   .try_map = source_try_map,
                                   .not_ready = source_not_ready};
    if ((r = ops_new(&g->loop, &sources, &g->ops)) < 0) {
        fprintf(stderr, "rolemesh-gateway: %s\n", rm_strerror(r));
        return r;
    }
    if (ops_keeps_history(g->ops))
        front_on_over(g->front, gateway_on_over, g);
    restore_limits(g);
    return listen_all(g);
}

static void watch_signal(struct gateway *g, uv_signal_t *handle, int number, uv_signal_cb cb)
{
    uv_signal_init(&g->loop, handle);
    handle->data = g;
    uv_signal_start(handle, cb, number);
}

static void start_clocks(struct gateway *g)
{
    watch_signal(g, &g->on_term, SIGTERM, gateway_on_stop_signal);
    watch_signal(g, &g->on_int, SIGINT, gateway_on_stop_signal);
    watch_signal(g, &g->on_hup, SIGHUP, gateway_on_hup);
    uv_timer_init(&g->loop, &g->lag);
    uv_timer_init(&g->loop, &g->drain);
    g->lag.data = g->drain.data = g;
    uv_timer_start(&g->lag, gateway_on_lag, LAG_TICK_MS, LAG_TICK_MS);
}

int gateway_run(const struct gateway_options *options)
{
    struct gateway g = {.options = options};
    char revision[MAP_REVISION];
    int r, exit_status = 0;

    signal(SIGPIPE, SIG_IGN);
    if (options->log_level >= 0)
        rm_log_set_level((enum rm_log_level)options->log_level);
    if ((r = rm_log_ring_open()) < 0)
        rm_warn("gateway", "log lines are not kept", RM_E("error", r));
    if ((r = uv_loop_init(&g.loop)) < 0) {
        fprintf(stderr, "rolemesh-gateway: %s\n", uv_strerror(r));
        return 2;
    }
    if (open_keys(&g) < 0 || read_map(&g, revision, &g.map) < 0) {
        keys_close(g.keys);
        uv_run(&g.loop, UV_RUN_DEFAULT);
        uv_loop_close(&g.loop);
        return 2;
    }
    if (options->log_level < 0)
        rm_log_set_level((enum rm_log_level)g.map->gateway.log_level);
    if (gateway_start_modules(&g, revision) == 0) {
        start_clocks(&g);
        rm_info("gateway", "started", RM_S("version", RM_VERSION),
                RM_S("role_map", options->role_map), RM_U("roles", g.map->n_roles),
                RM_U("nodes", g.map->n_nodes));
    } else { /* it has said why; the loop below only ends what was begun */
        exit_status = 2;
        if (g.server != NULL)
            http_server_close(g.server, gateway_close_modules, &g);
        else
            gateway_close_modules(&g);
    }
    uv_run(&g.loop, UV_RUN_DEFAULT);
    r = uv_loop_close(&g.loop);
    if (r < 0)
        rm_error("gateway", "handles were left open", RM_E("error", r));
    role_map_unref(g.map);
    if (exit_status == 0)
        rm_info("gateway", "stopped");
    return exit_status;
}
