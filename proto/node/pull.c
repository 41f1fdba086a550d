/* SPDX-License-Identifier: MIT */
#include "proto/node/pull.h"

#include <stdio.h>
#include <string.h>

#include "proto/node/fields.h"

#define NODE_WORD(name, text) text,
static const char *const state_words[] = {NODE_PULL_STATES(NODE_WORD) NULL};
#undef NODE_WORD

/* In the order of PROTOCOL.md. */

const struct node_field node_pull_fields[] = {
    FIELD_MUST(struct node_pull, id, FIELD_NAME), FIELD(struct node_pull, source, FIELD_TEXT),
    FIELD(struct node_pull, file, FIELD_TEXT),    FIELD_WORDS(struct node_pull, state, state_words),
    FIELD(struct node_pull, files, FIELD_U32),    FIELD(struct node_pull, files_done, FIELD_U32),
    FIELD(struct node_pull, bytes, FIELD_U64),    FIELD(struct node_pull, total, FIELD_U64),
    FIELD(struct node_pull, fetched, FIELD_U64),  FIELD(struct node_pull, rate, FIELD_RATE),
    FIELD(struct node_pull, eta_ms, FIELD_U64),   FIELD(struct node_pull, tries, FIELD_U32),
    FIELD(struct node_pull, text, FIELD_TEXT),    FIELD(struct node_pull, began, FIELD_U64),
    FIELD(struct node_pull, ended, FIELD_U64),    {.name = NULL},
};

static const struct node_field wish_fields[] = {
    FIELD_MUST(struct node_pull_wish, source, FIELD_NAME),
    FIELD(struct node_pull_wish, from, FIELD_NAME),
    FIELD(struct node_pull_wish, sha256, FIELD_NAME),
    FIELD(struct node_pull_wish, rate, FIELD_U64),
    {.name = NULL},
};

const char *node_pull_state_name(enum node_pull_state s)
{
    return (unsigned)s < RM_COUNT(state_words) - 1 ? state_words[s] : "unknown";
}

bool node_pull_is_over(enum node_pull_state s)
{
    return s == PULL_DONE || s == PULL_FAILED || s == PULL_CANCELLED;
}

int node_pulls_encode(const struct node_pull *pulls, uint32_t n, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    node_rows_put(&w, "pulls", node_pull_fields, pulls, sizeof(*pulls), n);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

int node_pulls_decode(struct rm_slice json, struct node_pull *out, uint32_t max, uint32_t *n,
                      char *why)
{
    json_t *root;
    int r;

    *n = 0;
    memset(out, 0, max * sizeof(*out));
    why[0] = '\0';
    if ((r = node_json_load(json, &root, why)) < 0)
        return r;
    r = node_rows_get(root, "pulls", node_pull_fields, out, sizeof(*out), max, n, why);
    json_decref(root);
    return r;
}

int node_pull_wish_encode(const struct node_pull_wish *wish, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    node_fields_put(&w, wish_fields, wish);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

static const char *unknown_member(const json_t *root)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)root, key, value)
    {
        const struct node_field *f = wish_fields;

        while (f->name != NULL && strcmp(f->name, key) != 0)
            f++;
        if (f->name == NULL)
            return key;
    }
    return NULL;
}

/* What no table can say. */
static const char *wish_wrong(const struct node_pull_wish *w)
{
    if (w->source[0] == '\0')
        return "source: expected hf:ORG/REPO:QUANT, a URL or node:NAME/FILE";
    if (w->sha256[0] != '\0' &&
        (strlen(w->sha256) != 64 || strspn(w->sha256, "0123456789abcdef") != 64))
        return "sha256: expected 64 hex digits in lower case";
    return NULL;
}

int node_pull_wish_read(struct rm_slice json, struct node_pull_wish *out, char *why)
{
    const char *what = NULL;
    json_t *root;
    int r;

    memset(out, 0, sizeof(*out));
    why[0] = '\0';
    if ((r = node_json_load(json, &root, why)) < 0)
        return r;
    if ((what = unknown_member(root)) != NULL) {
        char shown[48];

        snprintf(why, NODE_WHY_MAX, "%s: no such member",
                 node_source_shown(what, shown, sizeof(shown)));
        r = RM_ERR_FIELD;
    } else if ((r = node_fields_get(root, wish_fields, out, "", why)) == 0 &&
               (what = wish_wrong(out)) != NULL) {
        snprintf(why, NODE_WHY_MAX, "%s", what);
        r = RM_ERR_FIELD;
    }
    json_decref(root);
    if (r < 0)
        memset(out, 0, sizeof(*out));
    return r;
}

int node_pull_wish_decode(struct rm_slice json, struct node_pull_wish *out, char *why)
{
    int r = node_pull_wish_read(json, out, why);

    if (r == 0 && (strncmp(out->source, "node:", 5) == 0) != (out->from[0] != '\0')) {
        snprintf(why, NODE_WHY_MAX,
                 "from: expected the address of the node, with a source node:NAME/FILE only");
        memset(out, 0, sizeof(*out));
        r = RM_ERR_FIELD;
    }
    return r;
}
