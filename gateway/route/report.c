/* SPDX-License-Identifier: MIT */
/* gateway/route/report.c - what the route knows, as JSON for /api/v1. Reads only. Neighbour:
 * metrics.c tells the same to collectors. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gateway/route/coming.h"
#include "gateway/route/route_private.h"
#include "proto/base/clock.h"
#include "proto/base/json_write.h"

static void write_error(struct rm_jw *w, const struct node_error *e)
{
    if (e->cause == CAUSE_NONE) {
        rm_jw_null(w, "last_error");
        return;
    }
    rm_jw_obj(w, "last_error");
    rm_jw_str(w, "cause", node_cause_name(e->cause));
    rm_jw_i64(w, "code", e->code);
    rm_jw_str(w, "text", e->text);
    rm_jw_str(w, "log", e->log);
    rm_jw_end(w);
}

/* In a large cluster these are most of the words of a list: written at once. */
static void put_slots(struct rm_jw *w, const struct node_host *f)
{
    enum { WORD_MAX = 12 };
    char text[NODE_SLOTS_MAX * (WORD_MAX + 3) + 3] = "[";
    size_t n = 1;

    for (size_t i = 0; i < NODE_SLOTS_MAX && f->slots[i] != SLOT_NONE; i++) {
        const char *word = node_slot_name((enum node_slot)f->slots[i]);
        size_t len = strnlen(word, WORD_MAX);

        text[n++] = '"';
        memcpy(text + n, word, len);
        n += len;
        text[n++] = '"';
        text[n++] = ',';
    }
    n -= n > 1; /* the last comma */
    text[n++] = ']';
    rm_jw_raw(w, "slots", (struct rm_slice){text, n});
}

/* Less what has passed since the worker said it. */
static void put_eta(struct rm_jw *w, const struct cluster_host *h)
{
    uint64_t now = rm_now_ms(), heard = h->node->health.last_good_ms;
    uint64_t since = now > heard ? now - heard : 0;

    if (h->facts.eta_ms == 0)
        rm_jw_null(w, "eta_ms");
    else
        rm_jw_u64(w, "eta_ms", h->facts.eta_ms > since ? h->facts.eta_ms - since : 0);
}

static void write_host(struct rm_jw *w, const struct cluster_host *h)
{
    const struct node_host *f = &h->facts;

    rm_jw_obj(w, NULL);
    rm_jw_str(w, "role", h->role->name);
    rm_jw_str(w, "node", h->node->name);
    rm_jw_str(w, "model", f->model);
    rm_jw_str(w, "model_hash", f->model_hash);
    rm_jw_str(w, "engine", f->engine);
    rm_jw_str(w, "state", node_host_state_name(f->state));
    rm_jw_dbl(w, "progress", f->progress);
    put_eta(w, h);
    rm_jw_bool(w, "usable", cluster_host_usable(h));
    rm_jw_bool(w, "drift", cluster_host_drifts(h));
    rm_jw_bool(w, "closed", h->closed);
    rm_jw_str(w, "wanted", h->wanted);
    rm_jw_str(w, "health", health_state_name(h->health.state));
    rm_jw_i64(w, "pid", f->pid);
    rm_jw_u64(w, "rss_bytes", f->rss_bytes);
    rm_jw_u64(w, "forecast_bytes", f->forecast_bytes);
    rm_jw_u64(w, "weights_bytes", f->weights_bytes);
    rm_jw_u64(w, "kv_bytes", f->kv_bytes);
    rm_jw_u64(w, "kv_used_bytes", f->kv_used_bytes);
    rm_jw_u64(w, "compute_bytes", f->compute_bytes);
    rm_jw_u64(w, "other_bytes", f->other_bytes);
    rm_jw_u64(w, "measured_bytes", f->measured_bytes);
    rm_jw_u64(w, "context", f->context);
    rm_jw_u64(w, "slots_total", f->slots_total);
    rm_jw_u64(w, "slots_busy", f->slots_busy);
    put_slots(w, f);
    rm_jw_u64(w, "in_flight", h->in_flight);
    rm_jw_u64(w, "queue", f->queue);
    rm_jw_dbl(w, "prefill_tps", f->prefill_tps);
    rm_jw_dbl(w, "decode_tps", f->decode_tps);
    rm_jw_u64(w, "kv_used", f->kv_used);
    rm_jw_u64(w, "kv_total", f->kv_total);
    rm_jw_u64(w, "prompt_tokens", f->prompt_tokens);
    rm_jw_u64(w, "cached_tokens", f->cached_tokens);
    rm_jw_u64(w, "generated_tokens", f->generated_tokens);
    rm_jw_u64(w, "read_tokens", f->read_tokens);
    rm_jw_u64(w, "restarts", f->restarts);
    rm_jw_u64(w, "retry_ms", f->retry_ms);
    rm_jw_str(w, "notice", f->notice);
    write_error(w, &f->last_error);
    rm_jw_end(w);
}

