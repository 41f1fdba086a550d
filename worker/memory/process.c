/* SPDX-License-Identifier: MIT */
#include "worker/memory/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "worker/memory/group.h"
#include "worker/memory/sysread.h"

uint64_t memory_oom_kills(void)
{
    struct memory_group g;
    char text[32768];
    uint64_t sum = 0, v;
    int root = sys_root("/"), n;

    if (root < 0)
        return 0;
    n = sys_text(root, "proc/vmstat", text, sizeof(text));
    if (n > 0 && sys_counter((struct rm_slice){text, (size_t)n}, "oom_kill", &v))
        sum += v;
    if (group_of_self(root, &g) && group_oom_kills(root, &g, &v))
        sum += v;
    close(root);
    return sum;
}

int memory_shield_self(int score)
{
    char text[16] = "";
    int root = sys_root("/proc/self"), fd, r = 0;

    if (root < 0)
        return root;
    if (sys_text(root, "oom_score_adj", text, sizeof(text)) > 0 &&
        strtol(text, NULL, 10) <= score) {
        close(root);
        return 0;
    }
    snprintf(text, sizeof(text), "%d", score);
    fd = openat(root, "oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        r = uv_translate_sys_error(errno);
    if (fd >= 0)
        close(fd);
    close(root);
    return r;
}

struct memory_resident memory_resident(int pid)
{
    struct memory_resident m = {0};
    char path[40], text[8192];
    uint64_t anon, shmem;
    int root = sys_root("/"), n;

    if (root < 0)
        return m;
    snprintf(path, sizeof(path), "proc/%d/status", pid);
    n = sys_text(root, path, text, sizeof(text));
    close(root);
    if (n <= 0 || !sys_kib((struct rm_slice){text, (size_t)n}, "VmRSS:", &m.rss))
        return (struct memory_resident){0};
    m.own = sys_kib((struct rm_slice){text, (size_t)n}, "RssAnon:", &anon) &&
                    sys_kib((struct rm_slice){text, (size_t)n}, "RssShmem:", &shmem)
                ? anon + shmem
                : m.rss;
    return m;
}
