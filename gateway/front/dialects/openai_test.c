/* SPDX-License-Identifier: MIT */
/* gateway/front/dialects/openai_test.c - requests read, bytes for the worker, errors in words. */
#include "gateway/front/dialects/openai.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MSG "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

/* What the body becomes for a worker whose engine calls the model `engine` (NULL: as asked). */
static const struct row {
    const char *name, *body;
    int err;            /* RM_ERR_* */
    const char *param;  /* with err */
    const char *engine; /* raw JSON string or NULL */
    const char *sent;   /* blanks squeezed out; NULL: as body */
} rows[] = {
    {"passes", "{\"model\":\"ask\"," MSG ",\"stream\":true}", 0, NULL, NULL, NULL},
    {"model replaced", "{\"model\":\"ask\"," MSG "}", 0, NULL, "\"qwen:7b\"",
     "{\"model\":\"qwen:7b\"," MSG "}"},
    {"model null replaced", "{" MSG ",\"model\":null}", 0, NULL, "\"q\"",
     "{" MSG ",\"model\":\"q\"}"},
    {"model put in", "{" MSG "}", 0, NULL, "\"ask\"", "{\"model\":\"ask\"," MSG "}"},
    {"engine knobs dropped in the middle",
     "{\"id_slot\":3,\"model\":\"a\",\"num_ctx\":4096," MSG ",\"keep_alive\":-1}", 0, NULL, NULL,
     "{\"model\":\"a\"," MSG "}"},
    {"dropped ones at the end", "{" MSG ",\"user\":\"u\",\"metadata\":{\"a\":[1,\"}\"]}}", 0, NULL,
     NULL, "{" MSG "}"},
    {"dropped in front", "{\"user\":\"a,b\",\"store\":true," MSG "}", 0, NULL, NULL, "{" MSG "}"},
    {"unknown keys are ignored", "{\"zzz\":{\"deep\":[[]]}," MSG ",\"n_probs\":4}", 0, NULL, NULL,
     "{" MSG "}"},
    {"an escaped key is unknown", "{\"mod\\u0065l\":\"x\"," MSG "}", 0, NULL, NULL, "{" MSG "}"},
    {"knobs and model together", "{\"id_slot\":1," MSG ",\"model\":\"m\"}", 0, NULL, "\"e\"",
     "{" MSG ",\"model\":\"e\"}"},
    {"bound within the window stays", "{" MSG ",\"max_tokens\":128}", 0, NULL, NULL, NULL},
    {"bound above the window is lowered", "{\"max_tokens\":32000," MSG "}", 0, NULL, NULL,
     "{\"max_tokens\":4096," MSG "}"},
    {"both bounds and the model",
     "{\"max_tokens\":1e9,\"model\":\"m\"," MSG ",\"max_completion_tokens\":99999}", 0, NULL,
     "\"e\"", "{\"max_tokens\":4096,\"model\":\"e\"," MSG ",\"max_completion_tokens\":4096}"},
    {"no bound", "{" MSG ",\"max_tokens\":-1}", 0, NULL, NULL, "{" MSG "}"},
    {"null bound", "{" MSG ",\"max_tokens\":null}", 0, NULL, NULL, "{" MSG "}"},
    {"bound of nothing", "{" MSG ",\"max_tokens\":0}", RM_ERR_FIELD, "max_tokens", NULL, NULL},
    {"bound in halves", "{" MSG ",\"max_tokens\":1.5}", RM_ERR_FIELD, "max_tokens", NULL, NULL},
    {"bound as text", "{" MSG ",\"max_completion_tokens\":\"9\"}", RM_ERR_FIELD,
     "max_completion_tokens", NULL, NULL},
    {"no messages", "{\"model\":\"a\"}", RM_ERR_FIELD, "messages", NULL, NULL},
    {"empty messages", "{\"messages\":[ ]}", RM_ERR_FIELD, "messages", NULL, NULL},
    {"messages as text", "{\"messages\":\"hi\"}", RM_ERR_FIELD, "messages", NULL, NULL},
    {"a message as text", "{\"messages\":[{},\"hi\"]}", RM_ERR_FIELD, "messages", NULL, NULL},
    {"a Responses body", "{\"input\":\"hi\"}", RM_ERR_NOT_SUPPORTED, "", NULL, NULL},
    {"model as number", "{\"model\":7," MSG "}", RM_ERR_FIELD, "model", NULL, NULL},
    {"stream as text", "{\"stream\":\"yes\"," MSG "}", RM_ERR_FIELD, "stream", NULL, NULL},
    {"stream null", "{\"stream\":null," MSG "}", 0, NULL, NULL, NULL},
    {"n of 8", "{\"n\":8," MSG "}", 0, NULL, NULL, NULL},
    {"n of 9", "{\"n\":9," MSG "}", RM_ERR_FIELD, "n", NULL, NULL},
    {"n of 0", "{\"n\":0," MSG "}", RM_ERR_FIELD, "n", NULL, NULL},
    {"n in a stream", "{\"n\":2,\"stream\":true," MSG "}", RM_ERR_FIELD, "n", NULL, NULL},
    {"options as text", "{\"stream_options\":\"x\"," MSG "}", RM_ERR_FIELD, "stream_options", NULL,
     NULL},
    {"options of a wrong type", "{\"stream_options\":{\"include_usage\":1}," MSG "}", RM_ERR_FIELD,
     "stream_options.include_usage", NULL, NULL},
};

