/* SPDX-License-Identifier: MIT */
#include "gateway/map/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "proto/conf/node.h"

/* ---- reading ---- */

void map_revision_of(const char *bytes, size_t n, char out[MAP_REVISION])
{
    unsigned char id[(MAP_REVISION - 1) / 2];

    crypto_generichash(id, sizeof id, (const unsigned char *)bytes, n, NULL, 0);
    sodium_bin2hex(out, MAP_REVISION, id, sizeof id);
}

struct loading {
    char *revision;
    struct role_map **out; /* NULL: only the revision is wanted */
};

static int load_bytes(void *arg, const char *name, const char *bytes, size_t n,
                      struct conf_report *report)
{
    const struct loading *l = arg;

    map_revision_of(bytes, n, l->revision);
    return l->out != NULL ? role_map_parse(name, bytes, n, report, l->out) : 0;
}

int map_file_load(const char *path, struct conf_report *report, char revision[MAP_REVISION],
                  struct role_map **out)
{
    struct loading l = {revision, out};

    *out = NULL;
    revision[0] = '\0';
    return conf_file_load(path, report, load_bytes, &l);
}

void map_file_revision(const char *path, char out[MAP_REVISION])
{
    struct loading l = {out, NULL};
    struct conf_report report;

    out[0] = '\0';
    conf_report_init(&report);
    if (conf_file_load(path, &report, load_bytes, &l) < 0)
        out[0] = '\0';
    conf_report_clear(&report);
}

/* ---- telling one from another ---- */

static int64_t ns_of(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

void map_file_identify(const char *path, struct map_file_id *out)
{
    struct stat st;

    *out = (struct map_file_id){.err = 0};
    if (stat(path, &st) < 0) {
        out->err = uv_translate_sys_error(errno);
        return;
    }
    out->dev = (uint64_t)st.st_dev;
    out->ino = (uint64_t)st.st_ino;
    out->size = (uint64_t)st.st_size;
    out->mtime_ns = ns_of(&st.st_mtim);
    out->ctime_ns = ns_of(&st.st_ctim);
}

bool map_file_same(const struct map_file_id *a, const struct map_file_id *b)
{
    return a->err == b->err && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

/* ---- replacing ---- */

static int write_wrong(char *why, const char *what, const char *path)
{
    int r = uv_translate_sys_error(errno);

    snprintf(why, MAP_WHY_MAX, "%s %.300s: %s", what, path, uv_strerror(r));
    return r;
}

/* Puts everything that must be right before the rename into the temporary file. */
static int fill(int fd, const char *temp, const struct stat *as, const char *bytes, size_t n,
                char *why)
{
    struct stat own;
    size_t at = 0;

    if (fstat(fd, &own) < 0)
        return write_wrong(why, "cannot look at", temp);
    if ((own.st_uid != as->st_uid || own.st_gid != as->st_gid) &&
        fchown(fd, as->st_uid, as->st_gid) < 0)
        return write_wrong(why, "cannot keep the owner of the role map for", temp);
    if (fchmod(fd, as->st_mode & 07777) < 0)
        return write_wrong(why, "cannot keep the mode of the role map for", temp);
    while (at < n) {
        ssize_t w = write(fd, bytes + at, n - at);

        if (w < 0 && errno != EINTR)
            return write_wrong(why, "cannot write", temp);
        if (w > 0)
            at += (size_t)w;
    }
    return fsync(fd) < 0 ? write_wrong(why, "cannot write", temp) : 0;
}

/* The rename is on the disk only when the directory is. */
static void flush_directory(const char *target)
{
    char dir[MAP_PATH_MAX];
    char *slash;
    int fd;

    rm_text_copy(dir, sizeof dir, target);
    slash = strrchr(dir, '/');
    if (slash == NULL)
        return;
    slash[slash == dir ? 1 : 0] = '\0';
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd); /* file systems that cannot do it have nothing to flush */
    close(fd);
}

static int replace(const char *target, const struct stat *as, const char *bytes, size_t n,
                   char *why)
{
    char temp[MAP_PATH_MAX];
    const char *slash = strrchr(target, '/');
    int fd, r;

    if (slash == NULL || snprintf(temp, sizeof temp, "%.*s/.%s.XXXXXX", (int)(slash - target),
                                  target, slash + 1) >= (int)sizeof temp) {
        snprintf(why, MAP_WHY_MAX, "the path of the role map is too long");
        return UV_ENAMETOOLONG;
    }
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return write_wrong(why, "cannot make", temp);
    r = fill(fd, temp, as, bytes, n, why);
    close(fd);
    if (r == 0 && rename(temp, target) < 0)
        r = write_wrong(why, "cannot replace", target);
    if (r < 0)
        unlink(temp);
    else
        flush_directory(target);
    return r;
}

int map_file_write(const char *path, const char *bytes, size_t n, const char *expect,
                   char found[MAP_REVISION], char *why)
{
    char target[MAP_PATH_MAX];
    struct stat as;

    found[0] = why[0] = '\0';
    if (realpath(path, target) == NULL)
        return write_wrong(why, "cannot find", path);
    map_file_revision(target, found);
    if (strcmp(expect, "*") != 0 && strcmp(expect, found) != 0) {
        snprintf(why, MAP_WHY_MAX, "%.300s has been changed meanwhile", path);
        return RM_ERR_REVISION;
    }
    if (stat(target, &as) < 0)
        return write_wrong(why, "cannot look at", target);
    return replace(target, &as, bytes, n, why);
}
