/* SPDX-License-Identifier: MIT */
/* gateway/route/metrics.c - what the route knows of nodes, hosts and roles, for /metrics. Labels
 * are names of the role map, so the label sets are bounded. A figure that nobody has told yet has
 * no sample. Reads only. Neighbour: report.c tells the same as JSON. */
#include "gateway/route/coming.h"
#include "gateway/route/route_private.h"
#include "proto/base/clock.h"
#include "proto/base/om.h"

/* ---- nodes ---- */

static void write_nodes_up(const struct route *r, struct rm_om *om)
{
    const struct cluster_node *n;

    rm_om_family(om, "rolemesh_node_up", RM_OM_GAUGE, "", "1 up, 0.5 suspect, 0 down.");
    TAILQ_FOREACH(n, &r->cluster.nodes, link)
    if (!n->gone) {
        rm_om_labels(om, "node", n->name, NULL);
        rm_om_dbl(om, (double)n->health.state / 2);
    }
}

static void write_nodes_memory(const struct route *r, struct rm_om *om)
{
    const struct cluster_node *n;

    rm_om_family(om, "rolemesh_node_memory_bytes", RM_OM_GAUGE, "bytes",
                 "Memory of a node by part, as its worker says; parts overlap.");
    TAILQ_FOREACH(n, &r->cluster.nodes, link)
    {
        const struct node_memory *m = &n->state.memory;
        const struct {
            const char *part;
            uint64_t bytes;
        } parts[] = {
            {"total", m->total},         {"available", m->available}, {"reserve", m->reserve},
            {"budget", m->budget},       {"committed", m->committed}, {"others", m->others},
            {"swap_used", m->swap_used}, {"vram_used", m->vram_used}, {"gtt_used", m->gtt_used}};

        for (size_t i = 0; n->has_state && !n->gone && i < RM_COUNT(parts); i++) {
            rm_om_labels(om, "node", n->name, "part", parts[i].part, NULL);
            rm_om_u64(om, parts[i].bytes);
        }
    }
}

struct node_family {
    const char *name;
    enum rm_om_type type;
    const char *unit, *help;
    double (*value)(const struct cluster_node *n);
};

static double node_uptime(const struct cluster_node *n)
{
    return (double)n->state.uptime_ms / 1000;
}
static double node_refusing(const struct cluster_node *n)
{
    return n->state.memory.refusing;
}
static double node_pressure(const struct cluster_node *n)
{
    return n->state.memory.pressure / 100;
}
static double node_silent(const struct cluster_node *n)
{
    uint64_t now = rm_now_ms();

    return now > n->health.last_good_ms ? (double)(now - n->health.last_good_ms) / 1000 : 0;
}

static double node_cpu(const struct cluster_node *n)
{
    return n->state.cpu_percent / 100;
}
static double node_gpu(const struct cluster_node *n)
{
    return n->state.gpu_percent / 100;
}
static double node_rtt(const struct cluster_node *n)
{
    return n->rtt_ms / 1000;
}
static const struct node_family node_families[] = {
    {"rolemesh_node_uptime_seconds", RM_OM_GAUGE, "seconds", "Since its worker started.",
     node_uptime},
    {"rolemesh_node_silent_seconds", RM_OM_GAUGE, "seconds", "Since its worker was heard last.",
     node_silent},
    {"rolemesh_node_refusing", RM_OM_GAUGE, "", "1: memory is short, no engine is started.",
     node_refusing},
    {"rolemesh_node_memory_pressure_ratio", RM_OM_GAUGE, "ratio",
     "Part of the last 10 s in which some task waited for memory.", node_pressure},
    {"rolemesh_node_cpu_ratio", RM_OM_GAUGE, "ratio", "Of all CPUs, in use over the last seconds.",
     node_cpu},
    {"rolemesh_node_gpu_ratio", RM_OM_GAUGE, "ratio", "The same of its devices.", node_gpu},
    {"rolemesh_node_rtt_seconds", RM_OM_GAUGE, "seconds", "Round trip to its worker, smoothed.",
     node_rtt},
};

static void write_node_family(const struct route *r, const struct node_family *f, struct rm_om *om)
{
    const struct cluster_node *n;

    rm_om_family(om, f->name, f->type, f->unit, f->help);
    TAILQ_FOREACH(n, &r->cluster.nodes, link)
    if (n->has_state && !n->gone) {
        double value = f->value(n);

        if (value < 0) /* not known */
            continue;
        rm_om_labels(om, "node", n->name, NULL);
        rm_om_dbl(om, value);
    }
}

