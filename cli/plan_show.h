/* SPDX-License-Identifier: MIT */
/* cli/plan_show.h - an answer of `rolemesh plan`, for people and as JSON. */
#ifndef RM_CLI_PLAN_SHOW_H
#define RM_CLI_PLAN_SHOW_H

#include "proto/plan/plan_answer.h"

void plan_show_text(const struct plan_answer *a); /* on stdout */
RM_MUST_USE int
plan_show_json(const struct plan_answer *a); /* one line; RM_ERR_TOO_BIG, UV_ENOMEM */

#endif
