/* SPDX-License-Identifier: MIT */
/* proto/base/file.h - small files, read whole and replaced whole, and directories. Blocking: for
 * what is read and written on demand, or from a thread of libuv's pool. Any thread. */
#ifndef RM_BASE_FILE_H
#define RM_BASE_FILE_H

#include <sys/types.h>

#include "proto/base/buf.h"

/* Appends the bytes of a regular file to out, whose maximum bounds them.
 * Returns 0, UV_ENOENT and other libuv codes, UV_EINVAL (not a regular file), RM_ERR_TOO_BIG. */
RM_MUST_USE int rm_file_read(const char *path, struct rm_buf *out);

/* Puts bytes in the place of path so that, whatever happens, the old or the new content is there:
 * written beside it, synced, renamed over it, the directory synced. A file that exists keeps its
 * mode and, where the system lets us, its owner; else it gets `mode`.
 * Returns 0 or a libuv code; then path is as it was and nothing is left beside it. */
RM_MUST_USE int rm_file_replace(const char *path, struct rm_slice bytes, mode_t mode);

/* The same of a file that exists, but its owner must be kept as well: where that cannot be, nothing
 * is replaced (UV_EPERM). */
RM_MUST_USE int rm_file_replace_kept(const char *path, struct rm_slice bytes);

/* As rm_file_replace, but not synced, so that it does not wait for a disk: small files that a loop
 * may write. After a power cut the old content may be there, or none. */
RM_MUST_USE int rm_file_put(const char *path, struct rm_slice bytes, mode_t mode);

/* Makes the directory and what is missing above it. Returns 0, UV_ENOTDIR, UV_ENAMETOOLONG,
 * UV_EINVAL (the empty path) or another libuv code. */
RM_MUST_USE int rm_dir_make(const char *path, mode_t mode);

#endif
