/* SPDX-License-Identifier: MIT */
/* worker/core/job.c - see job.h. */
#include "job.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "llama.h"
#include "worker/core/mailbox.h"
#include "worker/core/shim.h"

enum { PIECE_FIRST = 256, PIECE_MAX = 1 << 16 };

static int check_spec(const struct job_spec *spec, uint32_t context, int32_t n_vocab)
{
    if (spec->n_tokens == 0 || spec->n_stops > JOB_STOPS_MAX)
        return RM_ERR_FIELD;
    if (spec->n_tokens >= context)
        return RM_ERR_CONTEXT;
    for (size_t i = 0; i < spec->n_tokens; i++) {
        if (spec->tokens[i] < 0 || spec->tokens[i] >= n_vocab)
            return RM_ERR_FIELD;
    }
    for (size_t i = 0; i < spec->n_stops; i++) {
        size_t n = strnlen(spec->stops[i], JOB_STOP_BYTES_MAX + 1);

        if (n == 0 || n > JOB_STOP_BYTES_MAX)
            return RM_ERR_FIELD;
    }
    return sampling_check(&spec->sampling, n_vocab);
}

int job_new(const struct job_spec *spec, uint32_t context, int32_t n_vocab, struct job **out)
{
    int r = check_spec(spec, context, n_vocab);
    uint32_t room;
    struct job *j;

    *out = NULL;
    if (r < 0)
        return r;
    if ((j = calloc(1, sizeof(*j))) == NULL)
        return UV_ENOMEM;
    room = context - (uint32_t)spec->n_tokens;
    j->n_prompt = j->n_tokens = (uint32_t)spec->n_tokens;
    j->max_tokens = spec->max_tokens != 0 && spec->max_tokens < room ? spec->max_tokens : room;
    j->reuse = spec->cache_prompt;
    j->progress = spec->progress;
    rm_buf_init(&j->out, JOB_TEXT_MAX);
    j->tokens = calloc((size_t)j->n_prompt + j->max_tokens, sizeof(*j->tokens));
    j->farewell = mail_event_new(0);
    r = UV_ENOMEM;
    if (j->tokens == NULL || j->farewell == NULL ||
        (r = textout_init(&j->text, spec->stops, spec->n_stops)) < 0 ||
        (r = sampling_init(&j->sampling, &spec->sampling, n_vocab, j->max_tokens)) < 0) {
        job_free(j);
        return r;
    }
    memcpy(j->tokens, spec->tokens, spec->n_tokens * sizeof(*j->tokens));
    *out = j;
    return 0;
}

void job_free(struct job *j)
{
    if (j == NULL)
        return;
    sampling_clear(&j->sampling);
    textout_clear(&j->text);
    rm_buf_clear(&j->out);
    free(j->farewell);
    free(j->tokens);
    free(j);
}

/* The token's bytes into the stop-string filter. */
static int push_piece(struct job *j, const struct llama_vocab *vocab, int32_t token)
{
    char small[PIECE_FIRST], *big = NULL;
    int n = shim_piece(vocab, token, small, sizeof(small)), r;

    if (n == SHIM_THREW)
        return RM_ERR_ENGINE;
    if (n >= 0)
        return textout_push(&j->text, small, (size_t)n, &j->out);
    if (-n > PIECE_MAX) /* n is minus the length */
        return RM_ERR_TOO_BIG;
    if ((big = malloc((size_t)-n)) == NULL)
        return UV_ENOMEM;
    n = shim_piece(vocab, token, big, -n);
    r = n >= 0 ? textout_push(&j->text, big, (size_t)n, &j->out) : RM_ERR_ENGINE;
    free(big);
    return r;
}

int job_take_token(struct job *j, const struct llama_vocab *vocab, int32_t token)
{
    int end = JOB_GOES_ON, r = 0;

    j->generated++;
    if (llama_vocab_is_eog(vocab, token)) {
        end = JOB_ENDS_STOP;
    } else {
        j->tokens[j->n_tokens++] = token;
        r = push_piece(j, vocab, token);
        if (j->text.stopped >= 0)
            end = JOB_ENDS_STOP;
        else if (j->generated == j->max_tokens)
            end = JOB_ENDS_LENGTH;
    }
    if (r == 0 && end != JOB_GOES_ON)
        r = textout_finish(&j->text, &j->out);
    return r < 0 ? r : end;
}

struct job_event job_event_of(const struct job *j, enum job_event_type type)
{
    uint64_t first = j->first_us != 0 ? j->first_us : j->now_us;

    return (struct job_event){
        .job = j->id,
        .type = type,
        .prompt = j->n_prompt,
        .cached = j->cached,
        .processed = j->processed,
        .generated = j->generated,
        .prompt_ms = j->began_us != 0 ? (double)(first - j->began_us) / 1000.0 : 0.0,
        .predicted_ms = j->first_us != 0 ? (double)(j->now_us - j->first_us) / 1000.0 : 0.0,
    };
}
