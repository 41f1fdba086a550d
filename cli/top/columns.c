/* SPDX-License-Identifier: MIT */
/* cli/top/columns.c - the columns of the three panes, one row each: how wide, how sorted, when
 * given up, and how the cell is made from the API's object. Pure. */
#include "cli/top/rows.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/buf.h"

static void put_text(struct top_cell *c, const char *text)
{
    c->known = text[0] != '\0';
    rm_text_copy(c->text, sizeof c->text, text);
}

static void put_number(struct top_cell *c, double number, const char *text)
{
    c->number = number;
    put_text(c, text);
}

static void put_count(struct top_cell *c, const json_t *item, const char *name)
{
    double v;
    char text[TOP_FIGURE];

    if (!top_num(item, name, &v))
        return;
    if (v < 100000)
        snprintf(text, sizeof text, "%.0f", v);
    put_number(c, v, v < 100000 ? text : top_rate(v, text));
}

static void put_rate(struct top_cell *c, const json_t *item, const char *name)
{
    char text[TOP_FIGURE];
    double v;

    if (top_num(item, name, &v))
        put_number(c, v, top_rate(v, text));
    c->tone = v > 0 ? TONE_GOOD : TONE_PLAIN;
}

static void put_time(struct top_cell *c, const json_t *item, const char *name)
{
    char text[TOP_FIGURE];
    double v;

    if (top_num(item, name, &v))
        put_number(c, v, top_time(v, text));
}

static void put_percent(struct top_cell *c, const json_t *item, const char *name)
{
    char text[TOP_FIGURE];
    double v;

    if (!top_num(item, name, &v))
        return;
    snprintf(text, sizeof text, "%.0f%%", v < 999 ? v : 999);
    put_number(c, v, text);
}

static void fill_name(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_text(c, top_str(item, "name"));
}

/* ---- nodes ---- */

static void node_state(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    const char *health = top_str(item, "health");

    (void)rates;
    c->tone = strcmp(health, "up") == 0     ? TONE_GOOD
              : strcmp(health, "down") == 0 ? TONE_BAD
                                            : TONE_WARN;
    if (strcmp(health, "up") == 0 && (top_is(item, "draining") || top_is(item, "drained"))) {
        c->tone = TONE_WARN;
        put_text(c, top_is(item, "draining") ? "leaving" : "drained");
        return;
    }
    put_text(c, health);
}

static void node_memory(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    const json_t *m = json_object_get(item, "memory");
    double total = top_num0(m, "total");
    char text[TOP_FIGURE];

    (void)rates;
    if (!(total > 0))
        return;
    snprintf(text, sizeof text, "%.0f%%", (total - top_num0(m, "available")) * 100 / total);
    put_number(c, (total - top_num0(m, "available")) / total, text);
}

static void node_used(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    const json_t *m = json_object_get(item, "memory");
    double total = top_num0(m, "total"), used = total - top_num0(m, "available");
    char text[2 * TOP_FIGURE + 2], a[TOP_FIGURE], b[TOP_FIGURE];

    (void)rates;
    if (!(total > 0))
        return;
    snprintf(text, sizeof text, "%s/%s", top_bytes(used, a), top_bytes(total, b));
    put_number(c, used, text);
    if (top_is(m, "refusing"))
        c->tone = TONE_BAD;
}

static void node_cpu(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_percent(c, item, "cpu_percent");
}

static void node_gpu(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_percent(c, item, "gpu_percent");
}

static void node_in(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_rate(c, item, "tokens_in_per_s");
}

static void node_out(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_rate(c, item, "tokens_out_per_s");
}

/* Of all hosts of a node together. */
static double host_sum(const json_t *item, const char *name)
{
    const json_t *host;
    double sum = 0;
    size_t i;

    json_array_foreach(json_object_get(item, "hosts"), i, host) sum += top_num0(host, name);
    return sum;
}

static void node_slots(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    double busy = host_sum(item, "slots_busy"), all = host_sum(item, "slots_total");
    char text[2 * TOP_FIGURE];

    (void)rates;
    snprintf(text, sizeof text, "%.0f/%.0f", busy < 99999 ? busy : 99999,
             all < 99999 ? all : 99999);
    put_number(c, busy, text);
    c->tone = busy > 0 && busy >= all ? TONE_WARN : TONE_PLAIN;
}

