/* SPDX-License-Identifier: MIT */
#include "proto/node/logs.h"

#include <stdlib.h>
#include <uv.h>

#include "proto/node/fields.h"

static const char *const level_words[] = {"error", "warn", "info", "debug", NULL};

/* In the order of PROTOCOL.md. */

static const struct node_field line_fields[] = {
    FIELD_MUST(struct node_log_line, id, FIELD_U64),
    FIELD(struct node_log_line, at_ms, FIELD_U64),
    FIELD_WORDS(struct node_log_line, level, level_words),
    FIELD(struct node_log_line, engine, FIELD_TEXT),
    FIELD(struct node_log_line, area, FIELD_TEXT),
    FIELD(struct node_log_line, text, FIELD_TEXT),
    {.name = NULL},
};

static const struct node_field logs_fields[] = {
    FIELD_MUST(struct node_logs, node, FIELD_NAME),
    FIELD(struct node_logs, next, FIELD_U64),
    {.name = NULL}, /* lines follow */
};

static int on_line(void *arg, const struct rm_log_entry *e)
{
    struct node_logs *l = arg;
    struct node_log_line *line;

    if (l->n == LOGS_PAGE_MAX)
        return RM_ERR_TOO_BIG;
    line = &l->lines[l->n++];
    line->id = e->id;
    line->at_ms = e->at_ms > 0 ? (uint64_t)e->at_ms : 0;
    line->level = e->level;
    rm_text_copy(line->engine, sizeof line->engine, e->engine);
    rm_text_copy(line->area, sizeof line->area, e->area);
    rm_text_copy(line->text, sizeof line->text, e->text);
    return 0;
}

int node_logs_take(const struct rm_log_wish *wish, struct node_logs *out)
{
    struct rm_log_wish bounded = *wish;

    *out = (struct node_logs){.n = 0};
    if (bounded.limit > LOGS_PAGE_MAX)
        bounded.limit = LOGS_PAGE_MAX;
    bounded.bytes = LOGS_PAGE_BYTES;
    if (bounded.limit == 0 || (out->lines = malloc(bounded.limit * sizeof *out->lines)) == NULL)
        return bounded.limit == 0 ? 0 : UV_ENOMEM;
    return rm_log_ring_read(&bounded, on_line, out, &out->next);
}

void node_logs_clear(struct node_logs *l)
{
    free(l->lines);
    *l = (struct node_logs){.n = 0};
}

int node_logs_encode(const struct node_logs *l, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    node_fields_put(&w, logs_fields, l);
    node_rows_put(&w, "lines", line_fields, l->lines, sizeof *l->lines, l->n);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

int node_logs_decode(struct rm_slice json, struct node_logs *out, char *why)
{
    json_t *root;
    size_t n;
    int r;

    *out = (struct node_logs){.n = 0};
    why[0] = '\0';
    if ((r = node_json_load(json, &root, why)) < 0)
        return r;
    n = json_array_size(json_object_get(root, "lines"));
    n = n < LOGS_PAGE_MAX ? n : LOGS_PAGE_MAX;
    if (n > 0 && (out->lines = calloc(n, sizeof *out->lines)) == NULL)
        r = UV_ENOMEM;
    if (r == 0)
        r = node_fields_get(root, logs_fields, out, "", why);
    if (r == 0)
        r = node_rows_get(root, "lines", line_fields, out->lines, sizeof *out->lines, LOGS_PAGE_MAX,
                          &out->n, why);
    json_decref(root);
    if (r < 0)
        node_logs_clear(out);
    return r;
}
