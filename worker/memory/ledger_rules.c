/* SPDX-License-Identifier: MIT */
/* worker/memory/ledger_rules.c - the pure half of ledger.h: keys, the rule, averages. */
#include "worker/memory/ledger.h"

#include <stdio.h>
#include <string.h>

void ledger_flags(const struct desired_host *d, char out[LEDGER_FLAGS_MAX])
{
    snprintf(out, LEDGER_FLAGS_MAX, "batch=%u threads=%u layers=%d", d->batch, d->threads,
             d->gpu_layers);
}

void ledger_key_of(const struct desired_host *d, const char *model_hash, const char *build,
                   struct ledger_key *out)
{
    memset(out, 0, sizeof(*out));
    rm_text_copy(out->model_hash, sizeof(out->model_hash), model_hash);
    out->context = d->context;
    out->slots = d->slots;
    rm_text_copy(out->kv, sizeof(out->kv), d->kv);
    ledger_flags(d, out->flags);
    rm_text_copy(out->build, sizeof(out->build), build != NULL ? build : "");
}

bool ledger_key_same(const struct ledger_key *a, const struct ledger_key *b)
{
    return strcmp(a->model_hash, b->model_hash) == 0 && a->context == b->context &&
           a->slots == b->slots && strcmp(a->kv, b->kv) == 0 && strcmp(a->flags, b->flags) == 0 &&
           strcmp(a->build, b->build) == 0;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* What one slot added when it was full, for every slot. */
static uint64_t with_all_slots(const struct node_ledger_row *row)
{
    uint64_t loaded = ledger_bytes_sum(&row->loaded), full = ledger_bytes_sum(&row->full);

    return full > loaded ? loaded + row->key.slots * (full - loaded) : loaded;
}

/* What of the computation's buffers a larger batch than any so far would touch. */
static uint64_t headroom(const struct node_ledger_row *row)
{
    if (row->batch == 0 || row->batch_most >= row->batch)
        return 0;
    return row->compute / row->batch * (row->batch - row->batch_most);
}

uint64_t ledger_expect(const struct node_ledger_row *row, uint64_t predicted, bool estimated,
                       bool *measured)
{
    uint64_t peak = row != NULL ? ledger_bytes_sum(&row->peak) : 0, all, most;
    bool whole = predicted > 0 && !estimated;

    *measured = false;
    if (peak == 0)
        return predicted;
    most = larger(peak, predicted);
    if (ledger_bytes_sum(&row->full) == 0) {
        *measured = whole && peak >= predicted;
        return most;
    }
    *measured = whole || row->batch_most >= row->batch;
    all = (row->all_full ? peak : larger(peak, with_all_slots(row))) + headroom(row);
    return whole && all > most ? most : larger(all, estimated ? predicted : 0);
}

uint64_t ledger_average_ms(uint64_t before, uint64_t ms)
{
    return before == 0 ? larger(ms, 1) : larger((before + ms) / 2, 1);
}

static void add_rate(uint64_t *tokens, uint64_t *us, uint64_t more_tokens, uint64_t more_us)
{
    *tokens += more_tokens;
    *us += more_us;
    while (*tokens > LEDGER_SPEED_TOKENS) {
        *tokens /= 2;
        *us /= 2;
    }
}

void ledger_add_speed(struct ledger_speed *sum, const struct ledger_speed *more)
{
    add_rate(&sum->prefill_tokens, &sum->prefill_us, more->prefill_tokens, more->prefill_us);
    add_rate(&sum->decode_tokens, &sum->decode_us, more->decode_tokens, more->decode_us);
}
