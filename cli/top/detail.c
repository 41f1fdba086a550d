/* SPDX-License-Identifier: MIT */
/* cli/top/detail.c - one node, role or request looked at closely: its object of the API as lines,
 * and of a request why it went where it went. What is not known is "-". Pure. */
#include <stdio.h>

#include "cli/top/model.h"

enum { NAME_WIDTH = 14, VALUE_MAX = 300 };

static void line(struct top_model *m, const char *name, const char *value)
{
    top_lines_add(&m->lines, "%-*s %s", NAME_WIDTH, name, value[0] != '\0' ? value : "-");
}

static void line_text(struct top_model *m, const char *name, const json_t *o, const char *field)
{
    line(m, name, top_str(o, field));
}

enum figure { COUNT, BYTES, TIME, RATE, PERCENT, SHARE };

/* A figure as text; "-": not known. */
static const char *figure(const json_t *o, const char *field, enum figure kind,
                          char out[TOP_FIGURE])
{
    double v;

    if (!top_num(o, field, &v))
        return "-";
    switch (kind) {
    case COUNT:
        snprintf(out, TOP_FIGURE, "%.15g", v);
        break;
    case BYTES:
        return top_bytes(v, out);
    case TIME:
        return top_time(v, out);
    case RATE:
        return top_rate(v, out);
    case PERCENT:
        snprintf(out, TOP_FIGURE, "%.4g%%", v);
        break;
    case SHARE:
        snprintf(out, TOP_FIGURE, "%.4g%%", v * 100);
        break;
    }
    return out;
}

static void line_figure(struct top_model *m, const char *name, const json_t *o, const char *field,
                        enum figure kind)
{
    char text[TOP_FIGURE];

    line(m, name, figure(o, field, kind, text));
}

/* p50, p95 and p99 of something. */
static void line_spread(struct top_model *m, const char *name, const json_t *o, const char *field,
                        enum figure kind)
{
    const json_t *s = json_object_get(o, field);
    char text[VALUE_MAX], a[TOP_FIGURE], b[TOP_FIGURE], c[TOP_FIGURE];

    if (!json_is_object(s)) {
        line(m, name, "");
        return;
    }
    snprintf(text, sizeof text, "p50 %s  p95 %s  p99 %s", figure(s, "p50", kind, a),
             figure(s, "p95", kind, b), figure(s, "p99", kind, c));
    line(m, name, text);
}

/* ---- hosts ---- */

/* A letter per slot: '.' idle, 'p' reads a prompt, 'd' answers; else how many are busy. */
static const char *slots_text(const json_t *host, char *out, size_t size)
{
    const json_t *slots = json_object_get(host, "slots"), *slot;
    size_t n = 0, i;

    if (json_array_size(slots) == 0) {
        snprintf(out, size, "%.0f/%.0f", top_num0(host, "slots_busy"),
                 top_num0(host, "slots_total"));
        return out;
    }
    json_array_foreach(slots, i, slot)
    {
        const char *s = json_string_value(slot);

        if (n + 1 < size)
            out[n++] = s == NULL || strcmp(s, "idle") == 0 ? '.' : s[0] == 'p' ? 'p' : 'd';
    }
    out[n] = '\0';
    return out;
}

static void host_lines(struct top_model *m, const json_t *host)
{
    char slots[72], size[TOP_FIGURE], in[TOP_FIGURE], out[TOP_FIGURE], state[64];
    char more[2][TOP_FIGURE];
    const json_t *error = json_object_get(host, "last_error");
    double progress = top_num0(host, "progress");
    const char *s = top_str(host, "state");

    if (top_num0(host, "eta_ms") > 0)
        snprintf(state, sizeof state, "%.20s %.0f%%, ready in %s", s, progress * 100,
                 figure(host, "eta_ms", TIME, size));
    else if (progress > 0 && progress < 1)
        snprintf(state, sizeof state, "%.40s %.0f%%", s, progress * 100);
    else
        snprintf(state, sizeof state, "%.60s", s);
    top_lines_add(&m->lines, "  %.60s@%.60s  %s  slots %s  queue %.0f  %s  reads %s/s  writes %s/s",
                  top_str(host, "role"), top_str(host, "node"), state,
                  slots_text(host, slots, sizeof slots), top_num0(host, "queue"),
                  figure(host, "rss_bytes", BYTES, size), figure(host, "prefill_tps", RATE, in),
                  figure(host, "decode_tps", RATE, out));
    if (top_num0(host, "weights_bytes") > 0)
        top_lines_add(&m->lines, "    weights %s, KV %s (%s used), compute %s, other %s",
                      figure(host, "weights_bytes", BYTES, size),
                      figure(host, "kv_bytes", BYTES, in),
                      figure(host, "kv_used_bytes", BYTES, out),
                      figure(host, "compute_bytes", BYTES, more[0]),
                      figure(host, "other_bytes", BYTES, more[1]));
    if (json_is_string(json_object_get(host, "wanted")))
        top_lines_add(&m->lines, "    an operator wants it %.40s", top_str(host, "wanted"));
    if (top_is(host, "drift"))
        top_lines_add(&m->lines, "    drift: its model is not that of most hosts of the role");
    if (top_str(host, "notice")[0] != '\0')
        top_lines_add(&m->lines, "    %.300s", top_str(host, "notice"));
    if (json_is_object(error))
        top_lines_add(&m->lines, "    last error: %.40s: %.300s", top_str(error, "cause"),
                      top_str(error, "text"));
}

