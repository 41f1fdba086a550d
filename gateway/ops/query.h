/* SPDX-License-Identifier: MIT */
/* gateway/ops/query.h - the query and the variable segments of an ops request, decoded.
 * A parameter that the route does not take, one that comes twice and one that is damaged are
 * mistakes of the asker, told by name. Pure. */
#ifndef RM_OPS_QUERY_H
#define RM_OPS_QUERY_H

#include "proto/base/buf.h"

/* A value is at most QUERY_TEXT_MAX characters, of at most four bytes each. */
enum { QUERY_MAX = 10, QUERY_TEXT_MAX = 159, QUERY_VALUE_MAX = 4 * QUERY_TEXT_MAX + 1 };
enum { QUERY_WHY_MAX = 1000 };

struct query {
    const char *const *names; /* as query_read got them */
    bool has[QUERY_MAX];
    char value[QUERY_MAX][QUERY_VALUE_MAX];
    char why[QUERY_WHY_MAX]; /* after an error: what is wrong, for people */
};

/* Reads what follows '?'. names: NULL-terminated, at most QUERY_MAX, borrowed; "name", or
 * "name=word|word" for one that takes these words only. Returns 0, or RM_ERR_FIELD with q->why. */
int query_read(struct query *q, const char *const *names, struct rm_slice text);

/* The value, NULL: not given, or not a parameter of the route. */
const char *query_get(const struct query *q, const char *name);

/* A number between min and max; `none` when it is not given. Returns as query_read. */
int query_number(struct query *q, const char *name, uint64_t min, uint64_t max, uint64_t none,
                 uint64_t *out);

/* Which of `words`, those that query_read let through for the name, NULL-terminated: the index. -1:
 * not given. */
int query_word(const struct query *q, const char *name, const char *const *words);

/* Percent-decodes a path segment or value into out (NUL-terminated). False: damaged, too long, or a
 * control byte in it. plus: '+' is a blank. */
bool query_decode(struct rm_slice text, bool plus, char *out, size_t size);

#endif
