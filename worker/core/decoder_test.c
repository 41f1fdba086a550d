/* SPDX-License-Identifier: MIT */
/* worker/core/decoder_test.c - the decoder as its users see it, on scripted and random models: what
 * is refused, how answers end, stop strings, sampling, cancel, the queue, a full KV memory,
 * progress and pace. */
#include <math.h>
#include <sched.h>
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
#include "worker/core/shim.h"
#include "worker/core/test_jobs.h"

#define SCRIPT                                                                                     \
    "The cat saw the dog and the dog saw the cat, so they sat in the sun.\nCaf\\xC3\\xA9 "         \
    "\\xF0\\x9F\\x98\\x80 end of the story."
#define SCRIPT_TEXT                                                                                \
    "The cat saw the dog and the dog saw the cat, so they sat in the sun.\nCaf\xC3\xA9 "           \
    "\xF0\x9F\x98\x80 end of the story."
static const char prompt_text[] = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n";

static char scripted[512], split[512], looping[512], randomly[512], slow[512];
static struct test_job story[8];

static int make_models(void **state)
{
    (void)state;
    models_make(scripted, sizeof(scripted), "scripted", "llama",
                (const char *const[]){"script=" SCRIPT, NULL});
    models_make(
        split, sizeof(split), "split", "qwen3", /* one character in two tokens */
        (const char *const[]){"script=a\\xC3|\\xA9b|\\xF0\\x9F|\\x98|\\x80c|ST|OP!| d", NULL});
    models_make(looping, sizeof(looping), "looping", "llama",
                (const char *const[]){"script= one| two| three| four| five", "loop=1", NULL});
    models_make(randomly, sizeof(randomly), "random", "llama",
                (const char *const[]){"seed=3", NULL});
    models_make(slow, sizeof(slow), "slow", "llama",
                (const char *const[]){"layers=8", "embd=512", "heads=8", "ff=2048",
                                      "script=Slow but sure.", NULL});
    return 0;
}

static struct decoder *open_small(const char *path, uint32_t slots, uint32_t context)
{
    struct decoder_conf conf = {
        .model_path = path, .slots = slots, .context = context, .threads = 1};

    return test_open(&conf);
}

/* The chat prompt's tokens. */
static size_t prompt_of(struct decoder *d, int32_t *tokens, size_t max)
{
    int n = shim_tokenize(llama_model_get_vocab(decoder_model(d)), prompt_text,
                          (int32_t)strlen(prompt_text), tokens, (int32_t)max, true);

    assert_true(n > 0);
    return (size_t)n;
}

/* n tokens that end with the chat prompt, so that a scripted model answers. */
static void long_prompt(struct decoder *d, int32_t *tokens, size_t n, int32_t from)
{
    int32_t end[64];
    size_t n_end = prompt_of(d, end, 64);

    for (size_t i = 0; i < n; i++)
        tokens[i] = (int32_t)((from + (int32_t)i * 7) % 250);
    memcpy(tokens + n - n_end, end, n_end * sizeof(*end));
}

/* Submits the chat prompt with some stops and limit, and waits. */
static void ask(struct decoder *d, const char *const *stops, size_t n_stops, uint32_t max_tokens)
{
    int32_t tokens[64];
    struct job_spec spec = test_greedy(tokens, prompt_of(d, tokens, 64), max_tokens);

    spec.stops = stops;
    spec.n_stops = n_stops;
    test_run(d, &spec, &story[0]);
    assert_true(story[0].done);
    assert_false(story[0].shrank);
}

static void expect_text(const char *text, enum job_finish finish, const char *stop)
{
    story[0].text[story[0].n_text] = '\0';
    assert_string_equal(story[0].text, text);
    assert_int_equal(story[0].finish, finish);
    assert_string_equal(story[0].stop_word, stop);
}

