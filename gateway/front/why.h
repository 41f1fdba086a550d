/* SPDX-License-Identifier: MIT */
/* gateway/front/why.h - the decisions on recent requests: a ring of fixed size that each lease
 * writes one place of. Nothing is allocated after the first. Loop thread. */
#ifndef RM_FRONT_WHY_H
#define RM_FRONT_WHY_H

#include "gateway/front/record.h"
#include "gateway/route/decision.h"

enum { WHY_MAX = 512 };

struct why {
    struct why_entry {
        char id[RECORD_ID_MAX]; /* of the request */
        struct decision_record decision;
    } * ring; /* WHY_MAX of them; NULL: nothing was decided yet */
    uint64_t n;
};

void why_clear(struct why *w);

/* Returns its number, to be kept in the record, or 0. One more decision on a request, which had
 * waited so long for it. d NULL: nothing is added. */
uint64_t why_add(struct why *w, const char *id, const char *role, uint64_t queue_ms,
                 const struct decision *d);

/* The decisions that the record names, to be freed; NULL: none, or no memory. */
struct why_copy *why_copy(const struct why *w, const struct record *r);
/* Appends it as a JSON array (NULL: an empty one). Any thread. Returns as rm_buf_put. */
int why_copy_write(const struct why_copy *c, struct rm_buf *out);

/* What was changed for the engine, as a JSON array. Static. */
const char *why_rewrites(const struct record *r);

/* All that the ring holds, to be freed; NULL: no memory. */
struct why_list *why_copy_all(const struct why *w);
/* Appends it as a JSON array (proto/openapi.yaml: RecentDecision), the newest first. Any thread.
 * Returns as rm_buf_put. */
int why_list_write(const struct why_list *l, struct rm_buf *out);

/* Appends {"request":...,"decisions":[...],"rewrites":[...]}, oldest first. Returns as rm_buf_put.
 */
int why_write(const struct why *w, const struct record *r, uint64_t now_ms, struct rm_buf *out);

#endif
