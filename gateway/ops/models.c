/* SPDX-License-Identifier: MIT */
/* gateway/ops/models.c - GET /api/v1/models: the models of the role map, joined with the files that
 * the workers list. First the map's, in its order, then other files by their paths. Names of files
 * are whatever somebody called them. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ops/asking.h"
#include "gateway/ops/list.h"
#include "proto/base/json_write.h"
#include "proto/gguf/gguf_model.h"
#include "proto/node/models.h"

enum { ID_DIGITS = 16, PATH_BYTES = 2 * NODE_MODEL_PATH_MAX };

/* A file on a node. */
struct file {
    char *path; /* absolute; owned */
    size_t node;
    const struct node_model *model;
    bool in_map;
};

struct models_page {
    uint64_t limit;
    char cursor[QUERY_VALUE_MAX], name[QUERY_VALUE_MAX], role[QUERY_VALUE_MAX],
        node[QUERY_VALUE_MAX]; /* "": none */
    bool has_cursor;
    /* in the thread */
    struct node_models *lists; /* of each node */
    char (*why)[160];          /* of each node; "": it told */
    struct file *files;        /* sorted by path, then node */
    size_t n_files;
    bool behind, more; /* the cursor's element has been seen; the page is full */
    uint64_t n;
    char last[ID_DIGITS + 1];
};

/* ---- what there is ---- */

static int by_path(const void *a, const void *b)
{
    const struct file *x = a, *y = b;
    int r = strcmp(x->path, y->path);

    return r != 0 ? r : x->node < y->node ? -1 : x->node > y->node;
}

static int add_files(struct models_page *p, size_t node)
{
    const struct node_models *l = &p->lists[node];
    const char *slash = l->dir[0] != '\0' && l->dir[strlen(l->dir) - 1] == '/' ? "" : "/";
    char path[PATH_BYTES];

    for (uint32_t i = 0; i < l->n; i++) {
        snprintf(path, sizeof path, "%s%s%s", l->dir, slash, l->v[i].path);
        p->files[p->n_files] = (struct file){strdup(path), node, &l->v[i], false};
        if (p->files[p->n_files].path == NULL)
            return UV_ENOMEM;
        p->n_files++;
    }
    return 0;
}

static int read_nodes(const struct asking *a, struct models_page *p)
{
    size_t n = 0;
    int r = 0;

    for (size_t i = 0; i < a->n; i++) {
        const struct asked_node *node = &a->nodes[i];
        char why[160];

        if (asking_silence(node, why) != NULL)
            rm_text_copy(p->why[i], sizeof(p->why[0]), why);
        else if ((r = node_models_decode((struct rm_slice){node->body.data, node->body.len},
                                         &p->lists[i], why)) == UV_ENOMEM)
            return r;
        else if (r < 0)
            snprintf(p->why[i], sizeof(p->why[0]), "its answer cannot be read: %.100s", why);
        else if (p->lists[i].truncated)
            snprintf(p->why[i], sizeof(p->why[0]), "it has more files than it lists");
        n += p->lists[i].n;
    }
    if ((p->files = calloc(n + 1, sizeof *p->files)) == NULL)
        return UV_ENOMEM;
    for (size_t i = 0; i < a->n; i++)
        if ((r = add_files(p, i)) < 0)
            return r;
    if (p->n_files > 1)
        qsort(p->files, p->n_files, sizeof *p->files, by_path);
    return 0;
}

