/* SPDX-License-Identifier: MIT */
/* cli/top/terminal.h - the terminal of `rolemesh top`: ncurses (wide), and nothing else of it
 * leaves this file's neighbour terminal.c. One terminal; one thread. */
#ifndef RM_TOP_TERMINAL_H
#define RM_TOP_TERMINAL_H

#include "cli/top/screen.h"

/* Does $TERM name a terminal that is described here? newterm would lose memory on another.
 * terminfo.c, for <term.h> defines every other word as a macro. */
bool terminal_is_known(void);

/* Takes the terminal over: full screen, keys one by one. colours: when it has some.
 * Returns 0, or UV_ENOTSUP: $TERM names no terminal that can be drawn on (nothing was changed). */
RM_MUST_USE int terminal_open(bool colours);
void terminal_close(void); /* gives it back as it was; a second call is fine */

void terminal_draw(struct top_model *m, uint64_t now_ms);
void terminal_resized(void); /* after SIGWINCH */
int terminal_key(void);      /* enum top_key or a character; -1: no more */

#endif
