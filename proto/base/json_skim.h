/* SPDX-License-Identifier: MIT */
/* proto/base/json_skim.h - reads a JSON object without building a tree: checks all of it (RFC 8259,
 * strictly) and notes where its top-level members lie, and the elements of its "messages" and
 * "input" arrays. Fed in any pieces; keeps no byte of the text, only offsets into it. For request
 * bodies (up to 64 MiB) and for the JSON of one server-sent event. No I/O; one user at a time.
 *
 * Stricter than many readers, so that no two of them can disagree about a body: the root is an
 * object, depth is at most 64, a top-level key comes once (compared after its escapes are
 * resolved), strings are valid UTF-8, surrogate escapes come in pairs, numbers fit a double, and
 * nothing but blanks surrounds the object (no byte order mark, no NaN, no comments). Repeated keys
 * further down are left to whoever reads the value. */
#ifndef RM_BASE_JSON_SKIM_H
#define RM_BASE_JSON_SKIM_H

#include "proto/base/buf.h"

enum {
    RM_SKIM_DEPTH = 64,     /* containers inside each other, the root included */
    RM_SKIM_MEMBERS = 1024, /* top-level members; more are an error */
    RM_SKIM_ITEMS = 65536   /* elements noted per array; more are counted only */
};

enum rm_json_type {
    RM_JSON_OBJECT = 1,
    RM_JSON_ARRAY,
    RM_JSON_STRING,
    RM_JSON_NUMBER,
    RM_JSON_TRUE,
    RM_JSON_FALSE,
    RM_JSON_NULL
};

/* A stretch of the text, in bytes from its first byte; a string with its quotes. */
struct rm_span {
    uint32_t offset, len;
};

/* One member of the root object. */
struct rm_json_member {
    struct rm_span key;   /* raw, with its quotes and escapes */
    struct rm_span value; /* exactly the value: no blanks around it */
    uint64_t key_hash;    /* of the unescaped key */
    enum rm_json_type type;
};

/* Elements of one top-level array, in order. */
struct rm_skim_items {
    struct rm_span *v; /* n of them; owned by the skimmer */
    uint32_t n, cap;
    uint32_t total; /* elements seen; n < total only above RM_SKIM_ITEMS */
};

struct rm_skim {
    /* results */
    struct rm_json_member *members; /* n_members of them, in the order sent */
    uint32_t n_members;
    struct rm_skim_items messages, input; /* empty when the member is absent or not an array */
    uint32_t error_offset;                /* of the byte that could not be taken */
    const char *error_text;               /* what was wrong with it; NULL: nothing yet. Static */
    /* the machine; for json_skim.c only */
    int err;
    uint8_t state, depth, utf8_need, utf8_low, utf8_high, hex_n;
    bool in_key, naming;  /* the string is a key; it is a top-level key */
    uint64_t is_array;    /* one bit per level */
    uint32_t at;          /* bytes taken */
    uint32_t item_at;     /* where the element began */
    uint32_t members_cap; /* allocated */
    uint32_t hex, high;   /* digits so far; the first half of a surrogate pair, or 0 */
    const char *literal;  /* what must still come of true, false or null */
    uint32_t name_n;      /* unescaped bytes of the key so far */
    char name[8];         /* the first of them */
    uint64_t name_hash;   /* of all of them */
    struct rm_skim_items *items;
    struct {
        int32_t scale; /* power of ten of the first digit that is not 0 */
        int32_t exp;
        uint8_t n;
        bool neg_exp;
        char digits[24]; /* the first that matter */
    } num;
};

void rm_skim_init(struct rm_skim *s);  /* allocates nothing */
void rm_skim_clear(struct rm_skim *s); /* frees; may be used again */
void rm_skim_reset(struct rm_skim *s); /* ready for another text, keeps its memory */

/* Takes the next n bytes. Returns 0, RM_ERR_JSON (error_offset and error_text say where and what),
 * RM_ERR_TOO_BIG (4 GiB) or UV_ENOMEM; after an error only that error. */
RM_MUST_USE int rm_skim_feed(struct rm_skim *s, const char *bytes, size_t n);

/* The text is over: 0 or RM_ERR_JSON. */
RM_MUST_USE int rm_skim_end(struct rm_skim *s);

/* The member of that name, or NULL. body: the whole text that was fed, in one piece. Valid until
 * the next reset or clear. */
const struct rm_json_member *rm_skim_member(const struct rm_skim *s, struct rm_slice body,
                                            const char *name);

/* The bytes of a span. */
struct rm_slice rm_span_of(struct rm_slice body, struct rm_span span);

/* One whole text at once, e.g. the data of one event: resets s, feeds, ends. s must have been
 * initialised and may be used for one text after another. Returns as feed and end. */
RM_MUST_USE int rm_json_check(struct rm_slice text, struct rm_skim *s);

/* Appends the unescaped bytes of a raw string (with its quotes) to out. Returns 0, RM_ERR_JSON (not
 * one valid string), RM_ERR_TOO_BIG or UV_ENOMEM; on an error out may hold a part. */
RM_MUST_USE int rm_json_unquote(struct rm_slice raw, struct rm_buf *out);

/* True when the raw string (with its quotes) says exactly text once unescaped. */
bool rm_json_string_eq(struct rm_slice raw, const char *text);

/* A raw number. int: RM_ERR_FIELD when it has a fraction or does not fit; 5.0 and 1e3 are 5 and
 * 1000. dbl: RM_ERR_FIELD when it does not fit. Both: RM_ERR_JSON when raw is not one number. */
RM_MUST_USE int rm_json_int(struct rm_slice raw, int64_t *out);
RM_MUST_USE int rm_json_dbl(struct rm_slice raw, double *out);

#endif
