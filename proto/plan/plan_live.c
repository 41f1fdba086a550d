/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_live.c - the rules of plan_live.h: states and forecasts to the planner's numbers.
 */
#include "proto/plan/plan_live.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t more(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static const struct plan_live_pair *pair_of(const struct plan_live *l, size_t role, size_t node)
{
    return &l->pairs[role * l->map->n_nodes + node];
}

/* --- bytes of a host ----------------------------------------------------------------------------
 */

static const struct node_host *host_of(const struct plan_live *l, size_t role, size_t node)
{
    const struct node_state *s = l->nodes[node].state;

    return s != NULL ? node_state_find(s, l->map->roles[role].name) : NULL;
}

/* What its worker counts it with, when nobody was asked for a forecast yet. */
static struct plan_parts parts_of_standing(const struct plan_live *l, size_t role, size_t node)
{
    const struct node_host *h = host_of(l, role, node);
    struct plan_parts p = {.known = false};

    if (!pair_of(l, role, node)->standing || h == NULL || h->forecast_bytes == 0)
        return p;
    p.known = true;
    p.other_bytes = p.all_bytes = h->forecast_bytes;
    return p;
}

static void finish_parts(struct plan_parts *p, uint64_t total)
{
    p->known = true;
    p->all_bytes = total;
    p->other_bytes = less(total, more(more(p->weights_bytes, p->kv_bytes), p->compute_bytes));
    p->device_bytes = smaller(p->device_bytes, total);
}

/* part x now / was, where `was` may be 0. */
static uint64_t share(uint64_t part, uint64_t now, uint64_t was)
{
    return was > 0 ? (uint64_t)((long double)part * (long double)now / (long double)was) : 0;
}

/* On devices, with other KV and compute bytes than were forecast. */
static uint64_t device_bytes(const struct node_forecast *f, uint64_t kv, uint64_t compute)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < f->n_buffers && i < NODE_BUFFERS_MAX; i++) {
        const struct node_buffer *b = &f->buffers[i];

        if (!b->host)
            sum = more(sum, more(b->weights, more(share(b->kv, kv, f->kv),
                                                  share(b->compute, compute, f->compute))));
    }
    return sum;
}

static struct plan_parts parts_as_asked(const struct node_forecast *f)
{
    struct plan_parts p = {.weights_bytes = f->weights,
                           .kv_bytes = f->kv,
                           .compute_bytes = f->compute,
                           .device_bytes = device_bytes(f, f->kv, f->compute),
                           .largest_bytes = f->largest,
                           .measured = f->measured,
                           .estimated = f->estimated};

    finish_parts(&p, f->total);
    return p;
}

/* Another setting. What was measured beyond the prediction stays beyond it. */
static struct plan_parts parts_otherwise(const struct node_forecast *f, const struct map_role *r,
                                         const struct plan_way *way)
{
    uint32_t context = way->kind == PLAN_WAY_CONTEXT ? way->value : r->context;
    uint32_t slots = way->kind == PLAN_WAY_SLOTS ? way->value : r->slots;
    bool q8 = r->kv == MAP_KV_Q8_0, q8_now = q8 || way->kind == PLAN_WAY_KV;
    struct plan_parts p = {.known = false};
    struct node_bytes b, as_asked;
    uint64_t beyond = 0;

    if (node_forecast_at(f, context, slots, q8_now, &b) < 0)
        return p;
    if (f->measured && node_forecast_at(f, r->context, r->slots, q8, &as_asked) == 0)
        beyond = less(f->total, as_asked.total);
    p.weights_bytes = b.weights;
    p.kv_bytes = b.kv;
    p.compute_bytes = b.compute;
    p.device_bytes = device_bytes(f, b.kv, b.compute);
    p.largest_bytes = b.largest;
    p.estimated = f->estimated;
    finish_parts(&p, more(b.total, beyond));
    return p;
}

struct plan_parts plan_live_parts(const struct plan_live *live, size_t role, size_t node,
                                  const struct plan_way *way)
{
    const struct plan_live_pair *p = pair_of(live, role, node);
    bool other =
        way != NULL && way->role == role &&
        (way->kind == PLAN_WAY_KV || way->kind == PLAN_WAY_CONTEXT || way->kind == PLAN_WAY_SLOTS);
    struct plan_parts none = {.known = false};

    if (p->known == PLAN_BAD)
        return none;
    if (p->known == PLAN_UNASKED || p->forecast == NULL)
        return other ? none : parts_of_standing(live, role, node);
    if (other && p->forecast->known)
        return parts_otherwise(p->forecast, &live->map->roles[role], way);
    return parts_as_asked(p->forecast);
}

