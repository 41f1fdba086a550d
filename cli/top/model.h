/* SPDX-License-Identifier: MIT */
/* cli/top/model.h - what `rolemesh top` shows and what a key does to it, without a terminal: the
 * last snapshot, three tables with their order and selection, one thing looked at closely, a
 * question. A selection stays with its node, role or request while rows come, go and change places.
 * screen.c draws it; top.c feeds it and does what a key asks for. Pure but for memory; one thread.
 */
#ifndef RM_TOP_MODEL_H
#define RM_TOP_MODEL_H

#include <stdint.h>

#include "cli/top/rows.h"
#include "proto/base/buf.h"

enum top_view { TOP_LIST, TOP_DETAIL, TOP_HELP };

/* Keys without a character of their own; all others are the character's code. */
enum top_key {
    TOP_KEY_UP = 0x110000,
    TOP_KEY_DOWN,
    TOP_KEY_LEFT,
    TOP_KEY_RIGHT,
    TOP_KEY_PAGE_UP,
    TOP_KEY_PAGE_DOWN,
    TOP_KEY_HOME,
    TOP_KEY_END,
    TOP_KEY_BACK_TAB,
    TOP_KEY_ERASE,
    TOP_KEY_OTHER
};
enum { TOP_KEY_TAB = '\t', TOP_KEY_ENTER = '\n', TOP_KEY_ESCAPE = 0x1b };

/* What the caller is to do after a key; target() names the request. */
enum top_wish { TOP_NOTHING, TOP_QUIT, TOP_ASK_WHY, TOP_CANCEL };

enum { TOP_FILTER_MAX = 48, TOP_NOTE_MAX = 200, TOP_LINES_MAX = 2000, TOP_LINE_MAX = 400 };

struct top_table {
    struct top_row *rows; /* filtered and in order */
    size_t n, n_all;      /* n_all: before the filter */
    size_t column;        /* that sorts */
    bool falling;
    char chosen[TOP_KEY_MAX]; /* key of the selected row; "": none yet */
    size_t at, first;         /* its place; the first row that is seen */
    size_t seen;              /* how many rows the screen had room for */
};

/* Text of the close look, one line each. */
struct top_lines {
    char (*v)[TOP_LINE_MAX];
    size_t n;
};
void top_lines_add(struct top_lines *l, const char *fmt, ...) RM_PRINTF(2, 3);
void top_lines_clear(struct top_lines *l);

struct top_model {
    char gateway[120];
    json_t *snapshot; /* NULL: none yet */
    bool connected;
    char trouble[TOP_NOTE_MAX]; /* why not connected */
    uint64_t snapshot_ms;       /* when it came; rm_now_ms */
    char event[TOP_NOTE_MAX];   /* the last thing that happened; "": nothing */
    enum top_tone event_tone;
    struct top_rates *rates;
    struct top_table table[TOP_PANES];
    enum top_pane focus;
    enum top_view view;
    char filter[TOP_FILTER_MAX];
    bool typing, with_over, held; /* held: the picture stands still */
    char target[TOP_KEY_MAX];     /* what is looked at or to be cancelled */
    enum top_pane target_pane;
    bool asks_cancel;
    json_t *why; /* of target, a request; NULL: not come yet */
    struct top_lines lines;
    size_t line_first, line_seen;
    char note[TOP_NOTE_MAX]; /* how the last action went; shown until the next key */
};

/* Returns 0 or UV_ENOMEM. */
RM_MUST_USE int top_model_init(struct top_model *m, const char *gateway);
void top_model_clear(struct top_model *m);

/* A snapshot came: data of the stream's event. Returns 0, or RM_ERR_JSON: it is none, and the one
 * before stays. */
int top_model_snapshot(struct top_model *m, struct rm_slice json, uint64_t now_ms);
void top_model_event(struct top_model *m, struct rm_slice json); /* an event of the stream */
void top_model_lost(struct top_model *m, const char *why);       /* the stream is away */
void top_model_why(struct top_model *m, const char *id, json_t *why, const char *trouble); /* takes
                                                                                              why */
void top_model_note(struct top_model *m, const char *fmt, ...) RM_PRINTF(2, 3);

enum top_wish top_model_key(struct top_model *m, int key);

/* The screen has room for so many rows of a pane, or lines: the selection is kept in sight. */
void top_model_fit(struct top_model *m, enum top_pane pane, size_t rows);
void top_model_fit_lines(struct top_model *m, size_t lines);

/* detail.c: the close look as lines, made anew from the snapshot and what came of `why`. */
void top_detail_make(struct top_model *m);

#endif
