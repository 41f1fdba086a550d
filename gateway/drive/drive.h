/* SPDX-License-Identifier: MIT */
/* gateway/drive/drive.h - drives the workers to what the role map wants and requests need.
 * Holds one link (mesh) a node, tells route what the links hear, asks workers for forecasts, and
 * carries out what the hosting machine (place) decides: puts and deletes hosts, closes them for new
 * requests, has plans solved in the thread pool, tells route what is being loaded. Everything it
 * asks for is idempotent and carries this gateway's epoch; a worker that has stored a higher one
 * answers 409, and this gateway then routes but places no more. A host that the map does not change
 * is never touched; what leaves the map is drained and given up.
 *
 *   link ──state, lost──► drive ──► route (who may get requests, what is loading)
 *     ▲                  facts│ ▲ actions            ▲ demand
 *     └── PUT, DELETE,     hosting (place) ◄─────────┘
 *         POST forecast       └── replan ──► thread pool                    Loop thread only.
 *
 * Files: drive.c life, maps and their tables; nodes.c links and what they hear; ask.c questions to
 * workers; facts.c facts for the machine; operate.c orders of operators; wishes.c and keep.c what
 * they want, in memory and on disk; run.c rounds and actions; plan.c plans for people; pulls.c
 * models that come onto nodes. */
#ifndef RM_GATEWAY_DRIVE_H
#define RM_GATEWAY_DRIVE_H

#include <uv.h>

#include "gateway/route/route.h"
#include "proto/conf/role_map.h"

struct drive;

/* Takes a reference of map, borrows route until drive_close. epoch: the wall clock in milliseconds;
 * raised above the highest one that a worker tells before anything is asked for, so that a clock
 * that is behind does not fence a new gateway. Returns 0 or a libuv code. */
RM_MUST_USE int drive_new(uv_loop_t *loop, struct role_map *map, struct route *route,
                          uint64_t epoch, struct drive **out);

/* Takes a reference. Links of nodes that stay at their address are kept; a node that leaves the map
 * is let go when its hosts are (or after DRIVE_LEAVE_MS without its answer). The route has been
 * given the map before: it must know the nodes to be told the way to them. Returns 0 or a libuv
 * code (the old map stays). */
RM_MUST_USE int drive_set_map(struct drive *d, struct role_map *map);

/* ---- operators ---- */

/* From now on what operators want is kept in dir ("": nowhere), and what they wanted before holds
 * on. Blocking; once, before the loop runs. */
void drive_keep_in(struct drive *d, const char *dir);

enum drive_order {
    DRIVE_ORDER_LOAD,    /* hosted there and kept; what failed is tried now */
    DRIVE_ORDER_UNLOAD,  /* drained, ended, kept off until it is loaded */
    DRIVE_ORDER_DRAIN,   /* no new request; stays loaded */
    DRIVE_ORDER_UNDRAIN, /* ends a drain */
    DRIVE_ORDER_EVICT    /* drained and ended; ends other wishes; the plan decides afresh */
};

/* Carries out an order: it is accepted, and what comes of it is seen in states (hosting.h has the
 * rules). by: a key's name, "": an operator without one. text: n bytes, one line for people.
 * Returns 0; RM_ERR_NOT_FOUND: the map has no such role or node; RM_ERR_STATE: not possible, text
 * says why; RM_ERR_OVERLOAD: too many wishes; UV_ENOMEM. A drained host has no new request when it
 * returns. */
int drive_operate_host(struct drive *d, const char *role, const char *node, enum drive_order what,
                       const char *by, char *text, size_t n);
/* The same for a whole node. */
int drive_operate_node(struct drive *d, const char *node, bool drain, const char *by, char *text,
                       size_t n);

/* Closes the links; hosts stay as they are. NULL is fine. */
void drive_close(struct drive *d);

/* True once every node has spoken or had its chance (3 s): before that, nothing is asked for. */
bool drive_is_settled(const struct drive *d);

struct drive_status {
    uint64_t epoch;
    bool fenced;  /* a worker follows a newer gateway: this one routes, but places no more */
    bool settled; /* as drive_is_settled */
};
void drive_status(const struct drive *d, struct drive_status *out);

/* Appends the shortfalls as a JSON array: {"role","reason","missing_bytes"}. Returns as rm_buf_put.
 */
int drive_write_shortfalls(const struct drive *d, struct rm_buf *out);

struct node_pull_wish;

enum { DRIVE_PULL_WHY_MAX = 1024 };

/* Pulls of all nodes as they told them last, as a JSON array (proto/openapi.yaml: Pull). Returns as
 * rm_buf_put. */
int drive_write_pulls(const struct drive *d, struct rm_buf *out);

/* The worker's answer to a wish or a cancel: err 0 and the pull as JSON, valid for the call; fresh:
 * it was begun by this; or an error, with a text for people or "". */
typedef void drive_pull_fn(void *arg, int err, const char *why, bool fresh, struct rm_slice json);

/* Asks a node's worker for a pull, or to cancel one. wish: its source may be the name of a model of
 * the role map whose source is a hub, or node:NAME/WHAT with a model of the map as WHAT; `from` is
 * filled in here. why: DRIVE_PULL_WHY_MAX bytes. on_answer comes once from the loop. Return 0;
 * RM_ERR_FIELD, RM_ERR_NOT_FOUND (no such node), RM_ERR_UPSTREAM (its worker does not answer now),
 * UV_ENOMEM: then it never comes. */
RM_MUST_USE int drive_pull(struct drive *d, const char *node, const struct node_pull_wish *wish,
                           drive_pull_fn *on_answer, void *arg, char *why);
RM_MUST_USE int drive_cancel_pull(struct drive *d, const char *node, const char *id,
                                  drive_pull_fn *on_answer, void *arg, char *why);

/* Asks a node's worker (GET, of the node protocol). on_answer comes once from the loop as
 * link_answer_cb, whatever becomes of the node. Returns 0; RM_ERR_NOT_FOUND: the map has no such
 * node; RM_ERR_UPSTREAM: its worker does not answer now; UV_ENOMEM: then it never comes. */
RM_MUST_USE int drive_get(struct drive *d, const char *node, const char *target,
                          void (*on_answer)(void *arg, int err, int status, struct rm_slice body),
                          void *arg);

/* Plans as JSON; solved in the thread pool. on_plan comes once from the loop, with 0 and the text
 * (valid for the call), or RM_ERR_DRAINING or another error. They return 0, RM_ERR_OVERLOAD (too
 * many wait), RM_ERR_TOO_BIG or UV_ENOMEM: then it never comes. */
typedef void drive_plan_fn(void *arg, int err, struct rm_slice json);

/* {"current":Plan,"proposed":Plan or null}: where roles are wanted now, and the map solved as a
 * whole where that is better (proto/openapi.yaml: Plans). */
RM_MUST_USE int drive_ask_plans(struct drive *d, drive_plan_fn *on_plan, void *arg);

/* {"plan":Plan,"unknown":[...]}: an offered map solved around what stands; nothing is done. Workers
 * are asked what changed roles would take there, for some seconds. Takes a reference of map. */
RM_MUST_USE int drive_try_map(struct drive *d, struct role_map *map, drive_plan_fn *on_plan,
                              void *arg);

/* For /metrics: hosts given up, bytes that roles are short of. */
struct rm_om;
void drive_write_metrics(const struct drive *d, struct rm_om *om);

#endif
