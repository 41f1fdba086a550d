/* SPDX-License-Identifier: MIT */
/* cli/top/terminfo.c - whether $TERM is described on this machine; see terminal.h. */
#include "cli/top/terminal.h"

#include <curses.h>
#include <term.h>
#include <unistd.h>

bool terminal_is_known(void)
{
    int found;

    char *move;

    if (setupterm(NULL, STDOUT_FILENO, &found) == ERR)
        return false;
    move = tigetstr("cup"); /* a dumb one cannot move its cursor */
    del_curterm(cur_term);
    return move != NULL && move != (char *)-1;
}
