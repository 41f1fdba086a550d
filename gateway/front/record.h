/* SPDX-License-Identifier: MIT */
/* gateway/front/record.h - requests in flight and recent ones, as the ops API tells them.
 * A fixed number of places: a request takes the one whose request has been over longest, and writes
 * what happens to it there. Never a prompt, an answer or a key: names, times and counts only. When
 * every place is in flight a request runs without a record. freq.c fills them. Loop thread. */
#ifndef RM_FRONT_RECORD_H
#define RM_FRONT_RECORD_H

#include <sys/queue.h>

#include "gateway/front/metrics.h"
#include "proto/node/state.h"
#include "proto/trust/keyring.h"

enum { RECORDS_MAX = 512, RECORD_ID_MAX = 40 };

enum record_state { RECORD_WAITING, RECORD_RUNNING, RECORD_DONE };

struct record {
    char id[RECORD_ID_MAX]; /* as the client got it; "": the place was never used */
    uint64_t seq;           /* rises by one with every request */
    enum record_state state;
    int64_t at_ms;               /* wall clock when it began */
    uint64_t began_ms, ended_ms; /* rm_now_ms; 0: not yet */
    char role[NODE_NAME_MAX];    /* asked for; "": not known yet, or none */
    char served[NODE_NAME_MAX];  /* of the host: the same, or a fallback; "": no host yet */
    char key_id[KEYRING_ID];     /* whose; "": nobody was asked */
    char key_name[KEYRING_NAME];
    char mode[NODE_NAME_MAX];   /* of the URL; "": a bare /v1 */
    char node[NODE_NAME_MAX];   /* "": none now */
    const char *dialect;        /* static */
    uint32_t tries;             /* hosts it was sent to */
    uint64_t queue_ms, ttft_ms; /* ttft: from the whole body to the first part of an answer */
    bool leased, answered;      /* queue_ms, ttft_ms are known */
    uint32_t prompt_tokens, cached_tokens, completion_tokens;
    int status;                   /* of HTTP; 0: none sent yet */
    char code[48];                /* of the error; "": none */
    enum metrics_outcome outcome; /* DONE */
    uint64_t decision[2];         /* of the first and the last host; numbers of why.h; 0: none */
    bool renamed, bounded; /* what was rewritten for the engine: the model's name, a token bound */
    uint64_t bytes_in, bytes_out; /* of the bodies */
    TAILQ_ENTRY(record) link;
};

struct records {
    TAILQ_HEAD(, record) live, over; /* over: longest first */
    struct record *all;              /* RECORDS_MAX; made with the first request */
    uint64_t seq;
    uint64_t unrecorded;
};

void records_init(struct records *rs);
void records_clear(struct records *rs);

/* A place for a new request, zeroed but for seq, state WAITING; NULL: none is free. */
struct record *records_take(struct records *rs);
void records_end(struct records *rs, struct record *r,
                 uint64_t now_ms); /* it is over; NULL is fine */
struct record *records_find(const struct records *rs, const char *id); /* NULL: none */

/* Append JSON: one object, or the array of all, newest first. Return as rm_buf_put. */
int record_write(const struct record *r, uint64_t now_ms, struct rm_buf *out);
int records_write(const struct records *rs, uint64_t now_ms, struct rm_buf *out);

#endif
