/* SPDX-License-Identifier: MIT */
/* worker/core/answer.h - one POST from its head to its last byte: body, preparation on a pool
 * thread, jobs of the decoder, answer (whole or as server-sent events). api.c routes requests here,
 * decoder.h does the work. Loop thread only; the pool threads see nothing but prepare.h.
 *
 *   AN_BODY ─► AN_WAIT ─► AN_PREPARE ─► AN_RUN ─► AN_SEND ─► (on_done) freed
 *      every refusal is decided before AN_RUN, or by a job's failure before its first text
 *
 * Bounds: ANSWERS_MAX requests, BODIES_MAX bytes of bodies, PREPARE_AT_ONCE on pool threads, 256
 * KiB of text held for a client that does not read (beyond: its jobs are cancelled and it is cut).
 * A client that goes away cancels its jobs at once, in every state. */
#ifndef RM_CORE_ANSWER_H
#define RM_CORE_ANSWER_H

#include <uv.h>

#include "proto/base/buf.h"
#include "worker/core/prepare.h"

struct answers;
struct decoder;
struct http_req;

enum {
    ANSWERS_MAX = 1024,
    PREPARE_AT_ONCE = 2,
    ANSWER_HELD_MAX = 256 * 1024,
    ANSWER_TEXT_MAX = 16 * 1024 * 1024, /* bytes of one choice that is not streamed */
    ANSWER_CHAT_BODY = 64 * 1024 * 1024,
    ANSWER_OTHER_BODY = 4 * 1024 * 1024,
};
#define ANSWER_BODIES_MAX ((uint64_t)256 * 1024 * 1024)

enum answer_kind {
    ANSWER_CHAT,
    ANSWER_COMPLETION,
    ANSWER_TOKENIZE,
    ANSWER_DETOKENIZE,
    ANSWER_APPLY,
};

struct answers_conf {
    uv_loop_t *loop;
    struct decoder *decoder;
    const struct prepare_env *env;
    const char *model; /* named in answers to requests that name none */
};

/* Borrows everything in conf until answers_free. Returns 0 or UV_ENOMEM. */
RM_MUST_USE int answers_new(const struct answers_conf *conf, struct answers **out);

/* Takes a request inside the server's on_request. */
void answers_take(struct answers *a, enum answer_kind kind, struct http_req *q);

/* Fetches the decoder's events and sends what they bring; to be called after each wake. */
void answers_poll(struct answers *a);

/* Decodes one token, so that lazy set-up is over before the first request; done is called from a
 * later answers_poll with 0 or the job's error. Returns 0 or as decoder_submit. */
RM_MUST_USE int answers_warm(struct answers *a, void (*done)(void *arg, int err), void *arg);

/* Cancels every job. The server is closed next; then the loop runs until nothing is left. */
void answers_stop(struct answers *a);

size_t answers_count(const struct answers *a); /* requests in any state */

void answers_free(struct answers *a); /* none may be left; NULL is fine */

/* Answers a request with OpenAI's error object. why, param: as openai_put_error. For api.c too. */
void answer_refuse(struct http_req *q, int err, const char *why, const char *param);

#endif
