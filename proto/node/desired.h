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
};

int desired_host_encode(const struct desired_host *d, struct rm_buf *out);

/* Defaults of what is missing: slots 1, kv "f16", gpu_layers -1, engine core, residency
 * resident, lane interactive, else 0 and "". role and model are required, source for core, url for
 * attach. */
RM_MUST_USE int desired_host_decode(struct rm_slice json, struct desired_host *out,
                                    char *why); /* as node_state_decode */

/* 32 hex digits and a NUL over everything that needs a new engine process when it changes (not
 * epoch, drain_ms, queue_max, residency, lane). */
void desired_host_revision(const struct desired_host *d, char out[33]);

/* Answer of POST /node/v1/forecast (request: a desired_host). */
struct node_forecast {
    bool known;     /* false: the engine cannot say (attach); all zero */
    bool estimated; /* from the file's header alone: weights and kv; total is a lower bound */
    uint64_t weights, kv, compute, other, total; /* bytes */
    uint32_t context_train;                      /* tokens the model was trained for */
    char model_hash[65];                         /* hex */
    char error[NODE_TEXT_MAX];                   /* "" or why there is no exact one */
};
int node_forecast_encode(const struct node_forecast *f, struct rm_buf *out);
RM_MUST_USE int node_forecast_decode(struct rm_slice json, struct node_forecast *out, char *why);

#endif
