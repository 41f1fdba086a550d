/* SPDX-License-Identifier: MIT */
/* gateway/map/diff.h - the difference between two role maps as operators read it: in log lines, and
 * in the answer to an offered map with the hosts that each change touches. No state. */
#ifndef RM_MAP_DIFF_H
#define RM_MAP_DIFF_H

#include "proto/base/json_write.h"
#include "proto/conf/role_map.h"

/* A host that stands now. */
struct diff_host {
    const char *role, *node; /* borrowed */
};

/* What becomes of a host when a change is applied; NULL: nothing, it is not touched.
 *   "replaced"   its engine runs with other flags: a new one takes its place
 *   "replanned"  the plan is made again; it stays when it still fits
 *   "ended"      its role has left the map */
const char *diff_fate(const struct map_change *change, const struct diff_host *host);

/* Writes the array member "changes": each with subject, name, how, keys, effects, hosts. Returns
 * their number. */
unsigned diff_write(struct rm_jw *w, const struct role_map *old, const struct role_map *new_map,
                    const struct diff_host *hosts, size_t n_hosts);

/* A log line for each difference. */
void diff_log(const struct role_map *old, const struct role_map *new_map);

#endif
