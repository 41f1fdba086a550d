/* SPDX-License-Identifier: MIT */
/* cli/show.c - see show.h. */
#include "cli/show.h"

#include "cli/api.h"
#include "cli/grid.h"

#include <inttypes.h>
#include <string.h>

/* ---- cells ---- */

enum term_color show_color(const char *word)
{
    static const struct {
        const char *word;
        enum term_color color;
    } words[] = {
        {"up", TERM_GOOD},      {"ready", TERM_GOOD},    {"busy", TERM_GOOD},
        {"ok", TERM_GOOD},      {"live", TERM_GOOD},     {"running", TERM_GOOD},
        {"suspect", TERM_WARN}, {"fetching", TERM_WARN}, {"loading", TERM_WARN},
        {"warming", TERM_WARN}, {"draining", TERM_WARN}, {"warning", TERM_WARN},
        {"waiting", TERM_WARN}, {"refused", TERM_WARN},  {"gone", TERM_WARN},
        {"expired", TERM_WARN}, {"down", TERM_BAD},      {"failed", TERM_BAD},
        {"error", TERM_BAD},    {"broken", TERM_BAD},    {"revoked", TERM_BAD},
    };

    for (size_t i = 0; word != NULL && i < RM_COUNT(words); i++)
        if (strcmp(word, words[i].word) == 0)
            return words[i].color;
    return TERM_PLAIN;
}

const char *show_bytes(const json_t *object, const char *key, char out[HUMAN_MAX])
{
    return api_null(object, key) ? "-" : human_bytes(api_u64(object, key), out);
}

const char *show_ms(const json_t *object, const char *key, char out[HUMAN_MAX])
{
    double ms = api_real(object, key);

    if (api_null(object, key))
        return "-";
    if (json_is_real(json_object_get(object, key)) && ms > 0 && ms < 10)
        snprintf(out, HUMAN_MAX, "%.1fms", ms);
    else
        human_ms(api_u64(object, key), out);
    return out;
}

const char *show_percent(const json_t *object, const char *key, double of, char out[HUMAN_MAX])
{
    if (api_null(object, key))
        return "-";
    snprintf(out, HUMAN_MAX, "%.0f%%", 100 * api_real(object, key) / of);
    return out;
}

const char *show_rate(const json_t *object, const char *key, char out[HUMAN_MAX])
{
    double n = api_real(object, key);

    return n > 0 ? human_rate(n, out) : "-";
}

const char *show_words(const json_t *array, char *out, size_t size)
{
    const json_t *item;
    size_t i, n = 0;

    out[0] = '\0';
    json_array_foreach(array, i, item)
    {
        if (n < size && json_is_string(item))
            n += (size_t)snprintf(out + n, size - n, "%s%s", n > 0 ? ", " : "",
                                  json_string_value(item));
    }
    return out[0] != '\0' ? out : "-";
}

/* Why a host that is there gets no requests: "drift", "drained", "closed"; or NULL. */
static const char *kept_from(const json_t *host)
{
    const char *wanted = json_string_value(json_object_get(host, "wanted"));

    if (api_true(host, "drift"))
        return "drift";
    if (!api_true(host, "closed"))
        return NULL;
    return wanted != NULL && strcmp(wanted, "drained") == 0 ? "drained" : "closed";
}

/* "code ready, ask loading": the hosts of a node by role, or of a role by node. */
static const char *hosts_text(const json_t *hosts, const char *by, char *out, size_t size)
{
    const json_t *host;
    size_t i, n = 0;

    out[0] = '\0';
    json_array_foreach(hosts, i, host)
    {
        const char *name = json_string_value(json_object_get(host, by));
        const char *state = json_string_value(json_object_get(host, "state"));
        const char *why = kept_from(host);

        if (n < size && name != NULL && state != NULL)
            n += (size_t)snprintf(out + n, size - n, "%s%s %s%s%s%s", n > 0 ? ", " : "", name,
                                  state, why != NULL ? " (" : "", why != NULL ? why : "",
                                  why != NULL ? ")" : "");
    }
    return out[0] != '\0' ? out : "-";
}

