/* SPDX-License-Identifier: MIT */
/* gateway/front/front_loss_test.c - workers that are lost or answer badly, and requests that are
 * refused before a worker hears of them; over real sockets. */
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

/* ---- losses ---- */

/* Two workers: the first fails as the row says, the second answers. */
static const struct loss {
    const char *name;
    struct rig_worker first;
    const char *body;
    bool retried;
    enum route_outcome outcome;
} losses[] = {
    {"reset before an answer, stream", {.reset_first = true}, RIG_STREAM, true, ROUTE_LOST},
    {"reset before an answer, whole", {.reset_first = true}, RIG_WHOLE, true, ROUTE_LOST},
    {"head, comments, then cut",
     {.parts = {": ping\n\n"}, .end = END_CUT},
     RIG_STREAM,
     true,
     ROUTE_LOST},
    {"a part, then cut", {.parts = {RIG_PART("x")}, .end = END_CUT}, RIG_STREAM, false, ROUTE_LOST},
    {"a part, then reset",
     {.parts = {RIG_PART("x")}, .end = END_RESET},
     RIG_STREAM,
     false,
     ROUTE_LOST},
    {"500", {.status = 500, .parts = {"{}"}}, RIG_STREAM, true, ROUTE_LOST},
    {"502", {.status = 502, .parts = {"{}"}}, RIG_WHOLE, true, ROUTE_LOST},
    {"503", {.status = 503, .parts = {"{}"}}, RIG_STREAM, true, ROUTE_BUSY},
    {"429", {.status = 429, .parts = {"{}"}}, RIG_WHOLE, true, ROUTE_BUSY},
    {"404", {.status = 404, .parts = {"{}"}}, RIG_WHOLE, true, ROUTE_LOST},
    {"400", {.status = 400, .parts = {"{}"}}, RIG_WHOLE, false, ROUTE_CLIENT},
    {"redirect", {.status = 302, .parts = {"{}"}}, RIG_WHOLE, false, ROUTE_INVALID},
    {"damaged", {.type = "application/json", .parts = {"[]"}}, RIG_WHOLE, false, ROUTE_INVALID},
};

