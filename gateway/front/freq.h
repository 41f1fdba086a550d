/* SPDX-License-Identifier: MIT */
/* gateway/front/freq.h - one request that a worker answers, as data, and what the three files of
 * its life call in each other: freq.c (the machine, its client), freq_body.c, freq_answer.c.
 * Not for other folders. */
#ifndef RM_FRONT_FREQ_H
#define RM_FRONT_FREQ_H

#include "gateway/front/front_impl.h"
#include "proto/http/relay.h"

enum {
    AVOID_MAX = 4,               /* as in struct route_ask */
    SKIM_AT_ONCE = 64 * 1024,    /* bodies up to this are read when they are whole */
    RESERVE_MAX = 1024 * 1024,   /* room that a Content-Length alone is believed for */
    DRAIN_MAX = 4 * 1024 * 1024, /* a bad body up to this is read to its end before the answer */
    ERROR_BODY_MAX = 64 * 1024,  /* of a worker's error answer */
    SEND_STEP = 64 * 1024,       /* bytes of a whole answer per write */
    NAME_MAX_BYTES = 1024,       /* of a model's name on a bare /v1 */
    NAMES_MAX_BYTES = 4096,
    WHOLE_RETRY_MAX_S = 300, /* upper bound for any Retry-After that is read */
    TELL_MS = 5000,          /* a waiting stream hears how its load goes at least this often */
    AFTER_DONE_MS = 1000     /* how long a worker may take to end its answer after the end mark */
};

struct inflater;

enum freq_state { FR_BODY, FR_WAIT, FR_CALL, FR_STREAM, FR_WHOLE, FR_REFUSED, FR_SEND, FR_OVER };

struct freq {
    /* what every event touches stands together */
    struct front *f;
    struct http_req *q;
    enum freq_state state;
    bool gone, bad, was_lost, lost_in_stream;
    const struct dialect *dialect;
    struct dialect_stream *stream;
    struct relay *relay;
    struct route_ticket *ticket;
    struct record *record;                                  /* NULL: none was free */
    uint64_t start_ms, sent_ms, first_ms, last_ms, done_ms; /* uv_now; 0: not yet */
    struct freq *prev, *next;

    struct keys_pass pass;                /* whose it is */
    struct role_map *map;                 /* the one it began with; a reference */
    const struct map_role *role, *served; /* asked for; of the lease: maybe a fallback of it */
    struct rm_slice mode, origin;         /* of the head */
    enum metrics_outcome outcome;
    enum metrics_error error; /* of what did not end well */
    char id[FRONT_ID_BYTES + 1];
    char node[NODE_NAME_MAX]; /* of the lease, "" without one */

    struct rm_buf body;
    struct rm_skim *skim;      /* of a large body */
    struct inflater *inflater; /* of one that comes as gzip */
    uint64_t body_left;        /* Content-Length; 0: unknown */
    struct dialect_ask ask;
    uint64_t session_key;
    struct rm_slice wanted; /* the model's name for the client, raw JSON; in names */
    struct rm_buf names;    /* that name, then the engine's own for it, both raw JSON */
    uint16_t names_kept;    /* bytes of the first */

    struct rm_buf answer; /* whole answer or error body */
    struct rm_slice pieces[DIALECT_PIECES_MAX];
    uint8_t n_pieces, piece;
    char target[NODE_NAME_MAX + 64], note[64];
    uint32_t prompt_guess; /* tokens of the body, for a prompt that nobody counted */
    int up_status;
    uint32_t up_wait; /* Retry-After of the worker */
    struct route_usage usage;

    uint8_t tries, n_avoid;
    char (*avoid)[NODE_NAME_MAX]; /* AVOID_MAX of them, made with the first loss */
    struct fault *lost;           /* with bad or was_lost: what the client will be told */
};

/* ---- freq.c ---- */
void freq_to(struct freq *r, enum freq_state to); /* the only place that sets the state */

/* Starts the reply; the head leaves with the first body bytes. length: -1: not known. fault: its
 * advice as fields, NULL for an answer. Returns as http_reply_start; on an error the reply is cut.
 */
int freq_start_reply(struct freq *r, int status, const char *type, int64_t length,
                     const struct fault *fault);

/* The last word when something went wrong: a status while there is none, else the dialect's error
 * event, else a cut. in_stream: the worker's stream had begun, so that a status would be too late
 * for a client that reads it. */
void freq_fail(struct freq *r, const struct fault *fault, bool in_stream);
void freq_over(struct freq *r, enum metrics_outcome outcome);
/* Why it will not end well, for counters and record. */
void freq_note_error(struct freq *r, const char *code, int err);
void freq_dispatch(struct freq *r); /* asks for a host: FR_WAIT */
void freq_close_ticket(struct freq *r, enum route_outcome how);
void freq_drop_call(struct freq *r); /* no callback of the call follows */
void freq_drop_body(struct freq *r);
void freq_drop_skim(struct freq *r);

/* Keeps a fault for later; without memory a shorter word for it. */
void freq_keep_lost(struct freq *r, const struct fault *fault);
const struct fault *freq_lost_fault(struct freq *r);

/* ---- freq_body.c ---- */
void freq_on_body(struct http_req *q, const char *bytes, size_t n);
void freq_on_end(struct http_req *q);
void freq_refuse(struct freq *r); /* with the front's fault; the body goes */

/* ---- freq_answer.c ---- */
extern const struct relay_ops freq_relay_ops;
void freq_lost(struct freq *r,
               const struct fault *fault); /* the worker is: once more, or the end */
void freq_pump(struct freq *r);            /* FR_SEND: what the client takes */
void freq_end_stream(struct freq *r);      /* a whole answer has left */

#endif