/* The first file with the path, and how many nodes have it. */
static size_t find_files(const struct models_page *p, const char *path, size_t *n)
{
    size_t low = 0, high = p->n_files;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (strcmp(p->files[mid].path, path) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    for (*n = 0; low + *n < p->n_files && strcmp(p->files[low + *n].path, path) == 0; ++*n)
        ;
    return low;
}

/* ---- one model ---- */

struct entry {
    const struct map_model *model; /* NULL: the map has none */
    const char *source;
    const struct file *files;
    size_t n_files;
};

static void id_of(const struct entry *e, char out[ID_DIGITS + 1])
{
    unsigned char sum[crypto_generichash_BYTES_MIN];
    crypto_generichash_state s;

    crypto_generichash_init(&s, NULL, 0, sizeof sum);
    if (e->model != NULL)
        crypto_generichash_update(&s, (const unsigned char *)e->model->name,
                                  strlen(e->model->name) + 1);
    crypto_generichash_update(&s, (const unsigned char *)e->source, strlen(e->source));
    crypto_generichash_final(&s, sum, sizeof sum);
    sodium_bin2hex(out, ID_DIGITS + 1, sum, ID_DIGITS / 2);
}

static bool has_role(const struct asking *a, const struct entry *e, const char *role)
{
    const struct map_role *r = role_map_role(a->map, rm_slice_of(role));

    return r != NULL && e->model != NULL && r->model == e->model;
}

static bool has_node(const struct asking *a, const struct entry *e, const char *node)
{
    for (size_t i = 0; i < e->n_files; i++)
        if (strcmp(a->nodes[e->files[i].node].node->name, node) == 0)
            return true;
    return false;
}

static bool is_wanted(const struct asking *a, const struct entry *e)
{
    const struct models_page *p = a->job;

    return (p->name[0] == '\0' || (e->model != NULL && strcmp(p->name, e->model->name) == 0)) &&
           (p->role[0] == '\0' || has_role(a, e, p->role)) &&
           (p->node[0] == '\0' || has_node(a, e, p->node));
}

/* All parts of a split model; one that is not split is one file. */
static bool is_complete(const struct node_model *m)
{
    uint32_t part, parts;

    return !gguf_split_name(m->path, &part, &parts) || (part == 1 && m->files == parts);
}

static void word_entry(const struct asking *a, const struct entry *e, const char *id,
                       struct rm_jw *w)
{
    rm_jw_obj(w, NULL);
    rm_jw_str(w, "id", id);
    rm_jw_str(w, "name", e->model != NULL ? e->model->name : NULL);
    rm_jw_str(w, "source", e->source);
    rm_jw_arr(w, "roles");
    for (size_t r = 0; e->model != NULL && r < a->map->n_roles; r++)
        if (a->map->roles[r].model == e->model)
            rm_jw_str(w, NULL, a->map->roles[r].name);
    rm_jw_end(w);
    rm_jw_arr(w, "nodes");
    for (size_t i = 0; i < e->n_files; i++) {
        const struct node_model *m = e->files[i].model;

        rm_jw_obj(w, NULL);
        rm_jw_str(w, "node", a->nodes[e->files[i].node].node->name);
        rm_jw_str(w, "file", e->files[i].path);
        rm_jw_u64(w, "bytes", m->bytes);
        rm_jw_str(w, "model_hash", m->model_hash[0] != '\0' ? m->model_hash : NULL);
        rm_jw_bool(w, "complete", is_complete(m));
        rm_jw_end(w);
    }
    rm_jw_end(w);
    rm_jw_end(w);
}

/* ---- the page, in a thread ---- */

static void take_entry(const struct asking *a, const struct entry *e, struct rm_jw *w)
{
    struct models_page *p = a->job;
    char id[ID_DIGITS + 1];

    if (p->more)
        return;
    id_of(e, id);
    if (p->has_cursor && !p->behind) {
        p->behind = strcmp(id, p->cursor) == 0;
        return;
    }
    if (!is_wanted(a, e))
        return;
    if (p->n == p->limit) {
        p->more = true;
        return;
    }
    p->n++;
    memcpy(p->last, id, sizeof id);
    word_entry(a, e, id, w);
}

static void word_models(const struct asking *a, struct rm_jw *w)
{
    struct models_page *p = a->job;

    for (size_t m = 0; m < a->map->n_models; m++) {
        const struct map_model *model = &a->map->models[m];
        struct entry e = {.model = model, .source = model->source};

        if (model->path != NULL) {
            size_t at = find_files(p, model->path, &e.n_files);

            e.files = &p->files[at];
            for (size_t i = 0; i < e.n_files; i++)
                p->files[at + i].in_map = true;
        }
        take_entry(a, &e, w);
    }
    for (size_t i = 0, n; i < p->n_files; i += n) {
        struct entry e = {.source = p->files[i].path, .files = &p->files[i]};

        (void)find_files(p, e.source, &n);
        e.n_files = n;
        if (!p->files[i].in_map)
            take_entry(a, &e, w);
    }
}

static int word_page(struct asking *a, struct rm_buf *out)
{
    const struct models_page *p = a->job;
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    rm_jw_arr(&w, "models");
    word_models(a, &w);
    rm_jw_end(&w);
    if (p->has_cursor && !p->behind) {
        a->fault = "cursor: nothing in this list has that name now; begin again without one";
        return RM_ERR_STATE;
    }
    rm_jw_str(&w, "next", p->more ? p->last : NULL);
    rm_jw_arr(&w, "silent");
    for (size_t i = 0; i < a->n; i++) {
        if (p->why[i][0] == '\0')
            continue;
        rm_jw_obj(&w, NULL);
        rm_jw_str(&w, "node", a->nodes[i].node->name);
        rm_jw_str(&w, "why", p->why[i]);
        rm_jw_end(&w);
    }
    rm_jw_end(&w);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

static int word(struct asking *a, struct rm_buf *out)
{
    struct models_page *p = a->job;
    int r = UV_ENOMEM;

    p->lists = calloc(a->n + 1, sizeof *p->lists);
    p->why = calloc(a->n + 1, sizeof *p->why);
    if (p->lists != NULL && p->why != NULL)
        r = read_nodes(a, p);
    if (r == 0)
        r = word_page(a, out);
    for (size_t i = 0; p->lists != NULL && i < a->n; i++)
        node_models_clear(&p->lists[i]);
    return r;
}

static void page_free(void *job)
{
    struct models_page *p = job;

    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n_files; i++)
        free(p->files[i].path);
    free(p->files);
    free(p->lists);
    free(p->why);
    free(p);
}

/* ---- the query ---- */

static void copy(struct ops_call *c, const char *name, char out[QUERY_VALUE_MAX])
{
    const char *text = query_get(&c->query, name);

    rm_text_copy(out, QUERY_VALUE_MAX, text != NULL ? text : "");
}

static int prepare(struct ops_call *c, struct asking *a)
{
    struct models_page *p = calloc(1, sizeof *p);

    if (p == NULL)
        return UV_ENOMEM;
    a->job = p;
    a->job_free = page_free;
    a->word = word;
    a->cached = true;
    copy(c, "cursor", p->cursor);
    copy(c, "name", p->name);
    copy(c, "role", p->role);
    copy(c, "node", p->node);
    p->has_cursor = query_get(&c->query, "cursor") != NULL;
    for (size_t i = 0; i < a->n; i++) {
        a->nodes[i].asked = true;
        rm_text_copy(a->nodes[i].target, sizeof a->nodes[i].target, "/node/v1/models");
    }
    return query_number(&c->query, "limit", 1, LIST_LIMIT_MAX, LIST_LIMIT, &p->limit);
}

bool ops_take_models(struct ops_call *c)
{
    return asking_take(c, prepare);
}
