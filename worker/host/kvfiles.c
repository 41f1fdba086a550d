/* SPDX-License-Identifier: MIT */
#include "worker/host/kvfiles.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/node/state.h"

enum { REVISION = 32, NAME_ROOM = 64 + 1 + REVISION + 8 };
static const char whole_end[] = ".kv", half_end[] = ".kv.tmp";

struct kvfiles {
    uv_loop_t *loop;
    uint64_t max_bytes;
    char dir[KVFILES_PATH_MAX];
};

/* ---- the rules ---- */

static bool ends_with(const char *name, size_t *n, const char *end)
{
    size_t m = strlen(end);

    if (*n < m || memcmp(name + *n - m, end, m) != 0)
        return false;
    *n -= m;
    return true;
}

enum kvfiles_kind kvfiles_name(const char *name, char *role, char *revision)
{
    size_t n = strlen(name);
    enum kvfiles_kind kind = ends_with(name, &n, half_end)    ? KVFILES_HALF
                             : ends_with(name, &n, whole_end) ? KVFILES_WHOLE
                                                              : KVFILES_FOREIGN;

    role[0] = revision[0] = '\0';
    if (kind == KVFILES_FOREIGN || n < 1 + 1 + REVISION || n - 1 - REVISION >= NODE_NAME_MAX ||
        name[n - REVISION - 1] != '-')
        return KVFILES_FOREIGN;
    for (size_t i = n - REVISION; i < n; i++)
        if (!((name[i] >= '0' && name[i] <= '9') || (name[i] >= 'a' && name[i] <= 'f')))
            return KVFILES_FOREIGN;
    memcpy(role, name, n - REVISION - 1);
    role[n - REVISION - 1] = '\0';
    memcpy(revision, name + n - REVISION, REVISION);
    revision[REVISION] = '\0';
    return kind;
}

void kvfiles_judge(struct kvfiles_entry *v, size_t n, uint64_t max_bytes, int64_t now_s)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        v[i].remove = v[i].kind != KVFILES_FOREIGN && (v[i].mtime_s < now_s - KVFILES_AGE_S ||
                                                       v[i].mtime_s > now_s + KVFILES_AGE_S);
        if (v[i].kind == KVFILES_WHOLE && !v[i].remove)
            sum += v[i].bytes;
    }
    while (sum > max_bytes) {
        struct kvfiles_entry *oldest = NULL;

        for (size_t i = 0; i < n; i++)
            if (v[i].kind == KVFILES_WHOLE && !v[i].remove &&
                (oldest == NULL || v[i].mtime_s < oldest->mtime_s))
                oldest = &v[i];
        if (oldest == NULL)
            return;
        oldest->remove = true;
        sum -= oldest->bytes;
    }
}

/* ---- the directory, in the thread pool ---- */

enum sweep_what { SWEEP_START, SWEEP_KEEP_ONLY, SWEEP_FORGET, SWEEP_SETTLE, SWEEP_TIDY };

struct sweep {
    uv_work_t work;
    enum sweep_what what;
    uint64_t max_bytes;
    int64_t now_s;
    char dir[KVFILES_PATH_MAX], role[NODE_NAME_MAX], revision[REVISION + 1];
    unsigned removed;
};

/* Does what happened to the role take this file, whatever its age? */
static bool is_meant(const struct sweep *s, enum kvfiles_kind kind, const char *role,
                     const char *revision)
{
    bool own = strcmp(role, s->role) == 0;

    switch (s->what) {
    case SWEEP_START: /* no core lives yet */
        return kind == KVFILES_HALF || s->max_bytes == 0;
    case SWEEP_KEEP_ONLY:
        return own && strcmp(revision, s->revision) != 0;
    case SWEEP_FORGET:
        return own;
    case SWEEP_SETTLE:
        return own && kind == KVFILES_HALF;
    default:
        return false;
    }
}

struct listing {
    size_t n;
    struct kvfiles_entry v[KVFILES_MAX];
    char names[KVFILES_MAX][NAME_ROOM];
};

