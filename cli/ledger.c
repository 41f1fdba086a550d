/* SPDX-License-Identifier: MIT */
/* cli/ledger.c - `rolemesh ledger`: what the workers forecast and what they then measured. Asks the
 * gateway (GET /api/v1/ledger), or with --role-map each worker of the map (GET /node/v1/ledger),
 * page by page; a worker that does not answer is told and the others are shown (exit code 1).
 * ledger_show.c prints. One thread. */
#include "cli/api.h"
#include "cli/ledger_show.h"
#include "cli/nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { LEDGER_DEADLINE_MS = 10000, LEDGER_PAGES_MAX = 100, LEDGER_WHY_MAX = 256 };

struct ledger_args {
    const char *map, *node;
    bool json, csv;
};

struct ledgers {
    struct node_ledger *v; /* room for NODES_MAX; n of them */
    size_t n;
};

static int ledger_read_args(const struct cli_args *said, struct ledger_args *args)
{
    *args = (struct ledger_args){.map = cli_text(said, "role-map"),
                                 .node = cli_text(said, "node"),
                                 .json = cli_wants_json(said),
                                 .csv = cli_wants_csv(said)};
    if (args->map != NULL && cli_has(said, "gateway"))
        return cli_usage("ledger", "either --role-map or --gateway");
    return CLI_OK;
}

/* One page behind what is there. Returns 0 or an error with why. */
static int ledger_ask_page(const struct cli_node *node, struct node_ledger *page, uint64_t after,
                           char *why)
{
    char target[80];
    struct ask ask = {.address = &node->address,
                      .method = "GET",
                      .target = target,
                      .deadline_ms = LEDGER_DEADLINE_MS};
    struct rm_buf body;
    int status, r;

    snprintf(target, sizeof target, "/node/v1/ledger?after=%llu&limit=%d",
             (unsigned long long)after, LEDGER_PAGE_MAX);
    if ((r = ask_run(&ask, &status, &body)) < 0) {
        snprintf(why, LEDGER_WHY_MAX, "%s", rm_strerror(r));
    } else if (status != 200) {
        snprintf(why, LEDGER_WHY_MAX, "answered %d%s", status,
                 status == 404 ? ": an older worker" : "");
        r = RM_ERR_UPSTREAM;
    } else {
        r = node_ledger_decode((struct rm_slice){body.data, body.len}, page, why);
    }
    rm_buf_clear(&body);
    return r;
}

/* Appends the rows of page to all; page is cleared. */
static int ledger_take_page(struct node_ledger *all, struct node_ledger *page)
{
    struct node_ledger_row *rows = realloc(all->rows, (all->n + page->n + 1) * sizeof *rows);
    uint32_t n = all->n;

    if (rows == NULL) {
        node_ledger_clear(page);
        return UV_ENOMEM;
    }
    if (page->n > 0)
        memcpy(rows + n, page->rows, page->n * sizeof *rows);
    free(page->rows);
    *all = *page;
    all->rows = rows;
    all->n = n + page->n;
    *page = (struct node_ledger){.n = 0};
    return 0;
}

static int ledger_ask(const struct cli_node *node, struct node_ledger *all, char *why)
{
    uint64_t after = 0;
    int r;

    *all = (struct node_ledger){.n = 0};
    for (int i = 0; i < LEDGER_PAGES_MAX; i++) {
        struct node_ledger page;

        if ((r = ledger_ask_page(node, &page, after, why)) < 0)
            return r;
        if ((r = ledger_take_page(all, &page)) < 0) {
            snprintf(why, LEDGER_WHY_MAX, "%s", rm_strerror(r));
            return r;
        }
        if (all->next <= after) /* 0: that was all; else a worker that goes round in circles */
            break;
        after = all->next;
    }
    all->next = 0;
    return 0;
}

/* ---- of a map's workers ---- */

static int ask_workers(const struct ledger_args *args, struct ledgers *l)
{
    struct cli_nodes nodes;
    int r = nodes_find("ledger", args->map, args->node, &nodes);

    for (size_t i = 0; i < nodes.n; i++) {
        char why[LEDGER_WHY_MAX], address[HTTP_ADDRESS_TEXT];
        struct node_ledger *one = &l->v[l->n];

        http_address_text(&nodes.v[i].address, address);
        if (ledger_ask(&nodes.v[i], one, why) == 0) {
            rm_text_copy(one->node, sizeof one->node, nodes.v[i].name);
            l->n++;
            continue;
        }
        node_ledger_clear(one);
        r = cli_failed("ledger", "node '%s' (%s): %s", nodes.v[i].name, address, why);
    }
    nodes_clear(&nodes);
    return r;
}

/* ---- of a gateway ---- */

static struct node_ledger *ledger_of(struct ledgers *l, const char *node)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->v[i].node, node) == 0)
            return &l->v[i];
    return l->n < NODES_MAX ? &l->v[l->n++] : NULL;
}

/* A node's part of a page, as the node itself would have told it. Returns 0 or an error with why.
 */
