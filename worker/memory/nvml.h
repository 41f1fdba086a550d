/* SPDX-License-Identifier: MIT */
/* worker/memory/nvml.h - the memory of NVIDIA devices and how busy they are, by the driver's own
 * library when it is there at run time: nothing is linked, and without it there are no such
 * devices. Calls may take the driver's lock for a while: thread pool only, one at a time. Names,
 * types and numbers are those of the NVML API reference (nvml.h of the driver): nvmlInit_v2,
 * nvmlDeviceGetCount_v2, nvmlDeviceGetHandleByIndex_v2, nvmlDeviceGetMemoryInfo,
 * nvmlDeviceGetPciInfo_v3, nvmlDeviceGetComputeRunningProcesses_v3, nvmlDeviceGetUtilizationRates.
 */
#ifndef RM_MEMORY_NVML_H
#define RM_MEMORY_NVML_H

#include "worker/memory/facts.h"

struct nvml;

/* path: of the library; NULL: "libnvidia-ml.so.1", wherever the system has it. Returns 0,
 * RM_ERR_NOT_SUPPORTED (no library, or one without these functions), RM_ERR_ENGINE (no driver
 * answers) or UV_ENOMEM; then *out is NULL. */
RM_MUST_USE int nvml_open(const char *path, struct nvml **out);

/* Appends the devices to f->devices, as far as there is room and unless one with that id is there.
 * A device that does not tell its memory (those that work in system memory) is left out there. Of
 * each, how busy it is, where the driver tells. */
void nvml_read(struct nvml *n, struct memory_facts *f);

/* Device memory of a process on all devices, bytes; 0: none, or not told. */
uint64_t nvml_process_bytes(struct nvml *n, int pid);

void nvml_close(struct nvml *n); /* NULL is fine */

#endif
