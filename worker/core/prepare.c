/* SPDX-License-Identifier: MIT */
/* worker/core/prepare.c - see prepare.h. A text that is far too long for the context is counted in
 * pieces, because the tokenizer needs some sixteen bytes of memory per byte of text. */
#include "worker/core/prepare.h"

#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "proto/base/json_write.h"
#include "worker/core/template.h"
#include "worker/core/text_shim.h"

enum {
    PREPARE_PIECE = 256 * 1024,             /* bytes counted at once when a text is too long */
    PREPARE_PROMPT_MAX = 192 * 1024 * 1024, /* bytes of a rendered prompt: the body's limit and
                                               what templates put around it */
    PREPARE_TOKEN_BYTES = 16                /* no real text has more bytes per token on average */
};

/* A count above this many tokens need not be exact. */
#define ENOUGH(env) ((size_t)(env)->context * 4)

/* ---- text to tokens ---- */

struct token_list {
    int32_t *v; /* owned */
    size_t n, cap;
};

static int list_reserve(struct token_list *l, size_t more)
{
    size_t cap = l->n + more;
    int32_t *v;

    if (cap <= l->cap)
        return 0;
    v = realloc(l->v, cap * sizeof(*v));
    if (v == NULL)
        return UV_ENOMEM;
    l->v = v;
    l->cap = cap;
    return 0;
}

static int list_put(struct token_list *l, int32_t token)
{
    int r = list_reserve(l, 1);

    if (r == 0)
        l->v[l->n++] = token;
    return r;
}

/* Appends the tokens of a text of at most INT32_MAX bytes. */
static int list_tokenize(struct token_list *l, const struct llama_vocab *vocab,
                         struct rm_slice text, bool add_special, bool parse_special)
{
    size_t guess = text.n / 3 + 16;
    int32_t n;
    int r;

    if (text.n > INT32_MAX / 2)
        return RM_ERR_TOO_BIG;
    for (int turn = 0; turn < 2; turn++) {
        if ((r = list_reserve(l, guess)) < 0)
            return r;
        n = text_shim_tokenize(vocab, text.n > 0 ? text.p : "", (int32_t)text.n, l->v + l->n,
                               (int32_t)(l->cap - l->n), add_special, parse_special);
        if (n >= 0) {
            l->n += (size_t)n;
            return 0;
        }
        if (n == TEXT_SHIM_THREW)
            return RM_ERR_ENGINE;
        guess = (size_t)-n;
    }
    return RM_ERR_INTERNAL;
}

/* Templates may write a begin-of-sequence mark that the tokenizer adds as well. */
static void list_drop_double_bos(struct token_list *l, const struct llama_vocab *vocab)
{
    int32_t bos = llama_vocab_bos(vocab);

    if (l->n >= 2 && l->v[0] == bos && l->v[1] == bos)
        memmove(l->v, l->v + 1, --l->n * sizeof(*l->v));
}

static size_t piece_end(struct rm_slice text, size_t from)
{
    size_t end = from + PREPARE_PIECE;

    if (end >= text.n)
        return text.n;
    for (size_t back = 0; back < 256 && end - back > from + 1; back++)
        if (text.p[end - back] == ' ' || text.p[end - back] == '\n')
            return end - back;
    while (((unsigned char)text.p[end] & 0xC0) == 0x80 && end > from + 1)
        end--;
    return end;
}

/* Tokens of a text without holding more than one piece's. Exact up to `enough`; from there on the
 * rest is taken to have as many per byte, so that a text of 64 MiB does not keep a thread for half
 * a minute only to be refused. */
static int count_in_pieces(const struct llama_vocab *vocab, struct rm_slice text, size_t enough,
                           size_t *count)
{
    struct token_list l = {NULL, 0, 0};
    int r = 0;

    *count = 0;
    for (size_t at = 0; at < text.n && r == 0;) {
        size_t end = piece_end(text, at);

        l.n = 0;
        r = list_tokenize(&l, vocab, (struct rm_slice){text.p + at, end - at}, at == 0, true);
        *count += l.n;
        at = end;
        if (*count > enough && at < text.n) {
            *count = (size_t)((double)*count / (double)at * (double)text.n);
            break;
        }
    }
    free(l.v);
    return r;
}

