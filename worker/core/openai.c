/* SPDX-License-Identifier: MIT */
#include "worker/core/openai.h"

#include <stdio.h>
#include <string.h>

#include "proto/base/json_write.h"

/* Names this build in `system_fingerprint`: answers of two builds may differ for one seed. */
#ifdef LLAMA_BUILT_VERSION
#define OPENAI_FINGERPRINT "rolemesh-" RM_VERSION "-llama-" LLAMA_BUILT_VERSION
#else
#define OPENAI_FINGERPRINT "rolemesh-" RM_VERSION
#endif

void openai_id(bool chat, const unsigned char random[16], char id[OPENAI_ID])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    size_t n = (size_t)snprintf(id, OPENAI_ID, "%s", chat ? "chatcmpl-" : "cmpl-");

    for (size_t i = 0; i < 16; i++)
        id[n++] = letters[random[i] & 31];
    id[n] = '\0';
}

void openai_counts_of(const struct job_event *e, struct openai_counts *out)
{
    *out = (struct openai_counts){.prompt = e->prompt,
                                  .cached = e->cached,
                                  .generated = e->generated,
                                  .prompt_ms = e->prompt_ms,
                                  .predicted_ms = e->predicted_ms};
}

static const char *finish_name(enum job_finish f)
{
    return f == JOB_FINISH_LENGTH ? "length" : "stop";
}

/* ---- parts that several objects have ---- */

static void put_head(struct rm_jw *w, const struct openai_head *h, bool chunk)
{
    const char *object = !h->chat ? "text_completion"
                         : chunk  ? "chat.completion.chunk"
                                  : "chat.completion";

    rm_jw_obj(w, NULL);
    rm_jw_str(w, "id", h->id);
    rm_jw_str(w, "object", object);
    rm_jw_i64(w, "created", h->created);
    rm_jw_str(w, "model", h->model);
}

static void put_usage(struct rm_jw *w, const struct openai_counts *c)
{
    rm_jw_obj(w, "usage");
    rm_jw_u64(w, "prompt_tokens", c->prompt);
    rm_jw_u64(w, "completion_tokens", c->generated);
    rm_jw_u64(w, "total_tokens", c->prompt + c->generated);
    rm_jw_obj(w, "prompt_tokens_details");
    rm_jw_u64(w, "cached_tokens", c->cached);
    rm_jw_end(w);
    rm_jw_obj(w, "completion_tokens_details");
    rm_jw_u64(w, "reasoning_tokens", 0);
    rm_jw_end(w);
    rm_jw_end(w);
}

static double per(double amount, double of)
{
    return of > 0 ? amount / of : 0;
}

static void put_timings(struct rm_jw *w, const struct openai_counts *c)
{
    double read, made;

    if (c == NULL)
        return;
    read = (double)(c->prompt - c->cached);
    made = (double)c->generated;
    rm_jw_obj(w, "timings");
    rm_jw_u64(w, "cache_n", c->cached);
    rm_jw_u64(w, "prompt_n", c->prompt - c->cached);
    rm_jw_dbl(w, "prompt_ms", c->prompt_ms);
    rm_jw_dbl(w, "prompt_per_token_ms", per(c->prompt_ms, read));
    rm_jw_dbl(w, "prompt_per_second", per(1000 * read, c->prompt_ms));
    rm_jw_u64(w, "predicted_n", c->generated);
    rm_jw_dbl(w, "predicted_ms", c->predicted_ms);
    rm_jw_dbl(w, "predicted_per_token_ms", per(c->predicted_ms, made));
    rm_jw_dbl(w, "predicted_per_second", per(1000 * made, c->predicted_ms));
    rm_jw_end(w);
}

/* A frame is begun and ended around one object. */
static int frame_open(struct rm_buf *out)
{
    return rm_buf_puts(out, "data: ");
}

