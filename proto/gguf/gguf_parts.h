/* SPDX-License-Identifier: MIT */
/* proto/gguf/gguf_parts.h - what the files of the GGUF reader share: the reading in progress,
 * its messages, the set of names seen. For gguf.c, gguf_meta.c, gguf_names.c. */
#ifndef RM_GGUF_PARTS_H
#define RM_GGUF_PARTS_H

#include "proto/gguf/gguf_read.h"

/* Value types of the format. */
enum gguf_value_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STR,
    GGUF_ARR,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_VALUE_TYPES
};

enum { GGUF_HELD_MAX = GGUF_LAYERS_MAX * 8, GGUF_SHOWN_MAX = 96, GGUF_FILE_MAX = 208 };

/* One value as it was read; of long ones the beginning. */
struct gguf_value {
    uint32_t type;  /* enum gguf_value_type */
    uint32_t item;  /* of an array */
    uint64_t items; /* of an array; bytes of a string */
    uint64_t at;    /* offset of its first byte */
    uint32_t held;  /* bytes in `bytes`: all of a number; arrays of strings: none */
    unsigned char bytes[GGUF_HELD_MAX];
};

/* Names seen so far, as keyed 128-bit hashes: nobody can make two names meet. */
struct gguf_names {
    struct gguf_name *v; /* owned; open addressing */
    uint32_t cap, n;
    unsigned char key[16];
};
void gguf_names_init(struct gguf_names *s);
void gguf_names_clear(struct gguf_names *s);
/* Returns 1: new; 0: it was there; UV_ENOMEM. */
RM_MUST_USE int gguf_names_add(struct gguf_names *s, const void *name, size_t n);

/* Where a tensor's bytes lie, relative to the data of its file. */
struct gguf_extent {
    uint64_t offset, bytes; /* bytes: UINT64_MAX when the type is not known */
    uint64_t name_at;       /* offset of its name in the file */
    uint32_t name_n, type;
};

/* A whole number of the split.* or general.* keys of one file. */
struct gguf_own {
    bool present;
    uint64_t v, at;
};

struct gguf_reading {
    struct gguf_head *head; /* the caller's */
    struct gguf_reader in;
    char file[GGUF_FILE_MAX]; /* of this gguf_add, printable */
    char *why;
    bool failed;
    char where[GGUF_SHOWN_MAX + 64]; /* what is read now: "the file ends in ..." */
    char *key;                       /* owned; GGUF_KEY_BYTES_MAX + 1 bytes; the key read last */
    uint32_t key_n;
    struct gguf_value value;     /* read last */
    struct gguf_names keys;      /* of this file */
    struct gguf_names names;     /* of tensors, of all files */
    struct gguf_extent *extents; /* owned; of this file */
    uint32_t n_extents, cap_extents;
    struct gguf_own split_no, split_count, split_tensors, alignment; /* of this file */
    uint64_t split_tensors_at;                                       /* in the first file */
};

/* Both print `at`, the file and the text; fail returns RM_ERR_MODEL_FILE. */
int gguf_fail(struct gguf_reading *g, uint64_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void gguf_warn(struct gguf_reading *g, uint64_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Bytes from outside as printable ASCII, others as \xNN, cut with ".." where it gets too long. */
const char *gguf_shown(char to[GGUF_SHOWN_MAX], const void *bytes, size_t n);
const char *gguf_shown_in(char *to, size_t n_to, const void *bytes, size_t n);

/* Notes what key and value mean for head and reading. Returns 0 or RM_ERR_MODEL_FILE. */
RM_MUST_USE int gguf_meta_take(struct gguf_reading *g);

/* After the keys of the first file: do the numbers fit together? As above. */
RM_MUST_USE int gguf_meta_check(struct gguf_reading *g);

/* Takes general.architecture from the value read last. As above. */
RM_MUST_USE int gguf_meta_arch(struct gguf_reading *g);

#endif
