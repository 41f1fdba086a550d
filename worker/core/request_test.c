/* SPDX-License-Identifier: MIT */
/* worker/core/request_test.c - bodies in, structs or refusals out; one row per behaviour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/core/request.h"

#define CHAT(members) "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" members "}"

/* ---- refusals ---- */

static const struct refusal {
    const char *name;
    enum request_kind kind;
    const char *body;
    int err;
    const char *param, *why; /* why: a part of it; NULL: any */
} refusals[] = {
    {"empty body", REQUEST_CHAT, "", RM_ERR_JSON, "", NULL},
    {"not JSON", REQUEST_CHAT, "hello", RM_ERR_JSON, "", NULL},
    {"an array", REQUEST_CHAT, "[]", RM_ERR_JSON, "", NULL},
    {"cut", REQUEST_CHAT, "{\"messages\":[", RM_ERR_JSON, "", NULL},
    {"trailing", REQUEST_CHAT, CHAT("") "x", RM_ERR_JSON, "", NULL},
    {"NaN", REQUEST_CHAT, CHAT(",\"temperature\":NaN"), RM_ERR_JSON, "", NULL},
    {"huge number", REQUEST_CHAT, CHAT(",\"temperature\":1e999"), RM_ERR_JSON, "", NULL},
    {"huge integer", REQUEST_CHAT, CHAT(",\"seed\":99999999999999999999"), RM_ERR_JSON, "", NULL},
    {"lone surrogate", REQUEST_CHAT, CHAT(",\"model\":\"\\ud83d\""), RM_ERR_JSON, "", NULL},
    {"NUL in a string", REQUEST_CHAT, CHAT(",\"model\":\"a\\u0000b\""), RM_ERR_JSON, "", NULL},
    {"bad UTF-8", REQUEST_CHAT, CHAT(",\"model\":\"\xff\""), RM_ERR_JSON, "", NULL},
    {"a key twice", REQUEST_CHAT, CHAT(",\"n\":1,\"n\":2"), RM_ERR_JSON, "", NULL},
    {"no messages", REQUEST_CHAT, "{}", RM_ERR_FIELD, "messages", "expected an array"},
    {"null messages", REQUEST_CHAT, "{\"messages\":null}", RM_ERR_FIELD, "messages", NULL},
    {"empty messages", REQUEST_CHAT, "{\"messages\":[]}", RM_ERR_FIELD, "messages", "at least one"},
    {"messages object", REQUEST_CHAT, "{\"messages\":{}}", RM_ERR_FIELD, "messages", NULL},
    {"message string", REQUEST_CHAT, "{\"messages\":[\"hi\"]}", RM_ERR_FIELD, "messages",
     "messages[0]: expected an object"},
    {"no role", REQUEST_CHAT, "{\"messages\":[{\"content\":\"x\"}]}", RM_ERR_FIELD, "messages",
     "messages[0].role"},
    {"unknown role", REQUEST_CHAT, "{\"messages\":[{\"role\":\"god\",\"content\":\"x\"}]}",
     RM_ERR_FIELD, "messages", "messages[0].role"},
    {"user without content", REQUEST_CHAT, "{\"messages\":[{\"role\":\"user\"}]}", RM_ERR_FIELD,
     "messages", "messages[0].content"},
    {"number content", REQUEST_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":5}]}",
     RM_ERR_FIELD, "messages", "messages[0].content"},
    {"image part", REQUEST_CHAT,
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}",
     RM_ERR_NOT_SUPPORTED, "messages", "messages[0].content[0]"},
    {"part without type", REQUEST_CHAT,
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}]}", RM_ERR_FIELD,
     "messages", NULL},
    {"text part without text", REQUEST_CHAT,
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}", RM_ERR_FIELD,
     "messages", "content[0]"},
    {"tool call without arguments", REQUEST_CHAT,
     "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]}]}",
     RM_ERR_FIELD, "messages", "tool_calls[0]"},
    {"temperature string", REQUEST_CHAT, CHAT(",\"temperature\":\"1\""), RM_ERR_FIELD,
     "temperature", "a number from 0"},
    {"temperature below 0", REQUEST_CHAT, CHAT(",\"temperature\":-0.1"), RM_ERR_FIELD,
     "temperature", NULL},
    {"top_p over 1", REQUEST_CHAT, CHAT(",\"top_p\":1.5"), RM_ERR_FIELD, "top_p", NULL},
    {"top_k fraction", REQUEST_CHAT, CHAT(",\"top_k\":1.5"), RM_ERR_FIELD, "top_k", NULL},
    {"penalty over 2", REQUEST_CHAT, CHAT(",\"presence_penalty\":2.1"), RM_ERR_FIELD,
     "presence_penalty", NULL},
    {"max_tokens 0", REQUEST_CHAT, CHAT(",\"max_tokens\":0"), RM_ERR_FIELD, "max_tokens", NULL},
    {"max_tokens -2", REQUEST_CHAT, CHAT(",\"max_tokens\":-2"), RM_ERR_FIELD, "max_tokens", NULL},
    {"n 0", REQUEST_CHAT, CHAT(",\"n\":0"), RM_ERR_FIELD, "n", NULL},
    {"n 9", REQUEST_CHAT, CHAT(",\"n\":9"), RM_ERR_FIELD, "n", "1 to 8"},
    {"n 2 streaming", REQUEST_CHAT, CHAT(",\"n\":2,\"stream\":true"), RM_ERR_FIELD, "n",
     "streaming"},
    {"stream string", REQUEST_CHAT, CHAT(",\"stream\":\"yes\""), RM_ERR_FIELD, "stream", NULL},
    {"stream_options array", REQUEST_CHAT, CHAT(",\"stream_options\":[]"), RM_ERR_FIELD,
     "stream_options", NULL},
    {"include_usage number", REQUEST_CHAT, CHAT(",\"stream_options\":{\"include_usage\":1}"),
     RM_ERR_FIELD, "stream_options", NULL},
    {"17 stops", REQUEST_CHAT,
     CHAT(",\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\",\"k\",\"l\","
          "\"m\",\"n\",\"o\",\"p\",\"q\"]"),
     RM_ERR_FIELD, "stop", "16"},
    {"stop number", REQUEST_CHAT, CHAT(",\"stop\":[1]"), RM_ERR_FIELD, "stop", NULL},
    {"bias key", REQUEST_CHAT, CHAT(",\"logit_bias\":{\"x\":1}"), RM_ERR_FIELD, "logit_bias",
     "token ids"},
    {"bias key with a tail", REQUEST_CHAT, CHAT(",\"logit_bias\":{\"5x\":1}"), RM_ERR_FIELD,
     "logit_bias", NULL},
    {"bias over 100", REQUEST_CHAT, CHAT(",\"logit_bias\":{\"5\":101}"), RM_ERR_FIELD, "logit_bias",
     "-100 to 100"},
    {"bias array", REQUEST_CHAT, CHAT(",\"logit_bias\":[5]"), RM_ERR_FIELD, "logit_bias", NULL},
    {"tools object", REQUEST_CHAT, CHAT(",\"tools\":{}"), RM_ERR_FIELD, "tools", NULL},
    {"tool without name", REQUEST_CHAT,
     CHAT(",\"tools\":[{\"type\":\"function\",\"function\":{}}]"), RM_ERR_FIELD, "tools", "name"},
    {"kwargs tree", REQUEST_CHAT, CHAT(",\"chat_template_kwargs\":{\"a\":{}}"), RM_ERR_FIELD,
     "chat_template_kwargs", NULL},
    {"enable_thinking word", REQUEST_CHAT,
     CHAT(",\"chat_template_kwargs\":{\"enable_thinking\":\"no\"}"), RM_ERR_FIELD,
     "chat_template_kwargs", NULL},
    {"json_object", REQUEST_CHAT, CHAT(",\"response_format\":{\"type\":\"json_object\"}"),
     RM_ERR_NOT_SUPPORTED, "response_format", NULL},
    {"format without type", REQUEST_CHAT, CHAT(",\"response_format\":{}"), RM_ERR_FIELD,
     "response_format", NULL},
    {"grammar", REQUEST_CHAT, CHAT(",\"grammar\":\"root ::= x\""), RM_ERR_NOT_SUPPORTED, "grammar",
     NULL},
    {"no prompt", REQUEST_COMPLETION, "{}", RM_ERR_FIELD, "prompt", NULL},
    {"prompt number", REQUEST_COMPLETION, "{\"prompt\":5}", RM_ERR_FIELD, "prompt", NULL},
    {"no prompts", REQUEST_COMPLETION, "{\"prompt\":[]}", RM_ERR_FIELD, "prompt", NULL},
    {"negative token", REQUEST_COMPLETION, "{\"prompt\":[1,-2]}", RM_ERR_FIELD, "prompt", NULL},
    {"mixed prompts", REQUEST_COMPLETION, "{\"prompt\":[\"a\",5]}", RM_ERR_FIELD, "prompt", NULL},
    {"17 prompts", REQUEST_COMPLETION,
     "{\"prompt\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\","
     "\"\",\"\"]}",
     RM_ERR_FIELD, "prompt", "16"},
    {"too many choices", REQUEST_COMPLETION, "{\"n\":8,\"prompt\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}",
     RM_ERR_FIELD, "n", "32"},
    {"suffix with two prompts", REQUEST_COMPLETION, "{\"prompt\":[\"a\",\"b\"],\"suffix\":\"c\"}",
     RM_ERR_FIELD, "suffix", NULL},
    {"suffix number", REQUEST_COMPLETION, "{\"prompt\":\"a\",\"suffix\":1}", RM_ERR_FIELD, "suffix",
     NULL},
};

