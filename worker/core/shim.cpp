/* SPDX-License-Identifier: MIT */
/* worker/core/shim.cpp - see shim.h. */
#include "worker/core/shim.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <map>

/* The breakdown is exported by libllama but declared in none of its public headers; this repeats
 * what release 0.5 has in src/llama-ext.h, and shim_memory() asks for that release before it calls.
 */
struct llama_memory_breakdown_data {
    size_t model = 0;
    size_t context = 0;
    size_t compute = 0;
};
std::map<ggml_backend_buffer_type_t, llama_memory_breakdown_data>
llama_get_memory_breakdown(const struct llama_context *ctx) __attribute__((weak));

namespace
{
thread_local char what_text[256];

/* Runs f; an exception becomes `failed`. */
template <class R, class F> R guarded(R failed, F f) noexcept
{
    try {
        return f();
    } catch (const std::exception &e) {
        std::snprintf(what_text, sizeof(what_text), "%s", e.what());
    } catch (...) {
        std::snprintf(what_text, sizeof(what_text), "unknown exception");
    }
    return failed;
}

template <class F> llama_sampler *new_sampler(F f) noexcept
{
    return guarded<llama_sampler *>(nullptr, f);
}
} // namespace

const char *shim_what(void)
{
    return what_text;
}

llama_model *shim_model_load(const char *path, llama_model_params params)
{
    return guarded<llama_model *>(nullptr,
                                  [&] { return llama_model_load_from_file(path, params); });
}

llama_context *shim_context_new(llama_model *model, llama_context_params params)
{
    return guarded<llama_context *>(nullptr, [&] { return llama_init_from_model(model, params); });
}

int shim_decode(llama_context *ctx, llama_batch batch)
{
    return guarded<int>(SHIM_THREW, [&] { return llama_decode(ctx, batch); });
}

size_t shim_state_size(llama_context *ctx, llama_seq_id seq)
{
    return guarded<size_t>(0, [&] {
        return llama_state_seq_get_size_ext(ctx, seq, LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY);
    });
}

size_t shim_state_get(llama_context *ctx, uint8_t *to, size_t n, llama_seq_id seq)
{
    return guarded<size_t>(0, [&] {
        return llama_state_seq_get_data_ext(ctx, to, n, seq, LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY);
    });
}

size_t shim_state_set(llama_context *ctx, const uint8_t *from, size_t n, llama_seq_id seq)
{
    return guarded<size_t>(0, [&] {
        return llama_state_seq_set_data_ext(ctx, from, n, seq, LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY);
    });
}

size_t shim_seq_size(llama_context *ctx, llama_seq_id seq)
{
    return guarded<size_t>(0, [&] { return llama_state_seq_get_size_ext(ctx, seq, 0); });
}

size_t shim_seq_get(llama_context *ctx, uint8_t *to, size_t n, llama_seq_id seq)
{
    return guarded<size_t>(0, [&] { return llama_state_seq_get_data_ext(ctx, to, n, seq, 0); });
}

size_t shim_seq_set(llama_context *ctx, const uint8_t *from, size_t n, llama_seq_id seq)
{
    return guarded<size_t>(0, [&] { return llama_state_seq_set_data_ext(ctx, from, n, seq, 0); });
}

int shim_piece(const llama_vocab *vocab, llama_token token, char *to, int32_t n)
{
    return guarded<int>(SHIM_THREW,
                        [&] { return llama_token_to_piece(vocab, token, to, n, 0, false); });
}

int shim_tokenize(const llama_vocab *vocab, const char *text, int32_t n, llama_token *to,
                  int32_t n_max, bool add_special)
{
    return guarded<int>(
        SHIM_THREW, [&] { return llama_tokenize(vocab, text, n, to, n_max, add_special, true); });
}

llama_sampler *shim_chain_new(void)
{
    return new_sampler(
        [] { return llama_sampler_chain_init(llama_sampler_chain_default_params()); });
}

bool shim_chain_add(llama_sampler *chain, llama_sampler *takes)
{
    if (chain == nullptr || takes == nullptr) {
        llama_sampler_free(takes);
        return false;
    }
    return guarded<bool>(false, [&] {
        llama_sampler_chain_add(chain, takes);
        return true;
    });
}

llama_sampler *shim_sampler_bias(int32_t n_vocab, int32_t n, const llama_logit_bias *bias)
{
    return new_sampler([&] { return llama_sampler_init_logit_bias(n_vocab, n, bias); });
}

llama_sampler *shim_sampler_penalties(int32_t n_vocab, int32_t last_n, float frequency,
                                      float presence)
{
    return new_sampler(
        [&] { return llama_sampler_init_penalties(n_vocab, last_n, 1.0f, frequency, presence); });
}

llama_sampler *shim_sampler_top_k(int32_t k)
{
    return new_sampler([&] { return llama_sampler_init_top_k(k); });
}

llama_sampler *shim_sampler_top_p(float p)
{
    return new_sampler([&] { return llama_sampler_init_top_p(p, 1); });
}

llama_sampler *shim_sampler_min_p(float p)
{
    return new_sampler([&] { return llama_sampler_init_min_p(p, 1); });
}

llama_sampler *shim_sampler_temperature(float t)
{
    return new_sampler([&] { return llama_sampler_init_temp(t); });
}

llama_sampler *shim_sampler_dist(uint32_t seed)
{
    return new_sampler([&] { return llama_sampler_init_dist(seed); });
}

llama_sampler *shim_sampler_greedy(void)
{
    return new_sampler([] { return llama_sampler_init_greedy(); });
}

llama_token shim_sample(llama_sampler *chain, llama_context *ctx, int32_t index)
{
    return guarded<llama_token>(SHIM_THREW,
                                [&] { return llama_sampler_sample(chain, ctx, index); });
}

int shim_memory(const llama_context *ctx, struct shim_row *rows, int max)
{
    if (std::strncmp(llama_version(), "0.5.", 4) != 0 || llama_get_memory_breakdown == nullptr)
        return SHIM_UNKNOWN;
    return guarded<int>(SHIM_THREW, [&] {
        int n = 0;

        for (const auto &entry : llama_get_memory_breakdown(ctx)) {
            if (n == max)
                break;
            struct shim_row &row = rows[n++];
            std::snprintf(row.buffer, sizeof(row.buffer), "%s",
                          ggml_backend_buft_name(entry.first));
            row.host = ggml_backend_buft_is_host(entry.first);
            row.weights = entry.second.model;
            row.kv = entry.second.context;
            row.compute = entry.second.compute;
        }
        return n;
    });
}
