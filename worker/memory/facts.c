/* SPDX-License-Identifier: MIT */
#include "worker/memory/facts.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/memory/group.h"
#include "worker/memory/sysread.h"

/* ---- texts ---- */

static uint64_t bytes_of_hugepages(struct rm_slice text)
{
    uint64_t bytes, pages, size;

    if (sys_kib(text, "Hugetlb:", &bytes)) /* the pools of all sizes; since Linux 4.19 */
        return bytes;
    if (!sys_counter(text, "HugePages_Total:", &pages) || !sys_kib(text, "Hugepagesize:", &size) ||
        __builtin_mul_overflow(pages, size, &bytes))
        return 0;
    return bytes;
}

int facts_parse_meminfo(struct rm_slice text, struct memory_facts *out)
{
    struct memory_facts f = *out;
    uint64_t swap_free = 0;

    if (!sys_kib(text, "MemTotal:", &f.total) || f.total == 0 || f.total > FACTS_BYTES_MAX)
        return RM_ERR_FIELD;
    if (!sys_kib(text, "MemAvailable:", &f.available) && !sys_kib(text, "MemFree:", &f.available))
        return RM_ERR_FIELD;
    if (f.available > f.total)
        f.available = f.total;
    f.hugepages = bytes_of_hugepages(text);
    if (f.hugepages > f.total)
        f.hugepages = f.total;
    f.swap_total = f.swap_used = 0;
    if (sys_kib(text, "SwapTotal:", &f.swap_total) && sys_kib(text, "SwapFree:", &swap_free) &&
        swap_free < f.swap_total)
        f.swap_used = f.swap_total - swap_free;
    *out = f;
    return 0;
}

/* "/dev/zram0   partition   8388604   0   100": the third word is the size in KiB. */
static uint64_t zram_line(const char *p, const char *end)
{
    static const char prefix[] = "/dev/zram";
    uint64_t kib = 0;

    if ((size_t)(end - p) < sizeof(prefix) || memcmp(p, prefix, sizeof(prefix) - 1) != 0)
        return 0;
    for (int word = 0; word < 2; word++) {
        while (p < end && *p != ' ' && *p != '\t')
            p++;
        while (p < end && (*p == ' ' || *p == '\t'))
            p++;
    }
    return sys_digits(p, end, &kib) && kib <= FACTS_BYTES_MAX / 1024 ? kib * 1024 : 0;
}

uint64_t facts_parse_zram(struct rm_slice text)
{
    const char *p = text.p, *end = text.p + text.n, *nl;
    uint64_t sum = 0;

    for (; p != NULL && p < end && sum <= FACTS_BYTES_MAX; p = nl + 1) {
        nl = sys_line_end(p, end);
        sum += zram_line(p, nl);
    }
    return sum;
}

/* "avg10=12.34" in the line that begins with `kind` and a blank; 0..100. */
static bool pressure_of(struct rm_slice text, const char *kind, double *out)
{
    static const char mark[] = " avg10=";
    const char *p = text.p, *end = text.p + text.n, *nl, *at, *dot;
    uint64_t whole, part = 0;
    size_t n = strlen(kind);

    for (; p != NULL && p < end; p = nl + 1) {
        nl = sys_line_end(p, end);
        if ((size_t)(nl - p) <= n || memcmp(p, kind, n) != 0 ||
            (at = memmem(p + n, (size_t)(nl - p) - n, mark, sizeof(mark) - 1)) == NULL)
            continue;
        at += sizeof(mark) - 1;
        if (!sys_digits(at, nl, &whole) || whole > 100)
            return false;
        dot = at;
        while (dot < nl && *dot >= '0' && *dot <= '9')
            dot++;
        if (dot + 3 <= nl && *dot == '.' && !sys_digits(dot + 1, dot + 3, &part))
            return false;
        *out = (double)whole + (double)part / 100;
        return true;
    }
    return false;
}

void facts_parse_pressure(struct rm_slice text, struct memory_facts *out)
{
    double some, full = 0;

    if (!pressure_of(text, "some", &some))
        return;
    (void)pressure_of(text, "full", &full);
    if (!out->has_pressure || some > out->some_avg10)
        out->some_avg10 = some;
    if (!out->has_pressure || full > out->full_avg10)
        out->full_avg10 = full;
    out->has_pressure = true;
}

double facts_gpu_percent(const struct memory_facts *f)
{
    return f->n_busy > 0 ? f->busy / f->n_busy : -1;
}

#ifndef __APPLE__ /* there facts_mac.c reads */

/* ---- devices ---- */

static uint64_t card_number(int device, const char *name)
{
    uint64_t v = 0;

    return sys_number(device, name, &v) && v <= FACTS_BYTES_MAX ? v : 0;
}

static uint64_t at_most(uint64_t v, uint64_t max)
{
    return v < max ? v : max;
}

/* True for "card0", not for "card0-DP-1" (a connector) or "renderD128" (the same card again). */
static bool is_card(const char *name)
{
    return strncmp(name, "card", 4) == 0 && name[4] != '\0' &&
           strspn(name + 4, "0123456789") == strlen(name + 4);
}

