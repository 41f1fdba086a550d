/* SPDX-License-Identifier: MIT */
/* gateway/ops/samples.h - what is kept of nodes and hosts for charts: one look a minute, in the
 * middle of it, so that each minute has one however late the loop is. Read from the text that GET
 * /api/v1/nodes answers with. Pure: text and time in, samples out. */
#ifndef RM_OPS_SAMPLES_H
#define RM_OPS_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/buf.h"

enum {
    SAMPLE_NAME_MAX = 64,
    SAMPLES_MAX = 512, /* of one look; hosts that are more are left out */
    SAMPLES_FIRST_MS = 5000,
    SAMPLES_EVERY_MS = 60000
};

/* The columns of the table `sample`, in its order; NaN: unknown. */
enum sample_value {
    SAMPLE_MEMORY_TOTAL,
    SAMPLE_MEMORY_USED,
    SAMPLE_MEMORY_COMMITTED,
    SAMPLE_MEMORY_BUDGET,
    SAMPLE_SLOTS_BUSY,
    SAMPLE_SLOTS_TOTAL,
    SAMPLE_CPU_PERCENT,
    SAMPLE_GPU_PERCENT,
    SAMPLE_VALUES
};

/* node "": the gateway itself, only to know that it ran. role "": of the node as a whole. */
struct sample {
    char node[SAMPLE_NAME_MAX], role[SAMPLE_NAME_MAX];
    double value[SAMPLE_VALUES];
};

/* nodes: JSON array of Node. Nodes that are not up are left out. The first one is the gateway's.
 * Returns how many of max. */
size_t samples_read(struct rm_slice nodes, struct sample *out, size_t max);

/* When to look next: the first time soon, then in the middle of each minute. last_ms: of the look
 * before; 0: none, then now_ms is the start. Milliseconds of the wall clock. */
int64_t samples_next(int64_t now_ms, int64_t last_ms);

#endif
