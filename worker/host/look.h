/* SPDX-License-Identifier: MIT */
/* worker/host/look.h - one look at a host's model file, in the thread pool. Loop thread only. */
#ifndef RM_HOST_LOOK_H
#define RM_HOST_LOOK_H

#include <uv.h>

#include "worker/models/models.h"

struct host_look;

struct look_result {
    int err; /* as model_look, or a libuv code */
    struct model_file file;
    uint32_t trained; /* context that the model was made for (tokens); 0: unknown */
    char why[MODELS_WHY_MAX];
};

struct look_where {
    uv_loop_t *loop;
    int models_fd;
    const char *models_dir;
}; /* borrowed until the look is done, also a dropped one */

/* Looks at the model. on_done comes once from the loop, unless the look is dropped before; the look
 * is gone when it comes. Returns 0, UV_ENOMEM or a libuv code. */
RM_MUST_USE int host_look_start(const struct look_where *where, const char *source, bool want_hash,
                                void (*on_done)(void *arg, const struct look_result *r), void *arg,
                                struct host_look **out);

/* Nobody waits for it any more; NULL is fine. */
void host_look_drop(struct host_look *l);

#endif
