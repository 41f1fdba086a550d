/* SPDX-License-Identifier: MIT */
/* cli/grid.h - a table on a terminal: columns as wide as their widest cell, in terminal cells, cut
 * to the terminal's width. Whatever a cell is given is made fit for a terminal (ask.h); a cell is
 * one line. Cells are added row by row; -o wide shows the wide columns too; -o csv prints all of
 * them, whole, as RFC 4180 has it (lines end with LF), for spreadsheets. One thread. */
#ifndef RM_CLI_GRID_H
#define RM_CLI_GRID_H

#include "cli/term.h"
#include "proto/base/buf.h"

enum { GRID_COLUMNS_MAX = 24, GRID_CELL_MAX = 1024, GRID_SPARE = 2, GRID_WHOLE = 3 };

struct grid_column {
    const char *title;
    bool right;    /* numbers */
    uint8_t wide;  /* true: with -o wide only; GRID_SPARE: left out when the room is short;
                    * GRID_WHOLE: cut after all others, for it is to be copied */
    unsigned most; /* cells, without -o wide; 0: any */
};

struct grid_cell {
    size_t at; /* in text */
    enum term_color color;
};

struct grid {
    const struct grid_column *columns; /* borrowed */
    size_t n_columns;
    struct grid_cell *cells; /* owned; n of them */
    size_t n;
    struct rm_buf text;
    const char *none; /* printed in place of a table without rows; NULL: the titles alone */
    int err;          /* the first: grid_print tells */
};

void grid_init(struct grid *g, const struct grid_column *columns, size_t n_columns);
void grid_clear(struct grid *g);

/* The next cell; the whole text is cleaned and cut to GRID_CELL_MAX. An empty one shows "-". */
void grid_add(struct grid *g, enum term_color color, const char *fmt, ...) RM_PRINTF(3, 4);

/* Prints titles and rows; as CSV when t->csv: what is "-" is an empty field there, and text that a
 * spreadsheet could take for a formula begins with an apostrophe. Returns 0 or the first error
 * since grid_init. */
RM_MUST_USE int grid_print(const struct grid *g, const struct term *t, bool wide);

#endif