static void answers_its_script(void **state)
{
    struct decoder *d = open_small(scripted, 2, 512);

    (void)state;
    ask(d, NULL, 0, 0);
    expect_text(SCRIPT_TEXT, JOB_FINISH_STOP, "");
    assert_int_equal(story[0].generated, story[0].n_tokens + 1); /* the end of the turn counts */
    assert_true(story[0].n_text_events > 10);                    /* it was streamed */
    assert_int_equal(story[0].cached, 0);
    ask(d, NULL, 0, 0);
    expect_text(SCRIPT_TEXT, JOB_FINISH_STOP, "");
    assert_int_equal(story[0].cached, story[0].prompt - 1);
    test_close(d);
}

static void characters_and_stops_across_tokens(void **state)
{
    struct decoder *d = open_small(split, 1, 512);
    static const char *const stop[] = {"STOP"}, *const other[] = {"STOPPED", "xyz"};

    (void)state;
    ask(d, NULL, 0, 0);
    expect_text("a\xC3\xA9"
                "b\xF0\x9F\x98\x80"
                "cSTOP! d",
                JOB_FINISH_STOP, "");
    ask(d, stop, 1, 0);
    expect_text("a\xC3\xA9"
                "b\xF0\x9F\x98\x80"
                "c",
                JOB_FINISH_STOP, "STOP");
    ask(d, other, 2, 0);
    expect_text("a\xC3\xA9"
                "b\xF0\x9F\x98\x80"
                "cSTOP! d",
                JOB_FINISH_STOP, "");
    ask(d, NULL, 0, 3); /* ends inside a character */
    expect_text("a\xC3\xA9"
                "b\xEF\xBF\xBD",
                JOB_FINISH_LENGTH, "");
    test_close(d);
}

static void ends_at_its_limits(void **state)
{
    struct decoder *d = open_small(looping, 1, 64);
    int32_t tokens[64];
    struct job_spec spec = test_greedy(tokens, 60, 0);

    (void)state;
    ask(d, NULL, 0, 7);
    expect_text(" one two three four five one two", JOB_FINISH_LENGTH, "");
    assert_int_equal(story[0].generated, 7);
    long_prompt(d, tokens, 60, 1);
    test_run(d, &spec, &story[0]); /* four places are left */
    expect_text(" one two three four", JOB_FINISH_LENGTH, "");
    spec.max_tokens = 1000;
    test_run(d, &spec, &story[0]);
    expect_text(" one two three four", JOB_FINISH_LENGTH, "");
    spec.n_tokens = 63;
    long_prompt(d, tokens, 63, 1);
    test_run(d, &spec, &story[0]);
    expect_text(" one", JOB_FINISH_LENGTH, "");
    test_close(d);
}

/* ---- what submit refuses ---- */

static char long_stop[JOB_STOP_BYTES_MAX + 2];
static const char *const good_stops[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i",
                                         "j", "k", "l", "m", "n", "o", "p", "q"};
static const char *const empty_stop[] = {""}, *const too_long_stop[] = {long_stop};

static const struct refusal {
    const char *name;
    size_t n_tokens;
    int32_t first;
    const char *const *stops;
    size_t n_stops;
    float top_p;
    int result;
} refusals[] = {
    {"no tokens", 0, 1, NULL, 0, 1.0f, RM_ERR_FIELD},
    {"as long as the context", 128, 1, NULL, 0, 1.0f, RM_ERR_CONTEXT},
    {"longer than the context", 200, 1, NULL, 0, 1.0f, RM_ERR_CONTEXT},
    {"one place is left", 127, 1, NULL, 0, 1.0f, 0},
    {"a negative token", 3, -1, NULL, 0, 1.0f, RM_ERR_FIELD},
    {"a token beyond the vocabulary", 3, 1 << 20, NULL, 0, 1.0f, RM_ERR_FIELD},
    {"16 stop strings", 3, 1, good_stops, 16, 1.0f, 0},
    {"17 stop strings", 3, 1, good_stops, 17, 1.0f, RM_ERR_FIELD},
    {"an empty stop string", 3, 1, empty_stop, 1, 1.0f, RM_ERR_FIELD},
    {"a long stop string", 3, 1, too_long_stop, 1, 1.0f, RM_ERR_FIELD},
    {"impossible sampling", 3, 1, NULL, 0, 0.0f, RM_ERR_FIELD},
};