static int frame_close(struct rm_jw *w)
{
    int r;

    rm_jw_str(w, "system_fingerprint", OPENAI_FINGERPRINT);
    rm_jw_end(w);
    if ((r = rm_jw_done(w)) < 0)
        return r;
    return rm_buf_puts(w->out, "\n\n");
}

/* One choice of a chunk: {index, delta|text, logprobs, finish_reason}. role, text: may be absent.
 */
static void put_chunk_choice(struct rm_jw *w, const struct openai_head *h, size_t index,
                             const char *role, const struct rm_slice *text, const char *finish)
{
    rm_jw_arr(w, "choices");
    rm_jw_obj(w, NULL);
    rm_jw_u64(w, "index", index);
    if (h->chat) {
        rm_jw_obj(w, "delta");
        if (role != NULL)
            rm_jw_str(w, "role", role);
        if (text != NULL)
            rm_jw_slice(w, "content", *text);
        rm_jw_end(w);
    } else {
        rm_jw_slice(w, "text", text != NULL ? *text : RM_LIT(""));
    }
    rm_jw_null(w, "logprobs");
    rm_jw_str(w, "finish_reason", finish);
    rm_jw_end(w);
    rm_jw_end(w);
}

static int put_chunk(struct rm_buf *out, const struct openai_head *h, size_t index,
                     const char *role, const struct rm_slice *text, const char *finish,
                     const struct openai_counts *timings)
{
    struct rm_jw w;
    int r = frame_open(out);

    if (r < 0)
        return r;
    w = rm_jw_to(out);
    put_head(&w, h, true);
    put_chunk_choice(&w, h, index, role, text, finish);
    put_timings(&w, timings);
    return frame_close(&w);
}

/* ---- a stream's frames ---- */

int openai_put_role(struct rm_buf *out, const struct openai_head *h, size_t index)
{
    return h->chat ? put_chunk(out, h, index, "assistant", &RM_LIT(""), NULL, NULL) : 0;
}

/* How much of a text goes into one chunk: whole characters. */
static size_t text_part(struct rm_slice text)
{
    size_t n = text.n < OPENAI_TEXT_MAX ? text.n : OPENAI_TEXT_MAX;

    while (n < text.n && n > OPENAI_TEXT_MAX - 4 && ((unsigned char)text.p[n] & 0xC0) == 0x80)
        n--;
    return n;
}

int openai_put_text(struct rm_buf *out, const struct openai_head *h, size_t index,
                    struct rm_slice text, const struct openai_counts *timings)
{
    int r = 0;

    while (text.n > 0 && r == 0) {
        struct rm_slice part = {text.p, text_part(text)};

        r = put_chunk(out, h, index, NULL, &part, NULL, timings);
        text.p += part.n;
        text.n -= part.n;
    }
    return r;
}

int openai_put_finish(struct rm_buf *out, const struct openai_head *h, size_t index,
                      enum job_finish finish, const struct openai_counts *timings)
{
    return put_chunk(out, h, index, NULL, NULL, finish_name(finish), timings);
}

int openai_put_usage(struct rm_buf *out, const struct openai_head *h,
                     const struct openai_counts *usage, const struct openai_counts *timings)
{
    struct rm_jw w;
    int r = frame_open(out);

    if (r < 0)
        return r;
    w = rm_jw_to(out);
    put_head(&w, h, true);
    rm_jw_arr(&w, "choices");
    rm_jw_end(&w);
    put_usage(&w, usage);
    put_timings(&w, timings);
    return frame_close(&w);
}

int openai_put_done(struct rm_buf *out)
{
    return rm_buf_puts(out, "data: [DONE]\n\n");
}

