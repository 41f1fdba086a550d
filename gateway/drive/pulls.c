/* SPDX-License-Identifier: MIT */
/* gateway/drive/pulls.c - models that come onto nodes: what the nodes said last of their pulls,
 * wishes of people turned into wishes to workers, and their answers. A wish may name a model of the
 * role map or of another node; what the names stand for is put in here, the worker judges the rest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/drive/drive_impl.h"
#include "proto/base/clock.h"
#include "proto/base/json_write.h"
#include "proto/node/fields.h"
#include "proto/node/pull.h"

enum { BODY_MAX = 16 * 1024 };

/* ---- as the ops API has them ---- */

static void write_time(struct rm_jw *w, const char *key, uint64_t seconds)
{
    char text[RM_TIME_TEXT];

    rm_jw_str(w, key, seconds > 0 ? rm_time_text((int64_t)seconds * 1000, text) : NULL);
}

static void write_known(struct rm_jw *w, const char *key, uint64_t v)
{
    if (v > 0)
        rm_jw_u64(w, key, v);
    else
        rm_jw_null(w, key);
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static void write_pull(struct rm_jw *w, const char *node, const struct node_pull *p)
{
    rm_jw_obj(w, NULL);
    rm_jw_str(w, "node", node);
    rm_jw_str(w, "id", p->id);
    rm_jw_str(w, "source", p->source);
    rm_jw_str(w, "file", or_null(p->file));
    rm_jw_str(w, "state", node_pull_state_name(p->state));
    write_known(w, "files", p->files);
    rm_jw_u64(w, "files_done", p->files_done);
    rm_jw_u64(w, "bytes", p->bytes);
    write_known(w, "total", p->total);
    rm_jw_u64(w, "fetched", p->fetched);
    rm_jw_dbl(w, "rate", p->rate);
    write_known(w, "eta_ms", p->eta_ms);
    rm_jw_u64(w, "tries", p->tries);
    rm_jw_str(w, "text", or_null(p->text));
    write_time(w, "began", p->began);
    write_time(w, "ended", p->ended);
    rm_jw_end(w);
}

int drive_write_pulls(const struct drive *d, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_arr(&w, NULL);
    for (size_t n = 0; n < d->map->n_nodes; n++)
        for (uint32_t i = 0; i < d->nodes[n]->state.n_pulls; i++)
            write_pull(&w, d->nodes[n]->name, &d->nodes[n]->state.pulls[i]);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

/* ---- a question's life ---- */

struct pull_ask {
    char node[NODE_NAME_MAX];
    drive_pull_fn *on_answer;
    void *arg;
    bool wish; /* else a cancel */
};

/* The message of a worker's error. */
static void error_text(struct rm_slice body, char *out, size_t size)
{
    char why[NODE_WHY_MAX];
    const char *text;
    json_t *root;

    out[0] = '\0';
    if (node_json_load(body, &root, why) < 0)
        return;
    text = json_string_value(json_object_get(json_object_get(root, "error"), "message"));
    rm_text_copy(out, size, text != NULL ? text : "");
    json_decref(root);
}

static int error_of(int status)
{
    switch (status) {
    case 400:
        return RM_ERR_FIELD;
    case 404:
        return RM_ERR_NOT_FOUND;
    case 409:
        return RM_ERR_STATE;
    case 503:
        return RM_ERR_OVERLOAD;
    default:
        return RM_ERR_UPSTREAM_INVALID;
    }
}

static void on_answer(void *arg, int err, int status, struct rm_slice body)
{
    struct pull_ask *a = arg;
    char text[DRIVE_PULL_WHY_MAX] = "";
    struct node_pull pull;
    struct rm_buf json;
    uint32_t n = 0;

    rm_buf_init(&json, BODY_MAX);
    if (err == 0 && (status < 200 || status >= 300)) {
        err = a->wish && status == 404 ? RM_ERR_UPSTREAM_INVALID : error_of(status);
        error_text(body, text, sizeof text);
        if (a->wish && status == 404)
            snprintf(text, sizeof text, "the worker of node %s is older: it takes no pulls",
                     a->node);
    } else if (err == 0) {
        err = node_pulls_decode(body, &pull, 1, &n, text);
        if (err < 0 || n != 1)
            err = RM_ERR_UPSTREAM_INVALID;
    } else if (err != UV_ENOMEM) {
        snprintf(text, sizeof text, "node %s: %s", a->node, rm_strerror(err));
        err = RM_ERR_UPSTREAM_LOST;
    }
    if (err == 0) {
        struct rm_jw w = rm_jw_to(&json);

        write_pull(&w, a->node, &pull);
        err = rm_jw_done(&w);
    }
    a->on_answer(a->arg, err, text, status == 201, (struct rm_slice){json.data, json.len});
    rm_buf_clear(&json);
    free(a);
}

static const struct drive_node *find_node(const struct drive *d, const char *name)
{
    for (size_t i = 0; i < d->map->n_nodes; i++)
        if (strcmp(d->nodes[i]->name, name) == 0)
            return d->nodes[i];
    return NULL;
}

static int ask(const struct drive *d, const char *node, const char *method, const char *target,
               struct rm_slice body, drive_pull_fn *fn, void *arg, char *why)
{
    const struct drive_node *n = find_node(d, node);
    struct pull_ask *a;
    int r;

    if (n == NULL) {
        snprintf(why, DRIVE_PULL_WHY_MAX, "the role map has no node of that name");
        return RM_ERR_NOT_FOUND;
    }
    if (!link_is_up(n->link)) {
        snprintf(why, DRIVE_PULL_WHY_MAX, "the worker of node %s does not answer now", n->name);
        return RM_ERR_UPSTREAM;
    }
    if ((a = calloc(1, sizeof *a)) == NULL)
        return UV_ENOMEM;
    rm_text_copy(a->node, sizeof a->node, n->name);
    a->on_answer = fn;
    a->arg = arg;
    a->wish = body.n > 0;
    if ((r = link_call(n->link, method, target, body, on_answer, a)) < 0)
        free(a);
    return r;
}

/* ---- wishes ---- */

static int wrong(char *why, const char *what, const char *name)
{
    char shown[200];

    snprintf(why, DRIVE_PULL_WHY_MAX, what, node_source_shown(name, shown, sizeof shown));
    return RM_ERR_FIELD;
}

/* "node:NAME/WHAT": where that node is, and what the map means by WHAT. */
static int resolve_node(const struct drive *d, const char *to, struct node_pull_wish *w, char *why)
{
    const char *what = strchr(w->source, '/');
    const struct drive_node *from;
    const struct map_model *m;
    char name[NODE_NAME_MAX], rest[NODE_SOURCE_MAX];
    size_t n = what != NULL ? (size_t)(what - w->source - 5) : 0;

    if (n == 0 || n >= sizeof name)
        return wrong(why, "source: expected node:NAME/FILE: %s", w->source);
    memcpy(name, w->source + 5, n);
    name[n] = '\0';
    if ((from = find_node(d, name)) == NULL)
        return wrong(why, "source: the role map has no node %s", name);
    if (strcmp(name, to) == 0)
        return wrong(why, "source: node %s has it already, or not at all", name);
    http_address_text(&from->address, w->from);
    if ((m = role_map_model(d->map, rm_slice_of(what + 1))) == NULL)
        return 0;
    if (m->kind == MAP_SOURCE_ATTACH)
        return wrong(why, "source: model %s has no file: another engine has it", m->name);
    rm_text_copy(rest, sizeof rest, m->source);
    if (snprintf(w->source, sizeof w->source, "node:%s/%s", name, rest) >= (int)sizeof w->source)
        return wrong(why, "source: too long", "");
    return 0;
}

static int resolve(const struct drive *d, const char *to, struct node_pull_wish *w, char *why)
{
    const struct map_model *m;

    if (strncmp(w->source, "node:", 5) == 0)
        return resolve_node(d, to, w, why);
    if ((m = role_map_model(d->map, rm_slice_of(w->source))) == NULL)
        return 0;
    if (m->kind == MAP_SOURCE_ATTACH)
        return wrong(why, "source: model %s has no file: another engine has it", m->name);
    if (m->kind != MAP_SOURCE_HF)
        return wrong(why,
                     "source: model %s is a file of the nodes: copy it from one that has it "
                     "(rolemesh copy, or node:NAME/MODEL)",
                     m->name);
    rm_text_copy(w->source, sizeof w->source, m->source);
    return 0;
}

int drive_pull(struct drive *d, const char *node, const struct node_pull_wish *wish,
               drive_pull_fn *fn, void *arg, char *why)
{
    struct node_pull_wish w = *wish;
    struct rm_buf body;
    int r;

    why[0] = '\0';
    _Static_assert(sizeof w.from >= HTTP_ADDRESS_TEXT, "an address fits");
    w.from[0] = '\0';
    if ((r = resolve(d, node, &w, why)) < 0)
        return r;
    rm_buf_init(&body, BODY_MAX);
    if ((r = node_pull_wish_encode(&w, &body)) == 0)
        r = ask(d, node, "POST", "/node/v1/pulls", (struct rm_slice){body.data, body.len}, fn, arg,
                why);
    rm_buf_clear(&body);
    return r;
}

int drive_cancel_pull(struct drive *d, const char *node, const char *id, drive_pull_fn *fn,
                      void *arg, char *why)
{
    char target[64];

    why[0] = '\0';
    if (strlen(id) >= NODE_PULL_ID || strspn(id, "p-0123456789abcdef") != strlen(id)) {
        snprintf(why, DRIVE_PULL_WHY_MAX, "there is no such pull");
        return RM_ERR_NOT_FOUND;
    }
    snprintf(target, sizeof target, "/node/v1/pulls/%s", id);
    return ask(d, node, "DELETE", target, (struct rm_slice){NULL, 0}, fn, arg, why);
}
