/* SPDX-License-Identifier: MIT */
/* tests/support/nvml/fake_nvml.c - a machine with five NVIDIA devices, as libnvidia-ml.so.1 would
 * tell it: written anew from the NVML API reference, so that it does not share a mistake with
 * worker/memory/nvml.c by a common header.
 *
 *   0  0000:01:00.0  24576 MiB, 3072 used; pid 4711 has 2048 MiB; 60 % busy
 *   1  0000:c1:00.0   8192 MiB, 8193 used (nonsense); 101 % busy (nonsense)
 *   2  works in system memory: its memory is not supported; 20 % busy
 *   3  is lost: no handle
 *   4  0001:41:00.0  81920 MiB, 0 used; pid 4711 has 1024 MiB, pid 4712 does not tell;
 *      does not tell how busy it is
 *
 * FAKE_NVML=nodriver: nvmlInit_v2 fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, GPU_IS_LOST = 15 };
enum { DRIVER_NOT_LOADED = 9, DEVICES = 5 };

static int open_count;
static int devices[DEVICES]; /* a handle is the address of one */

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetCount_v2(unsigned int *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device);
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3]);
int nvmlDeviceGetPciInfo_v3(void *device, void *pci);
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, void *infos);
int nvmlDeviceGetUtilizationRates(void *device, unsigned int rates[2]);

int nvmlInit_v2(void)
{
    const char *how = getenv("FAKE_NVML");

    if (how != NULL && strcmp(how, "nodriver") == 0)
        return DRIVER_NOT_LOADED;
    open_count++;
    return SUCCESS;
}

int nvmlShutdown(void)
{
    return open_count-- > 0 ? SUCCESS : UNINITIALIZED;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    *count = DEVICES;
    return open_count > 0 ? SUCCESS : UNINITIALIZED;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
    if (index >= DEVICES)
        return INVALID;
    *device = &devices[index];
    return index == 3 ? GPU_IS_LOST : SUCCESS;
}

static int index_of(void *device)
{
    return (int)((int *)device - devices);
}

/* nvmlMemory_t: total, free, used. */
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long memory[3])
{
    static const unsigned long long mib[DEVICES][2] = {
        {24576, 3072}, {8192, 8193}, {0, 0}, {0, 0}, {81920, 0}};
    int i = index_of(device);

    if (i == 2)
        return NOT_SUPPORTED;
    memory[0] = mib[i][0] << 20;
    memory[2] = mib[i][1] << 20;
    memory[1] = memory[2] < memory[0] ? memory[0] - memory[2] : 0;
    return SUCCESS;
}

/* nvmlPciInfo_t: char busIdLegacy[16]; unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
 * char busId[32]. */
int nvmlDeviceGetPciInfo_v3(void *device, void *pci)
{
    static const unsigned places[DEVICES][2] = {{0, 0x01}, {0, 0xc1}, {0, 0xf1}, {0, 0}, {1, 0x41}};
    const unsigned *place = places[index_of(device)];
    unsigned int numbers[5] = {place[0], place[1], 0, 0x232110de, 0x10de};
    char id[32] = "", legacy[16] = "";

    snprintf(id, sizeof(id), "%08X:%02X:00.0", place[0], place[1]);
    snprintf(legacy, sizeof(legacy), "%04X:%02X:00.0", place[0], place[1]);
    memcpy(pci, legacy, sizeof(legacy));
    memcpy((char *)pci + 16, numbers, sizeof(numbers));
    memcpy((char *)pci + 36, id, sizeof(id));
    return SUCCESS;
}

/* nvmlProcessInfo_t: unsigned pid; unsigned long long usedGpuMemory; unsigned gpuInstanceId,
 * computeInstanceId: 24 bytes. */
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, void *infos)
{
    static const unsigned pids[2] = {4711, 4712};
    unsigned long long used[2] = {2048ULL << 20, ~0ULL};
    int i = index_of(device);

    if (i == 4)
        used[0] = 1024ULL << 20;
    *count = i == 0 ? 1 : i == 4 ? 2 : 0;
    for (unsigned k = 0; k < *count; k++) {
        memset((char *)infos + 24 * k, 0xff, 24);
        memcpy((char *)infos + 24 * k, &pids[k], 4);
        memcpy((char *)infos + 24 * k + 8, &used[k], 8);
    }
    return SUCCESS;
}

/* nvmlUtilization_t: unsigned gpu, memory; percent. */
int nvmlDeviceGetUtilizationRates(void *device, unsigned int rates[2])
{
    static const unsigned gpu[DEVICES] = {60, 101, 20, 0, 0};
    int i = index_of(device);

    if (i == 4)
        return NOT_SUPPORTED;
    rates[0] = gpu[i];
    rates[1] = 99;
    return SUCCESS;
}
