/* SPDX-License-Identifier: MIT */
/* proto/base/om.h - metrics as text for a collector, written family by family.
 * Two forms of the same figures: OpenMetrics 1.0 (application/openmetrics-text), and the text
 * format 0.0.4 of Prometheus (text/plain) for tools that read only that (`promtool check metrics`).
 * They differ in how counters and infos are called in comments, in UNIT lines, and in the end mark.
 * A family begins with rm_om_family and holds all its samples; rm_om_labels says the labels of
 * those that follow. Names and units are literals of ours; values of labels may come from
 * elsewhere: they are escaped, and what would break a line (control bytes, bytes that are not
 * UTF-8) is replaced. The first error sticks and is returned by rm_om_end. Not shared between
 * threads. */
#ifndef RM_BASE_OM_H
#define RM_BASE_OM_H

#include "proto/base/buf.h"

enum { RM_OM_LABELS_MAX = 4096 };

enum rm_om_type {
    RM_OM_GAUGE,
    RM_OM_COUNTER,       /* samples are called NAME_total */
    RM_OM_INFO,          /* NAME_info, value 1 */
    RM_OM_SUMMARY,       /* NAME_count, NAME_sum */
    RM_OM_HISTOGRAM,     /* rm_om_histogram */
    RM_OM_GAUGEHISTOGRAM /* the same; counts may fall */
};

struct rm_om {
    struct rm_buf *out;
    bool classic; /* the text format 0.0.4 */
    int err;
    enum rm_om_type type;
    const char *name;     /* of the family */
    struct rm_buf labels; /* as written between the braces */
};

/* An upper bound of a bucket: its value, and its text as both formats want it ("1.0", "1e+06"). */
struct rm_om_bound {
    double value;
    const char *text;
};

/* A histogram as it is held: not cumulative; bucket[n] is +Inf. */
struct rm_om_counts {
    const struct rm_om_bound *bounds; /* n of them, rising */
    const uint64_t *bucket;           /* n + 1 */
    size_t n;
    double sum;
};

#define RM_OM_TYPE      "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define RM_OM_TYPE_TEXT "text/plain; version=0.0.4; charset=utf-8"

/* Does an Accept header ask for the text format? Only when it names text/plain and not
 * application/openmetrics-text; whoever says nothing gets OpenMetrics. */
bool rm_om_wants_classic(struct rm_slice accept);

void rm_om_begin(struct rm_om *m, struct rm_buf *out, bool classic);

/* unit: "" or what the name ends with ("seconds"). No labels stand until rm_om_labels. */
void rm_om_family(struct rm_om *m, const char *name, enum rm_om_type type, const char *unit,
                  const char *help);

/* The labels of the samples that follow: name, value, ..., NULL. */
void rm_om_labels(struct rm_om *m, ...) __attribute__((sentinel));

/* One sample. _dbl: what is not finite is written as NaN. */
void rm_om_u64(struct rm_om *m, uint64_t value);
void rm_om_dbl(struct rm_om *m, double value);
void rm_om_summary(struct rm_om *m, uint64_t count, double sum);
void rm_om_histogram(struct rm_om *m, const struct rm_om_counts *c);

/* The bucket of a value. */
size_t rm_om_bucket(const struct rm_om_bound *bounds, size_t n, double value);

/* The end mark. Returns 0, or the first error: as rm_buf_put, RM_ERR_TOO_BIG: labels too long. */
RM_MUST_USE int rm_om_end(struct rm_om *m);

#endif
