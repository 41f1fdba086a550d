/* SPDX-License-Identifier: MIT */
/* gateway/front/front_cases_test.c - every case of tests/data/responses.txt through the front: what
 * an editor sees when a worker answers like that, and that the next request is served. */
#include "gateway/front/front_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/cases/cases.h"

#define GOOD                                                                                       \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n"              \
    "{\"choices\":[\"ok\"]}"

/* What must come of a variant. */
enum outcome {
    IS_502,
    IS_STREAM_ERROR, /* one error event, no end mark, no last chunk */
    IS_PASSED,       /* 200 with the worker's JSON */
    IS_ENDED         /* [DONE] once, nothing after it, a clean end */
};

static enum outcome outcome_of(const char *id, const struct case_variant *v)
{
    size_t first = v->n_choices > 0 ? v->choice[0] : 0;

    if (strcmp(id, "R19") == 0)
        return first == 0 ? IS_PASSED : IS_502;
    if (strcmp(id, "R23") == 0)
        return IS_STREAM_ERROR;
    if (strcmp(id, "R25") == 0)
        return first == 0 ? IS_STREAM_ERROR : IS_ENDED;
    if (strcmp(id, "R29") == 0)
        return IS_PASSED;
    if (strcmp(id, "R31") == 0 && first == 3)
        return IS_STREAM_ERROR;
    return IS_502;
}

/* The first connection gets the case, every later one a good answer. */
static void serve_case(void *arg, int fd, int index)
{
    const struct case_variant *v = arg;

    if (index > 0) {
        while (peer_read_request(fd, NULL, 0, NULL) >= 0 && peer_says(fd, GOOD))
            ;
        return;
    }
    if (peer_read_request(fd, NULL, 0, NULL) < 0)
        return;
    for (size_t i = 0; i < v->n_steps; i++) {
        if (v->steps[i].kind == CASE_SEND && !peer_send(fd, v->steps[i].bytes, v->steps[i].n))
            return;
        if (v->steps[i].kind == CASE_RESET) {
            usleep(20 * 1000); /* what was sent is read before the reset */
            peer_reset(fd);
            return;
        }
    }
    shutdown(fd, SHUT_WR);
    peer_hold(fd);
}

static bool is_502(const char *answer)
{
    return rig_status(answer) == 502 && strstr(answer, "\"type\":\"upstream_") != NULL &&
           strstr(answer, "Content-Type: application/json") != NULL;
}

static bool stream_is(const char *answer, int errors, int ends, bool clean)
{
    bool whole;
    char *body = rig_unchunk(rig_body(answer), &whole);
    bool ok = rig_status(answer) == 200 && whole == clean &&
              rig_count(body, "data: {\"error\":{") == errors &&
              rig_count(body, "[DONE]") == ends && rig_count(body, "data: ") == errors + ends;

    free(body);
    return ok;
}

static bool outcome_is(enum outcome want, const char *answer)
{
    switch (want) {
    case IS_502:
        return is_502(answer);
    case IS_STREAM_ERROR:
        return stream_is(answer, 1, 0, false);
    case IS_ENDED:
        return stream_is(answer, 0, 1, true);
    case IS_PASSED:
    default:
        return rig_status(answer) == 200 && rig_body(answer)[0] == '{' &&
               strstr(answer, "\"error\"") == NULL;
    }
}

static void run_variant(void *arg, const struct case_variant *v)
{
    const struct case_row *row = arg;
    struct rig_conf conf = {.lease_ms = 0};
    struct rig_tally tally;
    struct rig *rig;
    char *answer, *after;
    const char *body = strstr(row->column[2], "$E") == row->column[2] ||
                               (strcmp(row->column[0], "R31") == 0 && v->choice[0] == 3)
                           ? RIG_STREAM
                           : RIG_WHOLE;
    bool good;

    conf.peer[0] = peer_open(true, serve_case, (void *)v);
    rig = rig_open(&conf);
    answer = rig_post(rig, NULL, body);
    after = rig_post(rig, NULL, RIG_WHOLE);
    tally = rig_close(rig);
    peer_close(conf.peer[0]);
    good = outcome_is(outcome_of(row->column[0], v), answer) && strstr(answer, "evil") == NULL &&
           strstr(answer, "EVIL") == NULL && strstr(answer, "<html>") == NULL &&
           strstr(answer, "Location") == NULL;
    if (!good || rig_status(after) != 200 || strstr(after, "ok") == NULL)
        fail_msg("%s variant %zu: %.600s\nthen: %.200s", row->column[0], v->index, answer, after);
    assert_true(tally.usage[0].completion_tokens < 1000);
    free(answer);
    free(after);
}

static void test_case(void **state)
{
    const struct case_row *row = *state;

    assert_true(case_expand(row->column[2], &case_responses, run_variant, (void *)row) > 0);
}

int main(void)
{
    struct case_file file = case_file_load("tests/data/responses.txt");
    struct CMUnitTest *tests = calloc(file.n, sizeof(*tests));
    int r;

    if (tests == NULL)
        return 2;
    for (size_t i = 0; i < file.n; i++)
        tests[i] =
            (struct CMUnitTest){file.rows[i].column[0], test_case, NULL, NULL, &file.rows[i]};
    r = _cmocka_run_group_tests("front_cases", tests, file.n, NULL, NULL);
    free(tests);
    case_file_free(&file);
    return r;
}