static void write_paths(const struct route *r, struct rm_om *om)
{
    const struct cluster_node *n;

    rm_om_family(om, "rolemesh_node_path", RM_OM_GAUGE, "",
                 "1 for how the node is reached: unix, loopback, lan, tailnet, public.");
    TAILQ_FOREACH(n, &r->cluster.nodes, link)
    if (!n->gone && n->path != NULL) {
        rm_om_labels(om, "node", n->name, "path", n->path, NULL);
        rm_om_u64(om, 1);
    }
}

/* ---- hosts ---- */

struct host_family {
    const char *name;
    enum rm_om_type type;
    const char *unit, *help;
    double (*value)(const struct cluster_host *h);
    bool ours; /* counted here: told also while nothing is hosted */
};

static double host_ready(const struct cluster_host *h)
{
    return cluster_host_usable(h);
}
static double host_closed(const struct cluster_host *h)
{
    return h->closed;
}
static double host_slots(const struct cluster_host *h)
{
    return h->facts.slots_total;
}
static double host_busy(const struct cluster_host *h)
{
    return h->facts.slots_busy;
}
static double host_flight(const struct cluster_host *h)
{
    return h->in_flight;
}
static double host_queue(const struct cluster_host *h)
{
    return h->facts.queue;
}
static double host_prefill(const struct cluster_host *h)
{
    return h->facts.prefill_tps;
}
static double host_decode(const struct cluster_host *h)
{
    return h->facts.decode_tps;
}
static double host_kv(const struct cluster_host *h)
{
    return (double)h->facts.kv_used;
}
static double host_kv_total(const struct cluster_host *h)
{
    return (double)h->facts.kv_total;
}
static double host_rss(const struct cluster_host *h)
{
    return (double)h->facts.rss_bytes;
}
static double host_forecast(const struct cluster_host *h)
{
    return (double)h->facts.forecast_bytes;
}
/* Forecast over measured; below 0: not measured. */
static double host_ratio(const struct cluster_host *h)
{
    if (h->facts.measured_bytes == 0 || h->facts.forecast_bytes == 0)
        return -1;
    return (double)h->facts.forecast_bytes / (double)h->facts.measured_bytes;
}
static double host_measured(const struct cluster_host *h)
{
    return h->facts.measured_bytes > 0 ? (double)h->facts.measured_bytes : -1;
}
static double host_prompt(const struct cluster_host *h)
{
    return (double)h->facts.prompt_tokens;
}
static double host_cached(const struct cluster_host *h)
{
    return (double)h->facts.cached_tokens;
}
static double host_generated(const struct cluster_host *h)
{
    return (double)h->facts.generated_tokens;
}
static double host_restarts(const struct cluster_host *h)
{
    return h->facts.restarts;
}
static double host_leases(const struct cluster_host *h)
{
    return (double)h->granted;
}
static double host_losses(const struct cluster_host *h)
{
    return (double)h->lost;
}
static double host_loads(const struct cluster_host *h)
{
    return (double)h->loads;
}
static double host_load_fails(const struct cluster_host *h)
{
    return (double)h->load_fails;
}

static const struct host_family host_families[] = {
    {"rolemesh_host_ready", RM_OM_GAUGE, "", "1 when requests may go to the host.", host_ready,
     false},
    {"rolemesh_host_closed", RM_OM_GAUGE, "", "1 while the host drains: it gets no new request.",
     host_closed, false},
    {"rolemesh_host_slots", RM_OM_GAUGE, "", "Sequences the engine decodes together.", host_slots,
     false},
    {"rolemesh_host_slots_busy", RM_OM_GAUGE, "", "Slots in use, as the worker says.", host_busy,
     false},
    {"rolemesh_host_in_flight", RM_OM_GAUGE, "", "Requests this gateway has there.", host_flight,
     false},
    {"rolemesh_host_queue", RM_OM_GAUGE, "", "Requests that wait in the engine.", host_queue,
     false},
    {"rolemesh_host_prefill_tokens_per_second", RM_OM_GAUGE, "", "Measured prefill speed.",
     host_prefill, false},
    {"rolemesh_host_decode_tokens_per_second", RM_OM_GAUGE, "", "Measured pace of one stream.",
     host_decode, false},
    {"rolemesh_host_kv_tokens", RM_OM_GAUGE, "", "Tokens in the KV memory.", host_kv, false},
    {"rolemesh_host_kv_capacity_tokens", RM_OM_GAUGE, "", "Tokens that it can hold.", host_kv_total,
     false},
    {"rolemesh_host_rss_bytes", RM_OM_GAUGE, "bytes", "Resident memory of the engine process.",
     host_rss, false},
    {"rolemesh_host_forecast_bytes", RM_OM_GAUGE, "bytes", "Forecast, or measured by now.",
     host_forecast, false},
    {"rolemesh_host_measured_bytes", RM_OM_GAUGE, "bytes",
     "The most that was measured of such an engine.", host_measured, false},
    {"rolemesh_host_forecast_measured_ratio", RM_OM_GAUGE, "ratio",
     "Forecast over measured: below 1 the forecast was too low.", host_ratio, false},
    {"rolemesh_host_prompt_tokens", RM_OM_COUNTER, "", "Since the engine's start, of any asker.",
     host_prompt, false},
    {"rolemesh_host_cached_tokens", RM_OM_COUNTER, "", "Of the prompts, from a cache.", host_cached,
     false},
    {"rolemesh_host_generated_tokens", RM_OM_COUNTER, "", "Since the engine's start.",
     host_generated, false},
    {"rolemesh_host_restarts", RM_OM_COUNTER, "", "Engine restarts since the host was asked for.",
     host_restarts, false},
    {"rolemesh_host_leases", RM_OM_COUNTER, "", "Requests sent there.", host_leases, true},
    {"rolemesh_host_losses", RM_OM_COUNTER, "", "Of them, lost by the host.", host_losses, true},
    {"rolemesh_host_loads", RM_OM_COUNTER, "", "Times that it became ready after a load.",
     host_loads, true},
    {"rolemesh_host_load_failures", RM_OM_COUNTER, "", "Times that it failed instead.",
     host_load_fails, true},
};

