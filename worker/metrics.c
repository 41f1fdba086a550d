/* SPDX-License-Identifier: MIT */
#include "worker/metrics.h"

#include <inttypes.h>
#include <stddef.h>

/* Upper bounds of predicted / measured: 1 is right, below it the forecast was too low. */
static const double ratios[METRICS_RATIOS] = {0.9, 0.95, 0.97, 1, 1.03, 1.05, 1.1, 1.25, 1.5, 2};

/* Names of roles may hold anything but control bytes. */
static void put_label(struct rm_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            rm_buf_put(out, "\\", 1);
        rm_buf_put(out, text, 1);
    }
}

static void put_family(struct rm_buf *out, const char *name, const char *type, const char *unit,
                       const char *help)
{
    rm_buf_printf(out, "# TYPE %s %s\n", name, type);
    if (unit[0] != '\0')
        rm_buf_printf(out, "# UNIT %s %s\n", name, unit);
    rm_buf_printf(out, "# HELP %s %s\n", name, help);
}

/* ---- the node ---- */

static void put_memory(const struct node_memory *m, struct rm_buf *out)
{
    const struct {
        const char *part;
        uint64_t bytes;
    } parts[] = {{"total", m->total},
                 {"available", m->available},
                 {"reserve", m->reserve},
                 {"budget", m->budget},
                 {"committed", m->committed},
                 {"limit", m->limit},
                 {"hugepages", m->hugepages},
                 {"swap_total", m->swap_total},
                 {"swap_used", m->swap_used},
                 {"swap_zram", m->swap_zram},
                 {"vram_total", m->vram_total},
                 {"vram_used", m->vram_used},
                 {"vram_counted", m->vram_counted},
                 {"gtt_total", m->gtt_total},
                 {"gtt_used", m->gtt_used}};

    put_family(out, "rolemesh_node_memory_bytes", "gauge", "bytes",
               "Memory of this node by part, as in the node protocol; parts overlap.");
    for (size_t i = 0; i < RM_COUNT(parts); i++)
        rm_buf_printf(out, "rolemesh_node_memory_bytes{part=\"%s\"} %" PRIu64 "\n", parts[i].part,
                      parts[i].bytes);
    put_family(out, "rolemesh_node_memory_pressure_ratio", "gauge", "ratio",
               "Part of the last 10 s in which some task waited for memory.");
    rm_buf_printf(out, "rolemesh_node_memory_pressure_ratio %.4f\n", m->pressure / 100);
    put_family(out, "rolemesh_node_refusing", "gauge", "",
               "1: memory is short, no engine is started.");
    rm_buf_printf(out, "rolemesh_node_refusing %d\n", m->refusing);
}

static void put_guard(const struct worker_figures *f, struct rm_buf *out)
{
    put_family(out, "rolemesh_node_guard_steps", "counter", "",
               "Times that memory was short: no engine was started, a host was drained, stopped.");
    rm_buf_printf(out, "rolemesh_node_guard_steps_total{step=\"refuse\"} %" PRIu64 "\n",
                  f->guard_refused);
    rm_buf_printf(out, "rolemesh_node_guard_steps_total{step=\"drain\"} %" PRIu64 "\n",
                  f->guard_drained);
    rm_buf_printf(out, "rolemesh_node_guard_steps_total{step=\"stop\"} %" PRIu64 "\n",
                  f->guard_stopped);
}

static void put_node(const struct node_state *s, struct rm_buf *out)
{
    put_family(out, "rolemesh_node", "info", "", "This worker.");
    rm_buf_puts(out, "rolemesh_node_info{node=\"");
    put_label(out, s->node);
    rm_buf_puts(out, "\",version=\"");
    put_label(out, s->version);
    rm_buf_puts(out, "\"} 1\n");
    put_family(out, "rolemesh_node_uptime_seconds", "gauge", "seconds",
               "Since the worker started.");
    rm_buf_printf(out, "rolemesh_node_uptime_seconds %.3f\n", (double)s->uptime_ms / 1000);
    put_memory(&s->memory, out);
}

/* ---- hosts ---- */

enum host_type { U64, U32, DOUBLE };

struct host_metric {
    const char *name, *type, *unit, *sample, *help; /* sample: the series' name behind the name */
    enum host_type kind;
    size_t offset;
};

#define AT(member) offsetof(struct node_host, member)

static const struct host_metric host_metrics[] = {
    {"rolemesh_host_rss_bytes", "gauge", "bytes", "", "Resident size of the engine.", U64,
     AT(rss_bytes)},
    {"rolemesh_host_forecast_bytes", "gauge", "bytes", "", "Forecast, or measured by now.", U64,
     AT(forecast_bytes)},
    {"rolemesh_host_slots", "gauge", "", "", "Sequences decoded together.", U32, AT(slots_total)},
    {"rolemesh_host_slots_busy", "gauge", "", "", "Of them, at work.", U32, AT(slots_busy)},
    {"rolemesh_host_queue", "gauge", "", "", "Requests that wait in the engine.", U32, AT(queue)},
    {"rolemesh_host_kv_tokens", "gauge", "", "", "Tokens held.", U64, AT(kv_used)},
    {"rolemesh_host_kv_capacity_tokens", "gauge", "", "", "Tokens that can be held.", U64,
     AT(kv_total)},
    {"rolemesh_host_prefill_tokens_per_second", "gauge", "", "", "Moving average.", DOUBLE,
     AT(prefill_tps)},
    {"rolemesh_host_decode_tokens_per_second", "gauge", "", "", "Of one stream, moving average.",
     DOUBLE, AT(decode_tps)},
    {"rolemesh_host_prompt_tokens", "counter", "", "_total", "Since the engine's start.", U64,
     AT(prompt_tokens)},
    {"rolemesh_host_cached_tokens", "counter", "", "_total", "Of them, from a cache.", U64,
     AT(cached_tokens)},
    {"rolemesh_host_generated_tokens", "counter", "", "_total", "Since the engine's start.", U64,
     AT(generated_tokens)},
    {"rolemesh_host_restarts", "gauge", "", "", "Starts after the first, for what is wanted now.",
     U32, AT(restarts)},
};

