/* SPDX-License-Identifier: MIT */
/* worker/pulls/pulls.h - what this folder answers for: model files that are fetched onto this node.
 * Each pull (task.h) is a rolemesh-pull of the worker, two at a time; a bounded number is kept,
 * those that are over make room. Nothing of a source that may be secret is in a command line, a log
 * or a message: it lies in files of the state directory that only the worker's user may read, as
 * long as it is needed. Loop thread only; callbacks come from the loop. */
#ifndef RM_PULLS_PULLS_H
#define RM_PULLS_PULLS_H

#include <uv.h>

#include "worker/pulls/task.h"

struct supervisor;
struct pulls;

enum { PULLS_RUNNING_MAX = 2 };

struct pulls_conf {
    struct supervisor *supervisor;
    const char *program;    /* path of rolemesh-pull */
    const char *models_dir; /* where the files go */
    const char *state_dir;  /* of pulls.json */
    const char *run_dir;    /* goes with the worker */
    uint64_t keep_free_bytes;
    void (*on_change)(void *arg); /* a state, not a measurement */
    void (*on_there)(void *arg);  /* a model is there that was not */
    void *arg;
};

/* Takes up what a worker before this one had not finished. Texts are borrowed until pulls_close.
 * Returns 0 or UV_ENOMEM. */
RM_MUST_USE int pulls_open(const struct pulls_conf *conf, struct pulls **out);

/* A new pull, begun soon. *out is valid until the next call. why: TASK_WHY_MAX bytes, for people.
 * Returns 0; RM_AGAIN: the same one is under way, *out is that; RM_ERR_FIELD: a wish that cannot
 * be; RM_ERR_STATE: another source is being fetched into the same file; RM_ERR_OVERLOAD: too many
 * are under way; RM_ERR_DRAINING; UV_ENOMEM. */
RM_MUST_USE int pulls_add(struct pulls *p, const struct node_pull_wish *wish,
                          const struct node_pull **out, char *why);

/* Returns 0, RM_ERR_NOT_FOUND, or RM_ERR_STATE: it is over. */
RM_MUST_USE int pulls_cancel(struct pulls *p, const char *id, const struct node_pull **out);

void pulls_tick(struct pulls *p); /* about every second: starts what is due */

/* Those under way first, then those that ended last. Returns how many; at most max. */
uint32_t pulls_list(const struct pulls *p, struct node_pull *out, uint32_t max);

void pulls_drain(struct pulls *p); /* the worker stops: ends the processes; they go on next time */
void pulls_close(struct pulls *p); /* after supervisor_close; NULL is fine */

#endif
