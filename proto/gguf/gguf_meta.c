/* SPDX-License-Identifier: MIT */
/* proto/gguf/gguf_meta.c - what the keys of a model file say: architecture, name, the numbers
 * that the memory formula needs, and whether they fit together. Called by gguf.c key by key. The
 * keys are those of llama.cpp (gguf-py's constants). */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/json_write.h"
#include "proto/gguf/gguf_parts.h"

enum { DIVISOR_MAX = 65536, EXPERTS_MAX = 65536 };

/* In the order of enum gguf_number_id. */
static const char *const number_names[GGUF_NUMBERS] = {
    [GGUF_HEADS] = "attention.head_count",
    [GGUF_HEADS_KV] = "attention.head_count_kv",
    [GGUF_SWA_PATTERN] = "attention.sliding_window_pattern",
    [GGUF_RECURRENT_LAYERS] = "attention.recurrent_layers",
    [GGUF_LAYERS] = "block_count",
    [GGUF_CONTEXT] = "context_length",
    [GGUF_WIDTH] = "embedding_length",
    [GGUF_NEXTN] = "nextn_predict_layers",
    [GGUF_KEY_LENGTH] = "attention.key_length",
    [GGUF_VALUE_LENGTH] = "attention.value_length",
    [GGUF_KEY_LENGTH_SWA] = "attention.key_length_swa",
    [GGUF_VALUE_LENGTH_SWA] = "attention.value_length_swa",
    [GGUF_KEY_LENGTH_MLA] = "attention.key_length_mla",
    [GGUF_SWA_WINDOW] = "attention.sliding_window",
    [GGUF_SHARED_KV_LAYERS] = "attention.shared_kv_layers",
    [GGUF_SSM_CONV] = "ssm.conv_kernel",
    [GGUF_SSM_INNER] = "ssm.inner_size",
    [GGUF_SSM_STATE] = "ssm.state_size",
    [GGUF_SSM_GROUPS] = "ssm.group_count",
    [GGUF_SHORTCONV] = "shortconv.l_cache",
    [GGUF_FULL_ATTENTION_EVERY] = "full_attention_interval",
    [GGUF_WKV_HEAD] = "wkv.head_size",
    [GGUF_EXPERTS] = "expert_count",
    [GGUF_EXPERTS_USED] = "expert_used_count",
};

const char *gguf_shown(char to[GGUF_SHOWN_MAX], const void *bytes, size_t n)
{
    return gguf_shown_in(to, GGUF_SHOWN_MAX, bytes, n);
}

const char *gguf_shown_in(char *to, size_t n_to, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        if (k + 8 > n_to) {
            k += (size_t)snprintf(to + k, n_to - k, "..");
            break;
        }
        if (p[i] >= 0x20 && p[i] < 0x7f && p[i] != '\\' && p[i] != '\'' && p[i] != '"')
            to[k++] = (char)p[i];
        else
            k += (size_t)snprintf(to + k, n_to - k, "\\x%02x", p[i]);
    }
    to[k] = '\0';
    return to;
}

int gguf_fail(struct gguf_reading *g, uint64_t at, const char *fmt, ...)
{
    int n = snprintf(g->why, GGUF_WHY_MAX, "%s: offset %llu: ", g->file, (unsigned long long)at);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(g->why + n, (size_t)(GGUF_WHY_MAX - n), fmt, ap); /* a file name is much shorter */
    va_end(ap);
    g->failed = true;
    return RM_ERR_MODEL_FILE;
}

void gguf_warn(struct gguf_reading *g, uint64_t at, const char *fmt, ...)
{
    char text[GGUF_WARNING_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (g->head->n_warnings < GGUF_WARNINGS_MAX)
        snprintf(g->head->warnings[g->head->n_warnings], GGUF_WARNING_MAX, "offset %llu: %.160s",
                 (unsigned long long)at, text);
    g->head->n_warnings++;
}

/* ---- values ---- */

static bool whole_type(uint32_t type, uint32_t *bytes, bool *is_signed)
{
    static const unsigned char sizes[GGUF_VALUE_TYPES] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4,
        [GGUF_I32] = 4, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_BOOL] = 1};

    *bytes = type < GGUF_VALUE_TYPES ? sizes[type] : 0;
    *is_signed = type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64;
    return *bytes > 0;
}

/* Item i of a number or an array of numbers. False: negative, or over 64 bits less one. */
static bool whole_at(const struct gguf_value *v, uint32_t i, uint64_t *out)
{
    uint32_t bytes, type = v->type == GGUF_ARR ? v->item : v->type;
    bool is_signed;

    if (!whole_type(type, &bytes, &is_signed) || (uint64_t)(i + 1) * bytes > v->held)
        return false;
    *out = gguf_le(v->bytes + (size_t)i * bytes, bytes);
    return !is_signed || *out >> (8 * bytes - 1) == 0;
}

