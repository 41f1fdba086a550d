/* SPDX-License-Identifier: MIT */
/* gateway/drive/wishes.h - what operators want of hosts and nodes, by name, and as a file.
 * The rules of what comes of a wish are place's (hosting.h); this is the list and its JSON:
 *
 *   {"version": 1,
 *    "hosts": [{"role": "ask", "node": "speed", "wanted": "unloaded", "by": "laptop", "since_s":
 * 1700000000}], "nodes": [{"node": "speed", "by": "laptop", "since_s": 1700000000}]}    drained
 * ones
 *
 * Pure. Any thread. */
#ifndef RM_GATEWAY_DRIVE_WISHES_H
#define RM_GATEWAY_DRIVE_WISHES_H

#include "gateway/place/hosting.h"
#include "proto/node/state.h"

enum { WISHES_MAX = 1024, WISHES_BYTES_MAX = 1 << 20, WISHES_WHY_MAX = 256 };

struct wish {
    char role[NODE_NAME_MAX]; /* "": of the node */
    char node[NODE_NAME_MAX];
    enum hosting_wish what; /* of a node: HOSTING_WANT_DRAINED */
    char by[NODE_NAME_MAX]; /* a key's name; "": an operator without a key */
    int64_t since_s;        /* Unix time */
};

struct wishes {
    struct wish *list; /* owned; in the order they were made */
    size_t n;
};

void wishes_clear(struct wishes *w);

/* "loaded", "unloaded", "drained"; NULL: no wish. Static. */
const char *wish_word(enum hosting_wish what);

/* role "": of the node. NULL: none. */
const struct wish *wishes_find(const struct wishes *w, const char *role, const char *node);

/* Puts the wish in the place of the one for the same role and node; HOSTING_NO_WISH takes that one
 * away. Returns 0; RM_ERR_OVERLOAD: WISHES_MAX are there; UV_ENOMEM. */
RM_MUST_USE int wishes_put(struct wishes *w, const struct wish *wish);

/* Takes away those of which stays() says false; how many. */
size_t wishes_sift(struct wishes *w, bool (*stays)(void *arg, const struct wish *wish), void *arg);

int wishes_encode(const struct wishes *w, struct rm_buf *out); /* as rm_buf_put */

/* Of a whole file; w must be empty, and is so after an error. Returns 0, RM_ERR_CONF with why
 * (WISHES_WHY_MAX bytes): damaged, of another version, or twice the same; UV_ENOMEM. */
RM_MUST_USE int wishes_decode(struct rm_slice json, struct wishes *w, char *why);

#endif
