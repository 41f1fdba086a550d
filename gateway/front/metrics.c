/* SPDX-License-Identifier: MIT */
/* gateway/front/metrics.c - counters, and the families they are told as. Neighbours: freq.c counts,
 * front.c hands out. Loop thread. */
#include "gateway/front/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/json_write.h"

/* The conventions' bounds; in durations the last four, in first tokens the last four, are ours. */
static const struct rm_om_bound durations[METRICS_DURATIONS] = {
    {0.01, "0.01"},     {0.02, "0.02"},      {0.04, "0.04"},     {0.08, "0.08"},
    {0.16, "0.16"},     {0.32, "0.32"},      {0.64, "0.64"},     {1.28, "1.28"},
    {2.56, "2.56"},     {5.12, "5.12"},      {10.24, "10.24"},   {20.48, "20.48"},
    {40.96, "40.96"},   {81.92, "81.92"},    {163.84, "163.84"}, {327.68, "327.68"},
    {655.36, "655.36"}, {1310.72, "1310.72"}};
static const struct rm_om_bound firsts[METRICS_FIRSTS] = {
    {0.001, "0.001"}, {0.005, "0.005"}, {0.01, "0.01"}, {0.02, "0.02"}, {0.04, "0.04"},
    {0.06, "0.06"},   {0.08, "0.08"},   {0.1, "0.1"},   {0.25, "0.25"}, {0.5, "0.5"},
    {0.75, "0.75"},   {1, "1.0"},       {2.5, "2.5"},   {5, "5.0"},     {7.5, "7.5"},
    {10, "10.0"},     {30, "30.0"},     {60, "60.0"},   {300, "300.0"}, {1200, "1200.0"}};
static const struct rm_om_bound paces[METRICS_PACES] = {
    {0.01, "0.01"}, {0.025, "0.025"}, {0.05, "0.05"}, {0.075, "0.075"}, {0.1, "0.1"},
    {0.15, "0.15"}, {0.2, "0.2"},     {0.3, "0.3"},   {0.4, "0.4"},     {0.5, "0.5"},
    {0.75, "0.75"}, {1, "1.0"},       {2.5, "2.5"}};
static const struct rm_om_bound usages[METRICS_TOKENS] = {{1, "1.0"},
                                                          {4, "4.0"},
                                                          {16, "16.0"},
                                                          {64, "64.0"},
                                                          {256, "256.0"},
                                                          {1024, "1024.0"},
                                                          {4096, "4096.0"},
                                                          {16384, "16384.0"},
                                                          {65536, "65536.0"},
                                                          {262144, "262144.0"},
                                                          {1048576, "1.048576e+06"},
                                                          {4194304, "4.194304e+06"},
                                                          {16777216, "1.6777216e+07"},
                                                          {67108864, "6.7108864e+07"}};
static const struct rm_om_bound queues[METRICS_QUEUES] = {
    {0.05, "0.05"}, {0.1, "0.1"}, {0.25, "0.25"}, {0.5, "0.5"}, {1, "1.0"},     {2.5, "2.5"},
    {5, "5.0"},     {10, "10.0"}, {30, "30.0"},   {60, "60.0"}, {300, "300.0"}, {1200, "1200.0"}};

static const char *const codes[] = {
#define METRICS_CODE(name, number, status, code, text) code,
    RM_ERRORS(METRICS_CODE)
#undef METRICS_CODE
};

const char *metrics_outcome_name(enum metrics_outcome o)
{
    static const char *const names[] = {
#define METRICS_NAME(name, text) text,
        METRICS_OUTCOMES(METRICS_NAME)
#undef METRICS_NAME
    };
    return names[o];
}

static const char *operation_name(size_t o)
{
    static const char *const names[] = {
#define METRICS_NAME(name, text) text,
        METRICS_OPERATIONS(METRICS_NAME)
#undef METRICS_NAME
    };
    return names[o];
}

/* ---- classes of errors ---- */

enum metrics_error metrics_error_of(const char *code, int err)
{
    const char *const words[] = {code, rm_err_code(err)};

    for (size_t w = 0; w < RM_COUNT(words); w++)
        for (size_t i = 0; i < RM_COUNT(codes); i++)
            if (strcmp(words[w], codes[i]) == 0)
                return (enum metrics_error)i;
    return METRICS_RM_ERR_INTERNAL; /* not reached: rm_err_code gives a code of the table */
}

const char *metrics_error_name(enum metrics_error e)
{
    return codes[e];
}

/* ---- counting ---- */

void metrics_clear(struct front_metrics *m)
{
    free(m->role);
    memset(m, 0, sizeof(*m));
}

struct metrics_role *metrics_of(struct front_metrics *m, const char *role)
{
    const char *name = role != NULL ? role : "";

    if (m->role == NULL && (m->role = calloc(METRICS_ROLES_MAX, sizeof(*m->role))) == NULL)
        return NULL;
    for (uint32_t i = 0; i < m->n; i++)
        if (strcmp(m->role[i].name, name) == 0)
            return &m->role[i];
    if (m->n == METRICS_ROLES_MAX)
        return &m->role[m->n - 1];
    if (m->n == METRICS_ROLES_MAX - 1)
        name = METRICS_OTHER;
    snprintf(m->role[m->n].name, sizeof(m->role[0].name), "%s", name);
    return &m->role[m->n++];
}

