/* SPDX-License-Identifier: MIT */
/* tests/bench/core/main.c - core-bench MODEL.gguf [PROMPT [ANSWER [ROUNDS]]]
 * The decoder beside the plainest loop over llama.h with the same flags (own thread pool, threads =
 * cores - 1), interleaved in one process; medians and ratios. Then how long a cancelled prefill
 * still holds its slot. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "llama.h"
#include "proto/base/clock.h"
#include "proto/base/err.h"
#include "worker/core/decoder.h"
#include "worker/core/loader.h"
#include "worker/core/sampling.h"

enum { PROMPT = 512, ANSWER = 64, ROUNDS = 5, ROUNDS_MAX = 99, CANCELS = 15, STREAMS = 4 };

static int n_prompt = PROMPT, n_answer = ANSWER, rounds = ROUNDS;
static struct decoder_conf conf = {.slots = STREAMS, .gpu_layers = -1};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "core-bench: %s: %s\n", what, why);
    exit(1);
}

/* Token k of prompt `id`; prompts differ from their first token on, so that no cache helps. */
static int32_t prompt_token(int id, int k)
{
    return (id * 37 + k * 31) % 250;
}

struct speed {
    double prefill, decode; /* tokens/s */
    double cpu_ms;          /* of the whole process; steadier than the clock on a busy machine */
};

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- the plain loop ---- */

static struct speed plain_run(struct loaded *l, int id)
{
    struct llama_batch b = llama_batch_init(n_prompt, 0, 1);
    int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(l->model));
    uint64_t t0, t1, t2;
    llama_token token = 0;
    double cpu = cpu_ms();

    llama_memory_clear(llama_get_memory(l->ctx), false);
    t0 = rm_now_us();
    for (int i = 0; i < n_prompt; i += (int)l->batch) {
        for (b.n_tokens = 0; b.n_tokens < (int)l->batch && i + b.n_tokens < n_prompt;) {
            int k = b.n_tokens++;

            b.token[k] = prompt_token(id, i + k);
            b.pos[k] = i + k;
            b.n_seq_id[k] = 1;
            b.seq_id[k][0] = 0;
            b.logits[k] = i + k == n_prompt - 1;
        }
        if (llama_decode(l->ctx, b) != 0)
            die("plain loop", "llama_decode failed");
    }
    token = sampling_argmax(llama_get_logits_ith(l->ctx, -1), n_vocab);
    t1 = rm_now_us();
    for (int i = 1; i < n_answer; i++) {
        b.n_tokens = 1;
        b.token[0] = token;
        b.pos[0] = n_prompt + i - 1;
        b.logits[0] = 1;
        if (llama_decode(l->ctx, b) != 0)
            die("plain loop", "llama_decode failed");
        token = sampling_argmax(llama_get_logits_ith(l->ctx, -1), n_vocab);
    }
    t2 = rm_now_us();
    llama_batch_free(b);
    return (struct speed){n_prompt * 1e6 / (double)(t1 - t0),
                          (n_answer - 1) * 1e6 / (double)(t2 - t1), cpu_ms() - cpu};
}

/* ---- the decoder ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static bool has_mail;
static struct job_event last[STREAMS];
static uint64_t ids[STREAMS];
static int n_done;

static void on_wake(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    has_mail = true;
    pthread_cond_signal(&woken);
    pthread_mutex_unlock(&lock);
}

static void on_event(void *arg, const struct job_event *e)
{
    (void)arg;
    if (e->type == JOB_FAILED)
        die("decoder", rm_strerror(e->err));
    for (int i = 0; i < STREAMS && e->type != JOB_PROGRESS; i++) {
        if (ids[i] == e->job)
            last[i] = *e;
    }
    n_done += e->type == JOB_DONE;
}

static void wait_mail(struct decoder *d)
{
    pthread_mutex_lock(&lock);
    while (!has_mail)
        pthread_cond_wait(&woken, &lock);
    has_mail = false;
    pthread_mutex_unlock(&lock);
    decoder_poll(d, on_event, NULL);
}

static uint64_t submit(struct decoder *d, int id, int n, int answer)
{
    int32_t *tokens = calloc((size_t)n, sizeof(*tokens));
    struct job_spec spec = {.tokens = tokens,
                            .n_tokens = (size_t)n,
                            .max_tokens = (uint32_t)answer,
                            .cache_prompt = true,
                            .sampling = {.top_p = 1.0f}};
    uint64_t job;
    int r;

    for (int i = 0; i < n; i++)
        tokens[i] = prompt_token(id, i);
    if ((r = decoder_submit(d, &spec, &job)) < 0)
        die("submit", rm_strerror(r));
    free(tokens);
    return job;
}

/* n streams at once; the sum of their decode speeds, the first one's prefill speed. */
static struct speed decoder_run(struct decoder *d, int id, int n)
{
    struct speed s = {.cpu_ms = -cpu_ms()};

    n_done = 0;
    memset(ids, 0, sizeof(ids));
    for (int i = 0; i < n; i++)
        ids[i] = submit(d, id * STREAMS + i, n_prompt, n_answer);
    while (n_done < n)
        wait_mail(d);
    s.prefill = n_prompt * 1e3 / last[0].prompt_ms;
    for (int i = 0; i < n; i++)
        s.decode += (last[i].generated - 1) * 1e3 / last[i].predicted_ms;
    s.cpu_ms += cpu_ms();
    return s;
}

