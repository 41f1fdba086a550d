/* SPDX-License-Identifier: MIT */
/* worker/pull/fetch_file.h - the disk's side of fetch.c: where a file and its parts lie, whether
 * there is room, the checksum, the final name. Blocking. */
#ifndef RM_PULL_FETCH_FILE_H
#define RM_PULL_FETCH_FILE_H

#include <limits.h>

#include "worker/pull/fetch.h"

struct fetch_paths {
    char file[PATH_MAX], part[PATH_MAX], map[PATH_MAX];
};

/* All of these: why has SOURCE_WHY_MAX bytes; FETCH_DONE: go on. */

/* dir/name, dir/name.part, dir/name.part.map; makes the directories between. */
enum fetch_end fetch_paths_make(const char *dir, const char *name, struct fetch_paths *out,
                                char *why);

/* FETCH_THERE_ALREADY, or FETCH_WRONG when something else has that name. */
enum fetch_end fetch_is_there(const struct fetch_paths *p, uint64_t bytes, char *why);

/* Opens the part with room for all of it, leaving keep_free_bytes on the disk. *fresh: what it
 * holds does not count, and set when it was not there. why: from where the text is to stand, at
 * least SOURCE_WHY_MAX - 256 bytes. */
enum fetch_end fetch_part_open(const struct fetch_paths *p, uint64_t bytes,
                               uint64_t keep_free_bytes, bool *fresh, int *fd, char *why);

/* SHA-256 of all of it, in hex. Returns 0, UV_ECANCELED (*stop became 1) or another libuv code. */
int fetch_part_sha256(int fd, const volatile sig_atomic_t *stop,
                      void (*on_progress)(void *arg, uint64_t there), void *arg, char out[65]);

/* Synced, renamed, the map removed. Returns 0 or a libuv code. */
int fetch_part_name(const struct fetch_paths *p, int fd);
void fetch_part_remove(const struct fetch_paths *p);

#endif