static void put_host(const struct host_metric *m, const struct node_host *h, struct rm_buf *out)
{
    const char *at = (const char *)h + m->offset;

    rm_buf_printf(out, "%s%s{role=\"", m->name, m->sample);
    put_label(out, h->role);
    if (m->kind == DOUBLE)
        rm_buf_printf(out, "\"} %.3f\n", *(const double *)(const void *)at);
    else if (m->kind == U32)
        rm_buf_printf(out, "\"} %" PRIu32 "\n", *(const uint32_t *)(const void *)at);
    else
        rm_buf_printf(out, "\"} %" PRIu64 "\n", *(const uint64_t *)(const void *)at);
}

static void put_hosts(const struct node_state *s, struct rm_buf *out)
{
    put_family(out, "rolemesh_host_state", "gauge", "", "1 for the state that the host is in.");
    for (uint32_t i = 0; i < s->n_hosts; i++) {
        rm_buf_puts(out, "rolemesh_host_state{role=\"");
        put_label(out, s->hosts[i].role);
        rm_buf_printf(out, "\",state=\"%s\"} 1\n", node_host_state_name(s->hosts[i].state));
    }
    for (size_t k = 0; k < RM_COUNT(host_metrics); k++) {
        const struct host_metric *m = &host_metrics[k];

        put_family(out, m->name, m->type, m->unit, m->help);
        for (uint32_t i = 0; i < s->n_hosts; i++)
            put_host(m, &s->hosts[i], out);
    }
}

/* ---- loads and the ledger ---- */

static void put_loads(const struct meters_loads *l, struct rm_buf *out)
{
    put_family(out, "rolemesh_load_seconds", "summary", "seconds",
               "Loads since the worker's start that became ready.");
    rm_buf_printf(out,
                  "rolemesh_load_seconds_count{kind=\"cold\"} %" PRIu64 "\n"
                  "rolemesh_load_seconds_sum{kind=\"cold\"} %.3f\n"
                  "rolemesh_load_seconds_count{kind=\"warm\"} %" PRIu64 "\n"
                  "rolemesh_load_seconds_sum{kind=\"warm\"} %.3f\n",
                  l->cold, (double)l->cold_ms / 1000, l->warm, (double)l->warm_ms / 1000);
}

/* Of the rows there are now, so it may fall: a gauge histogram. */
static void put_ratios(const struct worker_figures *f, struct rm_buf *out)
{
    uint64_t bucket[METRICS_RATIOS] = {0}, count = 0;
    double sum = 0, ratio;

    for (uint32_t i = 0; i < f->n_rows; i++) {
        if (!node_ledger_ratio(&f->rows[i], &ratio))
            continue;
        count++;
        sum += ratio;
        for (size_t b = 0; b < METRICS_RATIOS; b++)
            bucket[b] += ratio <= ratios[b];
    }
    put_family(out, "rolemesh_forecast_ratio", "gaugehistogram", "ratio",
               "Forecast over measured peak, of the ledger's rows with a full slot.");
    for (size_t b = 0; b < METRICS_RATIOS; b++)
        rm_buf_printf(out, "rolemesh_forecast_ratio_bucket{le=\"%.2f\"} %" PRIu64 "\n", ratios[b],
                      bucket[b]);
    rm_buf_printf(out,
                  "rolemesh_forecast_ratio_bucket{le=\"+Inf\"} %" PRIu64 "\n"
                  "rolemesh_forecast_ratio_gcount %" PRIu64 "\n"
                  "rolemesh_forecast_ratio_gsum %.6f\n",
                  count, count, sum);
}

static void put_ledger(const struct worker_figures *f, struct rm_buf *out)
{
    put_family(out, "rolemesh_ledger_rows", "gauge", "", "Models with their flags, measured.");
    rm_buf_printf(out, "rolemesh_ledger_rows %" PRIu32 "\n", f->n_rows);
    put_family(out, "rolemesh_ledger_usable", "gauge", "", "1: its file can be written.");
    rm_buf_printf(out, "rolemesh_ledger_usable %d\n", f->ledger_usable);
    put_family(out, "rolemesh_ledger_lost_writes", "counter", "", "That did not reach its file.");
    rm_buf_printf(out, "rolemesh_ledger_lost_writes_total %" PRIu64 "\n", f->ledger_lost);
    put_ratios(f, out);
}

int metrics_put(const struct worker_figures *f, struct rm_buf *out)
{
    put_node(f->state, out);
    put_guard(f, out);
    put_hosts(f->state, out);
    put_loads(&f->loads, out);
    put_ledger(f, out);
    return rm_buf_puts(out, "# EOF\n");
}