/* Cards that lead to one device (partitions, several nodes) are that device once. */
static bool seen_before(const struct stat *st, struct stat *seen, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (seen[i].st_dev == st->st_dev && seen[i].st_ino == st->st_ino)
            return true;
    return false;
}

/* The line PCI_SLOT_NAME of the device's uevent; "" where there is none. */
static void read_id(int device, char out[FACTS_ID_MAX])
{
    static const char name[] = "PCI_SLOT_NAME=";
    char text[1024], *at;

    out[0] = '\0';
    if (sys_text(device, "uevent", text, sizeof(text)) <= 0 || (at = strstr(text, name)) == NULL ||
        (at != text && at[-1] != '\n'))
        return;
    at += sizeof(name) - 1;
    at[strspn(at, "0123456789abcdef:.")] = '\0';
    if (strlen(at) < FACTS_ID_MAX)
        memcpy(out, at, strlen(at) + 1);
}

/* amdgpu's: a percentage, by its firmware. */
static void read_busy(int device, struct memory_facts *f)
{
    uint64_t percent;

    if (!sys_number(device, "gpu_busy_percent", &percent) || percent > 100)
        return;
    f->busy += (double)percent;
    f->n_busy++;
}

static void read_card(int drm, const char *name, struct stat *seen, struct memory_facts *f)
{
    char path[300];
    struct memory_device d;
    struct stat st;
    int device;

    snprintf(path, sizeof(path), "%s/device", name);
    if ((device = openat(drm, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return;
    d.vram_total = card_number(device, "mem_info_vram_total"); /* amdgpu's alone */
    d.gtt_total = card_number(device, "mem_info_gtt_total");
    d.vram_used = at_most(card_number(device, "mem_info_vram_used"), d.vram_total);
    d.gtt_used = at_most(card_number(device, "mem_info_gtt_used"), d.gtt_total);
    read_id(device, d.id);
    if ((d.vram_total > 0 || d.gtt_total > 0) && fstat(device, &st) == 0 &&
        !seen_before(&st, seen, f->n_devices)) {
        read_busy(device, f);
        seen[f->n_devices] = st;
        f->devices[f->n_devices++] = d;
    }
    close(device);
}

static void read_devices(int root, struct memory_facts *f)
{
    int fd = openat(root, "sys/class/drm", O_RDONLY | O_DIRECTORY | O_CLOEXEC), looked = 0;
    struct stat seen[FACTS_DEVICES_MAX];
    struct dirent *e;
    uint64_t pages;
    DIR *dir;

    f->n_devices = 0;
    f->ttm_limit = 0;
    if (fd < 0)
        return;
    if ((dir = fdopendir(fd)) == NULL) {
        close(fd);
        return;
    }
    while (f->n_devices < FACTS_DEVICES_MAX && looked < FACTS_CARDS_MAX &&
           (e = readdir(dir)) != NULL)
        if (is_card(e->d_name)) {
            looked++;
            read_card(fd, e->d_name, seen, f);
        }
    closedir(dir);
    if (f->n_devices > 0 && sys_number(root, "sys/module/ttm/parameters/pages_limit", &pages) &&
        pages <= FACTS_BYTES_MAX / 4096)
        f->ttm_limit = pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- all of it ---- */

static void read_pressure(int root, const char *path, struct memory_facts *f)
{
    char text[512];
    int n = sys_text(root, path, text, sizeof(text));

    if (n > 0)
        facts_parse_pressure((struct rm_slice){text, (size_t)n}, f);
}

static void read_cpu(int root, struct memory_facts *f)
{
    char text[512]; /* its first line is what counts */
    int n = sys_text(root, "proc/stat", text, sizeof(text));

    f->has_cpu = n > 0 && busy_parse_stat((struct rm_slice){text, (size_t)n}, &f->cpu);
}

static void read_group(int root, struct memory_facts *f)
{
    char path[GROUP_PATH_MAX + 64];
    struct memory_group g;

    if (!group_of_self(root, &g))
        return;
    f->limited = group_limit(root, &g, f->total, &f->limit, &f->limit_available);
    if (g.v2 && group_file(&g, "memory.pressure", path, sizeof(path)) > 0)
        read_pressure(root, path, f);
}

int facts_read(int root, struct memory_facts *out)
{
    struct memory_facts f = {0};
    char text[8192];
    int n = sys_text(root, "proc/meminfo", text, sizeof(text)), r;

    if (n < 0)
        return n;
    if ((r = facts_parse_meminfo((struct rm_slice){text, (size_t)n}, &f)) < 0)
        return r;
    if ((n = sys_text(root, "proc/swaps", text, sizeof(text))) > 0)
        f.swap_zram = at_most(facts_parse_zram((struct rm_slice){text, (size_t)n}), f.swap_total);
    read_pressure(root, "proc/pressure/memory", &f);
    read_group(root, &f);
    read_cpu(root, &f);
    read_devices(root, &f);
    *out = f;
    return 0;
}

#endif
