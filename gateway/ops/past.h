/* SPDX-License-Identifier: MIT */
/* gateway/ops/past.h - one metric over time, from the history: which metrics there are, and the
 * answer of GET /api/v1/history (proto/openapi.yaml: History). The arithmetic is pure: a database
 * and a time in, JSON out; any thread. */
#ifndef RM_OPS_PAST_H
#define RM_OPS_PAST_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"

enum {
    PAST_STEPS_MAX = 360,
    PAST_SERIES_MAX = 64,    /* that are told */
    PAST_NAMES_MAX = 512,    /* that are looked at */
    PAST_VALUES_MAX = 65536, /* of one step and series for a percentile; of more every second, then
                                every fourth, ... */
    PAST_NAME_MAX = 64,      /* of a series */
    PAST_ASKED_MAX = 640     /* whatever a query can hold */
};

/* NULL-terminated, the words of the API. */
extern const char *const past_metrics[];
extern const char *const past_ranges[];

enum past_by { PAST_BY_NONE, PAST_BY_NODE, PAST_BY_ROLE };

struct past_question {
    int metric, range; /* indexes of the words */
    enum past_by by;
    char node[PAST_ASKED_MAX], role[PAST_ASKED_MAX]; /* "": all */
    int64_t now_ms;                                  /* of the wall clock */
};

/* Is the metric one of nodes and hosts, looked at once a minute? Else it is of requests. These come
 * by node; with a role only slots are known. */
bool past_is_sampled(int metric);

/* Returns SQLITE_OK or the code that stopped it. */
struct sqlite3;
int past_answer(struct sqlite3 *db, const struct past_question *q, struct rm_buf *out);

#endif
