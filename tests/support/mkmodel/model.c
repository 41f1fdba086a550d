/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/model.c - see model.h. The names and shapes are those that llama.cpp reads
 * for each architecture (its gguf-py constants and src/llama-arch). A scripted model has zeros in
 * the projections that end each block, so that the residual stream carries the last token's
 * embedding to the output head, whose row for a token is the embedding of the token before it: the
 * successor wins the argmax by a wide margin, and yet every matrix is multiplied as in a real
 * model. */
#include "model.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gguf.h"

#include "options.h"
#include "script.h"
#include "templates.h"
#include "tensors.h"
#include "vocab.h"

enum {
    SCRIPT_LOGIT = 64, /* of the right successor; the others stay below about 64 / sqrt(embd) * 4 */
    CONV = 4,          /* ssm.conv_kernel */
    MAMBA_STATE = 16,
    DELTA_K_HEADS = 2, /* gated delta net */
    DELTA_V_HEADS = 4,
    DELTA_DIM = 32,
    MLA_Q_RANK = 48,
    MLA_KV_RANK = 32,
    MLA_ROPE = 32,
    MLA_NOPE = 16,
    MLA_V = 16,
};

/* What the functions of this file share. */
struct build {
    const struct options *o;
    unsigned traits;
    struct gguf_context *gguf;
    struct tensors tensors;
    struct vocab *vocab;
    struct script script;       /* n is 0 for random weights */
    enum tensor_fill block_out; /* of the projections that end a block */
};

#define ANY       GGML_TYPE_COUNT
#define DIMS(...) ((const int64_t[4]){__VA_ARGS__})

static bool has(const struct build *b, unsigned trait)
{
    return (b->traits & trait) != 0;
}

/* ---- metadata ---- */

static void key_u32(struct build *b, const char *key, uint32_t value)
{
    char full[96];

    snprintf(full, sizeof(full), "%s.%s", b->o->arch->name, key);
    gguf_set_val_u32(b->gguf, full, value);
}

static void key_f32(struct build *b, const char *key, float value)
{
    char full[96];

    snprintf(full, sizeof(full), "%s.%s", b->o->arch->name, key);
    gguf_set_val_f32(b->gguf, full, value);
}

/* Name of --type, ggml type, and LLAMA_FTYPE of llama.h. */
static const struct {
    const char *name;
    enum ggml_type type;
    uint32_t ftype;
} types[] = {
    {"f32", GGML_TYPE_F32, 0},   {"f16", GGML_TYPE_F16, 1},    {"q8_0", GGML_TYPE_Q8_0, 7},
    {"q4_0", GGML_TYPE_Q4_0, 2}, {"q4_K", GGML_TYPE_Q4_K, 15},
};

static size_t type_index(const char *name)
{
    size_t i = 0;

    while (strcmp(types[i].name, name) != 0)
        i++; /* options.c let only these names through */
    return i;
}

static void write_attention_keys(struct build *b)
{
    const struct options *o = b->o;

    key_u32(b, "feed_forward_length", o->ff);
    key_u32(b, "attention.head_count", o->heads);
    key_u32(b, "attention.head_count_kv", has(b, ARCH_MLA) ? 1 : o->kvheads);
    key_f32(b, "rope.freq_base", 10000.0f);
    if (has(b, ARCH_HEAD_DIM)) {
        key_u32(b, "attention.key_length", o->headdim);
        key_u32(b, "attention.value_length", o->headdim);
    }
    if (!has(b, ARCH_MLA))
        key_u32(b, "rope.dimension_count", has(b, ARCH_HYBRID) ? o->headdim / 2 : o->headdim);
    if (has(b, ARCH_SWA))
        key_u32(b, "attention.sliding_window", o->swa);
    if (has(b, ARCH_MOE)) {
        key_u32(b, "expert_count", o->experts);
        key_u32(b, "expert_used_count", o->used);
        key_u32(b, "expert_feed_forward_length", o->ff);
    }
}

