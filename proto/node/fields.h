/* SPDX-License-Identifier: MIT */
/* proto/node/fields.h - one table per message of the node protocol, read by encoder and decoder.
 * A row is the member's name, its kind and where it lies in the struct; rows stand in the order of
 * PROTOCOL.md, and node_test.c compares the two. Writing goes straight into a buffer, reading goes
 * through a jansson tree (control plane; bounded by NODE_JSON_MAX). proto/trust keeps its list of
 * keys with it as well. No I/O. */
#ifndef RM_NODE_FIELDS_H
#define RM_NODE_FIELDS_H

#include <jansson.h>
#include <stddef.h>

#include "proto/base/json_write.h"

enum { NODE_JSON_MAX = 2 * 1024 * 1024, NODE_WHY_MAX = 128 };

/* Integers on the wire are 0 .. 2^53 - 1, so that any JSON reader keeps them. */
#define NODE_INT_MAX ((1ULL << 53) - 1)

enum field_kind {
    FIELD_NAME, /* char[size]: refused when longer or with control bytes in it */
    FIELD_TEXT, /* char[size]: cut when longer, control bytes but LF become '?' */
    FIELD_U32,
    FIELD_I32, /* may be negative */
    FIELD_U64,
    FIELD_RATE,    /* double >= 0 */
    FIELD_PART,    /* double 0..1 */
    FIELD_PERCENT, /* double 0..100; null while it is negative: unknown */
    FIELD_BOOL,
    FIELD_ENUM,  /* int; words of `words` */
    FIELD_LIST,  /* uint8_t[size]: an array of words, each as its index in `words` + 1; 0 ends it */
    FIELD_ERROR, /* a table of `sub`; null while its first row, an enum, is 0 */
    FIELD_OBJECT /* a table of `sub` */
};

struct node_field {
    const char *name;
    enum field_kind kind;
    size_t offset, size;
    bool required;
    const char *const *words; /* FIELD_ENUM, FIELD_LIST: NULL-terminated, value = index */
    const struct node_field *sub;
};

#define FIELD(type, member, kind)                                                                  \
    {                                                                                              \
#member, kind, offsetof(type, member), sizeof(((type *)0)->member), false, NULL, NULL      \
    }
#define FIELD_MUST(type, member, kind)                                                             \
    {                                                                                              \
#member, kind, offsetof(type, member), sizeof(((type *)0)->member), true, NULL, NULL       \
    }
#define FIELD_WORDS(type, member, names)                                                           \
    {                                                                                              \
#member, FIELD_ENUM, offsetof(type, member), sizeof(((type *)0)->member), false, names,    \
            NULL                                                                                   \
    }
#define FIELD_LIST_OF(type, member, names)                                                         \
    {                                                                                              \
#member, FIELD_LIST, offsetof(type, member), sizeof(((type *)0)->member), false, names,    \
            NULL                                                                                   \
    }
#define FIELD_SUB(type, member, kind, t)                                                           \
    {                                                                                              \
#member, kind, offsetof(type, member), sizeof(((type *)0)->member), false, NULL, t         \
    }

extern const struct node_field node_device_fields[]; /* device.c; a part of the state */
extern const struct node_field node_pull_fields[];   /* pull.c; the same */

/* Writes the rows as members of the object that is open in w. */
void node_fields_put(struct rm_jw *w, const struct node_field *table, const void *from);

/* Reads the members of o into the struct; members that are missing leave it as it is, null counts
 * as missing. path: the object's name for messages, "" at the top. why: at least NODE_WHY_MAX
 * bytes. Returns 0 or RM_ERR_FIELD. */
RM_MUST_USE int node_fields_get(const json_t *o, const struct node_field *table, void *into,
                                const char *path, char *why);

/* The same for an array of objects, a member of the object that is open in w, or of o: n rows of
 * row_size bytes each. Reading: missing or null leaves *n at 0; more than max are refused. */
void node_rows_put(struct rm_jw *w, const char *name, const struct node_field *table,
                   const void *rows, size_t row_size, uint32_t n);
RM_MUST_USE int node_rows_get(const json_t *o, const char *name, const struct node_field *table,
                              void *rows, size_t row_size, uint32_t max, uint32_t *n, char *why);

/* Text to a tree: an object, no duplicate keys, at most NODE_JSON_MAX bytes. The caller decrefs.
 * Returns 0 or RM_ERR_JSON. */
RM_MUST_USE int node_json_load(struct rm_slice json, json_t **out, char *why);

#endif
