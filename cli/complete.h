/* SPDX-License-Identifier: MIT */
/* cli/complete.h - what a shell completes. The script of a shell hands the words over to `rolemesh
 * __complete SHELL WORD...`, the last of which is being written, and gets candidates, one a line,
 * each followed by a tab and a few words about it; or ":file" or ":dir" alone, which the shell
 * completes itself. One thread. */
#ifndef RM_CLI_COMPLETE_H
#define RM_CLI_COMPLETE_H

#include <stdio.h>

extern const char *const complete_shells[]; /* bash, zsh, fish, NULL */

/* The script of a shell in complete_shells. */
const char *complete_script(const char *shell);

#endif
