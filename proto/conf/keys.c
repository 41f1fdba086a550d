/* SPDX-License-Identifier: MIT */
#include "proto/conf/keys.h"

#include "proto/base/json_write.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

enum { KEYS_PER_TABLE_MAX = 64 };

const char *conf_kind_of(const struct conf_node *value)
{
    switch (value->type) {
    case CONF_SEQ:
        return "a list";
    case CONF_MAP:
        return "a mapping";
    default:
        if (value->plain && (value->text.n == 0 || rm_slice_eq(value->text, "~") ||
                             rm_slice_eq(value->text, "null")))
            return "nothing";
        return "a single value";
    }
}

const char *conf_shown(const char *key, struct rm_slice value, char out[CONF_SHOWN_MAX])
{
    size_t used = 0, i = 0;

    if (key != NULL && conf_secret_like(rm_slice_of(key)))
        return "(hidden)";
    for (size_t at = 0; at < value.n; at++)
        if (value.p[at] == '@') /* maybe user:password@host */
            return "(hidden)";
    out[used++] = '\'';
    while (i < value.n && used < 44) {
        size_t n = rm_utf8_len(value.p + i, value.n - i);

        if (n == 0 || (n == 1 && (value.p[i] < 0x20 || value.p[i] == 0x7f)))
            out[used++] = '?';
        else
            for (size_t k = 0; k < n; k++)
                out[used++] = value.p[i + k];
        i += n == 0 ? 1 : n;
    }
    snprintf(out + used, CONF_SHOWN_MAX - used, "%s'", i < value.n ? "..." : "");
    return out;
}

void conf_say(struct conf_read *cf, const struct conf_key *key, const struct conf_node *value,
              const char *hint, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    conf_report_add(cf->report, value->at, hint, "%s: %s", key->key, text);
}

bool conf_not_a_string(const struct conf_node *value)
{
    static const char *const words[] = {"", "~", "null", "true", "false", ".nan", ".inf", "-.inf"};
    char copy[64], *end;

    if (value->type != CONF_SCALAR || !value->plain)
        return false;
    for (size_t i = 0; i < RM_COUNT(words); i++)
        if (rm_slice_ieq(value->text, words[i]))
            return true;
    if (value->text.n >= sizeof copy ||
        !(isdigit((unsigned char)value->text.p[0]) || strchr("+-.", value->text.p[0])))
        return false;
    memcpy(copy, value->text.p, value->text.n);
    copy[value->text.n] = '\0';
    strtod(copy, &end);
    return *end == '\0' && end != copy;
}

/* Where a key begins for people: at its '?' when it has one, which libyaml does not tell. */
static struct conf_at key_place(const struct conf_read *cf, const struct conf_node *name)
{
    struct conf_at at = name->at;
    struct rm_slice line;
    size_t i = 0;

    if (name->type == CONF_SCALAR || cf->report->n == CONF_MISTAKES_MAX)
        return at;
    line = conf_line(cf->report, at.line);
    for (unsigned col = 1; i < line.n && col < name->at.col; col++) {
        size_t n = rm_utf8_len(line.p + i, line.n - i);

        if (line.p[i] == '?')
            at.col = col;
        else if (line.p[i] != ' ')
            at.col = name->at.col;
        i += n > 0 ? n : 1;
    }
    return at;
}

/* --- unknown and absent keys ------------------------------------------------------------------ */

static const struct conf_key *table_find(const struct conf_table *table, struct rm_slice name)
{
    for (const struct conf_key *k = table->keys; k->key != NULL; k++)
        if (rm_slice_eq(name, k->key))
            return k;
    return NULL;
}

static const struct conf_key *table_nearest(const struct conf_table *table, struct rm_slice name)
{
    const char *names[KEYS_PER_TABLE_MAX], *near;
    size_t n = 0;

    for (const struct conf_key *k = table->keys; k->key != NULL; k++)
        names[n++] = k->key;
    near = conf_nearest(name, names, n);
    return near != NULL ? table_find(table, rm_slice_of(near)) : NULL;
}