static void write_latent_keys(struct build *b)
{
    key_u32(b, "leading_dense_block_count", 1);
    key_u32(b, "attention.q_lora_rank", MLA_Q_RANK);
    key_u32(b, "attention.kv_lora_rank", MLA_KV_RANK);
    key_u32(b, "attention.key_length", MLA_KV_RANK + MLA_ROPE);
    key_u32(b, "attention.value_length", MLA_KV_RANK);
    key_u32(b, "attention.key_length_mla", MLA_NOPE + MLA_ROPE);
    key_u32(b, "attention.value_length_mla", MLA_V);
    key_u32(b, "rope.dimension_count", MLA_ROPE);
    key_u32(b, "expert_shared_count", 1);
    key_f32(b, "expert_weights_scale", 1.0f);
}

static void write_recurrent_keys(struct build *b)
{
    const struct options *o = b->o;
    uint32_t d = o->headdim;
    int32_t sections[4] = {(int32_t)(d / 8), (int32_t)(d / 16), (int32_t)(d / 16), 0};

    key_u32(b, "ssm.conv_kernel", CONV);
    if (has(b, ARCH_MAMBA)) {
        key_u32(b, "ssm.inner_size", 2 * o->embd);
        key_u32(b, "ssm.state_size", MAMBA_STATE);
        key_u32(b, "ssm.time_step_rank", (o->embd + 15) / 16);
        return;
    }
    key_u32(b, "ssm.inner_size", DELTA_V_HEADS * DELTA_DIM);
    key_u32(b, "ssm.state_size", DELTA_DIM);
    key_u32(b, "ssm.time_step_rank", DELTA_V_HEADS);
    key_u32(b, "ssm.group_count", DELTA_K_HEADS);
    key_u32(b, "full_attention_interval", 4);
    gguf_set_arr_data(b->gguf, "qwen35.rope.dimension_sections", GGUF_TYPE_INT32, sections, 4);
}

static void write_keys(struct build *b)
{
    const struct options *o = b->o;

    gguf_set_val_str(b->gguf, "general.architecture", o->arch->name);
    gguf_set_val_str(b->gguf, "general.name", o->name);
    gguf_set_val_u32(b->gguf, "general.file_type", types[type_index(o->type)].ftype);
    gguf_set_val_u32(b->gguf, "general.quantization_version", GGML_QNT_VERSION);
    key_u32(b, "context_length", o->ctx);
    key_u32(b, "embedding_length", o->embd);
    key_u32(b, "block_count", o->layers);
    key_u32(b, "vocab_size", vocab_size(b->vocab));
    key_f32(b, "attention.layer_norm_rms_epsilon", 1e-5f);
    if (has(b, ARCH_MAMBA)) {
        key_u32(b, "feed_forward_length", 0);
        key_u32(b, "attention.head_count", 0);
    } else {
        write_attention_keys(b);
    }
    if (has(b, ARCH_MLA))
        write_latent_keys(b);
    if (has(b, ARCH_MAMBA | ARCH_HYBRID))
        write_recurrent_keys(b);
    vocab_write(b->vocab, b->gguf);
    gguf_set_val_str(b->gguf, "tokenizer.chat_template", template_named(o->tmpl));
}

/* ---- tensors ---- */

/* One tensor of block `il`. */
static void *block(struct build *b, uint32_t il, enum tensor_fill fill, enum ggml_type type,
                   const char *name, const int64_t dims[4])
{
    char full[64];

    snprintf(full, sizeof(full), "blk.%u.%s", (unsigned)il, name);
    return tensors_add(&b->tensors, fill, type, full, dims);
}

