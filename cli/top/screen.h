/* SPDX-License-Identifier: MIT */
/* cli/top/screen.h - the picture of a model for a screen of any size, as pieces of text at places.
 * No piece reaches beyond the screen, later ones lie over earlier ones, and every text has been
 * through text_fit. draw.c puts them on a terminal, the tests into a grid. Pure. */
#ifndef RM_TOP_SCREEN_H
#define RM_TOP_SCREEN_H

#include "cli/top/model.h"

struct top_canvas {
    unsigned width, height;
    /* A piece at line y, column x. text: printable, fits. */
    void (*put)(void *arg, unsigned y, unsigned x, enum top_tone tone, const char *text);
    void *arg;
};

/* Draws all of it; what is not put is blank. m changes only in what is in sight. */
void top_screen_draw(struct top_model *m, const struct top_canvas *c, uint64_t now_ms);

/* How a pane's columns share so many columns of the screen: width[i] 0: left out. Pure. */
void top_screen_share(enum top_pane pane, unsigned width, unsigned out[TOP_COLUMNS_MAX]);

#endif