static void run_refusal(void **state)
{
    const struct refusal *row = *state;
    struct request q;
    struct request_fault fault;
    int r = request_parse(row->kind, rm_slice_of(row->body), &q, &fault);

    assert_int_equal(r, row->err);
    assert_string_equal(fault.param, row->param);
    if (row->why != NULL)
        assert_non_null(strstr(fault.why, row->why));
    if (r < 0) {
        assert_true(fault.why[0] != '\0');
        assert_null(q.root); /* cleared */
    }
    request_clear(&q);
}

/* ---- what is understood ---- */

static void parse_ok(enum request_kind kind, const char *body, struct request *q)
{
    struct request_fault fault;

    if (request_parse(kind, rm_slice_of(body), q, &fault) < 0)
        fail_msg("%s", fault.why);
}

static void defaults(void **state)
{
    struct request q;

    (void)state;
    parse_ok(REQUEST_CHAT, CHAT(""), &q);
    assert_null(q.model);
    assert_false(q.stream || q.include_usage || q.progress || q.timings_per_token || q.has_seed);
    assert_true(q.cache_prompt && q.enable_thinking);
    assert_int_equal(q.n, 1);
    assert_int_equal(q.max_tokens, 0);
    assert_int_equal(q.sampling.top_k, 40);
    assert_true(fabsf(q.sampling.temperature - 0.8f) < 1e-6f);
    assert_int_equal(json_array_size(q.messages), 1);
    request_clear(&q);
}

