/* SPDX-License-Identifier: MIT */
/* worker/core/devices.h - what ggml can compute on here: its device list as the message of
 * proto/node/device.h. A driver may hang or abort over the question, so the worker asks a
 * throw-away core (`rolemesh-core --devices --json`). Main thread. */
#ifndef RM_CORE_DEVICES_H
#define RM_CORE_DEVICES_H

#include "proto/node/device.h"

/* The first NODE_DEVICES_MAX devices; "meta" devices, which are others put together, are left out.
 * Returns 0 or as llama_env_init, with why. */
RM_MUST_USE int core_devices(struct node_devices *out, char *why, size_t n_why);

#endif
