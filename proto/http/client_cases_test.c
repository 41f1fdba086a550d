/* SPDX-License-Identifier: MIT */
/* Every row of tests/data/responses.txt against the client: each variant whole, byte by byte and in
 * random pieces. Rows of the layer `client` must fail as the table below says (or end, where the
 * answer as such is good); rows of the layer `gateway` must reach the caller as good answers, since
 * it is the dialect that refuses them. In every case the connection carries no second call, and not
 * a byte of an answer that nobody asked for is delivered. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/http/client_probe.h"
#include "tests/support/cases/cases.h"
#include "tests/support/peer/peer.h"

enum outcome {
    FAILS,      /* on_fail, whatever came before it */
    FAILS_BARE, /* on_fail without a byte of an answer */
    ENDS        /* a whole answer */
};

/* What the client makes of a row; `odd` is the one variant that differs, -1: none. */
static const struct expect {
    const char *id;
    enum outcome outcome;
    int odd;
    enum outcome odd_outcome;
    int status; /* of ENDS; 0: not looked at */
} expects[] = {
    {"R01", FAILS, -1, 0, 0},          {"R03", FAILS, -1, 0, 0},         {"R05", FAILS, -1, 0, 0},
    {"R07", FAILS, -1, 0, 0},          {"R09", FAILS, -1, 0, 0},         {"R11", FAILS, -1, 0, 0},
    {"R13", FAILS, -1, 0, 0},          {"R15", FAILS, -1, 0, 0},         {"R17", FAILS, -1, 0, 0},
    {"R19", ENDS, 1, FAILS_BARE, 200}, /* variant 1: the answer was there before the request */
    {"R21", ENDS, -1, 0, 200},         {"R23", ENDS, -1, 0, 200},        {"R25", ENDS, -1, 0, 200},
    {"R27", ENDS, -1, 0, 0}, /* 301, 302, 307, 308: told, never followed */
    {"R29", ENDS, -1, 0, 200},         {"R31", FAILS, 0, FAILS_BARE, 0},
};

/* ---- the peer ---- */

struct script {
    const struct case_variant *v;
    unsigned cut;      /* 0: whole; 1: bytes; else pieces of 1..cut bytes */
    bool before;       /* says it all before the request */
    atomic_int spoken; /* all of it, on the first connection */
};

static bool send_cut(int fd, const char *bytes, size_t n, unsigned cut, unsigned *seed)
{
    for (size_t i = 0, k; i < n; i += k) {
        *seed = *seed * 1103515245u + 12345u;
        k = cut == 0 ? n : 1 + (*seed >> 16) % cut;
        k = k > n - i ? n - i : k;
        if (!peer_send(fd, bytes + i, k))
            return false;
    }
    return true;
}

static void play_steps(int fd, const struct script *s)
{
    unsigned seed = (unsigned)s->v->index + 1;

    for (size_t i = 0; i < s->v->n_steps; i++) {
        const struct case_step *step = &s->v->steps[i];

        if (step->kind == CASE_SEND && !send_cut(fd, step->bytes, step->n, s->cut, &seed))
            return;
        if (step->kind == CASE_PAUSE)
            usleep(step->ms * 1000);
        if (step->kind == CASE_RESET) {
            usleep(5000); /* what was said is to arrive before it */
            peer_reset(fd);
            return;
        }
    }
    shutdown(fd, SHUT_WR);
}

static void play(int fd, struct script *s)
{
    play_steps(fd, s);
    atomic_store(&s->spoken, 1);
}

