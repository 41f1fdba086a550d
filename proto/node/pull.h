/* SPDX-License-Identifier: MIT */
/* proto/node/pull.h - fetches of model files onto a node: what is asked for (body of POST
 * /node/v1/pulls) and how far they are (GET /node/v1/pulls, `pulls` of the state). Plain data with
 * encoders and decoders in the order of PROTOCOL.md. No I/O. */
#ifndef RM_NODE_PULL_H
#define RM_NODE_PULL_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/node/file_name.h"

enum {
    NODE_PULLS_MAX = 64,   /* that a worker keeps, over ones among them */
    NODE_PULLS_SHOWN = 16, /* of them in a state: those under way first */
    NODE_PULL_ID = 20,     /* "p-" and 16 hex digits, with the NUL */
    NODE_PULL_SOURCE = 512,
    NODE_PULL_TEXT = 384,
    NODE_PULLS_TEXT_MAX = 256 * 1024 /* bytes of all of them as JSON */
};

#define NODE_PULL_STATES(X)                                                                        \
    X(PULL_QUEUED, "queued")       /* waits for its turn, or for another try */                    \
    X(PULL_RUNNING, "running")     /* bytes are fetched */                                         \
    X(PULL_VERIFYING, "verifying") /* the checksum is made */                                      \
    X(PULL_DONE, "done")                                                                           \
    X(PULL_FAILED, "failed") /* what was fetched stays: the same wish goes on with it */           \
    X(PULL_CANCELLED, "cancelled")

enum node_pull_state {
#define NODE_PULL_ENUM(name, text) name,
    NODE_PULL_STATES(NODE_PULL_ENUM)
#undef NODE_PULL_ENUM
};
const char *node_pull_state_name(enum node_pull_state s);
bool node_pull_is_over(enum node_pull_state s);

struct node_pull {
    char id[NODE_PULL_ID];
    char source[NODE_PULL_SOURCE]; /* as node_source_shown makes it */
    char file[NODE_FILE_MAX]; /* that it is at; relative to the models directory; "": unknown */
    enum node_pull_state state;
    uint32_t files, files_done; /* of a split model; 0: unknown yet */
    uint64_t bytes, total;      /* there, and in all; total 0: unknown */
    uint64_t fetched;           /* over the network, by all tries since the worker's start */
    double rate;                /* bytes a second, lately */
    uint64_t eta_ms;            /* 0: unknown, or over */
    uint32_t tries;             /* begun */
    char text[NODE_PULL_TEXT];  /* one line: why it failed or waits, what it did; "": nothing */
    uint64_t began, ended;      /* Unix seconds; ended 0: it goes on */
};

/* Appends {"pulls":[...]}. Returns as rm_buf_put. */
int node_pulls_encode(const struct node_pull *pulls, uint32_t n, struct rm_buf *out);

/* Reads such a text: at most max of them. Returns as node_state_decode. */
RM_MUST_USE int node_pulls_decode(struct rm_slice json, struct node_pull *out, uint32_t max,
                                  uint32_t *n, char *why);

/* Body of POST /node/v1/pulls. */
struct node_pull_wish {
    char
        source[NODE_SOURCE_MAX]; /* hf:ORG/REPO:QUANT, a URL, or node:NAME/WHAT; may hold secrets */
    char from[300];              /* node: its worker, HOST:PORT or unix:PATH; else "" */
    char sha256[65];             /* of a URL's file, 64 hex digits; "": not known */
    uint64_t rate;               /* bytes a second at most; 0: no limit */
};

int node_pull_wish_encode(const struct node_pull_wish *w, struct rm_buf *out);

/* The same without its last rule, that `from` goes with node: and with nothing else. */
RM_MUST_USE int node_pull_wish_read(struct rm_slice json, struct node_pull_wish *out, char *why);

/* source is required. Unknown members are mistakes here: a wish comes from people. Returns as
 * node_state_decode. */
RM_MUST_USE int node_pull_wish_decode(struct rm_slice json, struct node_pull_wish *out, char *why);

#endif
