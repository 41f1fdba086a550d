/* SPDX-License-Identifier: MIT */
/* cli/human.h - sizes, times and counts as people read them. Each writes into its caller's text and
 * returns it. Any thread. */
#ifndef RM_CLI_HUMAN_H
#define RM_CLI_HUMAN_H

#include <stdint.h>
#include <time.h>

enum { HUMAN_MAX = 32 };

const char *human_bytes(uint64_t bytes, char out[HUMAN_MAX]); /* "512 B", "1.5 GiB", "128 GiB" */
const char *human_count(uint64_t n, char out[HUMAN_MAX]);     /* "999", "1.2k", "34k", "5.6M" */
const char *human_ms(uint64_t ms, char out[HUMAN_MAX]);       /* "850ms", "1.2s", "5m03s", "3d4h" */
const char *human_seconds(double s, char out[HUMAN_MAX]);     /* the same; "0s" below 1 ms */
const char *human_rate(double per_s, char out[HUMAN_MAX]);    /* "0.5", "41.2", "812" */

/* A date-time of the API ("2026-01-02T03:04:05.678Z") as local time: "03:04:05", with its date when
 * that is not the one of now_s. What is no such text: "-". */
const char *human_time(const char *text, time_t now_s, char out[HUMAN_MAX]);

#endif