static void list_one(struct sweep *s, struct listing *l, int dir_fd, const char *name)
{
    char role[NODE_NAME_MAX], revision[REVISION + 1];
    enum kvfiles_kind kind = kvfiles_name(name, role, revision);
    struct stat st;

    if (kind == KVFILES_FOREIGN || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return;
    if (is_meant(s, kind, role, revision)) {
        s->removed += unlinkat(dir_fd, name, 0) == 0;
        return;
    }
    if (l->n == KVFILES_MAX)
        return;
    l->v[l->n] = (struct kvfiles_entry){
        .bytes = (uint64_t)st.st_size, .mtime_s = (int64_t)st.st_mtim.tv_sec, .kind = kind};
    memcpy(l->names[l->n++], name, strlen(name) + 1);
}

static void sweep_run(struct sweep *s)
{
    struct listing *l = calloc(1, sizeof(*l));
    DIR *d = l != NULL ? opendir(s->dir) : NULL;
    struct dirent *e;

    if (d != NULL) {
        while ((e = readdir(d)) != NULL)
            list_one(s, l, dirfd(d), e->d_name);
        kvfiles_judge(l->v, l->n, s->max_bytes, s->now_s);
        for (size_t i = 0; i < l->n; i++)
            if (l->v[i].remove)
                s->removed += unlinkat(dirfd(d), l->names[i], 0) == 0;
        closedir(d);
    }
    free(l);
}

static void sweep_on_work(uv_work_t *work)
{
    sweep_run(work->data);
}

static void sweep_told(const struct sweep *s)
{
    if (s->removed > 0)
        rm_debug("kv", "files of KV state removed", RM_U("files", s->removed),
                 RM_S("role", s->role));
}

static void sweep_on_done(uv_work_t *work, int status)
{
    (void)status;
    sweep_told(work->data);
    free(work->data);
}

static void sweep_fill(const struct kvfiles *k, struct sweep *s, enum sweep_what what,
                       const char *role, const char *revision)
{
    *s = (struct sweep){.what = what, .max_bytes = k->max_bytes, .now_s = rm_wall_s()};
    memcpy(s->dir, k->dir, sizeof(s->dir));
    rm_text_copy(s->role, sizeof(s->role), role);
    rm_text_copy(s->revision, sizeof(s->revision), revision);
}

/* Without memory for it, the next tidy does what time allows; a forgotten role's file then stays
 * until it is too old. */
static void sweep_start(struct kvfiles *k, enum sweep_what what, const char *role,
                        const char *revision)
{
    struct sweep *s = k != NULL ? malloc(sizeof(*s)) : NULL;

    if (s == NULL)
        return;
    sweep_fill(k, s, what, role, revision);
    s->work.data = s;
    if (uv_queue_work(k->loop, &s->work, sweep_on_work, sweep_on_done) < 0)
        free(s);
}

void kvfiles_keep_only(struct kvfiles *k, const char *role, const char *revision)
{
    sweep_start(k, SWEEP_KEEP_ONLY, role, revision);
}

void kvfiles_forget(struct kvfiles *k, const char *role)
{
    sweep_start(k, SWEEP_FORGET, role, "");
}

void kvfiles_settle(struct kvfiles *k, const char *role)
{
    sweep_start(k, SWEEP_SETTLE, role, "");
}

void kvfiles_tidy(struct kvfiles *k)
{
    sweep_start(k, SWEEP_TIDY, "", "");
}

/* ---- open, close, names ---- */

int kvfiles_open(uv_loop_t *loop, const char *state_dir, uint64_t max_bytes, struct kvfiles **out)
{
    struct kvfiles *k = calloc(1, sizeof(*k));
    struct sweep *s = calloc(1, sizeof(*s));
    int r = 0;

    *out = NULL;
    if (k == NULL || s == NULL)
        r = UV_ENOMEM;
    else if (snprintf(k->dir, sizeof(k->dir), "%s/kv", state_dir) >= (int)sizeof(k->dir))
        r = UV_ENAMETOOLONG;
    else if ((mkdir(k->dir, 0700) < 0 && errno != EEXIST) || chmod(k->dir, 0700) < 0)
        r = uv_translate_sys_error(errno);
    if (r == 0) {
        k->loop = loop;
        k->max_bytes = max_bytes;
        sweep_fill(k, s, SWEEP_START, "", "");
        sweep_run(s);
        sweep_told(s);
        *out = k;
        k = NULL;
    }
    free(s);
    free(k);
    return r;
}

void kvfiles_close(struct kvfiles *k)
{
    free(k);
}

uint64_t kvfiles_max_bytes(const struct kvfiles *k)
{
    return k->max_bytes;
}

bool kvfiles_path(const struct kvfiles *k, const char *role, const char *revision,
                  char out[KVFILES_PATH_MAX])
{
    return k->max_bytes > 0 && strchr(role, '/') == NULL &&
           snprintf(out, KVFILES_PATH_MAX, "%s/%s-%s%s", k->dir, role, revision, whole_end) <
               KVFILES_PATH_MAX - (int)sizeof(half_end);
}