static void write_memory(struct rm_jw *w, const struct node_memory *m)
{
    rm_jw_obj(w, "memory");
    rm_jw_u64(w, "total", m->total);
    rm_jw_u64(w, "available", m->available);
    rm_jw_u64(w, "limit", m->limit);
    rm_jw_u64(w, "hugepages", m->hugepages);
    rm_jw_u64(w, "swap_total", m->swap_total);
    rm_jw_u64(w, "swap_used", m->swap_used);
    rm_jw_u64(w, "swap_zram", m->swap_zram);
    rm_jw_u64(w, "vram_total", m->vram_total);
    rm_jw_u64(w, "vram_used", m->vram_used);
    rm_jw_u64(w, "vram_counted", m->vram_counted);
    rm_jw_u64(w, "gtt_total", m->gtt_total);
    rm_jw_u64(w, "gtt_used", m->gtt_used);
    rm_jw_dbl(w, "pressure", m->pressure);
    rm_jw_u64(w, "reserve", m->reserve);
    rm_jw_u64(w, "budget", m->budget);
    rm_jw_u64(w, "committed", m->committed);
    rm_jw_u64(w, "others", m->others);
    rm_jw_bool(w, "refusing", m->refusing);
    rm_jw_end(w);
}

static void put_known(struct rm_jw *w, const char *name, double v)
{
    if (v < 0)
        rm_jw_null(w, name);
    else
        rm_jw_dbl(w, name, v);
}

/* What an operator keeps off the node. */
static void write_unloaded(struct rm_jw *w, const struct route *r, const struct cluster_node *n)
{
    const struct cluster_role *role;
    const struct cluster_host *h;

    rm_jw_arr(w, "unloaded");
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    TAILQ_FOREACH(h, &role->hosts, link)
    if (h->node == n && role->conf != NULL && h->wanted != NULL &&
        strcmp(h->wanted, "unloaded") == 0)
        rm_jw_str(w, NULL, role->name);
    rm_jw_end(w);
}

static void write_node(struct rm_jw *w, const struct route *r, const struct cluster_node *n)
{
    const struct map_node *conf = role_map_node(r->map, rm_slice_of(n->name));
    const struct cluster_role *role;
    const struct cluster_host *h;
    uint64_t now = rm_now_ms();
    bool lives = n->has_state && n->health.state != HEALTH_DOWN;
    double in_per_s, out_per_s;

    rm_jw_obj(w, NULL);
    rm_jw_str(w, "name", n->name);
    rm_jw_str(w, "host", conf != NULL ? conf->address.host : NULL);
    rm_jw_u64(w, "port", conf != NULL ? conf->address.port : 0);
    rm_jw_str(w, "path", n->path);
    put_known(w, "rtt_ms", n->rtt_ms);
    rm_jw_str(w, "health", health_state_name(n->health.state));
    rm_jw_str(w, "last_error", n->last_err != 0 ? rm_strerror(n->last_err) : NULL);
    rm_jw_bool(w, "seen", n->has_state);
    rm_jw_u64(w, "silent_ms",
              n->has_state && now > n->health.last_good_ms ? now - n->health.last_good_ms : 0);
    rm_jw_str(w, "boot_id", n->state.boot_id);
    rm_jw_str(w, "version", n->state.version);
    rm_jw_u64(w, "uptime_ms", n->state.uptime_ms);
    rm_jw_bool(w, "draining", n->state.draining);
    rm_jw_bool(w, "drained", n->drained);
    write_unloaded(w, r, n);
    put_known(w, "cpu_percent", lives ? n->state.cpu_percent : -1);
    put_known(w, "gpu_percent", lives ? n->state.gpu_percent : -1);
    rate_read(&n->rate, now, &in_per_s, &out_per_s);
    rm_jw_dbl(w, "tokens_in_per_s", in_per_s);
    rm_jw_dbl(w, "tokens_out_per_s", out_per_s);
    write_memory(w, &n->state.memory);
    rm_jw_arr(w, "hosts");
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    TAILQ_FOREACH(h, &role->hosts, link)
    if (h->node == n && h->facts.state != HOST_ABSENT)
        write_host(w, h);
    rm_jw_end(w);
    rm_jw_end(w);
}

void route_each_host(const struct route *r,
                     void (*on_host)(void *arg, const char *role, const char *node), void *arg)
{
    const struct cluster_role *role;
    const struct cluster_host *h;

    TAILQ_FOREACH(role, &r->cluster.roles, link)
    TAILQ_FOREACH(h, &role->hosts, link)
    if (h->facts.state != HOST_ABSENT && !h->node->gone)
        on_host(arg, role->name, h->node->name);
}

