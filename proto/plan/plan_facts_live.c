/* SPDX-License-Identifier: MIT */
/* proto/plan/plan_facts_live.c - described nodes as the states and forecasts of their workers.
 * A described model has costs by cell and slot like one that the core was asked about; compute is
 * taken as the same for every context. Its q8_0 cache keeps 32 values in 34 bytes where f16 takes
 * 64. What was measured stands in for the total of the forecast on the nodes named. */
#include "proto/plan/plan_facts_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

int plan_facts_alloc(struct plan_facts *f)
{
    struct plan_facts_private *p = f->private;
    size_t nodes = f->map->n_nodes, roles = f->map->n_roles;

    p->measured = calloc(roles + 1, sizeof *p->measured);
    p->states = calloc(nodes + 1, sizeof *p->states);
    p->forecasts = calloc(FACTS_KINDS * roles + 1, sizeof *p->forecasts);
    p->live_nodes = calloc(nodes + 1, sizeof *p->live_nodes);
    p->live_pairs = calloc(nodes * roles + 1, sizeof *p->live_pairs);
    return p->measured != NULL && p->states != NULL && p->forecasts != NULL &&
                   p->live_nodes != NULL && p->live_pairs != NULL
               ? 0
               : UV_ENOMEM;
}

void plan_facts_dealloc(struct plan_facts *f)
{
    struct plan_facts_private *p = f->private;

    free(p->measured);
    free(p->states);
    free(p->forecasts);
    free(p->live_nodes);
    free(p->live_pairs);
}

static uint64_t as_q8(uint64_t f16_bytes)
{
    return f16_bytes / 64 * 34 + (f16_bytes % 64 * 34 + 63) / 64;
}

static struct node_costs costs_of(const struct plan_model *m, const struct map_role *r)
{
    struct node_kv_costs f16 = {.known = true,
                                .kv_cell = m->kv_bytes,
                                .kv_window_cell = m->window_kv_bytes,
                                .compute = m->compute_bytes};
    struct node_kv_costs q8 = f16;

    q8.kv_cell = as_q8(m->kv_bytes);
    q8.kv_window_cell = as_q8(m->window_kv_bytes);
    return (struct node_costs){.batch = m->window > 0 ? r->batch : 0,
                               .window = m->window,
                               .state_slot = m->state_bytes,
                               .f16 = f16,
                               .q8_0 = q8};
}

static struct node_forecast *forecast_of(const struct plan_facts *f, unsigned kind, size_t role)
{
    return &f->private->forecasts[kind * f->map->n_roles + role];
}

/* All of it in one buffer of a device. */
static void lay_on_device(struct node_forecast *f)
{
    f->n_buffers = 1;
    f->buffers[0] = (struct node_buffer){
        .name = "device", .weights = f->weights, .kv = f->kv, .compute = f->compute};
}

int plan_facts_forecast(struct plan_facts *f, size_t role)
{
    const struct map_role *r = &f->map->roles[role];
    const struct plan_model *m = f->models[r->model->index];
    const struct plan_measured *was = f->private->measured[role];
    struct node_forecast out;
    struct node_bytes b;
    int e;

    if (m == NULL)
        return 0; /* attach: nothing is known, nothing is counted */
    out = (struct node_forecast){.known = true,
                                 .weights = m->weights_bytes,
                                 .context = r->context,
                                 .slots = r->slots,
                                 .context_train = m->context_max,
                                 .costs = costs_of(m, r)};
    e = node_forecast_at(&out, r->context, r->slots, r->kv == MAP_KV_Q8_0, &b);
    if (e < 0)
        return e;
    out.kv = b.kv;
    out.compute = b.compute;
    out.output = b.output;
    out.process = b.process;
    out.other = b.output + b.process + b.checkpoints;
    out.total = b.total;
    out.largest = b.largest;
    for (unsigned kind = 0; kind < FACTS_KINDS; kind++) {
        struct node_forecast *to = forecast_of(f, kind, role);

        *to = out;
        if ((kind & FACTS_MEASURED) != 0 && was != NULL) {
            to->measured = true;
            to->total = was->total_bytes;
        }
        if ((kind & FACTS_DEVICE) != 0)
            lay_on_device(to);
    }
    return 0;
}

static bool lists(const struct conf_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->item[i], name) == 0)
            return true;
    return false;
}

static void state_of(const struct plan_machine *m, struct node_state *out)
{
    uint64_t reserve = m->reserve_bytes < m->total_bytes ? m->reserve_bytes : m->total_bytes;
    uint64_t others = m->others_bytes < m->total_bytes ? m->others_bytes : m->total_bytes;
    uint64_t total = m->total_bytes + m->card_bytes;

    snprintf(out->node, sizeof out->node, "%s", m->name);
    out->memory = (struct node_memory){.total = total,
                                       .available = m->total_bytes - others,
                                       .swap_total = m->swap_bytes,
                                       .vram_total = m->card_bytes,
                                       .vram_counted = m->card_bytes,
                                       .gtt_total = m->mapped_bytes,
                                       .reserve = reserve,
                                       .budget = total - reserve};
    if (m->card_bytes > 0 || m->mapped_bytes > 0) {
        struct node_device *d = &out->devices.device[out->devices.n++];

        *d = (struct node_device){.name = "device",
                                  .kind = m->card_bytes > 0 ? DEVICE_GPU : DEVICE_IGPU,
                                  .total = m->card_bytes > 0 ? m->card_bytes : m->mapped_bytes};
    }
}

static struct plan_live_pair pair_of(const struct plan_facts *f, size_t role, size_t node)
{
    const struct map_role *r = &f->map->roles[role];
    const struct plan_model *m = f->models[r->model->index];
    const struct plan_measured *was = f->private->measured[role];
    const char *name = f->map->nodes[node].name;
    unsigned kind = FACTS_PLAIN;

    if (was != NULL && (was->nodes.n == 0 || lists(&was->nodes, name)))
        kind |= FACTS_MEASURED;
    if (f->private->states[node].devices.n > 0 && r->gpu_layers != 0)
        kind |= FACTS_DEVICE;
    return (struct plan_live_pair){.known = PLAN_FORECAST,
                                   .forecast = forecast_of(f, kind, role),
                                   .standing = lists(&f->nodes[node]->hosts, r->name),
                                   .file = m == NULL || m->files.n == 0 || lists(&m->files, name)};
}

void plan_facts_live(struct plan_facts *f)
{
    struct plan_facts_private *p = f->private;

    for (size_t n = 0; n < f->map->n_nodes; n++) {
        state_of(f->nodes[n], &p->states[n]);
        p->live_nodes[n] = (struct plan_live_node){
            .usable = true, .state = &p->states[n], .largest_bytes = f->nodes[n]->largest_bytes};
    }
    for (size_t r = 0; r < f->map->n_roles; r++)
        for (size_t n = 0; n < f->map->n_nodes; n++)
            p->live_pairs[r * f->map->n_nodes + n] = pair_of(f, r, n);
    f->live = (struct plan_live){.map = f->map, .nodes = p->live_nodes, .pairs = p->live_pairs};
}
