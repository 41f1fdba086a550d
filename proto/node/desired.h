/* SPDX-License-Identifier: MIT */
/* proto/node/desired.h - what a gateway asks of a worker: the body of PUT /node/v1/hosts/{role}
 * (idempotent) and of POST /node/v1/forecast. Plain data with encoder and decoder in the order of
 * PROTOCOL.md. No I/O. */
#ifndef RM_NODE_DESIRED_H
#define RM_NODE_DESIRED_H

#include "proto/node/state.h"

enum desired_engine { ENGINE_CORE, ENGINE_ATTACH };

enum { /* what a decoder lets through */
       DESIRED_CORE_SLOTS_MAX = 64,
       DESIRED_SLOTS_MAX = 4096,
       DESIRED_CONTEXT_MAX = 16 * 1024 * 1024,
       DESIRED_BATCH_MAX = 65536,
       DESIRED_THREADS_MAX = 1024,
       DESIRED_QUEUE_MAX = 65536,
       DESIRED_DRAIN_MS_MAX = 3600 * 1000
};

struct desired_host {
    uint64_t epoch; /* of the gateway; lower than the worker's stored one: RM_ERR_STALE (409) */
    char role[NODE_NAME_MAX];
    char model[NODE_NAME_MAX];
    char source[1024]; /* core: absolute path of a .gguf on the node, beneath its models dir; other
                          schemes: host failed(config) */
    enum desired_engine engine;
    char url[300];          /* attach: "http://HOST:PORT" or "unix:PATH", on this node */
    char engine_model[256]; /* attach: the name the engine knows; "": the request's own */
    uint32_t context, slots;
    char kv[8];              /* "f16" or "q8_0" */
    uint32_t batch, threads; /* 0: default */
    int32_t gpu_layers;      /* -1: all */
    uint32_t queue_max;      /* jobs that may wait in the engine; 0: default */
    uint32_t drain_ms;       /* how long running requests may finish when the host goes; 0: 30000 */
    enum node_residency residency; /* when memory is short: who goes first, see guard.h */
    enum node_lane lane;
    bool swap; /* people chose that it may lie in swap: while it lives, free swap counts as memory
                  that is left */
};

int desired_host_encode(const struct desired_host *d, struct rm_buf *out);

/* Defaults of what is missing: slots 1, kv "f16", gpu_layers -1, engine core, residency
 * resident, lane interactive, else 0 and "". role and model are required, source for core, url for
 * attach. */
RM_MUST_USE int desired_host_decode(struct rm_slice json, struct desired_host *out,
                                    char *why); /* as node_state_decode */

/* 32 hex digits and a NUL over everything that needs a new engine process when it changes (not
 * epoch, drain_ms, queue_max, residency, lane, swap). */
void desired_host_revision(const struct desired_host *d, char out[33]);

enum { NODE_BUFFERS_MAX = 16, NODE_SLOTS_EXACT = 8 };

/* What one kind of KV memory costs; see node_forecast_at. */
struct node_kv_costs {
    bool known;                       /* false: not with this model, or not asked of the core */
    bool exact;                       /* equal to the dry run in each of several, with `batch`
                                         cells or more and 1, 2, 4 or 8 slots; false: at
                                         least as much */
    uint64_t kv_cell, kv_window_cell; /* bytes of all layers that see everything, a window */
    uint64_t compute, compute_cell, compute_window_cell, compute_slot;
    uint64_t compute_slot_more; /* of each slot beyond NODE_SLOTS_EXACT */
};

/* What a model costs by unit, with the batch and devices that were asked for. Bytes. */
struct node_costs {
    uint32_t batch;  /* tokens decoded at once, as it will be */
    uint32_t window; /* tokens that the layers with a sliding window see; 0: none */
    uint64_t state_slot, output_slot;
    uint64_t process, process_cell;
    uint32_t checkpoints_slot; /* states kept for prefix reuse, of each slot at most */
    uint64_t checkpoints_max;  /* bytes that those of all slots may take */
    struct node_kv_costs f16, q8_0;
};

/* The parts of one kind of buffer. */
struct node_buffer {
    char name[32]; /* ggml's name of the buffer type: "CPU", "CPU_REPACK", "Vulkan0" */
    bool host;     /* main memory */
    uint64_t weights, kv, compute;
};

/* Answer of POST /node/v1/forecast (request: a desired_host). */
struct node_forecast {
    bool known;     /* false: the engine cannot say (attach); all zero */
    bool estimated; /* from the file's header alone: weights and kv; total is a lower bound */
    bool measured;  /* total was measured when this model ran so here */
    uint64_t weights, kv, compute, output, process, checkpoints; /* bytes */
    uint64_t other;                                              /* the last three */
    uint64_t total;
    uint64_t largest;        /* of what is allocated at once */
    uint32_t context, slots; /* as they will be */
    uint32_t context_train;  /* tokens the model was trained for */
    uint64_t model_bytes;    /* of its files */
    uint64_t load_ms;        /* how long loading took here; 0: unknown */
    struct node_costs costs;
    char model_hash[65];       /* hex */
    char error[NODE_TEXT_MAX]; /* "" or why there is no exact one */
    uint32_t n_buffers;
    struct node_buffer buffers[NODE_BUFFERS_MAX];
};
int node_forecast_encode(const struct node_forecast *f, struct rm_buf *out);
RM_MUST_USE int node_forecast_decode(struct rm_slice json, struct node_forecast *out, char *why);

/* The parts with another context, other slots, another KV type; bytes. */
struct node_bytes {
    uint64_t weights, kv, compute, output, process, checkpoints, total;
    uint64_t largest; /* an upper bound */
};

/* Reckons from the costs:
 *   cells        = context x slots, rounded up to 256
 *   window cells = window x slots + batch, at most cells, rounded up to 256; 0 without a window
 *   kv           = kv_cell x cells + kv_window_cell x window cells + state_slot x slots
 *   compute      = compute + compute_cell x cells + compute_window_cell x window cells
 *                  + compute_slot x slots + compute_slot_more x slots beyond NODE_SLOTS_EXACT
 *                  x (batch rounded up to a multiple of slots) / batch, and 8 KiB if that is more
 *   output       = output_slot x slots        process = process + process_cell x cells
 *   checkpoints  = checkpoints_slot x slots x (kv_window_cell x the smaller of window and context
 *                  + state_slot), at most checkpoints_max
 * context  tokens per slot; 0: the model's own, else 4096, as the core does it
 * Returns 0; RM_ERR_NOT_SUPPORTED: the costs are not known; RM_ERR_FIELD: no slots, or more bytes
 * than there are numbers for. Of an estimate it is the lower bound that the estimate is. Pure. */
RM_MUST_USE int node_forecast_at(const struct node_forecast *f, uint32_t context, uint32_t slots,
                                 bool q8_0, struct node_bytes *out);

#endif