static char *squeeze(const struct rm_slice *pieces, size_t n)
{
    struct rm_buf b;

    rm_buf_init(&b, 1 << 20);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < pieces[i].n; k++)
            if (pieces[i].p[k] != ' ')
                rm_buf_put(&b, &pieces[i].p[k], 1);
    return rm_buf_take(&b);
}

static int read_body(const struct dialect *d, const char *text, struct rm_buf *body,
                     struct dialect_ask *ask, struct fault *why)
{
    struct rm_skim skim, scratch;
    int r;

    rm_buf_init(body, 1 << 20);
    rm_skim_init(&skim);
    rm_skim_init(&scratch);
    assert_int_equal(rm_buf_puts(body, text), 0);
    assert_int_equal(rm_json_check((struct rm_slice){body->data, body->len}, &skim), 0);
    r = d->read(body, &skim, &scratch, ask, why);
    rm_skim_clear(&skim);
    rm_skim_clear(&scratch);
    return r;
}

static void test_read(void **state)
{
    const struct row *row = *state;
    struct rm_slice pieces[DIALECT_PIECES_MAX];
    struct dialect_ask ask;
    struct fault why;
    struct rm_buf body;
    char note[64], *sent;
    size_t n;
    int r = read_body(&openai_chat, row->body, &body, &ask, &why);

    assert_int_equal(r, row->err);
    if (row->err < 0) {
        assert_int_equal(why.err, row->err);
        assert_string_equal(why.param, row->param);
        assert_true(why.status >= 400 && why.final);
    } else {
        n = openai_chat.pieces(&ask, (struct rm_slice){body.data, body.len},
                               rm_slice_of(row->engine), 4096, note, pieces);
        assert_true(n <= DIALECT_PIECES_MAX);
        sent = squeeze(pieces, n);
        assert_string_equal(sent, row->sent != NULL ? row->sent : row->body);
        free(sent);
    }
    rm_buf_clear(&body);
}

static void test_ask(void **state)
{
    struct dialect_ask ask;
    struct fault why;
    struct rm_buf body;

    (void)state;
    assert_int_equal(read_body(&openai_chat,
                               "{\"model\":\"\"," MSG ",\"stream\":true,\"prompt_cache_key\":\"s\","
                               "\"stream_options\":{\"include_usage\":true}}",
                               &body, &ask, &why),
                     0);
    assert_true(ask.stream && ask.include_usage);
    assert_false(ask.has_model); /* "" is none */
    assert_true(ask.session_key != 0 && ask.prefix_key != 0);
    rm_buf_clear(&body);
}

/* The key is the same in all turns of a conversation and another for another one. */
static void test_prefix_key(void **state)
{
    static const char *const turns[] = {
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
        "\"a\"}"
        "]}",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
        "\"a\"}"
        ",{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"}]}",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
        "\"z\"}"
        "]}"};
    uint64_t key[3];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct dialect_ask ask;
        struct fault why;
        struct rm_buf body;

        assert_int_equal(read_body(&openai_chat, turns[i], &body, &ask, &why), 0);
        key[i] = ask.prefix_key;
        rm_buf_clear(&body);
    }
    assert_true(key[0] == key[1]);
    assert_true(key[0] != key[2]);
}

