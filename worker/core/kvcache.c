/* SPDX-License-Identifier: MIT */
/* worker/core/kvcache.c - see kvcache.h. */
#include "kvcache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "llama.h"
#include "proto/base/log.h"
#include "worker/core/shim.h"

/* The saved state, shared by the sequences that have it as their prefix. */
struct checkpoint {
    uint32_t refs;
    size_t n;
    uint8_t bytes[];
};

struct kv_seq {
    int32_t *tokens; /* owned; room for n_max */
    uint32_t n;
    bool busy;
    uint64_t last_used;
    uint32_t at[KV_CHECKPOINTS_MAX]; /* ascending */
    struct checkpoint *points[KV_CHECKPOINTS_MAX];
    uint32_t n_points;
};

struct kvcache {
    struct llama_context *ctx;
    llama_memory_t memory;
    enum prefix_kind kind;
    uint32_t n_swa, n_max, n_seqs;
    uint64_t uses;           /* the clock of last_used */
    size_t checkpoint_bytes; /* of all checkpoints */
    struct kv_seq *seqs;
    struct prefix_source *sources; /* scratch */
};

enum prefix_kind kv_kind_of(const struct llama_model *model)
{
    if (llama_model_is_recurrent(model) || llama_model_is_hybrid(model))
        return PREFIX_STATE;
    return llama_model_n_swa(model) > 0 ? PREFIX_WINDOW : PREFIX_ATTENTION;
}

int kv_new(struct llama_context *ctx, uint32_t n, uint32_t n_tokens, struct kvcache **out)
{
    const struct llama_model *model = llama_get_model(ctx);
    struct kvcache *kv = calloc(1, sizeof(*kv));

    *out = NULL;
    if (kv == NULL)
        return UV_ENOMEM;
    kv->ctx = ctx;
    kv->memory = llama_get_memory(ctx);
    kv->kind = kv_kind_of(model);
    kv->n_swa = (uint32_t)llama_model_n_swa(model);
    kv->n_max = n_tokens;
    kv->n_seqs = n;
    kv->seqs = calloc(n, sizeof(*kv->seqs));
    kv->sources = calloc(n, sizeof(*kv->sources));
    for (uint32_t i = 0; kv->seqs != NULL && i < n; i++)
        kv->seqs[i].tokens = calloc(n_tokens, sizeof(int32_t));
    for (uint32_t i = 0; i < n; i++) {
        if (kv->seqs == NULL || kv->sources == NULL || kv->seqs[i].tokens == NULL) {
            kv_free(kv);
            return UV_ENOMEM;
        }
    }
    *out = kv;
    return 0;
}

/* ---- checkpoints ---- */

static void point_unref(struct kvcache *kv, struct checkpoint *p)
{
    if (--p->refs > 0)
        return;
    kv->checkpoint_bytes -= p->n;
    free(p);
}

static void point_remove(struct kvcache *kv, struct kv_seq *s, uint32_t i)
{
    point_unref(kv, s->points[i]);
    s->n_points--;
    memmove(&s->points[i], &s->points[i + 1], (s->n_points - i) * sizeof(s->points[0]));
    memmove(&s->at[i], &s->at[i + 1], (s->n_points - i) * sizeof(s->at[0]));
}

/* Drops checkpoints behind `keep` tokens. */
static void points_cut(struct kvcache *kv, struct kv_seq *s, uint32_t keep)
{
    while (s->n_points > 0 && s->at[s->n_points - 1] > keep)
        point_remove(kv, s, s->n_points - 1);
}

static void points_share(struct kv_seq *to, const struct kv_seq *from, uint32_t keep)
{
    for (uint32_t i = 0; i < from->n_points && from->at[i] <= keep; i++) {
        to->at[i] = from->at[i];
        to->points[i] = from->points[i];
        to->points[i]->refs++;
        to->n_points++;
    }
}

/* Makes room for `more` bytes by dropping checkpoints of idle sequences, the one unused longest
 * first. */
static bool points_make_room(struct kvcache *kv, size_t more)
{
    while (kv->checkpoint_bytes + more > KV_CHECKPOINT_BYTES_MAX) {
        struct kv_seq *oldest = NULL;

        for (uint32_t i = 0; i < kv->n_seqs; i++) {
            struct kv_seq *s = &kv->seqs[i];

            if (!s->busy && s->n_points > 0 && (oldest == NULL || s->last_used < oldest->last_used))
                oldest = s;
        }
        if (oldest == NULL)
            return false;
        point_remove(kv, oldest, 0);
    }
    return true;
}