static void refuses(void **state)
{
    struct decoder *d = open_small(scripted, 1, 128);
    int32_t tokens[200] = {0};

    (void)state;
    memset(long_stop, 'x', sizeof(long_stop) - 1);
    for (size_t i = 0; i < RM_COUNT(refusals); i++) {
        const struct refusal *row = &refusals[i];
        struct job_spec spec = test_greedy(tokens, row->n_tokens, 1);
        uint64_t id;

        tokens[0] = row->first;
        spec.stops = row->stops;
        spec.n_stops = row->n_stops;
        spec.sampling.top_p = row->top_p;
        if (decoder_submit(d, &spec, &id) != row->result)
            fail_msg("%s", row->name);
        assert_true((id != 0) == (row->result == 0));
    }
    test_close(d);
}

static void queue_has_an_end(void **state)
{
    struct decoder_conf conf = {
        .model_path = looping, .slots = 1, .context = 4096, .queue_max = 2, .threads = 1};
    struct decoder *d = test_open(&conf);
    int32_t tokens[64];
    struct job_spec spec = test_greedy(tokens, prompt_of(d, tokens, 64), 0);

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(test_submit(d, &spec, &story[i]), 0);
    assert_int_equal(test_submit(d, &spec, &story[3]), RM_ERR_QUEUE_FULL);
    spec.max_tokens = 5;
    for (int i = 0; i < 3; i++)
        decoder_cancel(d, story[i].id);
    while (test_submit(d, &spec, &story[3]) == RM_ERR_QUEUE_FULL)
        ; /* the thread forgets them at its next turn */
    test_until_done(d, &story[3]);
    assert_true(story[3].done);
    for (int i = 0; i < 3; i++) {
        assert_false(story[i].done || story[i].failed);
        test_forget(&story[i]);
    }
    test_close(d);
}

/* ---- sampling ---- */

static void seeds_repeat(void **state)
{
    struct decoder *d = open_small(randomly, 2, 512);
    int32_t tokens[64];
    struct job_spec spec = test_greedy(tokens, prompt_of(d, tokens, 64), 40);

    (void)state;
    spec.sampling = (struct job_sampling){
        .temperature = 1.0f, .top_p = 0.95f, .min_p = 0.01f, .top_k = 100, .seed = 5};
    test_run(d, &spec, &story[0]);
    test_run(d, &spec, &story[1]);
    spec.sampling.seed = 6;
    test_run(d, &spec, &story[2]);
    assert_true(story[0].n_tokens > 0);
    assert_int_equal(story[0].n_tokens, story[1].n_tokens);
    assert_memory_equal(story[0].tokens, story[1].tokens, story[0].n_tokens * sizeof(int32_t));
    assert_true(story[2].n_tokens != story[0].n_tokens ||
                memcmp(story[0].tokens, story[2].tokens, story[0].n_tokens * 4) != 0);
    test_close(d);
}

static void bias_and_penalties(void **state)
{
    struct decoder *d = open_small(looping, 1, 512);
    int32_t tokens[64];
    struct job_spec spec = test_greedy(tokens, prompt_of(d, tokens, 64), 10);
    struct job_bias bias = {0, -INFINITY};

    (void)state;
    test_run(d, &spec, &story[0]);
    bias.token = story[0].tokens[1]; /* " two" must not come */
    spec.sampling.bias = &bias;
    spec.sampling.n_bias = 1;
    test_run(d, &spec, &story[1]);
    assert_int_equal(story[1].tokens[0], story[0].tokens[0]);
    for (size_t i = 0; i < story[1].n_tokens; i++)
        assert_int_not_equal(story[1].tokens[i], bias.token);
    bias.bias = 1000.0f; /* " two" must come all the time */
    test_run(d, &spec, &story[1]);
    assert_int_equal(story[1].n_tokens, 10);
    for (size_t i = 0; i < story[1].n_tokens; i++)
        assert_int_equal(story[1].tokens[i], bias.token);
    spec.sampling.n_bias = 0;
    spec.sampling.presence = 100.0f; /* nothing comes twice */
    test_run(d, &spec, &story[1]);
    for (size_t i = 0; i < story[1].n_tokens; i++) {
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(story[1].tokens[i], story[1].tokens[k]);
    }
    test_close(d);
}

