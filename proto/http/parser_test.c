/* SPDX-License-Identifier: MIT */
/* proto/http/parser_test.c - the parser by tables, and every case of tests/data/requests.txt: each
 * variant whole, byte by byte and cut at random; the three runs must say the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "proto/http/parser_test.h"
#include "tests/support/cases/cases.h"

static uint64_t seed;

/* ---- the case file ---- */

/* What the parser alone answers for a row: one status per alternative, 0 for "let through". */
struct expectation {
    const struct case_row *row;
    int status[16];
    size_t n;
};

static void expectation_read(struct expectation *e, const struct case_row *row)
{
    const char *p = row->column[3];

    *e = (struct expectation){.row = row};
    for (; p != NULL && e->n < 16; p = strchr(p, '/')) {
        const char *last;
        char one[32];
        size_t n;

        p += *p == '/';
        n = strcspn(p, "/");
        assert_true(n < sizeof(one));
        memcpy(one, p, n);
        one[n] = '\0';
        last = strrchr(one, ',');
        e->status[e->n++] = atoi(last != NULL ? last + 1 : one);
    }
}

/* Where the answer is the server's or a handler's, the parser lets the message through. */
static int parser_status(const struct expectation *e, const struct case_variant *v)
{
    const size_t i = v->n_choices > 0 ? v->choice[v->n_choices - 1] : 0;
    const int status = e->status[e->n == 1 ? 0 : i];

    if (strcmp(e->row->column[5], "parser") == 0)
        return status;
    return strcmp(e->row->column[0], "H55") == 0 ? status : 0;
}

static void check_run(const struct expectation *e, const struct case_variant *v, const char *bytes,
                      size_t n, struct parser_run *run, parser_cut *cut)
{
    const int want = parser_status(e, v);
    const char *body = e->row->column[4];

    parser_run(run, HTTP_PARSE_REQUEST, &http_limits_default, bytes, n, false, cut, seed);
    if (want >= 400) {
        if (run->err >= 0 || rm_err_status(run->err) != want)
            fail_msg("%s variant %zu: %s, wanted %d (seed %llu)", e->row->column[0], v->index,
                     rm_err_name(run->err), want, (unsigned long long)seed);
    } else if (run->err < 0) {
        fail_msg("%s variant %zu: refused with %s (seed %llu)", e->row->column[0], v->index,
                 rm_err_name(run->err), (unsigned long long)seed);
    } else if (strcmp(body, "-") != 0) {
        assert_int_equal(run->messages, 1);
        assert_int_equal(run->body, atoi(body));
    }
    assert_null(strstr(run->said.data, "target(9)/smuggled"));
}

static void check_variant(void *arg, const struct case_variant *v)
{
    static parser_cut *const cuts[] = {parser_cut_bytes, parser_cut_random};
    const struct expectation *e = arg;
    struct parser_run whole, cut;
    size_t n;
    char *bytes = case_bytes(v, &n);

    check_run(e, v, bytes, n, &whole, parser_cut_whole);
    for (size_t i = 0; i < RM_COUNT(cuts); i++) {
        check_run(e, v, bytes, n, &cut, cuts[i]);
        assert_string_equal(cut.said.data, whole.said.data);
        parser_run_clear(&cut);
    }
    parser_run_clear(&whole);
    free(bytes);
}

static void case_test(void **state)
{
    struct expectation e;

    expectation_read(&e, *state);
    assert_true(case_expand(e.row->column[2], &case_requests, check_variant, &e) > 0);
}

/* ---- requests and responses by table ---- */

