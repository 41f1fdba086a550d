/* SPDX-License-Identifier: MIT */
#include "proto/conf/node.h"

#include "proto/base/json_write.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include <yaml.h>

/* One pass over the events of a file. `open` are the lists and mappings that events have entered.
 */
struct reader {
    struct conf_report *report;
    struct conf_arena *arena;
    struct conf_node *open[CONF_DEPTH_MAX];
    struct conf_node *key[CONF_DEPTH_MAX]; /* in a mapping: the key whose value comes next */
    size_t depth, nodes, documents;
    struct conf_node *root;
    bool unusable; /* a limit was passed: the tree is not what the file says */
};

/* What a handler wants next. */
enum { READ_ON = 0, READ_END = 1 };

static struct conf_at at_of(yaml_mark_t mark)
{
    return (struct conf_at){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

static uint32_t hash_of(struct rm_slice s)
{
    uint32_t h = 2166136261u; /* FNV-1a, 32 bits */

    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 16777619u;
    return h;
}

/* --- the tree ------------------------------------------------------------------------------ */

static void reader_append(struct conf_node *to, struct conf_node *child)
{
    if (to->last != NULL)
        to->last->next = child;
    else
        to->first = child;
    to->last = child;
    to->n++;
}

static bool reader_is_duplicate(const struct conf_node *map, const struct conf_node *key)
{
    for (const struct conf_node *k = map->first; k != NULL; k = k->next)
        if (k->type == CONF_SCALAR && k->hash == key->hash && k->text.n == key->text.n &&
            memcmp(k->text.p, key->text.p, key->text.n) == 0)
            return true;
    return false;
}

static void reader_put_key(struct reader *rd, struct conf_node *map, struct conf_node *key)
{
    rd->key[rd->depth - 1] = key;
    if (map->n == CONF_PAIRS_MAX) {
        conf_report_add(rd->report, key->at, NULL, "more than %d keys in one mapping",
                        CONF_PAIRS_MAX);
        rd->unusable = true;
        return;
    }
    if (key->type == CONF_SCALAR) {
        key->hash = hash_of(key->text);
        if (reader_is_duplicate(map, key)) {
            conf_report_add(rd->report, key->at, NULL, "key '%s' is given twice", key->text.p);
            return; /* its value hangs on a key outside the tree */
        }
    }
    reader_append(map, key);
}

/* Hangs a node where the events stand: as the root, a list's item, a key or a key's value. */
static void reader_put(struct reader *rd, struct conf_node *node)
{
    struct conf_node *in = rd->depth > 0 ? rd->open[rd->depth - 1] : NULL;

    if (in == NULL)
        rd->root = node;
    else if (in->type != CONF_MAP)
        reader_append(in, node);
    else if (rd->key[rd->depth - 1] == NULL)
        reader_put_key(rd, in, node);
    else {
        rd->key[rd->depth - 1]->value = node;
        rd->key[rd->depth - 1] = NULL;
    }
}

static int reader_new(struct reader *rd, enum conf_node_type type, yaml_mark_t mark,
                      struct conf_node **out)
{
    if (++rd->nodes > CONF_NODES_MAX) {
        conf_report_add(rd->report, at_of(mark), NULL, "more than %d keys and values",
                        CONF_NODES_MAX);
        rd->unusable = true;
        return READ_END;
    }
    *out = conf_arena_take(rd->arena, sizeof **out);
    if (*out == NULL)
        return UV_ENOMEM;
    (*out)->type = type;
    (*out)->at = at_of(mark);
    return READ_ON;
}

/* Anchors and tags are refused; reading goes on so that later mistakes are told too. */
static bool reader_refuse_marks(struct reader *rd, yaml_mark_t mark, const yaml_char_t *anchor,
                                const yaml_char_t *tag)
{
    if (tag != NULL)
        conf_report_add(rd->report, at_of(mark), "write plain values",
                        "YAML tags and directives are not accepted");
    else if (anchor != NULL)
        conf_report_add(rd->report, at_of(mark), "write the value where it is used",
                        "YAML anchors and aliases are not accepted");
    return tag != NULL || anchor != NULL;
}

/* --- look-alike characters ------------------------------------------------------------------ */

static const struct look_alike {
    const char *bytes, *name, *meant;
} look_alikes[] = {
    {"\xc2\xa0", "U+00A0", "a space"},     {"\xe2\x80\xaf", "U+202F", "a space"},
    {"\xe3\x80\x80", "U+3000", "a space"}, {"\xe2\x80\x9c", "U+201C", "'\"'"},
    {"\xe2\x80\x9d", "U+201D", "'\"'"},    {"\xe2\x80\x98", "U+2018", "\"'\""},
    {"\xe2\x80\x99", "U+2019", "\"'\""},   {"\xef\xbc\x9a", "U+FF1A", "':'"},
    {"\xef\xbc\x8c", "U+FF0C", "','"},
};

static const struct look_alike *look_alike_at(const char *p, size_t n)
{
    for (size_t i = 0; i < RM_COUNT(look_alikes); i++)
        if (n >= strlen(look_alikes[i].bytes) &&
            memcmp(p, look_alikes[i].bytes, strlen(look_alikes[i].bytes)) == 0)
            return &look_alikes[i];
    return NULL;
}

/* In a plain scalar such a character is nearly always a slip of a word processor. */
static bool reader_refuse_look_alike(struct reader *rd, const struct conf_node *node,
                                     yaml_mark_t end)
{
    struct conf_at at = node->at;
    char hint[64];

    for (size_t i = 0; i < node->text.n;) {
        const struct look_alike *a = look_alike_at(node->text.p + i, node->text.n - i);
        size_t n = rm_utf8_len(node->text.p + i, node->text.n - i);

        if (a != NULL) {
            snprintf(hint, sizeof hint, "did you mean %s?", a->meant);
            conf_report_add(rd->report, end.line + 1 == at.line ? at : node->at, hint, "%s found",
                            a->name);
            return true;
        }
        i += n > 0 ? n : 1;
        at.col++;
    }
    return false;
}

/* --- events ------------------------------------------------------------------------------- */

static int reader_on_scalar(struct reader *rd, const yaml_event_t *e)
{
    struct rm_slice text = {(const char *)e->data.scalar.value, e->data.scalar.length};
    struct conf_node *node;
    int r = reader_new(rd, CONF_SCALAR, e->start_mark, &node);

    if (r != READ_ON)
        return r;
    node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (text.n > CONF_SCALAR_MAX) {
        conf_report_add(rd->report, node->at, NULL, "longer than %d bytes", CONF_SCALAR_MAX);
        text.n = 0;
        node->type = CONF_BROKEN;
    }
    node->text.p = conf_arena_text(rd->arena, text);
    node->text.n = text.n;
    if (node->text.p == NULL)
        return UV_ENOMEM;
    if (reader_refuse_marks(rd, e->start_mark, e->data.scalar.anchor, e->data.scalar.tag) ||
        (node->plain && reader_refuse_look_alike(rd, node, e->end_mark)))
        node->type = CONF_BROKEN;
    reader_put(rd, node);
    return READ_ON;
}

static int reader_on_alias(struct reader *rd, const yaml_event_t *e)
{
    struct conf_node *node;
    int r = reader_new(rd, CONF_BROKEN, e->start_mark, &node);

    if (r != READ_ON)
        return r;
    reader_refuse_marks(rd, e->start_mark, (const yaml_char_t *)"", NULL);
    reader_put(rd, node);
    return READ_ON;
}

/* A list or a mapping begins. A tagged one is entered like any other, but hangs in the tree as
 * broken: its place in the tree is a node of its own. */
static int reader_on_open(struct reader *rd, const yaml_event_t *e, enum conf_node_type type,
                          const yaml_char_t *anchor, const yaml_char_t *tag)
{
    struct conf_node *node, *place;
    int r = reader_new(rd, type, e->start_mark, &node);

    if (r != READ_ON)
        return r;
    if (rd->depth == CONF_DEPTH_MAX) {
        conf_report_add(rd->report, node->at, NULL, "nested deeper than %d", CONF_DEPTH_MAX);
        rd->unusable = true;
        return READ_END;
    }
    place = node;
    if (reader_refuse_marks(rd, e->start_mark, anchor, tag)) {
        r = reader_new(rd, CONF_BROKEN, e->start_mark, &place);
        if (r != READ_ON)
            return r;
    }
    reader_put(rd, place);
    rd->open[rd->depth] = node;
    rd->key[rd->depth++] = NULL;
    return READ_ON;
}

static int reader_on_document(struct reader *rd, const yaml_event_t *e)
{
    if (rd->documents++ > 0) {
        conf_report_add(rd->report, at_of(e->start_mark), NULL, "only one document per file");
        return READ_END;
    }
    return READ_ON;
}

static int reader_on_event(struct reader *rd, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return reader_on_document(rd, e);
    case YAML_SCALAR_EVENT:
        return reader_on_scalar(rd, e);
    case YAML_ALIAS_EVENT:
        return reader_on_alias(rd, e);
    case YAML_SEQUENCE_START_EVENT:
        return reader_on_open(rd, e, CONF_SEQ, e->data.sequence_start.anchor,
                              e->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return reader_on_open(rd, e, CONF_MAP, e->data.mapping_start.anchor,
                              e->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        assert(rd->depth > 0);
        rd->depth--;
        return READ_ON;
    case YAML_STREAM_END_EVENT:
        return READ_END;
    default:
        return READ_ON;
    }
}

/* libyaml has given up: memory, or a mistake in the text. */
static int reader_on_error(struct reader *rd, const yaml_parser_t *parser)
{
    struct conf_at context_at;

    if (parser->error == YAML_MEMORY_ERROR)
        return UV_ENOMEM;
    rd->unusable = true;
    context_at = parser->context != NULL ? at_of(parser->context_mark) : (struct conf_at){0, 0};
    if (parser->context != NULL && strstr(parser->context, "flow node") != NULL && rd->depth > 0)
        context_at = rd->open[rd->depth - 1]->at; /* the list or mapping that it is in */
    conf_yaml_explain(rd->report, parser->context, context_at, parser->problem,
                      at_of(parser->problem_mark));
    return READ_END;
}

static int reader_run(struct reader *rd, yaml_parser_t *parser)
{
    int r = READ_ON;

    while (r == READ_ON) {
        yaml_event_t event;

        if (!yaml_parser_parse(parser, &event))
            return reader_on_error(rd, parser);
        r = reader_on_event(rd, &event);
        if (r == READ_ON && rd->unusable)
            r = READ_END;
        yaml_event_delete(&event);
    }
    return r;
}

int conf_yaml_read(struct conf_report *report, struct conf_arena *arena, struct conf_node **root)
{
    struct reader rd = {.report = report, .arena = arena};
    size_t skip = report->n_text >= 3 && memcmp(report->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    yaml_parser_t parser;
    int r;

    *root = NULL;
    if (!yaml_parser_initialize(&parser))
        return UV_ENOMEM;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)report->text + skip,
                                 report->n_text - skip);
    r = reader_run(&rd, &parser);
    yaml_parser_delete(&parser);
    if (r < 0)
        return r;
    if (rd.unusable)
        return 0;
    if (rd.root == NULL || (rd.root->type == CONF_SCALAR && rd.root->plain && rd.root->text.n == 0))
        conf_report_add(report, (struct conf_at){1, 1}, NULL, "file is empty");
    else if (rd.root->type == CONF_MAP)
        *root = rd.root;
    else if (rd.root->type != CONF_BROKEN)
        conf_report_add(report, rd.root->at, NULL,
                        "expected a mapping of keys to values at the top");
    return 0;
}
