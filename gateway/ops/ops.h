/* SPDX-License-Identifier: MIT */
/* gateway/ops/ops.h - what operators and their tools ask the gateway: all of /api/v1, health,
 * metrics and the page (pages.h). One table (routes.c) maps path and method to a policy, a handler
 * and the query parameters; a test holds it against proto/openapi.yaml. trust.h says who may read
 * and who may act. Most answers are made at once from what route, front, drive and the map's keeper
 * hold in memory. Those that need a worker, the history, a file or a plan come later (late.h,
 * asking.h) and hold up nothing else. The ops routes never carry CORS headers; errors are RFC
 * 9457's. Only gateway.c includes this folder. Loop thread, but for what is said to run in a
 * thread. */
#ifndef RM_OPS_OPS_H
#define RM_OPS_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/http/server.h"

/* A role map that somebody wants in place of the running one. Borrowed for the call. */
struct ops_offer {
    struct rm_slice body;
    const char *name;   /* what messages call it; printable */
    const char *expect; /* revision that the file must have, or "*"; "" in a dry run without one */
    bool dry_run;
};

/* status: of HTTP; json: an object, valid for the call. */
typedef void (*ops_answer_fn)(void *arg, int status, struct rm_slice json);

/* err 0: json is valid for the call. */
typedef void (*ops_text_fn)(void *arg, int err, struct rm_slice json);

/* err 0: HTTP status and body, valid for the call. */
typedef void (*ops_node_fn)(void *arg, int err, int status, struct rm_slice body);

struct keys;
struct role_map;
struct rm_om;

/* What a worker says to a wish or a cancel: err 0 and the pull, fresh when it was begun by it; or
 * an error, with a text for people or "". */
typedef void ops_pull_fn(void *arg, int err, const char *why, bool fresh, struct rm_slice json);

struct node_pull_wish;

/* What an operator has a host or a node do (proto/openapi.yaml: /api/v1/hosts/{role}/{node}/...).
 */
enum ops_act { OPS_LOAD, OPS_UNLOAD, OPS_DRAIN, OPS_UNDRAIN, OPS_EVICT };

/* Where the figures come from; each writer appends and returns as rm_buf_put. */
struct ops_sources {
    void *arg;
    const char *state_dir;                            /* for the history; "": none is kept */
    struct keys *keys;                                /* who may ask; borrowed */
    int (*status)(void *arg, struct rm_buf *out);     /* JSON object */
    int (*nodes)(void *arg, struct rm_buf *out);      /* JSON array, members `name` */
    int (*roles)(void *arg, struct rm_buf *out);      /* JSON array, members `name` */
    int (*hosts)(void *arg, struct rm_buf *out);      /* JSON array, members `role` and `node` */
    int (*shortfalls)(void *arg, struct rm_buf *out); /* JSON array */
    void (*metrics)(void *arg, struct rm_om *om);     /* families */
    int (*requests)(void *arg, struct rm_buf *out);   /* JSON array, members `seq`, newest first */
    int (*queue)(void *arg, struct rm_buf *out);      /* the same of those that wait */
    int (*request)(void *arg, const char *id, struct rm_buf *out); /* or RM_ERR_NOT_FOUND */
    int (*why)(void *arg, const char *id, struct rm_buf *out);     /* the same */
    int (*cancel)(void *arg, const char *id);    /* 0, RM_ERR_NOT_FOUND, RM_ERR_STATE */
    int (*pulls)(void *arg, struct rm_buf *out); /* JSON array, members `node` and `id` */
    /* Ask a worker; as drive_pull. `why` has 1024 bytes. */
    int (*pull)(void *arg, const char *node, const struct node_pull_wish *wish,
                ops_pull_fn *on_answer, void *answer_arg, char *why);
    int (*cancel_pull)(void *arg, const char *node, const char *id, ops_pull_fn *on_answer,
                       void *answer_arg, char *why);
    const char *(*not_ready)(void *arg);       /* why not; NULL: ready */
    int (*map)(void *arg, struct rm_buf *out); /* JSON object */
    /* Its file, as proto/openapi.yaml's MapText, later; as plans below. */
    int (*map_text)(void *arg, ops_text_fn on_text, void *text_arg);
    /* Takes an offer. Returns 0, and on_answer comes once from the loop; or an error, and it never
     * comes. */
    int (*offer)(void *arg, const struct ops_offer *offer, ops_answer_fn on_answer,
                 void *answer_arg);
    /* The same, but it is only told what the map would come to: proto/openapi.yaml, PlanTrial. */
    int (*try_map)(void *arg, const struct ops_offer *offer, ops_answer_fn on_answer,
                   void *answer_arg);
    /* The decisions that memory holds: a copy, to be freed (NULL: no memory), and its JSON array in
     * any thread (proto/openapi.yaml: RecentDecision), newest first. */
    void *(*copy_decisions)(void *arg);
    int (*write_decisions)(const void *copy, struct rm_buf *out);
    /* The role map that runs, borrowed. */
    struct role_map *(*role_map)(void *arg);
    /* Asks a node's worker: GET. Returns 0, or an error: then on_answer never comes. */
    int (*ask_node)(void *arg, const char *node, const char *target, ops_node_fn on_answer,
                    void *answer_arg);
    /* Reads the map's file and the keys again; answers as offer does. */
    int (*reload)(void *arg, ops_answer_fn on_answer, void *answer_arg);
    /* Carries an order out, of node alone when role is NULL. by: a key's name or "". text: n bytes,
     * one line. Returns 0, RM_ERR_NOT_FOUND, RM_ERR_STATE (text says why), or another error. */
    int (*operate)(void *arg, enum ops_act act, const char *role, const char *node, const char *by,
                   char *text, size_t n);
    /* Plans of proto/openapi.yaml, later. Returns 0, or an error: then on_text never comes. */
    int (*plans)(void *arg, ops_text_fn on_text, void *text_arg);
};

