/* SPDX-License-Identifier: MIT */
/* worker/memory/measure.h - what one engine process takes: system memory by /proc/PID/smaps_rollup,
 * device memory by what DRM drivers say in /proc/PID/fdinfo (amdgpu, i915, xe; Linux 5.19 and
 * later), and by KFD for ROCm. Walking the page tables of a large model takes the kernel up to a
 * second: only in the thread pool, and seldom (measure_host.h). Sources: proc(5);
 * Documentation/gpu/drm-usage-stats.rst; amdgpu_fdinfo.c for its regions;
 * /sys/class/kfd/kfd/proc/PID/vram_GPU.
 *
 * system  Pss + SwapPss. Weights that are mapped from a file are in Pss_File; when another engine
 *         maps the same file, the kernel halves them for each: then the whole is counted
 *         (`shared`), since this engine alone would need it.
 * vram    drm-resident-REGION, or drm-memory-REGION of older kernels, of regions vram* and local*;
 *         a client (drm-client-id) counts once however many descriptors lead to it. KFD's figure
 *         when that is larger. What NVML says of the process comes on top: its devices are no DRM
 *         clients (in a container with pids of its own it says nothing).
 * gtt     the same of regions gtt*, system* and cpu: system memory which the device maps and which
 *         is not in Pss (drivers map it as PFNs). User pointers may count twice: too much, never
 *         too little. */
#ifndef RM_MEMORY_MEASURE_H
#define RM_MEMORY_MEASURE_H

#include "proto/base/buf.h"
#include "proto/node/ledger.h"

struct nvml;

enum { MEASURE_CLIENTS_MAX = 64, MEASURE_FDS_MAX = 4096 };

struct measure_process { /* bytes */
    uint64_t rss, pss, pss_file, pss_shmem, anonymous, swap_pss;
};

/* The text of smaps_rollup. Returns 0 or RM_ERR_FIELD (no Rss or Pss). Pure. */
RM_MUST_USE int measure_parse_rollup(struct rm_slice text, struct measure_process *out);

/* The `system` bytes of a process, see above. Pure. */
uint64_t measure_system(const struct measure_process *p, bool shared);

struct measure_client {
    char device[32]; /* drm-pdev; "" if not told */
    uint64_t id;     /* drm-client-id */
    uint64_t vram, gtt;
};

/* The text of one fdinfo file. False: no DRM client. Pure. */
bool measure_parse_fdinfo(struct rm_slice text, struct measure_client *out);

/* All of a process. root: of sys_root(); nvml: NULL: there is none. Returns 0 or a libuv code or
 * RM_ERR_FIELD: the process is gone, or the kernel does not tell. */
RM_MUST_USE int measure_process(int root, struct nvml *nvml, int pid, bool shared,
                                struct ledger_bytes *out);

#endif
