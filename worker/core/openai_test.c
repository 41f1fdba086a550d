/* SPDX-License-Identifier: MIT */
/* worker/core/openai_test.c - the bytes of every object, compared whole: order of members included.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/core/openai.h"

static const struct openai_head chat = {true, "chatcmpl-x", 1700000000, "code"};
static const struct openai_head plain = {false, "cmpl-x", 1700000000, "code"};
static const struct openai_counts counts = {
    .prompt = 10, .cached = 4, .generated = 5, .prompt_ms = 3, .predicted_ms = 10};

#define FP "\"system_fingerprint\":\"rolemesh-" RM_VERSION "-llama-" LLAMA_BUILT_VERSION "\""
#define CHUNK                                                                                      \
    "data: {\"id\":\"chatcmpl-x\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"    \
    "\"model\":\"code\","
#define USAGE                                                                                      \
    "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15,"                 \
    "\"prompt_tokens_details\":{\"cached_tokens\":4},"                                             \
    "\"completion_tokens_details\":{\"reasoning_tokens\":0}}"
#define TIMINGS                                                                                    \
    "\"timings\":{\"cache_n\":4,\"prompt_n\":6,\"prompt_ms\":3,\"prompt_per_token_ms\":0.5,"       \
    "\"prompt_per_second\":2000,\"predicted_n\":5,\"predicted_ms\":10,"                            \
    "\"predicted_per_token_ms\":2,\"predicted_per_second\":500}"

static int put_role(struct rm_buf *b)
{
    return openai_put_role(b, &chat, 0);
}

static int put_text(struct rm_buf *b)
{
    return openai_put_text(b, &chat, 0, RM_LIT("a\"\n"), NULL);
}

static int put_text_timed(struct rm_buf *b)
{
    return openai_put_text(b, &chat, 1, RM_LIT("a"), &counts);
}

static int put_no_text(struct rm_buf *b)
{
    return openai_put_text(b, &chat, 0, RM_LIT(""), NULL);
}

static int put_stop(struct rm_buf *b)
{
    return openai_put_finish(b, &chat, 0, JOB_FINISH_STOP, NULL);
}

static int put_length(struct rm_buf *b)
{
    return openai_put_finish(b, &plain, 2, JOB_FINISH_LENGTH, NULL);
}

static int put_usage(struct rm_buf *b)
{
    return openai_put_usage(b, &chat, &counts, &counts);
}

static int put_plain_role(struct rm_buf *b)
{
    return openai_put_role(b, &plain, 0);
}

static int put_plain_text(struct rm_buf *b)
{
    return openai_put_text(b, &plain, 0, RM_LIT("x"), NULL);
}

static int put_progress(struct rm_buf *b)
{
    return openai_put_progress(
        b, &chat, 0,
        &(struct openai_progress){.total = 100, .cache = 20, .processed = 60, .time_ms = 12.7});
}

static int put_answer(struct rm_buf *b)
{
    const struct openai_choice c[] = {{RM_LIT("one"), JOB_FINISH_STOP},
                                      {RM_LIT("two"), JOB_FINISH_LENGTH}};

    return openai_put_answer(b, &chat, c, 2, &counts, &counts);
}

static int put_plain_answer(struct rm_buf *b)
{
    const struct openai_choice c[] = {{RM_LIT("one"), JOB_FINISH_STOP}};

    return openai_put_answer(b, &plain, c, 1, &counts, &counts);
}

static int put_error(struct rm_buf *b)
{
    return openai_put_error(b, RM_ERR_FIELD, "n: expected x", "n", false);
}

static int put_error_event(struct rm_buf *b)
{
    return openai_put_error(b, RM_ERR_ENGINE, NULL, NULL, true);
}

static int put_models(struct rm_buf *b)
{
    return openai_put_models(
        b, &(struct openai_model){
               .id = "m", .created = 5, .context = 6, .context_train = 7, .params = 8, .bytes = 9});
}

static const struct row {
    const char *name;
    int (*put)(struct rm_buf *b);
    const char *want;
} rows[] = {
    {"role", put_role,
     CHUNK "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
           "\"logprobs\":null,\"finish_reason\":null}]," FP "}\n\n"},
    {"text", put_text,
     CHUNK "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\\"\\n\"},\"logprobs\":null,"
           "\"finish_reason\":null}]," FP "}\n\n"},
    {"text with timings", put_text_timed,
     CHUNK "\"choices\":[{\"index\":1,\"delta\":{\"content\":\"a\"},\"logprobs\":null,"
           "\"finish_reason\":null}]," TIMINGS "," FP "}\n\n"},
    {"no text, no chunk", put_no_text, ""},
    {"stop", put_stop,
     CHUNK "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
           "\"finish_reason\":\"stop\"}]," FP "}\n\n"},
    {"length, completions", put_length,
     "data: {\"id\":\"cmpl-x\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":"
     "\"code\",\"choices\":[{\"index\":2,\"text\":\"\",\"logprobs\":null,\"finish_reason\":"
     "\"length\"}]," FP "}\n\n"},
    {"usage", put_usage, CHUNK "\"choices\":[]," USAGE "," TIMINGS "," FP "}\n\n"},
    {"completions have no role", put_plain_role, ""},
    {"text, completions", put_plain_text,
     "data: {\"id\":\"cmpl-x\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":"
     "\"code\",\"choices\":[{\"index\":0,\"text\":\"x\",\"logprobs\":null,\"finish_reason\":"
     "null}]," FP "}\n\n"},
    {"progress", put_progress,
     CHUNK "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":null}],"
           "\"prompt_progress\":{\"total\":100,\"cache\":20,\"processed\":60,\"time_ms\":12}," FP
           "}\n\n"},
    {"done", openai_put_done, "data: [DONE]\n\n"},
    {"answer of two", put_answer,
     "{\"id\":\"chatcmpl-x\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":"
     "\"code\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"one\"},"
     "\"logprobs\":null,\"finish_reason\":\"stop\"},{\"index\":1,\"message\":{\"role\":"
     "\"assistant\",\"content\":\"two\"},\"logprobs\":null,\"finish_reason\":\"length\"}]," USAGE
     "," FP "," TIMINGS "}"},
    {"answer, completions", put_plain_answer,
     "{\"id\":\"cmpl-x\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"code\","
     "\"choices\":[{\"index\":0,\"text\":\"one\",\"logprobs\":null,\"finish_reason\":\"stop\"}]"
     "," USAGE "," FP "," TIMINGS "}"},
    {"error", put_error,
     "{\"error\":{\"message\":\"n: expected x\",\"type\":\"invalid_request_error\",\"param\":"
     "\"n\",\"code\":\"invalid_value\"}}"},
    {"error event", put_error_event,
     "data: {\"error\":{\"message\":\"the engine failed\",\"type\":\"server_error\",\"param\":"
     "null,\"code\":\"upstream_error\"}}\n\n"},
    {"models", put_models,
     "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\",\"created\":5,"
     "\"owned_by\":\"llamacpp\",\"context_length\":6,\"meta\":{\"n_ctx\":6,\"n_ctx_train\":7,"
     "\"n_params\":8,\"size\":9}}]}"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct rm_buf b;

    rm_buf_init(&b, 64 * 1024);
    assert_int_equal(row->put(&b), 0);
    assert_string_equal(b.data != NULL ? b.data : "", row->want);
    rm_buf_clear(&b);
    rm_buf_init(&b, 7); /* no room: said, and no overrun */
    if (strlen(row->want) > 7)
        assert_int_equal(row->put(&b), RM_ERR_TOO_BIG);
    rm_buf_clear(&b);
}

