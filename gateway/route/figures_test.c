/* SPDX-License-Identifier: MIT */
/* gateway/route/figures_test.c - what route tells of nodes and hosts, from states made here: tokens
 * per second over restarts of engine, worker and gateway, the rest of a load as time passes, parts
 * and slots, the line to a node. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "gateway/route/route_rig.h"

enum { STEP_MS = 500 };

/* One host of role ask, and one of a role that the map lacks. */
struct worker {
    struct node_host hosts[2];
    struct node_state state;
};

static void worker_init(struct worker *w)
{
    memset(w, 0, sizeof *w);
    strcpy(w->state.node, "a");
    strcpy(w->state.boot_id, "boot-1");
    strcpy(w->hosts[0].role, "ask");
    strcpy(w->hosts[0].model, "m");
    strcpy(w->hosts[0].engine, "core");
    strcpy(w->hosts[1].role, "stranger");
    w->hosts[0].state = w->hosts[1].state = HOST_READY;
    w->hosts[0].pid = 100, w->hosts[1].pid = 200;
    w->state.hosts = w->hosts;
    w->state.n_hosts = 2;
}

static void say(struct rig *g, const struct worker *w)
{
    route_node_state(g->route, "a", &w->state);
}

/* The object of node a; to be decref'd. */
static json_t *node_of(struct rig *g)
{
    struct rm_buf out;
    json_t *nodes, *n, *found = NULL;
    size_t i;

    rm_buf_init(&out, 1 << 20);
    assert_int_equal(route_write_nodes(g->route, &out), 0);
    assert_non_null(nodes = json_loadb(out.data, out.len, 0, NULL));
    json_array_foreach(nodes, i, n) if (strcmp(json_string_value(json_object_get(n, "name")),
                                               "a") == 0) found = json_incref(n);
    json_decref(nodes);
    rm_buf_clear(&out);
    assert_non_null(found);
    return found;
}

static double number(struct rig *g, const char *name) /* -1: null */
{
    json_t *node = node_of(g), *v = json_object_get(node, name);
    double d;

    assert_non_null(v);
    d = json_is_null(v) ? -1 : json_number_value(v);
    json_decref(node);
    return d;
}

/* Each step both hosts write `out` and read `in` tokens more. */
static void work(struct rig *g, struct worker *w, int steps, uint64_t in, uint64_t out)
{
    for (int i = 0; i < steps; i++) {
        rig_pass_ms(g, STEP_MS);
        for (int h = 0; h < 2; h++) {
            w->hosts[h].read_tokens += in;
            w->hosts[h].generated_tokens += out;
        }
        say(g, w);
    }
}

static void rates_of_a_node(void **state)
{
    struct rig *g = *state;
    struct worker w;

    worker_init(&w);
    w.hosts[0].generated_tokens = 1000000; /* before we came */
    say(g, &w);
    assert_true(number(g, "tokens_out_per_s") == 0);
    work(g, &w, 4, 0, 0);
    assert_true(number(g, "tokens_out_per_s") == 0);
    work(g, &w, 20, 100, 5); /* two hosts, two steps a second */
    assert_true(fabs(number(g, "tokens_out_per_s") - 20) < 1e-6);
    assert_true(fabs(number(g, "tokens_in_per_s") - 400) < 1e-6);
    work(g, &w, 11, 0, 0);
    assert_true(number(g, "tokens_out_per_s") == 0 && number(g, "tokens_in_per_s") == 0);
}

static void rates_over_restarts(void **state)
{
    struct rig *g = *state;
    struct worker w;

    worker_init(&w);
    say(g, &w);
    work(g, &w, 20, 100, 5);
    w.hosts[0].pid = 101; /* another engine: it counts from 0 */
    w.hosts[0].generated_tokens = w.hosts[0].read_tokens = 0;
    work(g, &w, 1, 100, 5);
    assert_true(fabs(number(g, "tokens_out_per_s") - 20) < 1e-6);
    w.hosts[1].generated_tokens -= 50; /* the same one counts backwards: nothing is known */
    work(g, &w, 1, 100, 5);
    assert_true(number(g, "tokens_out_per_s") < 20);
    assert_true(number(g, "tokens_out_per_s") > 15);
    strcpy(w.state.boot_id, "boot-2"); /* another worker, whose engine has the same pid */
    w.hosts[0].generated_tokens = w.hosts[0].read_tokens = 0;
    w.hosts[1].generated_tokens = w.hosts[1].read_tokens = 0;
    work(g, &w, 12, 100, 5);
    assert_true(fabs(number(g, "tokens_out_per_s") - 20) < 1e-6);
    w.state.n_hosts = 1; /* a host that leaves takes nothing back, and one that is new began at 0 */
    work(g, &w, 12, 100, 5);
    assert_true(fabs(number(g, "tokens_out_per_s") - 10) < 1e-6);
    w.state.n_hosts = 2;
    w.hosts[1].generated_tokens = w.hosts[1].read_tokens = 0;
    work(g, &w, 12, 100, 5);
    assert_true(fabs(number(g, "tokens_out_per_s") - 20) < 1e-6);
}

