/* SPDX-License-Identifier: MIT */
/* gateway/map/file.h - what this folder answers for: the role map's file, from bytes on a disk to
 * the map that runs. file.c reads and replaces it, watch.c notices edits, keeper.c brings one map
 * after the other to the gateway's modules and tells how that went.
 *
 *   SIGHUP ─────────────┐
 *   watch ──changed──► keeper ──job──► thread pool: read, hash, parse, write
 *   POST /api/v1/map ───┘  ▲                │
 *                          └── one at a time ┴──► diff ──► apply (gateway.c) ──► outcome
 *
 * The functions of this file block on the disk: call them from a thread of libuv's pool, or before
 * the loop runs. No state. */
#ifndef RM_MAP_FILE_H
#define RM_MAP_FILE_H

#include "proto/conf/role_map.h"

enum { MAP_REVISION = 33, MAP_WHY_MAX = 512, MAP_PATH_MAX = 4096 };

/* The revision of a map: BLAKE2b-128 over its bytes, 32 hex digits and a NUL. */
void map_revision_of(const char *bytes, size_t n, char out[MAP_REVISION]);

/* As role_map_load. revision: of the bytes, good or bad; "" when they could not be read. */
RM_MUST_USE int map_file_load(const char *path, struct conf_report *report,
                              char revision[MAP_REVISION], struct role_map **out);

/* The revision of what lies there now; "" when it cannot be read. */
void map_file_revision(const char *path, char out[MAP_REVISION]);

/* What tells one file from another without reading it. */
struct map_file_id {
    int err; /* of stat, a libuv code; the rest is zero then */
    uint64_t dev, ino, size;
    int64_t mtime_ns, ctime_ns;
};

/* Links are followed to the end. */
void map_file_identify(const char *path, struct map_file_id *out);
bool map_file_same(const struct map_file_id *a, const struct map_file_id *b);

/* Replaces the file's bytes whole: a temporary file beside it, flushed to the disk, renamed over
 * it, and the directory flushed. Mode, owner and group stay; a path that is a link stays one and
 * its target is replaced. Access lists and extended attributes are not kept.
 * expect  the revision that must lie there now, or "*": whatever does
 * found   the revision that did
 * why     MAP_WHY_MAX bytes: what went wrong, one line for people
 * Returns 0; RM_ERR_REVISION: another revision lies there; a libuv code: nothing was changed. */
RM_MUST_USE int map_file_write(const char *path, const char *bytes, size_t n, const char *expect,
                               char found[MAP_REVISION], char *why);

#endif
