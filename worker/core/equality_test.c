/* SPDX-License-Identifier: MIT */
/* worker/core/equality_test.c - the same greedy tokens with prefix reuse, interleaved, alone, and
 * after the KV state went to the disk and back into another context.
 * Each architecture gets a model with random F32 weights. What is right comes from a plain loop
 * over llama.h in a fresh context: no slots, no caches.
 *
 * llama.cpp's logits depend a little on the shape of the batches (f16 cells, other kernels from 64
 * queries on): the plain loop itself, fed in chunks of other sizes, differs by up to 0.03. Where
 * two logits are nearer than that, either token is right; and where two experts tie, the noise
 * chooses one. So prompts are taken whose answer in the plain loop has a gap of twice the noise at
 * every step and is the same for several chunk sizes; each run measures the noise and fails if it
 * is larger. On these prompts every token must be the same. A wrong cache moves logits by whole
 * units. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "llama.h"
#include "tests/support/models/models.h"
#include "worker/core/llama_env.h"
#include "worker/core/test_jobs.h"

enum { CONTEXT = 2048, ANSWER = 8, ANSWER_MIN = 4, TRIES = 400, PROMPT_MAX = 1600 };
static const float gap_min = 0.06f;

/* A prompt and its right answer. */
struct sample {
    int32_t tokens[PROMPT_MAX];
    size_t n;
    int32_t answer[ANSWER];
    size_t n_answer; /* without the end-of-turn token */
};

static const char *const archs[] = {"llama",   "qwen3",     "qwen3moe", "gemma3",
                                    "gpt-oss", "deepseek2", "mamba",    "qwen35"};

static struct llama_model *reference; /* of the architecture at hand */
static const struct llama_vocab *vocab;
static struct test_job story[4];

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* The largest logit's index, and its distance to the next one. */
static int32_t best_of(const float *logits, int32_t n, float *gap)
{
    int32_t best = 0;
    float second = -1e30f;

    for (int32_t i = 1; i < n; i++) {
        if (logits[i] > logits[best]) {
            second = logits[best];
            best = i;
        } else if (logits[i] > second) {
            second = logits[i];
        }
    }
    *gap = logits[best] - second;
    return best;
}

/* A fresh context that has read the prompt in chunks, with a memory that drops nothing. */
static struct llama_context *reference_read(const struct sample *s, int32_t chunk)
{
    struct llama_context_params p = llama_context_default_params();
    struct llama_context *ctx;

    p.n_ctx = p.n_batch = CONTEXT;
    p.n_threads = p.n_threads_batch = 1;
    p.swa_full = true;
    ctx = llama_init_from_model(reference, p);
    assert_non_null(ctx);
    for (int32_t at = 0; at < (int32_t)s->n; at += chunk) {
        int32_t n = (int32_t)s->n - at < chunk ? (int32_t)s->n - at : chunk;

        assert_int_equal(
            llama_decode(ctx, llama_batch_get_one((int32_t *)(uintptr_t)s->tokens + at, n)), 0);
    }
    return ctx;
}

/* The greedy answer to s->tokens, read in chunks, into s->answer. False: too short, or a tie. */
static bool reference_answer(struct sample *s, int32_t chunk)
{
    struct llama_context *ctx = reference_read(s, chunk);
    float gap = gap_min;

    for (s->n_answer = 0; s->n_answer < ANSWER;) {
        llama_token token =
            best_of(llama_get_logits_ith(ctx, -1), llama_vocab_n_tokens(vocab), &gap);

        if (llama_vocab_is_eog(vocab, token) || gap < gap_min)
            break;
        s->answer[s->n_answer++] = token;
        assert_int_equal(llama_decode(ctx, llama_batch_get_one(&token, 1)), 0);
    }
    llama_free(ctx);
    return gap >= gap_min && s->n_answer >= ANSWER_MIN;
}

/* Is the answer the same however the prompt is cut? */
static bool is_clear(struct sample *s)
{
    static const int32_t chunks[] = {7, 33, 64};
    struct sample other = *s;

    if (!reference_answer(s, CONTEXT))
        return false;
    for (size_t i = 0; i < RM_COUNT(chunks); i++) {
        if (!reference_answer(&other, chunks[i]) || other.n_answer != s->n_answer ||
            memcmp(other.answer, s->answer, s->n_answer * sizeof(*s->answer)) != 0)
            return false;
    }
    return true;
}

/* The logits after the prompt, fed in chunks; n_vocab of them. */
static void reference_logits(const struct sample *s, int32_t chunk, float *to)
{
    struct llama_context *ctx = reference_read(s, chunk);

    memcpy(to, llama_get_logits_ith(ctx, -1), (size_t)llama_vocab_n_tokens(vocab) * sizeof(*to));
    llama_free(ctx);
}

