/* SPDX-License-Identifier: MIT */
/* worker/core/forecast.h - the bytes a model will need, from llama.cpp itself, without loading it.
 * The dry run reads the metadata, lays out every buffer and allocates none (recurrent state
 * excepted); the sums equal those of the real load byte for byte. Weights of a mapped file count as
 * well: they live in the page cache. The result is the node protocol's `forecast`; what it cannot
 * know is left out: model_hash, model_bytes, load_ms.
 *
 *   forecast.c        one dry run: what these flags need
 *   forecast_costs.c  some more with other contexts and slots: what a cell and a slot cost */
#ifndef RM_CORE_FORECAST_H
#define RM_CORE_FORECAST_H

#include <stddef.h>

#include "proto/node/desired.h"

struct decoder_conf;
struct loaded;

/* Needs decoder_conf as for decoder_open. Takes 4 to 200 ms; with costs up to half a second.
 * Without them costs.f16 and costs.q8_0 are not known and the rest of costs is zero. Returns 0,
 * RM_ERR_NOT_SUPPORTED (a libllama release whose breakdown is not known) or as loader_open, with
 * `why`; *out is zeroed then. */
RM_MUST_USE int forecast_run(const struct decoder_conf *conf, bool costs, struct node_forecast *out,
                             char *why, size_t n_why);

/* The sums of a model opened dry or for real, by buffer: weights, kv, compute, largest, buffers.
 * Returns 0 or RM_ERR_NOT_SUPPORTED. */
RM_MUST_USE int forecast_sum(const struct loaded *l, struct node_forecast *out);

/* Pages of this process that are in memory, libraries with them; bytes. 0: not known. */
uint64_t forecast_resident(void);

/* For forecast.c: f->costs of a model that was opened dry and whose asked context is summed up in
 * f, and process and checkpoints as they follow. Replaces the context of l several times; what
 * cannot be tried stays unknown. */
void forecast_costs(const struct decoder_conf *conf, struct loaded *l, struct node_forecast *f);

/* One dry run, as the solver sees it. */
struct forecast_point {
    uint64_t cells, window_cells; /* as node_forecast_at counts them */
    uint64_t slots, kv, compute;
};

enum {               /* the runs that the solver needs, in this order; more may follow */
       POINT_WIDE,   /* one slot, cells beyond every window */
       POINT_FAR,    /* more cells, all else the same */
       POINT_WINDOW, /* other window cells */
       POINT_SLOTS,  /* more slots; not in one line with the point before, if there is a window */
       POINTS_LEAST,
       POINTS_MORE = 3 /* at most, in forecast_costs */
};

/* The costs that fit the points: exact when all with up to NODE_SLOTS_EXACT slots come out to the
 * byte; compute is never less than at any of them. Pure.
 * *state_slot  bytes of KV memory that each slot costs beside its cells
 * Returns false when the KV memory does not follow the rule of node_forecast_at; *out is zero. */
bool forecast_solve(const struct forecast_point *points, size_t n, struct node_kv_costs *out,
                    uint64_t *state_slot);

#endif