/* Reports a key that the table does not have. Returns the one that was probably meant, or NULL. */
static const struct conf_key *say_unknown(struct conf_read *cf, const struct conf_table *table,
                                          const char *owner, const struct conf_node *name)
{
    const struct conf_key *near;
    char shown[CONF_SHOWN_MAX], hint[96];

    for (const struct conf_table *const *t = cf->tables; *t != NULL; t++)
        if (*t != table && table_find(*t, name->text) != NULL) {
            conf_report_add(cf->report, name->at, NULL, "%s belongs %s, not %s",
                            conf_shown(NULL, name->text, shown), (*t)->where, table->where);
            return NULL;
        }
    /* the distances cost something, and a full report shows no hint */
    near = cf->report->n < CONF_MISTAKES_MAX ? table_nearest(table, name->text) : NULL;
    if (near != NULL)
        snprintf(hint, sizeof hint, "did you mean '%s'?", near->key);
    conf_report_add(cf->report, name->at, near != NULL ? hint : NULL, "unknown key %s %s%s",
                    conf_shown(NULL, name->text, shown), strncmp(owner, "at ", 3) == 0 ? "" : "in ",
                    owner);
    return near;
}

/* A default is read by the same parser as a value: as a scalar, or as a list of one scalar. */
static void read_default(struct conf_read *cf, const struct conf_key *key, void *into)
{
    struct conf_node scalar = {
        .type = CONF_SCALAR, .plain = true, .text = rm_slice_of(key->fallback)};
    struct conf_node list = {.type = CONF_SEQ, .first = &scalar, .last = &scalar, .n = 1};
    bool is_list = key->type == &conf_texts || key->type == &conf_listen;

    key->type->parse(cf, key, is_list ? &list : &scalar, (char *)into + key->offset);
}

/* owner NULL: absent keys are not told. */
static void read_absent(struct conf_read *cf, const struct conf_table *table, const char *owner,
                        struct conf_at at, uint64_t seen, void *into)
{
    char missing[512] = "";
    size_t used = 0;

    for (const struct conf_key *k = table->keys; k->key != NULL; k++) {
        if (seen & (UINT64_C(1) << (k - table->keys)))
            continue;
        if (k->required && owner == NULL)
            continue;
        if (k->required && used < sizeof missing - 64)
            used += (size_t)snprintf(missing + used, sizeof missing - used, "%s'%s'",
                                     used > 0 ? ", " : "", k->key);
        else if (k->type == &conf_section)
            conf_read_map(cf, k->table, k->key, at, NULL, (char *)into + k->offset);
        else if (k->fallback != NULL)
            read_default(cf, k, into);
    }
    if (used > 0)
        conf_report_add(cf->report, at, NULL, "%s has no %s",
                        strncmp(owner, "at ", 3) == 0 ? "the file" : owner, missing);
}

void conf_read_map(struct conf_read *cf, const struct conf_table *table, const char *owner,
                   struct conf_at at, const struct conf_node *map, void *into)
{
    uint64_t seen = 0;
    bool broken = false;

    for (const struct conf_node *name = map != NULL ? map->first : NULL; name != NULL;
         name = name->next) {
        const struct conf_key *k = NULL;

        if (name->type != CONF_SCALAR)
            broken = true; /* it may have been a required one */
        if (name->type == CONF_BROKEN)
            continue;
        if (name->type != CONF_SCALAR) {
            conf_report_add(cf->report, key_place(cf, name), "quote it", "keys must be strings");
            continue;
        }
        k = table_find(table, name->text);
        if (k == NULL) {
            k = say_unknown(cf, table, owner, name);
        } else if (name->value->type != CONF_BROKEN) {
            if (k->at != 0)
                *(struct conf_at *)((char *)into + k->at) = name->value->at;
            k->type->parse(cf, k, name->value, (char *)into + k->offset);
        }
        if (k != NULL)
            seen |= UINT64_C(1) << (k - table->keys);
    }
    read_absent(cf, table, broken ? NULL : owner, at, seen, into);
}

int conf_read_text(struct conf_read *cf, const struct conf_table *top, void *into)
{
    struct conf_arena nodes = {NULL, 0};
    struct conf_node *root = NULL;
    int r;

    if (!conf_text_check(cf->report))
        return 0;
    r = conf_yaml_read(cf->report, &nodes, &root);
    if (r == 0 && root != NULL)
        conf_read_map(cf, top, top->where, (struct conf_at){0, 0}, root, into);
    conf_arena_clear(&nodes);
    return r < 0 || cf->no_memory || cf->report->no_memory ? UV_ENOMEM : 0;
}

/* --- sections and named collections ------------------------------------------------------------
 */

