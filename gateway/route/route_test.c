/* SPDX-License-Identifier: MIT */
/* The route as front sees it: hosts, queues, losses. Loading on demand is in demand_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/route/route_rig.h"

static const struct told code_ready = {"code", HOST_READY, "x", 1, 0, 0},
                         ask_ready = {"ask", HOST_READY, "x", 1, 0, 0};

static void a_ready_host_is_leased(void **state)
{
    struct rig *g = *state;
    struct asked q;

    rig_tell(g, "a", &code_ready, 1);
    rig_ask(g, &q, "code");
    assert_int_equal(q.leases, 1);
    assert_string_equal(q.node, "a");
    route_close(q.t, ROUTE_DONE, NULL);
}

static void a_full_host_makes_the_next_wait_its_turn(void **state)
{
    struct rig *g = *state;
    struct asked q[3];
    char status[200];

    rig_tell(g, "a", &code_ready, 1);
    for (int i = 0; i < 3; i++)
        rig_ask(g, &q[i], "code");
    assert_int_equal(q[0].leases, 1);
    assert_int_equal(q[1].leases + q[2].leases, 0);
    route_ticket_status(q[2].t, status, sizeof status);
    assert_string_equal(status, "every slot of code is taken, 1 requests are before this one");
    route_close(q[0].t, ROUTE_DONE, NULL);
    rig_turn(g);
    assert_int_equal(q[1].leases, 1);
    assert_int_equal(q[2].leases, 0);
    route_close(q[1].t, ROUTE_CLIENT, NULL);
    rig_turn(g);
    assert_int_equal(q[2].leases, 1);
    route_close(q[2].t, ROUTE_DONE, NULL);
}

static void a_full_queue_says_when_to_come_back(void **state)
{
    struct rig *g = *state;
    struct asked q[4];

    rig_tell(g, "a", &code_ready, 1);
    for (int i = 0; i < 4; i++)
        rig_ask(g, &q[i], "code"); /* one slot, two places in the queue */
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

    rig_tell(g, "a", &code_ready, 1);
    rig_tell(g, "b", &code_ready, 1);
    rig_ask(g, &q[0], "code");
    rig_ask(g, &q[1], "code");
    assert_int_equal(q[0].leases + q[1].leases, 2);
    assert_string_not_equal(q[0].node, q[1].node);
    route_close(q[0].t, ROUTE_DONE, NULL);
    route_close(q[1].t, ROUTE_DONE, NULL);
}

