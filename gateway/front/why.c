/* SPDX-License-Identifier: MIT */
#include "gateway/front/why.h"

#include <stdlib.h>

#include "proto/base/clock.h"
#include "proto/base/json_write.h"

void why_clear(struct why *w)
{
    free(w->ring);
    *w = (struct why){.ring = NULL};
}

uint64_t why_add(struct why *w, const char *id, const char *role, uint64_t queue_ms,
                 const struct decision *d)
{
    struct why_entry *e;

    if (d == NULL || (w->ring == NULL && (w->ring = calloc(WHY_MAX, sizeof(*w->ring))) == NULL))
        return 0;
    e = &w->ring[w->n++ % WHY_MAX];
    rm_text_copy(e->id, sizeof(e->id), id);
    decision_keep(d, &e->decision);
    e->decision.at_ms = rm_wall_ms();
    e->decision.queue_ms = queue_ms;
    rm_text_copy(e->decision.role, sizeof(e->decision.role), role);
    return w->n;
}

int why_write_decisions(const struct why *w, const struct record *r, struct rm_buf *out)
{
    struct rm_jw j = rm_jw_to(out);

    rm_jw_arr(&j, NULL);
    for (size_t i = 0; i < RM_COUNT(r->decision); i++) {
        const struct why_entry *e;

        if (r->decision[i] == 0 || w->n - r->decision[i] >= WHY_MAX)
            continue; /* another one has its place by now */
        e = &w->ring[(r->decision[i] - 1) % WHY_MAX];
        if (strcmp(e->id, r->id) == 0)
            decision_write(&e->decision, &j);
    }
    rm_jw_end(&j);
    return rm_jw_done(&j);
}

int why_write(const struct why *w, const struct record *r, uint64_t now_ms, struct rm_buf *out)
{
    int err = rm_buf_puts(out, "{\"request\":");
    struct rm_jw j;

    if (err == 0)
        err = record_write(r, now_ms, out);
    if (err == 0)
        err = rm_buf_puts(out, ",\"decisions\":");
    if (err == 0)
        err = why_write_decisions(w, r, out);
    if (err == 0)
        err = rm_buf_puts(out, ",\"rewrites\":");
    j = rm_jw_to(out);
    rm_jw_arr(&j, NULL);
    if (r->renamed)
        rm_jw_str(&j, NULL, "model: the engine's own name");
    if (r->bounded)
        rm_jw_str(&j, NULL, "a token bound was lowered to the context");
    rm_jw_end(&j);
    if (err == 0)
        err = rm_jw_done(&j);
    return err == 0 ? rm_buf_puts(out, "}") : err;
}
