/* SPDX-License-Identifier: MIT */
/* worker/host/cause.h - why an engine process ended, from what is known when it is gone.
 * Pure. supervise.c brings the facts, the host's state shows the answer. The exit codes are those
 * of worker/core/ready.h. */
#ifndef RM_HOST_CAUSE_H
#define RM_HOST_CAUSE_H

#include "proto/node/state.h"

struct end_facts {
    int wait_status;        /* as of waitpid(2) */
    bool told_to_end;       /* we sent TERM or KILL before */
    uint64_t oom_before;    /* memory_oom_kills() shortly before the end (at most about a second) */
    uint64_t oom_after;     /* and when the end was seen */
    const char *said;       /* text of its {"error":..} line, or NULL */
    const char *said_cause; /* cause of that line, or NULL */
    const char *log;        /* its last lines, LF between; never NULL */
    bool core_codes;        /* the exit codes are the core's */
};

/* Fills *out but at_ms. A SIGKILL that we did not send while the kernel's count of kills for memory
 * rose is CAUSE_OOM; without that evidence it stays CAUSE_SIGNAL. */
void cause_of_end(const struct end_facts *f, struct node_error *out);

/* Copies text into a node_error's `text` or `log`: cut at a character's border, bytes that are no
 * UTF-8 or control bytes (but LF when keep_lf) become '?'. out: size bytes, NUL-terminated. */
void cause_copy_text(char *out, size_t size, struct rm_slice text, bool keep_lf);

#endif
