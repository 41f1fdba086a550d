/* SPDX-License-Identifier: MIT */
/* gateway/front/front_test.c - requests from their first to their last byte, over real sockets,
 * with workers that answer well, late, badly or not at all. Malformed answers by the file of cases
 * are in front_cases_test.c. */
#include "gateway/front/front_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define ASK    "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define STREAM "{\"model\":\"gpt-x\"," ASK ",\"stream\":true}"
#define WHOLE  "{\"model\":\"gpt-x\"," ASK "}"
#define PART(text)                                                                                 \
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define DONE "data: [DONE]\n\n"

/* ---- workers ---- */

/* What a worker does with each request; a connection serves several. */
struct worker {
    const char *type, *parts[4]; /* of a 200 */
    int status;                  /* else this, with parts[0] as JSON */
    const char *fields;          /* more of them, each with its line end */
    unsigned wait_ms;            /* before the answer */
    unsigned pause_ms;           /* before each part after the first */
    enum { END_WELL, END_CUT, END_RESET, END_HOLD } end;
    bool reset_first;    /* no answer at all */
    atomic_int requests; /* seen */
    atomic_int gone_ms;  /* END_HOLD: how soon the gateway left */
    char head[2048];     /* of the last request */
    char body[1 << 16];  /* of the last request, as far as it fits */
};

/* Reads one request by Content-Length into w. */
static bool worker_read(struct worker *w, int fd)
{
    size_t n = 0, want = 0;
    char *end = NULL;

    while (end == NULL || n < want) {
        ssize_t k = n + 1 < sizeof(w->body) ? recv(fd, w->body + n, sizeof(w->body) - 1 - n, 0) : 0;

        if (k <= 0)
            return false;
        n += (size_t)k;
        w->body[n] = '\0';
        if (end == NULL && (end = strstr(w->body, "\r\n\r\n")) != NULL) {
            const char *len = strstr(w->body, "Content-Length: ");

            want = (size_t)(end + 4 - w->body) + (len != NULL ? strtoul(len + 16, NULL, 10) : 0);
        }
    }
    snprintf(w->head, sizeof(w->head), "%.*s", (int)(end - w->body), w->body);
    memmove(w->body, end + 4, strlen(end + 4) + 1);
    return true;
}

static bool worker_chunk(int fd, const char *text)
{
    char size[32];

    snprintf(size, sizeof(size), "%zx\r\n", strlen(text));
    return peer_says(fd, size) && peer_says(fd, text) && peer_says(fd, "\r\n");
}

static void sleep_ms(unsigned ms)
{
    if (ms > 0)
        usleep(ms * 1000);
}

static bool worker_answer_200(struct worker *w, int fd)
{
    char head[256];

    snprintf(head, sizeof(head),
             "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n%s\r\n",
             w->type != NULL ? w->type : "text/event-stream", w->fields != NULL ? w->fields : "");
    if (!peer_says(fd, head))
        return false;
    for (size_t i = 0; i < 4 && w->parts[i] != NULL; i++) {
        sleep_ms(i > 0 ? w->pause_ms : 0);
        if (!worker_chunk(fd, w->parts[i]))
            return false;
    }
    return w->end != END_WELL || peer_says(fd, "0\r\n\r\n");
}

static bool worker_answer_error(struct worker *w, int fd)
{
    char head[512];
    const char *body = w->parts[0] != NULL ? w->parts[0] : "";

    snprintf(head, sizeof(head),
             "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n",
             w->status, strlen(body), w->fields != NULL ? w->fields : "");
    return peer_says(fd, head) && peer_says(fd, body);
}

static void worker_serve(void *arg, int fd, int index)
{
    struct worker *w = arg;

    (void)index;
    while (worker_read(w, fd)) {
        atomic_fetch_add(&w->requests, 1);
        if (w->reset_first) {
            peer_reset(fd);
            return;
        }
        sleep_ms(w->wait_ms);
        if (!(w->status != 0 ? worker_answer_error(w, fd) : worker_answer_200(w, fd)))
            return;
        if (w->end == END_RESET)
            peer_reset(fd);
        if (w->end == END_HOLD) {
            uint64_t from = peer_now_ms();

            peer_hold(fd);
            atomic_store(&w->gone_ms, (int)(peer_now_ms() - from));
        }
        if (w->end != END_WELL)
            return;
    }
}

static int count_of(const char *text, const char *what)
{
    int n = 0;

    for (const char *p = text; (p = strstr(p, what)) != NULL; p += strlen(what))
        n++;
    return n;
}