static int take_own(struct gguf_reading *g, struct gguf_own *own, const char *key)
{
    const struct gguf_value *v = &g->value;
    bool is_signed;
    uint32_t bytes;

    if (!whole_type(v->type, &bytes, &is_signed))
        return gguf_fail(g, v->at, "%s is not a whole number", key);
    if (!whole_at(v, 0, &own->v))
        return gguf_fail(g, v->at, "%s is negative", key);
    own->present = true;
    own->at = v->at;
    return 0;
}

/* Arrays keep what they say by layer. */
static int take_number(struct gguf_reading *g, enum gguf_number_id id)
{
    struct gguf_number *number = &g->head->numbers[id];
    const struct gguf_value *v = &g->value;
    bool array = v->type == GGUF_ARR, is_signed;
    uint32_t bytes, n = array ? (uint32_t)(v->items > UINT32_MAX ? UINT32_MAX : v->items) : 1;
    uint64_t item;

    if (!whole_type(array ? v->item : v->type, &bytes, &is_signed))
        return gguf_fail(g, v->at, "%s is not a whole number", number_names[id]);
    if (array && (n < 1 || n > GGUF_LAYERS_MAX))
        return gguf_fail(g, v->at, "%s has %u items: expected 1 to %d", number_names[id], n,
                         GGUF_LAYERS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        if (!whole_at(v, i, &item) || item > UINT32_MAX)
            return gguf_fail(g, v->at, "%s is negative or over %u", number_names[id], UINT32_MAX);
        if (i == 0)
            number->v = (uint32_t)item;
        number->varies = number->varies || item != number->v;
        if (array && id < GGUF_BY_LAYER)
            g->head->by_layer[id][i] = (uint32_t)item;
    }
    number->present = true;
    number->items = array ? n : 0;
    number->at = v->at;
    return 0;
}

/* "NaN" or "inf" in a number of the architecture would spread through every estimate. */
static int check_float(struct gguf_reading *g)
{
    const struct gguf_value *v = &g->value;
    char shown[GGUF_SHOWN_MAX];
    bool finite = true;
    float f;
    double d;

    if (v->type == GGUF_F32) {
        memcpy(&f, v->bytes, sizeof(f));
        finite = isfinite(f);
    } else if (v->type == GGUF_F64) {
        memcpy(&d, v->bytes, sizeof(d));
        finite = isfinite(d);
    }
    return finite ? 0
                  : gguf_fail(g, v->at, "key '%s' is not a finite number",
                              gguf_shown(shown, g->key, g->key_n));
}

int gguf_meta_arch(struct gguf_reading *g)
{
    const struct gguf_value *v = &g->value;
    char shown[GGUF_SHOWN_MAX];
    bool good = v->type == GGUF_STR && v->items >= 1 && v->items < sizeof(g->head->arch);

    if (v->type != GGUF_STR)
        return gguf_fail(g, v->at, "general.architecture is not a string");
    for (uint64_t i = 0; good && i < v->items; i++)
        good = (v->bytes[i] >= 'a' && v->bytes[i] <= 'z') ||
               (v->bytes[i] >= '0' && v->bytes[i] <= '9') || v->bytes[i] == '_' ||
               v->bytes[i] == '-';
    if (!good)
        return gguf_fail(g, v->at, "general.architecture '%s' must match [a-z0-9_-]{1,64}",
                         gguf_shown(shown, v->bytes, v->held));
    memcpy(g->head->arch, v->bytes, v->items);
    g->head->arch[v->items] = '\0';
    return 0;
}

static bool key_is(const struct gguf_reading *g, const char *name)
{
    return g->key_n == strlen(name) && memcmp(g->key, name, g->key_n) == 0;
}

int gguf_meta_take(struct gguf_reading *g)
{
    size_t n = strlen(g->head->arch);
    const char *rest = g->key + n + 1;

    if (key_is(g, "split.no"))
        return take_own(g, &g->split_no, "split.no");
    if (key_is(g, "split.count"))
        return take_own(g, &g->split_count, "split.count");
    if (key_is(g, "split.tensors.count"))
        return take_own(g, &g->split_tensors, "split.tensors.count");
    if (key_is(g, "general.alignment"))
        return take_own(g, &g->alignment, "general.alignment");
    if (key_is(g, "general.name") && g->value.type == GGUF_STR)
        snprintf(g->head->name, sizeof(g->head->name), "%s",
                 gguf_shown((char[GGUF_SHOWN_MAX]){0}, g->value.bytes, g->value.held));
    if (n == 0 || g->key_n <= n + 1 || memcmp(g->key, g->head->arch, n) != 0 || g->key[n] != '.')
        return 0;
    for (int id = 0; id < GGUF_NUMBERS; id++)
        if (strcmp(rest, number_names[id]) == 0 && strlen(rest) == g->key_n - n - 1)
            return take_number(g, (enum gguf_number_id)id);
    return check_float(g);
}

