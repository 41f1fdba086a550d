/* SPDX-License-Identifier: MIT */
/* cli/forecast_show.h - an answer of `rolemesh forecast`, for people and as JSON, and what follows
 * from its numbers: the largest context that there is room for. */
#ifndef RM_CLI_FORECAST_SHOW_H
#define RM_CLI_FORECAST_SHOW_H

#include "proto/node/desired.h"

enum { FORECAST_CONTEXTS_MAX = 24, FORECAST_WHY = 512 };

/* One machine's answer. */
struct forecast_view {
    char node[NODE_NAME_MAX]; /* "": this machine */
    char address[300];        /* "": this machine */
    bool has_memory;
    uint64_t budget;                                 /* what hosts may use there in all */
    uint64_t room;                                   /* of it, what nothing uses yet */
    struct node_forecast row[FORECAST_CONTEXTS_MAX]; /* one for each context, ascending */
    size_t n;
    char error[FORECAST_WHY]; /* "" or why there are no rows */
    char note[FORECAST_WHY];  /* "" or what should be known about them */
};

struct forecast_answer {
    const char *model; /* as asked */
    uint32_t slots;
    bool q8_0;
    struct forecast_view *v; /* n of them */
    size_t n;
};

/* The largest context, in tokens, whose forecast is at most `bytes`; from the costs where they are
 * known, else the largest of the rows. At most what the model was trained for. 0: none. Pure. */
uint32_t forecast_largest_context(const struct forecast_answer *a, const struct forecast_view *v,
                                  uint64_t bytes);

void forecast_show_text(const struct forecast_answer *a);            /* on stdout */
RM_MUST_USE int forecast_show_json(const struct forecast_answer *a); /* the same; UV_ENOMEM, .. */

#endif