/* One worker, one request. */
static char *ask_one(struct worker *w, struct rig_conf *conf, const char *path, const char *body,
                     struct rig_tally *tally)
{
    struct rig *rig;
    char *answer;

    conf->peer[0] = peer_open(true, worker_serve, w);
    rig = rig_open(conf);
    answer = rig_post(rig, path, body);
    *tally = rig_close(rig);
    peer_close(conf->peer[0]);
    assert_int_equal(tally->active, 0);
    return answer;
}

/* ---- good answers ---- */

static void test_stream(void **state)
{
    struct worker w = {.parts = {PART("a"), ": ping\n\n", PART("b"), DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer = ask_one(&w, &conf, NULL, STREAM, &tally), *body;
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
    assert_string_equal(body, PART("a") PART("b") DONE);
    assert_string_equal(w.body, STREAM);
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
    struct worker w = {
        .type = "application/json",
        .parts = {"{\"model\":\"gpt-x\",\"choices\":[{}],\"usage\":{\"prompt_tokens\""
                  ":5,\"completion_tokens\":3}}"}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer = ask_one(&w, &conf, NULL, WHOLE, &tally);

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
    struct worker w = {.type = "application/json"};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;

    (void)state;
    assert_non_null(text);
    strcpy(text, "{\"choices\":[],\"x\":\"");
    memset(text + 19, 'y', n);
    strcpy(text + 19 + n, "\"}");
    w.parts[0] = text;
    answer = ask_one(&w, &conf, NULL, WHOLE, &tally);
    assert_int_equal(rig_status(answer), 200);
    assert_string_equal(rig_body(answer), text);
    free(answer);
    free(text);
}

/* An attached engine has its own name for the model; the client sees the one it asked for. */
static void test_attached_name(void **state)
{
    struct worker w = {
        .parts = {"data: {\"choices\":[{\"index\":0}],\"model\":\"far:7b\"}\n\n", DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer = ask_one(&w, &conf, "/far/v1/chat/completions", STREAM, &tally), *body;
    bool whole;

    (void)state;
    assert_string_equal(w.body, "{\"model\":\"far:7b\"," ASK ",\"stream\":true}");
    body = rig_unchunk(rig_body(answer), &whole);
    assert_string_equal(body, "data: {\"choices\":[{\"index\":0}],\"model\":\"gpt-x\"}\n\n" DONE);
    free(body);
    free(answer);
}

/* Without a model the mode's own name goes there and back. */
static void test_no_model(void **state)
{
    struct worker w = {.parts = {"data: {\"choices\":[],\"model\":\"zzz\"}\n\n", DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer =
        ask_one(&w, &conf, "/chat-mode/chat/completions", "{" ASK ",\"stream\":true}", &tally);

    (void)state;
    assert_string_equal(w.body, "{\"model\":\"chat-mode\"," ASK ",\"stream\":true}");
    assert_non_null(strstr(answer, "\"model\":\"chat-mode\""));
    free(answer);
}

static void test_bare_v1(void **state)
{
    static const char *const names[] = {"ask", "chat-mode", "m", "ask:latest"};

    (void)state;
    for (size_t i = 0; i < RM_COUNT(names); i++) {
        struct worker w = {.type = "application/json", .parts = {"{\"choices\":[]}"}};
        struct rig_conf conf = {.lease_ms = 0};
        struct rig_tally tally;
        char body[256], *answer;

        snprintf(body, sizeof(body), "{\"model\":\"%s\"," ASK "}", names[i]);
        answer = ask_one(&w, &conf, "/v1/chat/completions", body, &tally);
        assert_int_equal(rig_status(answer), 200);
        assert_non_null(strstr(answer, "x-rolemesh-role: ask\r\n"));
        assert_string_equal(w.body, body);
        free(answer);
    }
}

static void test_keep_alive_connection(void **state)
{
    struct worker w = {.parts = {PART("a"), DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig *rig;
    char text[512];
    int fd;

    (void)state;
    conf.peer[0] = peer_open(true, worker_serve, &w);
    rig = rig_open(&conf);
    fd = rig_connect(rig);
    snprintf(text, sizeof(text),
             "POST /ask/v1/chat/completions HTTP/1.1\r\nHost: gw\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(STREAM), STREAM);
    for (int i = 0; i < 20; i++) {
        char *answer;

        rig_send(fd, text, strlen(text));
        answer = rig_read_until(fd, "\r\n0\r\n\r\n");
        assert_int_equal(rig_status(answer), 200);
        assert_non_null(strstr(answer, DONE));
        free(answer);
    }
    close(fd);
    assert_int_equal(peer_accepted(conf.peer[0]), 1); /* the worker's connection was kept */
    rig_close(rig);
    peer_close(conf.peer[0]);
    assert_int_equal(w.requests, 20);
}

/* ---- waiting ---- */

static const struct rig_conf quick = {
    .front = {.hold_stream_ms = 100, .hold_whole_ms = 100, .keepalive_ms = 50}};

static void test_stream_kept_alive(void **state)
{
    /* queued for 250 ms, then 250 ms in prefill, then silent for 250 ms between parts */
    struct worker w = {.parts = {PART("a"), PART("b"), DONE}, .wait_ms = 250, .pause_ms = 250};
    struct rig_conf conf = quick;
    struct rig_tally tally;
    char *answer, *body;
    bool whole;

    (void)state;
    conf.lease_ms = 250;
    answer = ask_one(&w, &conf, NULL, STREAM, &tally);
    body = rig_unchunk(rig_body(answer), &whole);
    assert_true(whole);
    assert_true(count_of(body, ": keepalive\n\n") >= 6);
    assert_true(strncmp(body, ": keepalive\n\n", 13) == 0);
    assert_non_null(strstr(strstr(body, PART("a")), ": keepalive\n\n"));
    assert_int_equal(count_of(body, PART("a")), 1);
    assert_int_equal(count_of(body, DONE), 1);
    assert_null(strstr(answer, "x-rolemesh-node")); /* not known when the 200 left */
    free(body);
    free(answer);
}

static void test_whole_kept_alive(void **state)
{
    struct worker w = {.type = "application/json", .parts = {"{\"choices\":[]}"}, .wait_ms = 400};
    struct rig_conf conf = quick;
    struct rig_tally tally;
    char *answer = ask_one(&w, &conf, NULL, WHOLE, &tally), *body;
    bool whole;

    (void)state;
    body = rig_unchunk(rig_body(answer), &whole);
    assert_true(whole);
    assert_true(body[0] == ' ' && body[1] == ' ');
    assert_string_equal(body + strspn(body, " "), "{\"choices\":[]}");
    free(body);
    free(answer);
}

static void test_no_early_200(void **state)
{
    struct worker w = {.parts = {"{\"error\":{\"message\":\"no\"}}"}, .status = 400, .wait_ms = 30};
    struct rig_conf conf = quick;
    struct rig_tally tally;
    char *answer = ask_one(&w, &conf, NULL, STREAM, &tally);

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
        struct worker w = {
            .parts = {"{\"error\":{\"message\":\"no\"}}"}, .status = 400, .wait_ms = 300};
        struct rig_conf conf = quick;
        struct rig_tally tally;
        char *answer = ask_one(&w, &conf, NULL, stream ? STREAM : WHOLE, &tally), *body;
        bool whole;

        assert_int_equal(rig_status(answer), 200);
        body = rig_unchunk(rig_body(answer), &whole);
        assert_false(whole);
        assert_int_equal(count_of(body, "data: {\"error\":"), stream);
        assert_int_equal(strspn(body, " ") == strlen(body), !stream);
        assert_int_equal(count_of(body, "[DONE]"), 0);
        free(body);
        free(answer);
    }
}

/* ---- losses ---- */

/* Two workers: the first fails as the row says, the second answers. */
static const struct loss {
    const char *name;
    struct worker first;
    const char *body;
    bool retried;
    enum route_outcome outcome;
} losses[] = {
    {"reset before an answer, stream", {.reset_first = true}, STREAM, true, ROUTE_LOST},
    {"reset before an answer, whole", {.reset_first = true}, WHOLE, true, ROUTE_LOST},
    {"head, comments, then cut",
     {.parts = {": ping\n\n"}, .end = END_CUT},
     STREAM,
     true,
     ROUTE_LOST},
    {"a part, then cut", {.parts = {PART("x")}, .end = END_CUT}, STREAM, false, ROUTE_LOST},
    {"a part, then reset", {.parts = {PART("x")}, .end = END_RESET}, STREAM, false, ROUTE_LOST},
    {"500", {.status = 500, .parts = {"{}"}}, STREAM, true, ROUTE_LOST},
    {"502", {.status = 502, .parts = {"{}"}}, WHOLE, true, ROUTE_LOST},
    {"503", {.status = 503, .parts = {"{}"}}, STREAM, true, ROUTE_BUSY},
    {"429", {.status = 429, .parts = {"{}"}}, WHOLE, true, ROUTE_BUSY},
    {"404", {.status = 404, .parts = {"{}"}}, WHOLE, true, ROUTE_LOST},
    {"400", {.status = 400, .parts = {"{}"}}, WHOLE, false, ROUTE_CLIENT},
    {"redirect", {.status = 302, .parts = {"{}"}}, WHOLE, false, ROUTE_INVALID},
    {"damaged", {.type = "application/json", .parts = {"[]"}}, WHOLE, false, ROUTE_INVALID},
};

static void test_loss(void **state)
{
    const struct loss *row = *state;
    struct worker *first = malloc(sizeof(*first));
    struct worker second = {.parts = {PART("ok"), DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    struct rig *rig;
    char *answer;

    assert_non_null(first);
    memcpy(first, &row->first, sizeof(*first));
    if (strcmp(row->body, WHOLE) == 0) {
        second.type = "application/json";
        second.parts[0] = "{\"choices\":[\"ok\"]}";
        second.parts[1] = NULL;
    }
    conf.peer[0] = peer_open(true, worker_serve, first);
    conf.peer[1] = peer_open(true, worker_serve, &second);
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

/* A stream that broke after a part: the part, one error event, no clean end. */
static void test_cut_stream(void **state)
{
    struct worker w = {.parts = {PART("a"), "data: {\"cho"}, .end = END_RESET};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer = ask_one(&w, &conf, NULL, STREAM, &tally), *body;
    bool whole;

    (void)state;
    body = rig_unchunk(rig_body(answer), &whole);
    assert_false(whole);
    assert_string_equal(body,
                        PART("a") "data: {\"error\":{\"message\":\"the worker was lost\",\"type\""
                                  ":\"server_error\",\"param\":null,\"code\":"
                                  "\"upstream_lost\"}}\n\n");
    assert_non_null(strstr(tally.metrics, "outcome=\"broken\"} 1"));
    free(body);
    free(answer);
}

/* Signs of life are no part of an answer: the request goes elsewhere after them. */
static void test_again_after_keepalives(void **state)
{
    struct worker first = {.reset_first = true}, second = {.parts = {PART("ok"), DONE}};
    struct rig_conf conf = quick;
    struct rig *rig;
    char *answer, *body;
    bool whole;

    (void)state;
    conf.lease_ms = 250;
    conf.peer[0] = peer_open(true, worker_serve, &first);
    conf.peer[1] = peer_open(true, worker_serve, &second);
    rig = rig_open(&conf);
    answer = rig_post(rig, NULL, STREAM);
    rig_close(rig);
    peer_close(conf.peer[0]);
    peer_close(conf.peer[1]);
    body = rig_unchunk(rig_body(answer), &whole);
    assert_true(whole);
    assert_true(count_of(body, ": keepalive") >= 2);
    assert_int_equal(count_of(body, "ok"), 1);
    assert_int_equal(second.requests, 1);
    free(body);
    free(answer);
}

/* All tries failed: what the last one said, as a status. */
static void test_all_lost(void **state)
{
    struct worker w[3] = {{.reset_first = true}, {.reset_first = true}, {.reset_first = true}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig *rig;
    char *answer;

    (void)state;
    for (int i = 0; i < 3; i++)
        conf.peer[i] = peer_open(true, worker_serve, &w[i]);
    rig = rig_open(&conf);
    answer = rig_post(rig, NULL, WHOLE);
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
    struct worker first = {.parts = {PART("a")}, .end = END_HOLD};
    struct rig_conf conf = {.lose = true, .lose_ms = 100};
    struct rig_tally tally;
    char *answer = ask_one(&first, &conf, NULL, STREAM, &tally);

    (void)state;
    assert_non_null(strstr(answer, PART("a")));
    assert_non_null(strstr(answer, "\"code\":\"upstream_lost\""));
    assert_int_equal(tally.outcome[0], ROUTE_LOST);
    free(answer);
}

static void test_worker_error_event(void **state)
{
    struct worker w = {
        .parts = {PART("a"), "data: {\"error\":{\"message\":\"boom\"}}\n\n", PART("late"), DONE}};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    char *answer = ask_one(&w, &conf, NULL, STREAM, &tally), *body;
    bool whole;

    (void)state;
    body = rig_unchunk(rig_body(answer), &whole);
    assert_false(whole);
    assert_string_equal(body, PART("a") "data: {\"error\":{\"message\":\"boom\"}}\n\n");
    free(body);
    free(answer);
}

/* The worker sent its end mark and forgot to end the answer. */
static void test_end_without_end(void **state)
{
    struct worker w = {.parts = {PART("a"), DONE}, .end = END_HOLD};
    struct rig_conf conf = quick;
    struct rig_tally tally;
    char *answer = ask_one(&w, &conf, NULL, STREAM, &tally), *body;
    bool whole;

    (void)state;
    body = rig_unchunk(rig_body(answer), &whole);
    assert_true(whole);
    assert_string_equal(body, PART("a") DONE);
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
        char *answer = rig_post(rig, NULL, STREAM);

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
     415, "Content-Encoding"},
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

static char *with_fields(const char *request)
{
    const char *at = strchr(request, '$');
    char *text = malloc(strlen(request) + 64);

    assert_non_null(text);
    sprintf(text, "%.*sHost: gw\r\nConnection: close\r\n%s", (int)(at - request), request, at + 1);
    return text;
}

static void test_refusal(void **state)
{
    const struct refusal *row = *state;
    struct rig_conf conf = {.lease_ms = 0};
    struct rig *rig = rig_open(&conf);
    char *text = with_fields(row->request), *answer;
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

/* ---- the client leaves ---- */

static void leave(struct rig_conf *conf, const char *body, const char *mark, struct worker *w,
                  struct rig_tally *tally)
{
    struct rig *rig;
    char text[512], *seen;
    int fd;

    conf->peer[0] = peer_open(true, worker_serve, w);
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
    struct worker w = {.parts = {PART("a"), DONE}};
    struct rig_conf conf = {.lease_ms = 60000};
    struct rig_tally tally;

    (void)state;
    leave(&conf, STREAM, NULL, &w, &tally);
    assert_int_equal(w.requests, 0);
    assert_int_equal(tally.closed, 1);
    assert_non_null(strstr(tally.metrics, "outcome=\"gone\"} 1"));
}

static void test_gone_while_decoding(void **state)
{
    struct worker w = {.parts = {PART("a")}, .end = END_HOLD, .gone_ms = -1};
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;

    (void)state;
    leave(&conf, STREAM, PART("a"), &w, &tally);
    assert_true(w.gone_ms >= 0 && w.gone_ms < 1000);
    assert_int_equal(tally.outcome[0], ROUTE_CLIENT);
}

/* In prefill nothing has come yet; the worker sees its connection close. */
static void serve_prefill(void *arg, int fd, int index)
{
    struct worker *w = arg;
    uint64_t from;

    (void)index;
    if (!worker_read(w, fd))
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
        struct worker w = {.gone_ms = -1};
        struct rig_conf conf = {.lease_ms = 0};
        const char *body = stream ? STREAM : WHOLE;
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
        char *text = with_fields(cases[i].request), *answer = rig_talk(rig, text);

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
    static const struct CMUnitTest plain[] = {
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_whole_large),
        cmocka_unit_test(test_attached_name),
        cmocka_unit_test(test_no_model),
        cmocka_unit_test(test_bare_v1),
        cmocka_unit_test(test_keep_alive_connection),
        cmocka_unit_test(test_stream_kept_alive),
        cmocka_unit_test(test_whole_kept_alive),
        cmocka_unit_test(test_no_early_200),
        cmocka_unit_test(test_late_refusal),
        cmocka_unit_test(test_cut_stream),
        cmocka_unit_test(test_again_after_keepalives),
        cmocka_unit_test(test_all_lost),
        cmocka_unit_test(test_node_lost),
        cmocka_unit_test(test_worker_error_event),
        cmocka_unit_test(test_end_without_end),
        cmocka_unit_test(test_route_refuses),
        cmocka_unit_test(test_bad_json),
        cmocka_unit_test(test_body_limits),
        cmocka_unit_test(test_gone_while_queued),
        cmocka_unit_test(test_gone_while_decoding),
        cmocka_unit_test(test_gone_in_prefill),
        cmocka_unit_test(test_local),
        cmocka_unit_test(test_cors_refused),
    };
    struct CMUnitTest tests[RM_COUNT(plain) + RM_COUNT(losses) + RM_COUNT(refusals)];
    size_t n = RM_COUNT(plain);

    memcpy(tests, plain, sizeof(plain));
    for (size_t i = 0; i < RM_COUNT(losses); i++)
        tests[n++] = (struct CMUnitTest){losses[i].name, test_loss, NULL, NULL, (void *)&losses[i]};
    for (size_t i = 0; i < RM_COUNT(refusals); i++)
        tests[n++] =
            (struct CMUnitTest){refusals[i].name, test_refusal, NULL, NULL, (void *)&refusals[i]};
    return _cmocka_run_group_tests("front", tests, n, NULL, NULL);
}