uint32_t gguf_number_at(const struct gguf_head *h, enum gguf_number_id id, uint32_t layer,
                        uint32_t def)
{
    const struct gguf_number *n = &h->numbers[id];

    if (!n->present)
        return def;
    if (n->items == 0 || id >= GGUF_BY_LAYER)
        return n->v;
    return layer < n->items ? h->by_layer[id][layer] : def;
}

/* ---- do they fit together? ---- */

/* A number by which the estimate divides. Recurrent models say 0 heads, and arrays say 0 for the
 * layers that have none. */
static int check_divisor(struct gguf_reading *g, enum gguf_number_id id, bool may_be_0)
{
    const struct gguf_number *n = &g->head->numbers[id];

    if (!n->present || (n->v >= 1 && n->v <= DIVISOR_MAX) ||
        (n->v == 0 && (may_be_0 || n->items > 0)))
        return 0;
    return gguf_fail(g, n->at, "%s %u: must be 1..%d", number_names[id], n->v, DIVISOR_MAX);
}

static int check_heads(struct gguf_reading *g)
{
    const struct gguf_number *n = g->head->numbers;
    bool recurrent = n[GGUF_SSM_CONV].present || n[GGUF_WKV_HEAD].present;
    bool plain = n[GGUF_HEADS].present && n[GGUF_HEADS].items == 0 && n[GGUF_HEADS].v > 0;
    static const enum gguf_number_id lengths[] = {GGUF_KEY_LENGTH, GGUF_VALUE_LENGTH,
                                                  GGUF_KEY_LENGTH_SWA, GGUF_VALUE_LENGTH_SWA};
    int r;

    if ((r = check_divisor(g, GGUF_HEADS, recurrent)) < 0 ||
        (r = check_divisor(g, GGUF_HEADS_KV, recurrent)) < 0)
        return r;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        if ((r = check_divisor(g, lengths[i], false)) < 0)
            return r;
    for (uint32_t i = 0; i < n[GGUF_HEADS_KV].items; i++)
        if (g->head->by_layer[GGUF_HEADS_KV][i] > DIVISOR_MAX)
            return gguf_fail(g, n[GGUF_HEADS_KV].at, "head_count_kv of layer %u over %d", i,
                             DIVISOR_MAX);
    if (plain && n[GGUF_HEADS_KV].items == 0 && n[GGUF_HEADS_KV].v > n[GGUF_HEADS].v)
        return gguf_fail(g, n[GGUF_HEADS_KV].at, "head_count_kv %u > head_count %u",
                         n[GGUF_HEADS_KV].v, n[GGUF_HEADS].v);
    if (plain && n[GGUF_WIDTH].present && !n[GGUF_KEY_LENGTH].present &&
        n[GGUF_WIDTH].v % n[GGUF_HEADS].v != 0)
        return gguf_fail(g, n[GGUF_WIDTH].at,
                         "embedding_length %u is not a multiple of head_count %u", n[GGUF_WIDTH].v,
                         n[GGUF_HEADS].v);
    return 0;
}

int gguf_meta_check(struct gguf_reading *g)
{
    const struct gguf_number *n = g->head->numbers;
    const struct gguf_number *experts = &n[GGUF_EXPERTS], *used = &n[GGUF_EXPERTS_USED];
    int r;

    if (n[GGUF_LAYERS].present && (n[GGUF_LAYERS].v < 1 || n[GGUF_LAYERS].v > GGUF_LAYERS_MAX))
        return gguf_fail(g, n[GGUF_LAYERS].at, "block_count %u: must be 1..%d", n[GGUF_LAYERS].v,
                         GGUF_LAYERS_MAX);
    if (n[GGUF_CONTEXT].present && n[GGUF_CONTEXT].v < 1)
        return gguf_fail(g, n[GGUF_CONTEXT].at, "context_length 0");
    if (n[GGUF_WIDTH].present && n[GGUF_WIDTH].v < 1)
        return gguf_fail(g, n[GGUF_WIDTH].at, "embedding_length 0");
    if ((r = check_heads(g)) < 0)
        return r;
    if (experts->v > EXPERTS_MAX)
        return gguf_fail(g, experts->at, "expert_count %u: must be 0..%d", experts->v, EXPERTS_MAX);
    if (used->v > experts->v)
        return gguf_fail(g, used->at, "expert_used_count %u > expert_count %u", used->v,
                         experts->v);
    if (!n[GGUF_LAYERS].present)
        gguf_warn(g, g->in.at, "no block_count: memory cannot be estimated");
    return 0;
}
