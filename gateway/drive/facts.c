/* SPDX-License-Identifier: MIT */
/* gateway/drive/facts.c - what the hosting machine is told: states of workers, forecasts, demand.
 * Limits and bytes are those of proto/plan/plan_live.h, as `rolemesh plan` shows them. What others
 * use of a node moves all the time, so its limits count only once they have moved by a part of the
 * memory and stayed there for some seconds: a worker's guard is quicker where it must be. */
#include <stdlib.h>

#include "gateway/drive/drive_impl.h"
#include "proto/base/clock.h"

static enum hosting_seen seen_of(const struct node_host *h)
{
    if (h == NULL)
        return HOSTING_ABSENT;
    switch (h->state) {
    case HOST_FETCHING:
    case HOST_LOADING:
    case HOST_WARMING:
        return HOSTING_LOADING;
    case HOST_READY:
    case HOST_BUSY:
        return HOSTING_READY;
    case HOST_DRAINING:
        return HOSTING_DRAINING;
    case HOST_FAILED:
        return HOSTING_FAILED;
    default:
        return HOSTING_ABSENT;
    }
}

/* ---- nodes ---- */

static bool moved(uint64_t a, uint64_t b, uint64_t part)
{
    return (a > b ? a - b : b - a) > part;
}

static bool limits_moved(const struct plan_node *a, const struct plan_node *b, uint64_t part)
{
    return a->split != b->split || moved(a->budget_bytes, b->budget_bytes, part) ||
           moved(a->swap_bytes, b->swap_bytes, part) ||
           moved(a->largest_bytes, b->largest_bytes, 0) ||
           (a->split && (moved(a->main_bytes, b->main_bytes, part) ||
                         moved(a->device_bytes, b->device_bytes, part)));
}

static void settle_limits(struct drive_node *n, const struct plan_node *fresh, uint64_t reserve,
                          uint64_t now)
{
    uint64_t part = n->state.memory.total / DRIVE_LIMITS_PART;
    bool first = n->limits.budget_bytes == 0 || n->reserve != reserve ||
                 n->total != n->state.memory.total; /* a limit was set: that is no fluctuation */

    if (first || (n->moved_ms > 0 && now - n->moved_ms >= DRIVE_LIMITS_MS)) {
        n->limits = *fresh;
        n->reserve = reserve;
        n->total = n->state.memory.total;
        n->moved_ms = 0;
    } else if (!limits_moved(&n->limits, fresh, part)) {
        n->moved_ms = 0;
    } else if (n->moved_ms == 0) {
        n->moved_ms = now;
    }
    n->limits.usable = fresh->usable;
}

static void fill_node(struct drive *d, const struct plan_live *live, size_t i, uint64_t now)
{
    struct drive_node *n = d->nodes[i];

    if (n->leaving) {
        n->limits = (struct plan_node){.usable = drive_node_usable(n)};
    } else {
        struct plan_node fresh = plan_live_node(live, i);

        if (fresh.usable)
            settle_limits(n, &fresh, d->map->nodes[i].reserve_bytes, now);
        else
            n->limits.usable = false;
    }
    d->f_nodes[i] = (struct hosting_node){.limits = n->limits,
                                          .reachable = link_is_up(n->link) && n->has_state,
                                          .refusing = n->state.memory.refusing,
                                          .leaving = n->leaving,
                                          .drained = n->drained};
}

/* ---- roles ---- */

static enum plan_wish wish_of(const struct map_role *role)
{
    if (role->residency == MAP_PINNED)
        return PLAN_PINNED;
    return role->lane == MAP_LANE_AUTOCOMPLETE ? PLAN_AUTOCOMPLETE
           : role->lane == MAP_LANE_BATCH      ? PLAN_BATCH
                                               : PLAN_INTERACTIVE;
}

static void fill_role(struct drive *d, size_t i)
{
    const struct map_role *role = d->roles[i].conf;
    struct route_demand demand;

    if (role == NULL) {
        d->f_roles[i] = (struct hosting_role){.leaving = true, .wish = PLAN_BATCH};
        return;
    }
    route_demand_of(d->route, role->name, &demand);
    d->f_roles[i] = (struct hosting_role){
        .on_demand = role->residency == MAP_ON_DEMAND,
        .wish = wish_of(role),
        .replicas = role->replicas,
        .swap = role->overcommit == MAP_OVERCOMMIT_SWAP,
        .idle_unload_ms = role->idle_unload_ms,
        .waiting = demand.waiting,
        .oldest_ms = demand.oldest_ms,
    };
}

/* ---- pairs ---- */

/* By what was measured there, what was seen from here, or the speed at which this node reads. */
static uint64_t load_ms_of(const struct drive *d, size_t role, size_t node)
{
    const struct drive_pair *p = drive_pair(d, role, node);
    double pace = d->nodes[node]->bytes_ms > 0 ? d->nodes[node]->bytes_ms : DRIVE_DISK_BYTES_MS;

    if (p->known != PLAN_FORECAST)
        return p->load_took_ms;
    if (p->forecast->load_ms > 0)
        return p->forecast->load_ms;
    if (p->load_took_ms > 0)
        return p->load_took_ms;
    return (uint64_t)((double)p->forecast->model_bytes / pace);
}

