/* SPDX-License-Identifier: MIT */
/* worker/core/forecast_costs.c - what one cell, one window cell and one slot cost, from a handful
 * of dry runs of one model. KV memory is piecewise linear (cells in steps of 256, window layers
 * capped), and so are the compute buffers, as far as the attention masks make them: from `batch`
 * cells on and up to SLOTS_EXACT slots (lists of slots are padded to 32 bytes). With more slots
 * other parts of a graph may become the largest; a buffer is the maximum over them, hence convex in
 * the slots, and the line from SLOTS_EXACT to the most there can be is never below it. */
#include <malloc.h>
#include <string.h>

#include "llama.h"
#include "worker/core/decoder.h"
#include "worker/core/forecast.h"
#include "worker/core/kvcache.h"
#include "worker/core/loader.h"

enum {
    PAD = 256,
    SLOTS_EXACT = NODE_SLOTS_EXACT,
    STATE_MAX = 64 << 20,
    CELLS_FAR = 1 << 18, /* of a point; a cell costs some 50 bytes of heap even in a dry run */
    TOKEN_BYTES = sizeof(int32_t) /* what kvcache.c notes of each cell */
};

/* ---- solving ---- */

/* y = base + cell x cells + window x window_cells + slot x slots */
struct plane {
    int64_t base, cell, window, slot;
};

static int64_t plane_at(const struct plane *p, const struct forecast_point *at)
{
    return p->base + p->cell * (int64_t)at->cells + p->window * (int64_t)at->window_cells +
           p->slot * (int64_t)at->slots;
}

static int64_t divided(int64_t a, int64_t by)
{
    return by == 0 ? 0 : a / by;
}

/* How far b is from a. */
struct step {
    int64_t cells, window, slots, y;
};

static struct step step_of(const struct forecast_point *p, const int64_t *y, int a, int b)
{
    return (struct step){(int64_t)p[b].cells - (int64_t)p[a].cells,
                         (int64_t)p[b].window_cells - (int64_t)p[a].window_cells,
                         (int64_t)p[b].slots - (int64_t)p[a].slots, y[b] - y[a]};
}

/* Not 0: the steps to POINT_WINDOW and POINT_SLOTS tell window cells from slots. */
static int64_t determinant(const struct step *w, const struct step *s)
{
    return w->window * s->slots - s->window * w->slots;
}

static struct plane plane_through(const struct forecast_point *p, const int64_t *y)
{
    struct step far = step_of(p, y, POINT_WIDE, POINT_FAR);
    struct step w = step_of(p, y, POINT_WIDE, POINT_WINDOW);
    struct step s = step_of(p, y, POINT_WIDE, POINT_SLOTS);
    struct plane out = {.cell = divided(far.y, far.cells)};
    int64_t det = determinant(&w, &s);

    w.y -= out.cell * w.cells;
    s.y -= out.cell * s.cells;
    out.window = divided(w.y * s.slots - s.y * w.slots, det);
    out.slot = divided(s.y - out.window * s.window, s.slots);
    out.base = y[POINT_WIDE] - plane_at(&out, &p[POINT_WIDE]);
    return out;
}

