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

#include "gateway/route/route_private.h"
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
    "  ask: { modes: [ask], model: m, slots: 2 }\n"
    "  think: { modes: [think], model: m, slots: 1, residency: on-demand, queue_deadline: 30s, "
    "queue_max: 4 }\n";

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

/* ---- on demand ---- */

static const struct told think_ready = {"think", HOST_READY, "x", 1, 0};

static void pass_ms(struct rig *g, uint64_t ms)
{
    g->now_us += ms * 1000;
}

/* Time goes by in steps of the sweep, and the node says so again each second. */
static void live(struct rig *g, const char *node, struct told *host, uint64_t ms, double rise)
{
    for (uint64_t t = 0; t < ms; t += 250) {
        pass_ms(g, 250);
        if (t % 1000 == 0) {
            host->progress += rise;
            tell(g, node, host, 1);
        }
        route_sweep(g->route);
    }
    turn(g);
}

static void note(struct rig *g, enum route_note_state state, const char *node, uint64_t eta_ms,
                 const char *text)
{
    route_role_note(g->route, "think", &(struct route_note){state, node, eta_ms, text});
}

static void demand_is_counted(void **state)
{
    struct rig *g = *state;
    struct route_host_use use;
    struct route_demand d;
    struct asked q[2];

    route_demand_of(g->route, "think", &d);
    assert_int_equal(d.waiting + d.in_flight + d.last_ask_ms + d.last_use_ms, 0);
    ask(g, &q[0], "think");
    pass_ms(g, 700);
    ask(g, &q[1], "think");
    pass_ms(g, 300);
    route_demand_of(g->route, "think", &d);
    assert_int_equal(d.waiting, 2);
    assert_int_equal(d.oldest_ms, 1000);
    assert_int_equal(d.last_ask_ms, g->now_us / 1000 - 300);
    assert_int_equal(d.last_use_ms, 0);
    tell(g, "a", &think_ready, 1);
    route_demand_of(g->route, "think", &d);
    assert_int_equal(d.waiting, 1);
    assert_int_equal(d.in_flight, 1);
    assert_int_equal(d.last_use_ms, g->now_us / 1000);
    route_host_use_of(g->route, "think", "a", &use);
    assert_int_equal(use.in_flight, 1);
    assert_false(use.closed);
    route_close(q[1].t, ROUTE_CLIENT, NULL); /* who leaves takes its demand away */
    pass_ms(g, 5000);
    route_close(q[0].t, ROUTE_DONE, NULL);
    route_demand_of(g->route, "think", &d);
    assert_int_equal(d.waiting + d.in_flight + d.oldest_ms, 0);
    assert_int_equal(d.last_use_ms, g->now_us / 1000);
    route_demand_of(g->route, "nobody", &d);
    assert_int_equal(d.last_ask_ms, 0);
}

static void on_wanted(void *arg, const char *role)
{
    snprintf(arg, 64, "%s", role);
}

