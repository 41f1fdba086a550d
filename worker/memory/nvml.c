/* SPDX-License-Identifier: MIT */
#include "worker/memory/nvml.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { NVML_OK = 0, PROCESSES_MAX = 256 };

/* Shapes of the NVML API; opaque is nvmlDevice_t. */
struct nvml_memory {
    unsigned long long total, free, used;
};

struct nvml_pci {
    char legacy_id[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char id[32];
};

struct nvml_process {
    unsigned pid;
    unsigned long long used; /* UINT64_MAX: not told */
    unsigned gpu_instance, compute_instance;
};

struct nvml_rates { /* percent */
    unsigned gpu, memory;
};

struct nvml {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*count)(unsigned *n);
    int (*by_index)(unsigned i, void **opaque);
    int (*memory)(void *opaque, struct nvml_memory *out);
    int (*pci)(void *opaque, struct nvml_pci *out);
    int (*rates)(void *opaque, struct nvml_rates *out);                    /* NULL: not there */
    int (*processes)(void *opaque, unsigned *n, struct nvml_process *out); /* NULL: not there */
};

/* A function's address as the pointer it is: ISO C has no cast for that, POSIX dlsym(3) says so. */
static bool get(void *library, const char *name, void *function_pointer)
{
    void *address = dlsym(library, name);

    memcpy(function_pointer, &address, sizeof(address));
    return address != NULL;
}

int nvml_open(const char *path, struct nvml **out)
{
    struct nvml *n = calloc(1, sizeof(*n));
    int r = RM_ERR_NOT_SUPPORTED;

    *out = NULL;
    if (n == NULL)
        return UV_ENOMEM;
    n->library = dlopen(path != NULL ? path : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (n->library == NULL || !get(n->library, "nvmlInit_v2", &n->init) ||
        !get(n->library, "nvmlShutdown", &n->shutdown) ||
        !get(n->library, "nvmlDeviceGetCount_v2", &n->count) ||
        !get(n->library, "nvmlDeviceGetHandleByIndex_v2", &n->by_index) ||
        !get(n->library, "nvmlDeviceGetMemoryInfo", &n->memory) ||
        !get(n->library, "nvmlDeviceGetPciInfo_v3", &n->pci))
        goto out;
    (void)get(n->library, "nvmlDeviceGetComputeRunningProcesses_v3", &n->processes);
    (void)get(n->library, "nvmlDeviceGetUtilizationRates", &n->rates);
    r = RM_ERR_ENGINE;
    if (n->init() != NVML_OK)
        goto out;
    *out = n;
    return 0;
out:
    if (n->library != NULL)
        dlclose(n->library);
    free(n);
    return r;
}

/* NVML writes the domain with eight digits, the kernel and ggml with four; letters may be large. */
static void id_of(const struct nvml_pci *pci, char out[FACTS_ID_MAX])
{
    snprintf(out, FACTS_ID_MAX, "%04x:%02x:%02x.0", pci->domain & 0xffff, pci->bus & 0xff,
             pci->device & 0xff);
}

static bool is_there(const struct memory_facts *f, const char *id)
{
    for (uint32_t i = 0; i < f->n_devices; i++)
        if (strcmp(f->devices[i].id, id) == 0)
            return true;
    return false;
}

static void read_rates(struct nvml *n, void *device, struct memory_facts *f)
{
    struct nvml_rates rates = {0};

    if (n->rates == NULL || n->rates(device, &rates) != NVML_OK || rates.gpu > 100)
        return;
    f->busy += rates.gpu;
    f->n_busy++;
}

/* One device; *d: where its memory would go. False: it goes nowhere. */
static bool read_device(struct nvml *n, void *device, struct memory_facts *f,
                        struct memory_device *d)
{
    struct nvml_memory memory = {0};
    struct nvml_pci pci;

    memset(d, 0, sizeof(*d));
    memset(&pci, 0, sizeof(pci));
    if (n->pci(device, &pci) == NVML_OK)
        id_of(&pci, d->id);
    if (d->id[0] != '\0' && is_there(f, d->id))
        return false;
    read_rates(n, device, f);
    if (n->memory(device, &memory) != NVML_OK || memory.total == 0 ||
        memory.total > FACTS_BYTES_MAX)
        return false;
    d->vram_total = memory.total;
    d->vram_used = memory.used < memory.total ? memory.used : memory.total;
    return true;
}

void nvml_read(struct nvml *n, struct memory_facts *f)
{
    unsigned count = 0;

    if (n->count(&count) != NVML_OK)
        return;
    for (unsigned i = 0; i < count && i < FACTS_CARDS_MAX && f->n_devices < FACTS_DEVICES_MAX;
         i++) {
        struct memory_device d;
        void *device = NULL;

        if (n->by_index(i, &device) == NVML_OK && read_device(n, device, f, &d))
            f->devices[f->n_devices++] = d;
    }
}

uint64_t nvml_process_bytes(struct nvml *n, int pid)
{
    struct nvml_process all[PROCESSES_MAX];
    unsigned count = 0;
    uint64_t sum = 0;

    if (n->processes == NULL || n->count(&count) != NVML_OK)
        return 0;
    for (unsigned i = 0; i < count && i < FACTS_CARDS_MAX; i++) {
        unsigned k = PROCESSES_MAX;
        void *device = NULL;

        if (n->by_index(i, &device) != NVML_OK || n->processes(device, &k, all) != NVML_OK)
            continue;
        for (unsigned p = 0; p < k && p < PROCESSES_MAX; p++)
            if (pid > 0 && all[p].pid == (unsigned)pid && all[p].used <= FACTS_BYTES_MAX)
                sum += all[p].used;
    }
    return sum;
}

void nvml_close(struct nvml *n)
{
    if (n == NULL)
        return;
    n->shutdown();
    dlclose(n->library);
    free(n);
}
