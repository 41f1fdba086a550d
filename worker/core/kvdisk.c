/* SPDX-License-Identifier: MIT */
/* worker/core/kvdisk.c - see kvdisk.h. */
#include "worker/core/kvdisk.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/base/log.h"
#include "worker/core/decoder.h"
#include "worker/core/llama_env.h"

struct kvdisk {
    char path[1024];
    uint64_t most_bytes, budget_ms;
    struct kvfile_identity identity;
    const struct kvplan_speeds *speeds;
    pthread_t reader;
    bool reading; /* the reader was started and not joined */
    bool busy;    /* an errand is with the decoder */
    /* the reader's until it is joined */
    struct kvfile *file;
    int err;
    char why[KVFILE_WHY_MAX];

    double earlier_prefill_tps; /* decode thread */
    struct decoder_errand errand;
    struct kvsave_report report;
    kvdisk_done *done;
    void *arg;
};

void kvdisk_identity(const struct kvdisk_conf *conf, struct kvfile_identity *out)
{
    const struct decoder_conf *d = conf->decoder;

    memset(out, 0, sizeof(*out));
    llama_env_build(out->llama, sizeof(out->llama));
    snprintf(out->model_hash, sizeof(out->model_hash), "%s", conf->model_hash);
    snprintf(out->flags, sizeof(out->flags),
             "context=%u slots=%u kv_tokens=%u kv=%s batch=%u gpu_layers=%d", d->context, d->slots,
             d->kv_tokens, d->kv == DECODER_KV_Q8_0 ? "q8_0" : "f16", d->batch, d->gpu_layers);
}

static void *reader_main(void *arg)
{
    struct kvdisk *k = arg;

    k->err = kvfile_open(k->path, &k->identity, k->most_bytes, &k->file, k->why);
    return NULL;
}

/* Signals are the loop's business. */
static int start_reader(struct kvdisk *k)
{
    sigset_t all, old;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&k->reader, NULL, reader_main, k);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    k->reading = r == 0;
    return r == 0 ? 0 : uv_translate_sys_error(r);
}

static void join_reader(struct kvdisk *k)
{
    if (k->reading)
        pthread_join(k->reader, NULL);
    k->reading = false;
}

int kvdisk_open(const struct kvdisk_conf *conf, struct kvdisk **out)
{
    struct kvdisk *k = calloc(1, sizeof(*k));
    int r;

    *out = NULL;
    if (k == NULL)
        return UV_ENOMEM;
    if (strlen(conf->path) >= sizeof(k->path) || strlen(conf->model_hash) != 64) {
        free(k);
        return UV_EINVAL;
    }
    memcpy(k->path, conf->path, strlen(conf->path) + 1);
    k->most_bytes = conf->most_bytes;
    k->speeds = conf->speeds;
    kvdisk_identity(conf, &k->identity);
    if ((r = start_reader(k)) < 0) {
        free(k);
        return r;
    }
    *out = k;
    return 0;
}

/* ---- restoring ---- */

static void restore_run(void *arg, struct kvcache *kv, double prefill_tps)
{
    struct kvdisk *k = arg;

    (void)prefill_tps;
    join_reader(k);
    memset(&k->report, 0, sizeof(k->report));
    if (k->file == NULL) {
        memcpy(k->report.why, k->why, sizeof(k->report.why));
        return;
    }
    k->earlier_prefill_tps = kvfile_facts(k->file).prefill_tps;
    kvsave_read(kv, k->file, &k->report);
    kvfile_close(k->file);
    k->file = NULL;
}

static void tell(struct kvdisk *k)
{
    k->busy = false;
    k->done(k->arg, &k->report);
}

static void restore_done(void *arg)
{
    struct kvdisk *k = arg;
    const struct kvsave_report *r = &k->report;

    if (r->done)
        rm_info("core", "KV state restored", RM_U("sequences", r->sequences), RM_U("of", r->of),
                RM_U("tokens", r->tokens), RM_U("bytes", r->bytes), RM_U("ms", r->ms));
    else if (r->why[0] != '\0')
        rm_warn("core", "the saved KV state is not used, and removed", RM_S("why", r->why));
    tell(k);
}

static void send_errand(struct kvdisk *k, struct decoder *d, struct decoder_errand e)
{
    k->busy = true;
    k->errand = e;
    decoder_send(d, &k->errand);
}

void kvdisk_restore(struct kvdisk *k, struct decoder *d, kvdisk_done *done, void *arg)
{
    k->done = done;
    k->arg = arg;
    send_errand(k, d, (struct decoder_errand){restore_run, restore_done, k, NULL});
}

/* ---- saving ---- */

static void save_run(void *arg, struct kvcache *kv, double prefill_tps)
{
    struct kvdisk *k = arg;
    struct kvsave_order order = {
        .path = k->path,
        .identity = &k->identity,
        .most_bytes = k->most_bytes,
        .budget_ms = k->budget_ms,
        .prefill_tps = prefill_tps,
        .earlier_prefill_tps = k->earlier_prefill_tps,
        .speeds = k->speeds,
    };

    kvsave_write(kv, &order, &k->report);
}

static void save_done(void *arg)
{
    struct kvdisk *k = arg;
    const struct kvsave_report *r = &k->report;

    rm_info("core", r->done ? "KV state saved" : "KV state not saved", RM_S("why", r->why),
            RM_U("sequences", r->sequences), RM_U("of", r->of), RM_U("tokens", r->tokens),
            RM_U("bytes", r->bytes), RM_U("ms", r->ms), RM_F("write_bps", r->speeds.write_bps),
            RM_F("read_bps", r->speeds.read_bps), RM_F("prefill_tps", r->speeds.prefill_tps));
    tell(k);
}

int kvdisk_save(struct kvdisk *k, struct decoder *d, uint64_t budget_ms, kvdisk_done *done,
                void *arg)
{
    if (k->busy)
        return UV_EBUSY;
    k->budget_ms = budget_ms;
    k->done = done;
    k->arg = arg;
    send_errand(k, d, (struct decoder_errand){save_run, save_done, k, NULL});
    return 0;
}

void kvdisk_close(struct kvdisk *k)
{
    if (k == NULL)
        return;
    join_reader(k);
    kvfile_close(k->file);
    free(k);
}
