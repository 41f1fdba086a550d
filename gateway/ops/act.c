/* SPDX-License-Identifier: MIT */
/* gateway/ops/act.c - what operators do: hosts loaded, unloaded, drained, undrained and evicted,
 * nodes drained and undrained, the role map and keys read again. An order is accepted, not waited
 * for: what comes of it is seen in states and events. Each is an event that says whose it was. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/ops/events.h"
#include "gateway/ops/ops_impl.h"
#include "proto/base/json_write.h"
#include "proto/http/problem.h"

enum { TEXT_MAX = 700 };

static const char *const words[] = {
    [OPS_LOAD] = "load",       [OPS_UNLOAD] = "unload", [OPS_DRAIN] = "drain",
    [OPS_UNDRAIN] = "undrain", [OPS_EVICT] = "evict",
};

/* The last segment of the route's path is the order. */
static enum ops_act act_of(const struct ops_call *c)
{
    const char *word = strrchr(c->route->path, '/') + 1;
    size_t i = 0;

    while (i + 1 < RM_COUNT(words) && strcmp(words[i], word) != 0)
        i++;
    return (enum ops_act)i;
}

/* role NULL: of a node. */
static void tell(const struct ops_call *c, enum ops_act act, const char *role, const char *node,
                 const char *text)
{
    char kind[40], subject[2 * OPS_PART_MAX + 2], line[TEXT_MAX + 128];

    snprintf(kind, sizeof kind, "operator.%s", words[act]);
    snprintf(subject, sizeof subject, "%s%s%s", role != NULL ? role : "", role != NULL ? "@" : "",
             node);
    if (c->who.name[0] != '\0')
        snprintf(line, sizeof line, "%s (by the key %s)", text, c->who.name);
    else
        snprintf(line, sizeof line, "%s (by an operator on this machine)", text);
    ops_watch_tell(ops_watch_of(c->ops), &(struct event){EVENT_INFO, kind, subject, line, NULL});
}

static int operate(struct ops_call *c, int *status, const char *role, const char *node)
{
    enum ops_act act = act_of(c);
    struct rm_jw w = rm_jw_to(&c->out);
    char text[TEXT_MAX] = "";
    int r = c->sources->operate(c->sources->arg, act, role, node, c->who.name, text, sizeof text);

    if (r < 0) {
        snprintf(c->query.why, sizeof c->query.why, "%s", text);
        return r;
    }
    tell(c, act, role, node, text);
    *status = 202;
    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "action", words[act]);
    rm_jw_str(&w, "role", role);
    rm_jw_str(&w, "node", node);
    rm_jw_str(&w, "text", text);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

int ops_operate_host(struct ops_call *c, int *status)
{
    return operate(c, status, c->part[0], c->part[1]);
}

int ops_operate_node(struct ops_call *c, int *status)
{
    return operate(c, status, NULL, c->part[0]);
}

/* ---- reload ---- */

/* One that waits for its answer. */
struct reload {
    struct http_req *q; /* NULL: gone */
    bool asked;
};

static void reload_free_when_over(struct reload *l)
{
    if (l->q == NULL && !l->asked)
        free(l);
}

static void reload_on_answer(void *arg, int status, struct rm_slice json)
{
    struct reload *l = arg;

    l->asked = false;
    if (l->q != NULL)
        http_reply_full(l->q, status, &ops_no_store, 1,
                        status < 400 ? "application/json" : HTTP_PROBLEM_TYPE, json);
    reload_free_when_over(l);
}

static void reload_on_done(struct http_req *q)
{
    struct reload *l = http_req_arg(q);

    l->q = NULL;
    reload_free_when_over(l);
}

bool ops_post_reload(struct ops_call *c)
{
    static const struct http_req_ops ops = {.on_done = reload_on_done};
    static const struct http_out_field later = {"Retry-After", {"1", 1}};
    struct reload *l = calloc(1, sizeof *l);
    char text[200];
    int r;

    if (l == NULL)
        return false;
    l->q = c->q;
    http_req_accept(c->q, &ops, l);
    r = c->sources->reload(c->sources->arg, reload_on_answer, l);
    l->asked = r == 0;
    if (r < 0) {
        ops_answer_error(c->q, r, NULL, rm_err_status(r) == 503 ? &later : NULL);
        return true;
    }
    if (c->who.name[0] != '\0')
        snprintf(text, sizeof text, "the role map and keys are read again (by the key %s)",
                 c->who.name);
    else
        snprintf(text, sizeof text,
                 "the role map and keys are read again (by an operator on this machine)");
    ops_watch_tell(ops_watch_of(c->ops),
                   &(struct event){EVENT_INFO, "operator.reload", "gateway", text, NULL});
    return true;
}
