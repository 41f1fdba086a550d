/* SPDX-License-Identifier: MIT */
/* worker/core/options.h - rolemesh-core's command line as a struct. Pure. */
#ifndef RM_CORE_OPTIONS_H
#define RM_CORE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/core/decoder.h"

enum core_mode { CORE_SERVE, CORE_FORECAST, CORE_DEVICES, CORE_VERSION, CORE_HELP };

struct core_options {
    enum core_mode mode;
    bool json;
    const char *model, *socket, *alias; /* point into argv; NULL when not given */
    const char *kv_file, *model_hash;   /* the same; both or none */
    uint64_t kv_file_max;
    uint64_t memory_max; /* bytes, of a forecast's own process; 0: a quarter of what is available */
    int ready_fd;        /* -1 */
    long parent_pid;     /* 0: nobody in particular */
    uint32_t context, slots, batch, threads, queue_max;
    int32_t gpu_layers;
    enum decoder_kv kv;
};

/* why: one line naming the argument at fault. ready_fd is set as soon as it was read, also when
 * another argument is wrong. Returns 0 or RM_ERR_FIELD. */
RM_MUST_USE int core_options_parse(int argc, char **argv, struct core_options *o, char *why,
                                   size_t n_why);

/* What --help prints. */
const char *core_options_help(void);

/* The flags as the decoder wants them; wake and progress are left out. */
struct decoder_conf core_options_decoder(const struct core_options *o);

#endif
