/* SPDX-License-Identifier: MIT */
/* worker/models/sums.h - SHA-256 of model files that were made once, as long as the files stay what
 * they were: size, modification time and inode. A table in memory and its text for a file, one line
 * a sum: "HEX SIZE MTIME_NS INODE NAME". The oldest goes when it is full. Pure. */
#ifndef RM_MODELS_SUMS_H
#define RM_MODELS_SUMS_H

#include "proto/node/file_name.h"

enum { SUMS_MAX = 256, SUMS_TEXT_MAX = SUMS_MAX * (NODE_FILE_MAX + 192) };

struct file_stamp {
    uint64_t bytes;
    int64_t mtime_ns;
    uint64_t inode;
};

struct sums {
    uint32_t n;
    struct sum {
        char name[NODE_FILE_MAX];
        char hex[65];
        struct file_stamp stamp;
    } v[SUMS_MAX]; /* the oldest first */
};

const char *sums_find(const struct sums *s, const char *name, const struct file_stamp *stamp);
void sums_put(struct sums *s, const char *name, const struct file_stamp *stamp, const char *hex);

int sums_write(const struct sums *s, struct rm_buf *out); /* as rm_buf_put */
void sums_read(struct sums *s, struct rm_slice text);     /* damaged lines are left out */

#endif
