/* SPDX-License-Identifier: MIT */
/* gateway/front/metrics.c - counters to OpenMetrics text. Neighbours: freq.c counts, front.c
 * hands out. Loop thread. */
#include "gateway/front/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/json_write.h"

static const double bounds[METRICS_BUCKETS] = {0.05, 0.1, 0.25, 0.5, 1,   2.5,
                                               5,    10,  30,   60,  300, 1200};

const char *metrics_outcome_name(enum metrics_outcome o)
{
    static const char *const names[] = {
#define METRICS_NAME(name, text) text,
        METRICS_OUTCOMES(METRICS_NAME)
#undef METRICS_NAME
    };
    return names[o];
}

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

void metrics_observe(struct metrics_histogram *h, double seconds)
{
    size_t i = 0;

    while (i < METRICS_BUCKETS && seconds > bounds[i])
        i++;
    h->bucket[i]++;
    h->count++;
    h->sum += seconds;
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
    rm_jw_u64(w, "requests", requests);
    rm_jw_u64(w, "errors",
              r->outcome[OUTCOME_REFUSED] + r->outcome[OUTCOME_FAILED] +
                  r->outcome[OUTCOME_BROKEN]);
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

static void write_outcomes(const struct front_metrics *m, struct rm_buf *out)
{
    rm_buf_puts(out, "# TYPE rolemesh_requests counter\n"
                     "# HELP rolemesh_requests Model API requests by how they ended.\n");
    for (uint32_t i = 0; i < m->n; i++)
        for (int o = 0; o < METRICS_OUTCOME_COUNT; o++)
            rm_buf_printf(out, "rolemesh_requests_total{role=\"%s\",outcome=\"%s\"} %" PRIu64 "\n",
                          m->role[i].name, metrics_outcome_name((enum metrics_outcome)o),
                          m->role[i].outcome[o]);
}

static void write_tokens(const struct front_metrics *m, struct rm_buf *out)
{
    rm_buf_puts(out, "# TYPE rolemesh_tokens counter\n"
                     "# HELP rolemesh_tokens Tokens of answered requests, as the engines told.\n");
    for (uint32_t i = 0; i < m->n; i++) {
        const struct metrics_role *r = &m->role[i];

        rm_buf_printf(out,
                      "rolemesh_tokens_total{role=\"%s\",type=\"prompt\"} %" PRIu64 "\n"
                      "rolemesh_tokens_total{role=\"%s\",type=\"cached\"} %" PRIu64 "\n"
                      "rolemesh_tokens_total{role=\"%s\",type=\"completion\"} %" PRIu64 "\n",
                      r->name, r->prompt_tokens, r->name, r->cached_tokens, r->name,
                      r->completion_tokens);
    }
}

static void write_histogram(const struct front_metrics *m, size_t offset, const char *name,
                            const char *help, struct rm_buf *out)
{
    rm_buf_printf(out, "# TYPE %s histogram\n# UNIT %s seconds\n# HELP %s %s\n", name, name, name,
                  help);
    for (uint32_t i = 0; i < m->n; i++) {
        const struct metrics_role *r = &m->role[i];
        const struct metrics_histogram *h =
            (const struct metrics_histogram *)(const void *)((const char *)r + offset);
        uint64_t sum = 0;

        for (size_t b = 0; b < METRICS_BUCKETS; b++) {
            sum += h->bucket[b];
            rm_buf_printf(out, "%s_bucket{role=\"%s\",le=\"%g\"} %" PRIu64 "\n", name, r->name,
                          bounds[b], sum);
        }
        rm_buf_printf(out,
                      "%s_bucket{role=\"%s\",le=\"+Inf\"} %" PRIu64 "\n"
                      "%s_count{role=\"%s\"} %" PRIu64 "\n%s_sum{role=\"%s\"} %.6f\n",
                      name, r->name, h->count, name, r->name, h->count, name, r->name, h->sum);
    }
}

int metrics_write(const struct front_metrics *m, uint32_t active, uint64_t held_bytes,
                  struct rm_buf *out)
{
    write_outcomes(m, out);
    write_tokens(m, out);
    write_histogram(m, offsetof(struct metrics_role, first_token),
                    "gen_ai_server_time_to_first_token_seconds",
                    "Request read to first part of the answer.", out);
    write_histogram(m, offsetof(struct metrics_role, duration),
                    "gen_ai_server_request_duration_seconds", "First byte read to last written.",
                    out);
    write_histogram(m, offsetof(struct metrics_role, queued), "rolemesh_queue_seconds",
                    "Wait for a host.", out);
    return rm_buf_printf(
        out,
        "# TYPE rolemesh_requests_active gauge\nrolemesh_requests_active %" PRIu32 "\n"
        "# TYPE rolemesh_request_body_bytes gauge\n# UNIT rolemesh_request_body_bytes bytes\n"
        "rolemesh_request_body_bytes %" PRIu64 "\n"
        "# TYPE rolemesh_redispatches counter\nrolemesh_redispatches_total %" PRIu64 "\n"
        "# TYPE rolemesh_keepalives counter\nrolemesh_keepalives_total %" PRIu64 "\n"
        "# TYPE rolemesh_local_answers counter\nrolemesh_local_answers_total %" PRIu64 "\n",
        active, held_bytes, m->retries, m->keepalives, m->answers_here);
}
