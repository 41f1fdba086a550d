/* SPDX-License-Identifier: MIT */
/* worker/memory/group.h - the memory group (cgroup) that this process lives in, with every group
 * above it: limits, what can still be had, kills. Sources: cgroups(7) /proc/self/cgroup; v1
 * memory.limit_in_bytes, .usage_in_bytes, .stat, .oom_control; v2 memory.max, .high, .current,
 * .stat, .events, .pressure. The hierarchies are looked for where systemd and container engines
 * mount them: /sys/fs/cgroup/memory (v1), /sys/fs/cgroup (v2). Any thread. */
#ifndef RM_MEMORY_GROUP_H
#define RM_MEMORY_GROUP_H

#include "proto/base/buf.h"

enum { GROUP_LEVELS_MAX = 32, GROUP_PATH_MAX = 512 };

struct memory_group {
    bool v2;
    char path[GROUP_PATH_MAX]; /* "" or "/a/b": beneath the mount point, without a last slash */
};

/* Reads the text of /proc/self/cgroup. A path that leads out of a namespace ("..") becomes "", and
 * so does one that is too long. False: no memory group. Pure. */
bool group_parse(struct rm_slice text, struct memory_group *out);

/* The group of this process below root. False: none. */
bool group_of_self(int root, struct memory_group *out);

/* The tightest limit of the group and those above it that is below `beyond` bytes (the machine's
 * memory: a higher one limits nothing), and the least that any of them leaves: limit minus usage,
 * file pages that can be dropped not counted as used. False: nothing limits it; the outputs are
 * left as they are. */
bool group_limit(int root, const struct memory_group *g, uint64_t beyond, uint64_t *limit,
                 uint64_t *available);

/* Kills by the kernel for memory in the group so far. False: not told. */
bool group_oom_kills(int root, const struct memory_group *g, uint64_t *out);

/* The path of a file of the group (not of those above). Returns its length, or 0: too long. */
int group_file(const struct memory_group *g, const char *name, char *out, size_t size);

#endif