static void write_host_family(const struct route *r, const struct host_family *f, struct rm_om *om)
{
    const struct cluster_role *role;
    const struct cluster_host *h;

    rm_om_family(om, f->name, f->type, f->unit, f->help);
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    TAILQ_FOREACH(h, &role->hosts, link)
    if (!h->node->gone && (f->ours || h->facts.state != HOST_ABSENT)) {
        double value = f->value(h);

        if (value < 0) /* not known */
            continue;
        rm_om_labels(om, "role", role->name, "node", h->node->name, NULL);
        rm_om_dbl(om, value);
    }
}

static void write_host_states(const struct route *r, struct rm_om *om)
{
    const struct cluster_role *role;
    const struct cluster_host *h;

    rm_om_family(om, "rolemesh_host_state", RM_OM_GAUGE, "",
                 "1 for the state that the host is in.");
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    TAILQ_FOREACH(h, &role->hosts, link)
    if (!h->node->gone && h->facts.state != HOST_ABSENT) {
        rm_om_labels(om, "role", role->name, "node", h->node->name, "state",
                     node_host_state_name(h->facts.state), NULL);
        rm_om_u64(om, 1);
    }
}

/* Parts that add up to what counts for the host, and with it how much of its KV is in use. */
static void write_hosts_memory(const struct route *r, struct rm_om *om)
{
    const struct cluster_role *role;
    const struct cluster_host *h;

    rm_om_family(om, "rolemesh_host_memory_bytes", RM_OM_GAUGE, "bytes",
                 "Memory that counts for a host, by part; kv_used is in kv.");
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    TAILQ_FOREACH(h, &role->hosts, link)
    if (!h->node->gone && h->facts.state != HOST_ABSENT) {
        const struct node_host *f = &h->facts;
        const struct {
            const char *part;
            uint64_t bytes;
        } parts[] = {{"weights", f->weights_bytes},
                     {"kv", f->kv_bytes},
                     {"kv_used", f->kv_used_bytes},
                     {"compute", f->compute_bytes},
                     {"other", f->other_bytes}};

        for (size_t i = 0; i < RM_COUNT(parts); i++) {
            rm_om_labels(om, "role", role->name, "node", h->node->name, "part", parts[i].part,
                         NULL);
            rm_om_u64(om, parts[i].bytes);
        }
    }
}

static void write_slots(const struct route *r, struct rm_om *om)
{
    const struct cluster_role *role;
    const struct cluster_host *h;

    rm_om_family(om, "rolemesh_host_slots_doing", RM_OM_GAUGE, "",
                 "Slots by what they do now, of the first 64.");
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    TAILQ_FOREACH(h, &role->hosts, link)
    if (!h->node->gone && h->facts.state != HOST_ABSENT) {
        uint32_t n[SLOT_DECODE + 1] = {0};

        for (size_t i = 0; i < NODE_SLOTS_MAX && h->facts.slots[i] != SLOT_NONE; i++)
            n[h->facts.slots[i]]++;
        for (int s = SLOT_IDLE; s <= SLOT_DECODE; s++) {
            rm_om_labels(om, "role", role->name, "node", h->node->name, "doing",
                         node_slot_name((enum node_slot)s), NULL);
            rm_om_u64(om, n[s]);
        }
    }
}

