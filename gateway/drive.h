/* SPDX-License-Identifier: MIT */
/* gateway/drive.h - drives the workers to what the role map wants.
 * Holds one link (mesh) a node, tells route what the links hear, asks workers for forecasts, has
 * place decide which role goes where, and then puts and deletes hosts until the states say what was
 * decided. Everything it asks for is idempotent and carries this gateway's epoch; a worker that has
 * stored a higher one answers 409, and this gateway then routes but places no more. A host that the
 * map does not change is never touched.
 *
 *   link ──state, lost──► drive ──► route (who may get requests)
 *     ▲                    │ facts
 *     └── PUT, DELETE, POST forecast ◄── place_first_fit                      Loop thread only. */
#ifndef RM_GATEWAY_DRIVE_H
#define RM_GATEWAY_DRIVE_H

#include <uv.h>

#include "gateway/route/route.h"
#include "proto/conf/role_map.h"

struct drive;

/* Takes a reference of map, borrows route until drive_close. epoch: higher than any gateway's
 * before. Returns 0 or a libuv code. */
RM_MUST_USE int drive_new(uv_loop_t *loop, struct role_map *map, struct route *route,
                          uint64_t epoch, struct drive **out);

/* Takes a reference. Links of nodes that stay at their address are kept. The route has been given
 * the map before: it must know the nodes to be told the way to them. Returns 0 or a libuv code (the
 * old map stays). */
RM_MUST_USE int drive_set_map(struct drive *d, struct role_map *map);

/* Closes the links; hosts stay as they are. NULL is fine. */
void drive_close(struct drive *d);

/* True once every node has spoken or had its chance (3 s): before that, nothing is deleted. */
bool drive_is_settled(const struct drive *d);

/* Appends the shortfalls as a JSON array: {"role","reason"}. Returns as rm_buf_put. */
int drive_write_shortfalls(const struct drive *d, struct rm_buf *out);

#endif
