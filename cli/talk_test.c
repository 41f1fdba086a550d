/* SPDX-License-Identifier: MIT */
/* cli/talk_test.c - conversations and answers: what is sent, what is taken from events. */
#include "cli/talk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static void assert_written(const struct talk *t, uint64_t max_tokens, double temperature,
                           const char *want)
{
    struct rm_buf out;

    rm_buf_init(&out, 4096);
    assert_int_equal(talk_write(t, "ask", max_tokens, temperature, &out), 0);
    assert_string_equal(out.data, want);
    rm_buf_clear(&out);
}

#define HEAD "{\"model\":\"ask\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"

static void what_is_sent(void **state)
{
    struct talk t = {.n = 0};

    (void)state;
    assert_int_equal(talk_add(&t, true, "a \"b\"\n"), 0);
    assert_written(&t, 0, -1,
                   HEAD "\"messages\":[{\"role\":\"user\",\"content\":\"a \\\"b\\\"\\n\"}]}");
    assert_int_equal(talk_add(&t, false, "yes"), 0);
    assert_int_equal(talk_set_system(&t, "be brief"), 0);
    assert_written(&t, 7, 0.5,
                   HEAD "\"max_tokens\":7,\"temperature\":0.5,\"messages\":[{\"role\":\"system\","
                        "\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"a \\\"b\\\"\\n"
                        "\"},{\"role\":\"assistant\",\"content\":\"yes\"}]}");
    talk_drop(&t);
    assert_int_equal(t.bytes, 6);
    talk_reset(&t);
    assert_written(&t, 0, -1,
                   HEAD
                   "\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"}]}"); /* it stays */
    assert_int_equal(talk_set_system(&t, ""), 0);
    assert_int_equal(talk_add(&t, true, "\xff"), 0); /* not UTF-8: sent as U+FFFD */
    assert_written(&t, 0, -1,
                   HEAD "\"messages\":[{\"role\":\"user\",\"content\":\"\xef\xbf\xbd\"}]}");
    talk_drop(&t);
    talk_drop(&t); /* one too many is fine */
    talk_clear(&t);
}

static void a_bound(void **state)
{
    char *big = malloc(TALK_MAX / 2 + 2);
    struct talk t = {.n = 0};

    (void)state;
    assert_non_null(big);
    memset(big, 'x', TALK_MAX / 2 + 1);
    big[TALK_MAX / 2 + 1] = '\0';
    assert_int_equal(talk_add(&t, true, big), 0);
    assert_int_equal(talk_add(&t, true, big), RM_ERR_TOO_BIG);
    assert_int_equal(t.n, 1);
    talk_clear(&t);
    free(big);
}

static const struct row {
    const char *name, *data;
    enum talk_piece want;
    const char *piece, *why;
} rows[] = {
    {"text", "{\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}", TALK_TEXT, "hi", ""},
    {"a thought", "{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}", TALK_THOUGHT, "hm",
     ""},
    {"both: what was said",
     "{\"choices\":[{\"delta\":{\"content\":\"a\",\"reasoning_content\":"
     "\"b\"}}]}",
     TALK_TEXT, "a", ""},
    {"the first one: a role",
     "{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}", TALK_NOTHING, "", ""},
    {"no content", "{\"choices\":[{\"delta\":{\"content\":null}}]}", TALK_NOTHING, "", ""},
    {"usage", "{\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":-4}}",
     TALK_NOTHING, "", ""},
    {"the end", "[DONE]", TALK_END, "", ""},
    {"an error", "{\"error\":{\"message\":\"the node died\",\"type\":\"x\"}}", TALK_ERROR, "",
     "the node died"},
    {"an error of text", "{\"error\":\"gone\"}", TALK_ERROR, "", "gone"},
    {"an error of nothing", "{\"error\":{}}", TALK_ERROR, "", "the stream ended with an error"},
    {"damaged", "{\"choices\":", TALK_ERROR, "", "the stream is damaged"},
    {"nothing", "", TALK_ERROR, "", "the stream is damaged"},
    {"other types", "{\"choices\":7}", TALK_NOTHING, "", ""},
    {"other types below", "{\"choices\":[{\"delta\":[],\"finish_reason\":3}],\"usage\":[]}",
     TALK_NOTHING, "", ""},
    {"text that is a number", "{\"choices\":[{\"delta\":{\"content\":7}}]}", TALK_NOTHING, "", ""},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct rm_buf piece;
    struct answer a;

    rm_buf_init(&piece, 1024);
    answer_init(&a, 1);
    assert_int_equal(answer_take(&a, rm_slice_of(row->data), 2, &piece), row->want);
    assert_string_equal(piece.data != NULL ? piece.data : "", row->piece);
    assert_string_equal(a.why, row->why);
    assert_true(a.ended == (row->want == TALK_END));
    answer_clear(&a);
    rm_buf_clear(&piece);
}

static const struct line_row {
    const char *name;
    struct answer a;
    const char *want;
} line_rows[] = {
    {"all",
     {.asked_us = 1000000,
      .first_us = 1210000,
      .last_us = 3210000,
      .pieces = 9,
      .has_usage = true,
      .prompt_tokens = 300,
      .cached_tokens = 120,
      .completion_tokens = 41},
     "41 tokens, 20.0 tokens/s, first after 0.21 s; prompt 300 tokens, 120 from a cache"},
    {"no usage: pieces are counted",
     {.asked_us = 1, .first_us = 1000001, .last_us = 2000001, .pieces = 11},
     "11 tokens, 10.0 tokens/s, first after 1.00 s"},
    {"one token has no speed",
     {.asked_us = 1, .first_us = 1000001, .last_us = 1000001, .pieces = 1},
     "1 token, first after 1.00 s"},
    {"nothing came", {.asked_us = 1}, "0 tokens"},
    {"cut",
     {.asked_us = 1, .first_us = 1000001, .last_us = 1000001, .pieces = 2, .cut = true},
     "2 tokens, first after 1.00 s; cut at the bound on tokens"},
};

static void run_line_row(void **state)
{
    const struct line_row *row = *state;
    char line[TALK_WHY_MAX];

    answer_line(&row->a, line);
    assert_string_equal(line, row->want);
}

static void errors_of_bodies(void **state)
{
    char out[TALK_WHY_MAX];

    (void)state;
    answer_error_of(RM_LIT("{\"error\":{\"message\":\"no such mode\"}}"), 404, out);
    assert_string_equal(out, "no such mode");
    answer_error_of(RM_LIT("{\"detail\":\"a key is needed\"}"), 401, out);
    assert_string_equal(out, "a key is needed");
    answer_error_of(RM_LIT("<html>"), 502, out);
    assert_string_equal(out, "the gateway answered 502");
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + RM_COUNT(line_rows) + 3];
    size_t n = 0;

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[n++] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    for (size_t i = 0; i < RM_COUNT(line_rows); i++)
        tests[n++] =
            (struct CMUnitTest){line_rows[i].name, run_line_row, NULL, NULL, (void *)&line_rows[i]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(what_is_sent);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_bound);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(errors_of_bodies);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
