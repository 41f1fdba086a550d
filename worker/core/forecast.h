/* SPDX-License-Identifier: MIT */
/* worker/core/forecast.h - the bytes a model will need, from llama.cpp itself, without loading it.
 * The dry run reads the metadata, lays out every buffer and allocates none (recurrent state
 * excepted); the sums equal those of the real load byte for byte. Weights of a mapped file count as
 * well: they live in the page cache. */
#ifndef RM_CORE_FORECAST_H
#define RM_CORE_FORECAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/err.h"

struct decoder_conf;
struct rm_buf;

enum { FORECAST_ROWS_MAX = 16 };

struct forecast_row {
    char buffer[64];               /* ggml's buffer type, e.g. "CPU", "CPU_REPACK", "Vulkan0" */
    bool host;                     /* main memory */
    uint64_t weights, kv, compute; /* bytes */
};

struct forecast {
    struct forecast_row rows[FORECAST_ROWS_MAX];
    uint32_t n_rows;
    uint64_t weights, kv, compute; /* sums of the rows */
    uint64_t output;               /* logits: vocabulary x slots x 4; not in the rows */
    uint64_t process;              /* libraries, vocabulary, heap: measured in this process */
    uint64_t checkpoints;          /* the most that saved states for prefix reuse may take */
    uint32_t context, slots;       /* as they will be */
    uint64_t total;
};

/* Needs decoder_conf as for decoder_open. Takes 4 to 200 ms.
 * Returns 0, RM_ERR_NOT_SUPPORTED (a libllama release whose breakdown is not known) or as
 * loader_open, with `why`. */
RM_MUST_USE int forecast_run(const struct decoder_conf *conf, struct forecast *out, char *why,
                             size_t n_why);

/* Appends the forecast as one JSON object. Returns 0, RM_ERR_TOO_BIG or UV_ENOMEM. */
RM_MUST_USE int forecast_write(const struct forecast *f, struct rm_buf *out);

#endif
