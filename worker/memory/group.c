/* SPDX-License-Identifier: MIT */
#include "worker/memory/group.h"

#include <stdio.h>
#include <string.h>

#include "worker/memory/sysread.h"

enum { STAT_MAX = 8192 };

/* ---- which group ---- */

static bool list_has(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);

    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma != NULL ? comma : end;

        if ((size_t)(stop - p) == n && memcmp(p, word, n) == 0)
            return true;
        p = stop + 1;
    }
    return false;
}

static void take_path(const char *p, const char *end, struct memory_group *out)
{
    size_t n = (size_t)(end - p);

    while (n > 0 && p[n - 1] == '/')
        n--;
    out->path[0] = '\0';
    if (n >= sizeof(out->path) || memmem(p, n, "/..", 3) != NULL)
        return;
    memcpy(out->path, p, n);
    out->path[n] = '\0';
}

/* Lines are "ID:CONTROLLERS:PATH"; v2's has no controllers. Where both are mounted, memory belongs
 * to the v1 hierarchy that names it. */
bool group_parse(struct rm_slice text, struct memory_group *out)
{
    const char *p = text.p, *end = text.p + text.n, *nl, *a, *b;
    bool found = false;

    memset(out, 0, sizeof(*out));
    for (; p != NULL && p < end; p = nl + 1) {
        nl = sys_line_end(p, end);
        if ((a = memchr(p, ':', (size_t)(nl - p))) == NULL ||
            (b = memchr(a + 1, ':', (size_t)(nl - a - 1))) == NULL)
            continue;
        if (list_has(a + 1, b, "memory")) {
            out->v2 = false;
            take_path(b + 1, nl, out);
            return true;
        }
        if (!found && a + 1 == b && a == p + 1 && *p == '0') {
            found = out->v2 = true;
            take_path(b + 1, nl, out);
        }
    }
    return found;
}

bool group_of_self(int root, struct memory_group *out)
{
    char text[4096];
    int n = sys_text(root, "proc/self/cgroup", text, sizeof(text));

    return n > 0 && group_parse((struct rm_slice){text, (size_t)n}, out);
}

int group_file(const struct memory_group *g, const char *name, char *out, size_t size)
{
    int n = snprintf(out, size, "sys/fs/cgroup%s%s/%s", g->v2 ? "" : "/memory", g->path, name);

    return n > 0 && (size_t)n < size ? n : 0;
}

/* ---- what it may use ---- */

static bool group_number(int root, const struct memory_group *g, const char *name, uint64_t *out)
{
    char path[GROUP_PATH_MAX + 64];

    return group_file(g, name, path, sizeof(path)) > 0 && sys_number(root, path, out);
}

static uint64_t group_droppable(int root, const struct memory_group *g)
{
    char path[GROUP_PATH_MAX + 64], text[STAT_MAX];
    uint64_t active = 0, inactive = 0, sum;
    struct rm_slice stat;
    int n;

    if (group_file(g, "memory.stat", path, sizeof(path)) == 0 ||
        (n = sys_text(root, path, text, sizeof(text))) <= 0)
        return 0;
    stat = (struct rm_slice){text, (size_t)n};
    /* v1's plain names are of this group alone, the total_ ones with those beneath it */
    (void)sys_counter(stat, g->v2 ? "inactive_file" : "total_inactive_file", &inactive);
    (void)sys_counter(stat, g->v2 ? "active_file" : "total_active_file", &active);
    return __builtin_add_overflow(active, inactive, &sum) ? 0 : sum;
}

/* The limit of this very group; memory.high slows down whoever passes it, so it counts as one. */
static bool level_limit(int root, const struct memory_group *g, uint64_t *out)
{
    uint64_t high;
    bool has = group_number(root, g, g->v2 ? "memory.max" : "memory.limit_in_bytes", out);

    if (g->v2 && group_number(root, g, "memory.high", &high) && (!has || high < *out)) {
        *out = high;
        has = true;
    }
    return has;
}

static uint64_t level_available(int root, const struct memory_group *g, uint64_t limit)
{
    uint64_t used = 0, droppable;

    if (!group_number(root, g, g->v2 ? "memory.current" : "memory.usage_in_bytes", &used))
        return limit;
    droppable = group_droppable(root, g);
    used = used > droppable ? used - droppable : 0;
    return limit > used ? limit - used : 0;
}

bool group_limit(int root, const struct memory_group *g, uint64_t beyond, uint64_t *limit,
                 uint64_t *available)
{
    struct memory_group at = *g;
    bool limited = false;

    for (int level = 0; level < GROUP_LEVELS_MAX; level++) {
        uint64_t own, left;
        char *slash;

        if (level_limit(root, &at, &own) && own < beyond) {
            left = level_available(root, &at, own);
            *limit = limited && *limit < own ? *limit : own;
            *available = limited && *available < left ? *available : left;
            limited = true;
        }
        if ((slash = strrchr(at.path, '/')) == NULL)
            break;
        *slash = '\0';
    }
    return limited;
}

bool group_oom_kills(int root, const struct memory_group *g, uint64_t *out)
{
    char path[GROUP_PATH_MAX + 64], text[4096];
    int n;

    if (group_file(g, g->v2 ? "memory.events" : "memory.oom_control", path, sizeof(path)) == 0 ||
        (n = sys_text(root, path, text, sizeof(text))) <= 0)
        return false;
    return sys_counter((struct rm_slice){text, (size_t)n}, "oom_kill", out);
}