static void add_script_head(struct build *b, const float *embedding)
{
    uint32_t e = b->o->embd;
    const int *chain = b->script.chain;
    float scale =
        (float)SCRIPT_LOGIT / sqrtf((float)e); /* rows: embedding 1, hidden sqrt(e) long */
    float *head;

    head = tensors_add(&b->tensors, FILL_ZERO, GGML_TYPE_F32, "output.weight",
                       DIMS(e, vocab_size(b->vocab)));
    for (size_t i = 0; head != NULL && i + 1 < b->script.n; i++) {
        for (uint32_t k = 0; k < e; k++)
            head[(size_t)chain[i + 1] * e + k] += scale * embedding[(size_t)chain[i] * e + k];
    }
}

static void add_ends(struct build *b)
{
    const struct options *o = b->o;
    bool scripted = b->script.n != 0;
    int64_t e = o->embd, v = vocab_size(b->vocab);
    const float *embedding = tensors_add(&b->tensors, FILL_RANDOM, scripted ? GGML_TYPE_F32 : ANY,
                                         "token_embd.weight", DIMS(e, v));

    tensors_add(&b->tensors, FILL_ONE, ANY, "output_norm.weight", DIMS(e));
    if (scripted && embedding != NULL)
        add_script_head(b, embedding);
    else if (!scripted && (o->tied == 0 || has(b, ARCH_OSS)))
        tensors_add(&b->tensors, FILL_RANDOM, ANY, "output.weight", DIMS(e, v));
}

static void add_mamba(struct build *b, uint32_t il)
{
    int64_t e = b->o->embd, inner = 2 * e, rank = (e + 15) / 16;
    float *a;

    block(b, il, FILL_RANDOM, ANY, "ssm_in.weight", DIMS(e, 2 * inner));
    block(b, il, FILL_RANDOM, GGML_TYPE_F32, "ssm_conv1d.weight", DIMS(CONV, inner));
    block(b, il, FILL_ZERO, ANY, "ssm_conv1d.bias", DIMS(inner));
    block(b, il, FILL_RANDOM, ANY, "ssm_x.weight", DIMS(inner, rank + 2 * MAMBA_STATE));
    block(b, il, FILL_RANDOM, GGML_TYPE_F32, "ssm_dt.weight", DIMS(rank, inner));
    block(b, il, FILL_ZERO, ANY, "ssm_dt.bias", DIMS(inner));
    a = block(b, il, FILL_ONE, GGML_TYPE_F32, "ssm_a", DIMS(MAMBA_STATE, inner));
    for (int64_t i = 0; a != NULL && i < MAMBA_STATE * inner; i++)
        a[i] = -(float)(i % MAMBA_STATE + 1);
    block(b, il, FILL_ONE, ANY, "ssm_d", DIMS(inner));
    block(b, il, b->block_out, ANY, "ssm_out.weight", DIMS(inner, e));
}

static void add_delta_net(struct build *b, uint32_t il)
{
    int64_t e = b->o->embd, k = DELTA_K_HEADS * DELTA_DIM, v = DELTA_V_HEADS * DELTA_DIM;
    float *a;

    block(b, il, FILL_RANDOM, ANY, "attn_qkv.weight", DIMS(e, 2 * k + v));
    block(b, il, FILL_RANDOM, ANY, "attn_gate.weight", DIMS(e, v));
    block(b, il, FILL_RANDOM, GGML_TYPE_F32, "ssm_conv1d.weight", DIMS(CONV, 2 * k + v));
    block(b, il, FILL_ZERO, ANY, "ssm_dt.bias", DIMS(DELTA_V_HEADS));
    a = block(b, il, FILL_ONE, ANY, "ssm_a", DIMS(DELTA_V_HEADS));
    for (int i = 0; a != NULL && i < DELTA_V_HEADS; i++)
        a[i] = -1.0f;
    block(b, il, FILL_RANDOM, ANY, "ssm_beta.weight", DIMS(e, DELTA_V_HEADS));
    block(b, il, FILL_RANDOM, ANY, "ssm_alpha.weight", DIMS(e, DELTA_V_HEADS));
    block(b, il, FILL_ONE, ANY, "ssm_norm.weight", DIMS(DELTA_DIM));
    block(b, il, b->block_out, ANY, "ssm_out.weight", DIMS(v, e));
}