static void hosts_lines(struct top_model *m, const json_t *of)
{
    const json_t *hosts = json_object_get(of, "hosts"), *host;
    size_t i;

    top_lines_add(&m->lines, "%s", "");
    top_lines_add(&m->lines, "hosts (slots: . idle, p reads a prompt, d answers)");
    json_array_foreach(hosts, i, host) host_lines(m, host);
    if (json_array_size(hosts) == 0)
        top_lines_add(&m->lines, "  none");
}

/* ---- node ---- */

static void memory_lines(struct top_model *m, const json_t *o)
{
    char a[TOP_FIGURE], b[TOP_FIGURE], c[TOP_FIGURE], d[TOP_FIGURE], text[VALUE_MAX];

    snprintf(text, sizeof text, "%s of %s free", figure(o, "available", BYTES, a),
             figure(o, "total", BYTES, b));
    line(m, "memory", text);
    snprintf(text, sizeof text, "%s committed of a budget of %s; others use %s; %s stays free",
             figure(o, "committed", BYTES, a), figure(o, "budget", BYTES, b),
             figure(o, "others", BYTES, c), figure(o, "reserve", BYTES, d));
    line(m, "hosts' memory", text);
    snprintf(text, sizeof text, "%s of %s, pressure %s%s", figure(o, "swap_used", BYTES, a),
             figure(o, "swap_total", BYTES, b), figure(o, "pressure", COUNT, c),
             top_is(o, "refusing") ? ", short of memory: new work is refused" : "");
    line(m, "swap", text);
    if (top_num0(o, "vram_total") > 0) {
        snprintf(text, sizeof text, "%s of %s; GTT %s of %s", figure(o, "vram_used", BYTES, a),
                 figure(o, "vram_total", BYTES, b), figure(o, "gtt_used", BYTES, c),
                 figure(o, "gtt_total", BYTES, d));
        line(m, "VRAM", text);
    }
}

static void node_detail(struct top_model *m, const json_t *o)
{
    char text[VALUE_MAX], a[TOP_FIGURE], b[TOP_FIGURE];

    snprintf(text, sizeof text, "%s%s%s", top_str(o, "health"),
             top_is(o, "draining") ? ", its worker is leaving" : "",
             top_is(o, "drained") ? ", drained by an operator" : "");
    line(m, "state", text);
    snprintf(text, sizeof text, "%.200s port %.0f", top_str(o, "host"), top_num0(o, "port"));
    line(m, "address", text);
    snprintf(text, sizeof text, "%s, round trip %sms",
             top_str(o, "path")[0] != '\0' ? top_str(o, "path") : "-",
             figure(o, "rtt_ms", RATE, a));
    line(m, "path", text);
    line_text(m, "version", o, "version");
    line_figure(m, "up for", o, "uptime_ms", TIME);
    line_figure(m, "silent for", o, "silent_ms", TIME);
    line_text(m, "last error", o, "last_error");
    snprintf(text, sizeof text, "%s, GPU %s", figure(o, "cpu_percent", PERCENT, a),
             figure(o, "gpu_percent", PERCENT, b));
    line(m, "CPU", text);
    snprintf(text, sizeof text, "%s/s in, %s/s out", figure(o, "tokens_in_per_s", RATE, a),
             figure(o, "tokens_out_per_s", RATE, b));
    line(m, "tokens", text);
    memory_lines(m, json_object_get(o, "memory"));
    hosts_lines(m, o);
}

