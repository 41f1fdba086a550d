/* SPDX-License-Identifier: MIT */
/* cli/forecast_show.c - see forecast_show.h. */
#include "cli/forecast_show.h"

#include "cli/ask.h"
#include "proto/base/buf.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

enum { STEP = 256, BYTES_TEXT = 32, SHOW_JSON_MAX = 8 << 20 };

static uint64_t bytes_at(const struct forecast_answer *a, const struct forecast_view *v,
                         uint32_t context)
{
    struct node_bytes b;

    return node_forecast_at(&v->row[0], context, a->slots, a->q8_0, &b) == 0 ? b.total : UINT64_MAX;
}

uint32_t forecast_largest_context(const struct forecast_answer *a, const struct forecast_view *v,
                                  uint64_t bytes)
{
    uint32_t trained = v->n > 0 ? v->row[0].context_train : 0, low = 0, high, mid;

    if (v->n == 0)
        return 0;
    if (bytes_at(a, v, STEP) == UINT64_MAX) { /* a model whose costs are not told */
        for (size_t i = 0; i < v->n; i++)
            if (v->row[i].total <= bytes)
                low = v->row[i].context;
        return low;
    }
    if (trained == 0)
        trained = v->row[v->n - 1].context;
    if (bytes_at(a, v, trained) <= bytes)
        return trained;
    high = trained / STEP; /* in steps, and does not fit */
    while (high - low > 1) {
        mid = low + (high - low) / 2;
        if (bytes_at(a, v, mid * STEP) <= bytes)
            low = mid;
        else
            high = mid;
    }
    return low * STEP;
}

/* ---- for people ---- */

static const char *bytes_text(uint64_t bytes, char out[BYTES_TEXT])
{
    double mib = (double)bytes / (1 << 20);

    if (mib >= 1024)
        snprintf(out, BYTES_TEXT, "%.2f GiB", mib / 1024);
    else
        snprintf(out, BYTES_TEXT, "%.1f MiB", mib);
    return out;
}

static const char *context_text(uint32_t context, char out[BYTES_TEXT])
{
    if (context >= 1024 && context % 1024 == 0)
        snprintf(out, BYTES_TEXT, "%" PRIu32 "Ki", context / 1024);
    else
        snprintf(out, BYTES_TEXT, "%" PRIu32, context);
    return out;
}

static void show_row(const struct forecast_view *v, const struct node_forecast *f)
{
    const uint64_t parts[] = {f->weights, f->kv,          f->compute, f->output,
                              f->process, f->checkpoints, f->total};
    char text[BYTES_TEXT];

    printf("  %8s", context_text(f->context, text));
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        printf(" %11s", bytes_text(parts[i], text));
    printf("%s\n", v->has_memory && f->total > v->room ? "  too much" : "");
}

/* "largest context: 64Ki" within some bytes. */
static void show_largest(const struct forecast_answer *a, const struct forecast_view *v,
                         const char *what, uint64_t bytes)
{
    uint32_t largest = forecast_largest_context(a, v, bytes);
    char text[BYTES_TEXT], size[BYTES_TEXT];

    printf("  %s (%s): ", what, bytes_text(bytes, size));
    if (largest == 0)
        puts("no context fits");
    else
        printf("largest context %s tokens%s\n", context_text(largest, text),
               largest == v->row[0].context_train ? ", the model's own" : "");
}

static void show_view(const struct forecast_answer *a, const struct forecast_view *v)
{
    char name[ASK_TEXT_MAX], where[ASK_TEXT_MAX];

    if (v->error[0] != '\0')
        return; /* told on stderr */
    if (v->address[0] != '\0')
        printf("%s%s%s:\n", ask_shown(v->node, name), v->node[0] != '\0' ? ", " : "",
               ask_shown(v->address, where));
    printf("  %8s %11s %11s %11s %11s %11s %11s %11s\n", "context", "weights", "KV", "compute",
           "output", "process", "cache", "total");
    for (size_t i = 0; i < v->n; i++)
        show_row(v, &v->row[i]);
    if (v->note[0] != '\0')
        printf("  %s\n", v->note);
    if (!v->has_memory)
        return;
    show_largest(a, v, "room now", v->room);
    if (v->budget != v->room)
        show_largest(a, v, "all that hosts may use", v->budget);
}

void forecast_show_text(const struct forecast_answer *a)
{
    char name[ASK_TEXT_MAX];

    printf("%s, %" PRIu32 " slot%s, KV %s\n", ask_shown(a->model, name), a->slots,
           a->slots == 1 ? "" : "s", a->q8_0 ? "q8_0" : "f16");
    for (size_t i = 0; i < a->n; i++)
        show_view(a, &a->v[i]);
}

/* ---- as JSON ---- */

/* Text of others; null when it is no UTF-8. */
static void set_text(json_t *o, const char *name, const char *text)
{
    json_t *v = json_string(text);

    json_object_set_new(o, name, v != NULL ? v : json_null());
}

static void set_bytes(json_t *o, const char *name, uint64_t v)
{
    json_object_set_new(o, name, json_integer((json_int_t)v));
}

/* The rows are messages of the node protocol, as that encodes them. */
static int add_row(json_t *rows, const struct node_forecast *f)
{
    struct rm_buf text;
    int r;

    rm_buf_init(&text, SHOW_JSON_MAX);
    if ((r = node_forecast_encode(f, &text)) == 0 &&
        json_array_append_new(rows, json_loadb(text.data, text.len, 0, NULL)) < 0)
        r = UV_ENOMEM;
    rm_buf_clear(&text);
    return r;
}

static int add_view(json_t *nodes, const struct forecast_answer *a, const struct forecast_view *v)
{
    json_t *o = json_object(), *rows = json_array();
    int r = 0;

    set_text(o, "node", v->node);
    set_text(o, "address", v->address);
    set_text(o, "error", v->error);
    set_text(o, "note", v->note);
    set_bytes(o, "budget", v->budget);
    set_bytes(o, "room", v->room);
    set_bytes(o, "largest_context", v->has_memory ? forecast_largest_context(a, v, v->room) : 0);
    set_bytes(o, "largest_context_alone",
              v->has_memory ? forecast_largest_context(a, v, v->budget) : 0);
    for (size_t i = 0; r == 0 && i < v->n; i++)
        r = add_row(rows, &v->row[i]);
    json_object_set_new(o, "forecasts", rows);
    return json_array_append_new(nodes, o) < 0 ? UV_ENOMEM : r;
}

int forecast_show_json(const struct forecast_answer *a)
{
    json_t *root = json_object(), *nodes = json_array();
    int r = 0;

    set_text(root, "model", a->model);
    set_bytes(root, "slots", a->slots);
    set_text(root, "kv", a->q8_0 ? "q8_0" : "f16");
    for (size_t i = 0; r == 0 && i < a->n; i++)
        r = add_view(nodes, a, &a->v[i]);
    if (json_object_set_new(root, "nodes", nodes) < 0)
        r = UV_ENOMEM;
    if (r == 0 && json_dumpf(root, stdout, JSON_COMPACT) < 0)
        r = UV_EIO;
    putchar('\n');
    json_decref(root);
    return r;
}
