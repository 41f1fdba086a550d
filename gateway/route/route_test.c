/* SPDX-License-Identifier: MIT */
/* The route on a real loop with a clock that the test sets; nodes are states made here, clients are
 * never used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/route/route.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

static const char map_text[] =
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
    "  ask: { modes: [ask], model: m, slots: 2 }\n";

struct rig {
    uv_loop_t loop;
    struct route *route;
    struct role_map *map;
    uint64_t now_us;
};

struct asked {
    struct route_ticket *t;
    int leases, refusals, losts, err;
    char node[32], role[32], text[600];
    uint32_t retry_after;
};

static uint64_t rig_clock(void *arg)
{
    return ((struct rig *)arg)->now_us;
}

static void quiet(void *arg, const char *line)
{
    (void)arg;
    (void)line;
}

static int rig_up(void **state)
{
    struct rig *g = calloc(1, sizeof *g);
    struct conf_report report;

    g->now_us = 1000000000;
    rm_clock_set(rig_clock, g);
    rm_log_set_sink(quiet, NULL);
    conf_report_init(&report);
    if (role_map_parse("t.yaml", map_text, sizeof map_text - 1, &report, &g->map) < 0) {
        struct rm_buf text;

        rm_buf_init(&text, 10000);
        conf_report_text(&report, &text);
        fprintf(stderr, "%s", text.data);
        return -1;
    }
    conf_report_clear(&report);
    uv_loop_init(&g->loop);
    if (route_new(&g->loop, g->map, &g->route) < 0)
        return -1;
    route_node_here(g->route, "a", (struct http_client *)g); /* passed on, never used */
    route_node_here(g->route, "b", (struct http_client *)g);
    *state = g;
    return 0;
}

static int rig_down(void **state)
{
    struct rig *g = *state;

    route_free(g->route);
    uv_run(&g->loop, UV_RUN_DEFAULT);
    role_map_unref(g->map);
    if (uv_loop_close(&g->loop) != 0)
        return -1;
    rm_clock_set(NULL, NULL);
    rm_log_set_sink(NULL, NULL);
    free(g);
    return 0;
}

/* Turns the loop until the sweep has run at the present time: it fires every 250 ms of real time.
 */
static void settle(struct rig *g)
{
    uint64_t until = uv_hrtime() + 600 * 1000000ull;

    do
        uv_run(&g->loop, UV_RUN_ONCE);
    while (uv_hrtime() < until);
}

static void turn(struct rig *g)
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

static void ask_with(struct rig *g, struct asked *q, const struct route_ask *ask)
{
    static const struct route_ticket_ops ops = {
        .on_lease = on_lease, .on_refused = on_refused, .on_lost = on_lost};

    memset(q, 0, sizeof *q);
    assert_int_equal(route_open(g->route, ask, &ops, q, &q->t), 0);
    assert_int_equal(q->leases + q->refusals, 0); /* never inside the call */
    turn(g);
}

static void ask(struct rig *g, struct asked *q, const char *role)
{
    ask_with(g, q, &(struct route_ask){.role = role, .prompt_tokens = 100});
}

struct told {
    const char *role;
    enum node_host_state state;
    const char *hash;
    double progress;
    uint32_t retry_ms;
};

/* A state in which the node hosts what is told. Twice, so that the node is up. */
static void tell(struct rig *g, const char *node, const struct told *hosts, uint32_t n)
{
    struct node_host h[4] = {0};
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
        h[i].slots_total = strcmp(hosts[i].role, "ask") == 0 ? 2 : 1;
    }
    route_node_state(g->route, node, &s);
    route_node_state(g->route, node, &s);
    turn(g);
}

static const struct told code_ready = {"code", HOST_READY, "x", 1, 0},
                         ask_ready = {"ask", HOST_READY, "x", 1, 0};

static void a_ready_host_is_leased(void **state)
{
    struct rig *g = *state;
    struct asked q;

    tell(g, "a", &code_ready, 1);
    ask(g, &q, "code");
    assert_int_equal(q.leases, 1);
    assert_string_equal(q.node, "a");
    route_close(q.t, ROUTE_DONE, NULL);
}

static void a_full_host_makes_the_next_wait_its_turn(void **state)
{
    struct rig *g = *state;
    struct asked q[3];
    char status[200];

    tell(g, "a", &code_ready, 1);
    for (int i = 0; i < 3; i++)
        ask(g, &q[i], "code");
    assert_int_equal(q[0].leases, 1);
    assert_int_equal(q[1].leases + q[2].leases, 0);
    route_ticket_status(q[2].t, status, sizeof status);
    assert_string_equal(status, "every slot of code is taken, 1 requests are before this one");
    route_close(q[0].t, ROUTE_DONE, NULL);
    turn(g);
    assert_int_equal(q[1].leases, 1);
    assert_int_equal(q[2].leases, 0);
    route_close(q[1].t, ROUTE_CLIENT, NULL);
    turn(g);
    assert_int_equal(q[2].leases, 1);
    route_close(q[2].t, ROUTE_DONE, NULL);
}

