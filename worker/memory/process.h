/* SPDX-License-Identifier: MIT */
/* worker/memory/process.h - what the kernel says of processes and memory: kills, resident size.
 * A few small files of this machine, microseconds each. Sources: proc(5) /proc/vmstat and
 * /proc/PID/status; group.h. */
#ifndef RM_MEMORY_PROCESS_H
#define RM_MEMORY_PROCESS_H

#include <stdint.h>

/* Kills by the kernel for memory so far: in the machine, and in our own memory group where it can
 * be read. Only differences mean something. 0 when nothing can be read. */
uint64_t memory_oom_kills(void);

/* VmRSS of a process in bytes, 0 when it cannot be read. */
uint64_t memory_rss(int pid);

#endif
