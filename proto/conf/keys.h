/* SPDX-License-Identifier: MIT */
/* proto/conf/keys.h - step two of reading a configuration file: nodes to structs through tables.
 * A table is a mapping's keys; a row is key, type, field, default and what a reload may do. The
 * types (values.c) parse, compare and describe one value each; conf_read_map (keys.c) walks a
 * mapping along a table, and reports what does not fit, going on to the next key, so that one run
 * shows every mistake. The same rows make `rolemesh keys --config`, the check that configs/ is
 * complete, and role_map_diff. One thread; tables are constant. */
#ifndef RM_CONF_KEYS_H
#define RM_CONF_KEYS_H

#include "proto/conf/node.h"
#include "proto/conf/role_map.h"

struct conf_key;
struct conf_table;

/* One reading. */
struct conf_read {
    struct conf_report *report;
    struct conf_arena *arena;               /* owns what the struct points to */
    const struct conf_table *const *tables; /* all of this file, NULL-terminated */
    bool no_memory;                         /* the arena or the heap is full */
};

struct conf_type {
    const char *name; /* for people: "duration" */
    /* Fills the field, or reports what is wrong with the value. */
    void (*parse)(struct conf_read *cf, const struct conf_key *key, const struct conf_node *value,
                  void *field);
    bool (*equal)(const struct conf_key *key, const void *a, const void *b);
};

struct conf_key {
    const char *key;
    const struct conf_type *type;
    size_t offset;        /* of the field in the struct */
    const char *fallback; /* the default as it would be written; NULL: zero, or required */
    unsigned effect;      /* enum conf_effect */
    const char *help;     /* one line for the reference */
    bool required;
    uint64_t min, max;        /* numbers; max 0: no bound of its own */
    const char *const *words; /* enums: the words, NULL-terminated, in the order of the values */
    const struct conf_table *table; /* sections and named collections */
    size_t at;                      /* offset of a struct conf_at for the value's place; 0: none */
};

struct conf_table {
    const char *path;  /* "gateway", "nodes.NAME", ""; for the reference */
    const char *where; /* "inside a role", "at top level" */
    const char *what;  /* "role": what one entry of a named collection is; NULL elsewhere */
    const struct conf_key *keys; /* alphabetical; the last has no key */
    size_t size, at, index; /* named: bytes of one entry, offsets of its conf_at and its index */
    /* Named: NULL when the name is good, else what names must be. */
    const char *(*name_check)(struct rm_slice name);
};

/* A named collection in the struct: n entries that begin with `const char *name`. */
struct conf_items {
    void *item;
    size_t n;
};

extern const struct conf_type conf_bool;     /* bool */
extern const struct conf_type conf_u32;      /* uint32_t: decimal digits */
extern const struct conf_type conf_u32_auto; /* uint32_t: the same, or "auto" for 0 */
extern const struct conf_type conf_layers;   /* int32_t: the same, or "all" for -1 */
extern const struct conf_type conf_tokens;   /* uint32_t: digits, with Ki or Mi */
extern const struct conf_type conf_size;     /* uint64_t bytes: 12GiB, 500MB */
extern const struct conf_type conf_duration; /* uint64_t milliseconds: 500ms, 30s, 5m, 2h */
extern const struct conf_type conf_enum;     /* int: one of `words` */
extern const struct conf_type conf_text;     /* const char *: any string, not empty */
extern const struct conf_type conf_texts; /* struct conf_list: strings, none twice, at least one */
extern const struct conf_type conf_path;  /* const char *: an absolute path */
extern const struct conf_type conf_address;  /* struct conf_addr: host:port, port 1..65535 */
extern const struct conf_type conf_listen;   /* struct conf_addr_list: host:port, port 0..65535 */
extern const struct conf_type conf_http_url; /* const char *: http://host:port and maybe a path */
extern const struct conf_type conf_section;  /* the struct of `table`, in place */
extern const struct conf_type conf_named;    /* struct conf_items of `table` */

/* Reads a mapping along a table into a zeroed struct; absent keys get their defaults.
 * owner   what the mapping is, for messages: "role 'code'"
 * at      where to tell that a required key is absent
 * map     may be NULL: nothing but defaults */
void conf_read_map(struct conf_read *cf, const struct conf_table *table, const char *owner,
                   struct conf_at at, const struct conf_node *map, void *into);

/* Does the table's last word on a file: text check, YAML, tables. The mistakes are in the report.
 * Returns 0 (look at report->total), or UV_ENOMEM. */
RM_MUST_USE int conf_read_text(struct conf_read *cf, const struct conf_table *top, void *into);

/* Reports with the key's name in front: "timeout: expected ..." */
void conf_say(struct conf_read *cf, const struct conf_key *key, const struct conf_node *value,
              const char *hint, const char *fmt, ...) RM_PRINTF(5, 6);

/* A value for a message: quoted, cut, without odd bytes, and not at all for secret-like keys. */
enum { CONF_SHOWN_MAX = 80 };
const char *conf_shown(const char *key, struct rm_slice value, char out[CONF_SHOWN_MAX]);

const char *conf_kind_of(const struct conf_node *value); /* "a list", "nothing", ... */

/* True for an unquoted scalar that YAML 1.2 reads as null, a boolean or a number. */
bool conf_not_a_string(const struct conf_node *value);

/* NULL when `path` is absolute, without "..", empty parts or control characters and outside /dev,
 * /proc and /sys; else what is wrong. Does not look at the disk. */
const char *conf_path_fault(struct rm_slice path);

/* Splits "host:port"; IPv6 in brackets. Returns NULL, or what is wrong. host_out: slice of text. */
const char *conf_split_address(struct rm_slice text, struct rm_slice *host, unsigned long *port);

/* Refuses what must not be listened on: twice the same, the mesh before it exists, and addresses
 * other than loopback unless without_keys. */
void conf_check_listen(struct conf_read *cf, const struct conf_addr_list *listen,
                       bool without_keys);

/* The tables of the role map and of the worker's file, top first, NULL-terminated. */
const struct conf_table *const *role_map_tables(void);
const struct conf_table *const *worker_conf_tables(void);

#endif
