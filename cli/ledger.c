/* SPDX-License-Identifier: MIT */
/* cli/ledger.c - `rolemesh ledger`: what the workers forecast and what they then measured.
 * Asks each worker for GET /node/v1/ledger, page by page; a worker that does not answer is told and
 * the others are shown (exit code 1). ledger_show.c prints. One thread. */
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/ledger_show.h"
#include "cli/nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { LEDGER_DEADLINE_MS = 10000, LEDGER_PAGES_MAX = 100, LEDGER_WHY_MAX = 256 };

struct ledger_args {
    const char *map, *gateway, *node;
    bool json;
};

static int ledger_read_args(const struct cli_args *said, struct ledger_args *args)
{
    *args = (struct ledger_args){.map = cli_text(said, "role-map"),
                                 .gateway = cli_gateway(said),
                                 .node = cli_text(said, "node"),
                                 .json = cli_wants_json(said)};
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

static int ledger_run(const struct cli_args *said)
{
    struct ledger_args args;
    struct node_ledger *all;
    struct cli_nodes nodes;
    size_t got = 0;
    int r = ledger_read_args(said, &args);

    if (r != CLI_OK)
        return r;
    r = nodes_find("ledger", args.map, args.gateway, args.node, &nodes);
    if (r != CLI_OK)
        return r;
    if ((all = calloc(nodes.n, sizeof *all)) == NULL) {
        nodes_clear(&nodes);
        return cli_failed("ledger", "%s", rm_strerror(UV_ENOMEM));
    }
    for (size_t i = 0; i < nodes.n; i++) {
        char why[LEDGER_WHY_MAX], address[HTTP_ADDRESS_TEXT];

        http_address_text(&nodes.v[i].address, address);
        if (ledger_ask(&nodes.v[i], &all[got], why) == 0) {
            rm_text_copy(all[got].node, sizeof all[got].node, nodes.v[i].name);
            got++;
            continue;
        }
        node_ledger_clear(&all[got]);
        r = cli_failed("ledger", "node '%s' (%s): %s", nodes.v[i].name, address, why);
    }
    if (got > 0 && (args.json ? ledger_show_json(all, got) : ledger_show_text(all, got)) < 0)
        r = CLI_FAILED;
    for (size_t i = 0; i < got; i++)
        node_ledger_clear(&all[i]);
    free(all);
    nodes_clear(&nodes);
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
             "loaded. The workers are asked themselves; the gateway tells only where they are.",
    .common = CLI_ASKS | CLI_JSON,
    .options = ledger_options,
    .run = ledger_run,
};
