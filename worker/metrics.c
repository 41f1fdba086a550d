/* SPDX-License-Identifier: MIT */
#include "worker/metrics.h"

#include <stddef.h>

/* Upper bounds of predicted / measured: 1 is right, below it the forecast was too low. */
static const struct rm_om_bound ratios[METRICS_RATIOS] = {
    {0.9, "0.9"},   {0.95, "0.95"}, {0.97, "0.97"}, {1, "1.0"},   {1.03, "1.03"},
    {1.05, "1.05"}, {1.1, "1.1"},   {1.25, "1.25"}, {1.5, "1.5"}, {2, "2.0"}};

static void put(struct rm_om *om, const char *name, enum rm_om_type type, const char *unit,
                const char *help, uint64_t value)
{
    rm_om_family(om, name, type, unit, help);
    rm_om_u64(om, value);
}

/* ---- the node ---- */

static void put_memory(const struct node_memory *m, struct rm_om *om)
{
    const struct {
        const char *part;
        uint64_t bytes;
    } parts[] = {{"total", m->total},           {"available", m->available},
                 {"reserve", m->reserve},       {"budget", m->budget},
                 {"committed", m->committed},   {"others", m->others},
                 {"limit", m->limit},           {"hugepages", m->hugepages},
                 {"swap_total", m->swap_total}, {"swap_used", m->swap_used},
                 {"swap_zram", m->swap_zram},   {"vram_total", m->vram_total},
                 {"vram_used", m->vram_used},   {"vram_counted", m->vram_counted},
                 {"gtt_total", m->gtt_total},   {"gtt_used", m->gtt_used}};

    rm_om_family(om, "rolemesh_node_memory_bytes", RM_OM_GAUGE, "bytes",
                 "Memory of this node by part, as in the node protocol; parts overlap.");
    for (size_t i = 0; i < RM_COUNT(parts); i++) {
        rm_om_labels(om, "part", parts[i].part, NULL);
        rm_om_u64(om, parts[i].bytes);
    }
    rm_om_family(om, "rolemesh_node_memory_pressure_ratio", RM_OM_GAUGE, "ratio",
                 "Part of the last 10 s in which some task waited for memory.");
    rm_om_dbl(om, m->pressure / 100);
    put(om, "rolemesh_node_refusing", RM_OM_GAUGE, "", "1: memory is short, no engine is started.",
        m->refusing);
}

static void put_guard(const struct worker_figures *f, struct rm_om *om)
{
    const struct {
        const char *step;
        uint64_t n;
    } steps[] = {
        {"refuse", f->guard_refused}, {"drain", f->guard_drained}, {"stop", f->guard_stopped}};

    rm_om_family(
        om, "rolemesh_node_guard_steps", RM_OM_COUNTER, "",
        "Times that memory was short: no engine was started, a host was drained, stopped.");
    for (size_t i = 0; i < RM_COUNT(steps); i++) {
        rm_om_labels(om, "step", steps[i].step, NULL);
        rm_om_u64(om, steps[i].n);
    }
}

static void put_node(const struct worker_figures *f, struct rm_om *om)
{
    const struct node_state *s = f->state;

    rm_om_family(om, "rolemesh_node", RM_OM_INFO, "", "This worker.");
    rm_om_labels(om, "node", s->node, "version", s->version, NULL);
    rm_om_u64(om, 1);
    rm_om_family(om, "rolemesh_node_uptime_seconds", RM_OM_GAUGE, "seconds",
                 "Since the worker started.");
    rm_om_dbl(om, (double)s->uptime_ms / 1000);
    put_memory(&s->memory, om);
}

static void put_server(const struct http_server_stats *s, struct rm_om *om)
{
    put(om, "rolemesh_connections", RM_OM_GAUGE, "", "Open connections of gateways and others.",
        s->connections);
    put(om, "rolemesh_http_requests", RM_OM_COUNTER, "", "HTTP requests of any kind.", s->requests);
    put(om, "rolemesh_http_client_aborts", RM_OM_COUNTER, "",
        "Requests whose sender left before the answer was whole.", s->client_aborts);
    put(om, "rolemesh_http_bad_requests", RM_OM_COUNTER, "",
        "Requests that are not HTTP as it should be.", s->bad_requests);
    put(om, "rolemesh_http_queued_bytes", RM_OM_GAUGE, "bytes",
        "Bytes of answers held for slow readers.", s->queued_bytes);
}