#define OBSERVE(h, bounds, value)                                                                  \
    do {                                                                                           \
        (h).bucket[rm_om_bucket(bounds, RM_COUNT(bounds), value)]++;                               \
        (h).sum += value;                                                                          \
    } while (0)

void metrics_count(struct metrics_role *r, const struct metrics_done *d)
{
    struct metrics_work *w = &r->work[d->operation];

    r->outcome[d->outcome]++;
    if (d->outcome != OUTCOME_OK)
        r->error[d->error]++;
    r->prompt_tokens += d->prompt_tokens;
    r->cached_tokens += d->cached_tokens;
    r->completion_tokens += d->completion_tokens;
    w->n++;
    OBSERVE(w->duration, durations, d->duration_s);
    if (d->first_s >= 0)
        OBSERVE(w->first_token, firsts, d->first_s);
    if (d->pace_s >= 0)
        OBSERVE(w->pace, paces, d->pace_s);
    if (d->prompt_tokens > 0)
        OBSERVE(w->input, usages, d->prompt_tokens);
    if (d->completion_tokens > 0)
        OBSERVE(w->output, usages, d->completion_tokens);
}

void metrics_note_decode(struct metrics_role *r, uint64_t tokens, uint64_t took_ms, uint64_t now_ms)
{
    if (tokens >= METRICS_DECODE_TOKENS && took_ms >= METRICS_DECODE_MS)
        spread_note(&r->decode_tps, (double)(tokens - 1) * 1000 / (double)took_ms, now_ms);
}

static void put_spread(struct rm_jw *w, const char *name, const struct spread *s)
{
    struct spread_figures f;

    if (!spread_read(s, &f)) {
        rm_jw_null(w, name);
        return;
    }
    rm_jw_obj(w, name);
    rm_jw_dbl(w, "p50", f.p50);
    rm_jw_dbl(w, "p95", f.p95);
    rm_jw_dbl(w, "p99", f.p99);
    rm_jw_end(w);
}

void metrics_put_role(const struct front_metrics *m, const char *role, struct rm_jw *w)
{
    static const struct metrics_role none;
    const struct metrics_role *r = &none;
    uint64_t requests = 0;

    for (uint32_t i = 0; i < m->n; i++)
        if (strcmp(m->role[i].name, role) == 0)
            r = &m->role[i];
    for (int o = 0; o < METRICS_OUTCOME_COUNT; o++)
        requests += r->outcome[o];
    if (r == &none && m->n == METRICS_ROLES_MAX) { /* it shares a row: nobody knows its part */
        rm_jw_null(w, "requests");
        rm_jw_null(w, "errors");
    } else {
        rm_jw_u64(w, "requests", requests);
        rm_jw_u64(w, "errors",
                  r->outcome[OUTCOME_REFUSED] + r->outcome[OUTCOME_FAILED] +
                      r->outcome[OUTCOME_BROKEN]);
    }
    put_spread(w, "ttft_ms", &r->ttft_ms);
    put_spread(w, "decode_tps", &r->decode_tps);
    if (r->prompt_tokens > 0)
        rm_jw_dbl(w, "cached_share",
                  r->cached_tokens >= r->prompt_tokens
                      ? 1
                      : (double)r->cached_tokens / (double)r->prompt_tokens);
    else
        rm_jw_null(w, "cached_share");
}

void metrics_queued(struct metrics_role *r, double seconds)
{
    OBSERVE(r->queued, queues, seconds);
}

/* ---- telling ---- */

#define HISTOGRAM(om, h, bounds)                                                                   \
    rm_om_histogram(om, &(struct rm_om_counts){bounds, (h).bucket, RM_COUNT(bounds), (h).sum})

static void write_outcomes(const struct front_metrics *m, struct rm_om *om)
{
    rm_om_family(om, "rolemesh_requests", RM_OM_COUNTER, "",
                 "Model API requests by how they ended.");
    for (uint32_t i = 0; i < m->n; i++)
        for (int o = 0; o < METRICS_OUTCOME_COUNT; o++) {
            rm_om_labels(om, "role", m->role[i].name, "outcome",
                         metrics_outcome_name((enum metrics_outcome)o), NULL);
            rm_om_u64(om, m->role[i].outcome[o]);
        }
    rm_om_family(om, "rolemesh_request_errors", RM_OM_COUNTER, "",
                 "Requests that did not end well, by the code of their error.");
    for (uint32_t i = 0; i < m->n; i++)
        for (int e = 0; e < METRICS_ERROR_COUNT; e++) {
            if (m->role[i].error[e] == 0)
                continue;
            rm_om_labels(om, "role", m->role[i].name, "error_type", codes[e], NULL);
            rm_om_u64(om, m->role[i].error[e]);
        }
}

