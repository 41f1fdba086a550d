/* SPDX-License-Identifier: MIT */
/* worker/host/host.h - what this folder answers for: one role hosted on this node, from wish to
 * running engine. host_sm.c decides, this file carries out: looks at the model (look.c), notices
 * that its file is another one than before (models/swap.h): than its forecast was made for, then a
 * new one is made before the start; than it was before the load, then the engine goes. Starts and
 * stops the engine, keeps timers, counts requests, remembers the last error. Loop thread
 * only.
 *
 *   api.c ──want, remove──► host ──actions──► engine (core, attach) ──► supervise.c
 *   run.c ──begin, end────►  │ ◄──progress, ready, measure, end──┘
 *                            └──changed, gone──► worker.c */
#ifndef RM_HOST_H
#define RM_HOST_H

#include <uv.h>

#include "proto/node/desired.h"
#include "worker/engine/engine.h"
#include "worker/host/host_sm.h"

struct host;
struct host_run;
struct forecaster;
struct meters;
struct guard_host;
struct account_use;
struct kvfiles;

struct host_env {
    uv_loop_t *loop;
    struct engine_env *engines;
    struct forecaster *forecaster;
    struct meters *meters; /* NULL: nothing is measured */
    int models_fd;
    const char *models_dir;
    struct kvfiles *kvfiles; /* NULL: no KV state is kept */
    uint64_t start_ms;       /* rm_now_ms() at the worker's start */
    /* Too little memory is left to start an engine: true, with the reason for people in why. bytes:
     * what it had when it had to go for memory; 0: it had not. */
    bool (*refuse_start)(void *arg, uint64_t bytes, char *why, size_t size);
    /* Do so many bytes of this host fit the budget beside all others? False: the numbers are in
     * why. */
    bool (*has_room)(void *arg, const struct host *h, uint64_t bytes, char *why, size_t size);
    void (*on_change)(void *arg);               /* what is shown has changed (not measurements) */
    void (*on_gone)(void *arg, struct host *h); /* nothing is left of it; h is freed afterwards */
    void *arg;
}; /* borrowed for the hosts' life */

/* role: its name; copied. */
RM_MUST_USE int host_new(struct host_env *env, const char *role, struct host **out);

/* What shall be hosted from now on; may be said again. */
void host_want(struct host *h, const struct desired_host *d);
/* drain_ms: 0: as wanted, else the default. save: it will be wanted again, so its KV state is saved
 * when that is worth it, within the drain; else what the role left on the disk is removed. */
void host_remove(struct host *h, uint32_t drain_ms, bool save);
void host_kill(struct host *h);

/* Its engine shall go, since memory is short; the wish stays, and the engine comes back when
 * refuse_start lets it. why: for people, shown in last_error. drain_ms: as for host_remove, or less
 * where less is wanted. */
void host_evict(struct host *h, uint32_t drain_ms, const char *why);

const char *host_role(const struct host *h);
const struct desired_host *host_desired(const struct host *h);
void host_fill(const struct host *h, struct node_host *out);      /* all of it */
uint64_t host_forecast_bytes(const struct host *h);               /* 0 while nothing is loaded */
void host_guarded(const struct host *h, struct guard_host *out);  /* what the guard asks */
void host_add_use(const struct host *h, struct account_use *sum); /* what its engine holds now */

/* Every second: measures. */
void host_tick(struct host *h);

/* The model's first file as it was found last, absolute; "": not found. Borrowed. */
const char *host_model_path(const struct host *h);

/* Model files came: a host that failed for want of its own looks again with the next tick. */
void host_files_changed(struct host *h);

/* ---- one relayed request ---- */

struct host_run {
    struct host_run *next, **link;   /* in the host's list; link NULL: not in it */
    struct host *host;               /* valid while in the list */
    struct engine *engine;           /* one reference */
    void (*cut)(struct host_run *r); /* ends the request now; the owner calls host_run_end later */
};

/* Joins a request to the ready engine. cut is called at most once. Returns 0 or RM_ERR_NO_HOST,
 * RM_ERR_DRAINING, with the reason for people in why (256 bytes) and the seconds after which a
 * retry may help in *retry_s. */
RM_MUST_USE int host_run_begin(struct host *h, struct host_run *r, void (*cut)(struct host_run *r),
                               char *why, uint32_t *retry_s);
void host_run_end(struct host_run *r, const struct engine_traffic *t);

#endif
