/* SPDX-License-Identifier: MIT */
/* worker/memory/process.h - what the kernel says of processes and memory: kills, resident size.
 * A few small files of this machine, microseconds each. Sources: proc(5) /proc/vmstat,
 * /proc/PID/status and oom_score_adj; group.h. */
#ifndef RM_MEMORY_PROCESS_H
#define RM_MEMORY_PROCESS_H

#include <stdint.h>

/* Kills by the kernel for memory so far: in the machine, and in our own memory group where it can
 * be read. Only differences mean something. 0 when nothing can be read. */
uint64_t memory_oom_kills(void);

/* Makes the kernel choose this process later when memory runs out: lowers /proc/self/oom_score_adj
 * to `score` (-1000..1000) unless it is lower already. Lowering needs CAP_SYS_RESOURCE: without it
 * UV_EACCES. Returns 0 or a libuv code. */
int memory_shield_self(int score);

/* Bytes of a process that are resident: VmRSS, and the part of it that is not of files (RssAnon and
 * RssShmem, Linux 4.5 and later; before that, all of it). 0 when it cannot be read. */
struct memory_resident {
    uint64_t rss, own;
};
struct memory_resident memory_resident(int pid);

#endif