static void put_busy(const struct node_state *s, struct rm_om *om)
{
    rm_om_family(om, "rolemesh_node_cpu_ratio", RM_OM_GAUGE, "ratio",
                 "Of all CPUs, in use over the last seconds.");
    if (s->cpu_percent >= 0)
        rm_om_dbl(om, s->cpu_percent / 100);
    rm_om_family(om, "rolemesh_node_gpu_ratio", RM_OM_GAUGE, "ratio", "The same of the devices.");
    if (s->gpu_percent >= 0)
        rm_om_dbl(om, s->gpu_percent / 100);
}

/* ---- hosts ---- */

enum host_kind { U64, U32, DOUBLE };

struct host_metric {
    const char *name;
    enum rm_om_type type;
    const char *unit, *help;
    enum host_kind kind;
    size_t offset;
};

#define AT(member) offsetof(struct node_host, member)

static const struct host_metric host_metrics[] = {
    {"rolemesh_host_rss_bytes", RM_OM_GAUGE, "bytes", "Resident size of the engine.", U64,
     AT(rss_bytes)},
    {"rolemesh_host_forecast_bytes", RM_OM_GAUGE, "bytes", "Forecast, or measured by now.", U64,
     AT(forecast_bytes)},
    {"rolemesh_host_measured_bytes", RM_OM_GAUGE, "bytes",
     "The most that was measured of such an engine; 0: not yet.", U64, AT(measured_bytes)},
    {"rolemesh_host_slots", RM_OM_GAUGE, "", "Sequences decoded together.", U32, AT(slots_total)},
    {"rolemesh_host_slots_busy", RM_OM_GAUGE, "", "Of them, at work.", U32, AT(slots_busy)},
    {"rolemesh_host_queue", RM_OM_GAUGE, "", "Requests that wait in the engine.", U32, AT(queue)},
    {"rolemesh_host_kv_tokens", RM_OM_GAUGE, "", "Tokens held.", U64, AT(kv_used)},
    {"rolemesh_host_kv_capacity_tokens", RM_OM_GAUGE, "", "Tokens that can be held.", U64,
     AT(kv_total)},
    {"rolemesh_host_prefill_tokens_per_second", RM_OM_GAUGE, "", "Moving average.", DOUBLE,
     AT(prefill_tps)},
    {"rolemesh_host_decode_tokens_per_second", RM_OM_GAUGE, "", "Of one stream, moving average.",
     DOUBLE, AT(decode_tps)},
    {"rolemesh_host_prompt_tokens", RM_OM_COUNTER, "", "Since the engine's start.", U64,
     AT(prompt_tokens)},
    {"rolemesh_host_cached_tokens", RM_OM_COUNTER, "", "Of them, from a cache.", U64,
     AT(cached_tokens)},
    {"rolemesh_host_generated_tokens", RM_OM_COUNTER, "", "Since the engine's start.", U64,
     AT(generated_tokens)},
    {"rolemesh_host_restarts", RM_OM_COUNTER, "", "Starts after the first, for what is wanted now.",
     U32, AT(restarts)},
};

static void put_host(const struct host_metric *m, const struct node_host *h, struct rm_om *om)
{
    const char *at = (const char *)h + m->offset;

    rm_om_labels(om, "role", h->role, NULL);
    if (m->kind == DOUBLE)
        rm_om_dbl(om, *(const double *)(const void *)at);
    else if (m->kind == U32)
        rm_om_u64(om, *(const uint32_t *)(const void *)at);
    else
        rm_om_u64(om, *(const uint64_t *)(const void *)at);
}

static void put_hosts(const struct node_state *s, struct rm_om *om)
{
    rm_om_family(om, "rolemesh_host_state", RM_OM_GAUGE, "",
                 "1 for the state that the host is in.");
    for (uint32_t i = 0; i < s->n_hosts; i++) {
        rm_om_labels(om, "role", s->hosts[i].role, "state", node_host_state_name(s->hosts[i].state),
                     NULL);
        rm_om_u64(om, 1);
    }
    for (size_t k = 0; k < RM_COUNT(host_metrics); k++) {
        const struct host_metric *m = &host_metrics[k];

        rm_om_family(om, m->name, m->type, m->unit, m->help);
        for (uint32_t i = 0; i < s->n_hosts; i++)
            put_host(m, &s->hosts[i], om);
    }
}

static void put_hosts_memory(const struct node_state *s, struct rm_om *om)
{
    static const struct {
        const char *part;
        size_t offset;
    } parts[] = {{"weights", AT(weights_bytes)},
                 {"kv", AT(kv_bytes)},
                 {"kv_used", AT(kv_used_bytes)},
                 {"compute", AT(compute_bytes)},
                 {"other", AT(other_bytes)}};

    rm_om_family(om, "rolemesh_host_memory_bytes", RM_OM_GAUGE, "bytes",
                 "Memory that counts for a host, by part; kv_used is in kv.");
    for (uint32_t i = 0; i < s->n_hosts; i++)
        for (size_t p = 0; p < RM_COUNT(parts); p++) {
            const char *at = (const char *)&s->hosts[i] + parts[p].offset;

            rm_om_labels(om, "role", s->hosts[i].role, "part", parts[p].part, NULL);
            rm_om_u64(om, *(const uint64_t *)(const void *)at);
        }
}

