/* SPDX-License-Identifier: MIT */
/* gateway/ops/late.h - an ops request whose answer comes later: from a thread, the history or a
 * worker. Whoever asked may have gone by then. Loop thread. */
#ifndef RM_OPS_LATE_H
#define RM_OPS_LATE_H

#include "gateway/ops/ops_impl.h"

struct late;

/* Accepts the call's request. NULL: no memory, nothing was accepted. To be ended by exactly one of
 * the two below, now or later. */
struct late *late_take(struct ops_call *c);

bool late_is_gone(const struct late *l); /* nobody waits for the answer any more */

/* 200 with that JSON, a newline after it; borrowed for the call. */
void late_answer(struct late *l, struct rm_slice json);

/* An error of the table, with what people read; NULL: the table's text. */
void late_fail(struct late *l, int err, const char *text);

/* Either: err 0 answers, else fails with the table's text. */
void late_end(struct late *l, int err, struct rm_slice json);

#endif
