/* SPDX-License-Identifier: MIT */
#include "gateway/drive/wishes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/node/fields.h"

enum { VERSION = 1 };

static const char *const words[] = {"", "loaded", "unloaded", "drained", NULL};

static const struct node_field host_rows[] = {
    FIELD_MUST(struct wish, role, FIELD_NAME),
    FIELD_MUST(struct wish, node, FIELD_NAME),
    {"wanted", FIELD_ENUM, offsetof(struct wish, what), sizeof(((struct wish *)0)->what), true,
     words, NULL},
    FIELD(struct wish, by, FIELD_NAME),
    {"since_s", FIELD_U64, offsetof(struct wish, since_s), sizeof(int64_t), false, NULL, NULL},
    {NULL}};
static const struct node_field node_rows[] = {
    FIELD_MUST(struct wish, node, FIELD_NAME),
    FIELD(struct wish, by, FIELD_NAME),
    {"since_s", FIELD_U64, offsetof(struct wish, since_s), sizeof(int64_t), false, NULL, NULL},
    {NULL}};

/* ---- the list ---- */

void wishes_clear(struct wishes *w)
{
    free(w->list);
    *w = (struct wishes){NULL, 0};
}

const char *wish_word(enum hosting_wish what)
{
    return what == HOSTING_NO_WISH ? NULL : words[what];
}

static size_t place_of(const struct wishes *w, const char *role, const char *node)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->list[i].role, role) == 0 && strcmp(w->list[i].node, node) == 0)
            return i;
    return SIZE_MAX;
}

const struct wish *wishes_find(const struct wishes *w, const char *role, const char *node)
{
    size_t i = place_of(w, role, node);

    return i != SIZE_MAX ? &w->list[i] : NULL;
}

static void take_away(struct wishes *w, size_t i)
{
    memmove(&w->list[i], &w->list[i + 1], (w->n - i - 1) * sizeof w->list[0]);
    w->n--;
}

static int add(struct wishes *w, const struct wish *wish)
{
    struct wish *list;

    if (w->n >= WISHES_MAX)
        return RM_ERR_OVERLOAD;
    if ((list = realloc(w->list, (w->n + 1) * sizeof *list)) == NULL)
        return UV_ENOMEM;
    w->list = list;
    w->list[w->n++] = *wish;
    return 0;
}

int wishes_put(struct wishes *w, const struct wish *wish)
{
    size_t i = place_of(w, wish->role, wish->node);

    if (wish->what == HOSTING_NO_WISH) {
        if (i != SIZE_MAX)
            take_away(w, i);
        return 0;
    }
    if (i == SIZE_MAX)
        return add(w, wish);
    w->list[i] = *wish;
    return 0;
}

size_t wishes_sift(struct wishes *w, bool (*stays)(void *arg, const struct wish *wish), void *arg)
{
    size_t n = 0;

    for (size_t i = w->n; i-- > 0;)
        if (!stays(arg, &w->list[i])) {
            take_away(w, i);
            n++;
        }
    return n;
}

/* ---- the file ---- */

static void put_rows(struct rm_jw *w, const struct wishes *from, bool nodes)
{
    rm_jw_arr(w, nodes ? "nodes" : "hosts");
    for (size_t i = 0; i < from->n; i++) {
        if ((from->list[i].role[0] == '\0') != nodes)
            continue;
        rm_jw_obj(w, NULL);
        node_fields_put(w, nodes ? node_rows : host_rows, &from->list[i]);
        rm_jw_end(w);
    }
    rm_jw_end(w);
}

int wishes_encode(const struct wishes *w, struct rm_buf *out)
{
    struct rm_jw jw = rm_jw_to(out);
    int r;

    rm_jw_obj(&jw, NULL);
    rm_jw_u64(&jw, "version", VERSION);
    put_rows(&jw, w, false);
    put_rows(&jw, w, true);
    rm_jw_end(&jw);
    r = rm_jw_done(&jw);
    return r == 0 ? rm_buf_puts(out, "\n") : r;
}

static int read_rows(const json_t *list, bool nodes, struct wishes *w, char *why)
{
    const json_t *row;
    size_t i;
    int r = 0;

    if (!json_is_array(list)) {
        snprintf(why, WISHES_WHY_MAX, "%s is not a list", nodes ? "nodes" : "hosts");
        return RM_ERR_CONF;
    }
    json_array_foreach(list, i, row)
    {
        struct wish wish = {.what = nodes ? HOSTING_WANT_DRAINED : HOSTING_NO_WISH};
        char text[NODE_WHY_MAX] = "";

        if (!json_is_object(row) ||
            node_fields_get(row, nodes ? node_rows : host_rows, &wish, "", text) < 0 ||
            wish.node[0] == '\0' || (!nodes && wish.role[0] == '\0') ||
            wish.what == HOSTING_NO_WISH || place_of(w, wish.role, wish.node) != SIZE_MAX) {
            snprintf(why, WISHES_WHY_MAX, "%s, entry %zu: %s", nodes ? "nodes" : "hosts", i + 1,
                     text[0] != '\0' ? text : "empty, or there twice");
            return RM_ERR_CONF;
        }
        if ((r = add(w, &wish)) < 0) {
            snprintf(why, WISHES_WHY_MAX, "more than %d entries", WISHES_MAX);
            return r == UV_ENOMEM ? r : RM_ERR_CONF;
        }
    }
    return 0;
}

int wishes_decode(struct rm_slice json, struct wishes *w, char *why)
{
    char text[NODE_WHY_MAX] = "";
    json_t *o = NULL;
    int r = 0;

    if (node_json_load(json, &o, text) < 0) {
        snprintf(why, WISHES_WHY_MAX, "%s", text);
        return RM_ERR_CONF;
    }
    if (json_integer_value(json_object_get(o, "version")) != VERSION) {
        snprintf(why, WISHES_WHY_MAX, "version is not %d", VERSION);
        r = RM_ERR_CONF;
    }
    if (r == 0)
        r = read_rows(json_object_get(o, "hosts"), false, w, why);
    if (r == 0)
        r = read_rows(json_object_get(o, "nodes"), true, w, why);
    if (r < 0)
        wishes_clear(w);
    json_decref(o);
    return r;
}
