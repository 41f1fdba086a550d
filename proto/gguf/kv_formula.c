/* SPDX-License-Identifier: MIT */
/* proto/gguf/kv_formula.c - see kv_formula.h. */
#include "proto/gguf/kv_formula.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum kind { ATTENTION, MAMBA, DELTA_NET, SHORT_CONV, NO_CACHE, SPECIAL };

/* period: every period-th layer sees everything and the others a window, when the file has a window
 * but does not say which layers; negative: it is the first of each group. */
static const struct rule {
    const char *arch;
    enum kind kind;
    int period;
} rules[] = {
    {"afmoe", ATTENTION, 4},
    {"apertus", ATTENTION, 0},
    {"arcee", ATTENTION, 0},
    {"arctic", ATTENTION, 0},
    {"baichuan", ATTENTION, 0},
    {"bailingmoe", ATTENTION, 0},
    {"bailingmoe2", ATTENTION, 0},
    {"bert", NO_CACHE, 0},
    {"bitnet", ATTENTION, 0},
    {"bloom", ATTENTION, 0},
    {"chatglm", ATTENTION, 0},
    {"codeshell", ATTENTION, 0},
    {"cohere2", ATTENTION, 4},
    {"cohere2moe", ATTENTION, -4},
    {"command-r", ATTENTION, 0},
    {"dbrx", ATTENTION, 0},
    {"deepseek", ATTENTION, 0},
    {"deepseek2", ATTENTION, 0},
    {"deepseek32", SPECIAL, 0},
    {"deepseek4", SPECIAL, 0},
    {"dflash", SPECIAL, 0},
    {"dots1", ATTENTION, 0},
    {"dots3note", SPECIAL, 0},
    {"eagle3", SPECIAL, 0},
    {"ernie4_5", ATTENTION, 0},
    {"ernie4_5-moe", ATTENTION, 0},
    {"eurobert", NO_CACHE, 0},
    {"exaone", ATTENTION, 0},
    {"exaone-moe", ATTENTION, 4},
    {"exaone4", ATTENTION, 4},
    {"falcon", ATTENTION, 0},
    {"gemma", ATTENTION, 0},
    {"gemma-embedding", NO_CACHE, 0},
    {"gemma2", ATTENTION, 2},
    {"gemma3", ATTENTION, 6},
    {"gemma3n", ATTENTION, 5},
    {"glm-dsa", SPECIAL, 0},
    {"glm4", ATTENTION, 0},
    {"glm4moe", ATTENTION, 0},
    {"gpt-oss", ATTENTION, 2},
    {"gpt2", ATTENTION, 0},
    {"gptneox", ATTENTION, 0},
    {"granite", ATTENTION, 0},
    {"granitemoe", ATTENTION, 0},
    {"grok", ATTENTION, 0},
    {"grovemoe", ATTENTION, 0},
    {"hunyuan-dense", ATTENTION, 0},
    {"hunyuan-moe", ATTENTION, 0},
    {"hy_v4", SPECIAL, 0},
    {"internlm2", ATTENTION, 0},
    {"jais", ATTENTION, 0},
    {"jina-bert-v2", NO_CACHE, 0},
    {"jina-bert-v3", NO_CACHE, 0},
    {"kimi-k3", SPECIAL, 0},
    {"lfm2", SHORT_CONV, 0},
    {"lfm2moe", SHORT_CONV, 0},
    {"llama", ATTENTION, 0},
    {"mamba", MAMBA, 0},
    {"mamba2", MAMBA, 0},
    {"mellum", ATTENTION, 4},
    {"minicpm", ATTENTION, 0},
    {"minimax-01", SPECIAL, 0},
    {"minimax-m2", ATTENTION, 0},
    {"minimax-m3", SPECIAL, 0},
    {"mistral3", ATTENTION, 0},
    {"modern-bert", NO_CACHE, 0},
    {"mpt", ATTENTION, 0},
    {"nemotron", ATTENTION, 0},
    {"neo-bert", NO_CACHE, 0},
    {"nomic-bert", NO_CACHE, 0},
    {"nomic-bert-moe", NO_CACHE, 0},
    {"olmo", ATTENTION, 0},
    {"olmo2", ATTENTION, 4},
    {"olmoe", ATTENTION, 0},
    {"openelm", ATTENTION, 0},
    {"orion", ATTENTION, 0},
    {"phi2", ATTENTION, 0},
    {"phi3", ATTENTION, 0},
    {"phimoe", ATTENTION, 0},
    {"plamo", ATTENTION, 0},
    {"plamo3", ATTENTION, 8},
    {"qwen", ATTENTION, 0},
    {"qwen2", ATTENTION, 0},
    {"qwen2moe", ATTENTION, 0},
    {"qwen2vl", ATTENTION, 0},
    {"qwen3", ATTENTION, 0},
    {"qwen35", DELTA_NET, 0},
    {"qwen35moe", DELTA_NET, 0},
    {"qwen3moe", ATTENTION, 0},
    {"qwen3next", DELTA_NET, 0},
    {"qwen3vl", ATTENTION, 0},
    {"qwen3vlmoe", ATTENTION, 0},
    {"qwen4exp", SPECIAL, 0},
    {"refact", ATTENTION, 0},
    {"seed_oss", ATTENTION, 0},
    {"smallthinker", ATTENTION, -4},
    {"smollm3", ATTENTION, 0},
    {"stablelm", ATTENTION, 0},
    {"starcoder", ATTENTION, 0},
    {"starcoder2", ATTENTION, 0},
    {"xverse", ATTENTION, 0},
};

