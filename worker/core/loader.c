/* SPDX-License-Identifier: MIT */
/* worker/core/loader.c - see loader.h. */
#include "loader.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "llama.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "worker/core/decoder.h"
#include "worker/core/forecast.h"
#include "worker/core/llama_env.h"
#include "worker/core/shim.h"

enum { BATCH_DEFAULT = 512, BATCH_MAX = 8192, BATCH_MIN = 32, THREADS_MAX = 512 };

static int refuse(char *why, size_t n_why, int err, const char *what)
{
    snprintf(why, n_why, "%s", what);
    return err;
}

static int check_conf(const struct decoder_conf *c, char *why, size_t n_why)
{
    if (c->model_path == NULL || c->model_path[0] == '\0')
        return refuse(why, n_why, RM_ERR_FIELD, "no model file is given");
    if (c->slots < 1 || c->slots > LOADER_SLOTS_MAX)
        return refuse(why, n_why, RM_ERR_FIELD, "slots: expected 1 to 64");
    if (c->batch != 0 && (c->batch < BATCH_MIN || c->batch > BATCH_MAX || c->batch < c->slots))
        return refuse(why, n_why, RM_ERR_FIELD, "batch: expected 32 to 8192, at least slots");
    if (c->threads > THREADS_MAX)
        return refuse(why, n_why, RM_ERR_FIELD, "threads: expected 0 to 512");
    if (c->kv != DECODER_KV_F16 && c->kv != DECODER_KV_Q8_0)
        return refuse(why, n_why, RM_ERR_FIELD, "kv: expected f16 or q8_0");
    if (access(c->model_path, R_OK) != 0) {
        snprintf(why, n_why, "%s: %s", c->model_path, strerror(errno));
        return RM_ERR_MODEL_FILE;
    }
    return 0;
}

static bool on_progress(float part, void *user)
{
    const struct decoder_conf *c = user;

    c->load_progress(c->arg, part);
    return true;
}

/* Weights that the CPU backend repacks are copied: mapping the file too would hold them twice. */
static bool is_repacked(const struct decoder_conf *conf)
{
    struct node_forecast f;
    char ignored[64];
    bool repacked = false;

    if (forecast_run(conf, false, &f, ignored, sizeof(ignored)) != 0)
        return false; /* the real load will say why */
    for (uint32_t i = 0; i < f.n_buffers; i++)
        repacked =
            repacked || (strstr(f.buffers[i].name, "REPACK") != NULL && f.buffers[i].weights > 0);
    return repacked;
}

static int load_model(const struct decoder_conf *conf, bool dry, struct loaded *l, char *why,
                      size_t n_why)
{
    struct llama_model_params p = llama_model_default_params();

    p.n_gpu_layers = conf->gpu_layers;
    p.no_alloc = dry;
    p.load_mode = dry || is_repacked(conf) ? LLAMA_LOAD_MODE_NONE : LLAMA_LOAD_MODE_MMAP;
    if (conf->load_progress != NULL && !dry) {
        p.progress_callback = on_progress;
        p.progress_callback_user_data = (void *)(uintptr_t)conf;
    }
    llama_env_reset_error();
    if ((l->model = shim_model_load(conf->model_path, p)) == NULL) {
        char said[512];

        llama_env_first_error(said, sizeof said);
        snprintf(why, n_why, "%s: %s", conf->model_path, said[0] != '\0' ? said : shim_what());
        return RM_ERR_MODEL_FILE;
    }
    if (llama_model_has_encoder(l->model) || !llama_model_has_decoder(l->model) ||
        llama_model_is_diffusion(l->model))
        return refuse(why, n_why, RM_ERR_MODEL_FILE, "not a model that generates text");
    return 0;
}

static int context_params(const struct decoder_conf *conf, struct loaded *l,
                          struct llama_context_params *p, char *why, size_t n_why)
{
    int32_t trained = llama_model_n_ctx_train(l->model);
    uint64_t total;

    l->slots = conf->slots;
    l->context = conf->context != 0 ? conf->context : (uint32_t)(trained > 0 ? trained : 4096);
    l->batch = conf->batch != 0 ? conf->batch : BATCH_DEFAULT;
    l->threads = conf->threads != 0 ? conf->threads : llama_env_default_threads();
    total = conf->kv_tokens != 0 ? conf->kv_tokens : (uint64_t)l->context * l->slots;
    if (l->context < 16 || total < l->context || total > INT32_MAX)
        return refuse(why, n_why, RM_ERR_FIELD,
                      "context: expected 16 tokens or more, not over the KV memory of all slots");
    *p = llama_context_default_params();
    p->n_ctx = (uint32_t)total;
    p->n_batch = p->n_ubatch = l->batch;
    p->n_seq_max = l->slots;
    p->n_outputs_max =
        l->slots; /* logits of the last token of each slot only: 20 x smaller buffers */
    p->n_threads = p->n_threads_batch = (int32_t)l->threads;
    p->flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
    p->type_k = p->type_v = conf->kv == DECODER_KV_Q8_0 ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
    p->swa_full = false;
    p->kv_unified = true;
    return 0;
}

static int new_context(const struct decoder_conf *conf, struct loaded *l, char *why, size_t n_why)
{
    struct llama_context_params p;
    int r = context_params(conf, l, &p, why, n_why);

    if (r < 0 || (l->ctx = shim_context_new(l->model, p)) != NULL)
        return r;
    llama_env_first_error(why, n_why);
    if (why[0] == '\0')
        snprintf(why, n_why, "no memory for the context (%s)", shim_what());
    return UV_ENOMEM;
}

void loader_drop_context(struct loaded *l)
{
    if (l->ctx != NULL)
        llama_free(l->ctx);
    l->ctx = NULL;
}

int loader_again(struct loaded *l, const struct decoder_conf *conf, char *why, size_t n_why)
{
    int r;

    loader_drop_context(l);
    why[0] = '\0';
    llama_env_reset_error();
    return (r = check_conf(conf, why, n_why)) < 0 ? r : new_context(conf, l, why, n_why);
}

int loader_open(const struct decoder_conf *conf, bool dry, struct loaded *out, char *why,
                size_t n_why)
{
    struct loaded l = {0};
    uint64_t began = rm_now_ms();
    int r;

    *out = l;
    why[0] = '\0';
    if ((r = check_conf(conf, why, n_why)) < 0 || (r = llama_env_init(why, n_why)) < 0 ||
        (r = load_model(conf, dry, &l, why, n_why)) < 0 ||
        (r = new_context(conf, &l, why, n_why)) < 0)
        goto out;
    if (!dry) {
        malloc_trim(0); /* weights that were repacked were read into buffers as large as a tensor */
        l.pool = llama_env_pool_new(l.ctx, l.threads);
        rm_info("core", "model is loaded", RM_U("ms", rm_now_ms() - began),
                RM_U("context", l.context), RM_U("slots", l.slots), RM_U("threads", l.threads),
                RM_U("kv_tokens", llama_n_ctx(l.ctx)));
    }
    *out = l;
    return 0;
out:
    loader_close(&l);
    return r;
}

void loader_close(struct loaded *l)
{
    loader_drop_context(l);
    llama_env_pool_free(l->pool);
    if (l->model != NULL)
        llama_model_free(l->model);
    *l = (struct loaded){0};
}