static void test_completions(void **state)
{
    static const struct {
        const char *body;
        int err;
        const char *param;
    } cases[] = {
        {"{\"prompt\":\"p\",\"suffix\":\"s\",\"max_tokens\":5}", 0, NULL},
        {"{\"prompt\":[\"a\",\"b\"]}", 0, NULL},
        {"{\"prompt\":[1,2,3]}", 0, NULL},
        {"{\"model\":\"m\"}", RM_ERR_FIELD, "prompt"},
        {"{\"prompt\":7}", RM_ERR_FIELD, "prompt"},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(cases); i++) {
        struct dialect_ask ask;
        struct fault why;
        struct rm_buf body;

        assert_int_equal(read_body(&openai_completions, cases[i].body, &body, &ask, &why),
                         cases[i].err);
        if (cases[i].err < 0)
            assert_string_equal(why.param, cases[i].param);
        rm_buf_clear(&body);
    }
}

static void test_errors(void **state)
{
    struct fault f;
    struct rm_buf b;

    (void)state;
    rm_buf_init(&b, 4096);
    fault_field(&f, "n", "'n' is \"odd\"");
    assert_int_equal(openai_error_body(&f, &b), 0);
    assert_string_equal(b.data, "{\"error\":{\"message\":\"'n' is \\\"odd\\\"\",\"type\":"
                                "\"invalid_request_error\",\"param\":\"n\",\"code\":"
                                "\"invalid_value\"}}");
    b.len = 0;
    fault_set(&f, RM_ERR_UPSTREAM_LOST, NULL);
    assert_int_equal(f.status, 502);
    assert_int_equal(openai_error_event(&f, &b), 0);
    assert_string_equal(b.data, "data: {\"error\":{\"message\":\"the worker was lost\",\"type\":"
                                "\"server_error\",\"param\":null,\"code\":\"upstream_lost\"}}\n\n");
    rm_buf_clear(&b);
}

/* Whatever of a body is left to be read: what goes to a worker is valid JSON and holds nothing but
 * what is honoured. */
static void test_mutations(void **state)
{
    static const char good[] = "{\"id_slot\":3 , \"model\":\"ask\",\"zz\":{\"a\":[1,{}]}," MSG
                               ",\"max_tokens\":99999,\"n\":1,\"user\":\"u,}\",\"stream\":true , "
                               "\"prompt_cache_key\":\"k\",\"max_completion_tokens\":-1}";
    static const char bytes[] = "{}[]\",: 019-enu\\d\n";
    struct rm_skim skim, scratch;
    int sent = 0;

    (void)state;
    rm_skim_init(&skim);
    rm_skim_init(&scratch);
    srand(11);
    for (int round = 0; round < 100000; round++) {
        struct rm_slice pieces[DIALECT_PIECES_MAX], all;
        struct dialect_ask ask;
        struct fault why;
        struct rm_buf body, out;
        char note[64];
        size_t n;

        rm_buf_init(&body, 4096);
        rm_buf_init(&out, 8192);
        rm_buf_puts(&body, good);
        for (int k = rand() % 3; k >= 0; k--)
            body.data[(size_t)rand() % body.len] = bytes[(size_t)rand() % (sizeof(bytes) - 1)];
        if (rm_json_check((struct rm_slice){body.data, body.len}, &skim) == 0 &&
            openai_chat.read(&body, &skim, &scratch, &ask, &why) == 0) {
            n = openai_chat.pieces(&ask, (struct rm_slice){body.data, body.len}, RM_LIT("\"e\""),
                                   4096, note, pieces);
            for (size_t i = 0; i < n; i++)
                rm_buf_put(&out, pieces[i].p, pieces[i].n);
            all = (struct rm_slice){out.data, out.len};
            if (rm_json_check(all, &scratch) < 0)
                fail_msg("%s became %s", good, out.data);
            assert_non_null(rm_skim_member(&scratch, all, "model"));
            assert_null(rm_skim_member(&scratch, all, "id_slot"));
            assert_null(rm_skim_member(&scratch, all, "user"));
            assert_true(scratch.n_members <= 6);
            sent++;
        }
        rm_buf_clear(&body);
        rm_buf_clear(&out);
    }
    assert_true(sent > 1000);
    rm_skim_clear(&skim);
    rm_skim_clear(&scratch);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows) + 5];
    size_t n = 0;

    for (; n < RM_COUNT(rows); n++)
        tests[n] = (struct CMUnitTest){rows[n].name, test_read, NULL, NULL, (void *)&rows[n]};
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_ask);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_prefix_key);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_completions);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_errors);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_mutations);
    return _cmocka_run_group_tests("openai", tests, n, NULL, NULL);
}