static void add_latent_attention(struct build *b, uint32_t il)
{
    int64_t e = b->o->embd, h = b->o->heads;

    block(b, il, FILL_ONE, ANY, "attn_q_a_norm.weight", DIMS(MLA_Q_RANK));
    block(b, il, FILL_ONE, ANY, "attn_kv_a_norm.weight", DIMS(MLA_KV_RANK));
    block(b, il, FILL_RANDOM, ANY, "attn_q_a.weight", DIMS(e, MLA_Q_RANK));
    block(b, il, FILL_RANDOM, ANY, "attn_q_b.weight", DIMS(MLA_Q_RANK, h * (MLA_NOPE + MLA_ROPE)));
    block(b, il, FILL_RANDOM, ANY, "attn_kv_a_mqa.weight", DIMS(e, MLA_KV_RANK + MLA_ROPE));
    block(b, il, FILL_RANDOM, ANY, "attn_k_b.weight", DIMS(MLA_NOPE, MLA_KV_RANK, h));
    block(b, il, FILL_RANDOM, ANY, "attn_v_b.weight", DIMS(MLA_KV_RANK, MLA_V, h));
    block(b, il, b->block_out, ANY, "attn_output.weight", DIMS(h * MLA_V, e));
}

static void add_attention(struct build *b, uint32_t il)
{
    const struct options *o = b->o;
    int64_t e = o->embd, q = (int64_t)o->heads * o->headdim, kv = (int64_t)o->kvheads * o->headdim;

    /* the hybrid's Q carries a gate of the same size */
    block(b, il, FILL_RANDOM, ANY, "attn_q.weight", DIMS(e, has(b, ARCH_HYBRID) ? 2 * q : q));
    block(b, il, FILL_RANDOM, ANY, "attn_k.weight", DIMS(e, kv));
    block(b, il, FILL_RANDOM, ANY, "attn_v.weight", DIMS(e, kv));
    block(b, il, b->block_out, ANY, "attn_output.weight", DIMS(q, e));
    if (has(b, ARCH_QK_NORM)) {
        block(b, il, FILL_ONE, ANY, "attn_q_norm.weight", DIMS(o->headdim));
        block(b, il, FILL_ONE, ANY, "attn_k_norm.weight", DIMS(o->headdim));
    }
    if (has(b, ARCH_OSS)) {
        block(b, il, FILL_ZERO, ANY, "attn_output.bias", DIMS(e));
        block(b, il, FILL_ZERO, ANY, "attn_sinks.weight", DIMS(o->heads));
    }
}

static void add_experts(struct build *b, uint32_t il)
{
    const struct options *o = b->o;
    int64_t e = o->embd, f = o->ff, x = o->experts;

    block(b, il, FILL_RANDOM, GGML_TYPE_F32, "ffn_gate_inp.weight", DIMS(e, x));
    block(b, il, FILL_RANDOM, ANY, "ffn_gate_exps.weight", DIMS(e, f, x));
    block(b, il, FILL_RANDOM, ANY, "ffn_up_exps.weight", DIMS(e, f, x));
    block(b, il, b->block_out, ANY, "ffn_down_exps.weight", DIMS(f, e, x));
    if (has(b, ARCH_OSS)) {
        block(b, il, FILL_ZERO, ANY, "ffn_gate_inp.bias", DIMS(x));
        block(b, il, FILL_ZERO, GGML_TYPE_F32, "ffn_gate_exps.bias", DIMS(f, x));
        block(b, il, FILL_ZERO, GGML_TYPE_F32, "ffn_up_exps.bias", DIMS(f, x));
        block(b, il, FILL_ZERO, GGML_TYPE_F32, "ffn_down_exps.bias", DIMS(e, x));
    }
    if (has(b, ARCH_MLA)) {
        block(b, il, FILL_RANDOM, ANY, "ffn_gate_shexp.weight", DIMS(e, f));
        block(b, il, FILL_RANDOM, ANY, "ffn_up_shexp.weight", DIMS(e, f));
        block(b, il, b->block_out, ANY, "ffn_down_shexp.weight", DIMS(f, e));
    }
}

