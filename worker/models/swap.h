/* SPDX-License-Identifier: MIT */
/* worker/models/swap.h - is this still the file that was looked at before? Names say nothing: a
 * file may be replaced by a rename, rewritten in place, or changed without another size or time.
 * Pure. */
#ifndef RM_MODELS_SWAP_H
#define RM_MODELS_SWAP_H

#include "worker/models/models.h"

/* What one look says of a model's files, all of them together. */
struct model_id {
    uint64_t bytes;
    int64_t mtime_ns; /* the newest */
    uint32_t files;   /* 0: nothing was looked at */
    char hash[65];    /* content id; "" when it was not made */
};

struct model_id model_id_of(const struct model_file *file);

/* Sizes, times, number of files; and the content ids where both have one. */
bool model_id_same(const struct model_id *a, const struct model_id *b);

/* Tells the two apart for people: "it had 1200 bytes (2026-05-01 10:00:00 UTC, content 0123abcd),
 * it has 800 bytes (...)". */
void model_id_change(const struct model_id *was, const struct model_id *is, char *out, size_t size);

#endif