/* ---- role ---- */

static void list_line(struct top_model *m, const char *name, const json_t *list)
{
    char text[VALUE_MAX] = "";
    const json_t *item;
    size_t i, n = 0;

    json_array_foreach(list, i, item)
    {
        int w = snprintf(text + n, sizeof text - n, "%s%s", i > 0 ? ", " : "",
                         json_string_value(item) != NULL ? json_string_value(item) : "?");

        n = n + (size_t)w < sizeof text ? n + (size_t)w : sizeof text - 1;
    }
    line(m, name, text);
}

static void role_detail(struct top_model *m, const json_t *o)
{
    const json_t *loading = json_object_get(o, "loading");
    char text[VALUE_MAX], a[TOP_FIGURE], b[TOP_FIGURE];

    line_text(m, "model", o, "model");
    list_line(m, "modes", json_object_get(o, "modes"));
    list_line(m, "URLs", json_object_get(o, "urls"));
    snprintf(text, sizeof text, "%s, %s", top_str(o, "lane"), top_str(o, "residency"));
    line(m, "lane", text);
    snprintf(text, sizeof text, "%s tokens, %s slots", figure(o, "context", COUNT, a),
             figure(o, "slots", COUNT, b));
    line(m, "context", text);
    snprintf(text, sizeof text, "%s ready of %s", figure(o, "hosts_ready", COUNT, a),
             figure(o, "replicas", COUNT, b));
    line(m, "hosts", text);
    snprintf(text, sizeof text, "%s run, %s wait", figure(o, "in_flight", COUNT, a),
             figure(o, "waiting", COUNT, b));
    line(m, "requests", text);
    if (top_num0(o, "waiting") > 0)
        line_figure(m, "oldest waits", o, "oldest_ms", TIME);
    snprintf(text, sizeof text, "%s, %s of them failed", figure(o, "requests", COUNT, a),
             figure(o, "errors", COUNT, b));
    line(m, "so far", text);
    line_spread(m, "first token", o, "ttft_ms", TIME);
    line_spread(m, "tokens/s", o, "decode_tps", RATE);
    line_figure(m, "from caches", o, "cached_share", SHARE);
    if (json_is_object(loading)) {
        snprintf(text, sizeof text, "%.40s %.0f%% on %.60s, ready in %s%s",
                 top_str(loading, "state"), top_num0(loading, "progress") * 100,
                 top_str(loading, "node")[0] != '\0' ? top_str(loading, "node") : "-",
                 figure(loading, "eta_ms", TIME, a), top_is(loading, "stalled") ? ", stalled" : "");
        line(m, "loading", text);
    }
    if (top_str(o, "reason")[0] != '\0')
        line_text(m, "why not", o, "reason");
    hosts_lines(m, o);
}

/* ---- request ---- */

static void candidate_line(struct top_model *m, const json_t *c)
{
    const json_t *s = json_object_get(c, "seconds"), *f = json_object_get(c, "facts");

    if (top_str(c, "reject")[0] != '\0') {
        top_lines_add(&m->lines, "    %.60s: not taken: %.200s", top_str(c, "node"),
                      top_str(c, "reject"));
        return;
    }
    top_lines_add(&m->lines,
                  "  %s %.60s: %.3f s = load %.3f + wait %.3f + prompt %.3f + path %.3f + penalty "
                  "%.3f; holds %.0f tokens of it, %.0f run, %.0f wait",
                  top_is(c, "chosen") ? "*" : " ", top_str(c, "node"), top_num0(s, "total"),
                  top_num0(s, "load"), top_num0(s, "wait"), top_num0(s, "prefill"),
                  top_num0(s, "rtt"), top_num0(s, "penalty"), top_num0(f, "cached"),
                  top_num0(f, "in_flight"), top_num0(f, "queued"));
}

