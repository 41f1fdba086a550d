/* SPDX-License-Identifier: MIT */
/* gateway/front/front_test.c - requests from their first to their last byte, over real sockets:
 * good answers, waiting, clients that leave, what the gateway answers by itself. Bad workers and
 * bad requests are in front_loss_test.c, malformed answers by the file of cases in
 * front_cases_test.c. */
#include "gateway/front/front_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const struct rig_conf quick = {
    .front = {.hold_stream_ms = 100, .hold_whole_ms = 100, .keepalive_ms = 50}};

/* ---- good answers ---- */

static void test_stream(void **state)
{
    struct rig_worker w = {.parts = {RIG_PART("a"), ": ping\n\n", RIG_PART("b"), RIG_DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer = rig_ask(&w, &conf, NULL, RIG_STREAM, &tally), *body;
    bool whole;

    (void)state;
    assert_int_equal(rig_status(answer), 200);
    assert_non_null(strstr(answer, "Content-Type: text/event-stream; charset=utf-8\r\n"));
    assert_non_null(strstr(answer, "Cache-Control: no-cache, no-transform\r\n"));
    assert_non_null(strstr(answer, "X-Accel-Buffering: no\r\n"));
    assert_non_null(strstr(answer, "x-rolemesh-node: n0\r\n"));
    assert_non_null(strstr(answer, "x-rolemesh-role: ask\r\n"));
    assert_non_null(strstr(answer, "x-request-id: req_"));
    assert_non_null(strstr(answer, "\r\nrequest-id: req_"));
    body = rig_unchunk(rig_body(answer), &whole);
    assert_true(whole);
    assert_string_equal(body, RIG_PART("a") RIG_PART("b") RIG_DONE);
    assert_string_equal(w.body, RIG_STREAM);
    assert_non_null(strstr(w.head, "POST /node/v1/run/ask/v1/chat/completions HTTP/1.1"));
    assert_non_null(strstr(w.head, "Content-Type: application/json"));
    assert_null(strstr(w.head, "Authorization"));
    assert_int_equal(tally.outcome[0], ROUTE_DONE);
    assert_int_equal(tally.first_bytes, 1);
    assert_int_equal(tally.usage[0].completion_tokens, 2);
    assert_true(tally.prefix_key != 0);
    assert_non_null(
        strstr(tally.metrics, "rolemesh_requests_total{role=\"ask\",outcome=\"ok\"} 1"));
    free(body);
    free(answer);
}

static void test_whole(void **state)
{
    struct rig_worker w = {
        .type = "application/json",
        .parts = {"{\"model\":\"gpt-x\",\"choices\":[{}],\"usage\":{\"prompt_tokens\""
                  ":5,\"completion_tokens\":3}}"}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer = rig_ask(&w, &conf, NULL, RIG_WHOLE, &tally);

    (void)state;
    assert_int_equal(rig_status(answer), 200);
    assert_string_equal(rig_body(answer), w.parts[0]);
    assert_non_null(strstr(answer, "Content-Length: "));
    assert_int_equal(tally.outcome[0], ROUTE_DONE);
    assert_int_equal(tally.usage[0].completion_tokens, 3);
    free(answer);
}

/* A large answer leaves at the client's pace, whatever the queue holds. */
static void test_whole_large(void **state)
{
    size_t n = 6 << 20;
    char *text = malloc(n + 64), *answer;
    struct rig_worker w = {.type = "application/json"};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;

    (void)state;
    assert_non_null(text);
    strcpy(text, "{\"choices\":[],\"x\":\"");
    memset(text + 19, 'y', n);
    strcpy(text + 19 + n, "\"}");
    w.parts[0] = text;
    answer = rig_ask(&w, &conf, NULL, RIG_WHOLE, &tally);
    assert_int_equal(rig_status(answer), 200);
    assert_string_equal(rig_body(answer), text);
    free(answer);
    free(text);
}

/* An attached engine has its own name for the model; the client sees the one it asked for. */
static void test_attached_name(void **state)
{
    struct rig_worker w = {
        .parts = {"data: {\"choices\":[{\"index\":0}],\"model\":\"far:7b\"}\n\n", RIG_DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer = rig_ask(&w, &conf, "/far/v1/chat/completions", RIG_STREAM, &tally), *body;
    bool whole;

    (void)state;
    assert_string_equal(w.body, "{\"model\":\"far:7b\"," RIG_ASK ",\"stream\":true}");
    body = rig_unchunk(rig_body(answer), &whole);
    assert_string_equal(body,
                        "data: {\"choices\":[{\"index\":0}],\"model\":\"gpt-x\"}\n\n" RIG_DONE);
    free(body);
    free(answer);
}

/* Without a model the mode's own name goes there and back. */
static void test_no_model(void **state)
{
    struct rig_worker w = {.parts = {"data: {\"choices\":[],\"model\":\"zzz\"}\n\n", RIG_DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer =
        rig_ask(&w, &conf, "/chat-mode/chat/completions", "{" RIG_ASK ",\"stream\":true}", &tally);

    (void)state;
    assert_string_equal(w.body, "{\"model\":\"chat-mode\"," RIG_ASK ",\"stream\":true}");
    assert_non_null(strstr(answer, "\"model\":\"chat-mode\""));
    free(answer);
}

static void test_bare_v1(void **state)
{
    static const char *const names[] = {"ask", "chat-mode", "m", "ask:latest"};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(names); i++) {
        struct rig_worker w = {.type = "application/json", .parts = {"{\"choices\":[]}"}};
        struct rig_conf conf = {.lease_ms = 0};
        struct rig_tally tally;
        char body[256], *answer;

        snprintf(body, sizeof(body), "{\"model\":\"%s\"," RIG_ASK "}", names[i]);
        answer = rig_ask(&w, &conf, "/v1/chat/completions", body, &tally);
        assert_int_equal(rig_status(answer), 200);
        assert_non_null(strstr(answer, "x-rolemesh-role: ask\r\n"));
        assert_string_equal(w.body, body);
        free(answer);
    }
}

static void test_keep_alive_connection(void **state)
{
    struct rig_worker w = {.parts = {RIG_PART("a"), RIG_DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig *rig;
    char text[512];
    int fd;

    (void)state;
    conf.peer[0] = peer_open(true, rig_worker_serve, &w);
    rig = rig_open(&conf);
    fd = rig_connect(rig);
    snprintf(text, sizeof(text),
             "POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(RIG_STREAM), RIG_STREAM);
    for (int i = 0; i < 20; i++) {
        char *answer;

        rig_send(fd, text, strlen(text));
        answer = rig_read_until(fd, "\r\n0\r\n\r\n");
        assert_int_equal(rig_status(answer), 200);
        assert_non_null(strstr(answer, RIG_DONE));
        free(answer);
    }
    close(fd);
    assert_int_equal(peer_accepted(conf.peer[0]), 1); /* the worker's connection was kept */
    rig_close(rig);
    peer_close(conf.peer[0]);
    assert_int_equal(w.requests, 20);
}

/* ---- waiting ---- */

static void test_stream_kept_alive(void **state)
{
    /* queued for 250 ms, then 250 ms in prefill, then silent for 250 ms between parts */
    struct rig_worker w = {
        .parts = {RIG_PART("a"), RIG_PART("b"), RIG_DONE}, .wait_ms = 250, .pause_ms = 250};
    struct rig_conf conf = quick;
    struct rig_tally tally;
    char *answer, *body;
    bool whole;

    (void)state;
    conf.lease_ms = 250;
    answer = rig_ask(&w, &conf, NULL, RIG_STREAM, &tally);
    body = rig_unchunk(rig_body(answer), &whole);
    assert_true(whole);
    assert_true(rig_count(body, ": keepalive\n\n") >= 6);
    assert_true(strncmp(body, ": keepalive\n\n", 13) == 0);
    assert_non_null(strstr(strstr(body, RIG_PART("a")), ": keepalive\n\n"));
    assert_int_equal(rig_count(body, RIG_PART("a")), 1);
    assert_int_equal(rig_count(body, RIG_DONE), 1);
    assert_null(strstr(answer, "x-rolemesh-node")); /* not known when the 200 left */
    free(body);
    free(answer);
}

/* While it waits for a load it hears of it; afterwards only that it lives. */
static void test_load_is_told(void **state)
{
    struct rig_worker w = {.parts = {RIG_PART("a"), RIG_DONE}, .wait_ms = 250};
    struct rig_conf conf = quick;
    struct rig_tally tally;
    const char *last;
    char *answer, *body;
    bool whole;

    (void)state;
    conf.lease_ms = 400;
    conf.status = "ask is loading on n0, 43 %, about 12 s left\r\n\ndata: {\"error\":1}";
    answer = rig_ask(&w, &conf, NULL, RIG_STREAM, &tally);
    assert_int_equal(rig_status(answer), 200);
    body = rig_unchunk(rig_body(answer), &whole);
    assert_true(whole);
#define SAID ": ask is loading on n0, 43 %, about 12 s left   data: {\"error\":1}\n\n"
    assert_true(strncmp(body, SAID, strlen(SAID)) == 0);
    assert_true(rig_count(body, SAID) >= 3);
    for (last = body; strstr(last, SAID) != NULL;)
        last = strstr(last, SAID) + strlen(SAID);
    assert_non_null(strstr(last, ": keepalive\n\n"));
    assert_string_equal(strstr(last, "data: "), RIG_PART("a") RIG_DONE);
    free(body);
    free(answer);
}

/* The deadline after the 200: the same words in the error. Before it: a 503 that says them. */
static void test_load_takes_too_long(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        struct rig_conf conf = quick;
        struct rig_worker w = {0};
        struct rig_tally tally;
        char *answer, *body;
        bool whole;

        conf.lease_ms = late ? 300 : 20;
        conf.refuse = RM_ERR_NO_HOST;
        conf.status = "ask is loading on n0, 42 %";
        answer = rig_ask(&w, &conf, NULL, RIG_STREAM, &tally);
        assert_int_equal(rig_status(answer), late ? 200 : 503);
        assert_int_equal(rig_count(answer, "\r\nRetry-After: 7\r\n"), !late);
        assert_int_equal(rig_count(answer, "ask is loading on n0, 43 %"), 1);
        assert_int_equal(w.requests, 0);
        if (late) {
            body = rig_unchunk(rig_body(answer), &whole);
            assert_false(whole);
            assert_non_null(strstr(body, ": ask is loading on n0, 42 %\n\n"));
            assert_non_null(strstr(body, "data: {\"error\":"));
            free(body);
        }
        free(answer);
    }
}

static void test_whole_kept_alive(void **state)
{
    struct rig_worker w = {
        .type = "application/json", .parts = {"{\"choices\":[]}"}, .wait_ms = 400};
    struct rig_conf conf = quick;
    struct rig_tally tally;
    char *answer = rig_ask(&w, &conf, NULL, RIG_WHOLE, &tally), *body;
    bool whole;

    (void)state;
    body = rig_unchunk(rig_body(answer), &whole);
    assert_true(whole);
    assert_true(body[0] == ' ' && body[1] == ' ');
    assert_string_equal(body + strspn(body, " "), "{\"choices\":[]}");
    free(body);
    free(answer);
}

/* A load is nothing that a late whole answer could tell: blanks, then the answer or a cut. */
static void test_whole_waits_for_a_load(void **state)
{
    (void)state;
    for (int refused = 0; refused < 2; refused++) {
        struct rig_worker w = {.type = "application/json", .parts = {"{\"choices\":[]}"}};
        struct rig_conf conf = quick;
        struct rig_tally tally;
        char *answer, *body;
        bool whole;

        conf.lease_ms = 300;
        conf.status = "ask is loading on n0, 43 %";
        conf.refuse = refused ? RM_ERR_NO_HOST : 0;
        answer = rig_ask(&w, &conf, NULL, RIG_WHOLE, &tally);
        assert_int_equal(rig_status(answer), 200);
        body = rig_unchunk(rig_body(answer), &whole);
        assert_int_equal(whole, !refused);
        assert_true(strspn(body, " ") >= 3);
        assert_string_equal(body + strspn(body, " "), refused ? "" : "{\"choices\":[]}");
        free(body);
        free(answer);
    }
}

static void test_no_early_200(void **state)
{
    struct rig_worker w = {
        .parts = {"{\"error\":{\"message\":\"no\"}}"}, .status = 400, .wait_ms = 30};
    struct rig_conf conf = quick;
    struct rig_tally tally;
    char *answer = rig_ask(&w, &conf, NULL, RIG_STREAM, &tally);

    (void)state;
    assert_int_equal(rig_status(answer), 400);
    assert_int_equal(tally.outcome[0], ROUTE_CLIENT);
    free(answer);
}

/* After the 200 an error is an event for streams and a cut for whole answers. */
static void test_late_refusal(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        struct rig_worker w = {
            .parts = {"{\"error\":{\"message\":\"no\"}}"}, .status = 400, .wait_ms = 300};
        struct rig_conf conf = quick;
        struct rig_tally tally;
        char *answer = rig_ask(&w, &conf, NULL, stream ? RIG_STREAM : RIG_WHOLE, &tally), *body;
        bool whole;

        assert_int_equal(rig_status(answer), 200);
        body = rig_unchunk(rig_body(answer), &whole);
        assert_false(whole);
        assert_int_equal(rig_count(body, "data: {\"error\":"), stream);
        assert_int_equal(strspn(body, " ") == strlen(body), !stream);
        assert_int_equal(rig_count(body, "[DONE]"), 0);
        free(body);
        free(answer);
    }
}

/* ---- the client leaves ---- */

static void leave(struct rig_conf *conf, const char *body, const char *mark, struct rig_worker *w,
                  struct rig_tally *tally)
{
    struct rig *rig;
    char text[512], *seen;
    int fd;

    conf->peer[0] = peer_open(true, rig_worker_serve, w);
    rig = rig_open(conf);
    fd = rig_connect(rig);
    snprintf(text, sizeof(text),
             "POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(body), body);
    rig_send(fd, text, strlen(text));
    if (mark != NULL) {
        seen = rig_read_until(fd, mark);
        assert_non_null(strstr(seen, mark));
        free(seen);
    } else if (w->wait_ms > 0) {
        uint64_t until = peer_now_ms() + 5000;

        while (atomic_load(&w->requests) == 0 && peer_now_ms() < until)
            usleep(1000);
    } else {
        usleep(50 * 1000); /* in the queue */
    }
    close(fd);
    if (conf->lease_ms == 0) {
        uint64_t until = peer_now_ms() + 5000;

        while (atomic_load(&w->gone_ms) < 0 && peer_now_ms() < until)
            usleep(1000);
    } else {
        usleep(50 * 1000);
    }
    *tally = rig_close(rig);
    peer_close(conf->peer[0]);
}

static void test_gone_while_queued(void **state)
{
    struct rig_worker w = {.parts = {RIG_PART("a"), RIG_DONE}};
    struct rig_conf conf = {.lease_ms = 60000};
    struct rig_tally tally;

    (void)state;
    leave(&conf, RIG_STREAM, NULL, &w, &tally);
    assert_int_equal(w.requests, 0);
    assert_int_equal(tally.closed, 1);
    assert_non_null(strstr(tally.metrics, "outcome=\"gone\"} 1"));
}

static void test_gone_while_decoding(void **state)
{
    struct rig_worker w = {.parts = {RIG_PART("a")}, .end = END_HOLD, .gone_ms = -1};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;

    (void)state;
    leave(&conf, RIG_STREAM, RIG_PART("a"), &w, &tally);
    assert_true(w.gone_ms >= 0 && w.gone_ms < 1000);
    assert_int_equal(tally.outcome[0], ROUTE_CLIENT);
}

/* In prefill nothing has come yet; the worker sees its connection close. */
static void serve_prefill(void *arg, int fd, int index)
{
    struct rig_worker *w = arg;
    uint64_t from;

    (void)index;
    if (!rig_worker_read(w, fd))
        return;
    from = peer_now_ms();
    atomic_fetch_add(&w->requests, 1);
    peer_hold(fd);
    atomic_store(&w->gone_ms, (int)(peer_now_ms() - from));
}

static void test_gone_in_prefill(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        struct rig_worker w = {.gone_ms = -1};
        struct rig_conf conf = {.lease_ms = 0};
        const char *body = stream ? RIG_STREAM : RIG_WHOLE;
        struct rig_tally tally;
        struct rig *rig;
        char text[512];
        uint64_t until, left;
        int fd;

        conf.peer[0] = peer_open(true, serve_prefill, &w);
        rig = rig_open(&conf);
        fd = rig_connect(rig);
        snprintf(text, sizeof(text),
                 "POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nContent-Length: "
                 "%zu\r\n\r\n%s",
                 strlen(body), body);
        rig_send(fd, text, strlen(text));
        until = peer_now_ms() + 5000;
        while (atomic_load(&w.requests) == 0 && peer_now_ms() < until)
            usleep(1000);
        left = peer_now_ms();
        close(fd);
        while (atomic_load(&w.gone_ms) < 0 && peer_now_ms() < until)
            usleep(1000);
        assert_true(atomic_load(&w.gone_ms) >= 0);
        assert_true(peer_now_ms() - left < 500);
        tally = rig_close(rig);
        peer_close(conf.peer[0]);
        assert_int_equal(tally.outcome[0], ROUTE_CLIENT);
    }
}

/* ---- answered here ---- */

static void test_local(void **state)
{
    struct rig_conf conf = {.lease_ms = 0};
    struct rig *rig = rig_open(&conf);
    static const struct {
        const char *request;
        int status;
        const char *has;
    } cases[] = {
        {"GET / HTTP/1.1\r\n$\r\n", 200, "rolemesh"},
        {"HEAD /ask/ HTTP/1.1\r\n$\r\n", 200, "Content-Length: "},
        {"HEAD /api/hello HTTP/1.1\r\n$\r\n", 200, "x-request-id"},
        {"GET /nope HTTP/1.1\r\n$\r\n", 404, "model_not_found"},
        {"GET /v1/models HTTP/1.1\r\n$\r\n", 200, "\"id\":\"ask\""},
        {"GET /code/v1/models?limit=1 HTTP/1.1\r\n$\r\n", 200, "\"last_id\":\"code\""},
        {"GET /v1/models/chat-mode HTTP/1.1\r\n$\r\n", 200, "\"context_length\":4096"},
        {"GET /v1/models/nope HTTP/1.1\r\n$\r\n", 404, "model_not_found"},
        {"OPTIONS /ask/v1/models HTTP/1.1\r\n$\r\n", 204, "Allow: GET, HEAD, OPTIONS\r\n"},
        {"OPTIONS * HTTP/1.1\r\n$\r\n", 204, "Allow: "},
        {"OPTIONS /ask/v1/chat/completions HTTP/1.1\r\n$Origin: http://page.example\r\n"
         "Access-Control-Request-Headers: authorization, x-stainless-os\r\n\r\n",
         204, "Access-Control-Allow-Headers: authorization, x-stainless-os\r\n"},
        {"GET /v1/models HTTP/1.1\r\n$Origin: http://page.example\r\n\r\n", 200,
         "Access-Control-Allow-Origin: http://page.example\r\n"},
        {"GET /nope HTTP/1.1\r\n$Origin: http://page.example\r\n\r\n", 404,
         "Access-Control-Expose-Headers: x-request-id, request-id, retry-after\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(cases); i++) {
        char *text = rig_with_fields(cases[i].request), *answer = rig_talk(rig, text);

        if (rig_status(answer) != cases[i].status || strstr(answer, cases[i].has) == NULL)
            fail_msg("%s: %s", cases[i].request, answer);
        free(text);
        free(answer);
    }
    rig_close(rig);
}

static void test_cors_refused(void **state)
{
    struct rig_conf conf = {.lease_ms = 0};
    struct rig *rig = rig_open(&conf);
    char *answer = rig_talk(rig, "OPTIONS /ask/v1/models HTTP/1.1\r\nHost: gw\r\nConnection: "
                                 "close\r\nOrigin: http://other.example\r\n\r\n");

    (void)state;
    rig_close(rig);
    assert_int_equal(rig_status(answer), 204);
    assert_null(strstr(answer, "Access-Control"));
    free(answer);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_whole_large),
        cmocka_unit_test(test_attached_name),
        cmocka_unit_test(test_no_model),
        cmocka_unit_test(test_bare_v1),
        cmocka_unit_test(test_keep_alive_connection),
        cmocka_unit_test(test_stream_kept_alive),
        cmocka_unit_test(test_load_is_told),
        cmocka_unit_test(test_load_takes_too_long),
        cmocka_unit_test(test_whole_kept_alive),
        cmocka_unit_test(test_whole_waits_for_a_load),
        cmocka_unit_test(test_no_early_200),
        cmocka_unit_test(test_late_refusal),
        cmocka_unit_test(test_gone_while_queued),
        cmocka_unit_test(test_gone_while_decoding),
        cmocka_unit_test(test_gone_in_prefill),
        cmocka_unit_test(test_local),
        cmocka_unit_test(test_cors_refused),
    };

    return cmocka_run_group_tests_name("front", tests, NULL, NULL);
}
