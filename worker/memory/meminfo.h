/* SPDX-License-Identifier: MIT */
/* worker/memory/meminfo.h - what this folder answers for: how much memory the node has for models.
 * The accountant proper (limits of groups, device memory, measured ledger) will stand behind
 * memory_read(); the parsers below are pure, memory_read() does the reading (a few procfs files,
 * microseconds). Sources: proc(5) /proc/meminfo and /proc/vmstat, cgroup v1 memory.oom_control, v2
 * memory.events. */
#ifndef RM_MEMORY_MEMINFO_H
#define RM_MEMORY_MEMINFO_H

#include "proto/node/state.h"

/* Reads total, available, swap_total and swap_used (bytes) from the text of /proc/meminfo. A value
 * without MemAvailable (kernels before 3.14) is MemFree. Returns 0 or RM_ERR_FIELD: no MemTotal, or
 * a number that is none. */
RM_MUST_USE int meminfo_parse(struct rm_slice text, struct node_memory *out);

/* max(8 % of total, 6 GiB), but never more than half of total, so that a small machine can host
 * something. */
uint64_t memory_default_reserve(uint64_t total);

/* Fills out->reserve and out->budget. reserve: bytes, 0: the default. */
void memory_budget(struct node_memory *out, uint64_t reserve);

/* Reads the machine. reserve as above; committed is left as it is. Returns 0, RM_ERR_FIELD or a
 * libuv code; *out keeps the last good values on an error. */
RM_MUST_USE int memory_read(uint64_t reserve, struct node_memory *out);

/* The number after `name` and a blank at the start of a line, e.g. "oom_kill 3". False: none. */
bool memory_counter_in(struct rm_slice text, const char *name, uint64_t *out);

/* Kills by the kernel for memory so far: in the machine, and in our own memory group where it can
 * be read. Only differences mean something. 0 when nothing can be read. */
uint64_t memory_oom_kills(void);

/* VmRSS of a process in bytes, 0 when it cannot be read. */
uint64_t memory_rss(int pid);

#endif
