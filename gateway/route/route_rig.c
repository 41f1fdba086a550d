/* SPDX-License-Identifier: MIT */
/* gateway/route/route_rig.c - see route_rig.h. */
#include "gateway/route/route_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

static const char default_map[] =
    "version: 1\n"
    "gateway: { listen: [\"127.0.0.1:0\"] }\n"
    "nodes:\n"
    "  a: { address: \"127.0.0.1:1\" }\n"
    "  b: { address: \"127.0.0.1:2\" }\n"
    "models:\n"
    "  m: { source: /models/m.gguf }\n"
    "roles:\n"
    "  code: { modes: [code], model: m, slots: 1, replicas: 2, queue_max: "
    "2, queue_deadline: 30s, fallback: [ask] }\n"
    "  ask: { modes: [ask], model: m, slots: 2 }\n"
    "  think: { modes: [think], model: m, slots: 1, residency: on-demand, queue_deadline: 30s, "
    "queue_max: 4 }\n";

static uint64_t rig_clock(void *arg)
{
    return ((struct rig *)arg)->now_us;
}

static void quiet(void *arg, const char *line)
{
    (void)arg;
    (void)line;
}

struct rig *rig_open(const char *map)
{
    struct rig *g = calloc(1, sizeof *g);
    struct conf_report report;
    struct rm_buf text;

    if (g == NULL)
        return NULL;
    g->now_us = 1000000000;
    rm_clock_set(rig_clock, g);
    rm_log_set_sink(quiet, NULL);
    conf_report_init(&report);
    if (role_map_parse("t.yaml", map, strlen(map), &report, &g->map) < 0) {
        rm_buf_init(&text, 10000);
        conf_report_text(&report, &text);
        fprintf(stderr, "%s", text.data);
        rm_buf_clear(&text);
        conf_report_clear(&report);
        free(g);
        return NULL;
    }
    conf_report_clear(&report);
    uv_loop_init(&g->loop);
    assert_int_equal(route_new(&g->loop, g->map, &g->route), 0);
    for (size_t i = 0; i < g->map->n_nodes; i++) /* clients are passed on, never used */
        route_node_here(g->route, g->map->nodes[i].name, (struct http_client *)g);
    return g;
}

int rig_close(struct rig *g)
{
    int r;

    route_free(g->route);
    uv_run(&g->loop, UV_RUN_DEFAULT);
    role_map_unref(g->map);
    r = uv_loop_close(&g->loop);
    rm_clock_set(NULL, NULL);
    rm_log_set_sink(NULL, NULL);
    free(g);
    return r;
}

int rig_up(void **state)
{
    return (*state = rig_open(default_map)) != NULL ? 0 : -1;
}

int rig_down(void **state)
{
    return rig_close(*state);
}

void rig_settle(struct rig *g)
{
    uint64_t until = uv_hrtime() + 600 * 1000000ull;

    do
        uv_run(&g->loop, UV_RUN_ONCE);
    while (uv_hrtime() < until);
}

void rig_turn(struct rig *g)
{
    for (int i = 0; i < 5; i++)
        uv_run(&g->loop, UV_RUN_NOWAIT);
}

static void on_lease(struct route_ticket *t, const struct route_lease *lease)
{
    struct asked *q = route_ticket_arg(t);

    q->leases++;
    snprintf(q->node, sizeof q->node, "%s", lease->node);
    snprintf(q->role, sizeof q->role, "%s", lease->role);
}

static void on_refused(struct route_ticket *t, int err, const char *text, uint32_t retry_after_s)
{
    struct asked *q = route_ticket_arg(t);

    q->refusals++;
    q->err = err;
    q->retry_after = retry_after_s;
    snprintf(q->text, sizeof q->text, "%s", text);
}

static void on_lost(struct route_ticket *t)
{
    ((struct asked *)route_ticket_arg(t))->losts++;
}

void rig_ask_with(struct rig *g, struct asked *q, const struct route_ask *ask)
{
    static const struct route_ticket_ops ops = {
        .on_lease = on_lease, .on_refused = on_refused, .on_lost = on_lost};

    memset(q, 0, sizeof *q);
    assert_int_equal(route_open(g->route, ask, &ops, q, &q->t), 0);
    assert_int_equal(q->leases + q->refusals, 0); /* never inside the call */
    rig_turn(g);
}

void rig_ask(struct rig *g, struct asked *q, const char *role)
{
    rig_ask_with(g, q, &(struct route_ask){.role = role, .prompt_tokens = 100});
}

void rig_tell(struct rig *g, const char *node, const struct told *hosts, uint32_t n)
{
    struct node_host h[RIG_HOSTS_MAX] = {0};
    struct node_state s = {.seq = 1, .n_hosts = n, .hosts = h};

    snprintf(s.node, sizeof s.node, "%s", node);
    snprintf(s.boot_id, sizeof s.boot_id, "boot");
    for (uint32_t i = 0; i < n; i++) {
        snprintf(h[i].role, sizeof h[i].role, "%s", hosts[i].role);
        snprintf(h[i].model, sizeof h[i].model, "m");
        snprintf(h[i].model_hash, sizeof h[i].model_hash, "%s", hosts[i].hash);
        snprintf(h[i].last_error.text, sizeof h[i].last_error.text, "no such file");
        h[i].last_error.cause = hosts[i].state == HOST_FAILED ? CAUSE_LOAD : CAUSE_NONE;
        h[i].state = hosts[i].state;
        h[i].progress = hosts[i].progress;
        h[i].retry_ms = hosts[i].retry_ms;
        h[i].prefill_tps = hosts[i].prefill_tps;
        h[i].slots_total = strcmp(hosts[i].role, "ask") == 0 ? 2 : 1;
    }
    route_node_state(g->route, node, &s);
    route_node_state(g->route, node, &s);
    rig_turn(g);
}

void rig_pass_ms(struct rig *g, uint64_t ms)
{
    g->now_us += ms * 1000;
}
