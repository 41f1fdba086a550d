/* SPDX-License-Identifier: MIT */
/* gateway/ops/read.h - a page of a source's array, as the query of a request asks for it. */
#ifndef RM_OPS_READ_H
#define RM_OPS_READ_H

#include "gateway/ops/list.h"
#include "gateway/ops/ops_impl.h"

/* What a page borrows besides the query. */
struct page_texts {
    char since[25], until[25], name[QUERY_MAX][40];
};

/* The page that c's query asks for, whose texts it borrows; names of filters are names of members.
 * Returns 0 or an error with maybe a text in c->query.why. */
int ops_read_page(struct ops_call *c, struct list_page *page, struct page_texts *texts);

/* Appends "NAME":[...],"next":... to c->out. page: name, key and time are set; the rest comes from
 * the query. source: writes the whole array. Returns 0 or an error with maybe a text in
 * c->query.why. */
int ops_write_page(struct ops_call *c, struct list_page *page,
                   int (*source)(void *arg, struct rm_buf *out), void *arg);

#endif
