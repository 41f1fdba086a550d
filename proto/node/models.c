/* SPDX-License-Identifier: MIT */
#include "proto/node/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/node/fields.h"

/* In the order of PROTOCOL.md; path, before them, is done by hand. */
static const struct node_field model_fields[] = {
    FIELD(struct node_model, bytes, FIELD_U64),
    FIELD(struct node_model, files, FIELD_U64),
    FIELD(struct node_model, model_hash, FIELD_NAME),
    {.name = NULL},
};

static const struct node_field models_fields[] = {
    FIELD(struct node_models, truncated, FIELD_BOOL),
    {.name = NULL},
};

void node_models_clear(struct node_models *m)
{
    for (uint32_t i = 0; i < m->n; i++)
        free(m->v[i].path);
    free(m->v);
    memset(m, 0, sizeof(*m));
}

/* A member that is a path of at least one byte; NULL: it is none. */
static const char *path_of(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    const char *text = json_string_value(v);

    return text != NULL && text[0] != '\0' && json_string_length(v) < NODE_MODEL_PATH_MAX &&
                   strlen(text) == json_string_length(v)
               ? text
               : NULL;
}

static int wrong(char *why, const char *what, const char *expected)
{
    snprintf(why, NODE_WHY_MAX, "%s: expected %s", what, expected);
    return RM_ERR_FIELD;
}

static int get_model(const json_t *o, struct node_model *out, const char *at, char *why)
{
    const char *path = json_is_object(o) ? path_of(o, "path") : NULL;

    if (path == NULL)
        return wrong(why, at, "an object with a path");
    if ((out->path = strdup(path)) == NULL)
        return UV_ENOMEM;
    return node_fields_get(o, model_fields, out, at, why);
}

static int get_models(const json_t *list, struct node_models *out, char *why)
{
    size_t n = json_array_size(list);
    char at[32];
    int r = 0;

    if (!json_is_array(list) || n > NODE_MODELS_MAX)
        return wrong(why, "models", "an array of at most 1024 objects");
    if (n > 0 && (out->v = calloc(n, sizeof(*out->v))) == NULL)
        return UV_ENOMEM;
    for (size_t i = 0; r == 0 && i < n; i++) {
        snprintf(at, sizeof(at), "models[%zu]", i);
        out->n++;
        r = get_model(json_array_get(list, i), &out->v[i], at, why);
    }
    return r;
}

int node_models_decode(struct rm_slice json, struct node_models *out, char *why)
{
    const char *dir;
    json_t *root;
    int r;

    memset(out, 0, sizeof(*out));
    why[0] = '\0';
    if ((r = node_json_load(json, &root, why)) < 0)
        return r;
    dir = path_of(root, "dir");
    if (dir == NULL)
        r = wrong(why, "dir", "a path");
    else
        rm_text_copy(out->dir, sizeof(out->dir), dir);
    if (r == 0 && (r = node_fields_get(root, models_fields, out, "", why)) == 0)
        r = get_models(json_object_get(root, "models"), out, why);
    json_decref(root);
    if (r < 0)
        node_models_clear(out);
    return r;
}
