/* SPDX-License-Identifier: MIT */
/* worker/core/prefix.c - see prefix.h. */
#include "prefix.h"

#include <assert.h>

enum {
    STOP_STEP = 256,      /* tokens between checkpoints at least */
    STOPS_PER_PROMPT = 8, /* more than that many are not aimed at */
};

uint32_t prefix_common(const int32_t *a, uint32_t n_a, const int32_t *b, uint32_t n_b)
{
    uint32_t n = n_a < n_b ? n_a : n_b, i = 0;

    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* May the sequence be cut to `keep` tokens without a checkpoint? */
static bool may_cut(enum prefix_kind kind, uint32_t n_swa, const struct prefix_source *s,
                    uint32_t keep)
{
    if (keep == s->n || kind == PREFIX_ATTENTION)
        return true;
    if (kind == PREFIX_STATE)
        return false;
    return s->pos_min <= (keep > n_swa ? (int32_t)(keep - n_swa) : 0);
}

struct prefix_hit prefix_match(enum prefix_kind kind, uint32_t n_swa,
                               const struct prefix_source *source, const int32_t *prompt,
                               uint32_t n_prompt)
{
    struct prefix_hit hit = {0, -1};
    uint32_t common;

    assert(n_prompt > 0);
    if (source->n == 0 || source->pos_min < 0)
        return hit;
    common = prefix_common(source->tokens, source->n, prompt, n_prompt - 1);
    if (may_cut(kind, n_swa, source, common)) {
        hit.keep = common;
        return hit;
    }
    for (uint32_t i = 0; i < source->n_checkpoints && source->checkpoints[i] <= common; i++) {
        hit.keep = source->checkpoints[i];
        hit.checkpoint = (int)i;
    }
    return hit;
}

int prefix_choose(enum prefix_kind kind, uint32_t n_swa, const struct prefix_source *sources,
                  uint32_t n_sources, const int32_t *prompt, uint32_t n_prompt,
                  struct prefix_hit *hit)
{
    int best = -1;

    *hit = (struct prefix_hit){0, -1};
    for (uint32_t i = 0; i < n_sources; i++) {
        const struct prefix_source *s = &sources[i], *b = best >= 0 ? &sources[best] : NULL;
        struct prefix_hit h = prefix_match(kind, n_swa, s, prompt, n_prompt);

        if (h.keep == 0 || h.keep < hit->keep)
            continue;
        if (b != NULL && h.keep == hit->keep &&
            (s->busy > b->busy || (s->busy == b->busy && s->last_used <= b->last_used)))
            continue;
        best = (int)i;
        *hit = h;
    }
    return best;
}

int prefix_place(const struct prefix_source *sources, uint32_t n_sources, int from, uint32_t keep)
{
    int best = -1;

    if (from >= 0 && !sources[from].busy && keep >= sources[from].n / 2)
        return from;
    for (uint32_t i = 0; i < n_sources; i++) {
        if (sources[i].busy)
            continue;
        if (best < 0 || (sources[i].n == 0) > (sources[best].n == 0) ||
            ((sources[i].n == 0) == (sources[best].n == 0) &&
             sources[i].last_used < sources[best].last_used))
            best = (int)i;
    }
    return best;
}

uint32_t prefix_next_stop(enum prefix_kind kind, uint32_t done, uint32_t n_prompt)
{
    uint32_t step = n_prompt / STOPS_PER_PROMPT, next;

    if (kind == PREFIX_ATTENTION || done + 1 >= n_prompt)
        return n_prompt;
    step = step <= STOP_STEP ? STOP_STEP : (step + STOP_STEP - 1) / STOP_STEP * STOP_STEP;
    next = (done / step + 1) * step;
    return next < n_prompt - 1 ? next : n_prompt - 1;
}

uint32_t prefix_thin(const uint32_t *checkpoints, uint32_t n)
{
    uint32_t best = 0, gap = UINT32_MAX;

    assert(n >= 2);
    for (uint32_t i = 0; i + 1 < n; i++) {
        uint32_t g = checkpoints[i + 1] - (i > 0 ? checkpoints[i - 1] : 0);

        if (g < gap) {
            gap = g;
            best = i;
        }
    }
    return best;
}
