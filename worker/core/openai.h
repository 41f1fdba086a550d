/* SPDX-License-Identifier: MIT */
/* worker/core/openai.h - OpenAI's answer objects as JSON text, members in the order that clients
 * know: chat.completion, chat.completion.chunk, text_completion, error, model list; and the extras
 * of llama.cpp's server: timings, prompt_progress. Pure: what is said comes in, bytes go out into
 * a bounded buffer. A stream is
 *   role chunk, text chunks, finish chunk, usage chunk (when asked for), "data: [DONE]"
 * and all chunks of one answer carry the same id, created and model. All functions return 0,
 * RM_ERR_TOO_BIG or UV_ENOMEM. */
#ifndef RM_CORE_OPENAI_H
#define RM_CORE_OPENAI_H

#include "proto/base/buf.h"
#include "worker/core/decoder.h"

enum {
    OPENAI_ID = 40,             /* bytes of an answer's id with its NUL */
    OPENAI_TEXT_MAX = 8 * 1024, /* bytes of text in one chunk: escaped it stays below the 64 KiB
                                   that some clients read as one line at most */
};

/* What all objects of one answer share. Borrowed. */
struct openai_head {
    bool chat;         /* else completions */
    const char *id;    /* "chatcmpl-..." or "cmpl-..." */
    int64_t created;   /* seconds since 1970 */
    const char *model; /* as the request named it */
};

/* Fills id from 16 random bytes. */
void openai_id(bool chat, const unsigned char random[16], char id[OPENAI_ID]);

/* Token counts and times of one job, or of all jobs of an answer (counts added, times the longest).
 */
struct openai_counts {
    uint64_t prompt, cached, generated; /* tokens */
    double prompt_ms, predicted_ms;
};
void openai_counts_of(const struct job_event *e, struct openai_counts *out);

/* One choice of a whole answer. */
struct openai_choice {
    struct rm_slice text;
    enum job_finish finish;
};

/* The whole answer of a request that does not stream. prompt tokens of `usage` are counted once per
 * prompt by the caller. */
int openai_put_answer(struct rm_buf *out, const struct openai_head *h,
                      const struct openai_choice *choices, size_t n,
                      const struct openai_counts *usage, const struct openai_counts *timings);

/* Frames of a stream: "data: {...}\n\n". timings: NULL for none. */
int openai_put_role(struct rm_buf *out, const struct openai_head *h, size_t index);
int openai_put_text(struct rm_buf *out, const struct openai_head *h, size_t index,
                    struct rm_slice text, const struct openai_counts *timings);
int openai_put_finish(struct rm_buf *out, const struct openai_head *h, size_t index,
                      enum job_finish finish, const struct openai_counts *timings);
int openai_put_usage(struct rm_buf *out, const struct openai_head *h,
                     const struct openai_counts *usage, const struct openai_counts *timings);
int openai_put_done(struct rm_buf *out);

/* llama.cpp's prompt_progress: tokens of the prompt, of them from a cache, in the cache by now
 * (cached ones included); milliseconds since the job got its slot. */
struct openai_progress {
    uint32_t total, cache, processed;
    double time_ms;
};
int openai_put_progress(struct rm_buf *out, const struct openai_head *h, size_t index,
                        const struct openai_progress *p);

/* {"error":{message,type,param,code}} of an RM_ERR_ code; why, param: NULL or "" for the table's
 * text and null. As a frame of a stream when sse. */
int openai_put_error(struct rm_buf *out, int err, const char *why, const char *param, bool sse);

/* `type` of an error body, from its HTTP status. */
const char *openai_error_type(int status);

struct openai_model {
    const char *id;
    int64_t created;
    uint32_t context, context_train;
    uint64_t params, bytes;
};
/* GET /v1/models: the list with the one model. */
int openai_put_models(struct rm_buf *out, const struct openai_model *m);
/* GET /v1/models/ID */
int openai_put_model(struct rm_buf *out, const struct openai_model *m);

#endif
