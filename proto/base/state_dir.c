/* SPDX-License-Identifier: MIT */
#include "proto/base/state_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <uv.h>

int rm_state_dir_default(const char *name, char out[RM_STATE_DIR_MAX])
{
    const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;

    if (base != NULL && base[0] == '/')
        n = snprintf(out, RM_STATE_DIR_MAX, "%s/rolemesh/%s", base, name);
    else if (home != NULL && home[0] == '/')
        n = snprintf(out, RM_STATE_DIR_MAX, "%s/.local/state/rolemesh/%s", home, name);
    if (n > 0 && n < RM_STATE_DIR_MAX)
        return 0;
    out[0] = '\0';
    return UV_ENOENT;
}

static int make_one(const char *path)
{
    return mkdir(path, 0700) < 0 && errno != EEXIST ? uv_translate_sys_error(errno) : 0;
}

int rm_state_dir_make(const char *path)
{
    char at[RM_STATE_DIR_MAX];
    struct stat st;
    int r = 0;

    if (path[0] == '\0' || strlen(path) >= sizeof at)
        return UV_EINVAL;
    rm_text_copy(at, sizeof at, path);
    for (char *p = at + 1; r == 0 && *p != '\0'; p++)
        if (*p == '/') {
            *p = '\0';
            r = make_one(at);
            *p = '/';
        }
    if (r == 0)
        r = make_one(at);
    if (r == 0 && (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)))
        r = UV_ENOTDIR;
    return r;
}
