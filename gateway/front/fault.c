/* SPDX-License-Identifier: MIT */
/* gateway/front/fault.c - error codes and workers' error bodies to one struct.
 * Neighbours: freq.c and answer.c fill it, dialects/ write it. No state, loop thread. */
#include "gateway/front/fault.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/err.h"
#include "proto/base/json_write.h"

static void fault_advise(struct fault *f)
{
    switch (f->status) {
    case 400:
    case 401:
    case 403:
    case 422:
    case 501:
        f->final = true;
        break;
    case 413:
    case 415:
        f->final = f->close = true;
        break;
    case 429:
    case 503:
    case 504:
        f->retry_after_s = 5;
        break;
    default:
        break;
    }
}

static void fault_fill(struct fault *f, int err, const char *fmt, va_list args)
{
    memset(f, 0, sizeof(*f));
    f->err = err;
    f->status = rm_err_status(err);
    snprintf(f->code, sizeof(f->code), "%s", rm_err_code(err));
    if (fmt != NULL)
        vsnprintf(f->message, sizeof(f->message), fmt, args);
    else
        snprintf(f->message, sizeof(f->message), "%s", rm_strerror(err));
    fault_advise(f);
}

int fault_set(struct fault *f, int err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fault_fill(f, err, fmt, args);
    va_end(args);
    return err;
}

int fault_field(struct fault *f, const char *param, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fault_fill(f, RM_ERR_FIELD, fmt, args);
    va_end(args);
    snprintf(f->param, sizeof(f->param), "%s", param);
    return RM_ERR_FIELD;
}

const char *fault_type(const struct fault *f)
{
    if (f->err == RM_ERR_UPSTREAM_INVALID)
        return "upstream_invalid";
    if (f->err == RM_ERR_UPSTREAM_LOST)
        return "upstream_lost";
    if (f->err == RM_ERR_RATE)
        return "rate_limit_error";
    if (f->status == 502)
        return "upstream_error";
    if (f->status >= 500 || f->status == 429)
        return "server_error";
    return "invalid_request_error";
}

uint32_t fault_retry_after(struct rm_slice value, uint32_t max)
{
    uint64_t s = 0;

    if (value.n == 0)
        return 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return 0; /* a date: not worth a clock */
        s = s * 10 + (uint64_t)(value.p[i] - '0');
        if (s > max)
            s = max;
    }
    return (uint32_t)s;
}

/* ---- a worker's error body ---- */

/* What such a body may say. Slices are raw JSON in the body; empty: absent. */
struct said {
    struct rm_slice message, type, code, param, n_prompt, n_ctx;
};

static struct rm_slice said_member(const struct rm_skim *skim, struct rm_slice text,
                                   const char *name, enum rm_json_type type)
{
    const struct rm_json_member *m = rm_skim_member(skim, text, name);

    return m != NULL && m->type == type ? rm_span_of(text, m->value) : (struct rm_slice){NULL, 0};
}

static void said_from_object(struct said *said, struct rm_slice text, const struct rm_skim *skim)
{
    said->message = said_member(skim, text, "message", RM_JSON_STRING);
    if (said->message.n == 0)
        said->message = said_member(skim, text, "detail", RM_JSON_STRING);
    said->type = said_member(skim, text, "type", RM_JSON_STRING);
    said->code = said_member(skim, text, "code", RM_JSON_STRING);
    said->param = said_member(skim, text, "param", RM_JSON_STRING);
    said->n_prompt = said_member(skim, text, "n_prompt_tokens", RM_JSON_NUMBER);
    said->n_ctx = said_member(skim, text, "n_ctx", RM_JSON_NUMBER);
}

static void said_read(struct said *said, struct rm_slice body, struct rm_skim *skim)
{
    const struct rm_json_member *error;
    struct rm_slice inner;

    memset(said, 0, sizeof(*said));
    if (rm_json_check(body, skim) < 0)
        return;
    error = rm_skim_member(skim, body, "error");
    if (error != NULL && error->type == RM_JSON_STRING) {
        said->message = rm_span_of(body, error->value);
    } else if (error != NULL && error->type == RM_JSON_OBJECT) {
        inner = rm_span_of(body, error->value);
        if (rm_json_check(inner, skim) == 0)
            said_from_object(said, inner, skim);
    } else {
        said_from_object(said, body, skim);
    }
}