static void put_slots(const struct node_state *s, struct rm_om *om)
{
    rm_om_family(om, "rolemesh_host_slots_doing", RM_OM_GAUGE, "",
                 "Slots by what they do now, of the first 64.");
    for (uint32_t i = 0; i < s->n_hosts; i++) {
        uint32_t n[SLOT_DECODE + 1] = {0};

        for (size_t k = 0; k < NODE_SLOTS_MAX && s->hosts[i].slots[k] != SLOT_NONE; k++)
            n[s->hosts[i].slots[k]]++;
        for (int what = SLOT_IDLE; what <= SLOT_DECODE; what++) {
            rm_om_labels(om, "role", s->hosts[i].role, "doing",
                         node_slot_name((enum node_slot)what), NULL);
            rm_om_u64(om, n[what]);
        }
    }
}

/* ---- loads and the ledger ---- */

static void put_loads(const struct meters_loads *l, struct rm_om *om)
{
    rm_om_family(om, "rolemesh_load_seconds", RM_OM_SUMMARY, "seconds",
                 "Loads since the worker's start that became ready.");
    rm_om_labels(om, "kind", "cold", NULL);
    rm_om_summary(om, l->cold, (double)l->cold_ms / 1000);
    rm_om_labels(om, "kind", "warm", NULL);
    rm_om_summary(om, l->warm, (double)l->warm_ms / 1000);
}

/* Of the rows there are now, so it may fall: a gauge histogram. */
static void put_ratios(const struct worker_figures *f, struct rm_om *om)
{
    uint64_t bucket[METRICS_RATIOS + 1] = {0};
    double sum = 0, ratio;

    for (uint32_t i = 0; i < f->n_rows; i++) {
        if (!node_ledger_ratio(&f->rows[i], &ratio))
            continue;
        sum += ratio;
        bucket[rm_om_bucket(ratios, METRICS_RATIOS, ratio)]++;
    }
    rm_om_family(om, "rolemesh_forecast_ratio", RM_OM_GAUGEHISTOGRAM, "ratio",
                 "Forecast over measured peak, of the ledger's rows with a full slot.");
    rm_om_histogram(om, &(struct rm_om_counts){ratios, bucket, METRICS_RATIOS, sum});
}

static void put_ledger(const struct worker_figures *f, struct rm_om *om)
{
    put(om, "rolemesh_ledger_rows", RM_OM_GAUGE, "", "Models with their flags, measured.",
        f->n_rows);
    put(om, "rolemesh_ledger_usable", RM_OM_GAUGE, "", "1: its file can be written.",
        f->ledger_usable);
    put(om, "rolemesh_ledger_lost_writes", RM_OM_COUNTER, "", "That did not reach its file.",
        f->ledger_lost);
    put_ratios(f, om);
}

/* Those that the state has: all that are under way, or 16, and some that are over. */
static void put_pulls(const struct node_state *s, struct rm_om *om)
{
    uint64_t rate = 0;

    rm_om_family(om, "rolemesh_node_pulls", RM_OM_GAUGE, "",
                 "Models that come onto this node, or came lately, by state.");
    for (int state = PULL_QUEUED; state <= PULL_CANCELLED; state++) {
        uint64_t n = 0;

        for (uint32_t i = 0; i < s->n_pulls; i++)
            n += (int)s->pulls[i].state == state;
        rm_om_labels(om, "state", node_pull_state_name((enum node_pull_state)state), NULL);
        rm_om_u64(om, n);
    }
    for (uint32_t i = 0; i < s->n_pulls; i++)
        rate += (uint64_t)s->pulls[i].rate;
    rm_om_family(om, "rolemesh_node_pull_bytes_per_second", RM_OM_GAUGE, "",
                 "What pulls bring over the network, lately.");
    rm_om_u64(om, rate);
}

void metrics_put(const struct worker_figures *f, struct rm_om *om)
{
    put_node(f, om);
    rm_self_write(om);
    rm_lag_write(&f->lag, om);
    put_server(&f->server, om);
    put_busy(f->state, om);
    put_guard(f, om);
    put_pulls(f->state, om);
    put_hosts(f->state, om);
    put_hosts_memory(f->state, om);
    put_slots(f->state, om);
    put_loads(&f->loads, om);
    put_ledger(f, om);
}
