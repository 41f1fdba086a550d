/* SPDX-License-Identifier: MIT */
#include "worker/pull/fetch_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <uv.h>

#include "proto/base/file.h"
#include "worker/pull/sha256.h"

enum { WHY = SOURCE_WHY_MAX - 256, READ_BYTES = 1 << 20, TELL_EVERY = 64 };

static int sys_err(void)
{
    return uv_translate_sys_error(errno);
}

/* ---- names ---- */

static int make_parent(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (slash == NULL || slash == path)
        return 0;
    snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
    return rm_dir_make(dir, 0755);
}

enum fetch_end fetch_paths_make(const char *dir, const char *name, struct fetch_paths *out,
                                char *why)
{
    int r;

    if (snprintf(out->map, sizeof out->map, "%s/%s.part.map", dir, name) >= (int)sizeof out->map) {
        snprintf(why, WHY, "%.200s: the path is too long", name);
        return FETCH_WRONG;
    }
    snprintf(out->part, sizeof out->part, "%.*s", (int)(strlen(out->map) - 4), out->map);
    snprintf(out->file, sizeof out->file, "%.*s", (int)(strlen(out->part) - 5), out->part);
    if ((r = make_parent(out->file)) == 0)
        return FETCH_DONE;
    snprintf(why, WHY, "%.500s: %s", out->file, rm_strerror(r));
    return FETCH_WRONG;
}

enum fetch_end fetch_is_there(const struct fetch_paths *p, uint64_t bytes, char *why)
{
    struct stat st;

    if (lstat(p->file, &st) < 0)
        return FETCH_DONE;
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes) {
        snprintf(why, WHY, "%.500s: there already, with the same size", p->file);
        return FETCH_THERE_ALREADY;
    }
    snprintf(why, WHY,
             "%.500s: something else is there (%" PRIu64 " bytes, the source has %" PRIu64
             "); move it away first",
             p->file, (uint64_t)st.st_size, bytes);
    return FETCH_WRONG;
}

/* ---- room ---- */

static enum fetch_end check_room(int fd, uint64_t bytes, uint64_t keep_free, char *why)
{
    struct statvfs fs;
    struct stat st;
    uint64_t have, free_bytes;

    if (fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0) {
        snprintf(why, WHY, "%s", strerror(errno));
        return FETCH_FAILED;
    }
    have = (uint64_t)st.st_blocks * 512; /* POSIX: units of 512 bytes here, whatever the disk has */
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (have >= bytes || free_bytes >= bytes - have + keep_free)
        return FETCH_DONE;
    snprintf(why, WHY,
             "no room: %" PRIu64 " bytes are to come, %" PRIu64 " are free there and %" PRIu64
             " must stay free; nothing was lost",
             bytes - have, free_bytes, keep_free);
    return FETCH_NO_ROOM;
}

/* Bytes of a file, or of its part, that take no more room. */
static uint64_t there_already(const char *dir, const char *name)
{
    struct fetch_paths p;
    struct stat st;

    if (snprintf(p.file, sizeof p.file, "%s/%s", dir, name) >= (int)sizeof p.file ||
        snprintf(p.part, sizeof p.part, "%s/%s.part", dir, name) >= (int)sizeof p.part)
        return 0;
    if (lstat(p.file, &st) == 0 || lstat(p.part, &st) == 0)
        return (uint64_t)st.st_blocks * 512;
    return 0;
}

enum fetch_end fetch_room_check(const char *dir, const struct source_list *files,
                                uint64_t keep_free_bytes, char *why)
{
    uint64_t there = 0, to_come, free_bytes;
    struct statvfs fs;

    for (size_t i = 0; i < files->n; i++)
        there += there_already(dir, files->v[i].name);
    if (files->n < 2 || files->bytes <= there || statvfs(dir, &fs) < 0)
        return FETCH_DONE;
    to_come = files->bytes - there;
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes >= keep_free_bytes && free_bytes - keep_free_bytes >= to_come)
        return FETCH_DONE;
    snprintf(why, WHY,
             "%.200s: no room for all %zu files: %" PRIu64 " bytes are to come, %" PRIu64
             " are free there and %" PRIu64 " must stay free; nothing was fetched",
             files->v[0].name, files->n, to_come, free_bytes, keep_free_bytes);
    return FETCH_NO_ROOM;
}

/* A file system that cannot reserve (EOPNOTSUPP) gets a file with holes. */
static int reserve(int fd, uint64_t bytes)
{
    if (ftruncate(fd, (off_t)bytes) < 0)
        return sys_err();
#ifdef __linux__
    while (fallocate(fd, 0, 0, (off_t)bytes) < 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS)
            return 0;
        if (errno != EINTR)
            return sys_err();
    }
#endif
    return 0;
}

enum fetch_end fetch_part_open(const struct fetch_paths *p, uint64_t bytes,
                               uint64_t keep_free_bytes, bool *fresh, int *fd, char *why)
{
    enum fetch_end how;
    struct stat st;
    int r;

    if ((*fd = open(p->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)) < 0 ||
        fstat(*fd, &st) < 0) {
        snprintf(why, WHY, "%.400s: %s", p->part, strerror(errno));
        return FETCH_FAILED;
    }
    if ((uint64_t)st.st_size != bytes)
        *fresh = true;
    if ((how = check_room(*fd, bytes, keep_free_bytes, why)) != FETCH_DONE)
        return how;
    if ((r = reserve(*fd, bytes)) == 0)
        return FETCH_DONE;
    snprintf(why, WHY, "%.400s: %s", p->part, rm_strerror(r));
    return r == UV_ENOSPC ? FETCH_NO_ROOM : FETCH_FAILED;
}

/* ---- the end ---- */

int fetch_part_sha256(int fd, const volatile sig_atomic_t *stop,
                      void (*on_progress)(void *arg, uint64_t there), void *arg, char out[65])
{
    unsigned char *bytes = malloc(READ_BYTES), sum[SHA256_BYTES];
    struct sha256 s;
    uint64_t at = 0;
    unsigned turn = 0;
    ssize_t n = 0;
    int r = 0;

    if (bytes == NULL)
        return UV_ENOMEM;
    sha256_init(&s, sha256_has_instructions());
    do {
        n = pread(fd, bytes, READ_BYTES, (off_t)at);
        if (n > 0) {
            sha256_update(&s, bytes, (size_t)n);
            at += (uint64_t)n;
        } else if (n < 0 && errno != EINTR) {
            r = sys_err();
        }
        if (++turn % TELL_EVERY == 0 && on_progress != NULL)
            on_progress(arg, at);
        if (stop != NULL && *stop != 0)
            r = UV_ECANCELED;
    } while (r == 0 && n != 0);
    sha256_final(&s, sum);
    sodium_bin2hex(out, 65, sum, sizeof sum);
    free(bytes);
    return r;
}

static void sync_parent(const char *path)
{
    char dir[PATH_MAX];
    char *slash;
    int fd;

    snprintf(dir, sizeof dir, "%s", path);
    if ((slash = strrchr(dir, '/')) != NULL)
        *slash = '\0';
    if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0) {
        (void)fsync(fd); /* after a power cut the file may have its old name: it is found again */
        close(fd);
    }
}

int fetch_part_name(const struct fetch_paths *p, int fd)
{
    if (fsync(fd) < 0 || rename(p->part, p->file) < 0)
        return sys_err();
    unlink(p->map);
    sync_parent(p->file);
    return 0;
}

void fetch_part_remove(const struct fetch_paths *p)
{
    unlink(p->part);
    unlink(p->map);
}