/* Unquotes a raw string into a NUL-terminated text of at most cap - 1 bytes, control bytes made
 * blanks, cut at a character. */
static void said_text(struct rm_slice raw, char *out, size_t cap)
{
    struct rm_buf b;
    size_t n = 0;

    rm_buf_init(&b, raw.n);
    if (raw.n > 0 && rm_json_unquote(raw, &b) == 0)
        while (n < b.len) {
            size_t k = rm_utf8_len(b.data + n, b.len - n);

            if (k == 0 || n + k >= cap)
                break;
            memcpy(out + n, b.data + n, k);
            if ((unsigned char)out[n] < ' ')
                out[n] = ' ';
            n += k;
        }
    out[n] = '\0';
    rm_buf_clear(&b);
}

static bool said_context(const struct said *said)
{
    return rm_json_string_eq(said->code, "context_length_exceeded") ||
           rm_json_string_eq(said->type, "exceed_context_size_error");
}

static void fault_context(struct fault *f, const struct said *said)
{
    int64_t n = 0, m = 0;

    fault_set(f, RM_ERR_CONTEXT, NULL);
    if (said->n_prompt.n > 0 && said->n_ctx.n > 0 && rm_json_int(said->n_prompt, &n) == 0 &&
        rm_json_int(said->n_ctx, &m) == 0)
        snprintf(f->message, sizeof(f->message),
                 "This model's maximum context length is %" PRId64
                 " tokens. However, your messages resulted in %" PRId64 " tokens.",
                 m, n);
    else if (said->message.n > 0)
        said_text(said->message, f->message, sizeof(f->message));
    snprintf(f->param, sizeof(f->param), "messages");
}

/* The worker says the request is at fault: its status and its words are kept. */
static void fault_told(struct fault *f, int status, const struct said *said)
{
    int err = status == 413   ? RM_ERR_BODY_TOO_LARGE
              : status == 415 ? RM_ERR_MEDIA_TYPE
              : status == 501 ? RM_ERR_NOT_SUPPORTED
                              : RM_ERR_FIELD;

    fault_set(f, err, NULL);
    f->status = status;
    f->close = false; /* the client's own connection is fine */
    f->final = true;
    if (said->message.n > 0)
        said_text(said->message, f->message, sizeof(f->message));
    if (said->code.n > 2)
        said_text(said->code, f->code, sizeof(f->code));
    if (said->param.n > 2)
        said_text(said->param, f->param, sizeof(f->param));
}

enum fault_advice fault_from_answer(struct fault *f, int status, struct rm_slice body,
                                    struct rm_slice retry_after, struct rm_skim *skim)
{
    enum fault_advice advice = FAULT_RETRY;
    uint32_t wait = fault_retry_after(retry_after, FAULT_RETRY_MAX_S);
    struct said said;

    said_read(&said, body, skim);
    if (said_context(&said)) {
        fault_context(f, &said);
        return FAULT_TELL;
    }
    if (status == 404 && rm_json_string_eq(said.code, "no_host"))
        status = 503; /* the role has just left that worker, which is well */
    switch (status) {
    case 400:
    case 413:
    case 415:
    case 422:
    case 501:
        fault_told(f, status, &said);
        return FAULT_TELL;
    case 429:
        fault_set(f, RM_ERR_QUEUE_FULL, NULL);
        advice = FAULT_BUSY;
        break;
    case 503:
        fault_set(f, RM_ERR_NO_HOST, NULL);
        advice = FAULT_BUSY;
        break;
    case 404:
    case 500:
    case 502:
    case 504:
        fault_set(f, RM_ERR_UPSTREAM, NULL);
        break;
    default:
        fault_set(f, RM_ERR_UPSTREAM, "the worker answered with status %d", status);
        return FAULT_BROKEN;
    }
    if (said.message.n > 2)
        said_text(said.message, f->message, sizeof(f->message));
    if (wait > 0 && advice == FAULT_BUSY)
        f->retry_after_s = wait;
    return advice;
}
