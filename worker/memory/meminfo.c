/* SPDX-License-Identifier: MIT */
#include "worker/memory/meminfo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

enum { RESERVE_PERCENT = 8 };
#define RESERVE_MIN (6ULL << 30)

/* Digits at p, blanks before them skipped. */
static bool number_at(const char *p, const char *end, uint64_t *out)
{
    uint64_t v = 0;
    const char *first;

    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    for (first = p; p < end && *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return false;
    *out = v;
    return p > first;
}

bool memory_counter_in(struct rm_slice text, const char *name, uint64_t *out)
{
    const char *p = text.p, *end = text.p + text.n, *nl;
    size_t n = strlen(name);

    for (; p != NULL && p < end; p = nl + 1) {
        if ((nl = memchr(p, '\n', (size_t)(end - p))) == NULL)
            nl = end;
        if ((size_t)(nl - p) > n && memcmp(p, name, n) == 0 && (p[n] == ' ' || p[n] == '\t'))
            return number_at(p + n, nl, out);
    }
    return false;
}

/* "Name:   123 kB" as bytes. */
static bool kib_line(struct rm_slice text, const char *name, uint64_t *out)
{
    return memory_counter_in(text, name, out) && !__builtin_mul_overflow(*out, 1024, out);
}

int meminfo_parse(struct rm_slice text, struct node_memory *out)
{
    struct node_memory m = *out;
    uint64_t swap_free = 0;

    if (!kib_line(text, "MemTotal:", &m.total) || m.total == 0)
        return RM_ERR_FIELD;
    if (!kib_line(text, "MemAvailable:", &m.available) && !kib_line(text, "MemFree:", &m.available))
        return RM_ERR_FIELD;
    if (m.available > m.total)
        m.available = m.total;
    m.swap_total = m.swap_used = 0;
    if (kib_line(text, "SwapTotal:", &m.swap_total) && kib_line(text, "SwapFree:", &swap_free) &&
        swap_free < m.swap_total)
        m.swap_used = m.swap_total - swap_free;
    *out = m;
    return 0;
}

uint64_t memory_default_reserve(uint64_t total)
{
    uint64_t r = total / 100 * RESERVE_PERCENT;

    if (r < RESERVE_MIN)
        r = RESERVE_MIN;
    return r < total / 2 ? r : total / 2;
}

void memory_budget(struct node_memory *out, uint64_t reserve)
{
    out->reserve = reserve > 0 ? reserve : memory_default_reserve(out->total);
    out->budget = out->total > out->reserve ? out->total - out->reserve : 0;
}

/* Reads a small file whole; text is NUL-terminated. Returns its length or a libuv code. */
static int slurp(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = 0;
    ssize_t r;

    if (fd < 0)
        return uv_translate_sys_error(errno);
    while (n < size - 1 && (r = read(fd, text + n, size - 1 - n)) > 0)
        n += (size_t)r;
    close(fd);
    text[n] = '\0';
    return (int)n;
}

int memory_read(uint64_t reserve, struct node_memory *out)
{
    char text[8192];
    int n = slurp("/proc/meminfo", text, sizeof(text)), r;

    if (n < 0)
        return n;
    if ((r = meminfo_parse((struct rm_slice){text, (size_t)n}, out)) == 0)
        memory_budget(out, reserve);
    return r;
}

/* The path of our own memory group after the mount point: v1 line "N:memory:/path", v2 "0::/path".
 */
static bool own_group(const char *text, const char *controller, char *out, size_t size)
{
    const char *at = strstr(text, controller);
    size_t n;

    if (at == NULL)
        return false;
    at += strlen(controller);
    n = strcspn(at, "\n");
    if (n == 0 || n >= size)
        return false;
    memcpy(out, at, n);
    out[n] = '\0';
    return true;
}

uint64_t memory_oom_kills(void)
{
    char text[32768], group[512], path[600];
    uint64_t sum = 0, v;
    int n = slurp("/proc/vmstat", text, sizeof(text));

    if (n > 0 && memory_counter_in((struct rm_slice){text, (size_t)n}, "oom_kill", &v))
        sum += v;
    if (slurp("/proc/self/cgroup", text, 4096) <= 0)
        return sum;
    if (own_group(text, ":memory:", group, sizeof(group)))
        snprintf(path, sizeof(path), "/sys/fs/cgroup/memory%s/memory.oom_control", group);
    else if (own_group(text, "0::", group, sizeof(group)))
        snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.events", group);
    else
        return sum;
    n = slurp(path, text, 4096);
    if (n > 0 && memory_counter_in((struct rm_slice){text, (size_t)n}, "oom_kill", &v))
        sum += v;
    return sum;
}

uint64_t memory_rss(int pid)
{
    char path[40], text[8192];
    uint64_t v = 0;
    int n;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    n = slurp(path, text, sizeof(text));
    return n > 0 && kib_line((struct rm_slice){text, (size_t)n}, "VmRSS:", &v) ? v : 0;
}
