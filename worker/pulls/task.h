/* SPDX-License-Identifier: MIT */
/* worker/pulls/task.h - one pull of a model onto this node: what rolemesh-pull says of it, what its
 * end means, and the text that outlives the worker. pulls.c runs the processes.
 *
 *   queued ──start──► running ⇄ verifying ──exit 0──► done
 *     ▲                  │ exit 1, a signal: again after 1, 2, 4 .. 16 s; TASK_TRIES in a row
 * without └──────────────────┤ a byte: failed └ exit 2 or 3 (cannot work, no room): failed
 *   cancelled: from every state that is not over. What was fetched always stays.
 *
 * Pure: time is an argument. */
#ifndef RM_PULLS_TASK_H
#define RM_PULLS_TASK_H

#include "proto/node/pull.h"

enum { TASK_TRIES = 6, TASK_PAUSE_MIN_MS = 1000, TASK_PAUSE_MAX_MS = 16000 };

struct task {
    struct node_pull shown;
    struct node_pull_wish wish;   /* wiped when it is over: it may hold secrets */
    char target[NODE_SOURCE_MAX]; /* what two may not fetch at once: a file's name, or hf:... */
    uint64_t not_before_ms;       /* queued: of the next try */
    uint64_t fetched_before;      /* bytes of the files and tries before this one */
    uint64_t fetched_at_start;
    uint32_t dry; /* tries in a row that brought nothing */
};

/* Checks the wish as rolemesh-pull will, and fills the task. id: "p-" and 16 hex digits.
 * why: TASK_WHY_MAX bytes, for people. Returns 0, RM_ERR_FIELD or UV_ENOMEM. */
enum { TASK_WHY_MAX = 1024 };
RM_MUST_USE int task_init(struct task *t, const struct node_pull_wish *wish, const char *id,
                          uint64_t now_s, char *why);

bool task_same_wish(const struct task *t, const struct node_pull_wish *wish);

void task_started(struct task *t);

/* One line of rolemesh-pull --json, without its LF. Anything else is overlooked. Returns whether
 * the state has changed. */
bool task_take_line(struct task *t, struct rm_slice line);

struct task_end {
    bool told; /* to end, by us: the worker stops */
    int code;  /* exit status; -1: by the signal */
    int signal;
};
void task_ended(struct task *t, const struct task_end *end, uint64_t now_ms, uint64_t now_s);

void task_cancel(struct task *t, uint64_t now_s);

/* The text that is kept over a restart: two lines. Reading gives a task that is queued, or over.
 * Returns as rm_buf_put; false: damaged. */
int task_write(const struct task *t, struct rm_buf *out);
bool task_read(struct task *t, struct rm_slice shown, struct rm_slice wish);

#endif
