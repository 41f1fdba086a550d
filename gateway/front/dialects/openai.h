/* SPDX-License-Identifier: MIT */
/* gateway/front/dialects/openai.h - OpenAI's chat and completions, which is also what workers
 * speak: bodies and answers pass with a few cuts and replacements, never rebuilt.
 * openai.c reads requests and words errors, openai_answer.c filters what comes back. Pure. */
#ifndef RM_FRONT_OPENAI_H
#define RM_FRONT_OPENAI_H

#include "gateway/front/dialects/dialect.h"

extern const struct dialect openai_chat, openai_completions;

/* {"error":{"message","type","param","code"}}; what every endpoint without an own dialect answers.
 */
int openai_error_body(const struct fault *f, struct rm_buf *out);
int openai_error_event(const struct fault *f,
                       struct rm_buf *out); /* "data: {...}" and a blank line */

/* openai_answer.c; see struct dialect. */
struct dialect_stream *openai_stream_open(const struct dialect_ask *ask, struct rm_slice model);
void openai_stream_close(struct dialect_stream *s);
const struct dialect_progress *openai_stream_progress(const struct dialect_stream *s);
int openai_stream_feed(struct dialect_stream *s, const char *bytes, size_t n,
                       struct rm_skim *scratch, const struct dialect_sink *sink);
int openai_whole(const struct dialect_ask *ask, struct rm_slice body, struct rm_slice model,
                 struct rm_skim *scratch, struct rm_slice *pieces, size_t *n_pieces,
                 struct route_usage *usage);

#endif
