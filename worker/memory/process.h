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

/* VmRSS of a process in bytes, 0 when it cannot be read. */
uint64_t memory_rss(int pid);

#endif
