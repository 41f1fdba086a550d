/* SPDX-License-Identifier: MIT */
/* gateway/front/path.h - what an editor's path means, however it was typed.
 * Users paste base URLs with and without /v1, with it twice, with a slash too many; clients append
 * their own. All of that is forgiven here; everything else is not: the raw bytes decide, nothing is
 * decoded, and a path with dot segments or an escape outside a model id is unknown. Redirects break
 * POSTs, so none is ever suggested. Pure.
 *
 *   /ask//v1/v1/chat/completions/   ->  mode "ask", PATH_CHAT
 *   /v1/models/org/some:model       ->  no mode, PATH_MODELS, rest "org/some:model" */
#ifndef RM_FRONT_PATH_H
#define RM_FRONT_PATH_H

#include <stdbool.h>

#include "proto/base/buf.h"
#include "proto/http/message.h"

enum path_endpoint {
    PATH_UNKNOWN,     /* no such route: 404 */
    PATH_ROOT,        /* "/", "/{mode}", "/v1": somebody looks whether we are there */
    PATH_HELLO,       /* /api/hello: Claude Code's probe */
    PATH_CHAT,        /* chat/completions */
    PATH_COMPLETIONS, /* completions */
    PATH_MODELS,      /* models[/{id}] */
    PATH_API_V1,      /* an OpenRouter-style base ".../api/v1": 404 with a hint */
    PATH_LATER        /* known to the API family, not served by this build: 501 */
};

struct path {
    enum path_endpoint endpoint;
    struct rm_slice mode; /* first segment when it is no API word; "" on a bare /v1 */
    struct rm_slice key;  /* of /k/KEY/...; "": none. Judged by nobody yet; never to be shown */
    struct rm_slice rest; /* PATH_MODELS: the id as typed, maybe with escapes; else "" */
    const char *route;    /* the route's own spelling, e.g. "/v1/chat/completions"; static */
    unsigned methods;     /* bits 1 << enum http_method that it takes; 0 for PATH_UNKNOWN */
};

/* Reads the part of a target before '?'. The slices point into raw. */
void path_parse(struct rm_slice raw, struct path *out);

/* True when the endpoint takes the method. */
bool path_takes(const struct path *p, enum http_method method);

/* The value of Allow: "GET, HEAD, OPTIONS". Writes at most n bytes with the NUL. */
void path_allow(const struct path *p, char *out, size_t n);

/* The served route whose spelling is nearest to raw; static storage, never NULL. */
const char *path_nearest(struct rm_slice raw);

/* Decodes %XX of a model id. Returns 0, RM_ERR_FIELD (bad escape, NUL, more than cap - 1 bytes). */
RM_MUST_USE int path_unescape(struct rm_slice raw, char *out, size_t cap, size_t *len);

/* True for first segments that can never be a mode (design section 8). */
bool path_is_api_word(struct rm_slice segment);

#endif
