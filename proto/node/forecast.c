/* SPDX-License-Identifier: MIT */
/* proto/node/forecast.c - node_forecast of desired.h: encoder, decoder, and the arithmetic that
 * makes other contexts and slots out of one answer. Pure. */
#include <stdio.h>
#include <string.h>

#include "proto/node/desired.h"
#include "proto/node/fields.h"

enum { CELLS_PAD = 256, CONTEXT_DEFAULT = 4096, UNEVEN_PADDING = 256 * 32 };

/* In the order of PROTOCOL.md. */

static const struct node_field kv_costs_fields[] = {
    FIELD(struct node_kv_costs, known, FIELD_BOOL),
    FIELD(struct node_kv_costs, exact, FIELD_BOOL),
    FIELD(struct node_kv_costs, kv_cell, FIELD_U64),
    FIELD(struct node_kv_costs, kv_window_cell, FIELD_U64),
    FIELD(struct node_kv_costs, compute, FIELD_U64),
    FIELD(struct node_kv_costs, compute_cell, FIELD_U64),
    FIELD(struct node_kv_costs, compute_window_cell, FIELD_U64),
    FIELD(struct node_kv_costs, compute_slot, FIELD_U64),
    FIELD(struct node_kv_costs, compute_slot_more, FIELD_U64),
    {.name = NULL},
};

static const struct node_field costs_fields[] = {
    FIELD(struct node_costs, batch, FIELD_U32),
    FIELD(struct node_costs, window, FIELD_U32),
    FIELD(struct node_costs, state_slot, FIELD_U64),
    FIELD(struct node_costs, output_slot, FIELD_U64),
    FIELD(struct node_costs, process, FIELD_U64),
    FIELD(struct node_costs, process_cell, FIELD_U64),
    FIELD(struct node_costs, checkpoints_slot, FIELD_U32),
    FIELD(struct node_costs, checkpoints_max, FIELD_U64),
    FIELD_SUB(struct node_costs, f16, FIELD_OBJECT, kv_costs_fields),
    FIELD_SUB(struct node_costs, q8_0, FIELD_OBJECT, kv_costs_fields),
    {.name = NULL},
};

static const struct node_field buffer_fields[] = {
    FIELD(struct node_buffer, name, FIELD_NAME),   FIELD(struct node_buffer, host, FIELD_BOOL),
    FIELD(struct node_buffer, weights, FIELD_U64), FIELD(struct node_buffer, kv, FIELD_U64),
    FIELD(struct node_buffer, compute, FIELD_U64), {.name = NULL},
};

static const struct node_field forecast_fields[] = {
    FIELD(struct node_forecast, known, FIELD_BOOL),
    FIELD(struct node_forecast, estimated, FIELD_BOOL),
    FIELD(struct node_forecast, measured, FIELD_BOOL),
    FIELD(struct node_forecast, weights, FIELD_U64),
    FIELD(struct node_forecast, kv, FIELD_U64),
    FIELD(struct node_forecast, compute, FIELD_U64),
    FIELD(struct node_forecast, output, FIELD_U64),
    FIELD(struct node_forecast, process, FIELD_U64),
    FIELD(struct node_forecast, checkpoints, FIELD_U64),
    FIELD(struct node_forecast, other, FIELD_U64),
    FIELD(struct node_forecast, total, FIELD_U64),
    FIELD(struct node_forecast, largest, FIELD_U64),
    FIELD(struct node_forecast, context, FIELD_U32),
    FIELD(struct node_forecast, slots, FIELD_U32),
    FIELD(struct node_forecast, context_train, FIELD_U32),
    FIELD(struct node_forecast, model_bytes, FIELD_U64),
    FIELD(struct node_forecast, load_ms, FIELD_U64),
    FIELD_SUB(struct node_forecast, costs, FIELD_OBJECT, costs_fields),
    FIELD(struct node_forecast, model_hash, FIELD_NAME),
    FIELD(struct node_forecast, error, FIELD_TEXT),
    {.name = NULL}, /* buffers follow: an array, done by hand */
};

