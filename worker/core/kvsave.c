/* SPDX-License-Identifier: MIT */
/* worker/core/kvsave.c - see kvsave.h. */
#include "worker/core/kvsave.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/clock.h"
#include "worker/core/kvcache.h"

_Static_assert((int)KVFILE_POINTS_MAX >= (int)KV_CHECKPOINTS_MAX, "all checkpoints have a place");
_Static_assert((int)KVFILE_SEQS_MAX == (int)KVPLAN_ITEMS_MAX, "one item for each sequence");

/* ---- what there is ---- */

struct stock {
    uint32_t n;
    struct kv_view views[KVFILE_SEQS_MAX];
    struct kvfile_seq seqs[KVFILE_SEQS_MAX];
    struct kvplan_item items[KVFILE_SEQS_MAX];
    enum kvplan_verdict verdicts[KVFILE_SEQS_MAX];
};

/* Does another one hold all tokens of sequence i? Of two equal ones the first does. */
static bool is_covered(const struct stock *k, uint32_t i)
{
    const struct kv_view *v = &k->views[i];

    for (uint32_t o = 0; o < k->n; o++) {
        const struct kv_view *other = &k->views[o];

        if (o == i || other->n < v->n || (other->n == v->n && o > i))
            continue;
        if (prefix_common(v->tokens, v->n, other->tokens, other->n) == v->n)
            return true;
    }
    return false;
}

static void take_stock(struct kvcache *kv, struct stock *k)
{
    k->n = kv_sequences(kv);
    for (uint32_t i = 0; i < k->n; i++) {
        struct kvfile_seq *s = &k->seqs[i];

        kv_look(kv, i, &k->views[i]);
        *s = (struct kvfile_seq){.tokens = k->views[i].tokens,
                                 .n_tokens = k->views[i].n,
                                 .n_points = k->views[i].n_points,
                                 .n_state = kv_state_size(kv, i)};
        for (uint32_t p = 0; p < s->n_points; p++)
            s->points[p] =
                (struct kvfile_point){.at = k->views[i].points[p].at, .n = k->views[i].points[p].n};
        k->items[i] = (struct kvplan_item){.tokens = s->n_state > 0 ? s->n_tokens : 0,
                                           .bytes = kvfile_seq_bytes(s),
                                           .last_used = k->views[i].last_used};
    }
    for (uint32_t i = 0; i < k->n && kv_kind(kv) == PREFIX_ATTENTION; i++)
        k->items[i].covered = is_covered(k, i);
}

/* ---- saving ---- */

static void not_done(struct kvsave_report *out, const char *what, int err)
{
    if (err < 0)
        snprintf(out->why, sizeof(out->why), "%s: %s", what, rm_strerror(err));
    else
        snprintf(out->why, sizeof(out->why), "%s", what);
}

/* Why nothing is saved: the verdict of the sequence used last. */
static const char *verdict_of(const struct stock *k)
{
    int best = -1;

    for (uint32_t i = 0; i < k->n; i++)
        if (k->verdicts[i] != KVPLAN_EMPTY &&
            (best < 0 || k->items[i].last_used > k->items[best].last_used))
            best = (int)i;
    return best < 0 ? "nothing is cached" : kvplan_verdict_name(k->verdicts[best]);
}

/* Speeds, room, decision. Returns how many are to be saved, or an error; `out` says why not. */
static int choose(const struct kvsave_order *o, struct stock *k, uint64_t began_ms,
                  struct kvsave_report *out)
{
    struct kvplan_room room = {.most_bytes = o->most_bytes};
    uint64_t sum = 0, all, spent;
    uint32_t n = 0;
    int r;

    for (uint32_t i = 0; i < k->n; i++) {
        n += k->items[i].tokens > 0;
        sum += k->items[i].tokens > 0 && !k->items[i].covered ? k->items[i].bytes : 0;
    }
    out->of = n;
    if (n == 0) {
        not_done(out, "nothing is cached", 0);
        return 0;
    }
    out->speeds.prefill_tps = o->prefill_tps > 0 ? o->prefill_tps : o->earlier_prefill_tps;
    if (o->speeds != NULL)
        out->speeds = *o->speeds;
    else if ((r = kvfile_measure(o->path, sum, &out->speeds.write_bps, &out->speeds.read_bps)) <
             0) {
        not_done(out, "the disk cannot be used", r);
        return r;
    }
    if ((r = kvfile_room(o->path, &room.free_bytes, &all)) < 0) {
        not_done(out, "the disk cannot be used", r);
        return r;
    }
    room.spare_bytes = kvplan_spare(all);
    spent = rm_now_ms() - began_ms;
    room.budget_ms = o->budget_ms > spent ? o->budget_ms - spent : 0;
    if ((n = kvplan_choose(k->items, k->n, &out->speeds, &room, k->verdicts)) == 0)
        not_done(out, verdict_of(k), 0);
    return (int)n;
}

