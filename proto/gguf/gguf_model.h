/* SPDX-License-Identifier: MIT */
/* proto/gguf/gguf_model.h - a model by its path: all files of a split one, as llama.cpp names them.
 * For programs of the user, who may name any file; the worker, which is asked from outside, opens
 * files beneath its models directory only (worker/models). Blocks on the disk. No state. */
#ifndef RM_GGUF_MODEL_H
#define RM_GGUF_MODEL_H

#include "proto/gguf/gguf.h"

/* Part number and count of a file name "...-00002-of-00003.gguf"; false: no such name. */
bool gguf_split_name(const char *name, uint32_t *part, uint32_t *parts);

/* Reads the headers of all files and checks that all bytes they speak of are there.
 * path   of the first (or only) file
 * bytes  of all files; NULL: not wanted
 * why    GGUF_WHY_MAX bytes: one line naming the file and, where it is about a byte, the offset
 * Returns 0; RM_ERR_MODEL_FILE: missing, not readable, no regular file, damaged, cut short, a part
 * is missing, or `path` is not the first part; UV_ENOMEM. */
RM_MUST_USE int gguf_read_model(const char *path, struct gguf_head *head, uint64_t *bytes,
                                char *why);

#endif