/* ---- several at once ---- */

static bool is_streaming(void *arg)
{
    return ((struct test_job *)arg)->n_text_events >= 3;
}

static bool has_started(void *arg)
{
    return ((struct test_job *)arg)->started;
}

/* While a long prompt is read in chunks, a running stream gets a token with every chunk. */
static void streams_keep_pace(void **state)
{
    struct decoder *d = open_small(slow, 2, 4096);
    static int32_t tokens[3000];
    int32_t small[64];
    struct job_spec stream = test_greedy(small, prompt_of(d, small, 64), 2000);
    struct job_spec prompt = test_greedy(tokens, 1500, 4);
    uint32_t before, streamed;
    struct job_bias bias = {0, 1000.0f};

    (void)state;
    bias.token = small[0];
    stream.sampling.bias = &bias; /* one token for ever; control tokens have no text, so: */
    bias.token = 'a' - 33;        /* the byte alphabet begins with '!' */
    stream.sampling.n_bias = 1;
    assert_int_equal(test_submit(d, &stream, &story[0]), 0);
    test_until(d, is_streaming, &story[0], 60);
    long_prompt(d, tokens, 1500, 3);
    assert_int_equal(test_submit(d, &prompt, &story[1]), 0);
    test_until(d, has_started, &story[1], 60);
    before = story[0].n_text_events;
    test_until_done(d, &story[1]);
    streamed = story[0].n_text_events - before;
    assert_true(story[1].done);
    assert_true(story[1].n_progress >= 4);
    assert_in_range(streamed + 2, story[1].n_progress, 4000);
    decoder_cancel(d, story[0].id);
    test_forget(&story[0]);
    test_close(d);
}

struct idle_wait {
    struct decoder *d;
    uint32_t busy;
};

static bool is_idle(void *arg)
{
    struct idle_wait *w = arg;
    struct decoder_stats s;

    decoder_stats(w->d, &s);
    w->busy = s.slots_busy;
    if (s.slots_busy == 0 && s.queued == 0)
        return true;
    sched_yield();
    return false;
}

static void wait_idle(struct decoder *d)
{
    struct idle_wait w = {.d = d};

    for (long i = 0; !is_idle(&w); i++) {
        if (i > 200 * 1000 * 1000)
            fail_msg("still %u busy", w.busy);
    }
}

static bool is_reading(void *arg)
{
    struct decoder_stats s;

    decoder_stats(arg, &s);
    assert_int_equal(s.slots_prefill, s.slot[0] == DECODER_PREFILL);
    return s.slot[0] == DECODER_PREFILL && s.read_tokens > 0;
}

static bool is_writing(void *arg)
{
    struct decoder_stats s;

    decoder_stats(arg, &s);
    return s.slot[0] == DECODER_DECODE || s.slot[1] == DECODER_DECODE;
}

/* A slot that answers, and one that has nothing to do. */
static void slots_say_what_they_do(void **state)
{
    struct decoder *d = open_small(looping, 2, 2048);
    static int32_t tokens[100];
    struct job_spec spec = test_greedy(tokens, 100, 1900);
    struct decoder_stats s;

    (void)state;
    long_prompt(d, tokens, 100, 3);
    assert_int_equal(test_submit(d, &spec, &story[0]), 0);
    test_until(d, is_writing, d, 60);
    decoder_stats(d, &s);
    assert_int_equal(s.slot[0] + s.slot[1], DECODER_DECODE + DECODER_IDLE);
    assert_int_equal(s.read_tokens, 100);
    decoder_cancel(d, story[0].id);
    wait_idle(d);
    decoder_stats(d, &s);
    assert_int_equal(s.slot[0] + s.slot[1], 2 * DECODER_IDLE);
    test_close(d);
}

