/* SPDX-License-Identifier: MIT */
#include "gateway/map/file.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#include "proto/base/file.h"
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

int map_file_write(const char *path, const char *bytes, size_t n, const char *expect,
                   char found[MAP_REVISION], char *why)
{
    char target[MAP_PATH_MAX];
    int r;

    found[0] = why[0] = '\0';
    if (realpath(path, target) == NULL)
        return write_wrong(why, "cannot find", path);
    map_file_revision(target, found);
    if (strcmp(expect, "*") != 0 && strcmp(expect, found) != 0) {
        snprintf(why, MAP_WHY_MAX, "%.300s has been changed meanwhile", path);
        return RM_ERR_REVISION;
    }
    if ((r = rm_file_replace_kept(target, (struct rm_slice){bytes, n})) < 0)
        snprintf(why, MAP_WHY_MAX, "cannot replace %.300s%s: %s", target,
                 r == UV_EPERM ? " and keep its owner" : "", uv_strerror(r));
    return r;
}