static void write_tokens(const struct front_metrics *m, struct rm_om *om)
{
    static const char *const types[] = {"prompt", "cached", "completion"};

    rm_om_family(
        om, "rolemesh_tokens", RM_OM_COUNTER, "",
        "Tokens of answered requests, as the engines told; cached ones are of the prompt.");
    for (uint32_t i = 0; i < m->n; i++) {
        const struct metrics_role *r = &m->role[i];
        const uint64_t counts[] = {r->prompt_tokens, r->cached_tokens, r->completion_tokens};

        for (size_t t = 0; t < RM_COUNT(types); t++) {
            rm_om_labels(om, "role", r->name, "type", types[t], NULL);
            rm_om_u64(om, counts[t]);
        }
    }
}

enum work_family { WORK_DURATION, WORK_FIRST, WORK_PACE, WORK_TOKENS };

/* type: gen_ai.token.type, NULL: none. */
static void label_work(struct rm_om *om, const char *role, size_t operation, const char *type)
{
    rm_om_labels(om, "role", role, "gen_ai_operation_name", operation_name(operation),
                 "gen_ai_provider_name", "rolemesh", type != NULL ? "gen_ai_token_type" : NULL,
                 type, NULL);
}

static void write_work_of(const struct metrics_role *r, size_t operation, enum work_family what,
                          struct rm_om *om)
{
    const struct metrics_work *w = &r->work[operation];

    if (w->n == 0)
        return;
    label_work(om, r->name, operation, what == WORK_TOKENS ? "input" : NULL);
    if (what == WORK_DURATION) {
        HISTOGRAM(om, w->duration, durations);
    } else if (what == WORK_FIRST) {
        HISTOGRAM(om, w->first_token, firsts);
    } else if (what == WORK_PACE) {
        HISTOGRAM(om, w->pace, paces);
    } else {
        HISTOGRAM(om, w->input, usages);
        label_work(om, r->name, operation, "output");
        HISTOGRAM(om, w->output, usages);
    }
}

static void write_work(const struct front_metrics *m, struct rm_om *om)
{
    static const struct {
        const char *name, *unit, *help;
    } families[] = {
        [WORK_DURATION] = {"gen_ai_server_request_duration_seconds", "seconds",
                           "First byte read to last written."},
        [WORK_FIRST] = {"gen_ai_server_time_to_first_token_seconds", "seconds",
                        "Request read to first part of the answer."},
        [WORK_PACE] = {"gen_ai_server_time_per_output_token_seconds", "seconds",
                       "Between two tokens of a good stream, on average over its length."},
        [WORK_TOKENS] = {"gen_ai_client_token_usage", "",
                         "Tokens of a request, as its engine told."},
    };

    for (size_t f = 0; f < RM_COUNT(families); f++) {
        rm_om_family(om, families[f].name, RM_OM_HISTOGRAM, families[f].unit, families[f].help);
        for (uint32_t i = 0; i < m->n; i++)
            for (size_t o = 0; o < METRICS_OPERATION_COUNT; o++)
                write_work_of(&m->role[i], o, (enum work_family)f, om);
    }
}

static void write_queued(const struct front_metrics *m, struct rm_om *om)
{
    rm_om_family(om, "rolemesh_queue_seconds", RM_OM_HISTOGRAM, "seconds",
                 "Wait for a host, of requests that got one.");
    for (uint32_t i = 0; i < m->n; i++) {
        rm_om_labels(om, "role", m->role[i].name, NULL);
        HISTOGRAM(om, m->role[i].queued, queues);
    }
}

static void write_one(struct rm_om *om, const char *name, enum rm_om_type type, const char *unit,
                      const char *help, uint64_t value)
{
    rm_om_family(om, name, type, unit, help);
    rm_om_u64(om, value);
}

static void write_own(const struct front_metrics *m, struct rm_om *om)
{
    write_one(om, "rolemesh_redispatches", RM_OM_COUNTER, "",
              "Requests sent to another host after the first was lost.", m->retries);
    write_one(om, "rolemesh_keepalives", RM_OM_COUNTER, "",
              "Signs of life sent to clients that wait.", m->keepalives);
    write_one(om, "rolemesh_local_answers", RM_OM_COUNTER, "",
              "Answers of the gateway itself: lists of models, refusals by the head alone.",
              m->answers_here);
    rm_om_family(om, "rolemesh_local_refusals", RM_OM_COUNTER, "",
                 "Of them, refusals, by the code of their error.");
    for (int e = 0; e < METRICS_ERROR_COUNT; e++)
        if (m->refused_here[e] > 0) {
            rm_om_labels(om, "error_type", codes[e], NULL);
            rm_om_u64(om, m->refused_here[e]);
        }
}

void metrics_write(const struct front_metrics *m, uint32_t active, uint64_t held_bytes,
                   struct rm_om *om)
{
    write_outcomes(m, om);
    write_tokens(m, om);
    write_work(m, om);
    write_queued(m, om);
    write_one(om, "rolemesh_requests_active", RM_OM_GAUGE, "", "Model API requests in flight.",
              active);
    write_one(om, "rolemesh_request_body_bytes", RM_OM_GAUGE, "bytes",
              "Held of the bodies of requests in flight.", held_bytes);
    write_own(m, om);
}