/* What one query means for this model. */
struct plan {
    const struct gguf_head *h;
    const struct rule *rule;
    uint64_t cells, window_cells, streams, state; /* state: bytes of a recurrent layer, all slots */
    uint64_t dk, dv, window_dk, window_dv;
    uint32_t window, kv_layers; /* layers from kv_layers on share the KV of others */
    bool q8, latent;
    bool overflow, bad_rows;
};

static uint64_t times(struct plan *p, uint64_t a, uint64_t b)
{
    uint64_t v;

    if (!__builtin_mul_overflow(a, b, &v) && v <= INT64_MAX)
        return v;
    p->overflow = true;
    return 0;
}

static uint64_t plus(struct plan *p, uint64_t a, uint64_t b)
{
    uint64_t v;

    if (!__builtin_add_overflow(a, b, &v) && v <= INT64_MAX)
        return v;
    p->overflow = true;
    return 0;
}

static uint64_t pad(struct plan *p, uint64_t v, uint64_t to)
{
    return plus(p, v, to - 1) / to * to;
}

static uint32_t number(const struct gguf_head *h, enum gguf_number_id id, uint32_t def)
{
    return gguf_number_at(h, id, 0, def);
}

/* Bytes of K or V of one layer. */
static uint64_t layer_bytes(struct plan *p, uint64_t width, uint64_t heads, uint64_t cells)
{
    uint64_t row = times(p, width, heads);

    row = p->q8 ? times(p, row / 32, 34) : times(p, row, 2);
    return pad(p, times(p, times(p, row, cells), p->streams), 32);
}

static bool layer_is_recurrent(const struct plan *p, uint32_t layer)
{
    const struct gguf_number *given = &p->h->numbers[GGUF_RECURRENT_LAYERS];
    uint32_t every = number(p->h, GGUF_FULL_ATTENTION_EVERY, 4);

    switch (p->rule->kind) {
    case MAMBA:
        return true;
    case DELTA_NET:
        if (given->present)
            return gguf_number_at(p->h, GGUF_RECURRENT_LAYERS, layer, 0) != 0;
        return every == 0 || (layer + 1) % every != 0;
    case SHORT_CONV:
        return gguf_number_at(p->h, GGUF_HEADS_KV, layer, 0) == 0;
    default:
        return false;
    }
}