static int fault_context(const struct prepare_env *env, size_t n, struct request_fault *fault)
{
    snprintf(fault->why, sizeof(fault->why),
             "This model's maximum context length is %u tokens. However, your messages resulted in "
             "%zu tokens.",
             env->context, n);
    snprintf(fault->param, sizeof(fault->param), "messages");
    return RM_ERR_CONTEXT;
}

static int prepare_text(const struct prepare_env *env, struct rm_slice text, struct token_list *l,
                        struct request_fault *fault)
{
    size_t n;
    int r;

    if (text.n > (size_t)env->context * PREPARE_TOKEN_BYTES + PREPARE_PIECE) {
        if ((r = count_in_pieces(env->vocab, text, ENOUGH(env), &n)) < 0)
            return r;
        if (n >= env->context)
            return fault_context(env, n, fault);
    }
    if ((r = list_tokenize(l, env->vocab, text, true, true)) == 0)
        list_drop_double_bos(l, env->vocab);
    return r;
}

/* ---- one prompt of each kind ---- */

static int prepare_chat(const struct prepare_env *env, const struct request *q,
                        struct token_list *l, struct request_fault *fault)
{
    struct rm_buf text;
    int r;

    rm_buf_init(&text, PREPARE_PROMPT_MAX);
    r = chat_template_render(env->template, q, &text, fault);
    if (r == 0)
        r = prepare_text(env, (struct rm_slice){text.data, text.len}, l, fault);
    rm_buf_clear(&text);
    return r;
}

static int fault_field(struct request_fault *fault, const char *param, const char *why)
{
    snprintf(fault->param, sizeof(fault->param), "%s", param);
    snprintf(fault->why, sizeof(fault->why), "%s: %s", param, why);
    return RM_ERR_FIELD;
}

static int prepare_ids(const struct prepare_env *env, const json_t *ids, struct token_list *l,
                       struct request_fault *fault)
{
    int32_t n_vocab = llama_vocab_n_tokens(env->vocab);
    const json_t *id;
    size_t i;
    int r = list_reserve(l, json_array_size(ids));

    json_array_foreach(ids, i, id)
    {
        if (r < 0)
            break;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= n_vocab)
            return fault_field(fault, "prompt", "a token id that the model does not have");
        r = list_put(l, (int32_t)json_integer_value(id));
    }
    return r;
}

bool prepare_has_fim(const struct llama_vocab *vocab)
{
    return llama_vocab_fim_pre(vocab) != LLAMA_TOKEN_NULL &&
           llama_vocab_fim_suf(vocab) != LLAMA_TOKEN_NULL &&
           llama_vocab_fim_mid(vocab) != LLAMA_TOKEN_NULL;
}

/* Prefix, suffix, middle: the order that every model with these three tokens was trained on. The
 * two texts are code: marks in them are read as text. */
static int prepare_fim(const struct prepare_env *env, const struct request *q, struct token_list *l,
                       struct request_fault *fault)
{
    const struct llama_vocab *v = env->vocab;
    size_t most = (size_t)env->context * PREPARE_TOKEN_BYTES + PREPARE_PIECE, a, b;
    int r = 0;

