/* SPDX-License-Identifier: MIT */
/* worker/memory/devices.h - the engine's devices, asked once at the worker's start of a throw-away
 * `rolemesh-core --devices`: a driver that hangs or aborts takes that process along, and the node
 * goes on without devices. Loop thread only. */
#ifndef RM_MEMORY_DEVICES_H
#define RM_MEMORY_DEVICES_H

#include <uv.h>

#include "proto/node/device.h"

enum { DEVICES_ASK_MS = 20000, DEVICES_ANSWER_MAX = 65536 };

struct supervisor;
struct devices_question;

/* on_answer comes once, from the loop: the devices, or NULL and why, a line for people; *out is
 * void then. Returns 0 or a libuv code: then no answer comes. */
RM_MUST_USE int devices_ask(uv_loop_t *loop, struct supervisor *supervisor, const char *core_path,
                            void (*on_answer)(void *arg, const struct node_devices *d,
                                              const char *why),
                            void *arg, struct devices_question **out);

/* No answer is wanted any more; the supervisor must be closed next, which ends the child. NULL is
 * fine. */
void devices_drop(struct devices_question *q);

#endif
