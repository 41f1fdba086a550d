/* SPDX-License-Identifier: MIT */
/* gateway/ops/read.c - the answers of ops that only tell: what the sources write, as a list with
 * pages and filters, or one element of it. */
#include <stdio.h>

#include "gateway/ops/list.h"
#include "gateway/ops/ops_impl.h"
#include "gateway/ops/read.h"
#include "proto/base/json_write.h"
#include "proto/base/om.h"

int ops_read_page(struct ops_call *c, struct list_page *page, struct page_texts *t)
{
    const char *const *specs = c->route->params;
    const char *value;
    uint64_t limit;
    int r = query_number(&c->query, "limit", 1, LIST_LIMIT_MAX, LIST_LIMIT, &limit);

    page->limit = (uint32_t)limit;
    page->cursor = query_get(&c->query, "cursor");
    for (size_t i = 0; r == 0 && specs[i] != NULL; i++) {
        char *name = t->name[i];
        bool is_since, is_time;

        snprintf(name, sizeof t->name[i], "%.*s", (int)strcspn(specs[i], "="), specs[i]);
        is_since = strcmp(name, "since") == 0;
        is_time = is_since || strcmp(name, "until") == 0;
        if ((value = query_get(&c->query, name)) == NULL || strcmp(name, "limit") == 0 ||
            strcmp(name, "cursor") == 0 || strcmp(name, "live") == 0)
            continue;
        if (!is_time) {
            const char *member = strcmp(name, "mode") == 0 && page->modes ? "modes" : name;

            page->filter[page->n_filters++] = (struct list_filter){member, value};
            continue;
        }
        if (!list_time(value, is_since ? t->since : t->until)) {
            snprintf(c->query.why, sizeof c->query.why,
                     "%s: '%s' is not a time such as 2026-05-04T12:00:00Z", name, value);
            r = RM_ERR_FIELD;
        }
        *(is_since ? &page->since : &page->until) = is_since ? t->since : t->until;
    }
    return r;
}

int ops_write_page(struct ops_call *c, struct list_page *page,
                   int (*source)(void *arg, struct rm_buf *out), void *arg)
{
    struct page_texts texts;
    struct rm_buf all;
    int r = ops_read_page(c, page, &texts);

    rm_buf_init(&all, OPS_ANSWER_MAX);
    if (r == 0)
        r = source(arg, &all);
    if (r == 0)
        r = list_write(page, (struct rm_slice){all.data, all.len}, &c->out);
    if (r == RM_ERR_STATE)
        snprintf(c->query.why, sizeof c->query.why,
                 "cursor: nothing in this list has that name now; begin again without one");
    rm_buf_clear(&all);
    return r;
}

static int write_list(struct ops_call *c, struct list_page *page,
                      int (*source)(void *arg, struct rm_buf *out))
{
    int r = rm_buf_puts(&c->out, "{");

    if (r == 0)
        r = ops_write_page(c, page, source, c->sources->arg);
    return r == 0 ? rm_buf_puts(&c->out, "}\n") : r;
}

/* One element of a list, by its name in the path. */
static int write_item(struct ops_call *c, const char *what,
                      int (*source)(void *arg, struct rm_buf *out))
{
    struct rm_slice left, item;
    struct rm_buf all;
    bool found = false;
    int r;

    rm_buf_init(&all, OPS_ANSWER_MAX);
    r = source(c->sources->arg, &all);
    left = (struct rm_slice){all.data, all.len};
    while (r == 0 && !found && list_next(&left, &item))
        found = list_member_is(item, "name", c->part[0]);
    if (r == 0 && found) {
        r = rm_buf_put(&c->out, item.p, item.n);
        if (r == 0)
            r = rm_buf_puts(&c->out, "\n");
    } else if (r == 0) {
        snprintf(c->query.why, sizeof c->query.why, "the role map has no %s '%s'", what,
                 c->part[0]);
        r = RM_ERR_NOT_FOUND;
    }
    rm_buf_clear(&all);
    return r;
}

static int ended(int r, struct rm_buf *out, const char *end)
{
    return r == 0 ? rm_buf_puts(out, end) : r;
}

int ops_get_status(struct ops_call *c, int *status)
{
    (void)status;
    return ended(c->sources->status(c->sources->arg, &c->out), &c->out, "\n");
}

int ops_get_nodes(struct ops_call *c, int *status)
{
    struct list_page page = {.name = "nodes", .key = {"name"}};

    (void)status;
    return write_list(c, &page, c->sources->nodes);
}

int ops_get_node(struct ops_call *c, int *status)
{
    (void)status;
    return write_item(c, "node", c->sources->nodes);
}

int ops_get_hosts(struct ops_call *c, int *status)
{
    struct list_page page = {.name = "hosts", .key = {"role", "node"}};

    (void)status;
    return write_list(c, &page, c->sources->hosts);
}

int ops_get_roles(struct ops_call *c, int *status)
{
    struct list_page page = {.name = "roles", .key = {"name"}, .modes = true};
    const struct ops_sources *s = c->sources;
    int r = rm_buf_puts(&c->out, "{");

    (void)status;
    if (r == 0)
        r = ops_write_page(c, &page, s->roles, s->arg);
    if (r == 0)
        r = rm_buf_puts(&c->out, ",\"shortfalls\":");
    return ended(r == 0 ? s->shortfalls(s->arg, &c->out) : r, &c->out, "}\n");
}

int ops_get_role(struct ops_call *c, int *status)
{
    (void)status;
    return write_item(c, "role", c->sources->roles);
}

int ops_get_map(struct ops_call *c, int *status)
{
    (void)status;
    return ended(c->sources->map(c->sources->arg, &c->out), &c->out, "\n");
}

int ops_get_metrics(struct ops_call *c, int *status)
{
    bool classic = rm_om_wants_classic(http_head_value(http_req_head(c->q), "Accept"));
    struct rm_om om;

    (void)status;
    rm_om_begin(&om, &c->out, classic);
    c->sources->metrics(c->sources->arg, &om);
    c->type = classic ? RM_OM_TYPE_TEXT : RM_OM_TYPE;
    return rm_om_end(&om);
}

int ops_get_health(struct ops_call *c, int *status)
{
    (void)status;
    return rm_buf_puts(&c->out, "{\"status\":\"ok\"}\n");
}

int ops_get_ready(struct ops_call *c, int *status)
{
    const char *why = c->sources->not_ready(c->sources->arg);
    struct rm_jw w = rm_jw_to(&c->out);

    *status = why == NULL ? 200 : 503;
    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "status", why == NULL ? "ready" : "not ready");
    if (why != NULL)
        rm_jw_str(&w, "reason", why);
    rm_jw_end(&w);
    return ended(rm_jw_done(&w), &c->out, "\n");
}