/* The first connection plays the script, others answer well. */
static void serve_script(void *arg, int fd, int index)
{
    struct script *s = arg;

    if (index == 0 && s->before) {
        play(fd, s);
        peer_hold(fd);
    } else if (peer_read_request(fd, NULL, 0, NULL) < 0) {
        return;
    } else if (index == 0) {
        play(fd, s);
        if (s->v->n_steps == 0 || s->v->steps[s->v->n_steps - 1].kind != CASE_RESET)
            peer_hold(fd);
    } else {
        peer_says(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        peer_hold(fd);
    }
}

/* ---- one variant ---- */

static const struct expect *expect_of(const char *id)
{
    for (size_t i = 0; i < RM_COUNT(expects); i++)
        if (strcmp(expects[i].id, id) == 0)
            return &expects[i];
    return NULL;
}

static void check(const struct probe *p, const struct expect *e, enum outcome want)
{
    assert_null(strstr(p->body, "evil"));
    assert_int_equal(p->count[AT_END], want == ENDS);
    assert_int_equal(p->count[AT_FAIL], want != ENDS);
    if (want == FAILS_BARE)
        assert_int_equal(p->count[AT_HEAD] + p->count[AT_BODY], 0);
    if (want == ENDS && e->status != 0)
        assert_int_equal(p->status, e->status);
    if (strcmp(e->id, "R27") == 0)
        assert_in_range(p->status, 301, 308);
    if (strcmp(e->id, "R19") == 0 && want == ENDS)
        assert_string_equal(p->body, "{}");
}

/* Until the peer has said everything; the kernel takes it while our loop stands. What an upstream
 * says after our next request has left can be told from the answer to it by nobody, so the second
 * call waits for this too. */
static void wait_spoken(struct script *s)
{
    for (int ms = 0; ms < 5000 && atomic_load(&s->spoken) == 0; ms++)
        usleep(1000);
    assert_int_equal(atomic_load(&s->spoken), 1);
}

static void run_variant(const struct expect *e, const struct case_variant *v, unsigned cut)
{
    enum outcome want = (int)v->index == e->odd ? e->odd_outcome : e->outcome;
    struct script s = {.v = v, .cut = cut, .before = strcmp(e->id, "R19") == 0 && v->index == 1};
    struct peer *peer = peer_open(v->index % 2 == 0, serve_script, &s);
    struct probe p = {0}, again = {0};
    struct http_client *c;
    uv_loop_t loop;

    uv_loop_init(&loop);
    c = probe_client(&loop, peer_address(peer), NULL);
    assert_int_equal(probe_get(&p, c), 0);
    if (s.before)
        wait_spoken(&s);
    assert_true(probe_finish(&p, &loop));
    check(&p, e, want);
    assert_int_equal(peer_accepted(peer), 1);
    wait_spoken(&s);
    assert_int_equal(probe_get(&again, c), 0);
    assert_true(probe_finish(&again, &loop));
    assert_string_equal(again.body, "good");
    assert_int_equal(peer_accepted(peer), 2);
    http_client_close(c);
    loop_done(&loop);
    peer_close(peer);
}

static void each_variant(void *arg, const struct case_variant *v)
{
    size_t total = 0;

    for (size_t i = 0; i < v->n_steps; i++)
        total += v->steps[i].n;
    run_variant(arg, v, 0);
    if (total < 4096) /* a byte per segment and thread switch: only where it stays quick */
        run_variant(arg, v, 1);
    run_variant(arg, v, total < 4096 ? 40 : 5000);
}

static void run_row(void **state)
{
    const struct case_row *row = *state;
    const struct expect *e = expect_of(row->column[0]);

    assert_non_null(e); /* a new row needs a line in the table */
    assert_true(strcmp(row->column[4], "client") == 0 || strcmp(row->column[4], "gateway") == 0);
    if (strcmp(row->column[4], "gateway") == 0)
        assert_int_equal(e->outcome, ENDS);
    assert_true(case_expand(row->column[2], &case_responses, each_variant, (void *)(uintptr_t)e) >
                0);
}

int main(void)
{
    struct case_file f = case_file_load("tests/data/responses.txt");
    struct CMUnitTest *tests = calloc(f.n, sizeof(*tests));
    int failed;

    if (tests == NULL || f.n != RM_COUNT(expects))
        return 2;
    for (size_t i = 0; i < f.n; i++)
        tests[i] = (struct CMUnitTest){f.rows[i].column[0], run_row, NULL, NULL, &f.rows[i]};
    failed = _cmocka_run_group_tests("http_client_cases", tests, f.n, NULL, NULL);
    free(tests);
    case_file_free(&f);
    return failed;
}
