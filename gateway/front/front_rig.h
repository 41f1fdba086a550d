/* SPDX-License-Identifier: MIT */
/* gateway/front/front_rig.h - the front between real sockets, for its tests: a real HTTP server in
 * front of it, real calls behind it to peers that the test scripts, and a route of a few lines that
 * lends one peer after the other. The gateway's loop runs in a thread of its own; the test plays
 * the editor with blocking sockets. */
#ifndef RM_FRONT_RIG_H
#define RM_FRONT_RIG_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "gateway/front/front.h"
#include "tests/support/peer/peer.h"

enum { RIG_PEERS = 3, RIG_OUTCOMES = 8 };

/* What the test asks for; the rest may be zero. */
struct rig_conf {
    struct peer *peer[RIG_PEERS]; /* workers, in the order they are lent; not taken over */
    unsigned lease_ms;            /* how long every ticket waits */
    int refuse;                   /* every ticket is refused with this */
    bool lose;                    /* nodes are told lost lose_ms after they were lent */
    unsigned lose_ms;
    const char
        *map; /* YAML; NULL: roles ask (modes ask, chat), code, and far (attached "far:7b") */
    struct front_conf front; /* zero members: the default */
};

/* How tickets ended; to be read after rig_close. */
struct rig_tally {
    int opened, leased, closed;
    enum route_outcome outcome[RIG_OUTCOMES];
    struct route_usage usage[RIG_OUTCOMES];
    int first_bytes;
    uint64_t prefix_key, session_key;
    uint64_t held_bytes;
    uint32_t active;
    char metrics[32 * 1024];
};

struct rig;
struct rig *rig_open(const struct rig_conf *conf);
struct rig_tally rig_close(struct rig *r); /* waits for the end of everything */

/* A connected socket; ends the program when there is none. Reads time out after 10 s. */
int rig_connect(const struct rig *r);
void rig_send(int fd, const char *bytes, size_t n);
char *rig_read_all(int fd, size_t *n);          /* until the other side closes; malloc'ed */
char *rig_read_until(int fd, const char *mark); /* until mark has come; malloc'ed */

/* One POST with Connection: close and its whole answer. path: NULL: /ask/v1/chat/completions. */
char *rig_post(const struct rig *r, const char *path, const char *body);
char *rig_talk(const struct rig *r, const char *bytes); /* any bytes; the whole answer */

int rig_status(const char *answer);               /* of the status line; 0: none */
const char *rig_body(const char *answer);         /* behind the head */
char *rig_unchunk(const char *body, bool *whole); /* the decoded body; whole: the last chunk came */

#endif
