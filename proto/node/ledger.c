/* SPDX-License-Identifier: MIT */
#include "proto/node/ledger.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/node/fields.h"

const uint32_t ledger_depths[LEDGER_DEPTHS] = {0, 1024, 4096, 16384, 65536, 262144};

/* In the order of PROTOCOL.md. */

static const struct node_field bytes_fields[] = {
    FIELD(struct ledger_bytes, system, FIELD_U64),
    FIELD(struct ledger_bytes, vram, FIELD_U64),
    FIELD(struct ledger_bytes, gtt, FIELD_U64),
    {.name = NULL},
};

static const struct node_field key_fields[] = {
    FIELD_MUST(struct ledger_key, model_hash, FIELD_NAME),
    FIELD(struct ledger_key, context, FIELD_U32),
    FIELD(struct ledger_key, slots, FIELD_U32),
    FIELD(struct ledger_key, kv, FIELD_NAME),
    FIELD(struct ledger_key, flags, FIELD_NAME),
    FIELD(struct ledger_key, build, FIELD_NAME),
    {.name = NULL},
};

static const struct node_field row_fields[] = {
    FIELD_MUST(struct node_ledger_row, id, FIELD_U64),
    FIELD_SUB(struct node_ledger_row, key, FIELD_OBJECT, key_fields),
    FIELD(struct node_ledger_row, model, FIELD_NAME),
    FIELD(struct node_ledger_row, predicted, FIELD_U64),
    FIELD(struct node_ledger_row, compute, FIELD_U64),
    FIELD(struct node_ledger_row, estimated, FIELD_BOOL),
    FIELD_SUB(struct node_ledger_row, loaded, FIELD_OBJECT, bytes_fields),
    FIELD_SUB(struct node_ledger_row, full, FIELD_OBJECT, bytes_fields),
    FIELD_SUB(struct node_ledger_row, peak, FIELD_OBJECT, bytes_fields),
    FIELD(struct node_ledger_row, batch, FIELD_U32),
    FIELD(struct node_ledger_row, batch_most, FIELD_U32),
    FIELD(struct node_ledger_row, all_full, FIELD_BOOL),
    FIELD(struct node_ledger_row, expected, FIELD_U64),
    FIELD(struct node_ledger_row, measured, FIELD_BOOL),
    FIELD(struct node_ledger_row, loads, FIELD_U32),
    FIELD(struct node_ledger_row, cold_ms, FIELD_U64),
    FIELD(struct node_ledger_row, warm_ms, FIELD_U64),
    FIELD(struct node_ledger_row, first_s, FIELD_U64),
    FIELD(struct node_ledger_row, last_s, FIELD_U64),
    {.name = NULL}, /* speed follows: an array, done by hand */
};

static const struct node_field speed_fields[] = {
    FIELD(struct ledger_speed, prefill_tokens, FIELD_U64),
    FIELD(struct ledger_speed, prefill_us, FIELD_U64),
    FIELD(struct ledger_speed, decode_tokens, FIELD_U64),
    FIELD(struct ledger_speed, decode_us, FIELD_U64),
    {.name = NULL},
};

static const struct node_field errors_fields[] = {
    FIELD(struct node_ledger_errors, count, FIELD_U32),
    FIELD(struct node_ledger_errors, p50, FIELD_RATE),
    FIELD(struct node_ledger_errors, p90, FIELD_RATE),
    FIELD(struct node_ledger_errors, worst, FIELD_RATE),
    FIELD(struct node_ledger_errors, low, FIELD_U32),
    {.name = NULL},
};

static const struct node_field ledger_fields[] = {
    FIELD_MUST(struct node_ledger, node, FIELD_NAME),
    FIELD(struct node_ledger, usable, FIELD_BOOL),
    FIELD(struct node_ledger, lost, FIELD_U64),
    FIELD(struct node_ledger, next, FIELD_U64),
    FIELD_SUB(struct node_ledger, errors, FIELD_OBJECT, errors_fields),
    {.name = NULL}, /* rows follow */
};

/* ---- figures ---- */

uint64_t ledger_bytes_sum(const struct ledger_bytes *b)
{
    return b->system + b->vram + b->gtt;
}