static const struct row {
    const char *name;
    enum http_role role;
    bool eof;
    const char *bytes;
    int err;
    int messages;
    int body;
    const char *says; /* must appear in what the run wrote down; NULL: nothing more */
} rows[] = {
    {"absolute-form is reduced", HTTP_PARSE_REQUEST, false,
     "GET http://GW:80/a?b=c HTTP/1.1\r\nHost: gw\r\n\r\n", 0, 1, 0, "target(6)/a?b=c\n"},
    {"absolute-form without path", HTTP_PARSE_REQUEST, false,
     "GET http://gw HTTP/1.1\r\nHost: gw\r\n\r\n", 0, 1, 0, "path(1)/\n"},
    {"query", HTTP_PARSE_REQUEST, false, "GET /a?b?c HTTP/1.1\r\nHost: gw\r\n\r\n", 0, 1, 0,
     "path(2)/a\nquery(3)b?c\n"},
    {"v6 host", HTTP_PARSE_REQUEST, false, "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 0, 1, 0,
     "host(10)[::1]:8080\n"},
    {"two hosts", HTTP_PARSE_REQUEST, false, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
     RM_ERR_HTTP_SYNTAX, 0, 0, NULL},
    {"no host in 1.1", HTTP_PARSE_REQUEST, false, "GET / HTTP/1.1\r\n\r\n", RM_ERR_HTTP_SYNTAX, 0,
     0, NULL},
    {"empty values, blanks trimmed", HTTP_PARSE_REQUEST, false,
     "GET / HTTP/1.1\r\nHost: gw\r\nA:\r\nB: \t\r\nC:c \t d \t\r\nD:d\r\n\r\n", 0, 1, 0,
     "name(1)A\nvalue(0)\nname(1)B\nvalue(0)\nname(1)C\nvalue(5)c \t d\nname(1)D\nvalue(1)d\n"},
    {"CONNECT is no method here", HTTP_PARSE_REQUEST, false,
     "CONNECT gw:443 HTTP/1.1\r\nHost: gw:443\r\n\r\n", RM_ERR_METHOD, 0, 0, NULL},
    {"a method that llhttp does not know", HTTP_PARSE_REQUEST, false,
     "QUERY /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\nokGET /2 HTTP/1.1\r\nHost: "
     "gw\r\n\r\n",
     0, 2, 2, "method(5)QUERY\ntarget(2)/a\n"},
    {"a method of odd letters", HTTP_PARSE_REQUEST, false, "get!~ / HTTP/1.1\r\nHost: gw\r\n\r\n",
     0, 1, 0, "method(5)get!~"},
    {"a method that is no token", HTTP_PARSE_REQUEST, false, "G(T / HTTP/1.1\r\nHost: gw\r\n\r\n",
     RM_ERR_HTTP_SYNTAX, 0, 0, NULL},
    {"a method without a name here", HTTP_PARSE_REQUEST, false,
     "PROPFIND / HTTP/1.1\r\nHost: gw\r\n\r\n", 0, 1, 0, "method(8)PROPFIND"},
    {"Upgrade is not taken up", HTTP_PARSE_REQUEST, false,
     "GET / HTTP/1.1\r\nHost: gw\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nGET /2 HTTP/1.1\r\n"
     "Host: gw\r\n\r\n",
     0, 2, 0, "path(2)/2"},
    {"Upgrade with a body", HTTP_PARSE_REQUEST, false,
     "POST / HTTP/1.1\r\nHost: gw\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: "
     "2\r\n\r\nokGET "
     "/2 HTTP/1.1\r\nHost: gw\r\n\r\n",
     0, 2, 2, "body:ok\nend\n"},
    {"* is for OPTIONS only", HTTP_PARSE_REQUEST, false, "GET * HTTP/1.1\r\nHost: gw\r\n\r\n",
     RM_ERR_HTTP_SYNTAX, 0, 0, NULL},
    {"fragment in a target", HTTP_PARSE_REQUEST, false, "GET /a#b HTTP/1.1\r\nHost: gw\r\n\r\n",
     RM_ERR_HTTP_SYNTAX, 0, 0, NULL},
    {"keep-alive in 1.0", HTTP_PARSE_REQUEST, false,
     "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 0, 1, 0, "keep=1"},
    {"1.0 closes", HTTP_PARSE_REQUEST, false, "GET / HTTP/1.0\r\n\r\n", 0, 1, 0, "keep=0"},
    {"cut in a head", HTTP_PARSE_REQUEST, true, "GET / HTTP/1.1\r\nHost: g", RM_ERR_HTTP_SYNTAX, 0,
     0, NULL},
    {"closed between requests", HTTP_PARSE_REQUEST, true, "GET / HTTP/1.1\r\nHost: gw\r\n\r\n", 0,
     1, 0, NULL},
    {"chunks, pipelined", HTTP_PARSE_REQUEST, false,
     "POST /1 HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n000A\r\n"
     "0123456789\r\n0\r\nX: y\r\n\r\nPOST /2 HTTP/1.1\r\nHost: gw\r\nContent-Length: 1\r\n\r\nz",
     0, 2, 14, "body:abc0123456789\nend\n"},
    {"chunk size beyond the limit", HTTP_PARSE_REQUEST, false,
     "POST / HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
     RM_ERR_BODY_TOO_LARGE, 0, 0, NULL},
    {"length beyond the limit", HTTP_PARSE_REQUEST, false,
     "POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 67108865\r\n\r\n", RM_ERR_BODY_TOO_LARGE, 0, 0,
     NULL},
    {"blanks around a chunk size", HTTP_PARSE_REQUEST, false,
     "POST / HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
     RM_ERR_HTTP_SYNTAX, 0, 0, NULL},
    {"response with a length", HTTP_PARSE_RESPONSE, false,
     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, 1, 2, "keep=1"},
    {"response without a reason", HTTP_PARSE_RESPONSE, false,
     "HTTP/1.1 204 \r\n\r\nHTTP/1.1 204\r\n\r\n", 0, 2, 0, NULL},
    {"response until the peer closes", HTTP_PARSE_RESPONSE, true,
     "HTTP/1.1 200 OK\r\nConnection: x\r\n\r\nall of it", 0, 1, 9, "keep=0"},
    {"interim answers are skipped", HTTP_PARSE_RESPONSE, false,
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 P\r\nA: b\r\n\r\nHTTP/1.1 200 "
     "OK\r\nContent-Length: "
     "1\r\n\r\nx",
     0, 1, 1, "head 1.1 0 200"},
    {"101 was not asked for", HTTP_PARSE_RESPONSE, false,
     "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", RM_ERR_HTTP_SYNTAX, 0, 0, NULL},
    {"cut in a length", HTTP_PARSE_RESPONSE, true, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
     RM_ERR_HTTP_SYNTAX, 0, 2, NULL},
    {"cut before the last chunk", HTTP_PARSE_RESPONSE, true,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", RM_ERR_HTTP_SYNTAX, 0, 2,
     NULL},
    {"response in another coding", HTTP_PARSE_RESPONSE, false,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", RM_ERR_HTTP_CODING, 0, 0, NULL},
    {"response of HTTP/2", HTTP_PARSE_RESPONSE, false, "HTTP/2.0 200 OK\r\n\r\n",
     RM_ERR_HTTP_VERSION, 0, 0, NULL},
    {"response status 600", HTTP_PARSE_RESPONSE, false, "HTTP/1.1 600 OK\r\n\r\n",
     RM_ERR_HTTP_SYNTAX, 0, 0, NULL},
};

static void row_test(void **state)
{
    static parser_cut *const cuts[] = {parser_cut_whole, parser_cut_bytes, parser_cut_random};
    const struct row *row = *state;

    for (size_t i = 0; i < RM_COUNT(cuts); i++) {
        struct parser_run run;

        parser_run(&run, row->role, &http_limits_default, row->bytes, strlen(row->bytes), row->eof,
                   cuts[i], seed);
        if (run.err != row->err)
            fail_msg("%s, wanted %s", rm_err_name(run.err), rm_err_name(row->err));
        assert_int_equal(run.messages, row->messages);
        assert_int_equal(run.body, row->body);
        if (row->says != NULL && strstr(run.said.data, row->says) == NULL)
            fail_msg("\"%s\" not in:\n%s", row->says, run.said.data);
        parser_run_clear(&run);
    }
}

/* ---- what needs code ---- */

static int count_and_wait(void *arg, const char *bytes, size_t n)
{
    (void)bytes;
    *(size_t *)arg += n;
    return RM_WAIT;
}

static int wait_on_head(void *arg, const struct http_head *h)
{
    (void)arg;
    (void)h;
    return RM_WAIT;
}

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

static void a_handler_can_hold_the_feed(void **state)
{
    static const struct http_parser_ops ops = {wait_on_head, count_and_wait, nothing};
    static const char bytes[] = "POST / HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n";
    struct http_parser *p;
    size_t body = 0, at = 0, used;
    static const struct {
        int r;
        size_t body;
    } want[] = {{RM_WAIT, 0}, {RM_WAIT, 1}, {RM_WAIT, 3}, {RM_AGAIN, 3}};

    (void)state;
    assert_int_equal(http_parser_new(HTTP_PARSE_REQUEST, &http_limits_default, &ops, &body, &p), 0);
    for (size_t i = 0; i < RM_COUNT(want); i++) {
        assert_int_equal(http_parser_feed(p, bytes + at, sizeof(bytes) - 1 - at, &used), want[i].r);
        at += used;
        assert_int_equal(body, want[i].body);
    }
    assert_int_equal(at, sizeof(bytes) - 1);
    assert_true(http_parser_idle(p));
    http_parser_trim(p);
    http_parser_free(p);
}

static void a_head_answer_has_no_body(void **state)
{
    static const struct http_parser_ops ops = {wait_on_head, count_and_wait, nothing};
    static const char bytes[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    struct http_parser *p;
    size_t body = 0, used;

    (void)state;
    assert_int_equal(http_parser_new(HTTP_PARSE_RESPONSE, &http_limits_default, &ops, &body, &p),
                     0);
    http_parser_set_head_answer(p, true);
    assert_int_equal(http_parser_feed(p, bytes, sizeof(bytes) - 1, &used), RM_AGAIN);
    assert_int_equal(http_parser_feed(p, bytes, sizeof(bytes) - 1, &used), RM_WAIT);
    http_parser_free(p);
}

static void a_verdict_stays(void **state)
{
    struct parser_run run;
    size_t used;

    (void)state;
    parser_run(&run, HTTP_PARSE_REQUEST, &http_limits_default, "\n", 1, false, parser_cut_whole, 0);
    assert_int_equal(run.err, RM_ERR_HTTP_SYNTAX);
    assert_int_equal(http_parser_feed(run.p, "GET", 3, &used), RM_ERR_HTTP_SYNTAX);
    assert_int_equal(used, 0);
    assert_int_equal(http_parser_eof(run.p), RM_ERR_HTTP_SYNTAX);
    parser_run_clear(&run);
}

static void chunk_extensions_are_bounded(void **state)
{
    struct rm_buf b;
    struct parser_run run;

    (void)state;
    rm_buf_init(&b, 1024 * 1024);
    rm_buf_puts(&b, "POST / HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 3000; i++)
        rm_buf_puts(&b, "1;a\r\nx\r\n");
    parser_run(&run, HTTP_PARSE_REQUEST, &http_limits_default, b.data, b.len, false,
               parser_cut_whole, 0);
    assert_int_equal(run.err, RM_ERR_HTTP_SYNTAX);
    assert_true(run.body < 3000);
    parser_run_clear(&run);
    rm_buf_clear(&b);
}

int main(void)
{
    struct case_file cases = case_file_load("tests/data/requests.txt");
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(a_handler_can_hold_the_feed),
        cmocka_unit_test(a_head_answer_has_no_body),
        cmocka_unit_test(a_verdict_stays),
        cmocka_unit_test(chunk_extensions_are_bounded),
    };
    struct CMUnitTest tests[256];
    size_t n = 0;
    int failed;

    seed = (uint64_t)time(NULL);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < cases.n; i++)
        tests[n++] =
            (struct CMUnitTest){cases.rows[i].column[0], case_test, NULL, NULL, &cases.rows[i]};
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[n++] = (struct CMUnitTest){rows[i].name, row_test, NULL, NULL, (void *)&rows[i]};
    for (size_t i = 0; i < RM_COUNT(others); i++)
        tests[n++] = others[i];
    failed = _cmocka_run_group_tests("parser", tests, n, NULL, NULL);
    case_file_free(&cases);
    return failed;
}