static void a_full_queue_says_when_to_come_back(void **state)
{
    struct rig *g = *state;
    struct asked q[4];

    tell(g, "a", &code_ready, 1);
    for (int i = 0; i < 4; i++)
        ask(g, &q[i], "code"); /* one slot, two places in the queue */
    assert_int_equal(q[3].refusals, 1);
    assert_int_equal(q[3].err, RM_ERR_QUEUE_FULL);
    assert_in_range(q[3].retry_after, 1, 60);
    for (int i = 0; i < 4; i++)
        route_close(q[i].t, ROUTE_DONE, NULL);
}

static void two_hosts_share_the_work(void **state)
{
    struct rig *g = *state;
    struct asked q[2];

    tell(g, "a", &code_ready, 1);
    tell(g, "b", &code_ready, 1);
    ask(g, &q[0], "code");
    ask(g, &q[1], "code");
    assert_int_equal(q[0].leases + q[1].leases, 2);
    assert_string_not_equal(q[0].node, q[1].node);
    route_close(q[0].t, ROUTE_DONE, NULL);
    route_close(q[1].t, ROUTE_DONE, NULL);
}

static void another_model_hash_gets_no_traffic(void **state)
{
    static const struct told other = {"ask", HOST_READY, "y", 1, 0};
    struct rig *g = *state;
    struct asked q[3];

    tell(g, "a", &ask_ready, 1);
    tell(g, "b", &other, 1);
    for (int i = 0; i < 3; i++)
        ask(g, &q[i], "ask");
    assert_string_equal(q[0].node, "a");
    assert_string_equal(q[1].node, "a");
    assert_int_equal(q[2].leases, 0); /* b has room, but another model */
    for (int i = 0; i < 3; i++)
        route_close(q[i].t, ROUTE_DONE, NULL);
}

static void a_lost_request_goes_elsewhere(void **state)
{
    struct rig *g = *state;
    struct asked q;

    tell(g, "a", &code_ready, 1);
    tell(g, "b", &code_ready, 1);
    ask_with(g, &q, &(struct route_ask){.role = "code", .avoid_n = 1, .avoid = {"a"}});
    assert_string_equal(q.node, "b");
    route_close(q.t, ROUTE_DONE, NULL);
    ask_with(g, &q,
             &(struct route_ask){
                 .role = "code", .avoid_n = 2, .avoid = {"a", "b"}}); /* nobody else: anybody */
    assert_int_equal(q.leases, 1);
    route_close(q.t, ROUTE_DONE, NULL);
}

static void the_same_prefix_returns_to_its_host(void **state)
{
    struct rig *g = *state;
    const struct route_ask same = {.role = "ask", .prefix_key = 77, .prompt_tokens = 5000};
    struct asked q, busy;
    char first[32];

    tell(g, "a", &ask_ready, 1);
    tell(g, "b", &ask_ready, 1);
    ask_with(g, &q, &same);
    snprintf(first, sizeof first, "%s", q.node);
    g->now_us += 1000000;
    route_close(q.t, ROUTE_DONE, NULL);
    ask(g, &busy, "ask"); /* whoever gets this one ... */
    ask_with(g, &q, &same);
    assert_string_equal(q.node, first);
    route_close(q.t, ROUTE_DONE, NULL);
    route_close(busy.t, ROUTE_DONE, NULL);
}

static void loading_is_waited_for_and_told(void **state)
{
    static const struct told loading = {"code", HOST_LOADING, "", 0.43, 0};
    struct rig *g = *state;
    struct asked q;

    tell(g, "a", &loading, 1);
    ask(g, &q, "code");
    assert_int_equal(q.leases + q.refusals, 0);
    g->now_us += 31 * 1000000ull;
    settle(g);
    assert_int_equal(q.refusals, 1);
    assert_int_equal(q.err, RM_ERR_NO_HOST);
    route_close(q.t, ROUTE_UNUSED, NULL);
    tell(g, "a", &loading, 1);
    ask(g, &q, "code");
    tell(g, "a", &code_ready, 1);
    assert_int_equal(q.leases, 1);
    route_close(q.t, ROUTE_DONE, NULL);
}

