/* SPDX-License-Identifier: MIT */
/* The inventory: every .gguf beneath the models directory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/json_write.h"
#include "proto/gguf/gguf_model.h"
#include "worker/models/models.h"

enum { ENTRIES_MAX = 100000 }; /* directory entries looked at in all */

struct walk {
    struct model_list *out;
    uint32_t cap, entries;
    char path[MODELS_PATH_MAX];
};

/* Does a file of a split model belong to an entry already there? Adds it and says so. */
static bool walk_join(struct walk *w, uint32_t parts, const struct stat *st, int64_t mtime_ns)
{
    size_t n = strlen(w->path);

    for (uint32_t i = 0; i < w->out->n; i++) {
        struct model_file *m = &w->out->v[i];
        uint32_t p, all;

        if (strlen(m->path) != n || strncmp(m->path, w->path, n - 20) != 0 ||
            !gguf_split_name(m->path, &p, &all) || all != parts)
            continue;
        m->bytes += (uint64_t)st->st_size;
        m->files++;
        if (mtime_ns > m->mtime_ns)
            m->mtime_ns = mtime_ns;
        if (strcmp(w->path, m->path) < 0)
            memcpy(m->path, w->path, n + 1);
        return true;
    }
    return false;
}

static int walk_add(struct walk *w, const struct stat *st)
{
    int64_t mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    uint32_t part, parts = 1, cap;
    struct model_file *m;

    if (gguf_split_name(w->path, &part, &parts) && parts > 1 && walk_join(w, parts, st, mtime_ns))
        return 0;
    if (w->out->n == MODELS_LIST_MAX) {
        w->out->truncated = true;
        return 0;
    }
    if (w->out->n == w->cap) {
        cap = w->cap > 0 ? w->cap * 2 : 16;
        if ((m = realloc(w->out->v, cap * sizeof(*m))) == NULL)
            return UV_ENOMEM;
        w->out->v = m;
        w->cap = cap;
    }
    m = &w->out->v[w->out->n++];
    memset(m, 0, sizeof(*m));
    memcpy(m->path, w->path, strlen(w->path) + 1);
    m->bytes = (uint64_t)st->st_size;
    m->mtime_ns = mtime_ns;
    m->files = 1;
    return 0;
}

static bool is_gguf(const char *name)
{
    size_t n = strlen(name);

    return n > 5 && strcmp(name + n - 5, ".gguf") == 0;
}

static int walk_dir(struct walk *w, int fd, int depth);

static int walk_entry(struct walk *w, int dir_fd, const char *name, int depth)
{
    size_t at = strlen(w->path), n = strlen(name);
    struct stat st;
    int fd, r = 0;

    if (name[0] == '.' || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (at + 1 + n >= sizeof(w->path)) {
        w->out->truncated = true;
        return 0;
    }
    snprintf(w->path + at, sizeof(w->path) - at, "%s%s", at > 0 ? "/" : "", name);
    if (S_ISREG(st.st_mode) && is_gguf(name)) {
        r = walk_add(w, &st);
    } else if (S_ISDIR(st.st_mode) && depth == MODELS_DEPTH_MAX) {
        w->out->truncated = true;
    } else if (S_ISDIR(st.st_mode)) {
        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = fd < 0 ? 0 : walk_dir(w, fd, depth + 1);
    }
    w->path[at] = '\0';
    return r;
}

/* Takes fd. */
static int walk_dir(struct walk *w, int fd, int depth)
{
    DIR *d = fdopendir(fd);
    struct dirent *e;
    int r = 0;

    if (d == NULL) {
        close(fd);
        return 0;
    }
    while (r == 0 && (e = readdir(d)) != NULL) {
        if (++w->entries > ENTRIES_MAX) {
            w->out->truncated = true;
            break;
        }
        r = walk_entry(w, dirfd(d), e->d_name, depth);
    }
    closedir(d);
    return r;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct model_file *)a)->path, ((const struct model_file *)b)->path);
}

int models_list(int dir_fd, struct model_list *out)
{
    struct walk w = {.out = out};
    int fd, r;

    memset(out, 0, sizeof(*out));
    if ((fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return uv_translate_sys_error(errno);
    if ((r = walk_dir(&w, fd, 0)) < 0)
        models_list_clear(out);
    else if (out->n > 0)
        qsort(out->v, out->n, sizeof(out->v[0]), by_path);
    return r;
}

void models_list_clear(struct model_list *list)
{
    free(list->v);
    memset(list, 0, sizeof(*list));
}

int models_list_encode(const struct model_list *list, const char *dir, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "dir", dir);
    rm_jw_bool(&w, "truncated", list->truncated);
    rm_jw_arr(&w, "models");
    for (uint32_t i = 0; i < list->n; i++) {
        const struct model_file *m = &list->v[i];

        rm_jw_obj(&w, NULL);
        rm_jw_str(&w, "path", m->path);
        rm_jw_u64(&w, "bytes", m->bytes);
        rm_jw_i64(&w, "mtime", m->mtime_ns / 1000000000);
        rm_jw_u64(&w, "files", m->files);
        rm_jw_str(&w, "model_hash", m->hash);
        rm_jw_end(&w);
    }
    rm_jw_end(&w);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}