static void section_parse(struct conf_read *cf, const struct conf_key *key,
                          const struct conf_node *value, void *field)
{
    char owner[64];

    if (value->type != CONF_MAP) {
        conf_say(cf, key, value, NULL, "expected a mapping, got %s", conf_kind_of(value));
        return;
    }
    snprintf(owner, sizeof owner, "'%s'", key->key);
    conf_read_map(cf, key->table, owner, value->at, value, field);
}

static bool section_equal(const struct conf_key *key, const void *a, const void *b)
{
    for (const struct conf_key *k = key->table->keys; k->key != NULL; k++)
        if (!k->type->equal(k, (const char *)a + k->offset, (const char *)b + k->offset))
            return false;
    return true;
}

const struct conf_type conf_section = {"mapping", section_parse, section_equal};

/* Is this key fit to be the name of a node, model or role? */
static bool named_check_name(struct conf_read *cf, const struct conf_table *table,
                             const struct conf_node *name)
{
    const char *fault;
    char shown[CONF_SHOWN_MAX];

    if (name->type == CONF_BROKEN)
        return false;
    if (name->type != CONF_SCALAR || conf_not_a_string(name)) {
        conf_report_add(cf->report, key_place(cf, name), "quote it", "%s names must be strings",
                        table->what);
        return false;
    }
    fault = table->name_check(name->text);
    if (fault != NULL)
        conf_report_add(cf->report, name->at, fault, "%s is no name for a %s",
                        conf_shown(NULL, name->text, shown), table->what);
    return fault == NULL;
}

/* Two names that differ only by case would be one on some file systems and in some editors. */
static void named_check_case(struct conf_read *cf, const struct conf_node *first,
                             const struct conf_node *name)
{
    for (const struct conf_node *k = first; k != name; k = k->next)
        if (k->type == CONF_SCALAR && k->text.n == name->text.n &&
            strncasecmp(k->text.p, name->text.p, name->text.n) == 0) {
            conf_report_add(cf->report, name->at, NULL,
                            "'%s' differs from '%s' (line %u) only by case", name->text.p,
                            k->text.p, k->at.line);
            return;
        }
}

static void named_read_one(struct conf_read *cf, const struct conf_table *table,
                           const struct conf_node *name, char *item, size_t index)
{
    struct conf_at at = name->at;
    char owner[160], shown[CONF_SHOWN_MAX];

    *(char **)item = conf_arena_text(cf->arena, name->text);
    if (*(char **)item == NULL)
        cf->no_memory = true;
    *(struct conf_at *)(item + table->at) = at;
    *(size_t *)(item + table->index) = index;
    snprintf(owner, sizeof owner, "%s %s", table->what, conf_shown(NULL, name->text, shown));
    if (name->value->type == CONF_MAP)
        conf_read_map(cf, table, owner, at, name->value, item);
    else if (name->value->type != CONF_BROKEN)
        conf_report_add(cf->report, name->value->at, NULL, "%s: expected a mapping, got %s", owner,
                        conf_kind_of(name->value));
}

static void named_parse(struct conf_read *cf, const struct conf_key *key,
                        const struct conf_node *value, void *field)
{
    const struct conf_table *table = key->table;
    struct conf_items *items = field;

    if (value->type != CONF_MAP) {
        conf_say(cf, key, value, NULL, "expected a mapping, got %s", conf_kind_of(value));
        return;
    }
    if (value->n == 0) {
        conf_say(cf, key, value, NULL, "has no entry");
        return;
    }
    if (value->n > key->max) {
        conf_say(cf, key, value, NULL, "more than %llu entries", (unsigned long long)key->max);
        return;
    }
    items->item = conf_arena_take(cf->arena, value->n * table->size);
    if (items->item == NULL) {
        cf->no_memory = true;
        return;
    }
    for (const struct conf_node *name = value->first; name != NULL; name = name->next) {
        if (!named_check_name(cf, table, name))
            continue;
        named_check_case(cf, value->first, name);
        named_read_one(cf, table, name, (char *)items->item + items->n * table->size, items->n);
        items->n++;
    }
}

/* Collections are compared entry by entry, by role_map_diff. */
static bool named_equal(const struct conf_key *key, const void *a, const void *b)
{
    (void)key;
    (void)a;
    (void)b;
    return true;
}

const struct conf_type conf_named = {"mapping of names", named_parse, named_equal};
