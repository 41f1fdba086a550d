/* SPDX-License-Identifier: MIT */
/* gateway/front/dialects/openai_models.h - GET /v1/models[/{id}]: one superset of what all clients
 * look for, made from the role map. A model here is a name that may be asked for: the mode of the
 * URL first, then the role's other names; on a bare /v1 every mode, then roles that are no mode.
 * Pure. */
#ifndef RM_FRONT_OPENAI_MODELS_H
#define RM_FRONT_OPENAI_MODELS_H

#include "proto/base/buf.h"
#include "proto/conf/role_map.h"
#include "proto/trust/keyring.h"

enum { MODELS_ID_MAX = 256 };

struct models_ask {
    const struct role_map *map;
    const struct map_role *role; /* of a mode URL; NULL on a bare /v1 */
    struct rm_slice mode;        /* its mode */
    struct rm_slice query;       /* limit, after_id, before_id are honoured; the rest ignored */
    bool anthropic;              /* the client sent anthropic-version */
    int64_t created;             /* Unix seconds */
    const struct api_key *key;   /* only what it may use; NULL: everything */
};

/* Returns 0, or as rm_buf_put. */
int openai_models_list(const struct models_ask *ask, struct rm_buf *out);

/* id: decoded, NUL-terminated. Any name that the mode's role (or, bare, any role) answers to.
 * Returns 0, RM_ERR_MODEL, RM_ERR_FORBIDDEN (the key may not use it), or as rm_buf_put. */
int openai_models_one(const struct models_ask *ask, const char *id, struct rm_buf *out);

#endif