bool node_ledger_ratio(const struct node_ledger_row *r, double *out)
{
    uint64_t peak = ledger_bytes_sum(&r->peak);

    if (r->estimated || r->predicted == 0 || peak == 0 || ledger_bytes_sum(&r->full) == 0)
        return false;
    *out = (double)r->predicted / (double)peak;
    return true;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void node_ledger_errors_of(const struct node_ledger_row *rows, uint32_t n, double *scratch,
                           struct node_ledger_errors *out)
{
    double ratio;

    memset(out, 0, sizeof(*out));
    for (uint32_t i = 0; i < n; i++) {
        if (!node_ledger_ratio(&rows[i], &ratio))
            continue;
        out->low += ratio < 1;
        scratch[out->count++] = fabs(ratio - 1);
    }
    if (out->count == 0)
        return;
    qsort(scratch, out->count, sizeof(*scratch), by_size);
    out->p50 = scratch[(out->count * 50 + 99) / 100 - 1];
    out->p90 = scratch[(out->count * 90 + 99) / 100 - 1];
    out->worst = scratch[out->count - 1];
}

/* ---- the message ---- */

void node_ledger_clear(struct node_ledger *l)
{
    free(l->rows);
    memset(l, 0, sizeof(*l));
}

void node_ledger_row_put(struct rm_jw *w, const char *key, const struct node_ledger_row *row)
{
    rm_jw_obj(w, key);
    node_fields_put(w, row_fields, row);
    rm_jw_arr(w, "speed");
    for (size_t k = 0; k < LEDGER_DEPTHS; k++) {
        rm_jw_obj(w, NULL);
        node_fields_put(w, speed_fields, &row->speed[k]);
        rm_jw_end(w);
    }
    rm_jw_end(w);
    rm_jw_end(w);
}

void node_ledger_errors_put(struct rm_jw *w, const char *key, const struct node_ledger_errors *e)
{
    rm_jw_obj(w, key);
    node_fields_put(w, errors_fields, e);
    rm_jw_end(w);
}

int node_ledger_encode(const struct node_ledger *l, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    node_fields_put(&w, ledger_fields, l);
    rm_jw_arr(&w, "rows");
    for (uint32_t i = 0; i < l->n; i++)
        node_ledger_row_put(&w, NULL, &l->rows[i]);
    rm_jw_end(&w);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

static int wrong_array(char *why, const char *path, size_t most)
{
    snprintf(why, NODE_WHY_MAX, "%s: expected an array of at most %zu objects", path, most);
    return RM_ERR_FIELD;
}

static int get_speeds(const json_t *row, struct node_ledger_row *out, const char *at, char *why)
{
    const json_t *speeds = json_object_get(row, "speed");
    char path[48];
    int r = 0;

    snprintf(path, sizeof(path), "%s.speed", at);
    if (speeds == NULL || json_is_null(speeds))
        return 0;
    if (!json_is_array(speeds) || json_array_size(speeds) > LEDGER_DEPTHS)
        return wrong_array(why, path, LEDGER_DEPTHS);
    for (size_t i = 0; r == 0 && i < json_array_size(speeds); i++) {
        const json_t *s = json_array_get(speeds, i);

        r = json_is_object(s) ? node_fields_get(s, speed_fields, &out->speed[i], path, why)
                              : wrong_array(why, path, LEDGER_DEPTHS);
    }
    return r;
}

static int get_rows(const json_t *rows, struct node_ledger *out, char *why)
{
    size_t n = json_array_size(rows);
    char path[32];
    int r = 0;

    if (rows == NULL || json_is_null(rows))
        return 0;
    if (!json_is_array(rows) || n > LEDGER_PAGE_MAX)
        return wrong_array(why, "rows", LEDGER_PAGE_MAX);
    if (n > 0 && (out->rows = calloc(n, sizeof(*out->rows))) == NULL)
        return UV_ENOMEM;
    out->n = (uint32_t)n;
    for (size_t i = 0; r == 0 && i < n; i++) {
        const json_t *row = json_array_get(rows, i);

        snprintf(path, sizeof(path), "rows[%zu]", i);
        if (!json_is_object(row))
            return wrong_array(why, "rows", LEDGER_PAGE_MAX);
        if ((r = node_fields_get(row, row_fields, &out->rows[i], path, why)) == 0)
            r = get_speeds(row, &out->rows[i], path, why);
    }
    return r;
}

int node_ledger_decode(struct rm_slice json, struct node_ledger *out, char *why)
{
    json_t *root;
    int r;

    memset(out, 0, sizeof(*out));
    why[0] = '\0';
    if ((r = node_json_load(json, &root, why)) < 0)
        return r;
    if ((r = node_fields_get(root, ledger_fields, out, "", why)) == 0)
        r = get_rows(json_object_get(root, "rows"), out, why);
    json_decref(root);
    if (r < 0)
        node_ledger_clear(out);
    return r;
}
