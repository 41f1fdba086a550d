/* SPDX-License-Identifier: MIT */
/* proto/http/server_test.h - for tests: a server with a few routes on a loop, and peers with plain
 * sockets beside it, all on one thread. Every wait has a condition and a deadline. */
#ifndef RM_HTTP_SERVER_TEST_H
#define RM_HTTP_SERVER_TEST_H

#include "proto/http/parser.h"
#include "proto/http/server.h"

enum { RIG_WAIT_MS = 5000, RIG_STATUSES = 16 };

/* The routes: GET /v1/models and POST /v1/chat/completions (needs `Authorization: Bearer K`) answer
 * 200, the latter with {"body":N} after the whole body; other methods there 405; other paths 404.
 * A test may put its own handler in front. */
struct rig {
    uv_loop_t loop;
    struct http_server *server;
    struct http_address address;
    char dir[64];  /* of a Unix socket; "" without */
    int handled;   /* requests that reached a route with 200 */
    int smuggled;  /* requests for /smuggled */
    uint64_t body; /* bytes of the last request body */
    int gone, gone_why, done;
    bool closed;
    void (*on_request)(struct rig *rig, struct http_req *q); /* NULL: the routes */
    void *arg;                                               /* of the test */
};

void rig_open(struct rig *rig, const struct http_server_conf *conf, bool unix_socket);
void rig_close(struct rig *rig); /* closes everything and fails the test when handles are left */
void rig_turn(struct rig *rig);  /* one turn of the loop, not blocking */
void rig_count_gone(struct http_req *q, int why); /* for handlers: counts into the rig; arg is it */
void rig_count_done(struct http_req *q);

/* Turns the loop until the condition holds; fails the test after RIG_WAIT_MS. */
#define rig_until(rig, condition)                                                                  \
    do {                                                                                           \
        const uint64_t rig_end_ = rig_real_ms() + RIG_WAIT_MS;                                     \
        while (!(condition)) {                                                                     \
            rig_turn(rig);                                                                         \
            if (rig_real_ms() > rig_end_)                                                          \
                fail_msg("waited too long for %s", #condition);                                    \
        }                                                                                          \
    } while (0)
uint64_t rig_real_ms(void); /* the system's clock, also when a test has set another */

struct peer {
    int fd;
    struct http_parser *parser;
    int status[RIG_STATUSES]; /* of the answers, in order */
    int heads, ends;
    bool close; /* the last answer said Connection: close */
    bool eof, reset;
    int err;            /* the answer was damaged */
    struct rm_buf raw;  /* all bytes received */
    struct rm_buf body; /* of all answers */
    size_t read_max;    /* at most this many bytes per peer_read; 0: no limit */
};

void peer_open(struct peer *p, const struct rig *rig);
void peer_close(struct peer *p);
void peer_reset(struct peer *p); /* closes with RST */
void peer_read(struct peer *p);  /* what is there */
/* Sends all of it, turning the loop whenever the socket is full; false: the other side has closed.
 */
bool peer_send(struct peer *p, struct rig *rig, const char *bytes, size_t n);
bool peer_sends(struct peer *p, struct rig *rig, const char *text);

#endif
