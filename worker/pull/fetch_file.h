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

/* Is there room for all files of a model, whose bytes are `total`, beside what there is of them?
 * n of 1, or total 0 (unknown): fetch_part_open looks in time. */
enum fetch_end fetch_room_check(const char *dir, const struct source_list *files,
                                uint64_t keep_free_bytes, char *why);

/* FETCH_THERE_ALREADY, or FETCH_WRONG when something else has that name. */
enum fetch_end fetch_is_there(const struct fetch_paths *p, uint64_t bytes, char *why);

/* Opens the part with room for all of it, leaving keep_free_bytes on the disk. *fresh: what it
 * holds does not count, and set when it was not there. why: from where the text is to stand, at
 * least SOURCE_WHY_MAX - 256 bytes. */
enum fetch_end fetch_part_open(const struct fetch_paths *p, uint64_t bytes,
                               uint64_t keep_free_bytes, bool *fresh, int *fd, char *why);

/* SHA-256 of all of it, in hex. on_progress may be NULL. Returns 0, UV_ECANCELED (*stop became 1)
 * or another libuv code. */
int fetch_part_sha256(int fd, const volatile sig_atomic_t *stop,
                      void (*on_progress)(void *arg, uint64_t there), void *arg, char out[65]);

/* Synced, renamed, the map removed. Returns 0 or a libuv code. */
int fetch_part_name(const struct fetch_paths *p, int fd);
void fetch_part_remove(const struct fetch_paths *p);

#endif