static int finish(struct grid *g, const struct term *t, bool wide)
{
    int r = grid_print(g, t, wide);

    grid_clear(g);
    return r;
}

/* ---- nodes ---- */

static const struct grid_column node_columns[] = {
    {"NODE", false, false, 32},   {"HEALTH", false, false, 0},     {"PATH", false, GRID_SPARE, 0},
    {"RTT", true, GRID_SPARE, 0}, {"UPTIME", true, GRID_SPARE, 0}, {"MEMORY", false, false, 0},
    {"CPU", true, GRID_SPARE, 0}, {"GPU", true, GRID_SPARE, 0},    {"IN/S", true, false, 0},
    {"OUT/S", true, false, 0},    {"ADDRESS", false, true, 0},     {"VERSION", false, true, 0},
    {"AVAILABLE", true, true, 0}, {"RESERVE", true, true, 0},      {"SWAP", true, true, 0},
    {"KEPT OFF", false, true, 0}, {"HOSTS", false, false, 60},     {"ERROR", false, true, 0},
};

static void add_health(struct grid *g, const json_t *node)
{
    const char *health = json_string_value(json_object_get(node, "health"));
    bool drained = api_true(node, "drained"), draining = api_true(node, "draining");

    grid_add(g, drained || draining ? TERM_WARN : show_color(health), "%s%s",
             health != NULL ? health : "-",
             drained    ? ", drained"
             : draining ? ", stopping"
                        : "");
}

static void add_memory(struct grid *g, const json_t *memory)
{
    char used[HUMAN_MAX], budget[HUMAN_MAX];

    if (api_u64(memory, "total") == 0)
        grid_add(g, TERM_PLAIN, "-");
    else
        grid_add(g, api_true(memory, "refusing") ? TERM_WARN : TERM_PLAIN, "%s of %s%s",
                 human_bytes(api_u64(memory, "committed"), used),
                 human_bytes(api_u64(memory, "budget"), budget),
                 api_true(memory, "refusing") ? ", full" : "");
}

static void add_address(struct grid *g, const json_t *node)
{
    const char *host = json_string_value(json_object_get(node, "host"));
    uint64_t port = api_u64(node, "port");

    if (host == NULL || port == 0)
        grid_add(g, TERM_PLAIN, "%s", host != NULL ? host : "-");
    else
        grid_add(g, TERM_PLAIN, "%s:%" PRIu64, host, port);
}

static void add_node(struct grid *g, const json_t *node)
{
    const json_t *memory = json_object_get(node, "memory");
    bool seen = api_true(node, "seen");
    char text[ASK_TEXT_MAX], cell[HUMAN_MAX], hosts[GRID_CELL_MAX];

    grid_add(g, TERM_PLAIN, "%s", api_text(node, "name", text));
    add_health(g, node);
    grid_add(g, TERM_PLAIN, "%s", api_text(node, "path", text));
    grid_add(g, TERM_PLAIN, "%s", show_ms(node, "rtt_ms", cell));
    grid_add(g, TERM_PLAIN, "%s", seen ? show_ms(node, "uptime_ms", cell) : "-");
    add_memory(g, memory);
    grid_add(g, TERM_PLAIN, "%s", show_percent(node, "cpu_percent", 100, cell));
    grid_add(g, TERM_PLAIN, "%s", show_percent(node, "gpu_percent", 100, cell));
    grid_add(g, TERM_PLAIN, "%s", show_rate(node, "tokens_in_per_s", cell));
    grid_add(g, TERM_PLAIN, "%s", show_rate(node, "tokens_out_per_s", cell));
    add_address(g, node);
    grid_add(g, TERM_PLAIN, "%s", api_text(node, "version", text));
    grid_add(g, TERM_PLAIN, "%s", seen ? show_bytes(memory, "available", cell) : "-");
    grid_add(g, TERM_PLAIN, "%s", seen ? show_bytes(memory, "reserve", cell) : "-");
    grid_add(g, TERM_PLAIN, "%s", seen ? show_bytes(memory, "swap_used", cell) : "-");
    grid_add(g, TERM_WARN, "%s",
             show_words(json_object_get(node, "unloaded"), hosts, sizeof hosts));
    grid_add(g, TERM_PLAIN, "%s",
             hosts_text(json_object_get(node, "hosts"), "role", hosts, sizeof hosts));
    grid_add(g, TERM_BAD, "%s", api_text(node, "last_error", text));
}