struct plan_pair plan_live_pair(const struct plan_live *live, size_t role, size_t node,
                                const struct plan_way *way)
{
    const struct map_role *r = &live->map->roles[role];
    struct plan_parts p = plan_live_parts(live, role, node, way);
    bool opened =
        way != NULL && way->kind == PLAN_WAY_NODE && way->role == role && way->value == node;
    bool may = opened || map_role_allows(r, live->map->nodes[node].name);

    return (struct plan_pair){.allowed = p.known && may && !pair_of(live, role, node)->kept_off,
                              .standing = pair_of(live, role, node)->standing,
                              .file = pair_of(live, role, node)->file,
                              .bytes = p.all_bytes,
                              .device_bytes = p.device_bytes,
                              .largest_bytes = p.largest_bytes};
}

/* --- limits of a node ---------------------------------------------------------------------------
 */

uint64_t plan_live_foreign_bytes(const struct plan_live *live, size_t node)
{
    const struct node_state *s = live->nodes[node].state;
    uint64_t sum = 0;

    for (uint32_t i = 0; s != NULL && i < s->n_hosts; i++)
        if (role_map_role(live->map, rm_slice_of(s->hosts[i].role)) == NULL)
            sum = more(sum, s->hosts[i].forecast_bytes > 0 ? s->hosts[i].forecast_bytes
                                                           : s->hosts[i].rss_bytes);
    return sum;
}

uint64_t plan_live_other_bytes(const struct plan_live *live, size_t node)
{
    const struct node_state *s = live->nodes[node].state;
    uint64_t ours = 0;

    if (s == NULL)
        return 0;
    for (uint32_t i = 0; i < s->n_hosts; i++)
        ours = more(ours, s->hosts[i].rss_bytes);
    return less(less(less(s->memory.total, s->memory.vram_counted), s->memory.available), ours);
}

/* Forecasts of what stands there and may stay; swapped: of roles that may be swapped alone. */
static uint64_t standing_bytes(const struct plan_live *l, size_t node, bool swapped)
{
    uint64_t sum = 0;

    for (size_t r = 0; r < l->map->n_roles; r++)
        if (pair_of(l, r, node)->standing &&
            (!swapped || l->map->roles[r].overcommit == MAP_OVERCOMMIT_SWAP))
            sum = more(sum, plan_live_parts(l, r, node, NULL).all_bytes);
    return sum;
}

static uint64_t budget_of(const struct plan_live *l, size_t node)
{
    const struct node_memory *m = &l->nodes[node].state->memory;
    uint64_t reserve = l->map->nodes[node].reserve_bytes, budget = m->budget, stands, rest;

    if (reserve > 0)
        budget = less(m->total, reserve);
    rest = less(m->total, plan_live_other_bytes(l, node)); /* they do not lie in VRAM */
    stands = standing_bytes(l, node, false);
    if (rest < budget)
        budget = rest > stands ? rest : smaller(stands, budget);
    return l->foreign_stay ? less(budget, plan_live_foreign_bytes(l, node)) : budget;
}

/* What is used while a host stands that may be swapped is taken as its own. */
static uint64_t swap_of(const struct plan_live *l, size_t node)
{
    const struct node_memory *m = &l->nodes[node].state->memory;
    uint64_t swap = less(m->swap_total, m->swap_zram);

    return standing_bytes(l, node, true) > 0 ? swap : less(swap, m->swap_used);
}

/* Which part of the budget devices may take, and which the rest. libllama takes integrated devices
 * only where there are no others; those also map system memory. */
static void device_limits(const struct node_state *s, struct plan_node *out)
{
    const struct node_memory *m = &s->memory;
    uint64_t largest = 0;
    bool own = false, any = false;

    for (uint32_t i = 0; i < s->devices.n; i++) {
        const struct node_device *d = &s->devices.device[i];

        if (d->kind != DEVICE_GPU && d->kind != DEVICE_IGPU)
            continue;
        any = true;
        own |= d->kind == DEVICE_GPU && m->vram_counted > 0;
        largest = d->total > largest ? d->total : largest;
    }
    out->device_bytes = more(m->vram_counted, own ? 0 : m->gtt_total);
    if (out->device_bytes == 0)
        out->device_bytes = largest; /* nobody but the engine tells */
    out->main_bytes = less(out->budget_bytes, m->vram_counted);
    out->split = any && out->device_bytes > 0;
    if (!out->split)
        out->device_bytes = out->main_bytes = 0;
}

struct plan_node plan_live_node(const struct plan_live *live, size_t node)
{
    const struct plan_live_node *n = &live->nodes[node];
    struct plan_node out = {.usable = n->usable && n->state != NULL};

    if (n->state == NULL)
        return out;
    out.budget_bytes = budget_of(live, node);
    out.swap_bytes = swap_of(live, node);
    out.largest_bytes = n->largest_bytes;
    device_limits(n->state, &out);
    return out;
}

/* --- what workers are asked ---------------------------------------------------------------------
 */

