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

void why_add(struct why *w, const char *id, const char *role, uint64_t queue_ms,
             const struct decision *d)
{
    struct why_entry *e;

    if (d == NULL || (w->ring == NULL && (w->ring = calloc(WHY_MAX, sizeof(*w->ring))) == NULL))
        return;
    e = &w->ring[w->n++ % WHY_MAX];
    rm_text_copy(e->id, sizeof(e->id), id);
    decision_keep(d, &e->decision);
    e->decision.at_ms = rm_wall_ms();
    e->decision.queue_ms = queue_ms;
    rm_text_copy(e->decision.role, sizeof(e->decision.role), role);
}

int why_write(const struct why *w, const struct record *r, uint64_t now_ms, struct rm_buf *out)
{
    uint64_t first = w->n > WHY_MAX ? w->n - WHY_MAX : 0;
    int err = rm_buf_puts(out, "{\"request\":");
    struct rm_jw j;

    if (err == 0)
        err = record_write(r, now_ms, out);
    if (err == 0)
        err = rm_buf_puts(out, ",\"decisions\":");
    j = rm_jw_to(out);
    rm_jw_arr(&j, NULL);
    for (uint64_t i = first; i < w->n; i++)
        if (strcmp(w->ring[i % WHY_MAX].id, r->id) == 0)
            decision_write(&w->ring[i % WHY_MAX].decision, &j);
    rm_jw_end(&j);
    if (err == 0)
        err = rm_jw_done(&j);
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