static void node_queue(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    double n = host_sum(item, "queue");
    char text[TOP_FIGURE];

    (void)rates;
    snprintf(text, sizeof text, "%.0f", n < 999999 ? n : 999999);
    put_number(c, n, text);
    c->tone = n > 0 ? TONE_WARN : TONE_PLAIN;
}

static void node_rtt(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    char text[TOP_FIGURE];
    double v;

    (void)rates;
    if (!top_num(item, "rtt_ms", &v))
        return;
    if (v < 9.95)
        snprintf(text, sizeof text, "%.1fms", v);
    put_number(c, v, v < 9.95 ? text : top_time(v, text));
}

static void node_path(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_text(c, top_str(item, "path"));
}

/* ---- roles ---- */

static void role_state(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    const json_t *loading = json_object_get(item, "loading");
    char text[TOP_CELL_MAX];

    (void)rates;
    if (top_num0(item, "hosts_ready") > 0) {
        bool busy = top_num0(item, "in_flight") > 0;

        put_text(c, busy ? "busy" : "ready");
        c->tone = TONE_GOOD;
    } else if (json_is_object(loading)) {
        snprintf(text, sizeof text, "%.60s %.0f%%", top_str(loading, "state"),
                 top_num0(loading, "progress") * 100);
        put_text(c, text);
        c->tone = TONE_WARN;
    } else {
        bool on_demand = strcmp(top_str(item, "residency"), "on-demand") == 0;

        put_text(c, on_demand ? "asleep" : "no host");
        c->tone = on_demand ? TONE_DIM : TONE_BAD;
    }
}

static void role_hosts(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    double ready = top_num0(item, "hosts_ready"), all = top_num0(item, "replicas");
    char text[2 * TOP_FIGURE];

    (void)rates;
    snprintf(text, sizeof text, "%.0f/%.0f", ready < 9999 ? ready : 9999, all < 9999 ? all : 9999);
    put_number(c, ready, text);
}

static void role_running(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_count(c, item, "in_flight");
}

static void role_waiting(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_count(c, item, "waiting");
    c->tone = c->number > 0 ? TONE_WARN : TONE_PLAIN;
}

static void role_ttft(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_time(c, json_object_get(item, "ttft_ms"), "p50");
}

static void role_tps(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    char text[TOP_FIGURE];
    double v;

    (void)rates;
    if (top_num(json_object_get(item, "decode_tps"), "p50", &v))
        put_number(c, v, top_rate(v, text));
}

static void role_requests(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_count(c, item, "requests");
}

static void role_errors(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_count(c, item, "errors");
    c->tone = c->number > 0 ? TONE_BAD : TONE_PLAIN;
}

static void role_cached(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    char text[TOP_FIGURE];
    double v;

    (void)rates;
    if (!top_num(item, "cached_share", &v))
        return;
    snprintf(text, sizeof text, "%.0f%%", v <= 1 ? v * 100 : 100);
    put_number(c, v, text);
}

static void role_lane(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_text(c, top_str(item, "lane"));
}

static void role_model(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_text(c, top_str(item, "model"));
}

/* ---- requests ---- */

static void request_id(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_text(c, top_str(item, "id"));
}

static void request_state(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    const char *state = top_str(item, "state"), *outcome = top_str(item, "outcome");
    bool over = strcmp(state, "done") == 0;

    (void)rates;
    put_text(c, over && outcome[0] != '\0' ? outcome : state);
    c->tone = strcmp(state, "running") == 0   ? TONE_GOOD
              : strcmp(state, "waiting") == 0 ? TONE_WARN
              : strcmp(outcome, "ok") == 0    ? TONE_DIM
                                              : TONE_BAD;
}

static void request_role(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    const char *role = top_str(item, "role"), *served = top_str(item, "served");
    char text[TOP_CELL_MAX];

    (void)rates;
    snprintf(text, sizeof text, "%.40s>%.40s", role, served);
    put_text(c, served[0] != '\0' && strcmp(role, served) != 0 ? text : role);
}

static void request_node(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_text(c, top_str(item, "node"));
}

static void request_age(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_time(c, item, "age_ms");
}

static void request_in(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_count(c, item, "prompt_tokens");
    if (c->number == 0) /* the engine has not said */
        c->known = false;
}

static void request_out(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_count(c, item, "completion_tokens");
}

static void request_tps(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    char text[TOP_FIGURE];
    double v;

    if (!top_rates_of(rates, top_str(item, "id"), &v))
        return;
    put_number(c, v, top_rate(v, text));
    c->tone = v > 0 ? TONE_GOOD : TONE_PLAIN;
}

