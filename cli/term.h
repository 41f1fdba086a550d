/* SPDX-License-Identifier: MIT */
/* cli/term.h - where a subcommand prints: how wide it is, whether it shows colours; the width of
 * text in its cells; and --watch, which draws the same again and again. One thread. */
#ifndef RM_CLI_TERM_H
#define RM_CLI_TERM_H

#include "cli/cli.h"

enum term_color { TERM_PLAIN, TERM_BOLD, TERM_DIM, TERM_GOOD, TERM_WARN, TERM_BAD };

struct term {
    FILE *to;
    bool terminal;
    bool color;
    bool csv;        /* -o csv */
    bool compact;    /* JSON in one line: the output is a list of them */
    unsigned width;  /* cells of a line; 0: as many as there are (no terminal) */
    unsigned height; /* lines; 0: unknown */
};

/* stdout as it is now. Colours only on a terminal, without NO_COLOR, --no-color and TERM=dumb; the
 * width of a terminal, else COLUMNS when that is set. */
void term_look(const struct cli_args *args, struct term *out);

/* The sequence that begins a colour, and the one that ends it; "" without colours. */
const char *term_on(const struct term *t, enum term_color color);
const char *term_off(const struct term *t, enum term_color color);

/* Cells of a character as ask_char gives it, 0 to 2; of a text; and prints at most `cells` of one
 * (the last is an ellipsis when it was cut), returning what it took. Odd characters count and are
 * printed as '?'. */
unsigned term_char_cells(uint32_t code);
unsigned term_cells(const char *text);
unsigned term_put(const struct term *t, const char *text, unsigned cells);

/* stdin's terminal, opened anew for uv_poll, which makes what it polls non-blocking: stdin itself
 * is shared with the shell. To be closed by the caller. Returns a descriptor or a libuv code. */
RM_MUST_USE int term_open_keys(void);

/* Ctrl-C and SIGTERM end the program at once, well (CLI_OK). */
void term_end_on_signals(void);

/* Draws once; with --watch every so many seconds until Ctrl-C (exit code 0): on a terminal over
 * what is there, cut to its height, else one after the other. `draw` prints to t->to and returns an
 * exit code; when watching, CLI_FAILED is told and tried again. The row must have CLI_WATCH. */
int term_watch(const struct cli_args *args,
               int (*draw)(const struct cli_args *args, const struct term *t, void *arg),
               void *arg);

#endif