static bool layer_has_window(const struct plan *p, uint32_t layer)
{
    const struct gguf_number *given = &p->h->numbers[GGUF_SWA_PATTERN];
    int64_t period = p->rule->period;

    if (p->window == 0)
        return false;
    if (given->present && given->items > 0)
        return gguf_number_at(p->h, GGUF_SWA_PATTERN, layer, 0) != 0;
    if (given->present)
        period = given->v;
    if (period > 1)
        return layer % period < period - 1;
    return period < 0 && layer % -period != 0;
}

static uint64_t layer_kv(struct plan *p, uint32_t layer)
{
    bool window = layer_has_window(p, layer);
    uint64_t cells = window ? p->window_cells : p->cells, sum;
    uint64_t dk = window ? p->window_dk : p->dk, dv = window ? p->window_dv : p->dv;
    uint64_t heads = p->latent ? 1
                               : gguf_number_at(p->h, GGUF_HEADS_KV, layer,
                                                gguf_number_at(p->h, GGUF_HEADS, layer, 0));

    if (p->q8 && (dk % 32 != 0 || dv % 32 != 0)) /* also of a V that is not kept */
        p->bad_rows = true;
    sum = layer_bytes(p, dk, heads, cells);
    if (!p->latent)
        sum = plus(p, sum, layer_bytes(p, dv, heads, cells));
    return sum;
}

/* ---- from query to plan ---- */

static int cannot(char *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int cannot(char *why, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, KV_WHY_MAX, fmt, ap);
    va_end(ap);
    return RM_ERR_NOT_SUPPORTED;
}

static int find_rule(struct plan *p, char *why)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (strcmp(rules[i].arch, p->h->arch) == 0)
            p->rule = &rules[i];
    if (p->rule == NULL)
        return cannot(why, "architecture %s is not known to the memory formula", p->h->arch);
    if (p->rule->kind == SPECIAL)
        return cannot(why, "architecture %s has a cache of its own kind", p->h->arch);
    return 0;
}

/* Which numbers must be one for all layers, since the formula knows no others. */
static int check_numbers(const struct plan *p, char *why)
{
    const struct gguf_number *n = p->h->numbers;

    if (!n[GGUF_LAYERS].present)
        return cannot(why, "the file has no block_count");
    for (int id = GGUF_BY_LAYER; id <= GGUF_FULL_ATTENTION_EVERY; id++)
        if (n[id].varies)
            return cannot(why, "a length differs by layer");
    for (int id = 0; id < GGUF_BY_LAYER; id++)
        if (n[id].items > 0 && n[id].items < n[GGUF_LAYERS].v)
            return cannot(why, "%u layers, but an array tells only of %u", n[GGUF_LAYERS].v,
                          n[id].items);
    if (n[GGUF_WKV_HEAD].present)
        return cannot(why, "architecture %s has a cache of its own kind", p->h->arch);
    if (n[GGUF_NEXTN].v > n[GGUF_LAYERS].v || n[GGUF_SHARED_KV_LAYERS].v > n[GGUF_LAYERS].v)
        return cannot(why, "more special layers than layers");
    return 0;
}

static int plan_widths(struct plan *p, char *why)
{
    const struct gguf_head *h = p->h;
    uint32_t heads = number(h, GGUF_HEADS, 0), width = number(h, GGUF_WIDTH, 0);
    uint32_t each = heads > 0 ? width / heads : 0;

    p->dk = number(h, GGUF_KEY_LENGTH, each);
    p->dv = number(h, GGUF_VALUE_LENGTH, each);
    p->window_dk = number(h, GGUF_KEY_LENGTH_SWA, (uint32_t)p->dk);
    p->window_dv = number(h, GGUF_VALUE_LENGTH_SWA, (uint32_t)p->dv);
    p->latent = number(h, GGUF_KEY_LENGTH_MLA, 0) > 0;
    if (p->dk == 0 && p->rule->kind != MAMBA && p->rule->kind != NO_CACHE)
        return cannot(why, "the file does not tell the width of a head");
    return 0;
}

