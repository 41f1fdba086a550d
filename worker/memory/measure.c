/* SPDX-License-Identifier: MIT */
#include "worker/memory/measure.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "worker/memory/facts.h"
#include "worker/memory/nvml.h"
#include "worker/memory/sysread.h"

/* ---- system memory ---- */

int measure_parse_rollup(struct rm_slice text, struct measure_process *out)
{
    memset(out, 0, sizeof(*out));
    if (!sys_kib(text, "Rss:", &out->rss) || !sys_kib(text, "Pss:", &out->pss)) {
        memset(out, 0, sizeof(*out));
        return RM_ERR_FIELD;
    }
    /* Kernels before 5.4 have no parts of Pss: nothing is shared then, as far as can be told. */
    if (!sys_kib(text, "Pss_File:", &out->pss_file) ||
        !sys_kib(text, "Pss_Shmem:", &out->pss_shmem) ||
        !sys_kib(text, "Anonymous:", &out->anonymous)) {
        out->pss_file = out->pss_shmem = 0;
        out->anonymous = out->rss;
    }
    if (!sys_kib(text, "SwapPss:", &out->swap_pss))
        out->swap_pss = 0;
    return 0;
}

uint64_t measure_system(const struct measure_process *p, bool shared)
{
    uint64_t sum = p->pss + p->swap_pss, other = p->anonymous + p->pss_shmem;
    uint64_t file = p->rss > other ? p->rss - other : 0;

    return shared && file > p->pss_file ? sum + (file - p->pss_file) : sum;
}

/* ---- devices ---- */

static bool starts(const char *p, const char *end, const char *with)
{
    size_t n = strlen(with);

    return (size_t)(end - p) >= n && memcmp(p, with, n) == 0;
}

/* "  123 KiB" as bytes. */
static bool with_unit(const char *p, const char *end, uint64_t *out)
{
    uint64_t v, unit = 1;

    if (!sys_digits(p, end, &v))
        return false;
    while (p < end && ((*p >= '0' && *p <= '9') || *p == ' ' || *p == '\t'))
        p++;
    if (starts(p, end, "KiB"))
        unit = 1024;
    else if (starts(p, end, "MiB"))
        unit = 1024 * 1024;
    return !__builtin_mul_overflow(v, unit, out);
}

/* Both spellings of a region's bytes; the newer one wins whatever comes first. */
struct regions {
    uint64_t vram[2], gtt[2];
    bool seen[2];
};

static void region_add(struct regions *r, int newer, const char *name, const char *end)
{
    const char *colon = memchr(name, ':', (size_t)(end - name));
    uint64_t v;

    if (colon == NULL || !with_unit(colon + 1, end, &v) || v > FACTS_BYTES_MAX)
        return;
    r->seen[newer] = true;
    if (starts(name, colon, "vram") || starts(name, colon, "local"))
        r->vram[newer] += v;
    else if (starts(name, colon, "gtt") || starts(name, colon, "system") ||
             starts(name, colon, "cpu"))
        r->gtt[newer] += v;
}

static void copy_word(char *out, size_t size, const char *p, const char *end)
{
    size_t n = 0;

    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (p < end && n < size - 1 && *p > ' ')
        out[n++] = *p++;
    out[n] = '\0';
}

bool measure_parse_fdinfo(struct rm_slice text, struct measure_client *out)
{
    static const char resident[] = "drm-resident-", memory[] = "drm-memory-";
    const char *p = text.p, *end = text.p + text.n, *nl;
    struct regions r = {.seen = {false}};
    bool client = false;

    memset(out, 0, sizeof(*out));
    for (; p != NULL && p < end; p = nl + 1) {
        nl = sys_line_end(p, end);
        if (starts(p, nl, "drm-client-id:"))
            client = sys_digits(p + 14, nl, &out->id) || client;
        else if (starts(p, nl, "drm-pdev:"))
            copy_word(out->device, sizeof(out->device), p + 9, nl);
        else if (starts(p, nl, resident))
            region_add(&r, 1, p + sizeof(resident) - 1, nl);
        else if (starts(p, nl, memory))
            region_add(&r, 0, p + sizeof(memory) - 1, nl);
    }
    out->vram = r.vram[r.seen[1]];
    out->gtt = r.gtt[r.seen[1]];
    return client;
}

struct clients {
    struct measure_client v[MEASURE_CLIENTS_MAX];
    size_t n;
};

static void clients_add(struct clients *all, const struct measure_client *c)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->v[i].id == c->id && strcmp(all->v[i].device, c->device) == 0)
            return;
    if (all->n < MEASURE_CLIENTS_MAX)
        all->v[all->n++] = *c;
}

/* The entries of a directory below root, at most MEASURE_FDS_MAX. NULL: none can be read. */
static DIR *open_list(int root, const char *path)
{
    int fd = openat(root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

    if (d == NULL && fd >= 0)
        close(fd);
    return d;
}

static void read_clients(int root, int pid, struct clients *all)
{
    char path[300], text[8192];
    struct measure_client c;
    struct dirent *e;
    DIR *d;
    int n;

    snprintf(path, sizeof(path), "proc/%d/fdinfo", pid);
    d = open_list(root, path);
    for (int i = 0; d != NULL && i < MEASURE_FDS_MAX && (e = readdir(d)) != NULL; i++) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "proc/%d/fdinfo/%s", pid, e->d_name);
        n = sys_text(root, path, text, sizeof(text));
        if (n > 0 && measure_parse_fdinfo((struct rm_slice){text, (size_t)n}, &c))
            clients_add(all, &c);
    }
    if (d != NULL)
        closedir(d);
}

static uint64_t read_kfd(int root, int pid)
{
    char path[340];
    struct dirent *e;
    uint64_t sum = 0, v;
    DIR *d;

    snprintf(path, sizeof(path), "sys/class/kfd/kfd/proc/%d", pid);
    d = open_list(root, path);
    for (int i = 0; d != NULL && i < MEASURE_FDS_MAX && (e = readdir(d)) != NULL; i++) {
        if (strncmp(e->d_name, "vram_", 5) != 0)
            continue;
        snprintf(path, sizeof(path), "sys/class/kfd/kfd/proc/%d/%s", pid, e->d_name);
        if (sys_number(root, path, &v) && v <= FACTS_BYTES_MAX)
            sum += v;
    }
    if (d != NULL)
        closedir(d);
    return sum;
}

/* ---- all of it ---- */

int measure_process(int root, struct nvml *nvml, int pid, bool shared, struct ledger_bytes *out)
{
    char path[64], text[4096];
    struct clients clients = {.n = 0};
    struct measure_process p;
    uint64_t kfd;
    int r;

    memset(out, 0, sizeof(*out));
    snprintf(path, sizeof(path), "proc/%d/smaps_rollup", pid);
    if ((r = sys_text(root, path, text, sizeof(text))) < 0)
        return r;
    if ((r = measure_parse_rollup((struct rm_slice){text, (size_t)r}, &p)) < 0)
        return r;
    out->system = measure_system(&p, shared);
    read_clients(root, pid, &clients);
    for (size_t i = 0; i < clients.n; i++) {
        out->vram += clients.v[i].vram;
        out->gtt += clients.v[i].gtt;
    }
    if ((kfd = read_kfd(root, pid)) > out->vram)
        out->vram = kfd;
    if (nvml != NULL)
        out->vram += nvml_process_bytes(nvml, pid);
    return 0;
}
