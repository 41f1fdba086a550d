/* SPDX-License-Identifier: MIT */
/* gateway/ops/ledger.c - GET /api/v1/ledger: the ledgers of all workers, node after node in the
 * order of the role map. A page asks each node from its cursor on for as many rows as it has
 * itself, all at once; the cursor is "NODE:ID", the last row that was told. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ops/asking.h"
#include "gateway/ops/list.h"
#include "proto/base/json_write.h"
#include "proto/node/ledger.h"

enum { CURSOR_MAX = NODE_NAME_MAX + 24 };

struct ledger_page {
    uint64_t limit;
    char model[QUERY_VALUE_MAX]; /* "": all */
    struct node_ledger *v;       /* of each node that answered; in the thread */
    const struct asked_node **silent;
    char (*why)[160];
    size_t n_silent;
};

/* ---- in a thread ---- */

static void add_silent(struct ledger_page *p, const struct asked_node *n, const char *why)
{
    rm_text_copy(p->why[p->n_silent], sizeof(p->why[0]), why);
    p->silent[p->n_silent++] = n;
}

/* Writes a node's rows. True: the page goes on with the next node; else `next` is set. */
static bool word_rows(const struct ledger_page *p, const char *node, const struct node_ledger *l,
                      struct rm_jw *w, uint64_t *n, char next[CURSOR_MAX])
{
    uint64_t last = 0;

    for (uint32_t i = 0; i < l->n; i++) {
        const struct node_ledger_row *row = &l->rows[i];

        if (p->model[0] != '\0' && strcmp(p->model, row->model) != 0) {
            last = row->id;
            continue;
        }
        if (*n == p->limit) {
            snprintf(next, CURSOR_MAX, "%s:%llu", node, (unsigned long long)last);
            return false;
        }
        ++*n;
        last = row->id;
        rm_jw_obj(w, NULL);
        rm_jw_str(w, "node", node);
        rm_jw_str(w, "model", row->model);
        node_ledger_row_put(w, "row", row);
        rm_jw_end(w);
    }
    if (l->next == 0)
        return true;
    snprintf(next, CURSOR_MAX, "%s:%llu", node, (unsigned long long)l->next);
    return false;
}

static size_t word_list(const struct asking *a, struct rm_jw *w, char next[CURSOR_MAX])
{
    struct ledger_page *p = a->job;
    bool goes_on = true;
    uint64_t n = 0;
    size_t i;

    rm_jw_arr(w, "ledger");
    for (i = 0; goes_on && i < a->n; i++) {
        const struct asked_node *node = &a->nodes[i];
        char why[160];

        if (!node->asked)
            continue;
        if (asking_silence(node, why) != NULL)
            add_silent(p, node, why);
        else if (node_ledger_decode((struct rm_slice){node->body.data, node->body.len}, &p->v[i],
                                    why) < 0)
            add_silent(p, node, "its answer cannot be read");
        else
            goes_on = word_rows(p, node->node->name, &p->v[i], w, &n, next);
    }
    rm_jw_end(w);
    return i;
}

static void word_nodes(const struct asking *a, size_t n, struct rm_jw *w)
{
    const struct ledger_page *p = a->job;

    rm_jw_arr(w, "nodes");
    for (size_t i = 0; i < n; i++) {
        if (p->v[i].node[0] == '\0')
            continue;
        rm_jw_obj(w, NULL);
        rm_jw_str(w, "node", a->nodes[i].node->name);
        rm_jw_bool(w, "usable", p->v[i].usable);
        rm_jw_u64(w, "lost", p->v[i].lost);
        node_ledger_errors_put(w, "errors", &p->v[i].errors);
        rm_jw_end(w);
    }
    rm_jw_end(w);
}

static int word(struct asking *a, struct rm_buf *out)
{
    struct ledger_page *p = a->job;
    struct rm_jw w = rm_jw_to(out);
    char next[CURSOR_MAX] = "";
    size_t n;

    p->v = calloc(a->n + 1, sizeof *p->v);
    p->silent = calloc(a->n + 1, sizeof *p->silent);
    p->why = calloc(a->n + 1, sizeof *p->why);
    if (p->v == NULL || p->silent == NULL || p->why == NULL)
        return UV_ENOMEM;
    rm_jw_obj(&w, NULL);
    n = word_list(a, &w, next);
    rm_jw_str(&w, "next", next[0] != '\0' ? next : NULL);
    word_nodes(a, n, &w);
    rm_jw_arr(&w, "silent");
    for (size_t i = 0; i < p->n_silent; i++) {
        rm_jw_obj(&w, NULL);
        rm_jw_str(&w, "node", p->silent[i]->node->name);
        rm_jw_str(&w, "why", p->why[i]);
        rm_jw_end(&w);
    }
    rm_jw_end(&w);
    rm_jw_end(&w);
    for (size_t i = 0; i < a->n; i++)
        node_ledger_clear(&p->v[i]);
    return rm_jw_done(&w);
}

static void page_free(void *job)
{
    struct ledger_page *p = job;

    if (p == NULL)
        return;
    free(p->v);
    free(p->silent);
    free(p->why);
    free(p);
}

/* ---- the query ---- */

/* Where the page begins. Returns 0 or RM_ERR_STATE: nowhere now. */
static int read_cursor(struct ops_call *c, const struct role_map *map, size_t *first,
                       uint64_t *after)
{
    const char *cursor = query_get(&c->query, "cursor"), *colon;
    const struct map_node *node;
    char *end;

    *first = *after = 0;
    if (cursor == NULL)
        return 0;
    colon = strrchr(cursor, ':');
    node = colon != NULL ? role_map_node(map, (struct rm_slice){cursor, (size_t)(colon - cursor)})
                         : NULL;
    if (node != NULL && colon[1] >= '0' && colon[1] <= '9' && strlen(colon) < 17) {
        *first = node->index;
        *after = strtoull(colon + 1, &end, 10);
        if (*end == '\0')
            return 0;
    }
    snprintf(c->query.why, sizeof c->query.why,
             "cursor: nothing in this list has that name now; begin again without one");
    return RM_ERR_STATE;
}

static int prepare(struct ops_call *c, struct asking *a)
{
    const char *node = query_get(&c->query, "node"), *model = query_get(&c->query, "model");
    struct ledger_page *p = calloc(1, sizeof *p);
    uint64_t after;
    size_t first;
    int r;

    if (p == NULL)
        return UV_ENOMEM;
    a->job = p;
    a->job_free = page_free;
    a->word = word;
    rm_text_copy(p->model, sizeof p->model, model != NULL ? model : "");
    if ((r = query_number(&c->query, "limit", 1, LIST_LIMIT_MAX, LIST_LIMIT, &p->limit)) < 0 ||
        (r = read_cursor(c, a->map, &first, &after)) < 0)
        return r;
    for (size_t i = first; i < a->n; i++) {
        uint64_t rows = p->limit < LEDGER_PAGE_MAX ? p->limit : LEDGER_PAGE_MAX;

        a->nodes[i].asked = node == NULL || strcmp(node, a->nodes[i].node->name) == 0;
        if (model != NULL)
            rows = LEDGER_PAGE_MAX; /* most are not wanted */
        snprintf(a->nodes[i].target, sizeof a->nodes[i].target,
                 "/node/v1/ledger?after=%llu&limit=%llu",
                 i == first ? (unsigned long long)after : 0ull, (unsigned long long)rows);
    }
    return 0;
}

bool ops_take_ledger(struct ops_call *c)
{
    return asking_take(c, prepare);
}