static void request_ttft(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_time(c, item, "ttft_ms");
}

static void request_who(const json_t *item, const struct top_rates *rates, struct top_cell *c)
{
    (void)rates;
    put_text(c, top_str(json_object_get(item, "key"), "name"));
}

/* ---- the tables ---- */

/* clang-format off */
/*   title    width most right  number falling rank fill */
static const struct top_column nodes[] = {
    {"NODE",     8, 24, false, false, false, 0, fill_name, false, false},
    {"STATE",    7,  7, false, false, false, 1, node_state, false, false},
    {"MEMORY",  12, 40, false, true,  true,  4, node_memory, true, false},
    {"USED",    10, 12, true,  true,  true,  3, node_used, false, false},
    {"CPU",      4,  4, true,  true,  true,  5, node_cpu, false, false},
    {"GPU",      4,  4, true,  true,  true,  7, node_gpu, false, false},
    {"IN/S",     6,  6, true,  true,  true,  3, node_in, false, false},
    {"OUT/S",    6,  6, true,  true,  true,  1, node_out, false, false},
    {"SLOTS",    6,  9, true,  true,  true,  2, node_slots, false, false},
    {"QUEUE",    5,  6, true,  true,  true,  2, node_queue, false, false},
    {"RTT",      6,  6, true,  true,  true,  8, node_rtt, false, false},
    {"PATH",     8,  8, false, false, false, 9, node_path, false, false},
};
static const struct top_column roles[] = {
    {"ROLE",     8, 24, false, false, false, 0, fill_name, false, false},
    {"STATE",    8, 20, false, false, false, 1, role_state, false, false},
    {"HOSTS",    5,  5, true,  true,  true,  2, role_hosts, false, false},
    {"RUN",      4,  5, true,  true,  true,  1, role_running, false, false},
    {"WAIT",     4,  5, true,  true,  true,  1, role_waiting, false, false},
    {"TTFT",     6,  6, true,  true,  true,  3, role_ttft, false, false},
    {"TOK/S",    6,  6, true,  true,  true,  3, role_tps, false, false},
    {"CACHED",   6,  6, true,  true,  true,  8, role_cached, false, false},
    {"REQS",     5,  7, true,  true,  true,  4, role_requests, false, false},
    {"ERRS",     4,  6, true,  true,  true,  4, role_errors, false, false},
    {"LANE",    12, 12, false, false, false, 9, role_lane, false, false},
    {"MODEL",   10, 40, false, false, false, 5, role_model, false, false},
};
static const struct top_column requests[] = {
    {"REQUEST", 12, 40, false, false, false, 0, request_id, false, true},
    {"STATE",    7,  8, false, false, false, 1, request_state, false, false},
    {"ROLE",     8, 20, false, false, false, 2, request_role, false, false},
    {"NODE",     8, 20, false, false, false, 3, request_node, false, false},
    {"AGE",      6,  6, true,  true,  true,  1, request_age, false, false},
    {"IN",       5,  7, true,  true,  true,  4, request_in, false, false},
    {"OUT",      5,  7, true,  true,  true,  2, request_out, false, false},
    {"TOK/S",    6,  6, true,  true,  true,  1, request_tps, false, false},
    {"TTFT",     6,  6, true,  true,  true,  5, request_ttft, false, false},
    {"WHO",      8, 20, false, false, false, 7, request_who, false, false},
};
/* clang-format on */

static const struct {
    const char *name;
    const struct top_column *columns;
    size_t n;
} panes[] = {
    [TOP_NODES] = {"nodes", nodes, RM_COUNT(nodes)},
    [TOP_ROLES] = {"roles", roles, RM_COUNT(roles)},
    [TOP_REQUESTS] = {"requests", requests, RM_COUNT(requests)},
};
_Static_assert(RM_COUNT(nodes) <= TOP_COLUMNS_MAX && RM_COUNT(roles) <= TOP_COLUMNS_MAX &&
                   RM_COUNT(requests) <= TOP_COLUMNS_MAX,
               "a row has room for every column");

const struct top_column *top_columns(enum top_pane pane, size_t *n)
{
    *n = panes[pane].n;
    return panes[pane].columns;
}

const char *top_pane_name(enum top_pane pane)
{
    return panes[pane].name;
}