static uint32_t requests_on(const struct drive *d, size_t role, size_t node,
                            const struct node_host *h, uint64_t *used_ms)
{
    struct route_host_use use;
    uint32_t there = 0;

    route_host_use_of(d->route, d->roles[role].name, d->nodes[node]->name, &use);
    *used_ms = use.last_use_ms;
    if (h != NULL && h->engine[0] != 'a') /* an attached engine has users of its own */
        there = h->slots_busy + h->queue;
    return use.in_flight > there ? use.in_flight : there;
}

static void fill_wanted(const struct drive *d, const struct plan_live *live, size_t role,
                        size_t node, struct hosting_pair *out)
{
    const struct drive_pair *p = drive_pair(d, role, node);
    struct plan_pair plan = plan_live_pair(live, role, node, NULL);

    out->operator_wish = p->wish;
    out->allowed = map_role_allows(d->roles[role].conf, d->nodes[node]->name);
    out->forecast = p->known == PLAN_FORECAST ? HOSTING_FITS
                    : p->known == PLAN_BAD    ? HOSTING_BAD
                                              : HOSTING_UNASKED;
    out->file = p->known == PLAN_FORECAST;
    out->bytes = plan.bytes;
    out->device_bytes = plan.device_bytes;
    out->largest_bytes = plan.largest_bytes;
    out->load_ms = load_ms_of(d, role, node);
}

static void fill_pair(struct drive *d, const struct plan_live *live, size_t role, size_t node)
{
    const struct drive_node *n = d->nodes[node];
    const struct node_host *h = node_state_find(&n->state, d->roles[role].name);
    struct hosting_pair *out = &d->f_pairs[role * d->n_nodes + node];

    *out = (struct hosting_pair){.seen = seen_of(h)};
    if (d->roles[role].conf != NULL && !n->leaving)
        fill_wanted(d, live, role, node, out);
    out->in_flight = requests_on(d, role, node, h, &out->used_ms);
    if (h == NULL)
        return;
    out->current = strcmp(h->revision, drive_pair(d, role, node)->wanted_rev) == 0;
    out->for_good = h->state == HOST_FAILED && h->retry_ms == 0;
    out->progress = h->progress;
    out->held_bytes = h->forecast_bytes;
}

/* ---- all of it ---- */

static void fill_live(struct drive *d, struct plan_live_node *nodes, struct plan_live_pair *pairs)
{
    for (size_t n = 0; n < d->map->n_nodes; n++)
        nodes[n] =
            (struct plan_live_node){.usable = drive_node_usable(d->nodes[n]),
                                    .state = d->nodes[n]->has_state ? &d->nodes[n]->state : NULL};
    for (size_t r = 0; r < d->map->n_roles; r++)
        for (size_t n = 0; n < d->map->n_nodes; n++) {
            const struct drive_pair *p = drive_pair(d, r, n);
            enum hosting_seen seen =
                seen_of(node_state_find(&d->nodes[n]->state, d->roles[r].name));

            pairs[r * d->map->n_nodes + n] = (struct plan_live_pair){
                .known = p->known,
                .forecast = p->known == PLAN_FORECAST ? p->forecast : NULL,
                .standing = seen == HOSTING_LOADING || seen == HOSTING_READY,
                .file = p->known == PLAN_FORECAST};
        }
}

int drive_fill_facts(struct drive *d, uint64_t now)
{
    size_t n_nodes = d->map->n_nodes, n_roles = d->map->n_roles;
    struct plan_live_node *nodes = calloc(n_nodes + 1, sizeof *nodes);
    struct plan_live_pair *pairs = calloc(n_nodes * n_roles + 1, sizeof *pairs);
    struct plan_live live = {.map = d->map, .nodes = nodes, .pairs = pairs};

    if (nodes == NULL || pairs == NULL) {
        free(nodes);
        free(pairs);
        return UV_ENOMEM;
    }
    fill_live(d, nodes, pairs);
    for (size_t n = 0; n < d->n_nodes; n++)
        fill_node(d, &live, n, now);
    for (size_t r = 0; r < d->n_roles; r++) {
        fill_role(d, r);
        for (size_t n = 0; n < d->n_nodes; n++)
            fill_pair(d, &live, r, n);
    }
    d->facts = (struct hosting_facts){
        .nodes = d->f_nodes, .roles = d->f_roles, .pairs = d->f_pairs, .settled = d->settled};
    free(nodes);
    free(pairs);
    return 0;
}

bool drive_has_forecasts(const struct drive *d)
{
    for (size_t r = 0; r < d->map->n_roles; r++)
        for (size_t n = 0; n < d->map->n_nodes; n++)
            if (drive_pair(d, r, n)->known == PLAN_UNASKED && link_is_up(d->nodes[n]->link) &&
                map_role_allows(d->roles[r].conf, d->nodes[n]->name))
                return false;
    return true;
}
