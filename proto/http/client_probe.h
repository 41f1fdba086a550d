/* SPDX-License-Identifier: MIT */
/* proto/http/client_probe.h - for the client's tests: a call that notes everything it is told and
 * checks the order of its callbacks, and a loop that runs until a condition holds. */
#ifndef RM_HTTP_CLIENT_PROBE_H
#define RM_HTTP_CLIENT_PROBE_H

#include "proto/http/client.h"

enum probe_at { AT_HEAD, AT_BODY, AT_BATCH, AT_WRITABLE, AT_END, AT_FAIL, AT_DONE, AT_COUNT };

struct probe {
    struct http_call *call; /* NULL once done */
    int count[AT_COUNT];
    int status, err;
    bool got_bytes, was_sent; /* as they were when on_fail or on_end came */
    uint64_t bytes, hash;     /* of the response body */
    char body[64];            /* its first bytes, NUL-terminated */
    uint64_t done_ms;
    /* Called first in every callback; may be NULL. */
    void (*hook)(struct probe *p, enum probe_at at);
    void *arg;
};

/* Starts it; the error is what http_call_start returned. */
int probe_start(struct probe *p, struct http_client *c, const struct http_call_spec *spec);

/* GET /, or POST / when there is a body. */
int probe_get(struct probe *p, struct http_client *c);
int probe_post(struct probe *p, struct http_client *c, struct rm_slice body);

/* Runs the loop until *count >= want; false after ms. */
bool loop_until(uv_loop_t *loop, const int *count, int want, int ms);
/* Runs the loop for ms, whatever happens. */
void loop_for(uv_loop_t *loop, int ms);
/* Runs the probe to its on_done. */
bool probe_finish(struct probe *p, uv_loop_t *loop);

struct http_client *probe_client(uv_loop_t *loop, const char *address,
                                 const struct http_client_conf *conf);

/* Runs until nothing is left and closes: fails when a handle leaks. */
void loop_done(uv_loop_t *loop);

#endif
