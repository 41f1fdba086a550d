/* SPDX-License-Identifier: MIT */
/* proto/http/server_cases_test.c - every case of tests/data/requests.txt that does not need the
 * real gateway, through a server on a loopback socket: each variant whole, byte by byte and cut at
 * random, then a good request on the same connection (unless it must be closed) and on a new one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

#include "proto/http/parser_test.h"
#include "proto/http/server_test.h"
#include "tests/support/cases/cases.h"

static const char good[] = "GET /v1/models HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer K\r\n\r\n";
static uint64_t seed;
static struct rig rig;

struct answer {
    int status[4];
    int n;
    bool close, closed; /* `c`; "closed": the connection ends without an answer */
};

struct check {
    const struct case_row *row;
    struct answer by_alternative[16];
    size_t n;
    parser_cut *cut;
};

static void answer_read(struct answer *a, const char *text, size_t n)
{
    char one[32], *p = one;

    assert_true(n < sizeof(one));
    memcpy(one, text, n);
    one[n] = '\0';
    *a = (struct answer){.closed = strstr(one, "closed") != NULL};
    a->close = !a->closed && strchr(one, 'c') != NULL;
    for (; p != NULL && !a->closed; p = strchr(p, ',')) {
        p += *p == ',';
        a->status[a->n++] = atoi(p);
    }
}

static void check_read(struct check *c, const struct case_row *row)
{
    const char *p = row->column[3];

    *c = (struct check){.row = row};
    for (; p != NULL; p = strchr(p, '/')) {
        p += *p == '/';
        answer_read(&c->by_alternative[c->n++], p, strcspn(p, "/"));
    }
}

/* Bytes of one step, cut; false when the server has closed. */
static bool send_cut(struct peer *p, const struct case_step *step, parser_cut *cut)
{
    uint64_t s = seed;

    for (size_t at = 0; at < step->n;) {
        size_t k = cut(step->n - at, &s);

        if (!peer_send(p, &rig, step->bytes + at, k))
            return false;
        at += k;
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    }
    return true;
}

static void play(struct peer *p, const struct case_variant *v, parser_cut *cut)
{
    bool open = true;

    for (size_t i = 0; i < v->n_steps && open; i++) {
        const struct case_step *step = &v->steps[i];
        const uint64_t end = rig_real_ms() + step->ms;

        if (step->kind == CASE_SEND)
            open = send_cut(p, step, cut);
        else if (step->kind == CASE_HALF_CLOSE)
            shutdown(p->fd, SHUT_WR);
        else
            while (step->kind == CASE_PAUSE && rig_real_ms() < end)
                rig_turn(&rig);
    }
}

static bool settled(struct peer *p, const struct answer *a)
{
    peer_read(p);
    return p->eof || p->reset || (!a->close && !a->closed && p->ends >= a->n);
}

static void expect_good(struct peer *p, const struct check *c)
{
    const int before = p->ends, handled = rig.handled;

    peer_sends(p, &rig, good);
    rig_until(&rig, (peer_read(p), p->ends > before || p->eof || p->reset));
    if (p->ends != before + 1 || p->status[before] != 200 || rig.handled != handled + 1)
        fail_msg("%s: a good request after it failed", c->row->column[0]);
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (; text != NULL && (text = strstr(text, what)) != NULL; text++)
        n++;
    return n;
}

static void verify(struct peer *p, const struct check *c, const struct case_variant *v,
                   const struct answer *a)
{
    const char *id = c->row->column[0];

    if (p->reset || p->err != 0)
        fail_msg("%s variant %zu: reset %d, err %d (seed %llu)", id, v->index, p->reset, p->err,
                 (unsigned long long)seed);
    if (!a->closed && p->ends != a->n)
        fail_msg("%s variant %zu: %d answers", id, v->index, p->ends);
    for (int i = 0; i < a->n; i++)
        if (p->status[i] != a->status[i])
            fail_msg("%s variant %zu: answered %d (seed %llu):\n%s", id, v->index, p->status[i],
                     (unsigned long long)seed, p->raw.data);
    assert_int_equal(rig.smuggled, 0);
    assert_true(count(p->raw.data, "HTTP/1.1 100 ") <= (strcmp(id, "H57") == 0));
    if (strcmp(c->row->column[4], "-") != 0)
        assert_int_equal(rig.body, atoi(c->row->column[4]));
    if (a->status[0] == 405 || strcmp(id, "H41") == 0)
        assert_non_null(strstr(p->raw.data, "\r\nAllow: "));
    if (strcmp(id, "H37") == 0)
        assert_null(strstr(p->raw.data, "chunked"));
}

static void run_variant(void *arg, const struct case_variant *v)
{
    const struct check *c = arg;
    const size_t i = v->n_choices > 0 && c->n > 1 ? v->choice[v->n_choices - 1] : 0;
    struct answer a = c->by_alternative[i];
    const int handled = rig.handled;
    struct http_server_stats before, after;
    struct peer p, next;
    uint64_t t;

    http_server_stats(rig.server, &before);
    peer_open(&p, &rig);
    play(&p, v, c->cut);
    t = rig_real_ms();
    rig_until(&rig, settled(&p, &a));
    if (rig_real_ms() - t > 1500)
        fail_msg("%s variant %zu: took %llu ms", c->row->column[0], v->index,
                 (unsigned long long)(rig_real_ms() - t));
    verify(&p, c, v, &a);
    if (a.n == 1 && a.status[0] != 200)
        assert_int_equal(rig.handled, handled);
    http_server_stats(rig.server, &after);
    assert_int_equal(after.client_aborts, before.client_aborts + a.closed);
    if (a.close)
        assert_true(p.close && p.eof);
    else if (!a.closed)
        expect_good(&p, c);
    peer_open(&next, &rig);
    expect_good(&next, c);
    peer_close(&next);
    peer_close(&p);
}

static void case_test(void **state)
{
    static parser_cut *const cuts[] = {parser_cut_whole, parser_cut_bytes, parser_cut_random};
    struct check c;

    check_read(&c, *state);
    if (strcmp(c.row->column[5], "gateway") == 0)
        skip(); /* its answer is the gateway's: the whole-program tests play it */
    for (size_t i = 0; i < RM_COUNT(cuts); i++) {
        c.cut = cuts[i];
        rig_open(&rig, &http_server_conf_default, false);
        assert_true(case_expand(c.row->column[2], &case_requests, run_variant, &c) > 0);
        rig_close(&rig);
    }
}

int main(void)
{
    struct case_file cases = case_file_load("tests/data/requests.txt");
    struct CMUnitTest tests[64];
    size_t n = 0;
    int failed;

    seed = (uint64_t)time(NULL);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < cases.n && n < RM_COUNT(tests); i++)
        tests[n++] =
            (struct CMUnitTest){cases.rows[i].column[0], case_test, NULL, NULL, &cases.rows[i]};
    failed = _cmocka_run_group_tests("server cases", tests, n, NULL, NULL);
    case_file_free(&cases);
    return failed;
}