    if (!prepare_has_fim(v)) {
        snprintf(fault->param, sizeof(fault->param), "suffix");
        snprintf(fault->why, sizeof(fault->why),
                 "suffix: the model has no fill-in-the-middle tokens");
        return RM_ERR_NOT_SUPPORTED;
    }
    if (q->prompts[0].text.n + q->suffix.n > most) {
        if ((r = count_in_pieces(v, q->prompts[0].text, ENOUGH(env), &a)) < 0 ||
            (r = count_in_pieces(v, q->suffix, ENOUGH(env), &b)) < 0)
            return r;
        if (a + b + 3 >= env->context)
            return fault_context(env, a + b + 3, fault);
    }
    if (llama_vocab_get_add_bos(v))
        r = list_put(l, llama_vocab_bos(v));
    if (r == 0 && (r = list_put(l, llama_vocab_fim_pre(v))) == 0 &&
        (r = list_tokenize(l, v, q->prompts[0].text, false, false)) == 0 &&
        (r = list_put(l, llama_vocab_fim_suf(v))) == 0 &&
        (r = list_tokenize(l, v, q->suffix, false, false)) == 0)
        r = list_put(l, llama_vocab_fim_mid(v));
    return r;
}

static int prepare_one(const struct prepare_env *env, struct prepared *p, size_t at,
                       struct request_fault *fault)
{
    const struct request *q = &p->request;
    const char *param = q->kind == REQUEST_CHAT ? "messages" : "prompt";
    struct token_list l = {NULL, 0, 0};
    int r;

    if (q->kind == REQUEST_CHAT)
        r = prepare_chat(env, q, &l, fault);
    else if (q->has_suffix)
        r = prepare_fim(env, q, &l, fault);
    else if (q->prompts[at].tokens != NULL)
        r = prepare_ids(env, q->prompts[at].tokens, &l, fault);
    else
        r = prepare_text(env, q->prompts[at].text, &l, fault);
    if (r == 0 && l.n == 0)
        r = fault_field(fault, param, "no token in it");
    if (r == 0 && l.n >= env->context)
        r = fault_context(env, l.n, fault);
    p->prompts[at] = (struct prepared_prompt){l.v, l.n};
    return r;
}

int prepare_run(const struct prepare_env *env, enum request_kind kind, struct rm_slice body,
                struct prepared *out, struct request_fault *fault)
{
    int r;

    memset(out, 0, sizeof(*out));
    if ((r = request_parse(kind, body, &out->request, fault)) < 0)
        return r;
    out->n_prompts = kind == REQUEST_CHAT ? 1 : out->request.n_prompts;
    for (size_t i = 0; r == 0 && i < out->n_prompts; i++)
        r = prepare_one(env, out, i, fault);
    if (r == 0)
        for (size_t i = 0; i < out->request.sampling.n_bias; i++)
            if (out->request.sampling.bias[i].token >= llama_vocab_n_tokens(env->vocab))
                r = fault_field(fault, "logit_bias", "a token id that the model does not have");
    if (r < 0) {
        if (fault->why[0] == '\0')
            snprintf(fault->why, sizeof(fault->why), "%s", rm_strerror(r));
        prepared_clear(out);
    } else {
        request_drop_tree(&out->request);
    }
    return r;
}

void prepared_clear(struct prepared *p)
{
    for (size_t i = 0; i < p->n_prompts; i++)
        free(p->prompts[i].tokens);
    request_clear(&p->request);
    memset(p, 0, sizeof(*p));
}

/* ---- the small services ---- */