int show_nodes(const json_t *nodes, const struct term *t, bool wide)
{
    const json_t *node;
    struct grid g;
    size_t i;

    grid_init(&g, node_columns, RM_COUNT(node_columns));
    g.none = "no nodes";
    json_array_foreach(nodes, i, node) add_node(&g, node);
    return finish(&g, t, wide);
}

/* ---- roles ---- */

static const struct grid_column role_columns[] = {
    {"ROLE", false, false, 32},        {"MODEL", false, false, 32},
    {"READY", false, false, 0},        {"SLOTS", false, false, 0},
    {"WAITING", true, false, 0},       {"RUNNING", true, false, 0},
    {"LANE", false, true, 0},          {"RESIDENCY", false, true, 0},
    {"MODES", false, true, 0},         {"CONTEXT", true, true, 0},
    {"REQUESTS", true, true, 0},       {"ERRORS", true, false, 0},
    {"TTFT P50", true, GRID_SPARE, 0}, {"P95", true, true, 0},
    {"T/S P50", true, GRID_SPARE, 0},  {"CACHED", true, GRID_SPARE, 0},
    {"URL", false, true, 0},           {"ON", false, false, 60},
};

static void add_ready(struct grid *g, const json_t *role)
{
    const json_t *loading = json_object_get(role, "loading");
    uint64_t ready = api_u64(role, "hosts_ready"), wanted = api_u64(role, "replicas");
    const char *residency = json_string_value(json_object_get(role, "residency"));
    bool asked = residency != NULL && strcmp(residency, "on-demand") == 0;
    char eta[HUMAN_MAX];

    if (ready == 0 && json_is_object(loading))
        grid_add(g, TERM_WARN, "%s %.0f%%%s%s",
                 json_string_value(json_object_get(loading, "state")),
                 100 * api_real(loading, "progress"), api_null(loading, "eta_ms") ? "" : ", ",
                 api_null(loading, "eta_ms") ? "" : show_ms(loading, "eta_ms", eta));
    else
        grid_add(g,
                 ready >= wanted ? TERM_GOOD
                 : ready > 0     ? TERM_WARN
                 : asked         ? TERM_PLAIN
                                 : TERM_BAD,
                 "%" PRIu64 "/%" PRIu64, ready, wanted);
}

/* Busy ones of those of its ready hosts. */
static void add_slots(struct grid *g, const json_t *hosts)
{
    uint64_t busy = 0, all = 0;
    const json_t *host;
    size_t i;

    json_array_foreach(hosts, i, host)
    {
        busy += api_u64(host, "slots_busy");
        all += api_u64(host, "slots_total");
    }
    if (all == 0)
        grid_add(g, TERM_PLAIN, "-");
    else
        grid_add(g, TERM_PLAIN, "%" PRIu64 "/%" PRIu64, busy, all);
}

static void add_count(struct grid *g, const json_t *object, const char *key, enum term_color some)
{
    char cell[HUMAN_MAX];
    uint64_t n = api_u64(object, key);

    grid_add(g, n > 0 ? some : TERM_PLAIN, "%s",
             api_null(object, key) ? "-" : human_count(n, cell));
}

