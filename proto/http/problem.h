/* SPDX-License-Identifier: MIT */
/* proto/http/problem.h - an error of the ops API as RFC 9457 says it (application/problem+json).
 * type is about:blank, so that title is the status' own words; `code`, a member of ours, is what
 * programs compare: the code of proto/base/err.h. Pure. */
#ifndef RM_HTTP_PROBLEM_H
#define RM_HTTP_PROBLEM_H

#include "proto/base/json_write.h"

#define HTTP_PROBLEM_TYPE "application/problem+json"

/* Writes the members type, title, status, detail and code into an open object. err: RM_ERR_* or a
 * libuv code; detail: one line for people, NULL: err's own. */
void http_problem_members(struct rm_jw *w, int err, const char *detail);

#endif