static bool flag_of(const json_t *root, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(root, key);

    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

/* One token's bytes into text (NUL-terminated); text_shim_piece asks for room by a negative
 * number. Returns 0, RM_ERR_TOO_BIG or UV_ENOMEM. */
static int piece_put(const struct llama_vocab *vocab, int32_t token, struct rm_buf *text)
{
    int32_t n;
    int r = rm_buf_reserve(text, 64);

    if (r < 0)
        return r;
    n = text_shim_piece(vocab, token, text->data + text->len, (int32_t)(text->cap - text->len));
    if (n == TEXT_SHIM_THREW)
        return RM_ERR_ENGINE;
    if (n < 0) {
        if ((r = rm_buf_reserve(text, (size_t)-n)) < 0)
            return r;
        n = text_shim_piece(vocab, token, text->data + text->len, (int32_t)(text->cap - text->len));
        if (n < 0)
            return RM_ERR_INTERNAL;
    }
    text->len += (size_t)n;
    text->data[text->len] = '\0';
    return 0;
}

static int write_tokens(const struct prepare_env *env, const struct token_list *l, bool pieces,
                        struct rm_buf *out)
{
    struct rm_jw w = rm_jw_to(out);
    struct rm_buf text;
    int r = 0;

    rm_buf_init(&text, 64 * 1024);
    rm_jw_obj(&w, NULL);
    rm_jw_arr(&w, "tokens");
    for (size_t i = 0; i < l->n && r == 0; i++) {
        if (!pieces) {
            rm_jw_i64(&w, NULL, l->v[i]);
            continue;
        }
        text.len = 0;
        r = piece_put(env->vocab, l->v[i], &text);
        rm_jw_obj(&w, NULL);
        rm_jw_i64(&w, "id", l->v[i]);
        rm_jw_slice(&w, "piece", (struct rm_slice){text.data, text.len});
        rm_jw_end(&w);
    }
    rm_jw_end(&w);
    rm_jw_end(&w);
    rm_buf_clear(&text);
    return r < 0 ? r : rm_jw_done(&w);
}

int prepare_tokenize(const struct prepare_env *env, struct rm_slice body, struct rm_buf *out,
                     struct request_fault *fault)
{
    struct token_list l = {NULL, 0, 0};
    const json_t *content;
    json_t *root;
    int r = request_load(body, &root, fault);

    if (r < 0)
        return r;
    content = json_object_get(root, "content");
    if (!json_is_string(content))
        r = fault_field(fault, "content", "expected a string");
    else
        r = list_tokenize(
            &l, env->vocab,
            (struct rm_slice){json_string_value(content), json_string_length(content)},
            flag_of(root, "add_special", false), flag_of(root, "parse_special", true));
    if (r == 0)
        r = write_tokens(env, &l, flag_of(root, "with_pieces", false), out);
    free(l.v);
    json_decref(root);
    return r;
}

int prepare_detokenize(const struct prepare_env *env, struct rm_slice body, struct rm_buf *out,
                       struct request_fault *fault)
{
    int32_t n_vocab = llama_vocab_n_tokens(env->vocab);
    struct rm_jw w = rm_jw_to(out);
    struct rm_buf text;
    const json_t *ids, *id;
    json_t *root;
    size_t i;
    int r = request_load(body, &root, fault);

    if (r < 0)
        return r;
    rm_buf_init(&text, 16 * 1024 * 1024);
    ids = json_object_get(root, "tokens");
    if (!json_is_array(ids))
        r = fault_field(fault, "tokens", "expected an array of token ids");
    json_array_foreach(ids, i, id)
    {
        if (r < 0)
            break;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= n_vocab)
            r = fault_field(fault, "tokens", "a token id that the model does not have");
        else
            r = piece_put(env->vocab, (int32_t)json_integer_value(id), &text);
    }
    if (r == 0) {
        rm_jw_obj(&w, NULL);
        rm_jw_slice(&w, "content", (struct rm_slice){text.data, text.len});
        rm_jw_end(&w);
        r = rm_jw_done(&w);
    }
    rm_buf_clear(&text);
    json_decref(root);
    return r;
}

int prepare_apply(const struct prepare_env *env, struct rm_slice body, struct rm_buf *out,
                  struct request_fault *fault)
{
    struct rm_jw w = rm_jw_to(out);
    struct rm_buf text;
    struct request q;
    int r = request_parse(REQUEST_CHAT, body, &q, fault);

    if (r < 0)
        return r;
    rm_buf_init(&text, PREPARE_PROMPT_MAX);
    if ((r = chat_template_render(env->template, &q, &text, fault)) == 0) {
        rm_jw_obj(&w, NULL);
        rm_jw_slice(&w, "prompt", (struct rm_slice){text.data, text.len});
        rm_jw_end(&w);
        r = rm_jw_done(&w);
    }
    rm_buf_clear(&text);
    request_clear(&q);
    return r;
}
