/* SPDX-License-Identifier: MIT */
/* gateway/front/metrics.h - what the front counts, by role, and how it is told.
 * Labels are names of the role map only, so their number is bounded. Pure but for the struct. */
#ifndef RM_FRONT_METRICS_H
#define RM_FRONT_METRICS_H

#include <stdbool.h>

#include "gateway/front/spread.h"
#include "gateway/route/route.h"
#include "proto/base/buf.h"

/* The row that roles share which have none of their own; no role can have this name. */
#define METRICS_OTHER "(other)"

enum { METRICS_ROLES_MAX = 65, METRICS_BUCKETS = 12 };

/* How a request ended, as the client saw it. */
#define METRICS_OUTCOMES(X)                                                                        \
    X(OUTCOME_OK, "ok")                                                                            \
    X(OUTCOME_REFUSED, "refused") /* 4xx */                                                        \
    X(OUTCOME_FAILED, "failed")   /* 5xx */                                                        \
    X(OUTCOME_BROKEN, "broken")   /* an error after the 200 */                                     \
    X(OUTCOME_GONE, "gone")       /* the client left */

enum metrics_outcome {
#define METRICS_ENUM(name, text) name,
    METRICS_OUTCOMES(METRICS_ENUM)
#undef METRICS_ENUM
        METRICS_OUTCOME_COUNT
};
const char *metrics_outcome_name(enum metrics_outcome o);

struct metrics_histogram {
    uint64_t bucket[METRICS_BUCKETS + 1], count; /* the last bucket is +Inf; not cumulative */
    double sum;                                  /* seconds */
};

struct metrics_role {
    char name[64]; /* "" for requests without a role */
    uint64_t outcome[METRICS_OUTCOME_COUNT];
    uint64_t prompt_tokens, cached_tokens, completion_tokens;
    struct metrics_histogram first_token, duration, queued;
    struct spread ttft_ms, decode_tps; /* the last ones; decode: of streams */
};

struct front_metrics {
    struct metrics_role *role; /* n of them; owned */
    uint32_t n;
    uint64_t retries, keepalives, answers_here;
};

void metrics_clear(struct front_metrics *m);

/* The counters of a role (NULL: without one); never NULL but when there is no memory at all. The
 * 65th name and later ones share the last row, METRICS_OTHER. */
struct metrics_role *metrics_of(struct front_metrics *m, const char *role);

/* Puts the members `requests` to `cached_share` of a role (proto/openapi.yaml: Role) into the
 * object that is open in w. A role without a row of its own has had no request that is over. */
struct rm_jw;
void metrics_put_role(const struct front_metrics *m, const char *role, struct rm_jw *w);

/* A stream of that many tokens took so long from its first to its last part: too few of them, or
 * too short a time, tell nothing. */
enum { METRICS_DECODE_TOKENS = 8, METRICS_DECODE_MS = 20 };
void metrics_note_decode(struct metrics_role *r, uint64_t tokens, uint64_t took_ms,
                         uint64_t now_ms);

void metrics_observe(struct metrics_histogram *h, double seconds);
int metrics_write(const struct front_metrics *m, uint32_t active, uint64_t held_bytes,
                  struct rm_buf *out);

#endif
