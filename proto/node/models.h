/* SPDX-License-Identifier: MIT */
/* proto/node/models.h - the answer of GET /node/v1/models, read: the model files of a node. A
 * worker writes it in worker/models. Names of files may hold anything but NUL: who shows them
 * escapes them. No I/O. */
#ifndef RM_NODE_MODELS_H
#define RM_NODE_MODELS_H

#include "proto/base/buf.h"

enum { NODE_MODELS_MAX = 1024, NODE_MODEL_PATH_MAX = 1024 };

struct node_model {
    char *path; /* below dir; of a split model its first file */
    uint64_t bytes, files;
    char model_hash[65]; /* "": not hashed yet */
};

struct node_models {
    char dir[NODE_MODEL_PATH_MAX];
    bool truncated;       /* there are more than it lists */
    struct node_model *v; /* owned, with the paths */
    uint32_t n;
};

void node_models_clear(struct node_models *m); /* frees, zeroes */
RM_MUST_USE int node_models_decode(struct rm_slice json, struct node_models *out,
                                   char *why); /* as node_state_decode */

#endif