static void test_loss(void **state)
{
    const struct loss *row = *state;
    struct rig_worker *first = malloc(sizeof(*first));
    struct rig_worker second = {.parts = {RIG_PART("ok"), RIG_DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    struct rig *rig;
    char *answer;

    assert_non_null(first);
    memcpy(first, &row->first, sizeof(*first));
    if (strcmp(row->body, RIG_WHOLE) == 0) {
        second.type = "application/json";
        second.parts[0] = "{\"choices\":[\"ok\"]}";
        second.parts[1] = NULL;
    }
    conf.peer[0] = peer_open(true, rig_worker_serve, first);
    conf.peer[1] = peer_open(true, rig_worker_serve, &second);
    rig = rig_open(&conf);
    answer = rig_post(rig, NULL, row->body);
    tally = rig_close(rig);
    peer_close(conf.peer[0]);
    peer_close(conf.peer[1]);
    assert_int_equal(first->requests, 1);
    assert_int_equal(second.requests, row->retried);
    assert_int_equal(tally.outcome[0], row->outcome);
    if (row->retried) {
        assert_int_equal(rig_status(answer), 200);
        assert_non_null(strstr(answer, "ok"));
        assert_non_null(strstr(answer, "x-rolemesh-node: n1\r\n"));
        assert_int_equal(tally.outcome[1], ROUTE_DONE);
    } else {
        assert_non_null(strstr(answer, "\"error\""));
        assert_null(strstr(answer, "[DONE]"));
    }
    free(first);
    free(answer);
}

/* Says something that is no answer, in good framing, and keeps the connection open. */
struct no_answer {
    const char *says;
    atomic_int again; /* requests that came on a connection after the first */
};

static void serve_no_answer(void *arg, int fd, int index)
{
    struct no_answer *a = arg;

    (void)index;
    for (int n = 0; peer_read_request(fd, NULL, 0, NULL) >= 0 && peer_says(fd, a->says); n++)
        atomic_fetch_add(&a->again, n > 0);
}

static void test_no_answer_ends_its_connection(void **state)
{
    static const char *const says[] = {
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]",
        "HTTP/1.1 302 M\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"};

    (void)state;
    for (size_t k = 0; k < RM_COUNT(says); k++) {
        struct no_answer a = {.says = says[k]};
        struct rig_conf conf = {.lease_ms = 0};
        struct rig *rig;

        conf.peer[0] = peer_open(true, serve_no_answer, &a);
        rig = rig_open(&conf);
        for (int i = 0; i < 3; i++) {
            char *answer = rig_post(rig, NULL, i == 1 ? RIG_STREAM : RIG_WHOLE);

            assert_int_equal(rig_status(answer), 502);
            free(answer);
        }
        rig_close(rig);
        peer_close(conf.peer[0]);
        assert_int_equal(a.again, 0);
    }
}

/* A stream that broke after a part: the part, one error event, no clean end. */
static void test_cut_stream(void **state)
{
    struct rig_worker w = {.parts = {RIG_PART("a"), "data: {\"cho"}, .end = END_RESET};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer = rig_ask(&w, &conf, NULL, RIG_STREAM, &tally), *body;
    bool whole;

    (void)state;
    body = rig_unchunk(rig_body(answer), &whole);
    assert_false(whole);
    assert_string_equal(
        body, RIG_PART("a") "data: {\"error\":{\"message\":\"the worker was lost\",\"type\""
                            ":\"server_error\",\"param\":null,\"code\":"
                            "\"upstream_lost\"}}\n\n");
    assert_non_null(strstr(tally.metrics, "outcome=\"broken\"} 1"));
    free(body);
    free(answer);
}

/* Signs of life are no part of an answer: the request goes elsewhere after them. */
static void test_again_after_keepalives(void **state)
{
    struct rig_worker first = {.reset_first = true}, second = {.parts = {RIG_PART("ok"), RIG_DONE}};
    struct rig_conf conf = quick;
    struct rig *rig;
    char *answer, *body;
    bool whole;

    (void)state;
    conf.lease_ms = 250;
    conf.peer[0] = peer_open(true, rig_worker_serve, &first);
    conf.peer[1] = peer_open(true, rig_worker_serve, &second);
    rig = rig_open(&conf);
    answer = rig_post(rig, NULL, RIG_STREAM);
    rig_close(rig);
    peer_close(conf.peer[0]);
    peer_close(conf.peer[1]);
    body = rig_unchunk(rig_body(answer), &whole);
    assert_true(whole);
    assert_true(rig_count(body, ": keepalive") >= 2);
    assert_int_equal(rig_count(body, "ok"), 1);
    assert_int_equal(second.requests, 1);
    free(body);
    free(answer);
}

/* All tries failed: what the last one said, as a status. */
static void test_all_lost(void **state)
{
    struct rig_worker w[3] = {{.reset_first = true}, {.reset_first = true}, {.reset_first = true}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig *rig;
    char *answer;

    (void)state;
    for (int i = 0; i < 3; i++)
        conf.peer[i] = peer_open(true, rig_worker_serve, &w[i]);
    rig = rig_open(&conf);
    answer = rig_post(rig, NULL, RIG_WHOLE);
    rig_close(rig);
    for (int i = 0; i < 3; i++)
        peer_close(conf.peer[i]);
    assert_int_equal(rig_status(answer), 502);
    assert_non_null(strstr(answer, "\"type\":\"upstream_lost\""));
    assert_int_equal(w[0].requests + w[1].requests + w[2].requests, 2);
    free(answer);
}

/* A node that is gone without a word: told by route. */
static void test_node_lost(void **state)
{
    struct rig_worker first = {.parts = {RIG_PART("a")}, .end = END_HOLD};
    struct rig_conf conf = {.lose = true, .lose_ms = 100};
    struct rig_tally tally;
    char *answer = rig_ask(&first, &conf, NULL, RIG_STREAM, &tally);

    (void)state;
    assert_non_null(strstr(answer, RIG_PART("a")));
    assert_non_null(strstr(answer, "\"code\":\"upstream_lost\""));
    assert_int_equal(tally.outcome[0], ROUTE_LOST);
    free(answer);
}

static void test_worker_error_event(void **state)
{
    struct rig_worker w = {.parts = {RIG_PART("a"), "data: {\"error\":{\"message\":\"boom\"}}\n\n",
                                     RIG_PART("late"), RIG_DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer = rig_ask(&w, &conf, NULL, RIG_STREAM, &tally), *body;
    bool whole;

    (void)state;
    body = rig_unchunk(rig_body(answer), &whole);
    assert_false(whole);
    assert_string_equal(body, RIG_PART("a") "data: {\"error\":{\"message\":\"boom\"}}\n\n");
    free(body);
    free(answer);
}

/* The worker sent its end mark and forgot to end the answer. */
static void test_end_without_end(void **state)
{
    struct rig_worker w = {.parts = {RIG_PART("a"), RIG_DONE}, .end = END_HOLD};
    struct rig_conf conf = quick;
    struct rig_tally tally;
    char *answer = rig_ask(&w, &conf, NULL, RIG_STREAM, &tally), *body;
    bool whole;

    (void)state;
    body = rig_unchunk(rig_body(answer), &whole);
    assert_true(whole);
    assert_string_equal(body, RIG_PART("a") RIG_DONE);
    assert_int_equal(tally.outcome[0], ROUTE_DONE);
    free(body);
    free(answer);
}

/* ---- refused before a worker ---- */

static void test_route_refuses(void **state)
{
    static const struct {
        int err, status;
        const char *code;
        bool waits;
    } cases[] = {
        {RM_ERR_QUEUE_FULL, 429, "\"code\":\"queue_full\"", true},
        {RM_ERR_DEADLINE, 504, "\"code\":\"timeout\"", true},
        {RM_ERR_NO_HOST, 503, "\"code\":\"no_host\"", true},
        {RM_ERR_DRAINING, 503, "\"code\":\"shutting_down\"", true},
        {RM_ERR_MODEL, 404, "\"code\":\"model_not_found\"", false},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(cases); i++) {
        struct rig_conf conf = {.refuse = cases[i].err};
        struct rig *rig = rig_open(&conf);
        char *answer = rig_post(rig, NULL, RIG_STREAM);

        rig_close(rig);
        assert_int_equal(rig_status(answer), cases[i].status);
        assert_non_null(strstr(answer, cases[i].code));
        assert_non_null(strstr(answer, "ask is loading on n0, 43 %"));
        assert_int_equal(strstr(answer, "Retry-After: 7\r\n") != NULL, cases[i].waits);
        assert_int_equal(strstr(answer, "retry-after-ms: 7000\r\n") != NULL, cases[i].waits);
        free(answer);
    }
}

static const struct refusal {
    const char *name, *request; /* $: Host and Connection fields */
    int status;
    const char *has;
} refusals[] = {
    {"unknown mode", "POST /nope/v1/chat/completions HTTP/1.1\r\n$Content-Length: 2\r\n\r\n{}", 404,
     "known: ask, chat-mode, code, far"},
    {"unknown path", "GET /ask/v1/chat/complete HTTP/1.1\r\n$\r\n", 404, "/v1/chat/completions"},
    {"operators' base", "POST /api/v1/chat/completions HTTP/1.1\r\n$Content-Length: 2\r\n\r\n{}",
     404, "ends in /v1"},
    {"method", "PUT /v1/models HTTP/1.1\r\n$\r\n", 405, "Allow: GET, HEAD, OPTIONS\r\n"},
    {"later", "POST /v1/responses HTTP/1.1\r\n$Content-Length: 2\r\n\r\n{}", 501, "not_supported"},
    {"form",
     "POST /ask/v1/chat/completions HTTP/1.1\r\n$Content-Type: "
     "application/x-www-form-urlencoded\r\nContent-Length: 2\r\n\r\n{}",
     415, "unsupported_media_type"},
    {"brotli",
     "POST /ask/v1/chat/completions HTTP/1.1\r\n$Content-Encoding: br\r\nContent-Length: "
     "2\r\n\r\n{}",
     415, "Content-Encoding may be"},
    {"65 MiB", "POST /ask/v1/chat/completions HTTP/1.1\r\n$Content-Length: 68157440\r\n\r\n", 413,
     "request_too_large"},
    {"5 MiB of completions",
     "POST /ask/v1/completions HTTP/1.1\r\n$Content-Length: 5242880\r\n\r\n", 413,
     "request_too_large"},
    {"no messages", "POST /ask/v1/chat/completions HTTP/1.1\r\n$Content-Length: 2\r\n\r\n{}", 400,
     "\"param\":\"messages\""},
    {"unknown model on a bare /v1",
     "POST /v1/chat/completions HTTP/1.1\r\n$Content-Length: 35\r\n\r\n"
     "{\"model\":\"zz\",\"messages\":[{\"a\":1}]}",
     404, "\\\"zz\\\""},
    {"no model on a bare /v1",
     "POST /v1/chat/completions HTTP/1.1\r\n$Content-Length: 22\r\n\r\n{\"messages\":[{\"a\":1}]}",
     400, "\"param\":\"model\""},
    {"half a body", "POST /v1/chat/completions HTTP/1.1\r\n$Content-Length: 3\r\n\r\n{\"a", 400,
     "at byte 3"},
};

static void test_refusal(void **state)
{
    const struct refusal *row = *state;
    struct rig_conf conf = {.lease_ms = 0};
    struct rig *rig = rig_open(&conf);
    char *text = rig_with_fields(row->request), *answer;
    uint64_t from = peer_now_ms();
    struct rig_tally tally;

    answer = rig_talk(rig, text);
    assert_true(peer_now_ms() - from < 1000);
    tally = rig_close(rig);
    assert_int_equal(rig_status(answer), row->status);
    assert_non_null(strstr(answer, row->has));
    assert_non_null(strstr(answer, "x-request-id: req_"));
    assert_non_null(strstr(answer, "{\"error\":{\"message\":"));
    assert_int_equal(tally.opened, 0);
    free(text);
    free(answer);
}

/* H65: the connection stays usable and no worker hears of it. */
static void test_bad_json(void **state)
{
    static const char *const bodies[] = {"{\"model\":\"a\",\"model\":\"b\"}",
                                         "{\"model\":\"\xff\"}",
                                         "{\"model\":\"\\ud800\"}",
                                         "{\"n\":1e999}",
                                         "{\"n\":NaN}",
                                         "{}x",
                                         "\xef\xbb\xbf{}",
                                         "{\"a\":1,}",
                                         ""};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig *rig = rig_open(&conf);
    struct rig_tally tally;
    char *bomb = malloc(100001);
    int fd = rig_connect(rig);

    (void)state;
    assert_non_null(bomb);
    memset(bomb, '[', 100000);
    bomb[100000] = '\0';
    for (size_t i = 0; i <= RM_COUNT(bodies); i++) {
        const char *body = i < RM_COUNT(bodies) ? bodies[i] : bomb;
        char head[160], *answer;
        uint64_t from = peer_now_ms();

        snprintf(head, sizeof(head),
                 "POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nContent-Type: "
                 "application/json\r\nContent-Length: %zu\r\n\r\n",
                 strlen(body));
        rig_send(fd, head, strlen(head));
        rig_send(fd, body, strlen(body));
        answer = rig_read_until(fd, "}}");
        assert_int_equal(rig_status(answer), 400);
        assert_non_null(strstr(answer, "at byte "));
        assert_non_null(strstr(answer, "x-should-retry: false\r\n"));
        assert_true(peer_now_ms() - from < 500);
        free(answer);
    }
    close(fd);
    free(bomb);
    tally = rig_close(rig);
    assert_int_equal(tally.opened, 0);
}

/* A body over its limit without Content-Length, and over everybody's. */
static void test_body_limits(void **state)
{
    struct rig_conf conf = {.front = {.small_body_bytes = 1000}};
    struct rig *rig = rig_open(&conf);
    char text[4096] = "POST /ask/v1/completions HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: "
                      "chunked\r\n\r\n5dc\r\n",
         *answer;

    (void)state;
    memset(text + strlen(text), ' ', 1500);
    answer = rig_talk(rig, text);
    rig_close(rig);
    assert_int_equal(rig_status(answer), 413);
    assert_non_null(strstr(answer, "request_too_large"));
    free(answer);
}

/* Bodies that are held leave no room for another's. */
static void test_body_memory(void **state)
{
    static const char map[] =
        "version: 1\n"
        "gateway: { listen: [\"127.0.0.1:8080\"], body_max: 1MiB, body_memory: 1MiB }\n"
        "nodes: { n0: { address: \"127.0.0.1:7070\" } }\n"
        "models: { m: { source: \"/m.gguf\" } }\n"
        "roles: { ask: { modes: [ask], model: m, context: 4Ki } }\n";
    static const char head[] = "POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\n"
                               "Content-Length: 1000000\r\n\r\n";
    struct rig_conf conf = {.map = map};
    struct rig *rig = rig_open(&conf);
    uint64_t until = peer_now_ms() + 5000;
    char *most = malloc(980000), *answer = NULL;
    int fd = rig_connect(rig);

    (void)state;
    assert_non_null(most);
    memset(most, ' ', 980000);
    rig_send(fd, head, sizeof(head) - 1);
    rig_send(fd, most, 980000);
    do { /* until what was sent has been read */
        free(answer);
        answer = rig_post(rig, NULL, RIG_WHOLE);
    } while (strstr(answer, "overloaded") == NULL && peer_now_ms() < until);
    assert_int_equal(rig_status(answer), 503);
    assert_non_null(strstr(answer, "Retry-After: "));
    free(answer);
    close(fd);
    until = peer_now_ms() + 5000;
    answer = NULL;
    do { /* the room is given back */
        free(answer);
        answer = rig_post(rig, NULL, RIG_WHOLE);
    } while (strstr(answer, "overloaded") != NULL && peer_now_ms() < until);
    assert_non_null(strstr(answer, "no_host"));
    free(answer);
    free(most);
    rig_close(rig);
}

int main(void)
{
    static const struct CMUnitTest plain[] = {
        cmocka_unit_test(test_cut_stream),
        cmocka_unit_test(test_again_after_keepalives),
        cmocka_unit_test(test_all_lost),
        cmocka_unit_test(test_node_lost),
        cmocka_unit_test(test_worker_error_event),
        cmocka_unit_test(test_end_without_end),
        cmocka_unit_test(test_route_refuses),
        cmocka_unit_test(test_bad_json),
        cmocka_unit_test(test_body_limits),
        cmocka_unit_test(test_body_memory),
        cmocka_unit_test(test_no_answer_ends_its_connection),
    };
    struct CMUnitTest tests[RM_COUNT(plain) + RM_COUNT(losses) + RM_COUNT(refusals)];
    size_t n = RM_COUNT(plain);

    memcpy(tests, plain, sizeof(plain));
    for (size_t i = 0; i < RM_COUNT(losses); i++)
        tests[n++] = (struct CMUnitTest){losses[i].name, test_loss, NULL, NULL, (void *)&losses[i]};
    for (size_t i = 0; i < RM_COUNT(refusals); i++)
        tests[n++] =
            (struct CMUnitTest){refusals[i].name, test_refusal, NULL, NULL, (void *)&refusals[i]};
    return _cmocka_run_group_tests("front_loss", tests, n, NULL, NULL);
}