static void who_loads_is_told_of_the_first_request(void **state)
{
    struct rig *g = *state;
    char heard[64] = "";
    struct asked q;

    route_on_wanted(g->route, on_wanted, heard);
    tell(g, "a", &ask_ready, 1);
    ask(g, &q, "ask");
    assert_string_equal(heard, ""); /* served */
    route_close(q.t, ROUTE_DONE, NULL);
    ask(g, &q, "think");
    assert_string_equal(heard, "think");
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void a_closed_host_gets_nothing_new(void **state)
{
    struct rig *g = *state;
    struct route_host_use use;
    struct asked q[3];

    tell(g, "a", &ask_ready, 1);
    ask(g, &q[0], "ask");
    assert_int_equal(q[0].leases, 1);
    route_host_close(g->route, "ask", "a", true);
    ask(g, &q[1], "ask");
    tell(g, "a", &ask_ready, 1); /* whatever the states say */
    assert_int_equal(q[1].leases + q[1].refusals, 0);
    assert_int_equal(q[0].losts, 0); /* what runs goes on */
    route_close(q[0].t, ROUTE_DONE, NULL);
    turn(g);
    assert_int_equal(q[1].leases, 0);
    route_host_close(g->route, "ask", "a", false);
    turn(g);
    assert_int_equal(q[1].leases, 1);
    route_close(q[1].t, ROUTE_DONE, NULL);
    route_host_close(g->route, "ask", "a", true);
    tell(g, "a", NULL, 0); /* gone: what comes next is another one */
    route_host_use_of(g->route, "ask", "a", &use);
    assert_false(use.closed);
    tell(g, "a", &ask_ready, 1);
    ask(g, &q[2], "ask");
    assert_int_equal(q[2].leases, 1);
    route_close(q[2].t, ROUTE_DONE, NULL);
    route_host_close(g->route, "ask", "nowhere", true);
    route_host_close(g->route, "nobody", "a", true);
}

static void the_note_is_told_to_who_waits(void **state)
{
    struct told loading = {"think", HOST_LOADING, "", 0.43, 0};
    struct rig *g = *state;
    char status[200];
    struct asked q;

    ask(g, &q, "think");
    note(g, ROUTE_NOTE_WAITS, NULL, 0, "code to finish");
    route_ticket_status(q.t, status, sizeof status);
    assert_string_equal(status, "think waits for code to finish");
    note(g, ROUTE_NOTE_LOADING, "a", 12400, NULL);
    route_ticket_status(q.t, status, sizeof status);
    assert_string_equal(status, "think is being loaded on a, about 13 s left");
    tell(g, "a", &loading, 1);
    pass_ms(g, 2400);
    route_ticket_status(q.t, status, sizeof status);
    assert_string_equal(status, "think is loading on a, 43 %, about 10 s left");
    note(g, ROUTE_NOTE_LOADING, "a", 600000, NULL);
    route_ticket_status(q.t, status, sizeof status);
    assert_string_equal(status, "think is loading on a, 43 %, about 10 min left");
    assert_int_equal(q.refusals, 0);
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void a_note_with_control_bytes_is_made_one_line(void **state)
{
    struct rig *g = *state;
    char status[200];
    struct asked q;

    ask(g, &q, "think");
    note(g, ROUTE_NOTE_WAITS, NULL, 0, "a\r\ndata: {}\n\x1b[2J\x7f");
    route_ticket_status(q.t, status, sizeof status);
    assert_string_equal(status, "think waits for a  data: {}  [2J ");
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void what_cannot_be_loaded_is_refused_with_the_reason(void **state)
{
    struct rig *g = *state;
    struct asked q[3];

    ask(g, &q[0], "think");
    note(g, ROUTE_NOTE_CANNOT, NULL, 0, "it needs 92 GiB, the roomiest node has 60");
    route_role_fail(g->route, "think", RM_ERR_NO_HOST, "think cannot be loaded: no room");
    assert_int_equal(q[0].err, RM_ERR_NO_HOST);
    assert_string_equal(q[0].text, "think cannot be loaded: no room");
    assert_in_range(q[0].retry_after, 1, 60);
    ask(g, &q[1], "think");
    assert_int_equal(q[1].err, RM_ERR_NO_HOST);
    assert_string_equal(q[1].text,
                        "think cannot be loaded: it needs 92 GiB, the roomiest node has 60");
    tell(g, "a", &think_ready, 1); /* it is there all the same */
    ask(g, &q[2], "think");
    assert_int_equal(q[2].leases, 1);
    for (int i = 0; i < 3; i++)
        route_close(q[i].t, ROUTE_DONE, NULL);
}

static void loading_stops_the_clock_of_who_waits(void **state)
{
    struct told loading = {"think", HOST_LOADING, "", 0, 0};
    struct rig *g = *state;
    struct asked q;

    ask(g, &q, "think");
    live(g, "a", &loading, 20000, 0.001); /* the queue's deadline is 30 s */
    live(g, "a", &loading, 120000, 0.001);
    assert_int_equal(q.leases + q.refusals, 0);
    live(g, "a", &loading, 59000, 0); /* stuck, but not yet for a minute */
    assert_int_equal(q.refusals, 0);
    live(g, "a", &loading, 28000, 0); /* its clock goes on: 27 of 30 s */
    assert_int_equal(q.refusals, 0);
    live(g, "a", &loading, 6000, 0);
    assert_int_equal(q.err, RM_ERR_NO_HOST);
    assert_non_null(strstr(q.text, "think is loading on a, 14 %"));
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void nobody_waits_for_ever(void **state)
{
    struct rig *g = *state;
    struct asked q;

    ask(g, &q, "think");
    note(g, ROUTE_NOTE_WAITS, NULL, 20000, "code to finish");
    for (int i = 0; i < 1790; i++) {
        pass_ms(g, 1000);
        route_sweep(g->route);
    }
    assert_int_equal(q.refusals, 0);
    for (int i = 0; i < 12; i++) {
        pass_ms(g, 1000);
        note(g, ROUTE_NOTE_WAITS, NULL, 17000, "code to finish");
        route_sweep(g->route);
    }
    assert_int_equal(q.refusals, 1);
    assert_int_equal(q.retry_after, 17);
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void an_own_deadline_holds_while_it_loads(void **state)
{
    struct rig *g = *state;
    struct asked q;

    ask_with(g, &q, &(struct route_ask){.role = "think", .deadline_ms = g->now_us / 1000 + 5000});
    note(g, ROUTE_NOTE_LOADING, "a", 60000, NULL);
    pass_ms(g, 5000);
    route_sweep(g->route);
    assert_int_equal(q.refusals, 1);
    assert_int_equal(q.retry_after, 55);
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void a_load_that_takes_too_long_leaves_for_the_fallback(void **state)
{
    struct told hosts[] = {{"code", HOST_LOADING, "", 0.1, 0}, {"ask", HOST_BUSY, "x", 1, 0}};
    struct rig *g = *state;
    struct route_demand d;
    struct asked q;

    tell(g, "a", hosts, 2);
    ask(g, &q, "code");
    route_role_note(g->route, "code", &(struct route_note){ROUTE_NOTE_LOADING, "a", 20000, NULL});
    for (int i = 0; i < 4 * 29; i++) {
        pass_ms(g, 250);
        if (i % 4 == 0)
            tell(g, "a", hosts, 2);
        route_sweep(g->route);
    }
    assert_int_equal(q.leases + q.refusals, 0);
    for (int i = 0; i < 5; i++) {
        pass_ms(g, 250);
        route_sweep(g->route);
    }
    turn(g);
    assert_int_equal(q.leases, 1);
    assert_string_equal(q.role, "ask");
    route_demand_of(g->route, "code", &d);
    assert_int_equal(d.waiting, 0);
    route_close(q.t, ROUTE_DONE, NULL);
}

static void a_failed_load_sends_them_to_the_fallback(void **state)
{
    struct rig *g = *state;
    struct asked q;

    tell(g, "a", &ask_ready, 1);
    ask(g, &q, "code");
    assert_int_equal(q.leases, 0);
    route_role_fail(g->route, "code", RM_ERR_NO_HOST, "code cannot be loaded: half a file");
    turn(g);
    assert_int_equal(q.leases, 1);
    assert_string_equal(q.role, "ask");
    route_close(q.t, ROUTE_DONE, NULL);
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
        ROW(demand_is_counted),
        ROW(who_loads_is_told_of_the_first_request),
        ROW(a_closed_host_gets_nothing_new),
        ROW(the_note_is_told_to_who_waits),
        ROW(a_note_with_control_bytes_is_made_one_line),
        ROW(what_cannot_be_loaded_is_refused_with_the_reason),
        ROW(loading_stops_the_clock_of_who_waits),
        ROW(nobody_waits_for_ever),
        ROW(an_own_deadline_holds_while_it_loads),
        ROW(a_load_that_takes_too_long_leaves_for_the_fallback),
        ROW(a_failed_load_sends_them_to_the_fallback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
