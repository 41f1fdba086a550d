/* SPDX-License-Identifier: MIT */
/* gateway/front/front.h - editors' requests, each from its first to its last byte.
 * The folder answers for the model API: path forgiveness and CORS (path.h, cors.h), reading the
 * body and its limits, the answers it can give by itself (models, errors), and for everything else
 * one state machine per request (freq.c): read, find a host, relay, keep the client alive.
 * What differs between API families stands in dialects/. It asks route for hosts and never sees
 * nodes.
 *
 *   server ──http_req──► front_on_request ──► answer at once (models, 404, 405, OPTIONS ...)
 *                                        └──► freq: body ─► route ticket ─► relay ─► done
 *
 * Loop thread only. */
#ifndef RM_FRONT_FRONT_H
#define RM_FRONT_FRONT_H

#include <uv.h>

#include "gateway/route/route.h"
#include "proto/base/buf.h"
#include "proto/conf/role_map.h"
#include "proto/http/server.h"

struct front;

/* Times and sizes that are not in the role map; tests shorten them. */
struct front_conf {
    uint32_t hold_stream_ms;   /* a stream's 200 is held back this long at most: until then an error
                                  is a status; 10000 */
    uint32_t hold_whole_ms;    /* the same for "stream": false; 45000 */
    uint32_t keepalive_ms;     /* a sign of life this often; 0: the map's gateway.keepalive; never
                                  above 15000 */
    uint32_t whole_bytes;      /* largest answer of "stream": false; 16 MiB */
    uint32_t small_body_bytes; /* request bodies of everything but chat; 4 MiB */
    uint32_t tries;            /* hosts a request may be sent to in all; 2 */
};
extern const struct front_conf front_conf_default;

/* Copies conf (NULL: the default), takes a reference of map, borrows loop and route until the last
 * request is over. Returns 0 or a libuv code. */
RM_MUST_USE int front_new(uv_loop_t *loop, struct role_map *map, struct route *route,
                          const struct front_conf *conf, struct front **out);

/* Who may use it and how much; borrowed until the last request is over. Without, everybody may. */
struct keys;
void front_set_keys(struct front *f, struct keys *keys);

/* Requests that run keep the map they began with. Takes a reference of map. */
void front_set_map(struct front *f, struct role_map *map);

/* Ends the front once the HTTP server is closed (no request is left): on_closed (may be NULL) comes
 * from the loop, f is invalid afterwards. NULL is fine and calls nothing. */
void front_close(struct front *f, void (*on_closed)(void *arg), void *arg);

/* The handler of every request that is not /api/v1 of ours, /metrics, /healthz, /readyz or
 * /dashboard; called inside http_server_conf.on_request. Takes q (http_req_accept). Also the right
 * one for what ops does not know: it answers a 404 that names the nearest route. */
void front_on_request(struct front *f, struct http_req *q);

/* For http_server_conf.error_body: the OpenAI error body of what the server itself answers. arg is
 * not used. */
void front_error_body(void *arg, int err, const struct http_head *head, struct rm_buf *out);

/* Requests for the ops API, as JSON (proto/openapi.yaml: Request): the array of those in flight and
 * recent, newest first; of those that wait for a host; or one. Return as rm_buf_put, or
 * RM_ERR_NOT_FOUND. */
int front_write_requests(const struct front *f, struct rm_buf *out);
int front_write_queue(const struct front *f, struct rm_buf *out);
int front_write_request(const struct front *f, const char *id, struct rm_buf *out);

/* Why it went where it went (proto/openapi.yaml: Why). Returns as front_write_request. */
int front_write_why(const struct front *f, const char *id, struct rm_buf *out);

/* on_over hears of every request that is over and had a record (record.h), inside the call that
 * ends it. NULL: not wanted. front_copy_decisions: why it went where it went, to be freed (NULL:
 * nothing is known, or no memory); front_decisions_write appends such a copy as a JSON array, in
 * any thread, and returns as rm_buf_put. */
struct record;
void front_on_over(struct front *f, void (*on_over)(void *arg, const struct record *r), void *arg);
void *front_copy_decisions(const struct front *f, const struct record *r);
int front_decisions_write(const void *copy, struct rm_buf *out);

/* The decisions on recent requests, whether these run or are over: a copy, to be freed (NULL: no
 * memory); appended as a JSON array (proto/openapi.yaml: RecentDecision), the newest first, in any
 * thread. Returns as rm_buf_put. */
void *front_copy_all_decisions(const struct front *f);
int front_all_decisions_write(const void *copy, struct rm_buf *out);

/* Ends a request; its client gets its dialect's error. Returns 0, RM_ERR_NOT_FOUND, or
 * RM_ERR_STATE: it is over. */
int front_cancel(struct front *f, const char *id);

/* Puts what is known of a role's requests since the start into the object that is open in w
 * (proto/openapi.yaml: Role, members requests to cached_share). */
struct rm_jw;
void front_put_role(const struct front *f, const char *role, struct rm_jw *w);

/* What was changed of it for the engine, as a JSON array. Static. */
const char *front_rewrites(const struct record *r);

/* What runs now; and metric families. */
uint32_t front_active(const struct front *f);
struct rm_om;
void front_write_metrics(const struct front *f, struct rm_om *om);

#endif
