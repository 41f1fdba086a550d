/* SPDX-License-Identifier: MIT */
/* worker/core/prepare_test.c - templates and tokenizing on models made by mkmodel (their
 * vocabulary alone is loaded). MODELS names the directory: chatml.gguf, hermes.gguf, think.gguf.
 * Rows about Jinja are for builds that have it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/core/prepare.h"
#include "worker/core/template.h"

struct fixture {
    struct llama_model *model;
    struct chat_template *jinja, *builtin;
};

static struct fixture chatml, hermes, think;

static void quiet(enum ggml_log_level level, const char *text, void *arg)
{
    (void)level;
    (void)text;
    (void)arg;
}

static void fixture_open(struct fixture *f, const char *name)
{
    struct llama_model_params p = llama_model_default_params();
    const char *dir = getenv("MODELS");
    char path[512];

    assert_non_null(dir);
    snprintf(path, sizeof(path), "%s/%s.gguf", dir, name);
    p.vocab_only = true;
    f->model = llama_model_load_from_file(path, p);
    assert_non_null(f->model);
    assert_int_equal(chat_template_open(f->model, true, &f->jinja), 0);
    assert_int_equal(chat_template_open(f->model, false, &f->builtin), 0);
}

static void fixture_close(struct fixture *f)
{
    chat_template_close(f->jinja);
    chat_template_close(f->builtin);
    llama_model_free(f->model);
}

static int open_all(void **state)
{
    (void)state;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    fixture_open(&chatml, "chatml");
    fixture_open(&hermes, "hermes");
    fixture_open(&think, "think");
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    fixture_close(&chatml);
    fixture_close(&hermes);
    fixture_close(&think);
    return 0;
}

/* ---- templates ---- */

static const struct row {
    const char *name, *body, *want; /* want NULL: refused with RM_ERR_FIELD */
    struct fixture *model;
    bool jinja;
} rows[] = {
    {"one message", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
     "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", &chatml, true},
    {"one message, builtin", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
     "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", &chatml, false},
    {"a talk",
     "{\"messages\":[{\"role\":\"developer\",\"content\":\"be brief\"},{\"role\":\"user\","
     "\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]},"
     "{\"role\":\"assistant\",\"content\":\"c\"},{\"role\":\"user\",\"content\":\"d\"}]}",
     "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\na\nb<|im_end|>\n"
     "<|im_start|>assistant\nc<|im_end|>\n<|im_start|>user\nd<|im_end|>\n<|im_start|>assistant\n",
     &chatml, true},
    {"a talk, builtin",
     "{\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\","
     "\"content\":\"\xe2\x82\xac\"}]}",
     "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n\xe2\x82\xac<|im_end|>\n"
     "<|im_start|>assistant\n",
     &hermes, false},
    {"thinking off",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
     "\"chat_template_kwargs\":{\"enable_thinking\":false}}",
     "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", &think,
     true},
    {"thinking on",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
     "\"chat_template_kwargs\":{\"enable_thinking\":true}}",
     "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", &think, true},
    {"a call and its result",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":"
     "null,\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\","
     "\"arguments\":\"{\\\"a\\\":1}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":"
     "\"r\"}]}",
     "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n\n<tool_call>\n{\"name\": \"f\", "
     "\"arguments\": {\"a\": 1}}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\nr\n"
     "</tool_response><|im_end|>\n<|im_start|>assistant\n",
     &hermes, true},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    const struct chat_template *t = row->jinja ? row->model->jinja : row->model->builtin;
    struct request_fault fault;
    struct request q;
    struct rm_buf out;

    if (row->jinja && strcmp(chat_template_kind(t), "jinja") != 0)
        skip();
    rm_buf_init(&out, 1 << 20);
    assert_int_equal(request_parse(REQUEST_CHAT, rm_slice_of(row->body), &q, &fault), 0);
    assert_int_equal(chat_template_render(t, &q, &out, &fault), 0);
    assert_string_equal(out.data, row->want);
    rm_buf_clear(&out);
    request_clear(&q);
}

static void tools_reach_the_template(void **state)
{
    struct request_fault fault;
    struct request q;
    struct rm_buf out;

    (void)state;
    if (strcmp(chat_template_kind(hermes.jinja), "jinja") != 0)
        skip();
    rm_buf_init(&out, 1 << 20);
    assert_int_equal(
        request_parse(REQUEST_CHAT,
                      RM_LIT("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"tools\":[{"
                             "\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
                             "\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]}"),
                      &q, &fault),
        0);
    assert_int_equal(chat_template_render(hermes.jinja, &q, &out, &fault), 0);
    assert_non_null(strstr(out.data, "get_weather"));
    rm_buf_clear(&out);
    request_clear(&q);
}

