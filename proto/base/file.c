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

static int replace(const char *path, struct rm_slice bytes, mode_t mode, bool sync)
{
    char temp[PATH_MAX];
    struct stat old;
    int fd, r;

    if (snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= (int)sizeof temp)
        return UV_ENAMETOOLONG;
    if ((fd = mkostemp(temp, O_CLOEXEC)) < 0)
        return uv_translate_sys_error(errno);
    if (stat(path, &old) == 0) {
        mode = old.st_mode & 07777;
        if (fchown(fd, old.st_uid, old.st_gid) < 0)
            mode &= 0777; /* it is ours now: no set-id bits for another's */
    }
    r = fchmod(fd, mode) < 0 ? uv_translate_sys_error(errno) : write_all(fd, bytes, sync);
    if (close(fd) < 0 && r == 0)
        r = uv_translate_sys_error(errno);
    if (r == 0 && rename(temp, path) < 0)
        r = uv_translate_sys_error(errno);
    if (r < 0) {
        unlink(temp);
        return r;
    }
    return sync ? sync_dir_of(path) : 0;
}

int rm_file_replace(const char *path, struct rm_slice bytes, mode_t mode)
{
    return replace(path, bytes, mode, true);
}

int rm_file_put(const char *path, struct rm_slice bytes, mode_t mode)
{
    return replace(path, bytes, mode, false);
}