static int write_seq(struct kvcache *kv, struct kvfile_writer *w, uint32_t i, const struct stock *k)
{
    const struct kvfile_seq *s = &k->seqs[i];
    uint8_t *to;
    int r = kvfile_put_seq(w, s);

    if (r < 0)
        return r;
    if ((to = kvfile_place(w, s->n_state)) == NULL ||
        kv_state_get(kv, i, to, s->n_state) != s->n_state)
        return RM_ERR_ENGINE;
    for (uint32_t p = 0; p < s->n_points; p++) {
        if ((to = kvfile_place(w, s->points[p].n)) == NULL)
            return RM_ERR_INTERNAL;
        memcpy(to, k->views[i].points[p].bytes, s->points[p].n);
    }
    return 0;
}

/* The chosen sequence used longest ago that was used after `after`; -1: none. */
static int next_by_age(const struct stock *k, uint64_t after)
{
    int best = -1;

    for (uint32_t i = 0; i < k->n; i++)
        if (k->verdicts[i] == KVPLAN_SAVE && k->items[i].last_used > after &&
            (best < 0 || k->items[i].last_used < k->items[best].last_used))
            best = (int)i;
    return best;
}

static int write_chosen(struct kvcache *kv, struct kvfile_writer *w, const struct stock *k,
                        uint64_t until_ms, struct kvsave_report *out)
{
    int r = 0;

    for (int i = next_by_age(k, 0); r == 0 && i >= 0; i = next_by_age(k, k->items[i].last_used)) {
        if ((r = write_seq(kv, w, (uint32_t)i, k)) == 0 && rm_now_ms() > until_ms)
            r = RM_ERR_DEADLINE;
        out->sequences++;
        out->tokens += k->items[i].tokens;
    }
    return r;
}

static int write_file(struct kvcache *kv, const struct kvsave_order *o, const struct stock *k,
                      uint32_t n, uint64_t until_ms, struct kvsave_report *out)
{
    struct kvfile_facts facts = {
        .prefill_tps = out->speeds.prefill_tps, .saved_s = rm_wall_s(), .n_seqs = n};
    struct kvfile_writer *w;
    int r;

    out->bytes = kvfile_head_bytes();
    for (uint32_t i = 0; i < k->n; i++)
        out->bytes += k->verdicts[i] == KVPLAN_SAVE ? k->items[i].bytes : 0;
    if ((r = kvfile_begin(o->path, o->identity, &facts, out->bytes, &w)) < 0)
        return r;
    if ((r = write_chosen(kv, w, k, until_ms, out)) == 0)
        return kvfile_commit(w);
    kvfile_abandon(w);
    return r;
}

void kvsave_write(struct kvcache *kv, const struct kvsave_order *o, struct kvsave_report *out)
{
    uint64_t began = rm_now_ms();
    struct stock *k = calloc(1, sizeof(*k));
    int r = k == NULL ? UV_ENOMEM : 0;

    *out = (struct kvsave_report){0};
    if (k != NULL) {
        take_stock(kv, k);
        r = choose(o, k, began, out);
    }
    if (r > 0 && (r = write_file(kv, o, k, (uint32_t)r, began + o->budget_ms, out)) == 0)
        out->done = true;
    if (!out->done) {
        out->sequences = 0;
        out->tokens = out->bytes = 0;
        unlink(o->path); /* what an earlier core left is older than what is cached now */
    }
    if (r < 0 && out->why[0] == '\0')
        not_done(out, "not saved", r);
    out->ms = rm_now_ms() - began;
    free(k);
}

/* ---- restoring ---- */

static bool tokens_can_be(const struct kvfile_seq *s, int32_t n_vocab)
{
    for (uint32_t i = 0; i < s->n_tokens; i++)
        if (s->tokens[i] < 0 || s->tokens[i] >= n_vocab)
            return false;
    return true;
}

static bool read_seq(struct kvcache *kv, uint32_t seq, const struct kvfile_seq *s)
{
    if (!tokens_can_be(s, kv_vocabulary(kv)) ||
        !kv_adopt(kv, seq, s->tokens, s->n_tokens, s->state, s->n_state))
        return false;
    for (uint32_t i = 0; i < s->n_points; i++) {
        struct kv_part part = {s->points[i].at, s->points[i].n, s->points[i].bytes};

        kv_adopt_point(kv, seq, &part);
    }
    return true;
}

void kvsave_read(struct kvcache *kv, struct kvfile *f, struct kvsave_report *out)
{
    uint64_t began = rm_now_ms();
    uint32_t seq = 0, most = kv_sequences(kv);
    struct kvfile_seq s;

    *out = (struct kvsave_report){.of = kvfile_facts(f).n_seqs};
    while (seq < most && kvfile_next(f, &s)) {
        if (!read_seq(kv, seq, &s))
            continue;
        seq++;
        out->sequences++;
        out->tokens += s.n_tokens;
        out->bytes += kvfile_seq_bytes(&s);
    }
    out->done = out->sequences > 0;
    if (out->sequences < out->of)
        not_done(out, "not all sequences fit", 0);
    out->ms = rm_now_ms() - began;
}
