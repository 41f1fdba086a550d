/* SPDX-License-Identifier: MIT */
/* cli/top/rows.h - a snapshot of the gateway (proto/openapi.yaml, Snapshot) as three tables: nodes,
 * roles, requests. One row of columns.c's tables per column; a field that is absent or null is a
 * cell that is not known. Pure. */
#ifndef RM_TOP_ROWS_H
#define RM_TOP_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum top_pane { TOP_NODES, TOP_ROLES, TOP_REQUESTS, TOP_PANES };
enum top_tone {
    TONE_PLAIN,
    TONE_DIM,
    TONE_GOOD,
    TONE_WARN,
    TONE_BAD,
    TONE_TITLE,
    TONE_HEAD,
    TONE_HEAD_SORT,
    TONE_CHOSEN,
    TONE_BAR_HOSTS,
    TONE_BAR_OTHERS,
    TONE_COUNT
};

enum { TOP_COLUMNS_MAX = 12, TOP_CELL_MAX = 96, TOP_KEY_MAX = 160, TOP_ROWS_MAX = 1000 };

struct top_cell {
    bool known;              /* else it is shown as "-" and sorts last */
    double number;           /* what numbers sort by */
    char text[TOP_CELL_MAX]; /* any bytes of others: goes through text_fit */
    enum top_tone tone;
};

/* Parts of a node's memory, each of the whole: 0..1, together at most 1. */
struct top_bar {
    double hosts, others, reserve;
};

struct top_row {
    char key[TOP_KEY_MAX]; /* name or id: what a selection stays with; cut when longer */
    struct top_cell cell[TOP_COLUMNS_MAX];
    struct top_bar bar;
    const json_t *item; /* of the snapshot, borrowed */
};

/* How fast a running request answers, from two snapshots. */
struct top_rates;
struct top_rates *top_rates_new(void); /* NULL: no memory */
void top_rates_free(struct top_rates *r);
/* Takes the requests of one more snapshot; those that it does not name are forgotten. */
void top_rates_look(struct top_rates *r, const json_t *requests);
/* Tokens a second of a request; false: not known (yet). */
bool top_rates_of(const struct top_rates *r, const char *id, double *out);

struct top_column {
    const char *title;
    unsigned width, most;           /* columns at least; what it may grow to */
    bool right, by_number, falling; /* falling: sorted from the largest first at first */
    unsigned rank; /* where there is no room the highest rank goes first; 0 stays */
    void (*fill)(const json_t *item, const struct top_rates *rates, struct top_cell *out);
    bool is_bar; /* drawn from top_row.bar */
    bool tail;   /* when cut, its end is shown: ids that begin alike */
};

/* The columns of a pane; *n: how many. The first one is the name. */
const struct top_column *top_columns(enum top_pane pane, size_t *n);
const char *top_pane_name(enum top_pane pane);

/* The rows of a pane in the snapshot's order. with_over: requests that are over as well. *out: to
 * be freed. Returns how many; 0 also without memory. */
size_t top_rows_make(const json_t *snapshot, enum top_pane pane, const struct top_rates *rates,
                     bool with_over, struct top_row **out);

/* Keeps the rows that have the text in one of their cells or the key (ASCII case ignored). Returns
 * how many. */
size_t top_rows_filter(struct top_row *rows, size_t n, enum top_pane pane, const char *text);

/* Sorts by a column, equal ones by key; what is not known comes last either way. */
void top_rows_sort(struct top_row *rows, size_t n, enum top_pane pane, size_t column, bool falling);

/* ---- small readers of the API's objects; "" and false where there is nothing ---- */
const char *top_str(const json_t *o, const char *name);
bool top_num(const json_t *o, const char *name, double *out);
double top_num0(const json_t *o, const char *name); /* 0 where there is none */
bool top_is(const json_t *o, const char *name);     /* a true */

/* Figures as text, each within 24 bytes. */
enum { TOP_FIGURE = 24 };
const char *top_bytes(double bytes, char out[TOP_FIGURE]); /* "61.2G", "512M", "0B" */
const char *top_time(double ms, char out[TOP_FIGURE]);     /* "87ms", "4.2s", "3m10s", "5h02m" */
const char *top_rate(double per_s, char out[TOP_FIGURE]);  /* "0", "4.7", "132", "12k" */

#endif