/* ---- roles ---- */

struct role_family {
    const char *name;
    enum rm_om_type type;
    const char *unit, *help;
    double (*value)(const struct route *r, const struct cluster_role *role);
};

static double role_ready(const struct route *r, const struct cluster_role *role)
{
    (void)r;
    return cluster_usable(role);
}
static double role_replicas(const struct route *r, const struct cluster_role *role)
{
    (void)r;
    return role->conf->residency == MAP_ON_DEMAND ? 0 : role->conf->replicas;
}
static double role_waiting(const struct route *r, const struct cluster_role *role)
{
    (void)r;
    return role->n_waiting;
}
static double role_queue_max(const struct route *r, const struct cluster_role *role)
{
    (void)r;
    return role->conf->queue_max;
}
static double role_for_load(const struct route *r, const struct cluster_role *role)
{
    (void)r;
    return cluster_usable(role) == 0 ? role->n_waiting : 0;
}
static double role_oldest(const struct route *r, const struct cluster_role *role)
{
    struct route_demand d;

    route_demand_of(r, role->name, &d);
    return (double)d.oldest_ms / 1000;
}
static double role_loading(const struct route *r, const struct cluster_role *role)
{
    struct coming c;

    (void)r;
    coming_of(role, rm_now_ms(), &c);
    return c.is;
}
static double role_eta(const struct route *r, const struct cluster_role *role)
{
    struct coming c;

    (void)r;
    coming_of(role, rm_now_ms(), &c);
    return (double)c.eta_ms / 1000;
}
static double role_leases(const struct route *r, const struct cluster_role *role)
{
    (void)r;
    return (double)role->granted;
}
static double role_refusals(const struct route *r, const struct cluster_role *role)
{
    (void)r;
    return (double)role->refused;
}
static double role_moved(const struct route *r, const struct cluster_role *role)
{
    (void)r;
    return (double)role->moved;
}

static const struct role_family role_families[] = {
    {"rolemesh_role_hosts_ready", RM_OM_GAUGE, "", "Hosts that requests may go to.", role_ready},
    {"rolemesh_role_hosts_wanted", RM_OM_GAUGE, "",
     "Hosts that should always stand: replicas of the map, 0 on demand.", role_replicas},
    {"rolemesh_queue_waiting", RM_OM_GAUGE, "", "Requests waiting for a host.", role_waiting},
    {"rolemesh_queue_limit", RM_OM_GAUGE, "", "Requests that may wait.", role_queue_max},
    {"rolemesh_loads_waiting", RM_OM_GAUGE, "", "Of these, requests whose role has no ready host.",
     role_for_load},
    {"rolemesh_queue_oldest_seconds", RM_OM_GAUGE, "seconds",
     "How long the oldest of them has waited.", role_oldest},
    {"rolemesh_role_loading", RM_OM_GAUGE, "",
     "1 while the role has no ready host and one is on its way.", role_loading},
    {"rolemesh_role_load_eta_seconds", RM_OM_GAUGE, "seconds",
     "Until it should be ready; 0: unknown or nothing to wait for.", role_eta},
    {"rolemesh_route_leases", RM_OM_COUNTER, "", "Hosts granted to requests.", role_leases},
    {"rolemesh_route_refusals", RM_OM_COUNTER, "", "Requests that got no host.", role_refusals},
    {"rolemesh_route_fallbacks", RM_OM_COUNTER, "", "Requests that went to a fallback of the role.",
     role_moved},
};

static void write_role_family(const struct route *r, const struct role_family *f, struct rm_om *om)
{
    const struct cluster_role *role;

    rm_om_family(om, f->name, f->type, f->unit, f->help);
    TAILQ_FOREACH(role, &r->cluster.roles, link)
    if (role->conf != NULL) {
        rm_om_labels(om, "role", role->name, NULL);
        rm_om_dbl(om, f->value(r, role));
    }
}

void route_write_metrics(const struct route *r, struct rm_om *om)
{
    write_nodes_up(r, om);
    write_paths(r, om);
    write_nodes_memory(r, om);
    for (size_t i = 0; i < RM_COUNT(node_families); i++)
        write_node_family(r, &node_families[i], om);
    write_host_states(r, om);
    write_hosts_memory(r, om);
    write_slots(r, om);
    for (size_t i = 0; i < RM_COUNT(host_families); i++)
        write_host_family(r, &host_families[i], om);
    for (size_t i = 0; i < RM_COUNT(role_families); i++)
        write_role_family(r, &role_families[i], om);
}