static void cancel_frees_the_slot(void **state)
{
    struct decoder *d = open_small(slow, 1, 8192);
    static int32_t tokens[8000];
    struct job_spec spec = test_greedy(tokens, 8000, 4);
    struct decoder_stats s;
    uint32_t seen;

    (void)state;
    long_prompt(d, tokens, 8000, 5);
    assert_int_equal(test_submit(d, &spec, &story[0]), 0);
    assert_int_equal(test_submit(d, &spec, &story[1]), 0); /* waits behind it */
    test_until(d, has_started, &story[0], 60);
    test_until(d, is_reading, d, 60);
    decoder_cancel(d, story[1].id);
    decoder_cancel(d, story[0].id);
    decoder_cancel(d, 999999);
    seen = story[0].processed;
    wait_idle(d);
    decoder_stats(d, &s);
    assert_true(s.read_tokens > 0 && s.read_tokens < s.prompt_tokens); /* as far as it came */
    assert_int_equal(s.jobs_done, 0);
    assert_int_equal(s.jobs_failed, 0);
    assert_true(s.kv_tokens_used < 8000); /* it was not read to its end */
    ask(d, NULL, 0, 0);                   /* also: nothing of the cancelled ones is delivered */
    expect_text("Slow but sure.", JOB_FINISH_STOP, "");
    assert_true(seen < 8000);
    assert_false(story[1].started);
    test_close(d);
}

