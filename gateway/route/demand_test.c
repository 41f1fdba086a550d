/* SPDX-License-Identifier: MIT */
/* The route's side of on-demand loading: demand, closed hosts, notes, clocks that stand, fallbacks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "gateway/route/route_rig.h"
#include "proto/base/om.h"

static const struct told ask_ready = {"ask", HOST_READY, "x", 1, 0, 0};
static const struct told think_ready = {"think", HOST_READY, "x", 1, 0, 0};

/* Time goes by in steps of the sweep, and the node says so again each second. */
static void live(struct rig *g, const char *node, struct told *host, uint64_t ms, double rise)
{
    for (uint64_t t = 0; t < ms; t += 250) {
        rig_pass_ms(g, 250);
        if (t % 1000 == 0) {
            host->progress += rise;
            rig_tell(g, node, host, 1);
        }
        route_sweep(g->route);
    }
    rig_turn(g);
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
    rig_ask(g, &q[0], "think");
    rig_pass_ms(g, 700);
    rig_ask(g, &q[1], "think");
    rig_pass_ms(g, 300);
    route_demand_of(g->route, "think", &d);
    assert_int_equal(d.waiting, 2);
    assert_int_equal(d.oldest_ms, 1000);
    assert_int_equal(d.last_ask_ms, g->now_us / 1000 - 300);
    assert_int_equal(d.last_use_ms, 0);
    rig_tell(g, "a", &think_ready, 1);
    route_demand_of(g->route, "think", &d);
    assert_int_equal(d.waiting, 1);
    assert_int_equal(d.in_flight, 1);
    assert_int_equal(d.last_use_ms, g->now_us / 1000);
    route_host_use_of(g->route, "think", "a", &use);
    assert_int_equal(use.in_flight, 1);
    assert_false(use.closed);
    route_close(q[1].t, ROUTE_CLIENT, NULL); /* who leaves takes its demand away */
    rig_pass_ms(g, 5000);
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
    rig_tell(g, "a", &ask_ready, 1);
    rig_ask(g, &q, "ask");
    assert_string_equal(heard, ""); /* served */
    route_close(q.t, ROUTE_DONE, NULL);
    rig_ask(g, &q, "think");
    assert_string_equal(heard, "think");
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void a_closed_host_gets_nothing_new(void **state)
{
    struct rig *g = *state;
    struct route_host_use use;
    struct asked q[3];

    rig_tell(g, "a", &ask_ready, 1);
    rig_ask(g, &q[0], "ask");
    assert_int_equal(q[0].leases, 1);
    route_host_close(g->route, "ask", "a", true);
    rig_ask(g, &q[1], "ask");
    rig_tell(g, "a", &ask_ready, 1); /* whatever the states say */
    assert_int_equal(q[1].leases + q[1].refusals, 0);
    assert_int_equal(q[0].losts, 0); /* what runs goes on */
    route_close(q[0].t, ROUTE_DONE, NULL);
    rig_turn(g);
    assert_int_equal(q[1].leases, 0);
    route_host_close(g->route, "ask", "a", false);
    rig_turn(g);
    assert_int_equal(q[1].leases, 1);
    route_close(q[1].t, ROUTE_DONE, NULL);
    route_host_close(g->route, "ask", "a", true);
    rig_tell(g, "a", NULL, 0); /* gone: what comes next is another one */
    route_host_use_of(g->route, "ask", "a", &use);
    assert_false(use.closed);
    rig_tell(g, "a", &ask_ready, 1);
    rig_ask(g, &q[2], "ask");
    assert_int_equal(q[2].leases, 1);
    route_close(q[2].t, ROUTE_DONE, NULL);
    route_host_close(g->route, "ask", "nowhere", true);
    route_host_close(g->route, "nobody", "a", true);
}

static void the_note_is_told_to_who_waits(void **state)
{
    struct told loading = {"think", HOST_LOADING, "", 0.43, 0, 0};
    struct rig *g = *state;
    char status[200];
    struct asked q;

    rig_tell(g, "a", NULL, 0);
    rig_ask(g, &q, "think");
    note(g, ROUTE_NOTE_WAITS, NULL, 0, "code to finish");
    route_ticket_status(q.t, status, sizeof status);
    assert_string_equal(status, "think waits for code to finish");
    note(g, ROUTE_NOTE_LOADING, "a", 12400, NULL);
    route_ticket_status(q.t, status, sizeof status);
    assert_string_equal(status, "think is being loaded on a, about 13 s left");
    rig_tell(g, "a", &loading, 1);
    rig_pass_ms(g, 2400);
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

    rig_tell(g, "a", NULL, 0);
    rig_ask(g, &q, "think");
    note(g, ROUTE_NOTE_WAITS, NULL, 0, "a\r\ndata: {}\n\x1b[2J\x7f");
    route_ticket_status(q.t, status, sizeof status);
    assert_string_equal(status, "think waits for a  data: {}  [2J ");
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void what_cannot_be_loaded_is_refused_with_the_reason(void **state)
{
    struct rig *g = *state;
    struct asked q[3];

    rig_ask(g, &q[0], "think");
    note(g, ROUTE_NOTE_CANNOT, NULL, 0, "it needs 92 GiB, the roomiest node has 60");
    route_role_fail(g->route, "think", RM_ERR_NO_HOST, "think cannot be loaded: no room");
    assert_int_equal(q[0].err, RM_ERR_NO_HOST);
    assert_string_equal(q[0].text, "think cannot be loaded: no room");
    assert_in_range(q[0].retry_after, 1, 60);
    rig_ask(g, &q[1], "think");
    assert_int_equal(q[1].err, RM_ERR_NO_HOST);
    assert_string_equal(q[1].text,
                        "think cannot be loaded: it needs 92 GiB, the roomiest node has 60");
    note(g, ROUTE_NOTE_CANNOT, NULL, 0, "think fits on no node"); /* said once is enough */
    rig_ask(g, &q[2], "think");
    assert_string_equal(q[2].text, "think fits on no node");
    route_close(q[2].t, ROUTE_UNUSED, NULL);
    rig_tell(g, "a", &think_ready, 1); /* it is there all the same */
    rig_ask(g, &q[2], "think");
    assert_int_equal(q[2].leases, 1);
    for (int i = 0; i < 3; i++)
        route_close(q[i].t, ROUTE_DONE, NULL);
}

/* Else nobody would ever try again. */
static void what_could_not_be_loaded_is_wanted_again(void **state)
{
    struct rig *g = *state;
    struct route_demand d;
    struct asked q;

    note(g, ROUTE_NOTE_CANNOT, NULL, 0, "no room");
    rig_pass_ms(g, 40000);
    note(g, ROUTE_NOTE_CANNOT, NULL, 0, "no room"); /* said again */
    rig_pass_ms(g, 59000);
    rig_ask(g, &q, "think");
    assert_int_equal(q.err, RM_ERR_NO_HOST);
    route_close(q.t, ROUTE_UNUSED, NULL);
    rig_pass_ms(g, 1000);
    rig_ask(g, &q, "think");
    assert_int_equal(q.refusals, 0);
    route_demand_of(g->route, "think", &d);
    assert_int_equal(d.waiting, 1);
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void loading_stops_the_clock_of_who_waits(void **state)
{
    struct told loading = {"think", HOST_LOADING, "", 0, 0, 0};
    struct rig *g = *state;
    struct asked q;

    rig_ask(g, &q, "think");
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

    rig_tell(g, "a", NULL, 0);
    rig_ask(g, &q, "think");
    note(g, ROUTE_NOTE_WAITS, NULL, 20000, "code to finish");
    for (int i = 0; i < 1790; i++) {
        rig_pass_ms(g, 1000);
        rig_tell(g, "a", NULL, 0);
        route_sweep(g->route);
    }
    assert_int_equal(q.refusals, 0);
    for (int i = 0; i < 12; i++) {
        rig_pass_ms(g, 1000);
        rig_tell(g, "a", NULL, 0);
        note(g, ROUTE_NOTE_WAITS, NULL, 17000, "code to finish");
        route_sweep(g->route);
    }
    assert_int_equal(q.refusals, 1);
    assert_int_equal(q.retry_after, 17);
    route_close(q.t, ROUTE_UNUSED, NULL);
}

/* Whatever is announced: a node that does not answer loads nothing. */
static void a_note_does_not_stop_the_clock_for_a_silent_node(void **state)
{
    struct rig *g = *state;
    struct asked q;

    rig_ask(g, &q, "think");
    note(g, ROUTE_NOTE_WAITS, NULL, 0, "its turn");
    for (int i = 0; i < 29; i++) {
        rig_pass_ms(g, 1000);
        route_sweep(g->route);
    }
    assert_int_equal(q.refusals, 0);
    rig_pass_ms(g, 1000);
    route_sweep(g->route);
    assert_int_equal(q.err, RM_ERR_NO_HOST);
    assert_string_equal(q.text, "no node that may host think answers");
    route_close(q.t, ROUTE_UNUSED, NULL);
    rig_tell(g, "a", NULL, 0);
    rig_ask(g, &q, "think");
    note(g, ROUTE_NOTE_LOADING, "a", 600000, NULL);
    for (int i = 0; i < 40; i++) { /* it is believed for 7 s */
        assert_int_equal(q.refusals, i >= 37 ? 1 : 0);
        rig_pass_ms(g, 1000);
        route_sweep(g->route);
    }
    assert_string_equal(q.text, "no node that may host think answers");
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void an_own_deadline_holds_while_it_loads(void **state)
{
    struct rig *g = *state;
    struct asked q;

    rig_tell(g, "a", NULL, 0);
    rig_ask_with(g, &q,
                 &(struct route_ask){.role = "think", .deadline_ms = g->now_us / 1000 + 5000});
    note(g, ROUTE_NOTE_LOADING, "a", 60000, NULL);
    rig_pass_ms(g, 5000);
    route_sweep(g->route);
    assert_int_equal(q.refusals, 1);
    assert_int_equal(q.retry_after, 55);
    route_close(q.t, ROUTE_UNUSED, NULL);
}

static void a_load_that_takes_too_long_leaves_for_the_fallback(void **state)
{
    struct told hosts[] = {{"code", HOST_LOADING, "", 0.1, 0, 0}, {"ask", HOST_BUSY, "x", 1, 0, 0}};
    struct rig *g = *state;
    struct route_demand d;
    struct asked q;

    rig_tell(g, "a", hosts, 2);
    rig_ask(g, &q, "code");
    route_role_note(g->route, "code", &(struct route_note){ROUTE_NOTE_LOADING, "a", 20000, NULL});
    for (int i = 0; i < 4 * 29; i++) {
        rig_pass_ms(g, 250);
        if (i % 4 == 0)
            rig_tell(g, "a", hosts, 2);
        route_sweep(g->route);
    }
    assert_int_equal(q.leases + q.refusals, 0);
    for (int i = 0; i < 5; i++) {
        rig_pass_ms(g, 250);
        route_sweep(g->route);
    }
    rig_turn(g);
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

    rig_tell(g, "a", &ask_ready, 1);
    rig_ask(g, &q, "code");
    assert_int_equal(q.leases, 0);
    route_role_fail(g->route, "code", RM_ERR_NO_HOST, "code cannot be loaded: half a file");
    rig_turn(g);
    assert_int_equal(q.leases, 1);
    assert_string_equal(q.role, "ask");
    route_close(q.t, ROUTE_DONE, NULL);
}

static void a_fallback_that_is_not_loaded_is_wanted_then(void **state)
{
    struct rig *g = rig_open("version: 1\ngateway: { listen: [\"127.0.0.1:0\"] }\n"
                             "nodes: { a: { address: \"127.0.0.1:1\" } }\n"
                             "models: { m: { source: /m.gguf } }\nroles:\n"
                             "  code: { model: m, queue_deadline: 30s, fallback: [fim, ask] }\n"
                             "  fim: { model: m }\n"
                             "  ask: { model: m, residency: on-demand, fallback: [last] }\n"
                             "  last: { model: m, residency: on-demand }\n");
    const struct told last_ready = {"last", HOST_READY, "x", 1, 0, 0};
    char heard[64] = "";
    struct asked q;

    (void)state;
    assert_non_null(g);
    route_on_wanted(g->route, on_wanted, heard);
    rig_ask(g, &q, "code");
    rig_pass_ms(g, 30000);
    route_sweep(g->route); /* a deadline is no reason to load another */
    assert_int_equal(q.err, RM_ERR_NO_HOST);
    route_close(q.t, ROUTE_UNUSED, NULL);
    rig_ask(g, &q, "code");
    assert_string_equal(heard, "code");
    route_role_fail(g->route, "code", RM_ERR_NO_HOST, "code cannot be loaded: half a file");
    rig_turn(g);
    assert_int_equal(q.refusals, 0);
    assert_string_equal(heard, "ask"); /* fim is resident: nobody would load it for this */
    route_role_fail(g->route, "ask", RM_ERR_NO_HOST, "ask cannot be loaded: half a file");
    rig_turn(g);
    assert_string_equal(heard, "last");
    rig_tell(g, "a", &last_ready, 1);
    assert_string_equal(q.role, "last");
    route_close(q.t, ROUTE_DONE, NULL);
    assert_int_equal(rig_close(g), 0);
}

static void b_is_loading(struct rig *g)
{
    const struct told slow = {"code", HOST_READY, "x", 1, 0, 100},
                      loading = {"code", HOST_LOADING, "", 0.5, 0, 0};

    rig_tell(g, "b", &loading, 1);
    rig_tell(g, "a", &slow, 1);
    route_role_note(g->route, "code", &(struct route_note){ROUTE_NOTE_LOADING, "b", 20000, NULL});
}

/* It has shown before how fast it is. */
static void fast_b_is_loading(struct rig *g)
{
    const struct told fast = {"code", HOST_READY, "x", 1, 0, 1000};

    rig_tell(g, "b", &fast, 1);
    b_is_loading(g);
}

static void a_long_prompt_waits_for_the_faster_host(void **state)
{
    const struct told fast = {"code", HOST_READY, "x", 1, 0, 1000};
    struct rig *g = *state;
    struct asked longer, small;
    char status[200];

    fast_b_is_loading(g);
    rig_ask_with(g, &longer, &(struct route_ask){.role = "code", .prompt_tokens = 100000});
    assert_int_equal(longer.leases, 0); /* 1000 s on a, 120 s on b */
    route_ticket_status(longer.t, status, sizeof status);
    assert_string_equal(status, "code waits for a faster host, which is being loaded");
    rig_ask_with(g, &small, &(struct route_ask){.role = "code", .prompt_tokens = 1000});
    assert_string_equal(small.node, "a"); /* 10 s on a; nobody waits behind the other */
    rig_pass_ms(g, 5000);
    rig_tell(g, "b", &fast, 1);
    assert_string_equal(longer.node, "b");
    route_close(longer.t, ROUTE_DONE, NULL);
    route_close(small.t, ROUTE_DONE, NULL);
}

static void a_load_that_is_late_is_not_waited_for(void **state)
{
    struct rig *g = *state;
    struct asked q;

    fast_b_is_loading(g);
    rig_ask_with(g, &q, &(struct route_ask){.role = "code", .prompt_tokens = 100000});
    for (int i = 0; i < 20; i++) { /* it is always about to come */
        rig_pass_ms(g, 1000);
        b_is_loading(g);
        route_sweep(g->route);
        assert_int_equal(q.leases, 0);
    }
    rig_pass_ms(g, 1000);
    b_is_loading(g);
    rig_turn(g);
    assert_string_equal(q.node, "a");
    route_close(q.t, ROUTE_DONE, NULL);
}

static void roles_are_told_with_their_loads(void **state)
{
    struct told loading = {"think", HOST_LOADING, "", 0.25, 0, 0};
    struct rig *g = *state;
    struct asked q[2];
    struct rm_buf out;
    struct rm_om om;

    rm_buf_init(&out, 1 << 20);
    assert_int_equal(route_write_roles(g->route, NULL, NULL, &out), 0);
    assert_null(strstr(out.data, "\"loading\":{"));
    assert_non_null(strstr(out.data, "\"idle_ms\":null"));
    note(g, ROUTE_NOTE_LOADING, "a", 9000, NULL);
    rig_tell(g, "a", &loading, 1);
    rig_ask(g, &q[0], "think");
    rig_pass_ms(g, 1500);
    out.len = 0;
    assert_int_equal(route_write_roles(g->route, NULL, NULL, &out), 0);
    assert_non_null(strstr(out.data, "\"waiting\":1,\"oldest_ms\":1500,\"in_flight\":0,"));
    assert_non_null(strstr(out.data, "\"loading\":{\"node\":\"a\",\"state\":\"loading\","
                                     "\"progress\":0.25,\"eta_ms\":7500,\"stalled\":false}"));
    assert_non_null(strstr(out.data, "think is loading on a, 25 %, about 8 s left"));
    out.len = 0;
    rm_om_begin(&om, &out, false);
    route_write_metrics(g->route, &om);
    assert_int_equal(rm_om_end(&om), 0);
    assert_non_null(strstr(out.data, "rolemesh_loads_waiting{role=\"think\"} 1\n"));
    assert_non_null(strstr(out.data, "rolemesh_queue_oldest_seconds{role=\"think\"} 1.5\n"));
    assert_non_null(strstr(out.data, "rolemesh_role_load_eta_seconds{role=\"think\"} 7.5\n"));
    rig_tell(g, "a", &think_ready, 1);
    route_host_close(g->route, "think", "a", true);
    rig_ask(g, &q[1], "think");
    rig_pass_ms(g, 500);
    out.len = 0;
    assert_int_equal(route_write_roles(g->route, NULL, NULL, &out), 0);
    assert_non_null(strstr(out.data, "\"usable\":false,\"drift\":false,\"closed\":true"));
    assert_non_null(strstr(out.data, "\"waiting\":1,\"oldest_ms\":500,\"in_flight\":1,"));
    rm_buf_clear(&out);
    route_close(q[0].t, ROUTE_DONE, NULL);
    route_close(q[1].t, ROUTE_DONE, NULL);
}

#define ROW(f) cmocka_unit_test_setup_teardown(f, rig_up, rig_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(demand_is_counted),
        ROW(who_loads_is_told_of_the_first_request),
        ROW(a_closed_host_gets_nothing_new),
        ROW(the_note_is_told_to_who_waits),
        ROW(a_note_with_control_bytes_is_made_one_line),
        ROW(what_cannot_be_loaded_is_refused_with_the_reason),
        ROW(what_could_not_be_loaded_is_wanted_again),
        ROW(loading_stops_the_clock_of_who_waits),
        ROW(nobody_waits_for_ever),
        ROW(a_note_does_not_stop_the_clock_for_a_silent_node),
        ROW(an_own_deadline_holds_while_it_loads),
        ROW(a_load_that_takes_too_long_leaves_for_the_fallback),
        ROW(a_failed_load_sends_them_to_the_fallback),
        cmocka_unit_test(a_fallback_that_is_not_loaded_is_wanted_then),
        ROW(a_long_prompt_waits_for_the_faster_host),
        ROW(a_load_that_is_late_is_not_waited_for),
        ROW(roles_are_told_with_their_loads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
