/* SPDX-License-Identifier: MIT */
/* proto/http/big_body.h - for the tests of client and relay: a body larger than every buffer, from
 * a peer and towards one. The bytes are the same every time, so that one hash tells whether all of
 * them came, in order. */
#ifndef RM_HTTP_BIG_BODY_H
#define RM_HTTP_BIG_BODY_H

#include <stdatomic.h>

#include "proto/http/client_probe.h"

enum { BIG = 16 * 1024 * 1024, BIG_SEED = 7 };

uint64_t big_hash(void); /* peer_hash of all BIG bytes */

/* A peer's script (tests/support/peer): answers one request with BIG bytes in pieces of many sizes.
 * Begins its arg: */
struct big {
    bool chunked;      /* else with Content-Length */
    atomic_llong sent; /* bytes of the body that the kernel took */
};
void big_serve(void *arg, int fd, int index);

/* An upload in the probe's arg: {.left = BIG, .seed = BIG_SEED}. */
struct big_feeder {
    size_t left;
    uint32_t seed;
    size_t waits; /* how often it was told to wait */
    bool ended;
};
void big_feed(struct probe *p);                        /* writes until it is told to wait */
void big_hook_feed(struct probe *p, enum probe_at at); /* as a probe's hook: when it may go on */

#endif
