/* SPDX-License-Identifier: MIT */
/* worker/memory/busy.h - how busy the processors are: readings, one a second, to means over the
 * last seconds. Pure; facts.c and nvml.c read, room.c keeps one of these. Sources: proc(5)
 * /proc/stat, its first line; amdgpu's gpu_busy_percent; nvmlDeviceGetUtilizationRates. */
#ifndef RM_MEMORY_BUSY_H
#define RM_MEMORY_BUSY_H

#include "proto/base/buf.h"

enum { BUSY_SECONDS = 5 };

/* Time of all CPUs together since the machine's start, in ticks of any length. */
struct busy_cpu {
    uint64_t busy, total;
};

struct busy {
    struct busy_cpu cpu[BUSY_SECONDS + 1]; /* a ring; the newest before next_cpu */
    uint32_t n_cpu, next_cpu;
    double gpu[BUSY_SECONDS]; /* the same; < 0: not told */
    uint32_t n_gpu, next_gpu;
};

/* The text of /proc/stat, or its beginning: all but idle and iowait is busy; guests are in user
 * already. False: it is none; then nothing is written. */
bool busy_parse_stat(struct rm_slice text, struct busy_cpu *out);

/* One reading each. NULL, < 0: not told this time. */
void busy_note(struct busy *b, const struct busy_cpu *cpu, double gpu_percent);

/* Means over the last BUSY_SECONDS readings, 0..100; -1: unknown. */
double busy_cpu_percent(const struct busy *b);
double busy_gpu_percent(const struct busy *b);

#endif