void kv_checkpoint(struct kvcache *kv, uint32_t seq)
{
    struct kv_seq *s = &kv->seqs[seq];
    struct checkpoint *p;
    size_t n;

    if (kv->kind == PREFIX_ATTENTION || s->n == 0 ||
        (s->n_points > 0 && s->at[s->n_points - 1] >= s->n))
        return;
    n = shim_state_size(kv->ctx, (llama_seq_id)seq);
    if (n == 0 || n > KV_CHECKPOINT_BYTES_MAX)
        return;
    if (s->n_points == KV_CHECKPOINTS_MAX)
        point_remove(kv, s, prefix_thin(s->at, s->n_points));
    if (!points_make_room(kv, n) || (p = malloc(sizeof(*p) + n)) == NULL)
        return;
    if (shim_state_get(kv->ctx, p->bytes, n, (llama_seq_id)seq) != n) {
        free(p);
        return;
    }
    p->refs = 1;
    p->n = n;
    kv->checkpoint_bytes += n;
    s->at[s->n_points] = s->n;
    s->points[s->n_points++] = p;
}

uint32_t kv_next_stop(const struct kvcache *kv, uint32_t seq, uint32_t n_prompt)
{
    return prefix_next_stop(kv->kind, kv->seqs[seq].n, n_prompt);
}

/* ---- sequences ---- */

void kv_drop(struct kvcache *kv, uint32_t seq)
{
    struct kv_seq *s = &kv->seqs[seq];

    llama_memory_seq_rm(kv->memory, (llama_seq_id)seq, -1, -1);
    points_cut(kv, s, 0);
    s->n = 0;
}

bool kv_drop_oldest(struct kvcache *kv)
{
    int oldest = -1;

    for (uint32_t i = 0; i < kv->n_seqs; i++) {
        const struct kv_seq *s = &kv->seqs[i];

        if (!s->busy && s->n > 0 && (oldest < 0 || s->last_used < kv->seqs[oldest].last_used))
            oldest = (int)i;
    }
    if (oldest < 0)
        return false;
    kv_drop(kv, (uint32_t)oldest);
    return true;
}

void kv_free(struct kvcache *kv)
{
    if (kv == NULL)
        return;
    for (uint32_t i = 0; kv->seqs != NULL && i < kv->n_seqs; i++) {
        points_cut(kv, &kv->seqs[i], 0);
        free(kv->seqs[i].tokens);
    }
    free(kv->seqs);
    free(kv->sources);
    free(kv);
}

static void fill_sources(struct kvcache *kv)
{
    for (uint32_t i = 0; i < kv->n_seqs; i++) {
        const struct kv_seq *s = &kv->seqs[i];

        kv->sources[i] = (struct prefix_source){
            .tokens = s->tokens,
            .n = s->n,
            .pos_min = llama_memory_seq_pos_min(kv->memory, (llama_seq_id)i),
            .checkpoints = s->at,
            .n_checkpoints = s->n_points,
            .busy = s->busy,
            .last_used = s->last_used,
        };
    }
}

/* Brings `to` to exactly hit.keep tokens, from its own cells or from those of `from`. False:
 * libllama's memory did not come out as the rule demands. */
static bool take_over(struct kvcache *kv, uint32_t to, uint32_t from, struct prefix_hit hit)
{
    struct kv_seq *t = &kv->seqs[to];
    const struct kv_seq *f = &kv->seqs[from];
    llama_seq_id id = (llama_seq_id)to;

    if (to != from) {
        kv_drop(kv, to);
        llama_memory_seq_cp(kv->memory, (llama_seq_id)from, id, 0, (llama_pos)hit.keep);
        points_share(t, f, hit.keep);
        memcpy(t->tokens, f->tokens, hit.keep * sizeof(*t->tokens));
    }
    if (hit.checkpoint >= 0) {
        const struct checkpoint *p = f->points[hit.checkpoint];

        if (shim_state_set(kv->ctx, p->bytes, p->n, id) != p->n)
            return false;
    }
    if (!llama_memory_seq_rm(kv->memory, id, (llama_pos)hit.keep, -1))
        return false;
    points_cut(kv, t, hit.keep);
    t->n = hit.keep;
    if (llama_memory_seq_pos_max(kv->memory, id) != (llama_pos)hit.keep - 1)
        return false;
    /* What token `keep` looks at must be there. Of a sequence that is kept whole, libllama gives
     * older cells away as soon as another one needs room; so not one more can be asked for. */
    return kv->kind != PREFIX_WINDOW ||
           llama_memory_seq_pos_min(kv->memory, id) <=
               (hit.keep >= kv->n_swa ? (llama_pos)(hit.keep + 1 - kv->n_swa) : 0);
}

