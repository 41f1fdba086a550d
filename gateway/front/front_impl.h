/* SPDX-License-Identifier: MIT */
/* gateway/front/front_impl.h - what the files of this folder share: the front itself, what a
 * request's head says, and the fields that every answer carries. Not for other folders. */
#ifndef RM_FRONT_IMPL_H
#define RM_FRONT_IMPL_H

#include "gateway/front/dialects/dialect.h"
#include "gateway/front/front.h"
#include "gateway/front/metrics.h"
#include "gateway/front/path.h"
#include "gateway/front/record.h"
#include "gateway/front/why.h"
#include "gateway/keys/keys.h"

enum {
    FRONT_ID_BYTES = 36,
    FRONT_ID_TIME = 12,   /* digits of the time in an id */
    FRONT_ID_RANDOM = 10, /* bytes behind it */
    FRONT_FIELDS_MAX = 24,
    FRONT_RANDOM_BYTES = 2048,
    FRONT_SEED_BYTES = 32
};

struct freq;

struct front {
    uv_loop_t *loop;
    uv_timer_t tick; /* runs while a request does */
    struct role_map *map;
    struct route *route;
    struct keys *keys; /* NULL: everybody may */
    struct front_conf conf;
    uint32_t alive_ms, tick_ms; /* from conf and map */
    struct freq *first;         /* requests that run, any order */
    uint32_t active;
    uint64_t held_bytes;                  /* request bodies */
    struct rm_skim skim, scratch;         /* for what is read in one go */
    struct rm_buf text;                   /* the answer being written */
    struct fault fault;                   /* the one being worded */
    int64_t created;                      /* wall clock at start; `created` of models */
    unsigned char seed[FRONT_SEED_BYTES]; /* from the kernel once, then from itself */
    unsigned char random[FRONT_RANDOM_BYTES];
    size_t random_left;
    struct front_metrics metrics;
    struct records records;
    struct why why;
    void (*on_over)(void *arg, const struct record *r);
    void *on_over_arg;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* What matters of a request's head; slices of the head. */
struct head_facts {
    struct rm_slice origin, content_type, content_encoding, cors_headers;
    bool gzip;      /* Content-Encoding says so */
    bool anthropic; /* anthropic-version is there */
    uint64_t session_key;
};
void head_facts_read(const struct http_head *head, struct head_facts *out);

/* Fields of one answer, built on the stack; values point to longer-lived memory or into text. */
struct reply_fields {
    struct http_out_field v[FRONT_FIELDS_MAX];
    size_t n;
    char wait_s[16], wait_ms[16];
};

/* A new request id, NUL-terminated: "req_" and 32 hex digits, of which the first 12 are the wall
 * clock's milliseconds, so that the history finds it by time; the others nobody can guess. */
void front_new_id(struct front *f, char out[FRONT_ID_BYTES + 1]);

/* The fields that every answer has: ids and CORS. */
void reply_fields_begin(struct reply_fields *rf, const struct role_map *map, struct rm_slice origin,
                        const char *id);
void reply_fields_add(struct reply_fields *rf, const char *name, struct rm_slice value);
void reply_fields_fault(struct reply_fields *rf, const struct fault *fault);

/* 403 for a role that the key may not use. Returns what it set. */
int reply_forbidden(const char *why, const struct map_role *role, struct fault *out);

/* Answers that need no worker; take q. reply.c. */
void reply_fault(struct front *f, struct http_req *q, const struct fault *fault, const char *allow);
void reply_preflight(struct front *f, struct http_req *q, const struct path *path);
void reply_root(struct front *f, struct http_req *q);
void reply_models(struct front *f, struct http_req *q, const struct path *path,
                  const struct map_role *role, const struct api_key *key);
void reply_not_found(struct front *f, struct http_req *q, const struct path *path);

/* 404 model_not_found for a mode, role or model that the map does not have; names those it has and
 * the key (NULL: anybody) may use. */
int reply_unknown_name(const struct role_map *map, const struct api_key *key, struct rm_slice name,
                       struct fault *out);

/* A request that a worker shall answer; takes q and the pass. role: of the mode URL, NULL on a bare
 * /v1. freq.c. */
void freq_start(struct front *f, struct http_req *q, const struct dialect *dialect,
                const struct path *path, const struct map_role *role, struct keys_pass *pass);
void freq_tick(struct freq *r, uint64_t now_ms);

/* Ends it from outside: its client gets the dialect's error. False: it is over already. */
bool freq_cancel(struct freq *r);
const struct record *freq_record(const struct freq *r); /* NULL: none */
bool freq_waits(const struct freq *r);                  /* for a host */
struct freq *freq_next(const struct freq *r);

#endif