static void another_model_hash_gets_no_traffic(void **state)
{
    static const struct told other = {"ask", HOST_READY, "y", 1, 0, 0};
    struct rig *g = *state;
    struct asked q[3];

    rig_tell(g, "a", &ask_ready, 1);
    rig_tell(g, "b", &other, 1);
    for (int i = 0; i < 3; i++)
        rig_ask(g, &q[i], "ask");
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

    rig_tell(g, "a", &code_ready, 1);
    rig_tell(g, "b", &code_ready, 1);
    rig_ask_with(g, &q, &(struct route_ask){.role = "code", .avoid_n = 1, .avoid = {"a"}});
    assert_string_equal(q.node, "b");
    route_close(q.t, ROUTE_DONE, NULL);
    rig_ask_with(g, &q,
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

    rig_tell(g, "a", &ask_ready, 1);
    rig_tell(g, "b", &ask_ready, 1);
    rig_ask_with(g, &q, &same);
    snprintf(first, sizeof first, "%s", q.node);
    g->now_us += 1000000;
    route_close(q.t, ROUTE_DONE, NULL);
    rig_ask(g, &busy, "ask"); /* whoever gets this one ... */
    rig_ask_with(g, &q, &same);
    assert_string_equal(q.node, first);
    route_close(q.t, ROUTE_DONE, NULL);
    route_close(busy.t, ROUTE_DONE, NULL);
}

static void loading_is_waited_for_and_told(void **state)
{
    static const struct told loading = {"code", HOST_LOADING, "", 0.43, 0, 0};
    struct rig *g = *state;
    struct asked q;

    rig_tell(g, "a", &loading, 1);
    rig_ask(g, &q, "code");
    assert_int_equal(q.leases + q.refusals, 0);
    g->now_us += 31 * 1000000ull;
    rig_settle(g);
    assert_int_equal(q.refusals, 1);
    assert_int_equal(q.err, RM_ERR_NO_HOST);
    route_close(q.t, ROUTE_UNUSED, NULL);
    rig_tell(g, "a", &loading, 1);
    rig_ask(g, &q, "code");
    rig_tell(g, "a", &code_ready, 1);
    assert_int_equal(q.leases, 1);
    route_close(q.t, ROUTE_DONE, NULL);
}

static void the_reason_names_node_and_percent(void **state)
{
    static const struct told loading = {"code", HOST_LOADING, "", 0.43, 0, 0};
    struct rig *g = *state;
    struct asked q;
    char status[200];

    rig_tell(g, "a", &loading, 1);
    rig_ask(g, &q, "code");
    route_ticket_status(q.t, status, sizeof status);
    assert_string_equal(status, "code is loading on a, 43 %");
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void what_failed_for_good_is_refused_at_once(void **state)
{
    static const struct told failed = {"code", HOST_FAILED, "", 0, 0, 0};
    struct rig *g = *state;
    struct asked q;

    rig_tell(g, "a", &failed, 1);
    rig_ask(g, &q, "code");
    assert_int_equal(q.err, RM_ERR_NO_HOST);
    assert_string_equal(q.text, "code failed on a: no such file");
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void a_fallback_serves_what_failed(void **state)
{
    static const struct told hosts[] = {{"code", HOST_FAILED, "", 0, 0, 0},
                                        {"ask", HOST_READY, "x", 1, 0, 0}};
    struct rig *g = *state;
    struct asked q;

    rig_tell(g, "a", hosts, 2);
    rig_ask(g, &q, "code");
    assert_int_equal(q.leases, 1);
    assert_string_equal(q.role, "ask");
    route_close(q.t, ROUTE_DONE, NULL);
}

static void a_restart_is_waited_for(void **state)
{
    static const struct told failed = {"code", HOST_FAILED, "", 0, 2000, 0};
    struct rig *g = *state;
    struct asked q;

    rig_tell(g, "a", &failed, 1);
    rig_ask(g, &q, "code");
    assert_int_equal(q.leases + q.refusals, 0);
    rig_tell(g, "a", &code_ready, 1);
    assert_int_equal(q.leases, 1);
    route_close(q.t, ROUTE_DONE, NULL);
}

static void a_silent_node_loses_its_leases(void **state)
{
    struct rig *g = *state;
    struct asked q, next;

    rig_tell(g, "a", &code_ready, 1);
    rig_ask(g, &q, "code");
    assert_int_equal(q.leases, 1);
    g->now_us += 9 * 1000000ull;
    rig_settle(g);
    assert_int_equal(q.losts, 1);
    route_close(q.t, ROUTE_LOST, NULL);
    rig_ask(g, &next, "code");
    assert_int_equal(next.leases, 0);
    g->now_us += 1000000;
    rig_tell(g, "a", &code_ready, 1);
    assert_int_equal(next.leases, 1);
    route_close(next.t, ROUTE_DONE, NULL);
}

static void after_a_loss_the_host_is_left_alone_for_a_moment(void **state)
{
    struct rig *g = *state;
    struct asked q, next;

    rig_tell(g, "a", &code_ready, 1);
    rig_ask(g, &q, "code");
    route_close(q.t, ROUTE_LOST, NULL);
    rig_ask(g, &next, "code");
    assert_int_equal(next.leases, 0);
    g->now_us += 600 * 1000;
    rig_settle(g);
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

    rig_tell(g, "a", &code_ready, 1);
    rig_ask(g, &q[0], "code");
    rig_ask(g, &q[1], "code");
    conf_report_init(&report);
    assert_int_equal(role_map_parse("t.yaml", other, sizeof other - 1, &report, &map), 0);
    conf_report_clear(&report);
    route_set_map(g->route, map);
    role_map_unref(map);
    rig_settle(g);
    assert_int_equal(q[0].losts + q[0].refusals, 0); /* what runs goes on */
    assert_int_equal(q[1].err, RM_ERR_MODEL);
    route_close(q[0].t, ROUTE_DONE, NULL);
    route_close(q[1].t, ROUTE_UNUSED, NULL);
    rig_settle(g);
}

/* The map has another model for `ask` now: the host of the old one serves until the new one stands.
 */
static void the_old_model_serves_until_the_new_one_stands(void **state)
{
    static const char edited[] =
        "version: 1\ngateway: { listen: [\"127.0.0.1:0\"] }\nnodes:\n"
        "  a: { address: \"127.0.0.1:1\" }\n  b: { address: \"127.0.0.1:2\" }\n"
        "models:\n  n: { source: /models/n.gguf }\nroles:\n  ask: { modes: [ask], model: n }\n";
    struct node_host host = {
        .role = "ask", .model = "n", .model_hash = "y", .state = HOST_LOADING, .slots_total = 2};
    struct node_state b = {.node = "b", .boot_id = "boot", .seq = 1, .n_hosts = 1, .hosts = &host};
    struct rig *g = *state;
    struct conf_report report;
    struct role_map *map;
    struct asked q[2];

    rig_tell(g, "a", &ask_ready, 1);
    conf_report_init(&report);
    assert_int_equal(role_map_parse("t.yaml", edited, sizeof edited - 1, &report, &map), 0);
    conf_report_clear(&report);
    route_set_map(g->route, map);
    role_map_unref(map);
    route_node_state(g->route, "b", &b);
    route_node_state(g->route, "b", &b);
    rig_ask(g, &q[0], "ask");
    assert_int_equal(q[0].leases, 1);
    assert_string_equal(q[0].node, "a");
    host.state = HOST_READY;
    route_node_state(g->route, "b", &b);
    rig_ask(g, &q[1], "ask");
    assert_string_equal(q[1].node, "b");
    route_close(q[0].t, ROUTE_DONE, NULL);
    route_close(q[1].t, ROUTE_DONE, NULL);
    rig_settle(g);
}

static void draining_refuses_new_work_only(void **state)
{
    struct rig *g = *state;
    struct asked q[2];

    rig_tell(g, "a", &code_ready, 1);
    rig_ask(g, &q[0], "code");
    route_set_draining(g->route);
    rig_ask(g, &q[1], "code");
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
        ROW(the_old_model_serves_until_the_new_one_stands),
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
