/* SPDX-License-Identifier: MIT */
/* gateway/front/front_rig.h - the front between real sockets, for its tests: a real HTTP server in
 * front of it, real calls behind it to peers that the test scripts, and a route of a few lines that
 * lends one peer after the other. The gateway's loop runs in a thread of its own; the test plays
 * the editor with blocking sockets. */
#ifndef RM_FRONT_RIG_H
#define RM_FRONT_RIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "gateway/front/front.h"
#include "tests/support/peer/peer.h"

enum { RIG_PEERS = 3, RIG_OUTCOMES = 8 };

/* What the test asks for; the rest may be zero. */
struct rig_conf {
    struct peer *peer[RIG_PEERS]; /* workers, in the order they are lent; not taken over */
    unsigned lease_ms;            /* how long every ticket waits */
    const char *status;           /* what a waiting ticket says of itself; NULL: "" */
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

/* What a worker does with each request; a connection serves several. */
struct rig_worker {
    const char *type, *parts[4]; /* of a 200 */
    int status;                  /* else this, with parts[0] as JSON */
    const char *fields;          /* more of them, each with its line end */
    unsigned wait_ms;            /* before the answer */
    unsigned pause_ms;           /* before each part after the first */
    enum { END_WELL, END_CUT, END_RESET, END_HOLD } end;
    bool reset_first;    /* no answer at all */
    atomic_int requests; /* seen */
    atomic_int gone_ms;  /* END_HOLD: how soon the gateway left */
    char head[2048];     /* of the last request */
    char body[1 << 16];  /* of the last request, as far as it fits */
};

/* A peer_serve; arg: a struct rig_worker. */
void rig_worker_serve(void *arg, int fd, int index);
bool rig_worker_read(struct rig_worker *w, int fd); /* one request by Content-Length into w */

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

/* request with "$" replaced by Host and Connection: close fields; malloc'ed. */
char *rig_with_fields(const char *request);

int rig_status(const char *answer);               /* of the status line; 0: none */
const char *rig_body(const char *answer);         /* behind the head */
char *rig_unchunk(const char *body, bool *whole); /* the decoded body; whole: the last chunk came */

/* One worker, one rig_post: sets conf->peer[0], closes everything. */
char *rig_ask(struct rig_worker *w, struct rig_conf *conf, const char *path, const char *body,
              struct rig_tally *tally);
int rig_count(const char *text, const char *what); /* how often */

/* Requests and parts of streams that the tests share. */
#define RIG_ASK    "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define RIG_STREAM "{\"model\":\"gpt-x\"," RIG_ASK ",\"stream\":true}"
#define RIG_WHOLE  "{\"model\":\"gpt-x\"," RIG_ASK "}"
#define RIG_PART(text)                                                                             \
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define RIG_DONE "data: [DONE]\n\n"

#endif
