/* SPDX-License-Identifier: MIT */
/* proto/base/state_dir.h - where a program keeps what must outlive it, when nobody named a place:
 * $XDG_STATE_HOME/rolemesh/NAME, else ~/.local/state/rolemesh/NAME (XDG Base Directory
 * Specification). Blocking. Any thread that changes no environment. */
#ifndef RM_BASE_STATE_DIR_H
#define RM_BASE_STATE_DIR_H

#include "proto/base/buf.h"

enum { RM_STATE_DIR_MAX = 1024 }; /* bytes with the NUL */

/* Returns 0, or UV_ENOENT: neither variable is an absolute path (or too long); out is "" then. */
RM_MUST_USE int rm_state_dir_default(const char *name, char out[RM_STATE_DIR_MAX]);

/* Makes the directory and what is missing above it, mode 0700. Returns 0 or a libuv code. */
RM_MUST_USE int rm_state_dir_make(const char *path);

#endif
