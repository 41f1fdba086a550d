/* SPDX-License-Identifier: MIT */
/* worker/host/supervise.h - child processes: started, listened to, ended, and never left behind.
 * A child is leader of its own process group and gets SIGKILL from the kernel when the worker dies
 * (PR_SET_PDEATHSIG). Its stdin is /dev/null, stderr (and stdout) go into a ring of its last lines,
 * one more pipe, the channel, is read by the owner. All other descriptors are closed in it. Its end
 * is seen by SIGCHLD at once: the whole group is killed before the leader is reaped, so that no pid
 * can be taken over by a stranger meanwhile. Loop thread only; callbacks come from the loop.
 *
 *   child_start ──► running ──TERM──► told to end ──grace over: KILL──┐
 *                      └────────────── SIGCHLD ◄──────────────────────┘──► on_end, freed */
#ifndef RM_HOST_SUPERVISE_H
#define RM_HOST_SUPERVISE_H

#include <uv.h>

#include "proto/base/buf.h"

struct supervisor; /* one per worker: SIGCHLD and the list of children */
struct child;

enum {
    CHILD_LINE_MAX = 199,  /* bytes kept of a log line */
    CHILD_LINES = 20,      /* last lines kept */
    CHILD_GRACE_MS = 5000, /* between TERM and KILL */
    CHILD_CHANNEL_FD = 3,  /* number of the channel in the child, if it is not stdout */
    CHILD_OOM_SCORE = 800  /* the kernel shall choose an engine before the worker */
};

/* Returns 0 or a libuv code. */
RM_MUST_USE int supervisor_open(uv_loop_t *loop, struct supervisor **out);

/* Notes how many kills for memory the kernel counts now; to be called about every second. */
void supervisor_tick(struct supervisor *s);

/* Kills what is left (no on_end follows for those), frees when the last handle is closed. NULL is
 * fine. */
void supervisor_close(struct supervisor *s);

struct child_end {
    int wait_status;                /* waitpid(2) */
    bool told_to_end;               /* TERM or KILL came from us */
    uint64_t oom_before, oom_after; /* as in cause.h */
    const char *log; /* the last lines, oldest first, LF between; valid for the call */
};

struct child_ops {
    /* Bytes from the channel; valid for the call. NULL: not wanted. */
    void (*on_channel)(void *arg, const char *bytes, size_t n);
    /* The process is gone and reaped, all that it wrote has been handed out. The child is freed
     * after this. Required. */
    void (*on_end)(void *arg, const struct child_end *end);
};

struct child_spec {
    const char *const *argv; /* NULL-terminated; argv[0] is the path of the program; copied */
    const char *name;        /* for the log; at most 63 bytes are kept */
    bool channel_is_stdout;  /* else CHILD_CHANNEL_FD */
};

/* Starts one. Returns 0 or a libuv code; a program that cannot be run shows as an end with code
 * 127 and the reason as its last line. */
RM_MUST_USE int child_start(struct supervisor *s, const struct child_spec *spec,
                            const struct child_ops *ops, void *arg, struct child **out);
int child_pid(const struct child *c);
void child_stop(
    struct child *c); /* TERM to the group, KILL after the grace; a second call is fine */
void child_kill(struct child *c); /* KILL to the group */

#endif