/* No text of the prompt may come back in an error. */
static void template_errors_stay_inside(void **state)
{
    struct request_fault fault;
    struct request q;
    struct rm_buf out;

    (void)state;
    if (strcmp(chat_template_kind(hermes.jinja), "jinja") != 0)
        skip();
    rm_buf_init(&out, 1 << 20);
    assert_int_equal(
        request_parse(REQUEST_CHAT,
                      RM_LIT("{\"messages\":[{\"role\":\"user\",\"content\":\"secret\"}],"
                             "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                             "\"parameters\":{\"type\":\"bogus\",\"$ref\":\"#/nowhere\"}}}],"
                             "\"tool_choice\":\"sometimes\"}"),
                      &q, &fault),
        0);
    assert_int_equal(chat_template_render(hermes.jinja, &q, &out, &fault), RM_ERR_FIELD);
    assert_null(strstr(fault.why, "secret"));
    assert_non_null(strstr(fault.why, "template"));
    rm_buf_clear(&out);
    request_clear(&q);
}

static void no_room(void **state)
{
    struct chat_template *const two[] = {chatml.jinja, chatml.builtin};
    struct request_fault fault;
    struct request q;
    struct rm_buf out;

    (void)state;
    assert_int_equal(
        request_parse(REQUEST_CHAT,
                      RM_LIT("{\"messages\":[{\"role\":\"user\",\"content\":\"hello there\"}]}"),
                      &q, &fault),
        0);
    for (int i = 0; i < 2; i++) {
        rm_buf_init(&out, 20);
        assert_int_equal(chat_template_render(two[i], &q, &out, &fault), RM_ERR_TOO_BIG);
        rm_buf_clear(&out);
    }
    request_clear(&q);
}

/* ---- tokens ---- */

static struct prepare_env env_of(struct fixture *f, uint32_t context)
{
    return (struct prepare_env){
        .vocab = llama_model_get_vocab(f->model), .template = f->builtin, .context = context};
}

static void completion_tokens(void **state)
{
    struct prepare_env env = env_of(&chatml, 100);
    struct request_fault fault;
    struct prepared p;

    (void)state;
    assert_int_equal(prepare_run(&env, REQUEST_COMPLETION,
                                 RM_LIT("{\"prompt\":[\"abc\",\"abd\"],\"n\":2}"), &p, &fault),
                     0);
    assert_int_equal(p.n_prompts, 2);
    assert_true(p.prompts[0].n > 0);
    assert_null(p.request.root); /* the tree is gone */
    prepared_clear(&p);
    assert_int_equal(
        prepare_run(&env, REQUEST_COMPLETION, RM_LIT("{\"prompt\":[1,2,3]}"), &p, &fault), 0);
    assert_int_equal(p.prompts[0].n, 3);
    assert_int_equal(p.prompts[0].tokens[2], 3);
    prepared_clear(&p);
    assert_int_equal(
        prepare_run(&env, REQUEST_COMPLETION, RM_LIT("{\"prompt\":[1,99999999]}"), &p, &fault),
        RM_ERR_FIELD);
    assert_int_equal(prepare_run(&env, REQUEST_COMPLETION, RM_LIT("{\"prompt\":\"\"}"), &p, &fault),
                     RM_ERR_FIELD);
    assert_int_equal(prepare_run(&env, REQUEST_COMPLETION,
                                 RM_LIT("{\"prompt\":\"a\",\"logit_bias\":{\"99999999\":1}}"), &p,
                                 &fault),
                     RM_ERR_FIELD);
    assert_string_equal(fault.param, "logit_bias");
}

static void fill_in_the_middle(void **state)
{
    struct prepare_env env = env_of(&chatml, 100);
    const struct llama_vocab *v = env.vocab;
    struct request_fault fault;
    struct prepared p;
    const int32_t *t;

    (void)state;
    assert_true(prepare_has_fim(v));
    assert_int_equal(prepare_run(&env, REQUEST_COMPLETION,
                                 RM_LIT("{\"prompt\":\"<|im_end|>\",\"suffix\":\"\"}"), &p, &fault),
                     0);
    t = p.prompts[0].tokens;
    assert_int_equal(t[0], llama_vocab_fim_pre(v));
    assert_true(p.prompts[0].n > 4); /* the mark was read as text, not as one special token */
    assert_int_equal(t[p.prompts[0].n - 2], llama_vocab_fim_suf(v));
    assert_int_equal(t[p.prompts[0].n - 1], llama_vocab_fim_mid(v));
    prepared_clear(&p);
}