static int64_t greater(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Compute: as steep as the plane, and as high as the highest of the points demands. */
static void solve_compute(const struct forecast_point *points, size_t n, struct plane c,
                          struct node_kv_costs *out)
{
    int64_t least = INT64_MAX, most = 0, many = 0;

    c = (struct plane){0, greater(c.cell, 0), greater(c.window, 0), greater(c.slot, 0)};
    for (size_t i = 0; i < n; i++) {
        int64_t rest = (int64_t)points[i].compute - plane_at(&c, &points[i]);

        if (points[i].slots > SLOTS_EXACT)
            continue;
        least = rest < least ? rest : least;
        most = greater(rest, most);
    }
    c.base = most;
    for (size_t i = 0; i < n; i++) {
        int64_t slots = (int64_t)points[i].slots - SLOTS_EXACT;
        int64_t rest = (int64_t)points[i].compute - plane_at(&c, &points[i]);

        if (slots > 0)
            many = greater(many, (rest + slots - 1) / slots);
    }
    out->exact = least == most;
    out->compute = (uint64_t)c.base;
    out->compute_cell = (uint64_t)c.cell;
    out->compute_window_cell = (uint64_t)c.window;
    out->compute_slot = (uint64_t)c.slot;
    out->compute_slot_more = (uint64_t)many;
}

bool forecast_solve(const struct forecast_point *points, size_t n, struct node_kv_costs *out,
                    uint64_t *state_slot)
{
    int64_t kv[POINTS_LEAST], compute[POINTS_LEAST];
    struct plane k;

    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < POINTS_LEAST; i++) {
        kv[i] = (int64_t)points[i].kv;
        compute[i] = (int64_t)points[i].compute;
    }
    k = plane_through(points, kv);
    if (k.base != 0 || k.cell < 0 || k.window < 0 || k.slot < 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (plane_at(&k, &points[i]) != (int64_t)points[i].kv)
            return false;
    solve_compute(points, n, plane_through(points, compute), out);
    out->known = true;
    out->kv_cell = (uint64_t)k.cell;
    out->kv_window_cell = (uint64_t)k.window;
    *state_slot = (uint64_t)k.slot;
    return true;
}

/* ---- trying ---- */

static uint64_t pad(uint64_t v)
{
    return (v + PAD - 1) / PAD * PAD;
}

static uint64_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

static struct forecast_point point_of(const struct node_costs *c, uint64_t cells, uint64_t slots)
{
    struct forecast_point p = {.cells = pad(cells), .slots = slots};
    uint64_t most = (uint64_t)c->window * slots + c->batch;

    p.window_cells = c->window == 0 ? 0 : pad(most < p.cells ? most : p.cells);
    return p;
}

/* Points that can be told apart. far: cells. */
static void choose_points(const struct node_costs *c, uint64_t wide, uint64_t far,
                          struct forecast_point p[POINTS_LEAST])
{
    int64_t none[POINTS_LEAST] = {0};
    struct step w, s;

    p[POINT_WIDE] = point_of(c, wide, 1);
    p[POINT_FAR] = point_of(c, far > 2 * wide ? far : 2 * wide, 1);
    for (uint64_t i = 1; i <= SLOTS_EXACT; i *= 2) { /* all of them divide the batch */
        p[POINT_WINDOW] = point_of(c, i == 1 ? c->batch : wide, i);
        for (uint64_t j = 2; j <= SLOTS_EXACT; j *= 2) {
            p[POINT_SLOTS] = point_of(c, wide, j);
            w = step_of(p, none, POINT_WIDE, POINT_WINDOW);
            s = step_of(p, none, POINT_WIDE, POINT_SLOTS);
            if (c->window == 0 || determinant(&w, &s) != 0)
                return;
        }
    }
}

/* Points to see whether it holds there too. Recurrent state is really allocated by a dry run, which
 * bounds the slots. Returns how many there are. */
static size_t choose_more(const struct node_costs *c, uint64_t wide,
                          const struct forecast_point *had, struct forecast_point *p)
{
    const struct forecast_point *a = &had[POINT_WIDE], *b = &had[POINT_SLOTS];
    uint64_t state = c->window == 0 ? (b->kv - a->kv) / (b->slots - a->slots) : 0;
    uint64_t slots = c->batch < LOADER_SLOTS_MAX ? c->batch : LOADER_SLOTS_MAX;

    while (slots > 1 && (state * slots > STATE_MAX || c->batch % slots != 0))
        slots /= 2;
    p[0] = point_of(c, pad(c->batch) + PAD, 2);
    p[1] = point_of(c, PAD * slots, slots);
    p[2] = point_of(c, wide + (uint64_t)(c->window + PAD) * slots, slots);
    return 3;
}

/* One dry run. */
static bool try_point(const struct decoder_conf *like, struct loaded *l, struct forecast_point *p)
{
    struct decoder_conf conf = *like;
    struct node_forecast sum = {0};
    char why[128];

    conf.context = (uint32_t)(p->cells / p->slots);
    conf.slots = (uint32_t)p->slots;
    conf.kv_tokens = (uint32_t)p->cells;
    if (loader_again(l, &conf, why, sizeof(why)) < 0 || forecast_sum(l, &sum) < 0)
        return false;
    p->kv = sum.kv;
    p->compute = sum.compute;
    return true;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* All points of one KV type. process_cell: heap by cell. */
static bool try_kv(const struct decoder_conf *asked, enum decoder_kv kv, struct loaded *l,
                   const struct node_forecast *f, struct node_kv_costs *out, uint64_t *state_slot,
                   uint64_t *process_cell)
{
    const struct node_costs *c = &f->costs;
    uint64_t wide = pad((uint64_t)c->window * SLOTS_EXACT + c->batch) + PAD;
    uint64_t far = larger((uint64_t)f->context * f->slots, f->context_train);
    struct forecast_point p[POINTS_LEAST + POINTS_MORE];
    uint64_t heap[POINTS_LEAST + POINTS_MORE];
    struct decoder_conf conf = *asked;
    size_t n = POINTS_LEAST;

    choose_points(c, wide, far > CELLS_FAR ? CELLS_FAR : far, p);
    conf.kv = kv;
    for (size_t i = 0; i < n; i++) {
        if (!try_point(&conf, l, &p[i]))
            return false;
        heap[i] = heap_bytes();
        if (i == POINTS_LEAST - 1)
            n += choose_more(c, wide, p, p + n);
    }
    far = p[POINT_FAR].cells - p[POINT_WIDE].cells;
    *process_cell = (larger(heap[POINT_FAR], heap[POINT_WIDE]) - heap[POINT_WIDE] + far - 1) / far;
    return forecast_solve(p, n, out, state_slot);
}

/* What context and graph take of main memory beside the buffers: the process with the context less
 * the process without. */
static uint64_t without_context(struct loaded *l)
{
    uint64_t with = forecast_resident(), without;

    loader_drop_context(l);
    malloc_trim(0);
    without = forecast_resident();
    return with > without ? with - without : 0;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* The dry run measures itself. A recurrent state is really allocated by it, and stands under kv
 * already; of the description of a graph there are two as soon as the model decodes, the one that
 * was reserved for and the one that is computed. */
static void process_costs(struct node_forecast *f, uint64_t context_bytes, uint64_t heap_cell)
{
    struct node_costs *c = &f->costs;
    uint64_t cells = pad((uint64_t)f->context * f->slots), state = c->state_slot * f->slots;

    f->process = less(f->process, state) + less(context_bytes, state + heap_cell * cells);
    c->process_cell = heap_cell + TOKEN_BYTES;
    c->process = less(f->process, c->process_cell * cells);
}

void forecast_costs(const struct decoder_conf *conf, struct loaded *l, struct node_forecast *f)
{
    struct node_costs *c = &f->costs;
    struct node_bytes same;
    uint64_t cell = 0, ignored = 0, state, context_bytes = without_context(l);
    int32_t window = llama_model_n_swa(l->model);

    c->batch = l->batch;
    c->window = window > 0 ? (uint32_t)window : 0;
    c->output_slot = f->output / f->slots;
    if (kv_kind_of(l->model) != PREFIX_ATTENTION) {
        c->checkpoints_slot = KV_CHECKPOINTS_MAX;
        c->checkpoints_max = KV_CHECKPOINT_BYTES_MAX;
    }
    if (try_kv(conf, DECODER_KV_F16, l, f, &c->f16, &c->state_slot, &cell) &&
        try_kv(conf, DECODER_KV_Q8_0, l, f, &c->q8_0, &state, &ignored) && state != c->state_slot)
        c->q8_0 = (struct node_kv_costs){0};
    process_costs(f, context_bytes, cell);
    /* The states for prefix reuse follow from the costs; without them the limit stands. */
    if (node_forecast_at(f, f->context, f->slots, conf->kv == DECODER_KV_Q8_0, &same) == 0)
        f->checkpoints = same.checkpoints;
}
