/* SPDX-License-Identifier: MIT */
/* worker/core/sampling.c - see sampling.h. */
#include "sampling.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <uv.h>

#include "llama.h"
#include "worker/core/decoder.h"
#include "worker/core/shim.h"

enum { PENALTY_LAST_MAX = 16384, BIAS_MAX = 4096 };

int sampling_check(const struct job_sampling *s, int32_t n_vocab)
{
    if (!isfinite(s->temperature) || s->temperature > 100.0f)
        return RM_ERR_FIELD;
    if (!(s->top_p > 0.0f && s->top_p <= 1.0f) || !(s->min_p >= 0.0f && s->min_p <= 1.0f))
        return RM_ERR_FIELD;
    if (s->top_k < 0 || !(fabsf(s->presence) <= 100.0f) || !(fabsf(s->frequency) <= 100.0f))
        return RM_ERR_FIELD;
    if (s->n_bias > BIAS_MAX)
        return RM_ERR_FIELD;
    for (size_t i = 0; i < s->n_bias; i++) {
        if (s->bias[i].token < 0 || s->bias[i].token >= n_vocab || isnan(s->bias[i].bias) ||
            s->bias[i].bias == INFINITY)
            return RM_ERR_FIELD;
    }
    return 0;
}

static bool add_bias(struct llama_sampler *chain, const struct job_sampling *want, int32_t n_vocab)
{
    llama_logit_bias *bias = calloc(want->n_bias, sizeof(*bias));
    bool ok;

    if (bias == NULL)
        return false;
    for (size_t i = 0; i < want->n_bias; i++)
        bias[i] = (llama_logit_bias){want->bias[i].token, want->bias[i].bias};
    ok = shim_chain_add(chain, shim_sampler_bias(n_vocab, (int32_t)want->n_bias, bias));
    free(bias);
    return ok;
}

/* The cut-offs and the draw; only what does something is added. */
static bool add_draw(struct llama_sampler *chain, const struct job_sampling *want)
{
    bool ok = true;

    if (want->temperature <= 0.0f)
        return shim_chain_add(chain, shim_sampler_greedy());
    if (want->top_k > 0)
        ok = ok && shim_chain_add(chain, shim_sampler_top_k(want->top_k));
    if (want->top_p < 1.0f)
        ok = ok && shim_chain_add(chain, shim_sampler_top_p(want->top_p));
    if (want->min_p > 0.0f)
        ok = ok && shim_chain_add(chain, shim_sampler_min_p(want->min_p));
    ok = ok && shim_chain_add(chain, shim_sampler_temperature(want->temperature));
    return ok && shim_chain_add(chain, shim_sampler_dist(want->seed));
}

int sampling_init(struct sampling *s, const struct job_sampling *want, int32_t n_vocab,
                  uint32_t max_tokens)
{
    bool penalties = want->presence != 0.0f || want->frequency != 0.0f, ok;
    int32_t last = max_tokens < PENALTY_LAST_MAX ? (int32_t)max_tokens : PENALTY_LAST_MAX;

    *s = (struct sampling){.n_vocab = n_vocab};
    if (want->temperature <= 0.0f && !penalties && want->n_bias == 0)
        return 0;
    if ((s->chain = shim_chain_new()) == NULL)
        return UV_ENOMEM;
    ok = want->n_bias == 0 || add_bias(s->chain, want, n_vocab);
    if (penalties)
        ok = ok && shim_chain_add(s->chain, shim_sampler_penalties(n_vocab, last, want->frequency,
                                                                   want->presence));
    ok = ok && add_draw(s->chain, want);
    if (ok)
        return 0;
    sampling_clear(s);
    return UV_ENOMEM;
}

void sampling_clear(struct sampling *s)
{
    llama_sampler_free(s->chain);
    *s = (struct sampling){0};
}

int32_t sampling_argmax(const float *logits, int32_t n)
{
    int32_t best = 0;

    for (int32_t i = 1; i < n; i++) {
        if (logits[i] > logits[best] || isnan(logits[best]))
            best = i;
    }
    return best;
}

int32_t sampling_next(struct sampling *s, struct llama_context *ctx, int32_t index)
{
    const float *logits;
    llama_token token;

    if (s->chain != NULL) {
        token = shim_sample(s->chain, ctx, index);
        return token >= 0 && token < s->n_vocab ? token : RM_ERR_ENGINE;
    }
    if ((logits = llama_get_logits_ith(ctx, index)) == NULL)
        return RM_ERR_ENGINE;
    return sampling_argmax(logits, s->n_vocab);
}
