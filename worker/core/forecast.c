/* SPDX-License-Identifier: MIT */
/* worker/core/forecast.c - see forecast.h. */
#include "forecast.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "llama.h"
#include "worker/core/decoder.h"
#include "worker/core/kvcache.h"
#include "worker/core/loader.h"
#include "worker/core/shim.h"

uint64_t forecast_resident(void)
{
    unsigned long long size, resident;
    FILE *f = fopen("/proc/self/statm", "r");
    int n = f != NULL ? fscanf(f, "%llu %llu", &size, &resident) : 0;

    if (f != NULL)
        fclose(f);
    return n == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

int forecast_sum(const struct loaded *l, struct node_forecast *out)
{
    struct shim_row rows[NODE_BUFFERS_MAX];
    int n = shim_memory(l->ctx, rows, NODE_BUFFERS_MAX);

    if (n < 0)
        return RM_ERR_NOT_SUPPORTED;
    out->weights = out->kv = out->compute = out->largest = 0;
    out->n_buffers = (uint32_t)n;
    for (int i = 0; i < n; i++) {
        struct node_buffer *b = &out->buffers[i];

        snprintf(b->name, sizeof(b->name), "%.*s", (int)sizeof(b->name) - 1, rows[i].buffer);
        b->host = rows[i].host;
        b->weights = rows[i].weights;
        b->kv = rows[i].kv;
        b->compute = rows[i].compute;
        out->weights += b->weights;
        out->kv += b->kv;
        out->compute += b->compute;
        out->largest = larger(out->largest, larger(b->weights, larger(b->kv, b->compute)));
    }
    return 0;
}

/* What does not stand in the breakdown. */
static void add_others(const struct loaded *l, struct node_forecast *f)
{
    uint64_t vocabulary = (uint64_t)llama_vocab_n_tokens(llama_model_get_vocab(l->model));

    f->output = vocabulary * l->slots * sizeof(float);
    f->process = forecast_resident() + vocabulary * sizeof(llama_token_data); /* sampling, once */
    f->process += (uint64_t)l->context * l->slots * sizeof(int32_t); /* kvcache.c's notes */
    if (kv_kind_of(l->model) != PREFIX_ATTENTION)
        f->checkpoints = KV_CHECKPOINT_BYTES_MAX;
}

int forecast_run(const struct decoder_conf *conf, bool costs, struct node_forecast *out, char *why,
                 size_t n_why)
{
    struct loaded l;
    int32_t trained;
    int r = loader_open(conf, true, &l, why, n_why);

    *out = (struct node_forecast){0};
    if (r < 0)
        return r;
    if ((r = forecast_sum(&l, out)) < 0) {
        snprintf(why, n_why, "this libllama (%s) does not tell its memory", llama_version());
        goto out;
    }
    trained = llama_model_n_ctx_train(l.model);
    out->known = true;
    out->context = l.context;
    out->slots = l.slots;
    out->context_train = trained > 0 ? (uint32_t)trained : 0;
    add_others(&l, out);
    if (costs)
        forecast_costs(conf, &l, out);
    out->other = out->output + out->process + out->checkpoints;
    out->total = out->weights + out->kv + out->compute + out->other;
out:
    loader_close(&l);
    return r;
}
