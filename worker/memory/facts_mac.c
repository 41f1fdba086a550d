/* SPDX-License-Identifier: MIT */
/* worker/memory/facts_mac.c - facts_read of facts.h on macOS, from sysctl(3) and the Mach host.
 * Compiled there only, and so far never: written by the manual pages, neither built nor run on a
 * Mac. The other parts of the worker that are Linux's own (PR_SET_PDEATHSIG, /proc) have no macOS
 * form yet.
 *
 *   total      hw.memsize
 *   available  free + file-backed + purgeable pages (vm_statistics64): what can be had without
 *              compressing or swapping
 *   swap       vm.swapusage; none of it counts as zram, though the compressor lies in memory
 *   pressure   kern.memorystatus_vm_pressure_level, a word instead of a share of time: critical
 *              (4) stands for 100 %, warn (2) for 15 %, which neither refuses nor allows (guard.h)
 *   devices    none: on Apple silicon they work in system memory (`unified`), and an Intel Mac's
 *              card is left to the engine's list */
#include "worker/memory/facts.h"

#include <errno.h>
#include <mach/mach.h>
#include <sys/sysctl.h>
#include <uv.h>

enum { LEVEL_WARN = 2, LEVEL_CRITICAL = 4 };

static bool get(const char *name, void *out, size_t size)
{
    size_t n = size;

    return sysctlbyname(name, out, &n, NULL, 0) == 0 && n == size;
}

static int read_pages(struct memory_facts *f)
{
    mach_port_t host = mach_host_self();
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    vm_statistics64_data_t vm;
    vm_size_t page = 0;
    kern_return_t got = host_page_size(host, &page);

    if (got == KERN_SUCCESS)
        got = host_statistics64(host, HOST_VM_INFO64, (host_info64_t)&vm, &count);
    mach_port_deallocate(mach_task_self(), host);
    if (got != KERN_SUCCESS)
        return UV_EIO;
    f->available =
        ((uint64_t)vm.free_count + vm.external_page_count + vm.purgeable_count) * (uint64_t)page;
    if (f->available > f->total)
        f->available = f->total;
    return 0;
}

static void read_swap(struct memory_facts *f)
{
    struct xsw_usage swap;

    if (!get("vm.swapusage", &swap, sizeof(swap)))
        return;
    f->swap_total = swap.xsu_total;
    f->swap_used = swap.xsu_used < swap.xsu_total ? swap.xsu_used : swap.xsu_total;
}

static void read_pressure(struct memory_facts *f)
{
    int level = 0;

    f->has_pressure = get("kern.memorystatus_vm_pressure_level", &level, sizeof(level));
    if (f->has_pressure)
        f->some_avg10 = f->full_avg10 = level >= LEVEL_CRITICAL ? 100
                                        : level >= LEVEL_WARN   ? 15
                                                                : 0;
}

int facts_read(int root, struct memory_facts *out)
{
    struct memory_facts f = {0};
    int arm = 0, r;

    (void)root;
    if (!get("hw.memsize", &f.total, sizeof(f.total)))
        return uv_translate_sys_error(errno);
    if (f.total == 0 || f.total > FACTS_BYTES_MAX)
        return RM_ERR_FIELD;
    if ((r = read_pages(&f)) < 0)
        return r;
    read_swap(&f);
    read_pressure(&f);
    f.unified = get("hw.optional.arm64", &arm, sizeof(arm)) && arm == 1;
    *out = f;
    return 0;
}