static void add_block(struct build *b, uint32_t il)
{
    int64_t e = b->o->embd, f = b->o->ff;

    block(b, il, FILL_ONE, ANY, "attn_norm.weight", DIMS(e));
    if (has(b, ARCH_MAMBA)) {
        add_mamba(b, il);
        return;
    }
    if (has(b, ARCH_HYBRID) && (il + 1) % 4 != 0)
        add_delta_net(b, il);
    else if (has(b, ARCH_MLA))
        add_latent_attention(b, il);
    else
        add_attention(b, il);
    if (has(b, ARCH_POST_NORM))
        block(b, il, FILL_ONE, ANY, "post_attention_norm.weight", DIMS(e));
    if (has(b, ARCH_GEMMA))
        block(b, il, FILL_ONE, ANY, "post_ffw_norm.weight", DIMS(e));
    if (has(b, ARCH_FFN_NORM))
        block(b, il, FILL_ONE, ANY, "ffn_norm.weight", DIMS(e));
    if (has(b, ARCH_MOE) && !(has(b, ARCH_MLA) && il == 0)) {
        add_experts(b, il);
        return;
    }
    block(b, il, FILL_RANDOM, ANY, "ffn_gate.weight", DIMS(e, f));
    block(b, il, FILL_RANDOM, ANY, "ffn_up.weight", DIMS(e, f));
    block(b, il, b->block_out, ANY, "ffn_down.weight", DIMS(f, e));
}

/* ---- the file ---- */

static int build_vocab(struct build *b, char *why, size_t n_why)
{
    const struct options *o = b->o;

    b->block_out = o->script != NULL ? FILL_ZERO : FILL_RANDOM;
    if ((b->vocab = vocab_new()) == NULL) {
        snprintf(why, n_why, "out of memory");
        return -1;
    }
    if (o->script != NULL &&
        script_parse(&b->script, b->vocab, o->script, (int)o->loop, why, n_why) != 0)
        return -1;
    if (vocab_fill(b->vocab, o->vocab) != 0) {
        snprintf(why, n_why, "out of memory");
        return -1;
    }
    return 0;
}

static int write_file(struct build *b, char *why, size_t n_why)
{
    if (b->tensors.failed) {
        snprintf(why, n_why, "out of memory");
        return -1;
    }
    if (!gguf_write_to_file(b->gguf, b->o->out, false)) {
        snprintf(why, n_why, "cannot write %s", b->o->out);
        (void)unlink(b->o->out);
        return -1;
    }
    return 0;
}

int model_write(const struct options *o, struct model_summary *sum, char *why, size_t n_why)
{
    struct build b = {.o = o, .traits = o->arch->traits, .gguf = gguf_init_empty()};
    int r;

    *sum = (struct model_summary){0};
    if ((r = build_vocab(&b, why, n_why)) != 0)
        goto out;
    write_keys(&b);
    if ((r = tensors_init(&b.tensors, b.gguf, types[type_index(o->type)].type, o->seed)) != 0) {
        snprintf(why, n_why, "out of memory");
        goto out;
    }
    add_ends(&b);
    for (uint32_t il = 0; il < o->layers; il++)
        add_block(&b, il);
    r = write_file(&b, why, n_why);
    *sum = (struct model_summary){.vocab = vocab_size(b.vocab),
                                  .merges = vocab_merges(b.vocab),
                                  .pieces = b.script.n != 0 ? (uint32_t)b.script.n - 2 : 0,
                                  .tensors = b.tensors.n,
                                  .params = b.tensors.params};
out:
    tensors_clear(&b.tensors);
    script_clear(&b.script);
    vocab_free(b.vocab);
    gguf_free(b.gguf);
    return r;
}
