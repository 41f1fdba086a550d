/* SPDX-License-Identifier: MIT */
/* gateway/ops/list.h - lists of the ops API: a page of a JSON array, filtered by members.
 * The arrays are texts that this process has just written (proto/base/json_write.h), so that they
 * are well formed; they are cut at their elements without building a tree. Pure. */
#ifndef RM_OPS_LIST_H
#define RM_OPS_LIST_H

#include "proto/base/buf.h"

enum { LIST_FILTERS_MAX = 6, LIST_LIMIT_MAX = 500, LIST_LIMIT = 100, LIST_KEY_MAX = 200 };

/* Takes the next element off *array, a text "[...]" or what an earlier call left of it. */
bool list_next(struct rm_slice *array, struct rm_slice *item);

/* The raw value of an object's own member. False: it has none. */
bool list_member(struct rm_slice object, const char *name, struct rm_slice *value);

/* Is the member that text, or an array that holds it? */
bool list_member_is(struct rm_slice object, const char *name, const char *text);

struct list_filter {
    const char *member, *value;
};

struct list_page {
    const char *name;   /* of the list: "nodes" */
    const char *key[2]; /* members that name an element; the second one may be NULL */
    bool by_number;     /* the key is a number that falls along the list (newest first): a page
                           goes on below the cursor, also when its element has left */
    bool modes;         /* the parameter `mode` looks into the member `modes` */
    const char *time;   /* member that since and until are compared with; NULL: none */
    const char *since, *until; /* as list_time makes them; NULL: no bound. since is in, until out */
    const char *cursor;        /* NULL: from the beginning */
    uint32_t limit;            /* 1..LIST_LIMIT_MAX */
    uint32_t n_filters;
    struct list_filter filter[LIST_FILTERS_MAX];
};

/* Is the element one of those that the filters and the time let through? */
bool list_passes(const struct list_page *page, struct rm_slice item);

/* Appends "NAME":[...],"next":"..." (null at the end). Returns as rm_buf_put, or RM_ERR_STATE: the
 * cursor is of no element now. */
int list_write(const struct list_page *page, struct rm_slice array, struct rm_buf *out);

/* An RFC 3339 time ("2026-05-04T12:00:00Z", "2026-05-04T14:00:00.5+02:00") in the form that our
 * answers have, UTC with milliseconds, so that texts compare as times do. False: it is none. */
bool list_time(const char *text, char out[25]);

#endif
