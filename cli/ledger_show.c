/* SPDX-License-Identifier: MIT */
#include "cli/ledger_show.h"

#include "cli/ask.h"
#include "cli/grid.h"
#include "cli/human.h"
#include "proto/base/json_write.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { CELL = 24, SHOW_JSON_MAX = 64 << 20 };

static int no_memory(void)
{
    fprintf(stderr, "rolemesh ledger: %s\n", rm_strerror(UV_ENOMEM));
    return UV_ENOMEM;
}

/* Over the rows of all nodes together. */
static int errors_of_all(const struct node_ledger *all, size_t n, struct node_ledger_errors *out)
{
    struct node_ledger_row *rows = NULL;
    double *scratch = NULL;
    uint32_t sum = 0, at = 0;

    for (size_t i = 0; i < n; i++)
        sum += all[i].n;
    rows = calloc(sum + 1, sizeof *rows);
    scratch = calloc(sum + 1, sizeof *scratch);
    for (size_t i = 0; rows != NULL && i < n; i++) {
        if (all[i].n > 0)
            memcpy(rows + at, all[i].rows, all[i].n * sizeof *rows);
        at += all[i].n;
    }
    if (rows != NULL && scratch != NULL)
        node_ledger_errors_of(rows, sum, scratch, out);
    free(rows);
    free(scratch);
    return rows != NULL && scratch != NULL ? 0 : no_memory();
}

/* ---- cells; each writes into its own text and returns it ---- */

static const char *size_cell(uint64_t bytes, char out[CELL])
{
    if (bytes == 0)
        return "-";
    if (bytes >= 1ULL << 30)
        snprintf(out, CELL, "%.2f GiB", (double)bytes / (1ULL << 30));
    else
        snprintf(out, CELL, "%.1f MiB", (double)bytes / (1ULL << 20));
    return out;
}

static const char *ms_cell(uint64_t ms, char out[CELL])
{
    if (ms == 0)
        return "-";
    snprintf(out, CELL, ms >= 10000 ? "%.0fs" : "%.2fs", (double)ms / 1000);
    return out;
}

static const char *tokens_cell(uint32_t tokens, char out[CELL])
{
    if (tokens == 0)
        return "max";
    if (tokens % 1024 == 0)
        snprintf(out, CELL, "%uKi", tokens / 1024);
    else
        snprintf(out, CELL, "%u", tokens);
    return out;
}

static const char *error_cell(const struct node_ledger_row *r, char out[CELL])
{
    double ratio;

    if (!node_ledger_ratio(r, &ratio))
        return "-";
    snprintf(out, CELL, "%+.1f%%", 100 * (ratio - 1));
    return out;
}

static double rate(uint64_t tokens, uint64_t us)
{
    return us > 0 ? (double)tokens * 1e6 / (double)us : 0;
}

/* "tokens/s at 0: prefill 812, decode 41; at 1Ki: ..." */
static void print_speeds(const struct node_ledger_row *r)
{
    const char *before = "  tokens/s";

    for (int i = 0; i < LEDGER_DEPTHS; i++) {
        const struct ledger_speed *s = &r->speed[i];
        char depth[CELL], per_s[HUMAN_MAX];

        if (s->prefill_tokens + s->decode_tokens == 0)
            continue;
        printf("%s at %s:", before, i == 0 ? "0" : tokens_cell(ledger_depths[i], depth));
        if (s->prefill_tokens > 0)
            printf(" prefill %s", human_rate(rate(s->prefill_tokens, s->prefill_us), per_s));
        if (s->decode_tokens > 0)
            printf("%s decode %s", s->prefill_tokens > 0 ? "," : "",
                   human_rate(rate(s->decode_tokens, s->decode_us), per_s));
        before = ";";
    }
    if (before[0] == ';')
        putchar('\n');
}

static void print_row(const struct node_ledger_row *r)
{
    char model[ASK_TEXT_MAX], kv[ASK_TEXT_MAX], context[CELL], c[8][CELL];

    printf("%-24s %-8s %5u %-5s %10s %10s %10s %10s %8s %10s%c %6u %8s %8s\n",
           ask_shown(r->model, model), tokens_cell(r->key.context, context), r->key.slots,
           ask_shown(r->key.kv, kv), size_cell(r->predicted, c[0]),
           size_cell(ledger_bytes_sum(&r->loaded), c[1]),
           size_cell(ledger_bytes_sum(&r->full), c[2]), size_cell(ledger_bytes_sum(&r->peak), c[3]),
           error_cell(r, c[4]), size_cell(r->expected, c[5]), r->measured ? '*' : ' ', r->loads,
           ms_cell(r->cold_ms, c[6]), ms_cell(r->warm_ms, c[7]));
    print_speeds(r);
}

static void print_errors(const struct node_ledger_errors *e)
{
    if (e->count == 0)
        puts("forecast errors: none measured yet (a slot must have been full once)");
    else
        printf("forecast errors over %u row%s: half within %.1f %%, nine tenths within %.1f %%, "
               "worst %.1f %%; %u too low\n",
               e->count, e->count == 1 ? "" : "s", 100 * e->p50, 100 * e->p90, 100 * e->worst,
               e->low);
}