static enum node_residency residency_of(const struct map_role *role)
{
    if (role->residency == MAP_PINNED)
        return RESIDENCY_PINNED;
    return role->residency == MAP_ON_DEMAND ? RESIDENCY_ON_DEMAND : RESIDENCY_RESIDENT;
}

static enum node_lane lane_of(const struct map_role *role)
{
    if (role->lane == MAP_LANE_AUTOCOMPLETE)
        return LANE_AUTOCOMPLETE;
    return role->lane == MAP_LANE_BATCH ? LANE_BATCH : LANE_INTERACTIVE;
}

void plan_desired_host(const struct map_role *role, struct desired_host *out)
{
    *out = (struct desired_host){
        .engine = role->engine.kind == MAP_ENGINE_ATTACH ? ENGINE_ATTACH : ENGINE_CORE,
        .context = role->context,
        .slots = role->slots,
        .batch = role->batch,
        .threads = role->threads,
        .gpu_layers = role->gpu_layers,
        .queue_max = role->queue_max,
        .residency = residency_of(role),
        .lane = lane_of(role),
        .swap = role->overcommit == MAP_OVERCOMMIT_SWAP,
    };
    snprintf(out->role, sizeof out->role, "%s", role->name);
    snprintf(out->model, sizeof out->model, "%s", role->model_name);
    snprintf(out->kv, sizeof out->kv, "%s", map_kv_name(role->kv));
    if (out->engine == ENGINE_ATTACH) {
        snprintf(out->url, sizeof out->url, "%s", role->engine.url);
        snprintf(out->engine_model, sizeof out->engine_model, "%s",
                 role->model->attached != NULL ? role->model->attached : "");
    } else {
        snprintf(out->source, sizeof out->source, "%s",
                 role->model->path != NULL ? role->model->path : role->model->source);
    }
}

/* --- all of it ----------------------------------------------------------------------------------
 */

static enum plan_wish wish_of(const struct plan_live *l, size_t role, bool stands,
                              const struct plan_way *way)
{
    const struct map_role *r = &l->map->roles[role];
    bool made_on_demand = way != NULL && way->kind == PLAN_WAY_ON_DEMAND && way->role == role;

    if (made_on_demand)
        return PLAN_IF_ASKED;
    if (r->residency == MAP_ON_DEMAND)
        return (l->asked != NULL ? l->asked[role] : stands) ? PLAN_LOADED : PLAN_IF_ASKED;
    if (r->residency == MAP_PINNED)
        return PLAN_PINNED;
    return r->lane == MAP_LANE_AUTOCOMPLETE ? PLAN_AUTOCOMPLETE
           : r->lane == MAP_LANE_BATCH      ? PLAN_BATCH
                                            : PLAN_INTERACTIVE;
}

static void point_in(struct plan_case *c, size_t n_nodes, size_t n_roles, uint64_t steps_max)
{
    c->in = (struct plan_in){.nodes = c->nodes,
                             .roles = c->roles,
                             .pairs = c->pairs,
                             .n_nodes = n_nodes,
                             .n_roles = n_roles,
                             .steps_max = steps_max};
}

int plan_live_case(const struct plan_live *live, const struct plan_way *way, struct plan_case *out)
{
    const struct role_map *map = live->map;

    memset(out, 0, sizeof *out);
    if (map->n_nodes > PLAN_NODES_MAX || map->n_roles > PLAN_ROLES_MAX)
        return RM_ERR_TOO_BIG;
    out->pairs = calloc(map->n_roles * map->n_nodes + 1, sizeof *out->pairs);
    if (out->pairs == NULL)
        return UV_ENOMEM;
    for (size_t n = 0; n < map->n_nodes; n++)
        out->nodes[n] = plan_live_node(live, n);
    for (size_t r = 0; r < map->n_roles; r++) {
        bool stands = false;

        for (size_t n = 0; n < map->n_nodes; n++) {
            out->pairs[r * map->n_nodes + n] = plan_live_pair(live, r, n, way);
            stands = stands || out->pairs[r * map->n_nodes + n].standing;
        }
        out->roles[r] = (struct plan_role){.wish = wish_of(live, r, stands, way),
                                           .replicas = map->roles[r].replicas,
                                           .swap = map->roles[r].overcommit == MAP_OVERCOMMIT_SWAP};
    }
    point_in(out, map->n_nodes, map->n_roles, 0);
    return 0;
}

int plan_case_copy(const struct plan_case *from, struct plan_case *to)
{
    size_t n = from->in.n_nodes * from->in.n_roles;

    memcpy(to, from, sizeof *to);
    to->pairs = calloc(n + 1, sizeof *to->pairs);
    if (to->pairs == NULL)
        return UV_ENOMEM;
    memcpy(to->pairs, from->pairs, n * sizeof *to->pairs);
    point_in(to, from->in.n_nodes, from->in.n_roles, from->in.steps_max);
    return 0;
}

void plan_case_clear(struct plan_case *c)
{
    free(c->pairs);
    c->pairs = NULL;
}
