/* SPDX-License-Identifier: MIT */
/* worker/worker.h - the node's steward: start, drain and stop in order, and what its parts share.
 * api.c answers the node protocol, files.c gives models to other nodes, pulls/ fetches them, run.c
 * relays requests to engines, watch.c feeds the watchers, room.c watches the memory, host/ keeps
 * the engines. One worker per process; loop thread only. */
#ifndef RM_WORKER_H
#define RM_WORKER_H

#include <uv.h>

#include "proto/base/self.h"
#include "proto/http/server.h"
#include "proto/node/desired.h"
#include "worker/engine/engine.h"
#include "worker/host/host.h"
#include "worker/memory/facts.h"
#include "worker/memory/guard.h"
#include "worker/options.h"

enum { WORKER_STATE_MAX = 2 * 1024 * 1024, WORKER_BODY_MAX = 64 * 1024, WORKER_TICK_MS = 1000 };

struct devices_question;
struct files;
struct forecaster;
struct kvfiles;
struct ledger;
struct meters;
struct nvml;
struct pulls;
struct supervisor;
struct watch;

/* Of room.c. */
struct room {
    struct memory_facts facts; /* the thread pool's while busy */
    struct guard guard;
    struct guard_reading reading;       /* the last one it got */
    uint64_t refused, drained, stopped; /* steps it took */
    uv_work_t work;
    struct busy processors;
    bool busy;
    int err, sys_root;
    struct nvml *nvml; /* the thread pool's while busy; NULL: there is none */
    bool nvml_tried;
    struct devices_question *asking; /* NULL: answered */
};

struct worker {
    uv_loop_t *loop;
    struct worker_options opt;
    struct supervisor *supervisor;
    struct forecaster *forecaster;
    struct ledger *ledger;
    struct meters *meters;
    struct kvfiles *kvfiles; /* NULL: no KV state is kept */
    struct pulls *pulls;     /* models that are fetched */
    struct files *files;     /* models that other nodes read */
    unsigned ticks;
    struct engine_env engines;
    struct host_env host_env;
    struct host *hosts[NODE_HOSTS_MAX];
    uint32_t n_hosts;
    struct http_server *server;
    struct watch *watch;
    uv_timer_t tick;
    struct rm_lag lag; /* of tick */
    uv_signal_t on_term, on_int;
    bool tick_open, signals_open;
    char boot_id[37];
    uint64_t start_ms, seq, epoch;
    bool told_epoch; /* that it cannot be stored */
    struct node_memory memory;
    struct node_devices devices; /* of the engine; empty until it has told */
    struct room room;
    bool draining, closing;
    int lock_fd, models_fd;
    char run_dir[1100];
    char pull_program[1024];
};

/* Starts everything; afterwards the loop runs until the worker has stopped. why: OPTIONS_WHY_MAX
 * bytes, one line. Returns 0 or an error; then nothing is left open. */
RM_MUST_USE int worker_start(struct worker *w, uv_loop_t *loop, const struct worker_options *opt,
                             char *why);

/* What the state endpoint shows, from memory only. Returns as node_state_encode. */
int worker_encode_state(struct worker *w, struct rm_buf *out);

/* GET /metrics, families. Returns 0 or UV_ENOMEM. */
int worker_put_metrics(struct worker *w, struct rm_om *om);

struct host *worker_find(struct worker *w, struct rm_slice role);

/* The wish of a gateway with that epoch. Return 0, RM_ERR_STALE, RM_ERR_DRAINING, RM_ERR_OVERLOAD,
 * RM_ERR_NO_HOST or UV_ENOMEM. */
RM_MUST_USE int worker_put_host(struct worker *w, const struct desired_host *d);
/* save: the role will be hosted here again, what its engine has read is worth keeping. */
RM_MUST_USE int worker_delete_host(struct worker *w, struct rm_slice role, bool has_epoch,
                                   uint64_t epoch, bool save);

/* Something that the state shows, other than a measurement: tells the watchers. */
void worker_changed(struct worker *w);

/* room.c: memory. room_open reads it once and blocks for that; returns a libuv code or
 * RM_ERR_FIELD. */
RM_MUST_USE int room_open(struct worker *w);
void room_ask_devices(struct worker *w); /* once, when the supervisor is there */
void room_tick(struct worker *w);
void room_close(struct worker *w); /* the supervisor is closed next */
/* Do so many bytes of a host fit the budget beside all others? As host_env's has_room. */
bool room_fits(struct worker *w, const struct host *h, uint64_t bytes, char *why, size_t size);

/* No engine may start now, for the reason in why; as host_env's refuse_start. */
bool room_refuses(struct worker *w, uint64_t bytes, char *why, size_t size);

/* api.c: on_request and error_body of the server. */
void api_on_request(void *arg, struct http_req *q);
void api_error_body(void *arg, int err, const struct http_head *head, struct rm_buf *out);
/* Answers with an error of the table, another status (0: the table's), Retry-After (0: none). */
void api_reply_error(struct http_req *q, int err, int status, uint32_t retry_s,
                     const char *message);
/* Takes a request and answers it with an error of the table. allow: for RM_ERR_METHOD; else NULL.
 */
void api_refuse(struct http_req *q, int err, const char *allow);

/* api_pulls.c: takes a request for /node/v1/pulls, or for /node/v1/pulls/{id}. */
void pulls_on_request(struct worker *w, struct http_req *q, struct rm_slice id);

/* logs.c: answers an accepted request with a page of log lines. */
void logs_answer(const struct worker *w, struct http_req *q);

/* run.c: takes a request for /node/v1/run/{role}/rest. */
void run_on_request(struct worker *w, struct http_req *q, struct rm_slice role,
                    struct rm_slice rest);

/* watch.c */
RM_MUST_USE int watch_new(struct worker *w, struct watch **out);
void watch_add(struct watch *v, struct http_req *q); /* takes the request */
void watch_changed(struct watch *v);                 /* tells everybody, soon */
void watch_close(struct watch *v);                   /* ends the streams; NULL is fine */

#endif