/* Bits of ops_done.known. */
enum { OPS_LEASED = 1, OPS_ANSWERED = 2 };

/* A request that is over, for the history. Texts are bounded copies, "" where there is none. */
struct ops_done {
    char id[40], key[40], role[64], served[64], mode[64], node[64], dialect[24], outcome[16];
    char error[48], key_name[64];
    uint64_t seq;
    int known;            /* OPS_LEASED: queue_ms is, OPS_ANSWERED: ttft_ms */
    const char *rewrites; /* a JSON array; static */
    int64_t at_ms;        /* wall clock */
    int status;
    uint32_t tries, prompt_tokens, cached_tokens, completion_tokens;
    uint64_t queue_ms, ttft_ms, duration_ms, bytes_in, bytes_out;
    /* The decisions: malloc'ed, taken over; why_write appends them as a JSON array, in another
     * thread, when there is time. NULL: none. */
    void *why;
    int (*why_write)(const void *why, struct rm_buf *out);
};

struct ops; /* one a gateway */

/* Copies sources. From now on the gateway is watched: what changes becomes events and alarms.
 * Returns 0 or a libuv code. */
RM_MUST_USE int ops_new(uv_loop_t *loop, const struct ops_sources *sources, struct ops **out);

bool ops_keeps_history(const struct ops *o);

/* Adds up by key what the history has since then (ms of the wall clock). on_answer comes once from
 * the loop with an array as in proto/openapi.yaml (Usage), or an error. Returns 0;
 * RM_ERR_NOT_FOUND: no history is kept; UV_ENOMEM: then it never comes. */
RM_MUST_USE int ops_ask_usage_of_keys(struct ops *o, int64_t since_ms,
                                      void (*on_answer)(void *arg, int err, struct rm_slice json),
                                      void *arg);

/* To the history, if there is one. */
void ops_request_done(struct ops *o, const struct ops_done *done);

/* The gateway stops: listeners are told and let go. */
void ops_drain(struct ops *o);

/* The server is closed: nobody listens. Frees from the loop. NULL is fine. */
void ops_close(struct ops *o);

/* True when the path belongs to ops: the request was taken and answered. Called inside
 * http_server_conf.on_request. */
bool ops_on_request(struct ops *o, struct http_req *q);

int ops_write_alarms(const struct ops *o, struct rm_buf *out); /* JSON array; as rm_buf_put */
void ops_write_metrics(const struct ops *o, struct rm_om *om); /* families */

#endif
