/* SPDX-License-Identifier: MIT */
/* gateway/ops/asking.h - one question to several workers at once, and what each said by a deadline.
 * Then a thread of the pool words the answer of an ops request. Loop thread but for `word`. */
#ifndef RM_OPS_ASKING_H
#define RM_OPS_ASKING_H

#include "gateway/ops/late.h"
#include "proto/conf/role_map.h"

enum { ASKING_MS = 4000, ASKING_MAX = 16 /* at one time */, ASKING_CACHE_MS = 3000 };

struct asked_node {
    const struct map_node *node;
    bool asked;       /* by prepare */
    char target[192]; /* the same */
    int err;          /* 0, or why there is no answer */
    int status;
    struct rm_buf body;
};

struct asking {
    struct role_map *map;     /* a reference; gives the nodes their order */
    struct asked_node *nodes; /* map->n_nodes */
    size_t n;
    void *job;   /* of the caller; owned: job_free */
    bool cached; /* answers of the last ASKING_CACHE_MS will do */
    /* In a thread: appends the answer's JSON. Returns 0, or an error with maybe a fault: what is
     * wrong, for people; static. */
    int (*word)(struct asking *a, struct rm_buf *out);
    const char *fault;
    void (*job_free)(void *job);
    struct asking_private *private;
};

/* What nodes answered to questions that may be cached; one for an ops. */
struct asking_cache;
void asking_cache_free(struct asking_cache *c); /* NULL is fine */

/* The `take` of a route. prepare says who is asked what, and how the answers are worded:
 * nodes[].asked and target, job, word; it returns 0, or an error with maybe a text in c->query.why,
 * which is the answer then. The request is answered when all have answered, or when ASKING_MS are
 * over. False: no memory, nothing was taken. */
bool asking_take(struct ops_call *c, int (*prepare)(struct ops_call *c, struct asking *a));

/* Why a node that was asked told nothing; NULL: a 200 is there. text: room for 160 bytes. */
const char *asking_silence(const struct asked_node *n, char text[160]);

#endif
