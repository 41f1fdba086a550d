/* SPDX-License-Identifier: MIT */
/* worker/memory/facts.h - what the system says of this node's memory, and how busy its processors
 * are, as plain numbers and not yet judged: accountant.c makes the budget of them. facts_read()
 * reads some ten small files below a root directory; it may take a lock of a device's driver, so
 * the worker calls it in the thread pool. Sources: proc(5) meminfo, swaps;
 * Documentation/accounting/psi.rst; amdgpu's sysfs (mem_info_*); ttm's pages_limit; cgroups by
 * group.h. Graphics memory of amdgpu: VRAM is the card's own, or on unified machines the part of
 * the RAM that the firmware keeps from the kernel, and thus never in MemTotal; GTT is system memory
 * that the device may map, and thus always in MemTotal. NVIDIA's devices are appended by nvml.h.
 * Other makers' are not described here: the engine's own list (proto/node/device.h) counts for
 * them. On macOS facts_mac.c stands in the place of facts.c's reading. */
#ifndef RM_MEMORY_FACTS_H
#define RM_MEMORY_FACTS_H

#include "worker/memory/busy.h"

enum { FACTS_DEVICES_MAX = 16, FACTS_CARDS_MAX = 64, FACTS_ID_MAX = 24 };

/* A figure above this is none: no machine has a pebibyte. */
#define FACTS_BYTES_MAX (1ULL << 50)

struct memory_device {
    char id[FACTS_ID_MAX];          /* PCI: "0000:c1:00.0"; "": not told */
    uint64_t vram_total, vram_used; /* bytes that are not in MemTotal */
    uint64_t gtt_total, gtt_used;   /* bytes of system memory: may map, has mapped */
};

struct memory_facts {
    uint64_t total, available; /* MemTotal, MemAvailable */
    uint64_t hugepages;        /* pools of huge pages, used or not; in total, never available */
    uint64_t swap_total, swap_used; /* all of it */
    uint64_t swap_zram;             /* of swap_total: compressed, in memory */
    bool limited;                   /* a memory group limits us; then: */
    uint64_t limit, limit_available;
    bool unified; /* devices have no memory of their own, whatever an engine says (Apple) */
    uint32_t n_devices;
    struct memory_device devices[FACTS_DEVICES_MAX];
    uint64_t ttm_limit; /* bytes that all devices together may map; 0: not told */
    bool has_cpu;       /* then: */
    struct busy_cpu cpu;
    uint32_t n_busy;   /* devices that tell how busy they are; then: */
    double busy;       /* the sum of their percents */
    bool has_pressure; /* then: percent of the last 10 s in which some, or all, tasks waited for
                          memory; the higher of the machine's and our own group's */
    double some_avg10, full_avg10;
};

/* Reads total, available, hugepages and swap from the text of /proc/meminfo. Without MemAvailable
 * (kernels before 3.14) MemFree counts. Returns 0 or RM_ERR_FIELD (no MemTotal, or a number that is
 * none); then *out is as it was. Pure. */
RM_MUST_USE int facts_parse_meminfo(struct rm_slice text, struct memory_facts *out);

/* Bytes of zram in the text of /proc/swaps. Pure. */
uint64_t facts_parse_zram(struct rm_slice text);

/* The mean of the devices that tell it; -1: none does. */
double facts_gpu_percent(const struct memory_facts *f);

/* Raises the averages to those of a pressure file. Pure. */
void facts_parse_pressure(struct rm_slice text, struct memory_facts *out);

/* Reads all of it. root: from sys_root(), "/" for this machine. What cannot be read but meminfo
 * counts as not there. Returns 0, RM_ERR_FIELD or a libuv code; then *out is as it was. */
RM_MUST_USE int facts_read(int root, struct memory_facts *out);

#endif