static void add_role(struct grid *g, const json_t *role)
{
    const json_t *ttft = json_object_get(role, "ttft_ms"),
                 *tps = json_object_get(role, "decode_tps");
    const json_t *hosts = json_object_get(role, "hosts");
    char text[ASK_TEXT_MAX], cell[HUMAN_MAX], words[GRID_CELL_MAX];

    grid_add(g, TERM_PLAIN, "%s", api_text(role, "name", text));
    grid_add(g, TERM_PLAIN, "%s", api_text(role, "model", text));
    add_ready(g, role);
    add_slots(g, hosts);
    add_count(g, role, "waiting", TERM_WARN);
    add_count(g, role, "in_flight", TERM_PLAIN);
    grid_add(g, TERM_PLAIN, "%s", api_text(role, "lane", text));
    grid_add(g, TERM_PLAIN, "%s", api_text(role, "residency", text));
    grid_add(g, TERM_PLAIN, "%s", show_words(json_object_get(role, "modes"), words, sizeof words));
    grid_add(g, TERM_PLAIN, "%" PRIu64, api_u64(role, "context"));
    add_count(g, role, "requests", TERM_PLAIN);
    add_count(g, role, "errors", TERM_BAD);
    grid_add(g, TERM_PLAIN, "%s", show_ms(ttft, "p50", cell));
    grid_add(g, TERM_PLAIN, "%s", show_ms(ttft, "p95", cell));
    grid_add(g, TERM_PLAIN, "%s", show_rate(tps, "p50", cell));
    grid_add(g, TERM_PLAIN, "%s", show_percent(role, "cached_share", 1, cell));
    grid_add(g, TERM_PLAIN, "%s", show_words(json_object_get(role, "urls"), words, sizeof words));
    if (json_array_size(hosts) > 0)
        grid_add(g, TERM_PLAIN, "%s", hosts_text(hosts, "node", words, sizeof words));
    else
        grid_add(g, TERM_WARN, "%s", api_text(role, "reason", text));
}

int show_roles(const json_t *roles, const struct term *t, bool wide)
{
    const json_t *role;
    struct grid g;
    size_t i;

    grid_init(&g, role_columns, RM_COUNT(role_columns));
    g.none = "no roles";
    json_array_foreach(roles, i, role) add_role(&g, role);
    return finish(&g, t, wide);
}

/* ---- hosts ---- */

static const struct grid_column host_columns[] = {
    {"HOST", false, false, 48},
    {"STATE", false, false, 0},
    {"WANTED", false, true, 0},
    {"SLOTS", false, false, 0},
    {"QUEUE", true, GRID_SPARE, 0},
    {"PREFILL/S", true, GRID_SPARE, 0},
    {"DECODE/S", true, false, 0},
    {"FORECAST", true, GRID_SPARE, 0},
    {"MEASURED", true, false, 0},
    {"WEIGHTS", true, true, 0},
    {"KV", true, true, 0},
    {"KV USED", true, true, 0},
    {"COMPUTE", true, true, 0},
    {"CONTEXT", true, true, 0},
    {"RESTARTS", true, GRID_SPARE, 0},
    {"MODEL", false, true, 0},
    {"HASH", false, true, 0},
    {"NOTE", false, false, 80},
};

/* "loading 42%, 1m03s", "ready, drift". */
static void add_state(struct grid *g, const json_t *host)
{
    const char *state = json_string_value(json_object_get(host, "state"));
    const char *why = kept_from(host);
    double progress = api_real(host, "progress");
    char part[16] = "", eta[HUMAN_MAX];
    bool moves = show_color(state) == TERM_WARN && progress > 0 && progress < 1;

    if (moves)
        snprintf(part, sizeof part, " %.0f%%", 100 * progress);
    grid_add(g, show_color(state), "%s%s%s%s%s%s", state != NULL ? state : "-", part,
             api_null(host, "eta_ms") ? "" : ", ",
             api_null(host, "eta_ms") ? "" : show_ms(host, "eta_ms", eta), why != NULL ? ", " : "",
             why != NULL ? why : "");
}