int ledger_show_text(const struct node_ledger *all, size_t n)
{
    struct node_ledger_errors errors;
    char name[ASK_TEXT_MAX];

    if (errors_of_all(all, n, &errors) < 0)
        return UV_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        printf("NODE %s%s%s\n", ask_shown(all[i].node, name),
               all[i].usable ? "" : ": its history cannot be written, see its log",
               all[i].n == 0 ? ": nothing measured yet" : "");
        if (all[i].n > 0)
            printf("%-24s %-8s %5s %-5s %10s %10s %10s %10s %8s %11s %6s %8s %8s\n", "MODEL",
                   "CONTEXT", "SLOTS", "KV", "PREDICTED", "LOADED", "FULL", "PEAK", "ERROR",
                   "EXPECTED*", "LOADS", "COLD", "WARM");
        for (uint32_t k = 0; k < all[i].n; k++)
            print_row(&all[i].rows[k]);
        putchar('\n');
    }
    puts("* measured: what the next forecast of the same model, flags and engine says");
    print_errors(&errors);
    return 0;
}

static const struct grid_column columns[] = {
    {"NODE", false, false, 0},  {"MODEL", false, false, 0},   {"CONTEXT", true, false, 0},
    {"SLOTS", true, false, 0},  {"KV", false, false, 0},      {"PREDICTED", true, false, 0},
    {"LOADED", true, false, 0}, {"FULL", true, false, 0},     {"PEAK", true, false, 0},
    {"ERROR", true, false, 0},  {"EXPECTED", true, false, 0}, {"MEASURED", false, false, 0},
    {"LOADS", true, false, 0},  {"COLD", true, false, 0},     {"WARM", true, false, 0}};

static void add_csv(struct grid *g, const char *node, const struct node_ledger_row *r)
{
    const uint64_t sizes[] = {r->predicted, ledger_bytes_sum(&r->loaded),
                              ledger_bytes_sum(&r->full), ledger_bytes_sum(&r->peak)};
    char cell[CELL];

    grid_add(g, TERM_PLAIN, "%s", node);
    grid_add(g, TERM_PLAIN, "%s", r->model);
    grid_add(g, TERM_PLAIN, "%s", tokens_cell(r->key.context, cell));
    grid_add(g, TERM_PLAIN, "%u", r->key.slots);
    grid_add(g, TERM_PLAIN, "%s", r->key.kv);
    for (size_t i = 0; i < RM_COUNT(sizes); i++)
        grid_add(g, TERM_PLAIN, "%s", size_cell(sizes[i], cell));
    grid_add(g, TERM_PLAIN, "%s", error_cell(r, cell));
    grid_add(g, TERM_PLAIN, "%s", size_cell(r->expected, cell));
    grid_add(g, TERM_PLAIN, "%s", r->measured ? "yes" : "no");
    grid_add(g, TERM_PLAIN, "%u", r->loads);
    grid_add(g, TERM_PLAIN, "%s", ms_cell(r->cold_ms, cell));
    grid_add(g, TERM_PLAIN, "%s", ms_cell(r->warm_ms, cell));
}

int ledger_show_csv(const struct node_ledger *all, size_t n)
{
    struct term t = {.to = stdout, .csv = true};
    struct grid g;
    int r;

    grid_init(&g, columns, RM_COUNT(columns));
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < all[i].n; k++)
            add_csv(&g, all[i].node, &all[i].rows[k]);
    r = grid_print(&g, &t, true);
    grid_clear(&g);
    return r < 0 ? no_memory() : 0;
}

/* The nodes as the protocol has them, and the errors over all. */
int ledger_show_json(const struct node_ledger *all, size_t n)
{
    json_t *root = json_object(), *nodes = json_array();
    struct node_ledger_errors e;
    int r = errors_of_all(all, n, &e);

    for (size_t i = 0; r == 0 && i < n; i++) {
        struct rm_buf text;

        rm_buf_init(&text, SHOW_JSON_MAX);
        if ((r = node_ledger_encode(&all[i], &text)) == 0)
            r = json_array_append_new(nodes, json_loadb(text.data, text.len, 0, NULL));
        rm_buf_clear(&text);
    }
    if (r == 0)
        r = json_object_set(root, "nodes", nodes);
    if (r == 0)
        r = json_object_set_new(root, "errors",
                                json_pack("{s:I,s:f,s:f,s:f,s:I}", "count", (json_int_t)e.count,
                                          "p50", e.p50, "p90", e.p90, "worst", e.worst, "low",
                                          (json_int_t)e.low));
    if (r == 0 && json_dumpf(root, stdout, JSON_INDENT(2)) == 0)
        putchar('\n');
    json_decref(nodes);
    json_decref(root);
    return r == 0 ? 0 : no_memory();
}
