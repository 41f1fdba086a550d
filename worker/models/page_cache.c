/* SPDX-License-Identifier: MIT */
#include "worker/models/page_cache.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_MIN = 4096 };

static bool is_told(int fd)
{
    char path[40];
    struct stat st;

    if (fstat(fd, &st) == 0 && st.st_uid == geteuid())
        return true;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

/* Pages of the stretch, and those of them in memory. */
static bool window_count(int fd, uint64_t at, uint64_t n, uint64_t page, uint64_t *pages,
                         uint64_t *held)
{
    unsigned char in[PAGE_CACHE_WINDOW / PAGE_MIN];
    void *map = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, (off_t)at);
    uint64_t count = (n + page - 1) / page;
    bool good;

    if (map == MAP_FAILED)
        return false;
    if ((good = mincore(map, n, in) == 0)) {
        for (uint64_t i = 0; i < count; i++)
            *held += in[i] & 1;
        *pages += count;
    }
    munmap(map, n);
    return good;
}

double page_cache_part(int fd, uint64_t bytes)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), windows, step, pages = 0, held = 0;

    if (bytes == 0 || page < PAGE_MIN || PAGE_CACHE_WINDOW % page != 0 || !is_told(fd))
        return -1;
    windows = (bytes + PAGE_CACHE_WINDOW - 1) / PAGE_CACHE_WINDOW;
    step = windows > PAGE_CACHE_WINDOWS ? windows / PAGE_CACHE_WINDOWS : 1;
    for (uint64_t i = 0; i < windows; i += step) {
        uint64_t at = i * PAGE_CACHE_WINDOW, left = bytes - at;

        if (!window_count(fd, at, left < PAGE_CACHE_WINDOW ? left : PAGE_CACHE_WINDOW, page, &pages,
                          &held))
            return -1;
    }
    return (double)held / (double)pages;
}