static int take_node(struct ledgers *l, const json_t *page, const json_t *node, char *why)
{
    const char *name = json_string_value(json_object_get(node, "node"));
    struct node_ledger *all = name != NULL ? ledger_of(l, name) : NULL, part;
    json_t *rows = json_array(), *whole = json_pack("{s:O,s:i}", "rows", rows, "next", 0);
    const json_t *row;
    char *text;
    size_t i;
    int r = RM_ERR_UPSTREAM_INVALID;

    rm_text_copy(why, LEDGER_WHY_MAX, "a node of no name, or too many");
    json_array_foreach(json_object_get(page, "ledger"), i, row)
    {
        const char *of = json_string_value(json_object_get(row, "node"));

        if (of != NULL && name != NULL && strcmp(of, name) == 0)
            json_array_append(rows, json_object_get(row, "row"));
    }
    json_object_update(whole, (json_t *)(uintptr_t)node);
    text = json_dumps(whole, JSON_COMPACT);
    if (all != NULL && text != NULL && (r = node_ledger_decode(rm_slice_of(text), &part, why)) == 0)
        r = ledger_take_page(all, &part);
    free(text);
    json_decref(rows);
    json_decref(whole);
    return r;
}

/* Nodes that did not answer; one that is told twice was asked for two pages. */
static int tell_silent(const json_t *silent)
{
    char node[ASK_TEXT_MAX], why[ASK_TEXT_MAX];
    const json_t *one;
    size_t i;

    json_array_foreach(silent, i, one) cli_failed(
        "ledger", "node '%s': %s", api_text(one, "node", node), api_text(one, "why", why));
    return json_array_size(silent) > 0 ? CLI_FAILED : CLI_OK;
}

static int ask_gateway(const struct cli_args *said, struct ledgers *l)
{
    char target[API_TARGET_MAX], cursor[API_TARGET_MAX] = "", why[LEDGER_WHY_MAX];
    const char *only = cli_text(said, "node");
    struct api api;
    int r = api_open(said, &api), worst = CLI_OK;

    for (int pages = 0; r == CLI_OK && pages < LEDGER_PAGES_MAX; pages++) {
        const json_t *node;
        json_t *page;
        size_t i;

        snprintf(target, sizeof target, "/api/v1/ledger?limit=%d", LEDGER_PAGE_MAX);
        api_query(target, "node", only);
        api_query(target, "cursor", cursor[0] != '\0' ? cursor : NULL);
        if ((r = api_get(&api, target, &page)) != CLI_OK)
            break;
        json_array_foreach(json_object_get(page, "nodes"), i, node)
        {
            if (take_node(l, page, node, why) < 0)
                worst = cli_failed("ledger", "%s: %s", api.url, why);
        }
        if (tell_silent(json_object_get(page, "silent")) != CLI_OK)
            worst = CLI_FAILED;
        if (json_is_string(json_object_get(page, "next")))
            rm_text_copy(cursor, sizeof cursor, json_string_value(json_object_get(page, "next")));
        else
            pages = LEDGER_PAGES_MAX;
        json_decref(page);
    }
    if (r == CLI_OK && worst == CLI_OK && l->n == 0)
        return only != NULL ? cli_failed("ledger", "no node is called '%s'", only)
                            : cli_failed("ledger", "there are no nodes");
    return r != CLI_OK ? r : worst;
}

static int ledger_run(const struct cli_args *said)
{
    struct ledgers l = {.v = calloc(NODES_MAX, sizeof *l.v)};
    struct ledger_args args;
    int r = ledger_read_args(said, &args);

    if (r == CLI_OK && l.v == NULL)
        r = cli_failed("ledger", "%s", rm_strerror(UV_ENOMEM));
    else if (r == CLI_OK)
        r = args.map != NULL ? ask_workers(&args, &l) : ask_gateway(said, &l);
    if (l.n > 0 && (args.json  ? ledger_show_json(l.v, l.n)
                    : args.csv ? ledger_show_csv(l.v, l.n)
                               : ledger_show_text(l.v, l.n)) < 0)
        r = CLI_FAILED;
    for (size_t i = 0; i < l.n; i++)
        node_ledger_clear(&l.v[i]);
    free(l.v);
    return r;
}

static const struct cli_option ledger_options[] = {
    {.name = "role-map",
     .kind = CLI_STRING,
     .value = "FILE",
     .complete = CLI_COMPLETE_FILE,
     .help = "ask this map's workers, without a gateway"},
    {.name = "node",
     .kind = CLI_STRING,
     .value = "NAME",
     .complete = CLI_COMPLETE_NODE,
     .help = "this node alone"},
    {NULL},
};

const struct cli_command cli_ledger = {
    .name = "ledger",
    .group = CLI_LOOK,
    .summary = "what the nodes forecast for models, and what they then measured",
    .about = "One row for each model, context, number of slots, KV type and engine that was ever "
             "loaded. The gateway asks its workers; with --role-map they are asked from here.",
    .common = CLI_ASKS | CLI_JSON | CLI_CSV,
    .options = ledger_options,
    .run = ledger_run,
};
