/* SPDX-License-Identifier: MIT */
/* proto/conf/report.h - the mistakes found in one configuration file.
 * The daemons at start and on reload, and `rolemesh check`, print the same lines from it:
 *
 *   FILE:LINE:COL: error: what; hint
 *   the source line
 *        ^
 *
 * Lines and columns count from 1, columns in characters. At most CONF_MISTAKES_MAX are kept, the
 * others are counted. The source line is cut to a window round the column, bytes that a terminal
 * might act on are replaced, and the values of secret-like keys are masked. One thread at a time.
 */
#ifndef RM_CONF_REPORT_H
#define RM_CONF_REPORT_H

#include <stdbool.h>

#include "proto/base/buf.h"

enum { CONF_MISTAKES_MAX = 20 };

struct rm_jw;

struct conf_at {
    unsigned line, col; /* from 1; 0, 0: the file as a whole */
};

struct conf_mistake {
    struct conf_at at;
    char *what;     /* owned; one line */
    char *hint;     /* owned; one line, or NULL */
    char *source;   /* owned; the line as it may be shown, or NULL */
    unsigned caret; /* characters of source before the caret */
};

struct conf_report {
    char *name;       /* the file as the user named it; owned */
    const char *text; /* its bytes while they are being read, borrowed; else NULL */
    size_t n_text;
    struct conf_mistake mistakes[CONF_MISTAKES_MAX]; /* in the order of the file after sort */
    unsigned n;                                      /* of them in use */
    unsigned total;                                  /* found, kept or not */
    bool no_memory;                                  /* a mistake could not be kept */
    bool keyed; /* set by the caller: the gateway has API keys, so that others may reach it */
};

void conf_report_init(struct conf_report *report);  /* allocates nothing */
void conf_report_clear(struct conf_report *report); /* frees; may be used again; keyed stays */

/* Appends every mistake to `out` in the form above, each line ending with a newline; with a last
 * line "FILE: N more" when not all were kept. Returns 0, RM_ERR_TOO_BIG or UV_ENOMEM. */
int conf_report_text(const struct conf_report *report, struct rm_buf *out);

/* Appends {"file":..,"ok":false,"mistakes":[{"line","column","what","hint"}..],"more":N} as one
 * line of JSON. Returns as above. */
int conf_report_json(const struct conf_report *report, struct rm_buf *out);

/* Appends the first line of one mistake, without its newline and without the source line: what a
 * log gets. i: less than report->n. Returns as above. */
int conf_report_line(const struct conf_report *report, unsigned i, struct rm_buf *out);

/* Writes the members "mistakes" and "more" of the object above into an object that is open. */
void conf_report_write(const struct conf_report *report, struct rm_jw *w);

/* For the readers of this folder. */

/* Names the file and lends its bytes, so that a mistake can show its line. */
void conf_report_begin(struct conf_report *report, const char *name, const char *text,
                       size_t n_text);

/* Sorts by place and takes the loan back. */
void conf_report_end(struct conf_report *report);

/* Notes a mistake. hint: NULL for none. A second one at the same place is not kept: one slip should
 * not be told twice. */
void conf_report_add(struct conf_report *report, struct conf_at at, const char *hint,
                     const char *fmt, ...) RM_PRINTF(4, 5);

/* True for key names whose values must not be shown: key, token, secret, password, credential... */
bool conf_secret_like(struct rm_slice name);

/* The candidate nearest to `text`: edit distance <= 2 or <= a third of its length, whichever is
 * larger, and less than the whole text. NULL: none is near. candidates: n pointers to
 * NUL-terminated names. */
const char *conf_nearest(struct rm_slice text, const char *const *candidates, size_t n);

#endif
