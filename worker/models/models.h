/* SPDX-License-Identifier: MIT */
/* worker/models/models.h - what this folder answers for: the model files of this node.
 * Names that come from outside are looked up beneath the models directory only (openat2 with
 * RESOLVE_BENEATH: no "..", no link leads out), must be regular files and whole GGUF files
 * (gguf.h). libllama never sees a file in this process. Every function here blocks on the disk:
 * call it from a thread of libuv's pool. No state. */
#ifndef RM_MODELS_H
#define RM_MODELS_H

#include "proto/node/state.h"
#include "proto/gguf/gguf.h"

enum {
    MODELS_PATH_MAX = 1024,
    MODELS_WHY_MAX = 384,
    MODELS_FILES_MAX = 1024, /* of one split model */
    MODELS_LIST_MAX = 1024,
    MODELS_DEPTH_MAX = 8
};

/* One model on disk: one file, or all files of a split one. */
struct model_file {
    char path[MODELS_PATH_MAX]; /* absolute; of the first file */
    uint64_t bytes;             /* of all files */
    int64_t mtime_ns;           /* the newest */
    uint32_t files;
    double cached; /* part of the bytes, 0..1, that the kernel held in memory before we looked; -1:
                      not told. See page_cache.h */
    char hash[65]; /* hex; see model_look. "" when not wanted */
};

/* Opens the models directory. Returns a descriptor or a libuv code. */
RM_MUST_USE int models_open_dir(const char *dir);

/* Opens a file to read, beneath the directory whatever links lie on the way.
 * rel: relative to it, as node_file_ok. Returns a descriptor or a libuv code; whether it is a
 * regular file is for the caller. */
RM_MUST_USE int models_open_file(int dir_fd, const char *dir, const char *rel);

/* Looks a model up and checks what can be checked without reading it all: the headers of all its
 * files, and that all bytes they speak of are there.
 * dir_fd, dir   the models directory, open, and its absolute path
 * source        absolute path of the first (or only) file, beneath dir; or hf:ORG/REPO:QUANT: what
 *               was pulled of it (proto/node/file_name.h)
 * want_hash     also make the content id: BLAKE2b-256 over, for each file in order, its size (8
 *               bytes, little-endian), its first MiB, 14 samples of 64 KiB at even distances, its
 *               last MiB; files up to 3 MiB whole. An id, not a proof.
 * head          what the headers say; NULL: not wanted
 * why           MODELS_WHY_MAX bytes: what is wrong, for people, naming the file
 * Returns 0; UV_ENOMEM; RM_ERR_MODEL_FILE: missing, damaged, not readable, a part of it is not
 * there; RM_ERR_CONF: the name cannot be used here (not beneath dir, not a .gguf). */
RM_MUST_USE int model_look(int dir_fd, const char *dir, const char *source, bool want_hash,
                           struct model_file *out, struct gguf_head *head, char *why);

/* Is a context (tokens per slot) beyond what the model was made for? trained: by its header; 0:
 * unknown, then nothing is beyond it. True: why (MODELS_WHY_MAX bytes) says so with both numbers.
 */
bool model_context_beyond(const char *source, uint32_t context, uint32_t trained, char *why);

struct model_list {
    struct model_file *v; /* owned; path is relative to the directory; sorted by it */
    uint32_t n;
    bool truncated; /* there are more than MODELS_LIST_MAX, or deeper ones */
};

/* Every .gguf beneath the directory; links are not followed, hidden names and what cannot be read
 * are left out. Returns 0 or a libuv code. */
RM_MUST_USE int models_list(int dir_fd, struct model_list *out);
void models_list_clear(struct model_list *list);

/* Appends the body of GET /node/v1/models. Returns as rm_buf_put. */
int models_list_encode(const struct model_list *list, const char *dir, struct rm_buf *out);

#endif
