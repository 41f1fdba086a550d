/* SPDX-License-Identifier: MIT */
/* gateway/front/fault_test.c - one row per way a worker words its errors. */
#include "gateway/front/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct row {
    const char *name;
    int status;
    const char *body, *retry_after;
    enum fault_advice advice;
    int told; /* status for the client */
    const char *code, *message;
    uint32_t wait;
} rows[] = {
    {"OpenAI shape", 400,
     "{\"error\":{\"message\":\"bad top_k\",\"type\":\"x\",\"param\":\"top_k\",\"code\":\"c\"}}",
     "", FAULT_TELL, 400, "c", "bad top_k", 0},
    {"llama.cpp's number as code", 400, "{\"error\":{\"code\":400,\"message\":\"m\"}}", "",
     FAULT_TELL, 400, "invalid_value", "m", 0},
    {"Ollama's text", 400, "{\"error\":\"no\"}", "", FAULT_TELL, 400, "invalid_value", "no", 0},
    {"vLLM's bare object", 400, "{\"object\":\"error\",\"message\":\"m\",\"code\":40303}", "",
     FAULT_TELL, 400, "invalid_value", "m", 0},
    {"context, OpenAI", 400,
     "{\"error\":{\"message\":\"M 5 N 6\",\"code\":\"context_length_exceeded\"}}", "", FAULT_TELL,
     400, "context_length_exceeded", "M 5 N 6", 0},
    {"context, llama.cpp", 500,
     "{\"error\":{\"code\":400,\"message\":\"the request exceeds\",\"type\":"
     "\"exceed_context_size_error\",\"n_prompt_tokens\":5000,\"n_ctx\":4096}}",
     "", FAULT_TELL, 400, "context_length_exceeded",
     "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 "
     "tokens.",
     0},
    {"too large", 413, "", "", FAULT_TELL, 413, "request_too_large", "request body too large", 0},
    {"not supported", 501, "{\"error\":{\"message\":\"no FIM\"}}", "", FAULT_TELL, 501,
     "not_supported", "no FIM", 0},
    {"busy", 429, "{\"error\":{\"message\":\"full\"}}", "7", FAULT_BUSY, 429, "queue_full", "full",
     7},
    {"loading", 503, "{\"error\":{\"message\":\"Loading model\",\"code\":503}}", "", FAULT_BUSY,
     503, "no_host", "Loading model", 5},
    {"Retry-After without end", 503, "", "99999999999999999999", FAULT_BUSY, 503, "no_host",
     "no host of this role is ready", 60},
    {"Retry-After as a date", 503, "", "Fri, 31 Dec 1999 23:59:59 GMT", FAULT_BUSY, 503, "no_host",
     "no host of this role is ready", 5},
    {"failed", 500, "{\"error\":{\"message\":\"oops\"}}", "", FAULT_RETRY, 502, "upstream_error",
     "oops", 0},
    {"left the worker", 404,
     "{\"error\":{\"message\":\"ask is not hosted here\",\"code\":\"no_host\"}}", "", FAULT_BUSY,
     503, "no_host", "ask is not hosted here", 5},
    {"no such model at an attached engine", 404, "", "", FAULT_RETRY, 502, "upstream_error",
     "the worker failed", 0},
    {"markup is not echoed", 502, "<html><script>x</script>", "", FAULT_RETRY, 502,
     "upstream_error", "the worker failed", 0},
    {"damaged JSON", 400, "{\"error\":{\"message\":\"a", "", FAULT_TELL, 400, "invalid_value",
     "a field has a wrong type or value", 0},
    {"control bytes", 400, "{\"error\":{\"message\":\"a\\nb\\u0000c\"}}", "", FAULT_TELL, 400,
     "invalid_value", "a b c", 0},
    {"redirect", 302, "", "", FAULT_BROKEN, 502, "upstream_error",
     "the worker answered with status 302", 0},
    {"wants a key", 401, "{\"error\":{\"message\":\"key\"}}", "", FAULT_BROKEN, 502,
     "upstream_error", "the worker answered with status 401", 0},
};

static void test_row(void **state)
{
    const struct row *row = *state;
    struct rm_skim skim;
    struct fault f;

    rm_skim_init(&skim);
    assert_int_equal(fault_from_answer(&f, row->status, rm_slice_of(row->body),
                                       rm_slice_of(row->retry_after), &skim),
                     row->advice);
    assert_int_equal(f.status, row->told);
    assert_string_equal(f.code, row->code);
    assert_string_equal(f.message, row->message);
    assert_int_equal(f.retry_after_s, row->wait);
    assert_false(f.close);
    rm_skim_clear(&skim);
}

/* A message of any length is cut at a character. */
static void test_long(void **state)
{
    char body[4096] = "{\"error\":\"";
    struct rm_skim skim;
    struct fault f;

    (void)state;
    for (int i = 0; i < 1500; i++)
        strcat(body, "\xc3\xa9");
    strcat(body, "\"}");
    rm_skim_init(&skim);
    assert_int_equal(
        fault_from_answer(&f, 400, rm_slice_of(body), (struct rm_slice){NULL, 0}, &skim),
        FAULT_TELL);
    assert_int_equal(strlen(f.message), (FAULT_TEXT_MAX - 1) / 2 * 2);
    rm_skim_clear(&skim);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 1];
    size_t n = 0;

    for (; n < RM_COUNT(rows); n++)
        tests[n] = (struct CMUnitTest){rows[n].name, test_row, NULL, NULL, (void *)&rows[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_long);
    return _cmocka_run_group_tests("fault", tests, n, NULL, NULL);
}
