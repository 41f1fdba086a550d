/* SPDX-License-Identifier: MIT */
/* worker/core/forecast.c - see forecast.h. */
#include "forecast.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "llama.h"
#include "proto/base/json_write.h"
#include "worker/core/decoder.h"
#include "worker/core/kvcache.h"
#include "worker/core/loader.h"
#include "worker/core/shim.h"

/* Private memory of this process, bytes: resident minus shared of /proc/self/statm. 0: not known.
 */
static uint64_t private_bytes(void)
{
    unsigned long long size, resident, shared;
    FILE *f = fopen("/proc/self/statm", "r");
    int n = f != NULL ? fscanf(f, "%llu %llu %llu", &size, &resident, &shared) : 0;

    if (f != NULL)
        fclose(f);
    if (n != 3 || resident < shared)
        return 0;
    return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void sum_rows(struct forecast *f, const struct shim_row *rows, int n)
{
    for (int i = 0; i < n; i++) {
        struct forecast_row *row = &f->rows[f->n_rows++];

        _Static_assert(sizeof(row->buffer) == sizeof(rows->buffer), "same names");
        memcpy(row->buffer, rows[i].buffer, sizeof(row->buffer));
        row->host = rows[i].host;
        row->weights = rows[i].weights;
        row->kv = rows[i].kv;
        row->compute = rows[i].compute;
        f->weights += row->weights;
        f->kv += row->kv;
        f->compute += row->compute;
    }
}

int forecast_run(const struct decoder_conf *conf, struct forecast *out, char *why, size_t n_why)
{
    struct shim_row rows[FORECAST_ROWS_MAX];
    struct loaded l;
    uint64_t held;
    int n, r = loader_open(conf, true, &l, why, n_why);

    *out = (struct forecast){0};
    if (r < 0)
        return r;
    held = private_bytes();
    if ((n = shim_memory(l.ctx, rows, FORECAST_ROWS_MAX)) < 0) {
        snprintf(why, n_why, "this libllama (%s) does not tell its memory", llama_version());
        loader_close(&l);
        return RM_ERR_NOT_SUPPORTED;
    }
    sum_rows(out, rows, n);
    out->context = l.context;
    out->slots = l.slots;
    out->output =
        (uint64_t)llama_vocab_n_tokens(llama_model_get_vocab(l.model)) * l.slots * sizeof(float);
    /* a recurrent state is really allocated by the dry run, and is in the rows already */
    if (llama_model_is_recurrent(l.model) || llama_model_is_hybrid(l.model))
        held = held > out->kv ? held - out->kv : 0;
    out->process = held;
    out->checkpoints = kv_kind_of(l.model) == PREFIX_ATTENTION ? 0 : KV_CHECKPOINT_BYTES_MAX;
    out->total = out->weights + out->kv + out->compute + out->output + out->process;
    loader_close(&l);
    return 0;
}

int forecast_write(const struct forecast *f, struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);

    rm_jw_obj(&w, NULL);
    rm_jw_u64(&w, "total_bytes", f->total);
    rm_jw_u64(&w, "weights_bytes", f->weights);
    rm_jw_u64(&w, "kv_bytes", f->kv);
    rm_jw_u64(&w, "compute_bytes", f->compute);
    rm_jw_u64(&w, "output_bytes", f->output);
    rm_jw_u64(&w, "process_bytes", f->process);
    rm_jw_u64(&w, "checkpoints_max_bytes", f->checkpoints);
    rm_jw_u64(&w, "context", f->context);
    rm_jw_u64(&w, "slots", f->slots);
    rm_jw_arr(&w, "buffers");
    for (uint32_t i = 0; i < f->n_rows; i++) {
        rm_jw_obj(&w, NULL);
        rm_jw_str(&w, "buffer", f->rows[i].buffer);
        rm_jw_bool(&w, "host", f->rows[i].host);
        rm_jw_u64(&w, "weights_bytes", f->rows[i].weights);
        rm_jw_u64(&w, "kv_bytes", f->rows[i].kv);
        rm_jw_u64(&w, "compute_bytes", f->rows[i].compute);
        rm_jw_end(&w);
    }
    rm_jw_end(&w);
    rm_jw_end(&w);
    return rm_jw_done(&w);
}