static void nulls_are_absent(void **state)
{
    struct request q;

    (void)state;
    parse_ok(REQUEST_CHAT,
             CHAT(",\"n\":null,\"stop\":null,\"temperature\":null,\"stream\":null,\"tools\":null,"
                  "\"max_tokens\":null,\"stream_options\":null,\"logit_bias\":null,\"seed\":null,"
                  "\"response_format\":null,\"model\":null,\"tool_choice\":null"),
             &q);
    assert_int_equal(q.n, 1);
    assert_false(q.stream);
    request_clear(&q);
}

static void every_member(void **state)
{
    struct request q;

    (void)state;
    parse_ok(REQUEST_CHAT,
             CHAT(",\"model\":\"code\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                  "\"max_completion_tokens\":7,\"max_tokens\":9,\"temperature\":0,\"top_p\":0.5,"
                  "\"top_k\":3,\"min_p\":0.25,\"seed\":-7,\"stop\":[\"a\",\"\",\"bc\"],"
                  "\"presence_penalty\":-1,\"frequency_penalty\":2,\"cache_prompt\":false,"
                  "\"logit_bias\":{\"5\":-100,\"6\":2.5},\"return_progress\":true,"
                  "\"timings_per_token\":true,\"logprobs\":true,\"top_logprobs\":3,"
                  "\"user\":\"u\",\"never_heard_of\":{\"a\":[1]},\"reasoning_effort\":\"low\","
                  "\"chat_template_kwargs\":{\"enable_thinking\":false,\"messages\":\"x\",\"k\":1},"
                  "\"response_format\":{\"type\":\"text\"}"),
             &q);
    assert_string_equal(q.model, "code");
    assert_true(q.stream && q.include_usage && q.progress && q.timings_per_token && q.has_seed);
    assert_false(q.cache_prompt || q.enable_thinking);
    assert_int_equal(q.max_tokens, 7);
    assert_int_equal(q.sampling.seed, (uint32_t)-7);
    assert_true(q.sampling.temperature == 0 && q.sampling.presence == -1);
    assert_int_equal(q.n_stops, 2);
    assert_string_equal(q.stops[1], "bc");
    assert_int_equal(q.sampling.n_bias, 2);
    assert_true(isinf(q.sampling.bias[0].bias) && q.sampling.bias[1].bias == 2.5f);
    assert_int_equal(json_object_size(q.kwargs), 2); /* k, reasoning_effort */
    request_drop_tree(&q);
    assert_string_equal(q.model, "code");
    request_clear(&q);
}