static void busy_and_line(void **state)
{
    struct rig *g = *state;
    struct worker w;
    json_t *node = node_of(g);

    assert_true(json_is_null(json_object_get(node, "path"))); /* before it has spoken */
    assert_true(json_is_null(json_object_get(node, "rtt_ms")));
    assert_true(json_is_null(json_object_get(node, "cpu_percent")));
    assert_true(json_is_null(json_object_get(node, "gpu_percent")));
    json_decref(node);
    worker_init(&w);
    w.state.cpu_percent = 12.5;
    w.state.gpu_percent = -1;
    w.state.memory.others = 77;
    say(g, &w);
    route_node_line(g->route, "a", "tailnet", 3.25);
    route_node_line(g->route, "nobody", "lan", 1);
    node = node_of(g);
    assert_string_equal(json_string_value(json_object_get(node, "path")), "tailnet");
    assert_true(json_number_value(json_object_get(node, "rtt_ms")) == 3.25);
    assert_true(json_number_value(json_object_get(node, "cpu_percent")) == 12.5);
    assert_true(json_is_null(json_object_get(node, "gpu_percent")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(node, "memory"), "others")),
                     77);
    json_decref(node);
    route_node_line(g->route, "a", NULL, -1);
    assert_true(number(g, "rtt_ms") == -1 && number(g, "path") == -1);
}

static void parts_slots_and_the_rest_of_a_load(void **state)
{
    struct rig *g = *state;
    struct worker w;
    json_t *node, *host;

    worker_init(&w);
    w.hosts[0].state = HOST_LOADING;
    w.hosts[0].eta_ms = 5000;
    w.hosts[0].weights_bytes = 1, w.hosts[0].kv_bytes = 2, w.hosts[0].kv_used_bytes = 3;
    w.hosts[0].compute_bytes = 4, w.hosts[0].other_bytes = 5, w.hosts[0].measured_bytes = 6;
    w.hosts[0].slots[0] = SLOT_DECODE, w.hosts[0].slots[1] = SLOT_IDLE;
    memset(w.hosts[1].slots, SLOT_PREFILL, sizeof w.hosts[1].slots);
    say(g, &w);
    rig_pass_ms(g, 700); /* since the worker said it */
    node = node_of(g);
    host = json_array_get(json_object_get(node, "hosts"), 0);
    assert_string_equal(json_string_value(json_object_get(host, "role")), "ask");
    assert_int_equal(json_integer_value(json_object_get(host, "eta_ms")), 4300);
    for (int i = 0; i < 6; i++) {
        static const char *const names[] = {"weights_bytes", "kv_bytes",    "kv_used_bytes",
                                            "compute_bytes", "other_bytes", "measured_bytes"};

        assert_int_equal(json_integer_value(json_object_get(host, names[i])), i + 1);
    }
    assert_int_equal(json_array_size(json_object_get(host, "slots")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(host, "slots"), 0)),
                        "decode");
    json_decref(node);
    rig_pass_ms(g, 4299);
    node = node_of(g);
    host = json_array_get(json_object_get(node, "hosts"), 0);
    assert_int_equal(json_integer_value(json_object_get(host, "eta_ms")), 1);
    json_decref(node);
    w.hosts[0].state = HOST_READY;
    w.hosts[0].eta_ms = 0;
    say(g, &w);
    node = node_of(g);
    host = json_array_get(json_object_get(node, "hosts"), 0);
    assert_true(json_is_null(json_object_get(host, "eta_ms")));
    json_decref(node);
}

#define ROW(f) cmocka_unit_test_setup_teardown(f, rig_up, rig_down)

int main(void)
{
    const struct CMUnitTest tests[] = {ROW(rates_of_a_node), ROW(rates_over_restarts),
                                       ROW(busy_and_line), ROW(parts_slots_and_the_rest_of_a_load)};

    return cmocka_run_group_tests_name("figures", tests, NULL, NULL);
}
