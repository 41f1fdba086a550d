/* SPDX-License-Identifier: MIT */
#include "proto/base/state_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "proto/base/file.h"

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

int rm_state_dir_make(const char *path)
{
    return rm_dir_make(path, 0700);
}