/* How far the plain loop's logits move with the shape of its batches. */
static float batch_noise(const struct sample *s)
{
    static const int32_t chunks[] = {7, 33, 64};
    int32_t n = llama_vocab_n_tokens(vocab);
    float *whole = calloc((size_t)n, sizeof(*whole)), *cut = calloc((size_t)n, sizeof(*cut));
    float worst = 0.0f;

    assert_true(whole != NULL && cut != NULL);
    reference_logits(s, (int32_t)s->n, whole);
    for (size_t c = 0; c < RM_COUNT(chunks); c++) {
        reference_logits(s, chunks[c], cut);
        for (int32_t i = 0; i < n; i++)
            worst = fabsf(whole[i] - cut[i]) > worst ? fabsf(whole[i] - cut[i]) : worst;
    }
    free(whole);
    free(cut);
    return worst;
}

/* A prompt that begins with `prefix` and goes on with n_more random tokens, such that its answer
 * has no near ties. */
static void pick(struct sample *s, const int32_t *prefix, size_t n_prefix, size_t n_more,
                 uint32_t seed)
{
    assert_true(n_prefix + n_more <= PROMPT_MAX);
    for (int i = 0; i < TRIES; i++) {
        if (n_prefix > 0)
            memcpy(s->tokens, prefix, n_prefix * sizeof(*prefix));
        for (s->n = n_prefix; s->n < n_prefix + n_more;)
            s->tokens[s->n++] = (int32_t)(next_random(&seed) % 300);
        if (is_clear(s))
            return;
    }
    fail_msg("no prompt without near ties in %d tries", TRIES);
}

static void expect(const struct sample *s, const struct test_job *j)
{
    assert_true(j->done);
    assert_false(j->shrank);
    assert_int_equal(j->n_tokens, s->n_answer);
    assert_memory_equal(j->tokens, s->answer, s->n_answer * sizeof(*s->answer));
}

/* Runs one prompt; returns how much of it came from a cache. */
static uint32_t run(struct decoder *d, const struct sample *s)
{
    struct job_spec spec = test_greedy(s->tokens, s->n, ANSWER);

    test_run(d, &spec, &story[0]);
    expect(s, &story[0]);
    return story[0].cached;
}

static void run_together(struct decoder *d, struct sample *const *s, int n)
{
    for (int i = 0; i < n; i++) {
        struct job_spec spec = test_greedy(s[i]->tokens, s[i]->n, ANSWER);

        assert_int_equal(test_submit(d, &spec, &story[i]), 0);
    }
    for (int i = 0; i < n; i++)
        test_until_done(d, &story[i]);
    for (int i = 0; i < n; i++)
        expect(s[i], &story[i]);
}

/* The prompts of one architecture: a long one, what may follow it, and others. */
struct set {
    struct sample base, extended, diverging, other[4], branch[4];
};

static void pick_set(struct set *set)
{
    int32_t talk[PROMPT_MAX];
    size_t n = 520;

    pick(&set->base, NULL, 0, n, 1);
    memcpy(talk, set->base.tokens, n * sizeof(*talk));
    memcpy(talk + n, set->base.answer, set->base.n_answer * sizeof(*talk));
    pick(&set->extended, talk, n + set->base.n_answer, 60, 2);
    pick(&set->diverging, set->base.tokens, 280, 200, 3);
    for (uint32_t i = 0; i < 4; i++)
        pick(&set->other[i], NULL, 0, 40 + 150 * i, 10 + i);
    for (uint32_t i = 0; i < 4; i++)
        pick(&set->branch[i], set->base.tokens, 400, 30 + 20 * i, 20 + i);
}

/* What reuse has to give: a test that never hits a cache would prove nothing. */
static void check_reuse(struct decoder *d, const struct set *set)
{
    bool goes_back = !llama_model_is_recurrent(reference) && !llama_model_is_hybrid(reference);
    size_t n = set->base.n, talk = n + set->base.n_answer;
    uint32_t cached;

    assert_int_equal(run(d, &set->base), 0);
    assert_int_equal(run(d, &set->base), n - 1);
    cached = run(d, &set->extended); /* the last token of an answer may not have been decoded */
    assert_in_range(cached, talk - 1, talk);
    cached = run(d, &set->diverging); /* at 280; without going back from the checkpoint at 256 */
    assert_in_range(cached, 256, goes_back ? 280 : 256);
    if (goes_back && llama_model_n_swa(reference) == 0)
        assert_int_equal(cached, 280);
    assert_int_equal(run(d, &set->base), n - 1); /* less than half was shared: it was left alone */
}

