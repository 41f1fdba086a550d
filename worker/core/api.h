/* SPDX-License-Identifier: MIT */
/* worker/core/api.h - the core's HTTP surface on its Unix socket: routes, state, start and stop.
 *   POST /v1/chat/completions  /v1/completions  /tokenize  /detokenize  /apply-template  (answer.h)
 *   POST /core/save?budget_ms=N                                                          (here)
 *   GET  /health  /v1/models  /v1/models/ID  /core/state                                 (here)
 * Everything else is 404 or 405 in OpenAI's error shape. Loop thread only. The worker is the only
 * client: no keys, no CORS, no other dialect. */
#ifndef RM_CORE_API_H
#define RM_CORE_API_H

#include <uv.h>

#include "proto/base/err.h"

struct api;
struct decoder;
struct kvdisk;
struct kvsave_report;

/* First half of the start: makes the mailbox's bell, which decoder_open wants. Returns 0 or a libuv
 * code. */
RM_MUST_USE int api_new(uv_loop_t *loop, struct api **out);

/* For decoder_conf.wake with the api as its argument: any thread. */
void api_wake(void *api);

struct api_conf {
    struct decoder *decoder; /* open; must outlive the api */
    const char *socket;      /* path, at most 107 bytes */
    const char *alias;       /* the model's name in answers; NULL: general.name of the file */
    uint32_t slots;
    struct kvdisk *kv; /* NULL: no state is kept; must outlive the api */
    /* restored: NULL without kv; valid for the call. The socket listens, a first token was decoded
     * and saved KV state is back in the slots, if there was any; err < 0: it could not be. */
    void (*on_ready)(void *arg, int err, const struct kvsave_report *restored);
    void *arg;
};

/* Second half: listens and warms up. Returns 0, a libuv code (UV_EADDRINUSE: somebody answers at
 * that socket) or as decoder_submit; then api_close is still due. */
RM_MUST_USE int api_start(struct api *api, const struct api_conf *conf);

/* Cuts requests and closes all; on_closed comes from the loop, then api_free. */
void api_close(struct api *api, void (*on_closed)(void *arg), void *arg);
void api_free(struct api *api);

#endif
