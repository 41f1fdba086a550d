/* SPDX-License-Identifier: MIT */
/* proto/gguf/estimate.c - see estimate.h. */
#include "proto/gguf/estimate.h"

#include <stdio.h>
#include <string.h>

enum { CONTEXT_DEFAULT = 4096 /* of the core */ };

static const uint64_t BYTES_MAX = (1ull << 53) - 1; /* of a message */

/* KV memory of one slot. */
static int formula_at(const struct gguf_head *head, const struct kv_query *like, uint64_t context,
                      struct kv_bytes *out)
{
    struct kv_query query = *like;
    char ignored[KV_WHY_MAX];

    query.context = context;
    query.slots = 1;
    return kv_formula(head, &query, out, ignored);
}

/* The costs of one KV type, by the formula that the header's numbers go into. */
static void estimate_kv_costs(const struct gguf_head *head, const struct kv_query *like, bool q8,
                              struct node_costs *costs, struct node_kv_costs *out)
{
    struct kv_query query = *like;
    uint64_t window = costs->window, wide = ((window + query.ubatch) / 256 + 2) * 256;
    uint64_t window_cells = (window + query.ubatch + 255) / 256 * 256;
    struct kv_bytes a, b;

    query.q8 = q8;
    if (formula_at(head, &query, wide, &a) < 0 || formula_at(head, &query, wide * 2, &b) < 0)
        return;
    out->kv_cell = (b.kv - a.kv) / wide;
    out->kv_window_cell = window == 0 ? 0 : (a.kv - out->kv_cell * wide) / window_cells;
    costs->state_slot = a.recurrent;
    out->known = true;
}

static void estimate_costs(const struct gguf_head *head, const struct kv_query *query,
                           struct node_costs *out)
{
    struct kv_query like = *query;

    if (like.ubatch == 0)
        like.ubatch = KV_UBATCH;
    out->batch = like.ubatch;
    out->window = gguf_number_at(head, GGUF_SWA_WINDOW, 0, 0);
    estimate_kv_costs(head, &like, false, out, &out->f16);
    estimate_kv_costs(head, &like, true, out, &out->q8_0);
}

int gguf_estimate(const struct gguf_head *head, const struct kv_query *query,
                  struct node_forecast *out)
{
    struct kv_bytes bytes;
    char why[KV_WHY_MAX];
    int r = kv_formula(head, query, &bytes, why);

    memset(out, 0, sizeof(*out));
    out->context_train = gguf_number_at(head, GGUF_CONTEXT, 0, 0);
    if (r == 0 &&
        (bytes.kv > BYTES_MAX || bytes.recurrent > BYTES_MAX || head->weights > BYTES_MAX ||
         bytes.kv + bytes.recurrent + head->weights > BYTES_MAX)) {
        snprintf(why, sizeof(why), "more bytes than there are numbers for");
        r = RM_ERR_FIELD;
    }
    if (r < 0) {
        snprintf(out->error, sizeof(out->error), "%s", why);
        return r;
    }
    out->known = out->estimated = true;
    out->weights = head->weights;
    out->kv = bytes.kv + bytes.recurrent;
    out->total = out->weights + out->kv;
    out->context = (uint32_t)query->context;
    if (out->context == 0)
        out->context = out->context_train > 0 ? out->context_train : CONTEXT_DEFAULT;
    out->slots = query->slots;
    estimate_costs(head, query, &out->costs);
    return 0;
}
