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

struct why_copy {
    size_t n;
    struct decision_record decision[2];
};

/* NULL: another one has its place by now. */
static const struct decision_record *find(const struct why *w, const struct record *r, size_t i)
{
    const struct why_entry *e;

    if (r->decision[i] == 0 || w->n - r->decision[i] >= WHY_MAX)
        return NULL;
    e = &w->ring[(r->decision[i] - 1) % WHY_MAX];
    return strcmp(e->id, r->id) == 0 ? &e->decision : NULL;
}

struct why_copy *why_copy(const struct why *w, const struct record *r)
{
    const struct decision_record *d[2] = {find(w, r, 0), find(w, r, 1)};
    size_t n = (d[0] != NULL) + (d[1] != NULL);
    struct why_copy *c;

    if (n == 0 || (c = malloc(offsetof(struct why_copy, decision) + n * sizeof(*d[0]))) == NULL)
        return NULL;
    c->n = 0;
    for (size_t i = 0; i < 2; i++)
        if (d[i] != NULL)
            c->decision[c->n++] = *d[i];
    return c;
}

int why_copy_write(const struct why_copy *c, struct rm_buf *out)
{
    struct rm_jw j = rm_jw_to(out);

    rm_jw_arr(&j, NULL);
    for (size_t i = 0; c != NULL && i < c->n; i++)
        decision_write(&c->decision[i], NULL, &j);
    rm_jw_end(&j);
    return rm_jw_done(&j);
}

const char *why_rewrites(const struct record *r)
{
#define RENAMED "\"model: the engine's own name\""
#define BOUNDED "\"a token bound was lowered to the context\""
    static const char *const texts[] = {"[]", "[" RENAMED "]", "[" BOUNDED "]",
                                        "[" RENAMED "," BOUNDED "]"};

    return texts[(r->renamed ? 1 : 0) | (r->bounded ? 2 : 0)];
}

struct why_list {
    size_t n;
    struct why_entry v[];
};

struct why_list *why_copy_all(const struct why *w)
{
    size_t n = w->n < WHY_MAX ? (size_t)w->n : WHY_MAX;
    struct why_list *l = malloc(sizeof *l + n * sizeof l->v[0]);

    if (l == NULL)
        return NULL;
    l->n = n;
    for (size_t i = 0; i < n; i++)
        l->v[i] = w->ring[(w->n - 1 - i) % WHY_MAX];
    return l;
}

int why_list_write(const struct why_list *l, struct rm_buf *out)
{
    struct rm_jw j = rm_jw_to(out);

    rm_jw_arr(&j, NULL);
    for (size_t i = 0; i < l->n; i++)
        decision_write(&l->v[i].decision, l->v[i].id, &j);
    rm_jw_end(&j);
    return rm_jw_done(&j);
}

int why_write(const struct why *w, const struct record *r, uint64_t now_ms, struct rm_buf *out)
{
    int err = rm_buf_puts(out, "{\"request\":");
    struct why_copy *copy;

    if (err == 0)
        err = record_write(r, now_ms, out);
    if (err == 0)
        err = rm_buf_puts(out, ",\"decisions\":");
    copy = why_copy(w, r);
    if (err == 0)
        err = why_copy_write(copy, out);
    free(copy);
    if (err == 0)
        err = rm_buf_puts(out, ",\"rewrites\":");
    if (err == 0)
        err = rm_buf_puts(out, why_rewrites(r));
    return err == 0 ? rm_buf_puts(out, "}") : err;
}