static void why_lines(struct top_model *m)
{
    const json_t *decision, *c, *text;
    size_t i, j;

    top_lines_add(&m->lines, "%s", "");
    if (m->why == NULL) {
        top_lines_add(&m->lines, "why: %s", m->note[0] != '\0' ? "not known" : "asking ...");
        return;
    }
    top_lines_add(&m->lines, "why (w asks again)");
    json_array_foreach(json_object_get(m->why, "decisions"), i, decision)
    {
        char a[TOP_FIGURE];

        top_lines_add(&m->lines,
                      "  %.30s: to %.60s for role %.60s, after a wait of %s, ~%.0f tokens",
                      top_str(decision, "at"), top_str(decision, "node"), top_str(decision, "role"),
                      figure(decision, "queue_ms", TIME, a), top_num0(decision, "prompt"));
        json_array_foreach(json_object_get(decision, "candidates"), j, c) candidate_line(m, c);
    }
    if (json_array_size(json_object_get(m->why, "decisions")) == 0)
        top_lines_add(&m->lines, "  it has not been sent to a host");
    json_array_foreach(json_object_get(m->why, "rewrites"), i, text)
        top_lines_add(&m->lines, "  rewritten for the engine: %.300s",
                      json_string_value(text) != NULL ? json_string_value(text) : "?");
}

static void request_detail(struct top_model *m, const json_t *o)
{
    char text[VALUE_MAX], a[TOP_FIGURE], b[TOP_FIGURE], c[TOP_FIGURE];
    double rate;

    line_text(m, "state", o, "state");
    line_text(m, "outcome", o, "outcome");
    if (top_str(o, "error")[0] != '\0')
        line_text(m, "error", o, "error");
    snprintf(text, sizeof text, "%.60s, served by %.60s on %.60s", top_str(o, "role"),
             top_str(o, "served")[0] != '\0' ? top_str(o, "served") : "-",
             top_str(o, "node")[0] != '\0' ? top_str(o, "node") : "-");
    line(m, "role", text);
    snprintf(text, sizeof text, "%.60s over %.60s", top_str(o, "dialect"),
             top_str(o, "mode")[0] != '\0' ? top_str(o, "mode") : "/v1");
    line(m, "asked as", text);
    line(m, "key", top_str(json_object_get(o, "key"), "name"));
    line_text(m, "began", o, "at");
    snprintf(text, sizeof text, "%s, waited %s, first token after %s", figure(o, "age_ms", TIME, a),
             figure(o, "queue_ms", TIME, b), figure(o, "ttft_ms", TIME, c));
    line(m, "age", text);
    if (top_num0(o, "prompt_tokens") > 0) /* the engine has said */
        snprintf(text, sizeof text, "%s of the prompt (%s from a cache), %s answered",
                 figure(o, "prompt_tokens", COUNT, a), figure(o, "cached_tokens", COUNT, b),
                 figure(o, "completion_tokens", COUNT, c));
    else
        snprintf(text, sizeof text, "prompt not counted yet, %s parts answered",
                 figure(o, "completion_tokens", COUNT, c));
    line(m, "tokens", text);
    if (top_rates_of(m->rates, m->target, &rate))
        line(m, "tokens/s", top_rate(rate, a));
    snprintf(text, sizeof text, "%s in, %s out, HTTP status %s", figure(o, "bytes_in", BYTES, a),
             figure(o, "bytes_out", BYTES, b), figure(o, "status", COUNT, c));
    line(m, "bytes", text);
    line_figure(m, "hosts tried", o, "tries", COUNT);
    why_lines(m);
}

/* ---- all ---- */

void top_detail_make(struct top_model *m)
{
    static void (*const make[TOP_PANES])(struct top_model * m, const json_t *o) = {
        node_detail, role_detail, request_detail};
    const char *list = top_pane_name(m->target_pane);
    const char *name = m->target_pane == TOP_REQUESTS ? "id" : "name";
    const json_t *items = json_object_get(json_object_get(m->snapshot, list), list), *item;
    const json_t *found = NULL;
    size_t i;

    json_array_foreach(items, i, item)
    {
        if (strncmp(top_str(item, name), m->target, TOP_KEY_MAX - 1) == 0)
            found = item;
    }
    if (found == NULL && m->target_pane == TOP_REQUESTS)
        found = json_object_get(m->why, "request");
    if (found == NULL && m->lines.n > 0)
        return; /* it has left the snapshot: what was last seen stays */
    top_lines_clear(&m->lines);
    top_lines_add(&m->lines, "%.*s %.160s", (int)strlen(list) - 1, list, m->target);
    top_lines_add(&m->lines, "%s", "");
    if (found != NULL)
        make[m->target_pane](m, found);
    top_model_fit_lines(m, m->line_seen);
}