/* Over the context: both numbers, in the sentence that clients look for. */
static void over_context(void **state)
{
    struct prepare_env env = env_of(&chatml, 8);
    struct request_fault fault;
    struct prepared p;
    unsigned m, n;

    (void)state;
    assert_int_equal(
        prepare_run(&env, REQUEST_COMPLETION, RM_LIT("{\"prompt\":[1,2,3,4,5,6,7,8]}"), &p, &fault),
        RM_ERR_CONTEXT);
    assert_string_equal(fault.why, "This model's maximum context length is 8 tokens. However, your "
                                   "messages resulted in 8 tokens.");
    assert_int_equal(
        prepare_run(&env, REQUEST_COMPLETION, RM_LIT("{\"prompt\":[1,2,3,4,5,6,7]}"), &p, &fault),
        0);
    prepared_clear(&p);
    assert_int_equal(
        prepare_run(&env, REQUEST_CHAT,
                    RM_LIT("{\"messages\":[{\"role\":\"user\",\"content\":\"one two three four "
                           "five six seven eight nine ten\"}]}"),
                    &p, &fault),
        RM_ERR_CONTEXT);
    assert_int_equal(sscanf(fault.why,
                            "This model's maximum context length is %u tokens. However, your "
                            "messages resulted in %u tokens.",
                            &m, &n),
                     2);
    assert_int_equal(m, 8);
    assert_true(n > 8);
}

/* A text that is far too long is counted in pieces; the count is that of the whole, give or take
 * what a border between pieces may cost. */
static void far_over_context(void **state)
{
    struct prepare_env env = env_of(&chatml, 16);
    struct request_fault fault;
    struct rm_buf body;
    struct prepared p;
    unsigned small, big;

    (void)state;
    rm_buf_init(&body, 8 << 20);
    for (int round = 0; round < 2; round++) {
        body.len = 0;
        assert_int_equal(rm_buf_puts(&body, "{\"prompt\":\""), 0);
        for (int i = 0; i < (round == 0 ? 1000 : 100000); i++)
            assert_int_equal(rm_buf_puts(&body, "word and "), 0);
        assert_int_equal(rm_buf_puts(&body, "\"}"), 0);
        assert_int_equal(prepare_run(&env, REQUEST_COMPLETION,
                                     (struct rm_slice){body.data, body.len}, &p, &fault),
                         RM_ERR_CONTEXT);
        assert_int_equal(
            sscanf(strstr(fault.why, "resulted in"), "resulted in %u", round == 0 ? &small : &big),
            1);
    }
    assert_in_range(big, small / 1000 * 100000 - 32, small / 1000 * 100000 + 32);
    rm_buf_clear(&body);
}

/* ---- services ---- */

static void there_and_back(void **state)
{
    struct prepare_env env = env_of(&chatml, 100);
    struct request_fault fault;
    struct rm_buf tokens, text;

    (void)state;
    rm_buf_init(&tokens, 1 << 16);
    rm_buf_init(&text, 1 << 16);
    assert_int_equal(prepare_tokenize(&env,
                                      RM_LIT("{\"content\":\"caf\xc3\xa9 \xf0\x9f\x98\x80\"}"),
                                      &tokens, &fault),
                     0);
    assert_int_equal(
        prepare_detokenize(&env, (struct rm_slice){tokens.data, tokens.len}, &text, &fault), 0);
    assert_string_equal(text.data, "{\"content\":\"caf\xc3\xa9 \xf0\x9f\x98\x80\"}");
    tokens.len = 0;
    assert_int_equal(prepare_tokenize(&env, RM_LIT("{\"content\":\"ab\",\"with_pieces\":true}"),
                                      &tokens, &fault),
                     0);
    assert_non_null(strstr(tokens.data, "\"piece\":\""));
    assert_int_equal(prepare_tokenize(&env, RM_LIT("{\"content\":5}"), &tokens, &fault),
                     RM_ERR_FIELD);
    assert_int_equal(prepare_detokenize(&env, RM_LIT("{\"tokens\":[-1]}"), &text, &fault),
                     RM_ERR_FIELD);
    assert_int_equal(prepare_detokenize(&env, RM_LIT("{\"tokens\":\"x\"}"), &text, &fault),
                     RM_ERR_FIELD);
    text.len = 0;
    assert_int_equal(
        prepare_apply(&env, RM_LIT("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"),
                      &text, &fault),
        0);
    assert_string_equal(
        text.data, "{\"prompt\":\"<|im_start|>user\\nhi<|im_end|>\\n<|im_start|>assistant\\n\"}");
    rm_buf_clear(&tokens);
    rm_buf_clear(&text);
}

int main(void)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test(tools_reach_the_template),
        cmocka_unit_test(template_errors_stay_inside),
        cmocka_unit_test(no_room),
        cmocka_unit_test(completion_tokens),
        cmocka_unit_test(fill_in_the_middle),
        cmocka_unit_test(over_context),
        cmocka_unit_test(far_over_context),
        cmocka_unit_test(there_and_back),
    };
    struct CMUnitTest tests[RM_COUNT(rows) + RM_COUNT(others)];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    memcpy(tests + RM_COUNT(rows), others, sizeof(others));
    return cmocka_run_group_tests(tests, open_all, close_all);
}
