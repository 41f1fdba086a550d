/* SPDX-License-Identifier: MIT */
/* gateway/map/watch.h - notices that the role map's file is another one (`gateway.watch`).
 * The directory of the path, and that of what it leads to, are watched for events, since editors
 * replace a file by a rename and Kubernetes swaps a link. An event only makes the watch look soon;
 * what a look finds decides, so that events of other files mean nothing. Where no events come
 * (network file systems) a look every few seconds finds the edit. A change is told when the file
 * has been quiet for WATCH_QUIET_MS. Looking (stat, realpath) is done in the thread pool, at most
 * one look at a time. Loop thread only. */
#ifndef RM_MAP_WATCH_H
#define RM_MAP_WATCH_H

#include <uv.h>

#include "gateway/map/file.h"

enum {
    WATCH_QUIET_MS = 300,
    WATCH_SOON_MS = 50,   /* from an event to the look */
    WATCH_AGAIN_MS = 100, /* between looks while the file moves */
    WATCH_POLL_MS = 3000  /* the net under the events */
};

/* The decision, pure: looks go in, one SETTLE_CHANGED comes out for each edit. */
enum settle_says {
    SETTLE_STILL,  /* as it was told last */
    SETTLE_MOVING, /* another one, not quiet for long enough yet */
    SETTLE_CHANGED /* another one, and quiet: said once */
};
struct settle {
    struct map_file_id seen;
    bool begun, moving;
    uint64_t since_ms; /* seen first as it is now */
};
/* Zeroed at first; the first look counts as a change, because nobody knows what was there before.
 */
enum settle_says settle_step(struct settle *s, const struct map_file_id *id, uint64_t now_ms);

struct map_watch;

/* path: copied; on_change comes from the loop. It does not run until it is started. Returns 0 or
 * a libuv code. */
RM_MUST_USE int map_watch_new(uv_loop_t *loop, const char *path, void (*on_change)(void *arg),
                              void *arg, struct map_watch **out);
void map_watch_set(struct map_watch *w, bool on); /* starts or stops; the same again is fine */
void map_watch_close(struct map_watch *w);        /* frees when the loop has let go; NULL is fine */

#endif
