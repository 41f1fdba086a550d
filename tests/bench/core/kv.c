/* SPDX-License-Identifier: MIT */
/* tests/bench/core/kv.c - core-kv-bench MODEL.gguf DIR TOKENS [TOKENS ...]
 * What a prompt costs three ways, by its length: read by the model, its KV state written to DIR,
 * and read back from there by another context, so that the length from which saving pays is
 * visible. Each length gets a decoder of its own; the file is dropped from the page cache before it
 * is read back; afterwards the same prompt must be found in the cache. "even at" is the prefill
 * speed with which both ways would take as long: a machine that is faster had better read the
 * prompt again. "by the rule" is what the core itself would decide with the speeds that it measures
 * just before. Never part of pass or fail. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "worker/core/decoder.h"
#include "worker/core/kvdisk.h"

enum { ROOM = 64, HOUR_MS = 3600 * 1000 };

static const struct kvplan_speeds always = {1e15, 1e15, 1e-6};
static const char *model;
static char path[1000];

static void die(const char *what, const char *why)
{
    fprintf(stderr, "core-kv-bench: %s: %s\n", what, why);
    exit(1);
}

/* ---- waiting for the decoder ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static bool has_mail, is_over;
static struct job_event last;
static struct kvsave_report report;

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
    last = *e;
    is_over = is_over || e->type == JOB_DONE;
}

static void on_report(void *arg, const struct kvsave_report *r)
{
    (void)arg;
    report = *r;
    is_over = true;
}

static void wait_over(struct decoder *d)
{
    while (!is_over) {
        pthread_mutex_lock(&lock);
        while (!has_mail)
            pthread_cond_wait(&woken, &lock);
        has_mail = false;
        pthread_mutex_unlock(&lock);
        decoder_poll(d, on_event, NULL);
    }
    is_over = false;
}

/* ---- one core ---- */

struct core {
    struct decoder_conf conf;
    struct decoder *d;
    struct kvdisk *k;
    double restore_s; /* file checked and taken into the KV memory */
};

static void core_open(struct core *c, uint32_t tokens)
{
    struct kvdisk_conf kv = {.path = path, .most_bytes = INT64_MAX, .speeds = &always};
    uint64_t began;
    char why[512];
    int r;

    c->conf = (struct decoder_conf){.model_path = model,
                                    .context = tokens + ROOM,
                                    .slots = 1,
                                    .gpu_layers = -1,
                                    .wake = on_wake};
    if ((r = decoder_open(&c->conf, &c->d, why, sizeof(why))) < 0)
        die(rm_err_name(r), why);
    kv.decoder = &c->conf;
    kv.model_hash = "0000000000000000000000000000000000000000000000000000000000000000";
    began = rm_now_us();
    if ((r = kvdisk_open(&kv, &c->k)) < 0)
        die("kvdisk_open", rm_strerror(r));
    kvdisk_restore(c->k, c->d, on_report, NULL);
    wait_over(c->d);
    c->restore_s = (double)(rm_now_us() - began) / 1e6;
}

static void core_close(struct core *c)
{
    decoder_close(c->d);
    kvdisk_close(c->k);
}

/* The prompt of n tokens with an answer of one; seconds for the prompt. */
static double run_prompt(struct core *c, uint32_t n)
{
    int32_t *tokens = calloc(n, sizeof(*tokens));
    struct job_spec spec = {.tokens = tokens,
                            .n_tokens = n,
                            .max_tokens = 1,
                            .cache_prompt = true,
                            .sampling = {.top_p = 1.0f}};
    uint64_t id;
    int r;

    for (uint32_t i = 0; tokens != NULL && i < n; i++)
        tokens[i] = (int32_t)(i * 31 % 250);
    if (tokens == NULL || (r = decoder_submit(c->d, &spec, &id)) < 0)
        die("submit", tokens == NULL ? "no memory" : rm_strerror(r));
    wait_over(c->d);
    free(tokens);
    return last.prompt_ms / 1e3;
}

static void drop_from_cache(void)
{
    int fd = open(path, O_RDONLY);

    if (fd < 0)
        die(path, "not there");
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

static void one_length(uint32_t n)
{
    struct kvplan_speeds s;
    struct kvsave_report saved;
    struct core c;
    double prefill_s, saved_s, restore_s;
    int r;

    core_open(&c, n);
    prefill_s = run_prompt(&c, n);
    s.prefill_tps = n / prefill_s;
    if ((r = kvdisk_save(c.k, c.d, HOUR_MS, on_report, NULL)) < 0)
        die("save", rm_strerror(r));
    wait_over(c.d);
    saved = report;
    if (!saved.done)
        die("save", saved.why);
    saved_s = (double)(saved.ms > 0 ? saved.ms : 1) / 1e3;
    core_close(&c);
    if ((r = kvfile_measure(path, saved.bytes, &s.write_bps, &s.read_bps)) < 0)
        die("measure", rm_strerror(r));
    drop_from_cache();
    core_open(&c, n);
    if (!report.done)
        die("restore", report.why);
    restore_s = c.restore_s;
    run_prompt(&c, n);
    if (last.cached != n - 1)
        die("restore", "the prompt is not in the cache");
    core_close(&c);
    printf("%8u %8.1f %10.3f %8.3f %10.3f %12.0f %10.0f %8.1f x %7.0f %7.0f  %s\n", n,
           (double)saved.bytes / 1e6, prefill_s, saved_s, restore_s, s.prefill_tps,
           n / (saved_s + restore_s), prefill_s / (saved_s + restore_s), s.write_bps / 1e6,
           s.read_bps / 1e6, kvplan_is_worth(n, saved.bytes, &s) ? "save" : "read again");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc < 4 || snprintf(path, sizeof(path), "%s/bench.kv", argv[2]) >= (int)sizeof(path))
        die("usage", "core-kv-bench MODEL.gguf DIR TOKENS [TOKENS ...]");
    model = argv[1];
    printf("%8s %8s %10s %8s %10s %12s %10s %10s %7s %7s  %s\n", "tokens", "MB", "prefill s",
           "save s", "restore s", "prefill t/s", "even at", "disk wins", "w MB/s", "r MB/s",
           "by the rule");
    for (int i = 3; i < argc; i++) {
        long n = strtol(argv[i], NULL, 10);

        if (n < KVPLAN_TOKENS_MIN || n > 1 << 24)
            die("usage", "TOKENS: 16 to 16777216");
        one_length((uint32_t)n);
    }
    unlink(path);
    return 0;
}