int route_write_hosts(const struct route *r, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);
    const struct cluster_role *role;
    const struct cluster_host *h;

    rm_jw_arr(&w, NULL);
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    TAILQ_FOREACH(h, &role->hosts, link)
    if (h->facts.state != HOST_ABSENT && !h->node->gone)
        write_host(&w, h);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

int route_write_nodes(const struct route *r, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);
    const struct cluster_node *n;

    rm_jw_arr(&w, NULL);
    TAILQ_FOREACH(n, &r->cluster.nodes, link)
    if (!n->gone)
        write_node(&w, r, n);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

static void put_urls(struct rm_jw *w, const struct map_role *conf)
{
    char url[NODE_NAME_MAX + 8];

    rm_jw_arr(w, "urls");
    for (size_t i = 0; i < conf->modes.n; i++) {
        snprintf(url, sizeof url, "/%s/v1", conf->modes.item[i]);
        rm_jw_str(w, NULL, url);
    }
    rm_jw_end(w);
}

/* What is on its way, null when nothing is. */
static void write_loading(struct rm_jw *w, const struct cluster_role *role, uint64_t now)
{
    static const char *const notes[] = {"", "asked for", "waits for room", ""};
    struct coming c;

    coming_of(role, now, &c);
    if (c.until_ms == 0) {
        rm_jw_null(w, "loading");
        return;
    }
    rm_jw_obj(w, "loading");
    rm_jw_str(w, "node", c.node);
    rm_jw_str(w, "state",
              c.host != NULL ? node_host_state_name(c.host->facts.state) : notes[role->note.state]);
    rm_jw_dbl(w, "progress", c.progress);
    if (c.eta_ms > 0)
        rm_jw_u64(w, "eta_ms", c.eta_ms);
    else
        rm_jw_null(w, "eta_ms");
    rm_jw_bool(w, "stalled", !c.is);
    rm_jw_end(w);
}

static void write_role(struct rm_jw *w, const struct route *r, const struct cluster_role *role,
                       void (*figures)(void *arg, const char *role, struct rm_jw *w), void *arg)
{
    const struct map_role *conf = role->conf;
    const struct cluster_host *h;
    const uint64_t now = rm_now_ms();
    struct route_demand demand;
    char why[NODE_TEXT_MAX];

    route_demand_of(r, role->name, &demand);

    rm_jw_obj(w, NULL);
    rm_jw_str(w, "name", role->name);
    rm_jw_arr(w, "modes");
    for (size_t i = 0; i < conf->modes.n; i++)
        rm_jw_str(w, NULL, conf->modes.item[i]);
    rm_jw_end(w);
    rm_jw_str(w, "model", conf->model_name);
    rm_jw_u64(w, "context", conf->context);
    rm_jw_u64(w, "slots", conf->slots);
    rm_jw_u64(w, "replicas", conf->replicas);
    rm_jw_str(w, "lane", map_lane_name(conf->lane));
    rm_jw_str(w, "residency", map_residency_name(conf->residency));
    rm_jw_u64(w, "hosts_ready", cluster_usable(role));
    rm_jw_u64(w, "waiting", demand.waiting);
    rm_jw_u64(w, "oldest_ms", demand.oldest_ms);
    rm_jw_u64(w, "in_flight", demand.in_flight);
    if (demand.last_use_ms > 0)
        rm_jw_u64(w, "idle_ms",
                  demand.in_flight > 0 || now < demand.last_use_ms ? 0 : now - demand.last_use_ms);
    else
        rm_jw_null(w, "idle_ms");
    rm_jw_u64(w, "queue_max", conf->queue_max);
    write_loading(w, role, now);
    if (cluster_usable(role) > 0)
        rm_jw_null(w, "reason");
    else {
        coming_why(role, now, why, sizeof why);
        rm_jw_str(w, "reason", why);
    }
    put_urls(w, conf);
    if (figures != NULL)
        figures(arg, role->name, w);
    rm_jw_arr(w, "hosts");
    TAILQ_FOREACH(h, &role->hosts, link)
    if (h->facts.state != HOST_ABSENT && !h->node->gone)
        write_host(w, h);
    rm_jw_end(w);
    rm_jw_end(w);
}

int route_write_roles(const struct route *r,
                      void (*figures)(void *arg, const char *role, struct rm_jw *w), void *arg,
                      struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);
    const struct cluster_role *role;

    rm_jw_arr(&w, NULL);
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    if (role->conf != NULL)
        write_role(&w, r, role, figures, arg);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}
