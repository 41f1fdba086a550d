/* SPDX-License-Identifier: MIT */
/* proto/base/clock.h - the monotonic clock, which a test can set.
 * Timeouts, rates and ages use this clock; the wall clock is for display only. Modules that decide
 * take the time as an argument; those that do I/O ask here. Any thread (setting it is for a test's
 * one thread). */
#ifndef RM_BASE_CLOCK_H
#define RM_BASE_CLOCK_H

#include <stdint.h>

uint64_t rm_now_us(void); /* microseconds since some fixed point */
uint64_t rm_now_ms(void);
int64_t rm_wall_s(void); /* seconds since 1970, UTC; for `created` fields and the like */

int64_t rm_wall_ms(void); /* milliseconds since 1970, UTC */

enum { RM_TIME_TEXT = 25 };
/* "2026-05-04T12:00:01.234Z" of rm_wall_ms's count; returns out. */
const char *rm_time_text(int64_t wall_ms, char out[RM_TIME_TEXT]);

/* Replaces the clock (microseconds); NULL: the system's again. */
void rm_clock_set(uint64_t (*now_us)(void *arg), void *arg);

#endif
