/* SPDX-License-Identifier: MIT */
/* gateway/ops/logs.c - GET /api/v1/logs: the last log lines of this gateway, or with `node` of that
 * worker and its engines (GET /node/v1/logs), newest first. The cursor is the id that older lines
 * lie below; `after` asks for what came since, so that a follower asks again and again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ops/asking.h"
#include "gateway/ops/list.h"
#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/node/fields.h"
#include "proto/node/logs.h"

#define ID_MAX ((1ULL << 53) - 1)

struct logs_page {
    struct rm_log_wish wish;
    char engine[NODE_NAME_MAX];
    const struct asked_node *asked; /* NULL: our own lines */
};

/* ---- in a thread ---- */

static void put_line(struct rm_jw *w, const char *node, const struct node_log_line *line)
{
    char at[RM_TIME_TEXT];

    rm_jw_obj(w, NULL);
    rm_jw_u64(w, "id", line->id);
    rm_jw_str(w, "at", rm_time_text((int64_t)line->at_ms, at));
    rm_jw_str(w, "node", node);
    rm_jw_str(w, "level", rm_log_level_name(line->level));
    rm_jw_str(w, "engine", line->engine[0] != '\0' ? line->engine : NULL);
    rm_jw_str(w, "area", line->area);
    rm_jw_str(w, "text", line->text);
    rm_jw_end(w);
}

static int put_page(const struct node_logs *l, const char *node, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);
    char next[24];

    snprintf(next, sizeof next, "%" PRIu64, l->next);
    rm_jw_obj(&w, NULL);
    rm_jw_arr(&w, "logs");
    for (uint32_t i = 0; i < l->n; i++)
        put_line(&w, node, &l->lines[i]);
    rm_jw_end(&w);
    rm_jw_str(&w, "next", l->next != 0 ? next : NULL);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

/* What the worker said. */
static int take_answer(struct asking *a, const struct asked_node *n, struct node_logs *out)
{
    char why[NODE_WHY_MAX], silence[160];

    if (n->err == 0 && n->status == 404) {
        a->fault = "the worker of that node is older and keeps no log lines";
        return RM_ERR_UPSTREAM;
    }
    if (asking_silence(n, silence) != NULL) {
        a->fault = "the worker of that node does not answer";
        return RM_ERR_UPSTREAM;
    }
    if (node_logs_decode((struct rm_slice){n->body.data, n->body.len}, out, why) == 0)
        return 0;
    a->fault = "the answer of that node's worker cannot be read";
    return RM_ERR_UPSTREAM_INVALID;
}

static int word(struct asking *a, struct rm_buf *out)
{
    const struct logs_page *p = a->job;
    struct node_logs logs = {.n = 0};
    int r;

    r = p->asked != NULL ? take_answer(a, p->asked, &logs) : node_logs_take(&p->wish, &logs);
    if (r == 0)
        r = put_page(&logs, p->asked != NULL ? p->asked->node->name : NULL, out);
    node_logs_clear(&logs);
    return r;
}

/* ---- the query ---- */

static int read_wish(struct ops_call *c, struct logs_page *p)
{
    static const char *const levels[] = {"error", "warn", "info", "debug", NULL};
    const char *engine = query_get(&c->query, "engine");
    uint64_t limit;
    int level = query_word(&c->query, "level", levels), r;

    if ((r = query_number(&c->query, "limit", 1, LIST_LIMIT_MAX, LIST_LIMIT, &limit)) < 0 ||
        (r = query_number(&c->query, "after", 0, ID_MAX, 0, &p->wish.after)) < 0)
        return r;
    if (query_number(&c->query, "cursor", 1, ID_MAX, 0, &p->wish.before) < 0) {
        snprintf(c->query.why, sizeof c->query.why,
                 "cursor: it is none of this list's; begin again without one");
        return RM_ERR_STATE;
    }
    p->wish.limit = (size_t)limit;
    p->wish.level = level >= 0 ? (enum rm_log_level)level : RM_LOG_DEBUG;
    if (engine == NULL)
        return 0;
    if (strlen(engine) >= sizeof p->engine ||
        strspn(engine, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
            strlen(engine)) {
        snprintf(c->query.why, sizeof c->query.why, "engine: that is no name of a role");
        return RM_ERR_FIELD;
    }
    rm_text_copy(p->engine, sizeof p->engine, engine);
    p->wish.engine = p->engine;
    return 0;
}

/* The question to the node's worker. Returns 0 or RM_ERR_NOT_FOUND. */
static int ask_of(struct ops_call *c, struct asking *a, struct logs_page *p)
{
    const char *node = query_get(&c->query, "node");
    int n;

    if (node == NULL)
        return 0;
    for (size_t i = 0; i < a->n; i++) {
        struct asked_node *asked = &a->nodes[i];

        if (strcmp(asked->node->name, node) != 0)
            continue;
        n = snprintf(asked->target, sizeof asked->target, "/node/v1/logs?limit=%zu&level=%s",
                     p->wish.limit, rm_log_level_name(p->wish.level));
        if (p->wish.after > 0)
            n += snprintf(asked->target + n, sizeof asked->target - (size_t)n, "&after=%" PRIu64,
                          p->wish.after);
        if (p->wish.before > 0)
            n += snprintf(asked->target + n, sizeof asked->target - (size_t)n, "&before=%" PRIu64,
                          p->wish.before);
        if (p->wish.engine != NULL)
            snprintf(asked->target + n, sizeof asked->target - (size_t)n, "&engine=%s", p->engine);
        asked->asked = true;
        p->asked = asked;
        return 0;
    }
    snprintf(c->query.why, sizeof c->query.why, "the role map has no node '%s'", node);
    return RM_ERR_NOT_FOUND;
}

static int prepare(struct ops_call *c, struct asking *a)
{
    struct logs_page *p = calloc(1, sizeof *p);
    int r;

    if (p == NULL)
        return UV_ENOMEM;
    a->job = p;
    a->job_free = free;
    a->word = word;
    r = read_wish(c, p);
    return r == 0 ? ask_of(c, a, p) : r;
}

bool ops_take_logs(struct ops_call *c)
{
    return asking_take(c, prepare);
}