int openai_put_progress(struct rm_buf *out, const struct openai_head *h, size_t index,
                        const struct openai_progress *p)
{
    struct rm_jw w;
    int r = frame_open(out);

    if (r < 0)
        return r;
    w = rm_jw_to(out);
    put_head(&w, h, true);
    put_chunk_choice(&w, h, index, NULL, NULL, NULL);
    rm_jw_obj(&w, "prompt_progress");
    rm_jw_u64(&w, "total", p->total);
    rm_jw_u64(&w, "cache", p->cache);
    rm_jw_u64(&w, "processed", p->processed);
    rm_jw_u64(&w, "time_ms", p->time_ms > 0 ? (uint64_t)p->time_ms : 0);
    rm_jw_end(&w);
    return frame_close(&w);
}

/* ---- whole objects ---- */

static void put_choice(struct rm_jw *w, bool chat, size_t index, const struct openai_choice *c)
{
    rm_jw_obj(w, NULL);
    rm_jw_u64(w, "index", index);
    if (chat) {
        rm_jw_obj(w, "message");
        rm_jw_str(w, "role", "assistant");
        rm_jw_slice(w, "content", c->text);
        rm_jw_end(w);
    } else {
        rm_jw_slice(w, "text", c->text);
    }
    rm_jw_null(w, "logprobs");
    rm_jw_str(w, "finish_reason", finish_name(c->finish));
    rm_jw_end(w);
}

int openai_put_answer(struct rm_buf *out, const struct openai_head *h,
                      const struct openai_choice *choices, size_t n,
                      const struct openai_counts *usage, const struct openai_counts *timings)
{
    struct rm_jw w = rm_jw_to(out);

    put_head(&w, h, false);
    rm_jw_arr(&w, "choices");
    for (size_t i = 0; i < n; i++)
        put_choice(&w, h->chat, i, &choices[i]);
    rm_jw_end(&w);
    put_usage(&w, usage);
    rm_jw_str(&w, "system_fingerprint", OPENAI_FINGERPRINT);
    put_timings(&w, timings);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}

const char *openai_error_type(int status)
{
    if (status == 429)
        return "server_busy";
    return status >= 400 && status < 500 ? "invalid_request_error" : "server_error";
}

int openai_put_error(struct rm_buf *out, int err, const char *why, const char *param, bool sse)
{
    struct rm_jw w;
    int r = sse ? frame_open(out) : 0;

    if (r < 0)
        return r;
    w = rm_jw_to(out);
    rm_jw_obj(&w, NULL);
    rm_jw_obj(&w, "error");
    rm_jw_str(&w, "message", why != NULL && why[0] != '\0' ? why : rm_strerror(err));
    rm_jw_str(&w, "type", openai_error_type(rm_err_status(err)));
    rm_jw_str(&w, "param", param != NULL && param[0] != '\0' ? param : NULL);
    rm_jw_str(&w, "code", rm_err_code(err));
    rm_jw_end(&w);
    rm_jw_end(&w);
    if ((r = rm_jw_done(&w)) < 0 || !sse)
        return r;
    return rm_buf_puts(out, "\n\n");
}

static void put_model(struct rm_jw *w, const struct openai_model *m)
{
    rm_jw_obj(w, NULL);
    rm_jw_str(w, "id", m->id);
    rm_jw_str(w, "object", "model");
    rm_jw_i64(w, "created", m->created);
    rm_jw_str(w, "owned_by", "llamacpp");
    rm_jw_u64(w, "context_length", m->context);
    rm_jw_obj(w, "meta");
    rm_jw_u64(w, "n_ctx", m->context);
    rm_jw_u64(w, "n_ctx_train", m->context_train);
    rm_jw_u64(w, "n_params", m->params);
    rm_jw_u64(w, "size", m->bytes);
    rm_jw_end(w);
    rm_jw_end(w);
}

int openai_put_model(struct rm_buf *out, const struct openai_model *m)
{
    struct rm_jw w = rm_jw_to(out);

    put_model(&w, m);
    return rm_jw_done(&w);
}

int openai_put_models(struct rm_buf *out, const struct openai_model *m)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    rm_jw_str(&w, "object", "list");
    rm_jw_arr(&w, "data");
    put_model(&w, m);
    rm_jw_end(&w);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}