static void the_reason_names_node_and_percent(void **state)
{
    static const struct told loading = {"code", HOST_LOADING, "", 0.43, 0};
    struct rig *g = *state;
    struct asked q;
    char status[200];

    tell(g, "a", &loading, 1);
    ask(g, &q, "code");
    route_ticket_status(q.t, status, sizeof status);
    assert_string_equal(status, "code is loading on a, 43 %");
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void what_failed_for_good_is_refused_at_once(void **state)
{
    static const struct told failed = {"code", HOST_FAILED, "", 0, 0};
    struct rig *g = *state;
    struct asked q;

    tell(g, "a", &failed, 1);
    ask(g, &q, "code");
    assert_int_equal(q.err, RM_ERR_NO_HOST);
    assert_string_equal(q.text, "code failed on a: no such file");
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void a_fallback_serves_what_failed(void **state)
{
    static const struct told hosts[] = {{"code", HOST_FAILED, "", 0, 0},
                                        {"ask", HOST_READY, "x", 1, 0}};
    struct rig *g = *state;
    struct asked q;

    tell(g, "a", hosts, 2);
    ask(g, &q, "code");
    assert_int_equal(q.leases, 1);
    assert_string_equal(q.role, "ask");
    route_close(q.t, ROUTE_DONE, NULL);
}

static void a_restart_is_waited_for(void **state)
{
    static const struct told failed = {"code", HOST_FAILED, "", 0, 2000};
    struct rig *g = *state;
    struct asked q;

    tell(g, "a", &failed, 1);
    ask(g, &q, "code");
    assert_int_equal(q.leases + q.refusals, 0);
    tell(g, "a", &code_ready, 1);
    assert_int_equal(q.leases, 1);
    route_close(q.t, ROUTE_DONE, NULL);
}

static void a_silent_node_loses_its_leases(void **state)
{
    struct rig *g = *state;
    struct asked q, next;

    tell(g, "a", &code_ready, 1);
    ask(g, &q, "code");
    assert_int_equal(q.leases, 1);
    g->now_us += 9 * 1000000ull;
    settle(g);
    assert_int_equal(q.losts, 1);
    route_close(q.t, ROUTE_LOST, NULL);
    ask(g, &next, "code");
    assert_int_equal(next.leases, 0);
    g->now_us += 1000000;
    tell(g, "a", &code_ready, 1);
    assert_int_equal(next.leases, 1);
    route_close(next.t, ROUTE_DONE, NULL);
}

static void after_a_loss_the_host_is_left_alone_for_a_moment(void **state)
{
    struct rig *g = *state;
    struct asked q, next;

    tell(g, "a", &code_ready, 1);
    ask(g, &q, "code");
    route_close(q.t, ROUTE_LOST, NULL);
    ask(g, &next, "code");
    assert_int_equal(next.leases, 0);
    g->now_us += 600 * 1000;
    settle(g);
    assert_int_equal(next.leases, 1);
    route_close(next.t, ROUTE_DONE, NULL);
}

static void a_role_that_left_the_map_ends_its_queue(void **state)
{
    static const char other[] =
        "version: 1\ngateway: { listen: [\"127.0.0.1:0\"] }\nnodes:\n  a: { address: "
        "\"127.0.0.1:1\" }\n"
        "models:\n  m: { source: /models/m.gguf }\nroles:\n  ask: { modes: [ask], model: m }\n";
    struct rig *g = *state;
    struct conf_report report;
    struct role_map *map;
    struct asked q[2];

    tell(g, "a", &code_ready, 1);
    ask(g, &q[0], "code");
    ask(g, &q[1], "code");
    conf_report_init(&report);
    assert_int_equal(role_map_parse("t.yaml", other, sizeof other - 1, &report, &map), 0);
    conf_report_clear(&report);
    route_set_map(g->route, map);
    role_map_unref(map);
    settle(g);
    assert_int_equal(q[0].losts + q[0].refusals, 0); /* what runs goes on */
    assert_int_equal(q[1].err, RM_ERR_MODEL);
    route_close(q[0].t, ROUTE_DONE, NULL);
    route_close(q[1].t, ROUTE_UNUSED, NULL);
    settle(g);
}

static void draining_refuses_new_work_only(void **state)
{
    struct rig *g = *state;
    struct asked q[2];

    tell(g, "a", &code_ready, 1);
    ask(g, &q[0], "code");
    route_set_draining(g->route);
    ask(g, &q[1], "code");
    assert_int_equal(q[0].leases, 1);
    assert_int_equal(q[1].err, RM_ERR_DRAINING);
    route_close(q[0].t, ROUTE_DONE, NULL);
    route_close(q[1].t, ROUTE_UNUSED, NULL);
}

#define ROW(f) cmocka_unit_test_setup_teardown(f, rig_up, rig_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(a_ready_host_is_leased),
        ROW(a_full_host_makes_the_next_wait_its_turn),
        ROW(a_full_queue_says_when_to_come_back),
        ROW(two_hosts_share_the_work),
        ROW(another_model_hash_gets_no_traffic),
        ROW(a_lost_request_goes_elsewhere),
        ROW(the_same_prefix_returns_to_its_host),
        ROW(loading_is_waited_for_and_told),
        ROW(the_reason_names_node_and_percent),
        ROW(what_failed_for_good_is_refused_at_once),
        ROW(a_fallback_serves_what_failed),
        ROW(a_restart_is_waited_for),
        ROW(a_silent_node_loses_its_leases),
        ROW(after_a_loss_the_host_is_left_alone_for_a_moment),
        ROW(a_role_that_left_the_map_ends_its_queue),
        ROW(draining_refuses_new_work_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
