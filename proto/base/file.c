/* SPDX-License-Identifier: MIT */
#include "proto/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

int rm_file_read(const char *path, struct rm_buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), r = 0;
    struct stat st;
    ssize_t n = 1;

    if (fd < 0)
        return uv_translate_sys_error(errno);
    if (fstat(fd, &st) < 0)
        r = uv_translate_sys_error(errno);
    else if (!S_ISREG(st.st_mode))
        r = UV_EINVAL;
    while (r == 0 && n > 0) {
        char part[16 * 1024];

        n = read(fd, part, sizeof part);
        if (n > 0)
            r = rm_buf_put(out, part, (size_t)n);
        else if (n < 0 && errno == EINTR)
            n = 1;
        else if (n < 0)
            r = uv_translate_sys_error(errno);
    }
    close(fd);
    return r;
}

static int write_all(int fd, struct rm_slice bytes, bool sync)
{
    while (bytes.n > 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);

        if (n < 0 && errno != EINTR)
            return uv_translate_sys_error(errno);
        if (n > 0) {
            bytes.p += n;
            bytes.n -= (size_t)n;
        }
    }
    return sync && fsync(fd) < 0 ? uv_translate_sys_error(errno) : 0;
}

/* The renamed entry is only safe once the directory is. */
static int sync_dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char dir[PATH_MAX];
    int fd, r = 0;

    if (slash == NULL)
        snprintf(dir, sizeof dir, ".");
    else
        snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    if ((fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return uv_translate_sys_error(errno);
    if (fsync(fd) < 0 && errno != EINVAL) /* some network file systems cannot */
        r = uv_translate_sys_error(errno);
    close(fd);
    return r;
}

/* The mode and owner that a file had before. *mode: of a new one. */
static int keep(const char *path, int fd, bool strict, mode_t *mode)
{
    struct stat old, own;

    if (stat(path, &old) < 0 || fstat(fd, &own) < 0)
        return strict ? uv_translate_sys_error(errno) : 0;
    *mode = old.st_mode & 07777;
    if ((own.st_uid == old.st_uid && own.st_gid == old.st_gid) ||
        fchown(fd, old.st_uid, old.st_gid) == 0)
        return 0;
    if (strict)
        return uv_translate_sys_error(errno);
    *mode &= 0777; /* it is ours now: no set-id bits for another's */
    return 0;
}

enum { SYNC = 1, STRICT = 2 };

static int replace(const char *path, struct rm_slice bytes, mode_t mode, int how)
{
    char temp[PATH_MAX];
    int fd, r;

    if (snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= (int)sizeof temp)
        return UV_ENAMETOOLONG;
    if ((fd = mkostemp(temp, O_CLOEXEC)) < 0)
        return uv_translate_sys_error(errno);
    r = keep(path, fd, (how & STRICT) != 0, &mode);
    if (r == 0 && fchmod(fd, mode) < 0)
        r = uv_translate_sys_error(errno);
    if (r == 0)
        r = write_all(fd, bytes, (how & SYNC) != 0);
    if (close(fd) < 0 && r == 0)
        r = uv_translate_sys_error(errno);
    if (r == 0 && rename(temp, path) < 0)
        r = uv_translate_sys_error(errno);
    if (r < 0) {
        unlink(temp);
        return r;
    }
    return (how & SYNC) != 0 ? sync_dir_of(path) : 0;
}

int rm_file_replace(const char *path, struct rm_slice bytes, mode_t mode)
{
    return replace(path, bytes, mode, SYNC);
}

int rm_file_replace_kept(const char *path, struct rm_slice bytes)
{
    return replace(path, bytes, 0600, SYNC | STRICT);
}

int rm_file_put(const char *path, struct rm_slice bytes, mode_t mode)
{
    return replace(path, bytes, mode, 0);
}

static int make_one(const char *path, mode_t mode)
{
    return mkdir(path, mode) < 0 && errno != EEXIST ? uv_translate_sys_error(errno) : 0;
}

int rm_dir_make(const char *path, mode_t mode)
{
    char at[PATH_MAX];
    struct stat st;
    int r = 0;

    if (path[0] == '\0')
        return UV_EINVAL;
    if (strlen(path) >= sizeof at)
        return UV_ENAMETOOLONG;
    rm_text_copy(at, sizeof at, path);
    for (char *p = at + 1; r == 0 && *p != '\0'; p++)
        if (*p == '/') {
            *p = '\0';
            r = make_one(at, mode);
            *p = '/';
        }
    if (r == 0)
        r = make_one(at, mode);
    if (r == 0 && (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)))
        r = UV_ENOTDIR;
    return r;
}
