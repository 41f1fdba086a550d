/* SPDX-License-Identifier: MIT */
/* proto/conf/node.h - step one of reading a configuration file: bytes to nodes with positions.
 *
 *   bytes ──conf_text_check──► UTF-8 text ──conf_yaml_read──► conf_node tree ──tables──► struct
 *
 * conf_text_check (text_check.c) refuses what libyaml would take silently or tell without a line:
 * other encodings, control and invisible characters, directives (quadratic in libyaml), too many
 * bytes. conf_yaml_read (yaml.c) drives libyaml's event API, never its document loader, and refuses
 * what a role map has no use for: nesting deeper than CONF_DEPTH_MAX, more than CONF_NODES_MAX
 * values, anchors, aliases, tags, directives, a second document, a key given twice. What libyaml
 * itself refuses is put into our words by yaml_words.c. One thread. */
#ifndef RM_CONF_NODE_H
#define RM_CONF_NODE_H

#include "proto/conf/report.h"

enum {
    CONF_FILE_MAX = 1 << 20,  /* bytes */
    CONF_DEPTH_MAX = 32,      /* lists and mappings inside each other */
    CONF_NODES_MAX = 20000,   /* keys and values */
    CONF_PAIRS_MAX = 1024,    /* keys of one mapping */
    CONF_SCALAR_MAX = 4096,   /* bytes of one key or value */
    CONF_ARENA_MAX = 8 << 20, /* bytes of one tree or one struct */
};

/* Memory that is freed whole. Allocations are zeroed and aligned for any type. */
struct conf_arena {
    struct conf_chunk *chunks;
    size_t used; /* bytes given out */
};

void *conf_arena_take(struct conf_arena *arena,
                      size_t bytes); /* NULL: no memory, or over the bound */
char *conf_arena_text(struct conf_arena *arena, struct rm_slice s); /* a copy with a NUL */
void conf_arena_clear(struct conf_arena *arena);

enum conf_node_type {
    CONF_SCALAR,
    CONF_SEQ,
    CONF_MAP,
    CONF_BROKEN, /* has been reported already; readers pass over it */
};

struct conf_node {
    enum conf_node_type type;
    struct conf_at at;
    bool plain;              /* scalar without quotes */
    struct rm_slice text;    /* scalar; NUL-terminated too */
    struct conf_node *first; /* items of a list; keys of a mapping */
    struct conf_node *last;  /* for appending */
    struct conf_node *next;  /* the next item or key */
    struct conf_node *value; /* of a key; never NULL there */
    uint32_t hash;           /* of a key's text */
    size_t n;                /* items or keys */
};

/* Reports every line with bytes that cannot be part of a configuration file. Returns true when
 * there is none. The report must hold the text (conf_report_begin). */
bool conf_text_check(struct conf_report *report);

/* Reads one document from text that conf_text_check has passed; mistakes go to the report.
 * arena   owns the tree
 * *root   a mapping, or NULL when no usable tree came out (syntax, limits, an empty file)
 * Returns 0 or UV_ENOMEM. */
RM_MUST_USE int conf_yaml_read(struct conf_report *report, struct conf_arena *arena,
                               struct conf_node **root);

/* Reports a scanner's or parser's error in our words. line, col: from 1; 0: unknown.
 * context, problem: libyaml's words, either may be NULL. */
void conf_yaml_explain(struct conf_report *report, const char *context, struct conf_at context_at,
                       const char *problem, struct conf_at problem_at);

/* What a file's bytes are given to. name: what messages call the file; bytes: n of them, valid for
 * the call; arg: as in conf_file_load. Returns 0, RM_ERR_CONF (the report says why) or UV_ENOMEM.
 */
typedef int (*conf_parse_fn)(void *arg, const char *name, const char *bytes, size_t n,
                             struct conf_report *report);

/* The beginning of every ..._load(): reads a regular file of at most CONF_FILE_MAX bytes and has it
 * parsed. A mistake of reading goes to the report (place 0, 0) and nothing is parsed. Blocking.
 * Returns RM_ERR_CONF, UV_ENOMEM, or what parse returned. */
RM_MUST_USE int conf_file_load(const char *path, struct conf_report *report, conf_parse_fn parse,
                               void *arg);

/* Line `number` of the report's text, from 1, without its end; p is NULL when there is none. */
struct rm_slice conf_line(const struct conf_report *report, unsigned number);

/* The line before one that conf_line gave, in time of its length; p is NULL at the first. */
struct rm_slice conf_line_before(const struct conf_report *report, struct rm_slice line);
size_t conf_line_indent(struct rm_slice line); /* blanks it begins with */

#endif