static void roles_and_parts(void **state)
{
    struct request q;
    const json_t *m;

    (void)state;
    parse_ok(REQUEST_CHAT,
             "{\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":"
             "\"a\"},{\"type\":\"text\",\"text\":\"b\"}]},"
             "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":"
             "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
             "{\"role\":\"function\",\"name\":\"f\",\"tool_call_id\":\"c1\",\"content\":\"r\"},"
             "{\"role\":\"assistant\",\"content\":null},"
             "{\"role\":\"user\",\"content\":[]}]}",
             &q);
    m = json_array_get(q.messages, 0);
    assert_string_equal(json_string_value(json_object_get(m, "role")), "system");
    assert_string_equal(json_string_value(json_object_get(m, "content")), "a\nb");
    m = json_array_get(q.messages, 1);
    assert_true(json_is_null(json_object_get(m, "content")));
    assert_int_equal(json_array_size(json_object_get(m, "tool_calls")), 1);
    m = json_array_get(q.messages, 2);
    assert_string_equal(json_string_value(json_object_get(m, "role")), "tool");
    assert_string_equal(json_string_value(json_object_get(m, "tool_call_id")), "c1");
    m = json_array_get(q.messages, 3);
    assert_string_equal(json_string_value(json_object_get(m, "content")), "");
    m = json_array_get(q.messages, 4);
    assert_string_equal(json_string_value(json_object_get(m, "content")), "");
    request_clear(&q);
}

static void prompt_forms(void **state)
{
    struct request q;

    (void)state;
    parse_ok(REQUEST_COMPLETION, "{\"prompt\":\"abc\",\"suffix\":\"x\",\"max_tokens\":-1}", &q);
    assert_int_equal(q.n_prompts, 1);
    assert_true(rm_slice_eq(q.prompts[0].text, "abc"));
    assert_true(q.has_suffix && q.max_tokens == 0);
    request_clear(&q);
    parse_ok(REQUEST_COMPLETION, "{\"prompt\":[\"a\",\"b\"],\"n\":2}", &q);
    assert_int_equal(q.n_prompts, 2);
    assert_true(rm_slice_eq(q.prompts[1].text, "b"));
    request_clear(&q);
    parse_ok(REQUEST_COMPLETION, "{\"prompt\":[1,2,3],\"n\":2.0}", &q);
    assert_int_equal(q.n_prompts, 1);
    assert_int_equal(json_array_size(q.prompts[0].tokens), 3);
    assert_int_equal(q.n, 2);
    request_clear(&q);
    parse_ok(REQUEST_COMPLETION, "{\"prompt\":[[1],[2,3]]}", &q);
    assert_int_equal(q.n_prompts, 2);
    request_clear(&q);
}

/* ---- bodies made to hurt ---- */

static int parse_repeated(const char *head, const char *unit, size_t times, const char *tail)
{
    struct request q;
    struct request_fault fault;
    struct rm_buf b;
    int r;

    rm_buf_init(&b, 64 * 1024 * 1024);
    assert_int_equal(rm_buf_puts(&b, head), 0);
    for (size_t i = 0; i < times; i++)
        assert_int_equal(rm_buf_puts(&b, unit), 0);
    assert_int_equal(rm_buf_puts(&b, tail), 0);
    r = request_parse(REQUEST_CHAT, (struct rm_slice){b.data, b.len}, &q, &fault);
    request_clear(&q);
    rm_buf_clear(&b);
    return r;
}

static void depth_bomb(void **state)
{
    (void)state;
    assert_int_equal(parse_repeated("{\"a\":", "[", 100000, ""), RM_ERR_JSON);
    assert_int_equal(parse_repeated("{\"a\":", "{\"a\":", 65, "1"), RM_ERR_JSON);
}

static void many_values(void **state)
{
    (void)state; /* each would cost some 200 bytes as a tree */
    assert_int_equal(parse_repeated("{\"messages\":[", "{},", 1000000, "{}]}"),
                     RM_ERR_BODY_TOO_LARGE);
}

static void long_text(void **state)
{
    (void)state; /* commas and brackets inside of strings are no values */
    assert_int_equal(parse_repeated("{\"messages\":[{\"role\":\"user\",\"content\":\"", "[,{\\\"",
                                    400000, "\"}]}"),
                     0);
}

enum { REFUSALS = RM_COUNT(refusals) };

int main(void)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test(defaults),     cmocka_unit_test(nulls_are_absent),
        cmocka_unit_test(every_member), cmocka_unit_test(roles_and_parts),
        cmocka_unit_test(prompt_forms), cmocka_unit_test(depth_bomb),
        cmocka_unit_test(many_values),  cmocka_unit_test(long_text),
    };
    struct CMUnitTest tests[REFUSALS + RM_COUNT(others)];

    for (size_t i = 0; i < REFUSALS; i++)
        tests[i] =
            (struct CMUnitTest){refusals[i].name, run_refusal, NULL, NULL, (void *)&refusals[i]};
    memcpy(tests + REFUSALS, others, sizeof(others));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
