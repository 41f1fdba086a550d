/* SPDX-License-Identifier: MIT */
/* gateway/front/metrics.h - what the front counts, by role, and how it is told.
 * Labels are names of the role map and words of ours only, so their number is bounded; a class of
 * errors is a code of proto/base/err.h, whatever a worker said. Names, labels and buckets of the
 * gen_ai_* families are those of OpenTelemetry's semantic conventions for generative AI (metrics of
 * servers, and gen_ai.client.token.usage), with a label `role` in place of gen_ai.request.model,
 * and with further buckets at the top of the times, where models that take minutes to load end up.
 * Pure but for the struct. */
#ifndef RM_FRONT_METRICS_H
#define RM_FRONT_METRICS_H

#include <stdbool.h>

#include "gateway/front/spread.h"
#include "gateway/route/route.h"
#include "proto/base/om.h"

/* The row that roles share which have none of their own; no role can have this name. */
#define METRICS_OTHER "(other)"

enum {
    METRICS_ROLES_MAX = 65,
    METRICS_DURATIONS = 18, /* buckets without +Inf */
    METRICS_FIRSTS = 20,
    METRICS_PACES = 13,
    METRICS_TOKENS = 14,
    METRICS_QUEUES = 12
};

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

/* gen_ai.operation.name of an endpoint. */
#define METRICS_OPERATIONS(X)                                                                      \
    X(OPERATION_CHAT, "chat")                                                                      \
    X(OPERATION_TEXT, "text_completion")

enum metrics_operation {
#define METRICS_ENUM(name, text) name,
    METRICS_OPERATIONS(METRICS_ENUM)
#undef METRICS_ENUM
        METRICS_OPERATION_COUNT
};

/* Classes of errors: the rows of proto/base/err.h; rows with one code are one class. */
enum metrics_error {
#define METRICS_ENUM(name, number, status, code, text) METRICS_##name,
    RM_ERRORS(METRICS_ENUM)
#undef METRICS_ENUM
        METRICS_ERROR_COUNT
};

/* The class of a code, or of err where nobody has that code. */
enum metrics_error metrics_error_of(const char *code, int err);
const char *metrics_error_name(enum metrics_error e); /* the code */

/* A histogram of n buckets; not cumulative, the last one is +Inf. */
#define METRICS_HISTOGRAM(n)                                                                       \
    struct {                                                                                       \
        uint64_t bucket[(n) + 1];                                                                  \
        double sum;                                                                                \
    }

struct metrics_work { /* of one operation */
    uint64_t n;       /* requests that ended */
    METRICS_HISTOGRAM(METRICS_DURATIONS) duration;
    METRICS_HISTOGRAM(METRICS_FIRSTS) first_token;
    METRICS_HISTOGRAM(METRICS_PACES) pace;
    METRICS_HISTOGRAM(METRICS_TOKENS) input, output;
};

struct metrics_role {
    char name[64]; /* "" for requests without a role */
    uint64_t outcome[METRICS_OUTCOME_COUNT], error[METRICS_ERROR_COUNT];
    uint64_t prompt_tokens, cached_tokens, completion_tokens;
    METRICS_HISTOGRAM(METRICS_QUEUES) queued;
    struct metrics_work work[METRICS_OPERATION_COUNT];
    struct spread ttft_ms, decode_tps; /* the last ones; decode: of streams */
};

struct front_metrics {
    struct metrics_role *role; /* n of them; owned */
    uint32_t n;
    uint64_t retries, keepalives, answers_here;
    uint64_t refused_here[METRICS_ERROR_COUNT]; /* of answers_here */
};

void metrics_clear(struct front_metrics *m);

/* The counters of a role (NULL: without one); never NULL but when there is no memory at all. The
 * 65th name and later ones share the last row, METRICS_OTHER. */
struct metrics_role *metrics_of(struct front_metrics *m, const char *role);

/* Puts the members `requests` to `cached_share` of a role (proto/openapi.yaml: Role) into the
 * object that is open in w. A role without a row has had no request that is over; one that shares a
 * row is told as null. */
struct rm_jw;
void metrics_put_role(const struct front_metrics *m, const char *role, struct rm_jw *w);

/* A stream of that many tokens took so long from its first to its last part: too few of them, or
 * too short a time, tell nothing. */
enum { METRICS_DECODE_TOKENS = 8, METRICS_DECODE_MS = 20 };
void metrics_note_decode(struct metrics_role *r, uint64_t tokens, uint64_t took_ms,
                         uint64_t now_ms);

/* A request that is over. */
struct metrics_done {
    enum metrics_operation operation;
    enum metrics_outcome outcome;
    enum metrics_error error; /* without OUTCOME_OK */
    uint32_t prompt_tokens, cached_tokens, completion_tokens;
    double duration_s;
    double first_s; /* to the first part of the answer; below 0: none came */
    double pace_s;  /* between two tokens of a good stream; below 0: not known */
};
void metrics_count(struct metrics_role *r, const struct metrics_done *d);

void metrics_queued(struct metrics_role *r, double seconds);

/* active: requests that run; held_bytes: of their bodies. */
void metrics_write(const struct front_metrics *m, uint32_t active, uint64_t held_bytes,
                   struct rm_om *om);

#endif