/* Four answers of 300 tokens with prompts of 100 in a KV memory for 700 tokens. */
static void full_memory_preempts(void **state)
{
    struct decoder_conf conf = {
        .model_path = looping, .slots = 4, .context = 640, .kv_tokens = 700, .threads = 1};
    struct decoder *d = test_open(&conf);
    static int32_t tokens[4][100];
    struct decoder_stats s;

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct job_spec spec = test_greedy(tokens[i], 100, 300);

        long_prompt(d, tokens[i], 100, 11 * i);
        assert_int_equal(test_submit(d, &spec, &story[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        test_until_done(d, &story[i]);
    wait_idle(d); /* figures come after events */
    decoder_stats(d, &s);
    assert_true(s.preempted > 0);
    for (int i = 0; i < 4; i++) {
        const char *word[] = {" one", " two", " three", " four", " five"}, *p = story[i].text;

        assert_true(story[i].done);
        assert_false(story[i].shrank);
        assert_int_equal(story[i].n_tokens, 300);
        story[i].text[story[i].n_text] = '\0';
        for (int k = 0; k < 300; k++) { /* nothing lost, nothing twice */
            assert_int_equal(strncmp(p, word[k % 5], strlen(word[k % 5])), 0);
            p += strlen(word[k % 5]);
        }
        assert_int_equal(*p, '\0');
    }
    assert_int_equal(s.jobs_done, 4);
    assert_int_equal(s.generated_tokens, 1200);
    test_close(d);
}

/* A cache that nobody uses goes before any job has to wait. */
static void full_memory_drops_caches_first(void **state)
{
    struct decoder_conf conf = {
        .model_path = looping, .slots = 3, .context = 512, .kv_tokens = 512, .threads = 1};
    struct decoder *d = test_open(&conf);
    static int32_t tokens[3][400];
    struct decoder_stats s;

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct job_spec spec = test_greedy(tokens[i], 300, 50);

        long_prompt(d, tokens[i], 300, 11 * i);
        test_run(d, &spec, &story[i]);
        assert_true(story[i].done);
    }
    wait_idle(d);
    decoder_stats(d, &s);
    assert_int_equal(s.preempted, 0);
    assert_true(s.kv_tokens_used <= s.kv_tokens_total);
    test_close(d);
}

static void counts(void **state)
{
    struct decoder *d = open_small(scripted, 2, 512);
    struct decoder_stats s;
    uint32_t prompt;

    (void)state;
    ask(d, NULL, 0, 0);
    prompt = story[0].prompt;
    ask(d, NULL, 0, 3);
    wait_idle(d);
    decoder_stats(d, &s);
    assert_int_equal(s.slots, 2);
    assert_int_equal(s.jobs_done, 2);
    assert_int_equal(s.prompt_tokens, 2 * prompt);
    assert_int_equal(s.cached_tokens, prompt - 1);
    assert_int_equal(s.read_tokens, prompt + 1); /* the last one is always read */
    assert_int_equal(s.slot[0] + s.slot[1], 2 * DECODER_IDLE);
    assert_int_equal(s.kv_tokens_total, 1024);
    assert_true(s.kv_tokens_used >= prompt && s.decode_tps > 0.0 && s.ticks > 0);
    test_close(d);
}

/* A prompt of 1500 tokens passes the border at 1024; the answer lies beyond it. */
static void speeds_are_counted_by_depth(void **state)
{
    struct decoder *d = open_small(looping, 2, 2048);
    static int32_t tokens[1500];
    struct job_spec spec = test_greedy(tokens, 1500, 50);
    struct decoder_stats s;

    (void)state;
    long_prompt(d, tokens, 1500, 3);
    test_run(d, &spec, &story[0]);
    wait_idle(d);
    decoder_stats(d, &s);
    assert_in_range(s.depth[0].prefill_tokens, 1000, 1500);
    assert_in_range(s.depth[0].prefill_tokens + s.depth[1].prefill_tokens, 1450, 1500);
    assert_true(s.depth[0].prefill_us > 0);
    assert_in_range(s.depth[1].decode_tokens, 49, 51);
    assert_true(s.depth[1].decode_us > 0);
    assert_int_equal(s.depth[0].decode_tokens, 0);
    assert_int_equal(s.depth[2].prefill_tokens + s.depth[2].decode_tokens, 0);
    assert_in_range(s.kv_deepest, 1549, 1550);
    assert_int_equal(s.batch, 512);
    assert_in_range(s.batch_most, 64, 512);
    test_close(d);
}

/* Whoever has a job's last event finds the job in the figures: the core takes those of its warm-up
 * off when that event comes. */
static void counts_come_before_the_last_event(void **state)
{
    struct decoder *d = open_small(scripted, 2, 512);
    struct decoder_stats s;

    (void)state;
    for (uint64_t i = 1; i <= 100; i++) {
        ask(d, NULL, 0, 1);
        decoder_stats(d, &s);
        assert_int_equal(s.jobs_done, i);
        assert_int_equal(s.generated_tokens, i);
        assert_int_equal(s.slots_busy, 0);
    }
    test_close(d);
}

static void closes_while_busy(void **state)
{
    struct decoder *d = open_small(looping, 2, 4096);
    int32_t tokens[64];
    struct job_spec spec = test_greedy(tokens, prompt_of(d, tokens, 64), 0);

    (void)state;
    for (int i = 0; i < 6; i++)
        assert_int_equal(test_submit(d, &spec, &story[i]), 0);
    test_until(d, is_streaming, &story[0], 60);
    test_close(d);
    decoder_close(NULL);
}

static void without_reuse(void **state)
{
    struct decoder *d = open_small(scripted, 2, 512);
    int32_t tokens[64];
    struct job_spec spec = test_greedy(tokens, prompt_of(d, tokens, 64), 0);

    (void)state;
    spec.cache_prompt = false;
    spec.progress = false;
    for (int i = 0; i < 2; i++) {
        test_run(d, &spec, &story[0]);
        assert_int_equal(story[0].cached, 0);
        assert_int_equal(story[0].n_progress, 0);
        expect_text(SCRIPT_TEXT, JOB_FINISH_STOP, "");
    }
    test_close(d);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_its_script),
        cmocka_unit_test(characters_and_stops_across_tokens),
        cmocka_unit_test(ends_at_its_limits),
        cmocka_unit_test(refuses),
        cmocka_unit_test(queue_has_an_end),
        cmocka_unit_test(seeds_repeat),
        cmocka_unit_test(bias_and_penalties),
        cmocka_unit_test(streams_keep_pace),
        cmocka_unit_test(slots_say_what_they_do),
        cmocka_unit_test(cancel_frees_the_slot),
        cmocka_unit_test(full_memory_preempts),
        cmocka_unit_test(full_memory_drops_caches_first),
        cmocka_unit_test(counts),
        cmocka_unit_test(speeds_are_counted_by_depth),
        cmocka_unit_test(counts_come_before_the_last_event),
        cmocka_unit_test(closes_while_busy),
        cmocka_unit_test(without_reuse),
    };

    return cmocka_run_group_tests(tests, make_models, NULL);
}