/* Convolution and state of a recurrent layer, in 32-bit floats, for every slot. */
static int plan_state(struct plan *p, uint32_t slots, char *why)
{
    const struct gguf_head *h = p->h;
    uint64_t conv = number(h, GGUF_SSM_CONV, 0), inner = number(h, GGUF_SSM_INNER, 0);
    uint64_t state = number(h, GGUF_SSM_STATE, 0), groups = number(h, GGUF_SSM_GROUPS, 0);
    uint64_t shift = number(h, GGUF_SHORTCONV, 0), one;

    if (p->rule->kind != MAMBA && p->rule->kind != DELTA_NET && p->rule->kind != SHORT_CONV)
        return 0;
    if (p->rule->kind == SHORT_CONV ? shift == 0 : conv == 0 || inner == 0 || state == 0)
        return cannot(why, "the file does not tell the size of the recurrent state");
    if (p->rule->kind == SHORT_CONV)
        one = times(p, number(h, GGUF_WIDTH, 0), shift - 1);
    else
        one = plus(p, times(p, conv - 1, plus(p, inner, times(p, 2, times(p, groups, state)))),
                   times(p, state, inner));
    p->state = times(p, times(p, one, 4), slots);
    return 0;
}

static void plan_cells(struct plan *p, const struct kv_query *q)
{
    uint64_t context = q->context, all;
    uint32_t ubatch = q->ubatch > 0 ? q->ubatch : KV_UBATCH;

    if (context == 0)
        context = number(p->h, GGUF_CONTEXT, 0) > 0 ? number(p->h, GGUF_CONTEXT, 0) : 4096;
    all = pad(p, times(p, context, q->slots), 256);
    p->cells = q->unified ? all : pad(p, all / q->slots, 256);
    p->streams = q->unified ? 1 : q->slots;
    p->window = number(p->h, GGUF_SWA_WINDOW, 0);
    p->window_cells = plus(p, times(p, p->window, q->unified ? q->slots : 1), ubatch);
    if (p->window_cells > p->cells || q->swa_full)
        p->window_cells = p->cells;
    p->window_cells = pad(p, p->window_cells, 256);
}

int kv_formula(const struct gguf_head *h, const struct kv_query *q, struct kv_bytes *out, char *why)
{
    struct plan p = {.h = h, .q8 = q->q8};
    uint32_t layers;
    int r;

    *out = (struct kv_bytes){0};
    why[0] = '\0';
    if (q->slots < 1) {
        snprintf(why, KV_WHY_MAX, "slots: expected 1 or more");
        return RM_ERR_FIELD;
    }
    if ((r = find_rule(&p, why)) < 0 || (r = check_numbers(&p, why)) < 0 ||
        (r = plan_widths(&p, why)) < 0 || (r = plan_state(&p, q->slots, why)) < 0)
        return r;
    plan_cells(&p, q);
    layers = h->numbers[GGUF_LAYERS].v - h->numbers[GGUF_NEXTN].v;
    p.kv_layers = h->numbers[GGUF_LAYERS].v - h->numbers[GGUF_SHARED_KV_LAYERS].v;
    for (uint32_t i = 0; i < layers; i++) {
        if (layer_is_recurrent(&p, i))
            out->recurrent = plus(&p, out->recurrent, p.state);
        else if (p.rule->kind != NO_CACHE && i < p.kv_layers)
            out->kv = plus(&p, out->kv, layer_kv(&p, i));
    }
    if (p.bad_rows)
        r = cannot(why, "q8_0 needs heads whose K and V are a multiple of 32 wide");
    else if (p.overflow) {
        snprintf(why, KV_WHY_MAX, "the context is too long to count in bytes");
        r = RM_ERR_FIELD;
    }
    if (r < 0)
        *out = (struct kv_bytes){0};
    return r;
}
