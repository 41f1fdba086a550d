/* SPDX-License-Identifier: MIT */
/* worker/core/template.h - chat messages to prompt text, by the model's own template.
 * Two ways. "jinja": the template in the GGUF run by llama-common through template_shim.cpp (only
 * in builds that have it; every exception is caught there). "builtin": libllama's own list of known
 * templates (llama_chat_apply_template), which knows neither tools nor arguments; a model without a
 * template, or with one of no known kind, is addressed in ChatML. Rendering is for pool threads:
 * several at once on one template; opening and closing is for one thread. */
#ifndef RM_CORE_TEMPLATE_H
#define RM_CORE_TEMPLATE_H

#include "proto/base/buf.h"
#include "worker/core/request.h"

struct llama_model;
struct chat_template;

/* allow_jinja false: always builtin (for tests). A Jinja template that cannot be compiled falls
 * back to builtin; chat_template_why says so. The model must outlive the template. Returns 0 or
 * UV_ENOMEM. */
RM_MUST_USE int chat_template_open(const struct llama_model *model, bool allow_jinja,
                                   struct chat_template **out);
void chat_template_close(struct chat_template *t); /* NULL is fine */

const char *chat_template_kind(const struct chat_template *t); /* "jinja" or "builtin" */
const char *chat_template_why(const struct chat_template *t);  /* why not jinja; "" when it is */

/* Appends the prompt of a chat request, the opening of the assistant's turn included, to `out`.
 * Returns 0, RM_ERR_FIELD (the template refused the messages; fault says so), RM_ERR_TOO_BIG
 * (out->max) or UV_ENOMEM. */
RM_MUST_USE int chat_template_render(const struct chat_template *t, const struct request *q,
                                     struct rm_buf *out, struct request_fault *fault);

#endif