/* Prompts that are cancelled somewhere on their way must leave nothing wrong behind. */
static void cancel_some(struct decoder *d, const struct set *set)
{
    const struct sample *who[] = {&set->other[3], &set->base, &set->extended};
    struct decoder_stats s, begin;

    for (uint32_t i = 0; i < 12; i++) {
        const struct sample *c = who[i % 3];
        struct job_spec spec = test_greedy(c->tokens, c->n, ANSWER);

        decoder_stats(d, &begin);
        assert_int_equal(test_submit(d, &spec, &story[0]), 0);
        do { /* at another point each time */
            decoder_stats(d, &s);
        } while (s.ticks < begin.ticks + 2 + i && (s.slots_busy > 0 || s.queued > 0));
        decoder_cancel(d, story[0].id);
        test_forget(&story[0]);
        run(d, who[(i + 1) % 3]);
    }
}

static struct kvdisk *keep(const struct decoder_conf *conf, const char *path)
{
    static const struct kvplan_speeds always = {1e12, 1e12, 1}; /* the plan has tests of its own */
    struct kvdisk_conf c = {
        .path = path, .most_bytes = 1 << 30, .decoder = conf, .speeds = &always};
    struct kvdisk *k;

    c.model_hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    assert_int_equal(kvdisk_open(&c, &k), 0);
    return k;
}

/* What may follow the saved state; *cached gets how much of each came from a cache. */
static void go_on(struct decoder *d, struct set *set, uint32_t cached[5])
{
    struct sample *const next[5] = {&set->extended, &set->diverging, &set->other[2], &set->base,
                                    &set->branch[3]};

    for (int i = 0; i < 5; i++)
        cached[i] = run(d, next[i]);
}

/* Saved, ended, loaded anew, restored: the answers are the right ones, and the same caches are
 * found as without the interruption. */
static void check_saved(const struct decoder_conf *conf, struct set *set)
{
    struct decoder *d = test_open(conf);
    char path[700];
    struct kvdisk *k;
    struct kvsave_report saved, restored;
    uint32_t before[5], after[5];

    snprintf(path, sizeof(path), "%s.kv", conf->model_path);
    k = keep(conf, path);
    restored = test_restore(d, k);
    assert_false(restored.done);
    assert_string_equal(restored.why, "");
    run(d, &set->base);
    run(d, &set->other[2]);
    saved = test_save(d, k, 60000);
    assert_true(saved.done);
    assert_int_equal(saved.sequences, 2);
    assert_in_range(saved.tokens, set->base.n + set->other[2].n, 2 * CONTEXT);
    go_on(d, set, before); /* uninterrupted */
    test_close(d);
    kvdisk_close(k);
    k = keep(conf, path);
    d = test_open(conf);
    restored = test_restore(d, k);
    assert_true(restored.done);
    assert_int_equal(restored.sequences, 2);
    assert_int_equal(restored.tokens, saved.tokens);
    go_on(d, set, after);
    assert_memory_equal(before, after, sizeof(before));
    assert_in_range(after[0], set->base.n, set->extended.n);
    assert_int_equal(after[2], set->other[2].n - 1);
    test_close(d);
    kvdisk_close(k);
}

static void one_architecture(void **state)
{
    const char *arch = *state;
    struct set *set = calloc(1, sizeof(*set));
    struct decoder_conf conf = {.context = CONTEXT, .slots = 4, .batch = 64, .threads = 1};
    struct sample *four[4], *mixed[4];
    struct decoder *d;
    char path[512];

    models_make(path, sizeof(path), arch, arch, (const char *const[]){"seed=7", "swa=32", NULL});
    reference = llama_model_load_from_file(path, llama_model_default_params());
    assert_non_null(reference);
    vocab = llama_model_get_vocab(reference);
    pick_set(set);
    assert_true(2.0f * batch_noise(&set->base) <= gap_min);
    conf.model_path = path;
    d = test_open(&conf);
    check_reuse(d, set);
    for (int round = 0; round < 2; round++) { /* many others, which evict what was there */
        for (int i = 0; i < 4; i++)
            run(d, &set->other[i]);
        run(d, &set->base);
        run(d, &set->extended);
    }
    for (int i = 0; i < 4; i++)
        four[i] = &set->branch[i];
    run_together(d, four, 4); /* all four continue one cached beginning */
    run_together(d, four, 4);
    mixed[0] = &set->base;
    mixed[1] = &set->other[3];
    mixed[2] = &set->diverging;
    mixed[3] = &set->other[0];
    run_together(d, mixed, 4);
    cancel_some(d, set);
    test_close(d);
    d = test_open(&conf); /* four at once on a cold memory */
    run_together(d, mixed, 4);
    test_close(d);
    check_saved(&conf, set);
    llama_model_free(reference);
    free(set);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(archs)];
    char why[256];

    if (llama_env_init(why, sizeof(why)) < 0) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    for (size_t i = 0; i < RM_COUNT(archs); i++)
        tests[i] = (struct CMUnitTest){archs[i], one_architecture, NULL, NULL, (void *)archs[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
