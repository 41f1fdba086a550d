/* SPDX-License-Identifier: MIT */
/* proto/node/device.h - what ggml can compute on, as the engine reports it: the answer of
 * `rolemesh-core --devices --json` and the array `devices` of a node's state. Plain data with
 * encoder and decoder in the order of PROTOCOL.md. No I/O. */
#ifndef RM_NODE_DEVICE_H
#define RM_NODE_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"

enum { NODE_DEVICES_MAX = 16 };

enum node_device_kind {
    DEVICE_CPU,
    DEVICE_GPU,  /* has memory of its own */
    DEVICE_IGPU, /* works in system memory */
    DEVICE_ACCEL /* helps the CPU */
};
const char *node_device_kind_name(enum node_device_kind k);

struct node_device {
    char name[32]; /* ggml's: "CPU", "CUDA0", "Vulkan0"; of the forecast's buffers too */
    char description[64];
    enum node_device_kind kind;
    char id[24];          /* PCI: "0000:c1:00.0"; "": not told */
    uint64_t total, free; /* bytes; free: when the engine was asked */
};

struct node_devices {
    uint32_t n;
    struct node_device device[NODE_DEVICES_MAX];
};

/* {"devices":[...]}. Return as node_state_encode and node_state_decode. */
int node_devices_encode(const struct node_devices *d, struct rm_buf *out);
RM_MUST_USE int node_devices_decode(struct rm_slice json, struct node_devices *out, char *why);

#endif