int node_forecast_encode(const struct node_forecast *f, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    node_fields_put(&w, forecast_fields, f);
    node_rows_put(&w, "buffers", buffer_fields, f->buffers, sizeof(f->buffers[0]),
                  f->n_buffers < NODE_BUFFERS_MAX ? f->n_buffers : NODE_BUFFERS_MAX);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

int node_forecast_decode(struct rm_slice json, struct node_forecast *out, char *why)
{
    json_t *root;
    int r;

    memset(out, 0, sizeof(*out));
    why[0] = '\0';
    if ((r = node_json_load(json, &root, why)) < 0)
        return r;
    if ((r = node_fields_get(root, forecast_fields, out, "", why)) == 0)
        r = node_rows_get(root, "buffers", buffer_fields, out->buffers, sizeof(out->buffers[0]),
                          NODE_BUFFERS_MAX, &out->n_buffers, why);
    json_decref(root);
    if (r < 0)
        memset(out, 0, sizeof(*out));
    return r;
}

/* ---- other settings ---- */

/* Adds unit x times; remembers having passed what a message can carry. */
static void add(uint64_t *sum, bool *over, uint64_t unit, uint64_t times)
{
    uint64_t more;

    if (__builtin_mul_overflow(unit, times, &more) || __builtin_add_overflow(*sum, more, sum) ||
        *sum > NODE_INT_MAX)
        *over = true;
}

/* llama.cpp reserves for a batch that all slots can share evenly: so many more tokens, all of them
 * as costly as the others, and every tensor padded to 32 bytes. */
static void add_uneven(uint64_t *compute, bool *over, uint32_t batch, uint32_t slots)
{
    uint64_t each = (*compute + batch - 1) / batch;

    add(compute, over, each, (batch + slots - 1) / slots * slots - batch);
    add(compute, over, UNEVEN_PADDING, 1);
}

static uint64_t pad(uint64_t v)
{
    return (v + CELLS_PAD - 1) / CELLS_PAD * CELLS_PAD;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Of one buffer: its weights as they are, KV and compute as if all were in one. */
static uint64_t largest_of(const struct node_forecast *f, const struct node_bytes *b)
{
    uint64_t most = b->kv > b->compute ? b->kv : b->compute;

    for (uint32_t i = 0; i < f->n_buffers && i < NODE_BUFFERS_MAX; i++)
        if (f->buffers[i].weights > most)
            most = f->buffers[i].weights;
    return f->n_buffers == 0 && b->weights > most ? b->weights : most;
}

int node_forecast_at(const struct node_forecast *f, uint32_t context, uint32_t slots, bool q8_0,
                     struct node_bytes *out)
{
    const struct node_costs *c = &f->costs;
    const struct node_kv_costs *k = q8_0 ? &c->q8_0 : &c->f16;
    struct node_bytes b = {.weights = f->weights};
    uint64_t cells, window_cells, state = 0;
    bool over = false;

    *out = (struct node_bytes){0};
    if (!f->known || !k->known)
        return RM_ERR_NOT_SUPPORTED;
    if (context == 0)
        context = f->context_train > 0 ? f->context_train : CONTEXT_DEFAULT;
    cells = pad((uint64_t)context * slots);
    window_cells = smaller(cells, (uint64_t)c->window * slots + c->batch);
    window_cells = c->window == 0 ? 0 : pad(window_cells);
    add(&b.kv, &over, k->kv_cell, cells);
    add(&b.kv, &over, k->kv_window_cell, window_cells);
    add(&b.kv, &over, c->state_slot, slots);
    add(&b.compute, &over, k->compute, 1);
    add(&b.compute, &over, k->compute_cell, cells);
    add(&b.compute, &over, k->compute_window_cell, window_cells);
    add(&b.compute, &over, k->compute_slot, slots);
    if (slots > NODE_SLOTS_EXACT)
        add(&b.compute, &over, k->compute_slot_more, slots - NODE_SLOTS_EXACT);
    if (slots > 0 && c->batch > 0 && c->batch % slots != 0)
        add_uneven(&b.compute, &over, c->batch, slots);
    add(&b.output, &over, c->output_slot, slots);
    add(&b.process, &over, c->process, 1);
    add(&b.process, &over, c->process_cell, cells);
    add(&state, &over, k->kv_window_cell, smaller(c->window, context));
    add(&state, &over, c->state_slot, 1);
    add(&b.checkpoints, &over, state, (uint64_t)c->checkpoints_slot * slots);
    b.checkpoints = smaller(b.checkpoints, c->checkpoints_max);
    for (size_t i = 0; i < 6; i++)
        add(&b.total, &over,
            (const uint64_t[]){b.weights, b.kv, b.compute, b.output, b.process, b.checkpoints}[i],
            1);
    if (slots == 0 || over)
        return RM_ERR_FIELD;
    b.largest = largest_of(f, &b);
    *out = b;
    return 0;
}