static void wait_state(struct decoder *d, uint32_t busy)
{
    struct decoder_stats s;

    do {
        decoder_stats(d, &s);
        if (s.slots_busy != busy)
            usleep(100);
    } while (s.slots_busy != busy);
}

/* Cancels a prefill at some point; milliseconds until the slot is free. */
static double cancel_once(struct decoder *d, int id)
{
    uint64_t job = submit(d, id, (int)decoder_context(d) - 8, 4), t0;

    wait_state(d, 1);
    usleep((useconds_t)(50000 + 17000 * (id % 11)));
    t0 = rm_now_us();
    decoder_cancel(d, job);
    wait_state(d, 0);
    return (double)(rm_now_us() - t0) / 1000.0;
}

/* ---- figures ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double at_part(double *v, int n, double part)
{
    qsort(v, (size_t)n, sizeof(*v), by_value);
    return v[(int)(part * (n - 1))];
}

/* Who is measured: the loop; a decoder whose memory holds nothing else; one whose other slots hold
 * caches, which every attention call of a unified KV memory has to step over. */
enum { PLAIN, ALONE, CACHES, SUBJECTS };
static const char *const subject_names[SUBJECTS] = {"plain loop", "decoder", "decoder, caches"};

struct figures {
    double prefill[SUBJECTS][ROUNDS_MAX], decode[SUBJECTS][ROUNDS_MAX], cpu[SUBJECTS][ROUNDS_MAX];
    double together[ROUNDS_MAX];
};

static void note(struct figures *f, int who, int round, struct speed s)
{
    f->prefill[who][round] = s.prefill;
    f->decode[who][round] = s.decode;
    f->cpu[who][round] = s.cpu_ms;
}

static void print_figures(struct figures *f)
{
    double plain[3] = {0}, one = 0.0;

    printf("%-16s %22s %22s %22s\n", "", "prefill tokens/s", "decode tokens/s", "CPU ms in all");
    for (int who = 0; who < SUBJECTS; who++) {
        double v[3] = {at_part(f->prefill[who], rounds, 0.5), at_part(f->decode[who], rounds, 0.5),
                       at_part(f->cpu[who], rounds, 0.5)};

        printf("%-16s", subject_names[who]);
        for (int k = 0; k < 3; k++) {
            plain[k] = who == PLAIN ? v[k] : plain[k];
            printf(" %12.1f (%.3f x)", v[k], v[k] / plain[k]);
        }
        printf("\n");
        one = v[1];
    }
    printf("%d streams together: %.1f tokens/s, %.2f x one\n", STREAMS,
           at_part(f->together, rounds, 0.5), at_part(f->together, rounds, 0.5) / one);
}

static void bench_cancel(struct decoder *d)
{
    double ms[CANCELS];

    for (int i = 0; i < CANCELS; i++)
        ms[i] = cancel_once(d, 300 + i);
    printf("cancel of a %u-token prefill: slot free after %.1f ms (median), %.1f ms (worst)\n",
           (unsigned)decoder_context(d) - 8, at_part(ms, CANCELS, 0.5), at_part(ms, CANCELS, 1.0));
}

static struct decoder *open_decoder(uint32_t slots)
{
    struct decoder_conf c = conf;
    struct decoder *d;
    char why[512];
    int r;

    c.slots = slots;
    if ((r = decoder_open(&c, &d, why, sizeof(why))) < 0)
        die(rm_err_name(r), why);
    return d;
}

int main(int argc, char **argv)
{
    static struct figures f;
    struct decoder *alone, *caches;
    struct loaded plain;
    char why[512];
    int r;

    if (argc < 2 || argc > 5)
        die("usage", "core-bench MODEL.gguf [PROMPT [ANSWER [ROUNDS]]]");
    n_prompt = argc > 2 ? atoi(argv[2]) : PROMPT;
    n_answer = argc > 3 ? atoi(argv[3]) : ANSWER;
    rounds = argc > 4 ? atoi(argv[4]) : ROUNDS;
    if (n_prompt < 8 || n_answer < 2 || rounds < 1 || rounds > ROUNDS_MAX)
        die("usage", "PROMPT >= 8, ANSWER >= 2, ROUNDS 1..99");
    conf.model_path = argv[1];
    conf.context =
        (uint32_t)(n_prompt + n_answer + 64) > 4096 ? (uint32_t)(n_prompt + n_answer + 64) : 4096;
    conf.wake = on_wake;
    if ((r = loader_open(&conf, false, &plain, why, sizeof(why))) < 0)
        die(rm_err_name(r), why);
    alone = open_decoder(1);
    caches = open_decoder(STREAMS);
    plain_run(&plain, 900); /* warm all three, and fill the caches */
    decoder_run(alone, 901, 1);
    decoder_run(caches, 902, STREAMS);
    for (int i = 0; i < rounds; i++) {
        note(&f, PLAIN, i, plain_run(&plain, 3 * i));
        note(&f, ALONE, i, decoder_run(alone, 3 * i + 1, 1));
        note(&f, CACHES, i, decoder_run(caches, 3 * i + 2, 1));
        f.together[i] = decoder_run(caches, 100 + i, STREAMS).decode;
    }
    print_figures(&f);
    bench_cancel(alone);
    decoder_close(alone);
    decoder_close(caches);
    loader_close(&plain);
    return 0;
}
