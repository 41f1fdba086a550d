/* SPDX-License-Identifier: MIT */
/* proto/base/self.h - what a daemon tells collectors of itself: its process, under the names that
 * every collector knows (process_*), and how late its loop runs. */
#ifndef RM_BASE_SELF_H
#define RM_BASE_SELF_H

#include "proto/base/om.h"

enum { RM_LAGS = 10 };

/* A timer's lateness, looked at again and again. Zeroed: nothing seen. Loop thread. */
struct rm_lag {
    uint64_t bucket[RM_LAGS + 1], max_us;
    uint64_t due_us; /* 0: not known */
    double sum;      /* seconds */
};

/* The timer has run, and is to run again in period_us. Returns how late it is, in us. */
uint64_t rm_lag_tick(struct rm_lag *lag, uint64_t now_us, uint64_t period_us);

/* rolemesh_loop_lag_seconds (histogram), rolemesh_loop_lag_max_seconds. */
void rm_lag_write(const struct rm_lag *lag, struct rm_om *om);

/* process_cpu_seconds_total, process_resident_memory_bytes, process_open_fds, process_max_fds,
 * process_start_time_seconds. Reads /proc/self; where there is none, the families are missing.
 * Sockets are among the open descriptors. */
void rm_self_write(struct rm_om *om);

#endif