/* 40,000 euro signs: no line over 64 KiB, no character cut, nothing lost. */
static void long_text_is_split(void **state)
{
    struct rm_buf text, out;
    size_t bytes = 0;
    char *line, *rest;

    (void)state;
    rm_buf_init(&text, 1 << 20);
    rm_buf_init(&out, 1 << 20);
    for (int i = 0; i < 40000; i++)
        assert_int_equal(rm_buf_puts(&text, "\xe2\x82\xac"), 0);
    assert_int_equal(openai_put_text(&out, &chat, 0, (struct rm_slice){text.data, text.len}, NULL),
                     0);
    for (line = strtok_r(out.data, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        json_t *o = json_loads(line + 6, 0, NULL);
        const json_t *choice = json_array_get(json_object_get(o, "choices"), 0);

        assert_true(strlen(line) < 64 * 1024);
        assert_non_null(o); /* invalid UTF-8 would have become U+FFFD or failed here */
        bytes += json_string_length(json_object_get(json_object_get(choice, "delta"), "content"));
        json_decref(o);
    }
    assert_int_equal(bytes, text.len);
    rm_buf_clear(&text);
    rm_buf_clear(&out);
}

static void ids(void **state)
{
    unsigned char random[16];
    char id[OPENAI_ID];

    (void)state;
    memset(random, 0xff, sizeof(random));
    openai_id(true, random, id);
    assert_string_equal(id, "chatcmpl-7777777777777777");
    openai_id(false, random, id);
    assert_string_equal(id, "cmpl-7777777777777777");
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 2];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    tests[RM_COUNT(rows)] = (struct CMUnitTest)cmocka_unit_test(long_text_is_split);
    tests[RM_COUNT(rows) + 1] = (struct CMUnitTest)cmocka_unit_test(ids);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