static void add_note(struct grid *g, const json_t *host)
{
    const char *error =
        json_string_value(json_object_get(json_object_get(host, "last_error"), "text"));
    const char *notice = json_string_value(json_object_get(host, "notice"));

    if (error != NULL && error[0] != '\0')
        grid_add(g, TERM_BAD, "%s", error);
    else
        grid_add(g, TERM_WARN, "%s", notice != NULL ? notice : "");
}

static void add_host(struct grid *g, const json_t *host)
{
    static const char *const sizes[] = {"forecast_bytes", "measured_bytes", "weights_bytes",
                                        "kv_bytes",       "kv_used_bytes",  "compute_bytes"};
    char text[ASK_TEXT_MAX], node[ASK_TEXT_MAX], cell[HUMAN_MAX];

    grid_add(g, TERM_PLAIN, "%s@%s", api_text(host, "role", text), api_text(host, "node", node));
    add_state(g, host);
    grid_add(g, TERM_PLAIN, "%s", api_text(host, "wanted", text));
    grid_add(g, TERM_PLAIN, "%" PRIu64 "/%" PRIu64, api_u64(host, "slots_busy"),
             api_u64(host, "slots_total"));
    grid_add(g, TERM_PLAIN, "%" PRIu64, api_u64(host, "queue"));
    grid_add(g, TERM_PLAIN, "%s", show_rate(host, "prefill_tps", cell));
    grid_add(g, TERM_PLAIN, "%s", show_rate(host, "decode_tps", cell));
    for (size_t i = 0; i < RM_COUNT(sizes); i++)
        grid_add(g, TERM_PLAIN, "%s",
                 api_u64(host, sizes[i]) > 0 ? show_bytes(host, sizes[i], cell) : "-");
    grid_add(g, TERM_PLAIN, "%" PRIu64, api_u64(host, "context"));
    grid_add(g, api_u64(host, "restarts") > 0 ? TERM_WARN : TERM_PLAIN, "%" PRIu64,
             api_u64(host, "restarts"));
    grid_add(g, TERM_PLAIN, "%s", api_text(host, "model", text));
    grid_add(g, TERM_PLAIN, "%.12s", api_text(host, "model_hash", text));
    add_note(g, host);
}

int show_hosts(const json_t *hosts, const struct term *t, bool wide)
{
    const json_t *host;
    struct grid g;
    size_t i;

    grid_init(&g, host_columns, RM_COUNT(host_columns));
    g.none = "no hosts";
    json_array_foreach(hosts, i, host) add_host(&g, host);
    return finish(&g, t, wide);
}

/* ---- alarms ---- */

void show_alarms(const json_t *alarms, const struct term *t)
{
    char text[ASK_TEXT_MAX], subject[ASK_TEXT_MAX], since[HUMAN_MAX];
    const json_t *alarm;
    size_t i;

    json_array_foreach(alarms, i, alarm)
    {
        const char *severity = json_string_value(json_object_get(alarm, "severity"));
        enum term_color color = show_color(severity);

        fprintf(t->to, "%s%-7s%s  ", term_on(t, color), ask_shown(severity, text),
                term_off(t, color));
        fprintf(t->to, "%s  %s: ",
                human_time(json_string_value(json_object_get(alarm, "since")), time(NULL), since),
                api_text(alarm, "subject", subject));
        ask_print_line(json_string_value(json_object_get(alarm, "text")), t->to);
        fputc('\n', t->to);
        if (json_is_string(json_object_get(alarm, "next"))) {
            fputs("         do: ", t->to);
            ask_print_line(json_string_value(json_object_get(alarm, "next")), t->to);
            fputc('\n', t->to);
        }
    }
}
