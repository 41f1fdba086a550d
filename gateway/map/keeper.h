/* SPDX-License-Identifier: MIT */
/* gateway/map/keeper.h - one role map after the other: who asks for a new one, and how it went.
 * Reading, parsing and writing are jobs of the thread pool, one at a time in the order they came;
 * a map is checked whole before anything is told of it, and a bad one changes nothing. The modules
 * get a good one through `apply`. Loop thread only. */
#ifndef RM_MAP_KEEPER_H
#define RM_MAP_KEEPER_H

#include <uv.h>

#include "gateway/map/file.h"
#include "proto/base/buf.h"

enum { KEEPER_JOBS_MAX = 16, KEEPER_ANSWER_MAX = 1 << 20 };

struct map_keeper;

struct map_keeper_conf {
    const char *path; /* of the role map; borrowed for the keeper's life */
    /* Hands a checked map to every module. It takes references of its own. Returns 0, or a negative
     * code: then the map before still runs everywhere. */
    int (*apply)(void *arg, struct role_map *map);
    /* Tells each host that stands now. NULL: none. */
    void (*each_host)(void *arg, void (*on_host)(void *on_arg, const char *role, const char *node),
                      void *on_arg);
    void *arg;
};

/* Takes a reference of map, the one that runs; revision: of its bytes. Copies conf. Returns 0 or a
 * libuv code. */
RM_MUST_USE int map_keeper_new(uv_loop_t *loop, const struct map_keeper_conf *conf,
                               struct role_map *map, const char *revision, struct map_keeper **out);

/* Does the gateway have API keys? Then maps may have it listen anywhere. At first: no. */
void map_keeper_set_keyed(struct map_keeper *k, bool keyed);

/* Reads the file again, soon: a signal came. */
void map_keeper_reload(struct map_keeper *k);

/* The same, and tells as map_keeper_offer how it went. Returns as that. */
int map_keeper_reload_for(struct map_keeper *k,
                          void (*on_answer)(void *arg, int status, struct rm_slice json),
                          void *arg);

/* A map that somebody offers in place of the file's. */
struct map_offer {
    const char *bytes; /* n of them; copied */
    size_t n;
    const char *name;   /* what messages call it; copied */
    const char *expect; /* the revision that the file must have, or "*"; "": not said; copied */
    bool dry_run;       /* tell what it would do, and do nothing */
    /* NULL, or hears of a good map before the answer, with its arg; it may take a reference. */
    void (*on_map)(void *arg, struct role_map *map);
};

/* Checks the offer whole, tells how it differs from what runs, and unless dry_run writes it to the
 * file and has it applied. on_answer comes once, from the loop: an HTTP status and a JSON object,
 * valid for the call (proto/openapi.yaml: MapAnswer, or MapRefusal).
 * Returns 0, RM_ERR_OVERLOAD (too many jobs wait) or UV_ENOMEM; then no answer comes. */
RM_MUST_USE int map_keeper_offer(struct map_keeper *k, const struct map_offer *offer,
                                 void (*on_answer)(void *arg, int status, struct rm_slice json),
                                 void *arg);

/* Appends what runs as a JSON object (proto/openapi.yaml: MapState). Returns as rm_buf_put. */
int map_keeper_write(const struct map_keeper *k, struct rm_buf *out);

const char *map_keeper_revision(const struct map_keeper *k); /* of what runs */

struct map_keeper_stats {
    uint64_t reloads, failures; /* maps taken over; maps and files refused */
};
void map_keeper_stats(const struct map_keeper *k, struct map_keeper_stats *out);

/* Jobs that have not begun are dropped; who offered a map hears that the gateway is stopping. Frees
 * when the last job is over. NULL is fine. */
void map_keeper_close(struct map_keeper *k);

#endif