int kv_claim(struct kvcache *kv, const int32_t *prompt, uint32_t n_prompt, bool reuse,
             uint32_t *seq, uint32_t *keep)
{
    struct prefix_hit hit = {0, -1};
    int from = -1, to;

    assert(n_prompt >= 1 && n_prompt <= kv->n_max);
    fill_sources(kv);
    if (reuse)
        from = prefix_choose(kv->kind, kv->n_swa, kv->sources, kv->n_seqs, prompt, n_prompt, &hit);
    if ((to = prefix_place(kv->sources, kv->n_seqs, from, hit.keep)) < 0)
        return RM_ERR_OVERLOAD;
    *seq = (uint32_t)to;
    *keep = hit.keep;
    if (from < 0) {
        kv_drop(kv, *seq);
    } else if (!take_over(kv, *seq, (uint32_t)from, hit)) {
        rm_warn("core", "a cached prefix could not be taken over", RM_U("tokens", hit.keep));
        kv_drop(kv, *seq);
        *keep = 0;
    }
    kv->seqs[to].busy = true;
    kv->seqs[to].last_used = ++kv->uses;
    return 0;
}

void kv_return(struct kvcache *kv, uint32_t seq)
{
    assert(kv->seqs[seq].busy);
    kv->seqs[seq].busy = false;
    kv->seqs[seq].last_used = ++kv->uses;
}

void kv_note(struct kvcache *kv, uint32_t seq, const int32_t *tokens, uint32_t n)
{
    struct kv_seq *s = &kv->seqs[seq];

    assert(s->n + n <= kv->n_max);
    memcpy(s->tokens + s->n, tokens, n * sizeof(*tokens));
    s->n += n;
}

void kv_rewind(struct kvcache *kv, uint32_t seq)
{
    llama_seq_id id = (llama_seq_id)seq;
    llama_pos n = (llama_pos)kv->seqs[seq].n;

    if (kv->kind != PREFIX_ATTENTION || !llama_memory_seq_rm(kv->memory, id, n, -1) ||
        llama_memory_seq_pos_max(kv->memory, id) != n - 1)
        kv_drop(kv, seq);
}

uint32_t kv_length(const struct kvcache *kv, uint32_t seq)
{
    return kv->seqs[seq].n;
}

/* ---- parts of a sequence ---- */

uint32_t kv_sequences(const struct kvcache *kv)
{
    return kv->n_seqs;
}

enum prefix_kind kv_kind(const struct kvcache *kv)
{
    return kv->kind;
}

int32_t kv_vocabulary(const struct kvcache *kv)
{
    return llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(kv->ctx)));
}

void kv_look(const struct kvcache *kv, uint32_t seq, struct kv_view *out)
{
    const struct kv_seq *s = &kv->seqs[seq];

    *out = (struct kv_view){
        .tokens = s->tokens, .n = s->n, .last_used = s->last_used, .n_points = s->n_points};
    for (uint32_t i = 0; i < s->n_points; i++)
        out->points[i] = (struct kv_part){s->at[i], s->points[i]->n, s->points[i]->bytes};
}

size_t kv_state_size(struct kvcache *kv, uint32_t seq)
{
    return kv->seqs[seq].n > 0 ? shim_seq_size(kv->ctx, (llama_seq_id)seq) : 0;
}

size_t kv_state_get(struct kvcache *kv, uint32_t seq, uint8_t *to, size_t n)
{
    return shim_seq_get(kv->ctx, to, n, (llama_seq_id)seq);
}

bool kv_adopt(struct kvcache *kv, uint32_t seq, const int32_t *tokens, uint32_t n,
              const uint8_t *state, size_t n_state)
{
    struct kv_seq *s = &kv->seqs[seq];
    llama_seq_id id = (llama_seq_id)seq;

    assert(!s->busy);
    kv_drop(kv, seq);
    if (n == 0 || n > kv->n_max)
        return false;
    if (shim_seq_set(kv->ctx, state, n_state, id) != n_state ||
        llama_memory_seq_pos_max(kv->memory, id) != (llama_pos)n - 1) {
        kv_drop(kv, seq);
        return false;
    }
    memcpy(s->tokens, tokens, n * sizeof(*tokens));
    s->n = n;
    s->last_used = ++kv->uses;
    return true;
}

void kv_adopt_point(struct kvcache *kv, uint32_t seq, const struct kv_part *part)
{
    struct kv_seq *s = &kv->seqs[seq];
    struct checkpoint *p;

    if (kv->kind == PREFIX_ATTENTION || part->at == 0 || part->at > s->n ||
        s->n_points == KV_CHECKPOINTS_MAX ||
        (s->n_points > 0 && s->at[s->n_points - 1] >= part->at) ||
        part->n > KV_CHECKPOINT_BYTES_MAX - kv->checkpoint_bytes ||
        (p = malloc(sizeof(*p) + part->n)) == NULL)
        return;
    p->refs = 1;
    p->n = part->n;
    memcpy(p->bytes, part->bytes, part->n);
    kv->checkpoint_bytes += p->n;
    s->at[s->n_points] = part->at;
    s->points[s->n_points++] = p;
}

uint64_t kv_tokens(const struct kvcache *kv, bool busy_only)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < kv->n_seqs; i++)
        sum += !busy_only || kv->seqs[i].busy ? kv->seqs[i].n : 0;
    return sum;
}
