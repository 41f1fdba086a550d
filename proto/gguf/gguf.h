/* SPDX-License-Identifier: MIT */
/* proto/gguf/gguf.h - what a model file says of itself, read by us and not by libllama.
 * Only the header of each file is read, with bounded reads; every count, length, type and offset
 * is compared with a limit and with the file before it is used, and nothing over 64 MiB is ever
 * allocated. Format: docs/gguf.md of ggml, versions 2 and 3, little-endian; split files as
 * llama.cpp's gguf-split writes them (split.no, split.count, split.tensors.count).
 *
 *   file by file ──► gguf.c (structure) ──► gguf_meta.c (what the keys say) ──► gguf_head
 *                      └► gguf_read.c (bytes)      estimate.c ◄── kv_formula.c ◄───┘
 *
 * gguf_model.c opens the files of a model by its path; worker/models does so beneath its directory.
 *
 * No state; blocks on the disk (milliseconds): for a thread of libuv's pool. ggml has functions
 * that begin with gguf_ too: a name here must not be one of theirs, since tests link both. */
#ifndef RM_GGUF_H
#define RM_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/base/err.h"

enum {
    GGUF_KEYS_MAX = 65536,     /* of one file */
    GGUF_TENSORS_MAX = 262144, /* of one model */
    GGUF_KEY_BYTES_MAX = 65535,
    GGUF_NAME_BYTES_MAX = 63, /* of a tensor; ggml's GGML_MAX_NAME less the NUL */
    GGUF_STRING_MAX = 16 << 20,
    GGUF_ITEMS_MAX = 1 << 24, /* strings of one array */
    GGUF_PARTS_MAX = 1024,
    GGUF_LAYERS_MAX = 1024,
    GGUF_HEAD_BYTES_MAX = 512 << 20, /* of one file before its tensor data */
    GGUF_TYPES = 43,                 /* tensor types that are known, at most */
    GGUF_WARNINGS_MAX = 8,
    GGUF_WARNING_MAX = 200,
    GGUF_WHY_MAX = 384
};

/* Where bytes come from. read: up to n bytes at `at`; returns their number, 0 at the end, or a
 * libuv code; fewer than asked is fine. size: of the whole file. */
struct gguf_source {
    void *arg;
    ssize_t (*read)(void *arg, void *into, size_t n, uint64_t at);
    uint64_t size;
};

/* pread(2) on an open file, which is borrowed. */
struct gguf_source gguf_source_fd(int fd, uint64_t size);

/* The whole numbers that matter, named as behind `<architecture>.`; the first ones may be told by
 * layer. The names stand in gguf_meta.c, in this order. */
enum gguf_number_id {
    GGUF_HEADS,
    GGUF_HEADS_KV,
    GGUF_SWA_PATTERN,
    GGUF_RECURRENT_LAYERS,
    GGUF_BY_LAYER, /* number of those above */
    GGUF_LAYERS = GGUF_BY_LAYER,
    GGUF_CONTEXT,
    GGUF_WIDTH,
    GGUF_NEXTN,
    GGUF_KEY_LENGTH,
    GGUF_VALUE_LENGTH,
    GGUF_KEY_LENGTH_SWA,
    GGUF_VALUE_LENGTH_SWA,
    GGUF_KEY_LENGTH_MLA,
    GGUF_SWA_WINDOW,
    GGUF_SHARED_KV_LAYERS,
    GGUF_SSM_CONV,
    GGUF_SSM_INNER,
    GGUF_SSM_STATE,
    GGUF_SSM_GROUPS,
    GGUF_SHORTCONV,
    GGUF_FULL_ATTENTION_EVERY,
    GGUF_WKV_HEAD,
    GGUF_EXPERTS,
    GGUF_EXPERTS_USED,
    GGUF_NUMBERS
};

struct gguf_number {
    bool present;
    bool varies; /* an array whose items differ; v is the first */
    uint32_t v;
    uint32_t items; /* of an array; 0: a single number */
    uint64_t at;    /* offset of the value */
};

struct gguf_mix {
    uint32_t type; /* ggml_type; gguf_tensor_type_name() */
    uint32_t tensors;
    uint64_t bytes;
};

struct gguf_head {
    char arch[65];      /* general.architecture: [a-z0-9_-]{1,64} */
    char name[128];     /* general.name, made printable; "" without one */
    uint64_t params;    /* elements of all tensors */
    uint64_t weights;   /* bytes: every tensor padded to 32, as ggml's buffers hold them */
    uint32_t tensors;   /* of all files */
    uint32_t files;     /* read so far */
    uint32_t alignment; /* general.alignment of the file read last */
    struct gguf_mix mix[GGUF_TYPES + 1];
    uint32_t n_mix; /* the last one may be of unknown types: type is UINT32_MAX */
    struct gguf_number numbers[GGUF_NUMBERS];
    uint32_t by_layer[GGUF_BY_LAYER][GGUF_LAYERS_MAX]; /* arrays only: `items` of them */
    char warnings[GGUF_WARNINGS_MAX][GGUF_WARNING_MAX];
    uint32_t n_warnings;    /* all there were, also those that had no room */
    uint32_t split_tensors; /* split.tensors.count; 0: not told */
};

/* Reads a model: begin, then one add for each file in order, then end.
 * head   to be filled; the caller's, about 18 KiB
 * Returns 0 or UV_ENOMEM. */
struct gguf_reading;
RM_MUST_USE int gguf_begin(struct gguf_head *head, struct gguf_reading **out);

/* file   its name for messages, made printable; borrowed for the call
 * parts  how many files the model has by its name
 * why    GGUF_WHY_MAX bytes: "FILE: offset N: what is wrong" after an error
 * Returns 0; RM_ERR_MODEL_FILE: damaged, cut short, unreadable, or not what its name says;
 * UV_ENOMEM. */
RM_MUST_USE int gguf_add(struct gguf_reading *g, const struct gguf_source *source, const char *file,
                         uint32_t parts, char *why);

/* Ends the reading and frees it, whatever came before. Checks what only the whole shows; after a
 * gguf_add that failed it checks nothing. Returns 0 or RM_ERR_MODEL_FILE with why. */
int gguf_end(struct gguf_reading *g, const char *file, char *why);

/* The number as told for a layer; def where the key is missing or its array too short. */
uint32_t gguf_number_at(const struct gguf_head *h, enum gguf_number_id id, uint32_t layer,
                        uint32_t def);

/* ggml's name, block length and bytes of a block of a tensor type; NULL or false: not known. */
const char *gguf_tensor_type_name(uint32_t type);
bool gguf_tensor_type_block(uint32_t type, uint32_t *block, uint32_t *bytes);

#endif
